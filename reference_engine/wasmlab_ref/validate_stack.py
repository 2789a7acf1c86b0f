"""The state of the validation algorithm: context, operand stack, control stack (appendix of the standard).

Operands are closed types.  In unreachable code the stack holds only what was pushed since; operands below that are
"bot", which nothing has to hold in memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import NoReturn, TypeVar

from .match import (
    NUMBER_TYPES,
    close_reftype,
    defaultable,
    match_reftype,
    match_resulttype,
    match_valtype,
    types_at,
    unpack,
)
from .outcome import Exhausted, Invalid
from .rules import applied, rule
from .syntax import Instr
from .types import (
    ABSTRACT_HEAP_TYPES,
    SHORTHANDS,
    ArrayType,
    CompType,
    DefType,
    FuncType,
    GlobalType,
    MemType,
    RefType,
    StructType,
    TableType,
    ValType,
)

WIDE, MAX_WORK = 1_000, 20_000_000
"""Of sequences longer than the JavaScript API allows functions to have, a module may move so many operands in all."""

FEW, HIGHEST = 16, 10_000_000
"""More operands at once than HIGHEST no activation may have, and two bytes of code push a thousand; where an
instruction pushes more than FEW it is checked."""

I32 = ("i32",)

T = TypeVar("T")
C = TypeVar("C", FuncType, StructType, ArrayType)

_COMP_NAMES: dict[type[CompType], str] = {FuncType: "function", StructType: "structure", ArrayType: "array"}
_SHORTHANDS = {t: name for name, t in SHORTHANDS.items()}


def lookup(space: Sequence[T], index: int, what: str) -> T:
    """`space[index]`, or `Invalid` "unknown <what> <index>"."""
    if 0 <= index < len(space):
        return space[index]
    raise Invalid(f"unknown {what} {index}")


@dataclass(slots=True)
class Context:
    """The context C of the validation rules; all types closed, `tags` and `signatures` expanded to function types."""

    types: Sequence[DefType] = ()
    funcs: Sequence[DefType] = ()
    signatures: Sequence[FuncType] = ()
    tables: Sequence[TableType] = ()
    memories: Sequence[MemType] = ()
    globals: Sequence[GlobalType] = ()
    tags: Sequence[FuncType] = ()
    elems: Sequence[RefType] = ()
    datas: Sequence[int] = ()
    refs: frozenset[int] = frozenset()
    work: int = 0
    _reftypes: dict[RefType, RefType] = field(default_factory=dict)
    _blocktypes: dict[ValType | int | None, FuncType] = field(default_factory=dict)
    _structs: dict[int, tuple[tuple[ValType, ...], bool]] = field(default_factory=dict)

    @rule("Reftype_ok", "Heaptype_ok/abs", "Heaptype_ok/typeuse", "Valtype_ok/ref")
    def reftype(self, t: RefType) -> RefType:
        """`t` closed; the same object for equal types, so that most comparisons end at once."""
        closed = self._reftypes.get(t)
        if closed is None:
            if isinstance(t.heap, str) and t.heap not in ABSTRACT_HEAP_TYPES:
                raise Invalid(f"unknown heap type {t.heap}")
            closed = self._reftypes[t] = close_reftype(t, self.types)
            applied(f"Heaptype_ok/{'abs' if isinstance(t.heap, str) else 'typeuse'}", "Reftype_ok", "Valtype_ok/ref")
        return closed

    @rule("Valtype_ok/num", "Valtype_ok/vec", "Numtype_ok", "Vectype_ok")
    def valtype(self, t: ValType) -> ValType:
        """`t` closed."""
        if isinstance(t, RefType):
            return self.reftype(t)
        if t in NUMBER_TYPES:
            applied("Numtype_ok", "Valtype_ok/num")
        elif t == "v128":
            applied("Vectype_ok", "Valtype_ok/vec")
        else:
            raise Invalid(f"unknown value type {t}")
        return t

    def ref(self, index: int, nullable: bool = False) -> RefType:
        """The type of references to that type index."""
        return self.reftype(RefType(nullable, index))

    @rule("Expand", "Expand_use/typeidx")
    def expand(self, index: int, kind: type[C]) -> C:
        """The composite type of that type index, which must be of that kind."""
        comp = types_at(self.types, index).comp
        if not isinstance(comp, kind):
            raise Invalid(f"type mismatch: non-{_COMP_NAMES[kind]} type {index}")
        applied("Expand", "Expand_use/typeidx")
        return comp

    @rule("Blocktype_ok/valtype", "Blocktype_ok/typeidx")
    def blocktype(self, t: ValType | int | None) -> FuncType:
        """The parameters and results of a block type."""
        applied(f"Blocktype_ok/{'typeidx' if isinstance(t, int) else 'valtype'}")
        known = self._blocktypes.get(t)
        if known is None:
            if isinstance(t, int):
                known = self.expand(t, FuncType)
            else:
                known = FuncType((), () if t is None else (self.valtype(t),))
            self._blocktypes[t] = known
        return known

    def struct_operands(self, index: int) -> tuple[tuple[ValType, ...], bool]:
        """What fills the fields of a new structure, and whether all of them have defaults."""
        known = self._structs.get(index)
        if known is None:
            fields = self.expand(index, StructType).fields
            known = tuple(unpack(f.storage) for f in fields), all(defaultable(f.storage) for f in fields)
            self._structs[index] = known
        return known

    def charge(self, count: int) -> None:
        """Account for a sequence of many types, which two bytes of code can ask for."""
        self.work += count
        if self.work > MAX_WORK:
            raise Exhausted("validation")

    def show(self, t: ValType) -> str:
        """`t` as the text format writes it, defined types by their index in this module."""
        if isinstance(t, str):
            return t
        heap = t.heap
        if isinstance(heap, DefType):
            name = str(self.types.index(heap)) if heap in self.types else str(heap)
            return f"(ref {'null ' if t.nullable else ''}{name})"
        return _SHORTHANDS.get(t) or f"(ref {'null ' if t.nullable else ''}{heap})"

    def show_all(self, types: Sequence[ValType]) -> str:
        """`types` in brackets, the first sixteen of them."""
        shown = [self.show(t) for t in islice(types, 16)] + ["…"] * (len(types) > 16)
        return f"[{' '.join(shown)}]"


class Locals:
    """The declared types of a function's locals, its parameters among them, as runs."""

    def __init__(self, params: Sequence[ValType] = (), runs: Sequence[tuple[int, ValType]] = ()) -> None:
        self._params = params
        self._types = [t for _, t in runs]
        self._ends = list(accumulate((count for count, _ in runs), initial=len(params)))[1:]

    def declared(self, index: int) -> tuple[ValType, bool]:
        """The type of a local, and whether it is set when the function is entered."""
        if 0 <= index < len(self._params):
            return self._params[index], True
        run = bisect_right(self._ends, index)
        if index < 0 or run == len(self._ends):
            raise Invalid(f"unknown local {index}")
        return self._types[run], defaultable(self._types[run])


