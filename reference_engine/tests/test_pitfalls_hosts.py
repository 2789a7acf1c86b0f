"""What implementers forget about hosts.

Elsewhere: host functions that trap, throw and re-enter, in test_execute.py; re-entry through the lab's own host module
in the adapters' tests.  Memories are not shared in WebAssembly 3.0.
"""

from __future__ import annotations

from typing import Any

import pytest

from wasmlab_ref.outcome import Exhausted, Trap, Unlinkable
from wasmlab_ref.spectest import spectest
from wasmlab_ref.types import PAGE


def test_spectest_has_a_64_bit_table(world: Any) -> None:
    world.registered["spectest"] = spectest(world.store)
    instance = world.load(
        """(import "spectest" "table64" (table i64 10 20 funcref)) (elem (i64.const 9) $f) (func $f)
           (func (export "size") (result i64) (table.size 0))
           (func (export "grow") (param i64) (result i64) (table.grow 0 (ref.null func) (local.get 0)))"""
    )
    assert world.call(instance, "size") == [10]
    assert world.call(instance, "grow", 11) == [(1 << 64) - 1]
    assert world.call(instance, "grow", 10) == [10]
    with pytest.raises(Unlinkable):
        world.load('(import "spectest" "table64" (table 10 20 funcref))')
    with pytest.raises(Unlinkable):
        world.load('(import "spectest" "table" (table i64 10 20 funcref))')


def test_a_host_sees_memory_and_table_grow_under_it(world: Any) -> None:
    owner = world.load('(memory (export "m") 1 9) (table (export "t") 1 9 externref)', "owner")
    memory, table = owner.exports["m"], owner.exports["t"]
    seen: list[tuple[int, int]] = []

    def look() -> list[Any]:
        seen.append((len(memory.data), len(table.refs)))
        memory.data[len(memory.data) - 1] = 7
        return []

    world.host("look", (), (), look)
    user = world.load(
        """(import "owner" "m" (memory 1)) (import "owner" "t" (table 1 externref)) (import "host" "look" (func $look))
           (func (export "f") (result i32 i32)
             (call $look) (drop (memory.grow (i32.const 2))) (drop (table.grow (ref.null extern) (i32.const 3)))
             (call $look) (i32.load8_u (i32.const 65535)) (i32.load8_u (i32.const 196607)))"""
    )
    assert world.call(user, "f") == [7, 7]
    assert seen == [(PAGE, 1), (3 * PAGE, 4)]


def test_memory_grown_by_a_host_function_is_grown_for_its_caller(world: Any) -> None:
    inner = world.load('(memory (export "m") 1) (func (export "grow") (drop (memory.grow (i32.const 1))))', "inner")
    world.host("grow", (), (), lambda: world.store.invoke(inner.exports["grow"]))
    text = """(import "inner" "m" (memory 1)) (import "host" "grow" (func $grow))
              (func (export "f") (result i32)
                (i32.store (i32.const 0) (i32.const 5)) (call $grow)
                (i32.store (i32.const 65536) (i32.load (i32.const 0))) (i32.load (i32.const 65536)))"""
    assert world.run(text, "f") == [5]


def test_a_trap_in_a_re_entered_call_ends_all_of_it(world: Any) -> None:
    inner = world.load('(func (export "f") unreachable)', "inner")
    world.host("again", (), (), lambda: world.store.invoke(inner.exports["f"]))
    user = world.load(
        """(import "host" "again" (func $again)) (global $g (mut i32) (i32.const 0))
           (func (export "f") (global.set $g (i32.const 1))
             (block $h (try_table (catch_all $h) (call $again))) (global.set $g (i32.const 2)))
           (func (export "g") (result i32) (global.get $g))"""
    )
    assert world.trap(user, "f") == "unreachable"
    assert world.call(user, "g") == [1]


def test_a_host_may_catch_what_it_called(world: Any) -> None:
    inner = world.load('(tag $t) (func (export "trap") unreachable) (func (export "ok") (result i32) (i32.const 3))')

    def careful() -> list[Any]:
        with pytest.raises(Trap):
            world.store.invoke(inner.exports["trap"])
        return world.store.invoke(inner.exports["ok"])  # type: ignore[no-any-return]

    world.host("careful", (), ("i32",), careful)
    text = """(import "host" "careful" (func $c (result i32)))
              (func (export "f") (result i32) (local $a i32) (local.set $a (i32.const 40))
                (i32.add (local.get $a) (i32.add (call $c) (call $c))))"""
    assert world.run(text, "f") == [46]


def test_a_host_that_never_stops_re_entering_is_exhaustion(world: Any) -> None:
    instances: list[Any] = []
    world.host("again", (), (), lambda: world.call(instances[0], "f"))
    instances.append(
        world.load(
            """(import "host" "again" (func $a)) (func (export "f") (call $a))
               (func (export "ok") (result i32) (i32.const 1))"""
        )
    )
    with pytest.raises(Exhausted, match="call stack"):
        world.call(instances[0], "f")
    assert world.call(instances[0], "ok") == [1]


def test_host_results_are_checked(world: Any) -> None:
    for results, values in ((("i32",), [1 << 32]), (("i32",), []), ((), [1]), (("i32", "i64"), [1])):
        world.host("lies", (), results, lambda values=values: values)
        types = " ".join(results)
        with pytest.raises(TypeError):
            world.run(
                f"""(import "host" "lies" (func $l (result {types})))
                    (func (export "f") (result {types}) (call $l))""",
                "f",
            )


def test_host_functions_are_functions_like_others(world: Any) -> None:
    world.host("twice", ("i32",), ("i32",), lambda x: [2 * x & 0xFFFF_FFFF])
    instance = world.load(
        """(func $t (export "twice") (import "host" "twice") (param i32) (result i32))
           (type $f (func (param i32) (result i32)))
           (table funcref (elem $t)) (global $g (ref $f) (ref.func $t))
           (func (export "table") (result i32) (call_indirect (type $f) (i32.const 4) (i32.const 0)))
           (func (export "ref") (result i32) (call_ref $f (i32.const 5) (global.get $g)))
           (func (export "test") (result i32) (ref.test (ref $f) (table.get (i32.const 0))))"""
    )
    assert world.call(instance, "twice", 1 << 31) == [0]
    assert [world.call(instance, name) for name in ("table", "ref", "test")] == [[8], [10], [1]]
    world.registered["again"] = instance.exports
    user = '(func (export "f") (import "again" "twice") (param i32) (result i32))'
    assert world.run(user, "f", 3) == [6]
