"""Sources of recorded dialogues: MathDial and Bridge, and the students that items carry."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from docendo.errors import ItemError, UsageError
from docendo.runtime.minds.world import World
from docendo.scenarios.grader import grade
from docendo.scenarios.item import Item
from docendo.scenarios.items.allotment import Allotment
from docendo.scenarios.items.dialogues import dialogue_of, recorded_moves
from docendo.scenarios.items.pools import Pools, load_pools
from docendo.scenarios.schema import ItemsSpec
from docendo.scenarios.taxonomy import load_taxonomy

REAL = Path(__file__).parents[3] / "shared" / "data"

DIALOGUE: dict[str, Any] = {
    "qid": 7,
    "question": "There are 52 birds. 17 fly off. How many stay?",
    "ground_truth": "There stay 52 - 17 = 35 birds.\n 35",
    "student_incorrect_solution": "52 - 17 = 45\n45",
    "student_profile": "Noor is in grade 3. She forgets what she borrowed.",
    "teacher_described_confusion": "borrows without paying back",
    "self-correctness": "Yes",
    "conversation": "Teacher: (generic)Hello!|EOM|Noor: It is 45.|EOM|Teacher: (focus)Look at the tens.",
}
CONVERSATION: dict[str, Any] = {
    "c_id": "9_1",
    "lesson_topic": "3.2A.Subtracting (Review) - 1",
    "c_h": [
        {"user": "tutor", "text": "Here is one."},
        {"user": "tutor", "text": "What is 52 - 17?"},
        {"user": "student", "text": "45"},
    ],
    "c_r_": [{"user": "tutor", "text": "Which ten"}, {"user": "tutor", "text": "did you open?"}],
    "e": "careless",
    "z_what": "ask_question",
    "z_why": "hint_mistake",
}


def load(base: Path, seed: int = 7, **spec: Any) -> Pools:
    return load_pools(ItemsSpec(**spec), base=base, seed=seed)


def real(name: str) -> Path:
    if not (REAL / name).is_file():
        pytest.skip(f"{name} is not here")
    return REAL


def mathdial(folder: Path, *records: dict[str, Any], every: str = "problem", **sizes: Any) -> Pools:
    lines = [json.dumps(record) for record in records]
    (folder / "m.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return load(folder, source="mathdial", file="m.jsonl", every=every, **sizes)


def bridge(folder: Path, *records: dict[str, Any], every: str = "conversation", **sizes: Any) -> Pools:
    (folder / "b.json").write_text(json.dumps(records), encoding="utf-8")
    return load(folder, source="bridge", file="b.json", every=every, **sizes)


# --- what comes out -------------------------------------------------------------------------------------


def test_a_dialogue_becomes_an_item_with_its_student(tmp_path: Path) -> None:
    (item,) = mathdial(tmp_path, DIALOGUE, test=1)["test"]
    assert (item.id, item.kind, item.answer, item.skills) == ("7-1", "number", "35", ("subtraction",))
    assert item.solution == "There stay 52 - 17 = 35 birds."
    assert item.taxonomy["wrong_answer"] == "45"
    assert item.taxonomy["profile"].startswith("Noor")
    assert item.taxonomy["confusion"] == "borrows without paying back"
    assert item.taxonomy["outcome"] == "Yes"
    assert [(said.role, said.text) for said in dialogue_of(item)] == [
        ("teacher", "Hello!"), ("student", "It is 45."), ("teacher", "Look at the tens."),
    ]  # fmt: skip
    assert recorded_moves(item) == ({"move": "generic"}, {"move": "focus"})
    assert "Noor" not in str(item.public)


@pytest.mark.parametrize("end", ["<EOM>", "|EOM|\n", " |EOM| "])
def test_both_marks_of_a_turns_end_are_read(tmp_path: Path, end: str) -> None:
    record = {**DIALOGUE, "conversation": DIALOGUE["conversation"].replace("|EOM|", end) + end}
    (item,) = mathdial(tmp_path, record, test=1)["test"]
    assert len(dialogue_of(item)) == 3


def test_a_wrong_solution_without_a_wrong_number_records_none(tmp_path: Path) -> None:
    unread = {**DIALOGUE, "student_incorrect_solution": "I give up."}
    right = {**DIALOGUE, "qid": 8, "question": "q?", "student_incorrect_solution": "It is 35.0"}
    for item in mathdial(tmp_path, unread, right, test=2)["test"]:
        assert "wrong_answer" not in item.taxonomy
        assert item.taxonomy["wrong_solution"]


def test_a_conversation_becomes_an_item_whose_answer_nobody_knows(tmp_path: Path) -> None:
    (item,) = bridge(tmp_path, CONVERSATION, test=1)["test"]
    assert (item.id, item.kind, item.skills) == ("9_1-1", "text", ("Subtracting",))
    assert item.question == "Lesson: Subtracting\nTutor: Here is one. What is 52 - 17?\nStudent: 45"
    assert item.solution == "Which ten did you open?"
    move = {"error": "careless", "strategy": "ask_question", "intention": "hint_mistake"}
    assert recorded_moves(item) == (move,)
    assert dialogue_of(item)[-1].labels == move
    verdict = grade(item, "35")
    assert verdict.correct is None
    assert "not known" in verdict.reason


def test_a_decision_in_own_words_is_other_and_kept(tmp_path: Path) -> None:
    (item,) = bridge(tmp_path, {**CONVERSATION, "e": "There is no mistake."}, test=1)["test"]
    assert recorded_moves(item)[0]["error"] == "other"
    assert item.taxonomy["notes"] == {"error": "There is no mistake."}


# --- several dialogues about one problem ----------------------------------------------------------------


def test_dialogues_about_one_problem_are_one_item_or_stay_together(tmp_path: Path) -> None:
    records = [{**DIALOGUE, "qid": n // 3, "question": f"Problem {n // 3}?"} for n in range(12)]
    one_each = mathdial(tmp_path, *records, train=2, test=2)
    assert sorted(i.id for items in one_each.values() for i in items) == ["0-1", "1-1", "2-1", "3-1"]
    for seed in range(5):
        pools = load(
            tmp_path, seed, source="mathdial", file="m.jsonl", every="dialogue", train=5, test=4,
        )  # fmt: skip
        assert {pool: len(items) for pool, items in pools.items()} == {"train": 5, "test": 4}
        problems = [{item.question for item in items} for items in pools.values()]
        assert not problems[0] & problems[1]
    with pytest.raises(ItemError, match="pool `test` wants 7 items, but there are only 6"):
        mathdial(tmp_path, *records, every="dialogue", train=5, test=7)


def test_dialogues_about_one_problem_serve_one_purpose(tmp_path: Path) -> None:
    records = [{**DIALOGUE, "qid": n // 2, "question": f"Problem {n // 2}?"} for n in range(6)]
    pool = mathdial(tmp_path, *records, every="dialogue", test=6)["test"]
    allotment = Allotment({"test": pool}, 1)
    (shown,) = allotment.take("test", 1, "demonstrations")
    rest = allotment.rest("test", "exam")
    assert len(rest) == 4
    assert shown.question not in {item.question for item in rest}


def test_experts_of_one_conversation_are_one_item_or_stay_together(tmp_path: Path) -> None:
    other = {**CONVERSATION, "z_what": "provide_hint"}
    (item,) = bridge(tmp_path, CONVERSATION, other, test=1)["test"]
    assert item.id == "9_1-1"
    both = bridge(tmp_path, CONVERSATION, other, every="expert", test=2)["test"]
    assert {recorded_moves(i)[0]["strategy"] for i in both} == {"ask_question", "provide_hint"}


# --- samples and real files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ({"source": "mathdial", "file": "builtin:mathdial.jsonl"}, 7),
        ({"source": "mathdial", "file": "builtin:mathdial.jsonl", "every": "dialogue"}, 8),
        ({"source": "bridge", "file": "builtin:bridge.json"}, 7),
        ({"source": "bridge", "file": "builtin:bridge.json", "every": "expert"}, 8),
    ],
)
def test_samples_are_sound(spec: dict[str, Any], count: int) -> None:
    items = load(Path(), **spec, test=count)["test"]
    slots = load_taxonomy(spec["source"]).slots
    for item in items:
        assert item.skills
        assert item.solution
        assert recorded_moves(item)
        for move in recorded_moves(item):
            assert all(label in slots[slot] for slot, label in move.items())
        if item.kind == "number":
            assert grade(item, item.answer).correct
            assert grade(item, item.taxonomy["wrong_answer"]).correct is False
            assert item.answer in dialogue_of(item)[-1].text or item.taxonomy["outcome"] == "No"


def test_real_mathdial() -> None:
    base, name = real("mathdial/test.jsonl"), "mathdial/test.jsonl"
    items = load(base, source="mathdial", file=name, every="dialogue", test=599)["test"]
    moves = Counter(s.labels["move"] for i in items for s in dialogue_of(i) if s.role == "teacher")
    assert moves == {"focus": 1259, "probing": 952, "generic": 890, "telling": 598}
    outcomes = Counter(item.taxonomy["outcome"][:4] for item in items)
    assert outcomes == {"Yes": 433, "Yes,": 94, "No": 68, "": 4}
    assert all(grade(item, item.answer).correct for item in items)
    assert all(grade(item, item.taxonomy["wrong_answer"]).correct is False for item in items)
    assert len(load(base, source="mathdial", file=name, test=394)["test"]) == 394


def test_real_bridge() -> None:
    base, name = real("bridge/test.json"), "bridge/test.json"
    items = load(base, source="bridge", file=name, every="expert", test=210)["test"]
    found = Counter(recorded_moves(item)[0]["error"] for item in items)
    assert found == {
        "guess": 62, "diagnose": 37, "right-idea": 36, "careless": 23, "imprecise": 17, "misinterpret": 15,
        "other": 20,
    }  # fmt: skip
    assert all(item.solution == dialogue_of(item)[-1].text for item in items)
    assert len(load(base, source="bridge", file=name, test=187)["test"]) == 187


# --- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"conversation": None}, "`conversation` is missing", "Give `conversation`"),
        ({"conversation": "", "qid": None}, "`qid` is missing; `conversation` is missing", "Give `qid`"),
        ({"conversation": "|EOM| |EOM|"}, "the conversation has no turns", "Teacher: (focus)"),
        ({"conversation": "Hello there"}, "turn 1 of the conversation names no speaker", "Teacher: (focus)"),
        ({"conversation": "Teacher: (focus)a<EOM>Zoe: b"}, "turn 2 .* unknown speaker `Zoe`", "Teacher"),
        ({"conversation": "Teacher: (fokus)a|EOM|Teacher: (tell)b"},
         r"turn 1 .* unknown move `\(fokus\)`; turn 2 .* unknown move `\(tell\)`", "Did you mean `focus`?"),
        ({"ground_truth": "There stay some birds."}, "`ground_truth` ends with no number", "last line"),
        ({"ground_truth": "some", "conversation": "x"}, "no number; turn 1 of", "last line"),
        ({"student_profile": ["x"]}, "`student_profile` is no text", "Give `student_profile`"),
    ],
)  # fmt: skip
def test_bad_dialogues_say_where_and_what(
    tmp_path: Path, change: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ItemError, match=message) as caught:
        mathdial(tmp_path, DIALOGUE, {**DIALOGUE, **change}, test=1)
    assert (caught.value.where.file, caught.value.where.line) == (str(tmp_path / "m.jsonl"), 2)
    assert hint in caught.value.suggestion


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"c_h": []}, "`c_h` is missing", "Give `c_h`"),
        ({"c_h": [{"user": "tutor", "text": " "}]}, "`c_h` has no turns", '"user": "tutor"'),
        ({"c_h": [{"user": "pupil", "text": "a"}]}, "turn 1 of `c_h` needs a `user`", '"user": "tutor"'),
        ({"c_h": "text", "c_r_": [3]}, "`c_h` has no turns; turn 1 of `c_r_` needs", '"user": "tutor"'),
        ({"c_r_": [{"user": "student", "text": "a"}]}, "`c_r_` has turns of the student", '"user"'),
        ({"z_what": "ask_qestion"}, "`z_what` has the unknown strategy `ask_qestion`", "`ask_question`"),
        ({"e": "", "z_why": None}, "`e` is missing; `z_why` is missing", "Give `e`"),
    ],
)
def test_bad_conversations_say_where_and_what(
    tmp_path: Path, change: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ItemError, match=message) as caught:
        bridge(tmp_path, CONVERSATION, {**CONVERSATION, **change}, test=1)
    assert (caught.value.where.file, caught.value.where.path) == (str(tmp_path / "b.json"), "[1]")
    assert hint in caught.value.suggestion


@pytest.mark.parametrize(
    ("source", "name", "content", "message"),
    [
        ("mathdial", "e.jsonl", "", "holds no items"),
        ("mathdial", "e.jsonl", "Teacher: hello", "malformed JSON"),
        ("mathdial", "e.jsonl", "[]", "a record must be an object"),
        ("bridge", "e.json", "", "malformed JSON"),
        ("bridge", "e.json", "[]", "holds no items"),
        ("bridge", "e.json", "{}", "must hold a list"),
        ("bridge", "e.yaml", "a: 1", "cannot read items from a `.yaml` file"),
    ],
)
def test_files_without_dialogues(tmp_path: Path, source: str, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message) as caught:
        load(tmp_path, source=source, file=name, test=1)
    assert caught.value.where.file == str(tmp_path / name)


def test_all_bad_dialogues_are_told_at_once(tmp_path: Path) -> None:
    bad = {**DIALOGUE, "conversation": "Teacher: (no)x"}
    with pytest.raises(ItemError, match="2 of 3 items") as caught:
        mathdial(tmp_path, bad, DIALOGUE, {"qid": 1}, test=1)
    assert "m.jsonl:1: turn 1" in caught.value.message
    assert "m.jsonl:3: `question` is missing; `ground_truth` is missing" in caught.value.message


# --- students from items --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "answer", "options", "wrong", "expected"),
    [
        ("number", "35", (), "45", ["45"]),
        ("number", "35", (), "$45.00", ["45"]),
        ("choice", "A", ("x", "y", "z"), "C", ["C"]),
        ("yes_no", "yes", (), "no", ["no"]),
        ("text", "Paris", (), "Rome", ["Rome"]),
    ],
)
def test_a_recorded_wrong_answer_is_the_one_that_is_given(
    kind: Any, answer: str, options: tuple[str, ...], wrong: str, expected: list[str]
) -> None:
    item = Item(
        id="i", question="q", kind=kind, answer=answer, options=options, taxonomy={"wrong_answer": wrong}
    )
    for seed in range(5):
        assert World({"i": item}).wrong_answers(item, seed)[:1] == expected
        right = item.model_copy(update={"taxonomy": {"wrong_answer": answer}})
        assert World({"i": item}).wrong_answers(right, seed)[0] != answer
