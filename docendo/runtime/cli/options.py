"""Options that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["DEFAULT_STORE", "JsonFlag", "Roles", "RunName", "ScenarioFile", "Settings", "StoreUrl"]

DEFAULT_STORE = "sqlite:///docendo.db"
"""A file in the working folder."""

ScenarioFile = Annotated[str, typer.Argument(help="A scenario file, or the name of a gallery scenario.")]
RunName = Annotated[
    str, typer.Argument(help="A run: its id, the start of it, its scenario's name, or `latest`.")
]
StoreUrl = Annotated[
    str, typer.Option("--store", envvar="DOCENDO_STORE", help="Where results are: a SQLAlchemy URL.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: `plan.teach.policy=random`. Repeatable.")
]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", help="Give an agent another model: `teacher=openai/Qwen/Qwen3-4B-Instruct-2507`."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON envelope and nothing else.")]
