"""Runs that keep track of what the standard leaves open: one bit for each bit that a behaviour it allows may change.

    store = Store(taint=Taint())

Values with open bits are `Tainted`: ints with a mask.  Instructions that only move values need to know nothing of
that; the others get a handler around their own, when a function is translated for such a store.  Where an open bit
would decide on what happens next (a branch, an address, a trap, a size), nothing can be said any more: `Open` ends it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .events import Weaver
from .handlers import Handler, Stack
from .memory import LANES, LOADS, STORES, VECTOR_LOADS
from .numerics.format import F32, F64
from .store import Instance, MemInst, field_types
from .syntax import Instr, MemArg
from .taint_rules import certain_nan, opens, rule_of

if TYPE_CHECKING:
    from .types import StorageType


class Open(Exception):
    """What happens next is open; the argument says what decides: "branch", "address", "trap" …"""


class Tainted(int):
    """A value of which the bits in the mask `taint` are open."""

    taint: int

    def __new__(cls, bits: int, taint: int) -> Tainted:
        self = super().__new__(cls, bits)
        self.taint = taint
        return self


def taint_of(value: Any) -> int:
    """The mask of a value's open bits."""
    return value.taint if type(value) is Tainted else 0


def with_taint(value: Any, taint: int) -> Any:
    """A number with another mask."""
    if taint:
        return Tainted(value, taint)
    return int(value) if type(value) is Tainted else value


class Taint:
    """The open bits of the memories of a store."""

    def __init__(self) -> None:
        self._memories: dict[MemInst, dict[int, int]] = {}

    def of(self, memory: MemInst) -> dict[int, int]:
        """By address the masks of the bytes that have open bits."""
        return self._memories.setdefault(memory, {})

    def read(self, memory: MemInst, address: int, size: int) -> bytes:
        """The masks of some bytes."""
        masks = self.of(memory)
        return bytes([masks.get(at, 0) for at in range(address, address + size)]) if masks else bytes(size)

    def write(self, memory: MemInst, address: int, masks: Sequence[int]) -> None:
        """Set the masks of some bytes."""
        found = self.of(memory)
        if found or any(masks):
            for at, mask in enumerate(masks, address):
                if mask:
                    found[at] = mask
                else:
                    found.pop(at, None)

    def clear(self, memory: MemInst, address: int, size: int) -> None:
        """Close a range of bytes."""
        found = self.of(memory)
        for at in [at for at in found if address <= at < address + size]:
            del found[at]

    def copy(self, target: MemInst, to: int, source: MemInst, start: int, size: int) -> None:
        """Copy the masks of a range."""
        moved = {to + at - start: mask for at, mask in self.of(source).items() if start <= at < start + size}
        self.clear(target, to, size)
        self.of(target).update(moved)


DECIDING: dict[str, tuple[str, tuple[int, ...]]] = {
    "table.get": ("index", (-1,)),
    "table.set": ("index", (-2,)),
    "table.grow": ("size", (-1,)),
    "table.fill": ("index", (-1, -3)),
    "table.copy": ("index", (-1, -2, -3)),
    "table.init": ("index", (-1, -2, -3)),
    "memory.grow": ("size", (-1,)),
    "memory.fill": ("address", (-1, -3)),
    "memory.copy": ("address", (-1, -2, -3)),
    "memory.init": ("address", (-1, -2, -3)),
    "array.new": ("size", (-1,)),
    "array.new_default": ("size", (-1,)),
    "array.new_data": ("size", (-1, -2)),
    "array.new_elem": ("size", (-1, -2)),
    "array.get": ("index", (-1,)),
    "array.get_s": ("index", (-1,)),
    "array.get_u": ("index", (-1,)),
    "array.set": ("index", (-2,)),
    "array.fill": ("index", (-1, -3)),
    "array.copy": ("index", (-1, -2, -4)),
    "array.init_data": ("index", (-1, -2, -3)),
    "array.init_elem": ("index", (-1, -2, -3)),
    "call_indirect": ("index", (-1,)),
    "return_call_indirect": ("index", (-1,)),
    "if": ("branch", (-1,)),
    "br_if": ("branch", (-1,)),
    "br_table": ("branch", (-1,)),
}
"""Operands that decide on what happens, by place on the stack, and as what."""


