"""Relaxed operations (section "Relaxed Operations"): what each choice of a `Profile` makes of them."""

from __future__ import annotations

import operator

from ..profile import Profile
from .conversion import relaxed_trunc
from .floating import fused, operations
from .format import F32, F64, Format
from .integer import Function
from .vector import (
    BOTH,
    INTEGER_VECTORS,
    SHAPE,
    SIGNED,
    UNSIGNED,
    bitselect,
    extadd_pairwise,
    f64x2_to_32x4_zero,
    lanewise1,
    lanewise2,
    lanewise3,
    swizzle,
)

TRUNC_OTHERWISE: dict[str, tuple[int | None, ...]] = {
    "s": (None, 2**31),
    "u": (None, 2**32 - 1, 2**32 - 2, 2**31),
}
"""What R_trunc_s and R_trunc_u select for NaN and numbers out of range; None: as trunc_sat."""


def relaxed_vectors(profile: Profile) -> dict[str, Function]:
    """By mnemonic."""
    relaxed_dot = _dot(profile.R_idot)
    table: dict[str, Function] = {
        "i8x16.relaxed_swizzle": _swizzle_modulo if profile.R_swizzle else swizzle,
        "i16x8.relaxed_q15mulr_s": _q15mulr if profile.R_iq15mulr else INTEGER_VECTORS["i16x8.q15mulr_sat_s"],
        "i16x8.relaxed_dot_i8x16_i7x16_s": relaxed_dot,
        "i32x4.relaxed_dot_i8x16_i7x16_add_s": _dot_add(relaxed_dot),
    }
    for N, shape in SHAPE.items():
        table[f"{shape}.relaxed_laneselect"] = _laneselect(N) if profile.R_laneselect else bitselect
    table["i16x8.relaxed_laneselect"] = (bitselect, _laneselect(16), _laneselect(8))[profile.R_laneselect_16]
    for sx, choice in (("s", profile.R_trunc_s), ("u", profile.R_trunc_u)):
        other = TRUNC_OTHERWISE[sx][choice]
        table[f"i32x4.relaxed_trunc_f32x4_{sx}"] = lanewise1(UNSIGNED[32], relaxed_trunc(F32, 32, sx, other))
        table[f"i32x4.relaxed_trunc_f64x2_{sx}_zero"] = f64x2_to_32x4_zero(relaxed_trunc(F64, 32, sx, other))
    for fmt, shape in ((F32, "f32x4"), (F64, "f64x2")):
        lanes, scalar = UNSIGNED[fmt.N], operations(fmt, profile.nan)
        madd, nmadd = _multiply_adds(fmt, profile)
        table[f"{shape}.relaxed_madd"] = lanewise3(lanes, madd)
        table[f"{shape}.relaxed_nmadd"] = lanewise3(lanes, nmadd)
        table[f"{shape}.relaxed_min"] = lanewise2(lanes, _extremum(fmt, profile.R_fmin, scalar["min"], fmt.sign))
        table[f"{shape}.relaxed_max"] = lanewise2(lanes, _extremum(fmt, profile.R_fmax, scalar["max"], 0))
    return table


def _multiply_adds(fmt: Format, profile: Profile) -> tuple[Function, Function]:
    if profile.R_fmadd:
        f = fused(fmt, profile.nan)
        return f["fma"], f["fnma"]
    scalar, sign = operations(fmt, profile.nan), fmt.sign
    add, mul = scalar["add"], scalar["mul"]
    return lambda a, b, c: add(mul(a, b), c), lambda a, b, c: add(mul(a ^ sign, b), c)


def _extremum(fmt: Format, choice: int, strict: Function, zero: int) -> Function:
    """frelaxed_min and frelaxed_max; `strict` is fmin or fmax, `zero` its result for zeros of opposite sign."""
    if choice == 0:
        return strict

    def extremum(a: int, b: int) -> int:
        if fmt.is_nan(a):
            return a if choice == 1 else b
        if fmt.is_nan(b):
            return b if choice == 2 else a
        if a ^ b == fmt.sign and not a & fmt.magnitude:
            return (a, b, zero)[choice - 1]
        return strict(a, b)

    return extremum


def _q15mulr_lane(x: int, y: int) -> int:
    return -(2**15) if x == y == -(2**15) else (x * y + 2**14) >> 15


_q15mulr = lanewise2(SIGNED[16], _q15mulr_lane)


def _swizzle_modulo(v: int, w: int) -> int:
    lanes = v.to_bytes(16, "little")
    return int.from_bytes(w.to_bytes(16, "little").translate(lanes * 8 + bytes(128)), "little")


def _laneselect(N: int) -> Function:
    S = 1 << N - 1
    return lanewise3(UNSIGNED[N], lambda x, y, mask: x if mask & S else y)


def _dot(choice: int) -> Function:
    first, second, result = SIGNED[8], BOTH["su"[choice]][8], SIGNED[16]

    def dot(v: int, w: int) -> int:
        products = list(map(operator.mul, first.split(v), second.split(w)))
        return result.join(map(result.saturate, map(operator.add, products[::2], products[1::2])))

    return dot


def _dot_add(dot: Function) -> Function:
    extadd, add = extadd_pairwise(SIGNED[16], SIGNED[32]), INTEGER_VECTORS["i32x4.add"]
    return lambda v, w, addend: add(extadd(dot(v, w)), addend)
