"""Nothing reaches a model except through a View: canaries in everything private, over the whole gallery.

Each private field holds a word of its own (`CANARY-gold-i3`), and every model is a function that tells what
it was shown. What a canary may be shown to is written down here again, by kind, and not read from the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from docendo.agents.port import Completion, GenerateRequest
from docendo.agents.view import View
from docendo.errors import PromptError
from docendo.messages import Provenance
from docendo.runtime.backends.base import Capabilities
from docendo.runtime.backends.scripted import FunctionBackend
from docendo.scenarios.bundled import gallery_names
from tests.trust.lab import Ran, Raw, gallery, run, small

CANARY = re.compile(r"CANARY-([a-z]+)-([A-Za-z0-9]+)")


def items(folder: Path, pools: dict[str, int], kind: str) -> Raw:
    """Items whose every private field holds a canary; `yes_no` answers cannot."""
    lines, number = [], 0
    for pool, size in pools.items():
        for _ in range(size):
            name = f"i{number}"
            lines.append({
                "id": name, "question": f"What is thing {name}?", "kind": kind, "pool": pool,
                "answer": f"CANARY-gold-{name}" if kind == "text" else ("yes", "no")[number % 2],
                "solution": f"Because CANARY-solution-{name}.", "form": f"CANARY-form-{name}",
                "skills": [f"CANARY-skill-{name}"],
                "taxonomy": {"harmful": f"CANARY-taxonomy-{name}"},
            })  # fmt: skip
            number += 1
    (folder / "canaries.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    sizes = {k: v for k, v in pools.items() if k in ("train", "test")}
    more = {k: v for k, v in pools.items() if k not in sizes}
    return {"source": "jsonl", "file": "canaries.jsonl", **sizes} | ({"pools": more} if more else {})


def answer(request: GenerateRequest) -> Completion:
    """What a model says: public words, private ones where docendo promises to keep them, a state of mind."""
    view = request.view
    item = view.item.id if view.item else "none"
    guess = (
        "So the answer is " + ("yes" if view.item and view.item.kind == "yes_no" else f"guess-{item}") + "."
    )
    words = {
        "choose": orjson.dumps(_move(view)).decode(),
        "say": f"Look at {item} again.",
        "draft": f"Look at {item} again.",
        "reply": f"I still think of {item}. {guess}",
        "sit": guess,
        "improve": orjson.dumps({"examples": [{"number": 1, "explanation": f"See {item}."}]}).decode(),
        "judge": orjson.dumps({"leaks": False, "reason": f"CANARY-verdict-{item}"}).decode(),
        "solve": f"I think of {item}. {guess}"
        if view.role == "student"
        else f"CANARY-solving-{item}. {guess}",
        "explain": f"See {item}. So the answer is CANARY-withheld-{item}."
        if view.role == "teacher"
        else guess,
        "demonstrate": f"Look at {item}. {guess}",
        "predict": orjson.dumps({"predicted_answer": f"CANARY-prediction-{item}", "p_correct": 0.5}).decode()
        if view.role == "diagnostician"
        else f"CANARY-prediction-{item}. {guess}",
        "reflect": f"Next time I look at {item}." if view.role == "student" else f"CANARY-reflection-{item}",
        "review": orjson.dumps({"accept": True, "reason": f"CANARY-reason-{item}"}).decode(),
        "diagnose": orjson.dumps({"skills": {f"CANARY-diagnosis-{item}": 0.5}}).decode(),
    }[view.act]
    mind = {**(view.mind or {}), "secret": f"CANARY-mind-{view.agent.replace('-', '')}"}
    return Completion(text=words, mind=mind)


def _move(view: View) -> dict[str, str]:
    """The first move that is open."""
    return {slot: next(iter(labels)) for slot, labels in view.moves.slots.items()} if view.moves else {}


@dataclass
class Sight:
    """One canary that one act was shown."""

    kind: str
    name: str
    """Of the item or agent that it belongs to."""
    by: str
    """`role.act`"""
    agent: str
    item: str
    """At hand."""
    where: str
    """Provenance and source of the span, or the part of the view."""

    @property
    def teaches(self) -> bool:
        return self.by.startswith(("teacher.", "diagnostician."))

    @property
    def from_memory(self) -> bool:
        return self.where.startswith(("memory", "demonstrations"))

    @property
    def from_evidence(self) -> bool:
        return self.where.startswith(("belief evidence", "evidence"))


@pytest.fixture
def seen() -> list[GenerateRequest]:
    return []


def models(raw: Raw, requests: list[GenerateRequest]) -> dict[str, FunctionBackend]:
    """A function for every model of the scenario."""

    def generate(request: GenerateRequest) -> Completion:
        requests.append(request)
        return answer(request)

    able = Capabilities(
        scoring=True, seed=True, logprobs=True, schema=True, deterministic=True, reads_view=True
    )
    return {
        name: FunctionBackend(generate, lambda r: [-1.0] * len(r.continuations), name=name, capabilities=able)
        for name in raw["models"]
    }


def prompt_sights(ran: Ran) -> Iterator[Sight]:
    """Canaries in the prompts that the journal holds."""
    roles = {g: (a.role or g) for g, a in ran.study.scenario.agents.items()}
    for record in ran.episodes():
        for event, call in ran.calls_of(record):
            role = roles[re.sub(r"-\d+$", "", event.agent)]
            for message in call.prompt:
                for span in message.spans:
                    for kind, name in CANARY.findall(span.text):
                        where = f"{span.provenance} {span.source}"
                        yield Sight(kind, name, f"{role}.{event.act}", event.agent, record.item, where)


def view_sights(requests: list[GenerateRequest]) -> Iterator[Sight]:
    """Canaries in the typed views, which simulated minds read."""
    for request in requests:
        view = request.view
        parts = view.model_dump(mode="json", exclude={"messages"})
        for side in ("dialogue", "own"):
            parts[side] = [m.model_dump(mode="json") for m in getattr(view, side)]
        for part, value in parts.items():
            for kind, name in CANARY.findall(orjson.dumps(value).decode()):
                item = view.item.id if view.item else ""
                yield Sight(kind, name, f"{view.role}.{view.act}", view.agent, item, part)


KEYED = {
    "teacher.predict", "teacher.choose", "teacher.draft", "teacher.say", "critic.review", "critic.judge",
}  # fmt: skip
"""Who may read the answer key of the item at hand."""

TALKING = {"teacher.choose", "teacher.draft", "teacher.say"}
"""Who reads what critics and diagnosticians tell teachers."""

PASSED_ON = {"public dialogue.help[0].text", "own own[0].text", "own"}
"""Where a teacher that predicts sees the human explanation that it is about to pass on."""


def _gold(s: Sight, quoted: bool) -> bool:
    if s.where.startswith("gold"):
        return s.by in KEYED and s.name == s.item
    if quoted and s.by == "teacher.predict" and s.where in PASSED_ON:
        return s.name == s.item
    if s.from_memory:
        return s.name != s.item and (s.by.startswith("teacher.") or quoted)
    return s.teaches and s.from_evidence and s.name != s.item


def _solution(s: Sight, quoted: bool) -> bool:
    if s.where == "gold":  # in the view of who may read the key; no prompt prints it
        return s.by in KEYED and s.name == s.item
    if quoted and s.where.startswith(("public dialogue", "dialogue", "own")):
        return True  # passed on: this item's, or in a control another's
    if quoted and s.teaches and s.from_evidence:
        return True
    return s.from_memory and s.name != s.item and (s.by.startswith("teacher.") or quoted)


def _told(s: Sight) -> bool:
    """A critic's review or a diagnosis, where teachers read it."""
    return s.by in TALKING and s.where.startswith(("public dialogue", "dialogue"))


