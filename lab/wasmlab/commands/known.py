"""`wasmlab known`: the known bugs of engines, held against the engines."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wasmlab_matrices.known import OWN

from .. import replay as r
from ..display import output
from ..errors import UsageError
from ..foreign import plain

STYLES = {r.SHOWN: "green", r.STALE: "bold red", r.MISSING: "yellow"}


@click.command("known")
@click.argument("rows", default=OWN)
@click.option("--only", default="*", help="Only rows of engines that match this glob, such as 'jsc*'.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the results in this folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def known(rows: str, only: str, out: Path | None, as_json: bool) -> None:
    """Run the case of each row of ROWS on the row's engine: does it still show what the row says?

    ROWS is a file such as known.yaml; without it they are the project's own. A row is stale where its case shows
    something else, or nothing: then the bug is gone, and the row hides whatever comes next. Exit status 1 where one
    is stale, 3 where an engine is missing.

    \b
    Example: wasmlab known --only 'wasmtime*'
    """
    every, folder = r.rows_of(rows)
    chosen = [row for row in every if fnmatch(row.column, only)]
    if not chosen:
        raise UsageError(
            f"no row is about {only!r}", hint=f"rows are about {', '.join(sorted({x.column for x in every}))}"
        )
    status, found = Console(stderr=True), []
    for replayed in r.replay(chosen, folder):
        found.append(replayed)
        if not status.is_terminal:
            continue
        status.print(Text(f"{len(found):4} of {len(chosen)}  {plain(replayed.engine)}  {replayed.state}", style="dim"))
    if out:
        r.save(found, out)
    if as_json:
        click.echo(json.dumps([replayed.to_json() for replayed in found], indent=1))
    else:
        _print(found)
    states = {replayed.state for replayed in found}
    sys.exit(1 if r.STALE in states else 3 if r.MISSING in states else 0)


def _print(found: Sequence[r.Replayed]) -> None:
    table = Table("engine", "version", "", "case", "what it is", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in found:
        what = Text(plain(row.reason, 200), style="dim")
        if row.state != r.SHOWN:
            what = Text(plain(row.said, 300), style=STYLES[row.state]) + Text("\n") + what
        state = Text(row.state, style=STYLES[row.state])
        table.add_row(
            Text(plain(row.engine)), Text(plain(row.version, 20)), state, Text(plain(Path(row.case).name)), what
        )
    console = output()
    console.print(table)
    numbers = Counter(row.state for row in found)
    console.print()
    console.print(Text(", ".join(f"{numbers[state]} {state}" for state in STYLES if numbers[state])))
