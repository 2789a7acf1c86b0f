"""Values, the types of references, and the bytes of memories."""

from __future__ import annotations

import mmap

import pytest

from wasmlab_ref.memory_bytes import LAZY, extend, zeroed
from wasmlab_ref.store import ArrayInst, ExnInst, FuncInst, HostRef, StructInst, TagInst, ref_matches, type_of_ref
from wasmlab_ref.types import (
    ABSTRACT_HEAP_TYPES,
    ArrayType,
    DefType,
    FieldType,
    FuncType,
    RecType,
    RefType,
    StructType,
    SubType,
    roll,
)


def define(comp: FuncType | StructType | ArrayType, *supers: DefType) -> DefType:
    return roll(RecType((SubType(comp, supers, final=False),)))[0]


POINT = define(StructType())
POINT_2 = define(StructType((FieldType("i32"),)), POINT)
BYTES = define(ArrayType(FieldType("i8")))
FUNC = define(FuncType())

REFS = {
    "i31": (5, {"any", "eq", "i31", "extern"}),
    "struct": (StructInst([1], POINT_2), {"any", "eq", "struct", "extern"}),
    "array": (ArrayInst([], BYTES), {"any", "eq", "array", "extern"}),
    "func": (FuncInst(FUNC, 0), {"func"}),
    "exn": (ExnInst([], TagInst(FUNC)), {"exn"}),
    "host": (HostRef(3), {"any", "extern"}),
}


@pytest.mark.parametrize("name", REFS)
def test_abstract_types_of_references(name: str) -> None:
    ref, heaps = REFS[name]
    assert {h for h in ABSTRACT_HEAP_TYPES if ref_matches(ref, RefType(False, h))} == heaps
    assert ref_matches(ref, type_of_ref(ref))
    assert not type_of_ref(ref).nullable


def test_defined_types_of_references() -> None:
    point_2, _ = REFS["struct"]
    assert [ref_matches(point_2, RefType(False, t)) for t in (POINT, POINT_2, BYTES, FUNC)] == [
        True,
        True,
        False,
        False,
    ]
    assert not ref_matches(StructInst([], POINT), RefType(False, POINT_2))
    for name in ("i31", "exn", "host"):
        assert not ref_matches(REFS[name][0], RefType(True, POINT))
    assert type_of_ref(point_2) == RefType(False, POINT_2)


def test_null() -> None:
    for heap in (*ABSTRACT_HEAP_TYPES, POINT, FUNC):
        assert ref_matches(None, RefType(True, heap))
        assert not ref_matches(None, RefType(False, heap))
    assert type_of_ref(None) == RefType(True, "bot")


def test_host_references_are_equal_by_number() -> None:
    assert HostRef(1) == HostRef(1) != HostRef(2)


class WithoutResize(mmap.mmap):
    """A mapping of a platform that cannot move it."""

    def resize(self, newsize: int) -> None:
        raise SystemError


@pytest.mark.parametrize("size", [0, 1 << 16, LAZY - 1, LAZY])
def test_bytes_grow(size: int) -> None:
    data = zeroed(size)
    for larger in (size + 4096, LAZY + 4096, LAZY * 3):
        if len(data):
            data[len(data) - 1 :] = b"x"
        before = data[:]
        data = extend(data, larger)
        assert len(data) == larger
        assert data[: len(before)] == before
        assert not any(data[len(before) : len(before) + 5000])


def test_bytes_grow_where_mappings_cannot() -> None:
    data = WithoutResize(-1, 4096)
    data[:3] = b"abc"
    grown = extend(data, 8192)
    assert grown[:4] == b"abc\0"
    assert len(grown) == 8192
