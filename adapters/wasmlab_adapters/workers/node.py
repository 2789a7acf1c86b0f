"""A program in JavaScript that a worker asks, a line for a line."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

PR_SET_PDEATHSIG = 1
CHUNK = 1 << 20


class Ended(Exception):
    """The program ended without an answer; its last words are on standard error, which it shares."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status

    def follow(self) -> NoReturn:
        """End as it did."""
        if self.status < 0:
            signal.signal(-self.status, signal.SIG_DFL)
            os.kill(os.getpid(), -self.status)
        sys.exit(self.status or 1)


class Node:
    """A process, which says a line of its own when it is ready, and lives as long as this one."""

    def __init__(self, command: Sequence[str], files: Sequence[int] = ()) -> None:
        libc = ctypes.CDLL(None)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=files,
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL)),
        )
        self._line()

    def ask(self, line: bytes, seconds: float | None = None) -> bytes:
        """The answer to a line; TimeoutError where it takes too long, Ended where there is none."""
        if self._process.stdin:
            try:
                self._process.stdin.write(line + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise self._ended() from None
        return self._line(seconds)

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait()

    def _line(self, seconds: float | None = None) -> bytes:
        found = bytearray()
        out = self._process.stdout.fileno() if self._process.stdout else -1
        while not found.endswith(b"\n"):
            if not select.select([out], [], [], seconds)[0]:
                raise TimeoutError
            chunk = os.read(out, CHUNK)
            if not chunk:
                raise self._ended()
            found += chunk
        return bytes(found[:-1])

    def _ended(self) -> Ended:
        return Ended(self._process.wait())
