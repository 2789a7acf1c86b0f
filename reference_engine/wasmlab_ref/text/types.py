"""Text format of types (section 6.4)."""

from __future__ import annotations

from ..types import (
    ABSTRACT_HEAP_TYPES,
    PAGE,
    SHORTHANDS,
    ArrayType,
    CompType,
    FieldType,
    FuncType,
    GlobalType,
    HeapType,
    Limits,
    MemType,
    RecType,
    RefType,
    StorageType,
    StructType,
    SubType,
    TableType,
    ValType,
)
from .context import Context
from .cursor import KEYWORDS

_HEAP_TYPES = frozenset(ABSTRACT_HEAP_TYPES)
_VALUE_TYPES: dict[str, ValType] = {t: t for t in ("i32", "i64", "f32", "f64", "v128")} | SHORTHANDS
KEYWORDS.update(_HEAP_TYPES, _VALUE_TYPES, ("i8", "i16", "ref", "null", "mut", "sub", "final", "rec", "field"))
KEYWORDS.update(("struct", "array", "func", "param", "result", "type", "shared", "pagesize"))


def heap_type(p: Context) -> HeapType:
    """Read a heap type."""
    if p.has_index():
        return p.index("type")
    token = p.tokens[p.i]
    if token not in _HEAP_TYPES:
        raise p.unexpected()
    p.i += 1
    return token


def value_type(p: Context) -> ValType:
    """Read a value type."""
    known = _VALUE_TYPES.get(p.tokens[p.i])
    if known is not None:
        p.i += 1
        return known
    if not p.opens("ref"):
        raise p.unexpected(p.i + 1 if p.tokens[p.i] == "(" else None)
    nullable = p.takes("null")
    type_ = RefType(nullable, heap_type(p))
    p.expect(")")
    return type_


def reference_type(p: Context) -> RefType:
    """Read a reference type."""
    start = p.i
    type_ = value_type(p)
    if not isinstance(type_, RefType):
        raise p.unexpected(start)
    return type_


def value_types(p: Context) -> list[ValType]:
    """Read value types up to a closing parenthesis, and that."""
    types = []
    while not p.takes(")"):
        types.append(value_type(p))
    return types


def declarations(p: Context, keyword: str, names: dict[str, int] | None, first: int = 0) -> list[ValType]:
    """Read `(keyword $name? type…)` as often as it comes, and bind the names to indices from `first` on; where `names`
    is None, names are refused."""
    types: list[ValType] = []
    while p.opens(keyword):
        if names is None:
            types += value_types(p)
        elif p.tokens[p.i].startswith("$") or p.annotations.names_at(p.i):
            p.bind_in(names, "local", first + len(types))
            p.annotations.name_inside("local", p.i, p.function, first + len(types))
            types.append(value_type(p))
            p.expect(")")
        else:
            types += value_types(p)
    return types


def signature(p: Context, names: dict[str, int] | None) -> FuncType:
    """Read parameters and results."""
    params = declarations(p, "param", names)
    return FuncType(tuple(params), tuple(declarations(p, "result", None)))


class _Forgotten(dict[str, int]):
    """Names that bind nothing, so that any may come twice: parameters in a type definition."""

    def setdefault(self, key: str, default: int, /) -> int:
        return default


def type_use(p: Context, names: dict[str, int] | None = None) -> int:
    """Read a type use, enter the names of its parameters; the result is an index, of a new type if need be."""
    index = None
    if p.opens("type"):
        index = p.index("type")
        p.expect(")")
    start = p.i
    type_ = signature(p, names)
    if p.at("param") or p.at("result") or p.at("type"):
        raise p.unexpected(p.i + 1)
    if index is None:
        return p.function_type(type_)
    if type_ != FuncType() and type_ != p.composite(index):
        raise p.error("inline function type does not match" if index < len(p.subtypes) else "unknown type", start)
    return index


def block_type(p: Context) -> ValType | int | None:
    """Read a block type: a value type or nothing where that suffices, else the index of a type."""
    if p.at("type"):
        return type_use(p)
    type_ = signature(p, None)
    if type_.params or len(type_.results) > 1:
        return p.function_type(type_)
    return type_.results[0] if type_.results else None


def _storage_type(p: Context) -> StorageType:
    token = p.tokens[p.i]
    if token in ("i8", "i16"):
        p.i += 1
        return token
    return value_type(p)


def field_type(p: Context) -> FieldType:
    """Read a field type."""
    mutable = p.opens("mut")
    type_ = FieldType(_storage_type(p), mutable)
    if mutable:
        p.expect(")")
    return type_


def _fields(p: Context, index: int) -> StructType:
    fields: list[FieldType] = []
    names = p.fields.setdefault(index, {})
    while p.opens("field"):
        if p.tokens[p.i].startswith("$") or p.annotations.names_at(p.i):
            p.bind_in(names, "field", len(fields))
            p.annotations.name_inside("field", p.i, index, len(fields))
            fields.append(field_type(p))
            p.expect(")")
        else:
            while not p.takes(")"):
                fields.append(field_type(p))
    return StructType(tuple(fields))


def _composite_type(p: Context, index: int) -> CompType:
    type_: CompType
    if p.opens("func"):
        type_ = signature(p, _Forgotten())
    elif p.opens("struct"):
        type_ = _fields(p, index)
    elif p.opens("array"):
        type_ = ArrayType(field_type(p))
    else:
        raise p.unexpected(p.i + 1 if p.tokens[p.i] == "(" else None)
    p.expect(")")
    return type_


def _type_definition(p: Context, index: int) -> SubType:
    """Read the rest of `(type $name? …)`."""
    p.identifier()
    p.annotations.name("type", p.i, index)
    if p.opens("sub"):
        final = p.takes("final")
        supers = []
        while p.has_index():
            supers.append(p.index("type"))
        type_ = SubType(_composite_type(p, index), tuple(supers), final)
        p.expect(")")
    else:
        type_ = SubType(_composite_type(p, index))
    p.expect(")")
    return type_


def recursive_type(p: Context) -> RecType:
    """Read `(rec (type …)…)` or one type definition, whose names are bound already."""
    first = len(p.subtypes)
    if p.opens("type"):
        return RecType((_type_definition(p, first),))
    p.i += 2
    types: list[SubType] = []
    while p.opens("type"):
        types.append(_type_definition(p, first + len(types)))
    p.expect(")")
    return RecType(tuple(types))


def limits(p: Context) -> Limits:
    """Read one or two bounds."""
    least = p.natural(64)
    return Limits(least, p.natural(64) if p.tokens[p.i][:1].isdecimal() else None)


def address_type(p: Context) -> str:
    """Read an address type; i32 where there is none."""
    if p.takes("i64"):
        return "i64"
    p.takes("i32")
    return "i32"


def memory_type(p: Context) -> MemType:
    """Read a memory type."""
    address = address_type(p)
    bounds = limits(p)
    return MemType(bounds, address, p.takes("shared"), page_size(p))


def page_size(p: Context) -> int:
    """Read the size of a memory's pages; the usual one where there is none."""
    if not p.opens("pagesize"):
        return PAGE
    at = p.i
    size = p.natural(64)
    if size.bit_count() != 1:
        raise p.error("invalid custom page size", at)
    p.expect(")")
    return size


def table_type(p: Context) -> TableType:
    """Read a table type."""
    address = address_type(p)
    bounds = limits(p)
    return TableType(bounds, reference_type(p), address)


def global_type(p: Context) -> GlobalType:
    """Read a global type."""
    mutable = p.opens("mut")
    type_ = GlobalType(value_type(p), mutable)
    if mutable:
        p.expect(")")
    return type_
