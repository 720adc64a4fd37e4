"""An OpenAI-compatible server over a backend: what a model server does, with a model that can be checked."""

from __future__ import annotations

import asyncio
from typing import Any

from docendo.agents.port import Completion, GenerateRequest, Sampling, ScoreRequest, TokenLogprob
from docendo.agents.view import View
from docendo.messages import PromptMessage, Span, Usage
from docendo.runtime.backends.base import Backend, BackendFault
from docendo.runtime.backends.local_prompt import LocalPrompt
from tests.runtime.http_server import Behaviour, Received, answer, status

VIEW = View(agent="a", role="student", act="solve")


def endpoint(backend: Backend, prompts: LocalPrompt) -> Behaviour:
    """Serve `/chat/completions`, the echo of `/completions`, and `/models`."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        try:
            if request.path.endswith("/chat/completions"):
                reply = answer(await _chat(backend, prompts, request.body))
            elif request.path.endswith("/completions"):
                reply = answer(await _echo(backend, prompts, request.body))
            elif request.path.endswith("/models"):
                reply = answer({"object": "list", "data": [{"id": "tiny", "object": "model"}]})
            else:
                reply = status(404)
        except BackendFault as fault:
            code = {"code": "context_length_exceeded"} if fault.kind == "context" else {}
            reply = status(400, fault.message, **code)
        await reply(request, writer)

    return behave


async def _chat(backend: Backend, prompts: LocalPrompt, body: dict[str, Any]) -> dict[str, Any]:
    sampling = Sampling(
        temperature=body["temperature"],
        top_p=body.get("top_p", 1.0),
        max_tokens=body["max_tokens"],
        n=body.get("n", 1),
        stop=tuple(body.get("stop", ())),
    )
    form = body.get("response_format")
    reply = await backend.generate(
        GenerateRequest(
            model="m",
            prompt=tuple(PromptMessage(m["role"], (Span(m["content"]),)) for m in body["messages"]),
            view=VIEW,
            sampling=sampling,
            seed=body.get("seed", 0),
            logprobs=body.get("top_logprobs", 0),
            schema=form["json_schema"]["schema"] if form else None,
        )
    )
    choices = [_choice(i, completion) for i, completion in enumerate(reply.completions)]
    return {"choices": choices, "usage": _usage(reply.usage)}


def _choice(index: int, completion: Completion) -> dict[str, Any]:
    tokens = [_token(t) for t in completion.logprobs]
    return {
        "index": index,
        "message": {"role": "assistant", "content": completion.text},
        "finish_reason": completion.finish,
        "logprobs": {"content": tokens} if tokens else None,
    }


def _token(token: TokenLogprob) -> dict[str, Any]:
    top = [{"token": name, "logprob": logprob} for name, logprob in token.top]
    return {"token": token.token, "logprob": token.logprob, "top_logprobs": top}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


async def _echo(backend: Backend, prompts: LocalPrompt, body: dict[str, Any]) -> dict[str, Any]:
    choices, usage = [], Usage()
    for index, text in enumerate(body["prompt"]):
        tokens = [prompts.token_text(i) for i in prompts.encode(text)]
        first, rest = tokens[0], text[len(tokens[0]) :]
        prompt = (PromptMessage("assistant", (Span(first),)),)
        scored = await backend.score(ScoreRequest(model="m", prompt=prompt, continuations=(rest,), view=VIEW))
        logprobs = [None, *scored.scores[0].logprobs]
        assert len(logprobs) == len(tokens)
        choices.append({"index": index, "logprobs": {"tokens": tokens, "token_logprobs": logprobs}})
        usage += scored.usage
    return {"choices": choices, "usage": _usage(usage)}
