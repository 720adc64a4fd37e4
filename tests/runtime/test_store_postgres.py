"""What only PostgreSQL can get wrong. Everything else runs on both databases in the other two files."""

import re
import sys

import pytest

from docendo.errors import StoreError
from docendo.runtime.store import RunRecord, open_store


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_usual_spelling_of_the_scheme_opens(postgres_url: str, scheme: str) -> None:
    with open_store(postgres_url.replace("postgresql", scheme, 1)) as store:
        store.begin_run(RunRecord(id="r", name="n", digest="d"))
        assert store.name.startswith("postgresql+psycopg://")


def test_without_the_driver_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match="psycopg") as caught:
        open_store("postgresql://somebody@localhost/study")
    assert caught.value.suggestion == "pip install 'docendo[postgres]'"


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(StoreError) as caught:
        open_store("postgresql://somebody:sesame@127.0.0.1:1/study")
    assert "somebody:***@127.0.0.1:1/study" in caught.value.message
    assert "sesame" not in str(caught.value)
    assert "database server runs" in caught.value.suggestion


def test_a_database_that_is_not_there_is_named(postgres_url: str) -> None:
    with pytest.raises(StoreError, match='database "nowhere" does not exist') as caught:
        open_store(re.sub(r"/docendo_\w+", "/nowhere", postgres_url))
    assert "database name" in caught.value.suggestion


def test_an_empty_database_is_no_store_to_a_reader(postgres_url: str) -> None:
    for options in ({"readonly": True}, {"create": False}):
        with pytest.raises(StoreError, match="holds no docendo store"):
            open_store(postgres_url, **options)
    with open_store(postgres_url):
        pass
    with open_store(postgres_url, readonly=True) as store:
        assert store.runs() == []


def test_tables_of_another_program_are_left_alone(postgres_url: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE songs (title text)")
        with pytest.raises(StoreError, match="another program"):
            open_store(postgres_url)
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert tables == [("songs",)]


def test_a_lost_server_connection_stops_the_run(postgres_url: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    store = open_store(postgres_url)
    store.begin_run(RunRecord(id="r", name="n", digest="d"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(StoreError) as caught:
        store.finish_run("r")
    assert "the run continues from there" in caught.value.suggestion
    store.close()
    with open_store(postgres_url) as store:
        store.begin_run(RunRecord(id="r", name="n", digest="d"))  # this process's lock of the closed store
