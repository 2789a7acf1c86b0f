"""Dense code: many small trees over few values, for what compilers do to instructions that meet.

Instruction selection matches two or three instructions at once, simplification asks whether two operands are one value,
whether one is a constant and whether a result is used again; register allocation suffers from values that live long.
Operands drawn from many locals seldom meet such questions.  Here the leaves of all trees are two values of each type, a
few constants that are related to each other, and results of trees just made; most trees keep to one shape of lanes or
one width; and every result is kept, so that it lives to the end of the function, across calls, branches and loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from wasmlab_ref.syntax import Instr, MemArg, instr
from wasmlab_ref.types import RefType, ValType

from . import calls
from .bits import BITS
from .canonical import NAN_OF, canonicalise
from .function import CONST, Body
from .rows import Row, groups

if TYPE_CHECKING:
    from .builder import Builder
    from .parts import Function

WINDOW = 2
"""Values of each type that leaves are drawn from."""

SHAPES = ("i8x16", "i16x8", "i32x4", "i64x2", "f32x4", "f64x2")
INTEGERS = ("i32", "i64")
SHIFTS = (".shl", ".shr_s", ".shr_u", ".rotl", ".rotr")
BITWISE = (".and", ".or", ".xor", ".not", ".andnot", *SHIFTS)
"""Drawn twice as often: in them the patterns meet that compilers look for."""
JOINS = (".and", ".or", ".xor", ".andnot", ".add", ".sub")

KEPT = 5
"""Results of each type that live at once."""

Makers = list[Row]


class Dense(Body):
    """The body of a function of dense code."""

    def __init__(self, module: Builder, function: Function, size: int) -> None:
        super().__init__(module, function, size)
        self.risk = 0  # a trap would hide all that comes after
        self.end = size + 40
        self.window: dict[ValType, list[int]] = {}
        self.results: dict[ValType, list[int]] = {}
        self.constants: dict[ValType, list[int]] = {}
        self.theme = ""
        self._kinds: dict[ValType, list[Makers]] = {}
        self._themed: dict[tuple[ValType, str], Makers] = {}

    def fill(self) -> None:
        """All of the body."""
        for i, t in enumerate(self.function.params):
            self.window.setdefault(t, []).append(i)
        for t in dict.fromkeys(self.module.numbers()):
            if len(self.window.get(t, ())) < WINDOW:
                self._first(t)
        while not self.full():
            self.tree()
        for t, locals_ in self.results.items():
            for local in locals_:
                self.get(local)
                self.fold(t)
        self.settle()
        for t in self.function.results:
            self.leaf(t)

    def _first(self, t: ValType) -> None:
        """A leaf that no compiler knows the value of: out of a memory, or a global."""
        readers = self.module.global_readers(t)
        if self.module.paged and (self.below(4) or not readers):
            memory = self.source.pick(self.module.paged)
            self.const(memory.address, 8 * self.below(24))
            self.emit("v128.load" if t == "v128" else f"{t}.load", MemArg(memory.index, 0, self.below(8)))
            if self.canonical and t in NAN_OF:
                canonicalise(self, str(t))
        elif readers:
            self.code.append(self.source.pick(readers))
        else:
            super().expr(t, 2)
        self.keep(t)

    # Trees

    def expr(self, t: ValType, fuel: int, nan: str = "") -> None:
        """A tree of type `t`."""
        if isinstance(t, RefType):
            super().expr(t, fuel, nan)
            return
        if fuel <= 0 or len(self.code) >= self.end:
            self.leaf(t)
            return
        rows = self._themed.get((t, self.theme)) or self._rows(t)
        kind, row = divmod(self.below(16 * len(rows)), len(rows))
        if kind == 0:
            self.expr(t, fuel // 2, nan)
            self.expr(t, fuel // 2, nan)
            self.expr("i32", fuel // 2)
            self.code.append(_SELECT)
            return
        if kind < 12 and rows[row].instruction.mnemonic.endswith(SHIFTS):
            self._shift(rows[row], fuel - 1)
        elif kind < 8 and fuel > 1 and joins(rows[row]):
            self._siblings(rows[row], t)
        else:
            rows[row].make(self, t, fuel - 1, nan)
        if kind < 5 and not (self.canonical and nan):
            self._again(t)

    def _siblings(self, row: Row, t: ValType) -> None:
        """Operands of one kind, of which compilers make one: two shifts or comparisons, two loads or extensions."""
        kinds = self._kinds.get(t)
        if kinds is None:
            named: dict[str, Makers] = {}
            for other in self._themed.get((t, "")) or self._rows(t):
                named.setdefault(kind_of(other), []).append(other)
            kinds = self._kinds[t] = [rows for name, rows in named.items() if name] or [self._rows(t)]
        rows = kinds[self.below(len(kinds))]
        width = int(str(t)[1:]) if t in INTEGERS else 32
        count = self.below(width)
        for _ in row.params:
            made = rows[self.below(len(rows))]
            if made.instruction.mnemonic.endswith(SHIFTS):
                self.leaf(t)
                self.const(made.params[1], count)
                self.code.append(Instr(made.instruction))
                count = self.source.pick((width - count, width - count, count, self.below(width)))
            else:
                made.make(self, t, self.below(2), "")
        self.code.append(Instr(row.instruction))

    def _shift(self, row: Row, fuel: int) -> None:
        """By a constant, as most shifts are."""
        first, count = row.params
        self.expr(first, fuel)
        self.const(count, self.constant(count) if self.below(2) else self.below(64))
        self.code.append(Instr(row.instruction))

    def leaf(self, t: ValType) -> None:
        """One of the two values, a constant, or anything else there is."""
        window = self.window.get(t, ())
        most = 8 * (len(window) or WINDOW)
        which = self.below(most)
        if which < len(window) * 5:
            self.get(window[which // 5])
        elif which < most - 1 and t in CONST:
            self.const(t, self.constant(t))
        else:
            super().leaf(t)

    def constant(self, t: ValType) -> int:
        """One of few constants, each related to the first."""
        pool = self.constants.get(t)
        if pool is None:
            pool = self.constants[t] = _related(self, t)
        which = self.below(2 * len(pool) + 1)
        return pool[which // 2] if which < 2 * len(pool) else BITS[str(t)](self.source)

    def mix(self, t: ValType) -> None:
        """Nothing: between two instructions there shall be no third."""

    def _again(self, t: ValType) -> None:
        """Keep the value on the stack as a leaf: what is used twice is not what is used once."""
        local = self._place(t)
        self.tee(local)
        window = self.window.setdefault(t, [])
        if local not in window:
            window[WINDOW:] = [local]

    def _rows(self, t: ValType) -> Makers:
        """The rows that make a `t`: those of the theme, or all where it has none."""
        every = self._themed.get((t, ""))
        if every is None:
            m = self.module
            made = [group for group in groups().get(t, ()) if group.feature in self.module.features]
            every = [row for group in made if not m.lacks(group) for row in m.swarm.rows(group) if row.params]
            self._themed[t, ""] = every
        themed = [row for row in every if about(row, self.theme)] or every
        bits = [row for row in themed if row.instruction.mnemonic.endswith(BITWISE)]
        self._themed[t, self.theme] = found = themed + bits
        return found

    # Roots

    def tree(self) -> None:
        """A tree, and something that takes its value."""
        numbers = self.module.numbers()
        t = self.source.pick(numbers)
        self.theme = self._theme(t) if self.below(3) else ""
        kind, fuel = divmod(self.below(16 * 5), 5)
        fuel += 2
        if kind == 0:
            self._branch(t, fuel)
        elif kind == 1 and self.module.paged:
            self._store(fuel)
        elif kind == 2:
            self.expr(t, fuel)
            self.fold(t)
        elif kind == 3 and len(self.labels) < 4:
            self._loop()
        elif kind == 4:
            self._call(fuel)
        else:
            self.expr(t, fuel)
            self.keep(t)

    def _theme(self, t: ValType) -> str:
        shapes = (
            SHAPES if t == "v128" else (*INTEGERS, *[f"{t} alone"] * 2) if t in INTEGERS else (str(t), f"{t} alone")
        )
        return shapes[self.below(len(shapes))]

    def keep(self, t: ValType) -> None:
        """Put the value on the stack where it lives to the end, or until its place is needed; it may become a leaf."""
        local = self._place(t)
        self.set(local)
        window = self.window.setdefault(t, [])
        if len(window) < WINDOW:
            window.append(local)
        elif self.below(2):
            window[self.below(WINDOW)] = local

    def _place(self, t: ValType) -> int:
        """A local for a result; what it held before is in the sum."""
        kept = self.results.setdefault(t, [])
        if len(kept) < KEPT:
            kept.append(self.local(t, reserved=True))
            return kept[-1]
        local = kept[self.below(KEPT)]
        self.get(local)
        self.fold(t)
        return local

    def _branch(self, t: ValType, fuel: int) -> None:
        """A choice between two trees: the condition may become one with the branch."""
        self.expr("i32", fuel)
        self.open("if", (t,))
        self.expr(t, fuel // 2)
        self.emit("else")
        self.expr(t, fuel // 2)
        self.close()
        self.keep(t)

    def _store(self, fuel: int) -> None:
        """A store, which may become one with what it stores."""
        stores = _stores(self)
        stores[self.below(len(stores))].make(self, None, fuel, "")

    def _loop(self) -> None:
        """A few rounds of the next trees: values go around, and what does not change may move out."""
        if self.weight > 1 or not self.affordable(600):
            return
        rounds = 2 + self.below(3)
        counter = self.local("i32", hidden=True)
        self.const("i32", rounds)
        self.set(counter)
        start = len(self.code)
        self.open("loop", ())
        self.weight *= rounds
        for _ in range(2 + self.below(4)):
            self.tree()
        self.get(counter)
        self.const("i32", 1)
        self.emit("i32.sub")
        self.tee(counter)
        self.emit("br_if", 0)
        self.close()
        self.weight //= rounds
        self.extra += (len(self.code) - start) * (rounds - 1)

    def _call(self, fuel: int) -> None:
        """A call in the midst of all that lives."""
        found = calls.callees(self, lambda f: all(isinstance(t, str) for t in f.results))
        if found:
            f = found[self.below(len(found))]
            calls.invoke(self, f, fuel)
            for t in reversed(f.results):
                self.keep(t)


_SELECT = instr("select", None)


def kind_of(row: Row) -> str:
    """What a row has in common with others of its result type; "" for nothing in particular."""
    name, rule = row.instruction.mnemonic, row.instruction.rule
    if name.endswith(SHIFTS):
        return "shift"
    if rule in ("relop", "vrelop"):
        return "comparison"
    if row.size:
        return "load"
    return next((word for word in ("extend", "splat", "extract", "mul") if word in name), "")


def joins(row: Row) -> bool:
    """Does it make one of two values, of integers or bits, as compilers expect it of patterns?"""
    return row.closed and not row.makes and row.instruction.mnemonic.endswith(JOINS)


def about(row: Row, theme: str) -> bool:
    """Is a row about a shape or width, as operand or as result, or about nothing else?

    Those of no shape are about every shape.
    """
    name = row.instruction.mnemonic
    if theme.endswith(" alone"):
        return {*row.params, *(row.instruction.results or ())} == {theme.removesuffix(" alone")}
    return not theme or theme in name.replace(f"{theme}x", "") or ("x" in theme and name.startswith("v128."))


def _related(b: Dense, t: ValType) -> list[int]:
    """A constant, and what compilers relate it to: its neighbours, its negation, its complement to the width."""
    draw, s = BITS[str(t)], b.source
    first = draw(s)
    if t not in ("i32", "i64"):
        return [first, draw(s)]
    width = int(str(t)[1:])
    if s.below(2):
        first = s.below(width)
        others = [width - first, width - 1 - first, 1 << first]
    else:
        others = [-first, ~first, first + 1, first - 1]
    return [first, s.pick(others) % (1 << width), s.pick(others) % (1 << width)]


@cache
def _every_store() -> tuple[tuple[str, Row], ...]:
    return tuple(
        (group.feature, row)
        for group in groups()[None]
        for row in group.rows
        if row.size and "store" in row.instruction.mnemonic
    )


def _stores(b: Dense) -> Sequence[Row]:
    return [row for feature, row in _every_store() if feature in b.module.features]
