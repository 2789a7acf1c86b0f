"""Matching of closed types."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from wasmlab_ref.match import (
    bottom_of,
    close,
    defaultable,
    difference,
    match_comptype,
    match_deftype,
    match_externtype,
    match_fieldtype,
    match_heaptype,
    match_limits,
    match_reftype,
    match_resulttype,
    match_storagetype,
    match_valtype,
    top_of,
    unpack,
)
from wasmlab_ref.outcome import Invalid
from wasmlab_ref.rules import listening
from wasmlab_ref.types import (
    ABSTRACT_HEAP_TYPES,
    ArrayType,
    DefType,
    ExternType,
    FieldType,
    FuncRef,
    FuncType,
    GlobalType,
    HeapType,
    Limits,
    MemType,
    RecType,
    RefType,
    StructType,
    SubType,
    TableType,
    TagType,
    close_group,
)

STRUCT = StructType()
SUBTYPES = {
    "any": {"any", "eq", "i31", "struct", "array", "none"},
    "eq": {"eq", "i31", "struct", "array", "none"},
    "i31": {"i31", "none"},
    "struct": {"struct", "none"},
    "array": {"array", "none"},
    "none": {"none"},
    "func": {"func", "nofunc"},
    "nofunc": {"nofunc"},
    "extern": {"extern", "noextern"},
    "noextern": {"noextern"},
    "exn": {"exn", "noexn"},
    "noexn": {"noexn"},
}


def define(*groups: RecType) -> list[DefType]:
    types: list[DefType] = []
    for group in groups:
        types += close_group(group, types)
    return types


def single(comp: FuncType | StructType | ArrayType, *supers: int, final: bool = False) -> RecType:
    return RecType((SubType(comp, supers, final),))


def test_abstract_heap_types() -> None:
    for sub, sup in product(ABSTRACT_HEAP_TYPES, repeat=2):
        assert match_heaptype(sub, sup) == (sub in SUBTYPES[sup]), (sub, sup)


@pytest.mark.parametrize("heap", ABSTRACT_HEAP_TYPES)
def test_bot_is_below_all_and_above_none(heap: str) -> None:
    assert match_heaptype("bot", heap)
    assert not match_heaptype(heap, "bot")
    assert match_heaptype("bot", "bot")


@pytest.mark.parametrize(
    ("comp", "kind", "bottom"),
    [(STRUCT, "struct", "none"), (ArrayType(FieldType("i8")), "array", "none"), (FuncType(), "func", "nofunc")],
)
def test_defined_against_abstract(comp: StructType | ArrayType | FuncType, kind: str, bottom: str) -> None:
    (t,) = define(single(comp))
    for heap in ABSTRACT_HEAP_TYPES:
        assert match_heaptype(t, heap) == (kind in SUBTYPES[heap])
        assert match_heaptype(heap, t) == (heap == bottom)
    assert match_heaptype("bot", t)
    assert not match_heaptype(t, "bot")
    assert (top_of(t), bottom_of(t)) == ("func" if kind == "func" else "any", bottom)


def test_tops_and_bottoms() -> None:
    heaps: list[HeapType] = ["i31", "nofunc", "noextern", "exn", "bot"]
    assert [top_of(h) for h in heaps] == ["any", "func", "extern", "exn", "bot"]
    assert [bottom_of(h) for h in heaps] == ["none", "nofunc", "noextern", "noexn", "bot"]


def test_equal_groups_are_one_type() -> None:
    pair = RecType((SubType(StructType((FieldType(RefType(True, 1)),))), SubType(StructType())))
    shifted = RecType((SubType(StructType((FieldType(RefType(True, 2)),))), SubType(StructType())))
    first, second = define(pair), define(single(FuncType(("f32",))), shifted)[1:]
    assert all(map(match_deftype, first, second))
    assert all(map(match_deftype, second, first))
    swapped = define(RecType(tuple(reversed(pair.subtypes))))
    assert not match_deftype(first[1], swapped[0])  # the same structure in another group
    assert not match_deftype(first[1], define(single(STRUCT, final=True))[0])
    assert not match_deftype(define(single(STRUCT))[0], define(single(STRUCT, final=True))[0])


def test_declared_supertypes_only() -> None:
    base, derived, cousin, twin = define(single(STRUCT), single(STRUCT, 0), single(STRUCT, 0), single(STRUCT, 1))
    assert derived is cousin  # declared in the same way, so the same type
    assert match_deftype(derived, base)
    assert match_deftype(twin, base)
    assert match_deftype(twin, derived)
    assert not match_deftype(base, derived)
    other = define(single(StructType((FieldType("i32"),))))[0]
    assert not match_deftype(other, base)  # fields alone make no subtype


def test_every_pair_of_a_chain() -> None:
    chain = define(single(STRUCT), *(single(STRUCT, i) for i in range(70)))
    fork = define(single(STRUCT), single(STRUCT, 0), single(StructType((FieldType("i32"),)), 1))[2]
    for (i, sub), (j, sup) in product(enumerate(chain), repeat=2):
        assert match_deftype(sub, sup) == (i >= j)
    assert [match_deftype(fork, t) for t in chain[:4]] == [True, True, False, False]


def test_deep_chain_costs_little(work: Callable[[Callable[[], object]], int]) -> None:
    chain = define(single(STRUCT), *(single(STRUCT, i) for i in range(20_000)))
    assert match_deftype(chain[-1], chain[0])
    assert work(lambda: match_deftype(chain[-1], chain[1])) < 1_000
    assert work(lambda: match_deftype(chain[1], chain[-1])) < 1_000


def test_exponential_unfolding_is_not_walked() -> None:
    groups = [single(STRUCT), *(single(StructType((FieldType(RefType(True, i)),) * 2)) for i in range(5_000))]
    one, two = define(*groups), define(*groups)
    assert one[-1] is two[-1]
    assert match_deftype(one[-1], two[-1])


def test_references() -> None:
    null, nonnull = RefType(True, "eq"), RefType(False, "eq")
    assert match_reftype(nonnull, null)
    assert not match_reftype(null, nonnull)
    assert match_reftype(RefType(False, "i31"), null)
    assert match_valtype("bot", "i32")
    assert match_valtype("bot", null)
    assert not match_valtype("i32", "bot")
    assert not match_valtype(null, "i32")
    assert not match_valtype("v128", "i32")
    assert match_resulttype(("i32", nonnull), ("i32", null))
    assert not match_resulttype(("i32",), ("i32", null))


def test_difference_loses_null_only_to_a_nullable_cast() -> None:
    any_null, any_ = RefType(True, "any"), RefType(False, "any")
    assert difference(any_null, RefType(True, "i31")) == any_
    assert difference(any_null, RefType(False, "i31")) == any_null
    assert difference(any_, RefType(False, "i31")) == any_


def test_defaults_and_packing() -> None:
    assert [defaultable(t) for t in ("i32", "f64", "v128", "i8", "bot")] == [True, True, True, True, False]
    assert defaultable(RefType(True, "func"))
    assert not defaultable(RefType(False, "func"))
    assert [unpack(t) for t in ("i8", "i16", "i64", RefType(True, "eq"))] == ["i32", "i32", "i64", RefType(True, "eq")]
    assert match_storagetype("i8", "i8")
    assert not match_storagetype("i8", "i16")
    assert not match_storagetype("i8", "i32")
    assert not match_storagetype("i32", "i8")


def test_fields_vary_only_where_immutable() -> None:
    eq, any_ = RefType(True, "eq"), RefType(True, "any")
    assert match_fieldtype(FieldType(eq), FieldType(any_))
    assert not match_fieldtype(FieldType(eq, True), FieldType(any_, True))
    assert match_fieldtype(FieldType(eq, True), FieldType(eq, True))
    assert not match_fieldtype(FieldType(eq, True), FieldType(eq))
    assert not match_fieldtype(FieldType(eq), FieldType(eq, True))


def test_composite_types() -> None:
    i32, f32, eq, any_ = FieldType("i32"), FieldType("f32"), RefType(True, "eq"), RefType(True, "any")
    assert match_comptype(StructType((i32, f32)), StructType((i32,)))
    assert not match_comptype(StructType((i32,)), StructType((i32, f32)))
    assert match_comptype(ArrayType(FieldType(eq)), ArrayType(FieldType(any_)))
    assert match_comptype(FuncType((any_,), (eq,)), FuncType((eq,), (any_,)))
    assert not match_comptype(FuncType((eq,), ()), FuncType((any_,), ()))
    assert not match_comptype(FuncType((), (any_,)), FuncType((), (eq,)))
    assert not match_comptype(STRUCT, ArrayType(i32))
    assert not match_comptype(FuncType(), STRUCT)


@pytest.mark.parametrize(
    ("sub", "sup", "matches"),
    [
        ((1, None), (0, None), True),
        ((0, None), (1, None), False),
        ((1, 2), (0, None), True),
        ((1, 2), (1, 2), True),
        ((1, 3), (1, 2), False),
        ((1, None), (1, 2), False),
    ],
)
def test_limits(sub: tuple[int, int | None], sup: tuple[int, int | None], matches: bool) -> None:
    assert match_limits(Limits(*sub), Limits(*sup)) == matches


def test_external_types() -> None:
    base, derived = define(single(FuncType()), single(FuncType(), 0))
    any_, eq, limits = RefType(True, "any"), RefType(True, "eq"), Limits(1, 2)
    cases: list[tuple[ExternType, ExternType, bool]] = [
        (FuncRef(derived), FuncRef(base), True),
        (FuncRef(base), FuncRef(derived), False),
        (TagType(base), TagType(base), True),
        (TagType(derived), TagType(base), False),
        (TagType(base), TagType(derived), False),
        (GlobalType(eq), GlobalType(any_), True),
        (GlobalType(eq, True), GlobalType(any_, True), False),
        (GlobalType(eq, True), GlobalType(eq, True), True),
        (GlobalType(eq, True), GlobalType(eq), False),
        (TableType(limits, eq), TableType(limits, eq), True),
        (TableType(limits, eq), TableType(limits, any_), False),
        (TableType(limits, any_), TableType(limits, eq), False),
        (TableType(limits, eq, "i64"), TableType(limits, eq), False),
        (MemType(limits), MemType(Limits(0)), True),
        (MemType(limits), MemType(limits, "i64"), False),
        (MemType(limits), GlobalType("i32"), False),
        (FuncRef(base), TagType(base), False),
    ]
    for sub, sup, matches in cases:
        assert match_externtype(sub, sup) == matches, (sub, sup)


def test_linking_names_its_rules() -> None:
    (t,) = define(single(FuncType()))
    heard: list[str] = []
    with listening(heard.append):
        for extern in (
            FuncRef(t),
            TagType(t),
            GlobalType("i32"),
            GlobalType("v128", True),
            MemType(Limits(0)),
            TableType(Limits(0, 1), RefType(True, "func")),
        ):
            assert match_externtype(extern, extern)
    assert {name for name in heard if name.startswith(("Ext", "Gl", "Lim", "Mem", "Tab", "Tag"))} == {
        "Externtype_sub/func", "Externtype_sub/tag", "Externtype_sub/global", "Externtype_sub/mem",
        "Externtype_sub/table", "Tagtype_sub", "Globaltype_sub/const", "Globaltype_sub/var", "Limits_sub/eps",
        "Limits_sub/max", "Memtype_sub", "Tabletype_sub",
    }  # fmt: skip


def test_close() -> None:
    types = define(single(STRUCT))
    assert close("i32", types) == "i32"
    assert close(RefType(True, "any"), types) == RefType(True, "any")
    assert close(RefType(False, 0), types) == RefType(False, types[0])
    with pytest.raises(Invalid, match="^unknown type 1$"):
        close(RefType(False, 1), types)
