"""What implementers forget about atomic instructions and shared memories; on both paths."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from wasmlab_ref import fast
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode, unsigned
from wasmlab_ref.engine import Store
from wasmlab_ref.features import FEATURES
from wasmlab_ref.isa import INSTRUCTIONS, Instruction
from wasmlab_ref.limits import Limits
from wasmlab_ref.outcome import Exhausted, Rejected, Unlinkable
from wasmlab_ref.store import Instance
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import PAGE
from wasmlab_ref.validate import validate

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
OOB, UNALIGNED, UNSHARED = "out of bounds memory access", "unaligned atomic", "expected shared memory"
ROWS = [row for row in INSTRUCTIONS if row.feature == "threads"]
ACCESSES = [row for row in ROWS if row.access]
RMW = {
    "add": lambda old, operand: old + operand,
    "sub": lambda old, operand: old - operand,
    "and": lambda old, operand: old & operand,
    "or": lambda old, operand: old | operand,
    "xor": lambda old, operand: old ^ operand,
    "xchg": lambda old, operand: operand,
}
TIMED_OUT, NOT_EQUAL = 2, 1


def names(rows: list[Instruction]) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("row", rows, ids=[row.mnemonic for row in rows])


def text(row: Instruction, memory: str = "1 1 shared", address: str = "i32", offset: str = "") -> str:
    """A module that exports the instruction as "f", and its memory's first eight bytes as "get" and "set"."""
    params = [address if t == "at" else str(t) for t in row.params or ()]
    wide = "" if address == "i32" else "i64 "
    return f"""(module (memory (export "m") {wide}{memory})
        (func (export "f") (param {" ".join(params)}) (result {" ".join(map(str, row.results or ()))})
            ({row.mnemonic} {offset} {" ".join(f"(local.get {at})" for at in range(len(params)))}))
        (func (export "get") (param i32) (result i64) (i64.load ({address}.const 8)))
        (func (export "set") (param i64) (i64.store ({address}.const 8) (local.get 0))))"""


def operands(row: Instruction, address: int) -> list[int]:
    return [address, *[0] * (len(row.params or ()) - 1)]


@names([row for row in ROWS if row.rule in ("atomic.load", "atomic.store", "atomic.rmw", "atomic.cmpxchg")])
def test_narrow_accesses_wrap_their_operands_and_never_extend_a_sign(world: Any, row: Instruction) -> None:
    instance = world.load(text(row))
    before, operand = 0x8899_AABB_CCDD_EEFF, 0xFEDC_BA98_7654_32F1
    width = 32 if row.mnemonic.startswith("i32") else 64
    mask, of_type = (1 << 8 * row.access) - 1, operand & (1 << width) - 1
    world.call(instance, "set", before)
    old, after = before & mask, before & mask
    match row.rule:
        case "atomic.load":
            args: list[int] = [8]
        case "atomic.store":
            args, after = [8, of_type], of_type
        case "atomic.rmw":
            after = RMW[row.mnemonic.rpartition(".")[2].removesuffix("_u")](old, of_type)
            args = [8, of_type]
        case _:
            garbage = (M64 ^ mask) & (1 << width) - 1  # beyond the width of the access, which is not compared
            args, after = [8, garbage | old, of_type], of_type
    assert world.call(instance, "f", *args) == ([] if row.rule == "atomic.store" else [old])
    assert world.call(instance, "get", 0) == [before & ~mask | after & mask]


@names([row for row in ROWS if row.rule == "atomic.cmpxchg"])
def test_an_exchange_that_fails_writes_nothing(world: Any, row: Instruction) -> None:
    instance = world.load(text(row))
    world.call(instance, "set", 0x1111_1111_1111_1111)
    expected = 0x1111_1111_1111_1111 & (1 << 8 * row.access) - 1
    assert world.call(instance, "f", 8, 0x10, 0x77) == [expected]
    assert world.call(instance, "get", 0) == [0x1111_1111_1111_1111]


