"""Exams of similar items, and items in other words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.errors import ItemError
from docendo.runtime.minds.world import World
from docendo.scenarios.arithmetic import exercised, parse_problem
from docendo.scenarios.grader import grade
from docendo.scenarios.item import Item
from docendo.scenarios.items.exam import GENERATED, choose_exam
from docendo.scenarios.items.pools import load_pools
from docendo.scenarios.items.rephrase import original_id, rephrased
from docendo.scenarios.schema import ExamSpec, ItemsSpec

SOURCE = ItemsSpec(source="jsonl", file="x.jsonl")


def word(id_: str, question: str, *skills: str, **more: Any) -> Item:
    return Item(id=id_, question=question, kind="number", answer="1", skills=skills, taxonomy=more)


def exam(item: Item, pool: list[Item], **spec: Any) -> list[str]:
    chosen = choose_exam(item, pool, ExamSpec(pool="exam", **spec), source=SOURCE)
    assert item.id not in {other.id for other in chosen}
    return [other.id for other in chosen]


def generated(item: Item, **spec: Any) -> tuple[Item, ...]:
    return choose_exam(item, (), ExamSpec(choose="variants", **spec), source=SOURCE)


POOL = [
    word("a", "Ann buys 5 apples for 3 dollars each.", "multiplication"),
    word("b", "A train drives 90 kilometers.", "division", "subtraction"),
    word("c", "Ben buys 7 pears and 2 apples.", "addition", "multiplication"),
    word("d", "A train drives 60 kilometers in 2 hours.", "division"),
]


# --- the four ways --------------------------------------------------------------------------------------


def test_given_items_keep_the_pools_order() -> None:
    assert exam(POOL[1], POOL) == ["a", "c", "d"]
    assert exam(POOL[1], POOL, count=2) == ["a", "c"]


def test_items_of_the_same_skill_come_first() -> None:
    assert exam(word("x", "x?", "multiplication"), POOL, choose="same_skill") == ["a", "c"]
    assert exam(word("x", "x?", "division"), POOL, choose="same_skill", count=2) == ["d", "b"]
    ties = [word(f"t{n}", f"{n}?", "division") for n in range(4)]
    assert exam(word("x", "x?", "division"), ties, choose="same_skill") == ["t0", "t1", "t2", "t3"]


def test_the_nearest_items_share_weighty_words() -> None:
    item = word("x", "A train drives 75 kilometers in 4 hours.")
    assert exam(item, POOL, choose="nearest", count=2) == ["d", "b"]
    assert exam(word("y", "Ann buys 2 apples."), POOL, choose="nearest", count=2) == ["a", "c"]


def test_all_numbers_are_one_word() -> None:
    pool = [word("one", "1000 and 1,000.5"), word("two", "birds and 3 bees")]
    assert exam(word("x", "7 and 8"), pool, choose="nearest", count=1) == ["one"]


def test_variants_of_a_pool_are_those_that_say_so() -> None:
    pool = [*POOL, word("e", "e?", variant_of="x"), word("f", "f?", variant_of="x")]
    assert exam(word("x", "x?"), pool, choose="variants") == ["e", "f"]
    assert exam(word("x~2", "x, that is?"), pool, choose="variants", count=1) == ["e"]


def test_an_item_that_asks_the_same_is_not_in_the_exam() -> None:
    twin = word("twin", "ann buys 5 apples  for 3 dollars each.")
    assert exam(POOL[0], [*POOL, twin]) == ["b", "c", "d"]
    assert exam(word("a~1", "Other words."), POOL) == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("item", "spec", "message", "hint"),
    [
        (POOL[0], {"count": 4}, "wants 4 items of pool `exam` by `given`, but there are 3", "larger"),
        (POOL[0], {"choose": "same_skill", "count": 2}, "by `same_skill`, but there are 1", "skills"),
        (word("x", "x?"), {"choose": "same_skill"}, "wants items of pool `exam`", "skills"),
        (word("x", "x?"), {"choose": "variants"}, "but there are 0", "`variant_of`"),
    ],
)
def test_an_exam_that_is_too_short_is_an_error(
    item: Item, spec: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ItemError, match=message) as caught:
        exam(item, POOL, **spec)
    assert item.id in caught.value.message
    assert hint in caught.value.suggestion
    with pytest.raises(ItemError, match="made by `jsonl` by `variants`"):
        generated(item)


# --- generated variants ---------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["subtraction", "addition"]), st.integers(1, 5), st.integers(0, 100))
def test_generated_variants_exercise_the_same_rules_with_other_digits(
    source: str, digits: int, seed: int
) -> None:
    (item,) = load_pools(ItemsSpec(source=source, digits=digits, test=1), base=Path(), seed=seed)["test"]
    problem = parse_problem(item.question)
    assert problem is not None
    try:
        found = generated(item)
    except ItemError:
        assert digits <= 2  # e.g. no other problem of one digit is like 0 - 0
        return
    assert len(found) == GENERATED
    assert found == generated(item)
    assert len({i.id for i in (item, *found)}) == GENERATED + 1
    for variant in found:
        other = parse_problem(variant.question)
        assert other is not None
        assert set(exercised(other)) == set(exercised(problem)) == set(item.skills)
        assert (len(str(other.top)), len(str(other.bottom))) == (
            len(str(problem.top)),
            len(str(problem.bottom)),
        )
        assert grade(variant, str(other.answer)).correct


def test_too_many_variants_are_an_error() -> None:
    (item,) = load_pools(ItemsSpec(source="addition", digits=1, test=1), base=Path(), seed=1)["test"]
    with pytest.raises(ItemError, match="wants 99 items made by `jsonl`"):
        generated(item, count=99)


def test_a_word_problem_with_an_equation_in_it_has_no_generated_variants() -> None:
    with pytest.raises(ItemError, match="but there are 0"):
        generated(Item(id="x", question="What is 16 - 3, doubled?", kind="number", answer="26"))


# --- other words ----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["subtraction", "addition"]), st.integers(1, 6), st.integers(0, 1000))
def test_column_problems_in_other_words_are_the_same_problems(source: str, digits: int, seed: int) -> None:
    items = load_pools(ItemsSpec(source=source, digits=digits, test=3), base=Path(), seed=seed)["test"]
    others = list(rephrased(items, 6))
    assert len({other.question for other in (*items, *others)}) == 21
    for n, other in enumerate(others):
        item = items[n // 6]
        assert other.id == f"{item.id}~{n % 6 + 1}"
        assert original_id(other.id) == item.id
        assert parse_problem(other.question) == parse_problem(item.question)
        same = {"id", "question", "taxonomy"}
        assert other.model_dump(exclude=same) == item.model_dump(exclude=same)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Take 17 away from 52.", "52 - 17"),
        ("take 1,700 from 5,200", "5200 - 1700"),
        ("52 minus 17 is what?", "52 - 17"),
        ("Add 0 to 52. What do you get?", "52 + 0"),
        ("Take 52 away from 17.", None),
        ("Take 17.5 away from 52.", None),
        ("Take 17 away from 52 apples.", None),
        ("Ann has the sum of 3 and 4, doubled. How much?", None),
    ],
)
def test_questions_in_words(question: str, expected: str | None) -> None:
    problem = parse_problem(question)
    assert (None if problem is None else str(problem)) == expected


def test_other_items_bring_their_wordings_or_are_framed(tmp_path: Path) -> None:
    records = [
        {"id": "own", "question": "Is it?", "answer": "yes", "rephrasings": ["So it is?", "Is it so?"]},
        {"id": "frame", "question": "Which one?", "answer": "B", "options": ["x", "y"], "variant_of": "own"},
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    pool = load_pools(ItemsSpec(source="jsonl", file="q.jsonl", test=2), base=tmp_path, seed=1)["test"]
    own, frame = sorted(pool, key=lambda item: item.id, reverse=True)
    assert frame.taxonomy["variant_of"] == "own"
    assert [item.question for item in rephrased([own], 2)] == ["So it is?", "Is it so?"]
    framed = list(rephrased([frame], 6))
    assert len({item.question for item in framed}) == 6
    for item in framed:
        assert frame.question in item.question
        assert item.question != frame.question
        assert (item.answer, item.options) == (frame.answer, frame.options)
        assert item.taxonomy["rephrasing_of"] == "frame"


def test_more_wordings_than_there_are() -> None:
    with pytest.raises(ItemError, match="7 other wordings of item `x` are wanted, but there are only 6") as c:
        list(rephrased([word("x", "x?")], 7))
    assert "`rephrasings`" in c.value.suggestion
    with pytest.raises(ItemError, match="only 1"):
        list(rephrased([word("x", "x?", rephrasings=["x?", "y?", "y?"])], 2))


def test_a_bad_field_of_wordings_is_told(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "q", "answer": 1, "rephrasings": 5}))
    with pytest.raises(ItemError, match="`rephrasings` is neither a list of texts"):
        load_pools(ItemsSpec(source="jsonl", file="q.jsonl", test=1), base=tmp_path, seed=1)


def test_the_answer_key_knows_rephrasings_and_generated_variants() -> None:
    (item,) = load_pools(ItemsSpec(source="subtraction", test=1), base=Path(), seed=1)["test"]
    world = World({item.id: item})
    for other in (*rephrased([item], 2), *generated(item)):
        full = world.item(other.public)
        assert (full.answer, full.skills) == (other.answer, other.skills)
        assert world.read(f"{full.solution} The answer is {full.answer}.", full).conclusion == full.answer
