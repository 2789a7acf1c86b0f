"""Index spaces: which parts of a module use which, and modules without some of their parts.

One walk, driven by the kinds of immediates of the instruction table, serves both: it hands every index of a module
to a function, which may note it or answer another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

from wasmlab_ref.isa import BY_MNEMONIC, MEMARGS
from wasmlab_ref.syntax import Active, Cast, Catch, Elem, Export, Expr, Func, Global, Import, Instr, Module, Table
from wasmlab_ref.types import (
    ExternType,
    FuncRef,
    GlobalType,
    HeapType,
    MemType,
    RecType,
    RefType,
    TableType,
    TagType,
    ValType,
    map_subtype,
    map_valtype,
)

Part: TypeAlias = tuple[str, int]
"""An index space ("type", "func", "table", "memory", "tag", "global", "elem", "data") and an index."""

Visit: TypeAlias = Callable[[str, int], int]
"""Is given every use of an index, and answers what to write in its place."""

FIELDS = {"func": "funcs", "table": "tables", "memory": "memories", "tag": "tags", "global": "globals",
          "elem": "elems", "data": "datas"}  # fmt: skip

IMPORT_KINDS: dict[type, str] = {
    FuncRef: "func", TableType: "table", MemType: "memory", GlobalType: "global", TagType: "tag"
}  # fmt: skip

_REF_FUNC = BY_MNEMONIC["ref.func"]


def imported(module: Module, kind: str) -> int:
    """How many of an index space are imports."""
    return sum(IMPORT_KINDS[type(i.type)] == kind for i in module.imports)


def import_parts(module: Module) -> Iterator[tuple[Part, Import]]:
    """The imports, with the part that each is."""
    counts = dict.fromkeys(FIELDS, 0)
    for item in module.imports:
        kind = IMPORT_KINDS[type(item.type)]
        yield (kind, counts[kind]), item
        counts[kind] += 1


# The walk


def _heap(heap: HeapType, visit: Visit) -> HeapType:
    return visit("type", heap) if isinstance(heap, int) else heap


def val_type(t: Any, visit: Visit) -> Any:
    """A value or storage type."""
    return map_valtype(t, lambda heap: _heap(heap, visit))


def _ref(t: RefType, visit: Visit) -> RefType:
    return RefType(t.nullable, _heap(t.heap, visit))


def _block(t: ValType | int | None, visit: Visit) -> Any:
    return visit("type", t) if isinstance(t, int) else val_type(t, visit)


def _catch(catch: Catch, visit: Visit) -> Catch:
    return catch if catch.tag is None else catch._replace(tag=visit("tag", catch.tag))


_IMMEDIATES: dict[str, Callable[[Any, Visit], Any]] = {
    **dict.fromkeys(MEMARGS, lambda arg, visit: arg._replace(memory=visit("memory", arg.memory))),
    "block": _block,
    "catches": lambda arg, visit: tuple(_catch(c, visit) for c in arg),
    "heap": _heap,
    "ref": _ref,
    "types?": lambda arg, visit: None if arg is None else tuple(val_type(t, visit) for t in arg),
    "cast": lambda arg, visit: Cast(arg.label, _ref(arg.source, visit), _ref(arg.target, visit)),
}
for _kind in ("type", *FIELDS):
    _IMMEDIATES[_kind] = lambda arg, visit, kind=_kind: visit(kind, arg)  # type: ignore[misc]

_WALKED = {
    row: tuple(_IMMEDIATES.get(kind.partition(":")[0]) for kind in row.immediates)
    for row in BY_MNEMONIC.values()
    if any(kind.partition(":")[0] in _IMMEDIATES for kind in row.immediates)
}


def expression(expr: Expr, visit: Visit) -> Expr:
    """Instructions."""
    return tuple(
        Instr(s.op, tuple(a if w is None else w(a, visit) for a, w in zip(s.args, _WALKED[s.op], strict=True)))
        if s.op in _WALKED
        else s
        for s in expr
    )


def _index(type_: object, visit: Visit) -> int:
    return visit("type", type_) if isinstance(type_, int) else 0


def _extern(t: ExternType, visit: Visit) -> ExternType:
    match t:
        case FuncRef(type_):
            return FuncRef(_index(type_, visit))
        case TagType(type_):
            return TagType(_index(type_, visit))
        case TableType():
            return replace(t, element=_ref(t.element, visit))
        case GlobalType():
            return replace(t, value=val_type(t.value, visit))
        case MemType():
            return t


def _mode(mode: str | Active, kind: str, visit: Visit) -> str | Active:
    return Active(visit(kind, mode.target), expression(mode.offset, visit)) if isinstance(mode, Active) else mode


_WALK: dict[str, Callable[[Any, Visit], Any]] = {
    "func": lambda f, v: Func(
        v("type", f.type), tuple((n, val_type(t, v)) for n, t in f.locals), expression(f.body, v)
    ),
    "table": lambda t, v: Table(_extern(t.type, v), None if t.init is None else expression(t.init, v)),  # type: ignore[arg-type]
    "memory": lambda m, v: m,
    "tag": _extern,
    "global": lambda g, v: Global(_extern(g.type, v), expression(g.init, v)),  # type: ignore[arg-type]
    "elem": lambda e, v: Elem(_ref(e.type, v), tuple(expression(x, v) for x in e.init), _mode(e.mode, "table", v)),
    "data": lambda d, v: replace(d, mode=_mode(d.mode, "memory", v)),
}


def _group(group: RecType, visit: Visit) -> RecType:
    return RecType(tuple(map_subtype(sub, lambda heap: _heap(heap, visit)) for sub in group.subtypes))


def _import(item: Import, visit: Visit) -> Import:
    return Import(item.module, item.name, _extern(item.type, visit))


def walk(module: Module, visit: Visit) -> Module:
    """The module with every index replaced by what `visit` answers."""
    return Module(
        types=tuple(_group(group, visit) for group in module.types),
        imports=tuple(_import(item, visit) for item in module.imports),
        exports=tuple(Export(e.name, e.kind, visit(e.kind, e.index)) for e in module.exports),
        start=None if module.start is None else visit("func", module.start),
        customs=module.customs,
        **{field: tuple(_WALK[kind](x, visit) for x in getattr(module, field)) for kind, field in FIELDS.items()},
    )


# What uses what


def _users(module: Module) -> Iterator[tuple[list[Part], Callable[[Visit], object]]]:
    """Parts that live and die together (the types of a group), with the walk over what they use."""
    index = 0
    for group in module.types:
        size = len(group.subtypes)
        yield [("type", index + i) for i in range(size)], lambda v, g=group: _group(g, v)  # type: ignore[misc]
        index += size
    for part, item in import_parts(module):
        yield [part], lambda v, i=item: _import(i, v)  # type: ignore[misc]
    for kind, field in FIELDS.items():
        first = imported(module, kind)
        for at, item in enumerate(getattr(module, field)):
            yield [(kind, first + at)], lambda v, k=kind, i=item: _WALK[k](i, v)  # type: ignore[misc]


def _noted(walk_over: Callable[[Visit], object]) -> set[Part]:
    found: set[Part] = set()

    def visit(kind: str, index: int) -> int:
        found.add((kind, index))
        return index

    walk_over(visit)
    return found


def used(module: Module) -> set[Part]:
    """All parts that exports, the start function and active segments need, directly or not."""
    uses: dict[Part, set[Part]] = {}
    for parts, walk_over in _users(module):
        needs = _noted(walk_over) | set(parts)
        for part in parts:
            uses[part] = needs
    todo: list[Part] = [(e.kind, e.index) for e in module.exports]
    todo += [] if module.start is None else [("func", module.start)]
    todo += [("elem", i) for i, elem in enumerate(module.elems) if isinstance(elem.mode, Active)]
    todo += [("data", i) for i, data in enumerate(module.datas) if isinstance(data.mode, Active)]
    found: set[Part] = set()
    while todo:
        part = todo.pop()
        if part not in found:
            found.add(part)
            todo += uses.get(part, ())
    return found


def without(module: Module, dropped: Iterable[Part]) -> Module:
    """The module without some parts, which nothing that stays may use (KeyError); of types, whole groups."""
    gone = set(dropped)
    maps: dict[Part, int] = {}
    next_index: dict[str, int] = {}
    for parts, _ in _users(module):
        for part in parts:
            if part not in gone:
                maps[part] = next_index.get(part[0], 0)
                next_index[part[0]] = maps[part] + 1
    changes: dict[str, Any] = {
        field: tuple(x for i, x in enumerate(getattr(module, field), imported(module, kind)) if (kind, i) not in gone)
        for kind, field in FIELDS.items()
    }
    changes["types"] = _groups(module, gone)
    changes["imports"] = tuple(item for part, item in import_parts(module) if part not in gone)
    kept = replace(module, **changes)
    return declare(walk(kept, lambda kind, index: maps[kind, index]))


def _groups(module: Module, gone: set[Part]) -> tuple[RecType, ...]:
    kept, index = [], 0
    for group in module.types:
        if ("type", index) not in gone or not group.subtypes:
            kept.append(group)
        index += len(group.subtypes)
    return tuple(kept)


def without_unused(module: Module) -> Module:
    """The module without what nothing needs."""
    needed = used(module)
    everything = [part for parts, _ in _users(module) for part in parts]
    return without(module, [part for part in everything if part not in needed])


def declare(module: Module) -> Module:
    """Add a declarative element segment for functions that bodies refer to and nothing declares any more."""
    mentioned = {s.args[0] for func in module.funcs for s in func.body if s.op is _REF_FUNC}
    if not mentioned:
        return module
    declared: set[Part] = {(e.kind, e.index) for e in module.exports}
    for parts, walk_over in _users(module):
        if parts and parts[0][0] in ("global", "elem", "table"):
            declared |= _noted(walk_over)
    missing = sorted(index for index in mentioned if ("func", index) not in declared)
    if not missing:
        return module
    init = tuple((Instr(_REF_FUNC, (index,)),) for index in missing)
    return replace(module, elems=(*module.elems, Elem(RefType(False, "func"), init, "declare")))
