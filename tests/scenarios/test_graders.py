from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docendo.errors import UnknownNameError
from docendo.scenarios.grader import (
    GRADERS,
    Verdict,
    extract_answer,
    grade,
    labels,
    read_choice,
    read_number,
    read_yes_no,
)
from docendo.scenarios.item import AnswerKind, Item

ANIMALS = ("blue whale", "whale", "dog")


def item(answer: str, kind: AnswerKind = "number", **more: Any) -> Item:
    return Item(id="i", question="?", kind=kind, answer=answer, **more)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", Fraction(18)),
        ("$1,234.50", Fraction("1234.5")),
        ("-$5", Fraction(-5)),
        ("\N{MINUS SIGN}3", Fraction(-3)),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("2 1/2", Fraction(5, 2)),
        ("1e3", Fraction(1000)),
        ("2 million", Fraction(2_000_000)),
        ("18 dollars.", Fraction(18)),
        ("x = 7", Fraction(7)),
        ("12,345,678 people", Fraction(12_345_678)),
        ("1/0", None),
        ("2 pi", None),
        ("2 and 3", None),
        ("", None),
        ("eighteen", None),
    ],
)
def test_read_number(text: str, value: Fraction | None) -> None:
    assert read_number(text) == value


@pytest.mark.parametrize(
    ("gold", "answer", "correct"),
    [
        ("18", "18", True),
        ("18", "18.0", True),
        ("18", "$18.00", True),
        ("18", "19", False),
        ("0.5", "1/2", True),
        ("50", "50%", True),
        ("0.5", "50%", True),
        ("50%", "0.5", True),
        ("50", "0.5", False),
        ("0.3", "0.30000000000000004", True),
        ("-5", "5", False),
        ("1234", "1,234", True),
    ],
)
def test_numbers_are_compared_by_value(gold: str, answer: str, correct: bool) -> None:
    assert grade(item(gold), answer).correct is correct


@pytest.mark.parametrize(
    ("gold", "answer", "correct"),
    [
        ("3/4", "\\frac{3}{4}", True),
        ("18", "\\sqrt{324}", True),
        ("2\\sqrt{2}", "\\sqrt{8}", True),
        ("2", "\\sqrt{2}", False),
    ],
)
def test_expressions_go_to_math_verify(gold: str, answer: str, correct: bool) -> None:
    pytest.importorskip("math_verify")
    assert grade(item(gold), answer).correct is correct


@pytest.mark.parametrize("answer", ["9^9^9^9", "2**99999999", "99999999!", "\\frac{" * 200, "1" * 5000])
def test_what_could_run_for_ever_is_not_tried(answer: str) -> None:
    assert grade(item("18"), answer).correct is False


@pytest.mark.parametrize("kind", ["number", "choice", "yes_no", "text"])
@pytest.mark.parametrize("answer", [None, "", "  \n"])
def test_no_answer_is_a_wrong_answer(kind: AnswerKind, answer: str | None) -> None:
    golds = {"number": "3", "choice": "A", "yes_no": "yes", "text": "x"}
    options = ANIMALS if kind == "choice" else ()
    assert grade(item(golds[kind], kind, options=options), answer) == Verdict(False, "unreadable")


def test_an_unreadable_gold_answer_is_missing_not_wrong() -> None:
    verdict = grade(item("??"), "3")
    assert verdict.correct is None
    assert "??" in verdict.reason
    assert grade(item("maybe", "yes_no"), "yes").correct is None
    assert grade(item("Z", "choice", options=ANIMALS), "A").correct is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("B", "B"), ("(b)", "B"), ("B.", "B"), ("B. whale", "B"), ("(B) whale", "B"), ("option C", "C"),
        ("blue whale", "A"), ("Whale", "B"), ("I choose the blue whale", "A"), ("a dog or a whale", None),
        ("Z", None), ("nothing", None),
    ],
)  # fmt: skip
def test_read_choice(text: str, label: str | None) -> None:
    assert read_choice(text, ANIMALS) == label


