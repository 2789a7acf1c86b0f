"""Where a worker runs: what the runner needs of a process here, of a container, of a machine elsewhere.

A `Place` starts one worker over and over; a `Running` is one that was started.  Both ends of it are non-blocking
descriptors, so that one selector waits for all workers, wherever they run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended: `how` in words, such as "signal SIGSEGV" or "exit status 3".

    `cause` is "memory" where it went beyond what its place allows, "killed" where it was killed, which may have been
    done from outside, else "".
    """

    how: str
    cause: str = ""


class Running(Protocol):
    """A started worker."""

    @property
    def stdin(self) -> int:
        """A descriptor that can be written to when the worker takes more; `os.write`."""

    @property
    def stdout(self) -> int:
        """A descriptor that can be read when there is something for `read`."""

    @property
    def stderr(self) -> int | None:
        """The same for `read_errors`; None where standard error comes with standard output."""

    def read(self) -> bytes:
        """What came on standard output, b"" at its end; BlockingIOError where nothing did."""

    def read_errors(self) -> bytes:
        """What came on standard error, likewise."""

    def exited(self, within: float = 0.0) -> bool:
        """True if it has ended, waiting `within` seconds at most."""

    def end(self) -> Ending:
        """Kill it if it still lives, free what it held; EngineUnavailable where its place is not there any more."""

    def close_stdin(self) -> None:
        """Tell it that there is no more to come."""

    def resident(self) -> int:
        """Bytes of resident memory, of it and its descendants; 0 where that cannot be seen from here."""

    def processor_time(self) -> float:
        """Seconds of processor time so far; 0 where that cannot be seen from here."""

    def waited(self) -> float:
        """Seconds that it could have run, but others had the processors; 0 where that cannot be seen from here."""


class Place(Protocol):
    """Where one worker is started, again and again."""

    @property
    def program(self) -> str:
        """What is started, for messages."""

    def start(self) -> Running:
        """Start it; EngineUnavailable where that is impossible."""
