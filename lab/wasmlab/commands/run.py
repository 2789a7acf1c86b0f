"""`wasmlab run`: one call on one engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from wasmlab_ref.case import WIDTHS, Case, Instantiate, Invoke, Register, Step, parse_value, value
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.syntax import Module
from wasmlab_ref.text.numbers import FORMATS, floating, integer
from wasmlab_ref.types import FuncType, ValType

from ..companion import MODULE, Digits, companions
from ..errors import UsageError
from ..foreign import plain
from ..loading import load_module
from ..opening import opened
from ..stacks import Context


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
    values = _arguments(module, export, args)
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


def _arguments(module: Module, export: str, args: tuple[str, ...]) -> tuple[str, ...]:
    found = {e.name: e.index for e in module.exports if e.kind == "func"}
    if export not in found:
        raise UsageError(f"no exported function {export!r}", hint=f"there are {', '.join(found) or 'none'}"[:300])
    type_: FuncType = Context(module).function(found[export])
    if len(args) != len(type_.params):
        wanted = " ".join(map(str, type_.params)) or "none"
        raise UsageError(f"{export} takes {len(type_.params)} arguments ({wanted}), not {len(args)}")
    return tuple(_argument(text, t) for text, t in zip(args, type_.params, strict=True))


def _argument(text: str, type_: ValType) -> str:
    if (":" in text and not text.startswith(("nan", "-nan", "+nan"))) or text.startswith("ref."):
        try:
            parse_value(text)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return text
    if not isinstance(type_, str) or type_ == "v128":
        raise UsageError(f"an argument of type {type_} must be given as bits: v128:0, ref.null, ref.extern:1")
    try:
        bits = floating(text, FORMATS[type_]) if type_ in FORMATS else integer(text, WIDTHS[type_])
    except OverflowError:
        bits = None
    if bits is None:
        raise UsageError(f"{text!r} is no {type_}")
    return value(type_, bits)


def _reading(text: str) -> str:
    """What the bits mean, for numbers."""
    from wasmlab_reports.meaning import meaning

    return meaning(text)
