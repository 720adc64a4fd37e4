"""`docendo models` and `docendo doctor`: what they say of models, stores and machines; exit codes."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from docendo.runtime.backends import machine
from docendo.runtime.checkup import VIEWER_PORT
from docendo.runtime.store import open_store
from tests.end_to_end.model_server import model_server, served
from tests.trust.lab import Raw, docendo, small, write


def local(folder: Path, **changes: Any) -> Raw:
    """The small scenario with a teacher whose weights are on this machine, for transformers."""
    raw = small(**changes)
    raw["models"]["expert"] = {"backend": "transformers", "model": str(folder), "device": "cpu"}
    return raw


def weights(folder: Path, template: str | None = "{{ messages[0]['content'] }}") -> Path:
    """A model's folder as far as it is looked at without loading anything."""
    folder.mkdir()
    config = {"architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 4096, "dtype": "bfloat16"}
    (folder / "config.json").write_bytes(orjson.dumps(config))
    (folder / "model.safetensors").write_bytes(b"0" * 3 * 2**20)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def facts_of(said: Any, name: str) -> dict[str, Any]:
    (found,) = [f for f in said.data if f["name"] == name]
    assert isinstance(found, dict)
    return found


def findings_of(said: Any, what: str) -> list[dict[str, Any]]:
    return [f for f in said.data if f["what"] == what]


# --- models ---------------------------------------------------------------------------------------------


def test_without_a_scenario_backends_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "installed", {"openai": "3.1", "torch": "2.13.0+cpu"}.get)
    said = docendo("models", "--json")
    assert said.code == 0
    backends = said.data["backends"]
    assert backends["simulated"]["installed"] is backends["openai"]["installed"] is True
    assert backends["vllm"] == {
        "installed": False,
        "versions": {"vllm": None, "torch": "2.13.0+cpu", "transformers": None},
    }
    text = docendo("models").out
    assert "pip install 'docendo[vllm]'" in text
    assert "GPU:" in text


def test_every_condition_s_models_are_looked_at(tmp_path: Path) -> None:
    raw = small(matrix={"models.novice.slip": [0.0, 0.2]})
    said = docendo("models", write(tmp_path, raw), "--json")
    assert said.code == 0
    assert [f["name"] for f in said.data] == ["expert", "novice", "novice"]
    assert len({f["fingerprint"] for f in said.data}) == 3
    assert all("scoring" in f["capabilities"] for f in said.data)


def test_weights_are_described_and_not_loaded(tmp_path: Path) -> None:
    folder = weights(tmp_path / "weights")
    raw = local(folder)
    raw["models"]["expert"]["chat_template"] = "plain"
    said = docendo("models", write(tmp_path, raw), "--json")
    assert said.code == 0, said.out
    found = facts_of(said, "expert")
    assert (found["status"], found["backend"], found["model"]) == ("ok", "transformers", str(folder))
    assert (found["context"], found["template"], found["system_role"]) == (4096, "plain", None)
    assert found["detail"]["bytes"] == 3 * 2**20
    assert found["detail"]["dtype"] == "bfloat16"
    assert "3.0 MiB" in docendo("models", write(tmp_path, raw)).out


def test_weights_that_are_not_here_are_named_with_their_place(tmp_path: Path) -> None:
    scenario = write(tmp_path, local(tmp_path / "nowhere"))
    said = docendo("models", scenario, "--json")
    assert said.code == 3
    found = facts_of(said, "expert")
    assert found["status"] == "fail"
    assert "nowhere" in found["message"]
    assert found["advice"]
    assert facts_of(said, "novice")["status"] == "ok"
    assert said.envelope["warnings"]
    doctor = docendo("doctor", scenario, "--store", f"sqlite:///{tmp_path / 's.db'}", "--json")
    assert doctor.code == 3
    assert findings_of(doctor, "model expert")[0]["status"] == "fail"


def test_a_base_model_without_a_template_is_told_what_to_do(tmp_path: Path) -> None:
    folder = weights(tmp_path / "weights", template=None)
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    said = docendo("models", write(tmp_path, local(folder)), "--json")
    assert said.code == 3
    assert "chat_template: plain" in facts_of(said, "expert")["advice"]


def test_servers_are_asked_what_they_are(tmp_path: Path) -> None:
    with model_server() as server:
        url = server.url
        said = docendo("models", write(tmp_path, served(url)), "--json")
    assert {f["backend"] for f in said.data} == {"openai"}
    assert all(f["detail"]["endpoint"] in url for f in said.data if f["status"] == "ok")
    gone = docendo("models", write(tmp_path, served(url)), "--json")
    assert gone.code == 3
    assert all(f["status"] == "fail" and "cannot be reached" in f["message"] for f in gone.data)


@pytest.mark.parametrize("command", ["models", "doctor"])
def test_a_bad_scenario_is_a_usage_error(command: str, tmp_path: Path) -> None:
    raw = small()
    raw["models"]["expert"]["mind"] = "genius"
    said = docendo(command, write(tmp_path, raw), "--json")
    assert said.code == 1
    assert said.error["code"] == "scenario"
    assert docendo(command, "no-such-scenario", "--json").error["code"] == "scenario"


