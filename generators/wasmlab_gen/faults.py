"""Traps on purpose: each rule of the standard that ends in a trap, by operands that are sure to lead there.

Left to chance most of them would be rare; here one is drawn, then what it is about.  What comes behind is not reached,
so such code stands where nothing is lost by that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from wasmlab_ref.isa import INSTRUCTIONS
from wasmlab_ref.syntax import Instr, MemArg
from wasmlab_ref.types import ArrayType, FuncType, HeapType, RefType, StructType, ValType

from .parts import Function, Memory, Segment, Table
from .rows import Row
from .types import PACKED, unpacked

if TYPE_CHECKING:
    from .builder import Builder
    from .function import Body

Offers: TypeAlias = "Callable[[Builder], Sequence[Any]]"
Make: TypeAlias = "Callable[[Body, Any], tuple[ValType, ...] | None]"
"""Emits the instruction with its operands; the types of its results, None where the stack is free from there on."""

FAULTS: list[tuple[str, Offers, Make]] = []
"""The feature, what there is to trap with in a module, and how."""


def fault(feature: str, offers: Offers = lambda m: (None,)) -> Callable[[Make], Make]:
    """Register a way to trap."""

    def register(make: Make) -> Make:
        FAULTS.append((feature, offers, make))
        return make

    return register


def draw(b: Body) -> None:
    """Emit code that traps; the stack is as it was, or free."""
    m = b.module
    options = [(offered, make) for feature, offers, make in FAULTS if m.has(feature) and (offered := offers(m))]
    offered, make = b.source.pick(options)
    for t in reversed(make(b, b.source.pick(offered)) or ()):
        if not b.fold(t):
            b.emit("drop")


def null(b: Body, heap: HeapType) -> None:
    """A null, fresh or out of a local that nothing was written to."""
    if b.below(2):
        b.get(b.local(RefType(True, heap), hidden=True))
    else:
        b.emit("ref.null", heap)


@fault("mvp")
def unreachable(b: Body, _: Any) -> None:
    b.emit("unreachable")


@fault("mvp", lambda m: [m.host_trap] * 4 if m.host_trap else ())
def host(b: Body, function: Function) -> None:
    """The host may trap, too."""
    b.emit("call", function.index)


@fault("mvp")
def divide(b: Body, _: Any) -> tuple[ValType, ...]:
    """By zero, or the least number by -1."""
    t = b.source.pick(("i32", "i64"))
    operation = b.source.pick(("div_s", "div_u", "rem_s", "rem_u"))
    if operation == "div_s" and b.below(2):
        width = 32 if t == "i32" else 64
        b.const(t, 1 << width - 1)
        b.const(t, (1 << width) - 1)
    else:
        b.expr(t, 3)
        b.const(t, 0)
    b.emit(f"{t}.{operation}")
    return (t,)


_BEYOND = {
    # the first floats above and below the range of an integer
    ("f32", "i32", "s"): (0x4F000000, 0xCF000001),
    ("f32", "i32", "u"): (0x4F800000, 0xBF800000),
    ("f64", "i32", "s"): (0x41E0000000000000, 0xC1E0000000200000),
    ("f64", "i32", "u"): (0x41F0000000000000, 0xBFF0000000000000),
    ("f32", "i64", "s"): (0x5F000000, 0xDF000001),
    ("f32", "i64", "u"): (0x5F800000, 0xBF800000),
    ("f64", "i64", "s"): (0x43E0000000000000, 0xC3E0000000000001),
    ("f64", "i64", "u"): (0x43F0000000000000, 0xBFF0000000000000),
}
_INFINITIES = {"f32": (0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001), "f64": (0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48)}


@fault("mvp")
def convert(b: Body, _: Any) -> tuple[ValType, ...]:
    """A NaN, an infinity, or the first float out of range."""
    of, to, sign = b.source.pick(list(_BEYOND))
    b.const(of, b.source.pick((*_BEYOND[of, to, sign], *_INFINITIES[of])))
    b.emit(f"{to}.trunc_{of}_{sign}")
    return (to,)


# Memories and tables: past the end they have, or the end they can have


def _address(b: Body, address: str, number: int) -> None:
    b.const(address, number % (1 << (32 if address == "i32" else 64)))


def _far(address: str) -> tuple[int, ...]:
    """Addresses beyond all that there is: of 64 bits also those of which a half would be near."""
    return (-1, 1 << 31) if address == "i32" else (-1, 1 << 31, 1 << 32, 1 << 63, (1 << 32) + 1)


def _end(b: Body, memory: Memory) -> int:
    """A size that is the memory's or more: the least most of the time, since few grow."""
    if memory.max is None or b.below(2):
        return memory.bytes
    return memory.most