MAY: dict[str, Callable[[Sight, bool], bool]] = {
    "gold": _gold,
    "solution": _solution,
    "skill": lambda s, _: s.teaches and s.where == "evidence",
    "mind": lambda s, _: s.where == "mind" and s.name == s.agent.replace("-", ""),
    "profile": lambda s, _: s.name == s.agent.replace("-", "").rstrip("0123456789"),
    # scoring a teacher's confidence goes on from its own words
    "solving": lambda s, _: s.by == "teacher.solve" or (s.where in {"own", "own own.solve"} and s.teaches),
    "reason": lambda s, _: (s.by == "critic.review" and s.where == "own") or _told(s),
    "diagnosis": lambda s, _: (s.by == "diagnostician.diagnose" and s.where == "own") or _told(s),
    "reflection": lambda s, _: s.by == "teacher.improve" and s.where in {"own", "own own[0].text"},
    "withheld": lambda s, _: s.by.startswith("teacher.") and s.where == "own",
}
"""Kind of canary -> whether a sight is as it should be; kinds that are missing are nobody's."""


def may_see(s: Sight, *, quoted: bool) -> bool:
    """Whether this sight is as it should be. `quoted`: an arm passes human explanations on."""
    return s.kind in MAY and MAY[s.kind](s, quoted)


