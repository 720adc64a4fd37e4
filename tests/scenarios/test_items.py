from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docendo.errors import DocendoError, ItemError, ScenarioError, UsageError
from docendo.scenarios.arithmetic import exercised, parse_problem
from docendo.scenarios.grader import grade, labels
from docendo.scenarios.item import Item
from docendo.scenarios.items import gsm8k, strategyqa
from docendo.scenarios.items.allotment import Allotment
from docendo.scenarios.items.pools import Pools, items_digest, load_pools, source_options
from docendo.scenarios.items.source import SOURCES
from docendo.scenarios.schema import ItemsSpec

REAL = Path(__file__).parents[3] / "shared" / "data"


def load(base: Path | None = None, seed: int = 7, **spec: Any) -> Pools:
    return load_pools(ItemsSpec(**spec), base=base or Path(), seed=seed)


def real(name: str) -> Path:
    if not (REAL / name).is_file():
        pytest.skip(f"{name} is not here")
    return REAL


def everything(pools: Pools) -> list[Item]:
    return [item for items in pools.values() for item in items]


def assert_sound(pools: Pools) -> None:
    items = everything(pools)
    assert len({item.id for item in items}) == len(items)
    assert len({(item.question, item.options) for item in items}) == len(items)
    for item in items:
        assert grade(item, item.answer).correct, item


def jsonl(path: Path, *records: object) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records), encoding="utf-8")
    return path


# --- generated column problems --------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["subtraction", "addition"])
@pytest.mark.parametrize("digits", [1, 2, 3, 5])
def test_generated_problems_are_sound(source: str, digits: int) -> None:
    pools = load(source=source, digits=digits, train=10, test=30)
    assert_sound(pools)
    assert {pool: len(items) for pool, items in pools.items()} == {"train": 10, "test": 30}
    for item in everything(pools):
        problem = parse_problem(item.question)
        assert problem is not None
        assert item.skills == exercised(problem)
        assert item.answer == str(problem.answer)
        assert len(str(problem.top)) == digits
        assert item.solution


def test_the_mix_is_balanced_over_skills() -> None:
    counts = Counter(s for item in load(source="subtraction", test=200)["test"] for s in item.skills)
    for skill in ("borrow", "borrow_from_zero", "zero_minus", "minus_zero", "bring_down"):
        assert counts[skill] >= 40


def test_the_mix_can_be_asked_for() -> None:
    only = load(source="subtraction", test=50, skills=["borrow_from_zero"])["test"]
    assert all("borrow_from_zero" in item.skills for item in only)
    heavy = load(source="addition", test=90, skills={"carry": 2, "add_column": 1})["test"]
    counts = Counter(s for item in heavy for s in item.skills)
    assert counts["carry"] == 60
    assert counts["add_column"] == 30


def test_every_distinct_problem_can_be_had_and_no_more() -> None:
    pools = load(source="subtraction", digits=1, test=55)
    assert len(pools["test"]) == 55
    with pytest.raises(ItemError, match="56 problems are wanted, but there are only 55 with 1 digits"):
        load(source="subtraction", digits=1, test=56)


@pytest.mark.parametrize("source", ["subtraction", "addition"])
@pytest.mark.parametrize(("digits", "bottom"), [(1, None), (1, 1), (2, None), (2, 1), (2, 2)])
def test_the_number_of_problems_is_known(source: str, digits: int, bottom: int | None) -> None:
    spec = {"source": source, "digits": digits, "bottom_digits": bottom}
    with pytest.raises(ItemError, match="there are only") as caught:
        load(**spec, test=10**6)
    count = int(caught.value.message.split("only ")[1].split()[0])
    assert len(load(**spec, test=count)["test"]) == count


