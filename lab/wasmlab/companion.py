"""What a bare module needs to be run: companions for its imports, and calls with arguments, all from its digest.

A function of a companion tells the host of its calls (`lab.log`): so what a module passes to its imports, and in which
order, is compared; and while the host is at work an engine may collect garbage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from wasmlab_ref.case import WIDTHS, Case, Instantiate, Invoke, Read, Register, Step, value
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.syntax import Export, Expr, Func, Global, Import, Instr, Module, Table, instr
from wasmlab_ref.types import (
    FuncRef,
    FuncType,
    GlobalType,
    MemType,
    RecType,
    RefType,
    SubType,
    TableType,
    TagType,
    ValType,
)

from .edits import default
from .renumber import IMPORT_KINDS, without_unused
from .stacks import Context

HOSTS = frozenset({"spectest", "lab"})
"""Modules that every worker offers."""

MOST_TOLD = 100
"""Arguments of a call that are told."""

MODULE = "module"
"""The name of the module's instance."""


class Digits:
    """Numbers from a digest: the same for the same module, on every machine."""

    def __init__(self, data: bytes) -> None:
        self._seed, self._count = hashlib.sha256(data).digest(), 0

    def bits(self, width: int) -> int:
        """A number of `width` bits; small ones and corners as often as any."""
        self._count += 1
        drawn = hashlib.sha256(self._seed + self._count.to_bytes(4, "little")).digest()
        number = int.from_bytes(drawn[:16], "little") & ((1 << width) - 1)
        match drawn[16] % 4:
            case 0:
                return number & 0xFF
            case 1:
                return (0, 1, (1 << width) - 1, 1 << (width - 1))[drawn[17] % 4]
        return number


def bare_case(data: bytes, origin: str = "", calls: Sequence[Invoke] = ()) -> tuple[Case, list[str]]:
    """A case that instantiates a module, makes `calls`, by default of all that it exports, and reads the rest; and what
    it leaves out, and why."""
    steps: list[Step] = []
    try:
        module = decode(data)
    except Malformed:
        return Case((data,), (Instantiate(MODULE, 0),), origin), []
    digits, modules, notes = Digits(data), [data], []
    for number, (name, companion) in enumerate(companions(module, digits), 1):
        modules.append(encode(companion))
        instance = f"companion-{number}"
        steps += [Instantiate(instance, number), Register(instance, name)]
    steps.append(Instantiate(MODULE, 0))
    context = Context(module)
    steps += calls
    for export in module.exports:
        if export.kind == "func" and not calls:
            args = arguments(context.function(export.index), digits)
            if args is None:
                notes.append(f"{export.name} is not called: a parameter takes no null")
            else:
                steps.append(Invoke(MODULE, export.name, args))
    steps += [Read(MODULE, e.name) for e in module.exports if e.kind in ("memory", "table", "global")]
    return Case(tuple(modules), tuple(steps), origin), notes


def arguments(type_: FuncType, digits: Digits) -> tuple[str, ...] | None:
    """Arguments for a function; None where a parameter takes a reference that cannot be made up."""
    found = []
    for t in type_.params:
        if isinstance(t, str):
            found.append(value(t, digits.bits(WIDTHS[t])))
        elif t.heap == "extern":
            found.append(f"ref.extern:{digits.bits(3):x}")
        elif t.nullable:
            found.append("ref.null")
        else:
            return None
    return tuple(found)


def companions(module: Module, digits: Digits) -> Iterator[tuple[str, Module]]:
    """For each module that is imported from, its name and one that exports what is needed."""
    by_name: dict[str, list[Import]] = {}
    for item in module.imports:
        if item.module not in HOSTS:
            by_name.setdefault(item.module, []).append(item)
    for name, items in by_name.items():
        yield name, without_unused(_companion(module, items, digits))


def _companion(module: Module, items: list[Import], digits: Digits) -> Module:
    context = Context(module)
    parts: dict[str, list[object]] = {kind: [] for kind in IMPORT_KINDS.values()}
    exports: list[Export] = []
    for item in items:
        kind = IMPORT_KINDS[type(item.type)]
        if item.name in {e.name for e in exports}:
            continue
        exports.append(Export(item.name, kind, len(parts[kind]) + (kind == "func")))
        match item.type:
            case FuncRef(type_):
                comp = context.func_type(type_)
                body = tuple(step for t in comp.results for step in _some(t, digits))
                told = _told(len(parts[kind]), comp.params)
                parts[kind].append(Func(type_ if isinstance(type_, int) else 0, (), (*told, *body)))
            case GlobalType():
                parts[kind].append(Global(item.type, _some(item.type.value, digits)))
            case TableType():
                parts[kind].append(Table(item.type))
            case MemType() | TagType():
                parts[kind].append(item.type)
    fields = {"func": "funcs", "table": "tables", "memory": "memories", "tag": "tags", "global": "globals"}
    return Module(
        types=(*module.types, RecType((SubType(FuncType(("i32", "i64"), ())),))),
        imports=(Import("lab", "log", FuncRef(len(context.comps))),),
        exports=tuple(exports),
        **{fields[k]: tuple(v) for k, v in parts.items()},  # type: ignore[arg-type]
    )


_AS_I64: dict[ValType, tuple[str, ...]] = {
    "i32": ("i64.extend_i32_u",),
    "i64": (),
    "f32": ("i32.reinterpret_f32", "i64.extend_i32_u"),
    "f64": ("i64.reinterpret_f64",),
    "v128": ("i32x4.bitmask", "i64.extend_i32_u"),
}


def _told(function: int, params: Sequence[ValType]) -> Expr:
    """Calls of lab.log, function 0: that function number `function` was called, and with which numbers."""
    code: list[Instr] = [instr("i32.const", function << 16), instr("i64.const", len(params)), instr("call", 0)]
    for at, t in enumerate(params[:MOST_TOLD]):
        code += [instr("i32.const", function << 16 | at + 1), instr("local.get", at)]
        steps = _AS_I64.get(t, ("ref.is_null", "i64.extend_i32_u"))
        code += [*map(instr, steps), instr("call", 0)]
    return tuple(code)


def _some(t: ValType, digits: Digits) -> Expr:
    """Code for some value of a type."""
    if isinstance(t, RefType):
        return (instr("i32.const", digits.bits(31)), instr("ref.i31")) if t == RefType(False, "i31") else default(t)
    return (instr(f"{t}.const", digits.bits(WIDTHS[t])),)
