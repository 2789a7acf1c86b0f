"""Operands of plain rows that need care: those that can trap, and those whose result the standard leaves open.

Each function emits all operands of its row and returns the immediates, or None to leave both to the usual way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasmlab_ref.syntax import MemArg, instr
from wasmlab_ref.types import RefType, ValType

from . import atomics, bits, canonical

if TYPE_CHECKING:
    from .function import Body
    from .parts import Memory, Segment
    from .rows import Operands, Row

_MASKS = (0x1F, 0x3F, 0x7F, 0xFF, 0xF8, 0x7F, 0xFF, 0xFF, 0x3FF, 0x7FFF, 0xFFF0)


def address(b: Body, memory: Memory, size: int, fuel: int) -> int:
    """Emit an address for an access of `size` bytes; the offset that goes with it.

    Mostly near the start, where other accesses go too, or at the very end; past the end with the chance `traps`.
    """
    last = memory.bytes - size
    if last < 0 or (b.risky() and b.below(2)):
        return _outside(b, memory, max(last, 0), fuel)
    kind = b.below(16)
    if kind < 5 or (kind < 12 and fuel <= 0):
        offset = b.below(8)
        b.const(memory.address, min(8 * b.below(24), last))
        return min(offset, last - min(8 * 23, last))
    if kind < 12:
        mask = b.source.pick(_MASKS) if last >= 0xFFF0 else 0x7F
        b.expr(memory.address, fuel)
        b.mix(memory.address)
        b.const(memory.address, mask)
        b.code.append(instr(f"{memory.address}.and"))
        return b.below(min(last - mask, 32)) if last > mask else 0
    offset = min(b.source.pick((0, 1, 8, last // 2, last)), last)
    b.const(memory.address, last - offset)
    if kind >= 14 and offset < last:  # the end, or the byte before it, at an address that no compiler knows
        b.expr(memory.address, fuel)
        b.const(memory.address, 1)
        b.code += (instr(f"{memory.address}.and"), instr(f"{memory.address}.sub"))
    return offset


def _outside(b: Body, memory: Memory, last: int, fuel: int) -> int:
    kind = b.below(4)
    if kind == 0:
        b.const(memory.address, last + 1)
        return 0
    if kind == 1:
        b.const(memory.address, 1)
        return last
    if kind == 2:
        b.expr(memory.address, fuel)
        return b.below(32)
    width = 32 if memory.address == "i32" else 64
    b.const(memory.address, (1 << width) - 1 - b.below(8))
    return b.source.pick((0, 1, 7, (1 << 32) - 1, (1 << width) - 1))


def memory_access(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...]:
    """A load or a store."""
    memory = _memory(b)
    rest = row.params[1:]
    share = b.below(fuel + 1) if rest and fuel > 0 else fuel
    offset = address(b, memory, row.size, share)
    for operand in rest:
        b.expr(operand, fuel - share)
    natural = row.size.bit_length() - 1
    align = natural if b.below(3) else b.below(natural + 1)
    return (MemArg(memory.index, align, offset), *[draw(b.source) for draw in row.immediates[1:]])


def _memory(b: Body) -> Memory:
    """One with pages, unless a trap is wanted or there is none."""
    return b.source.pick(b.module.memories if b.risky() else b.module.paged or b.module.memories)


def fitting(b: Body, memory: Memory, length: int) -> int:
    """A length, or where nothing may trap no more than the memory has."""
    return min(length, memory.bytes) if b.careful else length


def region(b: Body, memory: Memory, length: int, fuel: int) -> None:
    """Emit the address of a region of `length` bytes."""
    last = memory.bytes - length
    if last < 0 or b.risky():
        b.const(memory.address, max(last, 0) + 1 + b.below(8))
    elif b.below(4):
        b.const(memory.address, min(8 * b.below(24) + b.below(4), last))
    elif last >= 0x7F and b.below(2):
        b.expr(memory.address, fuel)
        b.const(memory.address, 0x7F)
        b.code.append(instr(f"{memory.address}.and"))
    else:
        b.const(memory.address, last)


def memory_size(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...]:
    memory = b.source.pick(b.module.addressed(t))
    return (memory.index,)


def memory_grow(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...]:
    """By little, or by more than the memory could ever have."""
    memory = b.source.pick(b.module.addressed(t))
    width = 32 if memory.address == "i32" else 64
    much = 65537 if memory.max is not None or width == 32 else 1 << 48
    b.const(memory.address, b.source.pick((0, 1, 1, 2, much, (1 << width) - 1)))
    return (memory.index,)


def memory_fill(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...]:
    memory = _memory(b)
    length = fitting(b, memory, b.source.pick((0, 1, 2, 7, 8, 16, 33)))
    region(b, memory, length, fuel // 2)
    b.expr("i32", fuel // 2)
    b.const(memory.address, length)
    return (memory.index,)


def memory_init(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...]:
    memory = _memory(b)
    segment = _segment(b, b.module.datas)
    start, length = slice_of(b, segment)
    length = fitting(b, memory, length)
    region(b, memory, length, fuel)
    b.const("i32", start)
    b.const("i32", length)
    return (memory.index, segment.index)


def _segment(b: Body, segments: list[Segment]) -> Segment:
    safe = [segment for segment in segments if segment.safe]
    return b.source.pick(safe if safe and b.below(16) < 15 else segments)


def slice_of(b: Body, segment: Segment) -> tuple[int, int]:
    """Start and length of a part of a segment: of nothing where it may have been dropped, mostly."""
    if b.risky():
        return b.below(segment.length + 2), b.below(segment.length + 2)
    if not segment.safe:
        return 0, 0
    start = b.below(segment.length + 1)
    return start, b.below(segment.length - start + 1)


def data_drop(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...]:
    return (_drop(b, b.module.datas),)


def elem_drop(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...]:
    return (_drop(b, b.module.elems),)


def _drop(b: Body, segments: list[Segment]) -> int:
    segment = b.source.pick([segment for segment in segments if not segment.safe] or segments)
    segment.safe = False
    return segment.index


# Numbers


def divide(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...] | None:
    """A divisor that is not zero, unless a trap is wanted.

    Constant in half of the cases: those are compiled to other instructions, by many rules.
    """
    if not isinstance(t, str) or b.risky():
        return None
    share = b.below(fuel + 1) if fuel > 0 else 0
    b.expr(t, fuel - share)
    if share < 1 or b.below(2):
        b.const(t, _divisor(b, t))
    else:
        b.expr(t, share)
        b.const(t, 1 << b.below(3))
        b.code.append(instr(f"{t}.or"))
    return ()


def _divisor(b: Body, t: str) -> int:
    """A constant divisor: a power of two, its neighbour, the least number; or any."""
    width = int(t[1:])
    kind = b.below(8)
    if kind < 3:
        return b.constant(t) or 1
    if kind == 3:
        return b.source.pick((1 << width - 1, 1 << width - 1, (1 << width) - 1, (1 << width - 1) - 1))
    return (b.source.pick((1, -1)) * ((1 << b.below(width)) + b.source.pick((0, 0, 0, 1, -1)))) % (1 << width) or 3


def truncate(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...] | None:
    """A float in range: converted from an integer of fewer bits, or constant."""
    if b.risky():
        return None
    source, target = row.params[0], row.instruction.mnemonic[:3]
    unsigned = row.instruction.mnemonic.endswith("u")
    if fuel <= 0:
        return _truncate_corner(b, str(source), target, unsigned)
    b.expr(target, fuel)
    b.const(target, 1 + b.below(8) if b.below(4) else 9 + b.below(20))
    b.code += (instr(f"{target}.shr_{'u' if unsigned else 's'}"),)
    b.code.append(instr(f"{source}.convert_{target}_{'u' if unsigned else 's'}"))
    if b.below(2):
        b.const(source, bits.FLOATS[32 if source == "f32" else 64][2])  # 0.5
        b.code.append(instr(f"{source}.mul"))
    return ()


_ENDS = {
    # the last floats below and above the ends of the range, which still truncate without a trap
    ("f32", "i32", False): (0x4EFFFFFF, 0xCF000000, 0xBF7FFFFF, 0x00000001),
    ("f32", "i32", True): (0x4F7FFFFF, 0xBF7FFFFF, 0x80000001, 0x4F000000),
    ("f64", "i32", False): (0x41DFFFFFFFFFFFFF, 0xC1E00000001FFFFF, 0xC1E0000000000000, 0xBFEFFFFFFFFFFFFF),
    ("f64", "i32", True): (0x41EFFFFFFFFFFFFF, 0xBFEFFFFFFFFFFFFF, 0x41E0000000000000, 0x8000000000000001),
    ("f32", "i64", False): (0x5EFFFFFF, 0xDF000000, 0xBF7FFFFF, 0x00000001),
    ("f32", "i64", True): (0x5F7FFFFF, 0xBF7FFFFF, 0x80000001, 0x5F000000),
    ("f64", "i64", False): (0x43DFFFFFFFFFFFFF, 0xC3E0000000000000, 0xBFEFFFFFFFFFFFFF, 0x4340000000000001),
    ("f64", "i64", True): (0x43EFFFFFFFFFFFFF, 0xBFEFFFFFFFFFFFFF, 0x43E0000000000000, 0x8000000000000001),
}


def _truncate_corner(b: Body, source: str, target: str, unsigned: bool) -> tuple[Any, ...]:
    b.const(source, b.source.pick(_ENDS[source, target, unsigned]))
    return ()


# References


def non_null(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...] | None:
    """A reference that is not null, unless a trap is wanted."""
    if b.risky():
        return None
    operand = row.params[0]
    if isinstance(operand, RefType) and b.module.inhabited(RefType(False, operand.heap)):
        b.expr(RefType(False, operand.heap), fuel)
        return ()
    return None


# Relaxed vectors: operands on which all permitted behaviours agree


def _each(*parts: Any) -> Operands:
    def operands(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...] | None:
        if b.raw_relaxed:
            return None
        share = max(fuel - 2, 0) // len(parts)
        for part in parts:
            part(b, share)
        return ()

    return operands


def _laneselect(shape: str) -> Operands:
    return _each(canonical.anything, canonical.anything, lambda b, fuel: canonical.lane_mask(b, fuel, shape))


def _f32_range(sign: str) -> Operands:
    return _each(lambda b, fuel: canonical.in_range_f32(b, fuel, sign))


_small = {"f32x4": canonical.small_integers_f32, "f64x2": canonical.small_integers_f64}

BY_KIND: dict[str, Operands] = {"mem": memory_access, "atomic": atomics.access}
"""By the kind of the first immediate."""

BY_NAME: dict[str, Operands] = {
    "memory.fill": memory_fill,
    "memory.init": memory_init,
    "memory.size": memory_size,
    "memory.grow": memory_grow,
    "data.drop": data_drop,
    "elem.drop": elem_drop,
    "div_s": divide,
    "div_u": divide,
    "rem_s": divide,
    "rem_u": divide,
    "array.len": non_null,
    "i31.get_s": non_null,
    "i31.get_u": non_null,
    **{f"trunc_{t}_{sign}": truncate for t in ("f32", "f64") for sign in "su"},
    "relaxed_swizzle": _each(canonical.anything, canonical.swizzle_index),
    "relaxed_trunc_f32x4_s": _f32_range("s"),
    "relaxed_trunc_f32x4_u": _f32_range("u"),
    "relaxed_trunc_f64x2_s_zero": _each(canonical.in_range_f64),
    "relaxed_trunc_f64x2_u_zero": _each(canonical.in_range_f64),
    **{f"{shape}.relaxed_{op}": _each(*[_small[shape]] * 3) for shape in _small for op in ("madd", "nmadd")},
    **{f"{shape}.relaxed_{op}": _each(*[_small[shape]] * 2) for shape in _small for op in ("min", "max")},
    **{f"{shape}.relaxed_laneselect": _laneselect(shape) for shape in ("i8x16", "i16x8", "i32x4", "i64x2")},
    "relaxed_q15mulr_s": _each(canonical.anything, canonical.above_minimum),
    "relaxed_dot_i8x16_i7x16_s": _each(canonical.anything, canonical.seven_bits),
    "relaxed_dot_i8x16_i7x16_add_s": _each(canonical.anything, canonical.seven_bits, canonical.anything),
}
"""By mnemonic, or by what follows its dot."""