class TaintWeaver(Weaver):
    """Weaves the masks into the code of one instance."""

    def __init__(self, taint: Taint, instance: Instance) -> None:
        self.taint, self.instance = taint, instance

    def before(self, position: int, instr: Instr, handled: bool) -> Handler:
        deciding = DECIDING.get(instr.op.mnemonic)
        return super().before(position, instr, handled) if deciding is None else _closed(*deciding)

    def around(self, position: int, instr: Instr, handler: Handler, handled: bool = False) -> Handler:
        name = instr.op.mnemonic
        if name in self.instance.store.numerics:
            return self._numeric(instr, handler)
        if name not in SPECIAL and instr.args and isinstance(instr.args[0], MemArg):
            return self._access(instr, handler)
        woven = SPECIAL[name](self, instr, handler) if name in SPECIAL else handler
        if name not in DECIDING:
            return woven
        closed = _closed(*DECIDING[name])

        def checked(stack: Stack, locals: Stack) -> None:
            closed(stack, locals)
            woven(stack, locals)

        return checked

    def _numeric(self, instr: Instr, handler: Handler) -> Handler:
        store, name = self.instance.store, instr.op.mnemonic
        rule = rule_of(instr, store.profile, store.numerics)
        count, always, traps = len(instr.op.params or ()), opens(name), TRAPPING.get(name)

        def numeric(stack: Stack, locals: Stack) -> None:
            operands = stack[-count:]
            taints = [taint_of(a) for a in operands]
            if not always and not any(taints):
                handler(stack, locals)
                return
            if traps is not None and traps(operands, taints):
                raise Open("trap")
            handler(stack, locals)
            stack[-1] = with_taint(stack[-1], rule(stack[-1], operands, taints))

        return numeric

    def _access(self, instr: Instr, handler: Handler) -> Handler:
        name, memarg = instr.op.mnemonic, instr.args[0]
        memory, offset, taint = self.instance.memories[memarg.memory], memarg.offset, self.taint
        place = -len(instr.op.params or ())
        size = _size(name)
        stores, mask_of = "store" in name, _mask_read(instr)
        shift = 8 * size * instr.args[1] if name in LANES else 0

        def access(stack: Stack, locals: Stack) -> None:
            address, operand = stack[place], stack[-1]
            if type(address) is Tainted:
                raise Open("address")
            handler(stack, locals)
            if stores:
                mask = taint_of(operand) >> shift & (1 << 8 * size) - 1
                taint.write(memory, address + offset, mask.to_bytes(size, "little"))
            else:
                mask = mask_of(taint.read(memory, address + offset, size), taint_of(operand))
                stack[-1] = with_taint(stack[-1], mask)

        return access


def _closed(what: str, places: tuple[int, ...]) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        for place in places:
            if type(stack[place]) is Tainted:
                raise Open(what)

    return handler


# Memory accesses


def _size(name: str) -> int:
    form = STORES.get(name) or LOADS.get(name, ("", 0))[0]
    if form:
        return struct.calcsize(form)
    return 16 if name == "v128.store" else LANES[name] if name in LANES else VECTOR_LOADS[name][0]


def _mask_read(instr: Instr) -> Callable[[bytes, int], int]:
    """From the masks of the bytes (and of the vector that a lane goes to) to the mask of what is loaded."""
    name = instr.op.mnemonic
    if name in LOADS:
        form, mask = LOADS[name]
        return lambda data, _: int(struct.unpack(form, data)[0]) & mask
    if name in VECTOR_LOADS:
        value_of = VECTOR_LOADS[name][1]
        return lambda data, _: value_of(data)
    size = LANES.get(name, 0)
    shift = 8 * size * (instr.args[1] if size else 0)
    others = ~((1 << 8 * size) - 1 << shift)
    return lambda data, vector: vector & others | int.from_bytes(data, "little") << shift


