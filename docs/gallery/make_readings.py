"""Runs the gallery's scenarios and rewrites the figures and traces that its pages quote.

    python docs/gallery/make_readings.py [NAME ...] [--store URL] [--data FOLDER]

A page is prose around blocks between `<!-- begin KEY -->` and `<!-- end KEY -->`; only these are rewritten,
and what a page has no block for is left out.
The comparisons of a page are listed in `readings.yaml`: each is a paired difference with its clustered
interval and its p from sign flips, and a list is one family for Holm's correction. Runs that are finished in
the store are read and not repeated. Blocks on real item files need `--data`; without it they stay.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from docendo.events import DecisionEvent, Event, GradeEvent, MessageEvent, SpendEvent
from docendo.runtime.cli.transcript import lines_of
from docendo.runtime.measures.measure import MEASURES
from docendo.runtime.measures.samples import taught_samples
from docendo.runtime.measures.statistics import Difference, Sample, difference, estimate, holm, seed_of
from docendo.runtime.measures.votes import outcome
from docendo.runtime.report.build import samples_of
from docendo.runtime.report.design import Arm, arms_of, axes_of
from docendo.runtime.store import Store, open_store
from docendo.runtime.store.records import EpisodeRecord
from docendo.scenarios.fidelity import FIDELITY

FOLDER = Path(__file__).resolve().parent
PLAN = FOLDER / "readings.yaml"

Where = Mapping[str, Any]
"""Last parts of matrix paths -> value, and `control`: which arm is meant. `run` names a further run."""


@dataclass
class Study:
    """One finished run."""

    store: Store
    id: str
    _samples: dict[str, dict[str, Sample]] = field(default_factory=dict)

    @cached_property
    def arms(self) -> list[Arm]:
        """Its conditions."""
        return arms_of(self.store.conditions(self.id))

    def arm(self, where: Where) -> Arm:
        """The only arm at `where`."""
        wanted = {k: v for k, v in where.items() if k not in ("control", "run", "replicate")}
        found = [
            arm
            for arm in self.arms
            if arm.control == where.get("control", "")
            and all(
                any(p.rpartition(".")[2] == k and c == v for p, c in arm.coordinates.items())
                for k, v in wanted.items()
            )
        ]
        if len(found) != 1:
            raise SystemExit(f"{self.id}: {where} is {len(found)} conditions")
        return found[0]

    def sample(self, arm: Arm, measure: str) -> Sample:
        """What was measured there."""
        if measure not in self._samples:
            self._samples |= samples_of(self.store, self.id, [measure])
        return self._samples[measure].get(arm.id, Sample.of(()))


@dataclass
class Readings:
    """All that a page is made of."""

    name: str
    plan: Mapping[str, Any]
    runs: Mapping[str, Study]
    """The scenario's own run under ``, further ones by name."""

    def study(self, where: Where) -> Study:
        """The run that `where` is about."""
        return self.runs[where.get("run", "")]

    def blocks(self) -> Iterator[tuple[str, str]]:
        """Key and content of every block that can be written now."""
        for run, study in self.runs.items():
            grid = axes_of([arm for arm in study.arms if not arm.control])
            for measure in self.plan["tables"] if grid else ():
                yield f"table {measure}{' ' + run if run else ''}", _table(study, measure)
            if measures := self.plan.get("overview"):
                yield f"overview{' ' + run if run else ''}", _overview(study, measures)
        yield "comparisons", self._comparisons(self.plan["comparisons"])
        for run in self.runs:
            if planned := self.plan.get(f"comparisons {run}"):
                yield f"comparisons {run}", self._comparisons(planned)
        for key, where in self.plan.get("traces", {}).items():
            yield f"trace {key}", self._trace(where)

    def _comparisons(self, planned: Sequence[Any]) -> str:
        rows = []
        for row in planned:
            measure = row.get("measure", self.plan["tables"][0])
            rows.append((row, measure, self._difference(measure, row["of"], row["to"])))
        adjusted = holm([d.p for _, _, d in rows])
        lines = [
            "| " + " | ".join((self._label(row, measure), _signed(d), _p(p), _reading(d, p))) + " |"
            for (row, measure, d), p in zip(rows, adjusted, strict=True)
        ]
        head = (
            f"| difference | mean [95 % interval] | p, Holm over {len(rows)} | reading |\n|---|---|---|---|"
        )
        return "\n".join([head, *lines])

    def _label(self, row: Mapping[str, Any], measure: str) -> str:
        about = "" if measure == self.plan["tables"][0] else f"{measure}: "
        return about + " minus ".join(f"`{_words(row[side])}`" for side in ("of", "to"))

    def _difference(self, measure: str, of: Where, to: Where) -> Difference:
        first, second = (s.sample(s.arm(w), measure) for w in (of, to) for s in (self.study(w),))
        known = MEASURES.get(measure)
        seed = seed_of(self.name, measure, _words(of), _words(to))
        return difference(first, second, seed, bounds=known.bounds, binary=known.binary)

    def _trace(self, where: Mapping[str, Any]) -> str:
        """The first episode that `pick` allows, word for word as `docendo show` prints it."""
        shown = []
        chosen: tuple[int, str] | None = None
        for place in where["at"]:
            study, arm = self.study(place), self.study(place).arm(place)
            if chosen is None:
                chosen = self._picked(where, study, arm)
            episode = next(e for e in study.store.episodes(study.id, arm.id, chosen[0]) if e.key == chosen[1])
            events = list(study.store.events(episode.id))
            lines = lines_of(_of_two_samples(events) if where.get("samples") else events)
            command = f"docendo show {self.name}/{arm.id}/{chosen[0]}/{chosen[1]}"
            shown.append("\n".join([f"$ {command}   # {_words(place)}", *lines]))
        return "```text\n" + "\n\n".join(shown) + "\n```"

    def _picked(self, where: Mapping[str, Any], study: Study, arm: Arm) -> tuple[int, str]:
        pick = PICKS[where["pick"]]
        others = [(self.study(p), self.study(p).arm(p)) for p in where["at"][1:]]
        for replicate in range(where.get("from", 0), 100):
            kind = where.get("kind", "teach")
            found = [e for e in study.store.episodes(study.id, arm.id, replicate) if e.phase_kind == kind]
            if not found:
                break
            for episode in found:
                twins = [
                    next((t for t in s.store.episodes(s.id, a.id, replicate) if t.key == episode.key), None)
                    for s, a in others
                ]
                if episode.round == where.get("round", 0) and pick(study, episode, [t for t in twins if t]):
                    return replicate, episode.key
        raise SystemExit(f"{self.name}: no episode for the trace {where}")


