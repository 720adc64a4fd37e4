"""Student models learn from what was observed and from nothing else, and their beliefs are probabilities."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.memory.record import Evidence
from docendo.memory.student_model import (
    BayesianKnowledgeTracing,
    ConstantPrior,
    FewShot,
    MisconceptionPosterior,
    Oracle,
    Query,
    StudentModel,
)  # fmt: skip


def seen(
    answer: str = "7",
    *,
    correct: bool | None = True,
    help: str = "",
    skills: tuple[str, ...] = ("s",),
    n: int = 0,
) -> Evidence:
    return Evidence(
        item=f"i{n}", question=f"q{n}", skills=skills, correct_answer="7", student="student",
        student_answer=answer, help=help, correct=correct,
    )  # fmt: skip


def query(help: str = "", skills: tuple[str, ...] = ("s",), question: str = "q") -> Query:
    return Query(item="x", question=question, correct_answer="7", skills=skills, help=help)


_hypotheses: dict[str, Callable[[str], str | None]] = {
    "correct": lambda question: "7",
    "bug": lambda question: "5",
    "other": lambda question: "7" if question == "easy" else "3",
}

MAKERS: dict[str, Callable[[], StudentModel]] = {
    "constant": ConstantPrior,
    "bkt": BayesianKnowledgeTracing,
    "misconceptions": lambda: MisconceptionPosterior(hypotheses=_hypotheses),
}

_evidence = st.builds(
    seen,
    st.sampled_from(["7", "5", "3", "1"]),
    correct=st.sampled_from([True, False, None]),
    help=st.sampled_from(["", "look"]),
    skills=st.lists(st.sampled_from("abc"), unique=True, max_size=2).map(tuple),
)


@pytest.mark.parametrize("kind", MAKERS)
@given(evidence=st.lists(_evidence, max_size=12), help=st.sampled_from(["", "look"]))
def test_beliefs_are_probabilities(kind: str, evidence: list[Evidence], help: str) -> None:
    model = MAKERS[kind]()
    for one in evidence:
        model.observe(one)
    for skills in ((), ("a",), ("a", "b", "never seen")):
        p = model.predict(query(help, skills))
        assert p is not None
        assert 0 <= p <= 1
    snapshot = model.snapshot()
    for table in ("skills", "misconceptions"):
        assert all(0 <= value <= 1 for value in snapshot.get(table, {}).values())


def test_constant_is_the_base_rate_of_its_sort() -> None:
    model = ConstantPrior()
    assert model.predict(query()) == 0.5
    for correct in (True, False, False, None):
        model.observe(seen(correct=correct))
    assert model.predict(query()) == pytest.approx(1 / 3)
    assert model.predict(query("look")) == 0.5
    model.observe(seen(correct=True, help="look"))
    assert model.predict(query("look")) == 1.0
    assert model.predict(query()) == pytest.approx(1 / 3)
    assert ConstantPrior(p_correct=0.2).predict(query()) == 0.2


def test_knowledge_tracing_by_hand() -> None:
    """Corbett & Anderson 1995 with L = 0.5, guess = slip = 0.1: after a right answer L = 0.45 / 0.5 = 0.9."""
    model = BayesianKnowledgeTracing()
    assert model.predict(query()) == pytest.approx(0.5)
    model.observe(seen(correct=True))
    assert model.mastery["s"] == pytest.approx(0.9)
    assert model.predict(query()) == pytest.approx(0.9 * 0.9 + 0.1 * 0.1)
    model.observe(seen(correct=False))
    assert model.mastery["s"] == pytest.approx(0.9 * 0.1 / (0.9 * 0.1 + 0.1 * 0.9))
    model.observe(seen(correct=None))
    assert model.mastery["s"] == pytest.approx(0.5), "an answer that could not be judged says nothing"
    assert model.predict(query("look")) == pytest.approx(0.65 * 0.9 + 0.35 * 0.1)


def test_right_answers_raise_and_wrong_ones_lower_mastery() -> None:
    model = BayesianKnowledgeTracing()
    beliefs = []
    for correct in (False, False, True, True, True):
        model.observe(seen(correct=correct, skills=("a", "b")))
        beliefs.append(model.predict(query(skills=("a", "b"))))
    assert beliefs[0] is not None
    assert beliefs == sorted(beliefs[:2], reverse=True) + sorted(beliefs[2:])  # type: ignore[type-var]


def test_the_hypothesis_that_predicts_the_answers_wins() -> None:
    model = MisconceptionPosterior(hypotheses=_hypotheses)
    assert sum(model.weights.values()) == pytest.approx(1)
    for n in range(4):
        model.observe(seen("5", correct=False, n=n))
    assert sum(model.weights.values()) == pytest.approx(1)
    assert max(model.weights, key=lambda name: model.weights[name]) == "bug"
    p = model.predict(query())
    assert p is not None
    assert p < 0.1
    assert next(iter(model.snapshot()["misconceptions"])) == "bug"


def test_few_shot_shows_what_was_observed_and_balances_yes_and_no() -> None:
    model = FewShot(demonstrations=4)
    for n in range(6):
        model.observe(seen("yes" if n < 5 else "no", n=n))
        model.observe(seen("yes", help="look", n=10 + n))
    shown = model.shown(helped=False)
    assert [e.student_answer for e in shown].count("no") == 1
    assert len(shown) == 4
    assert all(not e.help for e in shown)
    assert all(e.help for e in model.shown(helped=True))
    assert model.asks_teacher
    assert model.predict(query()) is None
    assert Oracle().predict(query()) is None
