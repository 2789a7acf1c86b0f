"""Which stretch of a function's code makes which value: expressions found in flat code.

A light, unchecked version of validation for bodies known to be valid: it tracks the operand stack with, for each
operand, the type and the stretch of code that computes it and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wasmlab_ref.syntax import Func, Instr, Module
from wasmlab_ref.types import (
    ArrayType,
    CompType,
    FuncRef,
    FuncType,
    GlobalType,
    MemType,
    RefType,
    StructType,
    TableType,
    TagType,
    ValType,
)

Types = tuple[ValType, ...]
BLOCKS = frozenset({"block", "loop", "if", "try_table"})
LEAVES = frozenset(
    {"unreachable", "br", "br_table", "return", "return_call", "return_call_indirect", "return_call_ref", "throw",
     "throw_ref"}
)  # fmt: skip
"""Instructions after which code is dead."""


class Context:
    """The types of a module's index spaces."""

    def __init__(self, module: Module) -> None:
        self.comps: list[CompType] = [sub.comp for group in module.types for sub in group.subtypes]
        externs = [item.type for item in module.imports]
        self.func_types = [t.type for t in externs if isinstance(t, FuncRef)] + [f.type for f in module.funcs]
        self.globals = [t for t in externs if isinstance(t, GlobalType)] + [g.type for g in module.globals]
        self.tables = [t for t in externs if isinstance(t, TableType)] + [t.type for t in module.tables]
        self.memories = [t for t in externs if isinstance(t, MemType)] + list(module.memories)
        self.tags = [t for t in externs if isinstance(t, TagType)] + list(module.tags)

    def func_type(self, index: Any) -> FuncType:
        """The function type of a type index; the empty one where there is none, in a module that is invalid."""
        comp = self.comps[index] if index < len(self.comps) else None
        return comp if isinstance(comp, FuncType) else FuncType()

    def function(self, index: int) -> FuncType:
        """The type of a function."""
        return self.func_type(self.func_types[index])

    def fields(self, index: int) -> list[ValType]:
        """The unpacked types of the fields of a structure, or of the elements of an array."""
        comp = self.comps[index]
        found = comp.fields if isinstance(comp, StructType) else (comp.element,) if isinstance(comp, ArrayType) else ()
        return ["i32" if f.storage in ("i8", "i16") else f.storage for f in found]

    def block(self, t: Any) -> FuncType:
        """The function type of a block type."""
        return self.func_type(t) if isinstance(t, int) else FuncType((), () if t is None else (t,))


class Operand(NamedTuple):
    """A value on the stack: its type ("bot" in dead code), and the code `start:end` that computes it."""

    type: ValType
    start: int
    end: int


@dataclass(slots=True)
class Span:
    """Code `start:end` that takes nothing from the stack and leaves `results`; `at` is its instruction.

    For a block, `at` is its first instruction and `end - 1` its `end`.
    """

    at: int
    start: int
    end: int
    operands: tuple[Operand, ...]
    results: Types


@dataclass(slots=True)
class _Frame:
    kind: str
    type: FuncType
    at: int
    height: int
    operands: tuple[Operand, ...] = ()
    dead: bool = False
    else_at: int | None = None


@dataclass(slots=True)
class Body:
    """A function's body, analysed."""

    spans: list[Span] = field(default_factory=list)
    dead: list[tuple[int, int]] = field(default_factory=list)
    blocks: list[tuple[int, int | None, int]] = field(default_factory=list)
    """`block` … its `else` or None … its `end`."""


def local_types(context: Context, func: Func) -> list[ValType]:
    """Parameters and locals."""
    found = list(context.func_type(func.type).params)
    for count, type_ in func.locals:
        found += [type_] * count
    return found


def analyse(context: Context, func: Func) -> Body:
    """Spans, stretches of dead code and blocks of a function that is valid; of one that is not, nothing."""
    try:
        return _Analysis(context, func).body()
    except (IndexError, KeyError, TypeError, ValueError):  # an engine that does not validate may have run it
        return Body()


