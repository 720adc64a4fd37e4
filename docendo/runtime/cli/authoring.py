"""Commands for writing scenarios: init, validate, show, schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from docendo.errors import UsageError
from docendo.runtime.cli.options import JsonFlag, Roles, ScenarioFile, Settings
from docendo.runtime.cli.output import Output

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (init, validate, schema):
        app.command()(command)


def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("scenario.yaml"),
    template: Annotated[
        str, typer.Option(help="What to start from; `--template list` names them.")
    ] = "budget",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Write a commented scenario to start from."""
    from docendo.scenarios.bundled import read_template, template_names

    output = Output(json)
    if template == "list":
        names = template_names()
        output.say("\n".join(names))
        return output.result({"templates": names})
    text = read_template(template)
    if file.exists() and not force:
        raise UsageError(f"{file} exists already", suggestion="Choose another name, or add --force.")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    output.say(f"Wrote {file}. Next: docendo validate {file}, then docendo run {file}.")
    return output.result({"file": str(file), "template": template})


def validate(file: ScenarioFile, set_: Settings = None, role: Roles = None, json: JsonFlag = False) -> None:
    """Check a scenario: schema, names, graphs, items, prompts, capabilities. Runs nothing."""
    from docendo.runtime.cli.load import load
    from docendo.runtime.study import known_names, prepare

    output = Output(json)
    study = prepare(load(file, set_, role, known=known_names()))
    lessons = len(study.setups) * study.scenario.replicates
    output.say(
        f"{file}: sound. {len(study.setups)} conditions x {study.scenario.replicates} replicates "
        f"= {lessons} lessons."
    )
    output.result(
        {
            "name": study.scenario.name,
            "run": study.run_id,
            "conditions": len(study.setups),
            "lessons": lessons,
        }
    )


def schema(
    out: Annotated[Path | None, typer.Option(help="Write to a file instead of standard output.")] = None,
    json: JsonFlag = False,
) -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from docendo.scenarios.json_schema import json_schema

    output = Output(json)
    document = json_schema()
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
        output.say(f"Wrote {out}.")
    elif not json:
        typer.echo(text)
    output.result(document)
