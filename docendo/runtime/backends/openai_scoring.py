"""How likely is each continuation? Five ways of asking a server, the best that it has.

- `tokens`: the continuations' own tokens behind the prompt's, place by place. vLLM gives the log-probability
  of any token that is asked for (`logprob_token_ids`), llama.cpp those of the likeliest thousand, and what is
  not among them is censored. The prefix cache serves all places.
- `echo`: prompt and continuation as tokens, echoed with log-probabilities, for long continuations and for
  vLLM before it knew the above. Exact; vLLM computes the whole prompt anew for it, and must: with
  `skip_reading_prefix_cache` off it would return memory that nobody wrote.
- `plain echo`: the same as text, without a chat template: any server whose `/completions` echoes.
- `first token`: the likeliest first tokens behind the chat template, for continuations of one token;
  what is not among them is censored.
- `none`: not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from docendo.agents.port import ContinuationScore, ScoreReply, ScoreRequest
from docendo.messages import Usage
from docendo.runtime.backends.alignment import Alignment
from docendo.runtime.backends.openai_link import Link
from docendo.runtime.backends.openai_server import Server
from docendo.runtime.backends.openai_tokens import ServerTokens
from docendo.runtime.backends.openai_wire import (
    Chat,
    Completed,
    CompletedChoice,
    Probable,
    flat_text,
)
from docendo.runtime.backends.token_scores import single_token_score, tail_score

__all__ = ["TOP_LOGPROBS", "Scorer"]

TOP_LOGPROBS = 20
"""Alternatives asked for when the answer's first token is scored: the most that the protocol allows."""
_LIKELIEST = 1000
"""The same of llama.cpp, which has no bound."""
_SHORT = 8
"""Longest continuation, in tokens, that is asked for place by place."""
_NAMED = 128
"""Most tokens that one request may name (vLLM)."""

_Node = tuple[int, ...]
"""Tokens of a continuation before one of its places."""


