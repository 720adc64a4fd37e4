"""What is behind an address? Asked before the first call that is sent, and again after an outage.

`/models` says what is served and, by its owner, what kind of server it is; each kind then has a page or two
of its own: vLLM its version and tokenizer, llama.cpp its `/props`, Ollama its version and what it would load.
Nothing that is asked makes a server load weights, so Ollama's context is told by `loaded`, after an answer.
What a server does not say stays unknown, and calls find it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.openai_link import Gone, Link
from docendo.runtime.backends.openai_server import Kind, Server, Way
from docendo.runtime.backends.openai_wire import Completed, Ids, Text
from docendo.scenarios.schema import OpenAIModel

__all__ = ["discover", "loaded", "when_ready"]

MARK = "docendomark"
"""Stands for a message in probes: no template trims, escapes or reads anything in it."""

_OWNERS: dict[str, Kind] = {"vllm": "vllm", "llamacpp": "llama.cpp", "sglang": "sglang"}
_KEEPS_NAMES = {"vllm", "ollama", "sglang"}
"""Servers that answer only to the names that they list. llama.cpp answers to any; of others nobody knows."""


class _Card(BaseModel):
    """One model of `/models`."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None
    parent: str | None = None
    """Of an adapter: its base."""


class _Cards(BaseModel):
    data: tuple[_Card, ...]


class _Shown(BaseModel):
    """What Ollama shows of a model, loaded or not."""

    capabilities: tuple[str, ...] = ()
    model_info: dict[str, Any] = {}

    @property
    def most(self) -> int | None:
        """The longest context that the weights are for. Ollama loads them with a shorter one, as a rule."""
        length = self.model_info.get(f"{self.model_info.get('general.architecture')}.context_length")
        return length if isinstance(length, int) and length > 0 else None


async def discover(link: Link, spec: OpenAIModel) -> Server:
    """Ask the server what it is, and hold what the scenario declares against it.

    Raises:
        BackendFault: Nobody answers (in time), the model is not served, or the scenario declares what the
            server does not offer. Where the server is still loading, the fault is `busy`.
    """
    cards = _read_cards(await link.look("/models"))
    server = Server(
        served=tuple(card.id for card in cards),
        kind=_kind(cards),
        context=_context(cards, spec),
        for_template=spec.for_template(),
    )
    link.served = server.served
    if server.kind == "unknown" and await _version(link, "/api/version"):
        server = replace(server, kind="ollama")
    if server.kind in _KEEPS_NAMES and cards and not {spec.model, f"{spec.model}:latest"} & {*server.served}:
        raise link.fault(
            f"is not served there; what is: {server.names}", fatal=True, suggestion=link.known_names()
        )
    look_closer: dict[Kind, Callable[[Link, OpenAIModel, Server], Awaitable[Server]]] = {
        "vllm": _vllm, "llama.cpp": _llama_cpp, "ollama": _ollama,
    }  # fmt: skip
    if server.kind in look_closer:
        server = await look_closer[server.kind](link, spec, server)
    server = replace(server, scoring=await _way(link, spec, server))
    return _held(link, spec, server)


async def loaded(link: Link, spec: OpenAIModel, server: Server) -> Server:
    """What is known of an Ollama server once it has answered: the context that it loaded the model with.

    Raises:
        BackendFault: It does not say; or the scenario declares a longer context.
    """
    context = await _loaded_with(link, spec)
    return server if context is None else _held(link, spec, replace(server, context=context))


def _held(link: Link, spec: OpenAIModel, server: Server) -> Server:
    """Hold the scenario's context against the server's; the shorter one counts.

    Raises:
        BackendFault: The server's is the shorter one.
    """
    if spec.context is None or server.context is None:
        return replace(server, context=spec.context or server.context)
    _require_context(link, spec, server.context)
    return replace(server, context=spec.context)


def _require_context(link: Link, spec: OpenAIModel, context: int) -> None:
    if spec.context is not None and spec.context > context:
        raise link.fault(
            f"holds {context} tokens, and the scenario says `context: {spec.context}`",
            fatal=True,
            suggestion=f"Write `context: {context}` or leave it out; or serve a longer context.",
        )


# --- what every server says -----------------------------------------------------------------------------


def _read_cards(page: Any) -> tuple[_Card, ...]:
    try:
        return _Cards.model_validate(page).data
    except ValidationError:
        return ()


