"""Atomic memory instructions (proposal "threads", 1.0), as one agent executes them.

Accesses must be aligned.  The proposal knows one trap: where several of its conditions hold, all of them are named.

There is one agent, so nobody else notifies.  A wait for which the value is right would end by its timeout, and what
time passes nothing can see: so it ends at once, for fuel instead of time.  Only one that would take longer than
`LONGEST`, or for ever, is `Exhausted`.
"""

from __future__ import annotations

from collections.abc import Callable

from .handlers import Handler, Stack, handles
from .isa import INSTRUCTIONS
from .memory import OOB
from .outcome import Exhausted, Trap
from .store import Instance, MemInst
from .syntax import Instr

UNALIGNED, UNSHARED = "unaligned atomic", "expected shared memory"

OK, NOT_EQUAL, TIMED_OUT = range(3)
"""What a wait returns."""

LONGEST = 1_000_000_000
"""The longest wait that ends, in nanoseconds; 1,024 of them cost as much as an instruction."""

RMW: dict[str, Callable[[int, int], int]] = {
    "add": lambda old, operand: old + operand,
    "sub": lambda old, operand: old - operand,
    "and": lambda old, operand: old & operand,
    "or": lambda old, operand: old | operand,
    "xor": lambda old, operand: old ^ operand,
    "xchg": lambda old, operand: operand,
}
"""What is stored, but for its width, from what was there and the operand."""


def operation(mnemonic: str) -> str:
    """The operation of a read-modify-write: "i32.atomic.rmw8.add_u" adds."""
    return mnemonic.rpartition(".")[2].removesuffix("_u")


def _named(rule: str) -> list[str]:
    return [row.mnemonic for row in INSTRUCTIONS if row.rule == rule]


def place(memory: MemInst, address: int, size: int, *others: str) -> slice:
    """The bytes accessed; `Trap` where they are not aligned or not all there, or for `others` (or "")."""
    wrong = [UNALIGNED * (address % size != 0), *others, OOB * (address + size > len(memory.data))]
    if any(wrong):
        raise Trap("|".join(filter(None, wrong)))
    return slice(address, address + size)


def _read(memory: MemInst, at: slice) -> int:
    return int.from_bytes(memory.data[at], "little")


def _write(memory: MemInst, at: slice, value: int) -> None:
    size = at.stop - at.start
    memory.data[at] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")


@handles(*_named("atomic.load"))
def atomic_load(instance: Instance, instr: Instr) -> Handler:
    memory, offset, size = instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access

    def handler(stack: Stack, locals: Stack) -> None:
        stack[-1] = _read(memory, place(memory, stack[-1] + offset, size))

    return handler


@handles(*_named("atomic.store"))
def atomic_store(instance: Instance, instr: Instr) -> Handler:
    memory, offset, size = instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access

    def handler(stack: Stack, locals: Stack) -> None:
        value = stack.pop()
        _write(memory, place(memory, stack.pop() + offset, size), value)

    return handler


@handles(*_named("atomic.rmw"))
def atomic_rmw(instance: Instance, instr: Instr) -> Handler:
    memory, offset, size = instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access
    change = RMW[operation(instr.op.mnemonic)]

    def handler(stack: Stack, locals: Stack) -> None:
        operand = stack.pop()
        at = place(memory, stack[-1] + offset, size)
        stack[-1] = old = _read(memory, at)
        _write(memory, at, change(old, operand))

    return handler


@handles(*_named("atomic.cmpxchg"))
def atomic_cmpxchg(instance: Instance, instr: Instr) -> Handler:
    """What is expected is wrapped to the width of the access, too."""
    memory, offset, size = instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access
    mask = (1 << 8 * size) - 1

    def handler(stack: Stack, locals: Stack) -> None:
        replacement, expected = stack.pop(), stack.pop()
        at = place(memory, stack[-1] + offset, size)
        stack[-1] = old = _read(memory, at)
        if old == expected & mask:
            _write(memory, at, replacement)

    return handler


@handles(*_named("atomic.wait"))
def atomic_wait(instance: Instance, instr: Instr) -> Handler:
    memory, offset, size = instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access
    unshared, bulk = UNSHARED * (not memory.initial.shared), instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        timeout, expected = stack.pop(), stack.pop()
        at = place(memory, stack[-1] + offset, size, unshared)
        if _read(memory, at) != expected:
            stack[-1] = NOT_EQUAL
            return
        if timeout > LONGEST:  # negative numbers among them, which mean for ever
            raise Exhausted("time")
        bulk(timeout >> 4)
        stack[-1] = TIMED_OUT

    return handler


@handles(*_named("atomic.notify"))
def atomic_notify(instance: Instance, instr: Instr) -> Handler:
    """Nobody waits."""
    memory, offset, size = instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access

    def handler(stack: Stack, locals: Stack) -> None:
        del stack[-1]
        place(memory, stack[-1] + offset, size)
        stack[-1] = 0

    return handler


@handles("atomic.fence")
def atomic_fence(instance: Instance, instr: Instr) -> Handler:
    return lambda stack, locals: None
