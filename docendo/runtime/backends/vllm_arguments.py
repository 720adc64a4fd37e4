"""A model of the scenario as arguments of vLLM's engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docendo.runtime.backends.engine_plan import Placement
from docendo.runtime.backends.vllm_start import Device
from docendo.runtime.backends.weights import Adapter, Weights
from docendo.scenarios.local_model_spec import VllmModel

__all__ = ["engine_arguments", "engine_environment_of"]

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of LoRA adapters that vLLM makes room for."""
_GRAMMARS = {"backend": "guidance", "disable_any_whitespace": True}
"""Blanks between tokens of JSON are where weak models spend all of their tokens. Of the two that can leave
them out, xgrammar let control characters into strings, which no JSON may hold."""
_BATCHED_TOKENS = 2048
"""Least tokens of one step on a CPU, where prompts are never computed in parts."""
_CPU_BLOCK = 32
"""Tokens of a block of the KV cache on a CPU: the least that its attention takes. vLLM's own choice, 128,
hides most shared prefixes of short prompts."""


def engine_arguments(
    spec: VllmModel, weights: Weights, place: Placement, here: Device, adapters: Sequence[Adapter]
) -> dict[str, Any]:
    """Arguments of `vllm.EngineArgs`, by its names; `options` of the scenario come last and win.

    Args:
        spec: The model's part of the scenario.
        weights: Its files.
        place: What the plan gives it.
        here: The machine.
        adapters: All adapters that calls to this engine may name. On a CPU there is one place more, which
            stays empty: in a mixed batch vLLM applies the last place to calls without an adapter.
    """
    arguments: dict[str, Any] = {
        "model": str(weights.folder),
        "max_model_len": weights.context,
        "max_num_seqs": spec.max_sequences,
        "enable_prefix_caching": True,
        "tensor_parallel_size": spec.tensor_parallel,
        "quantization": spec.quantization,
        "use_tqdm_on_load": False,
        "structured_outputs_config": _GRAMMARS,
        "seed": 0,
    }
    if here.kind == "cpu":
        arguments |= _for_cpu(spec, weights)
    else:
        arguments |= {"dtype": spec.dtype, "enforce_eager": spec.eager}
    if place.share is not None:
        arguments["gpu_memory_utilization"] = round(place.share, 4)
    if place.kv_bytes is not None:
        arguments["kv_cache_memory_bytes"] = place.kv_bytes
    if place.turns:
        arguments["enable_sleep_mode"] = True
    if adapters:
        rank = max(adapter.rank for adapter in adapters)
        arguments |= {
            "enable_lora": True,
            "max_loras": len(adapters) + (here.kind == "cpu"),
            "max_lora_rank": next((r for r in _RANKS if r >= rank), _RANKS[-1]),
        }
    return {**arguments, **spec.options}


def _for_cpu(spec: VllmModel, weights: Weights) -> dict[str, Any]:
    """What a CPU engine needs to be quick to start, exact, and alive.

    bfloat16 is emulated where the CPU has no instructions for it, two to three times slower than float32. A
    prompt that is computed in parts kills the engine if its call has a seed ("CPU Generator does not use
    offset"), so a step must have room for the longest prompt. Compilation takes half a minute.
    """
    arguments: dict[str, Any] = {
        "dtype": "float32" if spec.dtype == "auto" else spec.dtype,
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(weights.context, _BATCHED_TOKENS),
        "block_size": _CPU_BLOCK,
    }
    if spec.engine == "thread":
        arguments["distributed_executor_backend"] = "uni"
    return arguments


def engine_environment_of(spec: VllmModel, here: Device) -> dict[str, str | None]:
    """Variables to set, or to take away, while the engine starts."""
    if here.kind == "cpu" and spec.kv_cache is not None:
        return {"VLLM_CPU_KVCACHE_SPACE": None}  # it would win over what the scenario says
    return {}
