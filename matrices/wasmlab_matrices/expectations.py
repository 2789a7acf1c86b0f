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

_AT = re.compile(r"(?P<file>.+?)(?::(?P<line>\d+)(?:-(?P<last>\d+))?)?")


@dataclass(frozen=True, slots=True)
class Expectation:
    """A known failure: on which engines, at which check (or in which files) of which suite, and why."""

    engine: str
    """Glob of the engine and its variant: "v8*", "wasmtime/winch"; or several, with "|" between them."""
    at: tuple[str, ...]
    """`file.wast`, `file.wast:line` or `file.wast:first-last` each; globs in the file's name."""
    reason: str
    link: str = ""
    suite: str = "core"
    versions: str = "*"
    archs: tuple[str, ...] = ARCHITECTURES
    checks: tuple[str, ...] = ()
    """Commands of scripts, such as assert_invalid, to which the row is limited; none: all of them."""

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("a reason is required")
        for arch in self.archs:
            if arch not in ARCHITECTURES:
                raise ValueError(f"unknown architecture {arch!r}")
        for place in self.at:
            found = _AT.fullmatch(place)
            if not found or (found["last"] and int(found["last"]) < int(found["line"])):
                raise ValueError(f"at: expected file.wast, file.wast:line or file.wast:first-last, not {place!r}")

    def concerns(self, suite: str, engine: str, version: str, arch: str) -> bool:
        """Is it about this column?  `engine` is name and variant."""
        return (
            suite == self.suite
            and arch in self.archs
            and any(fnmatchcase(engine, glob) for glob in self.engine.split("|"))
            and fnmatchcase(version, self.versions)
        )

    def covers(self, file: str, line: int, check: str) -> bool:
        """Is it about this check?"""
        return self.about(check) and any(covers(place, file, line) for place in self.at)

    def about(self, check: str) -> bool:
        """Is it about this kind of check?"""
        return not self.checks or check in self.checks


def covers(place: str, file: str, line: int | None = None) -> bool:
    """Is a row's `at` about this check, or (without a line) about something in this file?"""
    found = _AT.fullmatch(place)
    if found is None or not fnmatchcase(file, found["file"]):
        return False
    return line is None or not found["line"] or int(found["line"]) <= line <= int(found["last"] or found["line"])


@cache
def load_expectations(path: Path | None = None) -> tuple[Expectation, ...]:
    """The rows, from `path` or the package's own file; SchemaError says file, line and key."""
    source = path or files(__package__) / "expectations.yaml"
    return read_yaml(source.read_text(encoding="utf-8"), str(path or "expectations.yaml"), tuple[Expectation, ...])
