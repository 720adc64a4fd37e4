"""Tutoring dialogues keep docendo's promises.

What is vetoed is not heard, every turn is paid for, judges that cannot be read are missing, and the control
of the order of words has the same words.

Every model is a function here, so that a test can say what each agent says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docendo.agents.port import Completion, GenerateRequest
from docendo.errors import ScenarioError
from docendo.events import (
    BeliefEvent,
    CallEvent,
    DecisionEvent,
    FlagEvent,
    GradeEvent,
    MessageEvent,
    SpendEvent,
    StopEvent,
)
from docendo.runtime.backends.base import Capabilities
from docendo.runtime.backends.scripted import FunctionBackend
from docendo.runtime.study import prepare
from docendo.scenarios.loader import load_raw
from tests.trust.lab import Ran, Raw, docendo, run, subtractions

Voice = Callable[[GenerateRequest], str]
SPENT = ("turns", "hints", "questions", "tells", "vetoes")


def scene(folder: Path, graph: str = "tutoring", items: int = 2, **phase: Any) -> Raw:
    """A dialogue of four agents about `items` subtractions."""
    return {
        "version": 1,
        "name": "scene",
        "models": {
            name: {"backend": "scripted", "replies": ["x"]} for name in ("wise", "new", "strict", "doctor")
        },
        "agents": {
            "teacher": {"model": "wise"},
            "student": {"model": "new"},
            "critic": {"model": "strict"},
            "diagnostician": {"model": "doctor"},
        },
        "items": subtractions(folder, items),
        "plan": [{"teach": {"items": "test", "graph": graph, "moves": "mathdial", **phase}}],
        "budget": {"turns": 3, "hints": 3, "questions": 2, "tells": 1, "vetoes": 2},
        "measures": ["accuracy"],
    }


def choosing(label: str) -> Voice:
    return lambda request: orjson.dumps({"move": label, "reason": "because"}).decode()


def accepting(request: GenerateRequest) -> str:
    return orjson.dumps({"accept": True, "reason": ""}).decode()


USUAL: dict[str, Voice] = {
    "teacher.choose": choosing("focus"),
    "teacher.draft": lambda r: f"Look at the tens, try {len(r.view.own)}.",
    "teacher.say": lambda r: f"Look at the ones, try {len(r.view.own)}.",
    "student.reply": lambda r: f"I wonder. So the answer is {len(r.view.own)}.",
    "student.solve": lambda r: "So the answer is 1.",
    "critic.review": accepting,
    "critic.judge": lambda r: orjson.dumps({"leaks": False, "words": ""}).decode(),
    "diagnostician.diagnose": lambda r: orjson.dumps({"misconceptions": {"SECRET-belief": 0.9}}).decode(),
    "diagnostician.predict": lambda r: orjson.dumps({"predicted_answer": "1", "p_correct": 0.25}).decode(),
}
ABLE = Capabilities(scoring=True, seed=True, logprobs=True, schema=True, deterministic=True)


def play(raw: Raw, folder: Path, seen: list[GenerateRequest] | None = None, **voices: Voice) -> Ran:
    """Run with these voices over the usual ones; `teacher__draft` is that of `teacher.draft`."""
    cast = USUAL | {name.replace("__", "."): voice for name, voice in voices.items()}

    def generate(request: GenerateRequest) -> Completion:
        if seen is not None:
            seen.append(request)
        return Completion(text=cast[f"{request.view.role}.{request.view.act}"](request))

    backends = {name: FunctionBackend(generate, name=name, capabilities=ABLE) for name in raw["models"]}
    return run(raw, folder, backends=backends)


def spent(ran: Ran, item: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for event in ran.events(SpendEvent, item=item):
        found[event.unit] += event.amount
    return found


def said(ran: Ran, act: str, item: str = "i0") -> list[str]:
    return [e.message.text for e in ran.events(MessageEvent, item=item) if e.message.act == act]


# --- what a turn is -------------------------------------------------------------------------------------


def test_every_turn_is_decided_reviewed_predicted_and_paid(tmp_path: Path) -> None:
    ran = play(scene(tmp_path), tmp_path)
    (stop, _) = ran.events(StopEvent)
    assert (stop.reason, stop.detail) == ("budget", "turns")
    acts = [e.act for e in ran.events(MessageEvent, item="i0")]
    turn = ["diagnose", "choose", "draft", "review", "send", "predict", "reply"]
    assert acts == ["reply", *turn, *turn, *turn, "diagnose"]
    assert spent(ran, "i0") == {"turns": 3, "hints": 3}
    decisions = [e.chosen for e in ran.events(DecisionEvent, item="i0") if e.act == "choose"]
    assert decisions[:2] == [{"move": "focus"}, {"move": "focus"}]


def test_a_dialogue_ends_when_the_answer_is_right(tmp_path: Path) -> None:
    ran = play(scene(tmp_path), tmp_path, student__reply=lambda r: "So the answer is 380.")
    first, second = ran.events(StopEvent)
    assert first.reason == "end"
    assert second.reason == "budget", "380 is right for the first item only"
    assert [g.correct for g in ran.events(GradeEvent, item="i0")] == [True]


def test_beliefs_come_before_the_answer_that_they_are_about(tmp_path: Path) -> None:
    ran = play(scene(tmp_path), tmp_path)
    predictions = [e for e in ran.events(BeliefEvent, item="i0") if e.act == "predict"]
    grades = {g.attempt: g for g in ran.events(GradeEvent, item="i0")}
    assert [p.attempt for p in predictions] == [1, 2, 3]
    for prediction in predictions:
        assert prediction.position < grades[prediction.attempt].position
        assert prediction.given_help
    diagnoses = [e for e in ran.events(BeliefEvent, item="i0") if e.act == "diagnose"]
    assert [d.attempt for d in diagnoses] == [1, 2, 3, 4]


# --- what is vetoed is not heard ------------------------------------------------------------------------


def vetoing(times: int) -> Voice:
    def review(request: GenerateRequest) -> str:
        drafts = [m for m in request.view.dialogue if m.kind == "suggestion"]
        accept = len(drafts) > times
        return orjson.dumps({"accept": accept, "reason": "REASON", "words": drafts[-1].text}).decode()

    return review


def test_a_vetoed_draft_reaches_the_critic_alone(tmp_path: Path) -> None:
    seen: list[GenerateRequest] = []
    ran = play(scene(tmp_path, items=1), tmp_path, seen, critic__review=vetoing(1))
    drafts = said(ran, "draft")
    assert said(ran, "send")[0] == drafts[1], "the revision was sent, and not what it revised"
    for request in seen:
        text = "".join(m.text for m in request.prompt)
        if request.view.role in ("student", "diagnostician"):
            assert drafts[0] not in text
            assert "REASON" not in text
        if request.view.role == "student":
            assert "SECRET-belief" not in text
    assert any("REASON" in "".join(m.text for m in r.prompt) for r in seen if r.view.act == "draft")
    vetoes = [e for e in ran.events(DecisionEvent, item="i0") if e.policy == "critic" and not e.chosen]
    assert vetoes[0].reasons == {"reason": "REASON", "words": drafts[0]}
    assert spent(ran, "i0")["vetoes"] == 1


def test_a_critic_that_vetoes_for_ever_is_a_typed_outcome(tmp_path: Path) -> None:
    raw = scene(tmp_path, items=1)
    ran = play(raw, tmp_path, critic__review=vetoing(99))
    (stop,) = ran.events(StopEvent)
    assert (stop.reason, stop.detail) == ("budget", "turns")
    assert spent(ran, "i0") == {"turns": 3, "hints": 3, "vetoes": 2}
    assert said(ran, "send") == []
    assert len(said(ran, "reply")) == 1, "nobody spoke, so the student was not asked again"


# --- missing, never a score -----------------------------------------------------------------------------


def test_a_student_that_never_answers_is_missing(tmp_path: Path) -> None:
    ran = play(scene(tmp_path, items=1), tmp_path, student__reply=lambda r: "I do not know.")
    assert ran.events(GradeEvent) == []
    (stop,) = ran.events(StopEvent)
    assert stop.reason == "budget"
    ((value, reason),) = [(o.value, o.reason) for o in ran.store.observations(ran.study.run_id)]
    assert value is None
    assert "no answer" in reason


@pytest.mark.parametrize(
    ("judged", "found"),
    [
        ('{"leaks": true, "words": "try 1"}', True),
        ('{"leaks": false}', False),
        ("OK, it looks fine to me!", None),
        ('{"leaks": "perhaps"}', None),
    ],
)
def test_judge_failure_is_missing_in_dialogues(tmp_path: Path, judged: str, found: bool | None) -> None:
    raw = scene(tmp_path, items=1, params={"judge": True})
    ran = play(raw, tmp_path, critic__judge=lambda r: judged)
    flags = [f for f in ran.events(FlagEvent) if f.by == "judge"]
    assert {f.found for f in flags} == {found}
    assert not [e for e in ran.episodes() if e.failure], "the dialogue goes on without its judge"
    if found:
        text = said(ran, "send")[0]
        assert text[flags[0].start :].startswith(flags[0].words)


# --- leaks ----------------------------------------------------------------------------------------------


def test_the_rule_marks_the_very_words(tmp_path: Path) -> None:
    ran = play(
        scene(tmp_path, items=1), tmp_path, teacher__draft=lambda r: "It is near 1,380, or 380 to be exact."
    )
    flag = ran.events(FlagEvent)[0]
    assert (flag.by, flag.words, flag.found) == ("rule", "380", True)
    assert said(ran, "send")[0][flag.start :] == "380 to be exact."
    assert flag.said == next(e.turn for e in ran.events(MessageEvent) if e.message.act == "send")


def test_what_the_student_has_said_cannot_leak(tmp_path: Path) -> None:
    ran = play(
        scene(tmp_path, items=1),
        tmp_path,
        student__reply=lambda r: "Is it 380? I am not sure.",
        teacher__draft=lambda r: "You said 380. Check it.",
    )
    assert ran.events(FlagEvent) == []


# --- moves ----------------------------------------------------------------------------------------------


def test_a_move_that_is_no_move_is_repaired_once(tmp_path: Path) -> None:
    def confused(request: GenerateRequest) -> str:
        open_now = any("is not open" in m.text for m in request.prompt)
        return choosing("probing" if open_now else "shouting")(request)

    ran = play(scene(tmp_path, items=1), tmp_path, teacher__choose=confused)
    assert next(e.chosen for e in ran.events(DecisionEvent) if e.act == "choose") == {"move": "probing"}
    assert [e.purpose for e in ran.events(CallEvent) if e.act == "choose"][:2] == ["act", "repair"]


def test_a_move_that_stays_no_move_fails_its_episode_only(tmp_path: Path) -> None:
    ran = play(
        scene(tmp_path),
        tmp_path,
        teacher__choose=lambda r: choosing("shouting" if r.view.item.id == "i0" else "focus")(r),  # type: ignore[union-attr]
    )
    assert {(e.item, e.failure) for e in ran.episodes()} == {("i0", "parse"), ("i1", "")}


def test_a_price_is_not_the_models_to_name(tmp_path: Path) -> None:
    voice = lambda r: '{"move": "telling", "reason": "x", "spends": ""}'  # noqa: E731
    ran = play(scene(tmp_path, items=1), tmp_path, teacher__choose=voice)
    (episode,) = ran.episodes()
    assert episode.failure == "parse" or spent(ran, "i0")["tells"] == 1


@pytest.mark.parametrize("source", ["random", "fixed"])
def test_a_closed_move_gives_way_and_the_record_says_so(tmp_path: Path, source: str) -> None:
    moves = {"taxonomy": "mathdial", "source": source} | ({"fixed": "telling"} if source == "fixed" else {})
    seen: list[GenerateRequest] = []
    ran = play(scene(tmp_path, items=1, moves=moves), tmp_path, seen)
    assert not [r for r in seen if r.view.act == "choose"], "nobody is asked where the lot or a list decides"
    assert all(n <= 3 for n in spent(ran, "i0").values())
    if source == "fixed":
        decisions = [e for e in ran.events(DecisionEvent) if e.act == "choose"]
        assert decisions[0].chosen == {"move": "telling"}
        assert decisions[1].chosen != {"move": "telling"}
        assert "`telling` is closed" in decisions[1].reasons["move"]


def test_tells_are_saved_for_the_last_turns(tmp_path: Path) -> None:
    moves = {"taxonomy": "mathdial", "source": "fixed", "fixed": "telling", "save": {"tells": 1}}
    ran = play(scene(tmp_path, items=1, moves=moves), tmp_path)
    chosen = [e.chosen["move"] for e in ran.events(DecisionEvent) if e.act == "choose"]
    assert chosen.index("telling") == 1, "one turn was left when the second move was chosen"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits=st.fixed_dictionaries({unit: st.integers(0, 4) for unit in SPENT}),
    source=st.sampled_from(["random", "self"]),
    label=st.sampled_from(["focus", "probing", "telling", "generic"]),
    vetoes=st.integers(0, 3),
)
def test_no_dialogue_overspends(
    tmp_path_factory: pytest.TempPathFactory, limits: Raw, source: str, label: str, vetoes: int
) -> None:
    folder = tmp_path_factory.mktemp("scene")
    raw = scene(folder, items=1, moves={"taxonomy": "mathdial", "source": source})
    raw["budget"] = limits
    ran = play(raw, folder, teacher__choose=choosing(label), critic__review=vetoing(vetoes))
    for unit, amount in spent(ran, "i0").items():
        assert amount <= limits[unit]
    (stop,) = ran.events(StopEvent)
    assert stop.reason in ("budget", "end", "failed")


# --- controls -------------------------------------------------------------------------------------------


def test_a_shuffled_dialogue_has_the_same_words_in_another_order(tmp_path: Path) -> None:
    raw = scene(tmp_path, items=1)
    raw["budget"] |= {"turns": 5, "hints": 5}
    raw["controls"] = ["shuffled_dialogue"]
    ran = play(raw, tmp_path, teacher__draft=lambda r: f"Word {sum(m.act == 'draft' for m in r.view.own)}.")
    by_condition: dict[str, list[str]] = {}
    for record in ran.episodes():
        events = [e for e in ran.store.events(record.id) if isinstance(e, MessageEvent)]
        by_condition.setdefault(record.lesson.condition, []).extend(
            e.message.text for e in events if e.message.act == "send"
        )
    plain, shuffled = (by_condition[s.condition.id] for s in ran.study.setups)
    assert plain == [f"Word {n}." for n in range(5)]
    assert sorted(shuffled) == sorted(plain)
    assert all(a != b for a, b in zip(plain, shuffled, strict=True))


@pytest.mark.parametrize("control", ["silent", "answer_only", "irrelevant"])
def test_controls_reach_dialogues(tmp_path: Path, control: str) -> None:
    raw = scene(tmp_path)
    raw["agents"]["teacher"]["distort"] = control
    ran = play(raw, tmp_path, teacher__draft=lambda r: f"About {r.view.item.id} and more words here.")  # type: ignore[union-attr]
    texts = set(said(ran, "send"))
    assert (
        texts
        == {
            "silent": {""},
            "answer_only": {"So the answer is 380."},
            "irrelevant": {"About i1 and more words here."},
        }[control]
    )


# --- bad input ------------------------------------------------------------------------------------------


def refused(raw: Raw, folder: Path) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        prepare(load_raw(raw, base=folder))
    return [str(p) for p in caught.value.problems]


def test_a_dialogue_needs_moves_and_moves_a_dialogue(tmp_path: Path) -> None:
    without = scene(tmp_path)
    del without["plan"][0]["teach"]["moves"]
    (problem,) = refused(without, tmp_path)
    assert "the phase names none" in problem
    assert "moves: mathdial" in problem
    raw = scene(tmp_path, graph="intervention")
    raw["budget"] = {"interventions": 1}
    (problem,) = refused(raw, tmp_path)
    assert "nobody chooses any in its graph" in problem


@pytest.mark.parametrize("unit", ["turns", "vetoes"])
def test_a_dialogue_without_an_end_is_refused(tmp_path: Path, unit: str) -> None:
    raw = scene(tmp_path)
    del raw["budget"][unit]
    (problem,) = refused(raw, tmp_path)
    assert f"`{unit}`, which the budget does not limit" in problem


def test_fixed_moves_say_which(tmp_path: Path) -> None:
    problems = refused(scene(tmp_path, moves={"taxonomy": "mathdial", "source": "fixed"}), tmp_path)
    assert any("needs the moves in `fixed`" in p for p in problems)


# --- repeatable -----------------------------------------------------------------------------------------


def test_dialogues_replay_exactly(tmp_path: Path) -> None:
    """With simulated agents, which need nobody to speak for them."""
    raw = scene(tmp_path)
    raw["models"] = {
        "wise": {"backend": "simulated", "mind": "expert"},
        "new": {"backend": "simulated", "mind": "procedural", "bugs": ["smaller_from_larger"]},
        "strict": {"backend": "simulated", "mind": "expert"},
        "doctor": {"backend": "simulated", "mind": "expert"},
    }
    raw["controls"] = ["shuffled_dialogue", "irrelevant"]
    ran = run(raw, tmp_path)
    assert not [e for e in ran.episodes() if e.failure]
    found = docendo("replay", "--store", ran.url, "--json").data
    assert found["exact"], found["differences"]
    again = tmp_path / "again"
    again.mkdir()
    subtractions(again, 2)
    assert run(raw, again, concurrent=1).digest == ran.digest
