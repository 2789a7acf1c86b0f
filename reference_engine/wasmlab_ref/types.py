"""Types (section 2.3 of the standard), and the canonical form of defined types.

A value type is a str ("i32" … "v128", "bot") or a `RefType`; a heap type is a str ("func", "any", "none" … "bot"),
a type index of the module at hand (int), a `DefType` (closed, canonical in the whole process) or, inside a recursive
type that was rolled up, a `RecVar`.

Defined types are iso-recursive.  `roll` closes a recursive type of a module over the types before it and interns the
result, so two defined types are the same in the sense of the standard exactly if they are the same object; no
comparison ever walks a type, whatever a module unfolds to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias, Union
from weakref import WeakValueDictionary


@dataclass(frozen=True, slots=True)
class RecVar:
    """The i-th type of the enclosing recursive type."""

    index: int


HeapType: TypeAlias = Union[str, int, "DefType", RecVar]


@dataclass(frozen=True, slots=True)
class RefType:
    """A reference to `heap`, or null where `nullable`."""

    nullable: bool
    heap: HeapType


ValType: TypeAlias = str | RefType
"""A number type, "v128", "bot" (below all types, in unreachable code only) or a reference type."""

StorageType: TypeAlias = ValType
"""A value type, or a packed type "i8", "i16"."""

ABSTRACT_HEAP_TYPES = (
    "any", "eq", "i31", "struct", "array", "none", "func", "nofunc", "extern", "noextern", "exn", "noexn",
)  # fmt: skip

SHORTHANDS: dict[str, RefType] = {
    ("null" + h[2:] if h.startswith("no") and h != "none" else "null" if h == "none" else h) + "ref": RefType(True, h)
    for h in ABSTRACT_HEAP_TYPES
}
"""Text shorthands: "funcref", "anyref", "nullref", "nullfuncref" …"""


@dataclass(frozen=True, slots=True)
class FieldType:
    """A field of a structure or the elements of an array."""

    storage: StorageType
    mutable: bool = False


@dataclass(frozen=True, slots=True)
class FuncType:
    """A function type; also the type of a tag, whose results are empty."""

    params: tuple[ValType, ...] = ()
    results: tuple[ValType, ...] = ()


@dataclass(frozen=True, slots=True)
class StructType:
    """A structure type."""

    fields: tuple[FieldType, ...] = ()


@dataclass(frozen=True, slots=True)
class ArrayType:
    """An array type."""

    element: FieldType


CompType: TypeAlias = FuncType | StructType | ArrayType


@dataclass(frozen=True, slots=True)
class SubType:
    """A composite type with its declared supertypes (at most one is valid)."""

    comp: CompType
    supers: tuple[HeapType, ...] = ()
    final: bool = True


@dataclass(frozen=True, slots=True)
class RecType:
    """A recursion group; a type outside `(rec …)` is a group of one."""

    subtypes: tuple[SubType, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a memory (pages) or a table (elements); `max` None means none."""

    min: int
    max: int | None = None


PAGE = 1 << 16
"""The size of a memory's pages, if nothing else is said."""

MAX_PAGES = {("i32", PAGE): 1 << 16, ("i64", PAGE): 1 << 48, ("i32", 1): (1 << 32) - 1, ("i64", 1): (1 << 64) - 1}
"""How many pages a memory can have, by its address type and their size."""


@dataclass(frozen=True, slots=True)
class MemType:
    """A memory; `address` is "i32" or "i64"; `shared` by several agents, in the proposal of threads; `page`, its pages'
    size, is another in that of custom page sizes."""

    limits: Limits
    address: str = "i32"
    shared: bool = False
    page: int = PAGE


@dataclass(frozen=True, slots=True)
class TableType:
    """A table of references."""

    limits: Limits
    element: RefType
    address: str = "i32"


@dataclass(frozen=True, slots=True)
class GlobalType:
    """A global."""

    value: ValType
    mutable: bool = False


@dataclass(frozen=True, slots=True)
class FuncRef:
    """The type of an imported function: its type index, or closed its `DefType`."""

    type: int | DefType


@dataclass(frozen=True, slots=True)
class TagType:
    """The type of a tag: a type index, or closed a `DefType`."""

    type: int | DefType


ExternType: TypeAlias = FuncRef | TableType | MemType | GlobalType | TagType
KINDS = {FuncRef: "func", TableType: "table", MemType: "memory", GlobalType: "global", TagType: "tag"}
"""Of external types, as exports name them."""


class _Group(list["DefType"]):
    """The defined types of one recursion group; dies with the last of them."""


@dataclass(frozen=True, slots=True, eq=False)
class DefType:
    """Type `index` of the closed group `rec`; canonical, so compared by identity."""

    rec: RecType
    index: int
    number: int
    _group: _Group = field(repr=False)
    _subtype: list[SubType] = field(default_factory=list, repr=False)
    lineage: list[Any] = field(default_factory=list, repr=False)
    """Kept by `match.match_deftype`, here so that it dies with the type."""

    @property
    def subtype(self) -> SubType:
        """The unrolled subtype: recursive variables replaced by defined types (rule Expand)."""
        if not self._subtype:
            self._subtype.append(map_subtype(self.rec.subtypes[self.index], lambda h: _unroll(h, self._group)))
        return self._subtype[0]

    @property
    def comp(self) -> CompType:
        """The composite type it expands to."""
        return self.subtype.comp

    def __repr__(self) -> str:
        return f"<type {self.number}>"


def _unroll(heap: HeapType, group: Sequence[DefType]) -> HeapType:
    return group[heap.index] if isinstance(heap, RecVar) else heap


_interned: WeakValueDictionary[RecType, _Group] = WeakValueDictionary()
_numbers = count()


def roll(rec: RecType) -> tuple[DefType, ...]:
    """The canonical defined types of a closed group (all heap types abstract, `DefType` or `RecVar`)."""
    group = _interned.get(rec)
    if group is None:
        group = _Group()
        group += [DefType(rec, i, next(_numbers), group) for i in range(len(rec.subtypes))]
        _interned[rec] = group
    return tuple(group)


def close_group(rec: RecType, types: Sequence[DefType]) -> tuple[DefType, ...]:
    """Close a group of a module over the defined types before it; indices beyond the group raise IndexError."""
    first, size = len(types), len(rec.subtypes)

    def close(heap: HeapType) -> HeapType:
        if isinstance(heap, int):
            if heap >= first + size:
                raise IndexError(heap)
            return types[heap] if heap < first else RecVar(heap - first)
        return heap

    return roll(RecType(tuple(map_subtype(s, close) for s in rec.subtypes)))


def map_valtype(t: ValType, f: Callable[[HeapType], HeapType]) -> ValType:
    """`t` with its heap type, if it has one, mapped."""
    return RefType(t.nullable, f(t.heap)) if isinstance(t, RefType) else t


def map_subtype(sub: SubType, f: Callable[[HeapType], HeapType]) -> SubType:
    """`sub` with every heap type in it mapped."""
    comp: CompType
    match sub.comp:
        case FuncType(params, results):
            comp = FuncType(tuple(map_valtype(t, f) for t in params), tuple(map_valtype(t, f) for t in results))
        case StructType(fields):
            comp = StructType(tuple(FieldType(map_valtype(t.storage, f), t.mutable) for t in fields))
        case ArrayType(element):
            comp = ArrayType(FieldType(map_valtype(element.storage, f), element.mutable))
    return SubType(comp, tuple(f(s) for s in sub.supers), sub.final)
