"""Validation of modules (chapter 3 of the standard): types, definitions, segments, imports and exports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .isa import BY_MNEMONIC
from .match import PACKED_TYPES, defaultable, match_comptype, match_reftype
from .outcome import Invalid
from .rules import applied, listening, rule
from .syntax import Active, Data, Elem, Expr, Func, Module
from .types import (
    MAX_PAGES,
    PAGE,
    ArrayType,
    CompType,
    DefType,
    ExternType,
    FieldType,
    FuncRef,
    FuncType,
    GlobalType,
    Limits,
    MemType,
    RecType,
    RefType,
    StructType,
    TableType,
    TagType,
    ValType,
    close_group,
)
from .validate_code import check_constant, check_expr
from .validate_stack import Context, Locals, lookup

T = TypeVar("T")

Runs = tuple[tuple[int, ValType], ...]

_MEMORY_SIZE = {
    ("i32", PAGE): (MAX_PAGES["i32", PAGE], "memory size must be at most 65536 pages (4GiB)"),
    ("i64", PAGE): (MAX_PAGES["i64", PAGE], "memory size must be at most 2^48 pages"),
    ("i32", 1): (MAX_PAGES["i32", 1], "memory size must be at most 2^32-1 bytes"),
    ("i64", 1): (MAX_PAGES["i64", 1], "memory size must be at most 2^64-1 bytes"),
}
_TABLE_SIZE = {
    "i32": ((1 << 32) - 1, "table size must be at most 2^32-1"),
    "i64": ((1 << 64) - 1, "table size must be at most 2^64-1"),
}


@dataclass(frozen=True, slots=True)
class ValidModule:
    """A valid module with all that instantiation and execution need to know of it; every type closed.

    Each index space counts imports first.  `block_heights` has for each defined function the operand heights at the
    entry of its blocks, in the order of `block`, `loop`, `if` and `try_table` in its body, below the parameters of the
    block (any number in unreachable code).  `locals` has the declared locals of each defined function as runs.
    """

    module: Module
    types: tuple[DefType, ...]
    funcs: tuple[DefType, ...]
    tables: tuple[TableType, ...]
    memories: tuple[MemType, ...]
    globals: tuple[GlobalType, ...]
    tags: tuple[DefType, ...]
    imports: tuple[ExternType, ...]
    exports: tuple[ExternType, ...]
    elems: tuple[RefType, ...]
    block_heights: tuple[tuple[int, ...], ...]
    locals: tuple[Runs, ...]


@rule("Module_ok")
def validate(module: Module, listener: Callable[[str], None] | None = None) -> ValidModule:
    """Check `module` in the standard's order, or raise `Invalid`.

    A module that moves extraordinary numbers of operands ends in `Exhausted` (see `validate_stack.MAX_WORK`).
    `listener`, if given, receives the name of each rule of the formal specification as it is applied.
    """
    if listener is None:
        return _Validation(module).run()
    with listening(listener):
        valid = _Validation(module).run()
        applied("Module_ok")
    return valid


_REF_FUNC = BY_MNEMONIC["ref.func"]
_EXTERN_NAMES = {"func": "function", "table": "table", "memory": "memory", "global": "global", "tag": "tag"}


class _Validation:
    """One validation; `place` says what is being checked, for the error message."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.types: list[DefType] = []
        self.context = Context(types=self.types)
        self.place = "module"

    def run(self) -> ValidModule:
        try:
            return self._module()
        except Invalid as error:
            raise Invalid(error.message, error.where or self.place) from None

    def _each(self, what: str, items: Iterable[T], first: int = 0) -> Iterator[T]:
        """`items`, numbered for the error message."""
        for number, item in enumerate(items, first):
            self.place = f"{what} {number}"
            yield item

    def _module(self) -> ValidModule:
        module, context = self.module, self.context
        self._types()
        imports = tuple(self._extern(i.type) for i in self._each("import", module.imports))
        funcs = [t.type for t in imports if isinstance(t, FuncRef) and isinstance(t.type, DefType)]
        tables = [t for t in imports if isinstance(t, TableType)]
        memories = [t for t in imports if isinstance(t, MemType)]
        tags = [t.type for t in imports if isinstance(t, TagType) and isinstance(t.type, DefType)]
        imported_globals = [t for t in imports if isinstance(t, GlobalType)]
        imported_funcs = len(funcs)

        funcs += [self._func_type(f.type) for f in self._each("function", module.funcs, imported_funcs)]
        context.funcs, context.signatures = funcs, [_signature(t) for t in funcs]
        context.refs = frozenset(_declared_refs(module))
        tags += [self._tag(t) for t in self._each("tag", module.tags, len(tags))]
        globals_ = self._globals(imported_globals)
        memories += [self._mem(t) for t in self._each("memory", module.memories, len(memories))]
        context.globals = imported_globals
        tables += [self._table(t.type, t.init) for t in self._each("table", module.tables, len(tables))]

        context.globals, context.memories, context.tables = globals_, memories, tables
        context.tags = [_signature(t) for t in tags]
        context.datas = range(len(module.datas))
        context.elems = elems = [context.reftype(e.type) for e in self._each("element segment", module.elems)]
        bodies = [self._func(f) for f in self._each("function", module.funcs, imported_funcs)]
        for data in self._each("data segment", module.datas):
            self._data(data)
        for elem in self._each("element segment", module.elems):
            self._elem(elem)
        self._start()
        exports = self._exports({"func": funcs, "table": tables, "memory": memories, "global": globals_, "tag": tags})
        return ValidModule(
            module=module,
            types=tuple(self.types),
            funcs=tuple(funcs),
            tables=tuple(tables),
            memories=tuple(memories),
            globals=tuple(globals_),
            tags=tuple(tags),
            imports=imports,
            exports=exports,
            elems=tuple(elems),
            block_heights=tuple(heights for heights, _ in bodies),
            locals=tuple(runs for _, runs in bodies),
        )

    # Types

    @rule("Types_ok/empty", "Types_ok/cons", "Type_ok", "Rectype_ok/empty", "Rectype_ok/cons")
    def _types(self) -> None:
        """Close every group, and check it."""
        for rec in self.module.types:
            first = len(self.types)
            self.place = f"type {first}"
            try:
                self.types += close_group(rec, self.types)
            except IndexError as error:
                raise Invalid(f"unknown type {error.args[0]}") from None
            self._supers_precede(rec, first)
            for sub in self._each("type", rec.subtypes, first):
                self._comptype(sub.comp)
            self._match_supers(rec, first)
            applied(*["Rectype_ok/cons"] * bool(rec.subtypes), "Rectype_ok/empty", "Type_ok", "Types_ok/cons")
        applied("Types_ok/empty")

    def _supers_precede(self, rec: RecType, first: int) -> None:
        """Supertypes come before their subtypes: after that, every walk up a chain ends."""
        for number, sub in enumerate(self._each("type", rec.subtypes, first), first):
            if len(sub.supers) > 1:
                raise Invalid(f"sub type {number} has more than one super type")
            for sup in sub.supers:
                if isinstance(sup, int) and not 0 <= sup < number:
                    raise Invalid(f"unknown type {sup}: not before its sub type {number}")

    @rule("Subtype_ok")
    def _match_supers(self, rec: RecType, first: int) -> None:
        for number, sub in enumerate(self._each("type", rec.subtypes, first), first):
            this = self.types[number].subtype
            for sup in this.supers:
                if not isinstance(sup, DefType) or sup.subtype.final:
                    raise Invalid(f"sub type {number} has final super type {sub.supers[0]}")
                if not match_comptype(this.comp, sup.comp):
                    raise Invalid(f"sub type {number} does not match super type {sub.supers[0]}")
            applied("Subtype_ok")

    @rule("Comptype_ok/struct", "Comptype_ok/array", "Comptype_ok/func", "Resulttype_ok")
    def _comptype(self, comp: CompType) -> None:
        match comp:
            case FuncType(params, results):
                for t in (*params, *results):
                    self.context.valtype(t)
                applied("Resulttype_ok", "Comptype_ok/func")
            case StructType(fields):
                for field in fields:
                    self._fieldtype(field)
                applied("Comptype_ok/struct")
            case ArrayType(element):
                self._fieldtype(element)
                applied("Comptype_ok/array")

    @rule("Fieldtype_ok", "Storagetype_ok/val", "Storagetype_ok/pack", "Packtype_ok")
    def _fieldtype(self, field: FieldType) -> None:
        if field.storage in PACKED_TYPES:
            applied("Packtype_ok", "Storagetype_ok/pack")
        else:
            self.context.valtype(field.storage)
            applied("Storagetype_ok/val")
        applied("Fieldtype_ok")

    def _func_type(self, t: int | DefType) -> DefType:
        """A defined type that must be a function's."""
        if isinstance(t, DefType):
            return t
        self.context.expand(t, FuncType)
        return self.types[t]

    @rule("Limits_ok")
    def _limits(self, limits: Limits, largest: int, message: str) -> None:
        if limits.min > largest or (limits.max is not None and limits.max > largest):
            raise Invalid(message)
        if limits.max is not None and limits.min > limits.max:
            raise Invalid("size minimum must not be greater than maximum")
        applied("Limits_ok")

    @rule("Tagtype_ok")
    def _tagtype(self, t: TagType) -> DefType:
        deftype = self._func_type(t.type)
        if _signature(deftype).results:
            raise Invalid("non-empty tag result type")
        applied("Tagtype_ok")
        return deftype

    @rule("Globaltype_ok")
    def _globaltype(self, t: GlobalType) -> GlobalType:
        closed = GlobalType(self.context.valtype(t.value), t.mutable)
        applied("Globaltype_ok")
        return closed

    @rule("Memtype_ok")
    def _memtype(self, t: MemType) -> MemType:
        if t.page not in (1, PAGE):
            raise Invalid("invalid custom page size")
        self._limits(t.limits, *_MEMORY_SIZE[t.address, t.page])
        if t.shared and t.limits.max is None:
            raise Invalid("shared memory must have maximum")
        applied("Memtype_ok")
        return t

    @rule("Tabletype_ok")
    def _tabletype(self, t: TableType) -> TableType:
        self._limits(t.limits, *_TABLE_SIZE[t.address])
        closed = TableType(t.limits, self.context.reftype(t.element), t.address)
        applied("Tabletype_ok")
        return closed

    @rule("Import_ok", "Externtype_ok/func", "Externtype_ok/table", "Externtype_ok/mem")
    @rule("Externtype_ok/global", "Externtype_ok/tag")
    def _extern(self, t: ExternType) -> ExternType:
        """The closed type of an import."""
        closed: ExternType
        match t:
            case FuncRef():
                closed, name = FuncRef(self._func_type(t.type)), "func"
            case TableType():
                closed, name = self._tabletype(t), "table"
            case MemType():
                closed, name = self._memtype(t), "mem"
            case GlobalType():
                closed, name = self._globaltype(t), "global"
            case TagType():
                closed, name = TagType(self._tagtype(t)), "tag"
        applied(f"Externtype_ok/{name}", "Import_ok")
        return closed

    # Definitions

    @rule("Tag_ok")
    def _tag(self, t: TagType) -> DefType:
        deftype = self._tagtype(t)
        applied("Tag_ok")
        return deftype

    @rule("Globals_ok/empty", "Globals_ok/cons", "Global_ok")
    def _globals(self, imported: list[GlobalType]) -> list[GlobalType]:
        """The types of all globals; the initialiser of each may read those before it."""
        self.context.globals = types = [*imported]
        for definition in self._each("global", self.module.globals, len(imported)):
            t = self._globaltype(definition.type)
            check_constant(self.context, definition.init, t.value, self.place)
            types.append(t)
            applied("Global_ok", "Globals_ok/cons")
        applied("Globals_ok/empty")
        return types

    @rule("Mem_ok")
    def _mem(self, t: MemType) -> MemType:
        closed = self._memtype(t)
        applied("Mem_ok")
        return closed

    @rule("Table_ok")
    def _table(self, t: TableType, init: Expr | None) -> TableType:
        closed = self._tabletype(t)
        if init is not None:
            check_constant(self.context, init, closed.element, self.place)
        elif not closed.element.nullable:
            raise Invalid("type mismatch: a table of non-nullable references requires an initialiser")
        applied("Table_ok")
        return closed

    @rule("Func_ok", "Local_ok/set", "Local_ok/unset")
    def _func(self, func: Func) -> tuple[tuple[int, ...], Runs]:
        """The operand heights at the function's blocks, and its declared locals."""
        signature = self.context.expand(func.type, FuncType)
        runs = tuple((count, self.context.valtype(t)) for count, t in func.locals)
        for _, t in runs:
            applied(f"Local_ok/{'set' if defaultable(t) else 'unset'}")
        heights = check_expr(self.context, func.body, signature.results, self.place, Locals(signature.params, runs))
        applied("Func_ok")
        return heights, runs

    # Segments

    @rule("Data_ok", "Datamode_ok/active", "Datamode_ok/passive")
    def _data(self, data: Data) -> None:
        if isinstance(data.mode, Active):
            memory = lookup(self.context.memories, data.mode.target, "memory")
            check_constant(self.context, data.mode.offset, memory.address, self.place)
        applied(f"Datamode_ok/{'active' if isinstance(data.mode, Active) else data.mode}", "Data_ok")

    @rule("Elem_ok", "Elemmode_ok/active", "Elemmode_ok/passive", "Elemmode_ok/declare")
    def _elem(self, elem: Elem) -> None:
        t = self.context.reftype(elem.type)
        for init in elem.init:
            check_constant(self.context, init, t, self.place)
        if isinstance(elem.mode, Active):
            table = lookup(self.context.tables, elem.mode.target, "table")
            if not match_reftype(t, table.element):
                show = self.context.show
                raise Invalid(f"type mismatch: table has {show(table.element)} but element segment has {show(t)}")
            check_constant(self.context, elem.mode.offset, table.address, self.place)
        applied(f"Elemmode_ok/{'active' if isinstance(elem.mode, Active) else elem.mode}", "Elem_ok")

    # Start and exports

    @rule("Start_ok")
    def _start(self) -> None:
        start = self.module.start
        if start is not None:
            self.place = "start"
            signature = lookup(self.context.signatures, start, "function")
            if signature.params or signature.results:
                raise Invalid("start function must not have parameters or results")
            applied("Start_ok")

    @rule("Export_ok", "Externidx_ok/func", "Externidx_ok/table", "Externidx_ok/mem")
    @rule("Externidx_ok/global", "Externidx_ok/tag")
    def _exports(self, spaces: Mapping[str, Sequence[DefType | ExternType]]) -> tuple[ExternType, ...]:
        """The closed types of the exports, whose names must differ."""
        types: list[ExternType] = []
        names: set[str] = set()
        for export in self._each("export", self.module.exports):
            t = lookup(spaces[export.kind], export.index, _EXTERN_NAMES[export.kind])
            if isinstance(t, DefType):
                t = FuncRef(t) if export.kind == "func" else TagType(t)
            types.append(t)
            if export.name in names:
                raise Invalid("duplicate export name")
            names.add(export.name)
            applied(f"Externidx_ok/{'mem' if export.kind == 'memory' else export.kind}", "Export_ok")
        return tuple(types)


def _declared_refs(module: Module) -> Iterator[int]:
    """The functions that bodies may refer to: those that occur outside of bodies and the start function."""
    for export in module.exports:
        if export.kind == "func":
            yield export.index
    expressions = [g.init for g in module.globals] + [t.init for t in module.tables if t.init]
    for elem in module.elems:
        expressions += elem.init
        if isinstance(elem.mode, Active):
            expressions.append(elem.mode.offset)
    for expression in expressions:
        for instr in expression:
            if instr.op is _REF_FUNC:
                yield instr.args[0]


def _signature(t: DefType) -> FuncType:
    """The expansion of a type that was checked to be a function's."""
    comp = t.comp
    if not isinstance(comp, FuncType):
        raise Invalid("type mismatch: non-function type")
    return comp
