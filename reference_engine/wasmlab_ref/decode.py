"""The binary format, read (chapter 5 of the standard).

Decoding knows nothing of validity: it raises `Malformed`, or returns a `syntax.Module`.  Instructions are read by the
table: a reader for each *kind* of immediate, none for a single instruction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .isa import BY_MNEMONIC, BY_OPCODE, MEMARGS, Instruction
from .outcome import Malformed
from .reader import Reader
from .syntax import (
    Active,
    Cast,
    Catch,
    Custom,
    Data,
    Elem,
    Export,
    Expr,
    Func,
    Global,
    Import,
    Instr,
    MemArg,
    Module,
    Table,
)
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
    StorageType,
    StructType,
    SubType,
    TableType,
    TagType,
    ValType,
)

MAGIC, VERSION = b"\0asm", b"\1\0\0\0"

NUMBER_TYPES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128"}
PACKED_TYPES = {0x78: "i8", 0x77: "i16"}
HEAP_TYPES = {
    0x74: "noexn", 0x73: "nofunc", 0x72: "noextern", 0x71: "none", 0x70: "func", 0x6F: "extern",
    0x6E: "any", 0x6D: "eq", 0x6C: "i31", 0x6B: "struct", 0x6A: "array", 0x69: "exn",
}  # fmt: skip
SHORT_REF_TYPES = {code: RefType(True, heap) for code, heap in HEAP_TYPES.items()}
CATCHES = ("catch", "catch_ref", "catch_all", "catch_all_ref")
EXPORT_KINDS = ("func", "table", "memory", "global", "tag")

SECTIONS = {1: "type", 2: "import", 3: "function", 4: "table", 5: "memory", 13: "tag", 6: "global", 7: "export",
            8: "start", 9: "element", 12: "data count", 10: "code", 11: "data"}  # fmt: skip
"""Section ids in the order in which sections must come."""


def decode(data: bytes) -> Module:
    """The module that `data` encodes; raises `Malformed` with the offset of the first offending byte."""
    return _ModuleDecoder(data).module()


# Types


def heap_type(r: Reader) -> HeapType:
    """A heap type: a negative one-byte code, or a type index as a signed 33-bit integer."""
    code = r.peek()
    if 0x40 <= code < 0x80:
        if code not in HEAP_TYPES:
            raise r.fail("malformed heap type")
        r.pos += 1
        return HEAP_TYPES[code]
    pos = r.pos
    index = r.signed(33)
    if index < 0:
        raise r.fail("malformed heap type", pos)
    return index


def ref_type(r: Reader) -> RefType:
    """A reference type, short or long."""
    code = r.peek()
    if code in (0x63, 0x64):
        r.pos += 1
        return RefType(code == 0x63, heap_type(r))
    if code not in SHORT_REF_TYPES:
        raise r.fail("malformed reference type" if code >= 0 else "unexpected end")
    r.pos += 1
    return SHORT_REF_TYPES[code]


def val_type(r: Reader) -> ValType:
    """A value type."""
    code = r.peek()
    if code in NUMBER_TYPES:
        r.pos += 1
        return NUMBER_TYPES[code]
    if code in SHORT_REF_TYPES or code in (0x63, 0x64):
        return ref_type(r)
    raise r.fail("malformed value type" if code >= 0 else "unexpected end")


def storage_type(r: Reader) -> StorageType:
    """A value type or a packed type."""
    if r.peek() in PACKED_TYPES:
        return PACKED_TYPES[r.byte()]
    return val_type(r)


def mutability(r: Reader) -> bool:
    """0: constant, 1: variable."""
    code = r.byte()
    if code > 1:
        raise r.fail("malformed mutability", r.pos - 1)
    return code == 1


def field_type(r: Reader) -> FieldType:
    """A field of a structure, or the elements of an array."""
    storage = storage_type(r)
    return FieldType(storage, mutability(r))


def comp_type(r: Reader) -> CompType:
    """An array, structure or function type."""
    match r.byte():
        case 0x5E:
            return ArrayType(field_type(r))
        case 0x5F:
            return StructType(tuple(r.list(field_type)))
        case 0x60:
            params = tuple(r.list(val_type))
            return FuncType(params, tuple(r.list(val_type)))
    raise r.fail("malformed definition type", r.pos - 1)


def sub_type(r: Reader) -> SubType:
    """A subtype; without a prefix it is final and has no supertypes."""
    if r.peek() in (0x4F, 0x50):
        final = r.byte() == 0x4F
        supers = tuple(r.list(Reader.u32))
        return SubType(comp_type(r), supers, final)
    return SubType(comp_type(r))


def rec_type(r: Reader) -> RecType:
    """A recursion group; without a prefix, of one type."""
    if r.peek() == 0x4E:
        r.pos += 1
        return RecType(tuple(r.list(sub_type)))
    return RecType((sub_type(r),))


HAS_MAX, SHARED, IS_64, PAGE_SIZE = 1, 2, 4, 8
"""Flags of limits."""


def limits(r: Reader, known: int = HAS_MAX | IS_64) -> tuple[int, str, Limits]:
    """Flags, of which some are `known`, address type and limits of a memory or table."""
    flags = r.byte()
    if flags & ~known:
        raise r.fail("malformed limits flags", r.pos - 1)
    minimum = r.unsigned(64)
    return flags, "i64" if flags & IS_64 else "i32", Limits(minimum, r.unsigned(64) if flags & HAS_MAX else None)


def table_type(r: Reader) -> TableType:
    """A table type."""
    element = ref_type(r)
    _, address, bounds = limits(r)
    return TableType(bounds, element, address)


def mem_type(r: Reader) -> MemType:
    """A memory type."""
    flags, address, bounds = limits(r, HAS_MAX | SHARED | IS_64 | PAGE_SIZE)
    page = PAGE
    if flags & PAGE_SIZE:
        pos = r.pos
        exponent = r.u32()
        if exponent > 64:
            raise r.fail("invalid custom page size", pos)
        page = 1 << exponent
    return MemType(bounds, address, bool(flags & SHARED), page)


def global_type(r: Reader) -> GlobalType:
    """A global type."""
    value = val_type(r)
    return GlobalType(value, mutability(r))


def tag_type(r: Reader) -> TagType:
    """A tag type: attribute 0 and a type index."""
    if r.byte() != 0:
        raise r.fail("malformed tag attribute", r.pos - 1)
    return TagType(r.u32())


# Immediates: one reader a kind


def _block_type(r: Reader) -> ValType | int | None:
    code = r.peek()
    if code == 0x40:
        r.pos += 1
        return None
    if 0x40 < code < 0x80:
        return val_type(r)
    pos = r.pos
    index = r.signed(33)
    if index < 0:
        raise r.fail("malformed block type", pos)
    return index


def _mem_arg(r: Reader) -> MemArg:
    pos = r.pos
    align = r.u32()
    if align >= 1 << 7:
        raise r.fail("malformed memop flags", pos)
    memory = r.u32() if align & 0x40 else 0
    return MemArg(memory, align & 0x3F, r.unsigned(64))


def _zero(r: Reader) -> int:
    code = r.byte()
    if code:
        raise r.fail("zero byte expected", r.pos - 1)
    return code


def _catch(r: Reader) -> Catch:
    code = r.byte()
    if code >= len(CATCHES):
        raise r.fail("malformed catch clause", r.pos - 1)
    tag = r.u32() if code < 2 else None
    return Catch(CATCHES[code], tag, r.u32())


def _cast(r: Reader) -> Cast:
    flags = r.byte()
    if flags > 3:
        raise r.fail("malformed cast flags", r.pos - 1)
    label = r.u32()
    source = RefType(bool(flags & 1), heap_type(r))
    return Cast(label, source, RefType(bool(flags & 2), heap_type(r)))


def _little_endian(size: int) -> Callable[[Reader], int]:
    return lambda r: int.from_bytes(r.bytes(size), "little")


def _labels(r: Reader) -> tuple[int, ...]:
    labels = r.list(Reader.u32)
    return (*labels, r.u32())


READERS: dict[str, Callable[[Reader], Any]] = {
    **dict.fromkeys(
        ["label", "local", "global", "func", "type", "table", "memory", "tag", "elem", "data", "field", "u32"],
        Reader.u32,
    ),
    "labels": _labels,
    "block": _block_type,
    "catches": lambda r: tuple(r.list(_catch)),
    **dict.fromkeys(MEMARGS, _mem_arg),
    "zero": _zero,
    "lane": Reader.byte,
    "lanes": lambda r: tuple(r.bytes(16)),
    "i32": lambda r: r.signed(32) & 0xFFFF_FFFF,
    "i64": lambda r: r.signed(64) & 0xFFFF_FFFF_FFFF_FFFF,
    "f32": _little_endian(4),
    "f64": _little_endian(8),
    "v128": _little_endian(16),
    "heap": heap_type,
    "cast": _cast,
}
"""The reader of each kind of immediate; `ref` and `types?` also depend on which opcode of the row was read."""

FORM_READERS: dict[str, tuple[Callable[[Reader], Any], Callable[[Reader], Any]]] = {
    "ref": (lambda r: RefType(False, heap_type(r)), lambda r: RefType(True, heap_type(r))),
    "types?": (lambda r: None, lambda r: tuple(r.list(val_type))),
}


def _readers(row: Instruction, form: int) -> tuple[Callable[[Reader], Any], ...]:
    kinds = [kind.partition(":")[0] for kind in row.immediates]
    return tuple(FORM_READERS[kind][form] if kind in FORM_READERS else READERS[kind] for kind in kinds)


_OPCODES = {code: (row, _readers(row, form), Instr(row)) for code, (row, form) in BY_OPCODE.items()}
_PREFIXES = frozenset(code >> 16 for code in BY_OPCODE if code >> 16)
_END, _ELSE, _IF = (BY_MNEMONIC[m] for m in ("end", "else", "if"))
_BLOCKS = frozenset(BY_MNEMONIC[m] for m in ("block", "loop", "if", "try_table"))


def instruction(r: Reader) -> Instr:
    """One instruction, `else` and `end` included."""
    pos = r.pos
    opcode = r.byte()
    if opcode in _PREFIXES:
        opcode = opcode << 16 | min(r.u32(), 0xFFFF)  # which no prefix has: a larger one is not another prefix
    found = _OPCODES.get(opcode)
    if found is None:
        raise r.fail(f"illegal opcode {opcode:02x}", pos)
    row, readers, plain = found
    if not readers:
        return plain
    args = tuple([read(r) for read in readers])
    return Instr(row, args[::-1] if row.swap else args)


def expression(r: Reader) -> Expr:
    """Instructions up to the `end` that closes the expression, which is left out."""
    code: list[Instr] = []
    open_blocks: list[Instruction] = []
    while True:
        pos = r.pos
        if pos >= r.end:
            raise r.fail("unexpected end of section or function")
        step = instruction(r)
        op = step.op
        if op in _BLOCKS:
            open_blocks.append(op)
        elif op is _END:
            if not open_blocks:
                return tuple(code)
            open_blocks.pop()
        elif op is _ELSE:
            if not open_blocks or open_blocks[-1] is not _IF:
                raise r.fail("END opcode expected", pos)
            open_blocks[-1] = _ELSE
        code.append(step)


def merge_runs(runs: list[tuple[int, ValType]]) -> tuple[tuple[int, ValType], ...]:
    """Runs of locals without empty ones and with neighbours of one type merged: the form `syntax.Func` holds."""
    merged: list[tuple[int, ValType]] = []
    for count, type_ in runs:
        if merged and merged[-1][1] == type_:
            merged[-1] = (merged[-1][0] + count, type_)
        elif count:
            merged.append((count, type_))
    return tuple(merged)


# Modules


class _ModuleDecoder:
    """Reads sections in order; what spans sections (counts, custom sections' places) is kept here."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.parts: dict[str, Any] = {}
        self.customs: list[Custom] = []
        self.type_indices: list[int] = []
        self.data_count: int | None = None
        self.uses_data_index = False

    def module(self) -> Module:
        r = Reader(self.data)
        if self.data[:4] != MAGIC:
            raise r.fail("magic header not detected" if len(self.data) >= 4 else "unexpected end", 0)
        if self.data[4:8] != VERSION:
            raise r.fail("unknown binary version" if len(self.data) >= 8 else "unexpected end", 4)
        r.pos = 8
        order = list(SECTIONS)
        place = last = 0
        while r.pos < r.end:
            start = r.pos
            section = r.byte()
            if section and section not in SECTIONS:
                raise r.fail("malformed section id", start)
            size = r.u32()
            if size > r.end - r.pos:
                raise r.fail("length out of bounds")
            body = Reader(self.data, r.pos, r.pos + size)
            r.pos += size
            if section == 0:
                name = body.name()
                self.customs.append(Custom(name, body.bytes(body.end - body.pos), last))
                continue
            if section not in order[place:]:
                raise r.fail("unexpected content after last section", start)
            place = order.index(section) + 1
            if self._section(section, body) and section != 12:
                last = section
            if body.pos != body.end:
                raise body.fail("section size mismatch")
        return self._finish(r)

    def _finish(self, r: Reader) -> Module:
        funcs = self.parts.pop("funcs", ())
        if len(funcs) != len(self.type_indices):
            raise r.fail("function and code section have inconsistent lengths")
        if self.data_count is not None and self.data_count != len(self.parts.get("datas", ())):
            raise r.fail("data count and data section have inconsistent lengths")
        if self.uses_data_index and self.data_count is None:
            raise r.fail("data count section required")
        return Module(**self.parts, funcs=funcs, customs=tuple(self.customs))

    def _section(self, section: int, r: Reader) -> bool:
        """Read a section; is there anything in it?"""
        match section:
            case 3:
                self.type_indices = r.list(Reader.u32)
                return bool(self.type_indices)
            case 8:
                self.parts["start"] = r.u32()
                return True
            case 12:
                self.data_count = r.u32()
                return True
            case 10:
                self.parts["funcs"] = self._code(r)
                return bool(self.parts["funcs"])
        part, item = LIST_SECTIONS[section]
        self.parts[part] = items = tuple(r.list(item))
        return bool(items)

    def _code(self, r: Reader) -> tuple[Func, ...]:
        start = r.pos
        n = r.u32()
        if n != len(self.type_indices):
            raise r.fail("function and code section have inconsistent lengths", start)
        return tuple(self._func(r, type_) for type_ in self.type_indices)

    def _func(self, r: Reader, type_: int) -> Func:
        size = r.u32()
        if size > r.end - r.pos:
            raise r.fail("unexpected end of section or function")
        body = Reader(self.data, r.pos, r.pos + size)
        runs = body.list(lambda b: (b.u32(), val_type(b)))
        if sum(count for count, _ in runs) >= 1 << 32:
            raise body.fail("too many locals")
        code = expression(body)
        if body.pos != body.end:
            raise body.fail("END opcode expected")
        r.pos = body.end
        self.uses_data_index = self.uses_data_index or any(step.op in USES_DATA_INDEX for step in code)
        return Func(type_, merge_runs(runs), code)


USES_DATA_INDEX = frozenset(row for row in BY_MNEMONIC.values() if "data" in row.immediates)
"""Instructions that need the data count section."""


def _import(r: Reader) -> Import:
    module = r.name()
    return Import(module, r.name(), _extern_type(r))


def _extern_type(r: Reader) -> ExternType:
    match r.byte():
        case 0:
            return FuncRef(r.u32())
        case 1:
            return table_type(r)
        case 2:
            return mem_type(r)
        case 3:
            return global_type(r)
        case 4:
            return tag_type(r)
    raise r.fail("malformed import kind", r.pos - 1)


def _table(r: Reader) -> Table:
    if r.peek() != 0x40:
        return Table(table_type(r))
    r.pos += 1
    if r.byte() != 0:
        raise r.fail("zero byte expected", r.pos - 1)
    type_ = table_type(r)
    return Table(type_, expression(r))


def _global(r: Reader) -> Global:
    type_ = global_type(r)
    return Global(type_, expression(r))


def _export(r: Reader) -> Export:
    name = r.name()
    kind = r.byte()
    if kind >= len(EXPORT_KINDS):
        raise r.fail("malformed export kind", r.pos - 1)
    return Export(name, EXPORT_KINDS[kind], r.u32())


def _elem(r: Reader) -> Elem:
    """An element segment: bit 0 not active, bit 1 explicit table or declarative, bit 2 expressions."""
    start = r.pos
    flags = r.u32()
    if flags > 7:
        raise r.fail("malformed elements segment kind", start)
    mode: str | Active = "declare" if flags & 2 else "passive"
    if not flags & 1:
        table = r.u32() if flags & 2 else 0
        mode = Active(table, expression(r))
    if flags & 4:
        type_ = ref_type(r) if flags & 3 else RefType(True, "func")
        return Elem(type_, tuple(r.list(expression)), mode)
    if flags & 3 and r.byte() != 0:
        raise r.fail("malformed element kind", r.pos - 1)
    ref_func = BY_MNEMONIC["ref.func"]
    return Elem(RefType(False, "func"), tuple((Instr(ref_func, (x,)),) for x in r.list(Reader.u32)), mode)


def _data(r: Reader) -> Data:
    start = r.pos
    flags = r.u32()
    if flags > 2:
        raise r.fail("malformed data segment kind", start)
    mode: str | Active = "passive"
    if flags != 1:
        memory = r.u32() if flags == 2 else 0
        mode = Active(memory, expression(r))
    size = r.u32()
    return Data(r.bytes(size), mode)


LIST_SECTIONS: dict[int, tuple[str, Callable[[Reader], Any]]] = {
    1: ("types", rec_type),
    2: ("imports", _import),
    4: ("tables", _table),
    5: ("memories", mem_type),
    13: ("tags", tag_type),
    6: ("globals", _global),
    7: ("exports", _export),
    9: ("elems", _elem),
    11: ("datas", _data),
}
"""Sections that are plain lists: the field of `Module`, and how an item is read."""

__all__ = ["LIST_SECTIONS", "MAGIC", "VERSION", "Malformed", "decode", "expression", "instruction", "merge_runs"]
