"""What an engine's prefix cache finds of the gallery's prompts, with docendo's layout and without it.

    python benchmarks/prefix_cache.py [NAME ...] [-n 5] [--kv 0.03 2]

The gallery's scenarios are run in small on their simulated minds, and the prompts of every scenario are given
to a real vLLM engine, whose cache is emptied between scenarios: as laid out, in the order in which they were
sent; the same prompts in random order; and with the item and what follows it moved to the beginning of the
message. Of each prompt one token is asked, so that the engine's own counts are about prompts alone.

The model is made on the spot (140 thousand random parameters): hits depend on tokens, not on weights. Needs
the engine environment (`make engine`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

from engine_efficiency import made_model
from measuring import facts, table
from prefix_layout import Prompt, prompts_of

from docendo.messages import PromptMessage
from docendo.runtime.backends.engine_driver import EngineCall, EngineStats
from docendo.runtime.backends.local_prompt import LocalPrompt
from docendo.runtime.backends.vllm_backend import VllmBackend
from docendo.runtime.backends.weights import resolve
from docendo.scenarios.bundled import gallery_names
from docendo.scenarios.local_model_spec import VllmModel

CONTEXT = 4096
"""Longest prompt in tokens: the gallery's, in the words of a tokenizer as small as this, pass 2,048."""


def item_first(prompt: Prompt) -> Prompt:
    """The same words, with each message's item and what follows it before what precedes it."""
    return tuple(_turned(message) for message in prompt)


def _turned(message: PromptMessage) -> PromptMessage:
    at = 0
    for span in message.spans:
        if span.source.startswith("item."):
            line = message.text.rfind("\n", 0, at) + 1
            text = f"{message.text[line:]}\n{message.text[:line]}"
            return PromptMessage(message.role, (span._replace(text=text),))
        at += len(span.text)
    return message


async def hits(backend: Any, prompts: Sequence[tuple[int, ...]]) -> EngineStats:
    """What the engine did for these, all at once, with an empty cache."""
    from vllm import SamplingParams

    driver = backend.driver
    await driver.forget_prefixes()
    before = driver.stats()
    one = SamplingParams(temperature=0.0, max_tokens=1, detokenize=False)
    await asyncio.gather(*(driver.run(EngineCall(prompt, one)) for prompt in prompts))
    return driver.stats().since(before)


async def measure(
    sent: Mapping[str, Sequence[tuple[str, str, Prompt]]], asked: argparse.Namespace, folder: Path
) -> None:
    """Give the engine every scenario's prompts in every order, and print the table."""
    model = made_model(folder, "tiny", CONTEXT)
    rows = []
    for gib in asked.kv:
        spec = VllmModel(
            backend="vllm", model=str(model), engine="thread", kv_cache=gib, context=CONTEXT, max_sequences=64
        )
        prompts = LocalPrompt(resolve(spec, folder))
        backend = VllmBackend(spec, folder)
        await backend.start()
        for name, calls in sent.items():
            laid_out = [prompts.tokens(prompt) for _, _, prompt in calls]
            shuffled = random.Random(0).sample(laid_out, len(laid_out))
            turned = [prompts.tokens(item_first(prompt)) for _, _, prompt in calls]
            found = [await hits(backend, way) for way in (laid_out, shuffled, turned)]
            size = f"{sum(map(len, laid_out)):,}"
            kv = f"{backend.facts.kv_tokens:,}"
            rows.append((kv, name, f"{len(calls):,}", size, *(f"{stats.hit_rate:.0%}" for stats in found)))
        await backend.close()
    header = ("KV cache, tokens", "scenario", "prompts", "tokens", "as sent", "random order", "item first")
    print(table(header, rows))
    print(f"\n{facts()}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="gallery scenarios; all by default")
    parser.add_argument("-n", "--items", type=int, default=5, help="items per teach or test phase")
    parser.add_argument("--kv", type=float, nargs="+", default=[0.03, 2.0], help="GiB of KV cache")
    asked = parser.parse_args()
    sent = {name: prompts_of(name, asked.items) for name in asked.names or gallery_names()}
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(sent, asked, Path(folder)))


if __name__ == "__main__":
    main()
