"""Special instructions that make values: variables, references, tables, aggregates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wasmlab_ref.types import ArrayType, FuncType, HeapType, RefType, StructType, ValType

from .operands import slice_of
from .parts import Table
from .registry import expression
from .types import PACKED, unpacked

if TYPE_CHECKING:
    from .builder import Builder
    from .function import Body

BYTES = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "f32": 4, "f64": 8, "v128": 16}


# Variables and choices


@expression("local.tee", "mvp", weight=2)
def local_tee(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    b.expr(t, fuel)
    writers = [i for i in b.writers(t) if b.locals[i] == t]
    if writers:
        b.tee(b.source.pick(writers))


@expression("select", "mvp", weight=2)
def select(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    b.expr(t, fuel // 3, nan)
    b.expr(t, fuel // 3, nan)
    b.condition(fuel // 3)
    typed = isinstance(t, RefType) or (b.module.has("reference-types") and b.below(3) == 0)
    b.emit("select", (t,) if typed else None)


def _globals_of(m: Builder, t: Any) -> Sequence[int]:
    return [g.index for g in m.globals if m.types.below(g.type, t)]


@expression("global.get", "mvp", _globals_of)
def global_get(b: Body, index: int, t: ValType, fuel: int, nan: str) -> None:
    b.emit("global.get", index)


# References in general


@expression("ref.null", "reference-types", of="ref")
def new_reference(b: Body, _: Any, t: RefType, fuel: int, nan: str) -> None:
    """ref.null or ref.func, or what else makes a reference from nothing."""
    b.reference(t)


def _i32(m: Builder, t: Any) -> Sequence[ValType]:
    return m.nullable_types() if t == "i32" else ()


@expression("ref.is_null", "reference-types", _i32, of="i32")
def ref_is_null(b: Body, operand: RefType, t: ValType, fuel: int, nan: str) -> None:
    b.expr(operand, fuel)
    b.emit("ref.is_null")


def _solid(m: Builder, t: Any) -> Sequence[RefType]:
    if isinstance(t, RefType) and not t.nullable and m.inhabited(t):
        return (RefType(True, t.heap),)
    return ()


@expression("ref.as_non_null", "function-references", _solid, of="ref")
def ref_as_non_null(b: Body, operand: RefType, t: ValType, fuel: int, nan: str) -> None:
    b.expr(operand if b.risky() else RefType(False, operand.heap), fuel)
    b.emit("ref.as_non_null")


# Casts

_ABOVE = {"i31": ("eq", "any"), "struct": ("eq", "any"), "array": ("eq", "any"), "eq": ("any",), "any": ()}


def upcasts(m: Builder, t: RefType) -> list[RefType]:
    """The types in the hierarchy of `t` that a cast to it may start from."""
    if isinstance(t.heap, int):
        supers: list[Any] = list(m.types.supers(t.heap)[1:])
        kind = m.types.kind(t.heap)
        supers += [kind, *_ABOVE.get(kind, ())]
    else:
        supers = list(_ABOVE.get(str(t.heap), ()))
    return [RefType(True, heap) for heap in supers]


def _cast_sources(m: Builder, t: Any) -> Sequence[RefType]:
    if not isinstance(t, RefType) or not (t.nullable or m.inhabited(t)):
        return ()
    return upcasts(m, t)


@expression("ref.cast", "gc", _cast_sources, of="ref")
def ref_cast(b: Body, source: RefType, t: RefType, fuel: int, nan: str) -> None:
    """Up by way of a local, then down again; or of anything, which may trap."""
    if b.risky():
        b.expr(source, fuel)
    else:
        b.expr(t, fuel)
        kept = b.scratch(source)
        b.set(kept)
        b.get(kept)
    b.emit("ref.cast", t)


def cast_pairs(m: Builder, t: Any = None) -> Sequence[tuple[RefType, RefType]]:
    """A type and one below it, to test for."""
    found = []
    heaps: tuple[HeapType, ...] = (*m.concrete("any"), *m.types.indices(FuncType), "i31", "struct", "array", "eq")
    for heap in heaps:
        target = RefType(True, heap)
        found += [(source, target) for source in (*upcasts(m, target), target)]
    return found


def _test_pairs(m: Builder, t: Any) -> Sequence[tuple[RefType, RefType]]:
    return cast_pairs(m) if t == "i32" else ()


@expression("ref.test", "gc", _test_pairs, of="i32")
def ref_test(b: Body, pair: tuple[RefType, RefType], t: ValType, fuel: int, nan: str) -> None:
    source, target = pair
    likely(b, source, target, fuel)
    b.emit("ref.test", RefType(b.below(2) == 1, target.heap))


def likely(b: Body, source: RefType, target: RefType, fuel: int) -> None:
    """A `source` that is a `target` about half of the time."""
    b.expr(target if b.below(2) else source, fuel)
    kept = b.scratch(source)
    b.set(kept)
    b.get(kept)


def _heap(name: str) -> Any:
    return lambda m, t: (None,) if isinstance(t, RefType) and t.heap == name else ()


@expression("any.convert_extern", "gc", _heap("any"), of="i31")
def any_convert_extern(b: Body, _: Any, t: RefType, fuel: int, nan: str) -> None:
    b.expr(RefType(t.nullable, "extern"), fuel)
    b.emit("any.convert_extern")


@expression("extern.convert_any", "gc", _heap("extern"), weight=2, of="ref")
def extern_convert_any(b: Body, _: Any, t: RefType, fuel: int, nan: str) -> None:
    b.expr(RefType(t.nullable, "any"), fuel)
    b.emit("extern.convert_any")


# Tables


def slot(b: Body, table: Table, fuel: int, low: bool = False) -> None:
    """Emit the index of a slot: one of the low ones, which are mostly left alone, or of the rest."""
    known = len(table.slots)
    if b.risky() or not table.size:
        b.const(table.address, b.source.pick((table.size, table.size + 1, (1 << 32) - 1)))
    elif low and known:
        b.const(table.address, b.below(known))
    elif fuel > 0 and table.size >= 4 and (not low or known >= 4):
        b.expr(table.address, fuel)
        b.mix(table.address)
        b.const(table.address, 3)
        b.emit(f"{table.address}.and")
        if not low and table.size - known >= 4:
            b.const(table.address, known)
            b.emit(f"{table.address}.add")
    elif known < table.size:
        b.const(table.address, known + b.below(table.size - known))
    else:
        b.const(table.address, b.below(table.size))


def _tables_of(m: Builder, t: Any) -> Sequence[Table]:
    return [table for table in m.tables if table.size and m.types.below(table.element, t)]


@expression("table.get", "reference-types", _tables_of, weight=2)
def table_get(b: Body, table: Table, t: ValType, fuel: int, nan: str) -> None:
    slot(b, table, fuel, b.below(2) == 1)
    b.emit("table.get", table.index)


def _tables_addressed(m: Builder, t: Any) -> Sequence[Table]:
    return [table for table in m.tables if table.address == t]


@expression("table.size", "reference-types", _tables_addressed, of="address")
def table_size(b: Body, table: Table, t: ValType, fuel: int, nan: str) -> None:
    b.emit("table.size", table.index)


@expression("table.grow", "reference-types", _tables_addressed, of="address")
def table_grow(b: Body, table: Table, t: ValType, fuel: int, nan: str) -> None:
    b.expr(table.element, fuel // 2)
    much: tuple[int, ...] = (1 << 20,) if table.max is not None else ()  # what no limit refuses costs time and room
    if t == "i64":
        much += (1 << 32, (1 << 32) + 1, (1 << 63) + 1, (1 << 64) - 1)  # little, to an engine that cuts them off
    elif table.size:
        much += ((1 << 32) - 1,)
    b.const(table.address, b.source.pick((0, 1, 1, 2, *much)))
    b.emit("table.grow", table.index)


# Aggregates


def deref(b: Body, index: int, fuel: int) -> None:
    """A structure or array to use: not null, unless a trap is wanted."""
    b.expr(RefType(b.risky(), index), fuel)


def element(b: Body, fuel: int) -> None:
    """An index into an array: nearly all arrays have four elements or more."""
    if b.risky():
        b.expr("i32", fuel)
    elif fuel > 1 and b.below(2):
        b.expr("i32", fuel)
        b.mix("i32")
        b.const("i32", 3)
        b.emit("i32.and")
    else:
        b.const("i32", b.below(4))


def _getters(m: Builder, t: Any) -> Sequence[tuple[str, int, int]]:
    found = []
    for i, sub in enumerate(m.types.subs):
        if isinstance(sub.comp, StructType):
            for n, f in enumerate(sub.comp.fields):
                if m.types.below(unpacked(f.storage), t):
                    names = ("struct.get_s", "struct.get_u") if f.storage in PACKED else ("struct.get",)
                    found += [(name, i, n) for name in names]
    return found


@expression("struct.get", "gc", _getters, weight=2)
def struct_get(b: Body, option: tuple[str, int, int], t: ValType, fuel: int, nan: str) -> None:
    mnemonic, index, field = option
    deref(b, index, fuel)
    b.emit(mnemonic, index, field)


def _array_getters(m: Builder, t: Any) -> Sequence[tuple[str, int]]:
    found = []
    for i, sub in enumerate(m.types.subs):
        if isinstance(sub.comp, ArrayType) and m.types.below(unpacked(sub.comp.element.storage), t):
            packed = sub.comp.element.storage in PACKED
            found += [(name, i) for name in (("array.get_s", "array.get_u") if packed else ("array.get",))]
    return found


@expression("array.get", "gc", _array_getters, weight=2)
def array_get(b: Body, option: tuple[str, int], t: ValType, fuel: int, nan: str) -> None:
    mnemonic, index = option
    deref(b, index, fuel // 2)
    element(b, fuel // 2)
    b.emit(mnemonic, index)


def _news(m: Builder, t: Any) -> Sequence[int]:
    return m.concrete(t.heap) if isinstance(t, RefType) else ()


@expression("struct.new", "gc", _news, weight=4, of="ref")
def new(b: Body, index: int, t: RefType, fuel: int, nan: str) -> None:
    """A new structure or array, by any of the instructions for that."""
    comp = b.types.subs[index].comp
    if isinstance(comp, StructType):
        if fuel <= 0 or (b.below(5) == 0 and all(_default(f.storage) for f in comp.fields)):
            b.aggregate(index)
            return
        b.exprs([unpacked(f.storage) for f in comp.fields], fuel)
        b.emit("struct.new", index)
    elif isinstance(comp, ArrayType):
        _new_array(b, index, comp, fuel)


def _default(t: Any) -> bool:
    return not isinstance(t, RefType) or t.nullable


def _new_array(b: Body, index: int, comp: ArrayType, fuel: int) -> None:
    storage = comp.element.storage
    options = ["array.new", "array.new_fixed"]
    if _default(storage):
        options.append("array.new_default")
    if sources := segments_for(b.module, storage):
        options += ["array.new_elem" if isinstance(storage, RefType) else "array.new_data"] * 2
    mnemonic = b.source.pick(options)
    length = b.below(4) if b.risky() else 4 + b.below(4)
    if mnemonic == "array.new_fixed":
        b.exprs([unpacked(storage)] * length, fuel)
        b.emit(mnemonic, index, length)
        return
    if mnemonic == "array.new":
        b.expr(unpacked(storage), fuel)
    elif mnemonic != "array.new_default":
        segment = b.source.pick(sources)
        size = BYTES.get(str(storage), 1)
        most = max(segment.length // size, 0)
        length = min(length, most)
        b.const("i32", b.below(segment.length - length * size + 1))
        b.const("i32", length)
        b.emit(mnemonic, index, segment.index)
        return
    b.const("i32", length)
    b.emit(mnemonic, index)


def segments_for(m: Builder, storage: ValType) -> list[Any]:
    """The segments that stay there and can fill arrays of such elements."""
    if isinstance(storage, RefType):
        return [s for s in m.elems if s.safe and s.type is not None and m.types.below(s.type, storage)]
    return [s for s in m.datas if s.safe and s.length >= 4 * BYTES[storage]]


__all__ = ["deref", "element", "likely", "slice_of", "slot"]
