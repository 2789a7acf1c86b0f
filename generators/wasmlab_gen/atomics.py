"""Operands of atomic instructions: addresses that are aligned, and waits that end.

Nobody notifies in a case, so a wait for which the value is right lasts as long as it may: next to nothing.  Only where
the value is sure to be wrong is any timeout drawn, for ever among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasmlab_ref.syntax import MemArg, instr
from wasmlab_ref.types import ValType

from .bits import BITS

if TYPE_CHECKING:
    from .function import Body
    from .parts import Memory
    from .rows import Row

_MASKS = (0x1F, 0x3F, 0x7F, 0xFF, 0x3FF, 0xFFF8)


def access(b: Body, row: Row, t: ValType, fuel: int) -> tuple[Any, ...]:
    """Any of them but the fence."""
    waits = row.instruction.rule == "atomic.wait"
    memories = [m for m in b.module.paged if m.shared] if waits else b.module.paged
    memory = b.source.pick(b.module.memories if b.risky() else memories or b.module.memories)
    if waits:
        return (_wait(b, row, memory, fuel),)
    rest = row.params[1:]
    share = b.below(fuel + 1) if rest and fuel > 0 else fuel
    memarg = MemArg(memory.index, row.size.bit_length() - 1, address(b, memory, row.size, share))
    for operand in rest:
        b.expr(operand, (fuel - share) // len(rest))
    return (memarg,)


def address(b: Body, memory: Memory, size: int, fuel: int) -> int:
    """Emit an address for an access of `size` bytes, which is aligned with the offset that goes with it: returned.

    Not aligned, or past the end, with the chance `traps`.
    """
    last = memory.bytes - size
    if last < 0 or (b.risky() and b.below(2)):
        b.const(memory.address, max(last, 0) + b.source.pick((size, 1, size + 1)))
        return b.source.pick((0, size, 1))
    kind = b.below(16)
    if kind < 6 or (kind < 12 and fuel <= 0):
        b.const(memory.address, 8 * b.below(24))
        return size * b.below(4)
    if kind < 12:
        mask = (b.source.pick(_MASKS) if last >= 0xFFF8 else 0x7F) & ~(size - 1)
        if b.risky():
            mask |= 1
        b.expr(memory.address, fuel)
        b.mix(memory.address)
        b.const(memory.address, mask)
        b.code.append(instr(f"{memory.address}.and"))
        return size * b.below(4) if last >= mask + 4 * size else 0
    if kind < 14:  # neither of the two is aligned
        odd = 8 * b.below(24) + b.below(8)
        b.const(memory.address, odd)
        return -odd % size + size * b.below(4)
    offset = min(b.source.pick((0, size, 8 * size, last // 2 & -8, last)), last)
    b.const(memory.address, last - offset)
    return offset


def _wait(b: Body, row: Row, memory: Memory, fuel: int) -> MemArg:
    """Address, the value expected, and for how long."""
    expected = row.params[1]
    kind = b.below(4)
    if kind == 3:
        memarg = MemArg(memory.index, row.size.bit_length() - 1, address(b, memory, row.size, fuel // 2))
        b.expr(expected, fuel // 2)
        _timeout(b, fuel)
        return memarg
    memarg = MemArg(memory.index, row.size.bit_length() - 1, row.size * b.below(4))
    at = 8 * b.below(24)
    b.const(memory.address, at)
    b.const(memory.address, at)
    b.code.append(instr(f"{expected}.load", memarg))  # what is there
    if kind < 2:
        _timeout(b, fuel)
        return memarg
    b.const(expected, 1 << b.below(8 * row.size))
    b.code.append(instr(f"{expected}.xor"))  # what is not
    b.const("i64", b.source.pick(((1 << 64) - 1, 1 << 63, (1 << 63) - 1, BITS["i64"](b.source))))
    return memarg


def _timeout(b: Body, fuel: int) -> None:
    """In nanoseconds; sleeping takes at least fifty thousand, so most are 0."""
    if b.below(8) < 7:
        b.const("i64", 0 if b.below(4) else 1)
    else:
        b.expr("i64", fuel // 4)
        b.const("i64", 0x3FF)
        b.code.append(instr("i64.and"))
