"""Which run is this, and is it finished? The identity of a study, found without preparing it.

A run is a function of the resolved scenario and its items, so both make its digest, and the digest makes its
name. This module imports none of the heavy libraries: issuing a finished run again must cost no more than
reading its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from docendo.scenarios.expand import Condition, expand
from docendo.scenarios.item import Item
from docendo.scenarios.items.pools import items_digest, load_pools
from docendo.scenarios.loader import LoadedScenario

if TYPE_CHECKING:
    from docendo.runtime.store import Store

__all__ = ["Identity", "digest_of", "identify", "is_finished"]

Pools = Mapping[str, tuple[Item, ...]]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A study's conditions with their items, and its name."""

    conditions: tuple[Condition, ...]
    pools: tuple[Pools, ...]
    """The items of each condition; the same object where conditions share them."""
    digest: str
    """Of the resolved scenario and its items."""
    items_digest: str
    run_id: str
    """`name-digest`: issuing the same scenario again finds the same run."""


def identify(loaded: LoadedScenario) -> Identity:
    """Expand a scenario, load its items and name its run.

    Raises:
        ItemError: Items cannot be read.
        ScenarioError: The matrix cannot be expanded.
    """
    conditions = tuple(expand(loaded))
    known: dict[str, Pools] = {}
    pools = []
    for condition in conditions:
        spec, seed = condition.scenario.items, condition.scenario.seed
        key = digest_of([spec.model_dump(mode="json"), seed])
        if key not in known:
            known[key] = load_pools(spec, base=loaded.base, seed=seed)
        pools.append(known[key])
    items = digest_of(sorted({items_digest(p) for p in known.values()}))
    digest = digest_of([loaded.digest, items])
    return Identity(
        conditions=conditions,
        pools=tuple(pools),
        digest=digest,
        items_digest=items,
        run_id=f"{loaded.scenario.name}-{digest[:10]}",
    )


def is_finished(store: Store, identity: Identity, replicates: int, *, retry_errors: bool = False) -> bool:
    """Whether nothing is left to do for this run."""
    lessons = [r for r in store.lessons(identity.run_id) if r.status == "finished"]
    if retry_errors and any(r.n_failed for r in lessons):
        return False
    return len(lessons) == len(identity.conditions) * replicates


def digest_of(value: Any) -> str:
    """sha256 of a value's canonical JSON."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
