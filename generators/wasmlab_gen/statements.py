"""Statements: what changes locals, globals, memories, tables and aggregates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wasmlab_ref.syntax import Instr, instr
from wasmlab_ref.types import ArrayType, RefType, StructType, ValType

from .function import GET
from .operands import fitting, region, slice_of
from .parts import Global, Memory, Segment, Table
from .registry import statement
from .special import deref, element, segments_for, slot
from .types import unpacked

if TYPE_CHECKING:
    from .builder import Builder
    from .function import Body


@statement("local.set", "mvp", weight=7)
def local_set(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    written = [i for i in range(len(b.locals)) if i not in b.reserved]
    if len(written) < 4:
        written.append(b.local(b.source.pick(b.module.numbers())))
    local = b.source.pick(written)
    b.expr(b.locals[local], fuel)
    if b.below(4):
        _with(b, b.locals[local], Instr(GET, (local,)))
    b.set(local)


_COMBINE: dict[ValType, tuple[str, ...]] = {
    "i32": ("i32.sub", "i32.xor", "i32.add"),
    "i64": ("i64.sub", "i64.xor", "i64.add"),
    "v128": ("i64x2.sub", "v128.xor", "i8x16.add", "i16x8.sub", "i32x4.add"),
}


def _with(b: Body, t: ValType, get: Instr) -> None:
    """Keep the value about to be overwritten: combined with the one on the stack, or in a sum."""
    if t in _COMBINE:
        b.code.append(get)
        b.emit(b.source.pick(_COMBINE[t]))
    elif isinstance(t, RefType):
        if b.below(3) == 0 and get.op is GET and len(b.labels) < 7:
            b.look(get.args[0], t)
    elif b.below(2):
        b.code.append(get)
        b.fold(t)


def _mutable(m: Builder, t: Any) -> Sequence[Global]:
    return [g for g in m.globals if g.mutable and not g.total]


@statement("global.set", "mvp", _mutable, weight=5)
def global_set(b: Body, found: Global, t: None, fuel: int, nan: str) -> None:
    b.expr(found.type, fuel)
    if b.below(4):
        _with(b, found.type, instr("global.get", found.index))
    b.emit("global.set", found.index)


@statement("drop", "mvp")
def drop(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    dropped = b.source.pick(b.module.mix())
    b.expr(dropped, fuel // 2)
    if not (b.below(4) and b.fold(dropped)):
        b.emit("drop")


# Memories


def _pairs(m: Builder, t: Any) -> Sequence[tuple[Memory, Memory]]:
    return [(x, y) for x in m.memories for y in m.memories if x.pages and y.pages]


@statement("memory.copy", "bulk-memory", _pairs)
def memory_copy(b: Body, pair: tuple[Memory, Memory], t: None, fuel: int, nan: str) -> None:
    target, source = pair
    length = fitting(b, target, fitting(b, source, b.source.pick((0, 1, 3, 8, 15, 16, 40))))
    region(b, target, length, fuel // 2)
    region(b, source, length, fuel // 2)
    b.const("i64" if target.address == source.address == "i64" else "i32", length)
    b.emit("memory.copy", target.index, source.index)


# Tables


def _tables(m: Builder, t: Any) -> Sequence[Table]:
    """Tables with slots that are free to change."""
    return [table for table in m.tables if table.size > len(table.slots)]


@statement("table.set", "reference-types", _tables, weight=2)
def table_set(b: Body, table: Table, t: None, fuel: int, nan: str) -> None:
    slot(b, table, fuel // 2)
    b.expr(table.element, fuel // 2)
    b.emit("table.set", table.index)


def span(b: Body, table: Table, length: int) -> None:
    """Emit the start of a span of slots behind the low ones."""
    first, last = len(table.slots), table.size - length
    if b.risky():
        b.const(table.address, max(last, 0) + 1)
    else:
        b.const(table.address, first + b.below(max(last - first, 0) + 1))


def length_in(b: Body, table: Table) -> int:
    """A number of slots that fits behind the low ones."""
    return min(b.source.pick((0, 1, 2, 3)), max(table.size - len(table.slots), 0))


@statement("table.fill", "reference-types", _tables)
def table_fill(b: Body, table: Table, t: None, fuel: int, nan: str) -> None:
    length = length_in(b, table)
    span(b, table, length)
    b.expr(table.element, fuel)
    b.const(table.address, length)
    b.emit("table.fill", table.index)


def _copies(m: Builder, t: Any) -> Sequence[tuple[Table, Table]]:
    if not m.has("reference-types"):
        return [(table, table) for table in m.tables]
    return [(x, y) for x in m.tables for y in m.tables if m.types.below(y.element, x.element)]


@statement("table.copy", "bulk-memory", _copies)
def table_copy(b: Body, pair: tuple[Table, Table], t: None, fuel: int, nan: str) -> None:
    target, source = pair
    length = min(length_in(b, target), source.size)
    span(b, target, length)
    b.const(source.address, b.below(source.size - length + 1))
    b.const("i64" if target.address == source.address == "i64" else "i32", length)
    b.emit("table.copy", target.index, source.index)


def _inits(m: Builder, t: Any) -> Sequence[tuple[Table, Segment]]:
    return [(x, e) for x in m.tables for e in m.elems if e.type is not None and m.types.below(e.type, x.element)]


@statement("table.init", "bulk-memory", _inits)
def table_init(b: Body, option: tuple[Table, Segment], t: None, fuel: int, nan: str) -> None:
    table, segment = option
    start, length = slice_of(b, segment)
    length = min(length, max(table.size - len(table.slots), 0))
    span(b, table, length)
    b.const("i32", start)
    b.const("i32", length)
    b.emit("table.init", table.index, segment.index)


# Aggregates


def _setters(m: Builder, t: Any) -> Sequence[tuple[int, int, ValType]]:
    return [
        (i, n, unpacked(f.storage))
        for i, sub in enumerate(m.types.subs)
        if isinstance(sub.comp, StructType)
        for n, f in enumerate(sub.comp.fields)
        if f.mutable
    ]


@statement("struct.set", "gc", _setters, weight=2)
def struct_set(b: Body, option: tuple[int, int, ValType], t: None, fuel: int, nan: str) -> None:
    index, field, value = option
    deref(b, index, fuel // 2)
    b.expr(value, fuel // 2)
    b.emit("struct.set", index, field)


def mutable_arrays(m: Builder, t: Any = None) -> list[int]:
    """The arrays whose elements can be written."""
    return [i for i, sub in enumerate(m.types.subs) if isinstance(sub.comp, ArrayType) and sub.comp.element.mutable]


def storage(b: Body, index: int) -> ValType:
    """The storage type of an array's elements."""
    comp = b.types.subs[index].comp
    if not isinstance(comp, ArrayType):
        raise TypeError(f"type {index} is not an array type")
    return comp.element.storage


