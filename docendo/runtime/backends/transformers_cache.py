"""Keys and values of a batch, and the store of those that prompts have in common.

All rows of a batch end in the same column, so a row is known by its slot and its length. Rows come and go
in place: a new row is written over one that has ended, and nothing else is copied. Tensors have columns in
reserve, so that a step writes one column where transformers' own cache copies them all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

__all__ = ["BLOCK", "PrefixStore", "SlotCache"]

BLOCK = 16
"""Tokens of one piece of a prompt in the prefix store."""
_RESERVE = 64
"""Columns that a full cache grows by."""

Pair = tuple[Any, Any]
"""Keys and values of one layer."""


class _Layer(DynamicLayer):  # type: ignore[misc]
    """One layer: tensors [rows, heads, columns, width], of which `length` columns are in use."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        """Make the tensors, empty."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_zeros((*key_states.shape[:2], 0, key_states.shape[3]))
        self.values = value_states.new_zeros((*value_states.shape[:2], 0, value_states.shape[3]))
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Pair:
        """Write the next columns; returns all that are in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.keys.shape[2]:
            more = end + (_RESERVE if key_states.shape[2] == 1 else 0)
            self.keys, self.values = (
                _resized(self.keys, more, self.length),
                _resized(self.values, more, self.length),
            )
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self.length

    def set(self, keys: Any, values: Any) -> None:
        """Take these tensors, all of whose columns are in use."""
        self.dtype, self.device = keys.dtype, keys.device
        self.keys, self.values, self.length = keys, values, keys.shape[2]
        self.is_initialized = True

    @property
    def used(self) -> Pair:
        """The columns in use."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class SlotCache(Cache):  # type: ignore[misc]
    """Keys and values of a batch whose rows all end in column `width`."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_Layer)

    @property
    def width(self) -> int:
        """Columns in use."""
        return self.layers[0].length if self.layers else 0

    @property
    def rows(self) -> int:
        """Rows, those that have ended included."""
        return self.layers[0].keys.shape[0] if self.layers else 0

    def set(self, pairs: Sequence[Pair]) -> None:
        """Take these tensors, one pair per layer."""
        self.layers = [_Layer() for _ in pairs]
        for layer, (keys, values) in zip(self.layers, pairs, strict=True):
            layer.set(keys, values)

    def select(self, rows: Sequence[int], width: int) -> SlotCache:
        """A new cache of some of the rows (also several times), cut to their last `width` columns."""
        chosen = SlotCache()
        if self.layers:
            index = torch.tensor(rows, device=self.layers[0].keys.device)
            pairs = [layer.used for layer in self.layers]
            start = self.width - width
            chosen.set([(k[index, :, start:], v[index, :, start:]) for k, v in pairs])
        return chosen

    def make_room(self, rows: int, width: int) -> None:
        """Have at least so many rows, and at least so many columns in use; new ones are empty and left."""
        for layer in self.layers:
            old, far = layer.keys.shape[0], max(0, width - layer.length)
            if rows <= old and not far:
                continue
            tensors = []
            for tensor in layer.used:
                shape = (max(rows, old), tensor.shape[1], tensor.shape[2] + far, tensor.shape[3])
                wider = tensor.new_zeros(shape)
                wider[:old, :, far:] = tensor
                tensors.append(wider)
            layer.set(*tensors)

    def put(
        self, slots: Sequence[int], source: SlotCache, rows: Sequence[int], lengths: Sequence[int]
    ) -> None:
        """Write rows of another cache into slots of this one, which has room for them."""
        if not self.layers:
            pairs = [(k.new_zeros(0, *k.shape[1:]), v.new_zeros(0, *v.shape[1:])) for k, v in source.pairs()]
            self.set([(k[:, :, :0], v[:, :, :0]) for k, v in pairs])
            self.make_room(max(slots) + 1, max(lengths))
        for layer, (keys, values) in zip(self.layers, source.pairs(), strict=True):
            for slot, row, length in zip(slots, rows, lengths, strict=True):
                place = slice(layer.length - length, layer.length)
                layer.keys[slot, :, place] = keys[row, :, keys.shape[2] - length :]
                layer.values[slot, :, place] = values[row, :, values.shape[2] - length :]

    def pairs(self) -> Iterator[Pair]:
        """Keys and values in use, by layer."""
        return (layer.used for layer in self.layers)


def _resized(tensor: Any, columns: int, used: int) -> Any:
    wider = tensor.new_zeros((*tensor.shape[:2], columns, tensor.shape[3]))
    wider[:, :, :used] = tensor[:, :, :used]
    return wider


@dataclass(slots=True)
class _Node:
    number: int
    pairs: list[Pair]
    """[heads, BLOCK, width] by layer."""


class PrefixStore:
    """Keys and values of prompts' beginnings, in blocks that prompts share, the least used dropped first."""

    def __init__(self) -> None:
        """Make a store that keeps nothing before it is given a limit."""
        self._most = 0
        self._nodes: OrderedDict[tuple[int, tuple[int, ...]], _Node] = OrderedDict()
        self._next = 1

    def limit(self, tokens: int) -> None:
        """Keep at most so many tokens."""
        self._most = tokens // BLOCK

    def match(self, ids: Sequence[int]) -> tuple[int, tuple[int, tuple[int, ...]] | None]:
        """How much of a prompt is here.

        Returns:
            Tokens that are here, fewer than the prompt's since its last one must be computed; and the name of
            the first whole block that is not, for prompts with the same name share it.
        """
        parent = 0
        for start in range(0, (len(ids) - 1) // BLOCK * BLOCK, BLOCK):
            name = (parent, tuple(ids[start : start + BLOCK]))
            node = self._nodes.get(name)
            if node is None:
                return start, name
            parent = node.number
        return (len(ids) - 1) // BLOCK * BLOCK, None

    def read(self, ids: Sequence[int], tokens: int) -> list[Pair]:
        """Keys and values [heads, tokens, width] by layer of the first `tokens`, which `match` found."""
        nodes, parent = [], 0
        for start in range(0, tokens, BLOCK):
            name = (parent, tuple(ids[start : start + BLOCK]))
            nodes.append(self._nodes[name])
            parent = nodes[-1].number
        self._touch(ids, tokens)
        layers = zip(*(node.pairs for node in nodes), strict=True)
        return [
            (
                torch.cat([k for k, _ in layer], dim=1)[:, :tokens],
                torch.cat([v for _, v in layer], dim=1)[:, :tokens],
            )
            for layer in layers
        ]

    def keep(self, ids: Sequence[int], row: int, cache: SlotCache) -> None:
        """Remember the whole blocks of a prompt that was computed as a row of `cache`."""
        parent, start = 0, cache.width - len(ids)
        for at in range(0, len(ids) // BLOCK * BLOCK, BLOCK):
            name = (parent, tuple(ids[at : at + BLOCK]))
            node = self._nodes.get(name)
            if node is None:
                place = slice(start + at, start + at + BLOCK)
                pairs = [(k[row, :, place].clone(), v[row, :, place].clone()) for k, v in cache.pairs()]
                node = self._nodes[name] = _Node(self._next, pairs)
                self._next += 1
            parent = node.number
        self._touch(ids, len(ids))
        while len(self._nodes) > self._most:
            self._nodes.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._nodes.clear()

    def _touch(self, ids: Sequence[int], tokens: int) -> None:
        """Mark as used lately, the beginning last: a block is of no use without those before it."""
        names, parent = [], 0
        for start in range(0, tokens - BLOCK + 1, BLOCK):
            name = (parent, tuple(ids[start : start + BLOCK]))
            names.append(name)
            parent = self._nodes[name].number
        for name in reversed(names):
            self._nodes.move_to_end(name)
