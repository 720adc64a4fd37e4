"""From a scenario's `items:` block to named pools of items that share nothing.

Items are put in an order that depends on seed and id only (a hash, so neither process nor machine matters)
and dealt out to the pools in the order of the scenario. Items whose file or `pool` field names a pool go
there only. A question that occurs twice would leak from one pool into another, so it is kept once: in the
last pool named by the files (`{train: ..., test: ...}` keeps the test item), else where it first stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from docendo.errors import ItemError, Problem, ScenarioError, UnknownNameError, Where, did_you_mean
from docendo.scenarios.item import Item
from docendo.scenarios.items.source import SOURCES, SourceOptions
from docendo.scenarios.schema import ItemsSpec

__all__ = ["Pools", "items_digest", "load_pools", "source_options"]

Pools = dict[str, tuple[Item, ...]]


def source_options(spec: ItemsSpec) -> SourceOptions:
    """The checked options of the source that `spec` names; reads no file.

    Raises:
        ScenarioError: An unknown source, and every unknown or bad option, with paths such as `items.digits`.
    """
    try:
        model = SOURCES.get(spec.source).options
    except UnknownNameError as error:
        where = Where(path="items.source")
        raise ScenarioError(
            [Problem(message=error.message, suggestion=error.suggestion, where=where)]
        ) from None
    try:
        return model.model_validate(spec.options)
    except ValidationError as error:
        raise ScenarioError(_problem(spec.source, model, dict(d)) for d in error.errors()) from None


def _problem(source: str, model: type[BaseModel], details: dict[str, object]) -> Problem:
    loc = details["loc"]
    names = [str(part) for part in loc] if isinstance(loc, tuple) else []
    path, name = ".".join(["items", *names]), names[-1] if names else "items"
    if details["type"] == "extra_forbidden":
        known = [*model.model_fields, "source", "train", "test", "pools"] if len(names) == 1 else []
        hint = did_you_mean(name, known)
        return Problem(
            message=f"unknown key `{name}` for `{source}`", suggestion=hint, where=Where(path=path)
        )
    if details["type"] == "missing":
        field = model.model_fields[names[0]]
        message = f"`source: {source}` needs `{name}`"
        return Problem(message=message, suggestion=field.description or "", where=Where(path="items"))
    message = f"{name}: {str(details['msg']).removeprefix('Value error, ')}"
    return Problem(message=message, where=Where(path=path))


def load_pools(spec: ItemsSpec, *, base: Path, seed: int) -> Pools:
    """The pools of a scenario, in its order.

    Args:
        spec: The scenario's `items:` block. Where files are given per pool, a pool without a size takes all
            of its file.
        base: Folder that relative paths start from.
        seed: Decides which items a generator makes, and which pool an item lands in.

    Raises:
        ScenarioError: An unknown source or option.
        ItemError: Items that cannot be used; no sizes; or a pool that wants more items than there are.
    """
    options = source_options(spec)
    sizes = {name: size for name, size in spec.sizes.items() if size is not None}
    items = SOURCES.get(spec.source).load(options, base=base, size=sum(sizes.values()), seed=seed)
    items = _once(items)
    own: dict[str, int] = {}
    for item in items:
        if pool := _own_pool(item):
            own[pool] = own.get(pool, 0) + 1
    wanted = {**sizes, **{pool: count for pool, count in own.items() if pool not in sizes}}
    if not wanted:
        raise ItemError(
            f"`items` names no pool; the source has {len(items)} items",
            suggestion=f"Say how many go where, e.g. `train: {len(items) // 3}, test: {len(items) // 2}`.",
            where=Where(path="items"),
        )
    return _deal(sorted(items, key=lambda item: _rank(seed, item.id)), wanted, own)


def _deal(items: list[Item], wanted: Mapping[str, int], own: Mapping[str, int]) -> Pools:
    free = [item for item in items if not _own_pool(item)]
    pools: Pools = {}
    for pool, size in wanted.items():
        mine = [item for item in items if _own_pool(item) == pool]
        more = max(0, size - len(mine))
        take, free = mine[:size] + free[:more], free[more:]
        if len(take) < size:
            raise ItemError(
                f"pool `{pool}` wants {size} items, but there are only {len(take)} for it",
                suggestion=_shares(wanted, own, len(items)),
                where=Where(path=f"items.{pool}"),
            )
        pools[pool] = tuple(take)
    return pools


def _shares(wanted: Mapping[str, int], own: Mapping[str, int], total: int) -> str:
    asked = ", ".join(f"{pool} {size}" for pool, size in wanted.items())
    have = ", ".join(f"{pool} {count}" for pool, count in own.items())
    by_file = f" ({have})" if have else ""
    return f"Wanted: {asked}. There are {total} different items{by_file}. Make the pools smaller."


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _content(item: Item) -> tuple[str, ...]:
    """What makes two items the same: the words of question and options, and the answer to open questions.

    Case counts only where it changes the answer (`reverse Ab`, `reverse ab`).
    """
    words = [_squeezed(text).casefold() for text in (item.question, *sorted(item.options))]
    return (*words, "" if item.options else item.answer)


def _once(items: Sequence[Item]) -> list[Item]:
    """The items with every question kept once and every id unique."""
    _refuse_disagreement(items)
    order = list(dict.fromkeys(_own_pool(item) for item in items))
    kept: dict[tuple[str, ...], Item] = {}
    for item in sorted(items, key=lambda item: -order.index(_own_pool(item))):
        kept.setdefault(_content(item), item)
    chosen = {id(item) for item in kept.values()}
    owners: dict[str, Item] = {}
    for item in items:
        if id(item) in chosen and owners.setdefault(item.id, item) is not item:
            raise ItemError(
                f"id `{item.id}` is used by two different items",
                suggestion="Give each item its own id; files of several pools share one set of ids.",
            )
    return list(owners.values())


def _refuse_disagreement(items: Sequence[Item]) -> None:
    first: dict[str, Item] = {}
    for item in items:
        other = item if item.options else first.setdefault(_squeezed(item.question), item)
        if other.answer != item.answer:
            raise ItemError(
                f"items `{other.id}` and `{item.id}` ask the same but are answered `{other.answer}` and "
                f"`{item.answer}`",
                suggestion="Remove one of them.",
            )


def _own_pool(item: Item) -> str:
    """The only pool that an item may go to, or nothing."""
    return str(item.taxonomy.get("pool") or "")


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\n{name}".encode()).hexdigest()


def items_digest(pools: Mapping[str, Sequence[Item]]) -> str:
    """SHA-256 of all pools, in hexadecimal: their names, their items with answers, and the order of these."""
    whole = {pool: [item.model_dump(mode="json") for item in items] for pool, items in pools.items()}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