class _Analysis:
    def __init__(self, context: Context, func: Func) -> None:
        self.context, self.code = context, func.body
        self.locals = local_types(context, func)
        self.stack: list[Operand] = []
        self.heights: list[int] = []
        self.frames = [_Frame("func", FuncType((), context.func_type(func.type).results), -1, 0)]
        self.found = Body()
        self.dead_from = 0

    def body(self) -> Body:
        for at, step in enumerate(self.code):
            self.heights.append(len(self.stack))
            name = step.op.mnemonic
            if name in BLOCKS:
                self._open(at, step)
            elif name == "else":
                self._else(at)
            elif name == "end":
                self._end(at)
            elif not self.frames[-1].dead:
                self._plain(at, step)
        self._leave_dead(len(self.code))
        return self.found

    def _pop(self, at: int) -> Operand:
        return self.stack.pop() if len(self.stack) > self.frames[-1].height else Operand("bot", at, at)

    def _pops(self, at: int, count: int) -> tuple[Operand, ...]:
        return tuple([self._pop(at) for _ in range(count)][::-1])

    def _closed(self, at: int, end: int, operands: tuple[Operand, ...], results: Types) -> int:
        """Note a span, if operands and code between them are all there is; where its results start."""
        start = operands[0].start if operands else at
        if self.heights[start] == len(self.stack) and not self.frames[-1].dead:
            self.found.spans.append(Span(at, start, end, operands, results))
        return start

    def _push(self, results: Sequence[ValType], start: int, end: int) -> None:
        self.stack += [Operand(t, start, end) for t in results]

    def _plain(self, at: int, step: Instr) -> None:
        params, results = signature(self, step)
        operands = self._pops(at, len(params))
        if step.op.mnemonic in LEAVES:
            self._closed(at, at + 1, operands, ())
            self.frames[-1].dead = True
            self.dead_from = at + 1
            return
        results = refine(step, operands, results)
        self._push(results, self._closed(at, at + 1, operands, results), at + 1)

    def _open(self, at: int, step: Instr) -> None:
        outer = self.frames[-1]
        type_ = self.context.block(step.args[0])
        name = step.op.mnemonic
        operands = () if outer.dead else self._pops(at, len(type_.params) + (name == "if"))
        self.frames.append(_Frame(name, type_, at, len(self.stack), operands, outer.dead))
        if not outer.dead:
            self._push(type_.params, at + 1, at + 1)

    def _else(self, at: int) -> None:
        self._leave_dead(at)
        frame = self.frames[-1]
        frame.else_at = at
        frame.dead = self.frames[-2].dead
        del self.stack[frame.height :]
        if not frame.dead:
            self._push(frame.type.params, at + 1, at + 1)

    def _end(self, at: int) -> None:
        self._leave_dead(at)
        frame = self.frames.pop()
        del self.stack[frame.height :]
        if not self.frames[-1].dead:
            self.found.blocks.append((frame.at, frame.else_at, at))
            start = self._closed(frame.at, at + 1, frame.operands, frame.type.results)
            self._push(frame.type.results, start, at + 1)

    def _leave_dead(self, at: int) -> None:
        frame, outer = self.frames[-1], self.frames[-2] if len(self.frames) > 1 else None
        if frame.dead and not (outer and outer.dead) and self.dead_from < at:
            self.found.dead.append((self.dead_from, at))

    def label(self, index: int) -> Types:
        """The types that a branch to label `index` takes."""
        frame = self.frames[-1 - index]
        return frame.type.params if frame.kind == "loop" else frame.type.results


_Rule = Callable[[_Analysis, Sequence[Any]], tuple[Sequence[ValType], Sequence[ValType]]]
_ANY: ValType = "bot"
_CALL: Callable[[FuncType], tuple[Types, Types]] = lambda t: (t.params, t.results)  # noqa: E731


