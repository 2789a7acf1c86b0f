"""A program in JavaScript that a worker asks, a line for a line.  Its end is the worker's, in the same way."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


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

    def ask(self, line: bytes) -> bytes:
        """The answer to a line."""
        if self._process.stdin:
            try:
                self._process.stdin.write(line + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                self._die()
        return self._line()

    def _line(self) -> bytes:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line.endswith(b"\n"):
            self._die()
        return line[:-1]

    def _die(self) -> None:
        """End as the process did: its last words are on standard error already, which both share."""
        status = self._process.wait()
        if status < 0:
            signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        sys.exit(status or 1)
