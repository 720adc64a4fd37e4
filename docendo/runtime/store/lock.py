"""The run lock: one process at a time works on one run.

The owner renews a heartbeat. A lock is stale, and may be taken over, when its process is gone (seen only on
the same host) or its heartbeat is older than `STALE_SECONDS`. An owner that was only asleep finds its token
replaced at its next beat and stops, so two processes never go on writing one run.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select, update

from docendo.errors import StoreError
from docendo.runtime.store.records import RunStatus
from docendo.runtime.store.tables import run

__all__ = ["BEAT_SECONDS", "STALE_SECONDS", "Owner", "acquire", "beat", "is_live", "release"]

BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock."""

    host: str = field(default_factory=platform.node)
    pid: int = field(default_factory=os.getpid)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)


def is_live(row: Row[Any], now: float) -> bool:
    """Whether the lock in this row of `run` is held by somebody who still works."""
    if not row.lock_token or now - row.heartbeat > STALE_SECONDS:
        return False
    return bool(row.lock_host != platform.node() or _process_exists(row.lock_pid))


def acquire(connection: Connection, run_id: str, owner: Owner) -> None:
    """Take the lock of an existing run.

    Raises:
        StoreError: Somebody else holds it.
    """
    row = connection.execute(select(run).where(run.c.id == run_id).with_for_update()).one()
    now = time.time()
    if row.lock_token != owner.token and is_live(row, now):
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(row.locked_at))
        raise StoreError(
            f"run `{row.name}` ({run_id}) is being worked on by process {row.lock_pid} on {row.lock_host}, "
            f"since {since}",
            suggestion="Wait for it or stop it. Another run may use this store at the same time.",
        )
    connection.execute(
        update(run)
        .where(run.c.id == run_id)
        .values(
            status="running",
            lock_token=owner.token,
            lock_host=owner.host,
            lock_pid=owner.pid,
            locked_at=now,
            heartbeat=now,
        )
    )


def beat(connection: Connection, runs: Iterable[str], owner: Owner) -> None:
    """Renew the locks of `runs`.

    Raises:
        StoreError: One of them was taken over.
    """
    for run_id in runs:
        held = (run.c.id == run_id) & (run.c.lock_token == owner.token)
        if not connection.execute(update(run).where(held).values(heartbeat=time.time())).rowcount:
            raise StoreError(
                f"run {run_id} was taken over by another process while this one was not running",
                suggestion="Let the other process finish; issuing the run again continues it.",
            )


def release(connection: Connection, run_id: str, owner: Owner, status: RunStatus) -> None:
    """Give the lock back and leave `status` behind. Does nothing if the lock was taken over."""
    held = (run.c.id == run_id) & (run.c.lock_token == owner.token)
    connection.execute(update(run).where(held).values(status=status, lock_token="", lock_pid=0))


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it exists and belongs to somebody else
    return True
