"""`wasmlab trace`: what engines compute, and the first instruction where they differ."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from ..display import output
from ..errors import UsageError
from ..foreign import plain
from ..loading import load_any
from ..opening import names_of, opened
from ..trace import LIMIT, Event, Traced, first_difference, instrumented
from .options import OutputFile

SHOWN = 8
"""Events before the first difference that are shown."""


@click.command("trace")
@click.argument("file")
@click.option("--engines", default="", help="Engines, separated by commas: ref,wasmtime. A finding has its own.")
@click.option("--engine", "more", multiple=True, help="One more engine; may be repeated (for programs with commas).")
@click.option("--invoke", "calls", multiple=True, help='A call of a bare module, "add 1 0x2"; may be repeated.')
@click.option(
    "--limit", default=LIMIT, show_default=True, type=click.IntRange(1, 1_000_000), help="Values an instance."
)
@click.option("-o", "--out", type=OutputFile(), help="The trace as lines of JSON. Default: stdout.")
@click.option("--json", "as_json", is_flag=True, help="Of several engines: the first difference as one JSON object.")
def trace(
    file: str, engines: str, more: tuple[str, ...], calls: tuple[str, ...], limit: int, out: Path | None, as_json: bool
) -> None:
    """Tell the value of every expression that engines compute, in order; of several engines, where they differ first.

    The modules are changed for it: each value is handed to a host function. So it works with any engine; but an
    optimisation that this prevents cannot be seen. Of one engine the trace is lines of JSON; of several the first
    difference is shown with what came before it, and the exit status is 1 if there is one.

    \b
    Example: wasmlab trace add.wat --engines ref,wasmtime --invoke "add 1 2"
    """
    loaded = load_any(file, calls)
    names = loaded.engines if loaded.engines and not engines and not more else names_of(engines, more)
    traced = instrumented(loaded.case, limit)
    if not traced.places:
        raise UsageError(f"{file}: no module in it can be instrumented: none is valid, or none has code")
    with opened(names) as started:
        answers = {engine.name: engine.run(traced.case) for engine in started}
    events = {name: traced.events(answer.trace) for name, answer in answers.items()}
    if out:
        out.write_text("".join(f"{line}\n" for line in lines(events)), encoding="utf-8")
    elif len(names) == 1 and not as_json:
        for line in lines(events):
            click.echo(line)
    if len(names) == 1:
        return
    at = first_difference(list(events.values()))
    if as_json:
        click.echo(json.dumps(to_json(events, at)))
    else:
        _print(traced, events, answers, at)
    sys.exit(0 if at is None else 1)


def lines(events: Mapping[str, Sequence[Event]]) -> Iterable[str]:
    """Events as lines of JSON, those of several engines one engine after the other."""
    for name, found in events.items():
        for event in found:
            yield json.dumps({"engine": name, **event.to_json()} if len(events) > 1 else event.to_json())


def to_json(events: Mapping[str, Sequence[Event]], at: int | None) -> dict[str, Any]:
    """What `trace --json` prints: the first difference, and what came before it."""
    shown = {name: _at(found, at) for name, found in events.items()}
    before = next(iter(events.values()))[max(0, (at or 0) - SHOWN) : at or 0]
    return {
        "events": {name: len(found) for name, found in events.items()},
        "first": at,
        "before": [event.to_json() for event in before],
        "at": {name: event.to_json() if event else None for name, event in shown.items()} if at is not None else None,
    }


def _at(found: Sequence[Event], at: int | None) -> Event | None:
    return found[at] if at is not None and at < len(found) else None


def _print(traced: Traced, events: Mapping[str, Sequence[Event]], answers: Mapping[str, Any], at: int | None) -> None:
    console = output()
    count = max(map(len, events.values()))
    if at is None:
        differ = len({tuple(answer.outcomes) for answer in answers.values()}) > 1
        hint = "; yet their outcomes differ: what was not told, or what telling prevents, is to blame" if differ else ""
        console.print(Text(f"no difference in {count:,} events{hint}"), soft_wrap=True)
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("event", "where", "instruction", *events):
        table.add_column(Text(plain(column, 60)), no_wrap=column != "where")
    for number in range(max(0, at - SHOWN), at + 1):
        row = [_at(found, number) for found in events.values()]
        first = next(event for event in row if event)
        place = first.place
        same = len({event.place if event else None for event in row}) == 1
        style = "bold red" if number == at else ""
        cells = [Text(plain(_cell(event, same), 100), style=style) for event in row]
        where = f"module {place.module} function {place.function} +{max(place.at, 0)}"
        table.add_row(f"{number + 1:,}", Text(where, style="dim"), Text(place.instruction, style=style), *cells)
    console.print(table)


def _cell(event: Event | None, same: bool) -> str:
    if event is None:
        return "nothing more"
    return event.value if same else str(event)
