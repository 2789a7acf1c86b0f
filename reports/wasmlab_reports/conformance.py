"""The conformance page: engines down, proposals across, and every failure with its place and the two outcomes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wasmlab.conform import Failure, Tally, apart
from wasmlab.foreign import plain
from wasmlab.results import Column, Judged, judge
from wasmlab.suites import known_suites
from wasmlab_matrices.expectations import Expectation

from .html import template

MOST = 500
"""Failures of a column that the page lists."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A column's checks of one proposal: `share` of those that could be asked, and the colour that it gets."""

    share: str
    title: str
    colour: str


@dataclass(frozen=True, slots=True)
class Line:
    """A failure: where, with a link into the suite; what was expected, what came; why, where that is known."""

    where: str
    link: str
    command: str
    expected: str
    got: str
    reason: str
    reason_link: str


def render_conformance(columns: Sequence[Column], rows: Sequence[Expectation]) -> str:
    """The page of some columns, held against the expectations."""
    judged = judge(columns, rows)
    suites: dict[str, list[Column]] = {}
    for column in columns:
        suites.setdefault(f"{column.suite} {column.pattern}".strip(), []).append(column)
    return template("conformance.html").render(
        suites={name: _table(found) for name, found in suites.items()},
        failures=_failures(columns, judged),
        judged=judged,
        passes=[(plain(column.engine), row, at) for column, row, at in judged.passes],
        differences=_differences(columns),
        missing=[column for column in columns if column.missing],
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    )


def _table(columns: Sequence[Column]) -> dict[str, Any]:
    """A suite's table: its proposals, and for each column its cells."""
    ran = [(column, column.groups) for column in columns if not column.missing]
    names = list(dict.fromkeys(name for _, groups in ran for name in groups))
    lines = [
        {"column": column, "total": _cell(column.total), "cells": [_cell(groups.get(name, Tally())) for name in names]}
        for column, groups in ran
    ]
    return {"names": names, "lines": lines}


def _cell(tally: Tally) -> Cell:
    asked = tally.total - tally.not_applicable
    parts = ((tally.passed, "passed"), (tally.failed, "failed"), (tally.unsupported, "unsupported"))
    title = ", ".join(f"{n:,} {word}" for n, word in parts if n) or "nothing to ask"
    if not asked:
        return Cell("–", title, "none")
    if tally.passed == asked:
        return Cell("100", title, "all")
    if not tally.passed:
        return Cell("0", title, "nothing")
    # never rounded up to 100, where something failed
    return Cell(f"{min(99.9, 100 * tally.passed / asked):.1f}", title, "wrong" if tally.failed else "some")


def _failures(columns: Sequence[Column], judged: Judged) -> list[tuple[Column, list[Line], int]]:
    """By column: its failures, the unexpected ones first; and how many are left out."""
    why = {(id(column), failure): row for column, failure, row in judged.expected}
    found = []
    for column in columns:
        lines = [
            _line(column, failure, why.get((id(column), failure)))
            for failure in column.failures
            if not apart(failure.file)
        ]
        if lines:
            lines.sort(key=lambda line: bool(line.reason))
            found.append((column, lines[:MOST], len(lines) - len(lines[:MOST])))
    return found


def _line(column: Column, failure: Failure, row: Expectation | None) -> Line:
    suite = known_suites().get(column.suite)
    link = f"{suite.repository}/blob/{suite.commit}/{failure.file}#L{failure.line}" if suite else ""
    return Line(
        f"{failure.file}:{failure.line}", link, failure.command, plain(failure.expected, 300), plain(failure.got, 300),
        row.reason if row else "", row.link if row else "",
    )  # fmt: skip


def _differences(columns: Sequence[Column]) -> list[tuple[str, str, list[str]]]:
    """What one engine does on one architecture and not on another: the engine, the architectures, the checks."""
    found = []
    by_engine: dict[tuple[str, str, str, str], list[Column]] = {}
    for column in columns:
        if not column.missing:
            by_engine.setdefault((column.kind, column.version, column.suite, column.pattern), []).append(column)
    for (kind, *_), same in by_engine.items():
        places = {column.arch: {f"{f.file}:{f.line}" for f in column.failures if not apart(f.file)} for column in same}
        everywhere = set.intersection(*places.values())
        for arch, failed in places.items():
            if more := sorted(failed - everywhere):
                found.append((kind, arch, more))
    return found
