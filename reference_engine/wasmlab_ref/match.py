"""Matching of closed types: the subtype relation (section 3.3 of the standard).

Every function answers whether its first argument matches its second.  Types must be closed (see `close`): a heap type
is a name or a `DefType`.  No answer costs more than the size of the types at hand and, for defined types, the
logarithm of the depth of their declared supertypes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from .outcome import Invalid
from .rules import applied, rule
from .types import (
    ABSTRACT_HEAP_TYPES,
    ArrayType,
    CompType,
    DefType,
    ExternType,
    FieldType,
    FuncRef,
    FuncType,
    GlobalType,
    HeapType,
    Limits,
    MemType,
    RefType,
    StorageType,
    StructType,
    TableType,
    TagType,
    ValType,
)

NUMBER_TYPES = frozenset({"i32", "i64", "f32", "f64"})
PACKED_TYPES = frozenset({"i8", "i16"})

_PARENTS = {
    "eq": ("any", "Heaptype_sub/eq-any"),
    "i31": ("eq", "Heaptype_sub/i31-eq"),
    "struct": ("eq", "Heaptype_sub/struct-eq"),
    "array": ("eq", "Heaptype_sub/array-eq"),
}
_BOTTOMS = {"any": "none", "func": "nofunc", "extern": "noextern", "exn": "noexn"}
_KINDS: dict[type[CompType], str] = {StructType: "struct", ArrayType: "array", FuncType: "func"}


def _proofs() -> dict[tuple[str, str], tuple[str, ...]]:
    """For each pair of abstract heap types that match, the rules that say so."""
    proofs: dict[tuple[str, str], tuple[str, ...]] = {}
    for heap in (*ABSTRACT_HEAP_TYPES, "bot"):
        proofs[heap, heap] = ("Heaptype_sub/refl",)
    for heap in ABSTRACT_HEAP_TYPES:
        proofs["bot", heap] = ("Heaptype_sub/bot",)
        proof: tuple[str, ...] = ()
        sup = heap
        while sup in _PARENTS:
            sup, step = _PARENTS[sup]
            proof += ("Heaptype_sub/trans", step) if proof else (step,)
            proofs[heap, sup] = proof
    for top, bottom in _BOTTOMS.items():
        for heap in ABSTRACT_HEAP_TYPES:
            if (heap, top) in proofs and heap != bottom:
                proofs[bottom, heap] = (f"Heaptype_sub/{bottom}", *proofs[heap, top])
    return proofs


_ABSTRACT = _proofs()
_TOPS = {"bot": "bot"} | {sub: sup for sub, sup in _ABSTRACT if sup in _BOTTOMS and sub != "bot"}


def close(t: ValType, types: Sequence[DefType]) -> ValType:
    """`t` with its type index, if it has one, replaced by the defined type; `Invalid` where there is none."""
    return close_reftype(t, types) if isinstance(t, RefType) else t


def close_reftype(t: RefType, types: Sequence[DefType]) -> RefType:
    """As `close`, for a reference type."""
    return RefType(t.nullable, types_at(types, t.heap)) if isinstance(t.heap, int) else t


@rule("Typeuse_ok/typeidx")
def types_at(types: Sequence[DefType], index: int) -> DefType:
    """The type of that index, or `Invalid`."""
    if not 0 <= index < len(types):
        raise Invalid(f"unknown type {index}")
    applied("Typeuse_ok/typeidx")
    return types[index]


def kind_of(t: DefType) -> str:
    """The abstract heap type right above a defined type: "struct", "array" or "func"."""
    return _KINDS[type(t.comp)]


def top_of(heap: HeapType) -> str:
    """The top of a heap type's hierarchy: "any", "func", "extern" or "exn" ("bot", which is in all, stays)."""
    name = kind_of(heap) if isinstance(heap, DefType) else cast(str, heap)
    return _TOPS[name]


def bottom_of(heap: HeapType) -> str:
    """The bottom of a heap type's hierarchy: "none", "nofunc", "noextern" or "noexn"."""
    return _BOTTOMS.get(top_of(heap), "bot")


@rule("Defaultable", "Nondefaultable")
def defaultable(t: StorageType) -> bool:
    """Whether a variable of the type has a default value: zero or null."""
    has_default = t.nullable if isinstance(t, RefType) else t != "bot"
    return applied("Defaultable") if has_default else not applied("Nondefaultable")


def unpack(t: StorageType) -> ValType:
    """The type of the values that a field of this storage type gives and takes."""
    return "i32" if t in PACKED_TYPES else t


