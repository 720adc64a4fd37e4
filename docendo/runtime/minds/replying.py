"""How a learner words what it thinks in a dialogue: it says little unless it is asked.

Only a question makes it show its working; after anything else it states its answer and no more. So a teacher
that asks, and a diagnostician that listens, learn more of a mind than its answers tell.
"""

from __future__ import annotations

from docendo.agents.view import View
from docendo.runtime.minds.mind import Said, wrap_up

__all__ = ["replied"]


def replied(view: View, answer: str, working: str, mind: dict[str, object] | None = None) -> Said:
    """The words for `answer` in the dialogue of `view`, and the state of `mind` after them.

    Args:
        view: What the learner heard.
        answer: What it came to.
        working: How it came to it, for the case that it was asked.
        mind: Its state after reading, where that changed.
    """
    text = wrap_up(working if _was_asked(view) else f"I get {answer}.", answer)
    return Said(text=text, data={"answer": answer, "text": text}, mind=mind)


def _was_asked(view: View) -> bool:
    return bool(view.dialogue) and view.dialogue[-1].kind == "question"
