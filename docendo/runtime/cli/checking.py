"""Commands that look at models and at the machine: models, doctor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from docendo.errors import InfrastructureError
from docendo.runtime.cli.options import DEFAULT_STORE, JsonFlag, Roles, Settings, StoreUrl
from docendo.runtime.cli.output import DONE, Output

if TYPE_CHECKING:
    from docendo.runtime.checkup import Finding
    from docendo.runtime.inspection import ModelFacts

__all__ = ["add_commands"]

MaybeScenario = Annotated[str, typer.Argument(help="A scenario file, or the name of a gallery scenario.")]


def add_commands(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (models, doctor):
        app.command()(command)


def models(
    file: MaybeScenario = "", set_: Settings = None, role: Roles = None, json: JsonFlag = False
) -> int:
    """Say what a scenario's models are and can do, or which backends are installed. Loads no weights."""
    output = Output(json)
    if not file:
        return _installed(output)
    from docendo.runtime.cli.load import load
    from docendo.runtime.inspection import failing, inspect_models

    facts = asyncio.run(inspect_models(load(file, set_, role)))
    for found in facts:
        for line in _lines(found):
            output.say(line)
    warnings = [f"{f.name}: {f.message}" for f in failing(facts)]
    output.result([asdict(f) for f in facts], warnings)
    return InfrastructureError.exit_code if warnings else DONE


def _installed(output: Output) -> int:
    """Which backends can be used here."""
    from docendo.runtime.backends.machine import BACKEND_PACKAGES, gpus, installed

    backends: dict[str, Any] = {"simulated": {}, "scripted": {}}
    backends |= {name: {p: installed(p) for p in needs} for name, needs in BACKEND_PACKAGES.items()}
    usable = {name: all(needs.values()) for name, needs in backends.items()}
    for name, needs in backends.items():
        there = ", ".join(f"{p} {v}" for p, v in needs.items() if v)
        missing = ", ".join(p for p, v in needs.items() if not v)
        state = (
            there or "part of docendo" if usable[name] else f"needs {missing}: pip install 'docendo[{name}]'"
        )
        output.say(f"{name:<13} {'yes' if usable[name] else 'no ':<4} {state}")
    found = gpus()
    output.say("GPU: " + ("; ".join(f"{g.name}, {g.total >> 30} GiB" for g in found) or "none"))
    output.result(
        {
            "backends": {n: {"installed": usable[n], "versions": v} for n, v in backends.items()},
            "gpus": [asdict(g) for g in found],
        }
    )
    return DONE


def _lines(found: ModelFacts) -> list[str]:
    """A model in words: a head line, and what is known below it."""
    lines = [f"{found.name}: {found.backend}, {found.model}: {found.status}"]
    if found.message:
        lines.append(f"  {found.message}")
    if found.advice:
        lines.append(f"  {found.advice}")
    known = {
        "can": ", ".join(found.capabilities),
        "context": f"{found.context:,} tokens" if found.context else "",
        "template": _template(found),
        **{key: _value(key, value) for key, value in found.detail.items() if key != "context"},
        "fingerprint": found.fingerprint,
    }
    return [*lines, *(f"  {key}: {value}" for key, value in known.items() if value)]


def _template(found: ModelFacts) -> str:
    if found.template == "none":
        return ""
    names = {
        "own": "the tokenizer's own",
        "file": "a file",
        "plain": "none (plain)",
        "server": "the server's",
    }
    system = {True: ", with a system role", False: ", without a system role", None: ""}[found.system_role]
    return names[found.template] + system


def _value(key: str, value: Any) -> str:
    if value in (None, "", [], {}):
        return ""
    if key == "bytes":
        return f"{value / 2**30:.2f} GiB" if value >= 2**30 else f"{value / 2**20:.1f} MiB"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def doctor(
    file: MaybeScenario = "",
    store: StoreUrl = DEFAULT_STORE,
    set_: Settings = None,
    role: Roles = None,
    json: JsonFlag = False,
) -> int:
    """Check the machine, the store and, with a scenario, every model with a request for one token."""
    from docendo.runtime.checkup import check_machine, check_models, check_store

    output = Output(json)
    findings: list[Finding] = []

    def tell(found: Sequence[Finding]) -> None:
        findings.extend(found)
        for finding in found:
            output.say(f"{finding.status:<5} {finding.what}: {finding.message}")
            if finding.advice:
                output.say(f"      {finding.advice}")

    loaded = None
    if file:
        from docendo.runtime.cli.load import load

        loaded = load(file, set_, role)
    for finding in check_machine():
        tell([finding])
    tell([check_store(store)])
    if loaded is not None:
        tell(asyncio.run(check_models(loaded)))
    output.result([{k: v for k, v in asdict(f).items() if k != "stops"} for f in findings])
    return InfrastructureError.exit_code if any(f.stops for f in findings) else DONE
