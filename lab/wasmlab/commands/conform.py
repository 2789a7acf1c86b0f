"""`wasmlab conform`: the official suites on any engine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .. import conform as c
from .. import suites
from ..errors import Missing
from ..foreign import plain
from ..opening import ARCHS, names_of, opened
from ..results import Column, judge, save
from ..results import conform as run

SHOWN = 40
"""Failures listed for each engine; `--json` has them all."""


@click.command("conform")
@click.option("--engines", default="", help="Engines, separated by commas: ref,wasmtime.")
@click.option("--engine", "more", multiple=True, help="One more engine; may be repeated (for programs with commas).")
@ARCHS
@click.option("--suite", default="core", show_default=True, help="A suite's name, a folder or a file.")
@click.option("--filter", "pattern", default="", help="Only files that match this pattern, such as 'simd_*'.")
@click.option("-j", "jobs", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the results in this folder, for `wasmlab report`.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def conform(
    engines: str,
    more: tuple[str, ...],
    archs: tuple[str, ...],
    suite: str,
    pattern: str,
    jobs: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run an official suite on engines: a row a proposal, every failure with its line.

    Exit status 1 where an assertion of the standard fails that is not known to (expectations.yaml); proposals are
    reported apart.

    \b
    Example: wasmlab conform --engines ref,wasmtime --suite core -j 2
    """
    names, folder = names_of(engines, more, archs), suites.find(suite)
    started = time.monotonic()
    try:
        with opened(names) as found:
            scripts = c.collect(folder, pattern or None)
            columns = _run(scripts, found, suite, pattern, jobs)
    except Missing as error:
        if out and len(names) == 1:  # a matrix goes on without it
            save(Column(names[0], suite, pattern=pattern, started=time.time(), missing=str(error)), out)
        raise
    for column in columns if out else ():
        save(column, out or Path())
    if as_json:
        click.echo(json.dumps(to_json(suite, columns), indent=1))
    else:
        _print(suite, columns, len(scripts), time.monotonic() - started)
    sys.exit(0 if not _judged(columns).unexpected else 1)


def _run(scripts: list[c.Script], engines: Sequence[Any], suite: str, pattern: str, jobs: int) -> list[Column]:
    shown = [
        TextColumn("{task.description:30}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    console = Console(stderr=True)
    with Progress(*shown, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(scripts))

        def show(file: str) -> None:
            progress.update(task, advance=1, description=escape(file))

        return run(scripts, engines, suite, pattern, jobs, show)


def _judged(columns: Sequence[Column]) -> Any:
    from wasmlab_matrices.expectations import load_expectations

    return judge(columns, load_expectations())


def to_json(suite: str, columns: Sequence[Column]) -> dict[str, Any]:
    """The result object: totals of an engine without what is reported apart; what each file is about under "groups"."""
    engines = {
        column.engine: {
            **asdict(column.total),
            "groups": {
                name: {k: v for k, v in asdict(tally).items() if k != "failures"}
                for name, tally in column.groups.items()
            },
        }
        for column in columns
    }
    return {"suite": suite, "engines": engines}


def _print(suite: str, columns: Sequence[Column], files: int, seconds: float) -> None:
    console = Console()
    console.print(table(Path(suite).name, columns))
    judged = _judged(columns)
    for column in columns:
        known = sum(found is column for found, *_ in judged.expected)
        new = [failure for found, failure in judged.unexpected if found is column]
        if new or known:
            text = f"\n{column.engine}: {len(new)} failed" + (f", and {known} that are known to" if known else "")
            console.print(Text(text, style="bold" if new else "dim"))
        for f in new[:SHOWN]:
            line = f"  {f.file}:{f.line}: {f.command}: expected {f.expected}, got {f.got}"
            console.print(Text(plain(line)), soft_wrap=True)
        if len(new) > SHOWN:
            console.print(f"  … and {len(new) - SHOWN} more: --json lists all")
    console.print(Text(f"\n{files} files in {seconds:.0f} s", style="dim"))


def table(title: str, columns: Sequence[Column]) -> Table:
    """Proposals down, engines across where there are few; else engines down with their totals."""
    if len(columns) > 2:
        found = Table(escape(title), "version", "passed", "", box=None, header_style="bold", padding=(0, 2))
        for column in columns:
            cell = Text(plain(column.missing), style="yellow") if column.missing else _cell(column.total)
            found.add_row(Text(column.engine), Text(plain(column.version, 24)), cell)
        return found
    found = Table(box=None, header_style="bold", padding=(0, 2))
    found.add_column(escape(title), no_wrap=True)
    for column in columns:
        found.add_column(Text(column.engine), justify="left", no_wrap=True)
    groups = [column.groups for column in columns]
    for name in dict.fromkeys(name for group in groups for name in group):
        found.add_row(Text(name), *(_cell(group.get(name, c.Tally())) for group in groups))
    if len(groups[0]) > 1:
        found.add_section()
        found.add_row(Text("all of the standard"), *(_cell(column.total) for column in columns))
    return found


def _cell(t: c.Tally) -> Text:
    """Passed of what could be asked, and what else there was."""
    asked = t.total - t.not_applicable
    share = "–" if not asked else "100 %" if t.passed == asked else f"{100 * t.passed / asked:.1f} %"
    rest = [(t.failed, "failed"), (t.unsupported, "unsupported"), (t.not_applicable, "n/a")]
    more = ", ".join(f"{n:,} {label}" for n, label in rest if n)
    style = "red" if t.failed else "yellow" if t.unsupported else "green"
    return Text(f"{t.passed:,}/{asked:,}  {share:>6}" + (f"  ({more})" if more else ""), style=style)
