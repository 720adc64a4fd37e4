"""Ends an engine's process when the process that uses it is gone, however it went.

vLLM's engine outlives a user that was killed: it waits for requests for ever and keeps the GPU's memory. The
guard is a small process that holds handles of the engine's processes and the end of a pipe. The pipe closes
with its writer, whatever ended that, and then the guard ends what it holds.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

__all__ = ["Guard"]

_PROGRAM = """
import os, signal, sys
held = []
for line in sys.stdin:
    try:
        held.append(os.pidfd_open(int(line)))
    except OSError:
        pass
for one in held:
    try:
        signal.pidfd_send_signal(one, signal.SIGKILL)
    except OSError:
        pass
"""
"""Handles, not numbers: a number may belong to another process by then."""


class Guard:
    """Watches over processes. On systems without process handles (other than Linux) it does nothing."""

    def __init__(self) -> None:
        """Start the guard."""
        self._held: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        if sys.platform == "linux":
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt from the terminal must not reach it
            )

    def hold(self, pid: int) -> None:
        """End this process when the guard is closed or its user is gone."""
        if self._process is None or pid in self._held:
            return
        assert self._process.stdin is not None
        self._held.add(pid)
        with suppress(BrokenPipeError):  # somebody ended the guard
            self._process.stdin.write(b"%d\n" % pid)
            self._process.stdin.flush()

    def close(self) -> None:
        """End what is held and still runs, and the guard."""
        if self._process is not None:
            with suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None
