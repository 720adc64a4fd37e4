"""`${env:NAME}`: the only thing that a scenario takes from outside.

References stay as they are in the resolved scenario, its digest and every export; they are replaced where
a backend is built, so that no secret is ever stored.
"""

from __future__ import annotations

import os
import re

from docendo.errors import UsageError

__all__ = ["bad_references", "resolve_env"]

_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def resolve_env(value: str) -> str:
    """`value` with every `${env:NAME}` replaced by the environment's `NAME`.

    Raises:
        UsageError: A variable is not set.
    """

    def read(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UsageError(f"the environment has no `{match[1]}`", suggestion=f"export {match[1]}=...")
        return os.environ[match[1]]

    return _REFERENCE.sub(read, value)


def bad_references(text: str) -> list[tuple[str, str]]:
    """(message, suggestion) for each reference in `text` that cannot be replaced now."""
    unset = [name for name in dict.fromkeys(_REFERENCE.findall(text)) if name not in os.environ]
    found = [(f"the environment has no `{name}`", f"export {name}=...") for name in unset]
    if "${" in _REFERENCE.sub("", text):
        found.append(("unknown reference `${...}`", "Only `${env:NAME}` is replaced."))
    return found
