"""The binary format, written: the inverse of `decode`, which it shares its code tables with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .decode import (
    CATCHES,
    EXPORT_KINDS,
    HAS_MAX,
    HEAP_TYPES,
    IS_64,
    MAGIC,
    NUMBER_TYPES,
    PACKED_TYPES,
    PAGE_SIZE,
    SECTIONS,
    SHARED,
    USES_DATA_INDEX,
    VERSION,
)
from .isa import BY_MNEMONIC, MEMARGS, Instruction
from .syntax import Active, Cast, Catch, Data, Elem, Export, Expr, Func, Global, Import, Instr, MemArg, Module, Table
from .types import (
    PAGE,
    ArrayType,
    CompType,
    ExternType,
    FieldType,
    FuncRef,
    FuncType,
    GlobalType,
    HeapType,
    Limits,
    MemType,
    RecType,
    RefType,
    StructType,
    SubType,
    TableType,
    TagType,
    ValType,
)

_CODE_OF_TYPE = {name: code for code, name in [*NUMBER_TYPES.items(), *PACKED_TYPES.items()]}
_CODE_OF_HEAP = {name: code for code, name in HEAP_TYPES.items()}
_REF_FUNC = BY_MNEMONIC["ref.func"]


def encode(module: Module) -> bytes:
    """The binary of `module`, valid or not; `decode(encode(m)) == m`."""
    out = bytearray(MAGIC + VERSION)
    contents = _contents(module)
    for section in (0, *SECTIONS):
        if body := contents.get(section):
            out += bytes([section]) + unsigned(len(body)) + body
        for custom in module.customs:
            if custom.after == section:
                content = name(custom.name) + custom.data
                out += b"\0" + unsigned(len(content)) + content
    return bytes(out)


def _contents(m: Module) -> dict[int, bytes]:
    needs_count = any(not USES_DATA_INDEX.isdisjoint([op for op, _ in func.body]) for func in m.funcs)
    return {
        1: _section(_rec_type, m.types),
        2: _section(_import, m.imports),
        3: _section(lambda f: unsigned(f.type), m.funcs),
        4: _section(_table, m.tables),
        5: _section(mem_type, m.memories),
        13: _section(_tag_type, m.tags),
        6: _section(_global, m.globals),
        7: _section(_export, m.exports),
        8: b"" if m.start is None else unsigned(m.start),
        9: _section(_elem, m.elems),
        12: unsigned(len(m.datas)) if needs_count else b"",
        10: _section(_func, m.funcs),
        11: _section(_data, m.datas),
    }


# Integers, lists, names


_BYTES = tuple([bytes((n,)) for n in range(256)])


def unsigned(n: int) -> bytes:
    """Unsigned LEB128."""
    if n < 0x80:
        return _BYTES[n]
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def signed(n: int) -> bytes:
    """Signed LEB128."""
    if -0x40 <= n < 0x40:
        return _BYTES[n & 0x7F]
    out = bytearray()
    while not -0x40 <= n < 0x40:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n & 0x7F)
    return bytes(out)


def vector(item: Callable[[Any], bytes], items: Iterable[Any]) -> bytes:
    """A list with its length."""
    encoded = [item(x) for x in items]
    return unsigned(len(encoded)) + b"".join(encoded)


def name(text: str) -> bytes:
    """A name: UTF-8 with its length."""
    data = text.encode()
    return unsigned(len(data)) + data


def _section(item: Callable[[Any], bytes], items: tuple[Any, ...]) -> bytes:
    return vector(item, items) if items else b""


# Types


def heap_type(heap: HeapType) -> bytes:
    """A heap type of a module: abstract, or a type index."""
    return bytes((_CODE_OF_HEAP[heap],)) if isinstance(heap, str) else signed(_index(heap))


def val_type(t: ValType) -> bytes:
    """A value or packed type; the short form of a reference type where there is one."""
    if isinstance(t, str):
        return bytes((_CODE_OF_TYPE[t],))
    if t.nullable and isinstance(t.heap, str):
        return heap_type(t.heap)
    return (b"\x63" if t.nullable else b"\x64") + heap_type(t.heap)


def _field_type(f: FieldType) -> bytes:
    return val_type(f.storage) + bytes((f.mutable,))


def _comp_type(comp: CompType) -> bytes:
    match comp:
        case ArrayType(element):
            return b"\x5e" + _field_type(element)
        case StructType(fields):
            return b"\x5f" + vector(_field_type, fields)
        case FuncType(params, results):
            return b"\x60" + vector(val_type, params) + vector(val_type, results)


def _sub_type(sub: SubType) -> bytes:
    if sub.final and not sub.supers:
        return _comp_type(sub.comp)
    return (b"\x4f" if sub.final else b"\x50") + vector(unsigned, sub.supers) + _comp_type(sub.comp)


def _rec_type(rec: RecType) -> bytes:
    return _sub_type(rec.subtypes[0]) if len(rec.subtypes) == 1 else b"\x4e" + vector(_sub_type, rec.subtypes)


def limits(address: str, bounds: Limits, flags: int = 0) -> bytes:
    """Flags, `flags` among them, and bounds of a memory or table."""
    flags |= (HAS_MAX if bounds.max is not None else 0) | (IS_64 if address == "i64" else 0)
    return bytes((flags,)) + unsigned(bounds.min) + (b"" if bounds.max is None else unsigned(bounds.max))


def table_type(t: TableType) -> bytes:
    """A table type."""
    return val_type(t.element) + limits(t.address, t.limits)


def mem_type(t: MemType) -> bytes:
    """A memory type."""
    flags = (SHARED if t.shared else 0) | (PAGE_SIZE if t.page != PAGE else 0)
    return limits(t.address, t.limits, flags) + (unsigned(t.page.bit_length() - 1) if flags & PAGE_SIZE else b"")


def _global_type(t: GlobalType) -> bytes:
    return val_type(t.value) + bytes((t.mutable,))


def _tag_type(t: TagType) -> bytes:
    return b"\0" + unsigned(_index(t.type))


def _index(type_: object) -> int:
    if isinstance(type_, int):
        return type_
    raise TypeError(f"{type_!r} has no binary form: only modules with type indices can be encoded")


def _extern_type(t: ExternType) -> bytes:
    match t:
        case FuncRef(type_):
            return b"\0" + unsigned(_index(type_))
        case TableType():
            return b"\1" + table_type(t)
        case MemType():
            return b"\2" + mem_type(t)
        case GlobalType():
            return b"\3" + _global_type(t)
        case TagType():
            return b"\4" + _tag_type(t)


# Instructions


def _block_type(t: ValType | int | None) -> bytes:
    return b"\x40" if t is None else signed(t) if isinstance(t, int) else val_type(t)


def _mem_arg(arg: MemArg) -> bytes:
    if arg.memory:
        return unsigned(arg.align | 0x40) + unsigned(arg.memory) + unsigned(arg.offset)
    return unsigned(arg.align) + unsigned(arg.offset)


def _catch(catch: Catch) -> bytes:
    tag = b"" if catch.tag is None else unsigned(catch.tag)
    return bytes((CATCHES.index(catch.kind),)) + tag + unsigned(catch.label)


def _cast(cast: Cast) -> bytes:
    flags = cast.source.nullable | cast.target.nullable << 1
    return bytes((flags,)) + unsigned(cast.label) + heap_type(cast.source.heap) + heap_type(cast.target.heap)


def _as_signed(n: int, bits: int) -> int:
    return n - (1 << bits) if n >> (bits - 1) else n


WRITERS: dict[str, Callable[[Any], bytes]] = {
    **dict.fromkeys(
        ["label", "local", "global", "func", "type", "table", "memory", "tag", "elem", "data", "field", "u32"], unsigned
    ),
    "labels": lambda labels: vector(unsigned, labels[:-1]) + unsigned(labels[-1]),
    "block": _block_type,
    "catches": lambda catches: vector(_catch, catches),
    **dict.fromkeys(MEMARGS, _mem_arg),
    **dict.fromkeys(("lane", "zero"), lambda byte: bytes((byte,))),
    "lanes": bytes,
    "i32": lambda n: signed(_as_signed(n, 32)),
    "i64": lambda n: signed(_as_signed(n, 64)),
    "f32": lambda bits: bits.to_bytes(4, "little"),
    "f64": lambda bits: bits.to_bytes(8, "little"),
    "v128": lambda bits: bits.to_bytes(16, "little"),
    "heap": heap_type,
    "ref": lambda t: heap_type(t.heap),
    "types?": lambda types: b"" if types is None else vector(val_type, types),
    "cast": _cast,
}
"""The writer of each kind of immediate."""

FORMS: dict[str, Callable[[Any], bool]] = {"ref": lambda t: t.nullable, "types?": lambda types: types is not None}
"""For the kinds that choose between a row's two opcodes: is it the second?"""


