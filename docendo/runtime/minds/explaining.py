"""How an expert words an explanation, within the room that it has.

Arithmetic: every step of its own solution can be spelled out (rule and fact) or written as a bare equation.
While room remains, steps are spelled out in order of priority, then the others follow as equations: a long
explanation spells out everything, a short one what comes first. Other items: the sentences of the solution,
as many as fit, or a version of it that leads elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from docendo.runtime.minds.world import World
from docendo.scenarios.arithmetic import Solution, Step
from docendo.scenarios.grader import labels
from docendo.scenarios.item import Item

__all__ = ["columns", "corrupted", "first_sentences", "sentences", "spelled_out"]

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def spelled_out(
    solution: Solution, priority: Callable[[Step], float], *, room: int, steps: int | None = None
) -> str:
    """Worked steps in the order of working, at most `room` words, at most `steps` of them spelled out.

    Who lends across a zero, and what is done with the ten, count as one step: neither is clear alone.

    Args:
        solution: What is explained.
        priority: Steps with higher values are spelled out first; equal ones in the order of working.
        room: Words.
        steps: Most steps in full; `None` for as many as fit.
    """
    whole = solution.steps
    starts = [i for i in range(len(whole)) if not _continues(whole, i)]
    units = [range(i, j) for i, j in zip(starts, [*starts[1:], len(whole)], strict=True)]
    units.sort(key=lambda unit: (-max(priority(whole[i]) for i in unit), unit.start))
    chosen: dict[int, str] = {}
    for unit in units[:steps]:
        room = _put(chosen, unit.start, "\n".join(whole[i].text for i in unit), room)
    shown = {i for unit in units if unit.start in chosen for i in unit}
    for i, step in enumerate(whole):
        if i not in shown and step.equation:
            room = _put(chosen, i, f"{step.equation}.", room)
    return "\n".join(chosen[i] for i in sorted(chosen))


def columns(solution: Solution) -> list[tuple[Step, ...]]:
    """The steps of a solution, column by column: no part of a column is clear alone."""
    places = dict.fromkeys(step.column for step in solution.steps)
    return [tuple(step for step in solution.steps if step.column == place) for place in places]


def _continues(steps: Sequence[Step], i: int) -> bool:
    """Whether a step goes on with what the one before began."""
    before = steps[i - 1] if i else None
    return before is not None and before.slot == "borrow_from_zero" and before.column == steps[i].column


def _put(chosen: dict[int, str], place: int, text: str, room: int) -> int:
    """Add `text` if it fits; the room that is left."""
    cost = len(text.split())
    if cost > room:
        return room
    chosen[place] = text
    return room - cost


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return [sentence for sentence in _SENTENCE.split(text.strip()) if sentence]


def first_sentences(text: str, *, room: int, steps: int | None = None) -> str:
    """As many whole sentences from the start as `room` words and the limit `steps` allow."""
    kept: list[str] = []
    for sentence in _SENTENCE.split(text.strip())[:steps]:
        room -= len(sentence.split())
        if room < 0:
            break
        kept.append(sentence)
    return " ".join(kept)


def corrupted(item: Item, wrong: str, world: World) -> str:
    """The item's solution, changed so that it leads to the answer `wrong`.

    Yes or no: its last sentence is denied. Otherwise the right answer is replaced where the solution names it
    (a number where it comes last), else the wrong one is concluded.
    """
    if item.kind == "yes_no":
        *before, last = _SENTENCE.split(item.solution.strip())
        return " ".join([*before, f"It is not the case that {last}"]) if last else ""
    right = world.gold(item)
    if item.kind == "choice":
        options = dict(zip(labels(item.options), item.options, strict=True))
        right, wrong = options.get(right, right), options.get(wrong, wrong)
    pattern = re.compile(rf"(?<![\w.,]){re.escape(right)}(?!\w|[.,]\d)", re.IGNORECASE)
    places = list(pattern.finditer(item.solution))
    if not places:
        return f"{item.solution} That makes {wrong}.".strip()
    if item.kind == "choice":
        return pattern.sub(lambda _: wrong, item.solution)
    return item.solution[: places[-1].start()] + wrong + item.solution[places[-1].end() :]
