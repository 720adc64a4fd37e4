"""Live progress of a run, on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from docendo.runtime.runner import Tally

__all__ = ["RunProgress"]


class RunProgress:
    """A bar over lessons, with counts of episodes, calls, cache hits and tokens beside it."""

    def __init__(self, console: Console, *, shown: bool) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("lessons"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[counts]}[/]"),
            console=console,
            disable=not shown,
            transient=True,
        )
        self._task = self._bar.add_task("running", total=None, counts="")

    def __call__(self, tally: Tally) -> None:
        """Show `tally`."""
        shared = tally.calls - tally.sent
        share = f"{shared / tally.calls:.0%}" if tally.calls else "-"
        usage = tally.usage
        counts = (
            f"{tally.episodes:,} episodes ({tally.failed} failed) · {tally.calls:,} calls "
            f"({share} from cache) · {usage.prompt_tokens + usage.completion_tokens:,} tokens"
        )
        self._bar.update(self._task, total=tally.lessons, completed=tally.lessons_done, counts=counts)

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
