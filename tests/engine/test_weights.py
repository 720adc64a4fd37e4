"""Who answers is known by content: the same files anywhere are one model, other files are another."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from docendo.errors import UsageError
from docendo.runtime.backends import weights
from docendo.runtime.backends.weights import Weights, resolve
from docendo.scenarios.local_model_spec import TransformersModel
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


def test_large_files_are_sampled_from_end_to_end(monkeypatch: Any, tmp_path: Path, folder: Path) -> None:
    monkeypatch.setattr(weights, "_BLOCK", 512)
    size = (folder / "model.safetensors").stat().st_size
    assert size > 512 * 32, "the file is large for these blocks"
    before = identity(folder)
    for place in (0, size // 31 + 1, size - 1):
        copy = Path(shutil.copytree(folder, tmp_path / str(place)))
        with (copy / "model.safetensors").open("r+b") as file:
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 1]))
        assert identity(copy) != before


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
