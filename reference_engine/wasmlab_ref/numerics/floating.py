"""Floating-point operations (section "Floating-Point Operations"): fN values are their bits, as unsigned ints.

Results that are NaN are the positive canonical one here; `nans.py` replaces it where a profile asks for another.

Binary32 arithmetic is done in binary64 and rounded again.  That second rounding is innocuous for + - * / and square
root, as binary64 has 53 >= 2 * 24 + 2 significand bits (Figueroa 1995): a result that is no midpoint of two binary32
numbers is too far from each of them for the first rounding to move it there.  This holds for subnormal results too:
sums and products are then exact, and the midpoints that a quotient could meet have fewer bits, so lie further off.  It
does not hold for fused multiply-add and for conversions of 64-bit integers; those are rounded from exact integers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from .format import Format
from .integer import Function
from .nans import propagate


def operations(fmt: Format, nan: str) -> dict[str, Function]:
    """unop, binop and relop of fN, by name; `nan` as in `Profile`."""
    sign, magnitude = fmt.sign, fmt.magnitude
    return {
        "abs": lambda a: a & magnitude,
        "neg": lambda a: a ^ sign,
        "copysign": lambda a, b: (a & magnitude) | (b & sign),
        **{name: _relation(fmt, getattr(operator, name)) for name in ("eq", "ne", "lt", "gt", "le", "ge")},
        **{name: propagate(fmt, nan, name, f) for name, f in _arithmetic(fmt).items()},
    }


def fused(fmt: Format, nan: str) -> dict[str, Function]:
    """fma: a * b + c, and fnma: -a * b + c, rounded once."""
    fma, sign = _fma(fmt), fmt.sign
    return {
        "fma": propagate(fmt, nan, "fma", fma),
        "fnma": propagate(fmt, nan, "fnma", lambda a, b, c: fma(a ^ sign, b, c)),
    }


def selections(fmt: Format) -> dict[str, Function]:
    """pmin and pmax, of lanes only: an operand as it is, NaN or not."""
    less = _relation(fmt, operator.lt)
    return {
        "pmin": lambda a, b: b if less(b, a) else a,
        "pmax": lambda a, b: b if less(a, b) else a,
    }


def _arithmetic(fmt: Format) -> dict[str, Function]:
    """The operations whose NaN results the standard draws from a set, nans_N."""
    return {
        "sqrt": _sqrt(fmt),
        "ceil": _integral(fmt, math.ceil),
        "floor": _integral(fmt, math.floor),
        "trunc": _integral(fmt, math.trunc),
        "nearest": _integral(fmt, round),  # Python's round takes ties to even
        "add": _binary(fmt, operator.add),
        "sub": _binary(fmt, operator.sub),
        "mul": _binary(fmt, operator.mul),
        "div": _binary(fmt, _quotient),
        "min": _extremum(fmt, operator.lt, operator.or_),
        "max": _extremum(fmt, operator.gt, operator.and_),
    }


def _binary(fmt: Format, operation: Callable[[float, float], float]) -> Function:
    pack_bits2, unpack_float2 = fmt.pack_bits2, fmt.unpack_float2
    pack_float, unpack_bits = fmt.pack_float, fmt.unpack_bits
    nan, infinity, minus_infinity = fmt.nan, fmt.infinity, fmt.sign | fmt.infinity

    def binary(a: int, b: int) -> int:
        x, y = unpack_float2(pack_bits2(a, b))
        z = operation(x, y)
        if z != z:
            return nan
        try:
            return unpack_bits(pack_float(z))[0]  # type: ignore[no-any-return]
        except OverflowError:  # from binary64 to binary32
            return infinity if z > 0 else minus_infinity

    return binary


def _quotient(x: float, y: float) -> float:
    try:
        return x / y
    except ZeroDivisionError:
        return x * math.copysign(math.inf, y)  # 0 * inf is NaN, as is NaN * inf


def _sqrt(fmt: Format) -> Function:
    def sqrt(a: int) -> int:
        x = fmt.decode(a)
        return fmt.encode(math.sqrt(x)) if x >= 0 else fmt.nan

    return sqrt


def _integral(fmt: Format, rounding: Callable[[float], int]) -> Function:
    def integral(a: int) -> int:
        if not fmt.is_finite(a):
            return fmt.nan if fmt.is_nan(a) else a
        return (fmt.encode(rounding(fmt.decode(a))) & fmt.magnitude) | (a & fmt.sign)  # -0.5 becomes -0

    return integral


def _extremum(fmt: Format, precedes: Callable[[float, float], bool], zero: Callable[[int, int], int]) -> Function:
    pack_bits2, unpack_float2, nan = fmt.pack_bits2, fmt.unpack_float2, fmt.nan

    def extremum(a: int, b: int) -> int:
        x, y = unpack_float2(pack_bits2(a, b))
        if x == y:
            return zero(a, b)  # equal numbers differ in the sign of zero, or not at all
        if x != x or y != y:
            return nan
        return a if precedes(x, y) else b

    return extremum


def _fma(fmt: Format) -> Function:
    def fma(a: int, b: int, c: int) -> int:
        if not fmt.is_finite(a) or not fmt.is_finite(b):
            return fmt.encode(fmt.decode(a) * fmt.decode(b) + fmt.decode(c))  # infinity or NaN
        if not fmt.is_finite(c):
            return fmt.nan if fmt.is_nan(c) else c
        (m1, e1), (m2, e2), (m3, e3) = fmt.exact(a), fmt.exact(b), fmt.exact(c)
        e = min(e1 + e2, e3)
        m = (m1 * m2 << e1 + e2 - e) + (m3 << e3 - e)
        # A sum that is exactly zero is -0 only when both its terms are.
        return fmt.ieee(m, e) if m else (a ^ b) & c & fmt.sign

    return fma


def _relation(fmt: Format, holds: Callable[[float, float], bool]) -> Function:
    pack_bits2, unpack_float2 = fmt.pack_bits2, fmt.unpack_float2
    return lambda a, b: 1 if holds(*unpack_float2(pack_bits2(a, b))) else 0
