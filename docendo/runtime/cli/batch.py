"""The command that runs lessons."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from docendo.errors import UsageError
from docendo.runtime.cli.options import DEFAULT_STORE, JsonFlag, Roles, Settings, StoreUrl
from docendo.runtime.cli.output import FAILURES, Output

if TYPE_CHECKING:
    from docendo.runtime.runner import Tally
    from docendo.runtime.store import Store
    from docendo.runtime.store.records import LessonKey
    from docendo.runtime.study import Study
    from docendo.scenarios.loader import LoadedScenario
    from docendo.scenarios.schema import Scenario

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(run)


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
    jobs: Annotated[
        int | None,
        typer.Option("-j", "--jobs", min=1, help="Lessons in flight per process: 4 simulated, 64 others."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=0, help="Worker processes for simulated models; 0 takes one per core.")
    ] = 0,
    retry: Annotated[
        Literal["errors"] | None, typer.Option(help="Run lessons with failed episodes again.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, what it would cost, and record nothing.")
    ] = False,
    probe: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="dry run: items per teach or test phase to try on the models; 5 unless all are simulated.",
        ),
    ] = None,
    self_test: Annotated[
        int,
        typer.Option(
            "--self-test", min=0, help="Ask every model that starts the same things N times, and record."
        ),
    ] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no table.")] = False,
    json: JsonFlag = False,
) -> int:
    """Run scenarios, or go on with runs that were interrupted, and report."""
    from docendo.runtime.cli.load import load
    from docendo.runtime.store import open_store

    output = Output(json)
    loaded = [load(f, set_, role, limit=limit, replicates=replicates, seed=seed) for f in files]
    if dry_run:
        from docendo.runtime.cli.dry_run import foretell

        return foretell(loaded, probe, output)
    if probe is not None:
        raise UsageError("`--probe` belongs to `--dry-run`", suggestion="Add --dry-run, or leave it out.")
    how = _How(output, store, jobs, processes, retry == "errors", quiet or json, self_test)
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
    jobs: int | None
    processes: int
    retry: bool
    quiet: bool
    self_test: int


def _issue(loaded: LoadedScenario, store: Store, how: _How) -> tuple[int, dict[str, object]]:
    """One scenario: the lessons that are left, then the report. Gives exit code and summary."""
    from docendo.runtime.identity import identify, is_finished
    from docendo.scenarios.expand import merge_notes

    identity = identify(loaded)
    for note in merge_notes(identity.conditions):
        how.output.note(f"Note: {note}")
    tallies: list[Tally] = []
    own_files = any(_has_files(c.scenario) for c in identity.conditions)
    done = is_finished(store, identity, loaded.scenario.replicates, retry_errors=how.retry)
    if own_files or not done:  # they are no part of the run's name, so they are compared first
        tallies = _work(loaded, store, how)
    return _conclude(loaded, store, identity.run_id, how, tallies)


def _has_files(scenario: Scenario) -> bool:
    """Whether prompts or weights lie in files of the author's."""
    from docendo.scenarios.local_model_spec import LocalModel

    prompts = any(agent.prompts for agent in scenario.agents.values())
    return prompts or any(isinstance(model, LocalModel) for model in scenario.models.values())


def _work(loaded: LoadedScenario, store: Store, how: _How) -> list[Tally]:
    """Run what is left of a scenario; gives what its models were asked."""
    from docendo.runtime.cli.load import read_weights
    from docendo.runtime.gate import check_gate, fidelity_figures
    from docendo.runtime.runner import begin, todo
    from docendo.runtime.study import prepare
    from docendo.scenarios.fidelity import FIDELITY

    study = prepare(loaded)
    read_weights(study, how.output)
    begin(study, store)
    lessons = todo(study, store, retry_errors=how.retry)
    skipped = len(study.setups) * study.scenario.replicates - len(lessons)
    if skipped and lessons:
        how.output.note(f"{skipped} lessons are finished already; going on with {len(lessons)}.")
    check = next((s.condition.id for s in study.setups if s.condition.control == FIDELITY), None)
    first = [key for key in lessons if key.condition == check]
    tallies = _hold(study, store, first, how)
    if check is not None and loaded.scenario.fidelity is not None:
        check_gate(fidelity_figures(store, study.run_id, check, loaded.scenario.fidelity))
    tallies += _hold(study, store, [key for key in lessons if key.condition != check], how)
    if store.call_conflicts:
        how.output.note(
            f"{len(store.call_conflicts)} calls were answered differently by another process at the time. "
            "A replay will see its answers.",
            "yellow",
        )
    store.finish_run(study.run_id)
    return tallies


