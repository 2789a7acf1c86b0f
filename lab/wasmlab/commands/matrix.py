"""`wasmlab matrix`: engines × architectures × suites and campaigns, from one YAML file."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from wasmlab_matrices.expectations import load_expectations
from wasmlab_matrices.matrix import Matrix, known_matrices, load_matrix

from .. import matrix as m
from ..conform import Failure
from ..errors import UsageError
from ..foreign import plain
from ..replay import MISSING, STALE, load_replayed
from ..results import Column, Judged, judge, load_columns
from .conform import table

SHOWN = 40
"""Unexpected failures that are listed; the report has all."""


@click.group("matrix")
def matrix() -> None:
    """Run a matrix of engines, architectures, suites and campaigns.

    \b
    Example: wasmlab matrix run smoke
    """


class Shard(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """`2/5`: the second of five parts."""

    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", str(value))
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(f"{value!r} is no shard: expected 2/5, the second of five", param, ctx)
        return int(found[1]), int(found[2])


@matrix.command("run")
@click.argument("file")
@click.option("--shard", type=Shard(), default=(1, 1), show_default="1/1", help="Only this part, such as 2/5.")
@click.option("--only", help="Only jobs whose title matches this glob: 'conform*v8', 'fuzz*'.")
@click.option("--resume", is_flag=True, help="Go on with a run that was interrupted: the folder of --out, or the last.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("-j", "processes", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes of a job.")
@click.option("--list", "as_list", is_flag=True, help="Print the commands instead of running them.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def run(
    file: str, shard: tuple[int, int], only: str | None, resume: bool, out: Path | None, processes: int, as_list: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Run FILE, a YAML matrix or the name of one of the project's own, job after job.

    Exit status 1 where a check fails that is not expected to, one passes that is expected to fail, a row of
    expectations.yaml or known.yaml is stale, or a campaign finds something new; 3 where an engine is missing. Shards
    are merged by `wasmlab report`.

    \b
    Example: wasmlab matrix run smoke -j 2 --out run
    """
    loaded = _load(file)
    jobs = m.chosen(m.jobs_of(loaded, int(time.strftime("%Y%m%d"))), only, shard)
    if not jobs:
        raise UsageError(f"no job of {file} matches", hint=f"wasmlab matrix run {file} --list")
    if as_list:
        for job in jobs:
            click.echo(shlex.join(["wasmlab", *job.arguments]))
        return
    folder = _folder(Path(file).stem, out, resume)
    console = Console(stderr=True)
    console.print(Text(f"{plain(loaded.about)}: {len(jobs)} jobs; {folder}"))
    for number, (job, done) in enumerate(m.run(jobs, folder, processes), 1):
        word, style = _WORDS.get(done.status, (f"exit status {done.status}", "bold red"))
        line = Text.assemble(f"{number:4}  ", (f"{word:14}", style), f"{done.seconds:7.1f} s  {plain(job.title)}")
        console.print(line)
    sys.exit(_finish(folder, jobs, as_json))


_WORDS = {0: ("fine", "green"), 1: ("found something", "yellow"), 3: ("missing", "yellow")}


def _load(file: str) -> Matrix:
    try:
        return load_matrix(file)
    except FileNotFoundError:
        known = ", ".join(known_matrices())
        raise UsageError(f"no matrix {file!r}", hint=f"a YAML file, or one of the project's own: {known}") from None


def _folder(name: str, out: Path | None, resume: bool) -> Path:
    if out is None:
        runs = sorted(Path("wasmlab-runs").glob(f"{name}-*/{m.STATE}"))
        if resume and runs:
            return runs[-1].parent
        return Path("wasmlab-runs") / f"{name}-{time.strftime('%Y-%m-%d-%H%M%S')}"
    if not resume and m.load_done(out):
        raise UsageError(f"{out} holds a run already", hint="--resume goes on with it, another --out begins a new one")
    return out


def _finish(folder: Path, jobs: Sequence[m.Job], as_json: bool) -> int:
    """What came out of it all; the exit status."""
    from wasmlab_reports.conformance import render_conformance

    columns, done = load_columns([folder / m.CONFORM]), m.load_done(folder)
    judged = judge(columns, load_expectations())
    page = folder / "conformance.html"
    page.write_text(render_conformance(columns, load_expectations()), encoding="utf-8")
    campaigns = {job.out: done[job.title].status for job in jobs if job.arguments[0] == m.FUZZ and job.title in done}
    rows = load_replayed(folder / m.KNOWN)
    gone = [f"{row.engine}, {row.case}: {row.said}" for row in rows if row.state == STALE]
    missing = [title for title, ended in done.items() if ended.status == 3 and not (rows and title.startswith(m.KNOWN))]
    missing += sorted({f"{m.KNOWN} {row.engine}: {row.said}" for row in rows if row.state == MISSING})
    broken = sorted(title for title, ended in done.items() if ended.status not in {0, 1, 3})
    if as_json:
        found = {
            "folder": str(folder), "report": str(page), "columns": len(columns), "unexpected": len(judged.unexpected),
            "expected": len(judged.expected), "unexpected_passes": [f"{c.engine}: {at}" for c, _, at in judged.passes],
            "stale": [f"{r.engine}: {at}" for r, at in judged.stale], "known": len(rows), "gone": gone,
            "missing": missing, "broken": broken, "campaigns": campaigns,
        }  # fmt: skip
        click.echo(json.dumps(found, indent=1))
    else:
        _print(columns, judged, campaigns, gone, missing, broken)
        click.echo(page)
    if not judged.good or gone or broken or 1 in campaigns.values():
        return 1
    return 3 if missing else 0


def _print(
    columns: Sequence[Column], judged: Judged, campaigns: dict[str, int], gone: list[str], missing: list[str],
    broken: list[str],
) -> None:  # fmt: skip
    console = Console()
    by_suite: dict[str, list[Column]] = {}
    for column in columns:
        by_suite.setdefault(f"{column.suite} {column.pattern}".strip(), []).append(column)
    for suite, found in by_suite.items():
        console.print(table(suite, found), "")
    sections = [
        ("unexpected failures", [_failure(c, f) for c, f in judged.unexpected], "red"),
        ("unexpected passes", [f"{c.engine} {at}: {r.reason}" for c, r, at in judged.passes], "red"),
        (
            "stale rows, about files that are not there",
            [f"{r.engine} {at}: {r.reason}" for r, at in judged.stale],
            "red",
        ),
        ("stale rows, about bugs that do not show any more", gone, "red"),
        ("broken jobs", broken, "red"),
        ("campaigns that found something", [name for name, status in campaigns.items() if status == 1], "red"),
        ("missing engines", missing, "yellow"),
    ]
    for title, lines, style in sections:
        if lines:
            console.print(Text(f"{title}: {len(lines)}", style=f"bold {style}"))
            for line in lines[:SHOWN]:
                console.print(Text(f"  {plain(line)}"), soft_wrap=True)
            if len(lines) > SHOWN:
                console.print(f"  … and {len(lines) - SHOWN} more")
    if judged.expected:
        console.print(Text(f"{len(judged.expected)} failures were expected, each with its reason", style="dim"))


def _failure(column: Column, f: Failure) -> str:
    return f"{column.engine} {f.file}:{f.line}: {f.command}: expected {f.expected}, got {f.got}"
