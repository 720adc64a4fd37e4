"""From a model's free text to a typed payload: the readers that acts share."""

from __future__ import annotations

import re

from docendo.agents.act import Unreadable
from docendo.agents.payload import Answer, Belief, Explanation, Payload
from docendo.agents.view import View
from docendo.errors import EpisodeFailure
from docendo.scenarios.grader import extract_answer

__all__ = ["read_answer", "read_demonstration", "read_explanation", "read_prediction", "without_conclusion"]

_CONCLUSION = re.compile(r"\s*\bso,? the (?:correct )?(?:answer|choice) is\b.*\Z", re.IGNORECASE | re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")


def without_conclusion(text: str) -> str:
    """`text` up to its last "So the answer is ...": the explanation alone."""
    return _CONCLUSION.sub("", text).strip()


def _answer_in(text: str, view: View) -> str | None:
    if view.item is None:
        raise EpisodeFailure("crash", f"act `{view.act}` needs an item and its view holds none")
    return extract_answer(text, view.item.kind, view.item.options)


def read_answer(text: str, view: View) -> Payload:
    """An attempt: explanation, then "So the answer is ..." (Saha et al. 2023, answer parse)."""
    answer = _answer_in(text, view)
    if answer is None:
        raise Unreadable(
            'I cannot find your answer. Repeat your conclusion as one sentence: "So the answer is ...".'
        )
    return Answer(answer=answer, explanation=without_conclusion(text))


def read_explanation(text: str, view: View) -> Payload:
    """Help without its conclusion, so that the student still has to draw it.

    `params.sentences` keeps so many sentences only: the published GSM8K set-up gives the first one.
    """
    explanation = without_conclusion(text)
    wanted = view.params.get("sentences")
    if wanted:
        explanation = " ".join(_SENTENCE_END.split(explanation)[: int(wanted)])
    if not explanation:
        raise Unreadable("Explain the steps that lead to the answer in at least one sentence.")
    return Explanation(explanation=explanation, answer=_answer_in(text, view))


def read_demonstration(text: str, view: View) -> Payload:
    """A worked example: explanation and answer."""
    answer = _answer_in(text, view)
    if answer is None:
        raise Unreadable('End your explanation with "So the answer is ...".')
    explanation = without_conclusion(text)
    return Explanation(explanation=f"{explanation} So the answer is {answer}.", answer=answer)


def read_prediction(text: str, view: View) -> Payload:
    """The student's answer as the teacher simulates it."""
    answer = _answer_in(text, view)
    if answer is None:
        raise Unreadable("Give the answer that the student would give, and nothing else.")
    return Belief(predicted_answer=answer, given_help=bool(view.params.get("helped")))
