"""Who may ask: a page of the viewer's own, under a name of this machine, for reading.

A page that somebody else wrote can make a browser ask a server on this machine. Three checks stop that, each
of them enough for one way: the `Host` must be a name of the server (a foreign name that was pointed at
127.0.0.1 is refused), the `Origin` and `Sec-Fetch-Site` must be the viewer's own, and no answer may be read
by other origins, because no CORS header is ever sent. The content security policy lets a page run what the
package holds and nothing else: what an agent wrote cannot become a script even if a page made markup of it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CSP", "HEADERS", "LOOPBACK", "Guard", "refusal"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def refusal(method: str, path: str, headers: Headers, hosts: tuple[str, ...]) -> tuple[int, str] | None:
    """Status and reason where a request is refused; `None` where it may pass.

    Args:
        method: `GET` or `HEAD`; nothing else is answered.
        path: What is asked for.
        headers: Of the request.
        hosts: Names of the server beside those of the loopback interface.
    """
    if method not in ("GET", "HEAD"):
        return 405, f"the viewer only reads; it does not answer {method}"
    allowed = {*LOOPBACK, *hosts}
    host = headers.get("host", "")
    if _name(f"//{host}") not in allowed:
        return 403, f"the viewer is not called `{host}`; start it with --host to give it another name"
    origin = headers.get("origin")
    if origin is not None and (origin == "null" or urlsplit(origin).netloc != host):
        return 403, f"the page {origin} is not the viewer's own"
    # A link on another page may lead here, but only to the page itself, and only into a window.
    link = path == "/" and headers.get("sec-fetch-dest") == "document"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not link:
        return 403, "asked by a page that is not the viewer's own"
    return None


def _name(url: str) -> str:
    """The host's name without its port; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


class Guard:
    """ASGI middleware: refuses strangers, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...] = ()) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache")  # another version may be served tomorrow
            await send(message)

        refused = refusal(scope["method"], scope["path"], Headers(scope=scope), self.hosts)
        if refused is None:
            await self.app(scope, receive, guarded)
            return
        status, reason = refused
        fault = {"code": "refused", "message": reason, "suggestion": "", "column": None}
        body = orjson.dumps({"error": fault})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await guarded({"type": "http.response.start", "status": status, "headers": headers})
        await guarded({"type": "http.response.body", "body": body})
