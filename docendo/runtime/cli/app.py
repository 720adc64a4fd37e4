"""`docendo`: the commands, and the one boundary where errors become text and exit codes.

Exit codes: 0 done, 1 usage or scenario error, 2 finished with more failures than `fail_on_error` allows,
3 infrastructure (model, database), 130 interrupted and resumable.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from docendo import __version__
from docendo.errors import DocendoError, InfrastructureError, UsageError
from docendo.runtime.cli import authoring, batch, checking, replaying, results, view
from docendo.runtime.cli.output import DONE, INTERRUPTED, USAGE, Output

__all__ = ["app", "main"]

app = typer.Typer(
    name="docendo",
    help="A laboratory for teaching and learning between language-model agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for _module in (authoring, batch, replaying, results, view, checking):
    _module.add_commands(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"docendo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """A laboratory for teaching and learning between language-model agents."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    output = Output(json="--json" in arguments)
    sys.exit(_run(arguments, output))


def _run(arguments: list[str], output: Output) -> int:
    try:
        code = app(arguments, standalone_mode=False)
        if code == INTERRUPTED:  # typer makes an exit code of the interrupt
            raise KeyboardInterrupt
        return code if isinstance(code, int) else DONE
    except KeyboardInterrupt:
        output.interrupted()
        return INTERRUPTED
    except DocendoError as error:
        output.error(error)
        return error.exit_code
    except ExceptionGroup as group:
        return _group(group, output)
    except TyperException as error:
        output.error(
            UsageError(error.format_message() or "not enough arguments", suggestion="See `docendo --help`.")
        )
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        return _bug(error, output)


def _group(group: ExceptionGroup[Exception], output: Output) -> int:
    """The first known error of several that came together."""
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            return _group(error, output)
        if isinstance(error, DocendoError):
            output.error(error)
            return error.exit_code
    return _bug(group.exceptions[0], output)


def _bug(error: BaseException, output: Output) -> int:
    """A bug of ours: one line, and the traceback only for those who asked for it."""
    if os.environ.get("DOCENDO_TRACEBACK"):
        traceback.print_exception(error)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({last[0].filename.rpartition('/')[2]}:{last[0].lineno})" if last else ""
    output.error(
        InfrastructureError(
            f"docendo failed: {type(error).__name__}: {error}{place}",
            suggestion="This is a bug. What was recorded is kept. "
            "Set DOCENDO_TRACEBACK=1 and report what it prints.",
        )
    )
    return InfrastructureError.exit_code
