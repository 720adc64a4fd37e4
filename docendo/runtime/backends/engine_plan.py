"""Which engines there will be, and what of the GPU each gets. Decided once, before anything is loaded.

Engines that fit together live together, each with a share of the memory: what it needs, and a part of what is
left, which becomes its KV cache. Engines that do not fit together take turns: all are loaded, one is awake.
One that does not even fit alone is an error. On a CPU memory is not reserved: every engine has its KV cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from docendo.runtime.backends.base import BackendFault

__all__ = ["GIB", "EngineWish", "Placement", "kv_bytes_per_token", "plan_engines"]

GIB = 1 << 30

_USABLE = 0.92
"""Share of a GPU's memory that engines may have together; the rest is the driver's and torch's."""
_OVERHEAD = 2 * GIB
"""Bytes that an engine takes beside weights and KV cache: CUDA context, activations, graphs."""
_LEAST_SEQUENCES = 4
"""Full contexts that the KV cache of an engine should hold at least: with less there is no batch."""
_CPU_KV = 1 * GIB
"""Bytes of an engine's KV cache on a CPU, where the scenario says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineWish:
    """One engine that the scenario needs."""

    key: str
    """Its identity; the name of the model in messages."""
    weights: int
    """Bytes of the weights as they are loaded."""
    kv_token: int
    """Bytes of the KV cache for one token."""
    context: int
    """Longest prompt with its completion, in tokens."""
    gpus: int = 1
    """GPUs that share it."""
    share: float | None = None
    """Of each GPU's memory, where the scenario says it."""
    kv_cache: float | None = None
    """GiB for the KV cache, where the scenario says it."""

    @property
    def need(self) -> int:
        """Bytes on each GPU without which it cannot work."""
        least = int(self.kv_cache * GIB) if self.kv_cache else self.kv_token * self.context * _LEAST_SEQUENCES
        return (self.weights + least) // self.gpus + _OVERHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What one engine gets."""

    key: str
    share: float | None
    """Of each GPU's memory, weights included; `None` on a CPU."""
    kv_bytes: int | None
    """Bytes of the KV cache where they are fixed; otherwise what `share` leaves."""
    turns: bool = False
    """It takes turns with the other engines: it sleeps while another one works."""


def plan_engines(wishes: Sequence[EngineWish], total: int | None, free: int) -> list[Placement]:
    """Place engines on the GPUs of one machine. GPUs are alike, and every engine starts at the first one.

    Args:
        wishes: The engines, in the order of the scenario.
        total: Bytes of one GPU's memory; `None` on a CPU.
        free: Bytes of it that nobody uses now.

    Returns:
        One placement per wish, in order. Shares of engines that live together add up to at most what is
        free; of engines that take turns each is at most that.

    Raises:
        BackendFault: An engine does not fit, even alone; always fatal.
    """
    fixed = [int(wish.kv_cache * GIB) if wish.kv_cache else None for wish in wishes]
    if total is None:
        return [
            Placement(key=wish.key, share=None, kv_bytes=kv or _CPU_KV)
            for wish, kv in zip(wishes, fixed, strict=True)
        ]
    room = min(int(total * _USABLE), free)
    for wish in wishes:
        if wish.need > room and wish.share is None:
            raise _too_big(wish, room)
    taken = [int(wish.share * total) if wish.share is not None else wish.need for wish in wishes]
    if sum(taken) <= room:
        sharing = sum(need for wish, need in zip(wishes, taken, strict=True) if wish.share is None)
        spare = room - sum(taken)
        bytes_of = [
            need if wish.share is not None else need + spare * need // sharing
            for wish, need in zip(wishes, taken, strict=True)
        ]
        turns = False
    else:
        bytes_of = [min(taken[i], room) if wish.share is not None else room for i, wish in enumerate(wishes)]
        turns = True
    return [
        Placement(key=wish.key, share=size / total, kv_bytes=kv, turns=turns)
        for wish, size, kv in zip(wishes, bytes_of, fixed, strict=True)
    ]


def kv_bytes_per_token(config: dict[str, object], bytes_per_number: int) -> int:
    """Bytes that one token takes in the KV cache of a model.

    Args:
        config: The model's `config.json`.
        bytes_per_number: Of the format that the cache is kept in, 2 for bfloat16.

    Returns:
        Two (keys and values) x layers x key-value heads x head's width x bytes, or an estimate from the
        hidden size where the configuration has other names for them.
    """
    nested = config.get("text_config")
    known = {**config, **nested} if isinstance(nested, dict) else config

    def number(*names: str, otherwise: int) -> int:
        return next((value for name in names if isinstance(value := known.get(name), int)), otherwise)

    layers = number("num_hidden_layers", "n_layer", otherwise=32)
    hidden = number("hidden_size", "n_embd", otherwise=4096)
    heads = number("num_attention_heads", "n_head", otherwise=32)
    kv_heads = number("num_key_value_heads", otherwise=heads)
    width = number("head_dim", otherwise=max(1, hidden // heads))
    return 2 * layers * kv_heads * width * bytes_per_number


def _too_big(wish: EngineWish, room: int) -> BackendFault:
    return BackendFault(
        f"`{wish.key}` needs {wish.need / GIB:.1f} GiB of GPU memory (weights {wish.weights / GIB:.1f}, and "
        f"a KV cache for {_LEAST_SEQUENCES} x {wish.context} tokens), and {room / GIB:.1f} are free",
        retry=False,
        fatal=True,
        suggestion="Set a shorter `context`, use a smaller or quantised model, or spread it over GPUs with "
        "`tensor_parallel`. `nvidia-smi` shows who else uses the GPU.",
    )
