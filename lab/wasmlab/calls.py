"""Calls as people write them: literals of the text format (42, -1, 0x1p3), or bits with their type (f32:7fc00000)."""

from __future__ import annotations

import shlex

from wasmlab_ref.case import WIDTHS, Invoke, parse_value, value
from wasmlab_ref.syntax import Module
from wasmlab_ref.text.numbers import FORMATS, floating, integer
from wasmlab_ref.types import FuncType, ValType

from .companion import MODULE
from .errors import UsageError
from .stacks import Context


def call(module: Module, text: str) -> Invoke:
    """The call "export argument ..." of the module's instance; quotes keep names with spaces together."""
    try:
        export, *args = shlex.split(text)
    except ValueError:
        raise UsageError(f"{text!r} is no call", hint="a call is the name of an export, then arguments") from None
    return Invoke(MODULE, export, arguments(module, export, tuple(args)))


def arguments(module: Module, export: str, args: tuple[str, ...]) -> tuple[str, ...]:
    """The values of literals for an exported function; `UsageError` where they do not fit its type."""
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
        text = text.replace(":0x", ":", 1)
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
