"""One database behind a SQLAlchemy URL: opening it, checking that it is ours, and its transactions.

SQLite runs in WAL mode with `synchronous=NORMAL`: a killed process loses nothing that was committed, and
readers never wait for the writer. Every writing transaction starts with `BEGIN IMMEDIATE`, because a
deferred one that reads before it writes fails with "database is locked" whatever the timeout. Reads run
outside transactions. Nothing but `StoreError` leaves this module for what the database can do wrong.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from docendo.errors import StoreError
from docendo.runtime.store import tables
from docendo.runtime.store.trouble import store_error
from docendo.runtime.store.words import create_words, fill_words

__all__ = ["MIGRATIONS", "Database"]


def _second(connection: Connection) -> None:
    """Engines have a table, and words an index."""
    tables.metadata.create_all(connection)
    fill_words(connection)


MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _second}
"""Version n -> what makes it version n + 1, inside the opening transaction."""

BUSY_SECONDS = 30.0
"""How long a writer waits for another process's transaction."""

_IDENTITY = ("application", "schema_version")
"""Keys of `meta` that say what a database is."""

_OPENING_LOCK = 0x646F63656E646F
"""PostgreSQL advisory lock held while tables are made, so that two processes do not make them at once."""


class Database:
    """A connection pool to one store."""

    def __init__(self, url: str, *, create: bool = True, readonly: bool = False) -> None:
        self.readonly = readonly
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        parsed = _parse(url)
        if parsed.get_backend_name() == "sqlite":
            self.engine = self._sqlite(parsed, create=create and not readonly)
        else:
            self.engine = self._postgres(parsed)
        self._reader = self.engine.execution_options(**_READ[self.engine.dialect.name])
        try:
            self._check(create=create and not readonly)
        except BaseException:
            self.close()
            raise

    def _sqlite(self, url: URL, *, create: bool) -> Engine:
        if url.database in (None, "", ":memory:"):
            # Threads do not share a memory database; a file in a folder that goes with us does the same.
            self._folder = tempfile.TemporaryDirectory(prefix="docendo-")
            path, self.name, create = Path(self._folder.name) / "store.db", "the temporary store", True
        else:
            path = Path(str(url.database))
            self.name = str(path)
            _check_file(path, create=create)
        mode = "ro" if self.readonly else "rwc" if create else "rw"

        def connect() -> sqlite3.Connection:
            address = f"file:{quote(str(path.absolute()))}?mode={mode}"
            try:
                return _connect(address)
            except sqlite3.OperationalError:
                if mode != "ro":
                    raise
                # A reader of a WAL database wants to make side files. Where it may not, nobody writes.
                return _connect(address + "&immutable=1")

        engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
        event.listen(engine, "begin", _begin_immediate)
        return engine

    def _postgres(self, url: URL) -> Engine:
        self.name = url.render_as_string(hide_password=True)
        options = {"options": "-c default_transaction_read_only=on"} if self.readonly else {}
        try:
            return create_engine(url, connect_args=options)
        except ImportError as error:
            raise StoreError(
                "PostgreSQL needs the package psycopg, which is not installed",
                suggestion="pip install 'docendo[postgres]'",
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection whose every statement sees what is committed.

        Raises:
            StoreError: The database failed.
        """
        with self.translated(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One writing transaction: all of it, or nothing.

        Raises:
            StoreError: The database failed.
        """
        with self.translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns what the database raises into `StoreError`."""
        try:
            yield
        except (SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
            raise store_error(error, self.name) from error

    def raw(self) -> Any:
        """A driver's own connection, reading outside transactions: for the one read that must be fast."""
        with self.translated():
            pooled = self.engine.raw_connection()
            connection: Any = pooled.driver_connection
            pooled.detach()
        if self.engine.dialect.name == "postgresql":
            connection.autocommit = True
        return connection

    def insert_new(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert the rows whose primary or unique key is not there yet."""
        if rows:
            # Only the dialect in use: the other one is slow to import.
            dialect = import_module(f"sqlalchemy.dialects.{self.engine.dialect.name}")
            connection.execute(dialect.insert(table).on_conflict_do_nothing(), list(rows))

    def close(self) -> None:
        """Fold the write-ahead log into the file, as far as readers let us, and close every connection."""
        if self.engine.dialect.name == "sqlite" and not self.readonly:
            with suppress(StoreError), self.read() as connection:
                connection.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))
        self.engine.dispose()
        if self._folder:
            self._folder.cleanup()

    def _check(self, *, create: bool) -> None:
        """Make the tables of a new store, migrate an old one, refuse what is not ours."""
        with self.read() as connection:
            version = self._version(connection)
        if version is None and not create:
            raise StoreError(
                f"{self.name} holds no docendo store",
                suggestion="Run a scenario first, or name another store with --store.",
            )
        if version is not None and version < tables.SCHEMA_VERSION and self.readonly:
            raise StoreError(
                f"{self.name} has schema version {version}, this docendo reads {tables.SCHEMA_VERSION}",
                suggestion="Bring it up to date: issue one of its runs again, with `docendo run FILE`.",
            )
        if self.readonly:
            return
        if self.engine.dialect.name == "sqlite":
            with self.read() as connection:  # cannot be set inside a transaction; stays with the file
                connection.execute(text("PRAGMA journal_mode=WAL"))
        with self.write() as connection:  # also where nothing is to be done: it shows that we may write
            self._upgrade(connection)

    def _version(self, connection: Connection) -> int | None:
        """The schema version found; `None` in an empty database."""
        inspector = inspect(connection)
        found = set(inspector.get_table_names())
        if not found:
            return None
        known: dict[str, str] = {}
        if "meta" in found and {"key", "value"} <= {c["name"] for c in inspector.get_columns("meta")}:
            rows = connection.execute(
                select(tables.meta.c.key, tables.meta.c.value).where(tables.meta.c.key.in_(_IDENTITY))
            )
            known = {key: value for key, value in rows}
        if known.get("application") != tables.APPLICATION:
            raise StoreError(
                f"{self.name} belongs to another program (its tables: {', '.join(sorted(found)[:4])})",
                suggestion="Name another file, or an empty database, with --store.",
            )
        version = int(known["schema_version"])
        if version > tables.SCHEMA_VERSION:
            raise StoreError(
                f"{self.name} was written by a newer docendo: its schema version is {version}, "
                f"this one knows {tables.SCHEMA_VERSION}",
                suggestion="Upgrade: pip install -U docendo.",
            )
        return version

    def _upgrade(self, connection: Connection) -> None:
        if self.engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _OPENING_LOCK})
        version = self._version(connection)  # again: another process may have been faster
        if version is None:
            tables.metadata.create_all(connection)
            create_words(connection)
            rows = {"application": tables.APPLICATION, "schema_version": str(tables.SCHEMA_VERSION)}
            connection.execute(tables.meta.insert(), [{"key": k, "value": v} for k, v in rows.items()])
            return
        for old in range(version, tables.SCHEMA_VERSION):
            MIGRATIONS[old](connection)
        connection.execute(
            tables.meta.update()
            .where(tables.meta.c.key == "schema_version")
            .values(value=str(tables.SCHEMA_VERSION))
        )


_READ: dict[str, dict[str, Any]] = {
    "sqlite": {"docendo_read": True},
    "postgresql": {"isolation_level": "AUTOCOMMIT"},
}


def _begin_immediate(connection: Connection) -> None:
    if not connection.get_execution_options().get("docendo_read"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _connect(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address, uri=True, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
    )
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA schema_version")  # opens the file, which shows whether that works
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _parse(url: str) -> URL:
    """The URL, with PostgreSQL's short names made to mean psycopg."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(
            f"`{url}` is not a database URL", suggestion=f"For a file, write sqlite:///{url}"
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise StoreError(
            f"docendo keeps no store in `{parsed.drivername}`",
            suggestion="Use sqlite:///file.db or postgresql://user@host/database.",
        )
    return parsed


def _check_file(path: Path, *, create: bool) -> None:
    """Refuse early, and in words, what SQLite would refuse late.

    Raises:
        StoreError: The path cannot be a store.
    """
    try:
        if not path.parent.is_dir():
            raise StoreError(
                f"the folder {path.parent} does not exist", suggestion=f"Create it: mkdir -p {path.parent}"
            )
        if not path.exists():
            if create:
                return
            raise StoreError(
                f"there is no store at {path}",
                suggestion="Run a scenario first, or name another store with --store.",
            )
        if not path.is_file():
            raise StoreError(f"{path} is not a file", suggestion="Name a file with --store sqlite:///FILE.")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise store_error(error, str(path)) from error
    if head and head != b"SQLite format 3\0":
        raise StoreError(f"{path} is not a SQLite database", suggestion="Name another file with --store.")