def target(b: Body, index: int, fuel: int) -> int | None:
    """Emit an array to write to; the local that keeps it for `watch`, if it is to be looked at."""
    deref(b, index, fuel)
    if b.below(2):
        return None
    kept = b.scratch(RefType(True, index))
    b.tee(kept)
    return kept


def watch(b: Body, index: int, kept: int | None) -> None:
    """Look at an array that was written to."""
    if kept is not None:
        b.look(kept, RefType(True, index))


@statement("array.set", "gc", mutable_arrays, weight=2)
def array_set(b: Body, index: int, t: None, fuel: int, nan: str) -> None:
    kept = target(b, index, fuel // 3)
    element(b, fuel // 3)
    b.expr(unpacked(storage(b, index)), fuel // 3)
    b.emit("array.set", index)
    watch(b, index, kept)


def part(b: Body, length: int) -> None:
    """Emit the start of a part of an array, of `length` up to four elements."""
    b.const("i32", 5 + b.below(4) if b.risky() else b.below(4 - length + 1))


@statement("array.fill", "gc", mutable_arrays)
def array_fill(b: Body, index: int, t: None, fuel: int, nan: str) -> None:
    length = b.below(5)
    kept = target(b, index, fuel // 2)
    part(b, length)
    b.expr(unpacked(storage(b, index)), fuel // 2)
    b.const("i32", length)
    b.emit("array.fill", index)
    watch(b, index, kept)


def _array_copies(m: Builder, t: Any) -> Sequence[tuple[int, int]]:
    arrays = {i: m.types.subs[i].comp for i in m.types.indices(ArrayType)}
    return [
        (target, source)
        for target, to in arrays.items()
        for source, from_ in arrays.items()
        if isinstance(to, ArrayType) and isinstance(from_, ArrayType) and to.element.mutable
        if m.types.below(from_.element.storage, to.element.storage)
    ]


@statement("array.copy", "gc", _array_copies)
def array_copy(b: Body, pair: tuple[int, int], t: None, fuel: int, nan: str) -> None:
    to, source = pair
    length = b.below(5)
    kept = target(b, to, fuel // 2)
    part(b, length)
    deref(b, source, fuel // 2)
    part(b, length)
    b.const("i32", length)
    b.emit("array.copy", to, source)
    watch(b, to, kept)


def _array_inits(m: Builder, t: Any) -> Sequence[tuple[int, Segment]]:
    found = []
    for index in mutable_arrays(m):
        comp = m.types.subs[index].comp
        if isinstance(comp, ArrayType):
            found += [(index, segment) for segment in segments_for(m, comp.element.storage)]
    return found


@statement("array.init_data", "gc", _array_inits)
def array_init(b: Body, option: tuple[int, Segment], t: None, fuel: int, nan: str) -> None:
    """array.init_data or array.init_elem, whichever the elements ask for."""
    index, segment = option
    kind = "elem" if isinstance(storage(b, index), RefType) else "data"
    length = b.below(5) if kind == "data" else b.below(min(4, segment.length) + 1)
    kept = target(b, index, fuel)
    part(b, length)
    b.const("i32", 0 if not b.risky() else segment.length)
    b.const("i32", length)
    b.emit(f"array.init_{kind}", index, segment.index)
    watch(b, index, kept)
