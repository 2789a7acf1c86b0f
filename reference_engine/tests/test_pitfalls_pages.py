"""What implementers forget about memories whose pages have one byte; on both paths."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from wasmlab_ref import fast
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode, unsigned
from wasmlab_ref.features import FEATURES
from wasmlab_ref.outcome import Exhausted, Malformed, Rejected, Unlinkable
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import PAGE, Limits, MemType
from wasmlab_ref.validate import validate

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
OOB = "out of bounds memory access"


def memory(limits: str, address: str = "i32") -> str:
    wide = "i64 " if address == "i64" else ""
    return f"""(module (memory (export "m") {wide}{limits})
        (func (export "size") (result {address}) (memory.size))
        (func (export "grow") (param {address}) (result {address}) (memory.grow (local.get 0)))
        (func (export "get") (param {address}) (result i64) (i64.load (local.get 0)))
        (func (export "byte") (param {address}) (result i32) (i32.load8_u (local.get 0)))
        (func (export "set") (param {address} i32) (i32.store8 (local.get 0) (local.get 1)))
        (func (export "fill") (param {address} {address}) (memory.fill (local.get 0) (i32.const 7) (local.get 1))))"""


@pytest.mark.parametrize("address", ["i32", "i64"])
def test_sizes_are_bytes(world: Any, address: str) -> None:
    most = M32 if address == "i32" else M64
    instance = world.load(memory("3 (pagesize 1)", address))
    assert world.call(instance, "size") == [3]
    world.call(instance, "set", 2, 1)
    assert world.trap(instance, "set", 3, 1) == OOB
    assert world.trap(instance, "get", 0) == OOB
    assert world.call(instance, "grow", 5) == [3]
    assert world.call(instance, "get", 0) == [1 << 16]
    assert world.trap(instance, "get", 1) == OOB
    world.call(instance, "fill", 4, 4)
    assert world.trap(instance, "fill", 4, 5) == OOB
    assert world.call(instance, "grow", 70_000) == [8]
    assert world.call(instance, "byte", 70_007) == [0]
    assert world.trap(instance, "byte", 70_008) == OOB
    for amount in (most, most - 70_007, 1 << 31):
        assert world.call(instance, "grow", amount) == [most], amount
    assert world.call(instance, "size") == [70_008]
    assert world.call(instance, "get", 0) == [0x0707_0707_0001_0000]


def test_the_maximum_is_in_bytes(world: Any) -> None:
    instance = world.load(memory("0 65537 (pagesize 1)"))
    assert [world.call(instance, "grow", n) for n in (65536, 1, 1, 0)] == [[0], [65536], [M32], [65537]]


def test_what_a_store_has_left_counts_whole_pages(world: Any) -> None:
    """Growing by a byte at a time costs 64 KiB once."""
    instance = world.load(memory("1 (pagesize 1)"))
    for n in range(1, 1000):
        assert world.call(instance, "grow", 1) == [n]
    many = world.load(memory("1 (pagesize 1)", "i64"))
    assert world.call(many, "grow", 1 << 31) == [M64]
    with pytest.raises(Exhausted, match="memory"):
        world.load(memory("0xffff_ffff_ffff_ffff (pagesize 1)", "i64"))


def test_the_page_size_is_part_of_a_memorys_type(world: Any) -> None:
    world.load('(module (memory (export "m") 0 (pagesize 1)) (memory (export "n") 0))', "a")
    world.load('(module (import "a" "m" (memory 0 (pagesize 1))) (import "a" "n" (memory 0 (pagesize 65536))))')
    for name, size in (("m", 65536), ("n", 1)):
        with pytest.raises(Unlinkable, match="incompatible import type"):
            world.load(f'(module (import "a" "{name}" (memory 0 (pagesize {size}))))')


def test_copies_between_page_sizes(world: Any) -> None:
    instance = world.load("""(module (memory $s 5 (pagesize 1)) (memory $l 1) (data (memory $s) (i32.const 0) "abcde")
        (func (export "f") (param i32 i32 i32) (result i32)
            (memory.copy $l $s (local.get 0) (local.get 1) (local.get 2))
            (i32.load $l (i32.const 65532))))""")  # fmt: skip
    assert world.call(instance, "f", 65531, 0, 5) == [int.from_bytes(b"bcde", "little")]
    for args in ((0, 0, 6), (65532, 0, 5), (0, 6, 0)):
        assert world.trap(instance, "f", *args) == OOB


@pytest.mark.parametrize("exponent", [0, 1, 15, 16, 17, 63, 64, 65, 1000])
def test_the_exponent_in_the_binary_format(exponent: int) -> None:
    body = b"\1\x08\0" + unsigned(exponent)
    data = b"\0asm\1\0\0\0\5" + unsigned(len(body)) + body
    wanted = "" if exponent in (0, 16) else "invalid" if exponent <= 64 else "malformed"
    if wanted:
        with pytest.raises(Rejected, match="invalid custom page size") as caught:
            validate(decode(data))
        assert caught.value.stage == wanted
    else:
        assert decode(data).memories == (MemType(Limits(0), page=1 << exponent),)
    with suppress(fast.Unavailable):
        assert fast.check(data).stage == wanted
        bit = 1 << list(FEATURES).index("custom-page-sizes")
        assert fast.check(data, fast.ALL_FEATURES & ~bit).stage == (wanted if wanted == "malformed" else "unsupported")


@pytest.mark.parametrize("size", ["3", "0", "", "-1", "0x1_0000_0000_0000_0000"])
def test_texts_that_are_malformed(size: str) -> None:
    for text in (f"(memory 0 (pagesize {size}))", f"(memory (pagesize {size}) (data))"):
        with pytest.raises(Malformed):
            parse_module(text)


def test_bounds(invalid: Callable[[str], str]) -> None:
    assert "at most" in invalid("(module (memory 0x1_0000_0000 (pagesize 1)))")
    assert "at most" in invalid("(module (memory 0 0x1_0000_0000 (pagesize 1)))")
    assert "at most" in invalid("(module (memory 65537 (pagesize 65536)))")
    assert invalid("(module (memory 1 (pagesize 2)))") == "invalid custom page size"
    assert invalid("(module (memory 1 shared (pagesize 1)))") == "shared memory must have maximum"


def test_the_usual_page_size_is_not_written(world: Any) -> None:
    module = parse_module('(module (memory (export "m") i64 1 2 shared (pagesize 65536)))')
    assert module.memories == (MemType(Limits(1, 2), "i64", True, PAGE),)
    assert b"\x05\x04\x01\x07\x01\x02" in encode(module)
    small = parse_module('(memory (pagesize 1) (data "abc"))')
    assert small.memories == (MemType(Limits(3, 3), page=1),)
