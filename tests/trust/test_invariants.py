"""What must hold of every study of help under a budget, read off recorded runs."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from docendo.events import CallEvent, DecisionEvent, GradeEvent, SpendEvent
from docendo.scenarios.amount import amount_of
from tests.trust.lab import Ran, gallery, run, small

RANKING = (
    "random",
    "teacher_confidence",
    "least_confidence",
    "expected_confidence_pre",
    "expected_confidence_post",
    "expected_utility",
    "true_confidence_pre",
    "true_confidence_post",
    "true_utility",
    "oracle",
)
SHARES = ("0%", "34%", "67%", "100%")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Every policy that ranks, with every budget, on six yes/no questions."""
    raw = small(
        items={"source": "strategyqa", "file": "builtin:yes_no.json", "train": 6, "test": 6},
        matrix={"plan.teach.policy": list(RANKING), "budget.interventions": list(SHARES)},
        models__novice={"backend": "simulated", "mind": "skill", "mastery": 0.5},
    )
    return run(raw, tmp_path_factory.mktemp("grid"))


def _by_cell(ran: Ran, kind: Any) -> dict[tuple[str, str], list[Any]]:
    """(policy, budget) -> teach-phase events."""
    cells: dict[tuple[str, str], list[Any]] = {}
    for condition in ran.store.conditions(ran.study.run_id):
        place = condition.coordinates["plan.teach.policy"], condition.coordinates["budget.interventions"]
        cells[place] = [
            e
            for record in ran.store.episodes(ran.study.run_id, condition.id)
            if record.phase == "teach"
            for e in ran.store.events(record.id)
            if isinstance(e, kind)
        ]
    return cells


def _chosen(ran: Ran) -> dict[tuple[str, str], set[str]]:
    chosen: dict[tuple[str, str], set[str]] = {}
    for condition in ran.store.conditions(ran.study.run_id):
        place = condition.coordinates["plan.teach.policy"], condition.coordinates["budget.interventions"]
        chosen[place] = {
            record.item
            for record in ran.store.episodes(ran.study.run_id, condition.id)
            for e in ran.store.events(record.id)
            if isinstance(e, DecisionEvent) and e.chosen
        }
    return chosen


@pytest.mark.parametrize(("share", "n"), [("0%", 0), ("100%", 6)])
def test_all_policies_agree_where_there_is_nothing_to_choose(grid: Ran, share: str, n: int) -> None:
    chosen = _chosen(grid)
    assert {len(chosen[policy, share]) for policy in RANKING} == {n}
    grades = {
        policy: [(g.item, g.attempt, g.answer, g.correct) for g in events]
        for (policy, budget), events in _by_cell(grid, GradeEvent).items()
        if budget == share
    }
    assert len(grades) == len(RANKING)
    assert all(found == grades["random"] for found in grades.values())


def test_a_larger_budget_helps_the_same_items_and_more(grid: Ran) -> None:
    chosen = _chosen(grid)
    for policy in RANKING:
        sets = [chosen[policy, share] for share in SHARES]
        assert [len(s) for s in sets] == [0, 2, 4, 6], policy
        assert sets[0] < sets[1] < sets[2] < sets[3], policy
    assert len({frozenset(chosen[policy, "34%"]) for policy in RANKING}) > 2, "policies differ in between"


def test_the_ledger_pays_for_what_was_chosen(grid: Ran) -> None:
    spent = {place: sum(e.amount for e in events) for place, events in _by_cell(grid, SpendEvent).items()}
    chosen = _chosen(grid)
    assert spent == {place: len(items) for place, items in chosen.items()}


def test_a_share_is_rounded_down(tmp_path: Path) -> None:
    assert amount_of("20%", 229) == 45
    shares = ["10%", "20%", "30%", "60%", "70%", "90%"]
    raw = small(
        matrix={"budget.interventions": shares}, items={"source": "subtraction", "test": 10, "train": 0}
    )
    raw["plan"] = [{"teach": {"items": "test", "count": 9, "policy": "random"}}]
    ran = run(raw, tmp_path)
    paid: dict[str, int] = defaultdict(int)
    for condition in ran.store.conditions(ran.study.run_id):
        for record in ran.store.episodes(ran.study.run_id, condition.id):
            paid[condition.coordinates["budget.interventions"]] += sum(
                e.amount for e in ran.store.events(record.id) if isinstance(e, SpendEvent)
            )
    assert dict(paid) == {share: int(share[:-1]) * 9 // 100 for share in shares}


def _questions(ran: Ran, purpose: str) -> set[str]:
    """Questions that were put in front of a model, by where their text came from."""
    found = set()
    for record in ran.store.episodes(ran.study.run_id):
        keys = [e.key for e in ran.store.events(record.id) if isinstance(e, CallEvent)]
        for call in ran.store.calls(keys).values():
            for span in (s for m in call.prompt for s in m.spans):
                if span.source.startswith(purpose) and span.source.endswith("question"):
                    found.add(span.text)
    return found


@pytest.mark.parametrize("name", ["personalised-explanations", "lessons-that-last"])
def test_no_item_serves_two_purposes(tmp_path: Path, name: str) -> None:
    raw = gallery(name, test=5) | {"controls": [], "matrix": {}}
    if name == "personalised-explanations":
        raw["agents"]["teacher"]["view"] = {"explain": ["item", "memory", "evidence"]}
        raw["budget"] = {"interventions": 3}
    ran = run(raw, tmp_path)
    items: dict[str, set[str]] = defaultdict(set)
    for record in ran.episodes():
        items[record.phase].add(record.item)
    phases = list(items.values())
    assert len(phases) == len(raw["plan"])
    assert sum(map(len, phases)) == len(set.union(*phases)), "phases share no item"

    remembered, observed = (_questions(ran, p) for p in ("memory.", "evidence["))
    assert remembered
    assert observed
    assert not remembered & observed, "what is demonstrated is not what beliefs rest on"
    by_phase = {
        phase: {i.question for pool in ran.study.setups[0].pools.values() for i in pool if i.id in ids}
        for phase, ids in items.items()
    }
    if name == "personalised-explanations":
        assert remembered <= by_phase["d-tom"]
        assert observed <= by_phase["d-sim"]
        assert not (remembered | observed) & by_phase["teach"]
    else:
        assert remembered <= by_phase["teach"]
        assert observed <= by_phase["observe"]
        assert not (remembered | observed) & by_phase["test"]
