"""Which bits of a result the standard leaves open, given those of the operands: a rule for each numeric instruction.

A rule gets the result, the operands and their masks of open bits, and gives the mask of the result.  It may name more
bits than are open, never fewer: every behaviour that the standard allows agrees on the bits that it does not name.
What is open begins with NaNs: of an operation's NaN the sign is, and its payload too unless the payloads of all its
NaN operands are canonical (section "NaN Propagation"); and with the second alternative of relaxed truncations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from .case import WIDTHS
from .numerics.conversion import integer_range
from .numerics.format import F32, F64, Format
from .numerics.integer import Function
from .profile import RELAXED, Profile
from .syntax import Instr

Bits: TypeAlias = Sequence[int]
Rule: TypeAlias = Callable[[int, Bits, Bits], int]

FORMATS = {"f32": F32, "f64": F64, "f32x4": F32, "f64x2": F64}
LANES = {"i8x16": 8, "i16x8": 16, "i32x4": 32, "i64x2": 64, "f32x4": 32, "f64x2": 64}
ARITHMETIC = frozenset({"add", "sub", "mul", "div", "sqrt", "min", "max", "ceil", "floor", "trunc", "nearest"})
CONVERSIONS: dict[str, tuple[Format, Format]] = {
    "f32.demote_f64": (F64, F32),
    "f64.promote_f32": (F32, F64),
    "f32x4.demote_f64x2_zero": (F64, F32),
    "f64x2.promote_low_f32x4": (F32, F64),
}


def opens(mnemonic: str) -> bool:
    """Can the result of an instruction be open though its operands are not?"""
    shape, _, name = mnemonic.partition(".")
    if mnemonic in RELAXED:
        return RELAXED[mnemonic] in ("R_fmadd", "R_fmin", "R_fmax", "R_trunc_s", "R_trunc_u")
    return (shape in FORMATS and name in ARITHMETIC) or mnemonic in CONVERSIONS


def may_be_open(mnemonic: str) -> bool:
    """Does the standard leave more than one result to an instruction, or more than one name to its trap?"""
    return opens(mnemonic) or mnemonic in RELAXED or mnemonic in _LEFT or ".atomic." in mnemonic


_LEFT = frozenset({"memory.grow", "table.grow", "array.copy", "array.init_data", "array.init_elem"})


def rule_of(instr: Instr, profile: Profile, functions: Mapping[str, Function]) -> Rule:
    """The rule of a numeric instruction under a profile."""
    mnemonic = instr.op.mnemonic
    shape, _, name = mnemonic.partition(".")
    function: Function = partial(functions[mnemonic], *instr.args) if instr.args else functions[mnemonic]
    width = WIDTHS[str((instr.op.results or ("i32",))[0])]
    if mnemonic in RELAXED:
        return _relaxed(mnemonic, profile.choice(mnemonic), function)
    if mnemonic in CONVERSIONS:
        return _conversion(mnemonic)
    if shape in ("i32", "i64", "v128") and name in _BITWISE:
        return _BITWISE[name]
    if shape in FORMATS and name in _float_rules(F32):
        rule = _float_rules(FORMATS[shape])[name]
        return rule if shape in ("f32", "f64") else lanewise(LANES[shape], rule)
    if "trunc_sat_f" in name:
        return _trunc_sat(name, width)
    if name.startswith(_MOVING):
        return _moving(function)
    if name.startswith(_GUIDED):
        return _guided(function, width)
    if shape in ("i32", "i64"):
        # A relation's operands may be wider than its result.
        return _integer_rules(WIDTHS[str((instr.op.params or ("i32",))[0])]).get(name) or anything(width)
    if shape in LANES and name in _integer_rules(LANES[shape]):
        return lanewise(LANES[shape], _integer_rules(LANES[shape])[name])
    if shape in LANES and name.startswith(_LANEWISE) and not name.endswith("_zero"):
        return lanewise(LANES[shape], anything(LANES[shape]))
    return anything(width)


def anything(width: int) -> Rule:
    """All bits, once one of an operand is open."""
    full = (1 << width) - 1
    return lambda result, operands, taints: full if any(taints) else 0


def lanewise(N: int, rule: Rule) -> Rule:
    """The rule of lanes, on vectors; a lane of a relation is all ones or none."""
    M = (1 << N) - 1

    def each(result: int, operands: Bits, taints: Bits) -> int:
        found = 0
        for at in range(0, 128, N):
            mask = rule(result >> at & M, [a >> at & M for a in operands], [t >> at & M for t in taints])
            found |= (M if mask == TRUTH else mask & M) << at
        return found

    return each


TRUTH = 1
"""The mask of a truth value that is open."""


# Floats


def certain_nan(fmt: Format, a: int, taint: int) -> bool:
    """Is it a NaN whatever its open bits are?"""
    return not taint & fmt.infinity and fmt.is_nan(a & ~taint)


def _nan(source: Format, target: Format, result: int, operands: Bits, taints: Bits) -> int:
    """The open bits of an arithmetic result."""
    known = [certain_nan(source, a, t) for a, t in zip(operands, taints, strict=True)]
    if not any(known) and any(taints):
        return target.sign | target.magnitude
    if not target.is_nan(result):
        return 0
    fraction = (1 << source.P) - 1
    for a, t in zip(operands, taints, strict=True):
        if t & source.magnitude or (source.is_nan(a) and a & fraction != source.quiet):
            return target.sign | target.quiet - 1
    return target.sign


def _relation(fmt: Format, result: int, operands: Bits, taints: Bits) -> int:
    """A comparison with a NaN has one result, whichever NaN it is."""
    known = any(certain_nan(fmt, a, t) for a, t in zip(operands, taints, strict=True))
    return TRUTH if any(taints) and not known else 0


def _pseudo(fmt: Format, result: int, operands: Bits, taints: Bits) -> int:
    """pmin and pmax: one operand as it is; the first one, where either is a NaN."""
    if not any(taints):
        return 0
    known = any(certain_nan(fmt, a, t) for a, t in zip(operands, taints, strict=True))
    return taints[0] if known else fmt.sign | fmt.magnitude


def _float_rules(fmt: Format) -> dict[str, Rule]:
    return _FLOAT_RULES[fmt.N]


def _make_float_rules(fmt: Format) -> dict[str, Rule]:
    return {
        "abs": lambda result, operands, taints: taints[0] & fmt.magnitude,
        "neg": lambda result, operands, taints: taints[0],
        "copysign": lambda result, operands, taints: taints[0] & fmt.magnitude | taints[1] & fmt.sign,
        **dict.fromkeys(("eq", "ne", "lt", "gt", "le", "ge"), partial(_relation, fmt)),
        **dict.fromkeys(("pmin", "pmax"), partial(_pseudo, fmt)),
        **dict.fromkeys(ARITHMETIC, partial(_nan, fmt, fmt)),
    }


_FLOAT_RULES = {fmt.N: _make_float_rules(fmt) for fmt in (F32, F64)}


def _conversion(mnemonic: str) -> Rule:
    source, target = CONVERSIONS[mnemonic]
    rule = partial(_nan, source, target)
    return rule if mnemonic.partition(".")[0] in ("f32", "f64") else _lower_lanes(source.N, target.N, rule)


def _lower_lanes(N: int, to: int, rule: Rule) -> Rule:
    """The rule of a conversion of the lower lanes of N bits to lanes of another width; what is above them is zero."""
    M, width = (1 << N) - 1, (1 << to) - 1

    def each(result: int, operands: Bits, taints: Bits) -> int:
        found = 0
        for i in range(128 // max(N, to)):
            lane = (operands[0] >> N * i & M,), (taints[0] >> N * i & M,)
            found |= rule(result >> to * i & width, *lane) << to * i
        return found

    return each


def _trunc_sat(name: str, width: int) -> Rule:
    fmt = F64 if "f64" in name else F32

    def rule(result: int, operands: Bits, taints: Bits) -> int:
        return 0 if certain_nan(fmt, operands[0], taints[0]) or not taints[0] else (1 << min(width, 64)) - 1

    return rule if width < 128 else _lower_lanes(fmt.N, 32, lambda *given: rule(*given) & 0xFFFF_FFFF)


# Integers


def _and(result: int, operands: Bits, taints: Bits) -> int:
    (a, b), (ta, tb) = operands, taints
    return ta & (b | tb) | tb & (a | ta)


def _or(result: int, operands: Bits, taints: Bits) -> int:
    (a, b), (ta, tb) = operands, taints
    return ta & ~(b & ~tb) | tb & ~(a & ~ta)


def _andnot(result: int, operands: Bits, taints: Bits) -> int:
    (a, b), (ta, tb) = operands, taints
    return ta & ~(b & ~tb) | tb & (a | ta)


def _bitselect(result: int, operands: Bits, taints: Bits) -> int:
    (a, b, c), (ta, tb, tc) = operands, taints
    return tc & (a ^ b | ta | tb) | ~tc & (c & ta | ~c & tb)


def _same(result: int, operands: Bits, taints: Bits) -> int:
    return taints[0]


_BITWISE: dict[str, Rule] = {
    "and": _and,
    "or": _or,
    "xor": lambda result, operands, taints: taints[0] | taints[1],
    "not": _same,
    "andnot": _andnot,
    "bitselect": _bitselect,
    "any_true": lambda result, operands, taints: TRUTH if taints[0] and not operands[0] & ~taints[0] else 0,
}

_MOVING = (
    "reinterpret", "wrap", "extend8", "extend16", "extend32", "extend_", "splat", "replace_lane", "extract_lane",
    "shuffle", "bitmask",
)  # fmt: skip
"""How the names of instructions begin that only move bits: they move masks in the same way."""

_GUIDED = ("shl", "shr", "rotl", "rotr", "swizzle", "relaxed_swizzle", "relaxed_laneselect")
"""How those begin that move bits as their last operand says."""


def _moving(function: Function) -> Rule:
    return lambda result, operands, taints: function(*taints)


def _guided(function: Function, width: int) -> Rule:
    full = (1 << width) - 1
    return lambda result, operands, taints: full if taints[-1] else function(*taints[:-1], operands[-1])


def _upwards(width: int, result: int, operands: Bits, taints: Bits) -> int:
    """Sums and products: the lowest bits depend on as low ones only."""
    open_ = 0
    for t in taints:
        open_ |= t
    return -(open_ & -open_) & (1 << width) - 1


def _compare(width: int, name: str, result: int, operands: Bits, taints: Bits) -> int:
    """Relations: closed where all values that the operands may have compare alike."""
    if not any(taints):
        return 0
    (a, b), (ta, tb) = operands, taints
    if name in ("eq", "ne"):
        return 0 if (a ^ b) & ~(ta | tb) else TRUTH
    flip = 1 << width - 1 if name.endswith("_s") else 0
    a, b = a ^ flip, b ^ flip
    return 0 if a | ta < b & ~tb or a & ~ta > b | tb else TRUTH


def _integer_rules(width: int) -> dict[str, Rule]:
    return _INTEGER_RULES[width]


def _make_integer_rules(width: int) -> dict[str, Rule]:
    relations = ("eq", "ne", *(f"{name}_{sx}" for name in ("lt", "gt", "le", "ge") for sx in "su"))
    return {
        "eqz": lambda result, operands, taints: TRUTH if taints[0] and not operands[0] & ~taints[0] else 0,
        **dict.fromkeys(("add", "sub", "mul", "neg"), partial(_upwards, width)),
        **{name: partial(_compare, width, name) for name in relations},
    }


_INTEGER_RULES = {N: _make_integer_rules(N) for N in (8, 16, 32, 64)}
_LANEWISE = ("abs", "popcnt", "min_", "max_", "avgr_", "add_sat", "sub_sat", "q15mulr_sat", "convert_i32x4")
"""How the names of lane by lane operations begin, beside those of `_integer_rules`."""


# Relaxed instructions


def _relaxed(mnemonic: str, choice: int, function: Function) -> Rule:
    shape, _, name = mnemonic.partition(".")
    match RELAXED[mnemonic]:
        case "R_fmadd":
            return lanewise(LANES[shape], partial(_nan, FORMATS[shape], FORMATS[shape]))
        case "R_fmin" | "R_fmax":
            return lanewise(LANES[shape], partial(_nan if choice == 0 else _one_of, FORMATS[shape], FORMATS[shape]))
        case "R_trunc_s" | "R_trunc_u":
            return _relaxed_trunc(name, choice)
        case "R_swizzle" | "R_laneselect" | "R_laneselect_16":
            return _guided(function, 128)
        case "R_iq15mulr":
            return lanewise(16, anything(16))
    return anything(128)


def _one_of(fmt: Format, _: Format, result: int, operands: Bits, taints: Bits) -> int:
    """A NaN operand as it is, but for its sign."""
    known = [certain_nan(fmt, a, t) for a, t in zip(operands, taints, strict=True)]
    if any(t and not nan for t, nan in zip(taints, known, strict=True)):
        return fmt.sign | fmt.magnitude
    return fmt.sign | taints[0] | taints[1] if fmt.is_nan(result) else 0


def _relaxed_trunc(name: str, choice: int) -> Rule:
    """Where there is no such integer, the second alternative is any number."""
    fmt = F64 if "f64" in name else F32
    least, greatest = integer_range(32, "u" if "_u" in name else "s")

    def rule(result: int, operands: Bits, taints: Bits) -> int:
        if choice == 0 and (not taints[0] or certain_nan(fmt, operands[0], taints[0])):
            return 0
        x = fmt.decode(operands[0])
        return 0 if not taints[0] and least - 1 < x < greatest + 1 else 0xFFFF_FFFF

    return _lower_lanes(fmt.N, 32, rule)
