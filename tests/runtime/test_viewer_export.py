"""The one-file export: the API's own documents, each once, in a page that nothing can break out of."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from docendo.errors import UsageError
from docendo.events import StopEvent
from docendo.runtime.store import open_store
from docendo.runtime.viewer import bundle
from docendo.runtime.viewer.export import export_run, page_of
from tests.runtime.recorded_run import begin, belief, episode, grade, lesson, spoken, taught, write_lesson
from tests.runtime.viewer_server import run_into, served


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = f"sqlite:///{tmp_path_factory.mktemp('export') / 'store.db'}"
    run_into(found)
    return found


@pytest.fixture(scope="module")
def page(url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "study.html"
    with open_store(url, readonly=True) as store:
        written = export_run(store, "latest", out)
        assert written.episodes == sum(found.n_episodes for found in store.lessons(written.run))
    assert written.size == out.stat().st_size
    return out.read_text(encoding="utf-8")


class Exported:
    """An export as the page reads it."""

    def __init__(self, page: str) -> None:
        (text,) = re.findall(r'<script type="application/json" id="docendo-export">(.*?)</script>', page)
        self.data = json.loads(text)
        self.chunks = [json.loads(gzip.decompress(base64.b64decode(c))) for c in self.data["chunks"]]

    def get(self, path: str) -> Any:
        document = self.chunks[self.data["documents"][path]]["documents"][path]
        if "chunks" in document:
            known: dict[str, Any] = {}
            for number in document.pop("chunks"):
                known |= self.chunks[number]["texts"]
            used = {address for call in document["calls"] for address in call["prompt"]}
            document["texts"] = {address: known[address] for address in used}
        return document


def test_an_export_holds_what_the_server_gives(url: str, page: str) -> None:
    exported = Exported(page)
    with served(url) as server:
        for path in exported.data["documents"]:
            address, _, query = path.partition("?")
            asked = dict(pair.split("=") for pair in query.split("&")) if query else {}
            if address.endswith(("/lessons", "/episodes")):
                asked["limit"] = "1000"
            expected = server.get(address, **asked)
            found = exported.get(path)
            if path == "store":
                assert (found.pop("exported"), expected.pop("exported")) == (True, False)
            assert found == expected, path


def test_every_page_of_the_run_is_there(url: str, page: str) -> None:
    exported = Exported(page)
    paths = set(exported.data["documents"])
    (row,) = exported.get("store")["runs"]
    run = f"runs/{row['id']}"
    assert {"store", "filters", run, f"{run}/report", f"{run}/learning", f"{run}/calibration",
            f"{run}/problems", f"{run}/lessons"} <= paths  # fmt: skip
    conditions = [c["id"] for c in exported.get(run)["conditions"]]
    pairs = {
        f"{run}/compare/conditions?first={a}&second={b}" for a in conditions for b in conditions if a != b
    }
    assert pairs <= paths
    for found in exported.get(f"{run}/lessons")["lessons"]:
        path = f"{run}/lessons/{found['condition']}/{found['replicate']}"
        assert {path, f"{path}/episodes", f"{path}/graphs"} <= paths
        for episode_row in exported.get(f"{path}/episodes")["episodes"]:
            here = f"{path}/episodes/{episode_row['ordinal']}"
            assert {here, f"{here}/calls"} <= paths


def test_equal_prompt_messages_stand_once(page: str) -> None:
    exported = Exported(page)
    addresses = [address for chunk in exported.chunks for address in chunk["texts"]]
    assert len(addresses) == len(set(addresses)) > 20


def test_equal_stores_make_equal_files(url: str, page: str, tmp_path: Path) -> None:
    with open_store(url, readonly=True) as store:
        export_run(store, "latest", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_a_thousand_episodes_stay_below_ten_megabytes(page: str) -> None:
    exported = Exported(page)
    episodes = sum(
        "/episodes/" in path and not path.endswith("/calls") for path in exported.data["documents"]
    )
    data = sum(map(len, exported.data["chunks"]))
    assert data / episodes * 1000 + len(page) - data < 10e6


HOSTILE = (
    "</script><script>alert(1)</script><!--<script>\u2028]]>\"'&amp;\0 {{x}} ${x} "
    "<img src=x onerror=alert(2)>"
)


def test_what_agents_say_cannot_leave_the_data(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with open_store(url) as store:
        begin(store, [({"plan.teach.policy": HOSTILE}, "")])
        said = [belief("17-9", 0.5), spoken("17-9", HOSTILE, 1), grade("17-9", True, 1, answer=HOSTILE)]
        calm = [taught(store, "9-3", HOSTILE, before=False, after=True, tag="x")]
        write_lesson(store, "r1", lesson(episode("17-9", *said), *calm, condition="c0"))
        store.finish_run("r1")
        export_run(store, "r1", tmp_path / "study.html")
    page = (tmp_path / "study.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 2
    assert "alert(" not in page
    found = Exported(page).get("runs/r1/lessons/c0/0/episodes/0")
    text = next(e["message"]["text"] for e in found["events"] if e["kind"] == "message")
    assert text == HOSTILE


def test_a_page_runs_its_own_script_and_nothing_else(page: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    (code,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for kind, source in (("script-src", code), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="(?!data:)', page)


def test_a_less_than_sign_cannot_end_the_data() -> None:
    page = page_of(json.dumps({"x": "</script><!--<script>"}))
    assert json.loads(re.findall(r'id="docendo-export">(.*?)</script>', page)[0]) == {
        "x": "</script><!--<script>"
    }


def test_a_run_without_episodes_is_no_export(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        begin(store, [({}, "")])
        with pytest.raises(UsageError, match="no episode yet"):
            export_run(store, "r1", tmp_path / "study.html")
        assert not (tmp_path / "study.html").exists()
        stop = StopEvent(reason="end")
        write_lesson(store, "r1", lesson(episode("1-1", stop), condition="c0"))
        store.flush()
        export_run(store, "r1", tmp_path / "study.html")
        with pytest.raises(UsageError, match="exists"):
            export_run(store, "r1", tmp_path / "study.html")
        export_run(store, "r1", tmp_path / "study.html", force=True)


def test_modules_that_the_export_cannot_join_are_named(tmp_path: Path) -> None:
    def joined(**modules: str) -> str:
        for name, source in modules.items():
            (tmp_path / f"{name}.js").write_text(source, encoding="utf-8")
        return bundle.script(tmp_path, "app.js")

    code = joined(
        app='import {\n  one,\n  two as second,\n} from "./numbers.js";\nwindow.sum = one() + second;\n',
        numbers="export function one() {\n  return 1;\n}\nexport const two = 2;\n",
    )
    assert "const { one, two: second } = $numbers;" in code
    assert "return { one, two };" in code
    assert "import" not in code
    for source in (
        'import x from "./numbers.js";',
        "export default 1;",
        'const m = await import("./numbers.js");',
    ):
        with pytest.raises(ValueError, match=r"app\.js"):
            joined(app=source)
    with pytest.raises(ValueError, match=r"in a ring: app\.js -> numbers\.js -> app\.js"):
        joined(
            app='import { one } from "./numbers.js";\nexport const x = 1;',
            numbers='import { x } from "./app.js";\nexport const one = 1;',
        )
