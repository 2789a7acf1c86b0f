"""The report as Markdown: for a pull request, an issue, or the summary of a CI job."""

from __future__ import annotations

from collections.abc import Sequence

from wasmlab.findings import regression_test
from wasmlab.foreign import plain
from wasmlab.model import Run

from .divergences import Finding, finding
from .merge import merged, totals

SCRIPTS = 10
"""Divergences whose regression tests are shown."""


def code(text: str, limit: int = 300) -> str:
    """Foreign text as code in a line or a cell: nothing in it means anything to Markdown or HTML."""
    shown = plain(text, limit).replace("|", "\\|")
    ticks = "`"
    while ticks in shown:
        ticks += "`"
    return f"{ticks} {shown} {ticks}" if "`" in shown else f"`{shown}`"


def fenced(text: str, language: str = "") -> str:
    """Foreign text as a block of code."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def markdown(runs: Sequence[Run]) -> str:
    """The page."""
    found = [finding(run, divergence) for run, divergence in merged(runs)]
    new = [f for f in found if not f.found.known]
    sums = totals(runs)
    number = f"{len(new)} new divergence{'' if len(new) == 1 else 's'}" if new else "No new divergence"
    lines = [
        f"# {number} in {sums.cases:,} cases",
        "",
        f"{sums.complete:.1%} of the calls complete, {sums.inconclusive:.1%} of the cases inconclusive, "
        f"{sums.rules:,} rules reached, {sums.rate:,.0f} cases a second.",
        "",
        "Engines: " + ", ".join(dict.fromkeys(code(v) for run in runs for v in run.campaign.versions)) + ".",
        "",
    ]
    if found:
        lines += ["| id | instructions | count | size | shown | what happened |", "|---|---|--:|--:|--:|---|"]
        lines += [_row(f) for f in found]
        lines.append("")
    for f in new[:SCRIPTS]:
        lines += [f"## {code(f.title)}", "", code(f.found.sentence, 1000), ""]
        if f.rules:
            lines += ["The standard on " + ", ".join(f"[{code(r.title)}]({r.link})" for r in f.rules) + ".", ""]
        lines += [fenced(plain_lines(regression_test(f.run, f.found)), "wasm"), fenced(plain(f.command, 2000), "sh")]
    if len(new) > SCRIPTS:
        lines += [f"… and {len(new) - SCRIPTS} more.", ""]
    return "\n".join(lines).rstrip() + "\n"


def plain_lines(text: str) -> str:
    """Lines made safe to show."""
    return "\n".join(plain(line, 2000) for line in text.split("\n"))


def _row(f: Finding) -> str:
    shown = "{} of {}".format(*f.found.confirmed)
    known = " (known)" if f.found.known else ""
    cells = (code(f.found.id), code(f.title, 120), f"{f.found.count:,}", f"{f.found.size:,}", shown)
    return f"| {' | '.join(cells)} | {code(f.found.sentence)}{known} |"
