"""How much of its prompts a run has already sent: what a prefix cache can save at most.

    python benchmarks/prefix_layout.py [NAME ...] [-n 5] [--store URL --run RUN]

For every prompt, in the order in which calls were sent, the longest beginning that it shares with an earlier
prompt to the same model, counted in characters, beside the same within its own kind of call (`agent.act`).
Without `--store` the gallery's scenarios are run in small on their simulated minds, into memory; with it, the
calls of a recorded run are read. Counts repeat exactly; what an engine really finds in its cache is measured
by `prefix_cache.py`.
"""

from __future__ import annotations

import argparse
import asyncio
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from os.path import commonprefix  # of characters, which is what is wanted here

from measuring import number, table

from docendo.messages import PromptMessage
from docendo.runtime.cli.load import limited
from docendo.runtime.client import Client
from docendo.runtime.journal import Entry, MemoryJournal
from docendo.runtime.lesson import Lesson
from docendo.runtime.store import open_store
from docendo.runtime.study import lesson_setting, prepare
from docendo.scenarios.bundled import gallery_names
from docendo.scenarios.loader import load_scenario

__all__ = ["Prompt", "Shared", "prompts_of", "shared_of"]


@dataclass
class Shared:
    """Characters of prompts, and how many of them an earlier prompt began with."""

    prompts: int = 0
    total: int = 0
    shared: int = 0
    _seen: list[str] = field(default_factory=list)

    def add(self, prompt: str) -> None:
        """One more prompt. Of all earlier ones, its neighbour in the alphabet has most in common with it."""
        at = bisect_left(self._seen, prompt)
        near = self._seen[max(0, at - 1) : at + 1]
        self.prompts += 1
        self.total += len(prompt)
        self.shared += max((len(commonprefix([prompt, other])) for other in near), default=0)  # noqa: RUF071
        insort(self._seen, prompt)

    @property
    def share(self) -> float:
        """Of all characters."""
        return self.shared / self.total if self.total else 0.0


Prompt = tuple[PromptMessage, ...]


def text_of(prompt: Prompt) -> str:
    """The prompt as one text, roles included, as a chat template would string it together."""
    return "".join(f"<{message.role}>{message.text}" for message in prompt)


def shared_of(prompts: Iterable[tuple[str, str, str]]) -> dict[str, Shared]:
    """`agent.act` -> what its prompts share with earlier ones of the same act and model.

    Args:
        prompts: (model, `agent.act`, prompt) in the order of sending.
    """
    kinds: dict[tuple[str, str], Shared] = defaultdict(Shared)
    for model, act, prompt in prompts:
        kinds[model, act].add(prompt)
    found: dict[str, Shared] = defaultdict(Shared)
    for (_, act), one in kinds.items():
        for whole in (found[act], found["all"]):
            whole.prompts += one.prompts
            whole.total += one.total
            whole.shared += one.shared
    return dict(found)


class _Sent(MemoryJournal):
    """A journal that remembers the prompts in order, with the act that asked."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, str, Prompt]] = []
        self.acts: dict[str, str] = {}

    def put(self, entry: Entry) -> None:
        super().put(entry)
        self.sent.append((entry.model, self.acts[entry.key], entry.prompt))


def prompts_of(name: str, items: int) -> list[tuple[str, str, Prompt]]:
    """(model, `agent.act`, prompt) of a gallery scenario's calls, one replicate, few items per phase."""
    study = prepare(limited(load_scenario(name), items))
    journal = _Sent()

    def heard(notice: object) -> None:
        if notice.what == "sent":  # type: ignore[attr-defined]
            origin = notice.origin  # type: ignore[attr-defined]
            journal.acts[notice.key] = f"{origin.agent}.{origin.act}"  # type: ignore[attr-defined]

    async def nothing(*_: object) -> None:
        pass

    async def work() -> None:
        worlds = {s.world: s.scenario.models for s in study.setups}
        clients = {
            w: Client(study.backends[w], models, journal, listener=heard) for w, models in worlds.items()
        }
        for setup in study.setups:
            await Lesson(lesson_setting(setup, 0, clients[setup.world], nothing)).run()
        for client in clients.values():
            await client.close()

    asyncio.run(work())
    return journal.sent


def recorded(url: str, run: str) -> list[tuple[str, str, str]]:
    """The same of a recorded run, in the order in which its calls were written."""
    with open_store(url, create=False, readonly=True) as store:
        acts: dict[str, str] = {}
        for episode in store.episodes(store.run(run).id):
            for event in store.events(episode.id):
                if event.kind == "call":
                    acts.setdefault(event.key, f"{event.agent}.{event.act}")
        calls = sorted(store.calls(acts).values(), key=lambda c: (c.created_at, c.key))
        return [(str(c.request["model"]), acts[c.key], text_of(c.prompt)) for c in calls]


def main() -> None:
    """Read the command line and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="gallery scenarios; all by default")
    parser.add_argument("-n", "--items", type=int, default=5, help="items per teach or test phase")
    parser.add_argument("--store", default="", help="read a recorded run instead")
    parser.add_argument("--run", default="latest")
    wanted = parser.parse_args()
    found: list[tuple[str, str, str]] = []
    if wanted.store:
        found = recorded(wanted.store, wanted.run)
    for name in [] if wanted.store else wanted.names or gallery_names():
        found += [
            (f"{name} {model}", act, text_of(prompt)) for model, act, prompt in prompts_of(name, wanted.items)
        ]
    rows = [
        (act, f"{one.prompts:,}", f"{one.total:,}", f"{one.shared:,}", number(one.share))
        for act, one in sorted(shared_of(found).items())
    ]
    print(table(("act", "prompts", "characters", "of them shared", "share"), rows))


if __name__ == "__main__":
    main()
