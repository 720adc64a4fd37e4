"""Names that a scenario file may mention, and what they stand for.

A `Registry` is a table for one kind of thing (acts, item sources, measures, ...). Built-ins register
beside their definition; other packages register through an entry point in the group `docendo`, whose
target is a module: importing it runs its `register` calls. Entry points load on the first miss, so that
an installed plug-in costs nothing until a scenario names it. Third-party names are `package/name`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from docendo.errors import UnknownNameError, UsageError, did_you_mean

__all__ = ["Registry", "load_plugins"]

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
                f"unknown {self.kind} `{name}`", suggestion=did_you_mean(name, self._things)
            ) from None

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
