"""What implementers forget about state: segments, failed instantiations, initialisers.

Elsewhere: dropped segments and the writes of a failed instantiation, briefly, in test_execute.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from wasmlab_ref.outcome import Thrown, Trap, Unlinkable

OWNER = """(memory (export "m") 1) (table (export "t") 4 funcref) (global (export "g") (mut i32) (i32.const 0))
    (type $f (func (result i32)))
    (func (export "call") (param i32) (result i32) (call_indirect (type $f) (local.get 0)))
    (func (export "byte") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "global") (result i32) (global.get 0))"""
IMPORTS = """(import "owner" "m" (memory 1)) (import "owner" "t" (table 4 funcref))
    (import "owner" "g" (global $g (mut i32)))"""


def test_active_segments_are_dropped_after_instantiation(world: Any) -> None:
    instance = world.load(
        """(memory 1) (table 2 funcref) (type $a (array i8)) (type $r (array funcref))
           (data $active (i32.const 0) "ab") (data $passive "cd")
           (elem $act (i32.const 0) funcref (ref.null func)) (elem $pass funcref (ref.null func))
           (elem $declared declare funcref (ref.null func))
           (func (export "active") (param i32)
             (memory.init $active (i32.const 0) (i32.const 0) (local.get 0))
             (drop (array.new_data $a $active (i32.const 0) (local.get 0)))
             (table.init $act (i32.const 0) (i32.const 0) (local.get 0))
             (drop (array.new_elem $r $act (i32.const 0) (local.get 0)))
             (table.init $declared (i32.const 0) (i32.const 0) (local.get 0)))
           (func (export "data") (memory.init $active (i32.const 0) (i32.const 0) (i32.const 1)))
           (func (export "array") (drop (array.new_data $a $active (i32.const 0) (i32.const 1))))
           (func (export "elem") (table.init $act (i32.const 0) (i32.const 0) (i32.const 1)))
           (func (export "elems") (drop (array.new_elem $r $act (i32.const 0) (i32.const 1))))
           (func (export "declared") (table.init $declared (i32.const 0) (i32.const 0) (i32.const 1)))
           (func (export "passive")
             (memory.init $passive (i32.const 8) (i32.const 0) (i32.const 2))
             (table.init $pass (i32.const 0) (i32.const 0) (i32.const 1)))"""
    )
    assert world.call(instance, "active", 0) == []
    assert world.call(instance, "passive") == world.call(instance, "passive") == []
    memory, table = "out of bounds memory access", "out of bounds table access"
    for name, kind in (("data", memory), ("array", memory), ("elem", table), ("elems", table), ("declared", table)):
        assert world.trap(instance, name) == kind
    assert instance.memories[0].data[:10] == b"ab\0\0\0\0\0\0cd"


@pytest.mark.parametrize(
    "end",
    [
        '(data (i32.const 65535) "xy")',
        "(start $start) (func $start (i32.store8 (i32.const 5) (i32.const 9)) unreachable)",
        "(start $start) (tag $e) (func $start (i32.store8 (i32.const 5) (i32.const 9)) (throw $e))",
    ],
)
def test_a_failed_instantiation_leaves_its_writes_and_its_functions(world: Any, end: str) -> None:
    owner = world.load(OWNER, "owner")
    with pytest.raises((Trap, Thrown)):
        world.load(
            f"""{IMPORTS} (memory $own 1)
               (func $mine (result i32) (global.set $g (i32.add (global.get $g) (i32.const 1)))
                 (i32.store8 $own (i32.const 0) (i32.add (i32.load8_u $own (i32.const 0)) (i32.const 10)))
                 (i32.load8_u $own (i32.const 0)))
               (elem (i32.const 2) $mine) (data (i32.const 3) "q") {end}"""
        )
    later = world.load(f'{IMPORTS} (func (export "byte") (param i32) (result i32) (i32.load8_u (local.get 0)))')
    assert world.call(later, "byte", 3) == world.call(owner, "byte", 3) == [ord("q")]
    assert world.call(owner, "byte", 5) == [0 if end.startswith("(data") else 9]
    assert world.call(owner, "call", 2) == [10]
    assert world.call(owner, "call", 2) == [20]  # the instance lives on, with a memory of its own
    assert world.call(owner, "global") == [2]


def test_segments_are_written_in_order_elements_first(world: Any) -> None:
    owner = world.load(OWNER, "owner")
    with pytest.raises(Trap, match="table"):
        world.load(
            f"""{IMPORTS} (func $f (result i32) (i32.const 6)) (data (i32.const 0) "z")
                (elem (i32.const 0) $f) (elem (i32.const 4) $f) (elem (i32.const 1) $f)"""
        )
    assert world.call(owner, "call", 0) == [6]
    assert world.trap(owner, "call", 1) == "uninitialized element"
    assert world.call(owner, "byte", 0) == [0]


def test_a_segment_out_of_bounds_writes_nothing_of_itself(world: Any) -> None:
    owner = world.load(OWNER, "owner")
    for text in ('(data (i32.const 65534) "xyz")', "(func $f) (elem (i32.const 3) $f $f)"):
        with pytest.raises(Trap):
            world.load(f"{IMPORTS} {text}")
    assert owner.memories[0].data[65_534:] == b"\0\0"
    assert owner.tables[0].refs == [None] * 4


@pytest.mark.parametrize(("at", "fails"), [(65_536, False), (65_537, True), (0xFFFF_FFFF, True)])
def test_an_empty_segment_is_checked_too(world: Any, at: int, fails: bool) -> None:
    text = f'(memory 1) (data (i32.const {at}) "")'
    table = f"(table 2 funcref) (elem (i32.const {at - 65_534}) funcref)"
    for module in (text, table):
        if fails:
            with pytest.raises(Trap, match="out of bounds"):
                world.load(module)
        else:
            world.load(module)


def test_what_does_not_link_writes_nothing(world: Any) -> None:
    owner = world.load(OWNER, "owner")
    with pytest.raises(Unlinkable):
        world.load(f'(import "owner" "g" (global i32)) {IMPORTS} (data (i32.const 0) "x")')
    assert world.call(owner, "byte", 0) == [0]


def test_element_expressions_are_evaluated_once(world: Any) -> None:
    instance = world.load(
        """(type $s (struct (field (mut i32)))) (type $r (array (ref $s)))
           (table 4 (ref null $s))
           (elem $e (ref $s) (struct.new $s (i32.const 5)))
           (func (export "same") (result i32 i32 i32)
             (table.init $e (i32.const 0) (i32.const 0) (i32.const 1))
             (table.init $e (i32.const 1) (i32.const 0) (i32.const 1))
             (ref.eq (table.get (i32.const 0)) (table.get (i32.const 1)))
             (ref.eq (table.get (i32.const 0))
               (array.get $r (array.new_elem $r $e (i32.const 0) (i32.const 1)) (i32.const 0)))
             (struct.set $s 0 (table.get (i32.const 0)) (i32.const 6))
             (struct.get $s 0 (table.get (i32.const 1))))"""
    )
    assert world.call(instance, "same") == [1, 1, 6]


def test_a_tables_initialiser_is_evaluated_once(world: Any) -> None:
    text = """(type $s (struct)) (table 3 (ref $s) (struct.new $s))
              (func (export "f") (result i32) (ref.eq (table.get (i32.const 0)) (table.get (i32.const 2))))"""
    assert world.run(text, "f") == [1]


def test_each_instance_evaluates_for_itself(world: Any) -> None:
    text = '(type $s (struct)) (global (export "g") (ref $s) (struct.new $s)) (memory 1)'
    one, two = world.load(text), world.load(text)
    assert one.globals[0].value is not two.globals[0].value
    one.memories[0].data[0] = 1
    assert two.memories[0].data[0] == 0


def test_arrays_from_dropped_segments(world: Any) -> None:
    instance = world.load(
        """(type $a (array (mut i16))) (type $r (array (mut funcref)))
           (data $d "abcd") (elem $e funcref (ref.null func))
           (func (export "drop") (data.drop $d) (elem.drop $e) (data.drop $d))
           (func (export "data") (param i32) (result i32)
             (array.len (array.new_data $a $d (i32.const 0) (local.get 0))))
           (func (export "elem") (param i32) (result i32)
             (array.len (array.new_elem $r $e (i32.const 0) (local.get 0))))
           (func (export "init data") (param i32)
             (array.init_data $a $d (array.new_default $a (i32.const 2)) (i32.const 0) (i32.const 0) (local.get 0)))
           (func (export "init elem") (param i32)
             (array.init_elem $r $e (array.new_default $r (i32.const 2)) (i32.const 0) (i32.const 0) (local.get 0)))"""
    )
    assert world.call(instance, "data", 2) == [2]
    assert world.trap(instance, "data", 3) == "out of bounds memory access"
    assert world.call(instance, "elem", 1) == [1]
    world.call(instance, "drop")
    for name, kind in (("data", "memory"), ("init data", "memory"), ("elem", "table"), ("init elem", "table")):
        assert world.call(instance, name, 0) in ([], [0])
        assert world.trap(instance, name, 1) == f"out of bounds {kind} access"


def test_globals_from_earlier_globals(world: Any) -> None:
    world.load('(global (export "g") i32 (i32.const 5)) (global (export "h") i64 (i64.const 7))', "owner")
    instance = world.load(
        """(import "owner" "g" (global $g i32)) (import "owner" "h" (global $h i64))
           (global $a i32 (i32.mul (global.get $g) (i32.const 3)))
           (global $b (mut i32) (i32.sub (global.get $a) (i32.const 16)))
           (global $c i64 (i64.add (global.get $h) (i64.const -8)))
           (type $s (struct (field i32))) (global $s (ref $s) (struct.new $s (global.get $a)))
           (global $t (ref $s) (global.get $s))
           (table 40 funcref) (memory 1) (elem (offset (global.get $a)) $f)
           (data (i32.add (global.get $a) (global.get $g)) "x")
           (func $f)
           (func (export "f") (result i32 i32 i64 i32 i32 i32)
             (global.get $a) (global.get $b) (global.get $c) (struct.get $s 0 (global.get $t))
             (ref.eq (global.get $s) (global.get $t)) (ref.is_null (table.get (i32.const 15))))"""
    )
    assert world.call(instance, "f") == [15, 0xFFFF_FFFF, (1 << 64) - 1, 15, 1, 0]
    assert instance.memories[0].data[20] == ord("x")


def test_an_imported_mutable_global_is_one_cell(world: Any) -> None:
    owner = world.load(OWNER, "owner")
    user = world.load(f'{IMPORTS} (func (export "set") (param i32) (global.set $g (local.get 0)))')
    world.call(user, "set", 42)
    assert world.call(owner, "global") == [42]


def test_the_same_export_imported_twice_is_one_memory(world: Any) -> None:
    world.load(OWNER, "owner")
    text = """(import "owner" "m" (memory $a 1)) (import "owner" "m" (memory $b 1))
              (func (export "f") (result i32 i32)
                (i32.store $a (i32.const 0) (i32.const 7)) (i32.load $b (i32.const 0))
                (memory.grow $a (i32.const 2)) (drop) (memory.size $b))"""
    assert world.run(text, "f") == [7, 3]
