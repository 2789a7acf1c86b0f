"""Vector operations (section "Vector Operations"): a v128 is an int, lane 0 in its low bits."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from struct import Struct

from .conversion import convert, demote, integer_range, promote, trunc_sat
from .floating import operations as float_operations
from .floating import selections
from .format import F32, F64, Format
from .integer import Function

ALL = 2**128 - 1
SHAPE = {8: "i8x16", 16: "i16x8", 32: "i32x4", 64: "i64x2"}


class Lanes:
    """A v128 as its lanes: M = 128 / N ints that are signed ("s") or unsigned ("u")."""

    def __init__(self, N: int, sx: str) -> None:
        self.N, self.M, self.sx = N, 128 // N, sx
        self.least, self.greatest = integer_range(N, sx)
        code = {8: "b", 16: "h", 32: "i", 64: "q"}[N]
        layout = Struct(f"<{self.M}{code if sx == 's' else code.upper()}")
        pack, unpack = layout.pack, layout.unpack
        self.split: Callable[[int], tuple[int, ...]] = lambda v: unpack(v.to_bytes(16, "little"))
        self.join: Callable[[Iterable[int]], int] = lambda lanes: int.from_bytes(pack(*lanes), "little")

    def saturate(self, i: int) -> int:
        """sat_sx_N"""
        return self.least if i < self.least else self.greatest if i > self.greatest else i


SIGNED = {N: Lanes(N, "s") for N in (8, 16, 32, 64)}
UNSIGNED = {N: Lanes(N, "u") for N in (8, 16, 32, 64)}
BOTH = {"s": SIGNED, "u": UNSIGNED}


def repeat(N: int, lane: int) -> int:
    """The v128 of which every lane of N bits is `lane`."""
    return sum(lane << i for i in range(0, 128, N))


def lanewise1(lanes: Lanes, f: Function) -> Function:
    split, join = lanes.split, lanes.join
    return lambda v: join(map(f, split(v)))


def lanewise2(lanes: Lanes, f: Function) -> Function:
    split, join = lanes.split, lanes.join
    return lambda v, w: join(map(f, split(v), split(w)))


def lanewise3(lanes: Lanes, f: Function) -> Function:
    split, join = lanes.split, lanes.join
    return lambda u, v, w: join(map(f, split(u), split(v), split(w)))


def relation(lanes: Lanes, holds: Callable[[int, int], bool | int]) -> Function:
    """vrelop: lanes of ones where the relation holds, of zeros elsewhere."""
    split, join, ones = lanes.split, UNSIGNED[lanes.N].join, (1 << lanes.N) - 1
    return lambda v, w: join([ones if r else 0 for r in map(holds, split(v), split(w))])


def bitwise() -> dict[str, Function]:
    """vvunop, vvbinop, vvternop, vvtestop."""
    return {
        "v128.not": lambda v: v ^ ALL,
        "v128.and": operator.and_,
        "v128.andnot": lambda v, w: v & ~w,
        "v128.or": operator.or_,
        "v128.xor": operator.xor,
        "v128.bitselect": bitselect,
        "v128.any_true": lambda v: 1 if v else 0,
    }


def bitselect(v: int, w: int, mask: int) -> int:
    """Bits of v where the mask is 1, of w where it is 0."""
    return w ^ ((v ^ w) & mask)


def shuffle(lanes: tuple[int, ...], v: int, w: int) -> int:
    """i8x16.shuffle: the lanes chosen out of v's 16 and w's 16."""
    both = v.to_bytes(16, "little") + w.to_bytes(16, "little")
    return int.from_bytes(bytes(lanes).translate(both + bytes(224)), "little")


def swizzle(v: int, w: int) -> int:
    """i8x16.swizzle: lanes of v, chosen by the lanes of w; 0 beyond them."""
    return int.from_bytes(w.to_bytes(16, "little").translate(v.to_bytes(16, "little") + bytes(240)), "little")


def access(N: int, shape: str) -> dict[str, Function]:
    """vsplat, vextract_lane, vreplace_lane; the packed lanes i8 and i16 come and go as i32."""
    M, ones = (1 << N) - 1, repeat(N, 1)
    sign = 1 << N - 1

    def replace_lane(lane: int, v: int, x: int) -> int:
        return (v & ~(M << lane * N)) | ((x & M) << lane * N)

    table: dict[str, Function] = {f"{shape}.splat": lambda x: (x & M) * ones, f"{shape}.replace_lane": replace_lane}
    if N >= 32:
        table[f"{shape}.extract_lane"] = lambda lane, v: (v >> lane * N) & M
    else:
        table[f"{shape}.extract_lane_u"] = lambda lane, v: (v >> lane * N) & M
        table[f"{shape}.extract_lane_s"] = lambda lane, v: ((((v >> lane * N) & M) ^ sign) - sign) & 0xFFFF_FFFF
    return table


def wrapping(N: int) -> dict[str, Function]:
    """add, sub and neg modulo 2^N in every lane at once: carries stop at the top bits, which are added without."""
    high = repeat(N, 1 << N - 1)
    low = ALL ^ high
    return {
        "add": lambda v, w: ((v & low) + (w & low)) ^ ((v ^ w) & high),
        "sub": lambda v, w: ((v | high) - (w & low)) ^ ((v ^ ~w) & high),
        "neg": lambda v: (high - (v & low)) ^ (~v & high),
    }


def integers(N: int) -> dict[str, Function]:
    """vunop, vbinop, vtestop, vrelop, vshiftop and vbitmaskop of the lanes iN, by name."""
    s, u, M = SIGNED[N], UNSIGNED[N], (1 << N) - 1
    return {
        **wrapping(N),
        "abs": lambda v: u.join(map(abs, s.split(v))),
        "all_true": lambda v: 1 if all(u.split(v)) else 0,
        "bitmask": lambda v: sum([1 << i for i, x in enumerate(s.split(v)) if x < 0]),
        "shl": lambda v, k: u.join([(x << k % N) & M for x in u.split(v)]),
        "shr_s": lambda v, k: s.join([x >> k % N for x in s.split(v)]),
        "shr_u": lambda v, k: u.join([x >> k % N for x in u.split(v)]),
        "eq": relation(u, operator.eq),
        "ne": relation(u, operator.ne),
        **{f"{name}_s": relation(s, getattr(operator, name)) for name in ("lt", "gt", "le", "ge")},
    }


def integers_of_some_shapes() -> dict[str, Function]:
    """The operations that the standard restricts to some widths, by mnemonic."""
    table: dict[str, Function] = {
        "i8x16.popcnt": lanewise1(UNSIGNED[8], int.bit_count),
        "i16x8.q15mulr_sat_s": lanewise2(SIGNED[16], lambda x, y: min((x * y + 2**14) >> 15, 2**15 - 1)),
    }
    for N in (8, 16, 32):
        for name in ("lt", "gt", "le", "ge"):
            table[f"{SHAPE[N]}.{name}_u"] = relation(UNSIGNED[N], getattr(operator, name))
        for sx, lanes in (("s", SIGNED[N]), ("u", UNSIGNED[N])):
            table[f"{SHAPE[N]}.min_{sx}"] = lanewise2(lanes, lambda x, y: x if x < y else y)
            table[f"{SHAPE[N]}.max_{sx}"] = lanewise2(lanes, lambda x, y: x if x > y else y)
    for N in (8, 16):
        table[f"{SHAPE[N]}.avgr_u"] = lanewise2(UNSIGNED[N], lambda x, y: (x + y + 1) >> 1)
        for lanes in (SIGNED[N], UNSIGNED[N]):
            table |= _saturating(lanes)
    for N in (16, 32, 64):
        table[f"{SHAPE[N]}.mul"] = _mul(N)
    return table


def _saturating(lanes: Lanes) -> dict[str, Function]:
    saturate = lanes.saturate
    return {
        f"{SHAPE[lanes.N]}.add_sat_{lanes.sx}": lanewise2(lanes, lambda x, y: saturate(x + y)),
        f"{SHAPE[lanes.N]}.sub_sat_{lanes.sx}": lanewise2(lanes, lambda x, y: saturate(x - y)),
    }


def _mul(N: int) -> Function:
    M = (1 << N) - 1
    return lanewise2(UNSIGNED[N], lambda x, y: (x * y) & M)


def widening() -> dict[str, Function]:
    """vnarrowop, vextend and the vextunops and vextbinops of lanes iN to lanes i2N, by mnemonic."""
    table: dict[str, Function] = {"i32x4.dot_i16x8_s": dot}
    for N in (8, 16, 32):
        for sx in ("s", "u"):
            narrow, wide = BOTH[sx][N], BOTH[sx][2 * N]
            for half, part in (("low", slice(narrow.M // 2)), ("high", slice(narrow.M // 2, None))):
                table[f"{SHAPE[2 * N]}.extend_{half}_{SHAPE[N]}_{sx}"] = _extend(narrow, wide, part)
                table[f"{SHAPE[2 * N]}.extmul_{half}_{SHAPE[N]}_{sx}"] = _extmul(narrow, wide, part)
            if N < 32:
                table[f"{SHAPE[N]}.narrow_{SHAPE[2 * N]}_{sx}"] = _narrow(SIGNED[2 * N], narrow)
                table[f"{SHAPE[2 * N]}.extadd_pairwise_{SHAPE[N]}_{sx}"] = extadd_pairwise(narrow, wide)
    return table


def _extend(narrow: Lanes, wide: Lanes, part: slice) -> Function:
    return lambda v: wide.join(narrow.split(v)[part])


def _extmul(narrow: Lanes, wide: Lanes, part: slice) -> Function:
    return lambda v, w: wide.join(map(operator.mul, narrow.split(v)[part], narrow.split(w)[part]))


def _narrow(wide: Lanes, narrow: Lanes) -> Function:
    return lambda v, w: narrow.join(map(narrow.saturate, wide.split(v) + wide.split(w)))


def extadd_pairwise(narrow: Lanes, wide: Lanes) -> Function:
    def extadd(v: int) -> int:
        lanes = narrow.split(v)
        return wide.join(map(operator.add, lanes[::2], lanes[1::2]))

    return extadd


def dot(v: int, w: int) -> int:
    """i32x4.dot_i16x8_s; the sum of two products wraps only when all four lanes are -2^15."""
    products = list(map(operator.mul, SIGNED[16].split(v), SIGNED[16].split(w)))
    return UNSIGNED[32].join([(x + y) & 0xFFFF_FFFF for x, y in zip(products[::2], products[1::2], strict=True)])


def _integer_vectors() -> dict[str, Function]:
    table = bitwise() | integers_of_some_shapes() | widening()
    table |= {"i8x16.shuffle": shuffle, "i8x16.swizzle": swizzle}
    for N, shape in SHAPE.items():
        table |= access(N, shape) | {f"{shape}.{name}": f for name, f in integers(N).items()}
    for N, shape in ((32, "f32x4"), (64, "f64x2")):
        table |= access(N, shape)
    for sx in ("s", "u"):
        table[f"i32x4.trunc_sat_f32x4_{sx}"] = lanewise1(UNSIGNED[32], trunc_sat(F32, 32, sx))
        table[f"i32x4.trunc_sat_f64x2_{sx}_zero"] = f64x2_to_32x4_zero(trunc_sat(F64, 32, sx))
        table[f"f32x4.convert_i32x4_{sx}"] = lanewise1(UNSIGNED[32], convert(32, sx, F32))
        table[f"f64x2.convert_low_i32x4_{sx}"] = low_32x4_to_f64x2(convert(32, sx, F64))
    return table


def f64x2_to_32x4_zero(f: Function) -> Function:
    """A conversion of two lanes into the lower two of four; the others are zero."""
    return lambda v: UNSIGNED[32].join((*map(f, UNSIGNED[64].split(v)), 0, 0))


def low_32x4_to_f64x2(f: Function) -> Function:
    """A conversion of the lower two lanes of four."""
    return lambda v: UNSIGNED[64].join(map(f, UNSIGNED[32].split(v)[:2]))


INTEGER_VECTORS: dict[str, Function] = _integer_vectors()
"""By mnemonic, the vector operations that no profile changes."""

FLOAT_UNARY = ("abs", "neg", "sqrt", "ceil", "floor", "trunc", "nearest")
FLOAT_BINARY = ("min", "max", "pmin", "pmax")
FLOAT_ARITHMETIC = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv}
FLOAT_RELATIONS = ("eq", "ne", "lt", "gt", "le", "ge")


def float_vectors(nan: str) -> dict[str, Function]:
    """By mnemonic, the operations on lanes of floats; `nan` as in `Profile`."""
    table: dict[str, Function] = {
        "f32x4.demote_f64x2_zero": f64x2_to_32x4_zero(demote(nan)),
        "f64x2.promote_low_f32x4": low_32x4_to_f64x2(promote(nan)),
    }
    for fmt, shape in ((F32, "f32x4"), (F64, "f64x2")):
        lanes, scalar = UNSIGNED[fmt.N], float_operations(fmt, nan) | selections(fmt)
        table |= {f"{shape}.{name}": lanewise1(lanes, scalar[name]) for name in FLOAT_UNARY}
        table |= {f"{shape}.{name}": lanewise2(lanes, scalar[name]) for name in FLOAT_BINARY}
        table |= {f"{shape}.{name}": relation(lanes, scalar[name]) for name in FLOAT_RELATIONS}
        for name, operation in FLOAT_ARITHMETIC.items():
            table[f"{shape}.{name}"] = _arithmetic(fmt, operation, lanewise2(lanes, scalar[name]))
    return table


def _arithmetic(fmt: Format, operation: Callable[[float, float], float], lane_by_lane: Function) -> Function:
    """All lanes in one go when every result is finite; infinities and NaNs are left to the scalar operation."""
    layout = Struct(f"<{128 // fmt.N}{fmt.code}")
    pack, unpack = layout.pack, layout.unpack

    def arithmetic(v: int, w: int) -> int:
        try:
            results = list(map(operation, unpack(v.to_bytes(16, "little")), unpack(w.to_bytes(16, "little"))))
            if math.isfinite(sum(results)):
                return int.from_bytes(pack(*results), "little")
        except (OverflowError, ZeroDivisionError):
            pass
        return lane_by_lane(v, w)

    return arithmetic
