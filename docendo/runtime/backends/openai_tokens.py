"""Texts as tokens of a server that turns them for whoever asks: vLLM and llama.cpp.

The prompt's tokens are those that the server itself would read: its template writes them. Where a
continuation begins is decided as for engines in process (`docendo.runtime.backends.alignment`), over the
prompt's last words instead of all of it: no tokenizer merges across more. So what a server was asked about
an answer after `So the answer is`, or after the template's own end, serves all later prompts that end so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from docendo.messages import PromptMessage
from docendo.runtime.backends.alignment import Alignment, Branch, align_tokens
from docendo.runtime.backends.openai_link import Link
from docendo.runtime.backends.openai_server import Server
from docendo.runtime.backends.openai_wire import Ids, Text, flat_text

__all__ = ["ServerTokens"]

_END = 160
"""Characters of a prompt's end that decide how a continuation begins, cut at a blank."""
_KEPT = 4096
"""Alignments that are remembered."""


class ServerTokens:
    """The tokenizer of one model behind a server."""

    def __init__(self, link: Link, model: str, server: Server) -> None:
        """Use it.

        Args:
            link: To the server.
            model: The model's name there.
            server: What is known of it; it has a tokenizer.
        """
        self._link = link
        self._model = model
        self._server = server
        self._known: OrderedDict[tuple[str, tuple[str, ...]], tuple[tuple[int, ...], tuple[Branch, ...]]] = (
            OrderedDict()
        )

    async def prompt(self, prompt: tuple[PromptMessage, ...]) -> tuple[int, ...]:
        """The prompt as the model reads it.

        Raises:
            BackendFault: The server fails, or its template refuses the messages.
        """
        return (await self._read(prompt))[0]

    async def align(self, prompt: tuple[PromptMessage, ...], continuations: Sequence[str]) -> Alignment:
        """The tokens of `continuations` after `prompt`.

        Raises:
            BackendFault: The server fails, its template refuses the messages, or a continuation is empty.
        """
        tokens, end = await self._read(prompt)
        key = (end, tuple(continuations))
        if key not in self._known:
            self._known[key] = await self._align_end(end, continuations)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        merged, branches = self._known[key]
        if not merged:
            return Alignment(tokens, branches)
        if tokens[-len(merged) :] == merged:
            return Alignment(tokens[: -len(merged)], branches)
        # The end is cut in another way behind the whole prompt: continuations stand alone.
        return Alignment(tokens, (await self._align_end("", continuations))[1])

    async def _align_end(
        self, end: str, continuations: Sequence[str]
    ) -> tuple[tuple[int, ...], tuple[Branch, ...]]:
        """Tokens at the prompt's end that belong to the branches, and the branches."""
        if not end:
            alone = [await self._encode(c) for c in continuations]
            # One token stands for the prompt.
            return (), align_tokens((-1,), [(-1, *tokens) for tokens in alone], continuations).branches
        before = await self._encode(end)
        wholes = [await self._encode(end + continuation) for continuation in continuations]
        aligned = align_tokens(before, wholes, continuations)
        return before[len(aligned.context) :], aligned.branches

    # --- dialects ---------------------------------------------------------------------------------------

    async def _read(self, prompt: tuple[PromptMessage, ...]) -> tuple[tuple[int, ...], str]:
        """The prompt's tokens, and the text that it ends in."""
        opened = prompt[-1].text if prompt[-1].role == "assistant" else ""
        if not self._server.template:
            text = flat_text(prompt)
            return await self._encode(text, begin=True), _end(text)
        said = self._server.chat(prompt)
        if self._server.kind == "llama.cpp":
            page = f"{self._link.root}/apply-template"
            text = (await self._link.post(page, said, Text)).prompt
            return await self._encode(text, begin=True), _end(text)
        ids = await self._link.post(f"{self._link.root}/tokenize", {"model": self._model, **said}, Ids)
        return ids.tokens, _end(opened or self._server.tail)

    async def _encode(self, text: str, *, begin: bool = False) -> tuple[int, ...]:
        """Tokens of a text; special tokens in it are read as such.

        Args:
            text: The text.
            begin: Put the begin of a sentence before it, where the tokenizer has one.
        """
        if self._server.kind == "llama.cpp":
            body = {"content": text, "add_special": begin, "parse_special": True}
        else:
            body = {"model": self._model, "prompt": text, "add_special_tokens": begin}
        return (await self._link.post(f"{self._link.root}/tokenize", body, Ids)).tokens


def _end(text: str) -> str:
    """The last words of a text, from a blank on."""
    if len(text) <= _END:
        return text
    start = text.find(" ", len(text) - _END)
    return text[start:] if start >= 0 else text
