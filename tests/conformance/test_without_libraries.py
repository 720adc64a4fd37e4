"""Local models in the base install: known, and refused with the way to get them."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest

from docendo.runtime.backends.base import BackendFault
from docendo.runtime.backends.factory import build_backend
from docendo.scenarios.model_spec import TransformersModel, VllmModel


@pytest.mark.parametrize("kind", [TransformersModel, VllmModel])
def test_the_extra_is_named(kind: type, tmp_path: Path) -> None:
    name = kind.model_fields["backend"].default  # type: ignore[attr-defined]
    if importlib.util.find_spec("torch" if name == "transformers" else "vllm"):
        pytest.skip("it is installed")
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 64}', "utf-8")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}", "utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    backend = build_backend("m", kind(model=str(tmp_path)), answer_key={}, base=Path())
    assert backend.fingerprint, "what answers is known without any library"
    with pytest.raises(BackendFault) as caught:
        asyncio.run(backend.start())
    assert caught.value.fatal
    assert f"pip install 'docendo[{name}]'" in caught.value.suggestion
    asyncio.run(backend.close())
