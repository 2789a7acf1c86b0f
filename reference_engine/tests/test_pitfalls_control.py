"""What implementers forget about control and exceptions.

Elsewhere: handlers by depth, `throw_ref` of null, operands below a handler, exceptions of host functions, and the depth
limit, in test_execute.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from wasmlab_ref.outcome import Thrown, Trap
from wasmlab_ref.store import ExnInst, TagInst


def test_handlers_over_blocks_with_parameters_and_results(world: Any) -> None:
    instance = world.load(
        """(tag $t (param i32))
           (func (export "f") (param i32) (result i32 i32)
             (i32.const 100)
             (block $h (result i32)
               (i32.const 1) (i32.const 2)
               (try_table (param i32 i32) (result i32 i32) (catch $t $h)
                 (block (param i32 i32) (result i32 i32)
                   (loop (param i32 i32) (result i32 i32)
                     (if (local.get 0) (then (throw $t (local.get 0)))))))
               (i32.add)))"""
    )
    assert world.call(instance, "f", 0) == [100, 3]
    assert world.call(instance, "f", 9) == [100, 9]


def test_br_out_of_try_table_leaves_the_handler(world: Any) -> None:
    instance = world.load(
        """(tag $t)
           (func (export "f") (param i32) (result i32)
             (block $h
               (loop $again
                 (block $out
                   (try_table (catch $t $h)
                     (br_table $out $again $out (local.get 0))))
                 (throw $t)))
             (i32.const 1))"""
    )
    for way in (0, 2):
        with pytest.raises(Thrown):
            world.call(instance, "f", way)


def test_the_innermost_handler_and_the_first_clause_win(world: Any) -> None:
    text = """(tag $a (param i32)) (tag $b (param i32))
        (func $throw (param i32)
          (if (i32.eqz (local.get 0)) (then (throw $a (i32.const 10)))) (throw $b (i32.const 20)))
        (func (export "f") (param i32) (result i32)
          (block $outer (result i32)
            (try_table (result i32) (catch $a $outer) (catch $b $outer)
              (block $inner (result i32)
                (try_table (result i32) (catch $a $inner) (catch $a $outer)
                  (call $throw (local.get 0)) (i32.const 0)))
              (i32.add (i32.const 1)))))
        (func (export "all first") (param i32) (result i32)
          (block $a (result i32)
            (block $all (try_table (catch_all $all) (catch $a $a) (call $throw (local.get 0))) (unreachable))
            (i32.const 5)))"""
    instance = world.load(text)
    assert world.call(instance, "f", 0) == [11]
    assert world.call(instance, "f", 1) == [20]
    assert world.call(instance, "all first", 0) == [5]


def test_a_handler_does_not_guard_itself(world: Any) -> None:
    instance = world.load(
        """(tag $t (param i32))
           (func (export "f") (result i32)
             (block $outer (result i32)
               (try_table (catch $t $outer)
                 (block $inner (result i32)
                   (try_table (catch $t $inner) (throw $t (i32.const 1))) (unreachable))
                 (throw $t (i32.add (i32.const 1))))
               (unreachable)))"""
    )
    assert world.call(instance, "f") == [2]


@pytest.mark.parametrize(
    "call", ["(return_call $t)", "(return_call_ref $f (ref.func $t))", "(return_call_indirect (type $f) (i32.const 0))"]
)
def test_a_tail_call_leaves_try_table(world: Any, call: str) -> None:
    text = f"""(tag $e) (type $f (func)) (table funcref (elem $t))
               (func $t (throw $e))
               (func (export "f") (block $h (try_table (catch $e $h) (catch_all $h) {call})))
               (func $g (try_table (catch_all 0) {call}))
               (func (export "outer") (result i32) (block $h (try_table (catch $e $h) (call $g)) (return (i32.const 0)))
                 (i32.const 1))"""
    instance = world.load(text)
    with pytest.raises(Thrown):
        world.call(instance, "f")
    assert world.call(instance, "outer") == [1]


def test_exceptions_cross_instances_and_host_functions(world: Any) -> None:
    world.load(
        """(tag $t (export "t") (param i64)) (tag (export "other") (param i64))
           (func (export "throw") (param i64) (throw $t (local.get 0)))""",
        "inner",
    )
    inner = world.registered["inner"]
    world.host("through", ("i64",), (), lambda x: world.store.invoke(inner["throw"], [x]))
    outer = world.load(
        """(import "inner" "t" (tag $t (param i64))) (import "inner" "other" (tag $other (param i64)))
           (import "host" "through" (func $through (param i64)))
           (tag $own (param i64))
           (func (export "f") (param i64) (result i64)
             (block $t (result i64)
               (block $wrong (result i64)
                 (try_table (catch $own $wrong) (catch $other $wrong) (catch $t $t) (call $through (local.get 0)))
                 (unreachable))
               (drop) (i64.const -1)))"""
    )
    assert world.call(outer, "f", 5) == [5]


def test_an_imported_tag_is_the_same_as_its_other_import(world: Any) -> None:
    world.load('(tag $t (export "a") (export "b") (param i32))', "owner")
    text = """(import "owner" "a" (tag $a (param i32))) (import "owner" "b" (tag $b (param i32)))
              (func (export "f") (result i32)
                (block $h (result i32) (try_table (catch $b $h) (throw $a (i32.const 3))) (unreachable)))"""
    assert world.run(text, "f") == [3]


def test_each_instance_has_tags_of_its_own(world: Any) -> None:
    text = """(tag $t (export "t")) (func (export "throw") (throw $t))"""
    world.load(text, "one")
    world.load(text, "two")
    catcher = """(import "one" "t" (tag $t)) (import "{}" "throw" (func $throw))
                 (func (export "f") (result i32)
                   (block $h (try_table (catch $t $h) (call $throw)) (return (i32.const 0))) (i32.const 1))"""
    assert world.run(catcher.format("one"), "f") == [1]
    with pytest.raises(Thrown):
        world.run(catcher.format("two"), "f")


def test_throw_ref_throws_the_same_exception(world: Any) -> None:
    instance = world.load(
        """(tag $t (export "t") (param i32 f32)) (global $saved (mut exnref) (ref.null exn))
           (func (export "save")
             (block $h (result i32 f32 exnref)
               (try_table (catch_ref $t $h) (throw $t (i32.const 1) (f32.const nan:0x200000))) (unreachable))
             (global.set $saved) (drop) (drop))
           (func (export "again") (throw_ref (global.get $saved)))
           (func (export "twice") (result i32 f32)
             (block $h (result i32 f32)
               (block $r (result exnref)
                 (try_table (catch_all_ref $r) (throw_ref (global.get $saved))) (unreachable))
               (try_table (param exnref) (catch $t $h) (throw_ref)) (unreachable)))
           (func (export "null") (throw_ref (ref.null exn)))
           (func (export "caught null") (block $h (try_table (catch_all $h) (throw_ref (ref.null exn)))))"""
    )
    world.call(instance, "save")
    exceptions = []
    for _ in range(2):
        with pytest.raises(Thrown) as caught:
            world.call(instance, "again")
        exceptions.append(caught.value.exception)
    assert exceptions[0] is exceptions[1]
    assert exceptions[0].fields == [1, 0x7FA0_0000]
    assert world.call(instance, "twice") == [1, 0x7FA0_0000]
    for name in ("null", "caught null"):  # a trap is no exception
        assert world.trap(instance, name) == "null exception reference"


def test_traps_and_exhaustion_are_not_caught(world: Any) -> None:
    instance = world.load(
        """(func $ever (call $ever)) (func (export "exhausted") (block $h (try_table (catch_all $h) (call $ever))))
           (func (export "trap") (block $h (try_table (catch_all $h) (unreachable))))"""
    )
    assert world.trap(instance, "trap") == "unreachable"
    with pytest.raises(Exception, match="call stack"):
        world.call(instance, "exhausted")


def test_uncaught_at_the_edge_with_tag_and_payload(world: Any) -> None:
    instance = world.load(
        '(tag $t (export "t") (param i32 i64)) (func (export "f") (throw $t (i32.const 1) (i64.const 2)))'
    )
    with pytest.raises(Thrown) as caught:
        world.call(instance, "f")
    exception = caught.value.exception
    assert isinstance(exception, ExnInst)
    assert exception.tag is instance.exports["t"]
    assert exception.fields == [1, 2]


def test_an_uncaught_exception_leaves_the_store_usable(world: Any) -> None:
    instance = world.load(
        """(tag $t) (global $n (mut i32) (i32.const 0))
           (func (export "f") (param i32) (result i32)
             (global.set $n (i32.add (global.get $n) (i32.const 1)))
             (if (local.get 0) (then (throw $t))) (global.get $n))"""
    )
    for _ in range(3):
        with pytest.raises(Thrown):
            world.call(instance, "f", 1)
    assert world.call(instance, "f", 0) == [4]


def test_exceptions_thrown_by_the_host_are_caught_by_tag(world: Any) -> None:
    owner = world.load('(tag (export "t") (param i32))', "owner")
    tag = owner.exports["t"]
    assert isinstance(tag, TagInst)

    def throw(x: int) -> list[Any]:
        raise Thrown(ExnInst([x + 1], tag))

    world.host("throw", ("i32",), (), throw)
    text = """(import "owner" "t" (tag $t (param i32))) (import "host" "throw" (func $throw (param i32)))
              (func (export "f") (result i32)
                (block $h (result i32) (try_table (catch $t $h) (call $throw (i32.const 4))) (unreachable)))"""
    assert world.run(text, "f") == [5]


def test_tail_calls_with_more_results_and_other_types(world: Any) -> None:
    instance = world.load(
        """(type $s (sub (func (result anyref)))) (type $t (sub $s (func (result i31ref))))
           (func $many (param f64 i32 i64) (result i64 i32 f64 i32)
             (local.get 2) (local.get 1) (local.get 0) (i32.const 9))
           (func (export "many") (param i32) (result i64 i32 f64 i32) (local v128 v128)
             (return_call $many (f64.const 1) (local.get 0) (i64.const 3)))
           (func $sub (type $t) (ref.i31 (i32.const 4)))
           (func (export "sub") (type $s) (return_call $sub))
           (func (export "sub ref") (type $s) (return_call_ref $t (ref.func $sub)))
           (elem declare func $sub)"""
    )
    assert world.call(instance, "many", 2) == [3, 2, 0x3FF0_0000_0000_0000, 9]
    assert world.call(instance, "sub") == world.call(instance, "sub ref") == [4]


def test_tail_calls_across_instances_without_growth(world: Any) -> None:
    pong = """(type $f (func (param i32) (result i32))) (table (export "t") 2 funcref)
              (func $pong (export "f") (param i32) (result i32)
                (if (i32.eqz (local.get 0)) (then (return (i32.const 77))))
                (return_call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1)) (i32.const 1)))"""
    world.load(pong, "pong")
    ping = world.load(
        """(type $f (func (param i32) (result i32))) (import "pong" "t" (table 2 funcref))
           (import "pong" "f" (func $pong (type $f)))
           (func $ping (export "f") (param i32) (result i32) (local i64 i64) (return_call $pong (local.get 0)))
           (elem (i32.const 1) $ping)"""
    )
    assert world.call(ping, "f", 30_000) == [77]  # the depth limit is 10,000


def test_tail_calls_of_host_functions(world: Any) -> None:
    def fail() -> list[Any]:
        raise Trap("host")

    world.host("two", ("i32",), ("i64", "i32"), lambda x: [x, 5])
    world.host("fail", (), (), fail)
    instance = world.load(
        """(import "host" "two" (func $two (param i32) (result i64 i32))) (import "host" "fail" (func $fail))
           (type $f (func (param i32) (result i64 i32))) (table funcref (elem $two))
           (func $tail (export "direct") (param i32) (result i64 i32) (return_call $two (local.get 0)))
           (func (export "indirect") (param i32) (result i64 i32)
             (return_call_indirect (type $f) (local.get 0) (i32.const 0)))
           (func (export "ref") (param i32) (result i64 i32) (return_call_ref $f (local.get 0) (ref.func $two)))
           (func (export "nested") (param i32) (result i32 i64 i32) (i32.const 1) (call $tail (local.get 0)))
           (func (export "loop") (result i32) (local $n i32)
             (loop $l (call $tail (local.get $n)) (drop) (drop)
               (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20000))))
             (local.get $n))
           (func (export "fail") (return_call $fail))"""
    )
    for name in ("direct", "indirect", "ref"):
        assert world.call(instance, name, 3) == [3, 5]
    assert world.call(instance, "nested", 3) == [1, 3, 5]
    assert world.call(instance, "loop") == [20_000]
    assert world.trap(instance, "fail") == "host"


def test_branches_to_the_function_return(world: Any) -> None:
    instance = world.load(
        """(func (export "br") (param i32) (result i32 i64)
             (i32.const 1) (i32.const 2)
             (block (loop (br_if 2 (i32.const 8) (i64.const 9) (local.get 0)) (drop) (drop)))
             (i64.extend_i32_u))
           (func (export "table") (param i32) (result i32)
             (f64.const 0) (block (result i32) (br_table 1 0 (i32.const 4) (local.get 0))) (drop)
             (return (i32.const 5)))"""
    )
    assert world.call(instance, "br", 1) == [8, 9]
    assert world.call(instance, "br", 0) == [1, 2]
    assert world.call(instance, "table", 0) == [4]
    assert world.call(instance, "table", 1) == [5]
