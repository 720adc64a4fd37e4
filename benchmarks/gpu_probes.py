"""The single trials and measurements of `gpu_check.py`. Each returns the head and the rows of a table."""

from __future__ import annotations

import asyncio
import gc
import math
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docendo.agents.port import GenerateReply, GenerateRequest, Sampling, ScoreReply, ScoreRequest
from docendo.agents.view import View
from docendo.messages import PromptMessage, Span
from docendo.runtime.backends.base import Backend
from docendo.scenarios.local_model_spec import TransformersModel, VllmModel
from tests.engine.tiny_model import make_adapter, make_model

__all__ = [
    "LARGE",
    "SMALL",
    "TOY",
    "Size",
    "adapters",
    "determinism",
    "left",
    "memory_used",
    "on_gpu",
    "scores",
    "sleeping",
    "speed",
    "tiny_folder",
    "together",
    "turns",
]

Table = tuple[list[str], list[list[str]]]
GIB = 2**30
VIEW = View(agent="student-1", role="student", act="solve")
CONCURRENCY = (1, 8, 64, 256)
TOKENS = 64
"""Of every answer whose speed is measured."""
CONTEXT_GIB = 2.5
"""What this process may keep of the GPU after engines ran in it: CUDA's context, libraries' workspaces."""


@dataclass(frozen=True)
class Size:
    """Shapes of Qwen3."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    vocabulary: int = 151936


TOY = Size("toy", 128, 256, 2, 8, 512)
SMALL = Size("small", 1024, 3072, 28, 16)
LARGE = Size("large", 2560, 9728, 36, 32)


# --- models and requests --------------------------------------------------------------------------------


def tiny_folder(folder: Path) -> Path:
    """The tiny model of the tests."""
    return make_model(folder / "tiny")


def sized_folder(size: Size, folder: Path, *, weights: bool) -> Path:
    """A model of Qwen3's shapes with the tiny model's tokenizer.

    Args:
        size: Its shapes.
        folder: Where to make it.
        weights: Real files with random weights; otherwise a file in their place, for engines that make them
            up.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, Qwen3Config

    made = folder / f"{size.name}-{'real' if weights else 'dummy'}"
    if made.exists():
        return made
    shutil.copytree(tiny_folder(folder), made, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    config = Qwen3Config(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=4096,
        bos_token_id=3,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=True,
        dtype=torch.bfloat16,
        architectures=["Qwen3ForCausalLM"],
    )
    if weights:
        with torch.device("cuda" if on_gpu() else "cpu"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(made)
        del model
        torch.cuda.empty_cache()
    else:
        config.save_pretrained(made)
        save_file({"placeholder": torch.zeros(1)}, made / "model.safetensors")
    return made


def backend(kind: str, folder: Path, **fields: Any) -> Backend:
    """A model that is not started yet. vLLM runs in this process unless `engine` is among the fields."""
    if kind == "vllm":
        from docendo.runtime.backends.vllm_backend import VllmBackend

        own: dict[str, Any] = {"engine": "thread", "eager": True, "kv_cache": 1.0, "max_sequences": 256}
        return VllmBackend(VllmModel(model=str(folder), **{**own, **fields}), Path())
    from docendo.runtime.backends.transformers_backend import TransformersBackend

    return TransformersBackend(TransformersModel(model=str(folder), **{"batch": 256, **fields}), Path())


@asynccontextmanager
async def started(*models: Backend) -> AsyncIterator[None]:
    """The models, started, and closed again whatever happens."""
    try:
        await asyncio.gather(*(model.start() for model in models))
        yield
    finally:
        await asyncio.gather(*(model.close() for model in models))


def ask(number: int, **how: Any) -> GenerateRequest:
    """One call; its number is in the prompt and is its seed."""
    logprobs = how.pop("logprobs", 0)
    return GenerateRequest(
        model="m",
        prompt=prompt(number),
        view=VIEW,
        seed=number + 1,
        sampling=Sampling(**{"max_tokens": 32, **how}),
        logprobs=logprobs,
    )


def weigh(number: int, *continuations: str) -> ScoreRequest:
    """How likely are these after that prompt?"""
    return ScoreRequest(model="m", prompt=prompt(number), continuations=continuations, view=VIEW)


def prompt(number: int) -> tuple[PromptMessage, ...]:
    """Some 200 tokens, most of which all numbers share."""
    rules = "You are a student who learns column addition. " * 8
    return (
        PromptMessage("system", (Span(rules),)),
        PromptMessage("user", (Span(f"What is {number} + {7 * number}? Say what you do."),)),
    )


async def generate(model: Backend, request: GenerateRequest) -> GenerateReply:
    """One call, at the model's turn."""
    async with model.turn():
        return await model.generate(request)


async def burst(model: Backend, requests: Sequence[GenerateRequest]) -> list[str]:
    """Texts of calls that are made all at once."""
    return [reply.text for reply in await asyncio.gather(*(generate(model, r) for r in requests))]


def on_gpu() -> bool:
    """Whether torch sees one."""
    import torch

    return bool(torch.cuda.is_available())


def memory_used() -> float:
    """GiB of the GPU's memory in use by anybody; zero on a CPU."""
    import torch

    if not on_gpu():
        return 0.0
    free, total = torch.cuda.mem_get_info(0)
    return float(total - free) / GIB


# --- probes -------------------------------------------------------------------------------------------


async def determinism(engine: str, folder: Path) -> Table:
    """Share of answers that differ between alone and in a batch, and between two equal batches."""
    rows = []
    for dtype in ("float32", "bfloat16"):
        model = backend(engine, folder, dtype=dtype)
        async with started(model):
            for temperature in (0.0, 0.9):
                calls = [ask(i, temperature=temperature) for i in range(64)]
                alone = [(await generate(model, call)).text for call in calls[:24]]
                first, second = await burst(model, calls), await burst(model, calls)
                against = sum(a != b for a, b in zip(alone, first, strict=False))
                again = sum(a != b for a, b in zip(first, second, strict=True))
                how = "greedy" if temperature == 0 else f"seeded, T={temperature}"
                rows.append([dtype, how, f"{against} of {len(alone)}", f"{again} of {len(first)}"])
    return [
        "numbers",
        "sampling",
        "differ from alone in a batch of 64",
        "differ when the batch is repeated",
    ], rows


async def adapters(engine: str, folder: Path, place: Path) -> Table:
    """A base and an adapter over it: two models, one set of weights."""
    adapter = make_adapter(place / f"adapter-{engine}", folder)
    base = backend(engine, folder, dtype="bfloat16")
    adapted = backend(engine, folder, dtype="bfloat16", adapter=str(adapter))
    async with started(base, adapted):
        calls = [ask(i) for i in range(16)]
        alone = [[(await generate(m, call)).text for call in calls] for m in (base, adapted)]
        mixed = await asyncio.gather(burst(base, calls), burst(adapted, calls))
    if alone[0] == alone[1]:
        raise AssertionError("the adapter changes nothing")
    wrong = sum(
        a != b for one, other in zip(alone, mixed, strict=True) for a, b in zip(one, other, strict=True)
    )
    return ["answers", "differ between alone and mixed"], [[str(2 * len(calls)), str(wrong)]]


async def scores(engine: str, folder: Path) -> Table:
    """Scores at rest and under load, and how many there are per second."""
    model = backend(engine, folder, dtype="float32")
    answers = ("yes", "no", "no, because it is seven")
    rows = []
    async with started(model):
        requests = [weigh(i, *answers) for i in range(128)]
        alone = [await model.score(request) for request in requests[:16]]
        begun = time.monotonic()
        together = await asyncio.gather(*(model.score(request) for request in requests))
        seconds = time.monotonic() - begun
        load = asyncio.gather(*(model.generate(ask(i, logprobs=3, temperature=1.0)) for i in range(64)))
        mixed = await asyncio.gather(*(model.score(request) for request in requests[:16]))
        await load
        rows.append(["in a batch", f"{furthest(alone, together):.2g}", f"{len(requests) / seconds:.0f}"])
        rows.append(["beside generation", f"{furthest(alone, mixed):.2g}", ""])
    return ["scores of three answers", "furthest from alone (nats)", "requests per second"], rows


def furthest(some: Sequence[ScoreReply], others: Sequence[ScoreReply]) -> float:
    """The largest difference between log-probabilities."""
    pairs = (
        (a, b)
        for one, other in zip(some, others, strict=False)
        for x, y in zip(one.scores, other.scores, strict=True)
        for a, b in zip(x.logprobs, y.logprobs, strict=True)
    )
    worst = max(abs(a - b) for a, b in pairs)
    if not math.isfinite(worst) or worst > 0.5:
        raise AssertionError(f"scores differ by {worst}")
    return worst


async def sleeping(folder: Path) -> Table:
    """What sleep gives back, what it costs, and whether the answers survive it."""
    before = memory_used()
    model = backend("vllm", folder, kv_cache=4.0, options={"enable_sleep_mode": True})
    async with started(model):
        driver = model.driver  # type: ignore[attr-defined]
        text = (await generate(model, ask(1))).text
        awake = memory_used()
        begun = time.monotonic()
        await driver.sleep()
        asleep, to_sleep = memory_used(), time.monotonic() - begun
        begun = time.monotonic()
        await driver.wake()
        to_wake = time.monotonic() - begun
        same = (await generate(model, ask(1))).text == text
    if not same:
        raise AssertionError("an engine that slept answers differently")
    row = [f"{before:.2f}", f"{awake:.2f}", f"{asleep:.2f}", f"{to_sleep:.2f}", f"{to_wake:.2f}"]
    return ["GiB before", "GiB awake", "GiB asleep", "s to sleep", "s to wake"], [row]


def two(folder: Path, place: Path, **fields: Any) -> tuple[Backend, Backend]:
    """Models that need an engine each."""
    other = place / "other"
    if not other.exists():
        shutil.copytree(folder, other)
    own = {"kv_cache": None, "engine": "process", **fields}
    return backend("vllm", folder, **own), backend("vllm", other, **own)


async def together(folder: Path, place: Path) -> Table:
    """Two models that fit together: shares of the memory, and both answer at once."""
    teacher, student = two(folder, place)
    async with started(teacher, student):
        told = [teacher.about(), student.about()]
        if any(about["turns"] for about in told):
            raise AssertionError("the plan lets them take turns, though they fit together")
        begun = time.monotonic()
        await asyncio.gather(*(generate((teacher, student)[i % 2], ask(i)) for i in range(128)))
        seconds, used = time.monotonic() - begun, memory_used()
    rooms = " and ".join(f"{about['kv_tokens']:,}" for about in told)
    return ["calls to both", "s", "tokens of KV cache", "GiB"], [
        ["128", f"{seconds:.1f}", rooms, f"{used:.1f}"]
    ]


async def turns(folder: Path, place: Path) -> Table:
    """Two models that do not fit together, asked at random: one turn per batch, not per call."""
    teacher, student = two(folder, place, memory=0.6)
    async with started(teacher, student):
        if not teacher.about()["turns"]:
            raise AssertionError("the plan does not let them take turns")
        scheduler = teacher._started.turns  # type: ignore[attr-defined]
        before, begun = scheduler.switches, time.monotonic()
        await asyncio.gather(*(generate((teacher, student)[i % 2], ask(i)) for i in range(128)))
        seconds, switches = time.monotonic() - begun, scheduler.switches - before
    return ["calls to both in turn", "turns", "s", "GiB at the end"], [
        ["128", str(switches), f"{seconds:.1f}", f"{memory_used():.2f}"]
    ]


async def speed(engine: str, size: Size, folder: Path) -> Table:
    """Tokens per second as calls in flight grow."""
    before = memory_used()
    begun = time.monotonic()
    if engine == "vllm":
        made = sized_folder(size, folder, weights=False)
        # Its real driver, with compilation and graphs.
        own = {"engine": "process", "eager": False, "kv_cache": None, "memory": 0.8}
        model = backend(engine, made, **own, options={"load_format": "dummy"})
    else:
        model = backend(engine, sized_folder(size, folder, weights=True))
    rows = []
    async with started(model):
        start = time.monotonic() - begun
        used = memory_used() - before
        await burst(model, [ask(i, max_tokens=8, temperature=1.0) for i in range(max(CONCURRENCY))])
        for calls in CONCURRENCY:
            requests = [ask(i, max_tokens=TOKENS, temperature=1.0) for i in range(calls)]
            begun = time.monotonic()
            replies = await asyncio.gather(*(generate(model, request) for request in requests))
            seconds = time.monotonic() - begun
            tokens = sum(reply.usage.completion_tokens for reply in replies)
            rows.append([str(calls), f"{tokens / seconds:,.0f}", f"{start:.0f}", f"{used:.1f}"])
    return ["calls at once", "tokens per second", "s to start", "GiB"], rows


def left(before: float) -> Table:
    """What the engines have left behind.

    Args:
        before: GiB in use when the check began.
    """
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    used, held = memory_used(), torch.cuda.memory_reserved() / GIB if on_gpu() else 0.0
    if used - before > CONTEXT_GIB:
        raise AssertionError(f"{used:.1f} GiB are in use, and {before:.1f} were before")
    head = ["GiB in use at the start", "GiB in use", "GiB held by torch in this process"]
    return head, [[f"{before:.2f}", f"{used:.2f}", f"{held:.2f}"]]
