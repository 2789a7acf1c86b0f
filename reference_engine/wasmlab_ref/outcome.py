"""What a step of a case can end in, in the words of the standard, and the errors that say so.

    Malformed     the bytes or the text are no module (binary format, text format)
    Invalid       a module that validation refuses
    Unlinkable    instantiation refuses the imports
    Trap          execution stops; `kind` is a row of traps.tbl
    Thrown        an exception that nothing caught
    Exhausted     a resource limit was reached: fuel, call depth, memory …

The first three are subclasses of `Rejected`.  None is an `AssertionError`, so that `python -O` changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


class Rejected(Exception):
    """A module that does not come to life; `stage` is "malformed", "invalid" or "unlinkable"."""

    stage = "rejected"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Malformed(Rejected):
    """Decoding or parsing failed.

    `offset` is the first offending byte of a binary, in decode order; `line` and `column` count from 1 in a text.
    """

    stage = "malformed"

    def __init__(self, message: str, offset: int | None = None, line: int | None = None, column: int = 1) -> None:
        super().__init__(message)
        self.offset, self.line, self.column = offset, line, column

    def __str__(self) -> str:
        if self.line is not None:
            return f"{self.line}:{self.column}: {self.message}"
        return self.message if self.offset is None else f"{self.message} (at byte 0x{self.offset:x})"


class Invalid(Rejected):
    """Validation failed; `where` names the place ("function 3, instruction 17: i32.add")."""

    stage = "invalid"

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where

    def __str__(self) -> str:
        return f"{self.message} ({self.where})" if self.where else self.message


class Unlinkable(Rejected):
    """An import is missing or of the wrong type."""

    stage = "unlinkable"


class Trap(Exception):
    """Execution trapped; `kind` is the first column of traps.tbl, several with "|" where several conditions hold."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Thrown(Exception):
    """A WebAssembly exception on its way; `exception` is the exception instance."""

    def __init__(self, exception: Any) -> None:
        super().__init__("uncaught exception")
        self.exception = exception


class Exhausted(Exception):
    """A limit was reached; `resource` says which: "fuel", "call stack", "memory" …"""

    def __init__(self, resource: str) -> None:
        super().__init__(f"{resource} exhausted")
        self.resource = resource


@dataclass(frozen=True, slots=True)
class TrapKind:
    """A row of traps.tbl."""

    kind: str
    text: str
    raised_by: tuple[str, ...]


@cache
def trap_kinds() -> dict[str, TrapKind]:
    """The rows of traps.tbl by kind."""
    rows = {}
    for line in (files(__package__) / "traps.tbl").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            kind, text, raised_by = (column.strip() for column in line.split("|"))
            rows[kind] = TrapKind(kind, text, tuple(raised_by.split()))
    return rows