@cache
def _accesses() -> dict[tuple[str, str], list[Row]]:
    """The loads and stores by feature and rule."""
    found: dict[tuple[str, str], list[Row]] = {}
    for instruction in INSTRUCTIONS:
        if instruction.access:
            found.setdefault((instruction.feature, instruction.rule), []).append(Row(instruction))
    return found


def _memories(m: Builder) -> Sequence[Memory]:
    return m.memories


def _access(rows: list[Row]) -> Make:
    def access(b: Body, memory: Memory) -> tuple[ValType, ...]:
        row = b.source.pick(rows)
        last = _end(b, memory) - row.size
        match b.below(4):
            case 0:
                address, offset = max(last + 1 + b.below(row.size), 0), 0
            case 1 if last >= 0:
                address, offset = 1 + b.below(8), last
            case 2:
                address, offset = -1 - b.below(8), b.below(2)
            case 3 if memory.address == "i64" and b.below(2):
                address, offset = b.source.pick(((1 << 32, 0), (0, 1 << 32), ((1 << 32) + 8, 8), (1 << 63, 1 << 63)))
            case _:
                address, offset = max(last, 0) + 1, b.below(8)
        return _accessed(b, row, memory, address, offset)

    return access


def _accessed(b: Body, row: Row, memory: Memory, address: int, offset: int) -> tuple[ValType, ...]:
    _address(b, memory.address, address)
    for t in row.params[1:]:
        b.leaf(t)
    natural = row.size.bit_length() - 1
    memarg = MemArg(memory.index, natural if row.atomic else b.below(natural + 1), offset)
    b.code.append(Instr(row.instruction, (memarg, *[draw(b.source) for draw in row.immediates[1:]])))
    return row.instruction.results or ()


for (_feature, _rule), _rows in _accesses().items():
    fault(_feature, _memories)(_access(_rows))


@fault("threads", lambda m: m.paged * 4)
def unaligned(b: Body, memory: Memory) -> tuple[ValType, ...]:
    """An atomic access that is all there, but not aligned."""
    rows = [row for rows in _accesses().values() for row in rows if row.atomic and row.size > 1]
    row = b.source.pick(rows)
    address, offset, wrong = 8 * b.below(24), row.size * b.below(3), 1 + b.below(row.size - 1)
    if b.below(2):
        return _accessed(b, row, memory, address + wrong, offset)
    return _accessed(b, row, memory, address, offset + wrong)


@fault("threads", lambda m: [x for x in m.paged if not x.shared] * 2)
def unshared(b: Body, memory: Memory) -> tuple[ValType, ...]:
    """A wait on a memory that nobody shares."""
    row = b.source.pick(_accesses()["threads", "atomic.wait"])
    return _accessed(b, row, memory, 8 * b.below(24), 0)


def _region(b: Body, end: int, address: str) -> tuple[int, int]:
    """Start and length of a region that ends behind `end`; it may be empty."""
    options = [(end + 1, 0), (end, 1), (0, end + 1), (-1, 1), (1, -1)]
    options += [(1 << 32, 1), (0, 1 << 32), (1 << 32, 0)] if address == "i64" else []
    return b.source.pick(options)


def _copy(b: Body, to: str, of: str, end_to: int, end_of: int) -> None:
    """The operands of a copy, one side of which is out of bounds."""
    wide = "i64" if to == of == "i64" else "i32"  # where one is narrow, lengths are
    target, length = _region(b, end_to, wide)
    source = 0
    if b.below(2):
        target, source = 0, _region(b, end_of, of)[0]
        length = 1
    _address(b, to, target)
    _address(b, of, source)
    _address(b, wide, length)


def _init(b: Body, address: str, end: int, segment: Segment) -> None:
    """The operands of an initialisation, out of bounds on one side."""
    if b.below(2):
        numbers = (b.source.pick((end + 1, -1, 1 << 32) if address == "i64" else (end + 1, -1)), 0, 0)
    else:
        numbers = (0, *b.source.pick(((segment.length + 1, 0), (segment.length, 1), (0, segment.length + 1))))
    for t, number in zip((address, "i32", "i32"), numbers, strict=True):
        _address(b, t, number)


