import csv
import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from docendo.errors import StoreError, UnknownNameError, UsageError
from docendo.events import CallEvent, Event, event_adapter
from docendo.runtime.export import FORMATS, PairRule, export
from docendo.runtime.export.training import sample_pairs
from docendo.runtime.store import Store, open_store
from tests.runtime.recorded_run import (
    BUDGET,
    POLICY,
    begin,
    episode,
    grade,
    helped_episode,
    lesson,
    put_call,
    sampled,
    taught,
    write_grid,
    write_lesson,
)


@pytest.fixture
def store() -> Iterator[Store]:
    with open_store("sqlite://") as opened:
        yield opened


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def teach(store: Store) -> None:
    """Five lessons on one item (a pair of explanations, one ambiguous text), and one control."""
    begin(store, [({POLICY: "a"}, ""), ({}, "wrong")])
    for replicate, (text, before, after) in enumerate(
        [
            ("Borrow first.", False, True),
            ("Subtract the smaller.", True, False),
            ("Look again.", False, True),
            ("Look again.", False, False),
            ("", False, True),
        ]
    ):
        trace = lesson(
            taught(store, "q", text, before=before, after=after, tag=str(replicate), repaired=not text),
            condition="c0",
            replicate=replicate,
        )
        write_lesson(store, "r1", trace)
    write_lesson(
        store,
        "r1",
        lesson(taught(store, "q", "Distorted.", before=True, after=False, tag="x"), condition="c1"),
    )
    store.finish_run("r1")


def test_jsonl_holds_every_event_of_every_episode(store: Store, tmp_path: Path) -> None:
    write_grid(store, items=4, replicates=1)
    done = export(store, "r1", "jsonl", tmp_path / "run.jsonl")
    rows = lines(tmp_path / "run.jsonl")
    assert done.rows == {"episodes": len(rows)} == {"episodes": 28}
    recorded = list(store.episodes("r1"))
    for row, record in zip(rows, recorded, strict=True):
        assert (row["condition"], row["replicate"], row["key"]) == (
            record.lesson.condition,
            record.lesson.replicate,
            record.key,
        )
        assert [event_adapter.validate_python(e) for e in row["events"]] == store.events(record.id)


def test_csv_tables_say_what_the_store_says(store: Store, tmp_path: Path) -> None:
    begin(store, [({}, "")], measures=["accuracy"])
    write_lesson(
        store,
        "r1",
        lesson(helped_episode("a", False, True), episode("b", grade("b", None)), condition="c0"),
        ["accuracy"],
    )
    store.finish_run("r1")
    done = export(store, "r1", "csv", tmp_path / "tables")
    assert done.rows == {"observations": 2, "episodes": 2, "beliefs": 2, "calls": 0}
    observed = table(tmp_path / "tables" / "observations.csv")
    assert [(o["item"], o["value"]) for o in observed] == [("a", "1.0"), ("b", "")]
    assert observed[1]["reason"]
    believed = table(tmp_path / "tables" / "beliefs.csv")
    assert [(b["given_help"], b["p_correct"]) for b in believed] == [("False", "0.5"), ("True", "0.75")]


