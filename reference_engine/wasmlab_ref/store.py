"""Runtime structure (section 4.2 of the standard): values, and the instances that a store holds.

A value is

    number, vector      an int, the bits
    null                None
    scalar reference    an int below 2^31 (references to i31 never meet numbers: their types differ)
    other references    `FuncInst`, `StructInst`, `ArrayInst`, `ExnInst`, and `HostRef` for what the embedder owns

Instances stand for the addresses of the standard: identity of objects is equality of addresses.  A reference keeps
its representation when `extern.convert_any` turns it into an external one.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from .limits import Account
from .match import match_heaptype
from .memory_bytes import Bytes, extend, zeroed
from .outcome import Exhausted
from .rules import applied, rule
from .types import (
    MAX_PAGES,
    PAGE,
    ArrayType,
    CompType,
    DefType,
    ExternType,
    FuncRef,
    FuncType,
    GlobalType,
    HeapType,
    Limits,
    MemType,
    RefType,
    StructType,
    TableType,
    TagType,
    ValType,
)

if TYPE_CHECKING:
    from .control import Code
    from .engine import Store
    from .syntax import Func
    from .validate import ValidModule

Value: TypeAlias = Any
HostCode: TypeAlias = Callable[..., Sequence[Value]]

MAX_ADDRESS = {"i32": (1 << 32) - 1, "i64": (1 << 64) - 1}


@dataclass(frozen=True, slots=True)
class HostRef:
    """A reference that the embedder made up; equal numbers are the same reference."""

    number: int


@dataclass(slots=True, eq=False)
class FuncInst:
    """A function: `code` of a module (of which `body` is the translation, once called), or a `host` callable."""

    type: DefType
    params: int
    instance: Instance | None = None
    index: int = 0
    code: Func | None = None
    host: HostCode | None = None
    body: Code | None = None


@dataclass(slots=True, eq=False)
class TagInst:
    """A tag."""

    type: DefType


@dataclass(slots=True, eq=False)
class GlobalInst:
    """A global."""

    type: GlobalType
    value: Value


@dataclass(slots=True, eq=False)
class TableInst:
    """A table; its list of references grows in place."""

    initial: TableType
    account: Account
    refs: list[Value]

    @classmethod
    def new(cls, type_: TableType, init: Value, account: Account) -> TableInst:
        """Allocate a table of the minimum size, filled with `init`."""
        account.require(type_.limits.min)
        return cls(type_, account, [init] * type_.limits.min)

    @property
    def type(self) -> TableType:
        """The type at its present size."""
        return TableType(Limits(len(self.refs), self.initial.limits.max), self.initial.element, self.initial.address)

    def grow(self, amount: int, init: Value) -> int | None:
        """The size before growing, or None where it cannot grow (growtable)."""
        size = len(self.refs)
        most = MAX_ADDRESS[self.initial.address] if self.initial.limits.max is None else self.initial.limits.max
        if size + amount > most or not self.account.take(amount):
            return None
        self.refs.extend([init] * amount)
        return size


@dataclass(slots=True, eq=False)
class MemInst:
    """A memory; `data` is replaced when it grows."""

    initial: MemType
    account: Account
    data: Bytes

    @classmethod
    def new(cls, type_: MemType, account: Account) -> MemInst:
        """Allocate a memory of the minimum size."""
        size = type_.limits.min * type_.page
        account.require(-(-size // PAGE))
        try:
            return cls(type_, account, zeroed(size))
        except (OSError, MemoryError):
            raise Exhausted("memory") from None

    @property
    def type(self) -> MemType:
        """The type at its present size."""
        return replace(self.initial, limits=Limits(self.pages, self.initial.limits.max))

    @property
    def pages(self) -> int:
        """The size in pages."""
        return len(self.data) // self.initial.page

    def grow(self, amount: int) -> int | None:
        """The size in pages before growing, or None where it cannot grow (growmem)."""
        pages = self.pages
        type_, size = self.initial, len(self.data) + amount * self.initial.page
        most = MAX_PAGES[type_.address, type_.page] if type_.limits.max is None else type_.limits.max
        if pages + amount > most or not self.account.take(-(-size // PAGE) + -len(self.data) // PAGE):
            return None
        if amount:
            try:
                self.data = extend(self.data, size)
            except (OSError, MemoryError):
                return None
        return pages


@dataclass(slots=True, eq=False)
class ElemInst:
    """An element segment; dropped ones are empty."""

    refs: list[Value]


@dataclass(slots=True, eq=False)
class DataInst:
    """A data segment; dropped ones are empty."""

    data: bytes


Extern: TypeAlias = FuncInst | TableInst | MemInst | GlobalInst | TagInst


@dataclass(slots=True, eq=False)
class Instance:
    """A module instance: every index space of its module, imports first, and its exports by name."""

    store: Store
    module: ValidModule
    types: tuple[DefType, ...]
    funcs: list[FuncInst] = field(default_factory=list)
    tables: list[TableInst] = field(default_factory=list)
    memories: list[MemInst] = field(default_factory=list)
    globals: list[GlobalInst] = field(default_factory=list)
    tags: list[TagInst] = field(default_factory=list)
    elems: list[ElemInst] = field(default_factory=list)
    datas: list[DataInst] = field(default_factory=list)
    exports: dict[str, Extern] = field(default_factory=dict)

    def close(self, type_: RefType) -> RefType:
        """`type_` with the instance's defined type in place of a type index (inst_reftype)."""
        heap = type_.heap
        return RefType(type_.nullable, self.types[heap]) if isinstance(heap, int) else type_

    def __repr__(self) -> str:
        return f"<instance exporting {', '.join(self.exports) or 'nothing'}>"