def planted(name: str, folder: Path) -> Raw:
    """A gallery scenario with canaries for items and profiles."""
    raw = gallery(name)
    kind = "yes_no" if name == "yes-no-questions" else "text"
    exams = {phase["exam"]["pool"] for phase in raw["plan"] if phase.get("exam")}
    pools = {k: v if k in exams else 2 for k, v in raw["items"].get("pools", {}).items()}
    sizes = {"train": raw["items"]["train"], "test": 3, **pools}
    raw["items"] = items(folder, sizes, kind)
    # `answer_only` tells the conclusion that is withheld otherwise; it is tested below
    raw["controls"] = [c for c in raw["controls"] if c != "answer_only"]
    for phase in raw["plan"]:
        if phase.get("moves"):  # to talk about another item, a teacher reads that item's key; tested below
            raw["controls"] = [c for c in raw["controls"] if c != "irrelevant"]
        if phase.get("exam"):  # no two of these items share a skill
            phase["exam"]["choose"] = "given"
            raw["matrix"].pop(f"plan.{phase['kind']}.exam.choose", None)
    for agent, spec in raw["agents"].items():
        spec["profile"] = f"You are CANARY-profile-{agent}."
    return raw


QUOTING = {"lessons-that-last", "personalised-explanations", "learn-by-teaching-iteratively"}
"""Some arm of these passes on what is known of an item: human explanations, or answers in examples."""


KEYLESS = {"yes-no-questions", "learn-by-teaching"}
"""Where no prompt prints a canary of the answer key: it holds none, or nobody reads it."""

FORGETFUL = {"learn-by-teaching"}
"""Where every act is one of several alternatives, so that no state of mind lives to be seen again."""


@dataclass
class Planted:
    """A gallery scenario that was run with canaries in it, and what its models were asked."""

    name: str
    ran: Ran
    seen: list[GenerateRequest]


@pytest.fixture(scope="module", params=gallery_names())
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    """Every scenario of the gallery, run once for all tests of it."""
    folder, seen = tmp_path_factory.mktemp("canaries"), list[GenerateRequest]()
    raw = planted(request.param, folder)
    found = Planted(request.param, run(raw, folder, backends=models(raw, seen)), seen)
    yield found
    found.ran.store.close()


def test_no_canary_leaves_its_cage(held: Planted) -> None:
    name = held.name
    assert not [e for e in held.ran.episodes() if e.failure]
    quoted = name in QUOTING
    shown, known = list(prompt_sights(held.ran)), list(view_sights(held.seen))
    assert [s for s in (*shown, *known) if not may_see(s, quoted=quoted)] == []
    assert {s.kind for s in shown} >= ({"profile"} if name in KEYLESS else {"profile", "gold"})
    assert "profile" in {s.kind for s in known}, "canaries were planted at all"
    assert ("mind" in {s.kind for s in known}) == (name not in FORGETFUL)


def test_every_piece_of_a_prompt_has_an_origin(held: Planted) -> None:
    sent = {tuple((m.role, m.text) for m in request.prompt) for request in held.seen}
    asked = 0
    for event, call in held.ran.calls():
        spans = [s for m in call.prompt for s in m.spans]
        assert all(s.text and s.provenance in get_args(Provenance) for s in spans)
        assert all(s.source for s in spans if s.provenance != "instruction")
        assert not [s for s in spans if s.provenance == "instruction" and CANARY.search(s.text)]
        if event.operation == "generate":
            asked += 1
            assert tuple((m.role, "".join(s.text for s in m.spans)) for m in call.prompt) in sent
    assert asked


def test_a_control_tells_the_answer_and_nothing_else(tmp_path: Path, seen: list[GenerateRequest]) -> None:
    raw = small(items=items(tmp_path, {"test": 3}, "text"), budget={}, agents__teacher__distort="answer_only")
    raw["plan"] = [{"teach": {"items": "test", "policy": "always"}}]
    run(raw, tmp_path, backends=models(raw, seen))
    told = [m.text for r in seen if r.view.role == "student" for m in r.view.help]
    assert sorted(told) == [f"So the answer is CANARY-withheld-i{n}." for n in range(3)]


