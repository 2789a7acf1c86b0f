"""No worker outlives its lab.

Every worker, and whatever it starts, carries the identity of its lab in the environment variable WASMLAB_RUN.  A lab
kills at its start what dead labs left (`sweep`).  Beside each lab runs a guard, this file as a program, which waits for
the end of its standard input - the lab's end, however it came - and kills what carries its mark.  So workers end even
where the parent-death signal cannot reach: grandchildren, and processes that moved to another session.

Standard library only, no import of the package: the guard has to start fast and alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "WASMLAB_RUN"


def identity(pid: int | None = None) -> str:
    """`<pid namespace>.<pid>.<start time>`: one process among all that ever ran here; "" where it is dead."""
    pid = os.getpid() if pid is None else pid
    started = _start_time(pid)
    return f"{_namespace()}.{pid}.{started}" if started else ""


def marked() -> Iterator[tuple[int, str]]:
    """Process id and lab of every live process that carries a mark, as far as we may look."""
    prefix = MARK.encode() + b"="
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        for entry in environment.split(b"\0"):
            if entry.startswith(prefix):
                yield int(folder.name), entry[len(prefix) :].decode(errors="replace")


def kill_run(run: str) -> int:
    """Kill everything that carries this mark, and what it starts meanwhile; how many processes that was."""
    killed = 0
    for _ in range(100):
        found = [pid for pid, mark in marked() if mark == run and pid != os.getpid()]
        if not found:
            break
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        time.sleep(0.01)
    return killed


def sweep() -> int:
    """Kill what dead labs of this PID namespace left behind; how many processes that was."""
    runs = {mark for _, mark in marked()}
    return sum(kill_run(run) for run in sorted(runs) if is_dead(run))


def is_dead(run: str) -> bool:
    """Whether the lab of this identity is no more, as far as one can tell from here."""
    namespace, _, rest = run.partition(".")
    pid = rest.partition(".")[0]
    # A mark from another namespace (a container's) tells nothing: its process ids are not ours.
    return namespace == _namespace() and pid.isdecimal() and identity(int(pid)) != run


def _namespace() -> str:
    try:
        return "".join(c for c in os.readlink("/proc/self/ns/pid") if c.isdecimal())
    except OSError:
        return "0"


def _start_time(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _guard(run: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    kill_run(run)


if __name__ == "__main__":
    _guard(sys.argv[1])
