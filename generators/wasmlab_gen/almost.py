"""Modules that are almost valid: one or two small edits of a valid one, or one that is sure to break a rule.

Most break exactly one rule of validation, some stay valid; either way every engine must say the same.  The edited
module is only instantiated, never called: an edited loop need not end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from wasmlab_ref.case import Case, Instantiate, Register
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.isa import INSTRUCTIONS, Instruction
from wasmlab_ref.syntax import Active, Cast, Catch, Export, Expr, Instr, MemArg, Module
from wasmlab_ref.types import (
    ABSTRACT_HEAP_TYPES,
    ArrayType,
    CompType,
    FieldType,
    FuncType,
    Limits,
    MemType,
    RecType,
    RefType,
    StructType,
    SubType,
    ValType,
)

from .breaks import BREAKS, Draws

T = TypeVar("T")


STRUCTURED = frozenset(("block", "loop", "if", "else", "end", "try_table"))
_PEERS: dict[tuple[str, ...], list[Instruction]] = {}
for _row in INSTRUCTIONS:
    if _row.mnemonic not in STRUCTURED:
        _PEERS.setdefault(tuple(k.partition(":")[0] for k in _row.immediates), []).append(_row)
_PLAIN = [row for row in _PEERS[()] if row.params is not None]
_INDICES = frozenset(
    ("label", "local", "global", "func", "type", "table", "memory", "tag", "elem", "data", "field", "u32", "lane")
)


def near_valid(source: Draws, case: Case, features: frozenset[str], drawn: Sequence[Module] = ()) -> Case:
    """`case` with one module edited and nothing called; instructions and types stay within `features`.

    `drawn` are the modules of the case, if they are at hand.
    """
    modules = list(case.modules)
    victim = source.below(len(modules))
    module = replace(drawn[victim] if drawn else decode(modules[victim]), start=None)
    if source.below(2):
        module = _pick(source, BREAKS)(source, module, features)
    else:
        for _ in range(1 + (source.below(4) == 0)):
            module = _pick(source, EDITS)(_Editor(source, features), module)
    modules[victim] = encode(module)
    steps = tuple(s for s in case.steps if isinstance(s, Instantiate | Register))
    return Case(tuple(modules), steps, f"{case.origin} near-valid")


def _pick(source: Draws, items: list[T]) -> T:
    return items[source.below(len(items))]


def _swap(items: tuple[T, ...], at: int, *new: T) -> tuple[T, ...]:
    return (*items[:at], *new, *items[at + 1 :])


class _Editor:
    """Small changes of the things modules are made of."""

    def __init__(self, source: Draws, features: frozenset[str]) -> None:
        self.source, self.features = source, features
        self.types: list[ValType] = ["i32", "i64", "f32", "f64"]
        if "simd" in features:
            self.types.append("v128")
        if "reference-types" in features:
            self.types += [RefType(True, "func"), RefType(True, "extern")]
        self.heaps = ["func", "extern"]
        if "gc" in features:
            self.heaps = [h for h in ABSTRACT_HEAP_TYPES if not h.endswith("exn")]
            self.types += [RefType(True, "any"), RefType(False, "i31"), RefType(True, "none")]
        if "exceptions" in features:
            self.heaps.append("exn")

    def below(self, n: int) -> int:
        return self.source.below(n)

    def index(self, n: int) -> int:
        """A neighbour of an index."""
        return max(0, n + _pick(self.source, [-1, 1, 1, 2]))

    def ref_type(self, t: RefType) -> RefType:
        if "function-references" in self.features and self.below(2):
            return RefType(not t.nullable, t.heap)
        if isinstance(t.heap, int) and self.below(2):
            return RefType(t.nullable, self.index(t.heap))
        return RefType(t.nullable, _pick(self.source, self.heaps))

    def val_type(self, t: ValType) -> ValType:
        if isinstance(t, RefType) and self.below(3):
            return self.ref_type(t)
        return _pick(self.source, self.types)

    def types_of(self, types: tuple[ValType, ...]) -> tuple[ValType, ...]:
        """A list of types with one changed, dropped or added."""
        at = self.below(len(types) + 1)
        if at == len(types):
            return (*types, _pick(self.source, self.types))
        return _swap(types, at, self.val_type(types[at])) if self.below(3) else _swap(types, at)

    def limits(self, t: Limits) -> Limits:
        match self.below(4):
            case 0:
                return Limits(t.min, None if t.max is not None else t.min)
            case 1:
                return Limits(t.min + 1, t.min)
            case 2:
                return Limits(t.min, (1 << _pick(self.source, [16, 32, 48])) + self.below(2))
        return Limits(t.min + 1, t.max)

    def field(self, f: FieldType) -> FieldType:
        match self.below(3):
            case 0:
                return FieldType(f.storage, not f.mutable)
            case 1:
                return FieldType("i8" if self.below(2) else "i16", f.mutable)
        return FieldType(self.val_type("i32" if f.storage in ("i8", "i16") else f.storage), f.mutable)

    def immediate(self, kind: str, value: Any) -> Any:
        """Another value of an immediate; its own where there is no near one."""
        if kind in _INDICES:
            return self.index(value)
        match value:
            case MemArg(memory, align, offset):
                near = [
                    MemArg(memory, align + 1, offset),
                    MemArg(memory, align, 1 << 32),
                    MemArg(memory + 1, align, offset),
                ]
                return _pick(self.source, near + [MemArg(memory, max(align - 1, 0), offset)] * (kind == "atomic"))
            case Cast(label, source, target):
                return _pick(
                    self.source,
                    [
                        Cast(self.index(label), source, target),
                        Cast(label, target, source),
                        Cast(label, source, self.ref_type(target)),
                    ],
                )
            case RefType():
                return self.ref_type(value)
        match kind:
            case "labels":
                at = self.below(len(value))
                return _swap(value, at, self.index(value[at]))
            case "block":
                return self.index(value) if isinstance(value, int) else self.val_type(value or "i32")
            case "lanes":
                return _swap(value, self.below(16), 32)
            case "heap":
                return _pick(self.source, self.heaps)
            case "types?":
                return None if value else ("i32",)
            case "catches" if value:
                at = self.below(len(value))
                catch: Catch = value[at]
                return _swap(value, at, catch._replace(label=self.index(catch.label)))
        return value

    def expr(self, code: Expr) -> Expr:
        """An expression with one instruction changed, dropped, added or moved; blocks stay closed."""
        if not code:
            return (Instr(_pick(self.source, _PLAIN)),)
        at = self.below(len(code))
        step = code[at]
        if step.op.mnemonic in STRUCTURED:
            return _swap(code, at, self._immediates(step))
        match self.below(6):
            case 0:
                return _swap(code, at)
            case 1:
                return _swap(code, at, step, Instr(_pick(self.source, self._allowed(_PLAIN))))
            case 2 if at + 1 < len(code) and code[at + 1].op.mnemonic not in STRUCTURED:
                return (*code[:at], code[at + 1], step, *code[at + 2 :])
            case 3 | 4 if step.args:
                return _swap(code, at, self._immediates(step))
        peers = self._allowed(_PEERS[tuple(k.partition(":")[0] for k in step.op.immediates)])
        return _swap(code, at, Instr(_pick(self.source, peers), step.args) if peers else step)

    def _allowed(self, rows: list[Instruction]) -> list[Instruction]:
        return [row for row in rows if row.feature in self.features]

    def _immediates(self, step: Instr) -> Instr:
        if not step.args:
            return step
        at = self.below(len(step.args))
        kind = step.op.immediates[at].partition(":")[0]
        return Instr(step.op, _swap(step.args, at, self.immediate(kind, step.args[at])))

    def comp(self, comp: CompType) -> CompType:
        match comp:
            case FuncType(params, results):
                if self.below(2):
                    return FuncType(self.types_of(params), results)
                return FuncType(params, self.types_of(results))
            case StructType(fields) if fields:
                at = self.below(len(fields))
                return StructType(_swap(fields, at, self.field(fields[at])) if self.below(3) else _swap(fields, at))
            case ArrayType(element):
                return ArrayType(self.field(element))
        return comp

    def subtype(self, sub: SubType) -> SubType:
        match self.below(4):
            case 0 if "gc" in self.features:
                return SubType(sub.comp, sub.supers, not sub.final)
            case 1 if sub.supers:
                return SubType(sub.comp, tuple(self.index(s) for s in sub.supers if isinstance(s, int)), sub.final)
        return SubType(self.comp(sub.comp), sub.supers, sub.final)


def _each(part: str, change: Callable[[_Editor, Any], Any]) -> Callable[[_Editor, Module], Module]:
    """The edit that changes one item of a part of a module."""

    def edit(e: _Editor, m: Module) -> Module:
        items = getattr(m, part)
        if not items:
            return _edit_code(e, m)
        at = e.below(len(items))
        changes: dict[str, Any] = {part: _swap(items, at, change(e, items[at]))}
        return replace(m, **changes)

    return edit


def _edit_code(e: _Editor, m: Module) -> Module:
    if not m.funcs:
        return replace(m, exports=(*m.exports, Export("near", "func", 0)))
    at = e.below(len(m.funcs))
    return replace(m, funcs=_swap(m.funcs, at, replace(m.funcs[at], body=e.expr(m.funcs[at].body))))


def _rec(e: _Editor, rec: RecType) -> RecType:
    if not rec.subtypes:
        return rec
    at = e.below(len(rec.subtypes))
    return RecType(_swap(rec.subtypes, at, e.subtype(rec.subtypes[at])))


def _segment(e: _Editor, segment: Any) -> Any:
    if isinstance(segment.mode, Active) and e.below(2):
        target, offset = segment.mode.target, segment.mode.offset
        mode = Active(e.index(target), offset) if e.below(2) else Active(target, e.expr(offset))
        return replace(segment, mode=mode)
    if hasattr(segment, "type"):
        if segment.init and e.below(2):
            at = e.below(len(segment.init))
            return replace(segment, init=_swap(segment.init, at, e.expr(segment.init[at])))
        return replace(segment, type=e.ref_type(segment.type))
    return segment


def _global(e: _Editor, g: Any) -> Any:
    match e.below(3):
        case 0:
            return replace(g, type=replace(g.type, mutable=not g.type.mutable))
        case 1:
            return replace(g, type=replace(g.type, value=e.val_type(g.type.value)))
    return replace(g, init=e.expr(g.init))


def _table(e: _Editor, t: Any) -> Any:
    if e.below(2):
        return replace(t, type=replace(t.type, element=e.ref_type(t.type.element)))
    return replace(t, type=replace(t.type, limits=e.limits(t.type.limits)))


def _memory(e: _Editor, t: MemType) -> MemType:
    if "threads" in e.features and e.below(2):
        return replace(t, shared=not t.shared)
    if "custom-page-sizes" in e.features and e.below(2):
        return replace(t, page=_pick(e.source, [1, 1 << 16, 2, 1 << 15, 1 << 17, 1 << 63, 1 << 64]))
    return replace(t, limits=e.limits(t.limits))


def _export(e: _Editor, x: Export) -> Export:
    return replace(x, index=e.index(x.index))


def _duplicate_export(e: _Editor, m: Module) -> Module:
    return replace(m, exports=(*m.exports, *m.exports[:1])) if m.exports else _edit_code(e, m)


def _func(e: _Editor, f: Any) -> Any:
    if f.locals and e.below(2):
        at = e.below(len(f.locals))
        count, type_ = f.locals[at]
        return replace(f, locals=_swap(f.locals, at, (count, e.val_type(type_))))
    return replace(f, type=e.index(f.type))


EDITS: list[Callable[[_Editor, Module], Module]] = [
    *[_edit_code] * 10,
    *[_each("types", _rec)] * 3,
    *[_each("globals", _global)] * 2,
    *[_each("elems", _segment)] * 2,
    _each("datas", _segment),
    _each("tables", _table),
    _each("memories", _memory),
    _each("tags", lambda e, t: replace(t, type=e.index(t.type))),
    _each("exports", _export),
    _each("funcs", _func),
    _duplicate_export,
]
