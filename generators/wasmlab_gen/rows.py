"""The table's plain rows, read backwards: from a result type to the rows that make it.

Rows are drawn by group (feature, rule), then within the group, so that the many rows of one rule do not drown the
few of another.  A plain row added to the table is generated with no change here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from wasmlab_ref.isa import INSTRUCTIONS, MEMARGS, Instruction
from wasmlab_ref.syntax import Instr
from wasmlab_ref.types import ValType

from .bits import BITS
from .canonical import NAN_OF, canonicalise

if TYPE_CHECKING:
    from .function import Body

Operands: TypeAlias = "Callable[[Body, Row, ValType, int], tuple[Any, ...] | None]"
"""Emits a row's operands in its own way and returns the immediates; None: the usual way after all."""

# Arithmetic that keeps or moves the bits of a NaN; all other arithmetic on floats may change them.
_KEEPS_NAN = {"neg", "abs", "copysign", "pmin", "pmax"}
_ARITHMETIC = {"unop", "binop", "relop", "cvtop", "vunop", "vbinop", "vrelop", "vcvtop", "vternop"}
_SHAPE = re.compile(r"_((?:[if](?:8|16|32|64))(?:x\d+)?)")


class Row:
    """A plain row, prepared.

    `blind`: the float shape of the operands, where the bits of their NaNs cannot show in the result, other than in
    those of its own NaNs; `makes`: the float shape of a result with NaNs that the standard leaves open; `passes`:
    the shape of an operation that is blind only if its own result is looked at with such eyes.
    """

    __slots__ = (
        "atomic", "blind", "fixed", "immediates", "instruction", "makes", "operands", "params", "passes", "prefix",
        "size",
    )  # fmt: skip

    def __init__(self, instruction: Instruction) -> None:
        self.instruction = instruction
        self.params: tuple[ValType, ...] = instruction.params or ()
        self.immediates = tuple(_immediate(kind) for kind in instruction.immediates)
        self.fixed = None if self.immediates else Instr(instruction)
        self.operands: Operands | None = None
        self.size = instruction.access
        self.atomic = any(kind.startswith("atomic:") for kind in instruction.immediates)
        self.blind, self.makes, self.passes = _nan_facts(instruction)
        self.prefix = instruction.mnemonic.partition(".")[0]

    @property
    def closed(self) -> bool:
        """Does it make a value of the type of all its one to three operands, out of nothing else?"""
        same = {*self.params, *(self.instruction.results or ())}
        return bool(self.params) and len(same) == 1 and self.operands is None and not self.size

    def make(self, b: Body, t: Any, fuel: int, nan: str) -> None:
        """Emit operands and the instruction.

        `t` is the type wanted, `nan` the shape in which the bits of NaNs do not matter to the context.
        """
        source, args = b.source, None
        if self.operands is not None:
            args = self.operands(b, self, t, fuel)
        if args is None:
            blind = self.blind or (self.passes if nan == self.passes else "")
            params = self.params
            if len(params) == 1:
                b.expr(params[0], fuel, blind)
            elif params and params[0] == params[1] and b.below(8) == 7:
                _shared(b, self, fuel, blind)
            elif params:
                for i, param in enumerate(params):
                    share = b.below(fuel + 1) if i + 1 < len(params) and fuel > 0 else fuel
                    fuel -= share
                    first = i == 0 or not self.passes or self.instruction.rule != "binop"  # copysign: the sign shows
                    b.expr(param, share, blind if first else "")
            args = tuple([draw(source) for draw in self.immediates])
        b.code.append(self.fixed or Instr(self.instruction, args))
        if self.makes and self.makes != nan and b.canonical:
            canonicalise(b, self.makes)


