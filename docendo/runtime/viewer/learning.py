"""Learning over the plan: how many answers are right in one test after another, condition by condition.

A scenario's measures are often differences between two tests. The curve shows the tests themselves, counted
as the measure `test_accuracy` counts them, whether or not the scenario names it.
"""

from __future__ import annotations

from collections.abc import Iterator

from docendo.runtime.measures.measure import EpisodeTrace
from docendo.runtime.store.records import LessonKey
from docendo.runtime.viewer.facts import recorded, trace_of
from docendo.runtime.viewer.library import Design, Library
from docendo.runtime.viewer.models import CurvePoint, LearningCurve, LearningPage

__all__ = ["MEASURE", "learning_page"]

MEASURE = "test_accuracy"


def learning_page(library: Library, reference: str) -> LearningPage:
    """Accuracy over the tests of the plan; no curve where the plan has fewer than two.

    Raises:
        UnknownNameError: There is no such run.
    """
    record = library.run(reference)
    return library.once(
        ("learning", record.id),
        library.version(record.id),
        lambda: _learning(library, record.id),
        patient=record.status == "running",
    )


def _learning(library: Library, run_id: str) -> LearningPage:
    from docendo.runtime.measures.statistics import Sample, estimate, seed_of  # noqa: PLC0415 - scipy

    design = library.design(run_id)
    tests = [str(p.get("id") or p.get("kind")) for p in design.plan if p.get("kind") == "test"]
    if len(tests) < 2:
        return LearningPage(curves=[])
    version = library.version(run_id)
    curves = []
    for condition in design.conditions:
        samples: dict[str, list[tuple[object, float | None]]] = {}
        for phase, key, value in _observed(library, design, condition.id):
            samples.setdefault(phase, []).append((key, value))
        points = []
        for phase in (phase for phase in tests if phase in samples):
            sample = Sample.of(samples[phase])  # type: ignore[arg-type]  # keys are `Key`s
            found = estimate(sample, seed_of(version, MEASURE, condition.id, phase), bounds=(0.0, 1.0))
            points.append(CurvePoint(phase=phase, mean=found.mean, low=found.low, high=found.high, n=found.n))
        if len(points) > 1:
            curves.append(LearningCurve(measure=MEASURE, condition=condition.id, points=points))
    return LearningPage(curves=curves)


def _observed(library: Library, design: Design, condition: str) -> Iterator[tuple[str, object, float | None]]:
    """Phase, unit and value of every answer in a test of a condition."""
    from docendo.runtime.measures.measure import MEASURES, LessonTrace  # noqa: PLC0415 - only this page
    from docendo.runtime.measures.statistics import Key  # noqa: PLC0415 - scipy

    measure = MEASURES.get(MEASURE)
    run_id = design.record.id
    for lesson in library.store.lessons(run_id, condition):
        if lesson.status != "finished":
            continue
        trace = LessonTrace(
            condition=condition, replicate=lesson.key.replicate, episodes=tuple(_tests(library, lesson.key))
        )
        for o in measure.observe(trace):
            yield o.phase, Key(o.phase, o.round, o.item, o.student, lesson.key.replicate), o.value


def _tests(library: Library, key: LessonKey) -> Iterator[EpisodeTrace]:
    records = [
        r for r in library.store.episodes(key.run, key.condition, key.replicate) if r.phase_kind == "test"
    ]
    events = library.store.browse.events([r.id for r in records], ["grade"])
    for record in records:
        yield trace_of(record, map(recorded, events[record.id]))
