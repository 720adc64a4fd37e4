"""Full-text search over what was said: FTS5 on SQLite, a `tsvector` with its GIN index on PostgreSQL.

The index is written with the events, in their transaction, so it is never behind them: on SQLite that costs
19 microseconds per message, all of it outside Python. It holds no text of its own. SQLite reads the texts
back through the view `spoken`, which is also how an entry is taken out again. On PostgreSQL, which has no
such way and refuses what JSON may hold (a NUL), the words come from here.

Words are whole and without regard to case. Accents do not count on SQLite; PostgreSQL's `simple` keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from docendo.errors import UsageError
from docendo.events import Event, MessageEvent
from docendo.runtime.store.codec import decode, encode
from docendo.runtime.store.tables import EVENTS_PER_EPISODE

__all__ = ["Term", "add_words", "create_words", "fill_words", "matching", "plain", "remove_words", "terms_of"]

LONGEST = 200_000
"""Characters of a message that PostgreSQL indexes; a `tsvector` holds one megabyte."""

_PAGE = 2000

_SQLITE = (
    # SQLite's JSON ends a text at a NUL. Where it stands in one, a space takes its place.
    """CREATE VIEW spoken AS
    SELECT id, json_extract(body, '$.message.text') AS said,
        json_extract(body, '$.message.thoughts') AS thoughts
    FROM (
        SELECT id, CASE
            WHEN instr(payload, '\\u0000') AND json_valid(replace(payload, '\\u0000', ' '))
            THEN replace(payload, '\\u0000', ' ') ELSE payload END AS body
        FROM event WHERE kind = 'message'
    )""",
    "CREATE VIRTUAL TABLE words USING fts5(said, thoughts, content='spoken', content_rowid='id')",
)
_POSTGRES = (
    "CREATE TABLE words (event BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
    "CREATE INDEX words_in ON words USING gin (words)",
)

_ADD_SQLITE = text(
    "INSERT INTO words (rowid, said, thoughts) "
    "SELECT id, said, thoughts FROM spoken WHERE id BETWEEN :first AND :last"
)
_REMOVE_SQLITE = text(
    "INSERT INTO words (words, rowid, said, thoughts) "
    "SELECT 'delete', id, said, thoughts FROM spoken WHERE id BETWEEN :first AND :last"
)
_ADD_POSTGRES = text("INSERT INTO words (event, words) VALUES (:event, to_tsvector('simple', :said))")
_REMOVE_POSTGRES = text("DELETE FROM words WHERE event BETWEEN :first AND :last")


@dataclass(frozen=True, slots=True)
class Term:
    """A word or a phrase that is asked for."""

    text: str
    prefix: bool = False
    """Whether the last word may go on."""
    without: bool = False
    """Whether messages with it are left out."""


def create_words(connection: Connection) -> None:
    """Make the index of a store that has no messages yet."""
    for statement in _SQLITE if _is_sqlite(connection) else _POSTGRES:
        connection.execute(text(statement))


def fill_words(connection: Connection) -> None:
    """Make the index of a store that was written without one."""
    create_words(connection)
    if _is_sqlite(connection):
        connection.execute(text("INSERT INTO words (words) VALUES ('rebuild')"))
        return
    page = text(
        "SELECT id, payload FROM event WHERE id > :after AND kind = 'message' ORDER BY id LIMIT :limit"
    )
    after = -1
    while rows := connection.execute(page, {"after": after, "limit": _PAGE}).all():
        after = rows[-1].id
        said = ((row.id, decode(row.payload)["message"]) for row in rows)
        _put(connection, ((id_, m["text"], m.get("thoughts", "")) for id_, m in said))


def add_words(connection: Connection, episode_id: int, events: Sequence[Event]) -> None:
    """Index the messages of an episode whose events, in order, have just been inserted."""
    first = episode_id * EVENTS_PER_EPISODE
    if _is_sqlite(connection):
        connection.execute(_ADD_SQLITE, {"first": first, "last": first + EVENTS_PER_EPISODE - 1})
        return
    _put(
        connection,
        (
            (first + n, event.message.text, event.message.thoughts)
            for n, event in enumerate(events)
            if isinstance(event, MessageEvent)
        ),
    )


def remove_words(connection: Connection, episode_id: int) -> None:
    """Take out an episode's messages; while its events are still there."""
    first = episode_id * EVENTS_PER_EPISODE
    statement = _REMOVE_SQLITE if _is_sqlite(connection) else _REMOVE_POSTGRES
    connection.execute(statement, {"first": first, "last": first + EVENTS_PER_EPISODE - 1})


def terms_of(query: str) -> list[Term]:
    """What somebody typed, as terms: `word`, `"a phrase"`, `begin*`, `-without`.

    Raises:
        UsageError: It holds no word to look for.
    """
    terms = []
    for minus, quoted, word in re.findall(r'(-?)(?:"([^"]*)"?|(\S+))', query):
        body = quoted or word.replace('"', " ")
        if any(c.isalnum() for c in body):
            terms.append(Term(body.rstrip("*"), body.endswith("*"), bool(minus)))
    if all(term.without for term in terms):
        raise UsageError(
            "nothing to look for",
            suggestion='Give a word, a "phrase in quotes", the beginning of a word with `*`; '
            "`-word` leaves messages out.",
        )
    return terms


def matching(terms: Sequence[Term], dialect: str) -> tuple[str, dict[str, Any]]:
    """A query of `(id)` for the events that hold all `terms`, with its parameters."""
    if dialect == "sqlite":
        wanted = " AND ".join(_phrase(t) for t in terms if not t.without)
        unwanted = "".join(f" NOT {_phrase(t)}" for t in terms if t.without)
        return "SELECT rowid AS id FROM words WHERE words MATCH :match", {"match": f"({wanted}){unwanted}"}
    parts, values = [], {}
    for number, term in enumerate(terms):
        name = f"term{number}"
        phrase = f"phraseto_tsquery('simple', :{name})"
        if term.prefix:  # the text of a tsquery ends in its last word, in quotes
            phrase = f"coalesce(nullif({phrase}::text, '') || ':*', '')::tsquery"
        parts.append(f"!!{phrase}" if term.without else phrase)
        values[name] = plain(term.text)
    return f"SELECT event AS id FROM words WHERE words @@ ({' && '.join(parts)})", values


def plain(text: str) -> str:
    """Words in lower case with single spaces between, as FTS5 reads a text.

    PostgreSQL would take numbers and addresses apart in its own way, and its case depends on the locale.
    """
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def _phrase(term: Term) -> str:
    """A term in the language of FTS5, where a doubled quote stands for one and nothing else is special."""
    quoted = '"' + term.text.replace('"', '""').replace("\0", " ") + '"'
    return quoted + "*" if term.prefix else quoted


def _put(connection: Connection, rows: Iterable[tuple[int, str, str]]) -> None:
    values = [
        {"event": id_, "said": decode(encode(plain(f"{said}\n{thoughts}")[:LONGEST]))}
        for id_, said, thoughts in rows
    ]
    if values:
        connection.execute(_ADD_POSTGRES, values)


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"
