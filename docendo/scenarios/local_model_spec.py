"""Models whose weights are loaded on this machine: by transformers, or by vLLM in process.

What both have is who answers (weights, tokenizer, adapter, template, number format); the rest says how the
engine may use the machine and has no influence on what is asked.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from docendo.scenarios.model_base import TemplatedModel
from docendo.scenarios.spec import Flag, Number, Whole

__all__ = ["LocalModel", "TransformersModel", "VllmModel"]


class LocalModel(TemplatedModel):
    """Keys of a model whose weights are on this machine."""

    model: str = Field(description="Folder with the weights, or a name in the Hugging Face cache or hub.")
    revision: str | None = Field(None, description="Branch, tag or commit of a name in the hub.")
    adapter: str | None = Field(
        None, description="Folder of a LoRA adapter over `model`; the base is loaded once for all adapters."
    )
    chat_template: str | None = Field(
        None, description="A Jinja file in place of the tokenizer's chat template; `plain` for none at all."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of weights and activations; float32 on a CPU when `auto`."
    )
    context: Whole | None = Field(
        None,
        gt=0,
        description="Longest prompt and completion together, in tokens; the model's own when unset.",
    )


class TransformersModel(LocalModel):
    """A model that transformers runs in this process, on the CPU or one GPU."""

    backend: Literal["transformers"] = "transformers"
    device: str = Field("auto", description="`cpu`, `cuda`, `cuda:1`; the GPU if there is one when `auto`.")
    batch: Whole = Field(32, gt=0, description="Most sequences that are decoded together.")
    max_concurrent: Whole = Field(1024, gt=0, description="Most calls in flight to this model.")
    timeout: Number = Field(600.0, gt=0, description="Seconds that one attempt may take.")


class VllmModel(LocalModel):
    """A model that vLLM runs in process, on GPUs or on its CPU build."""

    backend: Literal["vllm"] = "vllm"
    engine: Literal["process", "thread"] = Field(
        "process",
        description="`process`: the engine has a process of its own, for batches. `thread`: it shares this "
        "one and starts in seconds, for tests and small models.",
    )
    memory: Number | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the GPU's memory; divided among the scenario's engines when unset.",
    )
    kv_cache: Number | None = Field(
        None, gt=0, description="GiB for the KV cache, in place of what `memory` leaves; always on a CPU."
    )
    max_sequences: Whole = Field(256, gt=0, description="Most sequences that are decoded together.")
    quantization: str | None = Field(None, description="As vLLM names it: `fp8_per_tensor`, `awq`, ...")
    tensor_parallel: Whole = Field(1, gt=0, description="GPUs that share one engine.")
    eager: Flag = Field(False, description="No compilation and no CUDA graphs: starts sooner, runs slower.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Further arguments of vLLM's engine, by its own names."
    )
    max_concurrent: Whole = Field(4096, gt=0, description="Most calls in flight to this model.")
    timeout: Number = Field(600.0, gt=0, description="Seconds that one attempt may take.")
