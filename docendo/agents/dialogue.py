"""Acts of a tutoring dialogue: teachers decide and speak, critics review, diagnosticians believe.

What a teacher is about to say is a *draft*: only critics read it. `send` delivers it, so that a student never
sees what was vetoed. `say` does both at once, where there is no critic. What a student says is a reply, and
only an answer that it announces is graded.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError

from docendo.agents.act import ACTS, Act, Unreadable
from docendo.agents.moves import Menu, move_schema, read_labels
from docendo.agents.payload import Belief, Diagnosis, Judgement, Move, Payload, Reply, Utterance, Verdict
from docendo.agents.view import View
from docendo.errors import EpisodeFailure
from docendo.scenarios.grader import read_number, stated_answer

__all__ = ["wrong_answer"]

_THOUGHTS = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
_BESIDES = 10
"""How far beside a number the wrong one lies that a teacher insists on."""


def _menu(view: View) -> Menu:
    if view.moves is None:
        raise EpisodeFailure(
            "crash",
            f"`{view.role}.{view.act}` needs moves, and the phase names none",
            suggestion="Add `moves: mathdial` to the phase, and `moves` to the view of the act.",
        )
    return view.moves


def _read_move(text: str, view: View) -> Payload:
    """A model's choice of a move; what the labels cost is filled in by the laboratory."""
    found = read_labels(text, _menu(view))
    if isinstance(found, str):
        raise Unreadable(found)
    labels, reason = found
    reasons = {"reason": reason} if reason else {}
    return Move(labels=labels, reasons=reasons, stop=not labels, source="self")


def _read_utterance(text: str, view: View) -> Payload:
    """What is said aloud; what stands in `<think>` is not."""
    words = _THOUGHTS.sub("", text).strip()
    if not words:
        raise Unreadable("Say something to the student, in one to three sentences.")
    chosen = view.moves.chosen if view.moves else None
    thoughts = " ".join(part.strip() for part in _THOUGHTS.findall(text))
    return Utterance(text=words, says=chosen.says if chosen else "feedback", thoughts=thoughts)


def _send(view: View) -> Payload:
    """The latest draft."""
    draft = next((m for m in reversed(view.own) if m.act == "draft"), None)
    if draft is None:
        raise EpisodeFailure(
            "crash",
            "`teacher.send` has no draft to send",
            suggestion="Let `teacher.draft` come first in the graph, and allow `send` to read `own`.",
        )
    return Utterance.model_validate(draft.payload)


def _read_reply(text: str, view: View) -> Payload:
    """A student's words, with the answer that they announce, if any."""
    words = _THOUGHTS.sub("", text).strip()
    if not words:
        raise Unreadable("Say what you think now, in one to three sentences.")
    item = view.item
    answer = stated_answer(words, item.kind, item.options) if item is not None else None
    return Reply(text=words, answer=answer)


def _read_json(text: str) -> Any:
    start, end = text.find("{"), text.rfind("}")
    try:
        return json.loads(text[start : end + 1])
    except json.JSONDecodeError as error:
        raise Unreadable("Answer with one JSON object and nothing else.") from error


def _read_foresight(text: str, view: View) -> Payload:
    """The student's next answer, and how likely it is right."""
    data = _read_json(text)
    wanted = Unreadable('Answer with {"predicted_answer": "...", "p_correct": a number from 0 to 1}.')
    if not isinstance(data, dict):
        raise wanted
    answer, p = data.get("predicted_answer"), data.get("p_correct")
    try:
        belief = Belief(
            predicted_answer=None if answer is None else str(answer), p_correct=p, given_help=bool(view.help)
        )
    except ValidationError as error:
        raise wanted from error
    if belief.predicted_answer is None and belief.p_correct is None:
        raise wanted
    return belief


def _read_judgement(text: str, view: View) -> Payload:
    """Whether a message leaks; the words must stand in it."""
    del view
    try:
        return Judgement.model_validate(_read_json(text))
    except ValidationError as error:
        raise Unreadable('Answer with {"leaks": true or false, "words": "...", "reason": "..."}.') from error