@names(ACCESSES)
@pytest.mark.parametrize("memory", ["1", "1 1 shared"])
def test_the_address_with_its_offset_must_be_aligned(world: Any, row: Instruction, memory: str) -> None:
    """Neither of the two alone; alignment is asked for before bounds, and where neither is right both are named."""
    size, waits = row.access, row.rule == "atomic.wait"
    plain, shifted = (world.load(text(row, memory, offset=offset)) for offset in ("", "offset=1"))
    also = [UNSHARED] if waits and memory == "1" else []

    def kinds(instance: Instance, address: int) -> list[str]:
        found: str = world.trap(instance, "f", *operands(row, address))
        return found.split("|")

    for address in range(1, size):
        assert kinds(plain, address) == [UNALIGNED, *also]
    if size > 1:
        assert kinds(plain, PAGE - 1) == [UNALIGNED, *also, OOB]
        assert kinds(shifted, 8) == [UNALIGNED, *also]
        assert kinds(plain, M32) == [UNALIGNED, *also, OOB]
    assert kinds(plain, PAGE) == [*also, OOB]
    assert kinds(plain, M32 + 1 - size) == [*also, OOB]
    if size > 1:
        assert kinds(shifted, M32) == [*also, OOB]  # 2^32 is aligned; it does not wrap
    if also:
        assert kinds(plain, 0) == [UNSHARED]
    else:
        world.call(plain, "f", *operands(row, PAGE - size))
        world.call(shifted, "f", *operands(row, PAGE - size - 1))


@names(ACCESSES)
def test_64_bit_addresses(world: Any, row: Instruction) -> None:
    plain, far = (world.load(text(row, address="i64", offset=o)) for o in ("", f"offset={1 << 63}"))
    world.call(plain, "f", *operands(row, PAGE - 8))
    for address in (1 << 32, (1 << 63) - row.access + 1 & -8, M64 - 7):
        assert world.trap(plain, "f", *operands(row, address)) == OOB
    assert world.trap(far, "f", *operands(row, 1 << 63)) == OOB  # no carry is lost
    assert world.trap(far, "f", *operands(row, 0)) == OOB


@names(ACCESSES)
def test_the_memory_index_is_in_the_flags(world: Any, row: Instruction) -> None:
    params = " ".join(f"({t}.const 0)" for t in (row.params or ())[1:])
    drop = "(drop " if row.results else "("
    module = parse_module(
        f"""(module (memory 0) (memory $m 1 1 shared)
            (func (export "f") {drop}{row.mnemonic if not row.results else f"({row.mnemonic}"}
                $m (i32.const 8) {params}){")" if row.results else ""}))"""
    )
    data = encode(module)
    assert bytes((0x40 | row.access.bit_length() - 1, 1, 0)) in data
    assert decode(data) == module
    instance = world.load(data)
    world.call(instance, "f")


def test_waits_and_notifications(world: Any) -> None:
    both = """(module (memory {memory})
        (func (export "w32") (param i32 i32 i64) (result i32)
            (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
        (func (export "w64") (param i32 i64 i64) (result i32)
            (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
        (func (export "notify") (param i32 i32) (result i32) (memory.atomic.notify (local.get 0) (local.get 1)))
        (func (export "set") (param i32 i64) (i64.store (local.get 0) (local.get 1))))"""
    shared = world.load(both.format(memory="1 1 shared"))
    world.call(shared, "set", 8, 0xFFFF_FFFF_0000_0001)
    for timeout in (0, 1, 1_000_000_000, M64, 1 << 63):
        assert world.call(shared, "w32", 8, 0, timeout) == [NOT_EQUAL]
        assert world.call(shared, "w64", 8, 1, timeout) == [NOT_EQUAL]  # all of it is compared
    for timeout in (0, 1, 1_000_000_000):
        assert world.call(shared, "w32", 8, 1, timeout) == [TIMED_OUT]
        assert world.call(shared, "w64", 8, 0xFFFF_FFFF_0000_0001, timeout) == [TIMED_OUT]
    for timeout in (1_000_000_001, (1 << 63) - 1, 1 << 63, M64):
        with pytest.raises(Exhausted, match="time"):
            world.call(shared, "w32", 8, 1, timeout)
    for memory in ("1", "1 1 shared"):
        instance = world.load(both.format(memory=memory))
        for count in (0, 1, M32):
            assert world.call(instance, "notify", PAGE - 4, count) == [0]  # the last word is there
        assert world.trap(instance, "notify", PAGE, 0) == OOB
        assert world.trap(instance, "notify", 2, 0) == UNALIGNED


def test_where_nobody_waits_time_costs_fuel(world: Any) -> None:
    """So that a loop of waits ends."""
    module = parse_module("""(module (memory 1 1 shared) (func (export "f")
        (loop $l (br_if $l (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 1_000_000_000))))))""")
    instance = Store(limits=Limits(fuel=3_000_000)).instantiate(validate(module))
    with pytest.raises(Exhausted, match="fuel"):
        instance.store.invoke(instance.exports["f"])  # type: ignore[arg-type]
    assert instance.store.bulk_fuel.left < 1_000_000


