"""The types of a module under construction: drawn, interned, and compared by what was declared.

Two indices count as different types even where the standard would find them equal: what is valid under that
stricter view is valid.
"""

from __future__ import annotations

from collections.abc import Sequence

from wasmlab_ref.types import (
    ArrayType,
    CompType,
    FieldType,
    FuncType,
    HeapType,
    RecType,
    RefType,
    StorageType,
    StructType,
    SubType,
    ValType,
)

from .source import Source

PACKED = ("i8", "i16")
_ABOVE = {
    "none": ("i31", "struct", "array", "eq", "any"),
    "i31": ("eq", "any"),
    "struct": ("eq", "any"),
    "array": ("eq", "any"),
    "eq": ("any",),
    "nofunc": ("func",),
    "noextern": ("extern",),
    "noexn": ("exn",),
}
_TOP = {"func": "func", "nofunc": "func", "extern": "extern", "noextern": "extern", "exn": "exn", "noexn": "exn"}


class Types:
    """The type section so far."""

    def __init__(self, groups: Sequence[RecType] = ()) -> None:
        self.groups: list[RecType] = []
        self.subs: list[SubType] = []
        self._functions: dict[FuncType, int] = {}
        self._below: dict[tuple[ValType, ValType], bool] = {}
        for group in groups:
            self.add(group)

    def add(self, group: RecType) -> int:
        """Append a recursion group; the index of its first type."""
        first = len(self.subs)
        self.groups.append(group)
        self.subs += group.subtypes
        for i, sub in enumerate(group.subtypes, first):
            if isinstance(sub.comp, FuncType) and len(group.subtypes) == 1 and sub.final and not sub.supers:
                self._functions.setdefault(sub.comp, i)
        return first

    def function(self, params: Sequence[ValType], results: Sequence[ValType]) -> int:
        """The index of a function type, added if need be."""
        comp = FuncType(tuple(params), tuple(results))
        found = self._functions.get(comp)
        return self.add(RecType((SubType(comp),))) if found is None else found

    def signature(self, index: int) -> FuncType:
        """The function type at an index."""
        comp = self.subs[index].comp
        if not isinstance(comp, FuncType):
            raise TypeError(f"type {index} is not a function type")
        return comp

    def indices(self, kind: type[CompType]) -> list[int]:
        """The indices of all structure, array or function types."""
        return [i for i, sub in enumerate(self.subs) if isinstance(sub.comp, kind)]

    def kind(self, heap: HeapType) -> str:
        """The abstract heap type just above a heap type."""
        if not isinstance(heap, int):
            return str(heap)
        comp = self.subs[heap].comp
        return "func" if isinstance(comp, FuncType) else "struct" if isinstance(comp, StructType) else "array"

    def top(self, heap: HeapType) -> str:
        """The top of the hierarchy: "any", "func", "extern" or "exn"."""
        return _TOP.get(self.kind(heap), "any")

    def supers(self, index: int) -> list[int]:
        """A type and its declared supertypes, nearest first."""
        chain = [index]
        while self.subs[chain[-1]].supers:
            above = self.subs[chain[-1]].supers[0]
            if not isinstance(above, int):
                break
            chain.append(above)
        return chain

    def heap_below(self, a: HeapType, b: HeapType) -> bool:
        """Is `a` a subtype of `b`?"""
        if a == b:
            return True
        if isinstance(a, int):
            if isinstance(b, int):
                return b in self.supers(a)
            kind = self.kind(a)
            return kind == b or b in _ABOVE.get(kind, ())
        if isinstance(b, int):
            return a == "nofunc" if self.kind(b) == "func" else a == "none"
        return b in _ABOVE.get(str(a), ())

    def below(self, a: ValType, b: ValType) -> bool:
        """Is `a` a subtype of `b`?"""
        if a is b or a == b:
            return True
        if not isinstance(a, RefType) or not isinstance(b, RefType):
            return False
        found = self._below.get((a, b))
        if found is None:
            found = (b.nullable or not a.nullable) and self.heap_below(a.heap, b.heap)
            self._below[a, b] = found
        return found

    def difference(self, a: RefType, b: RefType) -> RefType:
        """What is left of `a` when a cast to `b` failed."""
        return RefType(a.nullable and not b.nullable, a.heap)


