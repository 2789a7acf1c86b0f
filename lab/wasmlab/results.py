"""Results of conformance: a column is one engine over one suite, saved as one file; many are judged and merged.

A failed check is *expected* where a row of expectations.yaml covers it, else *unexpected*.  A row that covers a file
which ran without a failure is an *unexpected pass*, one that covers no file of a whole run is *stale*.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wasmlab_adapters.whole import write_json
from wasmlab_matrices.expectations import Expectation, covers

from . import suites
from .conform import Failure, Script, Tally, apart, run
from .errors import UsageError

SCHEMA = 1
SUFFIX = ".conform.json"


@dataclass(slots=True)
class Column:
    """An engine in one configuration on one architecture over a suite; `missing` says why it could not run."""

    engine: str
    """As it was named."""
    suite: str
    resolved: str = ""
    version: str = ""
    arch: str = ""
    where: str = ""
    """How the architecture was had: "" for a process of this machine, else the container's, with emulator and model."""
    pattern: str = ""
    """Only files that match this glob were run."""
    started: float = 0.0
    seconds: float = 0.0
    files: dict[str, Tally] = field(default_factory=dict)
    missing: str = ""

    @property
    def kind(self) -> str:
        """Name and variant, which is what expectations are about."""
        from wasmlab_adapters.registry import EngineName

        name = EngineName.parse(self.resolved or self.engine)
        return name.program or name.engine + (f"/{name.variant}" if name.variant else "")

    @property
    def total(self) -> Tally:
        """The sum over what is part of the standard: without proposals/."""
        return _sum(tally for name, tally in self.files.items() if not apart(name))

    @property
    def groups(self) -> dict[str, Tally]:
        """Sums by what the files are about, in the suite's order of proposals; without failures."""
        row = suites.known_suites().get(self.suite)
        found: dict[str, list[Tally]] = {name: [] for name in row.proposals} if row else {}
        for name, tally in self.files.items():
            found.setdefault(row.about_file(name) if row else name.rpartition("/")[0] or "all", []).append(tally)
        return {name: _sum(tallies) for name, tallies in found.items() if tallies}

    @property
    def failures(self) -> list[Failure]:
        """All failed checks, in the suite's order."""
        found = [failure for tally in self.files.values() for failure in tally.failures]
        return sorted(found, key=lambda f: (f.file, f.line))

    def to_json(self) -> dict[str, Any]:
        """As a dictionary."""
        return {"schema": SCHEMA, **asdict(self)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Column:
        """The inverse of `to_json`; ValueError for what is no column."""
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise ValueError("not written by this version of wasmlab")
        files = {
            name: Tally(**{**tally, "failures": [Failure(**f) for f in tally["failures"]]})
            for name, tally in data.pop("files").items()
        }
        return Column(**data, files=files)


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def conform(
    scripts: Sequence[Script], engines: Sequence[Any], suite: str, pattern: str, jobs: int,
    show: Callable[[str], None] = lambda file: None,
) -> list[Column]:  # fmt: skip
    """Run scripts on engines (started; they say what they are), in processes with engines of their own."""
    columns = {
        engine.name: Column(
            engine.name,
            suite,
            engine.target.resolved,
            engine.version,
            architecture(engine),
            engine.machine,
            pattern,
            time.time(),
        )
        for engine in engines
    }
    started = time.monotonic()
    for script, tallies in run(scripts, tuple(columns), jobs):
        for name, tally in tallies.items():
            columns[name].files[script.name] = tally
        show(script.name)
    for column in columns.values():
        column.files = dict(sorted(column.files.items()))
        column.seconds = (time.monotonic() - started) / len(columns)
    return list(columns.values())


def architecture(engine: Any) -> str:
    """The architecture that an engine runs on."""
    from wasmlab_adapters.install import host_architecture
    from wasmlab_adapters.registry import EngineName

    return EngineName.parse(engine.name).arch or host_architecture()


def save(column: Column, folder: Path) -> Path:
    """Write a column into a folder, whole or not at all; the file is named by its engine and suite."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(column.engine, column.suite, column.pattern)
    write_json(path, column.to_json())
    return path


def file_name(engine: str, suite: str, pattern: str = "") -> str:
    """The file of a column: readable, and another one for another column."""
    text = "\0".join((engine, suite, pattern))
    plain = re.sub(r"[^\w.@+-]+", "_", f"{engine}-{Path(suite).name}")[:80]
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}{SUFFIX}"


def load_column(path: Path) -> Column:
    """Read a column; UsageError for anything else."""
    try:
        return Column.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is no result of conformance: {error}") from None


def load_columns(folders: Iterable[Path]) -> list[Column]:
    """All columns below some folders; of one column in several, the newest."""
    found: dict[tuple[str, str, str, str], Column] = {}
    for folder in folders:
        for path in sorted(folder.rglob(f"*{SUFFIX}")):
            column = load_column(path)
            key = (column.engine, column.suite, column.pattern, column.version)
            if key not in found or found[key].started <= column.started:
                found[key] = column
    return list(found.values())


@dataclass(slots=True)
class Judged:
    """What the expectations say of some columns."""

    unexpected: list[tuple[Column, Failure]] = field(default_factory=list)
    expected: list[tuple[Column, Failure, Expectation]] = field(default_factory=list)
    passes: list[tuple[Column, Expectation, str]] = field(default_factory=list)
    """With the place in the row's `at` where nothing failed."""
    stale: list[tuple[Expectation, str]] = field(default_factory=list)
    """With the place in the row's `at` that the suite does not have."""

    @property
    def good(self) -> bool:
        """Is everything as it was expected?"""
        return not (self.unexpected or self.passes or self.stale)


def judge(columns: Sequence[Column], rows: Sequence[Expectation]) -> Judged:
    """Hold columns against the rows about them; what is reported apart (proposals/) is not judged."""
    judged = Judged()
    for column in columns:
        if column.missing:
            continue
        mine = [row for row in rows if row.concerns(column.suite, column.kind, column.version, column.arch)]
        _failures(column, mine, judged)
        for row in mine:
            for place in row.at:
                _place(column, row, place, judged)
    return judged


def _failures(column: Column, rows: Sequence[Expectation], judged: Judged) -> None:
    for failure in column.failures:
        if apart(failure.file):
            continue
        row = next((row for row in rows if row.covers(failure.file, failure.line, failure.command)), None)
        if row is None:
            judged.unexpected.append((column, failure))
        else:
            judged.expected.append((column, failure, row))


def _place(column: Column, row: Expectation, place: str, judged: Judged) -> None:
    """Did what a row foresees at a place happen on the column?"""
    ran = [name for name in column.files if covers(place, name)]
    if not ran:
        if not column.pattern and (row, place) not in judged.stale:  # a whole run that has no such file
            judged.stale.append((row, place))
        return
    failures = [f for name in ran for f in column.files[name].failures if row.about(f.command)]
    if not any(covers(place, f.file, f.line) for f in failures):
        judged.passes.append((column, row, place))