def difference(t1: RefType, t2: RefType) -> RefType:
    """The type of references that are of type `t1` and failed a cast to `t2`, as exact as the standard is."""
    return RefType(False, t1.heap) if t2.nullable else t1


@rule(
    "Heaptype_sub/refl", "Heaptype_sub/trans", "Heaptype_sub/eq-any", "Heaptype_sub/i31-eq",
    "Heaptype_sub/struct-eq", "Heaptype_sub/array-eq", "Heaptype_sub/struct", "Heaptype_sub/array",
    "Heaptype_sub/func", "Heaptype_sub/def", "Heaptype_sub/none", "Heaptype_sub/nofunc", "Heaptype_sub/noexn",
    "Heaptype_sub/noextern", "Heaptype_sub/bot",
)  # fmt: skip
def match_heaptype(sub: HeapType, sup: HeapType) -> bool:
    """Whether references to `sub` are references to `sup`."""
    if isinstance(sup, DefType):
        if isinstance(sub, DefType):
            return match_deftype(sub, sup) and applied("Heaptype_sub/def")
        if sub == "bot":
            return applied("Heaptype_sub/bot")
        return sub == bottom_of(sup) and applied(f"Heaptype_sub/{sub}")
    if isinstance(sub, DefType):
        kind = kind_of(sub)
        proof = _ABSTRACT.get((kind, cast(str, sup)))
        return proof is not None and applied(f"Heaptype_sub/{kind}", *proof)
    proof = _ABSTRACT.get((cast(str, sub), cast(str, sup)))
    return proof is not None and applied(*proof)


@rule("Reftype_sub/nonnull", "Reftype_sub/null")
def match_reftype(sub: RefType, sup: RefType) -> bool:
    """Whether references of type `sub` are of type `sup`."""
    if sub.nullable and not sup.nullable:
        return False
    return match_heaptype(sub.heap, sup.heap) and applied(f"Reftype_sub/{'null' if sup.nullable else 'nonnull'}")


@rule("Valtype_sub/num", "Valtype_sub/vec", "Valtype_sub/ref", "Valtype_sub/bot", "Numtype_sub", "Vectype_sub")
def match_valtype(sub: ValType, sup: ValType) -> bool:
    """Whether values of type `sub` are of type `sup`."""
    if isinstance(sub, RefType):
        return isinstance(sup, RefType) and match_reftype(sub, sup) and applied("Valtype_sub/ref")
    if sub == "bot":
        return applied("Valtype_sub/bot")
    if sub != sup:
        return False
    return applied("Vectype_sub", "Valtype_sub/vec") if sub == "v128" else applied("Numtype_sub", "Valtype_sub/num")


@rule("Resulttype_sub")
def match_resulttype(sub: Sequence[ValType], sup: Sequence[ValType]) -> bool:
    """Whether sequences of values of types `sub` are of types `sup`."""
    return len(sub) == len(sup) and all(map(match_valtype, sub, sup)) and applied("Resulttype_sub")


@rule("Packtype_sub", "Storagetype_sub/val", "Storagetype_sub/pack")
def match_storagetype(sub: StorageType, sup: StorageType) -> bool:
    """Whether what is stored as `sub` can be read as `sup`."""
    if sub in PACKED_TYPES:
        return sub == sup and applied("Packtype_sub", "Storagetype_sub/pack")
    return match_valtype(sub, sup) and applied("Storagetype_sub/val")


@rule("Fieldtype_sub/const", "Fieldtype_sub/var")
def match_fieldtype(sub: FieldType, sup: FieldType) -> bool:
    """Whether a field of type `sub` can be used as one of type `sup`; mutable ones only if they are equivalent."""
    if sub.mutable != sup.mutable or not match_storagetype(sub.storage, sup.storage):
        return False
    if not sub.mutable:
        return applied("Fieldtype_sub/const")
    return match_storagetype(sup.storage, sub.storage) and applied("Fieldtype_sub/var")


@rule("Comptype_sub/struct", "Comptype_sub/array", "Comptype_sub/func")
def match_comptype(sub: CompType, sup: CompType) -> bool:
    """Whether a type defined as `sub` may declare one defined as `sup` its supertype."""
    match sub, sup:
        case StructType(fields), StructType(prefix):
            matches = len(fields) >= len(prefix) and all(map(match_fieldtype, fields, prefix))
            return matches and applied("Comptype_sub/struct")
        case ArrayType(element), ArrayType(other):
            return match_fieldtype(element, other) and applied("Comptype_sub/array")
        case FuncType(), FuncType():
            matches = match_resulttype(sup.params, sub.params) and match_resulttype(sub.results, sup.results)
            return matches and applied("Comptype_sub/func")
    return False