@fault("bulk-memory", _memories)
def memory_fill(b: Body, memory: Memory) -> None:
    start, length = _region(b, _end(b, memory), memory.address)
    _address(b, memory.address, start)
    b.leaf("i32")
    _address(b, memory.address, length)
    b.emit("memory.fill", memory.index)


@fault("bulk-memory", lambda m: [(to, of) for to in m.memories for of in m.memories])
def memory_copy(b: Body, pair: tuple[Memory, Memory]) -> None:
    to, of = pair
    _copy(b, to.address, of.address, _end(b, to), _end(b, of))
    b.emit("memory.copy", to.index, of.index)


@fault("bulk-memory", lambda m: [(memory, data) for memory in m.memories for data in m.datas])
def memory_init(b: Body, pair: tuple[Memory, Segment]) -> None:
    memory, data = pair
    _init(b, memory.address, _end(b, memory), data)
    b.emit("memory.init", memory.index, data.index)


def _tables(m: Builder) -> Sequence[Table]:
    return m.tables


def _slots(b: Body, table: Table) -> int:
    return table.size if table.max is None or b.below(2) else table.max


def _makeable(m: Builder) -> Sequence[Table]:
    return [x for x in m.tables if x.element.nullable or m.inhabited(x.element)]


@fault("reference-types", _tables)
def table_get(b: Body, table: Table) -> tuple[ValType, ...]:
    _address(b, table.address, b.source.pick((_slots(b, table), _slots(b, table), *_far(table.address))))
    b.emit("table.get", table.index)
    return (table.element,)


@fault("reference-types", _makeable)
def table_set(b: Body, table: Table) -> None:
    _address(b, table.address, b.source.pick((_slots(b, table), _slots(b, table), *_far(table.address))))
    b.leaf(table.element)
    b.emit("table.set", table.index)


@fault("reference-types", _makeable)
def table_fill(b: Body, table: Table) -> None:
    start, length = _region(b, _slots(b, table), table.address)
    _address(b, table.address, start)
    b.leaf(table.element)
    _address(b, table.address, length)
    b.emit("table.fill", table.index)


def _alike(m: Builder) -> Sequence[tuple[Table, Table]]:
    return [(to, of) for to in m.tables for of in m.tables if m.types.below(of.element, to.element)]


@fault("bulk-memory", _alike)
def table_copy(b: Body, pair: tuple[Table, Table]) -> None:
    to, of = pair
    _copy(b, to.address, of.address, _slots(b, to), _slots(b, of))
    b.emit("table.copy", to.index, of.index)


def _elems(m: Builder) -> Sequence[tuple[Table, Segment]]:
    return [(x, e) for x in m.tables for e in m.elems if e.type is not None and m.types.below(e.type, x.element)]


@fault("bulk-memory", _elems)
def table_init(b: Body, pair: tuple[Table, Segment]) -> None:
    table, elem = pair
    _init(b, table.address, _slots(b, table), elem)
    b.emit("table.init", table.index, elem.index)


# References


@fault("function-references", lambda m: m.nullable_types())
def as_non_null(b: Body, t: RefType) -> tuple[ValType, ...]:
    null(b, t.heap)
    b.emit("ref.as_non_null")
    return (RefType(False, t.heap),)


@fault("exceptions")
def throw_null(b: Body, _: Any) -> None:
    null(b, "exn")
    b.emit("throw_ref")


@fault("gc")
def i31_get(b: Body, _: Any) -> tuple[ValType, ...]:
    null(b, "i31")
    b.emit(b.source.pick(("i31.get_s", "i31.get_u")))
    return ("i32",)


def _casts(m: Builder) -> Sequence[tuple[HeapType, HeapType, HeapType]]:
    """A type to cast from, a type of values, and one that those are not."""
    concrete = m.concrete("any")
    targets: list[HeapType] = [*concrete, "struct", "array"]
    found: list[tuple[HeapType, HeapType, HeapType]] = [("any", "i31", heap) for heap in targets]
    for value in concrete:
        # of one kind, two could be the same type to the standard
        others: list[HeapType] = [heap for heap in concrete if m.types.kind(heap) != m.types.kind(value)]
        found += [("eq", value, heap) for heap in (*others, "i31")]
    return found


