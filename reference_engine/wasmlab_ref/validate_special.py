"""Validation of the instructions, control apart, whose rule is more than a fixed type (section 3.4 of the standard)."""

from __future__ import annotations

from .match import NUMBER_TYPES, PACKED_TYPES, defaultable, match_reftype, match_storagetype, top_of, unpack
from .outcome import Invalid
from .syntax import Instr
from .types import ArrayType, FieldType, RefType, StructType, TableType, ValType
from .validate_stack import I32, Code, lookup, special

# Parametric instructions


@special("unreachable")
def unreachable(code: Code, instr: Instr) -> None:
    code.diverge()


@special("drop")
def drop(code: Code, instr: Instr) -> None:
    code.pop_any()


@special("select", variants=("select-expl", "select-impl"))
def select(code: Code, instr: Instr) -> None:
    (types,) = instr.args
    if types is not None:
        if len(types) != 1:
            raise Invalid("invalid result arity")
        t = code.context.valtype(types[0])
        code.apply((t, t, "i32"), (t,))
        return
    code.pop(I32)
    t2, t1 = code.pop_any(), code.pop_any()
    if isinstance(t1, RefType) or isinstance(t2, RefType) or (t1 != t2 and "bot" not in (t1, t2)):
        show = code.context.show_all
        raise Invalid(f"type mismatch: select requires two equal number or vector types but stack has {show((t1, t2))}")
    code.stack.append(t2 if t1 == "bot" else t1)


# References


@special("ref.null")
def ref_null(code: Code, instr: Instr) -> None:
    code.stack.append(code.context.reftype(RefType(True, instr.args[0])))


@special("ref.func")
def ref_func(code: Code, instr: Instr) -> None:
    (index,) = instr.args
    t = lookup(code.context.funcs, index, "function")
    if index not in code.context.refs:
        raise Invalid(f"undeclared function reference {index}")
    code.stack.append(code.context.reftype(RefType(False, t)))


@special("ref.is_null")
def ref_is_null(code: Code, instr: Instr) -> None:
    code.pop_ref()
    code.stack.append("i32")


@special("ref.as_non_null")
def ref_as_non_null(code: Code, instr: Instr) -> None:
    code.stack.append(RefType(False, code.pop_ref().heap))


@special("ref.test")
def ref_test(code: Code, instr: Instr) -> None:
    t = code.context.reftype(instr.args[0])
    code.apply((RefType(True, top_of(t.heap)),), I32)


@special("ref.cast")
def ref_cast(code: Code, instr: Instr) -> None:
    t = code.context.reftype(instr.args[0])
    code.apply((RefType(True, top_of(t.heap)),), (t,))


def _convert(code: Code, source: str, target: str) -> None:
    t = code.pop_ref()
    if not match_reftype(t, RefType(True, source)):
        code.stack.append(t)
        code.mismatch((RefType(True, source),))
    code.stack.append(RefType(t.nullable, target))


@special("any.convert_extern")
def any_convert_extern(code: Code, instr: Instr) -> None:
    _convert(code, "extern", "any")


@special("extern.convert_any")
def extern_convert_any(code: Code, instr: Instr) -> None:
    _convert(code, "any", "extern")


# Structures and arrays


def _field(code: Code, instr: Instr) -> FieldType:
    index, field = instr.args
    return lookup(code.context.expand(index, StructType).fields, field, "field")


def _element(code: Code, index: int) -> FieldType:
    return code.context.expand(index, ArrayType).element


def _mutable(t: FieldType, what: str) -> FieldType:
    if not t.mutable:
        raise Invalid(f"immutable {what}")
    return t


def _readable(t: FieldType, instr: Instr) -> ValType:
    """What reading the field gives; packed ones are read with a sign, others without."""
    if (t.storage in PACKED_TYPES) != (instr.op.mnemonic[-2:] in ("_s", "_u")):
        packed = "packed" if t.storage in PACKED_TYPES else "unpacked"
        raise Invalid(f"type mismatch: field is {packed}")
    return unpack(t.storage)


def _require_bytes(t: FieldType) -> FieldType:
    """A field that a data segment can fill."""
    if unpack(t.storage) not in NUMBER_TYPES | {"v128"}:
        raise Invalid("array type is not numeric or vector")
    return t


@special("struct.new")
def struct_new(code: Code, instr: Instr) -> None:
    (index,) = instr.args
    operands, _ = code.context.struct_operands(index)
    code.apply(operands, (code.context.ref(index),))


@special("struct.new_default")
def struct_new_default(code: Code, instr: Instr) -> None:
    (index,) = instr.args
    operands, all_have_defaults = code.context.struct_operands(index)
    if not all_have_defaults:
        raise Invalid(f"type mismatch: not all of the fields {code.context.show_all(operands)} are defaultable")
    code.stack.append(code.context.ref(index))


@special("struct.get")
def struct_get(code: Code, instr: Instr) -> None:
    t = _readable(_field(code, instr), instr)
    code.apply((code.context.ref(instr.args[0], nullable=True),), (t,))


@special("struct.set")
def struct_set(code: Code, instr: Instr) -> None:
    t = _mutable(_field(code, instr), "field")
    code.pop((code.context.ref(instr.args[0], nullable=True), unpack(t.storage)))


@special("array.new")
def array_new(code: Code, instr: Instr) -> None:
    (index,) = instr.args
    code.apply((unpack(_element(code, index).storage), "i32"), (code.context.ref(index),))


@special("array.new_default")
def array_new_default(code: Code, instr: Instr) -> None:
    (index,) = instr.args
    element = _element(code, index).storage
    if not defaultable(element):
        raise Invalid(f"type mismatch: element type {code.context.show(element)} is not defaultable")
    code.apply(I32, (code.context.ref(index),))


