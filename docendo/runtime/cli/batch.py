"""Commands that run lessons: run and replay."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from docendo.errors import UsageError, Where
from docendo.runtime.cli.options import DEFAULT_STORE, JsonFlag, Roles, RunName, Settings, StoreUrl
from docendo.runtime.cli.output import FAILURES, Output

if TYPE_CHECKING:
    from docendo.runtime.store import Store
    from docendo.runtime.store.records import LessonKey
    from docendo.runtime.study import Study
    from docendo.scenarios.loader import LoadedScenario

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (run, replay):
        app.command()(command)


def run(
    files: Annotated[list[str], typer.Argument(help="Scenario files, or names of gallery scenarios.")],
    store: StoreUrl = DEFAULT_STORE,
    set_: Settings = None,
    role: Roles = None,
    limit: Annotated[
        int | None, typer.Option("-n", "--limit", min=1, help="Items per teach or test phase, at most.")
    ] = None,
    replicates: Annotated[int | None, typer.Option("-r", "--replicates", min=1, help="Replicates.")] = None,
    seed: Annotated[int | None, typer.Option(help="The scenario's seed.")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Lessons in flight per process.")] = 4,
    processes: Annotated[
        int, typer.Option(min=0, help="Worker processes for simulated models; 0 takes one per core.")
    ] = 0,
    retry: Annotated[
        Literal["errors"] | None, typer.Option(help="Run lessons with failed episodes again.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no table.")] = False,
    json: JsonFlag = False,
) -> int:
    """Run scenarios, or go on with runs that were interrupted, and report."""
    from docendo.runtime.cli.load import load
    from docendo.runtime.store import open_store

    output = Output(json)
    loaded = [load(f, set_, role, limit=limit, replicates=replicates, seed=seed) for f in files]
    if dry_run:
        return _dry(loaded, output)
    how = _How(output, store, jobs, processes, retry == "errors", quiet or json)
    with open_store(store) as opened:
        done = [_issue(scenario, opened, how) for scenario in loaded]
    data = [summary for _, summary in done]
    output.result(data[0] if len(data) == 1 else data)
    return max(code for code, _ in done)


@dataclass(frozen=True)
class _How:
    """How a scenario is run: what the options of `run` came to."""

    output: Output
    url: str
    jobs: int
    processes: int
    retry: bool
    quiet: bool


def _issue(loaded: LoadedScenario, store: Store, how: _How) -> tuple[int, dict[str, object]]:
    """One scenario: the lessons that are left, then the report. Gives exit code and summary."""
    from docendo.runtime.identity import identify, is_finished
    from docendo.scenarios.expand import merge_notes

    identity = identify(loaded)
    for note in merge_notes(identity.conditions):
        how.output.note(f"Note: {note}")
    own_prompts = any(a.prompts for c in identity.conditions for a in c.scenario.agents.values())
    done = is_finished(store, identity, loaded.scenario.replicates, retry_errors=how.retry)
    if own_prompts or not done:  # prompt files are no part of the run's name, so they are compared first
        _work(loaded, store, how)
    return _conclude(loaded, store, identity.run_id, how)


def _work(loaded: LoadedScenario, store: Store, how: _How) -> None:
    """Run what is left of a scenario."""
    from docendo.runtime.gate import check_gate, fidelity_figures
    from docendo.runtime.runner import begin, todo
    from docendo.runtime.study import prepare
    from docendo.scenarios.fidelity import FIDELITY

    study = prepare(loaded)
    begin(study, store)
    lessons = todo(study, store, retry_errors=how.retry)
    skipped = len(study.setups) * study.scenario.replicates - len(lessons)
    if skipped and lessons:
        how.output.note(f"{skipped} lessons are finished already; going on with {len(lessons)}.")
    check = next((s.condition.id for s in study.setups if s.condition.control == FIDELITY), None)
    first = [key for key in lessons if key.condition == check]
    _hold(study, store, first, how)
    if check is not None and loaded.scenario.fidelity is not None:
        check_gate(fidelity_figures(store, study.run_id, check, loaded.scenario.fidelity))
    _hold(study, store, [key for key in lessons if key.condition != check], how)
    if store.call_conflicts:
        how.output.note(
            f"{len(store.call_conflicts)} calls were answered differently by another process at the time. "
            "A replay will see its answers.",
            "yellow",
        )
    store.finish_run(study.run_id)


def _hold(study: Study, store: Store, lessons: list[LessonKey], how: _How) -> None:
    """Hold some lessons, over as many processes as pay."""
    from docendo.runtime.cli.progress import RunProgress
    from docendo.runtime.pulse import Pulse
    from docendo.runtime.runner import Tally, run_study
    from docendo.runtime.shards import run_sharded, shards_for

    if not lessons:
        return
    shards = shards_for(study, lessons, how.processes, how.url)
    common: dict[str, Any] = {"concurrent": how.jobs, "retry_errors": how.retry}
    pulse = Pulse(store, study.run_id)
    with RunProgress(how.output.err, shown=not how.quiet and sys.stderr.isatty()) as bar:

        def progress(tally: Tally) -> None:
            bar(tally)
            pulse(tally)

        if len(shards) > 1:
            run_sharded(study, store, shards, url=how.url, progress=progress, **common)
        else:
            asyncio.run(run_study(study, store, lessons=lessons, progress=progress, **common))


def _conclude(loaded: LoadedScenario, store: Store, run_id: str, how: _How) -> tuple[int, dict[str, object]]:
    """The report of a run that has come to its end, its exit code and summary."""
    lessons = store.lessons(run_id)
    failed, episodes = sum(r.n_failed for r in lessons), sum(r.n_episodes for r in lessons)
    if not how.quiet:
        from docendo.runtime.report.kept import report_of
        from docendo.runtime.report.render import render_table

        render_table(report_of(store, run_id), how.output.out)
    allowed = loaded.scenario.fail_on_error
    too_many = failed > (allowed * episodes if allowed < 1 else allowed)
    if failed:
        excess = ", more than `fail_on_error` allows" if too_many else ""
        how.output.note(
            f"{failed} of {episodes} episodes failed{excess}. "
            f"See them with `docendo ls --failures {run_id}`; retry them with `--retry errors`.",
            "yellow",
        )
    summary: dict[str, object] = {
        "run": run_id,
        "lessons": len(lessons),
        "episodes": episodes,
        "failed": failed,
        "digest": store.run_digest(run_id),
    }
    return (FAILURES if too_many else 0), summary


def _dry(loaded: list[LoadedScenario], output: Output) -> int:
    from docendo.runtime.study import prepare

    plans = []
    for scenario in loaded:
        study = prepare(scenario)
        plans.append(_planned(study))
        for line in plans[-1]["lines"]:
            output.say(line)
    output.result([{k: v for k, v in p.items() if k != "lines"} for p in plans])
    return 0


def _planned(study: Study) -> dict[str, list[str]]:
    from docendo.runtime.report.model import label_of

    conditions = [
        f"{s.condition.id}: {label_of(dict(s.condition.coordinates), s.condition.control or '')}"
        for s in study.setups
    ]
    setup = study.setups[0]
    students = sum(a.count for n, a in setup.scenario.agents.items() if (a.role or n) == "student") or 1
    episodes = []
    for phase in setup.scenario.plan:
        if phase.kind != "rest":
            size = len(setup.pools.get(phase.pool, ()))
            n = min(phase.count or size, size)
            episodes.append(f"{phase.id}: {n} items x {students} students x {phase.rounds} rounds")
    head = f"{study.run_id}: {len(study.setups)} conditions x {study.scenario.replicates} replicates"
    return {
        "run": [study.run_id],
        "conditions": conditions,
        "episodes": episodes,
        "lines": [head, *conditions, *episodes],
    }


def replay(
    name: RunName = "latest",
    store: StoreUrl = DEFAULT_STORE,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare every event with the record.")
    ] = True,
    json: JsonFlag = False,
) -> int:
    """Run again on the recorded answers alone, with no model, and compare every event."""
    from docendo.runtime.replay import verify as verify_run
    from docendo.runtime.runs import reopen
    from docendo.runtime.store import open_store

    output = Output(json)
    with open_store(store, create=False, readonly=True) as opened:
        record = opened.run(name)
        study = reopen(record)
        found = asyncio.run(verify_run(study, opened, run_id=record.id))
    if not found.lessons:
        raise UsageError(
            f"{record.id} has no finished lesson to replay", suggestion="Finish it: issue its command again."
        )
    counts = f"{found.lessons} lessons, {found.episodes} episodes, {found.events} events, {found.calls} calls"
    if found.exact or not verify:
        same = "; every event is the same" if found.exact else ""
        output.say(f"{record.id}: replayed {counts} without a model{same}.")
    for difference in found.differences if verify else ():
        output.say(f"differs: {difference.where}: {difference.message}")
    output.result(
        {
            "run": record.id,
            "exact": found.exact,
            "lessons": found.lessons,
            "episodes": found.episodes,
            "events": found.events,
            "calls": found.calls,
            "differences": [{"where": _place(d.where), "message": d.message} for d in found.differences],
        }
    )
    return 0 if found.exact or not verify else FAILURES


def _place(where: Where) -> dict[str, object]:
    return where.as_dict()
