from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.errors import EpisodeFailure, PromptError
from docendo.graphs.expression import FILTERS, MAX_LENGTH, SCOPE_NAMES, compile_condition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("decision.intervene", True),
        ("not decision.intervene", False),
        ("turn < 6 and grade.correct is none", True),
        ("budget.hints - 1 >= 2", True),
        ("budget['hints'] * 2 == 6", True),
        ("answer|lower|trim == 'b'", True),
        ("answer in ['A', 'C']", False),
        ("params.rounds|default(3) == 3", True),
        ("(turn if exhausted else -turn) < 0", True),
        ("belief is defined", False),
    ],
)
def test_conditions_read_their_scope(text: str, expected: bool) -> None:
    scope = {
        "decision": SimpleNamespace(intervene=True),
        "turn": 2,
        "grade": {"correct": None},
        "budget": {"hints": 3},
        "answer": " B",
        "params": {},
        "exhausted": "",
    }
    assert compile_condition(text).holds(scope) is expected


def test_a_condition_knows_its_names_and_looks_up_no_others() -> None:
    class Jealous(dict[str, int]):
        def __getitem__(self, key: str) -> int:
            assert key == "turn"
            return 1

        def __contains__(self, key: object) -> bool:
            return True

    condition = compile_condition("turn == 1")
    assert condition.names == {"turn"}
    assert condition.holds(Jealous())
    assert compile_condition("decision.a and grade.b|default(turn)").names == {"decision", "grade", "turn"}


@pytest.mark.parametrize(
    ("text", "position"),
    [("decision.", 10), ("turn < ", 8), ("a b", 3), ("turn == (1", 11), ("a }} b", 3), ("turn = 3", 6)],
)
def test_a_syntax_error_says_where(text: str, position: int) -> None:
    with pytest.raises(PromptError, match=f"at character {position}") as caught:
        compile_condition(text)
    assert f"`{text}`" in caught.value.message


@pytest.mark.parametrize("text", ["", "   ", "a $ b", "'open", "{% set x = 1 %}", "a; b", "x|", "1 +", "not"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(PromptError):
        compile_condition(text)


@pytest.mark.parametrize(
    "text",
    [
        "decision.__class__.__mro__",
        "decision['__class__']",
        "''.__class__",
        "_private",
        "decision.explain()",
        "range(10)",
        "9 ** 9 ** 9 ** 9",
        "'a' ~ 'b'",
        "{'a': 1}.a",
        "decision|attr('__class__')",
        "'a'|center(1000000000)",
        "turn|round(999999999, 'ceil')",
        "decision|pprint",
        "[1, 2][0:1]",
        "turn is nonsense",
        "namespace(a=1)",
    ],
)
def test_hostile_and_costly_conditions_do_not_compile(text: str) -> None:
    with pytest.raises(PromptError):
        compile_condition(text)


@pytest.mark.parametrize(
    "text",
    [
        "answer * 1000000000 == ''",
        "[0] * 1000000000 == []",
        "'%1000000000d' % turn == ''",
        "decision['__cl' + 'ass__']",
        "decision.missing",
        "missing",
        "decision.intervene.deep.er",
        "turn < answer",
        "turn / 0",
    ],
)
def test_what_cannot_be_evaluated_fails_the_episode(text: str) -> None:
    scope = {"answer": "A", "turn": 1, "decision": SimpleNamespace(intervene=None)}
    with pytest.raises(EpisodeFailure, match="cannot be evaluated") as caught:
        compile_condition(text).holds(scope)
    assert caught.value.kind == "crash"
    assert text in caught.value.message


def test_length_and_depth_are_limited() -> None:
    with pytest.raises(PromptError, match="too long"):
        compile_condition("1 + " * MAX_LENGTH + "1")
    with pytest.raises(PromptError, match="deep"):
        compile_condition("(" * 240 + "1" + ")" * 240)


@given(st.text(st.sampled_from("abt01 .()[]'|<=+-*%_{},~not andinrange"), max_size=40))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    with contextlib.suppress(PromptError, EpisodeFailure):  # nothing else may come out
        assert compile_condition(text).holds({"turn": 1}) in {True, False}


def test_every_filter_works() -> None:
    for name in FILTERS:
        text = "[2, 1]" if name in {"count", "first", "last", "length", "max", "min", "sum"} else "'1'"
        text = "-1" if name == "abs" else text
        assert compile_condition(f"{text}|{name}").holds({})


def test_globals_of_jinja_are_free_names_like_any_other() -> None:
    assert compile_condition("cycler or range").names.isdisjoint(SCOPE_NAMES)
    with pytest.raises(EpisodeFailure):
        compile_condition("range").holds({})