def _kind(cards: tuple[_Card, ...]) -> Kind:
    return next((_OWNERS[c.owned_by] for c in cards if c.owned_by in _OWNERS), "unknown")


def _context(cards: tuple[_Card, ...], spec: OpenAIModel) -> int | None:
    lengths = {card.id: card.max_model_len for card in cards}
    card = next((card for card in cards if card.id == spec.model), None)
    return None if card is None else card.max_model_len or lengths.get(card.parent or "")


async def _version(link: Link, page: str) -> str:
    found = await link.look(link.root + page)
    return str(found.get("version", "")) if isinstance(found, dict) else ""


def _marked(spec: OpenAIModel, roles: list[str]) -> dict[str, Any]:
    """What asks for the template's form of messages that say nothing but the mark."""
    return {"messages": [{"role": role, "content": MARK} for role in roles], **spec.for_template()}


# --- vLLM -----------------------------------------------------------------------------------------------


async def _vllm(link: Link, spec: OpenAIModel, server: Server) -> Server:
    server = replace(server, version=await _version(link, "/version"))
    try:
        plain = await _messages(link, spec, ["user"])
    except BackendFault as fault:
        _pass_on(fault)
        if not await _tokenizes(link, spec):
            return server
        # It has a tokenizer, so what it refused is the template: a base model has none.
        return replace(server, tokenizer=True, template=False) if "template" in fault.message else server
    return replace(
        server,
        tokenizer=True,
        tail=await _tail(link, spec, plain),
        system=await _longer(link, spec, ["system", "user"], plain),
        alternate=not await _longer(link, spec, ["user", "user"], plain),
    )


async def _messages(link: Link, spec: OpenAIModel, roles: list[str]) -> Ids:
    return await link.post(f"{link.root}/tokenize", {"model": spec.model, **_marked(spec, roles)}, Ids)


async def _tail(link: Link, spec: OpenAIModel, plain: Ids) -> str:
    try:
        body = {"model": spec.model, "tokens": plain.tokens}
        shown = (await link.post(f"{link.root}/detokenize", body, Text)).prompt
    except BackendFault as fault:
        _pass_on(fault)
        return ""
    return shown.rpartition(MARK)[2] if MARK in shown else ""


async def _longer(link: Link, spec: OpenAIModel, roles: list[str], plain: Ids) -> bool:
    """Whether the template takes these roles, and shows more for them than for a user alone."""
    try:
        return len((await _messages(link, spec, roles)).tokens) > len(plain.tokens)
    except BackendFault as fault:
        _pass_on(fault)
        return False


async def _tokenizes(link: Link, spec: OpenAIModel) -> bool:
    try:
        await link.post(f"{link.root}/tokenize", {"model": spec.model, "prompt": MARK}, Ids)
    except BackendFault as fault:
        _pass_on(fault)
        return False
    return True


# --- llama.cpp ------------------------------------------------------------------------------------------


async def _llama_cpp(link: Link, spec: OpenAIModel, server: Server) -> Server:
    props = await link.look(f"{link.root}/props")
    if not isinstance(props, dict):
        return server
    settings = props.get("default_generation_settings")
    context = settings.get("n_ctx") if isinstance(settings, dict) else None
    slots = props.get("total_slots")
    server = replace(
        server,
        version=str(props.get("build_info", "")),
        context=context if isinstance(context, int) and context > 0 else None,
        slots=slots if isinstance(slots, int) else None,
    )
    try:
        await link.post(f"{link.root}/tokenize", {"content": MARK}, Ids)
        plain = await _applied(link, spec, ["user"])
    except BackendFault as fault:
        _pass_on(fault)
        return server
    return replace(
        server,
        tokenizer=True,
        tail=plain.rpartition(MARK)[2],
        system=(await _applied_or_nothing(link, spec, ["system", "user"])).count(MARK) == 2,
        alternate=(await _applied_or_nothing(link, spec, ["user", "user"])).count(MARK) != 2,
    )


async def _applied(link: Link, spec: OpenAIModel, roles: list[str]) -> str:
    return (await link.post(f"{link.root}/apply-template", _marked(spec, roles), Text)).prompt


async def _applied_or_nothing(link: Link, spec: OpenAIModel, roles: list[str]) -> str:
    try:
        return await _applied(link, spec, roles)
    except BackendFault as fault:
        _pass_on(fault)
        return ""


# --- Ollama ---------------------------------------------------------------------------------------------


