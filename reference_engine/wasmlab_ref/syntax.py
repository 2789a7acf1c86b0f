"""The abstract syntax of modules (chapter 2 of the standard).

Plain immutable data, shared by both formats: what `decode` and the text parser return, what `encode` and the printer
take.  Expressions are flat: a tuple of `Instr` in which `block`, `loop`, `if`, `try_table`, `else` and `end` are
instructions like others, and the `end` of the expression itself is left out.  So no depth of nesting can exhaust
Python's stack.  Equality is structural.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from .isa import BY_MNEMONIC, Instruction
from .types import ExternType, GlobalType, MemType, RecType, RefType, TableType, TagType, ValType


class Instr(NamedTuple):
    """An instruction: its row of the table, and one argument for each kind of immediate (see `isa`)."""

    op: Instruction
    args: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return " ".join([self.op.mnemonic, *map(str, self.args)])


Expr: TypeAlias = tuple[Instr, ...]


def instr(mnemonic: str, *args: Any) -> Instr:
    """The instruction of that name; KeyError if the table has none."""
    return Instr(BY_MNEMONIC[mnemonic], args)


class MemArg(NamedTuple):
    """Immediate of loads and stores; `align` is the exponent of the alignment, as in the binary format."""

    memory: int
    align: int
    offset: int


class Catch(NamedTuple):
    """A clause of try_table; `kind` is "catch", "catch_ref", "catch_all" or "catch_all_ref"."""

    kind: str
    tag: int | None
    label: int


class Cast(NamedTuple):
    """Immediate of br_on_cast and br_on_cast_fail."""

    label: int
    source: RefType
    target: RefType


@dataclass(frozen=True, slots=True)
class Import:
    """An import; function and tag types are type indices."""

    module: str
    name: str
    type: ExternType


@dataclass(frozen=True, slots=True)
class Func:
    """A function: type index, locals as runs of equal types (neighbouring runs differ), body."""

    type: int
    locals: tuple[tuple[int, ValType], ...] = ()
    body: Expr = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `init` None is the default, a null reference."""

    type: TableType
    init: Expr | None = None


@dataclass(frozen=True, slots=True)
class Global:
    """A global and its initialiser."""

    type: GlobalType
    init: Expr


@dataclass(frozen=True, slots=True)
class Export:
    """An export; `kind` is "func", "table", "memory", "global" or "tag"."""

    name: str
    kind: str
    index: int


@dataclass(frozen=True, slots=True)
class Active:
    """Mode of a segment that instantiation copies into table or memory `target`."""

    target: int
    offset: Expr


@dataclass(frozen=True, slots=True)
class Elem:
    """An element segment; `mode` is "passive", "declare" or `Active`."""

    type: RefType
    init: tuple[Expr, ...]
    mode: str | Active = "passive"


@dataclass(frozen=True, slots=True)
class Data:
    """A data segment; `mode` is "passive" or `Active`."""

    init: bytes
    mode: str | Active = "passive"


@dataclass(frozen=True, slots=True)
class Custom:
    """A custom section; `after` is the id of the section it follows (0: before all others)."""

    name: str
    data: bytes
    after: int = 0


@dataclass(frozen=True, slots=True)
class Module:
    """A module.  Index spaces count imports first, then definitions, in order."""

    types: tuple[RecType, ...] = ()
    imports: tuple[Import, ...] = ()
    funcs: tuple[Func, ...] = ()
    tables: tuple[Table, ...] = ()
    memories: tuple[MemType, ...] = ()
    tags: tuple[TagType, ...] = ()
    globals: tuple[Global, ...] = ()
    exports: tuple[Export, ...] = ()
    start: int | None = None
    elems: tuple[Elem, ...] = ()
    datas: tuple[Data, ...] = ()
    customs: tuple[Custom, ...] = ()
