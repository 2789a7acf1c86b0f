"""`wasmlab diff`: one file on every engine, side by side."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register, Step
from wasmlab_ref.isa import BY_MNEMONIC

from ..display import output
from ..foreign import plain
from ..loading import Loaded, load_any
from ..opening import ARCHS, judging, names_of, opened
from ..oracle import Verdict, is_reference
from ..signature import NOISE, opcodes, size

STYLES = ("green", "red", "yellow", "magenta")
CITED = 8
"""Instructions for which the standard is cited."""


@click.command("diff")
@click.argument("file")
@click.option("--engines", default="", help="Engines, separated by commas: ref,wasmtime. A finding has its own.")
@click.option("--engine", "more", multiple=True, help="One more engine; may be repeated (for programs with commas).")
@ARCHS
@click.option("--invoke", "calls", multiple=True, help='A call of a bare module, "add 1 0x2"; may be repeated.')
@click.option("--all", "everything", is_flag=True, help="Show all steps, not only up to the first difference.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def diff(
    file: str, engines: str, more: tuple[str, ...], archs: tuple[str, ...], calls: tuple[str, ...], everything: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Run a .wasm, .wat or .wast file, or a case (.json), on every engine; show the outcomes and what they mean.

    A finding of a campaign is FOLDER/ID, or its ID alone where the campaign is in this folder.

    A bare module gets companions for its imports, and without --invoke calls, from its digest: the same on every
    machine. Ends with 1 where the engines diverge.

    \b
    Example: wasmlab diff add.wat --engines ref,wasmtime
    """
    loaded = load_any(file, calls)
    own = loaded.engines and not engines and not more
    names = loaded.engines if own else names_of(engines, more, archs)
    with opened(names) as started, judging(started) as judgement:
        verdict, answers = judgement.compare(started, loaded.case)
    if as_json:
        click.echo(json.dumps(to_json(loaded.case, verdict, answers)))
    else:
        _print(loaded, verdict, answers, everything)
    sys.exit(1 if verdict.diverges else 0)


def to_json(case: Case, verdict: Verdict, answers: dict[str, Any]) -> dict[str, Any]:
    """The verdict, and every engine's outcomes."""
    return {
        "verdict": verdict.kind,
        "reason": verdict.reason,
        "step": verdict.step,
        "groups": verdict.groups,
        "at_fault": at_fault(verdict),
        "case": case.to_json(),
        "outcomes": {name: [o.to_json() for o in answer.outcomes] for name, answer in answers.items()},
        "trace": {name: list(answer.trace) for name, answer in answers.items()},
    }


def _print(loaded: Loaded, verdict: Verdict, answers: dict[str, Any], everything: bool) -> None:
    console, case = output(), loaded.case
    if loaded.made_up:
        console.print(
            Text(
                "A bare module: companions and calls are made up from its digest (calls of yours: --invoke).",
                style="dim",
            )
        )
    for note in loaded.notes[:20]:
        console.print(Text(plain(note), style="dim"))
    group_of = {name: number for number, group in enumerate(verdict.groups) for name in group}
    table = Table("step", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in answers:
        table.add_column(Text(plain(name)))
    last = verdict.step if verdict.step is not None and verdict.diverges and not everything else len(case.steps) - 1
    for at, step in enumerate(case.steps[: last + 1]):
        decisive = verdict.diverges and at == verdict.step
        cells = []
        for name, answer in answers.items():
            outcome = answer.outcomes[at] if at < len(answer.outcomes) else Outcome("unparsed")
            cells.append(Text(plain(str(outcome), 300), style=_style(group_of.get(name)) if decisive else ""))
        table.add_row(Text(describe(step), style="bold" if decisive else ""), *cells)
    console.print(table)
    console.print()
    console.print(Text(f"{verdict.kind}: ", style="bold") + Text(plain(explain(verdict), 1000)))
    if blamed := at_fault(verdict):
        console.print(Text("at fault: ", style="bold") + Text(plain(", ".join(blamed), 300)))
    if verdict.diverges and size(case) <= 50:
        for line in cited(case):
            console.print(Text(f"  {line}", style="dim"))


def at_fault(verdict: Verdict) -> list[str]:
    """The engines that the reference, where it is one of them, disagrees with."""
    sides = [(group, any(is_reference(name) for name in group)) for group in verdict.groups]
    return [name for group, right in sides if not right for name in group] if any(right for _, right in sides) else []


def _style(group: int | None) -> str:
    return "" if group is None else STYLES[min(group, len(STYLES) - 1)]


def describe(step: Step) -> str:
    """A step in one line."""
    match step:
        case Instantiate(name, module):
            return plain(f"{name} = instantiate module {module}", 100)
        case Register(name, module):
            return plain(f"register {name} as {module}", 100)
        case Invoke(name, export, args, repeat):
            return plain(f"{name}.{export}({', '.join(args)})", 200) + (f" × {repeat}" if repeat > 1 else "")
        case Read(name, export):
            return plain(f"read {name}.{export}", 100)


def explain(verdict: Verdict) -> str:
    """What a verdict means."""
    match verdict.kind:
        case "agree":
            explained = f" ({verdict.reason})" if verdict.reason else ""
            return f"behaviours that the standard allows explain what all engines did{explained}"
        case "inconclusive":
            at = "" if verdict.step is None else f" at step {verdict.step + 1}"
            return f"{verdict.reason}{at}; what came after cannot be compared"
    return verdict.reason


def cited(case: Case) -> list[str]:
    """Where the standard defines the instructions of a case."""
    names = sorted({m for m in opcodes(case) if m not in NOISE and not m.endswith(".const")})
    page = "https://webassembly.github.io/spec/core/exec/instructions.html"
    anchors = [(name, BY_MNEMONIC[name].rule.replace("_", "-").replace(".", "-")) for name in names[:CITED]]
    return [f"{name}: {page}#exec-{anchor}" for name, anchor in anchors]
