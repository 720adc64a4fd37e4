"""People, as they were recorded: the mind that says what the item's recorded dialogue says, turn by turn.

A teacher says the recorded teacher's turns in order, a student the recorded student's; what the other side
says changes nothing. Consecutive utterances of one side are one turn. When the record is over, or there is
none, it says `...`.
"""

from __future__ import annotations

from typing import Literal

from docendo.agents.view import View
from docendo.runtime.minds.mind import ActOfMind, Said, item_of
from docendo.runtime.minds.world import World
from docendo.scenarios.grader import stated_answer
from docendo.scenarios.items.dialogues import turns_of

__all__ = ["RecordedMind"]

_SILENCE = "..."


class RecordedMind:
    """Says the record."""

    name = "recorded"

    def __init__(self, world: World) -> None:
        self.world = world
        self.acts: dict[str, ActOfMind] = {"say": self.teach, "draft": self.teach, "reply": self.reply}

    def teach(self, view: View, room: int) -> Said:
        """The recorded teacher's next turn; what kind of message it is, is the graph's business."""
        text = self._turn(view, "teacher")
        chosen = view.moves.chosen if view.moves else None
        return Said(text=text, data={"text": text, "says": chosen.says if chosen else "feedback"})

    def reply(self, view: View, room: int) -> Said:
        """The recorded student's next turn, with the answer that it announces, if any."""
        item, text = item_of(view, self.name), self._turn(view, "student")
        return Said(text=text, data={"answer": stated_answer(text, item.kind, item.options), "text": text})

    def _turn(self, view: View, role: Literal["teacher", "student"]) -> str:
        turns = turns_of(self.world.item(item_of(view, self.name)), role)
        said = sum(message.act == view.act for message in view.own)
        return turns[said].text if said < len(turns) else _SILENCE
