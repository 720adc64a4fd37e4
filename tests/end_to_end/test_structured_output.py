"""What a model must say in a form: repaired once, then one episode's failure."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from docendo.agents.port import GenerateRequest
from docendo.events import BeliefEvent, CallEvent, ErrorEvent, GradeEvent
from docendo.runtime.backends.scripted import FunctionBackend
from tests.end_to_end.model_server import model_server
from tests.runtime.http_server import Received, answer, chat_body
from tests.trust.lab import Ran, Raw, run, small, subtractions, texts

DIAGNOSED: Raw = {
    "nodes": {"attempt": {"do": "student.solve"}, "look": {"do": "diagnostician.diagnose"}},
    "edges": [
        {"from": "start", "to": "attempt"},
        {"from": "attempt", "to": "look"},
        {"from": "look", "to": "end"},
    ],
}
GOOD = (
    '{"skills": {"borrow": 0.25}, "misconceptions": {"smaller_from_larger": 0.75}, "predicted_answer": "3"}'
)


def diagnosed(folder: Path, first: str, second: str = GOOD) -> Ran:
    """The diagnostician says `first` about item i1, and `second` when asked again."""
    asked: Counter[str] = Counter()

    def answer(request: GenerateRequest) -> str:
        item = request.view.item
        assert item is not None
        asked[item.id] += 1
        if item.id != "i1":
            return GOOD
        return first if asked[item.id] == 1 else second

    raw = small(
        items=subtractions(folder, 3), budget={}, plan=[{"teach": {"items": "test", "graph": DIAGNOSED}}]
    )
    raw["models"]["doctor"] = {"backend": "scripted", "replies": ["x"]}
    raw["agents"] = {"student": {"model": "novice"}, "diagnostician": {"model": "doctor"}}
    return run(raw, folder, backends={"doctor": FunctionBackend(answer)})


BAD = {
    "prose": "I think the student does not know how to borrow.",
    "not closed": '{"skills": {"borrow": 0.25}',
    "a list": "[0.25]",
    "another field": '{"skills": {}, "mood": "cheerful"}',
    "another type": '{"skills": {"borrow": "low"}}',
    "nothing": "",
}


@pytest.mark.parametrize("garbage", BAD.values(), ids=BAD)
def test_one_repair_is_one_event(tmp_path: Path, garbage: str) -> None:
    ran = diagnosed(tmp_path, garbage)
    assert {e.outcome for e in ran.episodes()} == {"end"}
    purposes = [(r.item, e.purpose) for r in ran.episodes() for e in ran.store.events(r.id)
                if isinstance(e, CallEvent) and e.agent == "diagnostician"]  # fmt: skip
    assert sorted(purposes) == [("i0", "act"), ("i1", "act"), ("i1", "repair"), ("i2", "act")]
    (belief,) = ran.events(BeliefEvent, item="i1")
    assert (belief.skills, belief.misconceptions, belief.predicted_answer) == (
        {"borrow": 0.25}, {"smaller_from_larger": 0.75}, "3",
    )  # fmt: skip
    (repair,) = [call for event, call in ran.calls(item="i1") if event.purpose == "repair"]
    assert "one JSON object" in repair.prompt[-1].text
    assert repair.prompt[-2].role == "assistant"
    assert repair.prompt[-2].text == (garbage or "(no text)")


@pytest.mark.parametrize("garbage", BAD.values(), ids=BAD)
def test_garbage_twice_fails_one_episode_and_no_other(tmp_path: Path, garbage: str) -> None:
    ran = diagnosed(tmp_path, garbage, garbage)
    assert {e.item: (e.outcome, e.failure) for e in ran.episodes()} == {
        "i0": ("end", ""), "i1": ("failed", "parse"), "i2": ("end", ""),
    }  # fmt: skip
    (error,) = ran.events(ErrorEvent)
    assert (error.agent, error.act, error.failure) == ("diagnostician", "diagnose", "parse")
    assert "nor after one repair" in error.message
    assert [c.purpose for c in ran.events(CallEvent, item="i1") if c.agent == "diagnostician"] == [
        "act",
        "repair",
    ]
    assert len(ran.events(BeliefEvent)) == 2, "nothing is made up"
    assert len(ran.events(GradeEvent)) == 3, "what was said before stays"


def test_a_model_too_weak_for_its_form_fails_episodes_and_stalls_nothing(tmp_path: Path) -> None:
    """A server whose grammar lets the model write blanks until its tokens are spent: asked with the schema,
    repaired once, and then a failure by its name."""

    def blanks(request: Received) -> Any:
        form = request.body.get("response_format")
        assert form, "the engine's own grammar is asked for"
        assert "misconceptions" in form["json_schema"]["schema"]["properties"]
        return answer(chat_body("{    \n   ", finish="length"))

    with model_server(blanks) as server:
        raw = small(
            items=subtractions(tmp_path, 3),
            budget={},
            plan=[{"teach": {"items": "test", "graph": DIAGNOSED}}],
        )
        raw["models"]["doctor"] = {"backend": "openai", "model": "m", "base_url": server.url}
        raw["agents"] = {"student": {"model": "novice"}, "diagnostician": {"model": "doctor"}}
        ran = run(raw, tmp_path)
        assert server.asked == 6, "each asked and repaired once"
    assert {(e.outcome, e.failure) for e in ran.episodes()} == {("failed", "parse")}
    assert len(ran.events(GradeEvent)) == 3


@pytest.mark.parametrize("wrapped", [f"```json\n{GOOD}\n```", f"Here it is: {GOOD} I hope it helps."])
def test_a_form_may_stand_between_words(tmp_path: Path, wrapped: str) -> None:
    ran = diagnosed(tmp_path, wrapped)
    assert {e.purpose for e in ran.events(CallEvent)} == {"act"}
    assert {e.outcome for e in ran.episodes()} == {"end"}


def test_free_text_is_repaired_as_well(tmp_path: Path) -> None:
    """A student that forgets its conclusion is asked for it, with its own words before its eyes."""
    seen: list[Any] = []

    def answer(request: GenerateRequest) -> str:
        seen.append(request)
        return (
            "So the answer is 380." if "cannot find your answer" in texts(request.prompt) else "Let me think."
        )

    raw = small(items=subtractions(tmp_path, 1), budget={}, plan=[{"test": "test"}])
    ran = run(raw, tmp_path, backends={"novice": FunctionBackend(answer)})
    assert [e.purpose for e in ran.events(CallEvent)] == ["act", "repair"]
    assert [(g.answer, g.correct) for g in ran.events(GradeEvent)] == [("380", True)]
    assert [m.text for m in seen[1].prompt if m.role == "assistant"][-1] == "Let me think."
    assert seen[0].seed == seen[1].seed
