"""What a person sees of a campaign: fits the terminal, survives hostile texts, says what comes next."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console
from test_store import CAMPAIGN, divergence

from wasmlab import display as d
from wasmlab.model import Batch, Run
from wasmlab.parallel import Totals

EVIL = "\x1b[31m[bold]evil[/bold]\u202e\n" + "long " * 60


def totals(found: int = 9) -> Totals:
    sums = Totals()
    counters = Counter({"cases": 12345, "calls": 100, "complete calls": 98, "inconclusive": 50, "x: crashed": 2})
    counters |= {"µs of x": 1000 * 2_500, "cases of x": 1000}
    batch = Batch(list(range(3)), counters=counters, rules=Counter({"a": 1, "b": 1}))
    for number in range(found):
        known = "row 1" if number == 2 else ""
        batch.divergences.append(replace(divergence(f"{number:012x}"), sentence=EVIL, known=known))
    sums.add(batch)
    return sums


def shown(width: int, found: int = 9, ascii_only: bool = False, **options: object) -> str:
    display = d.Display(f"night{EVIL}", ["ref", "x", EVIL], None, 60.0)
    display.show(totals(found))
    display._rates.extend([1.0, 5.0, 3.0, 0.0])
    console = Console(file=io.StringIO(), width=width, force_terminal=True, **options)  # type: ignore[arg-type]
    console.print(display.view(width, ascii_only))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_view_fits(width: int) -> None:
    text = shown(width, no_color=True, color_system=None)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) < 24
    if width == 40:
        return  # cut, but not broken
    assert "12,345" in text
    assert "2.5 ms a case, 1,000 cases" in text
    assert "2 crashed" in text
    assert "and 3 more" in text
    assert ("▂█▅▁" in text) == (width >= 90)
    assert "\x1b[31m" not in text
    assert "\u202e" not in text


def test_ascii_is_enough() -> None:
    text = shown(120, found=1, ascii_only=True, no_color=True, color_system=None)
    assert "x1" in text
    assert "▂" not in text


def test_a_line_says_the_same() -> None:
    display = d.Display("night", ["ref", "x"], 20_000, None)
    line = display.line(totals())
    assert line.startswith("cases 12,345 of 20,000  rate ")
    assert "complete 98.0%  inconclusive 0.4%  rules 2" in line
    assert "divergences 8 new, 1 known, 9 cases" in line
    assert "x: 2.5 ms a case, 1,000 cases, 2 crashed" in line
    assert "ref:" not in line
    assert d.Display("n", [], None, None).line(Totals()).endswith("left until Ctrl-C")


def test_nothing_moves_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with d.Display("night", ["ref"], None, 1.0) as display:
        display._next_line = 0.0
        display.show(totals())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "\x1b" not in err


def run(*found: object, **changes: object) -> Run:
    counters = Counter(cases=100, calls=10, **{"complete calls": 9})
    fields: dict[str, object] = {"inconclusive": Counter(), "rules": Counter(a=1), "instructions": Counter()}
    fields |= {"counters": counters, **changes}
    return Run("night", CAMPAIGN, 0.0, 61.0, divergences=list(found), samples=[], **fields)  # type: ignore[arg-type]


def said(made: Run, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, no_color=True)
    console.print(d.summary(made, None))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_summary_says_what_comes_next() -> None:
    text = said(run())
    assert "100 cases in 1:01, 2/s; 90.0% of the calls complete" in text
    assert "no divergence" in text
    assert "the same command with --out night" in text
    text = said(run(replace(divergence(), confirmed=(2, 3), sentence=EVIL)))
    assert "shown in 2 of 3 fresh processes" in text
    assert "wasmlab diff night/abc" in text
    assert "\x1b" not in text
    known = said(run(replace(divergence(), known="row 1")))
    assert "known: row 1" in known
    assert "wasmlab diff" not in known
    counters = Counter(cases=100, inconclusive=50)
    assert "fuel, 50 cases" in said(run(counters=counters, inconclusive=Counter(fuel=50)))


def test_durations() -> None:
    assert [d.minutes(s) for s in (0, 7.4, 61, 3723)] == ["0:00", "0:07", "1:01", "1:02:03"]