@fault("gc", _casts)
def cast(b: Body, option: tuple[HeapType, HeapType, HeapType]) -> tuple[ValType, ...]:
    source, value, target = option
    b.expr(RefType(False, value), 3)
    kept = b.scratch(RefType(True, source))
    b.set(kept)
    b.get(kept)
    b.emit("ref.cast", RefType(b.below(2) == 1, target))
    return (RefType(True, target),)


@fault("gc", lambda m: [t for t in m.nullable_types() if t.heap != "exn"])
def cast_null(b: Body, t: RefType) -> tuple[ValType, ...]:
    null(b, t.heap)
    b.emit("ref.cast", RefType(False, t.heap))
    return (RefType(False, t.heap),)


# Calls


def _signatures(m: Builder) -> Sequence[int]:
    return m.types.indices(FuncType)


def _parameters(b: Body, index: int) -> bool:
    """Emit leaves for the parameters of a type, if they can be made."""
    params = b.types.signature(index).params
    if not all(isinstance(t, str) or t.nullable or b.module.inhabited(t) for t in params):
        return False
    for t in params:
        b.leaf(t)
    return True


@fault("function-references", _signatures)
def call_null(b: Body, index: int) -> tuple[ValType, ...] | None:
    if not _parameters(b, index):
        b.emit("unreachable")
        return None
    results = b.types.signature(index).results
    null(b, index)
    if b.module.has("tail-call") and b.below(2) and results == b.function.results:
        b.emit("return_call_ref", index)
        return None
    b.emit("call_ref", index)
    return results


def _functables(m: Builder) -> Sequence[Table]:
    tables = m.tables if m.has("reference-types") else m.tables[:1]
    return [x for x in tables if m.types.top(x.element.heap) == "func"]


def _indirect(b: Body, table: Table, index: int, slot: int) -> tuple[ValType, ...] | None:
    if not b.types.heap_below(index, table.element.heap) or not _parameters(b, index):
        b.emit("unreachable")
        return None
    results = b.types.signature(index).results
    _address(b, table.address, slot)
    if b.module.has("tail-call") and b.below(2) and results == b.function.results:
        b.emit("return_call_indirect", table.index, index)
        return None
    b.emit("call_indirect", table.index, index)
    return results


@fault("mvp", _functables)
def undefined_element(b: Body, table: Table) -> tuple[ValType, ...] | None:
    slot = b.source.pick((_slots(b, table), _slots(b, table), -1))
    return _indirect(b, table, b.source.pick(_signatures(b.module)), slot)


@fault("mvp", lambda m: [x for x in _functables(m) if x.size > len(x.slots)])
def uninitialized_element(b: Body, table: Table) -> tuple[ValType, ...] | None:
    return _indirect(b, table, b.source.pick(_signatures(b.module)), table.size - 1)


@fault("mvp", lambda m: [x for x in _functables(m) if any(x.slots)])
def type_mismatch(b: Body, table: Table) -> tuple[ValType, ...] | None:
    slot, f = b.source.pick([(i, f) for i, f in enumerate(table.slots) if f is not None])
    others = [i for i in _signatures(b.module) if b.types.signature(i) != b.types.signature(f.type)]
    return _indirect(b, table, b.source.pick(others or [f.type]), slot)


# Aggregates


def _fields(m: Builder) -> Sequence[tuple[int, int]]:
    return [
        (i, n)
        for i in m.types.indices(StructType)
        for n in range(len(m.types.subs[i].comp.fields))  # type: ignore[union-attr]
    ]


@fault("gc", _fields)
def struct_null(b: Body, option: tuple[int, int]) -> tuple[ValType, ...]:
    """struct.set where the field can be written and its values made, else struct.get."""
    index, n = option
    found: Any = b.types.subs[index].comp
    field = found.fields[n]
    null(b, index)
    if field.mutable and b.below(2) and _can_make(b.module, field.storage):
        b.leaf(unpacked(field.storage))
        b.emit("struct.set", index, n)
        return ()
    sign = b.source.pick(("_s", "_u")) if field.storage in PACKED else ""
    b.emit(f"struct.get{sign}", index, n)
    return (unpacked(field.storage),)


def _can_make(m: Builder, storage: Any) -> bool:
    return not isinstance(storage, RefType) or storage.nullable or m.inhabited(storage)


