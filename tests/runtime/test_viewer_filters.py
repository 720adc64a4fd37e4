"""Filters are read, never run: what they can say, what they refuse, and that nothing gets through."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.runtime.viewer.episode_models import EpisodeRow, Turn
from docendo.runtime.viewer.expression import ExpressionError, compile_filter
from docendo.runtime.viewer.vocabulary import EXAMPLES, FUNCTIONS


def turn(**fields: Any) -> Turn:
    about: dict[str, Any] = {
        "turn": 0, "branch": "", "agent": "teacher", "act": "send", "kind": "hint", "move": "telling",
        "public": True, "tokens": 5, "leak": False, "event": 0, "text": "Borrow from the tens.",
    }  # fmt: skip
    return Turn(**(about | fields))


def row(**fields: Any) -> EpisodeRow:
    about: dict[str, Any] = {
        "condition": "c0", "label": "random", "control": "", "replicate": 0, "ordinal": 3, "key": "k",
        "phase": "teach", "phase_kind": "teach", "round": 0, "item": "17-9", "student": "student",
        "outcome": "end", "detail": "", "failure": "", "message": "", "events": 9, "wall_s": 0.5,
        "answers": 2,
        "first": False, "right": True, "gain": 1.0, "helped": True, "leak": 0, "vetoes": 0,
        "spent": {"hints": 2}, "tokens": 100, "calls": 4, "p": 0.2, "brier": None, "diagnosed": None,
        "moves": ["probing", "telling"],
        "turns": [turn(), turn(agent="student", act="reply", move="", tokens=9)],
    }  # fmt: skip
    return EpisodeRow(**(about | fields))


def holds(text: str, **fields: Any) -> bool:
    return compile_filter(text).holds(row(**fields))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('gain < 0 and not leak and any(t.move == "telling" for t in turns)', False),
        ('gain > 0 and not leak and any(t.move == "telling" for t in turns)', True),
        ("0 < gain <= 1", True),
        ("brier < 0.5", False),
        ("brier >= 0.5", False),
        ("brier is None and brier != 0", True),
        ("brier + 1 > 0", False),
        ("not (brier < 0.5)", True),
        ("spent['hints'] == 2 and spent.get('tells', 0) == 0", True),
        ("spent['tells'] is None", True),
        ("'telling' in moves and 'guess' not in moves", True),
        ("moves[0] == 'probing' and moves[-1] == 'telling' and moves[9] is None", True),
        ("item.startswith('17') and 'BORROW' not in turns[0]", None),
        ("any('borrow' in t.text.lower() for t in turns if t.agent == 'teacher')", True),
        ("sum(t.tokens for t in turns) == 14 and max(t.tokens for t in turns) == 9", True),
        ("count(t.public for t in turns) == len(turns) == 2", True),
        ("all(t.tokens > 5 for t in turns)", False),
        ("any(any(u.tokens > t.tokens for u in turns) for t in turns)", True),
        ("outcome in ('end', 'budget') and phase in ['teach']", True),
        ("(tokens if right else -tokens) / calls == 25 and tokens // 3 == 33 and tokens % 3 == 1", True),
        ("tokens / 0 > 1", False),
        ("abs(-3) == 3 and -gain == -1 and +gain == 1", True),
        ("  leak == 0\n", True),
    ],
)
def test_filters_read_like_python(text: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(ExpressionError):
            holds(text)
    else:
        assert holds(text) is expected


@pytest.mark.parametrize(
    ("text", "column", "message", "suggestion"),
    [
        ("leek > 1", 1, "no `leek`", "`leak`"),
        ("gain < 0 and  outcom == 'end'", 15, "no `outcom`", "`outcome`"),
        ("any(t.moov for t in turns)", 5, "no `moov`", "`move`"),
        ("cuont(t.leak for t in turns)", 1, "no function `cuont`", "`count`"),
        ("any(t.leak for t in moves)", 21, "over `turns`", "turns"),
        ("gain <", None, "not an expression", "Example"),
        ("", None, "not an expression", "Example"),
        ("gain < 0; leak", None, "not an expression", "Example"),
        ("gain = 0", None, "not an expression", "Example"),
        ("t.move == 'telling'", 1, ".move", "any("),
        ("gain.real", 1, ".real", "turn"),
        ("outcome < 3", 1, "cannot order a text and a number", ""),
        ("item + 1", 1, "cannot calculate with a text", ""),
        ("3 in item", 1, "cannot look for a number in a text", ""),
        ("any(leak for leak in turns)", 14, "means something else", "for t in turns"),
        ("turns[0].agent == 'x'", 1, ".agent", "turn"),
        ("2 ** 9 > 1", 1, "nothing else to calculate", ""),
        ("spent.keys()", 1, "no `.keys()`", "get"),
        ("len(gain)", 1, "cannot be taken of a number", ""),
        ("any(t.leak for t in turns for u in turns)", 4, "one `for`", ""),
        ("sum(t.tokens for t in turns, 1)", None, "", ""),
    ],
)
def test_mistakes_are_shown_where_they_are(
    text: str, column: int | None, message: str, suggestion: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        holds(text)
    assert message in caught.value.message
    assert suggestion in caught.value.suggestion
    if column is not None:
        assert caught.value.column == column


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__[0].__subclasses__()",
        "turns.__class__",
        "any(t.__class__ for t in turns)",
        "any(t.model_dump for t in turns)",
        "any(t.copy() for t in turns)",
        "item.format(item)",
        "item.__class__",
        "'{0.__class__}'.format(1)",
        "f'{item}'",
        "(lambda: 1)()",
        "[x for x in (1,2)]",
        "{t.turn for t in turns}",
        "{t.turn: 1 for t in turns}",
        "{'a': 1}",
        "(x := 1)",
        "eval('1')",
        "exec('1')",
        "open('/etc/passwd')",
        "getattr(item, 'x')",
        "model_config",
        "__builtins__",
        "self",
        "run",
        "item[0:1]",
        "*turns",
        "...",
        "b'x' == item",
        "1j == 1",
        "1 if True else await_",
        "len.__self__",
        "any.real",
        "min(*turns)",
        "min(turns, key=len)",
        "item.join(moves)",
        "item.encode()",
        "item.translate(spent)",
    ],
)
def test_nothing_else_gets_through(text: str) -> None:
    with pytest.raises(ExpressionError):
        holds(text)


def test_no_filter_takes_long() -> None:
    many = [turn(turn=n) for n in range(2000)]
    deep = "any(any(any(t.turn + u.turn + v.turn < 0 for v in turns) for u in turns) for t in turns)"
    with pytest.raises(ExpressionError, match="takes too long"):
        holds(deep, turns=many)
    for text in (
        "1" * 1900, "9" * 16 + " > 1", "999999999999999 * 999999999999999 > 1", "(" * 900 + "1" + ")" * 900,
        "not " * 480 + "1", "'a' * 999999999", "moves * 999999999", "x" * 2001, "leak\0", "-" * 1900 + "1",
    ):  # fmt: skip
        try:
            holds(text)
        except ExpressionError:
            continue
        assert text.startswith(("not ", "-", "(")), text


LEAVES = st.one_of(
    st.sampled_from(
        ["gain", "leak", "right", "moves", "spent", "turns", "item", "brier", "tokens", "None", "True"]
    ),
    st.integers(-5, 5).map(str),
    st.text(string.ascii_letters + " '", max_size=5).map(repr),
    st.sampled_from(
        ["any(t.leak for t in turns)", "spent['hints']", "spent.get('x')", "moves[0]", "nothing"]
    ),
)
OPERATORS = ["+", "-", "*", "/", "//", "%", "<", "<=", ">", ">=", "==", "!=", "in", "is", "and", "or"]

EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        inner.map(lambda e: f"not {e}"),
        inner.map(lambda e: f"(-{e})"),
        st.tuples(st.sampled_from(["len", "abs", "max", "any", "sum"]), inner).map(
            lambda p: f"{p[0]}({p[1]})"
        ),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        inner.map(lambda e: f"any({e} for t in turns if t.public)"),
    ),
    max_leaves=12,
)


def complaint(text: str) -> str:
    """What is wrong with a filter; empty where it holds or does not."""
    try:
        return "" if holds(text) in {True, False} else "it is neither true nor false"
    except ExpressionError as error:
        return f"{error.code}: {error.message}"


@given(EXPRESSIONS)
@settings(max_examples=400, deadline=None)
def test_an_expression_holds_or_says_why_not(text: str) -> None:
    found = complaint(text)
    assert not found or re.match("expression: .+", found)


CONJUNCTS = st.sampled_from(
    ["phase == 'teach'", "outcome == 'budget'", "replicate > 0", "leak", "right",
     "any(t.leak for t in turns)",
     "control", "wall_s < 1", "item.startswith('9')", "not first", "len(label) > 2"]
)  # fmt: skip


@given(st.lists(CONJUNCTS, min_size=1, max_size=5).map(" and ".join))
@settings(max_examples=200, deadline=None)
def test_what_the_record_excludes_would_not_have_passed(text: str) -> None:
    names = ("condition", "label", "control", "phase", "outcome", "replicate", "item", "wall_s", "student")
    record = EpisodeRow.model_construct(**{name: getattr(row(), name) for name in names})
    found = compile_filter(text)
    assert not (found.excludes(record) and found.holds(row()))


def test_a_filter_on_the_record_alone_excludes() -> None:
    assert compile_filter("phase == 'test' and leak").excludes(row())
    assert not compile_filter("leak and phase == 'test'").excludes(row())
    assert not compile_filter("phase == 'test' or leak").excludes(row())


@given(st.text(max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_holds_or_says_why_not(text: str) -> None:
    found = complaint(text)
    assert not found or re.match("expression: .+", found, re.DOTALL)


FLAT = st.recursive(
    st.one_of(st.sampled_from(["tokens", "leak", "calls", "answers"]), st.integers(1, 9).map(str)),
    lambda inner: st.tuples(
        inner, st.sampled_from([o for o in OPERATORS if o not in ("/", "//", "%", "in", "is")]), inner
    ).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
    max_leaves=10,
)


@given(FLAT)
@settings(max_examples=300, deadline=None)
def test_where_nothing_is_missing_a_filter_means_what_python_means(text: str) -> None:
    subject = row()
    names = {name: getattr(subject, name) for name in ("tokens", "leak", "calls", "answers")}
    code = compile(ast.parse(text, mode="eval"), "filter", "eval")
    assert compile_filter(text).holds(subject) is bool(eval(code, {"__builtins__": {}}, names))


def test_the_documentation_names_everything_that_filters_read() -> None:
    text = (Path(__file__).parents[2] / "docs" / "viewer.md").read_text(encoding="utf-8")
    for kind, model in (("episode", EpisodeRow), ("turn", Turn)):
        table = text.split(f"<!-- filters: {kind} -->\n", 1)[1].split("\n\n", 1)[0]
        cells = [line.split("|")[1] for line in table.splitlines()[2:]]
        named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
        assert sorted(named) == sorted(model.model_fields)
    functions = text.split("and the functions", 1)[1].split("of one", 1)[0]
    assert set(re.findall(r"`(\w+)`", functions)) == set(FUNCTIONS)
    assert EXAMPLES[0] in text