@dataclass(slots=True, eq=False)
class HeapObject:
    """What the garbage collector owns; packed fields are unsigned ints of their width."""

    fields: list[Value]


@dataclass(slots=True, eq=False)
class StructInst(HeapObject):
    """A structure."""

    type: DefType


@dataclass(slots=True, eq=False)
class ArrayInst(HeapObject):
    """An array."""

    type: DefType


@dataclass(slots=True, eq=False)
class ExnInst(HeapObject):
    """An exception: its tag, and the values thrown."""

    tag: TagInst


class Heap:
    """The account of garbage-collected objects.

    Python frees them, and nobody says how many are alive.  So allocations are charged, and where the account runs
    out, the objects alive in this process are counted anew, as a collector would.
    """

    OBJECT_BYTES = 64
    FIELD_BYTES = 8

    def __init__(self, limit: int, bulk: Callable[[int], None]) -> None:
        self.limit = limit
        self.left = limit
        self.bulk = bulk

    def charge(self, fields: int) -> None:
        """Account for an object of that many fields before it is made; `Exhausted` if there is no room."""
        size = self.OBJECT_BYTES + self.FIELD_BYTES * fields
        self.left -= size
        if self.left < 0:
            self.left = self.limit - size - self._alive() if size <= self.limit else 0
            if self.left < self.limit >> 4:  # too little to be worth the next count
                self.left = 0
                raise Exhausted("gc heap")
        if fields > 64:
            self.bulk(fields)

    def _alive(self) -> int:
        gc.collect()
        objects = [o for o in gc.get_objects() if isinstance(o, HeapObject)]
        return self.OBJECT_BYTES * len(objects) + self.FIELD_BYTES * sum(len(o.fields) for o in objects)


def default(type_: ValType) -> Value:
    """The default value; of types that have none, a null that validation keeps from being read."""
    return None if isinstance(type_, RefType) else 0


def func_type(type_: DefType) -> FuncType:
    """The function type that `type_` expands to."""
    comp: CompType = type_.comp
    if not isinstance(comp, FuncType):
        raise TypeError(f"{type_} is no function type")
    return comp


@rule("Ref_ok/null", "Ref_ok/i31", "Ref_ok/struct", "Ref_ok/array", "Ref_ok/func", "Ref_ok/exn", "Ref_ok/host")
def type_of_ref(ref: Value) -> RefType:
    """The most precise type of a reference, in its internal form."""
    heap: HeapType
    if ref is None:
        return RefType(True, "bot")
    if isinstance(ref, int):
        heap = "i31"
    elif isinstance(ref, ExnInst):
        heap = "exn"
    elif isinstance(ref, HostRef):
        heap = "any"
    else:
        heap = ref.type
    return RefType(False, heap)