async def _ollama(link: Link, spec: OpenAIModel, server: Server) -> Server:
    """See what there is without loading it.

    Raises:
        BackendFault: The model does not write, or is not made for the context that the scenario declares.
    """
    server = replace(server, version=await _version(link, "/api/version"))
    try:
        shown = await link.post(f"{link.root}/api/show", {"model": spec.model}, _Shown)
    except BackendFault as fault:
        _pass_on(fault)
        shown = _Shown()
    if "embedding" in shown.capabilities and "completion" not in shown.capabilities:
        raise link.fault(
            "is for embeddings and does not write text", fatal=True, suggestion=f"Served: {server.names}."
        )
    if shown.most is not None:
        _require_context(link, spec, shown.most)
    return replace(server, context=await _loaded_with(link, spec))


async def _loaded_with(link: Link, spec: OpenAIModel) -> int | None:
    """The context that the model has in memory; `None` where it is not loaded, or Ollama does not say."""
    page = await link.look(f"{link.root}/api/ps")
    models = page.get("models") if isinstance(page, dict) else None
    names = {spec.model, f"{spec.model}:latest"}
    lengths = [
        m.get("context_length") for m in models or () if isinstance(m, dict) and m.get("name") in names
    ]
    return next((n for n in lengths if isinstance(n, int) and n > 0), None)


# --- scoring --------------------------------------------------------------------------------------------


async def _way(link: Link, spec: OpenAIModel, server: Server) -> Way:
    """The best way of scoring that the server offers and the scenario allows.

    Raises:
        BackendFault: The scenario insists on what the server does not offer.
    """
    first: Way = "first token" if spec.logprobs else "none"
    if spec.scoring == "first_token" or not (spec.scoring or spec.logprobs):
        return first
    if server.tokenizer and server.kind == "llama.cpp":
        return "tokens"
    if server.tokenizer and server.kind == "vllm":
        if await _names_tokens(link, spec):
            return "tokens"
        if await _echoes(link, spec, [1, 2]):
            return "echo"
    if not spec.scoring:
        return first
    if await _echoes(link, spec, MARK):
        return "plain echo"
    raise link.fault(
        "does not score: `/completions` does not echo a prompt with its log-probabilities",
        fatal=True,
        suggestion="Write `scoring: false`: answers are then scored by the likeliest first tokens."
        if spec.logprobs
        else "Write `scoring: false`, and `confidence: {mode: frequency}` for agents with this model.",
    )


async def _names_tokens(link: Link, spec: OpenAIModel) -> bool:
    """Whether the log-probability of any token can be asked for: vLLM since it knows `logprob_token_ids`."""
    body = {
        "model": spec.model, "prompt": [[1, 2]], "max_tokens": 1, "temperature": 0.0, "logprobs": 2,
        "logprob_token_ids": [1, 2], "return_tokens_as_token_ids": True,
    }  # fmt: skip
    try:
        places = [c.logprobs for c in (await link.post("/completions", body, Completed)).choices]
    except BackendFault as fault:
        _pass_on(fault)
        return False
    named = places[0].top_logprobs if places and places[0] else None
    return bool(named and named[0] and {"token_id:1", "token_id:2"} <= {*named[0]})


async def _echoes(link: Link, spec: OpenAIModel, prompt: str | list[int]) -> bool:
    body = {"model": spec.model, "prompt": [prompt], "echo": True, "logprobs": 1, "max_tokens": 0}
    try:
        choices = (await link.post("/completions", body, Completed)).choices
    except BackendFault as fault:
        _pass_on(fault)
        return False
    return bool(choices and choices[0].logprobs and choices[0].logprobs.token_logprobs)


def _pass_on(fault: BackendFault) -> None:
    """Raise what says nothing about the server's abilities: it is busy, slow or gone.

    Other trouble is a no: llama.cpp answers 500 where a template refuses.
    """
    if fault.retry and (fault.busy or fault.kind == "timeout" or isinstance(fault, Gone)):
        raise fault


async def when_ready(link: Link, spec: OpenAIModel) -> Server:
    """`discover`, waiting for a server that is still loading.

    Raises:
        BackendFault: As for `discover`, always `fatal`.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + spec.patience
    while True:
        try:
            return await discover(link, spec)
        except BackendFault as fault:
            if fault.busy and clock() < until:
                await asyncio.sleep(min(fault.after or 1.0, 5.0, max(0.0, until - clock())))
                continue
            fault.fatal = True
            raise
