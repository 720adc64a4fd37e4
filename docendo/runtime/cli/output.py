"""The one place that prints, and that turns errors into text and exit codes.

With `--json` a command prints one envelope on standard output and nothing else; without, it writes results
to standard output and progress and errors to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape

from docendo.errors import DocendoError, Interrupted, ScenarioError

__all__ = ["DONE", "FAILURES", "INTERRUPTED", "Output"]

DONE, USAGE, FAILURES, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; 3 (infrastructure) comes with the error itself."""


_WIDTH = 100
"""Columns where nobody says how many there are: in a file or a pipe."""


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, highlight=False, width=None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH
    )


@dataclass
class Output:
    """Where a command writes."""

    json: bool = False
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    def result(self, data: Any, warnings: Sequence[str] = ()) -> None:
        """The envelope of a command that worked; prints nothing unless `--json`."""
        if self.json:
            self._envelope({"status": "ok", "data": data, "warnings": list(warnings)})

    def say(self, text: str) -> None:
        """A line for people, on standard output."""
        if not self.json:
            self.out.print(escape(text), soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """A line beside the result, on standard error."""
        if not self.json:
            self.err.print(escape(text), style=style, soft_wrap=True)

    def error(self, error: DocendoError) -> None:
        """What went wrong, where, and what to do."""
        if self.json:
            body: dict[str, Any] = {
                "code": error.code,
                "message": error.message,
                "suggestion": error.suggestion,
                "where": error.where.as_dict(),
            }
            if isinstance(error, ScenarioError):
                body["problems"] = [
                    {"message": p.message, "suggestion": p.suggestion, "where": p.where.as_dict()}
                    for p in error.problems
                ]
            self._envelope({"status": "error", "error": body})
            return
        if isinstance(error, ScenarioError):
            from docendo.scenarios.mistakes import format_problem

            for problem in error.problems:
                self.err.print(escape(format_problem(problem)), soft_wrap=True)
            count = len(error.problems)
            self.err.print(f"[bold red]{count} problem{'s' * (count > 1)}; nothing was run.[/]")
            return
        place = f"{error.where}: " if str(error.where) else ""
        self.err.print(f"[bold red]error:[/] {escape(place + error.message)}", soft_wrap=True)
        if error.suggestion:
            self.err.print(escape(error.suggestion), soft_wrap=True)

    def interrupted(self) -> None:
        """That somebody stopped the command, which is no mistake."""
        if self.json:
            self.error(
                Interrupted(
                    "interrupted; what was recorded is kept",
                    suggestion="Issue the same command again to go on.",
                )
            )
        self.note("Interrupted. What was recorded is kept; issue the same command to go on.", "yellow")

    def _envelope(self, body: dict[str, Any]) -> None:
        sys.stdout.buffer.write(
            orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n"
        )
        sys.stdout.flush()
