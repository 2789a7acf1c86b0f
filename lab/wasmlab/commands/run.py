"""`wasmlab run`: one call on one engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from wasmlab_ref.case import Case, Instantiate, Invoke, Register, Step
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.syntax import Module

from ..calls import arguments
from ..companion import MODULE, Digits, companions
from ..errors import UsageError
from ..foreign import plain
from ..loading import load_module
from ..opening import opened


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--engine", default="ref", show_default=True, help="The engine.")
@click.option("--invoke", "export", required=True, help="The exported function.")
@click.option(
    "--repeat", default=1, show_default=True, type=click.IntRange(1, 10_000_000), help="Calls; the last counts."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.argument("args", nargs=-1)
def run(file: Path, engine: str, export: str, repeat: int, as_json: bool, args: tuple[str, ...]) -> None:
    """Call an exported function of a .wasm or .wat file on one engine.

    Arguments are literals of the text format (42, -1, 0x1p3, nan:0x200000), or bits with their type (f32:7fc00000).
    Imports are filled by companions made up from the module's digest. Ends with 1 unless the function returns.

    \b
    Example: wasmlab run add.wat --engine ref --invoke add 1 2
    """
    data = load_module(file)
    try:
        module = decode(data)
    except Malformed as error:
        raise UsageError(f"{file}: malformed: {error}") from None
    values = arguments(module, export, args)
    with opened([engine]) as (started,):
        outcomes = started.run(_case(data, module, Invoke(MODULE, export, values, repeat))).outcomes
    outcome = next((o for o in outcomes[:-1] if o.kind != "returned"), outcomes[-1])
    if as_json:
        click.echo(json.dumps(outcome.to_json()))
    elif outcome.kind == "returned":
        for result in outcome.values:
            click.echo(plain(f"{result}  {_reading(result)}".rstrip()))
    else:
        click.echo(plain(str(outcome)))
    sys.exit(0 if outcome.kind == "returned" else 1)


def _case(data: bytes, module: Module, call: Invoke) -> Case:
    modules, steps = [data], list[Step]()
    for number, (name, companion) in enumerate(companions(module, Digits(data)), 1):
        modules.append(encode(companion))
        steps += [Instantiate(f"companion-{number}", number), Register(f"companion-{number}", name)]
    return Case(tuple(modules), (*steps, Instantiate(MODULE, 0), call))


def _reading(text: str) -> str:
    """What the bits mean, for numbers."""
    from wasmlab_reports.meaning import meaning

    return meaning(text)
