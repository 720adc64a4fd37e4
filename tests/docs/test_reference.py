"""Nothing that a scenario may name is undocumented, and nothing documented does not exist."""

import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import typer
from pydantic import BaseModel

from docendo import errors
from docendo.agents import act, policy, theory_of_mind
from docendo.agents.act import ACTS
from docendo.agents.confidence import Mode
from docendo.agents.policy import POLICIES
from docendo.agents.view import ARTEFACTS, PROVENANCE
from docendo.events import Event, StopEvent
from docendo.graphs.check import UNITS
from docendo.graphs.expression import SCOPE_NAMES
from docendo.registry import Registry
from docendo.runtime import measures
from docendo.runtime.backends.base import Capabilities
from docendo.runtime.backends.factory import BACKENDS
from docendo.runtime.cli import output
from docendo.runtime.cli.app import app
from docendo.runtime.export.export import FORMATS
from docendo.runtime.measures import MEASURES
from docendo.runtime.report import model as report_model
from docendo.runtime.store import tables
from docendo.runtime.study import known_names
from docendo.scenarios import control, grader, model_spec, schema
from docendo.scenarios.arithmetic import BUGS
from docendo.scenarios.bundled import gallery_names
from docendo.scenarios.item import AnswerKind
from docendo.scenarios.items import source
from docendo.scenarios.items.source import SOURCES
from docendo.scenarios.local_model_spec import LocalModel
from docendo.scenarios.model_base import ModelBase, TemplatedModel

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
_MARKER = re.compile(r"<!-- (table|keys): ([\w-]+) -->\n((?:\|.*\n)+)")