def opcode(code: int) -> bytes:
    """The bytes of an opcode of the table."""
    return bytes((code >> 16,)) + unsigned(code & 0xFFFF) if code >> 16 else bytes((code,))


def _encoder(row: Instruction) -> Callable[[tuple[Any, ...]], bytes]:
    """From the immediates of a row to its bytes."""
    opcodes = [opcode(code) for code in row.opcodes]
    kinds = [kind.partition(":")[0] for kind in row.immediates]
    writers, head = [WRITERS[kind] for kind in kinds], opcodes[0]
    if len(opcodes) == 2:
        (write,), second = writers, FORMS[kinds[0]]
        return lambda args: opcodes[second(args[0])] + write(args[0])
    if not writers:
        return lambda args: head
    if len(writers) == 1:
        (write,) = writers
        return lambda args: head + write(args[0])
    if row.swap:
        writers.reverse()
        return lambda args: head + b"".join([write(arg) for write, arg in zip(writers, args[::-1], strict=True)])
    return lambda args: head + b"".join([write(arg) for write, arg in zip(writers, args, strict=True)])


_ENCODERS = {row: _encoder(row) for row in BY_MNEMONIC.values()}


def instruction(step: Instr) -> bytes:
    """One instruction."""
    return _ENCODERS[step.op](step.args)


