"""Which engines there will be, and what of the GPU each gets. Decided once, before anything is loaded.

Two sizes of a KV cache decide. One full context is the least: with less vLLM does not start, so an engine
that has no room for it, even alone, is an error. A batch is what makes an engine quick: four full contexts,
or 64 Ki tokens where contexts are so long that few sequences fill one, but never less than one context.

Engines whose batches fit together live together, each with a share of the memory: what its batch needs, and a
part of what is left. Otherwise they take turns: all are loaded, one is awake and has the whole GPU. A turn
costs seconds and is shared by all calls that wait, while an engine without a batch is slow at every token. On
a CPU memory is not reserved: every engine has its KV cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from docendo.runtime.backends.base import BackendFault

__all__ = ["GIB", "EngineWish", "Placement", "kv_bytes_per_token", "loaded_bytes", "plan_engines"]

GIB = 1 << 30

_USABLE = 0.92
"""Share of a GPU's memory that engines may have together; the rest is the driver's and torch's."""
_OVERHEAD = 2 * GIB
"""Bytes that an engine takes beside weights and KV cache: CUDA context, activations, graphs."""
_BATCH_CONTEXTS = 4
"""Full contexts that make a batch."""
_BATCH_TOKENS = 1 << 16
"""Tokens that make a batch however long contexts may be: 32 sequences of 2,000 tokens."""
_CPU_KV = 1 * GIB
"""Bytes of an engine's KV cache on a CPU, where the scenario says nothing."""
_STEP = 1024
"""Tokens that a context is advised in."""
_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number of weights that are not quantised, by its name in `config.json`."""
_EIGHT_BITS = {"fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "mxfp8"}
"""What vLLM calls quantising to 8 bits while weights are loaded; `fp8` in versions before 0.32."""


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
    def least(self) -> int:
        """Bytes on each GPU without which it does not start: its KV cache holds one full context."""
        return self._size(self.context)

    @property
    def need(self) -> int:
        """Bytes on each GPU with which it can live beside others: its KV cache holds a batch."""
        return self._size(max(self.context, min(_BATCH_CONTEXTS * self.context, _BATCH_TOKENS)))

    def _size(self, tokens: int) -> int:
        """Bytes on each GPU with a KV cache for so many tokens, unless the scenario says how large it is."""
        cache = int(self.kv_cache * GIB) if self.kv_cache else self.kv_token * tokens
        return (self.weights + cache) // self.gpus + _OVERHEAD


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

    A share that the scenario names is taken as it is, since sizes are estimates, and there must be a way past
    one that is wrong. Where the share is too small, vLLM says so when it starts.

    Args:
        wishes: The engines, in the order of the scenario.
        total: Bytes of one GPU's memory; `None` on a CPU.
        free: Bytes of it that nobody uses now.

    Returns:
        One placement per wish, in order. Shares of engines that live together add up to at most what is
        free; of engines that take turns, and of one that is alone, each is at most that.

    Raises:
        BackendFault: An engine has no room for one full context, even alone; always fatal.
    """
    fixed = [int(wish.kv_cache * GIB) if wish.kv_cache else None for wish in wishes]
    if total is None:
        return [
            Placement(key=wish.key, share=None, kv_bytes=kv or _CPU_KV)
            for wish, kv in zip(wishes, fixed, strict=True)
        ]
    room = min(int(total * _USABLE), free)
    for wish in wishes:
        if wish.least > room and wish.share is None:
            raise _too_big(wish, room)
    taken = [min(int(wish.share * total), free) if wish.share is not None else wish.need for wish in wishes]
    turns = len(wishes) > 1 and sum(taken) > room
    sharing = sum(need for wish, need in zip(wishes, taken, strict=True) if wish.share is None)
    spare = room - sum(taken)  # negative for one that is alone and has less than a batch
    bytes_of = [
        size if wish.share is not None else room if turns else size + spare * size // sharing
        for wish, size in zip(wishes, taken, strict=True)
    ]
    return [
        Placement(key=wish.key, share=size / total, kv_bytes=kv, turns=turns)
        for wish, size, kv in zip(wishes, bytes_of, fixed, strict=True)
    ]


