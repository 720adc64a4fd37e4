"""The viewer behind real HTTP, and a study for it that was really run."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from docendo.runtime.runner import begin, run_study, todo
from docendo.runtime.store import Store, open_store
from docendo.runtime.study import prepare
from docendo.runtime.viewer.app import make_app
from docendo.runtime.viewer.library import Library
from docendo.runtime.viewer.serve import listen
from docendo.scenarios.loader import load_scenario

TUTORING = ("replicates=2", "matrix={plan.teach.moves.source: [random, fixed]}", "controls=[no_teacher]")
"""Makes of the gallery's `tutoring-dialogue` a run of a few seconds: three conditions and the check."""
COUNTS = tuple(f"plan.{phase}.count=2" for phase in ("pretest", "teach", "posttest", "near", "far"))


def run_into(url: str, name: str = "tutoring-dialogue", overrides: Sequence[str] = TUTORING + COUNTS) -> str:
    """Run a gallery scenario into a store; gives the run's id."""
    study = prepare(load_scenario(name, overrides=list(overrides)))
    with open_store(url) as store:
        begin(study, store)
        asyncio.run(run_study(study, store, lessons=todo(study, store)))
        store.finish_run(study.run_id)
    return study.run_id


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """A viewer that answers."""

    port: int
    store: Store

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, **query: Any
    ) -> Answer:
        address = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        request = urllib.request.Request(address, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(
                    response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()
                )
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def get(self, path: str, **query: Any) -> Any:
        """The document at a path below `/api`."""
        answer = self.ask(f"/api/{path}", **query)
        assert answer.status == 200, answer.body
        return answer.json

    def fault(self, path: str, status: int, **query: Any) -> dict[str, Any]:
        """The error that a path answers with."""
        answer = self.ask(f"/api/{path}", **query)
        assert answer.status == status, answer.body
        found: dict[str, Any] = answer.json["error"]
        assert set(found) == {"code", "message", "suggestion", "column"}
        return found


@contextmanager
def served(url: str, hosts: tuple[str, ...] = ()) -> Iterator[Server]:
    """The viewer of a store, on a free port."""
    with open_store(url, create=False, readonly=True) as store, listen("127.0.0.1", 0) as listening:
        app = make_app(Library(store), hosts=hosts)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Server(listening.getsockname()[1], store)
        finally:
            server.should_exit = True
            thread.join()
