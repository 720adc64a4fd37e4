"""What dialogues and learning by teaching cost, and how well student models know known minds.

    python benchmarks/families.py lessons     # requests, calls, tokens and time per lesson
    python benchmarks/families.py growth      # as turns, students, samples and exam sizes grow
    python benchmarks/families.py sharing     # what votings and controls share
    python benchmarks/families.py diagnosis   # each student model against each misconception

Everything is simulated and in memory; times are processor time of this process. Counts repeat exactly.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from measuring import Batch, facts, number, run_lessons, spread, study_of, table

from docendo.messages import Usage
from docendo.runtime.collector import patient_collector
from docendo.runtime.journal import MemoryJournal
from docendo.runtime.measures import observe_lesson
from docendo.runtime.study import Study, prepare
from docendo.scenarios.arithmetic import BASE_SLOTS, BUGS
from docendo.scenarios.loader import load_raw

SCENARIOS = ("tutoring-dialogue", "learn-by-teaching", "learn-by-teaching-iteratively", "when-to-step-in")


def timed(study: Study) -> tuple[Batch, float]:
    """The lessons of a study, and the processor seconds that they took."""
    begun = time.process_time()
    with patient_collector():  # as the runner has it
        batch = asyncio.run(run_lessons(study))
    return batch, time.process_time() - begun


def tokens(batch: Batch) -> Usage:
    """What the messages of all lessons cost; a draft and what was sent of it count once."""
    usage = Usage()
    for trace in batch.traces:
        for episode in trace.episodes:
            for event in episode.events:
                if event.kind == "message" and event.message.act != "send":
                    usage += event.message.usage
    return usage


def lessons(rounds: int) -> None:
    """Print what one lesson of each family costs, over its conditions without controls."""
    rows = []
    for name in SCENARIOS:
        study = study_of("replicates=1", "fidelity=null", scenario=name)
        plain = replace(study, setups=tuple(s for s in study.setups if s.condition.control is None))
        runs = [timed(plain) for _ in range(rounds)]
        batch, n = runs[0][0], len(plain.setups)
        used = tokens(batch)
        rows.append(
            (f"`{name}`", n, number(batch.episodes / n), number(batch.nodes / n), number(batch.requests / n),
             number(batch.sent / n), number(used.prompt_tokens / n), number(used.completion_tokens / n),
             spread([s / n for _, s in runs]), spread([1e3 * s / batch.nodes for _, s in runs]))
        )  # fmt: skip
    header = ("scenario", "lessons", "episodes", "acts", "requests", "calls", "prompt tokens",
              "completion tokens", "s per lesson", "ms per act")  # fmt: skip
    print(table(header, rows))
    print("\nPer lesson; tokens are words, and conditions of one replicate share calls.", facts())


def growth(rounds: int) -> None:
    """Print how cost grows with turns, students, samples and exam size."""
    talk = ["replicates=1", "fidelity=null", "controls=[]", "matrix.plan.teach.moves.source=[fixed]",
            "plan.teach.moves.fixed=generic", "models.novice.bugs_per_student=2"]  # fmt: skip
    vote = ["replicates=1", "controls=[]", "baseline=null", "items.test=8",
            "matrix.plan.teach.exam.choose=[given]"]  # fmt: skip
    grown = (
        ("turns", "tutoring-dialogue", talk, ("budget.turns={}",), (4, 8, 16, 32)),
        ("students", "learn-by-teaching", [*vote, "matrix.plan.teach.samples=[4]"],
         ("agents.student.count={}",), (1, 2, 4, 8)),
        ("samples", "learn-by-teaching", vote, ("matrix.plan.teach.samples=[{}]",), (2, 4, 8, 16)),
        ("exam items", "learn-by-teaching", [*vote, "matrix.plan.teach.samples=[4]"],
         ("plan.teach.exam.count={}",), (3, 6, 12, 24)),
    )  # fmt: skip
    rows = []
    for axis, name, fixed, varied, sizes in grown:
        studies = {n: study_of(*fixed, *(v.format(n) for v in varied), scenario=name) for n in sizes}
        found: dict[int, list[float]] = {n: [] for n in sizes}
        acts = {}
        for _ in range(rounds):
            for n, study in studies.items():
                batch, seconds = timed(study)
                acts[n] = batch.nodes
                found[n].append(1e3 * seconds / batch.nodes)
        for n in sizes:
            against = [b / a for a, b in zip(found[sizes[0]], found[n], strict=True)]
            rows.append((axis, n, f"{acts[n]:,}", spread(found[n]), spread(against)))
    print(table(("grows", "size", "acts", "ms per act", "against the smallest"), rows))
    print(f"\n{facts()}")


def sharing() -> None:
    """Print how many calls votings and controls share."""
    rows = []
    for what, overrides in (
        ("1, 3 and 9 samples, one exam", ["matrix.plan.teach.exam.choose=[same_skill]", "controls=[]"]),
        ("9 samples, two exams", ["matrix.plan.teach.samples=[9]", "controls=[]"]),
        ("9 samples, one exam, three controls",
         ["matrix.plan.teach.exam.choose=[same_skill]", "matrix.plan.teach.samples=[9]"]),
    ):  # fmt: skip
        rows.append(_shared(f"learning by teaching: {what}", study_of(
            "replicates=1", "baseline=null", *overrides, scenario="learn-by-teaching")))  # fmt: skip
    talk = ["replicates=1", "fidelity=null", "matrix.plan.teach.moves.source=[self]"]
    for controls in ("[]", "[shuffled_dialogue]", "[no_teacher, silent, answer_only, irrelevant]"):
        study = study_of(*talk, f"controls={controls}", scenario="tutoring-dialogue")
        rows.append(_shared(f"dialogue: controls {controls}", study))
    print(table(("what runs", "conditions", "requests", "distinct calls", "each alone", "saved"), rows))
    print(f"\nOne replicate. {facts()}")


def _shared(what: str, study: Study) -> tuple[object, ...]:
    whole = asyncio.run(run_lessons(study, journal=MemoryJournal()))
    alone = sum(
        asyncio.run(run_lessons(replace(study, setups=(s,)), journal=MemoryJournal())).sent
        for s in study.setups
    )
    saved = f"{100 * (1 - whole.sent / alone):.0f} %"
    return (what, len(study.setups), f"{whole.requests:,}", f"{whole.sent:,}", f"{alone:,}", saved)


# --- student models against known minds ------------------------------------------------------------------

MODELS = ("misconceptions", "bkt", "few_shot", "constant", "oracle")


def watched(bug: str, model: str, students: int) -> Study:
    """A teacher that has watched students with one bug on 12 items, and predicts 24 more."""
    return prepare(load_raw({
        "version": 1, "name": "watched",
        "models": {
            "expert": {"backend": "simulated", "mind": "expert"},
            "novice": {"backend": "simulated", "mind": "procedural", "bugs": [bug], "slip": 0.05},
        },
        "agents": {
            "teacher": {"model": "expert", "student_model": {"kind": model, "demonstrations": 12}},
            "student": {"model": "novice"},
        },
        "items": {"source": "subtraction", "digits": 3, "train": 12, "test": 24},
        "plan": [{"observe": {"items": "train", "count": 12, "graph": "exam"}},
                 {"teach": {"items": "test", "policy": "expected_confidence_pre"}}],
        "budget": {"interventions": 1},
        "measures": ["calibration", "simulation_accuracy", "diagnosis_accuracy"],
        "replicates": students,
    }, base=Path()))  # fmt: skip


def diagnosed(bug: str, students: int) -> Study:
    """Dialogues in which a diagnostician states what it believes."""
    return study_of(
        f"replicates={students}", "fidelity=null", "controls=[]", f"models.novice.bugs=[{bug}]",
        "matrix.plan.teach.moves.source=[random]", "plan.teach.params={until: turns}",
        "models.novice.comprehension=0", "items.pools.lesson={size: 6}", scenario="tutoring-dialogue",
    )  # fmt: skip


def _mean(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    return number(sum(known) / len(known)) if known else "-"


def diagnosis(students: int) -> None:
    """Print Brier scores of each student model, and how often a diagnostician names the bug, per bug."""
    bugs = [b.name for b in BUGS.values() if b.operation == "-" and b.slot not in BASE_SLOTS]
    rows = []
    for bug in bugs:
        cells = []
        for model in MODELS:
            traces = asyncio.run(run_lessons(watched(bug, model, students))).traces
            cells.append(_mean([o.value for t in traces for o in observe_lesson(t, ["calibration"])]))
        traces = asyncio.run(run_lessons(diagnosed(bug, students))).traces
        for measure in ("diagnosis_accuracy", "turns_to_diagnosis", "calibration"):
            cells.append(_mean([o.value for t in traces for o in observe_lesson(t, [measure])]))
        rows.append((f"`{bug}`", *cells))
    header = ("misconception", *(f"Brier of `{m}`" for m in MODELS), "diagnosis accuracy", "turns to it",
              "Brier in dialogue")  # fmt: skip
    print(table(header, rows))
    print(f"\n{students} students with each misconception. {facts()}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["lessons", "growth", "sharing", "diagnosis"])
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, interleaved")
    parser.add_argument("--students", type=int, default=10, help="for `diagnosis`")
    asked = parser.parse_args()
    if asked.what == "lessons":
        lessons(asked.rounds)
    elif asked.what == "growth":
        growth(asked.rounds)
    elif asked.what == "sharing":
        sharing()
    else:
        diagnosis(asked.students)


if __name__ == "__main__":
    main()