def arrays(m: Builder, mutable: bool = False) -> list[int]:
    """The array types, or those that can be written and whose elements can be made."""
    found = []
    for i in m.types.indices(ArrayType):
        comp = m.types.subs[i].comp
        if isinstance(comp, ArrayType) and (
            not mutable or (comp.element.mutable and _can_make(m, comp.element.storage))
        ):
            found.append(i)
    return found


def _element(b: Body, index: int) -> Any:
    comp: Any = b.types.subs[index].comp
    return comp.element.storage


def _bad_array(b: Body, index: int) -> int:
    """Emit null, or an array; the index where to start."""
    if b.below(2):
        null(b, index)
        return b.below(4)
    b.expr(RefType(False, index), 3)
    return b.source.pick((8, 9, 1 << 31, (1 << 32) - 1))


@fault("gc", arrays)
def array_get(b: Body, index: int) -> tuple[ValType, ...]:
    b.const("i32", _bad_array(b, index))
    storage = _element(b, index)
    sign = b.source.pick(("_s", "_u")) if storage in PACKED else ""
    b.emit(f"array.get{sign}", index)
    return (unpacked(storage),)


@fault("gc", arrays)
def array_len(b: Body, index: int) -> tuple[ValType, ...]:
    heaps: tuple[HeapType, ...] = (index, "array")
    null(b, b.source.pick(heaps))
    b.emit("array.len")
    return ("i32",)


@fault("gc", lambda m: arrays(m, True))
def array_set(b: Body, index: int) -> None:
    b.const("i32", _bad_array(b, index))
    b.leaf(unpacked(_element(b, index)))
    b.emit("array.set", index)


@fault("gc", lambda m: arrays(m, True))
def array_fill(b: Body, index: int) -> None:
    b.const("i32", _bad_array(b, index))
    b.leaf(unpacked(_element(b, index)))
    b.const("i32", b.below(3))
    b.emit("array.fill", index)


def _array_pairs(m: Builder) -> Sequence[tuple[int, int]]:
    def element(i: int) -> Any:
        comp: Any = m.types.subs[i].comp
        return comp.element.storage

    return [(to, of) for to in arrays(m, True) for of in arrays(m) if m.types.below(element(of), element(to))]


def _array_copy(which: int) -> Make:
    def copy(b: Body, pair: tuple[int, int]) -> None:
        """The first or the second array is null or too short."""
        for i, index in enumerate(pair):
            if i == which:
                b.const("i32", _bad_array(b, index))
            else:
                b.expr(RefType(False, index), 3)
                b.const("i32", b.below(3))
        b.const("i32", b.below(2))
        b.emit("array.copy", *pair)

    return copy


for _which in (0, 1):
    fault("gc", _array_pairs)(_array_copy(_which))


def _array_segments(references: bool, mutable: bool) -> Offers:
    def offers(m: Builder) -> Sequence[tuple[int, Segment]]:
        found: list[tuple[int, Segment]] = []
        for index in arrays(m, mutable):
            comp: Any = m.types.subs[index].comp
            t = comp.element.storage
            if isinstance(t, RefType) and references:
                found += [(index, e) for e in m.elems if e.type is not None and m.types.below(e.type, t)]
            elif not isinstance(t, RefType) and not references:
                found += [(index, data) for data in m.datas]
        return found

    return offers


def _array_new(kind: str) -> Make:
    def new(b: Body, option: tuple[int, Segment]) -> tuple[ValType, ...]:
        index, segment = option
        for number in b.source.pick(((segment.length + 1, 0), (segment.length, 1), (0, segment.length + 1), (1, -1))):
            _address(b, "i32", number)
        b.emit(f"array.new_{kind}", index, segment.index)
        return (RefType(False, index),)

    return new


def _array_init(kind: str) -> Make:
    def init(b: Body, option: tuple[int, Segment]) -> None:
        """A null, an array that is too short, or a segment that is."""
        index, segment = option
        if b.below(3):
            b.const("i32", _bad_array(b, index))
            b.const("i32", 0)
            b.const("i32", b.below(2))
        else:
            b.expr(RefType(False, index), 3)
            b.const("i32", 0)
            b.const("i32", segment.length + 1 - b.below(2))
            b.const("i32", 1)
        b.emit(f"array.init_{kind}", index, segment.index)

    return init


for _kind in ("data", "elem"):
    fault("gc", _array_segments(_kind == "elem", False))(_array_new(_kind))
    fault("gc", _array_segments(_kind == "elem", True))(_array_init(_kind))
