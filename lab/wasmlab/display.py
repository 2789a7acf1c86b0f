"""What a person sees of a running campaign: a live line on a terminal, plain lines elsewhere.  All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .foreign import plain
from .model import Run
from .parallel import Totals

PLAIN_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class Display:
    """Shows `Totals`; a context manager."""

    def __init__(self, engines: Sequence[str], examples: int | None, seconds: float | None) -> None:
        self.engines, self.examples, self.seconds = engines, examples, seconds
        self.console = Console(stderr=True)
        self._live: Live | None = None
        self._next_line = time.monotonic() + 2

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def note(self, line: str) -> None:
        """A line that stays."""
        self.console.print(Text(plain(line)))

    def show(self, totals: Totals) -> None:
        """Show the state now."""
        if self._live:
            self._live.update(self._table(totals))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_EVERY
            print("  ".join(f"{label} {value}" for label, value in self._facts(totals)), file=sys.stderr, flush=True)

    def _facts(self, totals: Totals) -> list[tuple[str, str]]:
        counters = totals.counters
        cases, calls = counters["cases"], counters["calls"]
        return [
            ("cases", f"{cases:,}" + (f" of {self.examples:,}" if self.examples else "")),
            ("rate", f"{totals.rate:,.0f}/s"),
            ("complete", f"{100 * counters['complete calls'] / calls:.1f} %" if calls else "-"),
            ("inconclusive", f"{100 * counters['inconclusive'] / cases:.1f} %" if cases else "-"),
            ("rules", f"{len(totals.rules):,}"),
            ("divergences", f"{sum(totals.signatures.values()):,} ({len(totals.signatures)} signatures)"),
            *((name, self._health(name, totals)) for name in self.engines),
            ("left", self._left(totals)),
        ]

    def _table(self, totals: Totals) -> Table:
        table = Table.grid(padding=(0, 2))
        for label, value in self._facts(totals):
            style = "bold red" if label == "divergences" and totals.signatures else "bold"
            table.add_row(Text(plain(label, 60), style="dim"), Text(plain(value, 100), style=style))
        return table

    def _health(self, name: str, totals: Totals) -> str:
        bad = ("crashed", "timed out", "unparsed", "exhausted", "unsupported")
        found = [f"{n:,} {kind}" for kind in bad if (n := totals.counters[f"{name}: {kind}"])]
        return ", ".join(found) or "fine"

    def _left(self, totals: Totals) -> str:
        if self.seconds is not None:
            return _minutes(self.seconds - totals.seconds)
        if self.examples and totals.rate:
            return _minutes((self.examples - totals.counters["cases"]) / totals.rate)
        return "until Ctrl-C"


def output() -> Console:
    """Standard output; where it is no terminal, lines are not cut at 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def _minutes(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def summary(run: Run, report: Any) -> Table:
    """The table at the end of a campaign."""
    title = Text(
        f"{run.cases:,} cases in {_minutes(run.seconds)}, {run.cases / max(run.seconds, 1e-6):,.0f}/s, "
        f"{100 * run.complete:.1f} % of the calls complete, {sum(run.inconclusive.values()):,} inconclusive, "
        f"{len(run.rules)} rules"
    )
    table = Table(title=title, title_justify="left", title_style="", box=None, header_style="bold", show_edge=False)
    for column in ("divergence", "count", "instructions", "who and what"):
        table.add_column(column)
    for found in run.divergences:
        who = Text(plain(found.signature)) + Text(f"\n{plain(found.sentence)}", style="dim")
        who += Text(f"\nknown: {plain(found.known)}" if found.known else "")
        table.add_row(found.id, f"{found.count:,}", str(found.size), who)
    if not run.divergences:
        table.add_row(Text("none"), "", "", "")
    table.caption = Text(f"report: {report}") if report else None
    return table
