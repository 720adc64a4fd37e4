"""How much of an engine's speed a run gets: the run, against offline replays of the same prompts.

    python benchmarks/engine_efficiency.py [--kv ample|tight] [--episodes 96] [--rounds 3] [--model FOLDER]

Dialogues of a teacher and a student on one model run through docendo as always: lessons, graphs, journal,
store. What reached the engine is taken down (token ids, and how many tokens came back) and given to the same
engine again with nothing else to do: in the recorded order, sorted by prefix, and episode by episode in a
window. The prefix cache is emptied before each. `eta` is the fastest replay's time over the run's. Beside it
stand three figures without noise: steps of that replay over the run's, sequences decoded per step over the
engine's slots, and prompt tokens computed over those that a cache without bounds would leave to be computed.

Without `--model` a model is made on the spot: about 25 M random parameters. Answers have the lengths of a
log-normal draw. Needs the engine environment (`make engine`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import importlib.util
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

from measuring import facts, number, spread, table

from docendo.agents.port import GenerateReply, GenerateRequest, ScoreReply, ScoreRequest
from docendo.runtime.backends.base import Backend, Room
from docendo.runtime.backends.engine_driver import EngineCall, EngineDriver, EngineStats
from docendo.runtime.runner import begin, run_study, todo
from docendo.runtime.store import open_store
from docendo.runtime.study import Study, prepare
from docendo.scenarios.loader import load_raw

QUICK_START = {
    "compilation_config": {
        "mode": 0,
        "cudagraph_mode": "FULL_DECODE_ONLY",
        "cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64, 128, 192, 256],
    }
}
"""CUDA graphs without compiling: an engine that starts in seconds, for a machine lent by the minute."""

EPISODE: contextvars.ContextVar[str] = contextvars.ContextVar("episode", default="")


@dataclass(frozen=True)
class Taken:
    """A call as it reached the engine."""

    episode: str
    prompt: tuple[int, ...]
    length: int
    """Tokens of the completion."""
    seed: int | None = None


@dataclass
class Tape:
    """Stands before an engine and takes down what is asked."""

    driver: EngineDriver
    calls: list[Taken] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)

    async def run(self, call: EngineCall) -> Any:
        """Ask, and take down."""
        place = len(self.calls)
        self.calls.append(Taken(EPISODE.get(), tuple(call.prompt), 0, call.params.seed))
        output = await self.driver.run(call)
        length = sum(len(o.token_ids) for o in output.outputs)
        self.calls[place] = replace(self.calls[place], length=length)
        return output


class Talkative(Backend):
    """A model whose answers have lengths of a log-normal draw, as people's have."""

    def __init__(self, model: Backend, longest: int) -> None:
        self._model = model
        self._longest = longest
        self.capabilities = model.capabilities

    @property
    def fingerprint(self) -> str:
        """That of the model."""
        return self._model.fingerprint

    async def start(self) -> None:
        """Start the model."""
        await self._model.start()

    def room(self) -> Room | None:
        """That of the model."""
        return self._model.room()

    async def generate(self, request: GenerateRequest) -> GenerateReply:
        """Ask the model for so many tokens."""
        drawn = random.Random(request.seed).lognormvariate(math.log(self._longest / 3), 0.6)
        most = max(2, min(self._longest, round(drawn)))
        origin = request.origin
        EPISODE.set(f"{origin.condition}/{origin.replicate}/{origin.episode}")
        return await self._model.generate(
            replace(request, sampling=replace(request.sampling, max_tokens=most))
        )

    async def score(self, request: ScoreRequest) -> ScoreReply:
        """Ask the model."""
        return await self._model.score(request)

    async def close(self) -> None:
        """The engine stays for the replays."""


# --- what is run ----------------------------------------------------------------------------------------