# Traps


def _division(width: int, signed: bool) -> Callable[[Sequence[int], Sequence[int]], bool]:
    """Is it open whether a division traps?"""
    M, least = (1 << width) - 1, 1 << width - 1

    def open_(operands: Sequence[int], taints: Sequence[int]) -> bool:
        (a, b), (ta, tb) = operands, taints
        if tb and not b & ~tb:
            return True
        overflow = not (a ^ least) & ~ta and not (b ^ M) & ~tb
        return signed and overflow and bool(ta | tb)

    return open_


def _truncation(name: str) -> Callable[[Sequence[int], Sequence[int]], bool]:
    fmt = F64 if "f64" in name else F32
    return lambda operands, taints: not certain_nan(fmt, operands[0], taints[0])


TRAPPING: dict[str, Callable[[Sequence[int], Sequence[int]], bool]] = {
    **{f"i{N}.{op}_{sx}": _division(N, (op, sx) == ("div", "s"))
       for N in (32, 64) for op in ("div", "rem") for sx in "su"},
    **{name: _truncation(name)
       for name in (f"i{N}.trunc_f{M}_{sx}" for N in (32, 64) for M in (32, 64) for sx in "su")},
}  # fmt: skip
"""Whether it is open that an instruction traps, from its operands and their masks, of which one at least is not 0."""


# Other instructions