def test_parquet_has_types_and_nulls(store: Store, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    teach(store)
    done = export(store, "r1", "parquet", tmp_path / "tables")
    calls = parquet.read_table(tmp_path / "tables" / "calls.parquet").to_pylist()
    assert done.rows["calls"] == len(calls) == 13
    assert calls[0]["text"] == "Borrow first."
    assert calls[0]["prompt_tokens"] == 9
    beliefs = parquet.read_table(tmp_path / "tables" / "beliefs.parquet")
    assert beliefs.num_rows == 0
    assert "p_correct" in beliefs.column_names


def test_parquet_without_pyarrow_says_what_to_install(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(store, [({}, "")])

    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match="pyarrow") as caught:
        export(store, "r1", "parquet", tmp_path / "tables")
    assert "docendo[parquet]" in caught.value.suggestion
    assert list(tmp_path.iterdir()) == []


def test_sft_takes_explanations_that_worked_and_the_answers_after_them(store: Store, tmp_path: Path) -> None:
    teach(store)
    export(store, "r1", "sft", tmp_path / "sft.jsonl")
    rows = lines(tmp_path / "sft.jsonl")
    explained = [r for r in rows if r["agent"] == "teacher"]
    answered = [r for r in rows if r["agent"] == "student"]
    assert [r["messages"][-1]["content"] for r in explained] == ["Borrow first.", "Look again."]
    assert all([m["role"] for m in r["messages"]] == ["system", "user", "assistant"] for r in rows)
    assert [r["messages"][-1]["content"] for r in answered] == ["The answer is 5."] * 2
    assert explained[0]["source"]["effect"] == "rectified"
    assert explained[0]["spans"] == ["gold", "instruction", "public"]


def test_preference_pairs_share_their_prompt_and_leave_out_what_is_ambiguous(
    store: Store, tmp_path: Path
) -> None:
    teach(store)
    done = export(store, "r1", "preference", tmp_path / "pairs.jsonl")
    (pair,) = lines(tmp_path / "pairs.jsonl")
    assert done.rows == {"pairs": 1}
    assert [m["role"] for m in pair["prompt"]] == ["system", "user"]
    assert pair["chosen"] == [{"role": "assistant", "content": "Borrow first."}]
    assert pair["rejected"] == [{"role": "assistant", "content": "Subtract the smaller."}]
    assert (pair["source_chosen"]["effect"], pair["source_rejected"]["effect"]) == ("rectified", "broken")


def test_preference_without_pairs_explains_itself(store: Store, tmp_path: Path) -> None:
    write_grid(store, items=2, replicates=1)
    done = export(store, "r1", "preference", tmp_path / "pairs.jsonl")
    assert "two different explanations to the same prompt" in done.warnings[0]


# --- pairs of samples -----------------------------------------------------------------------------------

Samples = list[tuple[str, str | None, float]]
"""(text, answer, share of eight exam items that were right)."""


def taught_by_samples(
    store: Store,
    samples: Samples,
    item: str = "q",
    *,
    condition: str = "c0",
    replicate: int = 0,
    **fields: Any,
) -> None:
    """A lesson of one episode of learning by teaching, its calls in the journal."""
    rows = [(answer, {"student": [i < 8 * share for i in range(8)]}) for _, answer, share in samples]
    e = sampled(*rows, item=item, **fields)
    calls: list[Event] = []
    for number, (text, _, _) in enumerate(samples, 1):
        key = put_call(store, f"d-{condition}-{replicate}-{item}-{number}", f"Explain {item}.", text)
        calls.append(
            CallEvent(
                branch=f"samples={number}", n=9, agent="teacher", act="demonstrate", key=key, model="m",
                operation="generate",
            )
        )  # fmt: skip
    e = replace(e, events=tuple(sorted((*e.events, *calls), key=lambda event: event.position)))
    write_lesson(store, "r1", lesson(e, condition=condition, replicate=replicate))


def paired(store: Store, tmp_path: Path, **rule: Any) -> list[dict[str, Any]]:
    store.flush()
    export(store, "r1", "preference", tmp_path / "pairs.jsonl", force=True, pairs=PairRule(**rule))
    return lines(tmp_path / "pairs.jsonl")


def texts(pairs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(p["chosen"][0]["content"], p["rejected"][0]["content"]) for p in pairs]


def test_samples_pair_by_half_correctness_and_half_exam_score(store: Store, tmp_path: Path) -> None:
    begin(store, [({}, "")])
    taught_by_samples(
        store, [("good", "R", 1), ("poor", "R", 0.25), ("wrong", "x", 0.5), ("lost", None, 0.5)]
    )
    pairs = paired(store, tmp_path)
    # worth: 1, 0.625, 0.25, 0.25
    assert texts(pairs) == [
        ("good", "wrong"), ("good", "lost"), ("good", "poor"), ("poor", "wrong"), ("poor", "lost"),
    ]  # fmt: skip
    first = pairs[0]
    assert [m["role"] for m in first["prompt"]] == ["system", "user"]
    assert first["source_chosen"] == {
        "run": "r1", "condition": "c0", "replicate": 0, "episode": "teach/q", "item": "q", "agent": "teacher",
        "act": "demonstrate", "model": "m", "call": "d-c0-0-q-1", "sample": "1", "score": 1.0,
        "correct": True, "exam": 1.0,
    }  # fmt: skip
    wrong = first["source_rejected"]
    assert (wrong["sample"], wrong["score"], wrong["correct"], wrong["exam"]) == ("3", 0.25, False, 0.5)


def test_the_margin_must_be_exceeded_and_the_baseline_asks_for_correctness_alone(
    store: Store, tmp_path: Path
) -> None:
    begin(store, [({}, "")])
    taught_by_samples(store, [("good", "R", 1), ("poor", "R", 0.25), ("wrong", "x", 1)])
    assert texts(paired(store, tmp_path)) == [("good", "wrong"), ("good", "poor")]
    assert texts(paired(store, tmp_path, margin=0.375)) == [("good", "wrong")]
    assert texts(paired(store, tmp_path, exam_weight=0)) == [("good", "wrong"), ("poor", "wrong")]


def test_of_an_item_the_largest_differences_are_kept_and_then_the_earlier_samples(
    store: Store, tmp_path: Path
) -> None:
    begin(store, [({}, "")])
    rights: Samples = [(f"r{i}", "R", 1) for i in range(3)]
    wrongs: Samples = [(f"w{i}", "x", share) for i, share in enumerate((0.5, 0, 0, 0.5))]
    taught_by_samples(store, [*rights, *wrongs], "a")
    taught_by_samples(store, [*rights, *wrongs], "b", replicate=1)
    pairs = paired(store, tmp_path)
    expected = [(f"r{i}", f"w{j}") for i in range(3) for j in (1, 2)] + [("r0", "w0"), ("r0", "w3")]
    assert texts(pairs) == expected * 2
    assert [p["source_chosen"]["item"] for p in pairs] == ["a"] * 8 + ["b"] * 8
    assert len(paired(store, tmp_path, per_item=3)) == 6


def test_equal_texts_unjudged_samples_controls_and_failures_make_no_pair(
    store: Store, tmp_path: Path
) -> None:
    begin(store, [({}, ""), ({}, "wrong_teacher")])
    taught_by_samples(store, [("same", "R", 1), ("same", "x", 0), ("unjudged", "?", 0)])
    pair: Samples = [("good", "R", 1), ("bad", "x", 0)]
    taught_by_samples(store, pair, condition="c1")
    taught_by_samples(store, pair, replicate=1, outcome="failed", failure="timeout")
    assert paired(store, tmp_path) == []
    taught_by_samples(store, pair, replicate=2)
    taught_by_samples(store, pair, replicate=3)
    assert texts(paired(store, tmp_path)) == [("good", "bad")]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["R", "x"]), st.integers(0, 8)), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.3, 0.5]),
    st.integers(1, 8),
)
def test_pairs_keep_to_their_rule(rows: list[tuple[str, int]], margin: float, most: int) -> None:
    with open_store("sqlite://") as opened:
        begin(opened, [({}, "")])
        taught_by_samples(opened, [(f"t{i}", answer, right / 8) for i, (answer, right) in enumerate(rows)])
        opened.flush()
        pairs = list(sample_pairs(opened, "r1", PairRule(margin=margin, per_item=most)))
    worth = [0.5 * (answer == "R") + right / 16 for answer, right in rows]
    wide = sum(a - b > margin for a in worth for b in worth)
    assert len(pairs) == min(most, wide)
    gaps = [p["source_chosen"]["score"] - p["source_rejected"]["score"] for p in pairs]
    assert all(gap > margin for gap in gaps)
    assert gaps == sorted(gaps, reverse=True)


