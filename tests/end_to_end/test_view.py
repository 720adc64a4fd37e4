"""`docendo view` and `docendo view export` as commands."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from docendo.runtime.store import open_store
from docendo.runtime.viewer.calls import calls_page
from docendo.runtime.viewer.library import Library
from tests.end_to_end.model_server import model_server, served
from tests.runtime.viewer_server import run_into
from tests.trust.lab import Said, docendo

VIEW = [sys.executable, "-m", "docendo", "view"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = f"sqlite:///{tmp_path_factory.mktemp('view') / 'store.db'}"
    run_into(found)
    return found


def issue(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*VIEW, *arguments], capture_output=True, text=True, timeout=120, check=False)


def export(*arguments: object) -> Said:
    """`docendo view export`, in this process."""
    return docendo("view", "export", *arguments)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_view_says_where_it_listens_and_ends_when_told(url: str, stop: signal.Signals) -> None:
    command = [*VIEW, "--store", url, "--port", "0", "--no-open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout is not None
        said = ""
        while not said.endswith("\n}\n"):
            said += viewer.stdout.readline()
        address = json.loads(said)["data"]["url"]
        with urllib.request.urlopen(f"{address}api/store", timeout=30) as response:
            assert json.load(response)["state"] == "ready"
        viewer.send_signal(stop)
        assert viewer.wait(timeout=60) in {0, -stop}


def test_without_json_the_address_is_a_line(url: str) -> None:
    command = [*VIEW, "--store", url, "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout is not None
        line = viewer.stdout.readline()
        assert "http://127.0.0.1:" in line
        viewer.send_signal(signal.SIGINT)
        assert viewer.wait(timeout=60) == 0
        assert viewer.stderr is not None
        assert viewer.stderr.read() == ""


def test_a_port_that_is_taken_is_named(url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = issue("--store", url, "--port", port, "--no-open")
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in done.stderr
    assert "--port 0" in done.stderr


def test_a_host_that_is_not_here_is_named(url: str) -> None:
    done = issue("--store", url, "--host", "203.0.113.1", "--no-open")
    assert done.returncode == 1
    assert "cannot listen on 203.0.113.1" in done.stderr


@pytest.mark.parametrize("command", [["--no-open"], ["export", "-o", "study.html"]])
def test_a_store_that_is_not_there_is_named(tmp_path: Path, command: list[str]) -> None:
    done = issue(*command, "--store", f"sqlite:///{tmp_path / 'none.db'}")
    assert done.returncode == 3
    assert "there is no store at" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


def test_the_curl_command_asks_the_same_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    file = tmp_path / "study.yaml"
    with model_server() as models:
        export_to(file, served(models.url, replicates=1))
        assert docendo("run", file, "--store", url, "-q").code in {0, 2}
        with open_store(url, readonly=True) as store:
            library = Library(store)
            record = next(e for e in store.episodes(store.run("latest").id) if e.events_n > 3)
            where = record.lesson
            calls = calls_page(library, where.run, where.condition, where.replicate, record.ordinal).calls
        commands = [call.curl for call in calls if call.operation == "generate"]
        assert commands
        bodies = [request.body for request in models.server.received]
        for command in commands:
            assert command is not None
            said = subprocess.run(command, shell=True, check=True, capture_output=True, timeout=60).stdout
            assert "choices" in json.loads(said)
            again = models.server.received[-1]
            assert again.body in bodies
            assert again.path.endswith("/chat/completions")


def export_to(file: Path, raw: dict[str, Any]) -> None:
    """A scenario as a file; JSON is YAML."""
    file.write_text(json.dumps(raw), encoding="utf-8")


def test_export_writes_one_file(url: str, tmp_path: Path) -> None:
    out = tmp_path / "study.html"
    done = issue("export", "--store", url, "-o", str(out), "--json")
    data = json.loads(done.stdout)["data"]
    assert data["size"] == out.stat().st_size
    assert data["episodes"] > 0
    again = export("tutoring-dialogue", "--store", url, "-o", out)
    assert again.code == 1
    assert "--force" in again.err
    forced = docendo("view", "--store", url, "export", "tutoring-dialogue", "-o", out, "--force")
    assert (forced.code, forced.err) == (0, "")
    assert export("tutoring", "nothing", "--store", url).code == 1
    missing = export("nothing", "--store", url, "-o", tmp_path / "no.html")
    assert missing.code == 1
    assert "no run `nothing`" in missing.err
    assert not (tmp_path / "no.html").exists()