class Scorer:
    """Scores continuations on one server."""

    def __init__(self, link: Link, model: str, server: Server) -> None:
        """Use what the server has.

        Args:
            link: To the server.
            model: The model's name there.
            server: What is known of it.
        """
        self._link = link
        self._model = model
        self._server = server
        self.tokens = ServerTokens(link, model, server) if server.tokenizer else None
        """Its tokenizer, where it has one for others."""

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Score each continuation.

        Raises:
            BackendFault: The server failed, or a continuation cannot be scored in the way at hand.
        """
        reply = await self._score(request)
        # Servers generate a token in order to score, and count it; nothing is made of it.
        return replace(reply, usage=reply.usage.model_copy(update={"completion_tokens": 0}))

    async def _score(self, request: ScoreRequest) -> ScoreReply:
        way = self._server.scoring
        if way in {"tokens", "echo"} and self.tokens is not None:
            aligned = await self.tokens.align(request.prompt, request.continuations)
            self._require_room(aligned)
            if self._server.kind == "llama.cpp":
                return await self._likeliest(aligned)
            named = {token for branch in aligned.branches for token in branch.tokens}
            if way == "tokens" and aligned.longest <= _SHORT and len(named) <= _NAMED:
                return await self._named(aligned, sorted(named))
            return await self._echo(aligned)
        return await (self._plain_echo(request) if way == "plain echo" else self._first_token(request))

    def _require_room(self, aligned: Alignment) -> None:
        length, context = len(aligned.context) + aligned.longest, self._server.context
        if context is not None and length >= context:
            raise self._link.fault(
                f"holds {context} tokens, and prompt and answer are {length} tokens long",
                kind="context",
                suggestion="Show less (view, memory `size`), or serve a longer context.",
            )

    # --- as tokens --------------------------------------------------------------------------------------

    async def _named(self, aligned: Alignment, ids: Sequence[int]) -> ScoreReply:
        """One request: a prompt for each place of a continuation, one token each, and the tokens' names."""
        nodes = _nodes(aligned)
        body = {
            "model": self._model,
            "prompt": [[*aligned.context, *node] for node in nodes],
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": len(ids),
            "logprob_token_ids": list(ids),
            "return_tokens_as_token_ids": True,
        }
        done = await self._link.post("/completions", body, Completed)
        places: dict[_Node, dict[int, float]] = {}
        for node, choice in zip(nodes, self._in_order(done, len(nodes)), strict=True):
            top = choice.logprobs.top_logprobs if choice.logprobs else None
            named = {int(name.rpartition(":")[2]): x for name, x in (top[0] or {}).items()} if top else {}
            if missing := [i for i in ids if i not in named]:
                raise self._link.fault(f"gives no log-probability of token {missing[0]}", retry=True)
            places[node] = named
        return _reply(aligned, places, _shared(done.usage.tokens, len(nodes)))

    async def _likeliest(self, aligned: Alignment) -> ScoreReply:
        """A request for each place. One after the other, so that one slot's cache serves them all."""
        places: dict[_Node, dict[int, float]] = {}
        usage = Usage()
        for node in _nodes(aligned):
            body = {
                "prompt": [*aligned.context, *node],
                "n_predict": 1,
                # Below zero: greedy, and log-probabilities of the whole vocabulary.
                "temperature": -1.0,
                "n_probs": _LIKELIEST,
                "cache_prompt": True,
            }
            done = await self._link.post(f"{self._link.root}/completion", body, Probable)
            if not done.completion_probabilities or not done.completion_probabilities[0].top_logprobs:
                raise self._link.fault("answered without `completion_probabilities`")
            places[node] = {t.id: t.logprob for t in done.completion_probabilities[0].top_logprobs}
            usage += done.tokens
        return _reply(aligned, places, usage)

    async def _echo(self, aligned: Alignment) -> ScoreReply:
        body = {
            "model": self._model,
            "prompt": [[*aligned.context, *branch.tokens] for branch in aligned.branches],
            "echo": True,
            "logprobs": 1,
            "max_tokens": 0,
            "temperature": 0.0,
        }
        done = await self._link.post("/completions", body, Completed)
        scores = []
        choices = self._in_order(done, len(aligned.branches))
        for branch, choice in zip(aligned.branches, choices, strict=True):
            echoed = choice.logprobs.token_logprobs if choice.logprobs else ()
            own = [x for x in echoed[-len(branch.tokens) :] if x is not None]
            if len(own) != len(branch.tokens):
                raise self._link.fault("echoes without log-probabilities", retry=True)
            scores.append(ContinuationScore(logprobs=branch.fold(own)))
        return ScoreReply(scores=tuple(scores), usage=done.usage.tokens)

    def _in_order(self, done: Completed, wanted: int) -> list[CompletedChoice]:
        if len(done.choices) != wanted:
            raise self._link.fault(f"answered {len(done.choices)} of {wanted} prompts")
        return sorted(done.choices, key=lambda choice: choice.index)

    # --- as text ----------------------------------------------------------------------------------------

    async def _plain_echo(self, request: ScoreRequest) -> ScoreReply:
        prompt = flat_text(request.prompt)
        texts = [prompt + continuation for continuation in request.continuations]
        body = {
            "model": self._model, "prompt": texts, "echo": True, "logprobs": 1, "max_tokens": 0,
            "temperature": 0.0,
        }  # fmt: skip
        done = await self._link.post("/completions", body, Completed)
        scores = []
        for continuation, choice in zip(request.continuations, self._in_order(done, len(texts)), strict=True):
            echoed = choice.logprobs
            score = tail_score(continuation, echoed.tokens, echoed.token_logprobs) if echoed else None
            if score is None:
                raise self._link.fault(
                    f"does not show the tokens of {continuation!r} in its echo",
                    suggestion="Declare `scoring: false`; this server does not echo log-probabilities.",
                )
            scores.append(score)
        return ScoreReply(scores=tuple(scores), usage=done.usage.tokens)

    async def _first_token(self, request: ScoreRequest) -> ScoreReply:
        for continuation in request.continuations:
            if len(continuation.split()) != 1:
                raise self._link.fault(
                    f"cannot score {continuation!r}: `top_logprobs` reach one token only",
                    suggestion="Serve the model with vLLM or llama.cpp, or score one-word answers.",
                )
        body = {
            "model": self._model, **self._server.chat(request.prompt), "max_tokens": 1,
            # Greedy, so that the list holds no sampled token from below the best: the floor would be wrong.
            "temperature": 0.0, "logprobs": True, "top_logprobs": TOP_LOGPROBS,
            **self._server.neutral,
        }  # fmt: skip
        chat = await self._link.post("/chat/completions", body, Chat)
        tokens = chat.choices[0].logprobs if chat.choices else None
        if not tokens or not tokens.content or not tokens.content[0].top_logprobs:
            raise self._link.fault(
                "answered without `top_logprobs`",
                # An answer without any token shows none either; that is no lack of the server's.
                fatal=not tokens or tokens.content != (),
                suggestion="Write `logprobs: false`, and `confidence: {mode: frequency}` for agents with "
                "this model; or serve it with a server that has them.",
            )
        top = {a.token: a.logprob for a in tokens.content[0].top_logprobs}
        scores = (single_token_score(c, top, request.continuations) for c in request.continuations)
        return ScoreReply(scores=tuple(scores), usage=chat.tokens)


def _nodes(aligned: Alignment) -> list[_Node]:
    """Every place of every continuation once, as the tokens before it."""
    every = (branch.tokens[:i] for branch in aligned.branches for i in range(len(branch.tokens)))
    return list(dict.fromkeys(every))


def _shared(usage: Usage, prompts: int) -> Usage:
    """The usage of several prompts with one beginning.

    vLLM tells how much of the last one was cached. That much of each was, but for the first, which may have
    been computed for the others: this is the least.
    """
    return usage.model_copy(update={"cached_tokens": usage.cached_tokens * max(1, prompts - 1)})


def _reply(aligned: Alignment, places: dict[_Node, dict[int, float]], usage: Usage) -> ScoreReply:
    """Read the continuations off their places. What a place does not show is bounded by its least."""
    scores = []
    for branch in aligned.branches:
        shown = [(places[branch.tokens[:i]], token) for i, token in enumerate(branch.tokens)]
        logprobs = branch.fold([place.get(token, min(place.values())) for place, token in shown])
        censored = any(token not in place for place, token in shown)
        scores.append(ContinuationScore(logprobs=logprobs, censored=censored))
    return ScoreReply(scores=tuple(scores), usage=usage)
