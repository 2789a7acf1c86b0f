"""What a module shows to the outside: its types, imports and exports, read without its code.

Enough to link it and to call it, at a fraction of what decoding costs.  Nothing is validated: exports whose types do
not exist are left out, since no engine may instantiate such a module.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from .decode import LIST_SECTIONS, MAGIC, VERSION
from .outcome import Malformed
from .reader import Reader
from .syntax import Import
from .types import (
    KINDS,
    CompType,
    ExternType,
    FuncRef,
    FuncType,
    GlobalType,
    HeapType,
    RecType,
    RefType,
    SubType,
    TableType,
    TagType,
    ValType,
)

_PARTS = {section: LIST_SECTIONS[section][0] for section in (1, 2, 4, 5, 13, 6, 7)}


@dataclass(frozen=True)
class Interface:
    """Types and imports of a module, and its exports by name; type indices are the module's own."""

    types: tuple[RecType, ...]
    imports: tuple[Import, ...]
    exports: dict[str, ExternType]
    has_tags: bool
    """Whether it imports or defines a tag: without one in a whole store, nothing can throw."""

    @cached_property
    def import_names(self) -> list[tuple[str, str]]:
        """Module and name of each import."""
        return [(item.module, item.name) for item in self.imports]

    @cached_property
    def subtypes(self) -> tuple[SubType, ...]:
        """The type index space."""
        return tuple(sub for rec in self.types for sub in rec.subtypes)

    @cached_property
    def _plain(self) -> frozenset[int]:
        """The indices of function types that are groups of their own, final, and name no other type."""
        found, index = set(), 0
        for rec in self.types:
            sub = rec.subtypes[0] if len(rec.subtypes) == 1 else None
            if sub and sub.final and not sub.supers and not _concrete(sub.comp):
                found.add(index)
            index += len(rec.subtypes)
        return frozenset(found)

    def is_plain(self, type_: ExternType) -> bool:
        """Whether the type can be written down without the types of this module."""
        match type_:
            case FuncRef(index) | TagType(index):
                return index in self._plain
            case TableType(_, element):
                return not isinstance(element.heap, int)
            case GlobalType(value):
                return not isinstance(value, RefType) or not isinstance(value.heap, int)
        return True

    def func_type(self, type_: FuncRef | TagType) -> FuncType:
        """The function type of an exported function or tag."""
        comp = self.subtypes[type_.type].comp if isinstance(type_.type, int) else None
        if not isinstance(comp, FuncType):
            raise TypeError(f"{type_} is no function type of this module")
        return comp

    def hierarchy(self, heap: HeapType) -> str:
        """The top of the hierarchy that a heap type belongs to: "any", "func", "extern" or "exn"."""
        if isinstance(heap, int):
            return "func" if isinstance(self.subtypes[heap].comp, FuncType) else "any"
        return _TOPS.get(str(heap), "any")


def _concrete(comp: CompType) -> bool:
    """Whether a composite type names other types; only function types are looked into."""
    if not isinstance(comp, FuncType):
        return True
    return any(isinstance(t, RefType) and isinstance(t.heap, int) for t in comp.params + comp.results)


_TOPS = {"func": "func", "nofunc": "func", "extern": "extern", "noextern": "extern", "exn": "exn", "noexn": "exn"}


@lru_cache(maxsize=256)
def interface(data: bytes) -> Interface:
    """The interface of a binary module; raises `Malformed` where these parts cannot be read."""
    if data[:8] != MAGIC + VERSION:
        raise Malformed("magic header not detected", 0)
    parts: dict[str, list[Any]] = {name: [] for name in _PARTS.values()}
    funcs: list[int] = []
    r = Reader(data, 8)
    while r.pos < r.end:
        section, size = r.byte(), r.u32()
        if size > r.end - r.pos:
            raise r.fail("length out of bounds")
        body = Reader(data, r.pos, r.pos + size)
        r.pos += size
        if section in _PARTS:
            parts[_PARTS[section]] = body.list(LIST_SECTIONS[section][1])
        elif section == 3:
            funcs = body.list(Reader.u32)
    return _resolve(parts, funcs)


def _resolve(parts: dict[str, list[Any]], funcs: list[int]) -> Interface:
    spaces: dict[str, list[ExternType]] = {kind: [] for kind in ("func", "table", "memory", "tag", "global")}
    for item in parts["imports"]:
        spaces[KINDS[type(item.type)]].append(item.type)
    spaces["func"] += [FuncRef(index) for index in funcs]
    spaces["table"] += [table.type for table in parts["tables"]]
    spaces["memory"] += parts["memories"]
    spaces["tag"] += parts["tags"]
    spaces["global"] += [item.type for item in parts["globals"]]
    found = Interface(tuple(parts["types"]), tuple(parts["imports"]), {}, bool(spaces["tag"]))
    for export in parts["exports"]:
        space = spaces[export.kind]
        if export.index < len(space) and _exists(found, space[export.index]):
            found.exports[export.name] = space[export.index]
    return found


def _exists(found: Interface, type_: ExternType) -> bool:
    types: tuple[ValType, ...] = ()
    match type_:
        case FuncRef(index) | TagType(index):
            if not isinstance(index, int) or index >= len(found.subtypes):
                return False
            comp = found.subtypes[index].comp
            if not isinstance(comp, FuncType):
                return False
            types = comp.params + comp.results
        case TableType(_, element):
            types = (element,)
        case GlobalType(value):
            types = (value,)
    count = len(found.subtypes)
    return all(not isinstance(t, RefType) or not isinstance(t.heap, int) or t.heap < count for t in types)