# --- doctor ---------------------------------------------------------------------------------------------


def test_a_machine_is_looked_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = docendo("doctor", "--json")
    assert said.code == 0
    assert {f["what"] for f in said.data} >= {"GPU", "memory", "disk", "versions", "threads", "port", "store"}
    assert all(f["advice"] for f in said.data if f["status"] != "ok")
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_a_store_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    assert docendo("run", write(tmp_path, small()), "--store", url, "-q").code == 0
    with open_store(url, readonly=True) as store:
        before = store.run_digest(store.run("latest").id)
    said = docendo("doctor", "--store", url, "--json")
    assert said.code == 0
    assert "holds 1 runs" in findings_of(said, "store")[0]["message"]
    with open_store(url, readonly=True) as store:
        assert store.run_digest(store.run("latest").id) == before


def test_an_older_store_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    url = f"sqlite:///{path}"
    assert docendo("run", write(tmp_path, small()), "--store", url, "-q").code == 0
    with sqlite3.connect(path) as database:  # as version 1 was
        for part in ("table engine", "table words", "view spoken"):
            database.execute(f"drop {part}")
        database.execute("update meta set value = '1' where key = 'schema_version'")
    database.close()
    assert docendo("ls", "--store", url).code == 3
    assert docendo("doctor", "--store", url).code == 0
    assert docendo("ls", "--store", url).code == 0
    assert docendo("replay", "--store", url).code == 0


@pytest.mark.parametrize("broken", ["folder", "foreign", "text"])
def test_a_store_that_cannot_be_used_is_exit_code_3(broken: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    if broken == "folder":
        path = tmp_path / "no" / "runs.db"
    elif broken == "text":
        path.write_text("this is not a database, it is a text of some length", encoding="utf-8")
    else:
        with sqlite3.connect(path) as database:
            database.execute("create table songs (title)")
        database.close()
    said = docendo("doctor", "--store", f"sqlite:///{path}", "--json")
    assert said.code == 3
    (found,) = findings_of(said, "store")
    assert (found["status"], bool(found["advice"])) == ("fail", True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_no_writes_is_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    said = docendo("doctor", "--store", f"sqlite:///{tmp_path}/runs.db", "--json")
    tmp_path.chmod(0o700)
    assert said.code == 3


def test_models_are_asked_for_one_token_and_nothing_is_recorded(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    with model_server() as server:
        said = docendo("doctor", write(tmp_path, served(server.url)), "--store", url, "--json")
        asked = [r.body for r in server.server.received if r.body and "messages" in r.body]
    assert said.code == 0, said.out
    assert len(findings_of(said, "model expert")) == len(findings_of(said, "model novice")) == 1
    assert {body["model"] for body in asked} == {"m", "n"}
    assert all(body.get("max_tokens", body.get("max_completion_tokens")) == 1 for body in asked)
    assert not (tmp_path / "runs.db").exists()


def test_a_taken_port_is_a_warning(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # then somebody else has it, which is as good
            taken.bind(("127.0.0.1", VIEWER_PORT))
        taken.listen()
        said = docendo("doctor", "--store", f"sqlite:///{tmp_path}/s.db", "--json")
    (found,) = findings_of(said, "port")
    assert found["status"] == "warn"
    assert "--port" in found["advice"]


def test_many_threads_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    said = docendo("doctor", "--store", f"sqlite:///{tmp_path}/s.db", "--json")
    assert findings_of(said, "threads")[0]["status"] == "warn"
    assert said.code == 0


# --- what does not fit together ---------------------------------------------------------------------------

GPU = machine.Gpu(name="a GPU", total=80 << 30, free=79 << 30)


@pytest.mark.parametrize(
    ("there", "gpus", "says", "fatal"),
    [
        ({"vllm": "0.32.0", "torch": "2.13.0+cpu"}, [GPU], "torch 2.13.0+cpu is a build for the CPU", True),
        ({"torch": "2.13.0+cpu"}, [GPU], "this machine has a GPU", False),
        ({"vllm": "0.32.0", "torch": "2.13.0+cpu"}, [], "build for CUDA", True),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0"}, [], "torchvision 0.28.0", True),
        ({"vllm": "0.32.0", "torch": "2.13.0"}, [GPU], "", False),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"}, [], "", False),
        ({}, [], "", False),
    ],
)
def test_versions_that_clash_are_found(
    there: dict[str, str], gpus: list[machine.Gpu], says: str, fatal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "installed", there.get)
    monkeypatch.setattr(machine, "installed_as", lambda name: False)
    monkeypatch.setattr(machine, "cpu_vllm", lambda: False)
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: ("glibc", "2.36"))
    found = list(machine.clashes(gpus))
    if not says:
        assert found == []
        return
    (clash,) = found
    assert says in clash.message
    assert clash.fatal is fatal
    assert clash.advice


def test_an_old_glibc_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "installed", {"vllm": "0.32.0", "torch": "2.13.0"}.get)
    monkeypatch.setattr(machine, "installed_as", lambda name: False)
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: ("glibc", "2.17"))
    assert "glibc 2.17" in next(machine.clashes([])).message
