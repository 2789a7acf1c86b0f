"""`wasmlab doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

import dataclasses
import json

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Look at what wasmlab needs here: Python, cache, engines, suites.  Ends with 3 if something is missing
    that wasmlab cannot do without.

    \b
    Example: wasmlab doctor
    """
    from wasmlab_adapters.doctor import examine

    checks = list(examine())
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        table = Table("", "check", "found", "what to do", box=None, header_style="bold")
        for check in checks:
            mark = Text("ok", "green") if check.ok else Text("no", "yellow" if check.optional else "bold red")
            table.add_row(mark, check.name, Text(check.detail), Text(check.hint))
        Console().print(table)
    if not all(check.ok or check.optional for check in checks):
        context.exit(3)
