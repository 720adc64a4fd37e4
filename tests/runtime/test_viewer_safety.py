"""Who may ask the viewer, what its answers let a page do, and what of the disk it gives away: nothing."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator

import pytest

from docendo.runtime.store import open_store
from docendo.runtime.viewer.serve import listen
from tests.runtime.viewer_server import Server, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = f"sqlite:///{tmp_path_factory.mktemp('viewer') / 'store.db'}"
    open_store(url).close()
    with served(url, hosts=("lab.example",)) as found:
        yield found


def raw(server: Server, target: str, **headers: str) -> tuple[int, bytes]:
    """A request as it is written, without a client that tidies it up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest("GET", target, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8420", "[::1]:99", "lab.example"])
def test_names_of_the_server_are_answered(server: Server, host: str) -> None:
    assert raw(server, "/api/store", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8420", "0.0.0.0",
     "127.0.0.2", "", "[::1", "localhost@evil.example", "evil.example#localhost"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/store", "/static/app.js"])
def test_foreign_names_are_refused(server: Server, host: str, path: str) -> None:
    status, body = raw(server, path, Host=host)
    assert status == 403
    assert b"not called" in body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403),
    ],
)
def test_pages_of_others_cannot_read_data(server: Server, headers: dict[str, str], status: int) -> None:
    filled = {name: value.format(port=server.port) for name, value in headers.items()}
    assert server.ask("/api/store", headers=filled).status == status


def test_a_link_leads_to_the_page(server: Server) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert server.ask("/", headers=link).status == 200
    assert server.ask("/", headers=link | {"Sec-Fetch-Dest": "iframe"}).status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_answered(server: Server, method: str) -> None:
    answer = server.ask("/api/store", method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/api/store", "/api/nothing", "/static/app.js", "/static/nothing"])
def test_every_answer_carries_the_policy(server: Server, path: str) -> None:
    headers = server.ask(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert not [name for name in headers if name.startswith("access-control-")]


def test_the_page_has_no_inline_script_or_style(server: Server) -> None:
    page = server.ask("/").body.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page) == []
    assert "<style" not in page
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", page)
    for address in re.findall(r'(?:src|href)="(static/[^"]+)"', page):
        assert server.ask(f"/{address}").status == 200


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/static/app.js", "text/javascript"), ("/static/base.css", "text/css"),
     ("/api/store", "application/json"), ("/api/nothing", "application/json")],
)  # fmt: skip
def test_types_are_what_browsers_insist_on(server: Server, path: str, kind: str) -> None:
    assert server.ask(path).headers["content-type"].split(";")[0] == kind


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd",
     "/static/..\\app.py", "/static/%00", "/static/", "/static/../../store/tables.py"],
)  # fmt: skip
def test_nothing_outside_the_bundle_is_served(server: Server, path: str) -> None:
    status, body = raw(server, path)
    assert status in {400, 404}
    assert b"import" not in body
    assert b"root:" not in body


def test_only_the_loopback_interface_is_listened_on() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
