"""Constant expressions: what globals, tables and segments start as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmlab_ref.syntax import Expr, Instr, instr
from wasmlab_ref.types import ArrayType, HeapType, RefType, StructType, ValType

from .bits import BITS
from .types import defaultable, unpacked

if TYPE_CHECKING:
    from .builder import Builder


def constant(m: Builder, t: ValType, fuel: int = 4) -> Expr:
    """A constant expression of type `t`."""
    code: list[Instr] = []
    _emit(m, t, fuel, code)
    return tuple(code)


def _emit(m: Builder, t: ValType, fuel: int, code: list[Instr]) -> None:
    s = m.source
    readable = [g for g in m.globals if not g.mutable and (g.imported or m.has("gc")) and m.types.below(g.type, t)]
    if readable and s.below(3) == 0:
        code.append(instr("global.get", s.pick(readable).index))
    elif isinstance(t, RefType):
        _reference(m, t, fuel, code)
    elif t in ("i32", "i64") and fuel > 0 and m.has("extended-const") and s.below(3) == 0:
        _emit(m, t, fuel // 2 - 1, code)
        _emit(m, t, fuel // 2 - 1, code)
        code.append(instr(f"{t}.{s.pick(('add', 'sub', 'mul'))}"))
    else:
        code.append(instr(f"{t}.const", BITS[t](s)))


def _reference(m: Builder, t: RefType, fuel: int, code: list[Instr]) -> None:
    s = m.source
    solid = RefType(False, t.heap)
    top = m.types.top(t.heap)
    simple = top not in m.made
    if not m.inhabited(solid) or (t.nullable and (fuel <= 0 or simple or s.below(3) == 0)):
        code.append(instr("ref.null", t.heap))
        return
    if top == "func":
        code.append(instr("ref.func", s.pick(m.referable(t.heap)).refer()))
    elif top == "extern":
        _emit(m, RefType(False, "any"), fuel - 1, code)
        code.append(instr("extern.convert_any"))
    else:
        _aggregate(m, t.heap, fuel, code)


def _aggregate(m: Builder, heap: HeapType, fuel: int, code: list[Instr]) -> None:
    s = m.source
    options = m.concrete(heap)
    if not options or (heap in ("any", "eq", "i31") and s.below(2) == 0):
        _emit(m, "i32", 0, code)
        code.append(instr("ref.i31"))
        return
    index = s.pick(options)
    comp = m.types.subs[index].comp
    if isinstance(comp, StructType):
        if all(defaultable(f.storage) for f in comp.fields) and s.below(3) == 0:
            code.append(instr("struct.new_default", index))
            return
        for f in comp.fields:
            _emit(m, unpacked(f.storage), fuel - 2, code)
        code.append(instr("struct.new", index))
    elif isinstance(comp, ArrayType):
        storage = comp.element.storage
        kind = s.below(3)
        if kind == 0 and defaultable(storage):
            code.append(instr("i32.const", 4 + s.below(3)))
            code.append(instr("array.new_default", index))
        elif kind == 1 and fuel > 0:
            for _ in range(4):
                _emit(m, unpacked(storage), fuel - 3, code)
            code.append(instr("array.new_fixed", index, 4))
        else:
            _emit(m, unpacked(storage), fuel - 2, code)
            code.append(instr("i32.const", 4 + s.below(3)))
            code.append(instr("array.new", index))