def test_the_same_seed_gives_the_same_items_in_another_process() -> None:
    spec = dict(source="subtraction", train=20, test=20)
    code = (
        "from docendo.scenarios.items.pools import *; from docendo.scenarios.schema import ItemsSpec;"
        "from pathlib import Path;"
        f"print(items_digest(load_pools(ItemsSpec(**{spec!r}), base=Path(), seed=7)))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == items_digest(load(**spec))
    assert items_digest(load(**spec, seed=8)) != items_digest(load(**spec))


# --- samples that come with docendo ---------------------------------------------------------------------


def test_sample_word_problems() -> None:
    pools = load(source="gsm8k", file="builtin:word_problems.jsonl", train=20, test=40)
    assert_sound(pools)
    for item in everything(pools):
        assert item.kind == "number"
        assert item.solution
        assert "<<" not in item.solution
        assert "####" not in item.solution
        assert {"two_step", "multi_step"} & set(item.skills)


def test_sample_word_problems_are_right() -> None:
    for item in everything(load(source="gsm8k", file="builtin:word_problems.jsonl", test=60)):
        last = item.solution.splitlines()[-1]
        assert item.answer in last.replace(",", "").replace("$", "")


def test_sample_yes_no_questions() -> None:
    pools = load(
        source="strategyqa",
        file="builtin:yes_no.json",
        harmful="builtin:yes_no_harmful.json",
        train=20,
        test=43,
    )
    assert_sound(pools)
    items = everything(pools)
    assert 25 <= sum(item.answer == "yes" for item in items) <= 38
    harmful = [item for item in items if "harmful" in item.taxonomy]
    assert len(harmful) >= 12
    for item in harmful:
        assert item.taxonomy["harmful"]["wrong_answer"] != item.answer
        assert all(text and text != item.solution for text in item.taxonomy["harmful"]["explanations"])
    assert all(item.skills and item.solution and item.taxonomy["decomposition"] for item in items)


def test_sample_multiple_choice() -> None:
    pools = load(source="multiple_choice", file="builtin:choice.csv", train=6, test=40)
    assert_sound(pools)
    answers = Counter(item.answer for item in everything(pools))
    assert set(answers) == set("ABCD")
    assert max(answers.values()) <= 20
    assert all(len(item.options) == 4 and item.skills and item.solution for item in everything(pools))


# --- real files, where present --------------------------------------------------------------------------


def test_real_gsm8k() -> None:
    pools = load(real("gsm8k/test.jsonl"), source="gsm8k", file="gsm8k/test.jsonl", test=1319)
    assert_sound(pools)
    janet = next(
        item
        for item in pools["test"]
        if item.question.startswith("Janet\N{RIGHT SINGLE QUOTATION MARK}s ducks")
    )
    assert janet.answer == "18"
    assert janet.skills == ("subtraction", "multiplication", "two_step")
    assert janet.solution.startswith("Janet sells 16 - 3 - 4 = 9 duck eggs a day.")
    assert not any("<<" in item.solution or "####" in item.solution for item in pools["test"])


def test_real_strategyqa() -> None:
    base = real("strategyqa/dev.json")
    pools = load(
        base,
        source="strategyqa",
        file={"train": "strategyqa/train.json", "test": "strategyqa/dev.json"},
        harmful="strategyqa/harmful_explanations.json",
    )
    assert_sound(pools)
    assert Counter(item.answer for item in pools["test"]) == {"no": 122, "yes": 107}
    assert len(pools["train"]) == 2060  # one of 2,061 asks the same as a test item
    assert sum("harmful" in item.taxonomy for item in pools["train"]) == 12


def test_pools_by_file_may_be_cut(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", *({"id": f"a{i}", "question": f"a{i}?", "answer": i} for i in range(5)))
    jsonl(tmp_path / "b.jsonl", *({"id": f"b{i}", "question": f"b{i}?", "answer": i} for i in range(5)))
    pools = load(tmp_path, source="jsonl", file={"train": "a.jsonl", "test": "b.jsonl"}, train=2)
    assert {item.id[0] for item in pools["train"]} == {"a"}
    assert {item.id[0] for item in pools["test"]} == {"b"}
    assert [len(items) for items in pools.values()] == [2, 5]
    with pytest.raises(ItemError, match="pool `train` wants 6 items, but there are only 5"):
        load(tmp_path, source="jsonl", file={"train": "a.jsonl", "test": "b.jsonl"}, train=6)


# --- skills ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solution", "skills"),
    [
        (
            "It is 2*3 = <<2*3=6>>6 and 6-1 = <<6-1=5>>5.\n#### 5",
            ("multiplication", "subtraction", "two_step"),
        ),
        ("<<-5+3=-2>>-2\n#### -2", ("addition",)),
        (
            "<<(4+4)/2=4>>4 <<4*2=8>>8 <<8/8=1>>1\n#### 1",
            ("addition", "division", "multiplication", "multi_step"),
        ),
        ("So 4 x 5 = 20 and 20 - 3 = 17\n#### 17", ("multiplication", "subtraction", "two_step")),
        ("It is five.\n#### 5", ()),
    ],
)
def test_gsm8k_skills(solution: str, skills: tuple[str, ...]) -> None:
    assert gsm8k.operations(solution) == skills


def test_strategyqa_skills() -> None:
    assert strategyqa.reasoning_skills(
        [
            "What is the population of Albany, Georgia?",
            "What is the population of Albany, New York?",
            "Is #1 less than #2?",
        ]
    ) == ("three_hop", "fact", "number", "comparison")
    assert strategyqa.reasoning_skills([]) == ()


# --- other file formats ---------------------------------------------------------------------------------


def test_multiple_choice_json_forms(tmp_path: Path) -> None:
    jsonl(
        tmp_path / "q.jsonl",
        {"id": 1, "question": "a?", "options": ["x", "y"], "answer": "y", "skills": ["s"], "why": "note"},
        {"question": "b?", "options": {"A": "x", "B": "y", "C": "z"}, "answer": "C"},
    )
    first, second = sorted(
        everything(load(tmp_path, source="multiple_choice", file="q.jsonl", test=2)), key=str
    )
    assert (first.answer, first.options, first.skills) == ("B", ("x", "y"), ("s",))
    assert first.taxonomy == {"why": "note"}
    assert (second.id, second.answer) == ("q-2", "C")


def test_multiple_choice_with_renamed_columns(tmp_path: Path) -> None:
    (tmp_path / "cqa.csv").write_text(
        'q_no,q_text,q_op1,q_op2,q_ans,taskB\n7,"Where, then?",bank,river,river,"Because\nwater."\n',
        encoding="utf-8",
    )
    columns = {
        "id": "q_no", "question": "q_text", "answer": "q_ans", "solution": "taskB",
        "options": ["q_op1", "q_op2"],
    }  # fmt: skip
    (item,) = load(tmp_path, source="multiple_choice", file="cqa.csv", columns=columns, test=1)["test"]
    assert item == Item(
        id="7", question="Where, then?", kind="choice", options=("bank", "river"), answer="B",
        solution="Because\nwater.",
    )  # fmt: skip


def test_jsonl_guesses_kinds_and_keeps_fields(tmp_path: Path) -> None:
    jsonl(
        tmp_path / "q.jsonl",
        {"id": "n", "question": "1?", "answer": 5, "form": "A", "taxonomy": {"k": 1}},
        {"id": "y", "question": "2?", "answer": True},
        {"id": "c", "question": "3?", "answer": "two", "options": ["one", "two"]},
        {"id": "t", "question": "4?", "answer": "Paris", "pool": "train"},
        {"id": "f", "question": "5?", "answer": "7", "kind": "text"},
    )
    pools = load(tmp_path, source="jsonl", file="q.jsonl", train=1, test=4)
    assert [item.id for item in pools["train"]] == ["t"]
    found = {item.id: item for item in pools["test"]}
    assert {name: (i.kind, i.answer) for name, i in found.items()} == {
        "n": ("number", "5"), "y": ("yes_no", "yes"), "c": ("choice", "B"), "f": ("text", "7"),
    }  # fmt: skip
    assert (found["n"].form, found["n"].taxonomy) == ("A", {"k": 1})


# --- bad input ------------------------------------------------------------------------------------------

GOOD = {"question": "1+1?", "answer": "2"}


@pytest.mark.parametrize(
    ("records", "message", "line"),
    [
        ([GOOD, '{"question": '], "malformed JSON", 2),
        ([GOOD, "[1]"], "a record must be an object", 2),
        ([GOOD, {"question": "2?"}], "`answer` is missing", 2),
        ([GOOD, {"question": "2?", "answer": "  "}], "the answer is empty", 2),
        ([GOOD, {"question": 3, "answer": "2"}], "wrong type of `question`", 2),
        (
            [{**GOOD, "id": "a"}, {"id": "a", "question": "2?", "answer": "1"}],
            "id `a` is taken by record 1",
            2,
        ),
        ([{**GOOD, "kind": "numbr"}], "unknown kind `numbr`", 1),
        ([{**GOOD, "kind": "yes_no"}], "cannot be read as yes_no", 1),
        ([{"question": "q", "answer": "word", "kind": "number"}], "cannot be read as number", 1),
        ([{**GOOD, "options": ["x", "y"]}], "answer `2` cannot be read as choice; options are A, B", 1),
        ([{"question": "q", "answer": "x", "options": ["x", "X "]}], "option B repeats option A", 1),
        ([{**GOOD, "anser": 1}], "unknown field `anser`", 1),
        ([{**GOOD, "skills": 5}], "`skills` is neither", 1),
    ],
)
def test_bad_records_say_where_and_what(
    tmp_path: Path, records: list[object], message: str, line: int
) -> None:
    path = jsonl(tmp_path / "q.jsonl", *records)
    with pytest.raises(ItemError, match=message) as caught:
        load(tmp_path, source="jsonl", file="q.jsonl", test=1)
    assert (caught.value.where.file, caught.value.where.line) == (str(path), line)
    assert caught.value.suggestion


def test_all_bad_records_are_told_at_once(tmp_path: Path) -> None:
    jsonl(tmp_path / "q.jsonl", GOOD, {"question": "x"}, {"answer": "y"}, GOOD)
    with pytest.raises(ItemError, match="2 of 4 items") as caught:
        load(tmp_path, source="jsonl", file="q.jsonl", test=1)
    assert "q.jsonl:2: `answer` is missing" in caught.value.message
    assert "q.jsonl:3: `question` is missing" in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "there is no file none.jsonl"),
        ("e.jsonl", b"\n\n", "holds no items"),
        ("e.json", b"{}", "must hold a list"),
        ("e.json", b"[1, 2", "malformed JSON"),
        ("e.json", b"[" * 100_000, "malformed JSON"),
        ("e.csv", b"question,answer\n", "holds no items"),
        ("e.csv", b"question,answer\na,b,c\n", "3 columns where the header has 2"),
        ("e.csv", b'question,answer\n"a"x,b\n', "malformed CSV"),
        ("e.txt", b"x", "cannot read items from a `.txt` file"),
        ("e.jsonl", b"\xff\xfe\x00", "not UTF-8"),
        ("builtin:nope.csv", None, "there is no file builtin:nope.csv"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ItemError, match=message) as caught:
        load(tmp_path, source="jsonl", file=name, test=1)
    assert caught.value.where.file