def unpacked(storage: StorageType) -> ValType:
    """The type of values that a field holds."""
    return "i32" if storage in PACKED else storage


def defaultable(storage: StorageType) -> bool:
    """Has it a default value?"""
    return not isinstance(storage, RefType) or storage.nullable


def draw_groups(s: Source, numbers: Sequence[ValType]) -> list[RecType]:
    """A type section of aggregates, to be shared by the modules of a case: groups, recursion, subtyping."""
    types = Types()
    for _ in range(s.span(1, 3)):
        size = s.pick((1, 1, 2, 3))
        first = len(types.subs)
        types.add(RecType(tuple([_subtype(s, types, first, first + size, numbers) for _ in range(size)])))
    if not types.indices(StructType):
        fields = FieldType("i8", True), FieldType(s.pick(numbers), True)
        types.add(RecType((SubType(StructType(fields), final=False),)))
    if not types.indices(ArrayType):
        types.add(RecType((SubType(ArrayType(FieldType(s.pick((*PACKED, *numbers)), True))),)))
    if s.below(3) == 2:
        heaps: tuple[HeapType, ...] = ("func", "any", "eq", "extern", s.below(len(types.subs)))
        element = RefType(True, s.pick(heaps))
        types.add(RecType((SubType(ArrayType(FieldType(element, True))),)))
    return types.groups


def _subtype(s: Source, types: Types, first: int, end: int, numbers: Sequence[ValType]) -> SubType:
    parents = [i for i in range(first) if not types.subs[i].final]
    if parents and s.chance(50):
        parent = s.pick(parents)
        comp = types.subs[parent].comp
        if isinstance(comp, StructType):
            extra = tuple(_field(s, first, end, numbers) for _ in range(s.below(3)))
            comp = StructType(tuple(_narrowed(s, types, f) for f in comp.fields) + extra)
        elif isinstance(comp, ArrayType):
            comp = ArrayType(_narrowed(s, types, comp.element))
        return SubType(comp, (parent,), final=s.chance(40))
    kind = s.below(8)
    final = s.chance(40)
    if kind < 4:
        return SubType(StructType(tuple(_field(s, first, end, numbers) for _ in range(s.span(0, 4)))), (), final)
    if kind < 7:
        return SubType(ArrayType(_field(s, first, end, numbers)), (), final)
    params = tuple(_storable(s, first, end, numbers) for _ in range(s.below(3)))
    return SubType(FuncType(params, (s.pick(numbers),)), (), final)


def _narrowed(s: Source, types: Types, field: FieldType) -> FieldType:
    """The same field in a subtype: an immutable one may hold a subtype."""
    t = field.storage
    if field.mutable or not isinstance(t, RefType) or not s.chance(50):
        return field
    heap = {"any": "eq", "eq": "i31"}.get(t.heap, t.heap) if isinstance(t.heap, str) else t.heap
    return FieldType(RefType(t.nullable, heap), False)


def _field(s: Source, first: int, end: int, numbers: Sequence[ValType]) -> FieldType:
    kind = s.below(10)
    storage = s.pick(PACKED) if kind < 2 else s.pick(numbers) if kind < 6 else _storable(s, first, end, numbers)
    return FieldType(storage, s.chance(75))


def _storable(s: Source, first: int, end: int, numbers: Sequence[ValType]) -> ValType:
    kind = s.below(8)
    if kind < 3:
        return s.pick(numbers)
    if kind < 6:
        return RefType(True, s.below(end))
    if kind == 6:
        return RefType(False, "i31")
    return RefType(True, s.pick(("any", "eq", "i31", "struct", "array", "func", "extern")))
