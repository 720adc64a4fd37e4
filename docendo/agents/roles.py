"""The built-in acts of the four roles.

Each names what it reads: the default allow-list of that act's view. A scenario may narrow or widen it per
agent (`agents.NAME.view`), never a prompt template.
"""

from __future__ import annotations

from docendo.agents.act import ACTS, Act, Unreadable
from docendo.agents.payload import (
    Answer,
    Belief,
    Decision,
    Explanation,
    Payload,
    Remembered,
)  # fmt: skip
from docendo.agents.reading import (
    read_answer,
    read_demonstration,
    read_explanation,
    read_prediction,
)  # fmt: skip
from docendo.agents.view import View
from docendo.errors import EpisodeFailure
from docendo.memory.record import Demonstration

__all__: list[str] = []


def _quote(view: View) -> Payload:
    """The human explanation of the item, as the dataset has it."""
    if view.gold is None or not view.gold.solution:
        raise EpisodeFailure(
            "crash",
            "this item has no human explanation to quote",
            suggestion="Use items with a `solution`, or another source of explanations.",
        )
    text = view.gold.solution
    if view.params.get("reveal"):
        text = f"{text} So the answer is {view.gold.answer}."
    return Explanation(explanation=text, answer=view.gold.answer)


def _tell(view: View) -> Payload:
    """The answer alone."""
    if view.gold is None:
        raise EpisodeFailure("crash", "`teacher.tell` must be allowed to read `gold`")
    return Explanation(explanation=f"So the answer is {view.gold.answer}.", answer=view.gold.answer)


def _remember(view: View) -> Payload:
    """A worked example out of this episode's last explanation; `params.bare` keeps its answer only.

    An explanation that comes to no answer is no example, and nothing is kept.
    """
    if view.item is None:
        raise EpisodeFailure("crash", "`student.remember` must be allowed to read `item`")
    text = view.help[-1].text if view.help else ""
    try:
        answer = read_answer(text, view)
    except Unreadable:
        return Remembered()
    assert isinstance(answer, Answer)
    return Remembered(
        demonstration=Demonstration(
            item=view.item.id,
            question=view.item.question,
            options=view.item.options,
            explanation="" if view.params.get("bare") else answer.explanation,
            answer=answer.answer or "",
        )
    )


_BUILT_IN = [
    Act(
        role="student",
        name="solve",
        says="attempt",
        reads=frozenset({"item", "dialogue", "own", "memory", "profile", "mind"}),
        output=Answer,
        read=read_answer,
        unread=lambda text, view: Answer(answer=None, explanation=text.strip()),
        template="student/solve.md",
        description="Answer the item from memory and help. An answer that cannot be read counts as wrong.",
    ),
    Act(
        role="student",
        name="sit",
        says="attempt",
        reads=frozenset({"item", "memory", "profile", "mind"}),
        output=Answer,
        read=read_answer,
        unread=lambda text, view: Answer(answer=None, explanation=text.strip()),
        template="student/solve.md",
        description="Answer the item in an exam: from memory, whatever was said in the episode.",
    ),
    Act(
        role="student",
        name="explain",
        says="explanation",
        reads=frozenset({"item", "memory", "profile", "mind"}),
        output=Explanation,
        read=read_demonstration,
        template="student/explain.md",
        description="Explain a solution to oneself, answer included.",
    ),
    Act(
        role="student",
        name="reflect",
        says="plan",
        reads=frozenset({"item", "dialogue", "own", "mind"}),
        to="self",
        output=Remembered,
        read=lambda text, view: Remembered(note=text.strip()),
        template="student/reflect.md",
        description="Write a note to oneself; kept where the memory is of kind `notes`.",
    ),
    Act(
        role="student",
        name="remember",
        says="control",
        reads=frozenset({"item", "dialogue", "own"}),
        to="self",
        output=Remembered,
        do=_remember,
        description="Keep this episode's explanation as a demonstration.",
    ),
    Act(
        role="teacher",
        name="solve",
        says="attempt",
        reads=frozenset({"item", "memory"}),
        to="self",
        output=Answer,
        read=read_answer,
        template="teacher/solve.md",
        description="Answer the item oneself, for nobody to read.",
    ),
    Act(
        role="teacher",
        name="explain",
        says="explanation",
        reads=frozenset({"item", "memory"}),
        output=Explanation,
        read=read_explanation,
        template="teacher/explain.md",
        description="Explain the item to the student, conclusion withheld.",
    ),
    Act(
        role="teacher",
        name="demonstrate",
        says="explanation",
        reads=frozenset({"item", "memory"}),
        output=Explanation,
        read=read_demonstration,
        template="teacher/demonstrate.md",
        description="Explain the item as a worked example, answer included.",
    ),
    Act(
        role="teacher",
        name="quote",
        says="explanation",
        reads=frozenset({"item", "gold"}),
        output=Explanation,
        do=_quote,
        description="Pass on the dataset's human explanation.",
    ),
    Act(
        role="teacher",
        name="tell",
        says="explanation",
        reads=frozenset({"gold"}),
        output=Explanation,
        do=_tell,
        description="Tell the answer and nothing else.",
    ),
    Act(
        role="teacher",
        name="predict",
        says="diagnosis",
        reads=frozenset({"item", "gold", "evidence", "own"}),
        to="self",
        output=Belief,
        read=read_prediction,
        template="teacher/predict.md",
        description="Predict the student's answer: the few-shot mental model (Saha et al. 2023, RQ2).",
    ),
    Act(
        role="teacher",
        name="decide",
        says="control",
        reads=frozenset({"belief", "budget"}),
        to="self",
        output=Decision,
        do=lambda view: Decision.model_validate(view.belief or {}),
        description="Intervene or not, as the phase's policy and the budget have it.",
    ),
]

for _act in _BUILT_IN:
    ACTS.add(_act.key, _act)