def wrong_answer(view: View) -> str:
    """An answer to the item that is neither right nor what the student has just said.

    Raises:
        EpisodeFailure: The act may not read `gold`.
    """
    item, gold = view.item, view.gold
    if item is None or gold is None:
        raise EpisodeFailure("crash", f"`{view.role}.{view.act}` must be allowed to read `item` and `gold`")
    if item.kind == "yes_no":
        return "no" if gold.answer == "yes" else "yes"
    last = next((m for m in reversed(view.dialogue) if m.kind == "attempt"), None)
    said = stated_answer(last.text, item.kind, item.options) if last else None
    if item.kind == "choice":
        labels = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(item.options)]
        return next(label for label in labels if label not in (gold.answer, said))
    number = read_number(gold.answer)
    if number is None:
        return "none of that"  # anything about the right answer would give it away
    candidates = (number + step for step in (_BESIDES, 2 * _BESIDES))
    return next(text for n in candidates if (text := f"{float(n):g}") != said)


def _insist(view: View) -> Payload:
    """A wrong answer, and nothing but confidence behind it."""
    return Utterance(text=f"No. I am sure that the answer is {wrong_answer(view)}.", says="feedback")


_TALK = frozenset({"item", "gold", "dialogue", "own", "evidence", "moves", "budget"})

for _act in (
    Act(
        role="teacher",
        name="choose",
        says="plan",
        reads=_TALK,
        to="self",
        output=Move,
        do=lambda view: _menu(view).decided,
        template="teacher/choose.md",
        read=_read_move,
        schema=lambda view: move_schema(_menu(view)),
        description="Decide on the next move of a dialogue, or end it.",
    ),
    Act(
        role="teacher",
        name="draft",
        says="suggestion",
        reads=_TALK,
        to="critic",
        output=Utterance,
        template="teacher/say.md",
        read=_read_utterance,
        description="Put the chosen move into words, for the critic alone.",
    ),
    Act(
        role="teacher",
        name="send",
        says="feedback",
        reads=frozenset({"own"}),
        output=Utterance,
        do=_send,
        description="Say the latest draft to everybody.",
    ),
    Act(
        role="teacher",
        name="say",
        says="feedback",
        reads=_TALK,
        output=Utterance,
        template="teacher/say.md",
        read=_read_utterance,
        description="Put the chosen move into words, for everybody.",
    ),
    Act(
        role="teacher",
        name="insist",
        says="feedback",
        reads=frozenset({"item", "gold", "dialogue"}),
        output=Utterance,
        do=_insist,
        description="Claim a wrong answer, without reasons: the pressure of the fidelity check.",
    ),
    Act(
        role="student",
        name="reply",
        says="attempt",
        reads=frozenset({"item", "dialogue", "own", "memory", "profile", "mind"}),
        output=Reply,
        template="student/reply.md",
        read=_read_reply,
        description="Say what one thinks now; an announced answer is graded.",
    ),
    Act(
        role="critic",
        name="review",
        says="judgement",
        reads=frozenset({"item", "gold", "dialogue"}),
        to="teacher",
        output=Verdict,
        template="critic/review.md",
        description="Accept or veto what the teacher is about to say, with a reason that the teacher reads.",
    ),
    Act(
        role="critic",
        name="judge",
        says="judgement",
        reads=frozenset({"item", "gold", "dialogue"}),
        to="self",
        output=Judgement,
        template="critic/judge.md",
        read=_read_judgement,
        unread=lambda text, view: Judgement(leaks=None, reason="the judge could not be understood"),
        description="Judge whether the last message gives the answer away; unreadable is missing.",
    ),
    Act(
        role="diagnostician",
        name="diagnose",
        says="diagnosis",
        reads=frozenset({"item", "dialogue", "evidence"}),
        to="teacher",
        output=Diagnosis,
        template="diagnostician/diagnose.md",
        description="State a typed belief about skills and misconceptions; the teacher reads it.",
    ),
    Act(
        role="diagnostician",
        name="predict",
        says="diagnosis",
        reads=frozenset({"item", "dialogue", "evidence"}),
        to="self",
        output=Belief,
        template="diagnostician/predict.md",
        read=_read_foresight,
        description="Predict the student's next answer, with what was just said to it in view.",
    ),
):
    ACTS.add(_act.key, _act)
