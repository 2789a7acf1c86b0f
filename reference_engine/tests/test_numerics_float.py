"""Floats against an oracle of exact rationals, which uses neither struct nor Python floats."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import ceil, floor, isqrt, trunc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wasmlab_ref.numerics import FUNCTIONS
from wasmlab_ref.numerics.floating import fused
from wasmlab_ref.numerics.format import F32, F64
from wasmlab_ref.outcome import Trap

FRACTION_BITS = {32: 23, 64: 52}
BIAS = {32: 127, 64: 1023}
NAN = {32: 0x7FC0_0000, 64: 0x7FF8_0000_0000_0000}
INF = {32: 0x7F80_0000, 64: 0x7FF0_0000_0000_0000}
SIGN = {32: 1 << 31, 64: 1 << 63}

Value = Fraction | str  # a rational, "nan", "inf" or "-inf"


def value(N: int, bits: int) -> Value:
    P = FRACTION_BITS[N]
    exponent, fraction = bits >> P & (1 << N - P - 1) - 1, bits & (1 << P) - 1
    sign = -1 if bits & SIGN[N] else 1
    if exponent == (1 << N - P - 1) - 1:
        return "nan" if fraction else ("inf" if sign > 0 else "-inf")
    hidden = 1 if exponent else 0
    return sign * (hidden + Fraction(fraction, 1 << P)) * Fraction(2) ** (max(exponent, 1) - BIAS[N])


def rounded(N: int, q: Fraction, zero: int = 0) -> int:
    """The bits of the float nearest to q, ties to even; `zero` if q is exactly zero."""
    if not q:
        return zero
    P, size = FRACTION_BITS[N], abs(q)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    while Fraction(2) ** exponent > size:
        exponent -= 1
    exponent = max(exponent, 1 - BIAS[N])
    fraction = round(size / Fraction(2) ** (exponent - P))  # of a Fraction: exact, ties to even
    if fraction == 1 << P + 1:
        fraction, exponent = fraction >> 1, exponent + 1
    if exponent > BIAS[N]:
        bits = INF[N]
    elif fraction < 1 << P:
        bits = fraction
    else:
        bits = exponent + BIAS[N] << P | fraction - (1 << P)
    return bits | (SIGN[N] if q < 0 else 0)


def corners(N: int) -> list[int]:
    P = FRACTION_BITS[N]
    one = BIAS[N] << P
    positive = [0, 1, 2, (1 << P) - 1, 1 << P, (1 << P) + 1, one >> 1, one - (1 << P), one - 1, one, one + 1]
    positive += [one + (k << P) for k in (1, 2, P - 1, P, P + 1, 31, 32, 63, 64)]
    positive += [one + (1 << P) | 1 << P - 1, one - (3 << P), INF[N] - (1 << P), INF[N] - 1, INF[N]]
    positive += [NAN[N], NAN[N] | 0x12345, INF[N] | 1, INF[N] | (1 << P) - 1]
    return [sign | bits for bits in positive for sign in (0, SIGN[N])]


def floats(N: int) -> st.SearchStrategy[int]:
    P = FRACTION_BITS[N]
    near_one = st.builds(  # exponents so close that rounding matters in sums, fractions of few ones
        lambda sign, exponent, a, b: sign | BIAS[N] + exponent << P | (1 << a ^ (1 << b) - 1) & (1 << P) - 1,
        st.sampled_from([0, SIGN[N]]), st.integers(-P - 2, P + 2), st.integers(0, P), st.integers(0, P),
    )  # fmt: skip
    return st.sampled_from(corners(N)) | near_one | st.integers(0, (1 << N) - 1)


both = pytest.mark.parametrize("N", [32, 64])


def check(N: int, name: str, expected: int, *operands: int) -> None:
    got = FUNCTIONS[f"f{N}.{name}"](*operands)
    assert type(got) is int
    assert got == expected, f"f{N}.{name}({', '.join(map(hex, operands))}) = {got:#x}, not {expected:#x}"


def add(N: int, a: int, b: int) -> int:
    x, y = value(N, a), value(N, b)
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return rounded(N, x + y, zero=a & b & SIGN[N])
    if "nan" in (x, y) or {x, y} == {"inf", "-inf"}:
        return NAN[N]
    return b if isinstance(x, Fraction) else a


def multiply(N: int, a: int, b: int) -> int:
    x, y, sign = value(N, a), value(N, b), (a ^ b) & SIGN[N]
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return rounded(N, x * y, zero=sign)
    return NAN[N] if "nan" in (x, y) or 0 in (x, y) else INF[N] | sign


def divide(N: int, a: int, b: int) -> int:
    x, y, sign = value(N, a), value(N, b), (a ^ b) & SIGN[N]
    if "nan" in (x, y):
        return NAN[N]
    if isinstance(x, Fraction) and isinstance(y, Fraction) and y:
        return rounded(N, x / y, zero=sign)
    if (isinstance(x, str) and isinstance(y, str)) or x == y == 0:
        return NAN[N]
    return sign if isinstance(y, str) else INF[N] | sign


def order(N: int, a: int) -> Fraction:
    """A number's place in the order of the numbers, infinities included; of zeros, -0 is below +0."""
    magnitude = a & ~SIGN[N]
    return Fraction(-magnitude, 1) - Fraction(1, 2) if a & SIGN[N] else Fraction(magnitude)


