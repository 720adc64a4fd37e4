"""One set of weights in memory and the thread that owns it, shared by all models of a process that use it.

A base model is loaded once, however many roles and LoRA adapters answer with it: every adapter has a lane
of its own, and the thread steps them in turn. The last backend that leaves frees the memory.
"""

from __future__ import annotations

import gc
import re
import threading
import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.transformers_cache import SlotCache
from docendo.runtime.backends.transformers_lane import Job, Lane, OpenJob
from docendo.runtime.backends.weights import Adapter, Weights

__all__ = ["Engine", "EngineFacts", "OpenJob", "acquire"]

_USABLE = 0.4
"""Part of the free memory for keys and values. Growing them takes twice their size for a moment."""
_PREFIXES = 0.25
"""Part of the tokens that fit which the prefix store keeps."""
_ATTENDING = {"full_attention", "sliding_attention", "chunked_attention"}

_engines: dict[tuple[str, str, str], Engine] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What an engine turned out to be."""

    about: dict[str, Any]
    tokens: int
    """Tokens whose keys and values fit into memory, those of the prefix store not counted."""
    vocabulary: int
    ends: frozenset[int]
    """Tokens that end a completion."""


def acquire(weights: Weights, *, dtype: str, device: str, slots: int) -> Engine:
    """The engine of these weights: a new one, or the one that another model has started.

    Every call is paired with one of `Engine.release`.
    """
    where = _device(device)
    key = (weights.digest, dtype, where)
    with _lock:
        engine = _engines.get(key)
        if engine is None:
            engine = _engines[key] = Engine(key, weights, dtype, where)
        engine.users += 1
        engine.slots = max(engine.slots, slots)
    return engine


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


class Engine:
    """Weights and their thread. Made by `acquire` only."""

    def __init__(self, key: tuple[str, str, str], weights: Weights, dtype: str, device: str) -> None:
        self._key = key
        self._weights = weights
        self._dtype = dtype
        self._device = device
        self.users = 0
        self.slots = 1
        self.ready: Future[EngineFacts] = Future()
        """What came of loading; its exception is a `BackendFault`."""
        self._inbox: list[tuple[Adapter | None, Job]] = []
        self._wake = threading.Condition()
        self._closing = False
        self._dead: BackendFault | None = None
        self._model: Any = None
        self._adapted: Any = None
        self._lanes: dict[str | None, Lane] = {}
        self._thread = threading.Thread(target=self._work, name=f"transformers {weights.name}", daemon=True)
        self._thread.start()

    def submit(self, job: Job, adapter: Adapter | None) -> None:
        """Hand a job to the thread.

        Raises:
            BackendFault: The engine has stopped.
        """
        with self._wake:
            if self._dead is not None:
                raise self._dead
            self._inbox.append((adapter, job))
            self._wake.notify()

    def wake(self) -> None:
        """Let the thread see that a job was cancelled."""
        with self._wake:
            self._wake.notify()

    @property
    def steps(self) -> int:
        """Forward passes that drew tokens for a batch, so far."""
        return sum(lane.steps for lane in list(self._lanes.values()))

    def release(self) -> None:
        """One user less. The last one waits until the memory is free; do not call it in the event loop."""
        with _lock:
            self.users -= 1
            if self.users:
                return
            self._withdraw()
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    # --- in the thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with torch.inference_mode():
                self.ready.set_result(self._load())
                self._serve()
        except BackendFault as fault:
            self._stop(fault)
        except Exception as error:
            self._stop(_broken(self._weights, error))
        else:
            self._stop(BackendFault("the model was closed", retry=False))
        finally:
            self._free()

    def _serve(self) -> None:
        while True:
            with self._wake:
                while not (self._inbox or self._closing or any(lane.busy for lane in self._lanes.values())):
                    self._wake.wait()
                if self._closing:
                    return
                arrived, self._inbox = self._inbox, []
            for adapter, job in arrived:
                self._take(adapter, job)
            for name, lane in self._lanes.items():
                if lane.busy:
                    self._turn_to(name)
                    self._step(lane)

    def _take(self, adapter: Adapter | None, job: Job) -> None:
        if not isinstance(job, OpenJob):
            self._lanes[adapter.digest if adapter else None].add(job)
            return
        try:
            self._open(adapter)
        except BackendFault as fault:
            job.done(fault)
        else:
            job.done(job)

    def _step(self, lane: Lane) -> None:
        try:
            lane.step()
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            lane.shrink(_too_large(self._weights, error))
        else:
            return
        # Outside the handler, whose traceback holds the step's tensors.
        _collect()

    def _stop(self, fault: BackendFault) -> None:
        """Nothing is answered any more: everybody who waits is told why, and who comes later starts anew."""
        with _lock:
            self._withdraw()
        with self._wake:
            self._dead = fault
            left, self._inbox = self._inbox, []
        if not self.ready.done():
            self.ready.set_exception(fault)
        for _, job in left:
            job.done(fault)
        for lane in self._lanes.values():
            lane.fail(fault)

    def _withdraw(self) -> None:
        if _engines.get(self._key) is self:
            del _engines[self._key]

    def _free(self) -> None:
        self._lanes.clear()
        self._model = self._adapted = None
        _collect()

    # --- weights ----------------------------------------------------------------------------------------

    def _load(self) -> EngineFacts:
        import transformers

        transformers.utils.logging.disable_progress_bar()
        config = transformers.AutoConfig.from_pretrained(self._weights.folder, local_files_only=True)
        strange = set(getattr(config.get_text_config(), "layer_types", None) or ()) - _ATTENDING
        if strange:
            raise _unfit(
                self._weights, f"it has layers of another kind than attention ({', '.join(strange)})"
            )
        try:
            self._model = transformers.AutoModelForCausalLM.from_pretrained(
                self._weights.folder, local_files_only=True, use_safetensors=True, dtype=self._number_format()
            )
            self._model.to(self._device).eval()
            tokens = self._capacity(cost := self._cost())
        except (MemoryError, RuntimeError) as error:
            if _out_of_memory(error):
                raise _no_room(self._weights, self._device, error) from None
            raise
        self._kept = int(tokens * _PREFIXES)
        self._fits = tokens - self._kept
        about = {
            "engine": f"transformers {transformers.__version__}",
            "torch": str(torch.__version__),
            "device": self._device if self._device == "cpu" else torch.cuda.get_device_name(self._device),
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "attention": str(getattr(config, "_attn_implementation", None) or "sdpa"),
            "parameters": sum(p.numel() for p in self._model.parameters()),
            "threads": torch.get_num_threads(),
            "kv_bytes_per_token": cost,
        }
        vocabulary = int(self._model.get_output_embeddings().weight.shape[0])
        return EngineFacts(about=about, tokens=self._fits, vocabulary=vocabulary, ends=self._ends())

    def _number_format(self) -> Any:
        if self._dtype != "auto":
            return getattr(torch, self._dtype)
        return torch.float32 if self._device == "cpu" else "auto"

    def _cost(self) -> int:
        """Bytes of one token's keys and values, found by running the model once."""
        cache = SlotCache()
        ids = torch.zeros((1, 2), dtype=torch.long, device=self._device)
        self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return int(sum(t.numel() * t.element_size() for pair in cache.pairs() for t in pair)) // 2

    def _capacity(self, cost: int) -> int:
        """Tokens whose keys and values fit beside the weights."""
        on_gpu = self._device.startswith("cuda")
        free = torch.cuda.mem_get_info(self._device)[0] if on_gpu else _free_memory()
        return max(int(free * _USABLE) // cost, 1)

    def _ends(self) -> frozenset[int]:
        config, generation = self._model.config.get_text_config(), self._model.generation_config
        found: set[int] = set()
        for ids in (config.eos_token_id, generation.eos_token_id):
            found.update([ids] if isinstance(ids, int) else ids or ())
        return frozenset(found)

    # --- adapters ---------------------------------------------------------------------------------------

    def _open(self, adapter: Adapter | None) -> None:
        """Have a lane for this adapter. All lanes share the memory in equal parts."""
        name = adapter.digest if adapter else None
        if name not in self._lanes:
            if adapter is not None:
                self._adapt(adapter)
            self._lanes[name] = Lane(self._model, self._device)
        lanes = len(self._lanes)
        for lane in self._lanes.values():
            lane.limit(slots=self.slots, tokens=self._fits // lanes, prefix_tokens=self._kept // lanes)

    def _adapt(self, adapter: Adapter) -> None:
        """Load an adapter beside those that are there. One that does not fit is taken out again."""
        try:
            from peft import PeftConfig, PeftModel
        except ImportError:
            raise BackendFault(
                "an adapter needs peft, which is not installed",
                retry=False,
                fatal=True,
                suggestion="pip install 'docendo[transformers]'",
            ) from None
        name, folder = adapter.digest, str(adapter.folder)
        bare = None
        if self._adapted is None:
            bare = [
                (parent, n, child) for parent in self._model.modules() for n, child in parent.named_children()
            ]
        try:
            if self._adapted is None:
                self._adapted = PeftModel(self._model, PeftConfig.from_pretrained(folder), name)
            result = self._adapted.load_adapter(folder, name, torch_device=self._device)
            _require_all(result.missing_keys, result.unexpected_keys)
        except Exception as error:  # peft and safetensors raise whatever their parsers do.
            self._remove(name, bare)
            if _out_of_memory(error):
                raise _no_room_for(adapter, error) from None
            raise BackendFault(
                f"the adapter in {folder} does not fit `{self._weights.name}`: {_first(error)}",
                retry=False,
                fatal=True,
                suggestion="Name the base model that it was trained on. Is the adapter's folder complete?",
            ) from None
        self._adapted.eval()

    def _remove(self, name: str, bare: list[tuple[Any, str, Any]] | None) -> None:
        """Take out an adapter that was loaded in part: what it has would act on everybody's answers.

        Args:
            name: The adapter's.
            bare: The base's modules before its first adapter, each with its parent and its name there.
        """
        if bare is not None:
            for parent, child, module in bare:
                setattr(parent, child, module)
            vars(self._model).pop("peft_config", None)
            self._adapted = None
        elif name in self._adapted.peft_config:
            self._adapted.delete_adapter(name)

    def _turn_to(self, name: str | None) -> None:
        """Let this adapter, or none, act on the shared weights."""
        if self._adapted is None:
            return
        if name is None:
            self._adapted.base_model.disable_adapter_layers()
        else:
            self._adapted.base_model.enable_adapter_layers()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._adapted.set_adapter(name)


# --- faults ---------------------------------------------------------------------------------------------


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


def _first(error: BaseException) -> str:
    """The first lines of a library's message."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _free_memory() -> int:
    """Bytes of main memory that a program may still take, those of the file cache included."""
    facts = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s*(\d+) kB", facts.read_text("ascii")) if facts.exists() else None
    return int(found[1]) * 1024 if found else 4 << 30


def _collect() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _broken(weights: Weights, error: Exception) -> BackendFault:
    return BackendFault(
        f"the model `{weights.name}` cannot be run by transformers: {type(error).__name__}: {_first(error)}",
        retry=False,
        fatal=True,
        suggestion=f"Is {weights.folder} complete, and its architecture one of transformers' own?",
    )


def _unfit(weights: Weights, why: str) -> BackendFault:
    return BackendFault(
        f"the model `{weights.name}` cannot be run by this backend: {why}",
        retry=False,
        fatal=True,
        suggestion="Use `backend: vllm`, or a server.",
    )


def _no_room(weights: Weights, device: str, error: Exception) -> BackendFault:
    return BackendFault(
        f"the weights of `{weights.name}` ({weights.size / 2**30:.1f} GiB) do not fit into the memory of "
        f"{device}: {_first(error)}",
        retry=False,
        fatal=True,
        suggestion="Take a smaller model or `dtype: bfloat16`, or free memory that other programs hold.",
    )


def _require_all(missing: list[str], unexpected: list[str]) -> None:
    """Refuse an adapter of which only a part was loaded; peft itself loads what it can.

    Raises:
        ValueError: Names a module.
    """
    for what, keys in (("no weights for", missing), ("weights for modules that are not there:", unexpected)):
        if keys:
            raise ValueError(f"it has {what} {keys[0]} ({len(keys)} in all)")


def _no_room_for(adapter: Adapter, error: Exception) -> BackendFault:
    return BackendFault(
        f"memory ran out while the adapter in {adapter.folder} was loaded: {_first(error)}",
        retry=False,
        fatal=True,
        suggestion="Take a smaller model or fewer adapters, or free memory that other programs hold.",
    )


def _too_large(weights: Weights, error: Exception) -> BackendFault:
    return BackendFault(
        f"memory ran out with a single sequence of `{weights.name}`: {_first(error)}",
        retry=False,
        suggestion="Lower `context` or `max_tokens`, or take a smaller model.",
    )
