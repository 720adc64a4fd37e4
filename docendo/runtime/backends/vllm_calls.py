"""Requests as vLLM's sampling parameters, and its outputs as replies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

from docendo.agents.port import Completion, GenerateReply, GenerateRequest, TokenLogprob
from docendo.messages import Usage
from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.local_prompt import LocalPrompt
from docendo.runtime.backends.vllm_faults import call_fault

__all__ = ["generate_parameters", "listed_parameters", "prompt_parameters", "read_completions"]

_LEAST_TEMPERATURE = 0.01
"""vLLM raises lower ones to this; greedy is nearer to them."""


def generate_parameters(request: GenerateRequest, name: str) -> Any:
    """`vllm.SamplingParams` of a request.

    Text is made from tokens once, when the answer is finished, unless stop strings must be looked for.
    Log-probabilities are raw, before temperature and `top_p`; under a grammar, however, vLLM tells them over
    the tokens that the grammar allows.

    Args:
        request: What an agent asks.
        name: The model, for messages.

    Raises:
        BackendFault: vLLM knows no such sampling.
    """
    from vllm.sampling_params import StructuredOutputsParams

    how = request.sampling
    temperature = how.temperature if how.temperature >= _LEAST_TEMPERATURE else 0.0
    grammar = None
    if request.choices:
        grammar = StructuredOutputsParams(choice=list(request.choices))
    elif request.schema is not None:
        grammar = StructuredOutputsParams(json=request.schema)
    return _parameters(
        name,
        # Greedy completions of one prompt are all the same; vLLM refuses to make several.
        n=how.n if temperature > 0 else 1,
        temperature=temperature,
        top_p=how.top_p,
        max_tokens=how.max_tokens,
        seed=_engine_seed(request.seed) if temperature > 0 else None,
        stop=list(how.stop) or None,
        detokenize=bool(how.stop),
        logprobs=request.logprobs or None,
        structured_outputs=grammar,
    )


def listed_parameters(tokens: Sequence[int], name: str) -> Any:
    """Of a call for the log-probabilities of `tokens` as the next token."""
    return _parameters(
        name, temperature=0.0, max_tokens=1, detokenize=False, logprob_token_ids=list(tokens), ignore_eos=True
    )


def prompt_parameters(name: str) -> Any:
    """Of a call for the log-probabilities of a prompt's tokens.

    `skip_reading_prefix_cache` stays as vLLM sets it, true: cached positions would hold uninitialised memory.
    """
    return _parameters(
        name, temperature=0.0, max_tokens=1, detokenize=False, prompt_logprobs=0, ignore_eos=True
    )


def _engine_seed(seed: int) -> int:
    """A request's 63-bit seed as the engine wants it.

    vLLM adds a completion's number and keeps the sum in 64 bits with a sign, so there must be room. On a CPU
    torch draws by the lowest 32 bits alone, so all bits are mixed into these.
    """
    mixed = hashlib.blake2b(seed.to_bytes(8, "big"), digest_size=8).digest()
    return int.from_bytes(mixed, "big") >> 2


def _parameters(name: str, **values: Any) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    try:
        return SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **values)
    except ValueError as error:
        raise call_fault(name, str(error)) from None
    except Exception as error:  # newer versions refuse with errors of their own
        if type(error).__module__.partition(".")[0] != "vllm":
            raise
        raise call_fault(name, str(error)) from None


def read_completions(request: GenerateRequest, output: Any, prompts: LocalPrompt, name: str) -> GenerateReply:
    """A finished `vllm.RequestOutput` as a reply.

    Raises:
        BackendFault: The engine broke an answer off.
    """
    made = sorted(output.outputs, key=lambda one: one.index)
    for one in made:
        if one.finish_reason not in {"stop", "length", "repetition"}:
            grammar = " It may not know how to obey the schema." if request.schema is not None else ""
            raise BackendFault(
                f"vLLM's engine of `{name}` broke the answer off ({one.finish_reason}).{grammar}",
                retry=one.finish_reason == "abort",
            )
    completions = [_completion(request, one, output.prompt_token_ids, prompts) for one in made]
    if len(completions) < request.sampling.n:
        completions *= request.sampling.n
    prompt = len(output.prompt_token_ids)
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=sum(len(one.token_ids) for one in made),
        cached_tokens=min(output.num_cached_tokens or 0, prompt),
    )
    return GenerateReply(completions=tuple(completions), usage=usage)


def _completion(
    request: GenerateRequest, one: Any, prompt: Sequence[int], prompts: LocalPrompt
) -> Completion:
    ids = list(one.token_ids)
    stops = bool(request.sampling.stop)
    text = one.text if stops else prompts.decode(ids, after=prompt)
    told: tuple[TokenLogprob, ...] = ()
    if request.logprobs:
        if stops:  # the tokens behind the cut are none of the text's
            ids = ids[: sum(len(prompts.decode(ids[:i], after=prompt)) < len(text) for i in range(len(ids)))]
        told = _token_logprobs(ids, one.logprobs, request.logprobs, prompts)
    finish: Literal["stop", "length"] = "length" if one.finish_reason == "length" else "stop"
    return Completion(text=text, finish=finish, logprobs=told)


def _token_logprobs(
    ids: Sequence[int], found: Sequence[Any], alternatives: int, prompts: LocalPrompt
) -> tuple[TokenLogprob, ...]:
    """Tokens with their alternatives, without special ones such as the end's, so that they spell the text."""
    told = []
    for token, at in zip(ids, found, strict=False):
        if token in prompts.special:
            continue
        best = sorted(at.items(), key=lambda item: -item[1].logprob)[:alternatives]
        top = tuple((prompts.token_text(i), x.logprob) for i, x in best)
        told.append(TokenLogprob(prompts.token_text(token), at[token].logprob, top))
    return tuple(told)
