"""What a profile changes: the bits of NaNs, and the relaxed operations."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmlab_ref.numerics import FUNCTIONS, functions
from wasmlab_ref.profile import NAN_CHOICES, NAN_PROFILES, RELAXED_CHOICES, Profile

ZERO, MINUS_ZERO, ONE, INF = 0, 0x8000_0000, 0x3F80_0000, 0x7F80_0000
QUIET, OTHER, NEGATIVE, SIGNALLING, QUIETED = 0x7FC1_2345, 0x7FC0_0777, 0xFFC5_4321, 0x7FA1_2345, 0x7FE1_2345
CANONICAL, MINUS_CANONICAL = 0x7FC0_0000, 0xFFC0_0000


def splat(N: int, *values: int) -> int:
    return sum(x << i * N for i, x in enumerate(values * (128 // N // len(values))))


def lane(v: int, N: int = 32, i: int = 0) -> int:
    return v >> i * N & (1 << N) - 1


@pytest.mark.parametrize(
    ("mnemonic", "operands", "x86", "arm64"),
    [
        ("f32.div", (ZERO, ZERO), MINUS_CANONICAL, CANONICAL),
        ("f32.sub", (INF, INF), MINUS_CANONICAL, CANONICAL),
        ("f32.mul", (INF, ZERO), MINUS_CANONICAL, CANONICAL),
        ("f32.sqrt", (ONE | MINUS_ZERO,), MINUS_CANONICAL, CANONICAL),
        ("f32.add", (SIGNALLING, ONE), QUIETED, QUIETED),
        ("f32.add", (QUIET, ONE), QUIET, QUIET),
        ("f32.add", (ONE, QUIET), QUIET, QUIET),
        ("f32.add", (QUIET, OTHER), QUIET, QUIET),
        ("f32.add", (OTHER, QUIET), OTHER, OTHER),
        ("f32.add", (OTHER, SIGNALLING), OTHER, QUIETED),
        ("f32.mul", (NEGATIVE, ONE), NEGATIVE, NEGATIVE),
        ("f32.sub", (ONE, NEGATIVE), NEGATIVE, NEGATIVE),
        ("f32.min", (QUIET, ONE), QUIET, QUIET),
        ("f32.min", (ONE, QUIET), QUIET, QUIET),
        ("f32.max", (QUIET, OTHER), OTHER, QUIET),
        ("f32.min", (0x7F81_2345, OTHER), OTHER, 0x7FC1_2345),
        ("f32.floor", (SIGNALLING,), QUIETED, QUIETED),
        ("f32.nearest", (NEGATIVE,), NEGATIVE, NEGATIVE),
        ("f64.div", (0, 0), 0xFFF8_0000_0000_0000, 0x7FF8_0000_0000_0000),
        ("f64.promote_f32", (0x7FC1_2345,), 0x7FF8_2468_A000_0000, 0x7FF8_2468_A000_0000),
        ("f64.promote_f32", (0x7FA1_2345,), 0x7FFC_2468_A000_0000, 0x7FFC_2468_A000_0000),
        ("f64.promote_f32", (NEGATIVE,), 0xFFF8_A864_2000_0000, 0xFFF8_A864_2000_0000),
        ("f32.demote_f64", (0x7FF8_1234_5678_9ABC,), 0x7FC0_91A2, 0x7FC0_91A2),
        ("f32.demote_f64", (0x7FF4_1234_5678_9ABC,), 0x7FE0_91A2, 0x7FE0_91A2),
    ],
)
def test_nans_as_hardware_gives_them(mnemonic: str, operands: tuple[int, ...], x86: int, arm64: int) -> None:
    canonical = 0x7FF8_0000_0000_0000 if mnemonic.startswith("f64") else CANONICAL
    expected = {"x86": x86, "arm64": arm64, "riscv64": canonical, "canonical": canonical}
    assert {nan: functions(Profile(nan=nan))[mnemonic](*operands) for nan in NAN_PROFILES} == expected


@pytest.mark.parametrize(
    ("operands", "x86", "arm64"),
    [
        ((INF, ZERO, QUIET), QUIET, CANONICAL),
        ((INF, ZERO, SIGNALLING), QUIETED, QUIETED),
        ((INF, ZERO, ONE), MINUS_CANONICAL, CANONICAL),
        ((QUIET, ONE, ONE), QUIET, QUIET),
        ((QUIET, ONE, OTHER), QUIET, OTHER),
        ((QUIET, SIGNALLING, OTHER), QUIET, QUIETED),
    ],
)
def test_nans_of_fused_multiply_add(operands: tuple[int, int, int], x86: int, arm64: int) -> None:
    vectors = [splat(32, z) for z in operands]
    for nan, expected in {"x86": x86, "arm64": arm64, "riscv64": CANONICAL}.items():
        table = functions(Profile(nan=nan, R_fmadd=1))
        assert table["f32x4.relaxed_madd"](*vectors) == splat(32, expected), nan


def test_negated_multiply_add_negates_a_nan_factor_on_arm64_only() -> None:
    operands = [splat(32, z) for z in (QUIET, ONE, ONE)]
    for nan, expected in (("x86", QUIET), ("arm64", QUIET | MINUS_ZERO)):
        assert functions(Profile(nan=nan, R_fmadd=1))["f32x4.relaxed_nmadd"](*operands) == splat(32, expected)


def test_nans_are_chosen_lane_by_lane() -> None:
    v, w = splat(32, QUIET, ONE, INF, ZERO), splat(32, ONE, NEGATIVE, MINUS_ZERO | INF, ZERO)
    assert functions(Profile(nan="x86"))["f32x4.add"](v, w) == splat(32, QUIET, NEGATIVE, MINUS_CANONICAL, ZERO)
    assert FUNCTIONS["f32x4.add"](v, w) == splat(32, CANONICAL, CANONICAL, CANONICAL, ZERO)


@pytest.mark.parametrize("nan", NAN_PROFILES)
def test_operations_that_are_no_arithmetic_keep_a_nan(nan: str) -> None:
    table = functions(Profile(nan=nan))
    assert table["f32.neg"](SIGNALLING) == SIGNALLING | MINUS_ZERO
    assert table["f32.abs"](NEGATIVE) == NEGATIVE & ~MINUS_ZERO
    assert table["f32.copysign"](SIGNALLING, MINUS_ZERO) == SIGNALLING | MINUS_ZERO
    nan_first, nan_second = (splat(32, SIGNALLING), splat(32, ONE)), (splat(32, ONE), splat(32, SIGNALLING))
    for name in ("f32x4.pmin", "f32x4.pmax"):
        assert table[name](*nan_first) == nan_first[0]
        assert table[name](*nan_second) == nan_second[0]


nan_bits = st.builds(lambda sign, payload: sign << 31 | INF | payload, st.integers(0, 1), st.integers(1, 2**23 - 1))


@given(nan_bits | st.just(ONE), nan_bits)
def test_every_profile_gives_a_nan_that_the_standard_allows(a: int, b: int) -> None:
    canonical = {CANONICAL, MINUS_CANONICAL}
    for nan in NAN_PROFILES:
        table = functions(Profile(nan=nan))
        for name in ("add", "sub", "mul", "div", "min", "max"):
            for operands in ((a, b), (b, a)):
                result = table[f"f32.{name}"](*operands)
                assert result & CANONICAL == CANONICAL
                if {z for z in operands if z != ONE} <= canonical:
                    assert result in canonical


def test_relaxed_multiply_add_rounds_once_or_twice() -> None:
    # (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24: the last term is lost in the product alone.
    a, c = splat(32, ONE | 1 << 11), splat(32, MINUS_ZERO | ONE | 1 << 12)
    assert functions(Profile())["f32x4.relaxed_madd"](a, a, c) == 0
    assert functions(Profile(R_fmadd=1))["f32x4.relaxed_madd"](a, a, c) == splat(32, 0x3380_0000)
    minus_a, minus_c = a ^ splat(32, MINUS_ZERO), c ^ splat(32, MINUS_ZERO)
    assert functions(Profile(R_fmadd=1))["f32x4.relaxed_nmadd"](a, a, minus_c) == splat(32, 0xB380_0000)
    assert functions(Profile(R_fmadd=1))["f32x4.relaxed_nmadd"](minus_a, a, c) == splat(32, 0x3380_0000)


@pytest.mark.parametrize(
    ("choice", "nan_first", "nan_second", "both", "zeros_min", "zeros_max"),
    [
        (0, CANONICAL, CANONICAL, CANONICAL, MINUS_ZERO, ZERO),
        (1, SIGNALLING, ONE, SIGNALLING, ZERO, ZERO),
        (2, ONE, SIGNALLING, QUIET, MINUS_ZERO, MINUS_ZERO),
        (3, ONE, ONE, QUIET, MINUS_ZERO, ZERO),
    ],
)
def test_relaxed_min_and_max(
    choice: int, nan_first: int, nan_second: int, both: int, zeros_min: int, zeros_max: int
) -> None:
    v = splat(32, SIGNALLING, ONE, SIGNALLING, ZERO)
    w = splat(32, ONE, SIGNALLING, QUIET, MINUS_ZERO)
    table = functions(Profile(R_fmin=choice, R_fmax=choice))
    assert table["f32x4.relaxed_min"](v, w) == splat(32, nan_first, nan_second, both, zeros_min)
    assert table["f32x4.relaxed_max"](v, w) == splat(32, nan_first, nan_second, both, zeros_max)
    two = splat(32, 2 * ONE & INF)
    assert table["f32x4.relaxed_min"](splat(32, ONE), two) == splat(32, ONE)
    assert table["f32x4.relaxed_max"](splat(32, ONE), two) == two


def test_relaxed_min_takes_the_choice_of_min_only() -> None:
    table = functions(Profile(R_fmin=1))
    nan = splat(64, 0x7FF0_0000_0000_0001)
    assert table["f64x2.relaxed_min"](nan, 0) == nan
    assert table["f64x2.relaxed_max"](nan, 0) == splat(64, 0x7FF8_0000_0000_0000)


def test_relaxed_dot() -> None:
    # The examples of the official suite: 0x81 is -127 or 129.
    v, w = splat(8, *[0x80] * 4, *[0] * 12), splat(8, *[0x81] * 4, *[0] * 12)
    for choice, pair, total in ((0, 32512, 65024), (1, -32768, -65536)):
        table = functions(Profile(R_idot=choice))
        assert lane(table["i16x8.relaxed_dot_i8x16_i7x16_s"](v, w), 16) == pair % 2**16
        result = table["i32x4.relaxed_dot_i8x16_i7x16_add_s"](v, w, splat(32, 1, 2, 3, 4))
        assert [lane(result, 32, i) for i in range(4)] == [(total + 1) % 2**32, 2, 3, 4]
    least = splat(8, 0x80)
    assert lane(FUNCTIONS["i16x8.relaxed_dot_i8x16_i7x16_s"](least, least), 16) == 0x7FFF
    added = FUNCTIONS["i32x4.relaxed_dot_i8x16_i7x16_add_s"](least, least, splat(32, 2**31 - 1))
    assert lane(added) == (2 * 0x7FFF + 2**31 - 1) % 2**32


def test_relaxed_q15mulr() -> None:
    least = splat(16, 0x8000, 0x8000, 0x7FFF, 3)
    other = splat(16, 0x8000, 0x7FFF, 0x7FFF, 0x4000)
    for choice, corner in ((0, 0x7FFF), (1, 0x8000)):
        result = functions(Profile(R_iq15mulr=choice))["i16x8.relaxed_q15mulr_s"](least, other)
        assert result == splat(16, corner, 0x8001, 0x7FFE, 2)


def test_relaxed_trunc() -> None:
    v = splat(32, QUIET, 0x4F80_0000, 0xCF80_0000, 0x4000_0000)  # NaN, 2^32, -2^32, 2
    signed = {0: (0, 2**31 - 1, 2**31), 1: (2**31,) * 3}
    unsigned = {0: (0, 2**32 - 1, 0), 1: (2**32 - 1,) * 3, 2: (2**32 - 2,) * 3, 3: (2**31,) * 3}
    for choice, expected in signed.items():
        table = functions(Profile(R_trunc_s=choice))
        assert table["i32x4.relaxed_trunc_f32x4_s"](v) == splat(32, *expected, 2)
    for choice, expected in unsigned.items():
        table = functions(Profile(R_trunc_u=choice))
        assert table["i32x4.relaxed_trunc_f32x4_u"](v) == splat(32, *expected, 2)
        minus_half_and_nan = 0xBFE0_0000_0000_0000 | 0x7FF8_0000_0000_0000 << 64
        zeroed = table["i32x4.relaxed_trunc_f64x2_u_zero"](minus_half_and_nan)
        assert zeroed == expected[0] << 32, "-0.5 truncates to zero, in range; the upper lanes are zero"


def test_relaxed_swizzle() -> None:
    v = splat(8, *range(100, 116))
    w = splat(8, 0, 15, 16, 31, 127, 128, 255, 1, *[0] * 8)
    for choice, beyond in ((0, (0, 0, 0)), (1, (100, 115, 115))):
        result = functions(Profile(R_swizzle=choice))["i8x16.relaxed_swizzle"](v, w)
        assert result == splat(8, 100, 115, *beyond, 0, 0, 101, *[100] * 8)


@pytest.mark.parametrize(("shape", "N"), [("i8x16", 8), ("i16x8", 16), ("i32x4", 32), ("i64x2", 64)])
def test_relaxed_laneselect(shape: str, N: int) -> None:
    ones, top, rest = (1 << N) - 1, 1 << N - 1, (1 << N - 1) - 1
    v, w, mask = splat(N, ones), 0, splat(N, top, rest)
    assert functions(Profile())[f"{shape}.relaxed_laneselect"](v, w, mask) == splat(N, top, rest)
    by_top_bit = functions(Profile(R_laneselect=1, R_laneselect_16=1))[f"{shape}.relaxed_laneselect"]
    assert by_top_bit(v, w, mask) == splat(N, ones, 0)


def test_relaxed_laneselect_by_bytes() -> None:
    """The case that the official suite has for i16x8 alone."""
    function = functions(Profile(R_laneselect_16=2))["i16x8.relaxed_laneselect"]
    v, w = splat(16, 0, 1, 0x1234, 0x1234, 4, 5, 6, 7), splat(16, 8, 9, 0x5678, 0x5678, 12, 13, 14, 15)
    result = function(v, w, splat(16, 0xFFFF, 0, 0xFF00, 0x0080, 0, 0, 0, 0))
    assert result == splat(16, 0, 9, 0x1278, 0x5634, 12, 13, 14, 15)


def test_profiles_share_what_they_do_not_change() -> None:
    assert functions(Profile()) is FUNCTIONS
    assert functions(Profile(nan="x86")) is functions(Profile(nan="x86"))
    assert functions(Profile(nan="x86"))["i32.add"] is FUNCTIONS["i32.add"]
    with pytest.raises(TypeError):
        FUNCTIONS["i32.add"] = int.__add__  # type: ignore[index]


def test_every_choice_has_every_function() -> None:
    last = [alternatives - 1 for alternatives in RELAXED_CHOICES.values()]
    for nan in NAN_PROFILES:
        assert functions(Profile(nan, *last)).keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("name", RELAXED_CHOICES)
@pytest.mark.parametrize("value", [-1, 4, 1.0, "0", None])
def test_invalid_choices_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        Profile(**{name: value})  # type: ignore[arg-type]


def test_invalid_nans_are_refused_and_profiles_are_values() -> None:
    with pytest.raises(ValueError, match="canonical, x86, arm64, riscv64"):
        Profile(nan="mips")
    with pytest.raises(ValueError, match="nan"):
        Profile(nan=["x86"])  # type: ignore[arg-type]
    assert len({Profile(), Profile("canonical"), Profile(R_fmin=1)}) == 2
    with pytest.raises(FrozenInstanceError):
        Profile().nan = "x86"  # type: ignore[misc]


def test_single_instructions_have_nans_of_their_own() -> None:
    swapped = Profile("x86", single=(("f32.add", NAN_CHOICES.index("swapped")),))
    assert functions(swapped)["f32.add"](QUIET, OTHER) == OTHER
    assert functions(swapped)["f32.sub"](QUIET, OTHER) == QUIET
    with pytest.raises(ValueError, match="no choice"):
        Profile(single=(("f32.abs", 1),))
    with pytest.raises(ValueError, match="from 0 to 4"):
        Profile(single=(("f32.add", 5),))