@settings(max_examples=60)
@given(st.data())
@both
def test_binary_arithmetic(N: int, data: st.DataObject) -> None:
    a, b = data.draw(floats(N)), data.draw(floats(N))
    check(N, "add", add(N, a, b), a, b)
    check(N, "sub", add(N, a, b ^ SIGN[N]), a, b)
    check(N, "mul", multiply(N, a, b), a, b)
    check(N, "div", divide(N, a, b), a, b)
    unordered = "nan" in (value(N, a), value(N, b))
    check(N, "min", NAN[N] if unordered else min(a, b, key=lambda z: order(N, z)), a, b)
    check(N, "max", NAN[N] if unordered else max(a, b, key=lambda z: order(N, z)), a, b)


@both
def test_binary_arithmetic_of_all_pairs_of_corners(N: int) -> None:
    for a in corners(N):
        for b in corners(N):
            check(N, "add", add(N, a, b), a, b)
            check(N, "mul", multiply(N, a, b), a, b)
            check(N, "div", divide(N, a, b), a, b)


@settings(max_examples=60)
@given(st.data())
@both
def test_relations(N: int, data: st.DataObject) -> None:
    a = data.draw(floats(N))
    b = data.draw(floats(N) | st.just(a) | st.just(a ^ SIGN[N]))
    x, y = value(N, a), value(N, b)
    for name in ("eq", "ne", "lt", "gt", "le", "ge"):
        if "nan" in (x, y):
            expected = name == "ne"
        elif x == y == 0:
            expected = name in ("eq", "le", "ge")
        else:
            expected = getattr(operator, name)(order(N, a), order(N, b))
        check(N, name, int(expected), a, b)


def square_root(N: int, a: int) -> int:
    x = value(N, a)
    if x == 0 or x == "inf":
        return a
    if not isinstance(x, Fraction) or x < 0:
        return NAN[N]
    # 2^1200 times the root, cut to an integer: all bits of the result and many more, and whether any follow.
    scale = 1 << 2400
    scaled = x * scale
    assert scaled.denominator == 1
    root = isqrt(scaled.numerator)
    sticky = Fraction(1, 2) if root * root != scaled.numerator else 0
    return rounded(N, Fraction(root + sticky, 1 << 1200))


@settings(max_examples=60)
@given(st.data())
@both
def test_unary(N: int, data: st.DataObject) -> None:
    a = data.draw(floats(N))
    x = value(N, a)
    check(N, "abs", a & ~SIGN[N], a)
    check(N, "neg", a ^ SIGN[N], a)
    check(N, "sqrt", square_root(N, a), a)
    roundings: dict[str, Callable[[Fraction], int]] = {
        "ceil": ceil, "floor": floor, "trunc": trunc, "nearest": round,
    }  # fmt: skip
    for name, rounding in roundings.items():
        if isinstance(x, Fraction):
            check(N, name, rounded(N, Fraction(rounding(x)), zero=a & SIGN[N]), a)
        else:
            check(N, name, NAN[N] if x == "nan" else a, a)


