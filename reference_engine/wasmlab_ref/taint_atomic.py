"""Open bits under atomic instructions: `taint` has the others."""

from __future__ import annotations

from .atomic import RMW, operation
from .handlers import Handler, Stack
from .isa import BY_MNEMONIC, INSTRUCTIONS
from .syntax import Instr
from .taint import SPECIAL, Open, TaintWeaver, taint_of, with_taint
from .taint_rules import rule_of


def _closed_address(stack: Stack, place: int) -> int:
    if taint_of(stack[place]):
        raise Open("address")
    return int(stack[place])


def _load(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    memory, offset, size = weaver.instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access
    taint = weaver.taint

    def load(stack: Stack, locals: Stack) -> None:
        address = _closed_address(stack, -1)
        handler(stack, locals)
        stack[-1] = with_taint(stack[-1], int.from_bytes(taint.read(memory, address + offset, size), "little"))

    return load


def _store(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    memory, offset, size = weaver.instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access
    taint, width = weaver.taint, (1 << 8 * size) - 1

    def store(stack: Stack, locals: Stack) -> None:
        address, mask = _closed_address(stack, -2), taint_of(stack[-1]) & width
        handler(stack, locals)
        taint.write(memory, address + offset, mask.to_bytes(size, "little"))

    return store


def _rmw(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    memory, offset, size = weaver.instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access
    taint, width = weaver.taint, (1 << 8 * size) - 1
    name, store = operation(instr.op.mnemonic), weaver.instance.store
    plain = f"{instr.op.mnemonic[:3]}.{name}"
    rule = rule_of(Instr(BY_MNEMONIC[plain]), store.profile, store.numerics) if plain in BY_MNEMONIC else None

    def rmw(stack: Stack, locals: Stack) -> None:
        address, operand = _closed_address(stack, -2) + offset, stack[-1]
        old = int.from_bytes(taint.read(memory, address, size), "little")
        handler(stack, locals)
        mask = taint_of(operand)
        if rule is not None and old | mask:
            values = (int(stack[-1]), int(operand))
            mask = rule(RMW[name](*values) & width, values, (old, mask))
        taint.write(memory, address, (mask & width).to_bytes(size, "little"))
        stack[-1] = with_taint(stack[-1], old)

    return rmw


def _cmpxchg(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    memory, offset, size = weaver.instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access
    taint, width = weaver.taint, (1 << 8 * size) - 1

    def cmpxchg(stack: Stack, locals: Stack) -> None:
        address, expected, mask = _closed_address(stack, -3) + offset, stack[-2], taint_of(stack[-1]) & width
        old = int.from_bytes(taint.read(memory, address, size), "little")
        handler(stack, locals)
        unsure, differs = old | taint_of(expected) & width, (stack[-1] ^ expected) & width
        if unsure and not differs & ~unsure:
            raise Open("comparison")
        if not differs:
            taint.write(memory, address, mask.to_bytes(size, "little"))
        stack[-1] = with_taint(stack[-1], old)

    return cmpxchg


def _wait(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    memory, offset, size = weaver.instance.memories[instr.args[0].memory], instr.args[0].offset, instr.op.access
    taint = weaver.taint

    def wait(stack: Stack, locals: Stack) -> None:
        address = _closed_address(stack, -3) + offset
        unsure = any(map(taint_of, stack[-2:]))
        handler(stack, locals)
        if unsure or any(taint.read(memory, address, size)):
            raise Open("comparison")

    return wait


def _notify(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    def notify(stack: Stack, locals: Stack) -> None:
        _closed_address(stack, -2)
        handler(stack, locals)

    return notify


_BY_RULE = {
    "atomic.load": _load,
    "atomic.store": _store,
    "atomic.rmw": _rmw,
    "atomic.cmpxchg": _cmpxchg,
    "atomic.wait": _wait,
    "atomic.notify": _notify,
}
SPECIAL.update({row.mnemonic: _BY_RULE[row.rule] for row in INSTRUCTIONS if row.rule in _BY_RULE})