def _hold(study: Study, store: Store, lessons: list[LessonKey], how: _How) -> list[Tally]:
    """Hold some lessons, over as many processes as pay."""
    from docendo.runtime.cli.progress import RunProgress
    from docendo.runtime.pulse import Pulse
    from docendo.runtime.runner import run_study
    from docendo.runtime.shards import run_sharded, shards_for

    if not lessons:
        return []
    shards = shards_for(study, lessons, how.processes, how.url)
    common: dict[str, Any] = {"concurrent": how.jobs, "retry_errors": how.retry}
    pulse = Pulse(store, study.run_id)
    with RunProgress(how.output.err, shown=not how.quiet and sys.stderr.isatty()) as bar:

        def progress(tally: Tally) -> None:
            bar(tally)
            pulse(tally)

        if len(shards) > 1:
            return [run_sharded(study, store, shards, url=how.url, progress=progress, **common)]
        work = run_study(
            study, store, lessons=lessons, progress=progress, test_copies=how.self_test, **common
        )
        return [asyncio.run(work)]


def _conclude(
    loaded: LoadedScenario, store: Store, run_id: str, how: _How, tallies: Sequence[Tally]
) -> tuple[int, dict[str, object]]:
    """The report of a run that has come to its end, its exit code and summary."""
    lessons = store.lessons(run_id)
    failed, episodes = sum(r.n_failed for r in lessons), sum(r.n_episodes for r in lessons)
    if not how.quiet:
        from docendo.runtime.report.kept import report_of
        from docendo.runtime.report.render import render_table

        render_table(report_of(store, run_id), how.output.out)
    models = _asked(tallies)
    if not how.quiet:
        _tell_models(models, loaded, how.output)
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
        "asked": models,
    }
    return (FAILURES if too_many else 0), summary


def _asked(tallies: Sequence[Tally]) -> dict[str, dict[str, int]]:
    """Model -> what it was asked by this command; without `cached_tokens` where it does not tell."""
    models: dict[str, dict[str, int]] = {}
    for tally in tallies:
        for name, stats in tally.models.items():
            counts = {key: getattr(stats, key) for key in ("calls", "journal_hits", "coalesced", "sent")}
            counts |= {"failures": stats.failures} | stats.usage.model_dump()
            if not stats.tells_cache:
                del counts["cached_tokens"]
            before = models.setdefault(name, {})
            before |= {key: before.get(key, 0) + n for key, n in counts.items()}
    return models


def _tell_models(models: Mapping[str, Mapping[str, int]], loaded: LoadedScenario, output: Output) -> None:
    """One line per model that was asked; simulated ones have no engine to tell of."""
    for name, n in models.items():
        spec = loaded.scenario.models.get(name)
        if not n["sent"] or (spec is not None and spec.backend == "simulated"):
            continue
        found = " (how many of them were cached is not told)"
        if "cached_tokens" in n:
            share = f"{n['cached_tokens'] / n['prompt_tokens']:.0%}" if n["prompt_tokens"] else "none"
            found = f", {share} of them found in the prefix cache"
        output.note(
            f"{name}: {n['calls']:,} calls, of which {n['sent']:,} were sent; {n['prompt_tokens']:,} tokens "
            f"of prompts{found}; {n['completion_tokens']:,} written."
        )
