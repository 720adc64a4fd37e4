"""What a database says when it fails, and what the person in front of it can do."""

from __future__ import annotations

from docendo.errors import StoreError

__all__ = ["store_error"]

_KEPT = "What was recorded stays; the run continues from there when it is issued again."

_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("disk is full", "disk i/o error", "no space left", "file too large"),
        f"Free some space, or lift the limit on file sizes. {_KEPT}",
    ),
    (
        ("malformed", "not a database", "corrupt"),
        "The file is damaged. Put a copy in its place, or save what is left: sqlite3 FILE .recover",
    ),
    (
        ("readonly", "read-only", "unable to open", "permission denied", "insufficient privilege"),
        "Check that you may write the file and its folder, or name another store with --store.",
    ),
    (("is locked",), f"Another process holds the store; end it, or wait. {_KEPT}"),
    (("password authentication", "does not exist"), "Check user, password and database name in the URL."),
    (
        ("connection", "server closed", "translate host", "resolve"),
        f"Check that the database server runs and that the URL is right. {_KEPT}",
    ),
)


def store_error(error: BaseException, name: str) -> StoreError:
    """The `StoreError` for what the database `name` raised, with advice where the cause is known."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    said = lines[0] if lines else type(cause).__name__
    heard = str(cause).lower()
    advice = next((text for signs, text in _ADVICE if any(sign in heard for sign in signs)), "")
    return StoreError(f"the store {name} failed: {said}", suggestion=advice)
