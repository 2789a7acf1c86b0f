"""Does an outcome match what a script expects?  Values are the texts of `case`: any engine can be judged."""

from __future__ import annotations

from collections.abc import Sequence

from .case import Outcome, parse_value, shapes, value
from .outcome import trap_kinds
from .script import Argument, Const, Either, Lanes, Nan, RefHost, RefNull, RefOf, Result

QUIET = {"f32": 0x7FC0_0000, "f64": 0x7FF8_0000_0000_0000}
MAGNITUDE = {"f32": 0x7FFF_FFFF, "f64": 0x7FFF_FFFF_FFFF_FFFF}

SHAPES = {
    "func": {"ref.func"},
    "extern": {"ref.extern", "ref.any", "ref.i31", "ref.struct", "ref.array"},
    "exn": {"ref.exn"},
    "i31": {"ref.i31"},
    "struct": {"ref.struct"},
    "array": {"ref.array"},
    "eq": {"ref.i31", "ref.struct", "ref.array"},
    "any": {"ref.any", "ref.extern", "ref.i31", "ref.struct", "ref.array"},
}
"""The shapes that a reference to a heap type may have; a converted one keeps its shape on the other side."""


def argument(arg: Argument) -> str:
    """The text of an argument."""
    match arg:
        case Const(type_, bits):
            return value(type_, bits)
        case RefNull():
            return "ref.null"
        case RefHost(number):
            return f"ref.extern:{number:x}"


def _lane(bits: int, expected: int | Nan) -> bool:
    if isinstance(expected, int):
        return bits == expected
    quiet = QUIET[expected.type]
    return (bits & (MAGNITUDE[expected.type] if expected.kind == "canonical" else quiet)) == quiet


def matches(text: str, expected: Result) -> bool:
    """Whether a value is what a result pattern allows."""
    type_, bits = parse_value(text)
    match expected:
        case Const(wanted, wanted_bits):
            return type_ == wanted and bits == wanted_bits
        case Nan(wanted):
            return type_ == wanted and _lane(bits, expected)
        case Lanes(_, lanes):
            width = 128 // len(lanes)
            parts = [bits >> width * i & (1 << width) - 1 for i in range(len(lanes))]
            return type_ == "v128" and all(_lane(part, lane) for part, lane in zip(parts, lanes, strict=True))
        case RefNull():
            return type_ == "ref.null"
        case RefHost(number):
            return type_ == "ref.extern" and bits == number
        case RefOf(heap):
            return type_ in SHAPES[heap]
        case Either(results):
            return any(matches(text, result) for result in results)


def pattern(expected: Result) -> str:
    """A result pattern as people read it: `i32:2`, `f32:nan:canonical`, `ref.func`."""
    match expected:
        case Const() | RefNull() | RefHost():
            return argument(expected)
        case Nan(type_, kind):
            return f"{type_}:nan:{kind}"
        case Lanes(shape, lanes):
            return f"{shape}:" + ",".join(f"{n:x}" if isinstance(n, int) else f"nan:{n.kind}" for n in lanes)
        case RefOf(heap):
            return f"ref.{heap}"
        case Either(results):
            return " or ".join(map(pattern, results))


def returned(outcome: Outcome, results: Sequence[Result]) -> bool:
    """Whether a step returned what is expected."""
    return (
        outcome.kind == "returned"
        and len(outcome.values) == len(results)
        and all(matches(text, expected) for text, expected in zip(shapes(outcome.values), results, strict=True))
    )


def trapped(outcome: Outcome, text: str) -> bool:
    """Whether a step trapped for the reason that begins with `text`; any of the kinds an engine merges will do."""
    if outcome.kind != "trapped":
        return False
    texts = [trap_kinds()[kind].text if kind in trap_kinds() else kind for kind in outcome.detail.split("|")]
    return any(t.startswith(text) or text.startswith(t) for t in texts)
