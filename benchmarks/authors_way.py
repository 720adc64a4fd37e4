"""The grid of intervention functions x budgets x seeds, against the call pattern of the published scripts.

    python benchmarks/authors_way.py [--model FOLDER] [--items 40] [--seeds 3] [--sample 12]

Both sides use one tiny model on the CPU. docendo runs the complete grid, as `docendo run` does, and is timed
as a whole. The published scripts (Saha, Hase & Bansal 2023: `main_single_turn.py`) hold one prompt per
`generate` call, run every intervention function by itself, and make a teacher's explanation three times per
item. Their hours are not spent here: the requests of every condition by itself are counted in docendo's own
record, the explanations three times, one call in the scripts' manner is timed for each kind of request
(transformers' `generate`, a batch of one, the same prompts and lengths), and the two are multiplied. Once
with every budget by itself, once generously with all budgets mixed from two columns. Needs the engine
environment (`make engine`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

from engine_efficiency import made_model
from measuring import facts, number, table

from docendo.runtime.runner import begin, run_study, todo
from docendo.runtime.store import Store, open_store
from docendo.runtime.study import Study, prepare
from docendo.scenarios.loader import load_raw

POLICIES = [
    "random", "teacher_confidence", "expected_confidence_pre", "expected_confidence_post", "expected_utility",
    "true_confidence_pre", "true_confidence_post", "true_utility", "least_confidence", "oracle",
]  # fmt: skip
BUDGETS = ["0%", "20%", "40%", "60%", "80%", "100%"]
REGENERATED = 3
"""How often the scripts make one explanation (`prepare_prompt_inter` and the student's contexts)."""

Kind = tuple[str, str]
"""(agent.act, operation)."""


def grid(model: dict[str, Any], items: int, seeds: int) -> Study:
    """Ten intervention functions, six budgets, three seeds."""
    return prepare(load_raw({
        "version": 1, "name": "authors-way",
        "models": {"big": model, "small": model},
        "agents": {"teacher": {"model": "big", "student_model": {"kind": "few_shot", "demonstrations": 4},
                               "memory": {"kind": "demonstrations", "size": 4}},
                   "student": {"model": "small", "memory": {"kind": "demonstrations", "size": 4}}},
        "items": {"source": "strategyqa", "file": "builtin:yes_no.json", "train": 16, "test": items},
        "plan": [{"observe": {"items": "train", "count": 8}},
                 {"teach": {"items": "test", "policy": "random"}}],
        "budget": {"interventions": "0%"},
        "measures": ["accuracy"],
        "matrix": {"plan.teach.policy": POLICIES, "budget.interventions": BUDGETS},
        "replicates": seeds,
    }, base=Path()))  # fmt: skip


def requests_of(store: Store, run: str) -> tuple[dict[str, Counter[Kind]], dict[Kind, list[str]]]:
    """Requests of each condition by itself, by kind; and the calls of each kind."""
    counts: dict[str, Counter[Kind]] = defaultdict(Counter)
    keys: dict[Kind, list[str]] = defaultdict(list)
    for record in store.lessons(run):
        condition = record.key.condition
        for episode in store.episodes(run, condition, record.key.replicate):
            for event in store.events(episode.id):
                if event.kind == "call":
                    kind = (f"{event.agent}.{event.act}", event.operation)
                    counts[condition][kind] += 1
                    keys[kind].append(event.key)
    return counts, keys


def one_by_one(folder: Path, store: Store, keys: dict[Kind, list[str]], sample: int) -> dict[Kind, float]:
    """Seconds of one request in the scripts' manner, by kind: the median over a sample."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    seconds: dict[Kind, float] = {}
    for kind, all_keys in keys.items():
        times = []
        step = max(1, len(all_keys) // sample)
        for key in all_keys[::step][:sample]:
            call = next(iter(store.calls([key]).values()))
            text = "\n\n".join(message.text for message in call.prompt)
            ids = tokenizer(text, return_tensors="pt").input_ids
            length = max(1, call.result.usage.completion_tokens) if kind[1] == "generate" else 1
            started = time.perf_counter()
            with torch.no_grad():
                model.generate(
                    ids, max_new_tokens=length, min_new_tokens=length, do_sample=False,
                    output_scores=True, return_dict_in_generate=True, pad_token_id=0,
                )  # fmt: skip
            times.append(time.perf_counter() - started)
        seconds[kind] = statistics.median(times)
    return seconds


def measure(asked: argparse.Namespace, folder: Path) -> None:
    """Run the grid, count, time single calls, and print."""
    model: dict[str, Any] = {"backend": asked.backend, "model": str(asked.model)}
    model["sampling"] = {"max_tokens": 100}  # as in the scripts
    if asked.backend == "vllm":
        model |= {"engine": "thread", "context": 2048, "kv_cache": 2.0}
    study = grid(model, asked.items, asked.seeds)
    with open_store(f"sqlite:///{folder}/grid.db") as store:
        begin(study, store)
        backends = [b for world in study.backends.values() for b in world.values()]
        started = time.perf_counter()
        asyncio.run(_started(backends))
        loaded = time.perf_counter() - started
        started = time.perf_counter()
        tally = asyncio.run(run_study(study, store, lessons=todo(study, store)))
        ours = time.perf_counter() - started - loaded
        counts, keys = requests_of(store, study.run_id)
        single = one_by_one(Path(asked.model), store, keys, asked.sample)
    full = {s.condition.id for s in study.setups if s.condition.coordinates["budget.interventions"] == "100%"}
    _print(asked, counts, full, single, ours, loaded, tally)


async def _started(backends: list[Any]) -> None:
    """What a run does first, timed by itself: weights are loaded, and given back."""
    for backend in backends:
        await backend.start()
    for backend in backends:
        await backend.close()


def _print(
    asked: argparse.Namespace, counts: dict[str, Counter[Kind]], full: set[str], single: dict[Kind, float],
    ours: float, loaded: float, tally: Any,
) -> None:  # fmt: skip
    def theirs(conditions: set[str]) -> tuple[int, float]:
        total: Counter[Kind] = Counter()
        for condition in conditions:
            for kind, n in counts[condition].items():
                total[kind] += n * (REGENERATED if kind == ("teacher.explain", "generate") else 1)
        return total.total(), sum(n * single[kind] for kind, n in total.items())

    kinds = sorted(single)
    print(table(
        ("request", "operation", "requests in the grid", "ms, one prompt at a time"),
        [(f"`{act}`", op, f"{sum(c[act, op] for c in counts.values()):,}", number(1e3 * single[act, op]))
         for act, op in kinds],
    ))  # fmt: skip
    rows = [("docendo, measured", f"{tally.sent:,}", number(ours), "1")]
    for name, conditions in (("the scripts' pattern, every budget by itself", set(counts)),
                             ("the scripts' pattern, budgets mixed from two columns", full)):  # fmt: skip
        calls, seconds = theirs(conditions)
        rows.append((f"{name}, computed", f"{calls:,}", number(seconds), number(seconds / ours)))
    print()
    print(table(("the grid", "calls to the model", "wall, s", "times docendo"), rows))
    print(
        f"\n{len(POLICIES)} intervention functions x {len(BUDGETS)} budgets x {asked.seeds} seeds, "
        f"{asked.items} items, backend `{asked.backend}`; loading, {number(loaded)} s, "
        f"left out on both sides. {facts()}"
    )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a folder with a model; made on the spot when unset")
    parser.add_argument("--backend", choices=["vllm", "transformers"], default="vllm")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=12, help="single calls that are timed, of each kind")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked.model = asked.model or made_model(folder, "tiny")
        measure(asked, folder)


if __name__ == "__main__":
    main()