@dataclass(slots=True)
class Frame:
    """An entry of the control stack: a block that is open."""

    opener: str
    params: Sequence[ValType]
    results: Sequence[ValType]
    height: int
    trail: int = 0
    unreachable: bool = False

    @property
    def label(self) -> Sequence[ValType]:
        """What a branch to the block takes along."""
        return self.params if self.opener == "loop" else self.results


class Code:
    """The stacks while one expression is checked.

    `height` is that of the innermost frame.  `readable` are the locals that were read or set; `trail` those among them
    that have no default, in the order in which they were set; a frame knows how long the trail was when it was opened.
    """

    def __init__(self, context: Context, locals_: Locals, results: Sequence[ValType]) -> None:
        self.context = context
        self.locals = locals_
        self.results = results
        self.stack: list[ValType] = []
        self.height = 0
        self.frame = Frame("function", (), results, 0)
        self.frames = [self.frame]
        self.block_heights: list[int] = []
        self.readable: dict[int, ValType] = {}
        self.trail: list[int] = []

    # Operands

    def mismatch(self, required: Sequence[ValType]) -> NoReturn:
        """Raise the error that says which operands were required and which are there."""
        have = self.stack[max(self.height, len(self.stack) - len(required)) :]
        show = self.context.show_all
        raise Invalid(f"type mismatch: instruction requires {show(required)} but stack has {show(have)}")

    def expect(self, types: Sequence[ValType]) -> int:
        """Check that the topmost operands match `types`; where they start on the stack."""
        stack, base = self.stack, len(self.stack) - len(types)
        start = base
        if base < self.height:
            if not self.frame.unreachable:
                self.mismatch(types)
            start = self.height
        if len(stack) - start > WIDE:
            self.context.charge(len(stack) - start)
        for i in range(start, len(stack)):
            actual, required = stack[i], types[i - base]
            if actual is not required and not match_valtype(actual, required):
                self.mismatch(types)
        return start

    def pop(self, types: Sequence[ValType]) -> None:
        """Take operands of these types."""
        del self.stack[self.expect(types) :]

    def push(self, types: Sequence[ValType]) -> None:
        """Leave operands of these types."""
        if len(types) > FEW:
            if len(self.stack) + len(types) > HIGHEST:
                raise Exhausted("validation")
            if len(types) > WIDE:
                self.context.charge(len(types))
        self.stack += types

    def apply(self, params: Sequence[ValType], results: Sequence[ValType]) -> None:
        """Take operands of the types `params`, leave those of the types `results`."""
        del self.stack[self.expect(params) :]
        self.push(results)

    def pop_any(self) -> ValType:
        """Take an operand of any type; "bot" where unreachable code has none."""
        if len(self.stack) > self.height:
            return self.stack.pop()
        if not self.frame.unreachable:
            raise Invalid("type mismatch: instruction requires an operand but stack has []")
        return "bot"

    def pop_ref(self) -> RefType:
        """Take a reference of any type."""
        t = self.pop_any()
        if t == "bot":
            return RefType(False, "bot")
        if isinstance(t, RefType):
            return t
        raise Invalid(f"type mismatch: instruction requires reference type but stack has [{self.context.show(t)}]")

    def matches(self, sub: Sequence[ValType], sup: Sequence[ValType]) -> bool:
        """Whether one sequence of types matches another."""
        if len(sub) > WIDE:
            self.context.charge(len(sub))
        return match_resulttype(sub, sup)

    def require_match(self, sub: RefType, sup: RefType) -> None:
        """Refuse two reference types that an instruction names if they do not match."""
        if not match_reftype(sub, sup):
            show = self.context.show
            raise Invalid(f"type mismatch: {show(sub)} does not match {show(sup)}")

    # Control

    def label(self, index: int) -> Sequence[ValType]:
        """The types of a label, counted from the innermost."""
        if not 0 <= index < len(self.frames):
            raise Invalid(f"unknown label {index}")
        return self.frames[-1 - index].label

    def enter(self, opener: str, params: Sequence[ValType], results: Sequence[ValType]) -> None:
        """Open a block."""
        self.pop(params)
        self.block_heights.append(len(self.stack))
        self.open(opener, params, results)

    def open(self, opener: str, params: Sequence[ValType], results: Sequence[ValType]) -> None:
        """Open a block, or a second branch of one, whose parameters were taken already."""
        self.height = len(self.stack)
        self.frame = Frame(opener, params, results, self.height, len(self.trail))
        self.frames.append(self.frame)
        self.push(params)

    def leave(self) -> Frame:
        """Close the innermost block: exactly its results must be there; they are taken, and its locals unset."""
        frame = self.frame
        if self.expect(frame.results) != frame.height:
            show = self.context.show_all
            have = show(self.stack[frame.height :])
            raise Invalid(f"type mismatch: {frame.opener} requires {show(frame.results)} but stack has {have}")
        while len(self.trail) > frame.trail:
            del self.readable[self.trail.pop()]
        del self.stack[frame.height :]
        self.frames.pop()
        if self.frames:
            self.frame = self.frames[-1]
            self.height = self.frame.height
        return frame

    def diverge(self) -> None:
        """What follows in this block is unreachable."""
        del self.stack[self.height :]
        self.frame.unreachable = True

    # Locals

    def read_local(self, index: int) -> ValType:
        """The type of a local that must be set."""
        t = self.readable.get(index)
        if t is None:
            t, is_set = self.locals.declared(index)
            if not is_set:
                raise Invalid(f"uninitialized local {index}")
            self.readable[index] = t
        return t

    def write_local(self, index: int) -> ValType:
        """The type of a local, which is set from here to the end of the block."""
        t = self.readable.get(index)
        if t is None:
            t, is_set = self.locals.declared(index)
            self.readable[index] = t
            if not is_set:
                self.trail.append(index)
        return t


Check = Callable[[Code, Instr], None]
F = TypeVar("F", bound=Check)

SPECIAL: dict[str, Check] = {}
"""By the `rule` of instructions.tbl, the check of rows whose type is "special".

A check takes the immediates from the instruction and does to the stacks what the rule says.
"""


def special(stem: str, variants: Sequence[str] | None = None) -> Callable[[F], F]:
    """Register the function for rows of that rule; it implements Instr_ok/stem, or Instr_ok/… of its variants."""

    def register(function: F) -> F:
        SPECIAL[stem] = function
        return rule(*(f"Instr_ok/{name}" for name in ((stem,) if variants is None else variants)))(function)

    return register
