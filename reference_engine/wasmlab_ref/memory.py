"""Memory instructions (section 4.6.8 of the standard)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial

from .handlers import Handler, Stack, handles
from .outcome import Trap
from .rules import rule
from .store import MAX_ADDRESS, Instance, MemInst
from .syntax import Instr

OOB = "out of bounds memory access"
CHUNK = 1 << 20

REFUSALS = (struct.error, IndexError, OverflowError)
"""What struct raises for bytes that are not all there, and for an offset beyond any size."""

I32, I64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF

LOADS: dict[str, tuple[str, int]] = {
    "i32.load": ("<I", I32),
    "i64.load": ("<Q", I64),
    "f32.load": ("<I", I32),
    "f64.load": ("<Q", I64),
    "i32.load8_s": ("<b", I32),
    "i32.load8_u": ("<B", I32),
    "i32.load16_s": ("<h", I32),
    "i32.load16_u": ("<H", I32),
    "i64.load8_s": ("<b", I64),
    "i64.load8_u": ("<B", I64),
    "i64.load16_s": ("<h", I64),
    "i64.load16_u": ("<H", I64),
    "i64.load32_s": ("<i", I64),
    "i64.load32_u": ("<I", I64),
}
"""Format of the bytes, and mask of the result (which turns a negative int into its bits)."""

STORES: dict[str, str] = {
    "i32.store": "<I",
    "i64.store": "<Q",
    "f32.store": "<I",
    "f64.store": "<Q",
    "i32.store8": "<B",
    "i32.store16": "<H",
    "i64.store8": "<B",
    "i64.store16": "<H",
    "i64.store32": "<I",
}


def _outside(memory: MemInst, address: int, size: int, error: Exception) -> Exception:
    """Why struct refused: the access is out of bounds, or else a value was no unsigned int (our mistake)."""
    return Trap(OOB) if address + size > len(memory.data) else error


@handles(*LOADS)
@rule("Step_read/load-num-oob", "Step_read/load-num-val", "Step_read/load-pack-oob", "Step_read/load-pack-val")
def load(instance: Instance, instr: Instr) -> Handler:
    memory, offset = instance.memories[instr.args[0].memory], instr.args[0].offset
    form, mask = LOADS[instr.op.mnemonic]
    size, unpack = struct.calcsize(form), struct.Struct(form).unpack_from

    def handler(stack: Stack, locals: Stack) -> None:
        address = stack[-1] + offset
        try:
            stack[-1] = unpack(memory.data, address)[0] & mask
        except REFUSALS as error:
            raise _outside(memory, address, size, error) from None

    return handler


@handles(*STORES)
@rule("Step/store-num-oob", "Step/store-num-val", "Step/store-pack-oob", "Step/store-pack-val")
def store(instance: Instance, instr: Instr) -> Handler:
    memory, offset = instance.memories[instr.args[0].memory], instr.args[0].offset
    form = STORES[instr.op.mnemonic]
    size, pack = struct.calcsize(form), struct.Struct(form).pack_into
    mask = (1 << 8 * size) - 1

    def handler(stack: Stack, locals: Stack) -> None:
        value = stack.pop()
        address = stack.pop() + offset
        try:
            pack(memory.data, address, value & mask)
        except REFUSALS as error:
            raise _outside(memory, address, size, error) from None

    return handler


def _read(memory: MemInst, address: int, size: int) -> bytes:
    if address + size > len(memory.data):
        raise Trap(OOB)
    return bytes(memory.data[address : address + size])


def _write(memory: MemInst, address: int, data: bytes) -> None:
    if address + len(data) > len(memory.data):
        raise Trap(OOB)
    memory.data[address : address + len(data)] = data


def _extended(form: str, wide: str, data: bytes) -> int:
    mask = (1 << 128 // int(wide[1])) - 1
    return int.from_bytes(struct.pack(wide, *(lane & mask for lane in struct.unpack(form, data))), "little")


def _splat(data: bytes) -> int:
    return int.from_bytes(data * (16 // len(data)), "little")


def _zero(data: bytes) -> int:
    return int.from_bytes(data, "little")


VECTOR_LOADS: dict[str, tuple[int, Callable[[bytes], int]]] = {
    "v128.load": (16, _zero),
    "v128.load8x8_s": (8, partial(_extended, "<8b", "<8H")),
    "v128.load8x8_u": (8, partial(_extended, "<8B", "<8H")),
    "v128.load16x4_s": (8, partial(_extended, "<4h", "<4I")),
    "v128.load16x4_u": (8, partial(_extended, "<4H", "<4I")),
    "v128.load32x2_s": (8, partial(_extended, "<2i", "<2Q")),
    "v128.load32x2_u": (8, partial(_extended, "<2I", "<2Q")),
    "v128.load8_splat": (1, _splat),
    "v128.load16_splat": (2, _splat),
    "v128.load32_splat": (4, _splat),
    "v128.load64_splat": (8, _splat),
    "v128.load32_zero": (4, _zero),
    "v128.load64_zero": (8, _zero),
}
"""Bytes read, and what they become."""

LANES: dict[str, int] = {f"v128.{kind}{8 * n}_lane": n for kind in ("load", "store") for n in (1, 2, 4, 8)}
"""Bytes of the lane."""


@handles(*VECTOR_LOADS)
@rule(*(f"Step_read/vload{kind}-{end}" for kind in ("", "-pack", "-splat", "-zero") for end in ("oob", "val")))
def vload(instance: Instance, instr: Instr) -> Handler:
    memory, offset = instance.memories[instr.args[0].memory], instr.args[0].offset
    size, value_of = VECTOR_LOADS[instr.op.mnemonic]

    def handler(stack: Stack, locals: Stack) -> None:
        stack[-1] = value_of(_read(memory, stack[-1] + offset, size))

    return handler


@handles("v128.store")
@rule("Step/vstore-oob", "Step/vstore-val")
def vstore(instance: Instance, instr: Instr) -> Handler:
    memory, offset = instance.memories[instr.args[0].memory], instr.args[0].offset

    def handler(stack: Stack, locals: Stack) -> None:
        value = stack.pop()
        _write(memory, stack.pop() + offset, value.to_bytes(16, "little"))

    return handler


@handles(*(name for name in LANES if "load" in name))
@rule("Step_read/vload_lane-oob", "Step_read/vload_lane-val")
def vload_lane(instance: Instance, instr: Instr) -> Handler:
    memarg, lane = instr.args
    memory, size = instance.memories[memarg.memory], LANES[instr.op.mnemonic]
    shift = 8 * size * lane
    others = ~((1 << 8 * size) - 1 << shift)

    def handler(stack: Stack, locals: Stack) -> None:
        vector = stack.pop()
        value = int.from_bytes(_read(memory, stack[-1] + memarg.offset, size), "little")
        stack[-1] = vector & others | value << shift

    return handler


@handles(*(name for name in LANES if "store" in name))
@rule("Step/vstore_lane-oob", "Step/vstore_lane-val")
def vstore_lane(instance: Instance, instr: Instr) -> Handler:
    memarg, lane = instr.args
    memory, size = instance.memories[memarg.memory], LANES[instr.op.mnemonic]

    def handler(stack: Stack, locals: Stack) -> None:
        value = stack.pop().to_bytes(16, "little")[size * lane : size * lane + size]
        _write(memory, stack.pop() + memarg.offset, value)

    return handler


@handles("memory.size")
@rule("Step_read/memory.size")
def memory_size(instance: Instance, instr: Instr) -> Handler:
    memory = instance.memories[instr.args[0]]
    return lambda stack, locals: stack.append(memory.pages)


@handles("memory.grow")
@rule("Step/memory.grow-succeed", "Step/memory.grow-fail")
def memory_grow(instance: Instance, instr: Instr) -> Handler:
    memory = instance.memories[instr.args[0]]
    failed, grows = MAX_ADDRESS[memory.initial.address], instance.store.profile.grow

    def handler(stack: Stack, locals: Stack) -> None:
        pages = memory.grow(stack[-1]) if grows or not stack[-1] else None
        stack[-1] = failed if pages is None else pages

    return handler


def _chunks(size: int) -> Iterator[tuple[int, int]]:
    """Cut a range of bytes so that no copy of it is large."""
    for first in range(0, size, CHUNK):
        yield first, min(first + CHUNK, size)


@handles("memory.fill")
@rule("Step_read/memory.fill-oob", "Step_read/memory.fill-zero", "Step_read/memory.fill-succ")
def memory_fill(instance: Instance, instr: Instr) -> Handler:
    memory, bulk = instance.memories[instr.args[0]], instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        start, value, size = stack[-3:]
        del stack[-3:]
        data = memory.data
        if start + size > len(data):
            raise Trap(OOB)
        bulk(size)
        byte = bytes((value & 0xFF,))
        for first, last in _chunks(size):
            data[start + first : start + last] = byte * (last - first)

    return handler


@handles("memory.copy")
@rule("Step_read/memory.copy-oob", "Step_read/memory.copy-zero", "Step_read/memory.copy-le", "Step_read/memory.copy-gt")
def memory_copy(instance: Instance, instr: Instr) -> Handler:
    to_memory, from_memory = (instance.memories[x] for x in instr.args)
    bulk = instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        to, start, size = stack[-3:]
        del stack[-3:]
        target, source = to_memory.data, from_memory.data
        if to + size > len(target) or start + size > len(source):
            raise Trap(OOB)
        bulk(size)
        chunks = _chunks(size) if to <= start else reversed(list(_chunks(size)))
        for first, last in chunks:
            target[to + first : to + last] = source[start + first : start + last]

    return handler


@handles("memory.init")
@rule("Step_read/memory.init-oob", "Step_read/memory.init-zero", "Step_read/memory.init-succ")
def memory_init(instance: Instance, instr: Instr) -> Handler:
    memory, segment = instance.memories[instr.args[0]], instance.datas[instr.args[1]]
    bulk = instance.store.bulk

    def handler(stack: Stack, locals: Stack) -> None:
        to, start, size = stack[-3:]
        del stack[-3:]
        data = memory.data
        if to + size > len(data) or start + size > len(segment.data):
            raise Trap(OOB)
        bulk(size)
        data[to : to + size] = segment.data[start : start + size]

    return handler


@handles("data.drop")
@rule("Step/data.drop")
def data_drop(instance: Instance, instr: Instr) -> Handler:
    segment = instance.datas[instr.args[0]]

    def handler(stack: Stack, locals: Stack) -> None:
        segment.data = b""

    return handler
