"""Faults of vLLM's engines in words that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from docendo.runtime.backends.base import BackendFault

__all__ = ["call_fault", "dead_fault", "start_fault"]

_LONGEST = 400
"""Characters of vLLM's own words that are shown."""

_ADVICE = (
    (
        r"out of memory|OutOfMemory",
        "The GPU's memory is too small: set a lower `memory` (vLLM's share), a shorter `context` or fewer "
        "`max_sequences`, or use a smaller or quantised model. `nvidia-smi` shows who else uses the GPU.",
    ),
    (
        r"larger than the available KV cache|No available memory for the cache",
        "The KV cache does not hold one prompt of full length: set a shorter `context`, or give it more room "
        "with `memory` (GPU) or `kv_cache` (GiB).",
    ),
    (
        r"Free memory on device|on startup is less than",
        "Somebody else uses the GPU, see `nvidia-smi`: end it, or set a lower `memory`.",
    ),
    (
        r"[Aa]rchitectures? .*not supported|Transformers (?:does not recognize|modeling backend)",
        "This version of vLLM does not run this model: try a newer one, or `backend: transformers`.",
    ),
    (
        r"max_model_len|maximum model length|max_position_embeddings",
        "Set `context` to what the model was made for.",
    ),
    (
        r"LoRA|lora",
        "Was the adapter trained on this base, with layers that vLLM adapts? `target_modules` are in its "
        "adapter_config.json.",
    ),
    (
        r"No such file|[Ii]s not a valid model|does not appear to have|safetensor",
        "Is the model's folder complete? An interrupted download looks like this.",
    ),
)


def start_fault(name: str, why: str, arguments: Mapping[str, Any]) -> BackendFault:
    """An engine did not start.

    Args:
        name: The model.
        why: vLLM's words.
        arguments: What the engine was to be.
    """
    shown = ", ".join(
        f"{key}={arguments[key]}"
        for key in ("gpu_memory_utilization", "kv_cache_memory_bytes", "max_model_len", "max_num_seqs")
        if key in arguments
    )
    advice = next((text for pattern, text in _ADVICE if re.search(pattern, why, re.I)), "")
    return BackendFault(
        f"vLLM does not start `{name}` ({shown}): {_short(why)}",
        retry=False,
        fatal=True,
        suggestion=advice or "VLLM_LOGGING_LEVEL=INFO shows vLLM's own log.",
    )


def dead_fault(name: str, why: str) -> BackendFault:
    """An engine has stopped in mid-run. No call can succeed any more; the run can be resumed."""
    advice = next((text for pattern, text in _ADVICE[:1] if re.search(pattern, why, re.I)), "")
    return BackendFault(
        f"vLLM's engine of `{name}` has stopped: {_short(why)}",
        retry=False,
        fatal=True,
        suggestion=advice
        or "What was answered is kept: run again to resume. If its process was killed, the machine may have "
        "run out of memory.",
    )


def call_fault(name: str, why: str) -> BackendFault:
    """The engine does not take one call, and is well otherwise."""
    too_long = re.search(r"longer than the maximum model length|maximum context length", why)
    return BackendFault(
        f"vLLM's engine of `{name}` refuses the call: {_short(why)}",
        retry=False,
        kind="context" if too_long else "model",
    )


def _short(why: str) -> str:
    words = " ".join(why.split())
    return words if len(words) <= _LONGEST else words[:_LONGEST] + " ..."
