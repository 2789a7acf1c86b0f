"""What an engine chooses where the standard leaves it a choice: found out by small probes.

A probe is one instruction with operands at a corner; the numerics of the reference under each choice say which ones
explain what came out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, parse_value, value
from wasmlab_ref.encode import encode
from wasmlab_ref.isa import BY_MNEMONIC
from wasmlab_ref.numerics import functions
from wasmlab_ref.profile import NAN_CHOICES, NAN_INSTRUCTIONS, NAN_PROFILES, RELAXED, RELAXED_CHOICES, Profile
from wasmlab_ref.syntax import Export, Func, Module, instr
from wasmlab_ref.types import FuncType, RecType, SubType

Choices: TypeAlias = Mapping[str, str]
"""By mnemonic of a relaxed instruction the choice; as "nan" the profile that most other instructions keep to, and by
mnemonic what the rest chooses (`NAN_CHOICES`); "" where none of the standard's choices explains what it did."""


class Probe(NamedTuple):
    """An instruction and its operands."""

    mnemonic: str
    operands: tuple[int, ...]


Answers: TypeAlias = Sequence[tuple[Probe, int]]
"""Probes, each with the bits that came."""


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


def _vector_nan_probes() -> Iterator[Probe]:
    for width, shape in ((32, "f32x4"), (64, "f64x2")):
        first, second, signalling = _nans(width)
        one = _ONE[width]
        pairs = [(first, second), (second, signalling), (first, one), (one, first)]
        rows = [pairs] if width == 32 else [pairs[:2], pairs[2:]]
        for name in ("add", "sub", "mul", "div", "min", "max"):
            for row in rows:
                a, b = (_lanes(*lanes, width=width) for lanes in zip(*row, strict=True))
                yield Probe(f"{shape}.{name}", (a, b))
        for name in ("sqrt", "ceil", "floor", "trunc", "nearest"):
            yield Probe(f"{shape}.{name}", (_lanes(first, signalling, width=width),))
    yield Probe("f64x2.promote_low_f32x4", (_lanes(*_nans(32)[1:]),))
    yield Probe("f32x4.demote_f64x2_zero", (_lanes(*_nans(64)[1:], width=64),))


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


_PROBES = {"mvp": _nan_probes, "simd": _vector_nan_probes, "relaxed-simd": _relaxed_probes}


@cache
def probes(feature: str) -> tuple[tuple[Probe, ...], Case]:
    """The probes of a feature, "mvp" and "simd" (of NaNs) or "relaxed-simd", and the case that makes them."""
    found = tuple(_PROBES[feature]())
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
    made: list[Probe] = []
    outcomes: list[Outcome] = []
    for feature in _PROBES:
        if feature == "mvp" or feature in engine.features:
            some, case = probes(feature)
            for probe, outcome in zip(some, engine.run(case).outcomes[1:], strict=False):
                made.append(probe)
                outcomes.append(outcome)
    return explain(made, outcomes)


def explain(made: Sequence[Probe], outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The choices that explain what was answered to some probes."""
    said: dict[str, list[tuple[Probe, int]]] = {}
    for probe, outcome in zip(made, outcomes, strict=False):
        if outcome.kind == "returned" and len(outcome.values) == 1:
            said.setdefault(probe.mnemonic, []).append((probe, _bits(outcome.values[0])))
    relaxed = {name: next(_explaining(answers), "") for name, answers in said.items() if name in RELAXED}
    return _nan_choices({name: answers for name, answers in said.items() if name not in RELAXED}) | relaxed


def _nan_choices(said: Mapping[str, Answers]) -> dict[str, str]:
    kept = {nan: {name for name, answers in said.items() if _explains(Profile(nan), answers)} for nan in NAN_CHOICES}
    most = max(NAN_PROFILES, key=lambda nan: len(kept[nan]))
    if not said or not kept[most]:
        return {"nan": ""} if said else {}
    others = {name: next((nan for nan in NAN_CHOICES if name in kept[nan]), "") for name in said}
    return {"nan": most} | {name: nan for name, nan in others.items() if name not in kept[most]}


def _bits(text: str) -> int:
    """The bits of an answer; -1, which is nothing's, for what is no value."""
    try:
        return parse_value(text)[1]
    except ValueError:
        return -1


def _explaining(answers: Answers) -> Iterator[str]:
    """The choices of a relaxed instruction that explain what it answered."""
    name = answers[0][0].mnemonic
    for nan in NAN_PROFILES:
        for choice in range(RELAXED_CHOICES[RELAXED[name]]):
            if _explains(Profile(nan, single=((name, choice),)), answers):
                yield str(choice)


def _explains(profile: Profile, answers: Answers) -> bool:
    return all(functions(profile)[probe.mnemonic](*probe.operands) == bits for probe, bits in answers)


def profile_of(choices: Choices) -> dict[str, str | int]:
    """The relaxed choices for a request's profile; where none was recognised, one that leaves most open."""
    return {
        name: int(choice) if choice else RELAXED[name].startswith("R_trunc") * 1
        for name, choice in choices.items()
        if name in RELAXED
    }


def nan_profile_of(choices: Choices) -> dict[str, str | int]:
    """What an engine showed of its NaNs, for a request's profile; nothing where that was not understood."""
    if not choices.get("nan"):
        return {}
    single = {
        name: NAN_CHOICES.index(choice) for name, choice in choices.items() if choice and name in NAN_INSTRUCTIONS
    }
    return {"nan": choices["nan"], **single}


def short(choices: Choices) -> dict[str, str]:
    """By parameter of the standard, for people: "1", or "1, but i32x4.relaxed_laneselect 0"; "nan" as it is."""
    found = {}
    if "nan" in choices:
        others = {name: choice for name, choice in choices.items() if name in NAN_INSTRUCTIONS}
        found["nan"] = _but(choices["nan"] or "none of the profiles", others)
    for parameter in RELAXED_CHOICES:
        made = {name: choice for name, choice in choices.items() if RELAXED.get(name) == parameter}
        if made:
            most = max(sorted(set(made.values())), key=list(made.values()).count)
            found[parameter] = _but(most, {name: choice for name, choice in made.items() if choice != most})
    return found


def _but(most: str, others: Choices) -> str:
    listed = ", ".join(f"{name} {choice or '?'}" for name, choice in others.items())
    return (most or "?") + (f", but {listed}" if listed else "")
