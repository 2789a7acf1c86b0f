"""What an engine chooses where the standard leaves it a choice: found out by small probes.

A probe is one instruction with operands at a corner; the numerics of the reference under each choice say which ones
explain what came out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, parse_value, value
from wasmlab_ref.encode import encode
from wasmlab_ref.isa import BY_MNEMONIC
from wasmlab_ref.numerics import functions
from wasmlab_ref.profile import NAN_PROFILES, RELAXED, RELAXED_CHOICES, Profile
from wasmlab_ref.syntax import Export, Func, Module, instr
from wasmlab_ref.types import FuncType, RecType, SubType

Choices: TypeAlias = Mapping[str, str]
"""By "nan" or mnemonic of a relaxed instruction: the choice, "" where none of the standard's explains what it did."""


class Probe(NamedTuple):
    """An instruction and its operands."""

    mnemonic: str
    operands: tuple[int, ...]


def _lanes(*lanes: int, width: int = 32) -> int:
    return sum(lane << width * i for i, lane in enumerate(lanes))


_INFINITY = {32: 0x7F800000, 64: 0x7FF << 52}
_ONE = {32: 0x3F800000, 64: 0x3FF << 52}


def _nans(width: int) -> tuple[int, int, int]:
    """Two quiet NaNs and a signalling one, each with a payload of its own."""
    quiet = 1 << (22 if width == 32 else 51)
    return _INFINITY[width] | quiet | 0x12345, _INFINITY[width] | quiet | 0x777, _INFINITY[width] | 0x54321


def _nan_probes() -> Iterator[Probe]:
    for width in (32, 64):
        first, second, signalling = _nans(width)
        one, sign = _ONE[width], 1 << width - 1
        for name in ("add", "sub", "mul", "div", "min", "max"):
            for operands in ((first, second), (second, signalling), (first, one), (one, first), (signalling, one)):
                yield Probe(f"f{width}.{name}", operands)
        yield Probe(f"f{width}.div", (0, 0))
        yield Probe(f"f{width}.sub", (_INFINITY[width],) * 2)
        yield Probe(f"f{width}.sqrt", (one | sign,))
        for name in ("sqrt", "ceil", "floor", "trunc", "nearest"):
            for operand in (first, first | sign, signalling):
                yield Probe(f"f{width}.{name}", (operand,))
    for operand in _nans(32):
        yield Probe("f64.promote_f32", (operand,))
    for operand in _nans(64):
        yield Probe("f32.demote_f64", (operand | 1 << 63,))


def _relaxed_probes() -> Iterator[Probe]:
    masks = (0x80018000_7F000080_80000000_000000FF, _lanes(0x80, 0x7FFF0000, 0x80000000, 0x7FFFFFFF))
    for shape in ("i8x16", "i16x8", "i32x4", "i64x2"):
        for mask in masks:
            yield Probe(f"{shape}.relaxed_laneselect", ((1 << 128) - 1, 0, mask))
    yield Probe("i8x16.relaxed_swizzle", (_lanes(*range(1, 17), width=8), _lanes(16, 31, 127, 128, 255, 0, width=8)))
    wide = (0x7FC00000, 0x4F800000, 0xBF800000, 0x7F800000), (0xFF800000, 0x4F000000, 0x5F800000, 0xCF800000)
    for sx in ("s", "u"):
        for floats in wide:
            yield Probe(f"i32x4.relaxed_trunc_f32x4_{sx}", (_lanes(*floats),))
        for doubles in ((0x7FF8, 0x41F0), (0xBFF0, 0x41E0), (0xFFF0, 0x43F0)):
            yield Probe(f"i32x4.relaxed_trunc_f64x2_{sx}_zero", (_lanes(*(x << 48 for x in doubles), width=64),))
    for width, shape, quiet in ((32, "f32x4", 0x7FC00000), (64, "f64x2", 0x7FF8 << 48)):
        one, zero = _ONE[width], 1 << width - 1
        for name in ("min", "max"):
            for a, b in ((quiet, one), (one, quiet), (0, zero), (zero, 0)):
                yield Probe(f"{shape}.relaxed_{name}", (_lanes(a, b, width=width), _lanes(b, a, width=width)))
        next_, twice = one | 1, one | 2
        for name, addend in (("madd", twice | zero), ("nmadd", twice)):
            yield Probe(f"{shape}.relaxed_{name}", (next_, next_, addend))
    yield Probe("i16x8.relaxed_q15mulr_s", (0x8000, 0x8000))
    signed = _lanes(1, 2, 0x80, 0x80, width=8), _lanes(0x80, 0x81, 0xFF, 0xFF, width=8)
    yield Probe("i16x8.relaxed_dot_i8x16_i7x16_s", signed)
    yield Probe("i32x4.relaxed_dot_i8x16_i7x16_add_s", (*signed, 5))