class _Lineage(NamedTuple):
    """Where a defined type is in its chain of supertypes; `jump` is one further up, so that walks are short."""

    depth: int
    parent: DefType
    jump: DefType


def _lineage(t: DefType) -> _Lineage:
    """The lineage of `t`, with a skip list of pointers after Myers (1983): log(depth) steps to any ancestor."""
    pending = []
    while not t.lineage:
        supers = t.subtype.supers
        if not supers:
            t.lineage.append(_Lineage(0, t, t))
            break
        pending.append(t)
        t = cast(DefType, supers[0])
    up: _Lineage = t.lineage[0]
    for child in reversed(pending):
        over: _Lineage = up.jump.lineage[0]
        even = up.depth - over.depth == over.depth - over.jump.lineage[0].depth
        up = _Lineage(up.depth + 1, t, over.jump if even else t)
        child.lineage.append(up)
        t = child
    return up


@rule("Deftype_sub/refl", "Deftype_sub/super")
def match_deftype(sub: DefType, sup: DefType) -> bool:
    """Whether `sub` is `sup`, or has it among its declared supertypes."""
    if sub is sup:
        return applied("Deftype_sub/refl")
    if not sub.subtype.supers:
        return False
    depth = _lineage(sup).depth
    at = _lineage(sub)
    while at.depth > depth:
        sub = at.jump if at.jump.lineage[0].depth >= depth else at.parent
        at = sub.lineage[0]
    return sub is sup and applied("Deftype_sub/super")


@rule("Limits_sub/max", "Limits_sub/eps")
def match_limits(sub: Limits, sup: Limits) -> bool:
    """Whether `sub` stays within the range of `sup`."""
    if sub.min < sup.min:
        return False
    if sup.max is None:
        return applied(f"Limits_sub/{'eps' if sub.max is None else 'max'}")
    return sub.max is not None and sub.max <= sup.max and applied("Limits_sub/max")


@rule("Tagtype_sub")
def match_tagtype(sub: DefType, sup: DefType) -> bool:
    """Whether the types of two tags are equivalent."""
    return match_deftype(sub, sup) and match_deftype(sup, sub) and applied("Tagtype_sub")


@rule("Globaltype_sub/const", "Globaltype_sub/var")
def match_globaltype(sub: GlobalType, sup: GlobalType) -> bool:
    """Whether a global of type `sub` can be used as one of type `sup`; mutable ones only if they are equivalent."""
    if sub.mutable != sup.mutable or not match_valtype(sub.value, sup.value):
        return False
    if not sub.mutable:
        return applied("Globaltype_sub/const")
    return match_valtype(sup.value, sub.value) and applied("Globaltype_sub/var")


@rule("Memtype_sub")
def match_memtype(sub: MemType, sup: MemType) -> bool:
    """Whether a memory of type `sub` can be used as one of type `sup`."""
    return (
        sub.address == sup.address
        and sub.shared == sup.shared
        and sub.page == sup.page
        and match_limits(sub.limits, sup.limits)
        and applied("Memtype_sub")
    )


@rule("Tabletype_sub")
def match_tabletype(sub: TableType, sup: TableType) -> bool:
    """Whether a table of type `sub` can be used as one of type `sup`; the elements' types must be equivalent."""
    return (
        sub.address == sup.address
        and match_limits(sub.limits, sup.limits)
        and match_reftype(sub.element, sup.element)
        and match_reftype(sup.element, sub.element)
        and applied("Tabletype_sub")
    )


@rule("Externtype_sub/func", "Externtype_sub/table", "Externtype_sub/mem")
@rule("Externtype_sub/global", "Externtype_sub/tag")
def match_externtype(sub: ExternType, sup: ExternType) -> bool:
    """Whether something of type `sub` can be linked to an import of type `sup`."""
    match sub, sup:
        case FuncRef(DefType() as t1), FuncRef(DefType() as t2):
            return match_deftype(t1, t2) and applied("Externtype_sub/func")
        case TableType(), TableType():
            return match_tabletype(sub, sup) and applied("Externtype_sub/table")
        case MemType(), MemType():
            return match_memtype(sub, sup) and applied("Externtype_sub/mem")
        case GlobalType(), GlobalType():
            return match_globaltype(sub, sup) and applied("Externtype_sub/global")
        case TagType(DefType() as t1), TagType(DefType() as t2):
            return match_tagtype(t1, t2) and applied("Externtype_sub/tag")
    return False
