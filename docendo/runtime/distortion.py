"""Controls on what is delivered: the words of an explanation, replaced on their way to the student.

A control asks what part of an effect is due to content. `silent` delivers nothing, `answer_only` the answer
without reasons, `irrelevant` an explanation of *another* item with as many words as the real one, `wrong` an
explanation that the teacher was asked to make misleading. `shuffled` says what a teacher said in the same
dialogue without the control, in another order. The real words are made in every case, so that a control
spends what the condition that it controls for spends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle, islice
from typing import Literal

from docendo.agents.act import Ask, Performed, perform
from docendo.agents.payload import Explanation, Utterance
from docendo.agents.view import Gold
from docendo.runtime.state import Draft
from docendo.scenarios.item import Item

__all__ = ["distort", "spoken"]


def spoken(done: Performed) -> str:
    """What is said aloud: an explanation's own words, whatever else stood in the completion."""
    return done.payload.explanation if isinstance(done.payload, Explanation) else done.text


async def distort(
    how: Literal["irrelevant", "answer_only", "wrong", "silent", "shuffled", "none"],
    made: Draft,
    ask: Ask,
    item: Item,
    decoys: Mapping[str, Item],
) -> str:
    """The text to deliver instead of what a teacher said.

    Args:
        how: The control; see the module.
        made: What the teacher did, what it read, and what came of it. Anything that is neither an explanation
            nor an utterance is delivered as it is.
        ask: How to ask the teacher once more, where the control needs other words.
        item: The item at hand.
        decoys: Item -> another item, whose explanation is irrelevant to it.
    """
    done, view = made.done, made.view
    if how in ("none", "shuffled") or not isinstance(done.payload, Explanation | Utterance):
        return spoken(done)
    if how == "silent":
        return ""
    if how == "answer_only":
        known = done.payload.answer if isinstance(done.payload, Explanation) else None
        return f"So the answer is {known or item.answer}."
    if how == "wrong":
        misled = view.model_copy(update={"params": {**view.params, "misleading": True}})
        return spoken(await perform(made.act, misled, ask))
    decoy = decoys.get(item.id, item)
    key = view.gold and Gold(answer=decoy.answer, solution=decoy.solution)
    told = tuple(m for m in view.messages if m.kind == "plan")  # what was said is about the item at hand
    elsewhere = view.model_copy(update={"item": decoy.public, "gold": key, "messages": told})
    other = await perform(made.act, elsewhere, replace(ask, origin=replace(ask.origin, item=decoy.id)))
    return " ".join(islice(cycle(spoken(other).split()), len(spoken(done).split())))
