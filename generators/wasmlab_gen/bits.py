"""Numbers at the corners: what constants and arguments are made of, as bits."""

from __future__ import annotations

import struct
from collections.abc import Callable

from wasmlab_ref.case import value
from wasmlab_ref.types import RefType, ValType

from .source import Source


def _integer_corners(bits: int) -> tuple[int, ...]:
    top = 1 << bits
    signed = [0, 1, -1, 2, -2, top // 2, top // 2 - 1, -top // 2 + 1, 0x55555555_55555555, 0xAAAAAAAA_AAAAAAAA]
    edges = [0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1_00000000]
    negatives = [-0x80, -0x81, -0x8000, -0x8001, -0x80000000, -0x80000001]
    return tuple(dict.fromkeys(n % top for n in signed + edges + negatives))


def _float_corners(pattern: str, fraction: int, exponent: int) -> tuple[int, ...]:
    """Bits: zeros, ones, subnormals, the ends of integer ranges, infinities, NaNs of every kind, in both signs."""
    width = 1 + exponent + fraction
    numbers = [0.0, 1.0, 0.5, 1.5, 2.0, 2.5, 3.0, 10.0, 0.1, 127.0, 255.0, 4096.0, 65535.0, 8388608.5, 16777216.0]
    numbers += [2147483647.0, 2147483648.0, 4294967295.0, 4294967296.0, 9007199254740993.0, 0.9999999403953552]
    numbers += [9223372036854775808.0, 18446744073709551616.0, 9223371487098961920.0, 18446742974197923840.0]
    numbers += [0.4999999701976776]
    found = [int.from_bytes(struct.pack(pattern, x), "little") for x in numbers]
    infinity = ((1 << exponent) - 1) << fraction
    quiet = 1 << fraction - 1
    found += [1, (1 << fraction) - 1, 1 << fraction, infinity - 1, infinity]  # subnormals, smallest normal, greatest
    payloads = (quiet, quiet | 1, 1, quiet - 1, quiet | quiet - 1, quiet >> 1, quiet | quiet >> 3)
    found += [infinity | payload for payload in payloads]
    return tuple(dict.fromkeys([*found, *(bits | 1 << width - 1 for bits in found)]))


_INFINITY = {32: 0xFF << 24, 64: 0x7FF << 53}
"""An infinity without its sign, one place to the left."""
INTEGERS = {bits: _integer_corners(bits) for bits in (32, 64)}
FLOATS = {32: _float_corners("<f", 23, 8), 64: _float_corners("<d", 52, 11)}
NUMBERS = {bits: tuple([x for x in FLOATS[bits] if x << 1 & (1 << bits) - 1 < top]) for bits, top in _INFINITY.items()}
"""Those that are numbers: no NaNs, no infinities."""
FUNCREF, EXTERNREF = RefType(True, "func"), RefType(True, "extern")
LANES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x8000000000000000)


def integer(s: Source, bits: int) -> int:
    """An integer: small, a corner, next to a power of two, or any."""
    kind = s.below(8)
    if kind < 2:
        return s.below(20)
    if kind < 5:
        return s.pick(INTEGERS[bits])
    if kind == 5:
        return ((1 << s.below(bits)) + s.below(3) - 1) % (1 << bits)
    if kind == 6:
        return (1 << bits) - 1 - s.below(16)
    return s.bits(bits)


def floating(s: Source, bits: int) -> int:
    """A float: a corner, near one, or any bits; seldom a NaN, which all that is computed from it would be, too."""
    kind = s.below(16)
    if kind < 11:
        return s.pick(NUMBERS[bits])
    if kind < 13:
        return (s.pick(NUMBERS[bits]) + s.below(5) - 2) % (1 << bits)
    return s.pick(FLOATS[bits]) if kind < 14 else s.bits(bits)


def i32(s: Source) -> int:
    return integer(s, 32)


def i64(s: Source) -> int:
    return integer(s, 64)


def f32(s: Source) -> int:
    return floating(s, 32)


def f64(s: Source) -> int:
    return floating(s, 64)


def v128(s: Source) -> int:
    """A vector: one lane everywhere, a corner in each lane, one odd lane out, or any bits."""
    kind = s.below(8)
    if kind < 2:
        width = 8 << s.below(4)
        return splat(s.pick(LANES), width)
    if kind < 4:
        width = 32 << s.below(2)
        lane = f32 if width == 32 else f64
        return join([lane(s) for _ in range(128 // width)], width)
    if kind == 4:
        return join([i32(s) for _ in range(4)], 32)
    if kind == 5:
        return splat(s.pick(LANES), 16) ^ s.below(1 << 16) << 16 * s.below(8)
    if kind == 6:
        return int.from_bytes(bytes(range(16)), "little") + splat(s.below(240), 8)
    return s.bits(128)


def splat(lane: int, width: int) -> int:
    """A vector of equal lanes of `width` bits."""
    return join([lane] * (128 // width), width)


def join(lanes: list[int], width: int) -> int:
    """A vector of lanes, the first one lowest; what does not fit a lane is cut off."""
    mask, bits = (1 << width) - 1, 0
    for lane in reversed(lanes):
        bits = bits << width | lane & mask
    return bits


BITS: dict[str, Callable[[Source], int]] = {"i32": i32, "i64": i64, "f32": f32, "f64": f64, "v128": v128}
"""The bits of a value of each number or vector type."""


def can_pass(t: ValType) -> bool:
    """Can a script pass such an argument?"""
    return isinstance(t, str) or t.nullable or t.heap in ("extern", "i31", "any", "eq")


def argument(s: Source, t: ValType) -> str:
    """An argument of an invocation, as text."""
    if not isinstance(t, RefType):
        return value(t, BITS[t](s))
    if t.nullable and not s.chance(60):
        return "ref.null"
    if t.heap == "extern":
        return f"ref.extern:{s.below(8):x}"
    if t.heap in ("i31", "any", "eq"):
        return f"ref.i31:{i32(s) & 0x7FFFFFFF:x}"
    return "ref.null"
