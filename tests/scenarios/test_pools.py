"""Pools with options of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docendo.errors import ItemError, ScenarioError
from docendo.scenarios.items.pools import Pools, items_digest, load_pools, source_options
from docendo.scenarios.loader import load_scenario
from docendo.scenarios.schema import ItemsSpec


def load(base: Path = Path(), seed: int = 7, **spec: Any) -> Pools:
    return load_pools(ItemsSpec(**spec), base=base, seed=seed)


def assert_apart(pools: Pools) -> None:
    items = [item for pool in pools.values() for item in pool]
    assert len({item.id for item in items}) == len(items)
    assert len({item.question for item in items}) == len(items)


def tops(pools: Pools, name: str) -> set[int]:
    return {len(item.question.split()[2]) for item in pools[name]}


def test_a_pool_may_differ_from_the_others() -> None:
    pools = load(
        source="subtraction", digits=3, train=5, test=20,
        pools={"near": 10, "far": {"size": 10, "digits": 5}, "sums": {"size": 4, "source": "addition"}},
    )  # fmt: skip
    assert {pool: len(items) for pool, items in pools.items()} == {
        "train": 5, "test": 20, "near": 10, "far": 10, "sums": 4,
    }  # fmt: skip
    assert tops(pools, "near") == {3}
    assert tops(pools, "far") == {5}
    assert all("+" in item.question for item in pools["sums"])
    assert_apart(pools)


def test_a_pool_with_a_size_only_is_like_a_bare_size() -> None:
    plain = load(source="subtraction", train=5, pools={"far": 3})
    assert items_digest(load(source="subtraction", train=5, pools={"far": {"size": 3}})) == items_digest(
        plain
    )


def test_pools_do_not_hang_on_what_others_hold_after_them() -> None:
    spec: dict[str, Any] = {"source": "subtraction", "train": 5, "pools": {"far": {"size": 3, "digits": 4}}}
    more = {**spec, "pools": {**spec["pools"], "sums": {"size": 3, "source": "addition"}}}
    assert load(**more)["far"] == load(**spec)["far"]
    assert load(**more)["train"] == load(**spec)["train"] == load(source="subtraction", train=5)["train"]


@pytest.mark.parametrize("seed", range(4))
def test_overlapping_generators_never_make_the_same_item_twice(seed: int) -> None:
    options = {"size": 20, "bottom_digits": 1}
    pools = load(seed=seed, source="subtraction", digits=1, test=30, pools={"more": options})
    assert [len(items) for items in pools.values()] == [30, 20]
    assert_apart(pools)


def test_asking_for_more_than_there_is_names_the_pool() -> None:
    with pytest.raises(ItemError, match="pool `more` wants 30 items that no other pool has, but there are o"):
        load(source="subtraction", digits=1, test=30, pools={"more": {"size": 30, "bottom_digits": 1}})
    with pytest.raises(ItemError, match="pool `far`: 99 problems are wanted") as caught:
        load(source="subtraction", test=3, pools={"far": {"size": 99, "digits": 1}})
    assert caught.value.where.path == "items.pools.far"


def test_pools_alone_are_enough_and_may_be_empty() -> None:
    pools = load(
        source="addition", pools={"a": {"size": 2, "digits": 2}, "b": {"size": 0, "digits": 4}, "c": 0}
    )
    assert {pool: len(items) for pool, items in pools.items()} == {"a": 2, "b": 0, "c": 0}


def test_pools_from_files_of_their_own(tmp_path: Path) -> None:
    for name in "ab":
        records = [{"id": f"q{n}", "question": f"{name if n else 'both'}{n}?", "answer": n} for n in range(5)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    spec: dict[str, Any] = {"source": "jsonl", "file": "a.jsonl", "test": 5}
    pools = load(tmp_path, **spec, pools={"other": {"size": 4, "file": "b.jsonl"}})
    assert_apart(pools)
    assert {item.id for item in pools["other"]} == {f"other-q{n}" for n in range(1, 5)}
    with pytest.raises(ItemError, match="pool `other` wants 5 items that no other pool has, but there are"):
        load(tmp_path, **spec, pools={"other": {"size": 5, "file": "b.jsonl"}})
    with pytest.raises(ItemError, match=r"there is no file c\.jsonl"):
        load(tmp_path, **spec, pools={"other": {"size": 5, "file": "c.jsonl"}})
    words = {"size": 4, "source": "jsonl", "file": "a.jsonl"}
    mixed = load(tmp_path, source="subtraction", digits=2, test=2, pools={"words": words})
    assert {item.question[0] for item in mixed["words"]} <= {"a", "b"}


def test_files_by_pool_and_a_pool_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "a?", "answer": 1}', encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"question": "b?", "answer": 1}', encoding="utf-8")
    pools = load(
        tmp_path, source="jsonl", file={"train": "a.jsonl"}, pools={"far": {"size": 1, "file": "b.jsonl"}}
    )
    assert {pool: len(items) for pool, items in pools.items()} == {"far": 1, "train": 1}


@pytest.mark.parametrize(
    ("pool", "path", "message", "hint"),
    [
        ({"size": 3, "digts": 4}, "items.pools.far.digts", "unknown key `digts`", "`digits`"),
        ({"size": 3, "digits": 9}, "items.pools.far.digits", "7", ""),
        ({"size": 3, "sise": 9}, "items.pools.far.sise", "unknown key `sise`", "`size`"),
        ({"size": 3, "source": "adition"}, "items.pools.far.source", "adition", "`addition`"),
        ({"size": 3, "source": "gsm8k"}, "items.pools.far", "needs `file`", "builtin"),
    ],
)
def test_mistakes_in_a_pools_options_are_placed(
    tmp_path: Path, pool: dict[str, Any], path: str, message: str, hint: str
) -> None:
    spec = ItemsSpec(source="subtraction", train=3, pools={"far": pool})
    with pytest.raises(ScenarioError) as caught:
        source_options(spec, "far")
    (problem,) = caught.value.problems
    assert problem.where.path == path
    assert message in problem.message
    assert hint in problem.suggestion
    text = (
        "version: 1\nname: x\nmodels: {m: {backend: simulated, mind: skill}}\nagents: {student: {model: m}}\n"
    )
    text += "items:\n  source: subtraction\n  test: 3\n  pools:\n"
    text += f"    far: {json.dumps(pool)}\nplan: [test]\n"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(tmp_path / "s.yaml")
    (problem,) = caught.value.problems
    assert problem.where.line == 9
    assert problem.where.path == path


def test_shapes_of_pools_are_checked(tmp_path: Path) -> None:
    text = (
        "version: 1\nname: x\nmodels: {m: {backend: simulated, mind: skill}}\nagents: {student: {model: m}}\n"
    )
    text += "items:\n  source: subtraction\n  test: 3\n  pools:\n"
    text += "    a: -1\n    b: {digits: 3}\n    c: many\n    d: {size: 1.5}\nplan: [test]\n"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(tmp_path / "s.yaml")
    found = [(p.where.line, p.where.path, p.message) for p in caught.value.problems]
    assert found == [
        (9, "items.pools.a", "must be 0 or more, got -1"),
        (10, "items.pools.b", "`size` is missing"),
        (11, "items.pools.c", "expected a whole number, got 'many'"),
        (12, "items.pools.d.size", "expected a whole number, got 1.5"),
    ]


def test_an_option_taken_over_is_wrong_once(tmp_path: Path) -> None:
    text = (
        "version: 1\nname: x\nmodels: {m: {backend: simulated, mind: skill}}\nagents: {student: {model: m}}\n"
    )
    text += "items: {source: subtraction, digits: 9, test: 3, pools: {far: {size: 2, skills: [borow]}}}\n"
    (tmp_path / "s.yaml").write_text(text + "plan: [test]\n", encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(tmp_path / "s.yaml")
    found = [p.where.path for p in caught.value.problems]
    assert sorted(map(str, found)) == ["items.digits", "items.pools.far.skills"]


def test_files_of_pools_resolve_from_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    text = (
        "version: 1\nname: x\nmodels: {m: {backend: simulated, mind: skill}}\nagents: {student: {model: m}}\n"
    )
    text += "items:\n  source: strategyqa\n  file: a.json\n  harmful: h.json\n  test: 3\n"
    text += "  pools: {far: {size: 2, file: b.json}}\nplan: [test]\n"
    (tmp_path / "base" / "b.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "s.yaml").write_text("extends: base/b.yaml\n", encoding="utf-8")
    items = load_scenario(tmp_path / "s.yaml").raw["items"]
    assert (items["file"], items["harmful"]) == ("base/a.json", "base/h.json")
    assert items["pools"]["far"]["file"] == "base/b.json"
