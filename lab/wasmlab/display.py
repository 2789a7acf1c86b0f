"""What a person sees of a campaign: a live view on a terminal, plain lines elsewhere; and the sum at the end.

The live view and the lines go to stderr.  NO_COLOR is honoured, and terminals that know no more than ASCII.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .foreign import plain
from .model import LEFT_OUT, Divergence, Run, cost
from .parallel import Totals

PLAIN_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""

SAMPLE = 1.0
"""Seconds of which the rate is shown as one bar of the little chart, and `CHART` how many of them."""
CHART = 30
BARS = "▁▂▃▄▅▆▇█"

LISTED = 6
"""Divergences that the live view lists, the last ones first."""

BAD = ("crashed", "unparsed", LEFT_OUT, "timed out", "exhausted", "unsupported")
"""Kinds of outcome, and cases without it, that say something about an engine's health, the worst first."""

BROKEN = BAD[:3]


class Display:
    """Shows `Totals`; a context manager."""

    def __init__(self, title: str, engines: Sequence[str], examples: int | None, seconds: float | None) -> None:
        self.title, self.engines, self.examples, self.seconds = title, engines, examples, seconds
        self.console = Console(stderr=True)
        self._live: Live | None = None
        self._next_line = time.monotonic() + 2
        self._rates: deque[float] = deque(maxlen=CHART)
        self._sampled, self._cases = time.monotonic(), 0
        self._totals: Totals | None = None
        self._told = 0

    def __enter__(self) -> Display:
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def note(self, line: str) -> None:
        """A line that stays."""
        self.console.print(Text(plain(line)), soft_wrap=True)

    def show(self, totals: Totals) -> None:
        """Show the state now."""
        self._totals = totals
        self._sample(totals)
        for line in totals.troubles[self._told :]:
            self.note(f"wasmlab: {line}")
        self._told = len(totals.troubles)
        if not self._live and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_EVERY
            print(self.line(totals), file=sys.stderr, flush=True)

    def _sample(self, totals: Totals) -> None:
        now = time.monotonic()
        if now - self._sampled >= SAMPLE:
            cases = totals.counters["cases"]
            self._rates.append((cases - self._cases) / (now - self._sampled))
            self._sampled, self._cases = now, cases

    # Plain

    def line(self, totals: Totals) -> str:
        """The state in a line, without colours."""
        facts = [
            f"cases {totals.counters['cases']:,}" + (f" of {self.examples:,}" if self.examples else ""),
            *(f"{label} {value}" for label, value in self._facts(totals)),
            f"divergences {self._divergences(totals)}",
            *(f"{plain(name, 60)}: {text}" for name in self.engines if (text := _state(name, totals))),
            f"left {self._left(totals)}",
        ]
        return "  ".join(facts)

    def _facts(self, totals: Totals) -> list[tuple[str, str]]:
        counters = totals.counters
        cases, calls = counters["cases"], counters["calls"]
        return [
            ("rate", f"{totals.rate:,.0f}/s"),
            ("complete", f"{counters['complete calls'] / calls:.1%}" if calls else "-"),
            ("inconclusive", f"{counters['inconclusive'] / cases:.1%}" if cases else "-"),
            ("rules", f"{len(totals.rules):,}"),
        ]

    def _divergences(self, totals: Totals) -> str:
        found = totals.found.values()
        new, known = sum(not d.known for d in found), sum(bool(d.known) for d in found)
        if not found:
            return "none"
        return f"{new:,} new" + (f", {known:,} known" if known else "") + f", {sum(totals.signatures.values()):,} cases"

    def _left(self, totals: Totals) -> str:
        if self.seconds is not None:
            left = self.seconds - totals.seconds
            return minutes(left) if left > 0 else "ending"
        if self.examples and totals.rate:
            return minutes((self.examples - totals.counters["cases"]) / totals.rate)
        return "until Ctrl-C"

    # Live

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.view(options.max_width, options.ascii_only)

    def view(self, width: int, ascii_only: bool = False) -> RenderableType:
        """The live view, for a terminal of that width."""
        totals = self._totals or Totals()
        self._sample(totals)
        return Group(*self._view(totals, width, ascii_only))

    def _view(self, totals: Totals, width: int, ascii_only: bool) -> Iterator[RenderableType]:
        width = min(width, 120)
        left = self._left(totals) if self._bounded and totals.counters["cases"] else ""
        left = f", {left} left" if left[:1].isdigit() else f", {left}" if left else ""
        clock = Text(minutes(totals.seconds) + left)
        title = Text.assemble(("wasmlab fuzz ", "bold"), (plain(self.title), "dim"))
        title.truncate(max(10, width - len(clock) - 2), overflow="ellipsis")
        head = Table.grid(expand=False)
        head.add_column(width=max(1, width - len(clock)))
        head.add_column()
        head.add_row(title, clock)
        yield head
        if self._bounded:
            yield ProgressBar(1.0, min(1.0, self._share(totals)), width=width)
        yield Text()
        yield from self._figures(totals, width, ascii_only)
        yield Text()
        yield self._engines(totals, width)
        yield Text()
        yield from self._found(totals, width, "x" if ascii_only else "×")

    @property
    def _bounded(self) -> bool:
        return self.seconds is not None or self.examples is not None

    def _share(self, totals: Totals) -> float:
        """How much of the campaign is done."""
        if self.seconds is not None:
            return totals.seconds / self.seconds
        return totals.counters["cases"] / self.examples if self.examples else 0.0

    def _figures(self, totals: Totals, width: int, ascii_only: bool) -> Iterator[RenderableType]:
        cases = f"{totals.counters['cases']:,}"
        figures = [("cases", cases), *self._facts(totals)]
        table = Table.grid(padding=(0, 3))
        for _ in figures:
            table.add_column(justify="left", no_wrap=True)
        table.add_row(*(Text(value, style="bold") for _, value in figures))
        table.add_row(*(Text(label, style="dim") for label, _ in figures))
        if width >= 90 and not ascii_only and len(self._rates) > 2:
            beside = Table.grid(padding=(0, 4))
            beside.add_row(table, Text(chart(list(self._rates)), style="cyan"))
            yield beside
        else:
            yield table

    def _engines(self, totals: Totals, width: int) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(max_width=max(12, width // 3), no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for name in self.engines:
            text, spent = health(name, totals), cost(name, totals.counters)
            broken = any(totals.counters[f"{name}: {kind}"] for kind in BROKEN)
            style = "red" if broken else "yellow" if text else "green"
            table.add_row(Text(plain(name, 80)), Text(spent, style="dim"), Text(text or "fine", style=style))
        return table

    def _found(self, totals: Totals, width: int, times: str) -> Iterator[RenderableType]:
        new = any(not d.known for d in totals.found.values())
        said = Text.assemble("divergences ", (self._divergences(totals), "bold red" if new else "bold"))
        yield said
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(20, width - 42))
        for found in list(totals.found.values())[: -LISTED - 1 : -1]:
            style = "dim" if found.known else ""
            count = f"{times}{totals.signatures[found.id]:,}"
            what = ("known: " if found.known else "") + plain(found.sentence, 200)
            table.add_row(
                Text(found.id, style="dim" if found.known else "cyan"), Text(count, style=style),
                Text(instructions(found.size), style=style), Text(what, style=style),
            )  # fmt: skip
        if len(totals.found) > LISTED:
            table.add_row(Text(f"and {len(totals.found) - LISTED} more", style="dim"), "", "", "")
        yield table


def health(name: str, totals: Totals) -> str:
    """What an engine had besides ends that the standard foresees: "2 crashed, 14 exhausted"; "" for nothing."""
    return ", ".join(f"{n:,} {kind}" for kind in BAD if (n := totals.counters[f"{name}: {kind}"]))


def _state(name: str, totals: Totals) -> str:
    """What a case costs an engine, and its health."""
    return ", ".join(filter(None, (cost(name, totals.counters), health(name, totals))))


def instructions(number: int) -> str:
    """A size in words."""
    return f"{number:,} instruction{'' if number == 1 else 's'}"


def chart(values: Sequence[float]) -> str:
    """Values as a line of bars."""
    most = max(values) or 1.0
    return "".join(BARS[min(len(BARS) - 1, int(value / most * len(BARS)))] for value in values)


def output() -> Console:
    """Standard output; where it is no terminal, lines are not cut at 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def minutes(seconds: float) -> str:
    """A duration: "0:07", "1:02:03"."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def summary(run: Run, report: Path | None) -> RenderableType:
    """What a campaign came to, and what to do next."""
    return Group(*_summary(run, report))


def _summary(run: Run, report: Path | None) -> Iterator[RenderableType]:
    rate = run.cases / max(run.seconds, 1e-6)
    yield Text(
        f"{run.cases:,} cases in {minutes(run.seconds)}, {rate:,.0f}/s; {run.complete:.1%} of the calls complete, "
        f"{run.counters['inconclusive']:,} cases inconclusive, {len(run.rules)} rules reached"
    )
    new = [found for found in run.divergences if not found.known]
    known = [found for found in run.divergences if found.known]
    if not run.divergences:
        yield Text("no divergence", style="bold green")
    for found in (*new, *known):
        yield Text()
        yield from _one(found)
    yield Text()
    table = Table.grid(padding=(0, 2))
    for label, what in _hints(run, new, report):
        table.add_row(Text(label, style="dim"), Text(what, overflow="fold"))
    yield table


def _one(found: Divergence) -> Iterator[Text]:
    shown, tried = found.confirmed
    facts = [f"{found.count:,} case{'' if found.count == 1 else 's'}", instructions(found.size)]
    facts += [f"shown in {shown} of {tried} fresh processes"] if shown != tried else []
    style = "dim" if found.known else "bold red"
    yield Text.assemble((found.id, style), f"  {', '.join(facts)}")
    yield Text(f"  {plain(found.sentence)}")
    yield Text(f"  {plain(found.signature)}", style="dim")
    if found.known:
        yield Text(f"  known: {plain(found.known)}", style="dim")


def _hints(run: Run, new: Sequence[Divergence], report: Path | None) -> Iterator[tuple[str, str]]:
    if new:
        yield "see it again", f"wasmlab diff {run.folder}/{new[0].id}"
        yield "regression test", f"{run.folder}/findings/{new[0].id}/reduced.wast"
    elif run.counters["inconclusive"] > 0.02 * run.cases > 0:
        reason, number = run.inconclusive.most_common(1)[0]
        yield "most inconclusive", f"{plain(reason, 80)}, {number:,} cases"
    else:
        yield "go on", f"the same command with --out {run.folder}, and more --time or --examples"
    if report:
        yield "report", str(report)
