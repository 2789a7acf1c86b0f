"""What implementers forget about 32- and 64-bit addresses.

Elsewhere: which operand of a copy has which type, and offsets beyond 2^32, in test_validate_code.py; sizes that are
valid in test_validate.py; copies across chunks in test_execute.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from wasmlab_ref.store import Instance
from wasmlab_ref.types import PAGE

NARROW, WIDE = (1 << 32) - 1, (1 << 64) - 1
MEMORIES = """(memory $n 1) (memory $w i64 1)
    (func (export "set") (param i32 i64 i32)
      (i32.store8 $n (local.get 0) (local.get 2)) (i32.store8 $w (local.get 1) (local.get 2)))
    (func (export "nw") (param i32 i64 i32) (memory.copy $n $w (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wn") (param i64 i32 i32) (memory.copy $w $n (local.get 0) (local.get 1) (local.get 2)))
    (func (export "ww") (param i64 i64 i64) (memory.copy $w $w (local.get 0) (local.get 1) (local.get 2)))"""
MEMORY, TABLE = "out of bounds memory access", "out of bounds table access"


def test_memory_copy_between_widths(world: Any) -> None:
    instance = world.load(MEMORIES)
    narrow, wide = (memory.data for memory in instance.memories)
    wide[PAGE - 3 : PAGE] = b"abc"
    world.call(instance, "nw", PAGE - 3, PAGE - 3, 3)
    assert narrow[PAGE - 3 : PAGE] == b"abc"
    world.call(instance, "wn", 1, PAGE - 2, 2)
    assert wide[:4] == b"\0bc\0"
    world.call(instance, "ww", 2, 1, 2)
    assert wide[:5] == b"\0bbc\0"
    for args in ((0, WIDE, 1), (0, 1 << 32, 1), (NARROW, 0, 1), (0, 0, NARROW), (0, PAGE - 2, 3), (PAGE - 2, 0, 3)):
        assert world.trap(instance, "nw", *args) == MEMORY
    for args in ((WIDE, 0, 1), (1 << 32, 0, 1), (0, NARROW, 1), (0, 0, NARROW), (WIDE, 0, 0), (0, NARROW, 0)):
        assert world.trap(instance, "wn", *args) == MEMORY
    for args in ((0, 0, WIDE), (WIDE, 1, 1), (1, WIDE, WIDE), (1 << 63, 1 << 63, 1 << 63)):
        assert world.trap(instance, "ww", *args) == MEMORY


def test_table_copy_between_widths(world: Any) -> None:
    instance = world.load(
        """(table $n 3 externref) (table $w i64 4 externref)
           (func (export "nw") (param i32 i64 i32) (table.copy $n $w (local.get 0) (local.get 1) (local.get 2)))
           (func (export "wn") (param i64 i32 i32) (table.copy $w $n (local.get 0) (local.get 1) (local.get 2)))"""
    )
    narrow, wide = (table.refs for table in instance.tables)
    wide[:] = [1, 2, 3, 4]
    world.call(instance, "nw", 0, 1, 3)
    assert narrow == [2, 3, 4]
    world.call(instance, "wn", 0, 1, 2)
    assert wide == [3, 4, 3, 4]
    for args in ((0, 1 << 32, 1), (0, WIDE, 1), (NARROW, 0, 1), (0, 2, 3), (1, 0, 3), (0, 0, NARROW), (0, WIDE, 0)):
        assert world.trap(instance, "nw", *args) == TABLE
    for args in ((1 << 32, 0, 1), (WIDE, 0, 1), (0, 0, 4), (0, NARROW, 0)):
        assert world.trap(instance, "wn", *args) == TABLE
    assert (narrow, wide) == ([2, 3, 4], [3, 4, 3, 4])


@pytest.mark.parametrize("offset", [0, 1, 0x7FFF_FFFF_FFFF_FFFF, 1 << 63, WIDE - 8, WIDE])
@pytest.mark.parametrize("address", [0, 1, 8, 0x7FFF_FFFF_FFFF_FFFF, 1 << 63, WIDE - 8, WIDE])
def test_offset_and_address_carry(world: Any, offset: int, address: int) -> None:
    instance = world.load(
        f"""(memory i64 1) (data (i64.const 0) "\\01\\02\\03\\04\\05\\06\\07\\08\\09\\0a\\0b\\0c")
            (func (export "load") (param i64) (result i64) (i64.load8_u offset={offset} (local.get 0)))
            (func (export "store") (param i64) (i64.store offset={offset} (local.get 0) (i64.const 0)))"""
    )
    if offset + address <= 16:
        assert world.call(instance, "load", address) == [offset + address + 1 if offset + address < 12 else 0]
    else:
        assert world.trap(instance, "load", address) == MEMORY
        assert world.trap(instance, "store", address) == MEMORY


@pytest.mark.parametrize("address", [0, PAGE - 4, PAGE - 3, 1 << 31, NARROW - 3, NARROW])
@pytest.mark.parametrize("offset", [0, 1, 1 << 31, NARROW])
def test_32_bit_addresses_are_unsigned_and_sums_do_not_wrap(world: Any, offset: int, address: int) -> None:
    instance = world.load(
        f'(memory 1) (func (export "f") (param i32) (result i32) (i32.load offset={offset} (local.get 0)))'
    )
    if offset + address + 4 <= PAGE:
        assert world.call(instance, "f", address) == [0]
    else:
        assert world.trap(instance, "f", address) == MEMORY


@pytest.mark.parametrize("offset", [1 << 32, WIDE])
def test_offsets_beyond_a_32_bit_memory_are_invalid(invalid: Any, offset: int) -> None:
    for access in ("(drop (i32.load8_u offset={} (i32.const 0)))", "(i64.store offset={} (i32.const 0) (i64.const 0))"):
        assert invalid(f"(memory 1) (func {access.format(offset)})") == "offset out of range"


GROW = """(memory $n 1) (memory $w i64 1) (memory $full 1 1) (table $tn 1 externref) (table $tw i64 1 externref)
    (func (export "n") (param i32) (result i32) (memory.grow $n (local.get 0)))
    (func (export "w") (param i64) (result i64) (memory.grow $w (local.get 0)))
    (func (export "full") (param i32) (result i32) (memory.grow $full (local.get 0)))
    (func (export "tn") (param i32) (result i32) (table.grow $tn (ref.null extern) (local.get 0)))
    (func (export "tw") (param i64) (result i64) (table.grow $tw (ref.null extern) (local.get 0)))
    (func (export "sizes") (result i32 i64 i32 i32 i64)
      (memory.size $n) (memory.size $w) (memory.size $full) (table.size $tn) (table.size $tw))"""


def test_growing_never_traps(world: Any) -> None:
    instance = world.load(GROW)
    for amount in (1 << 16, (1 << 16) + 1, 1 << 31, NARROW):
        assert world.call(instance, "n", amount) == [NARROW]
    for amount in (1, NARROW):
        assert world.call(instance, "full", amount) == [NARROW]
    for amount in (1 << 31, NARROW):
        assert world.call(instance, "tn", amount) == [NARROW]
    for amount in (1 << 32, 1 << 47, (1 << 48) - 1, 1 << 48, 1 << 63, WIDE - 1, WIDE):
        assert world.call(instance, "w", amount) == [WIDE]
        assert world.call(instance, "tw", amount) == [WIDE]
    assert world.call(instance, "sizes") == [1, 1, 1, 1, 1]
    for name in ("n", "w", "full", "tn", "tw"):
        assert world.call(instance, name, 0) == [1]


@pytest.mark.parametrize(
    ("type_", "largest"),
    [
        ("(memory {0} {0})", 1 << 16),
        ("(memory i64 {0} {0})", 1 << 48),
        ("(table {0} {0} funcref)", NARROW),
        ("(table i64 {0} {0} funcref)", WIDE),
    ],
)
def test_the_largest_sizes(world: Any, invalid: Any, type_: str, largest: int) -> None:
    world.load(f'(func (export "f")) {type_.replace("{0}", "0", 1).format(largest)}')
    if largest < WIDE:
        assert "size must be at most" in invalid(type_.format(largest + 1))


def test_a_maximum_above_what_there_is_does_not_help(world: Any) -> None:
    instance = world.load(
        """(memory i64 0 0x1_0000_0000_0000) (table i64 0 0xffff_ffff_ffff_ffff funcref)
           (func (export "m") (param i64) (result i64) (memory.grow (local.get 0)))
           (func (export "t") (param i64) (result i64) (table.grow (ref.null func) (local.get 0)))"""
    )
    for name in ("m", "t"):
        assert world.call(instance, name, 1 << 48) == [WIDE]
        assert world.call(instance, name, 1) == [0]


BULK = """(memory $n 1) (memory $w i64 1) (table $tn 5 funcref) (table $tw i64 5 funcref)
    (type $a (array (mut i8))) (type $r (array (mut funcref)))
    (data $d "abc") (elem $e funcref (ref.null func) (ref.null func))
    (func (export "fill n") (param i32 i32) (memory.fill $n (local.get 0) (i32.const 0) (local.get 1)))
    (func (export "fill w") (param i64 i64) (memory.fill $w (local.get 0) (i32.const 0) (local.get 1)))
    (func (export "init n") (param i32 i32) (memory.init $n $d (local.get 0) (i32.const 3) (local.get 1)))
    (func (export "init w") (param i64 i32) (memory.init $w $d (local.get 0) (i32.const 3) (local.get 1)))
    (func (export "source") (param i32 i32) (memory.init $n $d (i32.const 0) (local.get 0) (local.get 1)))
    (func (export "copy n") (param i32 i32) (memory.copy $n $n (i32.const 0) (local.get 0) (local.get 1)))
    (func (export "copy w") (param i64 i64) (memory.copy $w $w (local.get 0) (i64.const 0) (local.get 1)))
    (func (export "tfill n") (param i32 i32) (table.fill $tn (local.get 0) (ref.null func) (local.get 1)))
    (func (export "tfill w") (param i64 i64) (table.fill $tw (local.get 0) (ref.null func) (local.get 1)))
    (func (export "tinit n") (param i32 i32) (table.init $tn $e (local.get 0) (i32.const 2) (local.get 1)))
    (func (export "tinit w") (param i64 i32) (table.init $tw $e (local.get 0) (i32.const 2) (local.get 1)))
    (func (export "tsource") (param i32 i32) (table.init $tn $e (i32.const 0) (local.get 0) (local.get 1)))
    (func (export "tcopy n") (param i32 i32) (table.copy $tn $tn (local.get 0) (i32.const 0) (local.get 1)))
    (func (export "tcopy w") (param i64 i64) (table.copy $tw $tw (i64.const 0) (local.get 0) (local.get 1)))
    (func (export "afill") (param i32 i32)
      (array.fill $a (array.new_default $a (i32.const 4)) (local.get 0) (i32.const 1) (local.get 1)))
    (func (export "acopy") (param i32 i32) (local $a (ref null $a))
      (local.set $a (array.new_default $a (i32.const 4)))
      (array.copy $a $a (local.get $a) (i32.const 0) (local.get $a) (local.get 0) (local.get 1)))
    (func (export "adata") (param i32 i32) (drop (array.new_data $a $d (local.get 0) (local.get 1))))
    (func (export "aelem") (param i32 i32) (drop (array.new_elem $r $e (local.get 0) (local.get 1))))
    (func (export "idata") (param i32 i32)
      (array.init_data $a $d (array.new_default $a (i32.const 4)) (local.get 0) (i32.const 3) (local.get 1)))
    (func (export "ielem") (param i32 i32)
      (array.init_elem $r $e (array.new_default $r (i32.const 4)) (local.get 0) (i32.const 2) (local.get 1)))"""
ENDS = {
    **dict.fromkeys(["fill n", "fill w", "init n", "init w", "copy n", "copy w"], PAGE),
    **dict.fromkeys(["tfill n", "tfill w", "tinit n", "tinit w", "tcopy n", "tcopy w"], 5),
    **dict.fromkeys(["afill", "acopy", "idata", "ielem"], 4),
    "source": 3,
    "adata": 3,
    "tsource": 2,
    "aelem": 2,
}


@pytest.fixture(scope="module")
def bulk(new_world: Any) -> tuple[Any, Instance]:
    world = new_world()
    return world, world.load(BULK)


@pytest.mark.parametrize("name", ENDS)
def test_nothing_at_the_end_is_in_bounds_and_just_past_it_is_not(bulk: tuple[Any, Instance], name: str) -> None:
    world, instance = bulk
    largest = WIDE if name.endswith("w") else NARROW
    assert world.call(instance, name, ENDS[name], 0) == []
    for start in (ENDS[name] + 1, largest):
        assert world.trap(instance, name, start, 0).startswith("out of bounds")
    assert world.trap(instance, name, ENDS[name], 1).startswith("out of bounds")


@pytest.mark.parametrize("name", ENDS)
def test_starts_and_sizes_do_not_wrap(bulk: tuple[Any, Instance], name: str) -> None:
    world, instance = bulk
    start_wide = name.endswith("w")
    size_wide = start_wide and "init" not in name
    starts = [(1 << 31) - 1, 1 << 31, NARROW - 3, NARROW] + ([1 << 32, 1 << 63, WIDE] if start_wide else [])
    sizes = [(1 << 31) - 1, 1 << 31, NARROW - 3, NARROW] + ([1 << 32, 1 << 63, WIDE] if size_wide else [])
    for start in (0, 1, *starts):
        for size in sizes:
            assert world.trap(instance, name, start, size).startswith("out of bounds")
    for start in starts:
        assert world.trap(instance, name, start, 1).startswith("out of bounds")
