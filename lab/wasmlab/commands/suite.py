"""`wasmlab suite`: fetch the official suites, say what is here."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from .. import suites
from ..errors import Missing


@click.group("suite")
def suite() -> None:
    """The official test suites, pinned and checked.

    \b
    Example: wasmlab suite fetch core
    """


@suite.command("fetch")
@click.argument("name", default="core")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Take the files from this folder, offline.")
def fetch(name: str, source: Path | None) -> None:
    """Put suite NAME into the cache: the archive of its pinned commit, held against its digest.

    \b
    Example: wasmlab suite fetch core --from ~/src/testsuite
    """
    folder = suites.fetch(name, source)
    row = suites.known_suites()[name]
    click.echo(f"{name}: {row.count} files of commit {row.commit[:9]} in {folder}")


@suite.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def status(as_json: bool) -> None:
    """Say which suites are here, and whether they are what they should be.

    \b
    Example: wasmlab suite status
    """
    rows = []
    for name, row in suites.known_suites().items():
        try:
            folder = suites.find(name)
            suites.check(row, folder)
            rows.append((name, row.commit[:9], "ready", str(folder)))
        except Missing as error:
            rows.append((name, row.commit[:9], str(error), error.hint))
    if as_json:
        click.echo(json.dumps([dict(zip(("suite", "commit", "status", "where"), r, strict=True)) for r in rows]))
        return
    table = Table("suite", "commit", "status", "where", box=None, header_style="bold")
    for r in rows:
        table.add_row(*r)
    Console().print(table)
