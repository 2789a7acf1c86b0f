"""A module under construction: its types and parts are drawn first, then the bodies of its functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from wasmlab_ref.isa import MEMARGS
from wasmlab_ref.syntax import (
    Active,
    Data,
    Elem,
    Export,
    Expr,
    Func,
    Import,
    Instr,
    Module,
    instr,
)
from wasmlab_ref.syntax import (
    Global as GlobalDef,
)
from wasmlab_ref.syntax import (
    Table as TableDef,
)
from wasmlab_ref.types import (
    PAGE,
    ArrayType,
    FuncRef,
    FuncType,
    GlobalType,
    HeapType,
    Limits,
    MemType,
    RecType,
    RefType,
    StructType,
    TableType,
    TagType,
    ValType,
)

from .config import Config
from .parts import Function, Global, Memory, Segment, Table, Tag
from .registry import Special
from .rows import Group
from .source import Source
from .swarm import Swarm
from .types import Types


@cache
def nullable(heap: str | int) -> RefType:
    """The nullable reference type to it."""
    return RefType(True, heap)


class Builder:
    """Draws one module; what earlier modules of the case export may be imported."""

    def __init__(self, source: Source, swarm: Swarm, config: Config, groups: Sequence[RecType] = ()) -> None:
        self.source, self.swarm, self.config = source, swarm, config
        self.features = swarm.features
        self.types = Types(groups)
        self.functions: list[Function] = []
        self.memories: list[Memory] = []
        self.paged: list[Memory] = []  # the memories that are never empty
        self.tables: list[Table] = []
        self.globals: list[Global] = []
        self.tags: list[Tag] = []
        self.datas: list[Segment] = []
        self.elems: list[Segment] = []
        self.imports: list[Import] = []
        self.exports: list[Export] = []
        self.table_defs: list[TableDef] = []
        self.global_defs: list[GlobalDef] = []
        self.data_defs: list[Data] = []
        self.elem_defs: list[Elem] = []
        self.tag_defs: list[TagType] = []
        self.memory_defs: list[MemType] = []
        self.bodies: dict[int, Func] = {}
        self.start: int | None = None
        self.total = Global(-1, "i64", True)
        self.host_log: Function | None = None
        self.host_trap: Function | None = None
        self.host_reenter: Function | None = None
        self.reentered: Function | None = None  # the function that the host calls back
        self.stillborn = False
        self.dense = False
        self.made = source.pick((("func", "any"), ("func",), ("func", "any"), ("func", "any", "extern")))
        # the hierarchies of which there are constants other than null, if null will do: a release that cannot make
        # them refuses all the module
        self.bottoms = source.below(4) == 3  # types that only null has
        self._options: dict[tuple[Special, Any], Sequence[Any]] = {}
        self._lacks: dict[Group, bool] = {}
        self._inhabited: dict[RefType, bool] = {}
        self._referable: dict[HeapType, list[Function]] = {}
        self._concrete: dict[HeapType, list[int]] = {}
        self._mix: list[ValType] = []
        self.settled = False
        self.private: list[tuple[str, Any]] = []

    def has(self, feature: str) -> bool:
        return feature in self.features

    # What there is to draw from

    def numbers(self) -> list[ValType]:
        """Number types, and vectors where there are some."""
        simd: list[ValType] = ["v128", "v128"] if self.has("simd") else []
        return ["i32", "i64", "f32", "f64", *simd]

    def mix(self) -> list[ValType]:
        """Value types in the proportion in which locals and parameters have them; all can be made anywhere."""
        if not self._mix:
            self._mix = ["i32", "i32", *self.numbers()] * 2
            self._mix += self.source.shuffled(self.nullable_types())[:6]
            if self.has("function-references"):
                solid = [RefType(False, t.heap) for t in self._mix if isinstance(t, RefType)]
                self._mix += [t for t in solid if self.settled and self.inhabited(t)][:2]
        return self._mix

    def settle(self) -> None:
        """The functions are declared: references to them can be drawn from now on."""
        self.settled = True
        self._mix.clear()

    def nullable_types(self) -> list[RefType]:
        """The nullable reference types at hand."""
        heaps: list[str | int] = []
        if self.has("reference-types"):
            heaps += ["func", "extern"]
        if self.has("exceptions"):
            heaps.append("exn")
        if self.has("gc"):
            heaps += [*range(len(self.types.subs)), "any", "eq", "i31", "struct", "array"]
            heaps += ["none", "nofunc", "noextern"] if self.bottoms else []
        elif self.has("function-references"):
            heaps += self.types.indices(FuncType)
        return [nullable(heap) for heap in heaps]

    def addressed(self, t: ValType) -> list[Memory]:
        """The memories with addresses of type `t`."""
        return [m for m in self.memories if m.address == t]

    def global_readers(self, t: ValType) -> list[Instr]:
        """The instructions that read a global of type `t`."""
        return [instr("global.get", g.index) for g in self.globals if self.types.below(g.type, t)]

    def concrete(self, heap: HeapType) -> list[int]:
        """The structures and arrays below a heap type."""
        found = self._concrete.get(heap)
        if found is None:
            kinds = [*self.types.indices(StructType), *self.types.indices(ArrayType)] if self.has("gc") else []
            found = [i for i in kinds if self.types.heap_below(i, heap)]
            self._concrete[heap] = found
        return found

    def referable(self, heap: HeapType) -> list[Function]:
        """The functions below a heap type that references may be made to; fixed once the functions are declared."""
        found = self._referable.get(heap)
        if found is None:
            found = [f for f in self.functions if f.escapes and self.types.heap_below(f.type, heap)]
            self._referable[heap] = found
        return found

    def inhabited(self, t: RefType) -> bool:
        """Is there a value of the non-null type `t` that can be made anywhere?"""
        found = self._inhabited.get(t)
        if found is None:
            top, kind = self.types.top(t.heap), self.types.kind(t.heap)
            if top == "func":
                found = kind != "nofunc" and bool(self.referable(t.heap))
            elif top == "exn" or str(t.heap).startswith("no"):
                found = False
            else:
                found = self.has("gc") and (t.heap in ("any", "eq", "i31", "extern") or bool(self.concrete(t.heap)))
            self._inhabited[t] = found
        return found

    def options(self, special: Special, t: Any) -> Sequence[Any]:
        """What a special instruction can be about here."""
        found = self._options.get((special, t))
        if found is None:
            found = self._options[special, t] = special.offers(self, t) if special.offers else ()
        return found

    def lacks(self, group: Group) -> bool:
        """Is there nothing that the rows of a group could be about?"""
        found = self._lacks.get(group)
        if found is None:
            found = self._lacks[group] = not all(self._has(need) for need in group.needs)
        return found

    def _has(self, need: str) -> bool:
        if need in MEMARGS:
            return bool(self.paged)
        if need == "shared":
            return any(memory.shared for memory in self.paged)
        return bool({"memory": self.memories, "data": self.datas, "elem": self.elems}[need])

    # Parts

    def add_memory(self, memory: Memory, imported: Import | None = None) -> None:
        memory.index = len(self.memories)
        self.memories.append(memory)
        if memory.pages:
            self.paged.append(memory)
        if imported:
            self.imports.append(imported)
        else:
            most = memory.max
            if memory.page == PAGE:
                most = self.most(most, (1 << 16, 1 << 48)[memory.address == "i64"])
            self.memory_defs.append(memory.type(memory.pages, most))

    def most(self, wanted: int | None, top: int) -> int | None:
        """The limit to declare: instead of none, also the greatest there is."""
        return self.source.pick((None, None, top)) if wanted is None else wanted

    def add_table(self, table: Table, init: Expr | None = None, imported: Import | None = None) -> None:
        table.index = len(self.tables)
        self.tables.append(table)
        if imported:
            self.imports.append(imported)
        else:
            most = self.most(table.max, ((1 << 32) - 1, (1 << 64) - 1)[table.address == "i64"])
            type_ = TableType(Limits(table.size, most), table.element, table.address)
            self.table_defs.append(TableDef(type_, init))

    def add_global(self, t: ValType, mutable: bool, init: Expr) -> Global:
        found = Global(len(self.globals), t, mutable)
        self.globals.append(found)
        self.global_defs.append(GlobalDef(GlobalType(t, mutable), init))
        return found

    def add_tag(self, params: tuple[ValType, ...]) -> Tag:
        type_ = self.types.function(params, ())
        found = Tag(len(self.tags), type_, params)
        self.tags.append(found)
        self.tag_defs.append(TagType(type_))
        return found

    def add_function(self, type_: int, **facts: Any) -> Function:
        comp = self.types.signature(type_)
        found = Function(len(self.functions), type_, comp.params, comp.results, **facts)
        self.functions.append(found)
        return found

    def add_data(self, data: bytes, mode: str | Active, safe: bool = False) -> None:
        self.datas.append(Segment(len(self.datas), len(data), safe))
        self.data_defs.append(Data(data, mode))

    def add_elem(self, t: RefType, init: tuple[Expr, ...], mode: str | Active, safe: bool = False) -> None:
        self.elems.append(Segment(len(self.elems), len(init), safe, t))
        self.elem_defs.append(Elem(t, init, mode))

    def export(self, part: Any, kind: str, name: str) -> None:
        """Export a part under a name."""
        part.export = name
        self.exports.append(Export(name, kind, part.index))

    # The end

    def build(self) -> Module:
        """The module."""
        self._declare()
        own = [f.index for f in self.functions if f.index in self.bodies]
        return Module(
            types=tuple(self.types.groups),
            imports=tuple(self.imports),
            funcs=tuple(self.bodies[i] for i in own),
            tables=tuple(self.table_defs),
            memories=tuple(self.memory_defs),
            tags=tuple(self.tag_defs),
            globals=tuple(self.global_defs),
            exports=tuple(self.exports),
            start=self.start,
            elems=tuple(self.elem_defs),
            datas=tuple(self.data_defs),
        )

    def _declare(self) -> None:
        """Declare the functions that ref.func names and nothing else does."""
        hidden = [f for f in self.functions if f.referred and not f.export]
        if hidden and self.has("reference-types"):  # else there is no ref.func, and no such segment
            init = tuple((instr("ref.func", f.index),) for f in hidden)
            self.elem_defs.append(Elem(RefType(False, "func"), init, "declare"))


def import_type(part: Any, types: Types) -> FuncRef | MemType | TableType | GlobalType | TagType:
    """The type under which a part is imported."""
    match part:
        case Function():
            return FuncRef(part.type)
        case Memory():
            return part.type(part.pages, part.max)
        case Table():
            return TableType(Limits(part.size, part.max), part.element, part.address)
        case Global():
            return GlobalType(part.type, part.mutable)
        case _:
            return TagType(part.type)
