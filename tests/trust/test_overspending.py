"""Nothing that a scenario says makes the ledger pay more than the budget holds."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docendo.agents.port import Completion, GenerateReply, GenerateRequest
from docendo.events import ErrorEvent, MessageEvent, SpendEvent, StopEvent
from docendo.graphs.actor import Exhausted
from docendo.messages import Usage
from docendo.runtime.backends.scripted import FunctionBackend
from docendo.runtime.ledger import Ledger
from docendo.runtime.replay import verify
from tests.trust.lab import Ran, Raw, run, small, subtractions

UNITS = ("turns", "hints", "tells")

# --- the account ----------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    limits=st.dictionaries(st.sampled_from(UNITS), st.integers(0, 9)),
    steps=st.lists(st.tuples(st.sampled_from(UNITS), st.integers(0, 5), st.booleans()), max_size=40),
)
def test_an_account_never_holds_less_than_nothing(
    limits: dict[str, int], steps: list[tuple[str, int, bool]]
) -> None:
    ledger, spent = Ledger(limits), dict.fromkeys(UNITS, 0)
    for unit, amount, back in steps:
        if back:
            amount = min(amount, spent[unit])
            ledger.refund(unit, amount)
            spent[unit] -= amount
            continue
        if amount > limits.get(unit, amount + spent[unit]) - spent[unit]:
            with pytest.raises(Exhausted, match=unit):
                ledger.spend(unit, amount)
        else:
            left = ledger.spend(unit, amount)
            spent[unit] += amount
            assert left == (limits[unit] - spent[unit] if unit in limits else None)
        assert all(0 <= spent[u] <= limit for u, limit in limits.items())
        assert ledger.balance() == {u: limit - spent[u] for u, limit in limits.items()}


@pytest.mark.parametrize("amount", [-1, -100])
def test_nobody_spends_backwards(amount: int) -> None:
    ledger = Ledger({"hints": 3})
    ledger.refund("hints", 0)
    with pytest.raises(ValueError, match="cannot spend"):
        ledger.spend("hints", amount)
    with pytest.raises(ValueError, match="cannot refund"):
        ledger.refund("hints", 1)
    assert ledger.balance() == {"hints": 3}


# --- random graphs, budgets and concurrency -------------------------------------------------------------


@st.composite
def dialogues(draw: st.DrawFn) -> Raw:
    """A ring of acts that spend at random, entered by one or by both students, in a random order of work."""
    budget = draw(st.dictionaries(st.sampled_from(UNITS), st.integers(0, 6), min_size=1))
    prices = st.dictionaries(st.sampled_from(UNITS), st.integers(1, 3), max_size=2)
    acts = draw(st.lists(st.sampled_from(["student.solve", "teacher.explain"]), max_size=2))
    acts = ["student.solve", *acts]
    nodes = {f"n{i}": {"do": do, "spends": draw(prices)} for i, do in enumerate(acts)}
    unit = draw(st.sampled_from(sorted(budget)))
    nodes["n0"]["spends"] = {**nodes["n0"]["spends"], unit: draw(st.integers(1, 3))}  # type: ignore[dict-item]
    fan = draw(st.booleans())
    edges: list[Raw] = [{"from": "start", "to": "n0"} | ({"each": "students"} if fan else {})]
    last = f"n{len(acts) - 1}"
    if fan:
        nodes["close"] = {"do": "teacher.explain", "spends": {}}
        edges += [{"from": last, "to": "close", "join": True, "when": "grade.correct"},
                  {"from": "close", "to": "end"}]  # fmt: skip
    else:
        edges.append({"from": last, "to": "end", "when": "grade.correct"})
    edges += [{"from": f"n{i}", "to": f"n{i + 1}"} for i in range(len(acts) - 1)]
    edges.append({"from": last, "to": "n0"})
    used = {u for node in nodes.values() for u, amount in node["spends"].items() if amount}  # type: ignore[attr-defined]
    budget = {u: limit for u, limit in budget.items() if u in used}
    return {
        "budget": budget,
        "nodes": nodes,
        "edges": edges,
        "order": draw(st.sampled_from(["parallel", "sequential"])),
    }


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(dialogue=dialogues(), jobs=st.sampled_from([1, 8]))
def test_no_graph_overspends(tmp_path_factory: pytest.TempPathFactory, dialogue: Raw, jobs: int) -> None:
    folder = tmp_path_factory.mktemp("dialogue")
    raw = small(items=subtractions(folder, 2), budget=dialogue["budget"], replicates=2)
    raw["models"] = _scripted("Take it away.", "So the answer is 999.")
    del raw["agents"]["teacher"]["student_model"]
    raw["agents"]["student"]["count"] = 2
    graph = {"nodes": dialogue["nodes"], "edges": dialogue["edges"]}
    raw["plan"] = [{"teach": {"items": "test", "graph": graph, "order": dialogue["order"]}}]
    ran = run(raw, folder, concurrent=jobs)
    for record in ran.episodes():
        events = ran.store.events(record.id)
        spent: dict[str, int] = defaultdict(int)
        for event in events:
            if isinstance(event, SpendEvent):
                assert event.amount >= 0
                spent[event.unit] += event.amount
                if (limit := dialogue["budget"].get(event.unit)) is not None:
                    assert event.remaining == limit - spent[event.unit] >= 0
        assert record.outcome == "budget", "nobody is ever right, so only the budget ends it"
        (stop,) = [e for e in events if isinstance(e, StopEvent)]
        assert stop.detail in dialogue["budget"]
        free = [n for n in dialogue["nodes"].values() if n["spends"].get(stop.detail, 0) > 0]
        assert dialogue["budget"][stop.detail] - spent[stop.detail] < max(
            n["spends"][stop.detail] for n in free
        )
    assert ran.episodes()
    ran.store.close()


def _scripted(teacher: str, student: str) -> Raw:
    return {
        "expert": {"backend": "scripted", "replies": [teacher]},
        "novice": {"backend": "scripted", "replies": [student]},
    }


@pytest.mark.parametrize("order", ["parallel", "sequential"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_interventions_are_one_account_of_the_phase(tmp_path: Path, order: str, rounds: int) -> None:
    raw = small(items=subtractions(tmp_path, 6), budget={"interventions": 4})
    raw["models"] = _scripted("Take it away.", "So the answer is 999.")
    del raw["agents"]["teacher"]["student_model"]
    phase: Raw = {"items": "test", "policy": "random", "order": order, "rounds": rounds}
    raw["plan"] = [{"teach": phase | ({"per_round": 2} if rounds > 1 else {})}]
    ran = run(raw, tmp_path, concurrent=8)
    spends = ran.events(SpendEvent)
    assert [(e.unit, e.amount) for e in spends] == [("interventions", 1)] * 4
    by_round = [len(ran.events(SpendEvent, round=n)) for n in range(rounds)]  # type: ignore[arg-type]
    assert by_round == ([4] if rounds == 1 else [2, 2, 0])
    assert (
        len(
            {r.item for r in ran.episodes() if any(isinstance(e, SpendEvent) for e in ran.store.events(r.id))}
        )
        == 4
    )


# --- tokens ---------------------------------------------------------------------------------------------


def _talk(obey: bool, wish: int = 7) -> FunctionBackend:
    """A model that wants to write `wish` words, and obeys `max_tokens` or does not."""

    async def answer(request: GenerateRequest) -> GenerateReply:
        await asyncio.sleep(0)
        words = ["word"] * (wish - 5) + ["So", "the", "answer", "is", "999."]
        if obey:
            words = words[: request.sampling.max_tokens]
        usage = Usage(prompt_tokens=3, completion_tokens=len(words))
        return GenerateReply(completions=(Completion(text=" ".join(words)),), usage=usage)

    return FunctionBackend(answer, name=f"talk {obey} {wish}")


def _tokens(ran: Ran, agent: str = "") -> dict[str, int]:
    """Episode -> completion tokens that its acts and their repairs took."""
    used: dict[str, int] = {}
    for record in ran.episodes():
        used[record.key] = sum(
            call.result.usage.completion_tokens
            for event, call in ran.calls(key=record.key)
            if event.purpose in ("act", "repair") and event.agent.startswith(agent)
        )
    return used


def _ring(folder: Path, budget: Raw, students: int = 1) -> Raw:
    raw = small(items=subtractions(folder, 3), budget={"turns": 40, **budget})
    raw["models"] = _scripted("-", "-")
    del raw["agents"]["teacher"]["student_model"]
    raw["agents"]["student"]["count"] = students
    graph: Raw = {
        "nodes": {
            "attempt": {"do": "student.solve", "spends": {"turns": 1}},
            "explain": {"do": "teacher.explain"},
        },
        "edges": [
            {"from": "start", "to": "attempt"},
            {"from": "attempt", "to": "end", "when": "grade.correct"},
            {"from": "attempt", "to": "explain"},
            {"from": "explain", "to": "attempt"},
        ],
    }
    raw["plan"] = [{"teach": {"items": "test", "graph": graph}}]
    return raw


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(limit=st.integers(1, 60), wish=st.integers(5, 20))
def test_tokens_are_never_overspent(tmp_path_factory: pytest.TempPathFactory, limit: int, wish: int) -> None:
    folder = tmp_path_factory.mktemp("tokens")
    talk = _talk(True, wish)
    ran = run(_ring(folder, {"tokens": limit}), folder, backends={"expert": talk, "novice": talk})
    used = _tokens(ran)
    assert len(used) == 3
    assert all(0 < n <= limit for n in used.values())
    assert {(r.outcome, r.failure) for r in ran.episodes()} <= {("budget", ""), ("failed", "parse")}
    ran.store.close()


def test_a_unit_of_one_agent_is_not_charged_to_another(tmp_path: Path) -> None:
    talk = _talk(True)
    ran = run(_ring(tmp_path, {"teacher_tokens": 20}), tmp_path, backends={"expert": talk, "novice": talk})
    assert {e.detail for e in ran.events(StopEvent)} == {"teacher_tokens"}
    assert all(n <= 20 for n in _tokens(ran, "teacher").values())
    assert all(n > 20 for n in _tokens(ran, "student").values())


def test_a_model_that_overruns_fails_its_episode_and_says_so(tmp_path: Path) -> None:
    talk = _talk(False, 30)
    ran = run(_ring(tmp_path, {"tokens": 50}), tmp_path, backends={"expert": talk, "novice": talk})
    assert {(r.outcome, r.failure) for r in ran.episodes()} == {("failed", "budget")}
    errors = ran.events(ErrorEvent)
    assert all("30 tokens" in e.message and "20 were left" in e.message for e in errors)
    assert len(ran.events(MessageEvent)) == 3, "what was not paid for is not said"


def test_every_token_that_was_paid_is_an_event(tmp_path: Path) -> None:
    talk = _talk(True)
    ran = run(_ring(tmp_path, {"tokens": 50}), tmp_path, backends={"expert": talk, "novice": talk})
    for record in ran.episodes():
        spends = [e for e in ran.store.events(record.id) if isinstance(e, SpendEvent) and e.unit == "tokens"]
        assert sum(e.amount for e in spends) == _tokens(ran)[record.key]
        assert spends[-1].remaining == 50 - _tokens(ran)[record.key]


def test_tokens_shared_by_branches_do_not_depend_on_who_is_faster(tmp_path: Path) -> None:
    """A replay answers at once, so its branches never overlap as those of the run did."""
    raw = _ring(tmp_path, {"tokens": 30}, students=2)
    raw["plan"][0]["teach"]["graph"]["edges"][0]["each"] = "students"
    raw["plan"][0]["teach"]["graph"]["nodes"]["close"] = {"do": "teacher.explain"}
    edges: list[Any] = raw["plan"][0]["teach"]["graph"]["edges"]
    edges[1] = {"from": "attempt", "to": "close", "join": True, "when": "grade.correct"}
    edges.append({"from": "close", "to": "end"})

    async def slow(request: GenerateRequest) -> str:
        await asyncio.sleep(0.001)
        return "word word So the answer is 999."

    talk = FunctionBackend(slow)
    ran = run(raw, tmp_path, backends={"expert": talk, "novice": talk})
    assert asyncio.run(verify(ran.study, ran.store)).differences == ()