# --- which episode to quote -----------------------------------------------------------------------------


def _grades(study: Study, episode: EpisodeRecord) -> list[bool | None]:
    return [e.correct for e in study.store.events(episode.id) if isinstance(e, GradeEvent)]


def _is_first(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """The item that the policy wants most."""
    return any(isinstance(e, DecisionEvent) and e.rank == 0 for e in study.store.events(episode.id))


def _is_broken(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """Right before help and wrong after it."""
    grades = _grades(study, episode)
    return len(grades) > 1 and grades[0] is True and grades[-1] is False


def _is_divided(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """Not rectified here, and rectified in the other conditions."""
    mine = _grades(study, episode)
    theirs = [_grades(study, twin) for twin in twins]
    return mine == [False, False] and all(grades == [False, True] for grades in theirs)


def _is_rescued(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """The item that the policy wants most, put right by help."""
    return _is_first(study, episode, twins) and _grades(study, episode) == [False, True]


def _is_paid(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """The teacher intervened."""
    return any(isinstance(e, SpendEvent) for e in study.store.events(episode.id))


def _is_talked_over(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """A dialogue that found the right answer after a few turns."""
    grades = _grades(study, episode)
    return 2 < len(grades) < 5 and grades[-1] is True and not any(grades[:-1])


def _is_vetoed(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """A dialogue in which the critic vetoed a draft, and which went well."""
    events = study.store.events(episode.id)
    vetoes = [e for e in events if isinstance(e, DecisionEvent) and e.policy == "critic" and not e.chosen]
    return len(vetoes) == 1 and _grades(study, episode)[-1] is True


def _is_outvoted(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """Most samples agree on a wrong answer, and the exams know better."""
    votes = [taught.vote for taught in taught_samples(study.store.events(episode.id))]
    return bool(votes) and not outcome(votes, "count") and bool(outcome(votes, "sum"))


def _is_misled(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """The right answer is among the samples, and the exams do not find it."""
    votes = [taught.vote for taught in taught_samples(study.store.events(episode.id))]
    return any(v.correct for v in votes) and outcome(votes, "sum") is False


def _is_revised(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """The teacher revised its examples."""
    return any(isinstance(e, MessageEvent) and e.act == "improve" for e in study.store.events(episode.id))


def _is_selection(study: Study, episode: EpisodeRecord, twins: Sequence[EpisodeRecord]) -> bool:
    """A revised set of examples did best in its round."""
    chosen = [e.chosen for e in study.store.events(episode.id) if isinstance(e, DecisionEvent)]
    return episode.item == "selection" and bool(chosen) and chosen[0][0] != "start"


def _of_two_samples(events: Sequence[Event]) -> list[Event]:
    """Of an episode of samples, the first wrong and the first right one, with one student's exam."""
    taught = {t.branch: bool(t.vote.correct) for t in taught_samples(events)}
    kept = [next((b for b, right in taught.items() if right is wanted), "") for wanted in (False, True)]
    student = next((e.branch.split("/")[1] for e in events if "students=" in e.branch), "")
    found = []
    for event in events:
        sample, _, below = event.branch.partition("/")
        if sample in kept and (not below or below.split("/")[0] == student):
            found.append(event)
    return sorted(found, key=lambda e: (kept.index(e.branch.split("/")[0]), e.turn, e.branch, e.n))


PICKS: dict[str, Callable[[Study, EpisodeRecord, Sequence[EpisodeRecord]], bool]] = {
    "first": _is_first,
    "rescued": _is_rescued,
    "broken": _is_broken,
    "divided": _is_divided,
    "paid": _is_paid,
    "talked over": _is_talked_over,
    "vetoed": _is_vetoed,
    "outvoted": _is_outvoted,
    "misled": _is_misled,
    "revised": _is_revised,
    "selection": _is_selection,
}


# --- words ----------------------------------------------------------------------------------------------


def _words(where: Where) -> str:
    return ", ".join(
        v if k in ("control", "run") else f"{k} {v}" if not isinstance(v, str) else v
        for k, v in where.items()
        if v != "" and k != "replicate"
    )


def _signed(found: Difference) -> str:
    if found.mean is None or found.low is None or found.high is None:
        return "no pairs"
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _p(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _reading(found: Difference, p: float | None) -> str:
    if found.low is None or found.high is None or found.low <= 0 <= found.high:
        return "inconclusive"
    if p is None or p >= 0.05:
        return "inconclusive after correction"
    return "higher" if found.low > 0 else "lower"


def _table(study: Study, measure: str) -> str:
    """Means with intervals: the last axis down, the others across; then the controls."""
    ordinary = [arm for arm in study.arms if not arm.control]
    *across, down = axes_of(ordinary)
    columns = list(dict.fromkeys(tuple(arm.coordinates.get(a.path) for a in across) for arm in ordinary))
    cells = {
        (arm.coordinates[down.path], tuple(arm.coordinates.get(a.path) for a in across)): _cell(
            study, arm, measure
        )
        for arm in ordinary
    }
    titles = [
        ", ".join(_value(a.name, v) for a, v in zip(across, column, strict=True)) or "mean"
        for column in columns
    ]
    lines = [f"| {measure}, by {down.name} | " + " | ".join(titles) + " |", "|---" * (len(columns) + 1) + "|"]
    for value in down.values:
        lines.append(f"| {value} | " + " | ".join(cells.get((value, c), "") for c in columns) + " |")
    controls = [
        f"`{arm.control}`{''.join(f' {v}' for v in arm.coordinates.values())} {_cell(study, arm, measure)}"
        for arm in study.arms
        if arm.control
    ]
    return "\n".join(lines) + (f"\n\nControls: {'; '.join(controls)}." if controls else "")


def _overview(study: Study, measures: Sequence[str]) -> str:
    """A row per condition, then per control; a column per measure."""
    names = {a.path: a.name for a in axes_of([arm for arm in study.arms if not arm.control])}
    lines = [
        "| condition | " + " | ".join(f"`{m}`" for m in measures) + " |",
        "|---" * (len(measures) + 1) + "|",
    ]
    for arm in sorted(study.arms, key=lambda arm: bool(arm.control)):
        if arm.control == FIDELITY:
            continue
        values = [_value(names.get(p, p), v) for p, v in arm.coordinates.items()]
        label = ", ".join(filter(None, [f"control `{arm.control}`" if arm.control else "", *values]))
        lines.append(f"| {label} | " + " | ".join(_cell(study, arm, m) for m in measures) + " |")
    return "\n".join(lines)


def _value(name: str, value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{name} {str(value).lower()}"


def _cell(study: Study, arm: Arm, measure: str) -> str:
    known = MEASURES.get(measure)
    found = estimate(study.sample(arm, measure), seed_of(study.id, measure, arm.id), bounds=known.bounds)
    if found.mean is None or found.low is None or found.high is None:
        return "-"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


# --- running --------------------------------------------------------------------------------------------


def _run(name: str, url: str, settings: Sequence[str]) -> str:
    """Run a scenario, or find that it has been run; its id."""
    command = [str(Path(sys.executable).parent / "docendo"), "run", name, "--store", url, "--json"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return str(json.loads(done.stdout)["data"]["run"])


def _rewritten(text: str, blocks: Mapping[str, str]) -> str:
    for key, content in blocks.items():
        pattern = re.compile(
            rf"(<!-- begin {re.escape(key)} -->\n).*?(<!-- end {re.escape(key)} -->)", re.DOTALL
        )
        text = pattern.sub(lambda m, c=content: f"{m[1]}{c}\n{m[2]}", text)  # type: ignore[misc]
    return text


def write_page(name: str, plan: Mapping[str, Any], url: str, data: str) -> None:
    """Run what the page of `name` quotes, and rewrite its blocks."""
    ids = {"": _run(name, url, ())}
    for run, settings in (plan.get("runs") or {}).items():
        needs_data = any("{data}" in setting for setting in settings)
        if data or not needs_data:
            ids[run] = _run(name, url, [setting.replace("{data}", data) for setting in settings])
    page = FOLDER / f"{name}.md"
    with open_store(url, create=False, readonly=True) as store:
        readings = Readings(name, plan, {run: Study(store, id_) for run, id_ in ids.items()})
        blocks = dict(readings.blocks())
    page.write_text(_rewritten(page.read_text(), blocks))
    sys.stderr.write(f"{page.name}: {', '.join(blocks)}\n")


def main() -> None:
    """Rewrite the pages named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--store", default="sqlite:///readings.db")
    parser.add_argument("--data", default="", help="Folder with gsm8k/ and strategyqa/ as published.")
    asked = parser.parse_args()
    plans = YAML(typ="safe").load(PLAN)
    for name in asked.names or plans:
        write_page(name, plans[name], asked.store, asked.data and str(Path(asked.data).resolve()))


if __name__ == "__main__":
    main()