def kv_bytes_per_token(config: Mapping[str, object], bytes_per_number: int) -> int:
    """Bytes that one token takes in the KV cache of a model.

    Args:
        config: The model's `config.json`.
        bytes_per_number: Of the format that the cache is kept in, 2 for bfloat16.

    Returns:
        Two (keys and values) x layers x key-value heads x head's width x bytes, or an estimate from the
        hidden size where the configuration has other names for them.
    """
    layers = _number(config, "num_hidden_layers", "n_layer", otherwise=32)
    hidden = _number(config, "hidden_size", "n_embd", otherwise=4096)
    heads = _number(config, "num_attention_heads", "n_head", otherwise=32)
    kv_heads = _number(config, "num_key_value_heads", otherwise=heads)
    width = _number(config, "head_dim", otherwise=max(1, hidden // heads))
    return 2 * layers * kv_heads * width * bytes_per_number


def loaded_bytes(
    stored: int, config: Mapping[str, object], bytes_per_number: int, quantization: str | None
) -> int:
    """Bytes that weights take on a GPU, which are those of their files unless loading changes the format.

    Args:
        stored: Bytes of the weight files.
        config: The model's `config.json`.
        bytes_per_number: Of the format that the scenario asks for, 2 for bfloat16.
        quantization: As vLLM names it. Where it quantises to 8 bits while it loads, embeddings and the
            output's matrix keep their format. Others are taken for what the files are in already.

    Returns:
        `stored` for weights that are quantised already, and where the configuration names no format.
    """
    known = _text_config(config)
    saved = _BYTES.get(str(known.get("dtype") or known.get("torch_dtype")))
    if saved is None or known.get("quantization_config") or known.get("compression_config"):
        return stored
    loaded = stored * bytes_per_number // saved
    if quantization not in _EIGHT_BITS:
        return loaded
    words = _number(config, "vocab_size", otherwise=0)
    width = _number(config, "hidden_size", "n_embd", otherwise=0)
    matrices = 1 if known.get("tie_word_embeddings") else 2
    kept = min(loaded, matrices * words * width * bytes_per_number)
    return kept + (loaded - kept) // bytes_per_number


def _text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    """What is said of the language model; beside it where a model sees or hears as well."""
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, dict) else config


def _number(config: Mapping[str, object], *names: str, otherwise: int) -> int:
    known = _text_config(config)
    return next((value for name in names if isinstance(value := known.get(name), int)), otherwise)


def _too_big(wish: EngineWish, room: int) -> BackendFault:
    weights = wish.weights / wish.gpus
    cache = wish.least - _OVERHEAD - weights
    what = "" if wish.kv_cache else f" for one context of {wish.context} tokens"
    where = "of GPU memory" if wish.gpus == 1 else f"on each of {wish.gpus} GPUs"
    return BackendFault(
        f"`{wish.key}` needs {wish.least / GIB:.1f} GiB {where} (weights {weights / GIB:.1f}, a KV "
        f"cache{what} {cache / GIB:.1f}, and {_OVERHEAD / GIB:.1f} for CUDA), and {room / GIB:.1f} are free",
        retry=False,
        fatal=True,
        suggestion=f"{_smaller_cache(wish, room)}A smaller or quantised model needs less, and "
        "`tensor_parallel` spreads it over GPUs. `nvidia-smi` shows who else uses the GPU. These sizes are "
        "estimates: with a share, such as `memory: 0.9`, vLLM is started all the same.",
    )


def _smaller_cache(wish: EngineWish, room: int) -> str:
    """The setting with which it would fit, if there is one."""
    left = (room - _OVERHEAD) * wish.gpus - wish.weights
    if wish.kv_cache:
        size = left * 10 // GIB / 10
        return f"Set `kv_cache: {size}` or less. " if size > 0 else ""
    context = left // wish.kv_token // _STEP * _STEP
    return f"Set `context: {context}` or less. " if context > 0 else ""