def _shared(b: Body, row: Row, fuel: int, blind: str) -> None:
    """Operands that have parts in common: one value twice, or functions of the same two values.

    Optimisations are about instructions that meet on the same values, which operands drawn on their own seldom are.
    """
    t, below = row.params[0], b.below
    x = b.local(t, hidden=True)
    b.expr(t, fuel // 2, "" if b.canonical else blind)
    b.set(x)
    y = x
    if below(4):
        y = b.local(t, hidden=True)
        b.expr(t, fuel // 2, "" if b.canonical else blind)
        b.set(y)
    near = b.module.swarm.closed(t, row.prefix)
    for param in row.params:
        if param != t:
            b.expr(param, fuel // 2)
            continue
        inner = near[below(len(near))] if near and below(2) else None
        first, second = ((x, y), (y, x))[below(2)]
        b.get(first)
        if inner is not None:
            for _ in inner.params[1:]:
                b.get(second)
            args = tuple([draw(b.source) for draw in inner.immediates])
            b.code.append(inner.fixed or Instr(inner.instruction, args))
            if inner.makes and b.canonical:
                canonicalise(b, inner.makes)


def _immediate(kind: str) -> Callable[[Any], Any]:
    name, _, size = kind.partition(":")
    if name == "lane":
        lanes = int(size)
        return lambda s: s.below(lanes)
    if name == "lanes":
        return lambda s: tuple([s.below(32) for _ in range(16)])
    if name in BITS:
        return BITS[name]
    return lambda s: 0  # an index or a memory argument: rows that have one draw it with their operands


def _nan_facts(row: Instruction) -> tuple[str, str, str]:
    prefix, _, operation = row.mnemonic.partition(".")
    if row.rule not in _ARITHMETIC or operation.startswith("reinterpret"):
        return "", "", ""
    found = _SHAPE.search(operation)
    operand = found.group(1) if found else prefix
    if operand not in NAN_OF:
        return "", "", ""
    if operation in _KEEPS_NAN:
        return "", "", prefix
    return operand, prefix if prefix in NAN_OF and row.rule not in ("relop", "vrelop") else "", ""


class Group:
    """The rows of one feature and rule with the same results: drawn together."""

    __slots__ = ("feature", "needs", "of_memory", "rows", "rule", "weight")

    def __init__(self, feature: str, rule: str) -> None:
        self.feature, self.rule = feature, rule
        self.rows: list[Row] = []
        self.needs: tuple[str, ...] = ()
        self.weight = 1
        self.of_memory = False

    def make(self, b: Body, t: Any, fuel: int, nan: str) -> None:
        """Emit one of the rows, unless the module lacks what they are about."""
        if self.needs and (b.module.lacks(self) or (self.of_memory and not b.module.addressed(t))):
            if t is not None:
                b.expr(t, fuel, nan)
            return
        rows = b.module.swarm.rows(self)
        rows[b.below(len(rows))].make(b, t, fuel, nan)


_NEEDS = (*MEMARGS, "shared", "memory", "data", "elem")


@cache
def groups() -> dict[ValType | None, tuple[Group, ...]]:
    """The groups of plain rows by result type; those without results under None."""
    from .operands import BY_KIND, BY_NAME

    found: dict[tuple[ValType | None, str, str], Group] = {}
    for instruction in INSTRUCTIONS:
        if instruction.results is None or instruction.params is None:
            continue
        result = instruction.results[0] if instruction.results else None
        row = Row(instruction)
        names = (instruction.mnemonic, instruction.mnemonic.partition(".")[2])
        by_kind = BY_KIND.get(instruction.immediates[0].partition(":")[0]) if instruction.immediates else None
        row.operands = by_kind or BY_NAME.get(names[0]) or BY_NAME.get(names[1])
        group = found.setdefault(
            (result, instruction.feature, instruction.rule), Group(instruction.feature, instruction.rule)
        )
        group.rows.append(row)
        kinds = [kind.partition(":")[0] for kind in instruction.immediates]
        kinds += ["shared"] * (instruction.rule == "atomic.wait")
        group.needs = tuple(dict.fromkeys([*group.needs, *(kind for kind in kinds if kind in _NEEDS)]))
    by_result: dict[ValType | None, list[Group]] = {}
    for (result, _, _), group in found.items():
        by_result.setdefault(result, []).append(group)
        group.weight = 1 + len(group.rows).bit_length() // 2 + len(group.rows) // 8
        group.of_memory = result == "at"
    return {result: tuple(members) for result, members in by_result.items()}
