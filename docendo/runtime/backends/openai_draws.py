"""Several completions of one prompt, also from servers that write one at a time.

`n` is sent where it is obeyed. A server that answers fewer (Ollama), or refuses to write so many at once
(llama.cpp with fewer slots), is asked for each missing completion by itself, and from then on for every one:
each with a seed of its own, or they would be copies of one another. A single draw has the same seed whether
or not the server was known by then.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from docendo.messages import Usage
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.openai_link import Link
from docendo.runtime.backends.openai_wire import SEEDS, Chat, ChatChoice
from docendo.runtime.together import together

__all__ = ["Drawn", "Draws"]

_AT_ONCE = 4
"""Single draws of one call that are under way together: calls have company of other calls."""
_STEP = 0x9E3779B1
"""Between the seeds of a call's draws. Odd, so that no two of them are the same."""
_NO_ROOM = re.compile(r"slot|parallel|concurren", re.I)
"""What a server says that has no room for so many sequences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Completions of one prompt."""

    choices: tuple[ChatChoice, ...]
    usage: Usage
    """Of all requests that it took."""
    prompt_tokens: int
    """Least that a request had of the prompt."""


class Draws:
    """How the completions of one prompt are had from one server."""

    def __init__(self, link: Link) -> None:
        """Take it for a server that obeys `n`, until it does not.

        Args:
            link: To the server.
        """
        self._link = link
        self._singly = False
        self._at_once = _AT_ONCE

    async def ask(self, body: dict[str, Any], wanted: int) -> Drawn:
        """Have `wanted` completions.

        Args:
            body: What `/chat/completions` is asked, but for `n`; with a seed where the server obeys one.
            wanted: How many.

        Raises:
            BackendFault: The server refused, broke off, or answered with no completion.
        """
        if wanted == 1:
            return _drawn([await self._single(body, 0)])
        if self._singly:
            return _drawn(await self._singles(body, range(wanted)))
        try:
            first = await self._answer({**body, "n": wanted})
        except BackendFault as refusal:
            if refusal.retry or refusal.fatal or refusal.kind != "model":
                raise
            return _drawn(await self._one_by_one(body, wanted, refusal))
        if len(first.choices) >= wanted:
            return _drawn([first.model_copy(update={"choices": first.choices[:wanted]})])
        self._singly = True
        return _drawn([first, *await self._singles(body, range(len(first.choices), wanted))])

    async def _one_by_one(self, body: dict[str, Any], wanted: int, refusal: BackendFault) -> list[Chat]:
        """Try whether it was `n` that was refused: then a single draw is not.

        Raises:
            BackendFault: It was something else.
        """
        try:
            first = await self._single(body, 0)
        except BackendFault as fault:
            raise fault if fault.retry or fault.fatal else refusal from None
        self._singly = True
        if _NO_ROOM.search(refusal.message):
            self._at_once = 1
        return [first, *await self._singles(body, range(1, wanted))]

    async def _singles(self, body: dict[str, Any], places: Iterable[int]) -> list[Chat]:
        room = asyncio.Semaphore(self._at_once)

        async def draw(place: int) -> Chat:
            async with room:
                return await self._single(body, place)

        return await together(draw(place) for place in places)

    async def _single(self, body: dict[str, Any], place: int) -> Chat:
        """The completion at one place, the first with the call's own seed."""
        seed = {"seed": (body["seed"] + place * _STEP) % SEEDS} if "seed" in body else {}
        chat = await self._answer({**body, "n": 1, **seed})
        return chat.model_copy(update={"choices": chat.choices[:1]})

    async def _answer(self, body: dict[str, Any]) -> Chat:
        chat = await self._link.post("/chat/completions", body, Chat)
        if not chat.choices:
            raise self._link.fault(f"answered with 0 of {body['n']} completions", retry=True)
        return chat.model_copy(update={"choices": tuple(sorted(chat.choices, key=lambda c: c.index))})


def _drawn(chats: list[Chat]) -> Drawn:
    return Drawn(
        choices=tuple(choice for chat in chats for choice in chat.choices),
        usage=sum((chat.tokens for chat in chats), Usage()),
        prompt_tokens=min(chat.tokens.prompt_tokens for chat in chats),
    )
