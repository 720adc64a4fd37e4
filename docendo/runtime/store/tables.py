"""The tables. Long text keys stand once: events refer to an episode by number, episodes to a lesson.

An event's primary key is `episode.id * 2**20 + its place in the episode`. So the events of an episode lie
side by side in the file, and reading them needs no index beside the primary key, which matters when a
study has millions. Prompts are stored per message and by content (`text`): a dialogue of n turns costs n
messages and not n**2.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

__all__ = [
    "APPLICATION", "EVENTS_PER_EPISODE", "SCHEMA_VERSION", "call", "condition", "episode", "event", "lesson",
    "meta", "metadata", "observation", "run", "text",
]  # fmt: skip

APPLICATION = "docendo"
SCHEMA_VERSION = 2
"""Version of these tables. Raise it together with a function in `database.MIGRATIONS`."""

EVENTS_PER_EPISODE = 2**20


class _Row(SQLModel, registry=registry(metadata=MetaData())):
    """Base of the tables, with a metadata of their own."""


_ROWID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite makes only an `INTEGER PRIMARY KEY` the row's own address."""


def _long() -> Any:
    return Field(sa_column=Column(Text, nullable=False))


class MetaTable(_Row, table=True):
    """What this database is; and texts that can be made again from what it holds."""

    __tablename__ = "meta"
    key: str = Field(primary_key=True)
    value: str


class RunTable(_Row, table=True):
    """A run, and who holds its lock."""

    __tablename__ = "run"
    id: str = Field(primary_key=True)
    name: str
    digest: str
    items_digest: str
    scenario: str = _long()
    scenario_yaml: str = _long()
    manifest: str = _long()
    created_at: float
    status: str
    lock_token: str = ""
    lock_host: str = ""
    lock_pid: int = 0
    locked_at: float = 0.0
    heartbeat: float = 0.0


class ConditionTable(_Row, table=True):
    """A point of a run's matrix."""

    __tablename__ = "condition"
    run_id: str = Field(primary_key=True, foreign_key="run.id")
    id: str = Field(primary_key=True)
    ordinal: int
    coordinates: str = _long()
    control: str
    scenario: str = _long()


class LessonTable(_Row, table=True):
    """A condition x a replicate."""

    __tablename__ = "lesson"
    __table_args__: ClassVar[Any] = (UniqueConstraint("run_id", "condition_id", "replicate"),)
    id: int | None = Field(default=None, primary_key=True)
    run_id: str = Field(foreign_key="run.id")
    condition_id: str
    replicate: int
    status: str
    digest: str = ""
    n_episodes: int = 0
    n_failed: int = 0
    wall_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class EpisodeTable(_Row, table=True):
    """An execution of a graph."""

    __tablename__ = "episode"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("lesson_id", "key"),
        Index("episode_order", "lesson_id", "ordinal", "key"),
    )
    id: int | None = Field(default=None, primary_key=True)
    lesson_id: int = Field(foreign_key="lesson.id")
    key: str
    ordinal: int
    phase: str
    phase_kind: str
    round: int
    item: str
    student: str
    outcome: str
    failure: str
    digest: str
    wall_s: float
    events_n: int


class EventTable(_Row, table=True):
    """An event; `payload` holds what has no column."""

    __tablename__ = "event"
    id: int = Field(sa_column=Column(_ROWID, primary_key=True, autoincrement=False))
    turn: int
    branch: str
    n: int
    kind: str
    agent: str
    act: str
    payload: str = _long()


class CallTable(_Row, table=True):
    """A call of the journal; `prompt` lists addresses in `text`."""

    __tablename__ = "call"
    key: str = Field(primary_key=True)
    fingerprint: str
    operation: str
    prompt: str = _long()
    request: str = _long()
    reply: str | None = Field(default=None, sa_column=Column(Text))
    error: str | None = Field(default=None, sa_column=Column(Text))
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    latency_s: float
    created_at: float


class TextTable(_Row, table=True):
    """A prompt message under the hash of its content."""

    __tablename__ = "text"
    hash: str = Field(primary_key=True)
    body: str = _long()


class ObservationTable(_Row, table=True):
    """A measured value."""

    __tablename__ = "observation"
    id: int | None = Field(default=None, primary_key=True)
    lesson_id: int = Field(foreign_key="lesson.id", index=True)
    phase: str
    measure: str
    item: str
    student: str
    round: int
    value: float | None
    reason: str
    weight: float


def _table(row: Any) -> Table:
    return cast(Table, vars(row)["__table__"])


metadata = _Row.metadata
meta, run, condition, lesson, episode, event, call, text, observation = map(
    _table,
    (
        MetaTable, RunTable, ConditionTable, LessonTable, EpisodeTable, EventTable, CallTable, TextTable,
        ObservationTable,
    ),
)  # fmt: skip
