"""From a scenario's `items:` block to named pools of items that share nothing.

Items are put in an order that depends on seed and id only (a hash, so neither process nor machine matters)
and dealt out to the pools in the order of the scenario. Items whose file or `pool` field names a pool go
there only. A question that occurs twice would leak from one pool into another, so it is kept once: in the
last pool named by the files (`{train: ..., test: ...}` keeps the test item), else where it first stands.

A pool with options of its own (`far: {size: 10, digits: 5}`) is made by itself, after the pools that share
the options of `items`, and takes nothing that these or earlier ones of its kind hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from docendo.errors import ItemError, Problem, ScenarioError, UnknownNameError, Where, did_you_mean
from docendo.scenarios.item import Item
from docendo.scenarios.items.source import SOURCES, FileOptions, SourceOptions
from docendo.scenarios.schema import ItemsSpec, PoolSpec

__all__ = ["Pools", "items_digest", "load_pools", "pool_options", "source_options"]

Pools = dict[str, tuple[Item, ...]]


def source_options(spec: ItemsSpec, pool: str | None = None) -> SourceOptions:
    """The checked options of the source that `spec`, or one of its pools, names; reads no file.

    Raises:
        ScenarioError: An unknown source, and every unknown or bad option, with paths such as `items.digits`.
    """
    source, given, place = _asked(spec, pool)
    path = ".".join(place)
    try:
        model = SOURCES.get(source).options
    except UnknownNameError as error:
        where = Where(path=f"{path}.source")
        raise ScenarioError(
            [Problem(message=error.message, suggestion=error.suggestion, where=where)]
        ) from None
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ScenarioError(_problem(source, model, dict(d), path) for d in error.errors()) from None


def _asked(spec: ItemsSpec, pool: str | None) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Source, options and place of a pool with options of its own; of `items` where `pool` is `None`."""
    own = spec.pools[pool] if pool is not None else None
    if pool is None or not isinstance(own, PoolSpec):
        return spec.source, spec.options, ("items",)
    return own.source or spec.source, pool_options(spec, own), ("items", "pools", pool)


def pool_options(spec: ItemsSpec, pool: PoolSpec) -> dict[str, Any]:
    """A pool's options: its own over those of `items`; its own alone where its source is another one."""
    other = pool.source is not None and pool.source != spec.source
    return pool.options if other else {**spec.options, **pool.options}


def _problem(source: str, model: type[BaseModel], details: dict[str, object], under: str) -> Problem:
    loc = details["loc"]
    names = [str(part) for part in loc] if isinstance(loc, tuple) else []
    path, name = ".".join([under, *names]), names[-1] if names else under.split(".")[-1]
    if details["type"] == "extra_forbidden":
        beside = ["source", "train", "test", "pools"] if under == "items" else ["source", "size"]
        known = [*model.model_fields, *beside] if len(names) == 1 else []
        hint = did_you_mean(name, known)
        return Problem(
            message=f"unknown key `{name}` for `{source}`", suggestion=hint, where=Where(path=path)
        )
    if details["type"] == "missing":
        field = model.model_fields[names[0]]
        message = f"`source: {source}` needs `{name}`"
        return Problem(message=message, suggestion=field.description or "", where=Where(path=under))
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
    separate = {
        name: pool for name, pool in spec.pools.items() if isinstance(pool, PoolSpec) and _differs(pool)
    }
    sizes = {n: size for n, size in spec.sizes.items() if size is not None and n not in separate}
    pools = _shared(spec, sizes, base=base, seed=seed, alone=not separate)
    for name, pool in separate.items():
        taken = [item for items in pools.values() for item in items]
        pools[name] = _separate(spec, name, pool.size, taken, base=base, seed=seed)
    named = [name for name in spec.sizes if name in pools]
    return {name: pools[name] for name in [*named, *(name for name in pools if name not in named)]}


def _differs(pool: PoolSpec) -> bool:
    return bool(pool.source or pool.options)


