"""`wasmlab conform`: the official suites on any engine."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .. import conform as c
from .. import suites
from ..foreign import plain
from ..opening import names_of, opened

SHOWN = 40
"""Failures listed for each engine; `--json` has them all."""


@click.command("conform")
@click.option("--engines", required=True, help="Engines, separated by commas: ref,wasmtime.")
@click.option("--engine", "more", multiple=True, help="One more engine; may be repeated (for programs with commas).")
@click.option("--suite", default="core", show_default=True, help="A suite's name, a folder or a file.")
@click.option("--filter", "pattern", help="Only files that match this pattern, such as 'simd_*'.")
@click.option("-j", "jobs", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def conform(engines: str, more: tuple[str, ...], suite: str, pattern: str | None, jobs: int, as_json: bool) -> None:
    """Run an official suite on engines: a row a folder or proposal, every failure with its line.

    Exit status 1 where an assertion of the standard fails; proposals are reported apart.

    \b
    Example: wasmlab conform --engines ref,wasmtime --suite core -j 2
    """
    names = names_of(engines, more)
    with opened(names):
        pass  # an engine that is not there is said before anything else
    scripts = c.collect(suites.find(suite), pattern)
    started = time.monotonic()
    results = _run(scripts, names, jobs)
    if as_json:
        click.echo(json.dumps(c.to_json(suite, results), indent=1))
    else:
        _print(suite, results, len(scripts), time.monotonic() - started)
    failed = any(t.failed for groups in results.values() for g, t in groups.items() if not g.startswith("proposals"))
    sys.exit(1 if failed else 0)


def _run(scripts: list[c.Script], names: tuple[str, ...], jobs: int) -> dict[str, dict[str, c.Tally]]:
    groups = sorted({s.group for s in scripts})
    results = {name: {group: c.Tally() for group in groups} for name in names}
    columns = [
        TextColumn("{task.description:30}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(scripts))
        for script, tallies in c.run(scripts, names, jobs):
            progress.update(task, advance=1, description=escape(script.name))
            for name, tally in tallies.items():
                results[name][script.group].add(tally)
    for tallies in results.values():
        for tally in tallies.values():
            tally.failures.sort(key=lambda f: (f.file, f.line))
    return results


def _print(suite: str, results: dict[str, dict[str, c.Tally]], files: int, seconds: float) -> None:
    console = Console()
    table = Table(box=None, header_style="bold", padding=(0, 2))
    table.add_column("suite", no_wrap=True)
    for name in results:
        table.add_column(Text(name), justify="right")
    for group in next(iter(results.values())):
        label = f"{Path(suite).name}/{group}" if group else Path(suite).name
        table.add_row(Text(label), *(_cell(tallies[group]) for tallies in results.values()))
    console.print(table)
    for name, groups in results.items():
        failures = [f for group, t in groups.items() if not group.startswith("proposals") for f in t.failures]
        if failures:
            console.print(Text(f"\n{name}: {len(failures)} failed", style="bold"))
        for f in failures[:SHOWN]:
            line = f"  {f.file}:{f.line}: {f.command}: expected {f.expected}, got {f.got}"
            console.print(Text(plain(line)), soft_wrap=True)
        if len(failures) > SHOWN:
            console.print(f"  … and {len(failures) - SHOWN} more: --json lists all")
    console.print(Text(f"\n{files} files in {seconds:.0f} s", style="dim"))


def _cell(t: c.Tally) -> Text:
    share = f"{t.passed / t.total:.1%}" if t.total else "–"
    parts = [f"{t.passed:,} of {t.total:,}", share if t.passed < t.total else "100 %"]
    rest = [f"{n} {label}" for n, label in ((t.failed, "failed"), (t.unsupported, "unsupported")) if n]
    if t.not_applicable:
        rest.append(f"{t.not_applicable} n/a")
    style = "red" if t.failed else "yellow" if t.unsupported else "green"
    return Text("  ".join(parts) + (f"  ({', '.join(rest)})" if rest else ""), style=style)
