"""Guards that take the standard's nondeterminism out of what can be observed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmlab_ref.syntax import instr
from wasmlab_ref.types import ValType

from .bits import join, splat

if TYPE_CHECKING:
    from .function import Body

NAN_OF: dict[str, int] = {
    "f32": 0x7FC00000,
    "f64": 0x7FF8000000000000,
    "f32x4": splat(0x7FC00000, 32),
    "f64x2": splat(0x7FF8000000000000, 64),
}
"""The positive canonical NaN of each float shape, in every lane."""

_TYPE: dict[str, ValType] = {"f32": "f32", "f64": "f64", "f32x4": "v128", "f64x2": "v128"}
_CONST = {shape: instr(f"{_TYPE[shape]}.const", nan) for shape, nan in NAN_OF.items()}
_EQ = {shape: instr(f"{shape}.eq") for shape in NAN_OF}
_SELECT = {"f32": instr("select", None), "f64": instr("select", None)}
_BITSELECT = instr("v128.bitselect")


def canonicalise(b: Body, shape: str) -> None:
    """Replace every NaN in the value on the stack by the positive canonical one."""
    kept = b.scratch(_TYPE[shape])
    get = instr("local.get", kept)
    b.code += (instr("local.tee", kept), _CONST[shape], get, get, _EQ[shape], _SELECT.get(shape, _BITSELECT))


def _masked(b: Body, fuel: int, mask: int) -> None:
    b.expr("v128", fuel)
    b.code += (instr("v128.const", mask), instr("v128.and"))


def swizzle_index(b: Body, fuel: int) -> None:
    """Indices below 16, or from 128 on: these select the same everywhere."""
    _masked(b, fuel, splat(0x8F, 8))


def in_range_f32(b: Body, fuel: int, sign: str) -> None:
    """Lanes that every 32-bit truncation of that sign can take, some with a fraction."""
    b.expr("v128", fuel)
    shift, factor = b.source.pick(((2, 0x3F800000), (9, 0x3F000000), (20, 0x3E800000)))
    b.code += (instr("i32.const", shift), instr(f"i32x4.shr_{sign}"), instr(f"f32x4.convert_i32x4_{sign}"))
    b.code += (instr("v128.const", splat(factor, 32)), instr("f32x4.mul"))


def in_range_f64(b: Body, fuel: int) -> None:
    """Lanes that every 32-bit truncation of a double can take."""
    b.expr("v128", fuel)
    b.code += (instr("i32.const", 1), instr("i32x4.shr_u"), instr("f64x2.convert_low_i32x4_s"))
    if b.below(2):
        b.code += (instr("v128.const", splat(0x3FE0000000000000, 64)), instr("f64x2.mul"))


def small_integers_f32(b: Body, fuel: int) -> None:
    """Integers of 11 bits: products and their sums are exact, and no zero is negative."""
    b.expr("v128", fuel)
    b.code += (instr("i32.const", 20), instr("i32x4.shr_s"), instr("f32x4.convert_i32x4_s"))


def small_integers_f64(b: Body, fuel: int) -> None:
    """Integers of 25 bits: products and their sums are exact, and no zero is negative."""
    b.expr("v128", fuel)
    b.code += (instr("i32.const", 7), instr("i32x4.shr_s"), instr("f64x2.convert_low_i32x4_s"))


def lane_mask(b: Body, fuel: int, shape: str) -> None:
    """Lanes of all ones or all zeros."""
    b.expr("v128", fuel // 2)
    b.expr("v128", fuel - fuel // 2)
    b.code.append(instr(f"{shape}.{b.source.pick(('eq', 'ne', 'lt_s', 'ge_s'))}"))


def seven_bits(b: Body, fuel: int) -> None:
    """Bytes from 0 to 127."""
    _masked(b, fuel, splat(0x7F, 8))


def above_minimum(b: Body, fuel: int) -> None:
    """No lane of 16 bits is -32768: the top bit comes with the lowest one."""
    b.expr("v128", fuel)
    b.code += (instr("v128.const", join([1] * 8, 16)), instr("v128.or"))


def anything(b: Body, fuel: int) -> None:
    """Any vector."""
    b.expr("v128", fuel)
