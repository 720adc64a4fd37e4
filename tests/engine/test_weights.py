"""Who answers is known by content: the same files anywhere are one model, other files are another."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from docendo.errors import UsageError
from docendo.runtime.backends import weights
from docendo.runtime.backends.vllm_backend import VllmBackend
from docendo.runtime.backends.vllm_engines import Want
from docendo.runtime.backends.weights import Weights, resolve
from docendo.scenarios.local_model_spec import TransformersModel, VllmModel
from tests.engine.tiny_model import CHATML, make_adapter


@pytest.fixture
def folder(make: Any, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(make(), tmp_path / "lab" / "model"))


def found(folder: Path | str, base: Path = Path(), **fields: Any) -> Weights:
    return resolve(TransformersModel(model=str(folder), **fields), base)


def identity(folder: Path | str, base: Path = Path(), **fields: Any) -> str:
    return found(folder, base, **fields).identity("transformers", dtype="auto")


def test_another_place_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    before = identity(folder)
    moved = Path(shutil.move(folder, tmp_path / "elsewhere"))
    os.utime(moved / "model.safetensors", (1, 1))
    assert identity(moved) == before
    assert identity("elsewhere", tmp_path) == before
    assert str(tmp_path) not in before


def test_a_link_as_in_the_cache_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    assert identity(snapshot) == identity(folder)


def change_one_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = sorted(tensors)[-1]
    tensors[name] = tensors[name] + 1e-3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace("Ġyes", "Ġyez").replace("Ġthe", "Ġteh"), "utf-8")


def change_configuration(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}), "utf-8")


def change_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(CHATML + "Well, ", "utf-8")


@pytest.mark.parametrize(
    "change", [change_one_weight, change_tokenizer, change_configuration, change_template]
)
def test_any_change_is_another_model(folder: Path, change: Any) -> None:
    before = identity(folder)
    change(folder)
    assert identity(folder) != before


def test_settings_that_change_answers_are_part_of_the_identity(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text(CHATML + " ", "utf-8")
    files = found(folder)
    known = {
        files.identity("transformers", dtype="auto"),
        files.identity("vllm", dtype="auto"),
        files.identity("transformers", dtype="bfloat16"),
        identity(folder, chat_template="plain"),
        identity(folder, tmp_path, chat_template="mine.jinja"),
        identity(folder, chat_template_kwargs={"enable_thinking": False}),
    }
    assert len(known) == 6


def test_files_beside_the_model_change_nothing(folder: Path) -> None:
    before = identity(folder)
    (folder / "README.md").write_text("new", "utf-8")
    (folder / "trainer_state.json").write_text("{}", "utf-8")
    assert identity(folder) == before


LARGE = 3 << 20
"""Bytes of a file that is not read anew every time."""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where it is remembered what was read."""
    monkeypatch.setattr(weights, "_REMEMBERED", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "docendo" / "weights.json"


@pytest.fixture
def large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with a weight file of some size, which did not change for long."""
    (folder / "model.safetensors").write_bytes(bytes(LARGE))
    monkeypatch.setattr(weights, "_SETTLED", float("-inf"))
    return folder


def flip(file: Path, place: int) -> None:
    """Change one bit of a file where it lies."""
    with file.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte[0] ^ 1]))


def test_every_byte_of_a_large_file_counts(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(bytes(LARGE))
    known = {identity(folder)}
    for place in (0, 70_000, LARGE // 2, LARGE - 70_000, LARGE - 1):
        flip(folder / "model.safetensors", place)
        known.add(identity(folder))
    assert len(known) == 6


def test_small_files_are_known_as_they_always_were(tmp_path: Path) -> None:
    """The journals of models of this size, adapters among them, stay good."""
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"0123")
    expected = hashlib.sha256(b"config.json 2 {}model.safetensors 4 0123").hexdigest()
    assert found(tmp_path, chat_template="plain").digest == expected


def test_to_find_a_model_its_weights_are_not_read(large: Path) -> None:
    early = found(large)
    flip(large / "model.safetensors", LARGE // 2)
    assert early.digest == found(large).digest


def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the large files that are read from now on."""
    names: list[str] = []
    digest = hashlib.file_digest

    def reading(stream: Any, kind: str) -> Any:
        names.append(Path(stream.name).name)
        return digest(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", reading)
    return names


def test_a_file_is_read_once_by_all_processes(
    large: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (large / "more.safetensors").write_bytes(b"1" * LARGE)
    names = read_files(monkeypatch)
    before = identity(large)
    assert sorted(names) == ["model.safetensors", "more.safetensors"]
    assert identity(large) == before
    monkeypatch.setattr(weights, "_REMEMBERED", {})  # as in another process
    assert identity(large) == before
    assert len(names) == 2
    assert [file.name for file in cache.parent.iterdir()] == ["weights.json"]


def test_what_has_yet_to_be_read_is_known_beforehand(large: Path) -> None:
    model = found(large)
    (file,) = model.unread()
    assert Path(file) == (large / "model.safetensors").resolve()
    assert model.unread()[file] == model.size
    assert model.digest
    assert found(large).unread() == {}
    assert VllmBackend(VllmModel(model=str(large)), Path()).unread() == {}


def test_nothing_is_foretold_of_small_files(folder: Path) -> None:
    assert found(folder).unread() == {}


def test_a_file_that_changes_is_read_again(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = large / "model.safetensors"
    os.utime(file, (1, 1))
    before = identity(large)
    shutil.copy(file, large / "edited")
    flip(large / "edited", LARGE // 2)
    os.utime(large / "edited", (1, 1))
    (large / "edited").replace(file)
    assert identity(large) != before


def test_a_file_that_changed_a_moment_ago_is_not_remembered(folder: Path, cache: Path) -> None:
    """It may change once more at what is the same time by the file system's clock."""
    (folder / "model.safetensors").write_bytes(bytes(LARGE))
    identity(folder)
    assert not cache.exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"PATH": 1}', '{"PATH": []}'])
def test_a_memory_that_cannot_be_used_is_made_anew(large: Path, cache: Path, text: str) -> None:
    before = identity(large)
    cache.write_text(text.replace("PATH", str(large / "model.safetensors")), "utf-8")
    weights._REMEMBERED.clear()
    assert identity(large) == before
    assert json.loads(cache.read_text("utf-8"))[str(large / "model.safetensors")][-1]


def test_without_a_folder_for_caches_files_are_read_and_that_is_all(large: Path, cache: Path) -> None:
    before = identity(large)
    shutil.rmtree(cache.parent.parent)
    cache.parent.parent.write_text("in the way", "utf-8")
    weights._REMEMBERED.clear()
    assert identity(large) == before


def test_a_file_that_cannot_be_read_is_told(folder: Path) -> None:
    model = found(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    with pytest.raises(UsageError, match="cannot be read") as caught:
        model.identity("transformers")
    assert caught.value.where.file == str(folder / "model.safetensors")


def test_an_adapter_is_another_model_wherever_its_base_lay(make: Any, folder: Path, tmp_path: Path) -> None:
    one = make_adapter(tmp_path / "one", make())
    moved = make_adapter(tmp_path / "two", folder)
    other = make_adapter(tmp_path / "three", folder, seed=2)
    assert identity(folder, adapter=str(one)) == identity(folder, adapter=str(moved))
    assert (
        len({identity(folder), identity(folder, adapter=str(one)), identity(folder, adapter=str(other))}) == 3
    )
    assert found(folder, adapter=str(one)).adapter.rank == 4  # type: ignore[union-attr]


def refused(folder: Path | str, base: Path = Path(), **fields: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        found(folder, base, **fields)
    return caught.value


def test_what_is_not_here_says_where_it_was_sought(tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("./none", "/none/at/all", "a/b/c"):
        error = refused(name, tmp_path)
        assert "there is no folder" in error.message
        assert error.where.file
    error = refused("somebody/a-model-that-is-not-here", tmp_path)
    assert "nor in the Hugging Face cache" in error.message
    assert "hf download somebody/a-model-that-is-not-here" in error.suggestion


def test_pickles_are_never_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = refused(folder)
    assert "pickle" in error.message
    assert "safetensors" in error.suggestion


@pytest.mark.parametrize(
    ("missing", "message"),
    [("model.safetensors", "holds no weights"), ("config.json", "`config.json` cannot be read")],
)
def test_half_a_model(folder: Path, missing: str, message: str) -> None:
    (folder / missing).unlink()
    assert message in refused(folder).message


def parts(folder: Path, *names: str) -> None:
    """Weights in several files with an index, 100 bytes each."""
    for name in names:
        (folder / name).write_bytes(b"0" * 100)
    named = {f"layer.{i}": name for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}), "utf-8")


def test_weights_in_two_layouts_count_once(folder: Path) -> None:
    whole = found(folder).size
    (folder / "consolidated.safetensors").write_bytes(b"0" * 200)
    assert found(folder).size == whole
    (folder / "model.safetensors").unlink()
    assert found(folder).size == 200
    parts(folder, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert found(folder).size == 200
    both = identity(folder)
    (folder / "consolidated.safetensors").write_bytes(b"1" * 200)
    assert identity(folder) != both, "engines differ in which layout they load"


def test_a_part_that_is_missing_is_named(folder: Path) -> None:
    parts(folder, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    (folder / "model-00002-of-00002.safetensors").unlink()
    error = refused(folder)
    assert "lacks `model-00002-of-00002.safetensors`" in error.message
    assert "interrupted" in error.suggestion


def test_a_name_in_the_hub_and_its_folder_are_one_engine(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    hub = tmp_path / "disk" / "hub"
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = hub / "models--somebody--tiny"
    shutil.copytree(folder, model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit, "utf-8")
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    specs = [VllmModel(model=name) for name in ("somebody/tiny", str(model / "snapshots" / commit))]
    assert len({Want(spec, resolve(spec, tmp_path)).engine for spec in specs}) == 1


def test_templates_that_are_missing_or_nobody_has(make: Any, folder: Path, tmp_path: Path) -> None:
    assert "cannot be read" in refused(folder, tmp_path, chat_template="none.jinja").message
    error = refused(make(template=None))
    assert "has no chat template" in error.message
    assert "`chat_template: plain`" in error.suggestion
    assert found(make(template=None), chat_template="plain").template is None


@pytest.mark.parametrize("where", ["tokenizer_config.json", "chat_template.json"])
def test_templates_in_older_places(folder: Path, where: str) -> None:
    (folder / "chat_template.jinja").unlink()
    file = folder / where
    content = json.loads(file.read_text("utf-8")) if file.exists() else {}
    several = [{"name": "tools", "template": "no"}, {"name": "default", "template": CHATML}]
    for written in (CHATML, several):
        file.write_text(json.dumps({**content, "chat_template": written}), "utf-8")
        assert found(folder).template == CHATML


def test_a_context_longer_than_the_models_own(folder: Path) -> None:
    assert found(folder).context == 2048
    assert found(folder, context=100).context == 100
    assert "no more than 2048" in refused(folder, context=4096).message


def test_an_adapter_of_another_kind(make: Any, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", make())
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}), "utf-8")
    assert "adapter of type IA3" in refused(make(), adapter=str(adapter)).message
    assert "`adapter_config.json` cannot be read" in refused(make(), adapter=str(tmp_path)).message
