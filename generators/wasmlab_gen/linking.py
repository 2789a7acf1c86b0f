"""What modules of a case offer each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wasmlab_ref.syntax import Import
from wasmlab_ref.types import FuncRef, GlobalType, Limits, RefType, TableType, TagType, ValType

from .parts import Function, Global, Memory, Table, Tag

if TYPE_CHECKING:
    from .builder import Builder


@dataclass(frozen=True, slots=True)
class Offer:
    """An export of an earlier module."""

    module: str
    part: Any


def portable(t: ValType, shared: int) -> bool:
    """Does a type mean the same in every module of the case?"""
    return not isinstance(t, RefType) or not isinstance(t.heap, int) or t.heap < shared


def offers(m: Builder, name: str, shared: int) -> list[Offer]:
    """What a finished module offers to later ones."""
    found = []
    parts: tuple[Any, ...] = (*m.functions, *m.memories, *m.tables, *m.globals, *m.tags)
    for part in parts:
        if part.export and _portable(part, shared):
            found.append(Offer(name, part))
    return found


def _portable(part: Any, shared: int) -> bool:
    match part:
        case Function():
            return part.cost > 0 and all(portable(t, shared) for t in (*part.params, *part.results))
        case Table():
            return portable(part.element, shared)
        case Global():
            return portable(part.type, shared)
        case Tag():
            return all(portable(t, shared) for t in part.params)
        case _:
            return True


def take(m: Builder, offered: Sequence[Offer], shared: int) -> None:
    """Import some of what is offered: often, since a linked case is about that."""
    memories = 0
    for offer in offered:
        part = offer.part
        if not m.source.chance(65):
            continue
        if isinstance(part, Function) and len(m.functions) < 4:
            _function(m, offer, shared)
        elif isinstance(part, Memory) and part.shared and m.source.below(16):
            continue  # what two instances share ends Wasmtime's process where an access is out of bounds
        elif isinstance(part, Memory) and (m.has("multi-memory") or not m.memories) and memories < 2:
            memories += 1
            least = m.source.pick((part.pages, part.pages, 0))
            most = part.max if m.source.below(2) or part.max is None else part.max + m.source.below(3)
            imported = Import(offer.module, part.export, part.type(least, most))
            m.add_memory(replace(part, export="", pages=least, max=most), imported)
        elif isinstance(part, Table) and (m.has("reference-types") or not m.tables):
            type_ = TableType(Limits(part.size, part.max), part.element, part.address)
            slots = [_moved(m, f, shared) for f in part.slots]
            m.add_table(replace(part, export="", slots=slots), imported=Import(offer.module, part.export, type_))
        elif isinstance(part, Global):
            m.imports.append(Import(offer.module, part.export, GlobalType(part.type, part.mutable)))
            m.globals.append(Global(len(m.globals), part.type, part.mutable, imported=True))
        elif isinstance(part, Tag):
            type_index = m.types.function(part.params, ())
            m.imports.append(Import(offer.module, part.export, TagType(type_index)))
            m.tags.append(Tag(len(m.tags), type_index, part.params))


def _moved(m: Builder, f: Function | None, shared: int) -> Function | None:
    """A function of another module, with its type in this one's terms; None where that cannot be."""
    if f is None or not all(portable(t, shared) for t in (*f.params, *f.results)):
        return None
    index = f.type if f.type < shared else m.types.function(f.params, f.results)
    return replace(f, type=index, export="", called=True, referred=False)


def _function(m: Builder, offer: Offer, shared: int) -> None:
    moved = _moved(m, offer.part, shared)
    if moved is not None:
        moved.index = len(m.functions)
        m.functions.append(moved)
        m.imports.append(Import(offer.module, offer.part.export, FuncRef(moved.type)))