@both
def test_halves_round_to_even_and_keep_the_sign_of_zero(N: int) -> None:
    def bits(q: float) -> int:
        return rounded(N, Fraction(q), zero=SIGN[N])

    for q, expected in ((0.5, 0), (1.5, 2), (2.5, 2), (-0.5, -0.0), (-1.5, -2), (-2.5, -2), (-0.25, -0.0)):
        result = 0 if q == 0.5 else bits(expected)
        check(N, "nearest", result, bits(q))
    check(N, "ceil", SIGN[N], bits(-0.75))
    check(N, "trunc", SIGN[N], bits(-0.75))


@both
def test_copysign_and_sign_operations_keep_signalling_nans(N: int) -> None:
    signalling = INF[N] | 1
    check(N, "neg", signalling | SIGN[N], signalling)
    check(N, "abs", signalling, signalling | SIGN[N])
    check(N, "copysign", signalling | SIGN[N], signalling, SIGN[N])


def exact_fma(N: int, a: int, b: int, c: int) -> int:
    x, y, z = value(N, a), value(N, b), value(N, c)
    if isinstance(x, Fraction) and isinstance(y, Fraction) and isinstance(z, Fraction):
        both_negative = (a ^ b) & c & SIGN[N]
        return rounded(N, x * y + z, zero=both_negative)
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return NAN[N] if z == "nan" else c
    return add(N, multiply(N, a, b), c)


@settings(max_examples=80)
@given(st.data())
@both
def test_fused_multiply_add(N: int, data: st.DataObject) -> None:
    f = fused({32: F32, 64: F64}[N], "canonical")
    a, b = data.draw(floats(N)), data.draw(floats(N))
    product = multiply(N, a, b)
    c = data.draw(floats(N) | st.just(product) | st.just(product ^ SIGN[N]))  # cancellation
    assert f["fma"](a, b, c) == exact_fma(N, a, b, c)
    assert f["fnma"](a, b, c) == exact_fma(N, a ^ SIGN[N], b, c)


@both
def test_fused_multiply_add_of_all_triples_of_a_few_corners(N: int) -> None:
    fma = fused({32: F32, 64: F64}[N], "canonical")["fma"]
    one, least = BIAS[N] << FRACTION_BITS[N], 1
    few = [sign | bits for bits in (0, least, one, INF[N] - 1, INF[N], NAN[N]) for sign in (0, SIGN[N])]
    for a, b, c in product(few, repeat=3):
        assert fma(a, b, c) == exact_fma(N, a, b, c), (hex(a), hex(b), hex(c))


def test_where_rounding_through_binary64_would_round_twice() -> None:
    one = 0x3F80_0000
    half_a_unit = 0x3380_0000  # 2^-24
    # 1 + 2^-23 + (1 + 2^-18) (1 - 2^-18) 2^-24 lies below the midpoint by 2^-60, too little for binary64.
    a = rounded(32, (1 + Fraction(1, 2**18)) / 2**24)
    b = rounded(32, 1 - Fraction(1, 2**18))
    assert fused(F32, "canonical")["fma"](a, b, one + 1) == one + 1
    assert FUNCTIONS["f32.add"](one + 1, half_a_unit) == one + 2, "the midpoint itself goes to even"
    assert FUNCTIONS["f32.add"](one, half_a_unit + 1) == one + 1
    i = 2**62 + 2**38 + 1
    assert FUNCTIONS["f32.convert_i64_u"](i) == rounded(32, Fraction(i)) == 0x5E80_0001
    assert FUNCTIONS["f32.convert_i64_s"](2**64 - i) == 0xDE80_0001
    # f64 holds 1 + 2^-24 + 2^-52, so that demoting it is a single rounding upwards.
    assert FUNCTIONS["f32.demote_f64"](rounded(64, 1 + Fraction(1, 2**24) + Fraction(1, 2**52))) == one + 1
    assert FUNCTIONS["f32.demote_f64"](rounded(64, 1 + Fraction(1, 2**24))) == one
    assert rounded(32, 1 + Fraction(1, 2**24) + Fraction(1, 2**60)) == one + 1, "the oracle itself"


