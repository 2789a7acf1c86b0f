"""Table instructions (section 4.6.7 of the standard)."""

from __future__ import annotations

from .handlers import Handler, Stack, handles
from .outcome import Trap
from .rules import rule
from .store import MAX_ADDRESS, Instance
from .syntax import Instr

OOB = "out of bounds table access"


@handles("table.get")
@rule("Step_read/table.get-oob", "Step_read/table.get-val")
def table_get(instance: Instance, instr: Instr) -> Handler:
    refs = instance.tables[instr.args[0]].refs

    def handler(stack: Stack, locals: Stack) -> None:
        try:
            stack[-1] = refs[stack[-1]]
        except IndexError:
            raise Trap(OOB) from None

    return handler


@handles("table.set")
@rule("Step/table.set-oob", "Step/table.set-val")
def table_set(instance: Instance, instr: Instr) -> Handler:
    refs = instance.tables[instr.args[0]].refs

    def handler(stack: Stack, locals: Stack) -> None:
        ref = stack.pop()
        try:
            refs[stack.pop()] = ref
        except IndexError:
            raise Trap(OOB) from None

    return handler


@handles("table.size")
@rule("Step_read/table.size")
def table_size(instance: Instance, instr: Instr) -> Handler:
    refs = instance.tables[instr.args[0]].refs
    return lambda stack, locals: stack.append(len(refs))


@handles("table.grow")
@rule("Step/table.grow-succeed", "Step/table.grow-fail")
def table_grow(instance: Instance, instr: Instr) -> Handler:
    table = instance.tables[instr.args[0]]
    failed, grows = MAX_ADDRESS[table.initial.address], instance.store.profile.grow

    def handler(stack: Stack, locals: Stack) -> None:
        amount = stack.pop()
        size = table.grow(amount, stack[-1]) if grows or not amount else None
        stack[-1] = failed if size is None else size

    return handler


@handles("table.fill")
@rule("Step_read/table.fill-oob", "Step_read/table.fill-zero", "Step_read/table.fill-succ")
def table_fill(instance: Instance, instr: Instr) -> Handler:
    refs, bulk = instance.tables[instr.args[0]].refs, instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        start, ref, size = stack[-3:]
        del stack[-3:]
        if start + size > len(refs):
            raise Trap(OOB)
        bulk(size)
        refs[start : start + size] = [ref] * size

    return handler


@handles("table.copy")
@rule("Step_read/table.copy-oob", "Step_read/table.copy-zero", "Step_read/table.copy-le", "Step_read/table.copy-gt")
def table_copy(instance: Instance, instr: Instr) -> Handler:
    target, source = (instance.tables[x].refs for x in instr.args)
    bulk = instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        to, start, size = stack[-3:]
        del stack[-3:]
        if to + size > len(target) or start + size > len(source):
            raise Trap(OOB)
        bulk(size)
        target[to : to + size] = source[start : start + size]

    return handler


@handles("table.init")
@rule("Step_read/table.init-oob", "Step_read/table.init-zero", "Step_read/table.init-succ")
def table_init(instance: Instance, instr: Instr) -> Handler:
    refs, segment = instance.tables[instr.args[0]].refs, instance.elems[instr.args[1]]
    bulk = instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        to, start, size = stack[-3:]
        del stack[-3:]
        if to + size > len(refs) or start + size > len(segment.refs):
            raise Trap(OOB)
        bulk(size)
        refs[to : to + size] = segment.refs[start : start + size]

    return handler


@handles("elem.drop")
@rule("Step/elem.drop")
def elem_drop(instance: Instance, instr: Instr) -> Handler:
    segment = instance.elems[instr.args[0]]

    def handler(stack: Stack, locals: Stack) -> None:
        segment.refs = []

    return handler
