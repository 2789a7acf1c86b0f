"""Structures and arrays (section 4.6.9 of the standard)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .handlers import Handler, Stack, handles
from .memory import OOB as MEMORY_OOB
from .outcome import Trap
from .rules import rule
from .store import ArrayInst, Instance, StructInst, default, field_types
from .syntax import Instr
from .table import OOB as TABLE_OOB
from .types import StorageType

NULL_STRUCT, NULL_ARRAY = "null structure reference", "null array reference"
OOB = "out of bounds array access"

PACKED = {"i8": 0xFF, "i16": 0xFFFF}
SIZES = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "f32": 4, "f64": 8, "v128": 16}
"""Bytes of a storage type in a data segment."""


def _masks(types: tuple[StorageType, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((i, PACKED[t]) for i, t in enumerate(types) if isinstance(t, str) and t in PACKED)


def _packing(type_: StorageType) -> Callable[[Any], Any]:
    """packfield of the standard."""
    mask = PACKED.get(type_) if isinstance(type_, str) else None
    return (lambda value: value) if mask is None else lambda value: value & mask


def _unpacking(type_: StorageType, signed: bool) -> Callable[[Any], Any]:
    """unpackfield of the standard."""
    if not signed or not isinstance(type_, str):
        return lambda value: value
    top = PACKED[type_] + 1 >> 1
    return lambda value: (value ^ top) - top & 0xFFFF_FFFF


@handles("struct.new")
@rule("Step/struct.new")
def struct_new(instance: Instance, instr: Instr) -> Handler:
    type_, heap = instance.types[instr.args[0]], instance.store.heap
    count, masks = len(field_types(type_)), _masks(field_types(type_))

    def handler(stack: Stack, locals: Stack) -> None:
        heap.charge(count)
        first = len(stack) - count
        fields = stack[first:]
        for i, mask in masks:
            fields[i] &= mask
        stack[first:] = (StructInst(fields, type_),)

    return handler


@handles("struct.new_default")
@rule("Step_read/struct.new_default")
def struct_new_default(instance: Instance, instr: Instr) -> Handler:
    type_, heap = instance.types[instr.args[0]], instance.store.heap
    defaults = [default(t) for t in field_types(type_)]

    def handler(stack: Stack, locals: Stack) -> None:
        heap.charge(len(defaults))
        stack.append(StructInst(defaults.copy(), type_))

    return handler


@handles("struct.get", "struct.get_s", "struct.get_u")
@rule("Step_read/struct.get-null", "Step_read/struct.get-struct")
def struct_get(instance: Instance, instr: Instr) -> Handler:
    x, field = instr.args
    unpack = _unpacking(field_types(instance.types[x])[field], instr.op.mnemonic == "struct.get_s")

    def handler(stack: Stack, locals: Stack) -> None:
        ref = stack[-1]
        if ref is None:
            raise Trap(NULL_STRUCT)
        stack[-1] = unpack(ref.fields[field])

    return handler


@handles("struct.set")
@rule("Step/struct.set-null", "Step/struct.set-struct")
def struct_set(instance: Instance, instr: Instr) -> Handler:
    x, field = instr.args
    pack = _packing(field_types(instance.types[x])[field])

    def handler(stack: Stack, locals: Stack) -> None:
        value = stack.pop()
        ref = stack.pop()
        if ref is None:
            raise Trap(NULL_STRUCT)
        ref.fields[field] = pack(value)

    return handler


@handles("array.new")
@rule("Step_pure/array.new")
def array_new(instance: Instance, instr: Instr) -> Handler:
    type_, heap = instance.types[instr.args[0]], instance.store.heap
    pack = _packing(field_types(type_)[0])

    def handler(stack: Stack, locals: Stack) -> None:
        size = stack.pop()
        heap.charge(size)
        stack[-1] = ArrayInst([pack(stack[-1])] * size, type_)

    return handler


@handles("array.new_default")
@rule("Step_read/array.new_default")
def array_new_default(instance: Instance, instr: Instr) -> Handler:
    type_, heap = instance.types[instr.args[0]], instance.store.heap
    value = default(field_types(type_)[0])

    def handler(stack: Stack, locals: Stack) -> None:
        size = stack[-1]
        heap.charge(size)
        stack[-1] = ArrayInst([value] * size, type_)

    return handler


@handles("array.new_fixed")
@rule("Step/array.new_fixed")
def array_new_fixed(instance: Instance, instr: Instr) -> Handler:
    x, count = instr.args
    type_, heap = instance.types[x], instance.store.heap
    pack = _packing(field_types(type_)[0])

    def handler(stack: Stack, locals: Stack) -> None:
        heap.charge(count)
        first = len(stack) - count
        stack[first:] = (ArrayInst([pack(value) for value in stack[first:]], type_),)

    return handler


def _elements(data: bytes, size: int) -> list[int]:
    """The numbers that bytes stand for, each `size` bytes wide."""
    return [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]


@handles("array.new_data")
@rule("Step_read/array.new_data-oob", "Step_read/array.new_data-num")
def array_new_data(instance: Instance, instr: Instr) -> Handler:
    type_, segment, heap = instance.types[instr.args[0]], instance.datas[instr.args[1]], instance.store.heap
    width = SIZES[str(field_types(type_)[0])]

    def handler(stack: Stack, locals: Stack) -> None:
        size = stack.pop()
        start = stack[-1]
        if start + size * width > len(segment.data):
            raise Trap(MEMORY_OOB)
        heap.charge(size)
        stack[-1] = ArrayInst(_elements(segment.data[start : start + size * width], width), type_)

    return handler


@handles("array.new_elem")
@rule("Step_read/array.new_elem-oob", "Step_read/array.new_elem-alloc")
def array_new_elem(instance: Instance, instr: Instr) -> Handler:
    type_, segment, heap = instance.types[instr.args[0]], instance.elems[instr.args[1]], instance.store.heap

    def handler(stack: Stack, locals: Stack) -> None:
        size = stack.pop()
        start = stack[-1]
        if start + size > len(segment.refs):
            raise Trap(TABLE_OOB)
        heap.charge(size)
        stack[-1] = ArrayInst(segment.refs[start : start + size], type_)

    return handler


@handles("array.get", "array.get_s", "array.get_u")
@rule("Step_read/array.get-null", "Step_read/array.get-oob", "Step_read/array.get-array")
def array_get(instance: Instance, instr: Instr) -> Handler:
    unpack = _unpacking(field_types(instance.types[instr.args[0]])[0], instr.op.mnemonic == "array.get_s")

    def handler(stack: Stack, locals: Stack) -> None:
        i = stack.pop()
        ref = stack[-1]
        if ref is None:
            raise Trap(NULL_ARRAY)
        if i >= len(ref.fields):
            raise Trap(OOB)
        stack[-1] = unpack(ref.fields[i])

    return handler


@handles("array.set")
@rule("Step/array.set-null", "Step/array.set-oob", "Step/array.set-array")
def array_set(instance: Instance, instr: Instr) -> Handler:
    pack = _packing(field_types(instance.types[instr.args[0]])[0])

    def handler(stack: Stack, locals: Stack) -> None:
        ref, i, value = stack[-3:]
        del stack[-3:]
        if ref is None:
            raise Trap(NULL_ARRAY)
        if i >= len(ref.fields):
            raise Trap(OOB)
        ref.fields[i] = pack(value)

    return handler


@handles("array.len")
@rule("Step_read/array.len-null", "Step_read/array.len-array")
def array_len(instance: Instance, instr: Instr) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        ref = stack[-1]
        if ref is None:
            raise Trap(NULL_ARRAY)
        stack[-1] = len(ref.fields)

    return handler


@handles("array.fill")
@rule("Step_read/array.fill-null", "Step_read/array.fill-oob", "Step_read/array.fill-zero", "Step_read/array.fill-succ")
def array_fill(instance: Instance, instr: Instr) -> Handler:
    pack, bulk = _packing(field_types(instance.types[instr.args[0]])[0]), instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        ref, start, value, size = stack[-4:]
        del stack[-4:]
        if ref is None:
            raise Trap(NULL_ARRAY)
        if start + size > len(ref.fields):
            raise Trap(OOB)
        bulk(size)
        ref.fields[start : start + size] = [pack(value)] * size

    return handler


def _check(*ranges: tuple[ArrayInst | None, int, int], also: str = "") -> None:
    """Trap where a range is not within its array, or for `also`.

    The standard knows only one trap: where several conditions hold, which of them an engine names is its own business.
    So the kind has them all, those that the standard checks first in front.
    """
    null = NULL_ARRAY if any(array is None for array, _, _ in ranges) else ""
    outside = OOB if any(array is not None and at + size > len(array.fields) for array, at, size in ranges) else ""
    if null or outside or also:
        raise Trap("|".join(filter(None, (null, outside, also))))


@handles("array.copy")
@rule(*(f"Step_read/array.copy-{end}" for end in ("null1", "null2", "oob1", "oob2", "zero", "le", "gt")))
def array_copy(instance: Instance, instr: Instr) -> Handler:
    bulk = instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        target, to, source, start, size = stack[-5:]
        del stack[-5:]
        _check((target, to, size), (source, start, size))
        bulk(size)
        target.fields[to : to + size] = source.fields[start : start + size]

    return handler


@handles("array.init_data")
@rule(*(f"Step_read/array.init_data-{end}" for end in ("null", "oob1", "oob2", "zero", "num")))
def array_init_data(instance: Instance, instr: Instr) -> Handler:
    width = SIZES[str(field_types(instance.types[instr.args[0]])[0])]
    segment, bulk = instance.datas[instr.args[1]], instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        ref, to, start, size = stack[-4:]
        del stack[-4:]
        _check((ref, to, size), also=MEMORY_OOB if start + size * width > len(segment.data) else "")
        bulk(size)
        ref.fields[to : to + size] = _elements(segment.data[start : start + size * width], width)

    return handler


@handles("array.init_elem")
@rule(*(f"Step_read/array.init_elem-{end}" for end in ("null", "oob1", "oob2", "zero", "succ")))
def array_init_elem(instance: Instance, instr: Instr) -> Handler:
    segment, bulk = instance.elems[instr.args[1]], instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        ref, to, start, size = stack[-4:]
        del stack[-4:]
        _check((ref, to, size), also=TABLE_OOB if start + size > len(segment.refs) else "")
        bulk(size)
        ref.fields[to : to + size] = segment.refs[start : start + size]

    return handler