def _select(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    def select(stack: Stack, locals: Stack) -> None:
        first, second, condition = stack[-3:]
        handler(stack, locals)
        if type(condition) is Tainted and not int(condition) & ~condition.taint and first is not second:
            if not isinstance(first, int) or not isinstance(second, int):
                raise Open("select")
            stack[-1] = with_taint(stack[-1], first ^ second | taint_of(first) | taint_of(second))

    return select


def _fill(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    memory, taint = weaver.instance.memories[instr.args[0]], weaver.taint

    def fill(stack: Stack, locals: Stack) -> None:
        start, value, size = stack[-3:]
        handler(stack, locals)
        if mask := taint_of(value) & 0xFF:
            taint.write(memory, start, bytes((mask,)) * size)
        else:
            taint.clear(memory, start, size)

    return fill


def _copy(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    target, source = (weaver.instance.memories[x] for x in instr.args)

    def copy(stack: Stack, locals: Stack) -> None:
        to, start, size = stack[-3:]
        handler(stack, locals)
        weaver.taint.copy(target, to, source, start, size)

    return copy


def _init(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    memory = weaver.instance.memories[instr.args[0]]

    def init(stack: Stack, locals: Stack) -> None:
        to, _, size = stack[-3:]
        handler(stack, locals)
        weaver.taint.clear(memory, to, size)

    return init


_PACKED = {"i8": 0xFF, "i16": 0xFFFF}


def _storage(weaver: TaintWeaver, instr: Instr) -> tuple[StorageType, ...]:
    return field_types(weaver.instance.types[instr.args[0]])


def _packing(storage: StorageType) -> int:
    return _PACKED.get(storage, -1) if isinstance(storage, str) else -1


def _struct_new(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    masks = [_packing(storage) for storage in _storage(weaver, instr)]

    def struct_new(stack: Stack, locals: Stack) -> None:
        taints = [taint_of(value) for value in stack[len(stack) - len(masks) :]]
        handler(stack, locals)
        fields = stack[-1].fields
        fields[:] = [with_taint(v, t & m) if t else v for v, t, m in zip(fields, taints, masks, strict=True)]

    return struct_new


def _struct_set(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    field = instr.args[1]
    mask = _packing(_storage(weaver, instr)[field])

    def struct_set(stack: Stack, locals: Stack) -> None:
        ref, value = stack[-2:]
        handler(stack, locals)
        if taint := taint_of(value):
            ref.fields[field] = with_taint(ref.fields[field], taint & mask)

    return struct_set


def _signed(storage: StorageType, taint: int) -> int:
    top = _packing(storage) + 1 >> 1
    return ((taint ^ top) - top) & 0xFFFF_FFFF


def _struct_get_s(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    field = instr.args[1]
    storage = _storage(weaver, instr)[field]

    def struct_get(stack: Stack, locals: Stack) -> None:
        ref = stack[-1]
        handler(stack, locals)
        stack[-1] = with_taint(stack[-1], _signed(storage, taint_of(ref.fields[field])))

    return struct_get


def _array_get_s(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    (storage,) = _storage(weaver, instr)

    def array_get(stack: Stack, locals: Stack) -> None:
        ref, index = stack[-2:]
        handler(stack, locals)
        stack[-1] = with_taint(stack[-1], _signed(storage, taint_of(ref.fields[index])))

    return array_get


def _array_values(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    """Instructions that put values into arrays: all elements of a new one, one, or a range."""
    (storage,) = _storage(weaver, instr)
    mask, name = _packing(storage), instr.op.mnemonic

    def array(stack: Stack, locals: Stack) -> None:
        match name:
            case "array.new_fixed":
                values, first, ref = stack[len(stack) - instr.args[1] :], 0, None
            case "array.new":
                values, first, ref = [stack[-2]] * (1 if taint_of(stack[-2]) == 0 else stack[-1]), 0, None
            case "array.set":
                values, first, ref = [stack[-1]], stack[-2], stack[-3]
            case _:
                values, first, ref = [stack[-2]] * (stack[-1] if taint_of(stack[-2]) else 0), stack[-3], stack[-4]
        handler(stack, locals)
        fields = (stack[-1] if ref is None else ref).fields
        for at, value in enumerate(values, first):
            if taint := taint_of(value):
                fields[at] = with_taint(fields[at], taint & mask)

    return array if mask > 0 else handler


def _ref_i31(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    def ref_i31(stack: Stack, locals: Stack) -> None:
        taint = taint_of(stack[-1]) & 0x7FFF_FFFF
        handler(stack, locals)
        stack[-1] = with_taint(stack[-1], taint)

    return ref_i31


def _i31_get(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    sign = 0x8000_0000 if instr.op.mnemonic == "i31.get_s" else 0

    def i31_get(stack: Stack, locals: Stack) -> None:
        taint = taint_of(stack[-1])
        handler(stack, locals)
        stack[-1] = with_taint(stack[-1], taint | taint << 1 & sign)

    return i31_get


def _ref_eq(weaver: TaintWeaver, instr: Instr, handler: Handler) -> Handler:
    def ref_eq(stack: Stack, locals: Stack) -> None:
        a, b = stack[-2:]
        handler(stack, locals)
        taint = taint_of(a) | taint_of(b)
        if taint and isinstance(a, int) and isinstance(b, int) and not (a ^ b) & ~taint:
            stack[-1] = with_taint(stack[-1], 1)

    return ref_eq


SPECIAL: dict[str, Callable[[TaintWeaver, Instr, Handler], Handler]] = {
    "select": _select,
    "memory.fill": _fill,
    "memory.copy": _copy,
    "memory.init": _init,
    "struct.new": _struct_new,
    "struct.set": _struct_set,
    "struct.get_s": _struct_get_s,
    "array.get_s": _array_get_s,
    **dict.fromkeys(("array.new", "array.new_fixed", "array.set", "array.fill"), _array_values),
    "ref.i31": _ref_i31,
    "i31.get_s": _i31_get,
    "i31.get_u": _i31_get,
    "ref.eq": _ref_eq,
}