@pytest.mark.parametrize("exported", ["1 2", "1 2 shared"])
@pytest.mark.parametrize("imported", ["1 2", "1 2 shared"])
def test_sharedness_is_part_of_a_memorys_type(world: Any, exported: str, imported: str) -> None:
    world.load(f'(module (memory (export "m") {exported}))', "a")
    importer = f'(module (import "a" "m" (memory {imported})))'
    if exported == imported:
        world.load(importer)
    else:
        with pytest.raises(Unlinkable, match="incompatible import type"):
            world.load(importer)


def test_shared_memories_grow_and_keep_their_type(world: Any) -> None:
    first = world.load("""(module (memory (export "m") 1 3 shared)
        (func (export "grow") (result i32) (memory.grow (i32.const 1))))""", "a")  # fmt: skip
    assert [world.call(first, "grow") for _ in range(3)] == [[1], [2], [M32]]
    second = world.load("""(module (import "a" "m" (memory 3 4 shared))
        (func (export "f") (result i64) (i64.atomic.load (i32.const 0x2fff8))))""")  # fmt: skip
    assert world.call(second, "f") == [0]


def test_what_validation_refuses(invalid: Callable[[str], str]) -> None:
    assert invalid("(module (memory 1 shared))") == "shared memory must have maximum"
    assert invalid("(module (memory i64 1 shared))") == "shared memory must have maximum"
    for row in ACCESSES:
        drop, end = ("(drop ", ")") if row.results else ("", "")
        params = " ".join(f"({'i32' if t == 'at' else t}.const 0)" for t in row.params or ())
        for align in (1, 2, 4, 8, 16):
            code = f"(func {drop}({row.mnemonic} align={align} {params}){end})"
            if align != row.access:
                assert "alignment must" in invalid(f"(module (memory 1) {code})")
        assert invalid(f"(module (func {drop}({row.mnemonic} {params}){end}))") == "unknown memory 0"


def test_a_fence_needs_no_memory_and_a_zero_byte(world: Any, malformed: Callable[[bytes], tuple[str, int]]) -> None:
    data = encode(parse_module('(module (func (export "f") (atomic.fence)))'))
    assert data.count(b"\xfe\x03\x00") == 1
    world.call(world.load(data), "f")
    message, offset = malformed(data.replace(b"\xfe\x03\x00", b"\xfe\x03\x01"))
    assert (message, offset) == ("zero byte expected", data.index(b"\xfe\x03\x00") + 2)


@pytest.mark.parametrize("code", [4, 0x0F, 0x4F, 0x80, 0x1000])
def test_what_lies_beside_the_opcodes_is_illegal(malformed: Callable[[bytes], tuple[str, int]], code: int) -> None:
    fence = encode(parse_module("(module (func (atomic.fence)))"))
    body = b"\0\xfe" + unsigned(code) + b"\0\x0b"
    section = b"\1" + unsigned(len(body)) + body
    data = fence[: fence.index(b"\xfe\x03\x00") - 5] + b"\x0a" + unsigned(len(section)) + section
    assert malformed(data)[0].startswith("illegal opcode")
    with suppress(fast.Unavailable):
        assert fast.check(data).message.startswith("illegal opcode")


@pytest.mark.parametrize("flags", range(16))
@pytest.mark.parametrize("section", [b"\5", b"\4"])
def test_limits_flags_on_both_paths(section: bytes, flags: int) -> None:
    """Memories may be shared, and must then have a maximum; tables may not."""
    limits = (b"\x70" if section == b"\4" else b"") + bytes((flags, 1, 2)[: 2 + (flags & 1)]) + b"\0" * (flags >> 3)
    data = b"\0asm\1\0\0\0" + section + unsigned(len(limits) + 1) + b"\1" + limits
    unknown = 0 if section == b"\5" else ~5
    stage = "malformed" if flags & unknown else "invalid" if flags & 3 == 2 else ""
    found = ""
    try:
        validate(decode(data))
    except Rejected as error:
        found = error.stage
    assert found == stage
    with suppress(fast.Unavailable):
        assert fast.check(data).stage == stage
        known = fast.check(data, fast.ALL_FEATURES & ~(1 << list(FEATURES).index("threads")))
        assert known.stage == ("unsupported" if stage != "malformed" and flags & 2 else stage)
