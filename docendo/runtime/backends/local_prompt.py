"""From chat messages to the token ids that a model here reads, and back.

The chat template decides: the tokenizer's own, a Jinja file, or none (`plain`). What a template cannot do
is found once, by probes: where there is no system role, the system's text opens the first user message;
where roles must alternate, neighbours of one role are joined. An assistant's message at the end is left
open and kept to the letter, blanks included, though many templates trim.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

import jinja2

from docendo.messages import PromptMessage
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.openai_wire import flat_text
from docendo.runtime.backends.weights import Weights

__all__ = ["IMPORTING", "LocalPrompt", "require_room"]

IMPORTING = threading.RLock()
"""Held while a model library is imported: two threads that do so at once meet half-made modules."""

_BETWEEN = "\n\n"
_MARKS = ("docendomarka", "docendomarkb", "docendomarkc")
"""Words that stand for message texts in probes: no template reads, trims or escapes anything in them."""
_KEPT = 2048
"""Prompts whose tokens are remembered."""
_TAIL = 8
"""Tokens before a text that decide how its beginning is written."""

Turn = tuple[str, str]
"""Role and text."""


class LocalPrompt:
    """Prompts of one tokenizer and template. Not for use from several threads at once."""

    def __init__(self, weights: Weights) -> None:
        """Load the tokenizer and try the template.

        Raises:
            BackendFault: Tokenizer or template cannot be used; always fatal.
        """
        self._weights = weights
        self.tokenizer: Any = _load_tokenizer(weights)
        """A fast tokenizer of Hugging Face."""
        self._tokens: OrderedDict[tuple[Turn, ...], tuple[int, ...]] = OrderedDict()
        self._token_texts: dict[int, str] = {}
        self.special: frozenset[int] = frozenset(self.tokenizer.all_special_ids)
        """Tokens that are no text."""
        self._system = self._alternate = True
        if weights.template is not None:
            self._try_template()

    @property
    def system_role(self) -> bool:
        """Whether the template has one; otherwise the system's text opens the first user message."""
        return self._system

    # --- to the model -----------------------------------------------------------------------------------

    def text(self, prompt: tuple[PromptMessage, ...]) -> str:
        """The whole prompt as the model reads it, special tokens written out.

        Raises:
            BackendFault: The template refuses these messages.
        """
        if self._weights.template is None:
            return flat_text(prompt)
        return self._chat_text([(m.role, m.text) for m in prompt])

    def tokens(self, prompt: tuple[PromptMessage, ...]) -> tuple[int, ...]:
        """Token ids of `text`.

        Raises:
            BackendFault: The template refuses these messages.
        """
        key = tuple((m.role, m.text) for m in prompt)
        found = self._tokens.get(key)
        if found is None:
            found = self._tokens[key] = self.encode(self.text(prompt))
            if len(self._tokens) > _KEPT:
                self._tokens.popitem(last=False)
        return found

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a rendered prompt. A chat template writes the begin of the sentence by itself."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        start = self._begin if self._weights.template is None else ()
        return (*(() if tuple(ids[: len(start)]) == start else start), *ids)

    @cached_property
    def _begin(self) -> tuple[int, ...]:
        """What the tokenizer puts before a text by itself: begin of sentence, or nothing."""
        bare = self.tokenizer.encode("a", add_special_tokens=False)
        dressed = self.tokenizer.encode("a", add_special_tokens=True)
        at = next((i for i in range(len(dressed)) if dressed[i : i + len(bare)] == bare), 0)
        return tuple(dressed[:at])

    # --- from the model ---------------------------------------------------------------------------------

    def decode(self, ids: Sequence[int], after: Sequence[int] = ()) -> str:
        """The text of generated tokens, without special ones.

        Args:
            ids: The generated tokens.
            after: The tokens that they follow. Some tokenizers drop a blank where a text begins, so ` yes`
                after a prompt is read together with the prompt's end.
        """
        shown = [i for i in ids if i not in self.special]
        before = list(after[-_TAIL:])
        lead = self._decode(before)
        whole = self._decode(before + shown)
        return whole[len(lead) :] if whole.startswith(lead) else self._decode(shown)

    def token_text(self, token: int) -> str:
        """One token as text, with its leading blank; bytes that are no text alone are shown as U+FFFD."""
        if token not in self._token_texts:
            whole = self._decode([*self._anchor, token])
            self._token_texts[token] = whole.removeprefix(self._decode(self._anchor))
        return self._token_texts[token]

    @cached_property
    def _anchor(self) -> list[int]:
        return list(self.tokenizer.encode("a", add_special_tokens=False))

    def _decode(self, ids: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )

    # --- the template -----------------------------------------------------------------------------------

    def _chat_text(self, turns: list[Turn]) -> str:
        opened = turns[-1][1] if turns[-1][0] == "assistant" else None
        if opened is not None:
            turns = [*turns[:-1], ("assistant", _MARKS[0])]
        if not self._system:
            turns = _without_system(turns)
        if self._alternate:
            turns = _joined(turns)
        text = self._render(turns, generate=opened is None)
        if opened is None:
            return text
        # The last mark: its text may have been joined to an earlier message's.
        before, mark, _ = text.rpartition(_MARKS[0])
        if not mark:
            raise self._wrong("does not show the assistant's message at the end")
        return before + opened

    def _render(self, turns: Sequence[Turn], *, generate: bool) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    chat_template=self._weights.template,
                    tokenize=False,
                    add_generation_prompt=generate,
                    **self._weights.variables,
                )
            )
        except jinja2.TemplateSyntaxError as error:
            raise self._wrong(f"is no Jinja: line {error.lineno}: {error.message}") from None
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            roles = ", ".join(role for role, _ in turns)
            raise self._wrong(f"refuses messages of {roles}: {error}") from None

    def _try_template(self) -> None:
        """Find out what the template can do.

        Raises:
            BackendFault: It does not even show what a user says.
        """
        a, b, c = _MARKS
        if a not in self._render([("user", a)], generate=True):
            raise self._wrong("does not show what the user says")
        self._system = self._shows([("system", a), ("user", b)])
        self._alternate = not self._shows([("user", a), ("user", b), ("assistant", c)])

    def _shows(self, turns: list[Turn]) -> bool:
        """Whether all texts come out, in their order."""
        try:
            text = self._render(turns, generate=turns[-1][0] != "assistant")
        except BackendFault:
            return False
        places = [text.find(mark) for _, mark in turns]
        return min(places) >= 0 and places == sorted(places)

    def _wrong(self, what: str) -> BackendFault:
        return BackendFault(
            f"the chat template of `{self._weights.name}` {what}",
            retry=False,
            fatal=True,
            suggestion="Name a fitting Jinja file as `chat_template`, or `chat_template: plain`.",
        )


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """System texts moved to the beginning of the first user message."""
    told = [text for role, text in turns if role == "system"]
    rest = [turn for turn in turns if turn[0] != "system"]
    if not told:
        return rest
    first = next((i for i, (role, _) in enumerate(rest) if role == "user"), None)
    if first is None:
        return [("user", _BETWEEN.join(told)), *rest]
    rest[first] = ("user", _BETWEEN.join([*told, rest[first][1]]))
    return rest


