"""Calls of every kind, and the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from wasmlab_ref.types import RefType, ValType

from .parts import Function, Table
from .registry import expression, statement
from .special import slot

if TYPE_CHECKING:
    from .builder import Builder
    from .function import Body

INDIRECT = 400
"""What an indirect call may cost: the budget of every function that references are made to."""


def callees(b: Body, accept: Callable[[Function], bool]) -> list[Function]:
    """The functions that may be called from here, those that nobody calls yet before the others."""
    caller = b.function
    if b.careful:
        return []
    found = [
        f
        for f in b.module.functions
        if f.cost and not f.fault and accept(f) and (f.escapes or not caller.escapes) and b.affordable(f.cost)
    ]
    if any(f.throws for f in found) and not b.trying and b.below(8):
        found = [f for f in found if not f.throws]
    return [f for f in found if not f.called] or found


def arguments(b: Body, f: Function, fuel: int) -> None:
    """Emit the arguments for a call."""
    if f.depth:
        b.const("i32", b.below(f.depth + 1))
        b.exprs(f.params[1:], fuel)
    else:
        b.exprs(f.params, fuel)


def note(b: Body, f: Function) -> None:
    """Keep the account of a call."""
    f.called = True
    b.charge(f.cost)
    if f.throws and not b.trying:
        b.function.throws = True


def _results_below(b: Body, results: tuple[ValType, ...]) -> Callable[[Function], bool]:
    below = b.types.below
    return lambda f: len(f.results) == len(results) and all(map(below, f.results, results))


@expression("call", "mvp", weight=3)
def call(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    """A direct call; by reference or a table, where that is possible."""
    options = callees(b, _results_below(b, (t,)))
    if not options:
        b.expr(t, fuel - 2, nan)
        return
    invoke(b, b.source.pick(options), fuel)


def invoke(b: Body, f: Function, fuel: int, tail: bool = False) -> None:
    """Call a function, in any of the ways that lead to it."""
    prefix = "return_" if tail else ""
    arguments(b, f, fuel)
    kind = b.below(8) if f.escapes and not b.function.escapes else 0
    if kind >= 6 and b.module.has("function-references"):
        b.expr(RefType(b.risky(), f.type), fuel // 2) if f.cost >= INDIRECT // 2 else b.emit("ref.func", f.refer())
        if b.code[-1].op.mnemonic == "ref.func":
            note(b, f)
        else:
            b.charge(INDIRECT)
        b.emit(f"{prefix}call_ref", f.type)
    elif kind >= 3 and (places := _places(b, f)):
        table, place = b.source.pick(places)
        b.const(table.address, place)
        b.charge(INDIRECT)
        b.emit(f"{prefix}call_indirect", table.index, f.type)
        f.called = True
    else:
        note(b, f)
        b.emit(f"{prefix}call", f.index)


def _places(b: Body, f: Function) -> list[tuple[Table, int]]:
    """The slots of tables where the function, or one of its type, is."""
    tables = b.module.tables if b.module.has("reference-types") else b.module.tables[:1]
    return [
        (table, i)
        for table in tables
        if b.types.top(table.element.heap) == "func"
        for i, found in enumerate(table.slots)
        if found is not None and found.type == f.type
    ]


def _through_tables(m: Builder, t: Any) -> Sequence[tuple[Table, Function]]:
    tables = m.tables if m.has("reference-types") else m.tables[:1]
    return [
        (table, f)
        for table in tables
        if m.types.top(table.element.heap) == "func"
        for f in m.functions
        if f.escapes and (t is None or f.results == (t,))
    ]


@expression("call_indirect", "mvp", _through_tables)
def call_indirect(b: Body, option: tuple[Table, Function], t: ValType, fuel: int, nan: str) -> None:
    """A call through a table, of the right type most of the time."""
    table, f = option
    fits = [i for i, found in enumerate(table.slots) if found is not None and found.type == f.type]
    if b.function.escapes or not b.affordable(INDIRECT) or not (fits or b.risky()):
        b.expr(t, fuel - 2, nan)
        return
    arguments(b, f, fuel)
    if fits and not b.risky():
        b.const(table.address, b.source.pick(fits))
    elif b.below(2):
        b.const(table.address, (table.size if table.max is None else table.max) + b.below(2))
    else:
        slot(b, table, fuel // 2, low=True)
    b.charge(INDIRECT)
    b.emit("call_indirect", table.index, f.type)


def _through_references(m: Builder, t: Any) -> Sequence[Function]:
    return [f for f in m.functions if f.escapes and f.results == (t,)]


@expression("call_ref", "function-references", _through_references, weight=2)
def call_ref(b: Body, f: Function, t: ValType, fuel: int, nan: str) -> None:
    if b.function.escapes or not b.affordable(INDIRECT):
        b.expr(t, fuel - 2, nan)
        return
    arguments(b, f, fuel // 2)
    b.expr(RefType(b.risky(), f.type), fuel // 2)
    b.charge(INDIRECT)
    b.emit("call_ref", f.type)


@statement("call", "mvp", weight=3)
def call_statement(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    options = callees(b, lambda f: True)
    if options:
        f = b.source.pick(options)
        invoke(b, f, fuel)
        b.store(f.results)


@statement("call", "mvp", lambda m, t: (None,) if m.host_log else ())
def log(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    """Tell the host."""
    f = b.module.host_log
    if f is not None:
        b.exprs(f.params, fuel)
        note(b, f)
        b.emit("call", f.index)


def tail_call(b: Body, fuel: int) -> bool:
    """Leave the function by a tail call, if one is at hand."""
    if not b.module.has("tail-call"):
        return False
    options = callees(b, _results_below(b, b.function.results))
    if options:
        invoke(b, b.source.pick(options), fuel, tail=True)
    return bool(options)


def again(b: Body, fuel: int, tail: bool = False) -> None:
    """A recursive function's call of itself."""
    f = b.function
    b.get(0)
    b.const("i32", 1)
    b.emit("i32.sub")
    for t in f.params[1:]:
        b.leaf(t)
    b.emit("return_call" if tail else "call", f.index)
    b.again += 1
