"""One operating-system process of a worker: started so that it cannot outlive the lab, watched, ended with its group.

Linux only where it matters: /proc for memory and marks, prctl for the parent-death signal.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import strays
from .errors import EngineUnavailable
from .place import Ending

PIPE_SIZE = 1 << 20
"""Bytes a pipe should hold, so that a window of requests fits; less where the system's limit is lower."""

READ_SIZE = 1 << 16
PR_SET_PDEATHSIG = 1
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")

# The parent-death signal is set between fork and exec: by these, not by preexec_fn, which may deadlock when other
# threads hold locks.  Core files are off: a campaign would fill the disk with them.
_SHELL_TRAMPOLINE = 'ulimit -c 0; exec "$0" --pdeathsig KILL -- "$@"'
_PYTHON_TRAMPOLINE = (
    "import ctypes, os, resource, sys;"
    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
    f"ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {int(signal.SIGKILL)});"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def is_program(name: str) -> bool:
    """Whether an engine's name is a program, rather than a row's."""
    return name.startswith(("./", "/", "cmd:"))


def printable(text: bytes | str) -> str:
    """Foreign text made safe to show: what is no printable character (but newline and tab) is escaped."""
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def gist(words: str) -> str:
    """What a program that failed said, in a line: how that began, or the error at the end of a traceback."""
    lines = [line.strip() for line in words.splitlines() if any(map(str.isalnum, line))]
    if "Traceback (most recent call last):" in lines:
        lines = lines[-1:]
    return "; ".join(re.sub(r"^/\S*/(?=[^/\s]+: )", "", line) for line in lines[:2])[:300]


def describe_status(code: int) -> str:
    """How a process ended, from `subprocess`'s return code."""
    if code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit status {code}"


class Local:
    """A place: processes of this machine, with this command and environment (by default the lab's own)."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.argv = tuple(argv)
        self.env = dict(os.environ if env is None else env)
        self.program = os.path.basename(self.argv[0])

    def start(self) -> Process:
        """Start a process; EngineUnavailable where that is impossible."""
        try:
            if not shutil.which(self.argv[0], path=self.env.get("PATH")):
                raise FileNotFoundError(f"no program {self.argv[0]!r}")
            return Process(self.argv, self.env)
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread to start it from
            raise EngineUnavailable(f"it cannot be started: {error}", "is it there, and executable?") from None


class Process:
    """A started worker process; `stdin`, `stdout`, `stderr` are its non-blocking descriptors."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._popen = _spawner(os.getpid()).submit(_spawn, tuple(argv), dict(env)).result()
        self.pid = self._popen.pid
        pipes = (self._popen.stdin, self._popen.stdout, self._popen.stderr)
        self.stdin, self.stdout, self.stderr = (pipe.fileno() if pipe else -1 for pipe in pipes)
        for descriptor in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def exited(self, within: float = 0.0) -> bool:
        """True if the process has ended, waiting `within` seconds at most; not reaped, so its id stays its own."""
        until = time.monotonic() + within
        while self._popen.returncode is None:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.001)
        return True

    def read(self) -> bytes:
        """What came on standard output, b"" at its end."""
        return os.read(self.stdout, READ_SIZE)

    def read_errors(self) -> bytes:
        """What came on standard error, b"" at its end."""
        return os.read(self.stderr, READ_SIZE)

    def end(self) -> Ending:
        """Kill the whole group if it still lives, reap the process, close the pipes."""
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        try:
            code = self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:  # in an uninterruptible system call: it dies as soon as that returns
            return Ending("cannot be killed")
        finally:
            for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()
        return Ending(describe_status(code), "killed" if code == -signal.SIGKILL else "")

    def close_stdin(self) -> None:
        """Tell the worker that there is no more to come."""
        if self._popen.stdin:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    def resident(self) -> int:
        """Bytes of resident memory of the process and its descendants (what they share counts for each)."""
        return resident(self.pid)

    def processor_time(self) -> float:
        """Seconds of processor time so far: a request that timed out without using any was starved, not hanging."""
        return processor_time(self.pid)

    def waited(self) -> float:
        """Seconds that it could have run, but others had the processors."""
        return waited(self.pid)


def family(pid: int) -> Iterator[int]:
    """The process, and its descendants as far as they can be seen."""
    todo = [pid]
    while todo:
        yield (pid := todo.pop())
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())


def resident(pid: int) -> int:
    """Bytes of resident memory of a process and its descendants; what they share counts for each."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError, IndexError):
            total += int(Path(f"/proc/{member}/statm").read_bytes().split()[1]) * _PAGE
    return total


def processor_time(pid: int) -> float:
    """Seconds of processor time of a process and its descendants so far."""
    total = 0.0
    for member in family(pid):
        ticks = nanoseconds = 0
        with contextlib.suppress(OSError, IndexError):
            fields = Path(f"/proc/{member}/stat").read_text(errors="replace").rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            for thread in os.listdir(f"/proc/{member}/task"):
                nanoseconds += int(Path(f"/proc/{member}/task/{thread}/schedstat").read_bytes().split()[0])
        total += max(ticks / _TICKS, nanoseconds / 1e9)  # exact, but without threads that ended
    return total


def waited(pid: int) -> float:
    """Seconds that the main threads of a process and its descendants could have run, but others had the processors."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError, IndexError):
            total += int(Path(f"/proc/{member}/schedstat").read_bytes().split()[1])
    return total / 1e9


@functools.cache
def _lab(pid: int) -> str:
    """The identity of this lab process; from now on its guard stands, and the strays of dead labs are gone."""
    run = strays.identity(pid)
    strays.sweep()
    stand_guard([sys.executable, "-I", "-S", strays.__file__, run])
    return run


def stand_guard(command: Sequence[str]) -> None:
    """Start a program that outlives this process and sees its standard input end with it, however that ends."""
    ours, lifeline = os.pipe()
    guard = subprocess.Popen(
        command,
        stdin=ours,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={key: text for key, text in os.environ.items() if key != strays.MARK},
        cwd="/",
    )
    guard.returncode = 0  # it ends after us: nobody waits for it
    os.close(ours)
    os.register_at_fork(after_in_child=functools.partial(os.close, lifeline))  # only the lab itself holds it


@functools.cache
def _spawner(pid: int) -> ThreadPoolExecutor:
    """The one thread that starts processes: the parent-death signal comes when the *thread* that started them ends."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="wasmlab-spawn")


def _spawn(argv: tuple[str, ...], env: dict[str, str]) -> subprocess.Popen[bytes]:
    setpriv = shutil.which("setpriv")
    if setpriv and Path(setpriv).resolve().name != "busybox":  # whose setpriv knows no parent-death signal
        trampoline = ["/bin/sh", "-c", _SHELL_TRAMPOLINE, setpriv]
    else:
        trampoline = [sys.executable, "-I", "-S", "-c", _PYTHON_TRAMPOLINE]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*trampoline, *argv],
        env=env | {strays.MARK: _lab(os.getpid())},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        bufsize=0,
        start_new_session=True,
    )
