"""Controls on what is delivered: the words of an explanation, replaced on their way to the student.

A control asks what part of an effect is due to content. `silent` delivers nothing, `answer_only` the answer
without reasons, `irrelevant` an explanation of *another* item with as many words as the real one, `wrong`
an explanation that the teacher was asked to make misleading. The real explanation is made in every case, so
that a control spends what the condition that it controls for spends.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, islice
from typing import TYPE_CHECKING

from docendo.agents.act import Act, Ask, Performed, perform
from docendo.agents.participant import Participant
from docendo.agents.payload import Explanation
from docendo.agents.view import View

if TYPE_CHECKING:
    from docendo.runtime.episode import Episode

__all__ = ["distort"]


async def distort(
    episode: Episode, agent: Participant, act: Act, view: View, done: Performed, ask: Ask
) -> str:
    """The text to deliver for what `agent` said."""
    how = agent.spec.distort
    if how == "none" or not isinstance(done.payload, Explanation) or agent.role != "teacher":
        return _spoken(act, done)
    if how == "silent":
        return ""
    if how == "answer_only":
        answer = done.payload.answer or episode.item.answer
        return f"So the answer is {answer}."
    if how == "wrong":
        view = view.model_copy(update={"params": {**view.params, "misleading": True}})
        return _spoken(act, await _also(act, view, ask))
    decoy = episode.lab.decoys.get(episode.item.id, episode.item)
    view = view.model_copy(update={"item": decoy.public})
    other = await _also(act, view, ask)
    words = _spoken(act, other).split()
    return " ".join(islice(cycle(words), len(_spoken(act, done).split())))


async def _also(act: Act, view: View, ask: Ask) -> Performed:
    """A second explanation, recorded as a probe."""
    origin = replace(ask.origin, item=view.item.id if view.item else ask.origin.item)
    return await perform(act, view, replace(ask, origin=origin))


def _spoken(act: Act, done: Performed) -> str:
    """What is said aloud: an explanation's own words, whatever else stood in the completion."""
    return done.payload.explanation if isinstance(done.payload, Explanation) else done.text
