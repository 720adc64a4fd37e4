"""The viewer's commands: `view`, and `view export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from docendo.runtime.cli.options import DEFAULT_STORE, JsonFlag, RunName, StoreUrl
from docendo.runtime.cli.output import Output

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Register the commands of this module."""
    group = typer.Typer(invoke_without_command=True, help="Look at what a store holds, in a browser.")
    group.callback()(view)
    group.command()(export)
    app.add_typer(group, name="view")


def view(
    context: typer.Context,
    store: StoreUrl = DEFAULT_STORE,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0 for any free one. By default 8420, or the next."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Interface to listen on. Others than 127.0.0.1 let other machines read.")
    ] = "127.0.0.1",
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = True,
    json: JsonFlag = False,
) -> None:
    """Look at what a store holds, in a browser, live while a run goes on. Stop it with Ctrl-C."""
    if context.invoked_subcommand:  # an option before the command's name holds for the command
        context.obj = store if _given(context, "store") else None
        return
    from docendo.runtime.store import open_store
    from docendo.runtime.viewer.serve import listen, serve

    output = Output(json)
    with open_store(store, create=False, readonly=True) as opened, listen(host, port) as listening:

        def announce(url: str) -> None:
            output.say(f"{opened.name} is shown at {url} (Ctrl-C stops).")
            output.result({"url": url, "store": opened.name})

        serve(opened, listening, host, opens=open_, announce=announce)


def export(
    context: typer.Context,
    name: RunName = "latest",
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write.")] = Path("study.html"),
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    store: StoreUrl = DEFAULT_STORE,
    json: JsonFlag = False,
) -> None:
    """Write a run as one page that opens from its file, with no server and no network."""
    from docendo.runtime.store import open_store
    from docendo.runtime.viewer.export import export_run

    output = Output(json)
    url = store if _given(context, "store") else context.obj or store
    with open_store(url, create=False, readonly=True) as opened:
        written = export_run(opened, name, out, force=force)
    output.say(
        f"Wrote {written.episodes:,} episodes of {written.run} to {out} ({written.size / 1e6:.1f} MB)."
    )
    output.result({"run": written.run, "out": str(out), "episodes": written.episodes, "size": written.size})


def _given(context: typer.Context, option: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"
