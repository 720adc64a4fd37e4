"""The database: SQLModel tables and the one class that reads and writes them."""

from docendo.runtime.store.records import (
    CallRecord,
    CallResult,
    ConditionCounts,
    ConditionRecord,
    EngineRecord,
    EpisodeRecord,
    LessonKey,
    LessonRecord,
    ObservationRow,
    RunRecord,
)
from docendo.runtime.store.store import Store, open_store

__all__ = [
    "CallRecord", "CallResult", "ConditionCounts", "ConditionRecord", "EngineRecord", "EpisodeRecord",
    "LessonKey", "LessonRecord", "ObservationRow", "RunRecord", "Store", "open_store",
]  # fmt: skip
