"""Text format of modules (section 6.6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from ..decode import merge_runs
from ..syntax import Active, Data, Elem, Export, Expr, Func, Global, Import, Module, Table, instr
from ..types import ExternType, FuncRef, Limits, MemType, RefType, TableType, TagType
from . import types
from .context import SPACES, Context
from .cursor import KEYWORDS, Cursor
from .instructions import expression, folded
from .lexer import Source

_KINDS = ("func", "table", "memory", "global", "tag")
"""What can be imported and exported."""

KEYWORDS.update(_KINDS, ("module", "import", "export", "local", "start", "elem", "data", "declare"))
KEYWORDS.update(("definition", "instance", "binary", "quote"))

_FUNC = RefType(False, "func")
_WORDS = {"func": "function"}
_SEGMENTS = {"table": "elem", "memory": "data"}
"""Definitions that can hold a segment."""


def parse_module(text: str | bytes) -> Module:
    """The module that a text stands for: one `(module …)`, or its fields alone.

    Names become indices and then vanish; the annotations @custom, @name and @metadata.code.branch_hint become custom
    sections.  Raises `Malformed` with line and column, and `Invalid` only for a branch hint on an instruction that
    can have none.
    """
    source = Source(text)
    if source.tokens[:2] != ["(", "module"]:
        return parse_fields(source, 0, len(source.tokens) - 2)
    cursor = Cursor(source)
    cursor.skip()
    if cursor.tokens[cursor.i]:
        raise cursor.unexpected()
    return parse_fields(source, 2, cursor.i - 1)


def is_field(keyword: str) -> bool:
    """Whether `(keyword` opens a field of a module."""
    return keyword in _ModuleParser.FIELDS or keyword in ("type", "rec")


def parse_fields(source: Source, start: int, end: int) -> Module:
    """The module whose name, if any, and fields are the tokens from `start` up to `end`."""
    return _ModuleParser(source, start, end).parse()


class _ModuleParser:
    """Reads the fields of one module three times: for names, for types, for everything else."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.p = Context(source, start - 1, end)
        self.p.i, self.end = start, end
        self.fields: list[int] = []
        self.counts = dict.fromkeys(SPACES, 0)
        self.defined: str | None = None
        self.start: int | None = None
        self.imports: list[Import] = []
        self.funcs: list[Func] = []
        self.tables: list[Table] = []
        self.memories: list[MemType] = []
        self.tags: list[TagType] = []
        self.globals: list[Global] = []
        self.exports: list[Export] = []
        self.elems: list[Elem] = []
        self.datas: list[Data] = []

    def parse(self) -> Module:
        """The module."""
        p = self.p
        p.identifier()
        p.annotations.name("module", p.i, 0)
        while p.i < self.end:
            self.fields.append(p.i)
            self._declare()
        for p.i in self.fields:
            if p.tokens[p.i + 1] in ("type", "rec"):
                p.add_group(types.recursive_type(p))
        self.counts = dict.fromkeys(SPACES, 0)
        for p.i in self.fields:
            read = self.FIELDS.get(p.tokens[p.i + 1])
            if read is not None:
                p.i += 2
                read(self)
                p.expect(")")
        module = Module(
            tuple(p.types), tuple(self.imports), tuple(self.funcs), tuple(self.tables), tuple(self.memories),
            tuple(self.tags), tuple(self.globals), tuple(self.exports), self.start, tuple(self.elems),
            tuple(self.datas),
        )  # fmt: skip
        customs = p.annotations.customs(module, [*self.fields, self.end])
        return replace(module, customs=customs) if customs else module

    # Names

    def _declare(self) -> None:
        """Bind the names that a field defines, and go past it."""
        p = self.p
        field, keyword = p.i, p.tokens[p.i + 1]
        if p.tokens[field] != "(" or not is_field(keyword):
            raise p.unexpected(field if p.tokens[field] != "(" else field + 1)
        p.skip()
        after, p.i = p.i, field + 2
        if keyword in SPACES:
            self._bind(keyword)
            if keyword in _SEGMENTS and self._has_inline_segment(_SEGMENTS[keyword], field, after):
                self.counts[_SEGMENTS[keyword]] += 1
        elif keyword == "rec":
            while p.opens("type"):
                definition = p.i - 2
                self._bind("type")
                p.i = definition
                p.skip()
        elif keyword == "import" and p.tokens[p.i + 2] == "(" and p.tokens[p.i + 3] in _KINDS:
            p.i += 4
            self._bind(p.tokens[p.i - 1])
        p.i = after

    def _bind(self, space: str) -> None:
        self.p.bind(space, self.counts[space])
        self.counts[space] += 1

    def _has_inline_segment(self, keyword: str, start: int, end: int) -> bool:
        tokens = self.p.tokens
        return any(tokens[i] == keyword and tokens[i - 1] == "(" for i in range(start + 2, end))

    def _next(self, space: str) -> int:
        """The index of the definition at hand, whose name is read again."""
        index = self.counts[space]
        self.counts[space] += 1
        self.p.identifier()
        if space in ("func", "tag"):
            self.p.annotations.name(space, self.p.i, index)
        return index

    # Imports and exports

    def _import(self) -> None:
        p = self.p
        start = p.i
        module, name = p.name(), p.name()
        p.expect("(")
        kind = p.tokens[p.i]
        if kind not in _KINDS:
            raise p.unexpected()
        p.i += 1
        index = self._next(kind)
        self._add_import(start, module, name, kind, index)
        p.expect(")")

    def _add_import(self, start: int, module: str, name: str, kind: str, index: int) -> None:
        if self.defined is not None:
            raise self.p.error(f"import after {_WORDS.get(self.defined, self.defined)}", start)
        self.imports.append(Import(module, name, self._extern_type(kind, index)))

    def _extern_type(self, kind: str, index: int) -> ExternType:
        p = self.p
        if kind == "table":
            return types.table_type(p)
        if kind == "memory":
            return types.memory_type(p)
        if kind == "global":
            return types.global_type(p)
        p.function = index if kind == "func" else None
        type_ = types.type_use(p, {})
        p.function = None
        return FuncRef(type_) if kind == "func" else TagType(type_)

    def _imported(self, kind: str) -> int | None:
        """Read a definition's name, inline exports and, if it has one, its inline import: the definition is done
        then.  Otherwise the result is its index."""
        p = self.p
        start = p.i
        index = self._next(kind)
        while p.opens("export"):
            self.exports.append(Export(p.name(), kind, index))
            p.expect(")")
        if not p.opens("import"):
            self.defined = self.defined or kind
            return index
        module, name = p.name(), p.name()
        p.expect(")")
        self._add_import(start, module, name, kind, index)
        return None

    def _export(self) -> None:
        p = self.p
        name = p.name()
        p.expect("(")
        kind = p.tokens[p.i]
        if kind not in _KINDS:
            raise p.unexpected()
        p.i += 1
        self.exports.append(Export(name, kind, p.index(kind)))
        p.expect(")")

    # Definitions

    def _func(self) -> None:
        p = self.p
        index = self._imported("func")
        if index is None:
            return
        p.function = index
        names: dict[str, int] = {}
        p.names["local"] = names
        type_ = types.type_use(p, names)
        signature = p.composite(type_)
        locals_ = types.declarations(p, "local", names, len(signature.params) if signature else 0)
        self.funcs.append(Func(type_, merge_runs([(1, t) for t in locals_]), expression(p)))
        p.function = None
        p.names["local"] = {}

    def _table(self) -> None:
        p = self.p
        index = self._imported("table")
        if index is None:
            return
        start = p.i
        address = types.address_type(p)
        if p.has_index():
            p.i = start
            type_ = types.table_type(p)
            init = expression(p)
            self.tables.append(Table(type_, init or None))
            return
        element = types.reference_type(p)
        if not p.opens("elem"):
            raise p.unexpected()
        segment = element
        if p.has_index() or p.tokens[p.i] == ")":
            items = self._functions()
            segment = _FUNC if element.heap == "func" else element  # the standard's `func` list, where it is valid
        else:
            items = self._expressions()
        p.expect(")")
        self.counts["elem"] += 1
        self.tables.append(Table(TableType(Limits(len(items), len(items)), element, address)))
        self.elems.append(Elem(segment, items, Active(index, (instr(f"{address}.const", 0),))))

    def _memory(self) -> None:
        p = self.p
        index = self._imported("memory")
        if index is None:
            return
        start = p.i
        address = types.address_type(p)
        page = types.page_size(p)
        if not p.opens("data"):
            p.i = start
            self.memories.append(types.memory_type(p))
            return
        content = p.strings()
        p.expect(")")
        self.counts["data"] += 1
        pages = -(-len(content) // page)
        self.memories.append(MemType(Limits(pages, pages), address, page=page))
        self.datas.append(Data(content, Active(index, (instr(f"{address}.const", 0),))))

    def _global(self) -> None:
        if self._imported("global") is not None:
            type_ = types.global_type(self.p)
            self.globals.append(Global(type_, expression(self.p)))

    def _tag(self) -> None:
        if self._imported("tag") is not None:
            self.tags.append(TagType(types.type_use(self.p, {})))

    def _start(self) -> None:
        if self.start is not None:
            raise self.p.error("multiple start sections")
        self.start = self.p.index("func")

    # Segments

    def _offset(self) -> Expr:
        p = self.p
        if not p.opens("offset"):
            return folded(p)
        offset = expression(p)
        p.expect(")")
        return offset

    def _elem(self) -> None:
        p = self.p
        self._next("elem")
        mode: str | Active = "passive"
        abbreviated = False
        if p.takes("declare"):
            mode = "declare"
        elif p.has_index() or (p.tokens[p.i] == "(" and p.tokens[p.i + 1] != "ref"):
            abbreviated = not p.at("table")
            mode = Active(self._target("table"), self._offset())
        if p.takes("func") or (abbreviated and (p.has_index() or p.tokens[p.i] == ")")):
            self.elems.append(Elem(_FUNC, self._functions(), mode))
        else:
            type_ = types.reference_type(p)
            self.elems.append(Elem(type_, self._expressions(), mode))

    def _functions(self) -> tuple[Expr, ...]:
        p = self.p
        items = []
        while p.has_index():
            items.append((instr("ref.func", p.index("func")),))
        return tuple(items)

    def _expressions(self) -> tuple[Expr, ...]:
        p = self.p
        items = []
        while p.tokens[p.i] == "(":
            if p.opens("item"):
                items.append(expression(p))
                p.expect(")")
            else:
                items.append(folded(p))
        return tuple(items)

    def _target(self, space: str) -> int:
        """Read the use of a table or memory by a segment: 0 where there is none; in version 1.0 it was a bare index."""
        p = self.p
        if p.has_index():
            return p.index(space)
        if not p.opens(space):
            return 0
        index = p.index(space)
        p.expect(")")
        return index

    def _data(self) -> None:
        p = self.p
        self._next("data")
        mode: str | Active = "passive"
        if p.has_index() or p.tokens[p.i] == "(":
            mode = Active(self._target("memory"), self._offset())
        self.datas.append(Data(p.strings(), mode))

    FIELDS: ClassVar[dict[str, Callable[[_ModuleParser], None]]] = {
        "import": _import, "func": _func, "table": _table, "memory": _memory, "global": _global, "tag": _tag,
        "export": _export, "start": _start, "elem": _elem, "data": _data,
    }  # fmt: skip