def _joined(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbours of one role as one message."""
    runs: Callable[[Turn], str] = lambda turn: turn[0]  # noqa: E731
    return [(role, _BETWEEN.join(text for _, text in run)) for role, run in groupby(turns, runs)]


def _load_tokenizer(weights: Weights) -> Any:
    try:
        with IMPORTING:
            from transformers import AutoTokenizer
    except ImportError as error:
        raise BackendFault(
            f"the tokenizer needs transformers, which cannot be imported: {error}",
            retry=False,
            fatal=True,
            suggestion="pip install 'docendo[transformers]'",
        ) from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(weights.folder), local_files_only=True)
    except Exception as error:  # A tokenizer's loader raises whatever its parser does.
        raise BackendFault(
            f"the tokenizer of `{weights.name}` cannot be loaded: {error}",
            retry=False,
            fatal=True,
            suggestion=f"Is {weights.folder} complete? It needs `tokenizer.json` or its older forms.",
        ) from None
    if not tokenizer.is_fast:
        raise BackendFault(
            f"the tokenizer of `{weights.name}` has no fast form",
            retry=False,
            fatal=True,
            suggestion="Convert it to `tokenizer.json` once, with transformers' AutoTokenizer.",
        )
    tokenizer.model_max_length = math.inf  # `require_room` says more than the tokenizer's own warning.
    return tokenizer


def require_room(prompt: int, wanted: int, context: int) -> None:
    """Refuse, before anything is computed, what does not fit.

    Args:
        prompt: Tokens of the prompt.
        wanted: Tokens that shall follow it.
        context: Tokens that the model can hold.

    Raises:
        BackendFault: Of the kind `context`; it says how long the prompt is and what is left.
    """
    left = context - prompt
    if wanted <= left:
        return
    rest = f"{left} are left for an answer of up to {wanted}" if left > 0 else "nothing is left for an answer"
    raise BackendFault(
        f"the prompt is {prompt} tokens long and the model holds {context}: {rest}",
        retry=False,
        kind="context",
        suggestion="Show less (view, memory `size`), lower `max_tokens`, or raise the model's `context`.",
    )