def test_config_is_the_stored_scenario_with_its_axes_in_order(store: Store, tmp_path: Path) -> None:
    write_grid(store, items=2, replicates=1)
    scenario = {
        "version": 1,
        "seed": 7,
        "name": "study",
        "matrix": {POLICY: ["random", "best"], BUDGET: ["0%", "50%", "100%"]},
    }
    grid = [({POLICY: p, BUDGET: b}, "") for p in ("random", "best") for b in ("0%", "50%", "100%")]
    begin(store, grid, run="r2", **scenario)
    store.flush()
    export(store, "r2", "config", tmp_path / "study.yaml")
    read = YAML(typ="safe").load((tmp_path / "study.yaml").read_text("utf-8"))
    assert {key: read[key] for key in scenario} == scenario
    assert list(read["matrix"]) == [POLICY, BUDGET]


@pytest.mark.parametrize("to", FORMATS)
def test_what_exists_is_replaced_only_by_force_and_nothing_is_left_beside_it(
    to: str, store: Store, tmp_path: Path
) -> None:
    teach(store)
    out = tmp_path / "out"
    export(store, "r1", to, out)
    with pytest.raises(UsageError, match="exists"):
        export(store, "r1", to, out)
    again = export(store, "r1", to, out, force=True)
    assert again.path == str(out)
    assert list(tmp_path.iterdir()) == [out]


def test_force_does_not_replace_a_folder_with_other_things_in_it(store: Store, tmp_path: Path) -> None:
    begin(store, [({}, "")])
    store.flush()
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        export(store, "r1", "csv", tmp_path, force=True)
    assert (tmp_path / "thesis.tex").exists()


def test_an_export_that_fails_midway_leaves_what_was_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(store)
    target = tmp_path / "run.jsonl"
    target.write_text("before", encoding="utf-8")
    read, seen = store.events, []

    def breaking(episode_id: int) -> list[Event]:
        seen.append(episode_id)
        if len(seen) > 2:
            raise StoreError("the disk is gone")
        return read(episode_id)

    monkeypatch.setattr(store, "events", breaking)
    with pytest.raises(StoreError, match="disk is gone"):
        export(store, "r1", "jsonl", target, force=True)
    assert target.read_text("utf-8") == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_wrong_places_and_formats_are_named(store: Store, tmp_path: Path) -> None:
    begin(store, [({}, "")])
    store.flush()
    with pytest.raises(UnknownNameError, match="jsnol") as caught:
        export(store, "r1", "jsnol", tmp_path / "x")
    assert "`jsonl`" in caught.value.suggestion
    with pytest.raises(UsageError, match="does not exist"):
        export(store, "r1", "jsonl", tmp_path / "no" / "x")
    with pytest.raises(UsageError, match="is a folder"):
        export(store, "r1", "jsonl", tmp_path)
