"""Models without a model, for tests and for trying a scenario out: canned answers, and a function.

Answers are pure functions of the request, whatever else runs at the same time, because the journal serves
them again by the request's key. So replies "in turn" are counted by the agent's own messages of the episode,
as its view shows them: the first act of an episode gets the first reply, the next act the next one. An agent
whose view of an act lacks the artefact `own` always gets the first. All `n` completions are equal.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from docendo.agents.port import (
    Completion,
    ContinuationScore,
    GenerateReply,
    GenerateRequest,
    ScoreReply,
    ScoreRequest,
)
from docendo.errors import UsageError, Where
from docendo.messages import PromptMessage, Usage
from docendo.runtime.backends.base import Backend, BackendFault, Capabilities
from docendo.scenarios.schema import ScriptedModel

__all__ = ["FunctionBackend", "ScriptedBackend"]

Answer = str | Completion | GenerateReply
Generate = Callable[[GenerateRequest], Answer | Awaitable[Answer]]
Score = Callable[[ScoreRequest], Sequence[float]]


class _Line(BaseModel):
    """One line of a reply file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    match: str
    reply: str


class _Rule(NamedTuple):
    pattern: re.Pattern[str]
    reply: str


class ScriptedBackend(Backend):
    """Answers from `file` by the first pattern that is found in the prompt, else from `replies` in turn."""

    capabilities = Capabilities(deterministic=True, reads_view=True)

    def __init__(self, spec: ScriptedModel, base: Path = Path()) -> None:
        """Read the replies.

        Args:
            spec: The model's part of the scenario.
            base: Folder that `file` is relative to.

        Raises:
            UsageError: There are no replies, or the file cannot be read; the message has the line.
        """
        self._replies = spec.replies
        self._rules = _read_rules(base / spec.file) if spec.file else ()
        if not self._replies and not self._rules:
            raise UsageError(
                "a scripted model has nothing to say", suggestion="Give it `replies` or a `file`."
            )
        content = [self._replies, [(rule.pattern.pattern, rule.reply) for rule in self._rules]]
        self._fingerprint = "scripted " + hashlib.sha256(orjson.dumps(content)).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Hash of everything that it may say."""
        return self._fingerprint

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Look the reply up.

        Raises:
            BackendFault: No pattern is found in the prompt, and there are no `replies`.
        """
        return _reply(self._text(request), request)

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Not offered.

        Raises:
            BackendFault: Always.
        """
        raise BackendFault("a scripted model cannot score", retry=False)

    async def close(self) -> None:
        """Nothing is held."""

    def _text(self, request: GenerateRequest) -> str:
        prompt = _text_of(request.prompt)
        for rule in self._rules:
            if rule.pattern.search(prompt):
                return rule.reply
        if not self._replies:
            raise BackendFault(
                f"no pattern of the script is found in the prompt, which ends {prompt[-120:]!r}",
                retry=False,
                suggestion='Add a last line with `"match": ""`, which is found in every prompt.',
            )
        return self._replies[min(len(request.view.own), len(self._replies) - 1)]


class FunctionBackend(Backend):
    """A function is the model.

    ```python
    backend = FunctionBackend(lambda request: "4" if "2 + 2" in request.prompt[-1].text else "?")
    ```

    The function gets the request and returns the text, a `Completion`, or a whole `GenerateReply`; it may be
    a coroutine function, and may raise `BackendFault`. Its answers should depend on the request only.
    """

    def __init__(
        self,
        generate: Generate,
        score: Score | None = None,
        *,
        name: str = "function",
        capabilities: Capabilities | None = None,
    ) -> None:
        """Wrap `generate`, and `score`, which returns one log-probability per continuation.

        Args:
            generate: Answers a request.
            score: Scores continuations; without it the model cannot score.
            name: Becomes the fingerprint: give functions that answer differently different names.
            capabilities: What to declare; by default a seed, logprobs, a schema, and that the view is read.
        """
        self._generate = generate
        self._score = score
        self._fingerprint = f"function {name}"
        self.capabilities = capabilities or Capabilities(
            scoring=score is not None, seed=True, logprobs=True, schema=True, reads_view=True
        )

    @property
    def fingerprint(self) -> str:
        """The name that the function was given."""
        return self._fingerprint

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Call the function.

        Raises:
            BackendFault: The function did.
        """
        answer = self._generate(request)
        if inspect.isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, GenerateReply) else _reply(answer, request)

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Call the function.

        Raises:
            BackendFault: There is none, or it did.
        """
        if self._score is None:
            raise BackendFault(f"`{self.fingerprint}` cannot score", retry=False)
        values = self._score(request)
        return ScoreReply(scores=tuple(ContinuationScore(logprobs=(value,)) for value in values))

    async def close(self) -> None:
        """Nothing is held."""


def _reply(answer: str | Completion, request: GenerateRequest) -> GenerateReply:
    """`n` equal completions. Words stand for tokens in the usage, so that budgets of tokens can be tried."""
    completion = Completion(text=answer) if isinstance(answer, str) else answer
    n = request.sampling.n
    usage = Usage(
        prompt_tokens=len(_text_of(request.prompt).split()),
        completion_tokens=n * len(completion.text.split()),
    )
    return GenerateReply(completions=(completion,) * n, usage=usage)


def _text_of(prompt: tuple[PromptMessage, ...]) -> str:
    return "\n\n".join(message.text for message in prompt)


def _read_rules(path: Path) -> tuple[_Rule, ...]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(
            f"the reply file cannot be read: {error.strerror}",
            suggestion="Its path is relative to the scenario file.",
            where=Where(file=str(path)),
        ) from None
    rules = []
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        where = Where(file=str(path), line=number)
        try:
            line = _Line.model_validate_json(text)
            rules.append(_Rule(re.compile(line.match), line.reply))
        except ValidationError as error:
            raise UsageError(
                f"not a scripted reply: {error.errors(include_url=False)[0]['msg']}",
                suggestion='A line is {"match": "a pattern", "reply": "a text"}.',
                where=where,
            ) from None
        except re.error as error:
            raise UsageError(
                f"`match` is not a regular expression: {error}",
                suggestion="Escape what stands for itself with a backslash, doubled in JSON.",
                where=where,
            ) from None
    return tuple(rules)