def dialogues(model: dict[str, Any], episodes: int, turns: int) -> Study:
    """Teacher and student talk about each of some items, `turns` times each."""
    items = min(12, episodes)
    replicates = max(1, episodes // items)
    return prepare(load_raw({
        "version": 1, "name": "efficiency",
        "models": {"one": model},
        "agents": {"teacher": {"model": "one"}, "student": {"model": "one"}},
        "items": {"source": "subtraction", "digits": 3, "test": items},
        "plan": [{"teach": {"items": "test", "graph": "dialogue", "params": {"until": "turns"},
                            "moves": {"taxonomy": "mathdial", "source": "random"}}}],
        "budget": {"turns": turns},
        "measures": ["turns_to_solve"],
        "replicates": replicates,
    }, base=Path()))  # fmt: skip


async def live(study: Study, folder: Path, number_: int, most: int | None = None) -> int:
    """The run as it always is, or its first lessons, into a store of its own; gives the failed episodes."""
    with open_store(f"sqlite:///{folder}/run-{number_}.db") as store:
        begin(study, store)
        tally = await run_study(study, store, lessons=todo(study, store)[:most])
        return tally.failed


# --- replays --------------------------------------------------------------------------------------------


async def again(driver: EngineDriver, call: Taken) -> None:
    """The same prompt, and as many tokens as it had."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        temperature=1.0,
        seed=call.seed,
        max_tokens=call.length,
        min_tokens=call.length,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    await driver.run(EngineCall(call.prompt, params))


async def replay_all(driver: EngineDriver, calls: Sequence[Taken]) -> None:
    """All at once, in this order."""
    await asyncio.gather(*(again(driver, call) for call in calls))


async def replay_window(driver: EngineDriver, calls: Sequence[Taken], window: int) -> None:
    """Episode by episode, at most `window` of them at once."""
    episodes: dict[str, list[Taken]] = {}
    for call in calls:
        episodes.setdefault(call.episode, []).append(call)
    slots = asyncio.Semaphore(window)

    async def one(own: Sequence[Taken]) -> None:
        async with slots:
            await replay_all(driver, own)

    await asyncio.gather(*(one(own) for own in episodes.values()))


def least_prefill(calls: Sequence[Taken], block: int) -> int:
    """Prompt tokens that a cache without bounds would leave to be computed, calls taken one after the other.

    Prefixes are shared in whole blocks, and of a prompt that is known to the end one block is computed all
    the same, as in vLLM.
    """
    known: set[int] = set()
    total = 0
    for call in calls:
        ids, have, chain = call.prompt, 0, 0
        blocks = [ids[i : i + block] for i in range(0, len(ids) - len(ids) % block, block)]
        hashes = []
        for one in blocks:
            chain = hash((chain, one))
            hashes.append(chain)
        for place, name in enumerate(hashes):
            if name not in known or (place + 1) * block >= len(ids):
                break
            have += block
        known.update(hashes)
        total += len(ids) - have
    return total


@dataclass(frozen=True)
class Pass:
    """One way through the work."""

    seconds: float
    processor: float
    """Seconds of this process."""
    stats: EngineStats


async def measured(driver: EngineDriver, work: Callable[[], Awaitable[Any]]) -> Pass:
    """Do it with an empty cache."""
    await driver.forget_prefixes()
    before, used, started = driver.stats(), time.process_time(), time.perf_counter()
    await work()
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    return Pass(seconds, processor, driver.stats().since(before))


# --- report ---------------------------------------------------------------------------------------------


async def measure(asked: argparse.Namespace, folder: Path) -> None:
    """Run, replay, and print the tables."""
    model = {
        "backend": "vllm", "model": str(asked.model), "engine": asked.engine,
        "max_sequences": asked.slots, "context": 2048,
        "sampling": {"temperature": 1.0}, "kv_cache": asked.gib,
    }  # fmt: skip
    if asked.shape == "4B":  # weights of the right shape and speed, filled in by the engine
        model["options"] = {"load_format": "dummy"} | QUICK_START
    study = dialogues({k: v for k, v in model.items() if v is not None}, asked.episodes, asked.turns)
    world = next(iter(study.backends))
    backend: Any = study.backends[world]["one"]
    await backend.start()
    room = backend.room()
    tape = Tape(backend.driver)
    backend._engine.driver = tape
    study = replace(study, backends={world: {"one": Talkative(backend, asked.longest)}})
    await live(study, folder, -1, 2)  # warms up what is compiled on first use
    block = backend.facts.block
    rows: dict[str, list[Pass]] = {}
    calls: list[Taken] = []
    for number_ in range(asked.rounds):
        tape.calls.clear()
        work = {"the run": partial(live, study, folder, number_)}
        await _pass(tape.driver, work, rows)
        calls = list(tape.calls)
        await _pass(tape.driver, ways(tape.driver, calls, window_of(calls, room)), rows)
    _print(rows, calls, block, asked.slots, room)
    await backend.close()


async def _pass(
    driver: EngineDriver, work: Mapping[str, Callable[[], Awaitable[Any]]], rows: dict[str, list[Pass]]
) -> None:
    """Do each once, and say at once what came of it: a measurement may be cut short."""
    for name, way in work.items():
        done = await measured(driver, way)
        rows.setdefault(name, []).append(done)
        print(f"{name}: {number(done.seconds)} s, {done.stats.steps:,} steps", file=sys.stderr, flush=True)


def window_of(calls: Sequence[Taken], room: Room) -> int:
    """How many episodes the KV cache holds, by the longest context of each."""
    longest: dict[str, int] = {}
    for call in calls:
        longest[call.episode] = max(longest.get(call.episode, 0), len(call.prompt) + call.length)
    return max(1, room.tokens * len(longest) // sum(longest.values()))


def ways(
    driver: EngineDriver, calls: Sequence[Taken], window: int
) -> dict[str, Callable[[], Awaitable[Any]]]:
    """The replays."""
    by_prefix = sorted(calls, key=lambda call: call.prompt)
    return {
        "replay, recorded order": lambda: replay_all(driver, calls),
        "replay, sorted by prefix": lambda: replay_all(driver, by_prefix),
        "replay, episodes in a window": lambda: replay_window(driver, calls, window),
    }


def _print(rows: dict[str, list[Pass]], calls: Sequence[Taken], block: int, slots: int, room: Room) -> None:
    least = least_prefill(calls, block)
    lines = [
        (
            name,
            spread([p.seconds for p in passes]),
            spread([p.stats.steps for p in passes]),
            number(passes[-1].stats.mean_batch / slots),
            f"{passes[-1].stats.prefill_tokens:,}",
            number(passes[-1].stats.prefill_tokens / least),
            f"{passes[-1].stats.hit_rate:.0%}",
        )
        for name, passes in rows.items()
    ]
    header = ("pass", "wall, s", "steps", "batch / slots", "prefilled", "amplification", "hit rate")
    print(table(header, lines))
    run, replays = rows["the run"], [passes for name, passes in rows.items() if name != "the run"]
    best = [min(replays, key=lambda p, i=i: p[i].seconds)[i] for i in range(len(run))]
    print(f"\neta = {spread([b.seconds / r.seconds for b, r in zip(best, run, strict=True)])}")
    chains: dict[str, int] = {}
    for call in calls:
        chains[call.episode] = chains.get(call.episode, 0) + call.length
    steps = [min(p[i].stats.steps for p in replays) / run[i].stats.steps for i in range(len(run))]
    print(f"step ratio = {spread(steps)}")
    cost = number(1e3 * run[-1].processor / len(calls))
    print(f"processor time of docendo's process: {cost} ms per call")
    print(
        f"\n{len({c.episode for c in calls})} episodes, {len(calls):,} calls, "
        f"{sum(len(c.prompt) for c in calls):,} prompt and {sum(c.length for c in calls):,} completion "
        f"tokens; {room.tokens:,} tokens of KV cache, {slots} slots, a window of {window_of(calls, room)} "
        f"episodes; the longest episode takes {max(chains.values())} steps by itself. {facts()}"
    )


def made_model(folder: Path, shape: str, context: int = 2048) -> Path:
    """A model without wisdom: random weights by the tests' own means, or 4 B that the engine fills in."""
    path = Path(__file__).resolve().parents[1] / "tests" / "engine" / "tiny_model.py"
    spec = importlib.util.spec_from_file_location("tiny_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    what = replace(module.Tiny() if shape == "tiny" else module.MEDIUM, context=context)
    made = Path(module.make_model(folder / "model", what))
    if shape == "4B":
        from transformers import Qwen3Config

        Qwen3Config(
            architectures=["Qwen3ForCausalLM"], vocab_size=what.vocabulary, hidden_size=2560,
            intermediate_size=9728, num_hidden_layers=40, num_attention_heads=32, num_key_value_heads=8,
            head_dim=128, max_position_embeddings=4096, tie_word_embeddings=False, dtype="bfloat16",
            bos_token_id=3, eos_token_id=2, pad_token_id=0,
        ).save_pretrained(made)  # fmt: skip
    return made


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a folder with a model; made on the spot when unset")
    parser.add_argument(
        "--shape",
        choices=["tiny", "25M", "4B"],
        default="25M",
        help="of a model made on the spot; 4B on a GPU",
    )
    parser.add_argument("--engine", choices=["thread", "process"], default="thread")
    parser.add_argument("--kv", choices=["ample", "tight"], default="ample")
    parser.add_argument("--gib", type=float, help="GiB of KV cache in place of `--kv`")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=96)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--longest", type=int, default=64, help="most tokens of an answer")
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    if asked.shape != "4B":
        asked.gib = asked.gib or {"ample": 2.0, "tight": 0.2}[asked.kv]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked.model = asked.model or made_model(folder, asked.shape)
        asyncio.run(measure(asked, folder))


if __name__ == "__main__":
    main()
