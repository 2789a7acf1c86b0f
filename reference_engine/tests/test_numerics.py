"""Integers and vectors against the standard's formulas, written with shifts and masks only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmlab_ref import numerics
from wasmlab_ref.isa import INSTRUCTIONS
from wasmlab_ref.numerics import FUNCTIONS
from wasmlab_ref.outcome import Trap

SHAPES = {"i8x16": 8, "i16x8": 16, "i32x4": 32, "i64x2": 64}
FLOAT_SHAPES = {"f32x4": 32, "f64x2": 64}


def signed(N: int, i: int) -> int:
    return i - (1 << N) if i >> N - 1 else i


def lanes(N: int, v: int) -> list[int]:
    return [v >> i & (1 << N) - 1 for i in range(0, 128, N)]


def vector(N: int, values: list[int]) -> int:
    """The v128 of these lanes, each modulo 2^N."""
    return sum((x & (1 << N) - 1) << i * N for i, x in enumerate(values))


def saturated(N: int, sx: str, i: int) -> int:
    least, greatest = (-(1 << N - 1), (1 << N - 1) - 1) if sx == "s" else (0, (1 << N) - 1)
    return least if i < least else greatest if i > greatest else i


def integers(N: int) -> st.SearchStrategy[int]:
    edges = [0, 1, 2, (1 << N - 1) - 1, 1 << N - 1, (1 << N - 1) + 1, (1 << N) - 2, (1 << N) - 1]
    return st.sampled_from(edges) | st.integers(0, (1 << N) - 1)


def vectors(N: int) -> st.SearchStrategy[int]:
    return st.lists(integers(N), min_size=128 // N, max_size=128 // N).map(lambda values: vector(N, values))


BINARY: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda N, a, b: a + b,
    "sub": lambda N, a, b: a - b,
    "mul": lambda N, a, b: a * b,
    "and": lambda N, a, b: sum(1 << i for i in range(N) if a >> i & 1 and b >> i & 1),
    "or": lambda N, a, b: sum(1 << i for i in range(N) if a >> i & 1 or b >> i & 1),
    "xor": lambda N, a, b: sum(1 << i for i in range(N) if a >> i & 1 != b >> i & 1),
    "shl": lambda N, a, b: a * 2 ** (b % N),
    "shr_u": lambda N, a, b: a // 2 ** (b % N),
    "shr_s": lambda N, a, b: signed(N, a) // 2 ** (b % N),
    "rotl": lambda N, a, b: sum((a >> i & 1) << (i + b) % N for i in range(N)),
    "rotr": lambda N, a, b: sum((a >> i & 1) << (i - b) % N for i in range(N)),
    "min_s": lambda N, a, b: min(signed(N, a), signed(N, b)),
    "min_u": lambda N, a, b: min(a, b),
    "max_s": lambda N, a, b: max(signed(N, a), signed(N, b)),
    "max_u": lambda N, a, b: max(a, b),
    "avgr_u": lambda N, a, b: (a + b + 1) // 2,
    "add_sat_s": lambda N, a, b: saturated(N, "s", signed(N, a) + signed(N, b)),
    "add_sat_u": lambda N, a, b: saturated(N, "u", a + b),
    "sub_sat_s": lambda N, a, b: saturated(N, "s", signed(N, a) - signed(N, b)),
    "sub_sat_u": lambda N, a, b: saturated(N, "u", a - b),
    "q15mulr_sat_s": lambda N, a, b: saturated(N, "s", (signed(N, a) * signed(N, b) + 0x4000) // 0x8000),
}
RELATIONS: dict[str, Callable[[int, int, int], bool]] = {
    "eq": lambda N, a, b: a == b,
    "ne": lambda N, a, b: a != b,
    "lt_u": lambda N, a, b: a < b,
    "gt_u": lambda N, a, b: a > b,
    "le_u": lambda N, a, b: a <= b,
    "ge_u": lambda N, a, b: a >= b,
    "lt_s": lambda N, a, b: signed(N, a) < signed(N, b),
    "gt_s": lambda N, a, b: signed(N, a) > signed(N, b),
    "le_s": lambda N, a, b: signed(N, a) <= signed(N, b),
    "ge_s": lambda N, a, b: signed(N, a) >= signed(N, b),
}
UNARY: dict[str, Callable[[int, int], int]] = {
    "clz": lambda N, a: f"{a:0{N}b}1".index("1"),
    "ctz": lambda N, a: f"{a:0{N}b}"[::-1].find("1") if a else N,
    "popcnt": lambda N, a: f"{a:b}".count("1"),
    "abs": lambda N, a: abs(signed(N, a)),
    "neg": lambda N, a: -a,
    "extend8_s": lambda N, a: signed(8, a % 2**8),
    "extend16_s": lambda N, a: signed(16, a % 2**16),
    "extend32_s": lambda N, a: signed(32, a % 2**32),
    "eqz": lambda N, a: int(a == 0),
}


def available(prefix: str, table: Mapping[str, object]) -> list[str]:
    return [name for name in table if f"{prefix}.{name}" in FUNCTIONS]


def check(mnemonic: str, expected: int, *operands: int | tuple[int, ...]) -> None:
    got = FUNCTIONS[mnemonic](*operands)
    assert type(got) is int
    assert got == expected, f"{mnemonic}{operands} = {got:#x}, not {expected:#x}"


def test_every_numeric_instruction_has_a_function_and_nothing_else_has() -> None:
    numeric = {
        row.mnemonic
        for row in INSTRUCTIONS
        if re.match(r"([if](32|64)|v128|[if]\d+x\d+)\.", row.mnemonic)
        and not re.search(r"load|store|const|atomic", row.mnemonic)
    }
    assert set(FUNCTIONS) == numeric


def test_functions_are_attributes_by_name() -> None:
    assert numerics.i8x16_narrow_i16x8_s is FUNCTIONS["i8x16.narrow_i16x8_s"]
    with pytest.raises(AttributeError, match="i32_frobnicate"):
        _ = numerics.i32_frobnicate


@settings(max_examples=80)
@given(st.data())
@pytest.mark.parametrize("N", [32, 64])
def test_scalar_operations(N: int, data: st.DataObject) -> None:
    a = data.draw(integers(N))
    b = data.draw(integers(N) | st.integers(0, 2 * N) | st.just(a))
    for name in available(f"i{N}", UNARY):
        check(f"i{N}.{name}", UNARY[name](N, a) % 2**N, a)
    for name in available(f"i{N}", BINARY):
        check(f"i{N}.{name}", BINARY[name](N, a, b) % 2**N, a, b)
    for name in RELATIONS:
        check(f"i{N}.{name}", int(RELATIONS[name](N, a, b)), a, b)


@settings(max_examples=80)
@given(st.data())
@pytest.mark.parametrize("N", [32, 64])
def test_division(N: int, data: st.DataObject) -> None:
    a, b = data.draw(integers(N)), data.draw(integers(N) | st.integers(1, 9))
    if b == 0:
        return
    check(f"i{N}.div_u", a // b, a, b)
    check(f"i{N}.rem_u", a - a // b * b, a, b)
    x, y = signed(N, a), signed(N, b)
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    check(f"i{N}.rem_s", (x - quotient * y) % 2**N, a, b)
    if quotient < 2 ** (N - 1):
        check(f"i{N}.div_s", quotient % 2**N, a, b)


@pytest.mark.parametrize("N", [32, 64])
def test_division_traps(N: int) -> None:
    for name in ("div_s", "div_u", "rem_s", "rem_u"):
        for a in (0, 1, 1 << N - 1):
            with pytest.raises(Trap) as trap:
                FUNCTIONS[f"i{N}.{name}"](a, 0)
            assert trap.value.kind == "integer divide by zero"
    with pytest.raises(Trap) as trap:
        FUNCTIONS[f"i{N}.div_s"](1 << N - 1, (1 << N) - 1)
    assert trap.value.kind == "integer overflow"
    check(f"i{N}.rem_s", 0, 1 << N - 1, (1 << N) - 1)


@given(integers(64))
def test_integer_conversions(a: int) -> None:
    check("i32.wrap_i64", a % 2**32, a)
    check("i64.extend_i32_u", a % 2**32, a % 2**32)
    check("i64.extend_i32_s", signed(32, a % 2**32) % 2**64, a % 2**32)


@settings(max_examples=60)
@given(st.data())
@pytest.mark.parametrize("shape", SHAPES)
def test_lanewise_operations(shape: str, data: st.DataObject) -> None:
    N = SHAPES[shape]
    v = data.draw(vectors(N))
    w = data.draw(vectors(N) | st.just(v))
    for name in available(shape, UNARY):
        check(f"{shape}.{name}", vector(N, [UNARY[name](N, a) for a in lanes(N, v)]), v)
    pairs = list(zip(lanes(N, v), lanes(N, w), strict=True))
    for name in available(shape, BINARY):
        if name.startswith("sh"):
            k = data.draw(st.integers(0, 3 * N) | st.just(2**32 - 1))
            check(f"{shape}.{name}", vector(N, [BINARY[name](N, a, k) for a in lanes(N, v)]), v, k)
        else:
            check(f"{shape}.{name}", vector(N, [BINARY[name](N, a, b) for a, b in pairs]), v, w)
    for name in available(shape, RELATIONS):
        check(f"{shape}.{name}", vector(N, [-RELATIONS[name](N, a, b) for a, b in pairs]), v, w)
    check(f"{shape}.all_true", int(0 not in lanes(N, v)), v)
    check(f"{shape}.bitmask", sum(a >> N - 1 << i for i, a in enumerate(lanes(N, v))), v)


def test_which_shapes_have_which_operations() -> None:
    tables = {**BINARY, **RELATIONS, **UNARY}
    assert "mul" not in available("i8x16", tables)
    assert not {"min_s", "lt_u", "popcnt"} & set(available("i64x2", tables))
    assert {"add_sat_u", "avgr_u", "q15mulr_sat_s"} <= set(available("i16x8", tables))


@given(vectors(8), vectors(8), vectors(8))
def test_bitwise(u: int, v: int, w: int) -> None:
    check("v128.not", 2**128 - 1 - u, u)
    check("v128.and", u & v, u, v)
    check("v128.andnot", u & (v ^ 2**128 - 1), u, v)
    check("v128.or", u | v, u, v)
    check("v128.xor", u ^ v, u, v)
    check("v128.bitselect", u & w | v & (w ^ 2**128 - 1), u, v, w)
    check("v128.any_true", int(u != 0), u)
    check("v128.any_true", 0, 0)


@given(st.data())
@pytest.mark.parametrize(("shape", "N"), [*SHAPES.items(), *FLOAT_SHAPES.items()])
def test_lane_access(shape: str, N: int, data: st.DataObject) -> None:
    v, x = data.draw(vectors(N)), data.draw(integers(max(N, 32)))
    check(f"{shape}.splat", vector(N, [x] * (128 // N)), x)
    for lane, old in enumerate(lanes(N, v)):
        check(f"{shape}.replace_lane", vector(N, [*lanes(N, v)[:lane], x, *lanes(N, v)[lane + 1 :]]), lane, v, x)
        if N >= 32:
            check(f"{shape}.extract_lane", old, lane, v)
        else:
            check(f"{shape}.extract_lane_u", old, lane, v)
            check(f"{shape}.extract_lane_s", signed(N, old) % 2**32, lane, v)


@given(vectors(8), vectors(8), st.lists(st.integers(0, 31), min_size=16, max_size=16))
def test_shuffle_and_swizzle(v: int, w: int, chosen: list[int]) -> None:
    both = lanes(8, v) + lanes(8, w)
    check("i8x16.shuffle", vector(8, [both[i] for i in chosen]), tuple(chosen), v, w)
    expected = vector(8, [lanes(8, v)[i] if i < 16 else 0 for i in lanes(8, w)])
    check("i8x16.swizzle", expected, v, w)
    check("i8x16.relaxed_swizzle", expected, v, w)
    near = vector(8, [i % 20 for i in lanes(8, w)])
    check("i8x16.swizzle", vector(8, [lanes(8, v)[i] if i < 16 else 0 for i in lanes(8, near)]), v, near)


@settings(max_examples=60)
@given(st.data())
@pytest.mark.parametrize("N", [8, 16, 32])
def test_widening_and_narrowing(N: int, data: st.DataObject) -> None:
    names = {n: shape for shape, n in SHAPES.items()}
    small, large, half = names[N], names[2 * N], 64 // N
    v, w = data.draw(vectors(N)), data.draw(vectors(N))
    for sx in ("s", "u"):
        a, b = ([signed(N, x) if sx == "s" else x for x in lanes(N, z)] for z in (v, w))
        for name, low in (("low", 0), ("high", half)):
            part = slice(low, low + half)
            check(f"{large}.extend_{name}_{small}_{sx}", vector(2 * N, a[part]), v)
            products = [x * y for x, y in zip(a[part], b[part], strict=True)]
            check(f"{large}.extmul_{name}_{small}_{sx}", vector(2 * N, products), v, w)
        if N < 32:
            sums = [a[i] + a[i + 1] for i in range(0, 2 * half, 2)]
            check(f"{large}.extadd_pairwise_{small}_{sx}", vector(2 * N, sums), v)
            wide = [signed(2 * N, x) for x in lanes(2 * N, v) + lanes(2 * N, w)]
            check(f"{small}.narrow_{large}_{sx}", vector(N, [saturated(N, sx, x) for x in wide]), v, w)


@given(vectors(16), vectors(16))
def test_dot(v: int, w: int) -> None:
    p = [signed(16, x) * signed(16, y) for x, y in zip(lanes(16, v), lanes(16, w), strict=True)]
    check("i32x4.dot_i16x8_s", vector(32, [p[i] + p[i + 1] for i in range(0, 8, 2)]), v, w)
    least = vector(16, [0x8000] * 8)
    check("i32x4.dot_i16x8_s", vector(32, [1 << 31] * 4), least, least)


@settings(max_examples=60)
@given(st.data())
@pytest.mark.parametrize(("shape", "N"), FLOAT_SHAPES.items())
def test_float_lanes_are_as_scalars(shape: str, N: int, data: st.DataObject) -> None:
    one, infinity = (127 << 23, 255 << 23) if N == 32 else (1023 << 52, 2047 << 52)
    lane = integers(N) | st.sampled_from([one, one + 1, one | 1 << N - 1, infinity, infinity - 1, infinity + 1])
    v, w = (vector(N, data.draw(st.lists(lane, min_size=128 // N, max_size=128 // N))) for _ in "vw")
    for name in ("abs", "neg", "sqrt", "ceil", "floor", "trunc", "nearest"):
        check(f"{shape}.{name}", vector(N, [FUNCTIONS[f"f{N}.{name}"](a) for a in lanes(N, v)]), v)
    pairs = list(zip(lanes(N, v), lanes(N, w), strict=True))
    for name in ("add", "sub", "mul", "div", "min", "max"):
        check(f"{shape}.{name}", vector(N, [FUNCTIONS[f"f{N}.{name}"](a, b) for a, b in pairs]), v, w)
    for name in ("eq", "ne", "lt", "gt", "le", "ge"):
        check(f"{shape}.{name}", vector(N, [-FUNCTIONS[f"f{N}.{name}"](a, b) for a, b in pairs]), v, w)
    less = FUNCTIONS[f"f{N}.lt"]
    check(f"{shape}.pmin", vector(N, [b if less(b, a) else a for a, b in pairs]), v, w)
    check(f"{shape}.pmax", vector(N, [b if less(a, b) else a for a, b in pairs]), v, w)


@given(vectors(32), vectors(64))
def test_vector_conversions(v: int, w: int) -> None:
    f = FUNCTIONS
    for sx in ("s", "u"):
        convert, low = f[f"f32.convert_i32_{sx}"], f[f"f64.convert_i32_{sx}"]
        check(f"f32x4.convert_i32x4_{sx}", vector(32, [convert(x) for x in lanes(32, v)]), v)
        check(f"f64x2.convert_low_i32x4_{sx}", vector(64, [low(x) for x in lanes(32, v)[:2]]), v)
        for relaxed in ("trunc_sat", "relaxed_trunc"):
            of32, of64 = f[f"i32.trunc_sat_f32_{sx}"], f[f"i32.trunc_sat_f64_{sx}"]
            check(f"i32x4.{relaxed}_f32x4_{sx}", vector(32, [of32(x) for x in lanes(32, v)]), v)
            check(f"i32x4.{relaxed}_f64x2_{sx}_zero", vector(32, [of64(x) for x in lanes(64, w)]), w)
    check("f32x4.demote_f64x2_zero", vector(32, [f["f32.demote_f64"](x) for x in lanes(64, w)]), w)
    check("f64x2.promote_low_f32x4", vector(64, [f["f64.promote_f32"](x) for x in lanes(32, v)[:2]]), v)
