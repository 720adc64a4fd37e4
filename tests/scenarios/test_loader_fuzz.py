"""Whatever is written into a file or a flag, only a scenario or a usage error comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.errors import ScenarioError, UsageError
from docendo.scenarios.expand import expand
from docendo.scenarios.export import export_yaml
from docendo.scenarios.loader import LoadedScenario, load_scenario
from docendo.scenarios.mistakes import format_problem

SEED_FILE = """\
version: 1
name: fuzz
models:
  m: {backend: simulated, mind: skill, mastery: {a: 0.5}}
  s: &server {backend: openai, model: x, sampling: {temperature: 0.5}}
agents:
  teacher: {model: s, student_model: few_shot, prompts: {}}
  student: {model: m, memory: notes}
items: {source: subtraction, digits: 2, train: 4, test: 4}
graphs:
  g: {nodes: {a: {do: student.solve, spends: {hints: 1}}}, edges: [{from: start, to: a}]}
plan:
  - test: test
  - teach: {items: train, policy: random, graph: g}
  - {kind: test, id: after}
budget: {hints: 20%, turns: 3}
controls: [no_teacher, {irrelevant: {over: [budget.hints]}}]
matrix:
  plan.teach.policy: [random, {kind: never}]
  budget.hints: [0%, 0.5, 2]
  exclude: [{budget.hints: 2}]
  include: [{models.m.slip: 0.1}]
baseline: {plan.teach.policy: random}
"""

TOKENS = [
    "null",
    "[]",
    "{}",
    "~",
    "-1",
    "1e999",
    "0x1F",
    "true",
    "'",
    '"',
    ": ",
    "- ",
    "\n",
    "\t",
    "  ",
    "*server",
    "&a ",
    "<<: ",
    "!!int ",
    "!x ",
    "%",
    "120%",
    "${env:NOPE_X}",
    "{{",
    "[",
    "]",
    "}",
    ",",
    "#",
    "---\n",
    "\x00",
    "\ud7ff",
    "é",
    "\u2028",
    "kind",
    "plan",
    "teach",
    "over",
    "include",
    "matrix.",
    "budget.hints",
    "plan.teach.policy",
    "99999999999999999999",
    '"\\ud800"',
    "extends: fuzz.yaml\n",
    "controls: 5\n",
    "? [a]\n",
    ".nan",
    "2024-01-01",
    "|\n",
    ">-\n",
    "\r",
    "\x85",
]

LINES = SEED_FILE.splitlines(keepends=True)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """The seed file after a few edits: lines dropped, repeated, re-indented; text put in, cut out."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        i = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["drop", "repeat", "indent", "insert", "replace", "cut"]))
        line = lines[i]
        at = draw(st.integers(0, max(0, len(line) - 1)))
        token = draw(st.sampled_from(TOKENS))
        lines[i] = {
            "drop": "",
            "repeat": line + line,
            "indent": " " * draw(st.integers(0, 6)) + line.lstrip(),
            "insert": line[:at] + token + line[at:],
            "replace": line.replace(line[at : at + draw(st.integers(1, 12))] or "x", token, 1),
            "cut": line[:at] + "\n",
        }[how]
    return "".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def attempt(file: Path, data: bytes, **flags: list[str]) -> LoadedScenario | None:
    """Load it; `None` where it was refused as it should be, with problems that can be shown."""
    file.write_bytes(data)
    try:
        loaded = load_scenario(file, **flags)
        expand(loaded)
    except ScenarioError as refused:
        problems = refused.problems
    except UsageError:
        return None
    else:
        return loaded
    assert problems
    for problem in problems:
        assert problem.message
        assert format_problem(problem)
        assert "Traceback" not in problem.message
        assert "pydantic" not in problem.message
    return None


def test_the_seed_file_is_sound(folder: Path) -> None:
    assert attempt(folder / "seed.yaml", SEED_FILE.encode()) is not None


@settings(max_examples=25, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode(errors="surrogatepass"))
    )
)
def test_any_bytes_are_refused_politely(folder: Path, data: bytes) -> None:
    assert attempt(folder / "bytes.yaml", data) is None


@settings(max_examples=40, deadline=None)
@given(text=mutations())
def test_any_mutation_loads_or_is_refused_and_what_loads_exports(folder: Path, text: str) -> None:
    loaded = attempt(folder / "fuzz.yaml", text.encode(errors="surrogatepass"))
    if loaded is not None:
        again = attempt(folder / "again.yaml", export_yaml(loaded).encode())
        assert again is not None
        assert again.digest == loaded.digest


@settings(max_examples=25, deadline=None)
@given(
    path=st.sampled_from(
        [
            "plan.teach.policy",
            "plan",
            "models.m",
            "budget.hints",
            "matrix",
            "controls",
            "seed",
            "name",
            "agents.student.memory.size",
            "matrix.seed",
            "items",
            "plan.after.id",
            "extends",
            "baseline",
        ]
    )
    | st.text(max_size=12),
    value=st.sampled_from(TOKENS) | st.text(max_size=12),
    role=st.text(max_size=8)
    | st.sampled_from(
        ["teacher=m", "teacher=simulated/expert", "student=openai/a/b", "x=/", "=", "teacher=simulated/x"]
    ),
)
def test_any_flag_is_applied_or_refused(folder: Path, path: str, value: str, role: str) -> None:
    attempt(folder / "flags.yaml", SEED_FILE.encode(), overrides=[f"{path}={value}"])
    attempt(folder / "flags.yaml", SEED_FILE.encode(), roles=[role])
