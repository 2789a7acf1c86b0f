"""Exceptions (section 4.6.5 of the standard): throwing them, and finding who catches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .control import Clause, ExceptionHandler
from .handlers import Handler, Stack, handles
from .outcome import Thrown, Trap
from .rules import rule
from .store import ExnInst, Instance, func_type
from .syntax import Instr

if TYPE_CHECKING:
    from .engine import Store


@handles("throw")
@rule("Step/throw")
def throw(instance: Instance, instr: Instr) -> Handler:
    tag, heap = instance.tags[instr.args[0]], instance.store.heap
    count = len(func_type(tag.type).params)

    def handler(stack: Stack, locals: Stack) -> None:
        heap.charge(count)
        raise Thrown(ExnInst(stack[len(stack) - count :], tag))

    return handler


@handles("throw_ref")
@rule("Step_read/throw_ref-null")
def throw_ref(instance: Instance, instr: Instr) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        if stack[-1] is None:
            raise Trap("null exception reference")
        raise Thrown(stack[-1])

    return handler


@rule(
    *(f"Step_read/throw_ref-{context}" for context in ("instrs", "label", "frame")),
    *(f"Step_read/throw_ref-handler-{kind}" for kind in ("catch", "catch_ref", "catch_all", "catch_all_ref")),
    *(f"Step_read/throw_ref-handler-{end}" for end in ("next", "empty")),
)
def find_clause(store: Store, handler: ExceptionHandler | None, exception: ExnInst) -> Clause | None:
    """The first clause of the innermost handler that catches, or None where this activation has none."""
    report = _unheard if store.listener is None else store.listener.rule
    report("Step_read/throw_ref-instrs")
    report("Step_read/throw_ref-label")
    while handler is not None:
        store.bulk(64 + len(handler.clauses))
        for clause in handler.clauses:
            if clause.tag is None or clause.tag is exception.tag:
                report(f"Step_read/throw_ref-handler-{clause.kind}")
                return clause
            report("Step_read/throw_ref-handler-next")
        report("Step_read/throw_ref-handler-empty")
        handler = handler.outer
    report("Step_read/throw_ref-frame")
    return None


def _unheard(name: str) -> None:
    pass
