"""`wasmlab report`: HTML from stores."""

from __future__ import annotations

from pathlib import Path

import click

from ..store import load


@click.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="The page."
)
def report(folders: tuple[Path, ...], out: Path) -> None:
    """Make one self-contained page from the folders of one or many campaigns.

    \b
    Example: wasmlab report night-1 night-2 --out nights.html
    """
    from wasmlab_reports.html import render

    out.write_text(render([load(folder) for folder in folders]), encoding="utf-8")
    click.echo(out)