@given(
    st.lists(st.text("xyzw ", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=6, unique=True)
)
def test_every_option_is_chosen_by_label_and_by_text(options: list[str]) -> None:
    for label, text in zip(labels(options), options, strict=True):
        assert read_choice(label, options) == label
        assert read_choice(f"({label})", options) == label
        assert extract_answer(f"So the answer is {label}.", "choice", options) == label
        if len(text) > 1:
            chosen = read_choice(text, options)
            assert chosen is not None
            assert " ".join(options[ord(chosen) - 65].split()) == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "answer"),
    [("Yes.", "yes"), ("no, never", "no"), ("True", "yes"), ("I know it is so", None), ("yes or no", "yes"),
     ("Perhaps yes, perhaps no", None)],
)  # fmt: skip
def test_read_yes_no(text: str, answer: str | None) -> None:
    assert read_yes_no(text) == answer


def test_text_is_compared_after_normalisation() -> None:
    gold = item("New  York", "text")
    assert grade(gold, "new york.").correct
    assert grade(gold, "York").correct is False


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So the answer is 42.", "42"),
        ("So the answer is $1,234.50.", "1234.5"),
        ("The answer is -5", "-5"),
        ("First 3, so the answer is 7. No: so the answer is 8.", "8"),
        ("The answer is 6*7 = 42. I got it from 6 and 7.", "42"),
        ("**Answer:** 18 dollars", "18"),
        ("He sells 9 eggs.\n#### 70,000", "70000"),
        ("\\boxed{12}, which uses 3 steps", "12"),
        ("The answer is \\frac{3}{4}.", "\\frac{3}{4}"),
        ("That makes 2.50 each, 5 in all", "5"),
        ("10-5", "5"),
        ("So the answer is", None),
        ("no idea", None),
    ],
)
def test_extract_number(text: str, answer: str | None) -> None:
    assert extract_answer(text, "number") == answer


@given(
    st.one_of(
        st.integers(-(10**9), 10**9).map(str),
        st.integers(-(10**9), 10**9).map(lambda n: f"{n:,}"),
        st.decimals(-(10**6), 10**6, places=2).map(lambda d: f"{d:,}"),
        st.decimals(0, 10**6, places=2).map(lambda d: f"${d:,}"),
        st.fractions(0, 50, max_denominator=99).map(str),
    ),
    st.sampled_from(
        ["So the answer is {}.", "Answer: {}", "#### {}", "I used 3 and 4.\nThe answer is {}, I think."]
    ),
)
def test_an_announced_number_is_read_back(number: str, sentence: str) -> None:
    read = extract_answer(sentence.format(number), "number")
    assert grade(item(number), read).correct


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So the answer is no.", "no"),
        ("Yes. There is no way round it.", "yes"),
        ("No one knew. So the answer is yes", "yes"),
        ("Bees have six legs, thus no", "no"),
        ("I do know nothing", None),
    ],
)
def test_extract_yes_no(text: str, answer: str | None) -> None:
    assert extract_answer(text, "yes_no") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So the answer is (B).", "B"),
        ("The correct choice is C: dog", "C"),
        ("So the answer is B because a dog barks", "B"),
        ("It swims, so the answer is the blue whale.", "A"),
        ("(A) is too big, so (B)", "B"),
        ("hm", None),
    ],
)
def test_extract_choice(text: str, answer: str | None) -> None:
    assert extract_answer(text, "choice", ANIMALS) == answer


def test_extract_text() -> None:
    assert extract_answer("I think so. The answer is New York.", "text") == "New York"
    assert extract_answer("First line\nParis\n", "text") == "Paris"
    assert extract_answer("", "text") is None


@given(st.text(max_size=60), st.sampled_from(["number", "choice", "yes_no", "text"]))
def test_graders_and_readers_are_total(text: str, kind: AnswerKind) -> None:
    options = ANIMALS if kind == "choice" else ()
    golds = {"number": "3", "choice": "A", "yes_no": "yes", "text": "x"}
    answer = extract_answer(text, kind, options)
    assert grade(item(golds[kind], kind, options=options), answer).correct in (True, False)
    assert grade(item(golds[kind], kind, options=options), text).correct in (True, False)


def test_the_item_and_the_caller_may_name_a_grader() -> None:
    by_item = item("7", taxonomy={"grader": "text"})
    assert grade(by_item, "7.0").correct is False
    assert grade(by_item, "7.0", grader="number").correct
    with pytest.raises(UnknownNameError, match="nubmer"):
        grade(by_item, "7", grader="nubmer")
    assert {"number", "choice", "yes_no", "text"} <= set(GRADERS)