@special("array.new_fixed")
def array_new_fixed(code: Code, instr: Instr) -> None:
    index, count = instr.args
    t = unpack(_element(code, index).storage)
    there = min(count, len(code.stack) - code.height)
    if there < count and not code.frame.unreachable:
        raise Invalid(f"type mismatch: instruction requires {count} operands but stack has {there}")
    code.apply((t,) * there, (code.context.ref(index),))


@special("array.new_data")
def array_new_data(code: Code, instr: Instr) -> None:
    index, segment = instr.args
    _require_bytes(_element(code, index))
    lookup(code.context.datas, segment, "data segment")
    code.apply(("i32", "i32"), (code.context.ref(index),))


@special("array.new_elem")
def array_new_elem(code: Code, instr: Instr) -> None:
    index, segment = instr.args
    _require_elements(code, segment, _element(code, index))
    code.apply(("i32", "i32"), (code.context.ref(index),))


def _require_elements(code: Code, segment: int, t: FieldType) -> None:
    """The element segment must fit the field."""
    elements = lookup(code.context.elems, segment, "elem segment")
    if not match_storagetype(elements, t.storage):
        show = code.context.show
        raise Invalid(f"type mismatch: element segment has {show(elements)} but array has {show(t.storage)}")


@special("array.get")
def array_get(code: Code, instr: Instr) -> None:
    (index,) = instr.args
    t = _readable(_element(code, index), instr)
    code.apply((code.context.ref(index, nullable=True), "i32"), (t,))


@special("array.set")
def array_set(code: Code, instr: Instr) -> None:
    (index,) = instr.args
    t = _mutable(_element(code, index), "array")
    code.pop((code.context.ref(index, nullable=True), "i32", unpack(t.storage)))


@special("array.fill")
def array_fill(code: Code, instr: Instr) -> None:
    (index,) = instr.args
    t = _mutable(_element(code, index), "array")
    code.pop((code.context.ref(index, nullable=True), "i32", unpack(t.storage), "i32"))


@special("array.copy")
def array_copy(code: Code, instr: Instr) -> None:
    target, source = instr.args
    to = _mutable(_element(code, target), "array")
    if not match_storagetype(_element(code, source).storage, to.storage):
        raise Invalid("array types do not match")
    code.pop((code.context.ref(target, nullable=True), "i32", code.context.ref(source, nullable=True), "i32", "i32"))


@special("array.init_data")
def array_init_data(code: Code, instr: Instr) -> None:
    index, segment = instr.args
    _require_bytes(_mutable(_element(code, index), "array"))
    lookup(code.context.datas, segment, "data segment")
    code.pop((code.context.ref(index, nullable=True), "i32", "i32", "i32"))


@special("array.init_elem")
def array_init_elem(code: Code, instr: Instr) -> None:
    index, segment = instr.args
    _require_elements(code, segment, _mutable(_element(code, index), "array"))
    code.pop((code.context.ref(index, nullable=True), "i32", "i32", "i32"))


# Variables


@special("local.get")
def local_get(code: Code, instr: Instr) -> None:
    code.stack.append(code.read_local(instr.args[0]))


@special("local.set")
def local_set(code: Code, instr: Instr) -> None:
    code.pop((code.write_local(instr.args[0]),))


@special("local.tee")
def local_tee(code: Code, instr: Instr) -> None:
    t = code.write_local(instr.args[0])
    code.apply((t,), (t,))


@special("global.get")
def global_get(code: Code, instr: Instr) -> None:
    code.stack.append(lookup(code.context.globals, instr.args[0], "global").value)


@special("global.set")
def global_set(code: Code, instr: Instr) -> None:
    t = lookup(code.context.globals, instr.args[0], "global")
    if not t.mutable:
        raise Invalid("immutable global")
    code.pop((t.value,))


# Tables and memories


def _table(code: Code, instr: Instr) -> TableType:
    return lookup(code.context.tables, instr.args[0], "table")


@special("table.get")
def table_get(code: Code, instr: Instr) -> None:
    t = _table(code, instr)
    code.apply((t.address,), (t.element,))


@special("table.set")
def table_set(code: Code, instr: Instr) -> None:
    t = _table(code, instr)
    code.pop((t.address, t.element))


@special("table.size")
def table_size(code: Code, instr: Instr) -> None:
    code.stack.append(_table(code, instr).address)


@special("table.grow")
def table_grow(code: Code, instr: Instr) -> None:
    t = _table(code, instr)
    code.apply((t.element, t.address), (t.address,))


@special("table.fill")
def table_fill(code: Code, instr: Instr) -> None:
    t = _table(code, instr)
    code.pop((t.address, t.element, t.address))


def _smaller(address1: str, address2: str) -> str:
    """The address type that counts what is copied between the two."""
    return address1 if address1 == address2 else "i32"


@special("table.copy")
def table_copy(code: Code, instr: Instr) -> None:
    to, source = (lookup(code.context.tables, index, "table") for index in instr.args)
    code.require_match(source.element, to.element)
    code.pop((to.address, source.address, _smaller(to.address, source.address)))


@special("table.init")
def table_init(code: Code, instr: Instr) -> None:
    t = _table(code, instr)
    code.require_match(lookup(code.context.elems, instr.args[1], "elem segment"), t.element)
    code.pop((t.address, "i32", "i32"))


@special("memory.copy")
def memory_copy(code: Code, instr: Instr) -> None:
    to, source = (lookup(code.context.memories, index, "memory").address for index in instr.args)
    code.pop((to, source, _smaller(to, source)))