@pytest.mark.parametrize("act", ["explain", "quote", "demonstrate"])
def test_irrelevant_help_is_about_another_item(tmp_path: Path, seen: list[GenerateRequest], act: str) -> None:
    raw = small(items=items(tmp_path, {"test": 3}, "text"), budget={}, agents__teacher__distort="irrelevant")
    graph = {
        "nodes": {"help": {"do": f"teacher.{act}"}, "try": {"do": "student.solve"}},
        "edges": [
            {"from": "start", "to": "help"},
            {"from": "help", "to": "try"},
            {"from": "try", "to": "end"},
        ],
    }
    raw["plan"] = [{"teach": {"items": "test", "graph": graph}}]
    run(raw, tmp_path, backends=models(raw, seen))
    helped = [r.view for r in seen if r.view.role == "student"]
    assert len(helped) == 3
    for view in helped:
        (message,) = view.help
        others = {f"i{n}" for n in range(3)} - {view.item.id if view.item else ""}
        named = set(re.findall(r"\bi\d\b", message.text))
        assert len(named) == 1
        assert named < others, "of one other item, and not of this one"


COURT: Raw = {
    "nodes": {
        "attempt": {"do": "student.solve"},
        "look": {"do": "diagnostician.diagnose"},
        "explain": {"do": "teacher.explain"},
        "review": {"do": "critic.review"},
        "again": {"do": "teacher.explain"},
        "second": {"do": "critic.review"},
        "retry": {"do": "student.solve"},
        "reflect": {"do": "student.reflect"},
    },
    "edges": [
        {"from": a, "to": b}
        for a, b in zip(
            ("start", "attempt", "look", "explain", "review", "again", "second", "retry", "reflect"),
            ("attempt", "look", "explain", "review", "again", "second", "retry", "reflect", "end"),
            strict=True,
        )
    ],
}  # fmt: skip


def test_judges_and_other_minds_keep_their_notes(tmp_path: Path, seen: list[GenerateRequest]) -> None:
    """Every role at once, two students, and a test with fresh agents behind it."""
    raw = small(items=items(tmp_path, {"train": 6, "test": 3}, "text"), budget={})
    raw["agents"]["critic"] = {"model": "expert"}
    raw["agents"]["diagnostician"] = {"model": "expert", "student_model": "few_shot"}
    raw["agents"]["student"] |= {"count": 2, "memory": {"kind": "transcript", "reset": "lesson"}}
    for agent, spec in raw["agents"].items():
        spec["profile"] = f"You are CANARY-profile-{agent}."
    raw["plan"] = [
        {"observe": {"items": "train", "count": 3}},
        {"teach": {"items": "test", "graph": COURT, "order": "sequential"}},
    ]
    ran = run(raw, tmp_path, backends=models(raw, seen))
    assert not [e for e in ran.episodes() if e.failure]
    shown, known = list(prompt_sights(ran)), list(view_sights(seen))
    assert [s for s in (*shown, *known) if not may_see(s, quoted=False)] == []
    assert {s.kind for s in known} >= {"gold", "mind", "profile"}


def leak(folder: Path, view: list[str]) -> Raw:
    (folder / "leak.md").write_text(
        "--- user ---\n{{ item.question }} (key: {{ gold.answer }})\n", encoding="utf-8"
    )
    raw = small(items=items(folder, {"test": 3}, "text"), budget={}, plan=[{"test": "test"}])
    raw["agents"]["student"] |= {"view": {"solve": view}, "prompts": {"solve": "leak.md"}}
    return raw


def test_a_wider_view_lets_the_canary_out(tmp_path: Path, seen: list[GenerateRequest]) -> None:
    """The checks above can fail: this scenario says itself that its student may see the key."""
    raw = leak(tmp_path, ["item", "gold"])
    ran = run(raw, tmp_path, backends=models(raw, seen))
    assert {(s.kind, s.by) for s in prompt_sights(ran)} == {("gold", "student.solve")}
    for sights in (list(prompt_sights(ran)), list(view_sights(seen))):
        assert [s for s in sights if not may_see(s, quoted=False)]


def test_a_prompt_cannot_widen_a_view(tmp_path: Path, seen: list[GenerateRequest]) -> None:
    raw = leak(tmp_path, ["item"])
    with pytest.raises(PromptError, match="gold"):
        run(raw, tmp_path, backends=models(raw, seen))
    assert not seen


def test_a_narrower_view_shows_less(tmp_path: Path, seen: list[GenerateRequest]) -> None:
    raw = small(items=items(tmp_path, {"test": 3}, "text"), budget={})
    raw["agents"]["student"] |= {"view": {"solve": ["item", "own"]}}
    raw["plan"] = [{"teach": {"items": "test", "policy": "always"}}]
    run(raw, tmp_path, backends=models(raw, seen))
    asked: list[Any] = [r.view for r in seen if r.view.role == "student"]
    assert len(asked) == 6
    assert not any(view.dialogue for view in asked)
