"""Weights on this machine: where they are, what they are called everywhere, and what their files say.

A model is known by what its files hold, not by where they lie: the same weights in another folder, or on
another machine, answer from the same journal. Every byte counts, since a model in which one matrix was edited
is another model. To read them all takes seconds to minutes, so it is done when an identity is asked for, not
to find a model. What was read is remembered, in `docendo/weights.json` of the user's cache folder, for as
long as the file does not change. Nothing is loaded and nothing is downloaded here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from docendo.errors import UsageError, Where
from docendo.scenarios.environment import resolve_env
from docendo.scenarios.local_model_spec import LocalModel

__all__ = ["Adapter", "Weights", "resolve"]

_DESCRIBING = {".json", ".jinja", ".model", ".txt", ".tiktoken"}
"""Configuration, tokenizer and template."""
_PICKLED = {".bin", ".pt", ".pth", ".ckpt"}
_INDEX = "model.safetensors.index.json"
_NO_PART = {_INDEX, "pytorch_model.bin.index.json", "trainer_state.json"}
"""Files that describe how weights are stored or came about, not what they are."""
_LARGE = 1 << 21
"""Bytes of the largest file that is read anew every time."""
_SETTLED = 2.0
"""Seconds without a change after which a file is remembered: two changes within a clock's step look alike."""
_LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")
_NO_LIMIT = 1 << 20
"""Context of a model that names none."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A LoRA adapter over a base model."""

    folder: Path
    rank: int
    config: dict[str, Any]
    """`adapter_config.json`, without where the base lay when the adapter was trained."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over configuration and weights, every byte; takes as long as reading them.

        Raises:
            UsageError: A file cannot be read.
        """
        text = orjson.dumps(self.config, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text + _digest(_safetensors(self.folder)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One model's files."""

    name: str
    """As the scenario has it, for messages."""
    folder: Path
    adapter: Adapter | None
    template: str | None
    """The chat template in Jinja; `None` for plain text."""
    variables: dict[str, Any] = field(default_factory=dict)
    """What the template is told beside the messages."""
    size: int
    """Bytes of the weight files that are loaded, without the adapter's."""
    config: dict[str, Any]
    """`config.json`."""
    context: int
    """Longest prompt with its completion, in tokens."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over configuration, tokenizer and weights, every byte; takes as long as reading them.

        All weight files count: engines differ in which they load where a folder has them in two layouts.

        Raises:
            UsageError: A file cannot be read.
        """
        return _digest([*_describing_files(self.folder), *_safetensors(self.folder)])

    def unread(self) -> dict[str, int]:
        """Large files that `digest` has to read, as they are not remembered, and their bytes."""
        with _READING:
            known = {**_read_memory(), **_REMEMBERED}
        files = _safetensors(self.folder) + (_safetensors(self.adapter.folder) if self.adapter else [])
        sizes = {file.resolve(): file.stat().st_size for file in files if file.is_file()}
        large = [file for file, size in sizes.items() if size > _LARGE]
        return {str(file): sizes[file] for file in _unknown(large, known)}

    def identity(self, backend: str, **settings: Any) -> str:
        """Who answers, as JSON: what a backend's `fingerprint` is. May take as long as reading all files.

        Args:
            backend: The kind of backend.
            settings: What else changes answers, e.g. the number format. Not the engine's version.

        Raises:
            UsageError: A file cannot be read.
        """
        template = hashlib.sha256(self.template.encode()).hexdigest() if self.template is not None else None
        content = {
            "backend": backend,
            "weights": self.digest,
            "adapter": self.adapter.digest if self.adapter else None,
            "template": template,
            **({"chat_template_kwargs": self.variables} if self.variables else {}),
            **settings,
        }
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()


def resolve(spec: LocalModel, base: Path) -> Weights:
    """Find the files of a model and read what describes them. The weights are not read.

    Args:
        spec: The model's part of the scenario.
        base: Folder of the scenario file, that relative paths start from.

    Raises:
        UsageError: Weights, adapter or template are not here or cannot be read; the message has the path.
    """
    name = resolve_env(spec.model)
    folder = _folder_of(name, spec.revision, base)
    config = _json_of(folder / "config.json", "a model's folder holds `config.json` beside its weights")
    files = _weight_files(folder, f"the folder of model `{name}`")
    return Weights(
        name=name,
        folder=folder,
        adapter=_adapter(base / Path(resolve_env(spec.adapter)).expanduser()) if spec.adapter else None,
        template=_template(spec.chat_template, name, folder, base),
        variables=spec.chat_template_kwargs,
        size=sum(file.stat().st_size for file in files),
        config=config,
        context=_context(spec.context, name, config),
    )


def _folder_of(name: str, revision: str | None, base: Path) -> Path:
    folder = base / Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name:
        raise UsageError(
            f"there is no folder `{name}`",
            suggestion="The path of a model is absolute, or relative to the scenario file.",
            where=Where(file=str(folder)),
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.constants import HF_HUB_CACHE
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise UsageError(
            f"`{name}` is no folder, and names of the hub need Hugging Face's library",
            suggestion="pip install 'docendo[transformers]'",
        ) from None
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except HFValidationError:
        raise UsageError(f"`{name}` is neither a folder nor a model's name in the hub") from None
    except LocalEntryNotFoundError:
        at = f" --revision {revision}" if revision else ""
        raise UsageError(
            f"`{name}` is neither a folder nor in the Hugging Face cache {HF_HUB_CACHE}",
            suggestion=f"Fetch it first: hf download {name}{at}. A run never downloads by itself.",
        ) from None


def _adapter(folder: Path) -> Adapter:
    config = _json_of(folder / "adapter_config.json", "a LoRA adapter's folder holds `adapter_config.json`")
    _weight_files(folder, "the adapter's folder")
    rank = config.get("r")
    if config.get("peft_type") != "LORA" or not isinstance(rank, int):
        raise UsageError(
            f"the adapter's folder holds an adapter of type {config.get('peft_type')}",
            suggestion="`adapter` takes a LoRA adapter as `peft` saves it.",
            where=Where(file=str(folder)),
        )
    # Where the base lay when the adapter was trained is no property of the adapter.
    about = {
        k: v for k, v in config.items() if k not in {"base_model_name_or_path", "revision", "auto_mapping"}
    }
    ranks = [rank, *(config.get("rank_pattern") or {}).values()]
    return Adapter(folder=folder.resolve(), rank=max(ranks), config=about)


def _template(chosen: str | None, name: str, folder: Path, base: Path) -> str | None:
    """The chat template's text: the file that the scenario names, else the tokenizer's own."""
    if chosen == "plain":
        return None
    if chosen is not None:
        file = base / Path(resolve_env(chosen)).expanduser()
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the chat template cannot be read: {getattr(error, 'strerror', None) or error}",
                suggestion="`chat_template` is a Jinja file, relative to the scenario file, or `plain`.",
                where=Where(file=str(file)),
            ) from None
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text("utf-8")
    for file in (folder / "chat_template.json", folder / "tokenizer_config.json"):
        found = _json_of(file).get("chat_template") if file.is_file() else None
        if isinstance(found, list):  # Several by name, of which the chat is `default`.
            found = {one["name"]: one["template"] for one in found}.get("default")
        if found:
            return str(found)
    raise UsageError(
        f"the tokenizer of `{name}` has no chat template",
        suggestion="Name a Jinja file as `chat_template`, or `chat_template: plain` for a base model, which "
        "then reads the messages one after the other.",
        where=Where(file=str(folder)),
    )


def _context(wanted: int | None, name: str, config: dict[str, Any]) -> int:
    nested = config.get("text_config")
    known = {**config, **(nested if isinstance(nested, dict) else {})}
    own = next((known[key] for key in _LENGTHS if isinstance(known.get(key), int)), _NO_LIMIT)
    if wanted and wanted > own:
        raise UsageError(
            f"`context` is {wanted} tokens, and `{name}` knows no more than {own}",
            suggestion=f"Set `context` to at most {own}, or leave it out.",
        )
    return wanted or own


# --- files ----------------------------------------------------------------------------------------------


def _describing_files(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.iterdir()) if f.suffix in _DESCRIBING and f.name not in _NO_PART]


def _safetensors(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _weight_files(folder: Path, what: str) -> list[Path]:
    """The weights that are loaded from a folder: one layout of them, where it has two (as Mistral's have).

    Raises:
        UsageError: There are none, or not all. Files that Python would unpickle, and so may run code, are
            never loaded.
    """
    found = _safetensors(folder)
    index = folder / _INDEX
    named = _json_of(index).get("weight_map") if index.is_file() else None
    if isinstance(named, dict):
        parts = sorted({folder / str(name) for name in named.values()})
        for part in parts:
            if not part.is_file():
                raise UsageError(
                    f"{what} lacks `{part.name}`, which its index names",
                    suggestion="Was the download interrupted? Fetch the model again.",
                    where=Where(file=str(index)),
                )
        return parts
    if folder / "model.safetensors" in found:
        return [folder / "model.safetensors"]
    if found:
        return found
    if any(file.suffix in _PICKLED for file in folder.iterdir()):
        raise UsageError(
            f"{what} holds pickled weights only, and loading a pickle may run any code",
            suggestion="Save them as safetensors, once, where you trust them: load the model with "
            "transformers and call `save_pretrained`, or take the hub's revision that has *.safetensors.",
            where=Where(file=str(folder)),
        )
    raise UsageError(
        f"{what} holds no weights",
        suggestion="It needs *.safetensors files. Was the download interrupted?",
        where=Where(file=str(folder)),
    )


def _json_of(file: Path, expected: str = "") -> dict[str, Any]:
    try:
        data = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        why = getattr(error, "strerror", None) or f"it is no JSON ({error})"
        raise UsageError(
            f"`{file.name}` cannot be read: {why}",
            suggestion=f"Is the path right? {expected[:1].upper()}{expected[1:]}." if expected else "",
            where=Where(file=str(file)),
        ) from None
    if not isinstance(data, dict):
        raise UsageError(f"`{file.name}` is no JSON object", where=Where(file=str(file)))
    return data


# --- contents -------------------------------------------------------------------------------------------

_REMEMBERED: dict[str, list[int | str]] = {}
"""Path -> the file's state and SHA-256 (hex): what this process knows of large files."""
_READING = threading.Lock()
"""Held while large files are read, so that no two threads read the same ones."""


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 (hex) over the files' names, sizes and contents; of a large one its SHA-256.

    Raises:
        UsageError: A file cannot be read.
    """
    whole = hashlib.sha256()
    try:
        sizes = {file: file.stat().st_size for file in files}
        hashes = _hashes([file.resolve() for file, size in sizes.items() if size > _LARGE])
        for file, size in sizes.items():
            whole.update(f"{file.name} {size} ".encode())
            whole.update(bytes.fromhex(hashes[file.resolve()]) if size > _LARGE else file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"a model's file cannot be read: {error.strerror}",
            suggestion="Every byte of a model's files is read to know which model it is.",
            where=Where(file=str(error.filename)),
        ) from None
    return whole.hexdigest()


def _hashes(files: Sequence[Path]) -> dict[Path, str]:
    """SHA-256 (hex) of every file: remembered, or read now, several at once."""
    if not files:
        return {}
    with _READING:
        now = time.time()
        known = {**_read_memory(), **_REMEMBERED}
        unknown = _unknown(files, known)
        with ThreadPoolExecutor(max(1, min(len(unknown), os.cpu_count() or 1))) as pool:
            read = dict(zip(unknown, pool.map(_sha256, unknown), strict=True))
        settled = {
            str(file): [*unknown[file], sha]
            for file, sha in read.items()
            if now - file.stat().st_ctime > _SETTLED
        }
        if settled:
            _REMEMBERED.update(settled)
            _write_memory()
        return {file: read.get(file) or str(known[str(file)][-1]) for file in files}


def _state(file: Path) -> list[int | str]:
    """What differs when a file has changed. Its `ctime` does also where somebody has put its `mtime` back."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _unknown(files: Sequence[Path], known: Mapping[str, list[int | str]]) -> dict[Path, list[int | str]]:
    """The files that are not remembered as they are now, each with its state."""
    states = {file: _state(file) for file in files}
    return {file: state for file, state in states.items() if known.get(str(file), [])[:-1] != state}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _memory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache, "docendo", "weights.json")


def _read_memory() -> dict[str, list[int | str]]:
    """What was remembered; nothing, where that cannot be read."""
    try:
        found = orjson.loads(_memory().read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {path: entry for path, entry in entries if isinstance(entry, list)}


def _write_memory() -> None:
    """Remember for later processes what this one knows; where nothing can be written, they read again."""
    memory = _memory()
    fresh = memory.with_suffix(f".{os.getpid()}")
    known = {path: entry for path, entry in {**_read_memory(), **_REMEMBERED}.items() if os.path.exists(path)}
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(orjson.dumps(known))
        fresh.replace(memory)
