"""Serves the viewer: a socket of this machine, an ASGI server on it, and a browser in front."""

from __future__ import annotations

import errno
import ipaddress
import platform
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

import uvicorn

from docendo.errors import UsageError
from docendo.runtime.store import Store
from docendo.runtime.viewer.app import make_app
from docendo.runtime.viewer.library import Library

__all__ = ["PORT", "listen", "serve"]

PORT = 8420
"""Where the viewer listens unless told otherwise; the next free port of `TRIES` where that one is taken."""
TRIES = 20


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket.

    Args:
        host: Name or address of the interface.
        port: Exactly this one, 0 for any free one, `None` for the usual one or one of the next.

    Raises:
        UsageError: The port is taken, or the host is none of this machine's.
    """
    wanted = [port] if port is not None else list(range(PORT, PORT + TRIES))
    for number in wanted:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            found = socket.socket(family, kind, protocol)
        except OSError as error:
            raise _no_host(host, error) from error
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(128)
        except OSError as error:
            found.close()
            if error.errno != errno.EADDRINUSE:
                raise _no_host(host, error) from error
        else:
            return found
    raise UsageError(
        f"port {wanted[0]} of {host} is taken" if port is not None else "no port is free for the viewer",
        suggestion="Another viewer may be running there. Take another port, or any free one with --port 0.",
    )


def _no_host(host: str, error: OSError) -> UsageError:
    return UsageError(
        f"cannot listen on {host}: {error.strerror or error}",
        suggestion="Leave --host out to listen on this machine alone.",
    )


def serve(
    store: Store, listening: socket.socket, host: str, *, opens: bool, announce: Callable[[str], None]
) -> None:
    """Answer until interrupted.

    Args:
        store: Open for reading.
        listening: From `listen`.
        host: As given to it.
        opens: Whether to open a browser.
        announce: Told the address, once the server answers under it.
    """
    app = make_app(Library(store), hosts=_names(host))
    url = _url(host, listening.getsockname()[1])
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
    server = _Server(config, lambda: _ready(url, opens=opens, announce=announce))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        self._ready()


def _ready(url: str, *, opens: bool, announce: Callable[[str], None]) -> None:
    announce(url)
    if opens:  # some browsers hold their caller until they are closed
        Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _url(host: str, port: int) -> str:
    """The address to open: a wildcard is reached under the loopback's name."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"


def _names(host: str) -> tuple[str, ...]:
    """Names of the server: what was asked for; for a wildcard this machine's name and addresses."""
    with suppress(ValueError):
        if not ipaddress.ip_address(host).is_unspecified:
            return (host.lower(),)
        name = platform.node().lower()
        found = [name, socket.getfqdn().lower()]
        with suppress(OSError):
            found += [str(info[4][0]) for info in socket.getaddrinfo(name, None)]
        return tuple(dict.fromkeys(found))
    return (host.lower(),)
