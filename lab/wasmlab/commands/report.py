"""`wasmlab report`: what campaigns found, for people and for machines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ..errors import UsageError
from ..model import Run
from ..results import load_columns
from ..store import FILE, load

FORMATS = {"html": ".html", "markdown": ".md", "json": ".json", "junit": ".xml", "sarif": ".sarif"}
"""Format -> how the file's name ends."""


@click.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="html", show_default=True, help="What for.")
@click.option("--out", type=click.Path(path_type=Path), help="The file, - for stdout. By default report.html, …")
@click.option("--since", type=click.Path(path_type=Path), multiple=True, help="Only what changed since this campaign.")
def report(folders: tuple[Path, ...], form: str, out: Path | None, since: tuple[Path, ...]) -> None:
    """Make a report from the folders of one or many campaigns, or from folders that hold some.

    Parts of a campaign that ran elsewhere with other seeds become one, and divergences of one signature are one. HTML
    is an overview and a page for each divergence, in the folder beside it that is named like it; all open from disk.
    Results of conformance in the folders, such as those of a matrix, get a page, too.
    With --since, what is new, gone or different goes to stdout; ends with 1 where a new divergence is unknown.

    \b
    Example: wasmlab report night-1 night-2 --out nights.html
    """
    columns = load_columns(folder for folder in folders if folder.is_dir())
    runs = campaigns(folders, bool(columns))
    if since:
        _changes(campaigns(since), runs, form)
        return
    out = out or Path(f"report{FORMATS[form]}")
    if form == "html":
        from wasmlab_matrices.expectations import load_expectations
        from wasmlab_reports.conformance import render_conformance
        from wasmlab_reports.html import write_report

        if str(out) == "-":
            raise UsageError("a report of several pages needs a file", hint="--out FILE, or --format markdown")
        if columns:
            page = out.with_name(f"{out.stem}-conformance.html") if runs else out
            page.write_text(render_conformance(columns, load_expectations()), encoding="utf-8")
            click.echo(page)
        if columns and not runs:
            return
        write_report(runs, out)
    else:
        text = _text(runs, form)
        if str(out) == "-":
            click.echo(text, nl=False)
            return
        out.write_text(text, encoding="utf-8")
    click.echo(out)


def campaigns(folders: Sequence[Path], others: bool = False) -> list[Run]:
    """The campaigns in these folders: each is one, or holds some; none is an error, unless there are `others`."""
    found: list[Run] = []
    for folder in folders:
        inside = [] if (folder / FILE).is_file() else sorted(path.parent for path in folder.glob(f"**/{FILE}"))
        found += [load(path) for path in inside or ([] if others else [folder])]
    return found


def _text(runs: Sequence[Run], form: str) -> str:
    if form == "markdown":
        from wasmlab_reports.markdown import markdown

        return markdown(runs)
    from wasmlab_reports import formats

    return {"json": formats.as_json, "junit": formats.as_junit, "sarif": formats.as_sarif}[form](runs)


def _changes(before: Sequence[Run], after: Sequence[Run], form: str) -> None:
    from wasmlab_reports.changes import as_json, as_markdown, changes

    found = changes(before, after)
    click.echo((as_json if form == "json" else as_markdown)(found), nl=False)
    sys.exit(1 if any(not row.known for row in found.new) else 0)
