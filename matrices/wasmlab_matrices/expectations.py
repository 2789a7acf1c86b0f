"""The rows of expectations.yaml: failures of official suites that are known, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path

from .load import ARCHITECTURES
from .schema import read_yaml

_AT = re.compile(r"(?P<file>.+?)(?::(?P<line>\d+))?")


@dataclass(frozen=True, slots=True)
class Expectation:
    """A known failure: on which engines, at which check (or in which files) of which suite, and why."""

    engine: str
    """Glob of the engine and its variant: "v8*", "wasmtime/winch"."""
    at: str
    """`file.wast`, `file.wast:line`; globs in the file's name."""
    reason: str
    link: str = ""
    suite: str = "core"
    versions: str = "*"
    archs: tuple[str, ...] = ARCHITECTURES

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("a reason is required")
        for arch in self.archs:
            if arch not in ARCHITECTURES:
                raise ValueError(f"unknown architecture {arch!r}")
        self._parts()

    def _parts(self) -> tuple[str, int | None]:
        found = _AT.fullmatch(self.at)
        if not found:
            raise ValueError(f"at: expected file.wast or file.wast:line, not {self.at!r}")
        return found["file"], int(found["line"]) if found["line"] else None

    def concerns(self, suite: str, engine: str, version: str, arch: str) -> bool:
        """Is it about this column?  `engine` is name and variant."""
        return (
            suite == self.suite
            and arch in self.archs
            and fnmatchcase(engine, self.engine)
            and fnmatchcase(version, self.versions)
        )

    def covers(self, file: str, line: int | None = None) -> bool:
        """Is it about this check, or (without a line) about something in this file?"""
        pattern, at = self._parts()
        return fnmatchcase(file, pattern) and (line is None or at is None or at == line)


@cache
def load_expectations(path: Path | None = None) -> tuple[Expectation, ...]:
    """The rows, from `path` or the package's own file; SchemaError says file, line and key."""
    source = path or files(__package__) / "expectations.yaml"
    return read_yaml(source.read_text(encoding="utf-8"), str(path or "expectations.yaml"), tuple[Expectation, ...])
