"""JSON schemas and choices as grammars over tokens, by `llguidance`.

The grammar decides before every token which ones may follow, so that even a model without wisdom writes
valid JSON, unless its tokens run out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import torch

from docendo.runtime.backends.base import BackendFault

__all__ = ["Grammars"]

_OPTIONS = {"whitespace_flexible": False, "lenient": True}
"""No blanks between values, which weak models go on with for ever; keywords that the grammar does not know
are left to docendo's own validation."""


class Grammars:
    """Grammars over one tokenizer's vocabulary."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        """Read the vocabulary, which takes about a second for a large one.

        Args:
            tokenizer: A fast tokenizer of Hugging Face.
            vocabulary: Columns of the model's logits.
            ends: Tokens that end a completion.

        Raises:
            BackendFault: llguidance is not installed.
        """
        try:
            from llguidance import LLMatcher
            from llguidance.hf import from_tokenizer
        except ImportError:
            raise BackendFault(
                "schemas and choices need llguidance, which is not installed",
                retry=False,
                suggestion="pip install 'docendo[transformers]'",
            ) from None
        self._matcher: Any = LLMatcher
        self._vocabulary = vocabulary
        self._tokens = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(ends))
        self._compiled = lru_cache(maxsize=256)(self._compile)

    def schema(self, schema: dict[str, Any]) -> _Walk:
        """A completion that obeys a JSON schema; properties come in the schema's own order.

        Raises:
            BackendFault: The schema cannot be a grammar.
        """
        text = orjson.dumps(schema).decode()
        return self._walk(self._matcher.grammar_from_json_schema(text, overrides=_OPTIONS))

    def choice(self, choices: Sequence[str]) -> _Walk:
        """A completion that is one of these texts."""
        options = " | ".join(orjson.dumps(choice).decode() for choice in choices)
        return self._walk(self._matcher.grammar_from_lark(f"start: {options}"))

    def _walk(self, grammar: str) -> _Walk:
        return _Walk(self._compiled(grammar).deep_copy(), self._vocabulary)

    def _compile(self, grammar: str) -> Any:
        matcher = self._matcher(self._tokens, grammar, log_level=0)
        if matcher.is_error():
            raise BackendFault(
                f"the answer's form cannot be made a grammar: {matcher.get_error().strip()[:300]}",
                retry=False,
                suggestion="Simplify the act's schema.",
            )
        return matcher


class _Walk:
    """One completion's way through a grammar."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> Any:
        """Booleans [vocabulary].

        Raises:
            BackendFault: The grammar has become too large to go on.
        """
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        bits = np.unpackbits(mask, bitorder="little")[: self._vocabulary]
        if self._matcher.is_error() or not bits.any():
            why = self._matcher.get_error().strip()[:300] or "no token may follow"
            raise BackendFault(f"the answer's grammar cannot go on: {why}", retry=False)
        return torch.from_numpy(bits.astype(bool))

    def take(self, token: int) -> bool:
        """Go on; whether nothing more may follow."""
        self._matcher.consume_token(token)
        return bool(self._matcher.is_stopped())

    def fresh(self) -> _Walk:
        """The same grammar at its beginning."""
        matcher = self._matcher.deep_copy()
        matcher.reset()
        return _Walk(matcher, self._vocabulary)
