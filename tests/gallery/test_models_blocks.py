"""The gallery's commented `models:` blocks: uncommented, each is a scenario that can be prepared."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from docendo.runtime.study import known_names
from docendo.scenarios.bundled import gallery_names, gallery_path
from docendo.scenarios.check import check_scenario
from docendo.scenarios.expand import expand
from docendo.scenarios.loader import load_scenario
from docendo.scenarios.local_model_spec import LocalModel

CARDS = {"24 GB": 24, "80 GB": 80, "141 GB": 141}

SIZES = {  # GB of weights, by the models' own cards: parameters x bytes each
    "Qwen/Qwen3-4B-Instruct-2507": 8.1,
    "meta-llama/Llama-3.2-1B-Instruct": 2.5,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": 61.1,
    "meta-llama/Llama-3.1-8B-Instruct": 16.1,
    "meta-llama/Llama-3.3-70B-Instruct": 141.1,
}


def blocks(text: str) -> dict[str, str]:
    """Card -> the block below its line, without the comment marks."""
    found = re.findall(r"^# One card of ([^:]+):\n((?:#[^\n]+\n)+)", text, re.MULTILINE)
    return {card: re.sub(r"^# ?", "", block, flags=re.MULTILINE) for card, block in found}


def pasted(name: str, card: str) -> dict[str, Any]:
    """The scenario with a card's block in the place of the same keys."""
    text = gallery_path(name).read_text(encoding="utf-8")
    return {**YAML(typ="safe").load(text), **YAML(typ="safe").load(blocks(text)[card])}


@pytest.mark.parametrize("name", gallery_names())
def test_there_is_a_block_for_every_card(name):
    assert list(blocks(gallery_path(name).read_text(encoding="utf-8"))) == list(CARDS)


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", gallery_names())
def test_a_block_makes_a_sound_scenario_in_every_condition(name, card, tmp_path):
    file = tmp_path / "own.yaml"
    with file.open("w", encoding="utf-8") as out:
        YAML(typ="safe").dump(pasted(name, card), out)
    loaded = load_scenario(file)
    assert check_scenario(loaded, known_names()) == []
    conditions = list(expand(loaded))
    assert len(conditions) > 1
    assert all(any(isinstance(m, LocalModel) for m in c.scenario.models.values()) for c in conditions)


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", gallery_names())
def test_what_a_block_loads_fits_on_its_card(name, card):
    models = [m for m in pasted(name, card)["models"].values() if m["backend"] == "vllm"]
    assert sum(m["memory"] for m in models) <= 0.95
    for model in models:
        size = SIZES[model["model"]] / (2 if model.get("quantization") == "fp8" else 1)
        assert size < 0.85 * model["memory"] * CARDS[card], model["model"]
