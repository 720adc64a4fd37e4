"""The pages of a store and of a run: what there is, before anything is computed."""

from __future__ import annotations

from typing import Any

from docendo import __version__
from docendo.errors import DocendoError
from docendo.runtime.report.design import axes_of
from docendo.runtime.store.records import LessonRecord, RunRecord
from docendo.runtime.viewer.library import Design, Library
from docendo.runtime.viewer.models import (
    AgentFacts,
    AxisFacts,
    ConditionRow,
    FaultBody,
    ModelFacts,
    PhaseFacts,
    RunPage,
    RunRow,
    StorePage,
)

__all__ = ["fault_of", "run_page", "run_row", "store_page", "unusable"]

DEFAULT_GRAPHS = {
    "test": "exam", "observe": "observation", "teach": "intervention", "refine": "refinement", "rest": "",
}  # fmt: skip


def fault_of(error: DocendoError) -> FaultBody:
    """An error as data."""
    column = getattr(error, "column", None)
    return FaultBody(code=error.code, message=error.message, suggestion=error.suggestion, column=column)


def unusable(name: str, error: DocendoError) -> StorePage:
    """The page of a store that cannot be read, with the reason."""
    return StorePage(name=name, docendo=__version__, state="unusable", problem=fault_of(error))


def store_page(library: Library) -> StorePage:
    """The runs of a store."""
    counts = library.store.browse.run_counts()
    runs = [run_row(record, counts.get(record.id, (0, 0, 0, 0, 0))) for record in library.store.runs()]
    empty = FaultBody(
        code="empty",
        message=f"{library.store.name} holds no run yet",
        suggestion="Run a scenario: docendo run when-to-step-in. This page shows it as it goes on.",
    )
    return StorePage(
        name=library.store.name,
        docendo=__version__,
        state="ready" if runs else "empty",
        problem=None if runs else empty,
        runs=runs,
    )


def run_row(record: RunRecord, counts: tuple[int, int, int, int, int]) -> RunRow:
    """A run in the list of a store; `counts` as `Browser.run_counts` has them."""
    conditions, lessons, finished, episodes, failed = counts
    return RunRow(
        id=record.id,
        name=record.name,
        status=record.status,
        created_at=record.created_at,
        description=str(record.scenario.get("description") or ""),
        conditions=conditions,
        lessons=lessons,
        lessons_finished=finished,
        episodes=episodes,
        failed=failed,
    )


def run_page(library: Library, reference: str) -> RunPage:
    """A run's design and how far it has come.

    Raises:
        UnknownNameError: There is no such run.
    """
    record = library.run(reference)
    design = library.design(record.id)
    scenario = design.conditions[0].scenario if design.conditions else {}
    counts = library.store.browse.run_counts().get(record.id, (0, 0, 0, 0, 0))
    lessons = library.lessons(record.id)
    return RunPage(
        run=run_row(record, counts),
        digest=library.version(record.id),
        scenario_digest=record.digest,
        scenario_yaml=record.scenario_yaml,
        replicates=sorted({lesson.key.replicate for lesson in lessons}),
        phases=[_phase(index, phase) for index, phase in enumerate(design.plan)],
        axes=[
            AxisFacts(path=a.path, name=a.name, values=list(a.values), numbers=list(a.numbers or ()) or None)
            for a in axes_of(design.arms)
        ],
        agents=[_agent(name, spec) for name, spec in (scenario.get("agents") or {}).items()],
        models=_models(scenario, record.manifest),
        measures=list(record.scenario.get("measures") or scenario.get("measures") or ()),
        budget=dict(scenario.get("budget") or {}),
        conditions=_conditions(library, design),
        manifest=record.manifest,
        note=_note(record),
    )


def _phase(index: int, phase: dict[str, Any]) -> PhaseFacts:
    kind, graph, policy = str(phase.get("kind", "")), phase.get("graph"), phase.get("policy")
    return PhaseFacts(
        id=str(phase.get("id") or kind),
        kind=kind,
        index=index,
        items=", ".join(phase.get("forms") or ()) or str(phase.get("items") or ""),
        graph="inline" if isinstance(graph, dict) else str(graph or DEFAULT_GRAPHS.get(kind, "")),
        policy=str((policy or {}).get("kind", "")),
        rounds=int(phase.get("rounds") or 1),
    )


def _agent(name: str, spec: dict[str, Any]) -> AgentFacts:
    return AgentFacts(
        name=name,
        role=spec.get("role") or name,
        model=str(spec.get("model", "")),
        count=int(spec.get("count") or 1),
    )


def _models(scenario: dict[str, Any], manifest: dict[str, Any]) -> list[ModelFacts]:
    fingerprints: dict[str, str] = {}
    for world in (manifest.get("fingerprints") or {}).values():
        fingerprints.update(world)
    return [
        ModelFacts(
            name=name,
            backend=str(spec.get("backend", "")),
            model=str(spec.get("model") or spec.get("mind") or ""),
            base_url=str(spec.get("base_url") or ""),
            fingerprint=fingerprints.get(name, ""),
        )
        for name, spec in (scenario.get("models") or {}).items()
    ]


def _conditions(library: Library, design: Design) -> list[ConditionRow]:
    lessons: dict[str, list[LessonRecord]] = {condition.id: [] for condition in design.conditions}
    for lesson in library.lessons(design.record.id):
        lessons.setdefault(lesson.key.condition, []).append(lesson)
    counts = library.store.browse.lesson_counts(design.record.id)  # read last: a run that begins adds lessons
    return [
        ConditionRow(
            id=condition.id,
            label=design.label(condition.id),
            coordinates=condition.coordinates,
            control=condition.control,
            baseline=design.baselines.get(condition.id),
            lessons=len(lessons[condition.id]),
            lessons_finished=sum(lesson.status == "finished" for lesson in lessons[condition.id]),
            episodes=sum(counts[lesson.key].episodes for lesson in lessons[condition.id]),
            failed=sum(counts[lesson.key].failed for lesson in lessons[condition.id]),
        )
        for condition in design.conditions
    ]


def _note(record: RunRecord) -> str:
    made = str(record.manifest.get("docendo", ""))
    if made and made != __version__:
        return f"Made by docendo {made}, shown by {__version__}."
    return ""
