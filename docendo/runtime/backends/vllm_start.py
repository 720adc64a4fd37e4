"""Importing vLLM, and making an engine's configuration from plain arguments.

vLLM reads its environment when it is imported and again whenever an engine is configured, so both happen here
and nowhere else. What the user has set in the environment is left alone.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.engine_driver import EngineFacts
from docendo.runtime.backends.local_prompt import IMPORTING

__all__ = [
    "Device",
    "configure",
    "device",
    "engine_environment",
    "engine_facts",
    "hush",
    "import_vllm",
    "is_quiet",
]

_QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    # Its default is standard output, which belongs to the command line's answer.
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

_STARTING = threading.Lock()
"""Held while an engine is configured and started: the environment is one for the whole process."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where engines of this process run."""

    kind: str
    """`cuda` or `cpu`."""
    name: str
    total: int
    """Bytes of the GPU's memory, or of main memory."""
    free: int
    """Bytes of it that nobody uses now."""
    count: int = 1
    """GPUs of this kind."""


def device() -> Device:
    """The device of this machine.

    Raises:
        BackendFault: A GPU is here and torch cannot use it.
    """
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(0)
        name = torch.cuda.get_device_name(0)
        return Device(kind="cuda", name=name, total=total, free=free, count=torch.cuda.device_count())
    if torch.version.cuda is None and os.path.exists("/dev/nvidiactl"):
        raise BackendFault(
            f"this machine has an NVIDIA GPU, and torch {torch.__version__} is a build for the CPU",
            retry=False,
            fatal=True,
            suggestion="pip took torch from an index of CPU builds: install it again without that index, "
            "e.g. `pip install --force-reinstall --index-url https://download.pytorch.org/whl/cu130 torch`.",
        )
    pages, free_pages = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_AVPHYS_PAGES")
    size = os.sysconf("SC_PAGE_SIZE")
    return Device(kind="cpu", name=platform.machine(), total=pages * size, free=free_pages * size)


def import_vllm() -> Any:
    """The module, imported for the device at hand.

    Raises:
        BackendFault: It is not installed, or cannot be imported; always fatal.
    """
    if importlib.util.find_spec("vllm") is None:
        raise BackendFault(
            "vLLM is not installed",
            retry=False,
            fatal=True,
            suggestion="`pip install 'docendo[vllm]'` for NVIDIA GPUs; docs/models.md says how on a CPU. Or "
            "use `backend: transformers`, which runs anywhere.",
        )
    with IMPORTING:
        return _import()


def _import() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if device().kind == "cpu":
        # The sampler is compiled at the first call for log-probabilities otherwise: 20 s on a slow CPU.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own uses of deprecated parts of torch
        try:
            for part in ("vllm.engine.arg_utils", "vllm.lora.request", "vllm.sampling_params"):
                importlib.import_module(part)
            return importlib.import_module("vllm")
        except (ImportError, OSError, RuntimeError) as error:
            raise BackendFault(
                f"vLLM is installed and cannot be imported: {error}",
                retry=False,
                fatal=True,
                suggestion="It must match torch and CUDA. On a CPU, `pip uninstall torchvision torchaudio` "
                "removes the usual culprits.",
            ) from error


@contextmanager
def engine_environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """The environment with `changes` (`None`: without that variable), for the time of one engine's start."""
    with _STARTING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = {name: os.environ.get(name) for name in changes}
        _set(changes)
        try:
            yield
        finally:
            _set(before)


def is_quiet() -> bool:
    """Whether vLLM's log is out of sight: always, unless the user has set `VLLM_LOGGING_LEVEL`."""
    return os.environ.get("VLLM_LOGGING_LEVEL", _QUIET["VLLM_LOGGING_LEVEL"]) == _QUIET["VLLM_LOGGING_LEVEL"]


def hush() -> None:
    """Keep vLLM from printing errors in this process, which we report ourselves."""
    if is_quiet():
        logging.getLogger("vllm").setLevel(logging.CRITICAL)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def configure(arguments: Mapping[str, Any], *, asynchronous: bool) -> Any:
    """The `vllm.config.VllmConfig` of an engine.

    Args:
        arguments: Of `vllm.EngineArgs`, by its names.
        asynchronous: For `AsyncLLM`.

    Raises:
        BackendFault: vLLM knows no such argument; always fatal.
    """
    vllm = import_vllm()
    envs = vllm.envs
    if hasattr(envs, "disable_envs_cache"):
        envs.disable_envs_cache()  # an engine that ran before has frozen what it saw
    kind = vllm.engine.arg_utils.AsyncEngineArgs if asynchronous else vllm.engine.arg_utils.EngineArgs
    try:
        made = kind(**arguments)
    except TypeError as error:
        raise BackendFault(
            f"vLLM {vllm.__version__} does not take these arguments: {error}",
            retry=False,
            fatal=True,
            suggestion="Check the model's `options` against `vllm serve --help`, with `_` for `-`.",
        ) from None
    return made.create_engine_config()


def engine_facts(config: Any) -> EngineFacts:
    """What a started engine's configuration says of it."""
    cache, here = config.cache_config, device()
    return EngineFacts(
        version=import_vllm().__version__,
        device=here.name if here.kind == "cuda" else "cpu",
        dtype=str(config.model_config.dtype).removeprefix("torch."),
        kv_tokens=(cache.num_gpu_blocks or 0) * cache.block_size,
        context=config.model_config.max_model_len,
        sequences=config.scheduler_config.max_num_seqs,
        block=cache.block_size,
        mixes_logprobs=bool(getattr(config, "use_v2_model_runner", False)),
    )