def _shared(spec: ItemsSpec, sizes: Mapping[str, int], *, base: Path, seed: int, alone: bool) -> Pools:
    """The pools that share the options of `items`; they need not exist where others do (`alone`)."""
    options = source_options(spec)
    wanted = sum(sizes.values())
    if not wanted and not alone and not isinstance(options, FileOptions):
        return dict.fromkeys(sizes, ())
    items = _once(SOURCES.get(spec.source).load(options, base=base, size=wanted, seed=seed))
    own: dict[str, int] = {}
    for item in items:
        if pool := _own_pool(item):
            own[pool] = own.get(pool, 0) + 1
    counts = {**sizes, **{pool: count for pool, count in own.items() if pool not in spec.sizes}}
    if not counts and alone:
        raise ItemError(
            f"`items` names no pool; the source has {len(items)} items",
            suggestion=f"Say how many go where, e.g. `train: {len(items) // 3}, test: {len(items) // 2}`.",
            where=Where(path="items"),
        )
    return _deal(_shuffled(items, seed), counts, own)


def _separate(
    spec: ItemsSpec, pool: str, size: int, taken: Sequence[Item], *, base: Path, seed: int
) -> tuple[Item, ...]:
    """A pool with options of its own: none of its questions, and none of its ids, is `taken`.

    A generator may make what another pool has already; then it is asked for so many more, and gives up with
    an error of its own when there are no further ones.
    """
    source, options = _asked(spec, pool)[0], source_options(spec, pool)
    where = Where(path=f"items.pools.{pool}")
    if not size:
        return ()
    known, asked = {_content(item) for item in taken}, size
    items: list[Item] = []
    while len(items) < size:
        try:
            made = SOURCES.get(source).load(options, base=base, size=asked, seed=seed)
        except ItemError as error:
            if error.where.file is not None:
                raise
            raise _too_few(pool, size, items, error, where) from None
        items = [i for i in _once(made) if _content(i) not in known and _own_pool(i) in ("", pool)]
        if len(items) < size and isinstance(options, FileOptions):
            raise _too_few(pool, size, items, None, where)
        asked += size - len(items)
    return tuple(_renamed(_shuffled(items, seed)[:size], pool, {item.id for item in taken}))


def _too_few(pool: str, size: int, items: Sequence[Item], error: ItemError | None, where: Where) -> ItemError:
    if error is not None and not items:  # what the generator says of the wish itself
        return ItemError(f"pool `{pool}`: {error.message}", suggestion=error.suggestion, where=where)
    return ItemError(
        f"pool `{pool}` wants {size} items that no other pool has, but there are only {len(items)}",
        suggestion="Make it smaller, or let its options differ more from those of `items`.",
        where=where,
    )


def _renamed(items: Sequence[Item], pool: str, taken: set[str]) -> Iterator[Item]:
    """The items, with the pool's name before ids that items of other pools have."""
    for item in items:
        yield item.model_copy(update={"id": f"{pool}-{item.id}"}) if item.id in taken else item


def _shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """An order that hangs on seed and ids only; items about one problem stay side by side, in file order."""
    return sorted(items, key=lambda item: _rank(seed, item.problem))


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
        problems = {item.problem for item in take}
        free = [item for item in free if item.problem not in problems]
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
    """The items with every question kept once and every id unique.

    Items that say that they are about one problem are different though they ask the same; they stay in the
    pool of the first of them that is kept.
    """
    _refuse_disagreement(items)
    order = list(dict.fromkeys(_own_pool(item) for item in items))
    kept: dict[tuple[str, ...], Item] = {}
    for item in sorted(items, key=lambda item: -order.index(_own_pool(item))):
        kept.setdefault(_content(item), item)
    owners: dict[str, Item] = {}
    for item in items:
        if _stays(item, kept[_content(item)]) and owners.setdefault(item.id, item) is not item:
            raise ItemError(
                f"id `{item.id}` is used by two different items",
                suggestion="Give each item its own id; files of several pools share one set of ids.",
            )
    return list(owners.values())


def _stays(item: Item, first: Item) -> bool:
    about_one = item.problem == first.problem != first.id
    return item is first or (about_one and _own_pool(item) == _own_pool(first))


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
