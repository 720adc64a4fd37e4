"""Names that a scenario file may mention, and what they stand for.

A `Registry` is a table for one kind of thing (acts, item sources, measures, ...). Built-ins register
beside their definition; other packages register through an entry point in the group `docendo`, whose
target is a module: importing it runs its `register` calls. Entry points load on the first miss, so that
an installed plug-in costs nothing until a scenario names it. Third-party names are `package/name`.

A `NumberedRegistry` also holds families: `NAME@3` is the member of the family `NAME` for the number 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from docendo.errors import UnknownNameError, UsageError, did_you_mean

__all__ = ["Family", "NumberedRegistry", "Registry", "load_plugins"]

T = TypeVar("T")

_plugins_loaded = False


def load_plugins() -> None:
    """Import every installed plug-in once.

    Raises:
        UsageError: A plug-in cannot be imported; the message names its distribution.
    """
    global _plugins_loaded
    if _plugins_loaded:
        return
    _plugins_loaded = True
    for entry in entry_points(group="docendo"):
        try:
            entry.load()
        except Exception as error:
            owner = entry.dist.name if entry.dist else entry.value
            raise UsageError(
                f"plug-in `{entry.name}` of `{owner}` cannot be imported: {error}",
                suggestion=f"Repair or uninstall it: pip uninstall {owner}",
            ) from error


class Registry(Generic[T]):
    """A table from name to thing, for one kind of thing."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Register `thing`.

        Raises:
            UsageError: The name is taken by something else.
        """
        if name in self._things and self._things[name] is not thing:
            raise UsageError(
                f"{self.kind} `{name}` is registered twice",
                suggestion="Plug-ins prefix their names: `package/name`.",
            )
        self._things[name] = thing
        return thing

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda thing: self.add(name, thing)

    def get(self, name: str) -> T:
        """The thing called `name`.

        Raises:
            UnknownNameError: Nothing is; the message suggests the nearest names.
        """
        if name not in self._things:
            load_plugins()
        try:
            return self._things[name]
        except KeyError:
            raise UnknownNameError(
                f"unknown {self.kind} `{name}`", suggestion=self.suggestion(name)
            ) from None

    def suggestion(self, name: str) -> str:
        """A hint for a misspelt name."""
        return did_you_mean(name, self._things)

    def names(self) -> list[str]:
        """All names, plug-ins included, sorted."""
        load_plugins()
        return sorted(self._things)

    def __contains__(self, name: object) -> bool:
        if name not in self._things:
            load_plugins()
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())


@dataclass(frozen=True, slots=True)
class Family(Generic[T]):
    """Things that differ by a whole number from 1 on."""

    parameter: str
    """What the number is called where it stands for any: `k` in `success@k`."""
    member: Callable[[int], T]


class NumberedRegistry(Registry[T]):
    """A registry that also knows families; `names` and iteration give the single things only."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.families: dict[str, Family[T]] = {}

    def add_family(self, name: str, family: Family[T]) -> Family[T]:
        """Register `family`, which may have the name of a single thing as well.

        Raises:
            UsageError: Another family has the name.
        """
        if self.families.setdefault(name, family) is not family:
            raise UsageError(f"the family `{name}` of {self.kind}s is registered twice")
        return family

    def get(self, name: str) -> T:
        """The thing or the member of a family called `name`.

        Raises:
            UnknownNameError: Nothing is; the message suggests the nearest names.
        """
        found = self._member(name)
        return found if found is not None else super().get(name)

    def suggestion(self, name: str) -> str:
        """A hint for a misspelt name, or for a number that none can be."""
        family, at, number = name.partition("@")
        if at and family in self.families:
            parameter = self.families[family].parameter
            return f"Write a whole number from 1 on for {parameter}, such as `{family}@3`."
        shown = number if _is_number(number) else ""
        members = (f"{known}@{shown or f.parameter}" for known, f in self.families.items())
        return did_you_mean(name, [*(() if at else self._things), *members])

    def _member(self, name: str) -> T | None:
        family, _, number = name.partition("@")
        if not _is_number(number):
            return None
        if family not in self.families:
            load_plugins()
        known = self.families.get(family)
        return known.member(int(number)) if known else None

    def __contains__(self, name: object) -> bool:
        return (isinstance(name, str) and self._member(name) is not None) or super().__contains__(name)


def _is_number(text: str) -> bool:
    """Whether `text` is a whole number from 1 on, as it is usually written; no number has ten digits."""
    return text.isascii() and text.isdigit() and text[0] != "0" and len(text) < 10