def expression(code: Expr) -> bytes:
    """Instructions and the closing `end`."""
    return b"".join([_ENCODERS[op](args) for op, args in code]) + b"\x0b"


# Parts of modules


def _import(i: Import) -> bytes:
    return name(i.module) + name(i.name) + _extern_type(i.type)


def _table(t: Table) -> bytes:
    return table_type(t.type) if t.init is None else b"\x40\0" + table_type(t.type) + expression(t.init)


def _global(g: Global) -> bytes:
    return _global_type(g.type) + expression(g.init)


def _export(e: Export) -> bytes:
    return name(e.name) + bytes((EXPORT_KINDS.index(e.kind),)) + unsigned(e.index)


def _elem(e: Elem) -> bytes:
    """The short forms (function indices; no type where it is funcref in table 0) are used where they fit."""
    indices = e.type == RefType(False, "func") and all(len(x) == 1 and x[0].op is _REF_FUNC for x in e.init)
    active = isinstance(e.mode, Active)
    implicit = active and e.mode.target == 0 and (indices or e.type == RefType(True, "func"))  # type: ignore[union-attr]
    flags = (0 if active else 1) | (0 if implicit or e.mode == "passive" else 2) | (0 if indices else 4)
    place = b""
    if isinstance(e.mode, Active):
        place = (b"" if implicit else unsigned(e.mode.target)) + expression(e.mode.offset)
    kind = b"" if implicit else b"\0" if indices else val_type(e.type)
    items = vector(lambda x: unsigned(x[0].args[0]), e.init) if indices else vector(expression, e.init)
    return unsigned(flags) + place + kind + items


def _func(f: Func) -> bytes:
    body = vector(lambda run: unsigned(run[0]) + val_type(run[1]), f.locals) + expression(f.body)
    return unsigned(len(body)) + body


def _data(d: Data) -> bytes:
    content = unsigned(len(d.init)) + d.init
    if not isinstance(d.mode, Active):
        return b"\1" + content
    if d.mode.target == 0:
        return b"\0" + expression(d.mode.offset) + content
    return b"\2" + unsigned(d.mode.target) + expression(d.mode.offset) + content