@cache
def probes(relaxed: bool) -> tuple[tuple[Probe, ...], Case]:
    """All probes (those of relaxed instructions, or of NaNs), and the case that makes them."""
    found = tuple(_relaxed_probes() if relaxed else _nan_probes())
    types: list[RecType] = []
    funcs: list[Func] = []
    for number, probe in enumerate(found):
        row = BY_MNEMONIC[probe.mnemonic]
        types.append(RecType((SubType(FuncType(tuple(row.params or ()), tuple(row.results or ()))),)))
        body = (*(instr("local.get", i) for i in range(len(probe.operands))), instr(probe.mnemonic))
        funcs.append(Func(number, (), body))
    exports = tuple(Export(str(i), "func", i) for i in range(len(funcs)))
    module = Module(types=tuple(types), funcs=tuple(funcs), exports=exports)
    steps = [Invoke("a", str(i), _args(probe)) for i, probe in enumerate(found)]
    return found, Case((encode(module),), (Instantiate("a", 0), *steps), "a probe")


def _args(probe: Probe) -> tuple[str, ...]:
    types = BY_MNEMONIC[probe.mnemonic].params or ()
    return tuple(value(str(t), bits) for t, bits in zip(types, probe.operands, strict=True))


def choices_of(engine: Any) -> dict[str, str]:
    """What an engine chooses; nothing of what it does not support, or did not answer."""
    found: dict[str, str] = {}
    for relaxed in (False, True):
        if relaxed and "relaxed-simd" not in engine.features:
            continue
        made, case = probes(relaxed)
        found |= explain(made, engine.run(case).outcomes[1:])
    return found


def explain(made: Sequence[Probe], outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The choices that explain what was answered to some probes."""
    said: dict[str, list[tuple[Probe, int]]] = {}
    for probe, outcome in zip(made, outcomes, strict=False):
        if outcome.kind == "returned" and len(outcome.values) == 1:
            name = probe.mnemonic if probe.mnemonic in RELAXED else "nan"
            said.setdefault(name, []).append((probe, _bits(outcome.values[0])))
    return {name: next(_explaining(name, answers), "") for name, answers in said.items()}


def _bits(text: str) -> int:
    """The bits of an answer; -1, which is nothing's, for what is no value."""
    try:
        return parse_value(text)[1]
    except ValueError:
        return -1


def _explaining(name: str, answers: Iterable[tuple[Probe, int]]) -> Iterator[str]:
    answers = list(answers)
    for nan in NAN_PROFILES:
        for choice in range(RELAXED_CHOICES[RELAXED[name]]) if name in RELAXED else (0,):
            profile = Profile(nan, single=((name, choice),) if name in RELAXED else ())
            if all(functions(profile)[probe.mnemonic](*probe.operands) == bits for probe, bits in answers):
                yield nan if name == "nan" else str(choice)


def profile_of(choices: Choices) -> dict[str, str | int]:
    """The relaxed choices for a request's profile; where none was recognised, one that leaves most open."""
    return {
        name: int(choice) if choice else RELAXED[name].startswith("R_trunc") * 1
        for name, choice in choices.items()
        if name != "nan"
    }


def short(choices: Choices) -> dict[str, str]:
    """By parameter of the standard, for people: "1", or "1, but i32x4.relaxed_laneselect 0"; "nan" as it is."""
    found = {"nan": choices["nan"] or "none of the profiles"} if "nan" in choices else {}
    for parameter in RELAXED_CHOICES:
        made = {name: choice or "?" for name, choice in choices.items() if RELAXED.get(name) == parameter}
        if made:
            most = max(sorted(set(made.values())), key=list(made.values()).count)
            others = [f"{name} {choice}" for name, choice in made.items() if choice != most]
            found[parameter] = most + (f", but {', '.join(others)}" if others else "")
    return found
