"""Number literals: rounding against exact rationals and the machine's own f64, any length, every bit pattern."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmlab_ref.text import numbers
from wasmlab_ref.text.numbers import F32, F64, Format


def bits64(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def exact(bits: int, format_: Format) -> Fraction:
    """The value of a finite, positive float."""
    fraction_bits = format_.precision - 1
    biased, fraction = bits >> fraction_bits, bits & ((1 << fraction_bits) - 1)
    significand = fraction | (1 << fraction_bits if biased else 0)
    return Fraction(significand) * Fraction(2) ** (max(biased, 1) - format_.bias - fraction_bits)


@pytest.mark.parametrize(
    ("token", "bits", "value"),
    [
        ("0", 32, 0), ("-0", 32, 0), ("4294967295", 32, 0xFFFFFFFF), ("-1", 32, 0xFFFFFFFF),
        ("-0x8000_0000", 32, 1 << 31), ("+2147483647", 32, 0x7FFFFFFF),
        ("0xffff_ffff_ffff_ffff", 64, (1 << 64) - 1), ("-128", 8, 128), ("255", 8, 255),
        ("0" * 5000 + "7", 32, 7), ("-9223372036854775808", 64, 1 << 63),
    ],
)  # fmt: skip
def test_integers(token: str, bits: int, value: int) -> None:
    assert numbers.integer(token, bits) == value


@pytest.mark.parametrize(
    ("token", "bits"),
    [("4294967296", 32), ("-2147483649", 32), ("+2147483648", 32), ("256", 8), ("-129", 8), ("1" * 10_000, 64)],
)
def test_integers_out_of_range(token: str, bits: int) -> None:
    with pytest.raises(OverflowError):
        numbers.integer(token, bits)


@pytest.mark.parametrize("token", ["", "-", "0x", "1_", "_1", "1__0", "0x_1", "1.0", "a", "0X1", "+-1", "١"])
def test_no_integers(token: str) -> None:
    assert numbers.integer(token, 32) is None
    assert numbers.natural(token, 32) is None


@pytest.mark.parametrize("token", ["+1", "-1"])
def test_a_natural_has_no_sign(token: str) -> None:
    assert numbers.natural(token, 32) is None


@pytest.mark.parametrize(
    ("token", "bits"),
    [
        ("0", 0), ("-0.0", 1 << 31), ("1", 0x3F800000), ("-1e0", 0xBF800000), ("inf", 0x7F800000), ("-inf", 0xFF800000),
        ("nan", 0x7FC00000), ("-nan:0x1", 0xFF800001), ("nan:0x7f_ffff", 0x7FFFFFFF), ("0x1p-149", 1), ("1e-45", 1),
        ("0x1p-150", 0), ("0x1.000001p-150", 1), ("0x1.fffffep127", 0x7F7FFFFF), ("0x1.fffffeffp127", 0x7F7FFFFF),
        ("340282356779733661637539395458142568447", 0x7F7FFFFF), ("1e-400", 0), ("0e99999999999999999999", 0),
        ("1.00000005960464477540", 0x3F800001),  # just above the middle; by way of f64 it would be 1
        ("0x1.00000100000000001", 0x3F800001), ("0x1.000001", 0x3F800000), ("0x1.000003", 0x3F800002),
        ("0x0.00000000000000000000000000000001p+128", 0x3F800000), ("1_0.0_1e0_1", 0x42C83333), ("0x1.p1", 0x40000000),
        ("6.", 0x40C00000),
    ],
)  # fmt: skip
def test_f32(token: str, bits: int) -> None:
    assert numbers.floating(token, F32) == bits


@pytest.mark.parametrize(
    "token",
    ["0x1p128", "1e39", "340282356779733661637539395458142568448", "nan:0x0", "nan:0x80_0000", "0x1.ffffffp127",
     "1e99999999999999999999", "0x1p99999999999999999999", "1" * 5000],
)  # fmt: skip
def test_f32_out_of_range(token: str) -> None:
    with pytest.raises(OverflowError):
        numbers.floating(token, F32)


@pytest.mark.parametrize(
    "token",
    ["", ".5", "1e", "1e+", "0x", "0x1p", "nan:", "nan:1", "Inf", "infinity", "1._0", "1_.0", "0x.1"],
)
def test_no_floats(token: str) -> None:
    assert numbers.floating(token, F64) is None


@settings(deadline=None)
@given(st.integers(0, F32.infinity - 2), st.sampled_from([-1, 0, 1]))
def test_f32_decimals_round_once(low: int, side: int) -> None:
    """Decimals at, just above and just below the middle of two neighbours, in full length."""
    below, above = exact(low, F32), exact(low + 1, F32)
    middle = (below + above) / 2 + side * (above - below) / 2**70
    scale = 10**260  # enough places for every middle
    token = f"{middle.numerator * scale // middle.denominator}e-260"
    assert (middle * scale).denominator == 1
    expected = low + (side > 0 or (side == 0 and low & 1))
    assert numbers.floating(token, F32) == expected


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_f64_decimals_agree_with_the_machine(value: float) -> None:
    for token in (repr(value), f"{value:.30e}", f"{value:.3g}"):
        if "inf" not in repr(float(token)):
            assert numbers.floating(token, F64) == bits64(float(token))


@settings(deadline=None)
@given(st.integers(0, 10**40), st.integers(-400, 300))
def test_f64_any_decimal_agrees_with_the_machine(digits: int, exponent: int) -> None:
    token = f"{digits}e{exponent}"
    try:
        assert numbers.floating(token, F64) == bits64(float(token))
    except OverflowError:
        assert float(token) == float("inf")


@settings(deadline=None)
@given(st.integers(0, (1 << 64) - 1))
def test_every_f64_reads_back(bits: int) -> None:
    assert numbers.floating(numbers.float_text(bits, F64), F64) == bits


@settings(deadline=None)
@given(st.integers(0, (1 << 32) - 1))
def test_every_f32_reads_back(bits: int) -> None:
    assert numbers.floating(numbers.float_text(bits, F32), F32) == bits


@pytest.mark.parametrize(
    "bits", [0, 1 << 31, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0xFFC00000]
)
def test_corners_read_back(bits: int) -> None:
    assert numbers.floating(numbers.float_text(bits, F32), F32) == bits


def test_a_million_digits() -> None:
    assert numbers.floating("0." + "3" * 1_000_000, F64) == bits64(1 / 3)
    assert numbers.floating("0x0." + "5" * 1_000_000, F64) == bits64(1 / 3)
    assert numbers.floating("1" + "0" * 1_000_000 + "e-1000000", F32) == 0x3F800000
