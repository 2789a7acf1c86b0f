"""The text format, written: readable, flat, with numeric indices, and read back as the same module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from ..isa import BY_MNEMONIC, MEMARGS, Instruction
from ..syntax import Active, Cast, Catch, Custom, Data, Elem, Export, Expr, Func, Import, Instr, MemArg, Module
from ..types import (
    KINDS,
    PAGE,
    SHORTHANDS,
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
from . import numbers
from .annotations import SECTION_NAMES

_SHORT = {type_: word for word, type_ in SHORTHANDS.items()}
_BLOCKS = frozenset(row for row in BY_MNEMONIC.values() if row.immediates[:1] == ("block",))
_ELSE, _END, _REF_FUNC = BY_MNEMONIC["else"], BY_MNEMONIC["end"], BY_MNEMONIC["ref.func"]


def print_module(module: Module) -> str:
    """The text of `module`, valid or not; `parse_module(print_module(m)) == m`.

    ValueError for the two things that only the binary format can say: a run of more than `MOST_LOCALS` locals, and an
    initialiser of a table that is there but empty.
    """
    return "\n".join(["(module", *(f"  {line}" for line in _fields(module)), ")", ""])


def _fields(m: Module) -> Iterator[str]:
    counts = dict.fromkeys(KINDS.values(), 0)

    def number(kind: str) -> int:
        counts[kind] += 1
        return counts[kind] - 1

    first = 0
    for rec in m.types:
        yield from _rec_type(rec, first)
        first += len(rec.subtypes)
    for import_ in m.imports:
        yield _import(import_, number(KINDS[type(import_.type)]))
    for table in m.tables:
        if table.init == ():
            raise ValueError(f"table {counts['table']} has an empty initialiser, which a text cannot say")
        yield from _definition(f"table (;{number('table')};) {table_type(table.type)}", table.init or ())
    for memory in m.memories:
        yield f"(memory (;{number('memory')};) {memory_type(memory)})"
    for tag in m.tags:
        yield f"(tag (;{number('tag')};) (type {tag.type}))"
    for global_ in m.globals:
        yield from _definition(f"global (;{number('global')};) {global_type(global_.type)}", global_.init)
    for export in m.exports:
        yield _export(export)
    if m.start is not None:
        yield f"(start {m.start})"
    for index, elem in enumerate(m.elems):
        yield from _elem(elem, index)
    for func in m.funcs:
        yield from _func(func, number("func"))
    for index, data in enumerate(m.datas):
        yield from _data(data, index)
    for custom in m.customs:
        yield _custom(custom)


# Strings


_PLAIN = {byte: chr(byte) for byte in range(0x20, 0x7F)} | {0x22: '\\"', 0x5C: "\\\\"}
_BYTES = [_PLAIN.get(byte, f"\\{byte:02x}") for byte in range(256)]


def string(data: bytes) -> str:
    """A string literal in ASCII for any bytes."""
    return '"' + "".join([_BYTES[byte] for byte in data]) + '"'


# Types


def heap_type(heap: HeapType) -> str:
    """A heap type of a module."""
    return str(heap)


def val_type(t: ValType) -> str:
    """A value or packed type."""
    if isinstance(t, str):
        return t
    return _SHORT.get(t) or f"(ref {'null ' if t.nullable else ''}{heap_type(t.heap)})"


def _clause(keyword: str, types: Iterable[ValType]) -> str:
    shown = " ".join(map(val_type, types))
    return f" ({keyword} {shown})" if shown else ""


def _field_type(f: FieldType) -> str:
    return f"(mut {val_type(f.storage)})" if f.mutable else val_type(f.storage)


def _comp_type(comp: CompType) -> str:
    match comp:
        case FuncType(params, results):
            return f"(func{_clause('param', params)}{_clause('result', results)})"
        case StructType(fields):
            return "(struct" + "".join(f" (field {_field_type(f)})" for f in fields) + ")"
        case ArrayType(element):
            return f"(array {_field_type(element)})"


def _sub_type(sub: SubType) -> str:
    if sub.final and not sub.supers:
        return _comp_type(sub.comp)
    words = ["sub", *(["final"] if sub.final else []), *map(heap_type, sub.supers)]
    return f"({' '.join(words)} {_comp_type(sub.comp)})"


def _rec_type(rec: RecType, first: int) -> list[str]:
    lines = [f"(type (;{first + i};) {_sub_type(sub)})" for i, sub in enumerate(rec.subtypes)]
    return lines if len(lines) == 1 else ["(rec", *(f"  {line}" for line in lines), ")"]


def _limits(address: str, limits: Limits) -> str:
    bounds = [limits.min] if limits.max is None else [limits.min, limits.max]
    return " ".join([*(["i64"] if address == "i64" else []), *map(str, bounds)])


def table_type(t: TableType) -> str:
    """A table type."""
    return f"{_limits(t.address, t.limits)} {val_type(t.element)}"


def memory_type(t: MemType) -> str:
    """A memory type."""
    return (
        _limits(t.address, t.limits)
        + (" shared" if t.shared else "")
        + ("" if t.page == PAGE else f" (pagesize {t.page})")
    )


def global_type(t: GlobalType) -> str:
    """A global type."""
    return f"(mut {val_type(t.value)})" if t.mutable else val_type(t.value)


def _extern_type(t: ExternType) -> str:
    match t:
        case FuncRef(type_) | TagType(type_):
            return f"(type {type_})"
        case TableType():
            return table_type(t)
        case MemType():
            return memory_type(t)
        case GlobalType():
            return global_type(t)


# Instructions


def _block_type(t: ValType | int | None) -> str:
    return "" if t is None else f"(type {t})" if isinstance(t, int) else f"(result {val_type(t)})"


def _mem_arg(natural: int, arg: MemArg) -> str:
    parts = [str(arg.memory)] if arg.memory else []
    if arg.offset:
        parts.append(f"offset={arg.offset}")
    if 1 << arg.align != natural:
        parts.append(f"align={1 << arg.align}")
    return " ".join(parts)


def _catch(catch: Catch) -> str:
    return f"({catch.kind} {catch.label})" if catch.tag is None else f"({catch.kind} {catch.tag} {catch.label})"


def _cast(cast: Cast) -> str:
    return f"{cast.label} {val_type(cast.source)} {val_type(cast.target)}"


def _select_types(types: tuple[ValType, ...] | None) -> str:
    return "" if types is None else f"(result{''.join(f' {val_type(t)}' for t in types)})"


def vector(bits: int) -> str:
    """A v128 as four lanes in hexadecimal."""
    return "i32x4 " + " ".join(f"0x{bits >> shift & 0xFFFFFFFF:08x}" for shift in (0, 32, 64, 96))


def _signed(n: int, bits: int) -> str:
    return str(n - (1 << bits) if n >> (bits - 1) else n)


_WRITERS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(
        ["label", "local", "global", "func", "type", "table", "memory", "tag", "elem", "data", "field", "u32", "lane"],
        str,
    ),
    "labels": lambda labels: " ".join(map(str, labels)),
    "block": _block_type,
    "catches": lambda catches: " ".join(map(_catch, catches)),
    "lanes": lambda lanes: " ".join(map(str, lanes)),
    "i32": lambda n: _signed(n, 32),
    "i64": lambda n: _signed(n, 64),
    "f32": lambda bits: numbers.float_text(bits, numbers.F32),
    "f64": lambda bits: numbers.float_text(bits, numbers.F64),
    "v128": vector,
    "heap": heap_type,
    "ref": val_type,
    "types?": _select_types,
    "cast": _cast,
    **{f"{kind}:{n}": partial(_mem_arg, n) for kind in MEMARGS for n in (1, 2, 4, 8, 16)},
    "zero": lambda _: "",
}


def instruction(step: Instr) -> str:
    """One instruction."""
    op: Instruction = step.op
    if op.immediates == ("table", "type"):
        return f"{op.mnemonic} {step.args[0]} (type {step.args[1]})"
    parts = [_WRITERS[kind if kind in _WRITERS else kind.partition(":")[0]](arg)
             for kind, arg in zip(op.immediates, step.args, strict=True)]  # fmt: skip
    return " ".join([op.mnemonic, *filter(None, parts)])


def _inline(code: Expr) -> str:
    return " ".join(map(instruction, code))


def _body(code: Expr, depth: int) -> Iterator[str]:
    for step in code:
        if step.op is _END or step.op is _ELSE:
            depth = max(depth - 1, 0)
        yield "  " * min(depth, _DEEPEST) + instruction(step)
        if step.op in _BLOCKS or step.op is _ELSE:
            depth += 1


_DEEPEST = 40
"""Indentation ends here, so that a text cannot be quadratic in the depth of its blocks."""
_INLINE = 4
"""The longest expression that is written on the line of its definition."""


# Fields


def _definition(head: str, code: Expr) -> Iterator[str]:
    if len(code) <= _INLINE:
        yield f"({' '.join(filter(None, (head, _inline(code))))})"
    else:
        yield f"({head}"
        yield from _body(code, 1)
        yield ")"


def _import(i: Import, index: int) -> str:
    kind = KINDS[type(i.type)]
    names = f"{string(i.module.encode())} {string(i.name.encode())}"
    return f"(import {names} ({kind} (;{index};) {_extern_type(i.type)}))"


def _export(e: Export) -> str:
    return f"(export {string(e.name.encode())} ({e.kind} {e.index}))"


def _func(f: Func, index: int) -> Iterator[str]:
    yield f"(func (;{index};) (type {f.type})"
    for count, type_ in f.locals:
        if count > MOST_LOCALS:
            raise ValueError(f"function {index} has a run of {count} locals, too many for a text")
        yield f"  (local{f' {val_type(type_)}' * count})"
    yield from _body(f.body, 1)
    yield ")"


MOST_LOCALS = 1_000_000
"""The text format has no short form for a run of locals; a binary of 20 bytes can declare 2^32 - 1."""


def _mode(mode: str | Active, target: str) -> str:
    if isinstance(mode, Active):
        return f" ({target} {mode.target}) (offset{' ' if mode.offset else ''}{_inline(mode.offset)})"
    return " declare" if mode == "declare" else ""


def _elem(e: Elem, index: int) -> Iterator[str]:
    head = f"(elem (;{index};){_mode(e.mode, 'table')}"
    if e.type == RefType(False, "func") and all(len(x) == 1 and x[0].op is _REF_FUNC for x in e.init):
        yield f"{head} func{''.join(f' {x[0].args[0]}' for x in e.init)})"
    else:
        yield f"{head} {val_type(e.type)}"
        for item in e.init:
            yield f"  (item{' ' if item else ''}{_inline(item)})"
        yield ")"


def _data(d: Data, index: int) -> Iterator[str]:
    head, size = f"(data (;{index};){_mode(d.mode, 'memory')}", 48
    chunks = [string(d.init[i : i + size]) for i in range(0, len(d.init), size)]
    if len(chunks) <= 1:
        yield " ".join([head, *chunks]) + ")"
    else:
        yield head
        yield from (f"  {chunk}" for chunk in chunks)
        yield ")"


def _custom(c: Custom) -> str:
    place = f"(after {SECTION_NAMES[c.after]})" if c.after else "(before first)"
    return f"(@custom {string(c.name.encode())} {place} {string(c.data)})"