def test_bad_gsm8k_and_harmful_files(tmp_path: Path) -> None:
    jsonl(tmp_path / "g.jsonl", {"question": "q", "answer": "no final line"})
    with pytest.raises(ItemError, match="no line `#### number`"):
        load(tmp_path, source="gsm8k", file="g.jsonl", test=1)
    (tmp_path / "h.json").write_text('[{"qid": "x"}]', encoding="utf-8")
    with pytest.raises(ItemError, match="`harmful_explanation` is missing") as caught:
        load(tmp_path, source="strategyqa", file="builtin:yes_no.json", harmful="h.json", test=1)
    assert caught.value.where.path == "[0]"


@pytest.mark.parametrize(
    ("spec", "path", "hint"),
    [
        ({"source": "subtracton"}, "items.source", "subtraction"),
        ({"source": "subtraction", "digitz": 3}, "items.digitz", "digits"),
        ({"source": "subtraction", "digits": "three"}, "items.digits", ""),
        ({"source": "subtraction", "skills": ["borow"]}, "items.skills", ""),
        ({"source": "gsm8k"}, "items", "builtin"),
        (
            {"source": "multiple_choice", "file": "x", "columns": {"qestion": "q"}},
            "items.columns.qestion",
            "",
        ),
        ({"source": "reasoning_gym", "task": "x", "config": {"seed": 1}}, "items.config", ""),
    ],
)
def test_bad_options_are_scenario_errors_with_paths(spec: dict[str, Any], path: str, hint: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        source_options(ItemsSpec(**spec, test=1))
    (problem,) = caught.value.problems
    assert problem.where.path == path
    assert hint in problem.suggestion


def test_a_skill_that_cannot_occur_is_an_error() -> None:
    with pytest.raises(ItemError, match="no such problem exercises the skill `carry`"):
        load(source="subtraction", skills=["carry"], test=1)


# --- pools ----------------------------------------------------------------------------------------------


def test_asking_for_more_than_there_is(tmp_path: Path) -> None:
    jsonl(tmp_path / "q.jsonl", *({"question": f"{i}?", "answer": i} for i in range(10)))
    with pytest.raises(ItemError, match="pool `test` wants 7 items, but there are only 6") as caught:
        load(tmp_path, source="jsonl", file="q.jsonl", train=4, test=7)
    assert "There are 10 different items" in caught.value.suggestion
    with pytest.raises(ItemError, match="names no pool; the source has 10 items"):
        load(tmp_path, source="jsonl", file="q.jsonl")


def test_a_pool_is_empty_only_when_asked(tmp_path: Path) -> None:
    pools = load(source="subtraction", train=0, test=3, pools={"far": 2})
    assert {pool: len(items) for pool, items in pools.items()} == {"train": 0, "test": 3, "far": 2}


def test_a_question_that_occurs_twice_is_kept_once(tmp_path: Path) -> None:
    jsonl(tmp_path / "q.jsonl", *({"question": f"{i % 4}?  ", "answer": i % 4} for i in range(8)))
    assert len(load(tmp_path, source="jsonl", file="q.jsonl", test=4)["test"]) == 4
    with pytest.raises(ItemError, match="only 4"):
        load(tmp_path, source="jsonl", file="q.jsonl", test=5)
    jsonl(
        tmp_path / "c.jsonl", {"question": "case of x?", "answer": 1}, {"question": "case of X?", "answer": 2}
    )
    assert len(load(tmp_path, source="jsonl", file="c.jsonl", test=2)["test"]) == 2
    jsonl(tmp_path / "w.jsonl", {"question": "x?", "answer": 1}, {"question": "x? ", "answer": 2})
    with pytest.raises(ItemError, match="ask the same but are answered"):
        load(tmp_path, source="jsonl", file="w.jsonl", test=1)


def test_a_question_in_two_files_stays_with_the_later_pool(tmp_path: Path) -> None:
    jsonl(
        tmp_path / "a.jsonl",
        {"id": 1, "question": "x?", "answer": 1},
        {"id": 2, "question": "y?", "answer": 1},
    )
    jsonl(tmp_path / "b.jsonl", {"id": 3, "question": "X?", "answer": 1})
    pools = load(tmp_path, source="jsonl", file={"train": "a.jsonl", "test": "b.jsonl"})
    assert [[item.id for item in items] for items in pools.values()] == [["2"], ["3"]]


def test_one_id_for_two_items_of_two_files_is_an_error(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", {"id": 1, "question": "x?", "answer": 1})
    jsonl(tmp_path / "b.jsonl", {"id": 1, "question": "y?", "answer": 1})
    with pytest.raises(ItemError, match="id `1` is used by two different items"):
        load(tmp_path, source="jsonl", file={"train": "a.jsonl", "test": "b.jsonl"})


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
def test_pools_are_disjoint_and_depend_on_the_seed_only(seed: int, train: int, test: int, far: int) -> None:
    spec = dict(
        source="multiple_choice",
        file="builtin:choice.csv",
        train=train,
        test=min(test, 20),
        pools={"far": min(far, 6)},
    )
    pools = load(seed=seed, **spec)
    assert_sound(pools)
    assert items_digest(pools) == items_digest(load(seed=seed, **spec))
    assert [len(p) for p in pools.values()] == [train, min(test, 20), min(far, 6)]


# --- allotment ------------------------------------------------------------------------------------------

ITEMS = tuple(Item(id=f"i{n}", question=f"{n}?", kind="number", answer="1") for n in range(20))
requests = st.lists(
    st.tuples(
        st.sampled_from(["demonstrations", "mental model", "personal", "explained"]), st.integers(0, 6)
    ),
    max_size=8,
)


@given(st.integers(), requests)
def test_no_item_serves_two_purposes(seed: int, wishes: list[tuple[str, int]]) -> None:
    allotment, again = Allotment({"train": ITEMS}, seed), Allotment({"train": ITEMS}, seed)
    for purpose, n in wishes:
        n = min(n, allotment.left("train"))
        taken = allotment.take("train", n, purpose)
        assert len(taken) == n
        assert taken == again.take("train", n, purpose)
    held = [item.id for purpose in {purpose for purpose, _ in wishes} for item in allotment.held(purpose)]
    assert len(held) == len(set(held)) == 20 - allotment.left("train")


@given(st.integers(), st.integers(0, 10), st.integers(0, 10))
def test_taking_twice_is_taking_more(seed: int, first: int, second: int) -> None:
    once, twice = Allotment({"train": ITEMS}, seed), Allotment({"train": ITEMS}, seed)
    assert twice.take("train", first, "p") + twice.take("train", second, "p") == once.take(
        "train", first + second, "p"
    )


def test_exhaustion_says_who_took_what() -> None:
    allotment = Allotment({"train": ITEMS, "test": ITEMS[:2]}, 1)
    allotment.take("train", 4, "demonstrations")
    allotment.take("train", 15, "mental model")
    with pytest.raises(ItemError, match="only 1 of 20 are free") as caught:
        allotment.take("train", 2, "personal")
    assert "`demonstrations` has 4, `mental model` has 15" in caught.value.message
    assert len(allotment.rest("train", "personal")) == 1
    assert allotment.all("test", "exam") == allotment.all("test", "exam") == ITEMS[:2]
    with pytest.raises(ItemError, match="`other` wants all items"):
        allotment.all("test", "other")
    with pytest.raises(UsageError, match="there is no pool `tset`"):
        allotment.take("tset", 1, "exam")


def test_seeds_and_purposes_draw_differently() -> None:
    def draw(seed: int, purpose: str) -> tuple[str, ...]:
        return tuple(item.id for item in Allotment({"train": ITEMS}, seed).take("train", 10, purpose))

    assert len({draw(1, "a"), draw(2, "a"), draw(1, "b")}) == 3


# --- reasoning-gym --------------------------------------------------------------------------------------


def test_reasoning_gym_items_are_graded_by_their_task() -> None:
    pytest.importorskip("reasoning_gym")
    spec = dict(source="reasoning_gym", task="countdown", test=3)
    pools = load(**spec)
    assert_sound(pools)
    item = pools["test"][0]
    assert item.kind == "text"
    rewritten = item.answer.replace(" ", "")
    assert grade(item, rewritten).correct
    assert grade(item, rewritten, grader="text").correct is False
    assert grade(item, "1 + 1").correct is False
    assert grade(item, "not an expression").correct is False
    assert items_digest(pools) == items_digest(load(**spec))


def test_reasoning_gym_kinds() -> None:
    pytest.importorskip("reasoning_gym")
    (number,) = load(source="reasoning_gym", task="leg_counting", test=1, grader="exact")["test"]
    assert (number.kind, number.skills) == ("number", ("leg_counting",))
    assert grade(number, f"{number.answer} legs").correct
    (said,) = load(source="reasoning_gym", task="syllogism", test=1)["test"]
    assert said.kind == "yes_no"
    assert grade(said, said.answer.upper()).correct


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"task": "leg_countin"}, "unknown task `leg_countin`"),
        ({"task": "leg_counting", "config": {"min_animals": -5}}, "refuses its settings"),
        ({"task": "leg_counting", "config": {"no_such": 1}}, "refuses its settings"),
    ],
)
def test_reasoning_gym_mistakes(spec: dict[str, Any], message: str) -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(ItemError, match=message) as caught:
        load(source="reasoning_gym", **spec, test=1)
    assert caught.value.suggestion


def test_reasoning_gym_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docendo.scenarios.items.reasoning_gym.find_spec", lambda name: None)
    with pytest.raises(ItemError, match="needs the package") as caught:
        load(source="reasoning_gym", task="leg_counting", test=1, seed=99)
    assert "docendo[tasks]" in caught.value.suggestion


def test_every_source_refuses_unknown_options() -> None:
    for name in SOURCES:
        with pytest.raises(DocendoError, match=r"no_such_option|problems"):
            source_options(ItemsSpec(source=name, no_such_option=1))


def test_labels_follow_the_alphabet() -> None:
    assert labels(("x", "y", "z")) == ("A", "B", "C")
