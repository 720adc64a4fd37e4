from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from docendo.agents.port import GenerateReply, GenerateRequest, Sampling, ScoreRequest
from docendo.agents.view import Gold, View
from docendo.memory.record import Demonstration, Evidence
from docendo.messages import Message
from docendo.runtime.backends.simulated import SimulatedBackend
from docendo.scenarios.arithmetic import exercised, parse_problem
from docendo.scenarios.item import Item
from docendo.scenarios.model_spec import ModelSpec


def subtraction(top: int, bottom: int) -> Item:
    problem = parse_problem(f"{top} - {bottom}")
    assert problem is not None
    return Item(
        id=f"{top}-{bottom}",
        question=f"What is {top} - {bottom}?",
        kind="number",
        answer=str(problem.answer),
        skills=exercised(problem),
    )


def subtractions(count: int, seed: int) -> list[Item]:
    random = Random(seed)
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < count:
        top = random.randint(100, 999)
        pairs[top, random.randint(10, top)] = None
    return [subtraction(*pair) for pair in pairs]


def yes_no(number: int, skill: str = "") -> Item:
    name = f"fact{''.join(chr(97 + int(d)) for d in str(number))}"
    return Item(
        id=f"q{number}",
        question=f"Does {name} hold in the {name}land?",
        kind="yes_no",
        answer="yes" if number % 2 else "no",
        skills=(skill,) if skill else (),
        solution=f"The law of {name}ia was passed. Every {name}er follows the {name}law.",
    )


class Lab:
    """Asks simulated agents without a runner."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.key = {item.id: item for item in items}

    def backend(self, spec: ModelSpec) -> SimulatedBackend:
        return SimulatedBackend(spec, self.key)  # type: ignore[arg-type]


def view(
    item: Item | None,
    act: str = "solve",
    *,
    mind: Mapping[str, Any] | None = None,
    help: Iterable[str] = (),
    agent: str = "student",
    gold: bool = False,
    demonstrations: Iterable[Demonstration] = (),
    **rest: Any,
) -> View:
    dialogue = tuple(Message(sender="somebody", kind="explanation", text=text) for text in help)
    return View(
        agent=agent,
        role="student" if agent == "student" else "teacher",
        act=act,
        item=item.public if item else None,
        mind=dict(mind) if mind is not None else None,
        messages=rest.pop("messages", dialogue),
        gold=Gold(answer=item.answer) if gold and item else None,
        demonstrations=tuple(demonstrations),
        **rest,
    )


def say(sender: str, kind: Any, text: str, act: str = "") -> Message:
    return Message(sender=sender, kind=kind, text=text, act=act)


def ask(
    backend: SimulatedBackend, what: View, *, seed: int = 0, temperature: float = 1.0, **rest: Any
) -> GenerateReply:
    room = rest.pop("max_tokens", 512)
    request = GenerateRequest(
        model="m",
        prompt=(),
        view=what,
        seed=seed,
        sampling=Sampling(temperature=temperature, n=rest.pop("n", 1), max_tokens=room),
        **rest,
    )
    return asyncio.run(backend.generate(request))


def chance(backend: SimulatedBackend, what: View, answer: str) -> float:
    request = ScoreRequest(model="m", prompt=(), continuations=(f" {answer}",), view=what)
    return math.exp(asyncio.run(backend.score(request)).scores[0].total)


def answer_in(reply: GenerateReply) -> str:
    return reply.text.rsplit("So the answer is ", 1)[1].removesuffix(".")


def observed(item: Item, answer: str, *, help: str = "", student: str = "student") -> Evidence:
    return Evidence(
        item=item.id,
        question=item.question,
        options=item.options,
        skills=item.skills,
        correct_answer=item.answer,
        student=student,
        student_answer=answer,
        help=help,
        correct=answer == item.answer,
    )
