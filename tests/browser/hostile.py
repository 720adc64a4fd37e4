"""A store in which every text says something hostile."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

__all__ = ["HOSTILE", "poison"]

HOSTILE = (
    '<img src=x onerror="window.pwned=1;alert(1)"><script>window.pwned=2;alert(2)</script>'
    "\"><svg onload=\"window.pwned=3\">' onmouseover='window.pwned=4' javascript:window.pwned=5"
    "</script></style></title></textarea><script>window.pwned=6</script><!--<script>"
    "<iframe src=https://example.invalid/></iframe><a href=https://example.invalid/>x</a>"
    "<link rel=stylesheet href=https://example.invalid/x.css><base href=https://example.invalid/>"
    "${window.pwned=7}{{constructor.constructor('window.pwned=8')()}}\u202e\u2066\ufeff\u0007 __proto__ ]]>"
)

KEPT = {
    "kind", "role", "flag", "by", "provenance", "finish", "operation", "purpose", "unit", "key", "outcome",
    "mode", "confidence_mode",
}  # fmt: skip
FIXED = {
    "*", "system", "user", "assistant", "end", "budget", "limit", "failed", "stop", "length", "instruction",
    "public", "own", "private", "memory", "belief", "gold", "mind",
}  # fmt: skip
"""Fields of events, and values, that are words of a fixed list."""


def poison(store: Path, target: Path) -> None:
    """Copies a SQLite store and appends `HOSTILE` to every text that somebody can have written."""
    shutil.copy(store, target)
    with sqlite3.connect(target) as database:
        for table, columns in {
            "condition": ["control"],
            "episode": ["item", "student", "key", "phase"],
            "event": ["agent", "act"],
            "observation": ["item", "student", "reason"],
        }.items():
            for column in columns:
                database.execute(
                    f"update {table} set {column} = {column} || ? where {column} != ''", (HOSTILE,)
                )
        _rewrite(database, "event", "id", "payload", poisoned)
        _rewrite(database, "call", "key", "reply", poisoned)
        _rewrite(database, "call", "key", "request", poisoned)
        _rewrite(database, "text", "hash", "body", poisoned)
        _rewrite(database, "condition", "rowid", "coordinates", poisoned)
        _rewrite(database, "run", "id", "scenario", described)
        database.execute(
            "update run set scenario_yaml = scenario_yaml || ?, name = name || ?", (HOSTILE, HOSTILE)
        )
    database.close()


def _rewrite(database: sqlite3.Connection, table: str, key: str, column: str, change: Any) -> None:
    rows = database.execute(f"select {key}, {column} from {table} where {column} is not null").fetchall()
    changed = [(json.dumps(change(json.loads(text))), name) for name, text in rows]
    database.executemany(f"update {table} set {column} = ? where {key} = ?", changed)


def poisoned(value: Any, name: str = "") -> Any:
    """The value with `HOSTILE` behind every text in it, names of fields apart."""
    if isinstance(value, str):
        return value if name in KEPT or value in FIXED else value + HOSTILE
    if isinstance(value, list):
        return [poisoned(v, name) for v in value]
    if isinstance(value, dict):
        return {k: poisoned(v, k) for k, v in value.items()}
    return value


def described(scenario: dict[str, Any]) -> dict[str, Any]:
    """A scenario with a hostile description."""
    return {**scenario, "description": HOSTILE}