def _tables(sort):
    """Marker -> rows (cells) of all tables under it."""
    found = {}
    for page in PAGES:
        for kind, name, table in _MARKER.findall(page.read_text(encoding="utf-8")):
            rows = [
                [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                for line in table.strip().split("\n")[2:]
            ]
            if kind == sort:
                found.setdefault(name, []).extend(rows)
    return found


def _codes(rows):
    return [re.match(r"`([^`]+)`", row[0])[1] for row in rows]


def _built_in(registry):
    return {name for name in registry.names() if "/" not in name}


def _dependency(requirement):
    return re.match(r"[\w.-]+", requirement)[0]


def _events():
    return {kind.model_fields["kind"].default for kind in get_args(get_args(Event)[0])}


def _error_codes():
    found = (getattr(errors, name) for name in errors.__all__)
    kinds = [e for e in found if isinstance(e, type) and issubclass(e, errors.DocendoError)]
    return {kind.code for kind in kinds if kind not in (errors.DocendoError, errors.EpisodeFailure)}


NAMES = {
    "act": _built_in(ACTS),
    "act-reads": _built_in(ACTS),
    "artefact": set(ARTEFACTS),
    "backend": _built_in(BACKENDS),
    "bug": set(BUGS),
    "code": _error_codes(),
    "confidence": set(get_args(Mode)),
    "control": _built_in(control.CONTROLS),
    "dependency": {_dependency(d) for d in PYPROJECT["project"]["dependencies"]},
    "event": _events(),
    "exit": {str(v) for v in (output.DONE, output.USAGE, output.FAILURES, 3, output.INTERRUPTED)},
    "extra": set(PYPROJECT["project"]["optional-dependencies"]),
    "failure": set(get_args(errors.FailureKind)),
    "format": set(FORMATS),
    "gallery": set(gallery_names()),
    "graph": set(known_names()["graph"]),
    "kind": set(get_args(AnswerKind)),
    "measure": _built_in(MEASURES) | {f"{name}@{f.parameter}" for name, f in MEASURES.families.items()},
    "mind": {kind.partition("/")[2] for kind in model_spec.MODEL_KINDS if kind.startswith("simulated/")},
    "outcome": set(get_args(StopEvent.model_fields["reason"].annotation)),
    "policy": _built_in(POLICIES),
    "registry": {
        name
        for module in (act, control, grader, measures, policy, source, theory_of_mind)
        for name, thing in vars(module).items()
        if isinstance(thing, Registry)
    },
    "scope": set(SCOPE_NAMES),
    "source": _built_in(SOURCES),
    "student_model": _built_in(theory_of_mind.STUDENT_MODELS),
    "table": set(tables.metadata.tables),
    "unit": set(UNITS),
}


@pytest.mark.parametrize("kind", NAMES)
def test_every_name_is_documented_once(kind):
    assert sorted(_codes(_tables("table").get(kind, []))) == sorted(NAMES[kind])


def test_no_table_of_names_is_unchecked():
    assert set(_tables("table")) == set(NAMES)


def test_acts_read_what_the_documentation_says():
    rows = {_codes([row])[0]: set(re.findall(r"`([^`]+)`", row[1])) for row in _tables("table")["act-reads"]}
    assert rows == {name: set(ACTS.get(name).reads) for name in rows}


def test_artefacts_have_the_provenance_that_the_documentation_says():
    rows = {_codes([row])[0]: row[1].strip("`") for row in _tables("table")["artefact"]}
    assert rows == PROVENANCE


def test_bugs_are_described_as_in_the_code():
    rows = {_codes([row])[0]: [cell.strip("`") for cell in row[1:]] for row in _tables("table")["bug"]}
    assert rows == {bug.name: [bug.slot, bug.description, bug.source] for bug in BUGS.values()}


def test_measures_point_the_way_that_the_documentation_says():
    rows = {_codes([row])[0]: row[-1].replace("-", "none") for row in _tables("table")["measure"]}
    assert rows == {name: MEASURES.get(re.sub("@[a-z]$", "@3", name)).better for name in rows}


# --- keys -------------------------------------------------------------------------------------------------


def _models(kind, found):
    """`kind` and every model that its fields hold."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in found:
        found.append(kind)
        for info in kind.model_fields.values():
            _models(info.annotation, found)
    for inner in get_args(kind):
        _models(inner, found)
    return found


_SHARED = (ModelBase, TemplatedModel, LocalModel)
"""Kinds of models that are no model by themselves: their keys stand once, for all that have them."""


def _keys_of(name):
    """Field -> default as it is written in a scenario, of a model by its name."""
    models = [*_models(schema.Scenario, []), *_SHARED]
    for source_name in SOURCES.names():
        _models(SOURCES.get(source_name).options, models)
    models += [thing for thing in vars(report_model).values() if isinstance(thing, type)]
    kind = next(m for m in models if m.__name__ == name)
    own = inspect.get_annotations(kind) if issubclass(kind, ModelBase) else kind.model_fields
    fields = {key: kind.model_fields[key] for key in own}
    return {info.alias or key: info for key, info in fields.items()}


def _written(info):
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    value = value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, BaseModel) else value
    return "-" if value is None else f"`{json.dumps(value)}`"


@pytest.mark.parametrize("name", sorted(set(_tables("keys")) - {"Capabilities"}))
def test_every_key_is_documented_with_its_default(name):
    rows, fields = _tables("keys")[name], _keys_of(name)
    assert _codes(rows) == list(fields)
    if len(rows[0]) == 3:
        assert {code: row[1] for code, row in zip(_codes(rows), rows, strict=True)} == {
            key: _written(info) for key, info in fields.items()
        }


def test_every_model_of_the_schema_has_a_table():
    models = _models(schema.Scenario, [])
    for source_name in SOURCES.names():
        _models(SOURCES.get(source_name).options, models)
    assert {m.__name__ for m in models} - set(_tables("keys")) == set()


def test_every_part_of_a_report_has_a_table():
    parts = {"Report", "ConditionReport", "Counts", "Measured", "Paired"}
    assert parts <= set(_tables("keys"))


def test_every_capability_is_documented():
    assert _codes(_tables("keys")["Capabilities"]) == list(Capabilities.__dataclass_fields__)


# --- commands, links --------------------------------------------------------------------------------------


def test_every_command_has_a_section_with_its_options():
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    commands = sorted(typer.main.get_command(app).commands)
    assert sorted(re.findall(r"<!-- options: (\w+) -->", text)) == commands
    assert set(commands) <= set(re.findall(r"^## (\w+)$", text, re.MULTILINE))


def _anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(there), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_of_the_project_exist(page):
    for path in re.findall(
        r"`((?:docendo|docs|tests|benchmarks)/[\w./-]+)`", page.read_text(encoding="utf-8")
    ):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_every_page_is_reached_from_the_index():
    reached = set(re.findall(r"\]\(([^)#]+)\)", (ROOT / "docs/index.md").read_text(encoding="utf-8")))
    pages = {str(p.relative_to(ROOT / "docs")) for p in PAGES if (ROOT / "docs") in p.parents}
    assert {p for p in pages if not p.startswith("gallery/")} - reached == {"index.md"}


def test_the_changelog_begins_with_what_is_not_released():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "Unreleased"
    entries = re.findall(r"^- (.+)$", text, re.MULTILINE)
    assert entries
    assert all(entry.endswith(".") for entry in entries)


def test_the_licence_is_the_one_that_the_package_declares():
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