@rule("Ref_ok/sub", "Ref_ok/extern")
def ref_matcher(type_: RefType) -> Callable[[Value], bool]:
    """The test whether a reference has the closed type, made once for many references."""
    heap, nullable = type_.heap, type_.nullable
    if isinstance(heap, DefType):

        def has_type(ref: Value) -> bool:
            if ref is None:
                return nullable
            actual = getattr(ref, "type", None)
            return actual is heap or (actual is not None and match_heaptype(actual, heap))

        return has_type
    test = _ABSTRACT[str(heap)]
    return lambda ref: nullable if ref is None else test(ref)


def ref_matches(ref: Value, type_: RefType) -> bool:
    """Whether a reference that comes from outside has the closed type."""
    if not ref_matcher(type_)(ref):
        return False
    applied(*typing(ref))
    return type_.heap != "extern" or ref is None or applied("Ref_ok/extern")


def typing(ref: Value) -> tuple[str, str]:
    """The rules that give a reference its own type and those above it."""
    kind = "null" if ref is None else next((name for type_, name in _REF_KINDS if isinstance(ref, type_)), "host")
    return f"Ref_ok/{kind}", "Ref_ok/sub"


@rule("Num_ok", "Vec_ok", "Val_ok/num", "Val_ok/vec", "Val_ok/ref")
def value_matches(value: Value, type_: ValType) -> bool:
    """Whether a value that comes from outside has the closed type."""
    if isinstance(type_, RefType):
        return ref_matches(value, type_) and applied("Val_ok/ref")
    if not (isinstance(value, int) and 0 <= value < 1 << int(type_[1:])):
        return False
    return applied("Vec_ok", "Val_ok/vec") if type_ == "v128" else applied("Num_ok", "Val_ok/num")


def _is_any(ref: Value) -> bool:
    return not isinstance(ref, FuncInst | ExnInst)


_ABSTRACT: dict[str, Callable[[Value], bool]] = {
    "any": _is_any,
    "extern": _is_any,
    "eq": lambda ref: isinstance(ref, int | StructInst | ArrayInst),
    "i31": lambda ref: isinstance(ref, int),
    "struct": lambda ref: isinstance(ref, StructInst),
    "array": lambda ref: isinstance(ref, ArrayInst),
    "func": lambda ref: isinstance(ref, FuncInst),
    "exn": lambda ref: isinstance(ref, ExnInst),
    **dict.fromkeys(("none", "nofunc", "noextern", "noexn", "bot"), lambda ref: False),
}


_REF_KINDS: tuple[tuple[type, str], ...] = (
    (int, "i31"), (StructInst, "struct"), (ArrayInst, "array"), (FuncInst, "func"), (ExnInst, "exn"),
)  # fmt: skip
_EXTERN_KINDS: dict[type, str] = {
    FuncInst: "func", TableInst: "table", MemInst: "mem", GlobalInst: "global", TagInst: "tag",
}  # fmt: skip


@rule("Externaddr_ok/func", "Externaddr_ok/table", "Externaddr_ok/mem", "Externaddr_ok/global", "Externaddr_ok/tag")
def extern_type(extern: Extern) -> ExternType:
    """The external type of an instance."""
    applied(f"Externaddr_ok/{_EXTERN_KINDS[type(extern)]}")
    if isinstance(extern, FuncInst):
        return FuncRef(extern.type)
    return TagType(extern.type) if isinstance(extern, TagInst) else extern.type


def field_types(type_: DefType) -> tuple[ValType, ...]:
    """The storage types of a structure's fields, or the one of an array's elements."""
    comp = type_.comp
    if isinstance(comp, StructType):
        return tuple(f.storage for f in comp.fields)
    if isinstance(comp, ArrayType):
        return (comp.element.storage,)
    raise TypeError(f"{type_} is no aggregate type")