@settings(max_examples=60)
@given(st.data())
def test_demote_and_promote(data: st.DataObject) -> None:
    a = data.draw(floats(64) | floats(32).map(lambda b: FUNCTIONS["f64.promote_f32"](b)))
    a = (a + data.draw(st.sampled_from([0, 1 << 28, 1, -1, (1 << 28) + 1]))) % 2**64
    x = value(64, a)
    infinite = INF[32] | (a & SIGN[64]) >> 32
    expected = (
        rounded(32, x, zero=a >> 32) if isinstance(x, Fraction) else NAN[32] if x == "nan" else infinite
    )  # fmt: skip
    assert FUNCTIONS["f32.demote_f64"](a) == expected
    b = data.draw(floats(32))
    y, promoted = value(32, b), FUNCTIONS["f64.promote_f32"](b)
    assert value(64, promoted) == y
    assert promoted == NAN[64] if y == "nan" else promoted >> 63 == b >> 31


integers = st.integers(0, 2**64 - 1) | st.builds(
    lambda sign, k, d: sign * (1 << k) + d & 2**64 - 1,
    st.sampled_from([-1, 1]), st.integers(0, 63), st.integers(-3, 3),
)  # fmt: skip


@settings(max_examples=60)
@given(integers)
@example(2**53 + 1)
@example(2**64 - 1)
@example(2**64 - 2**39)
@example(2**64 - 2**39 - 1)
def test_convert(i: int) -> None:
    for M in (32, 64):
        unsigned = i % 2**M
        signed = unsigned - 2**M if unsigned >= 2 ** (M - 1) else unsigned
        for N in (32, 64):
            check(N, f"convert_i{M}_u", rounded(N, Fraction(unsigned)), unsigned)
            check(N, f"convert_i{M}_s", rounded(N, Fraction(signed)), unsigned)


@settings(max_examples=60)
@given(st.data())
@both
def test_trunc(N: int, data: st.DataObject) -> None:
    edge = st.sampled_from([2**31, 2**32, 2**63, 2**64, -(2**31), -(2**63), -1, 0]).flatmap(
        lambda i: st.sampled_from([rounded(N, Fraction(i) + Fraction(d, 4)) for d in range(-6, 7)])
    )
    a = data.draw(floats(N) | edge | edge.map(lambda z: max(z - 1, 0)))
    x = value(N, a)
    for M in (32, 64):
        for sx, least, greatest in (("s", -(2 ** (M - 1)), 2 ** (M - 1) - 1), ("u", 0, 2**M - 1)):
            traps = FUNCTIONS[f"i{M}.trunc_f{N}_{sx}"]
            saturates = FUNCTIONS[f"i{M}.trunc_sat_f{N}_{sx}"](a)
            if isinstance(x, Fraction) and least <= trunc(x) <= greatest:
                assert traps(a) == saturates == trunc(x) % 2**M
                continue
            with pytest.raises(Trap) as trap:
                traps(a)
            if x == "nan":
                assert trap.value.kind == "invalid conversion to integer"
                assert saturates == 0
            else:
                assert trap.value.kind == "integer overflow"
                negative = x == "-inf" or (isinstance(x, Fraction) and x < 0)
                assert saturates == (least if negative else greatest) % 2**M


@given(st.integers(0, 2**64 - 1))
def test_reinterpretation_keeps_every_bit(a: int) -> None:
    for name in ("i64.reinterpret_f64", "f64.reinterpret_i64"):
        assert FUNCTIONS[name](a) == a
    for name in ("i32.reinterpret_f32", "f32.reinterpret_i32"):
        assert FUNCTIONS[name](a >> 32) == a >> 32