def _at(self: _Analysis, memory: int) -> ValType:
    return self.context.memories[memory].address


def _table_at(self: _Analysis, table: int) -> ValType:
    return self.context.tables[table].address


def _least(a: ValType, b: ValType) -> ValType:
    return "i64" if a == b == "i64" else "i32"


def _cast_rest(cast: Any) -> RefType:
    return RefType(cast.source.nullable and not cast.target.nullable, cast.source.heap)


_SPECIAL: dict[str, _Rule] = {
    "unreachable": lambda s, a: ((), ()),
    "br": lambda s, a: (s.label(a[0]), ()),
    "br_if": lambda s, a: ((*s.label(a[0]), "i32"), s.label(a[0])),
    "br_table": lambda s, a: ((*s.label(a[0][-1]), "i32"), ()),
    "return": lambda s, a: (s.frames[0].type.results, ()),
    "call": lambda s, a: _CALL(s.context.function(a[0])),
    "return_call": lambda s, a: (s.context.function(a[0]).params, ()),
    "call_indirect": lambda s, a: ((*s.context.func_type(a[1]).params, _table_at(s, a[0])),
                                   s.context.func_type(a[1]).results),
    "return_call_indirect": lambda s, a: ((*s.context.func_type(a[1]).params, _table_at(s, a[0])), ()),
    "call_ref": lambda s, a: ((*s.context.func_type(a[0]).params, RefType(True, a[0])),
                              s.context.func_type(a[0]).results),
    "return_call_ref": lambda s, a: ((*s.context.func_type(a[0]).params, RefType(True, a[0])), ()),
    "throw": lambda s, a: (s.context.func_type(s.context.tags[a[0]].type).params, ()),
    "throw_ref": lambda s, a: ((_ANY,), ()),
    "drop": lambda s, a: ((_ANY,), ()),
    "select": lambda s, a: ((a[0][0], a[0][0], "i32"), (a[0][0],)) if a[0] else ((_ANY, _ANY, "i32"), (_ANY,)),
    "local.get": lambda s, a: ((), (s.locals[a[0]],)),
    "local.set": lambda s, a: ((s.locals[a[0]],), ()),
    "local.tee": lambda s, a: ((s.locals[a[0]],), (s.locals[a[0]],)),
    "global.get": lambda s, a: ((), (s.context.globals[a[0]].value,)),
    "global.set": lambda s, a: ((s.context.globals[a[0]].value,), ()),
    "table.get": lambda s, a: ((_table_at(s, a[0]),), (s.context.tables[a[0]].element,)),
    "table.set": lambda s, a: ((_table_at(s, a[0]), s.context.tables[a[0]].element), ()),
    "table.size": lambda s, a: ((), (_table_at(s, a[0]),)),
    "table.grow": lambda s, a: ((s.context.tables[a[0]].element, _table_at(s, a[0])), (_table_at(s, a[0]),)),
    "table.fill": lambda s, a: ((_table_at(s, a[0]), s.context.tables[a[0]].element, _table_at(s, a[0])), ()),
    "table.copy": lambda s, a: ((_table_at(s, a[0]), _table_at(s, a[1]),
                                 _least(_table_at(s, a[0]), _table_at(s, a[1]))), ()),
    "table.init": lambda s, a: ((_table_at(s, a[0]), "i32", "i32"), ()),
    "memory.copy": lambda s, a: ((_at(s, a[0]), _at(s, a[1]), _least(_at(s, a[0]), _at(s, a[1]))), ()),
    "ref.null": lambda s, a: ((), (RefType(True, a[0]),)),
    "ref.func": lambda s, a: ((), (RefType(False, s.context.func_types[a[0]]),)),
    "ref.is_null": lambda s, a: ((_ANY,), ("i32",)),
    "ref.as_non_null": lambda s, a: ((_ANY,), (_ANY,)),
    "br_on_null": lambda s, a: ((*s.label(a[0]), _ANY), (*s.label(a[0]), _ANY)),
    "br_on_non_null": lambda s, a: ((*s.label(a[0])[:-1], _ANY), s.label(a[0])[:-1]),
    "struct.new": lambda s, a: (s.context.fields(a[0]), (RefType(False, a[0]),)),
    "struct.new_default": lambda s, a: ((), (RefType(False, a[0]),)),
    **dict.fromkeys(["struct.get", "struct.get_s", "struct.get_u"],
                    lambda s, a: ((RefType(True, a[0]),), (s.context.fields(a[0])[a[1]],))),
    "struct.set": lambda s, a: ((RefType(True, a[0]), s.context.fields(a[0])[a[1]]), ()),
    "array.new": lambda s, a: ((s.context.fields(a[0])[0], "i32"), (RefType(False, a[0]),)),
    "array.new_default": lambda s, a: (("i32",), (RefType(False, a[0]),)),
    "array.new_fixed": lambda s, a: ((s.context.fields(a[0])[0],) * a[1], (RefType(False, a[0]),)),
    **dict.fromkeys(["array.new_data", "array.new_elem"], lambda s, a: (("i32", "i32"), (RefType(False, a[0]),))),
    **dict.fromkeys(["array.get", "array.get_s", "array.get_u"],
                    lambda s, a: ((RefType(True, a[0]), "i32"), s.context.fields(a[0]))),
    "array.set": lambda s, a: ((RefType(True, a[0]), "i32", s.context.fields(a[0])[0]), ()),
    "array.fill": lambda s, a: ((RefType(True, a[0]), "i32", s.context.fields(a[0])[0], "i32"), ()),
    "array.copy": lambda s, a: ((RefType(True, a[0]), "i32", RefType(True, a[1]), "i32", "i32"), ()),
    **dict.fromkeys(["array.init_data", "array.init_elem"],
                    lambda s, a: ((RefType(True, a[0]), "i32", "i32", "i32"), ())),
    "ref.test": lambda s, a: ((_ANY,), ("i32",)),
    "ref.cast": lambda s, a: ((_ANY,), (a[0],)),
    "br_on_cast": lambda s, a: ((*s.label(a[0].label)[:-1], a[0].source),
                                (*s.label(a[0].label)[:-1], _cast_rest(a[0]))),
    "br_on_cast_fail": lambda s, a: ((*s.label(a[0].label)[:-1], a[0].source),
                                     (*s.label(a[0].label)[:-1], a[0].target)),
    "any.convert_extern": lambda s, a: ((_ANY,), (RefType(True, "any"),)),
    "extern.convert_any": lambda s, a: ((_ANY,), (RefType(True, "extern"),)),
}  # fmt: skip
"""Parameters and results of the instructions that the table calls special; "bot" where they follow an operand."""


def signature(self: _Analysis, step: Instr) -> tuple[Types, Types]:
    """Parameters and results of an instruction that is no block."""
    op, args = step
    if op.params is None or op.results is None:
        params, results = _SPECIAL[op.mnemonic](self, args)
        return tuple(params), tuple(results)
    if "at" not in op.params and "at" not in op.results:
        return op.params, op.results
    address = _at(self, args[0].memory if op.access else args[op.immediates.index("memory")])
    return tuple(address if t == "at" else t for t in op.params), tuple(address if t == "at" else t for t in op.results)


def refine(step: Instr, operands: tuple[Operand, ...], results: Types) -> Types:
    """Replace "bot" in results by what the operands are."""
    if _ANY not in results:
        return results
    given = operands[0].type if step.op.mnemonic == "select" else operands[-1].type
    if isinstance(given, RefType) and step.op.mnemonic != "select":
        given = RefType(False, given.heap)
    return tuple(given if t == _ANY else t for t in results)
