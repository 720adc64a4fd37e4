"""Prompts begin with what many calls share, and end with the item: an engine finds the beginning again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from docendo.agents.act import ACTS
from docendo.agents.moves import Menu
from docendo.agents.payload import Move
from docendo.agents.prompt import load_prompt
from docendo.agents.view import Gold, View
from docendo.memory.record import Demonstration, Evidence
from docendo.messages import Message, PromptMessage, Span
from docendo.runtime.cli.load import limited
from docendo.runtime.client import Client
from docendo.runtime.journal import Entry, MemoryJournal
from docendo.runtime.lesson import Lesson
from docendo.runtime.measures.measure import EpisodeTrace
from docendo.runtime.model_stats import Notice
from docendo.runtime.study import lesson_setting, prepare
from docendo.scenarios.item import PublicItem
from docendo.scenarios.loader import load_scenario

TEMPLATES = sorted({ACTS.get(key).template for key in ACTS if ACTS.get(key).template})
"""Every built-in one that an act uses."""

LEAST = 30
"""Characters of shared text that may stand behind the item: cues such as `AI Predicted Answer:`."""


def view(template: str, question: str) -> View:
    """A view that holds everything, of which only the item and its answer vary."""
    role = template.partition("/")[0]
    return View(
        agent=role, role=role, act="x",  # type: ignore[arg-type]
        item=PublicItem(id=question, question=question, kind="number"),
        gold=Gold(answer=f"key of {question}"),
        messages=(Message(sender="other", kind="answer", text=f"about {question}"),),
        demonstrations=(Demonstration(item="d", question="A shown one?", explanation="So.", answer="5"),),
        notes=("A note that was made long ago.",),
        transcript=(Message(sender="other", kind="answer", text="In a lesson before."),),
        evidence=(
            Evidence(item="e", question="A seen one?", correct_answer="1", student="s", student_answer="2"),
        ),
        moves=Menu(
            slots={"move": {"ask": "Ask the student for the next step.", "tell": "Tell the next step."}},
            chosen=Move(labels={"move": "ask"}),
        ),
        budget={"turns": 3},
        profile="A profile of somebody.",
    )  # fmt: skip


def same_start(one: str, other: str) -> int:
    """Characters that two texts begin with."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def text_of(prompt: Sequence[PromptMessage]) -> str:
    return "".join(f"<{m.role}>{m.text}" for m in prompt)


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_does_not_vary_with_the_item_comes_first(name: str) -> None:
    """Memory, evidence, the profile and the menu are in the part that two items' prompts begin with."""
    template = load_prompt(name)
    one, other = template.render(view(name, "1 - 1 = ?")), template.render(view(name, "2 - 2 = ?"))
    begin = same_start(text_of(one), text_of(other))
    place = 0
    for message in one:
        place += len(f"<{message.role}>")
        for span in message.spans:
            if _constant(span):
                assert place + len(span.text) <= begin or begin == len(text_of(one)), span
            place += len(span.text)


def _constant(span: Span) -> bool:
    """Whether a span is of memory, evidence, profile or menu, or a long text of the template."""
    if span.source:
        return span.source.startswith(("memory", "evidence", "profile", "moves.slots"))
    return len(span.text.strip()) > LEAST


class _Sent(MemoryJournal):
    """Remembers prompts in the order of sending, by act."""

    def __init__(self) -> None:
        super().__init__()
        self.acts: dict[str, str] = {}
        self.prompts: dict[str, list[tuple[PromptMessage, ...]]] = {}

    def heard(self, notice: Notice) -> None:
        if notice.what == "sent":
            self.acts[notice.key] = f"{notice.origin.agent}.{notice.origin.act}"

    def put(self, entry: Entry) -> None:
        super().put(entry)
        self.prompts.setdefault(self.acts[entry.key], []).append(entry.prompt)


def gallery_prompts(name: str, *overrides: str) -> dict[str, list[tuple[PromptMessage, ...]]]:
    """`agent.act` -> prompts of a gallery scenario, a few items of each phase."""
    study = prepare(limited(load_scenario(name, overrides=[*overrides, "controls=[]"]), 3))
    journal = _Sent()

    async def nothing(ordinal: int, trace: EpisodeTrace, seconds: float) -> None:
        pass

    async def work() -> None:
        for setup in study.setups:
            models = study.backends[setup.world]
            async with Client(models, setup.scenario.models, journal, listener=journal.heard) as client:
                await Lesson(lesson_setting(setup, 0, client, nothing)).run()

    asyncio.run(work())
    return journal.prompts


def shared(texts: Sequence[str]) -> float:
    """Share of all characters that an earlier text began with."""
    common = [max((same_start(t, e) for e in texts[:i]), default=0) for i, t in enumerate(texts)]
    return sum(common) / sum(map(len, texts))


def item_first(prompt: Sequence[PromptMessage]) -> str:
    """The prompt with the item at the beginning of its message, as one would write it down first."""
    parts = []
    for message in prompt:
        spans = list(message.spans)
        at = next((i for i, s in enumerate(spans) if s.source.startswith("item")), 0)
        parts.append(f"<{message.role}>" + "".join(s.text for s in spans[at:] + spans[:at]))
    return "".join(parts)


@pytest.mark.parametrize(
    ("scenario", "overrides", "act"),
    [
        ("people-and-simulation", [], "teacher.choose"),
        ("when-to-step-in", ["plan.teach.policy=expected_utility"], "teacher.predict"),
        ("learn-by-teaching", ["plan.teach.samples=3"], "student-1.sit"),
    ],
)
def test_prompts_of_the_gallery_share_more_than_with_the_item_first(
    scenario: str, overrides: list[str], act: str
) -> None:
    prompts = gallery_prompts(scenario, *overrides)[act]
    laid_out, turned = shared([text_of(p) for p in prompts]), shared([item_first(p) for p in prompts])
    assert laid_out > 0.5
    assert laid_out > 1.05 * turned, (laid_out, turned)
