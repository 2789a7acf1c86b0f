"""The machine: calls, tail calls, exceptions, traps, host functions, and what linked modules see of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from wasmlab_ref.engine import Store
from wasmlab_ref.outcome import Exhausted, Thrown, Trap, Unlinkable
from wasmlab_ref.spectest import spectest
from wasmlab_ref.store import ArrayInst, ExnInst, Extern, FuncInst, HostRef, Instance, MemInst, TableInst, TagInst
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import FuncType, Limits, RefType
from wasmlab_ref.validate import validate


def load(text: str, imports: Sequence[Extern] = (), store: Store | None = None) -> Instance:
    return (store or Store()).instantiate(validate(parse_module(text)), imports)


def call(instance: Instance, name: str, *args: Any) -> list[Any]:
    func = instance.exports[name]
    assert isinstance(func, FuncInst)
    return instance.store.invoke(func, args)


def trap(instance: Instance, name: str, *args: Any) -> str:
    with pytest.raises(Trap) as caught:
        call(instance, name, *args)
    return caught.value.kind


def test_branches_drop_what_lies_between() -> None:
    instance = load(
        """(func (export "br_if") (param i32) (result i32)
             (block (result i32)
               (i32.const 10) (i32.const 20)
               (br_if 0 (i32.const 5) (local.get 0))
               (i32.add) (i32.add)))
           (func (export "loop") (param i32) (result i32 i32)
             (i32.const 7) (local.get 0)
             (loop (param i32) (result i32)
               (i32.const 1) (i32.const 2) (drop) (drop)
               (local.tee 0 (i32.sub (i32.const 1)))
               (i32.const 99)
               (br_if 0 (local.get 0) (i32.gt_s (local.get 0) (i32.const 0)))
               (drop) (drop)))
           (func (export "table") (param i32) (result i32)
             (block $a (result i32) (block $b (result i32)
               (i32.const 1) (i32.const 2) (i32.const 3)
               (br_table $a $b (local.get 0)))
               (i32.add (i32.const 100))))
           (func (export "return") (result i32) (i32.const 1) (i32.const 2) (return (i32.const 3)))"""
    )
    assert call(instance, "br_if", 0) == [35]
    assert call(instance, "br_if", 1) == [5]
    assert call(instance, "loop", 5) == [7, 0]
    assert [call(instance, "table", i) for i in (0, 1, 2, 0xFFFF_FFFF)] == [[3], [103], [103], [103]]
    assert call(instance, "return") == [3]


def test_code_that_cannot_be_reached_is_no_matter() -> None:
    instance = load(
        """(func (export "f") (param i32) (result i32)
             (block (br 0) (block (br_if 1 (i32.const 0)) (loop (if (i32.const 1) (then (unreachable)) (else (br 2)))))
               (i32.add) (drop))
             (if (result i32) (local.get 0)
               (then (return (i32.const 1)) (unreachable))
               (else (block (result i32) (br 1 (i32.const 2)) (i64.add) (drop) (br_table 0 0)))))"""
    )
    assert call(instance, "f", 1) == [1]
    assert call(instance, "f", 0) == [2]


RECURSIVE = """
    (func $even (export "even") (param i32) (result i32)
      (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
      (return_call_indirect (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))
    (func $odd (param i32) (result i32)
      (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
      (return_call_ref $f (i32.sub (local.get 0) (i32.const 1)) (ref.func $even)))
    (type $f (func (param i32) (result i32)))
    (table funcref (elem $odd $even))
    (func $down (export "down") (param i32) (result i32)
      (if (result i32) (local.get 0)
        (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
        (else (i32.const 0))))
    (func $ever (export "ever") (call $ever))"""


def test_tail_calls_need_no_room() -> None:
    assert call(load(RECURSIVE), "even", 100_001) == [0]


def test_calls_end_at_the_depth_limit_and_the_store_goes_on() -> None:
    instance = load(RECURSIVE)
    assert call(instance, "down", 9_000) == [9_000]
    with pytest.raises(Exhausted) as caught:
        call(instance, "ever")
    assert caught.value.resource == "call stack"
    assert call(instance, "down", 9_000) == [9_000]


def test_handlers_by_depth_and_gone_after_a_tail_call() -> None:
    instance = load(
        """(tag $a (param i32)) (tag $b)
           (func $throw (param i32) (result i32)
             (if (local.get 0) (then (throw $a (local.get 0)))) (throw $b))
           (func (export "nested") (param i32) (result i32)
             (block $out (result i32)
               (i32.const 1) (i32.const 2)
               (try_table (catch $a $out)
                 (block $inner
                   (try_table (catch $b $inner) (drop (call $throw (local.get 0)))))
                 (return (i32.const -1)))
               (drop) (drop) (i32.const 3)))
           (func (export "tail") (param i32) (result i32)
             (block $out (result i32) (try_table (result i32) (catch $a $out) (return_call $throw (local.get 0)))))
           (func (export "left") (param i32) (result i32)
             (block $out (result i32)
               (block $done (try_table (catch $a $out) (br $done)))
               (throw $a (local.get 0))))
           (func (export "again") (param i32) (result i32)
             (block $out (result i32)
               (block $ref (result exnref)
                 (try_table (catch_all_ref $ref) (drop (call $throw (local.get 0)))) (unreachable))
               (try_table (param exnref) (catch $a $out) (throw_ref))
               (unreachable)))
           (func (export "null") (throw_ref (ref.null exn)))"""
    )
    assert call(instance, "nested", 5) == [5]
    assert call(instance, "nested", 0) == [0xFFFF_FFFF]
    assert call(instance, "again", 6) == [6]
    assert trap(instance, "null") == "null exception reference"
    for name in ("tail", "left"):
        with pytest.raises(Thrown) as caught:
            call(instance, name, 7)
        assert caught.value.exception.fields == [7]


def test_catch_in_the_caller_keeps_its_operands() -> None:
    instance = load(
        """(tag $t (param i64 i32))
           (func $deep (param i32)
             (if (local.get 0)
               (then (call $deep (i32.sub (local.get 0) (i32.const 1))))
               (else (throw $t (i64.const 8) (i32.const 9)))))
           (func (export "f") (result i32 i64 i32)
             (i32.const 7)
             (block $h (result i64 i32)
               (i32.const 1) (i32.const 2)
               (try_table (catch $t $h) (call $deep (i32.const 1000)))
               (unreachable)))"""
    )
    assert call(instance, "f") == [7, 8, 9]


@pytest.mark.parametrize(
    ("name", "index", "kind"),
    [
        ("call", 0, "indirect call type mismatch"),
        ("call", 2, "uninitialized element"),
        ("call", 3, "undefined element"),
        ("call", 0xFFFF_FFFF, "undefined element"),
        ("tail", 2, "uninitialized element"),
        ("ref", 0, "null function reference"),
        ("div", 0, "integer divide by zero"),
        ("load", 0xFFFF_FFFF, "out of bounds memory access"),
        ("load", 65_533, "out of bounds memory access"),
        ("cast", 0, "cast failure"),
    ],
)
def test_traps(name: str, index: int, kind: str) -> None:
    instance = load(
        """(type $f (func (result i32)))
           (memory 1)
           (func $no (param i32)) (func $yes (result i32) (i32.const 1))
           (table 3 funcref) (elem (i32.const 0) $no $yes)
           (func (export "call") (param i32) (result i32) (call_indirect (type $f) (local.get 0)))
           (func (export "tail") (param i32) (result i32) (return_call_indirect (type $f) (local.get 0)))
           (func (export "ref") (param i32) (result i32) (call_ref $f (ref.null $f)))
           (func (export "div") (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
           (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
           (func (export "cast") (param i32) (ref.cast (ref i31) (ref.null i31)) (drop))"""
    )
    assert trap(instance, name, index) == kind
    assert call(instance, "call", 1) == [1]


def test_offsets_do_not_wrap() -> None:
    instance = load(
        """(memory i64 1)
           (func (export "load") (param i64) (result i64) (i64.load offset=0xffffffffffffffff (local.get 0)))
           (func (export "store") (param i64) (i32.store8 offset=8 (local.get 0) (i32.const 1)))
           (func (export "vector") (param i64) (result v128) (v128.load offset=1 (local.get 0)))"""
    )
    for name in ("load", "store", "vector"):
        assert trap(instance, name, (1 << 64) - 1) == "out of bounds memory access"
    assert trap(instance, "store", 65_528) == "out of bounds memory access"
    assert call(instance, "store", 65_527) == []


def test_memory_moves_when_it_grows_and_keeps_its_bytes() -> None:
    instance = load(
        """(memory 1 1000)
           (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
           (func (export "set") (param i32) (i32.store (local.get 0) (i32.const 0x01020304)))
           (func (export "get") (param i32) (result i32) (i32.load (local.get 0)))"""
    )
    call(instance, "set", 65_532)
    assert [call(instance, "grow", n) for n in (1, 200, 300, 0, 10_000)] == [[1], [2], [202], [502], [0xFFFF_FFFF]]
    assert call(instance, "get", 65_532) == [0x01020304]
    assert call(instance, "get", 65_536 * 502 - 4) == [0]
    call(instance, "set", 65_536 * 502 - 4)
    assert trap(instance, "get", 65_536 * 502 - 3) == "out of bounds memory access"


def test_copies_overlap_across_chunks() -> None:
    instance = load(
        """(memory 64)
           (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
           (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))"""
    )
    memory = instance.memories[0]
    size = 3_000_000
    call(instance, "fill", 5, 0x1AB, size)
    assert memory.data[4 : 5 + size + 1] == b"\0" + b"\xab" * size + b"\0"
    pattern = bytes(i % 251 for i in range(size))
    for source, target in ((0, 700_001), (900_000, 3)):
        memory.data[source : source + size] = pattern
        call(instance, "copy", target, source, size)
        assert memory.data[target : target + size] == pattern


# Host functions


def test_host_functions_trap_throw_and_reenter() -> None:
    store = Store()
    tag = TagInst(store.host_function(FuncType(("i32",)), lambda x: ()).type)
    instances: list[Instance] = []

    def reenter(n: int) -> list[Any]:
        return call(instances[0], "count", n)

    def throw(n: int) -> list[Any]:
        raise Thrown(ExnInst([n], tag))

    def fail() -> list[Any]:
        raise Trap("unreachable")

    number = FuncType(("i32",), ("i32",))
    text = """(import "" "tag" (tag $t (param i32)))
              (import "" "reenter" (func $reenter (param i32) (result i32)))
              (import "" "throw" (func $throw (param i32) (result i32)))
              (import "" "fail" (func $fail))
              (func (export "count") (param i32) (result i32)
                (if (result i32) (local.get 0)
                  (then (i32.add (i32.const 1) (call $reenter (i32.sub (local.get 0) (i32.const 1)))))
                  (else (i32.const 0))))
              (func (export "caught") (param i32) (result i32)
                (block $h (result i32) (try_table (result i32) (catch $t $h) (call $throw (local.get 0)))))
              (func (export "tail") (param i32) (result i32)
                (block $h (result i32) (try_table (result i32) (catch $t $h) (return_call $throw (local.get 0)))))
              (func (export "not caught") (try_table (catch_all 0) (call $fail)))"""
    imports: list[Extern] = [tag, store.host_function(number, reenter), store.host_function(number, throw)]
    instances.append(load(text, [*imports, store.host_function(FuncType(), fail)], store))
    assert call(instances[0], "count", 30) == [30]
    assert call(instances[0], "caught", 4) == [4]
    with pytest.raises(Thrown):
        call(instances[0], "tail", 4)
    assert trap(instances[0], "not caught") == "unreachable"
    with pytest.raises(Exhausted, match="call stack"):
        call(instances[0], "count", 1_000_000)
    assert call(instances[0], "count", 30) == [30]


def test_values_from_outside_are_checked() -> None:
    store = Store()
    lying = store.host_function(FuncType((), ("i32",)), lambda: [1 << 32])
    for args in ([], [1, 2], [-1], [1 << 32], ["1"], [None]):
        with pytest.raises(TypeError):
            store.invoke(store.host_function(FuncType(("i32",)), lambda x: ()), args)
    with pytest.raises(TypeError):
        store.invoke(lying)
    take_eq = store.host_function(FuncType((RefType(False, "eq"),)), lambda x: ())
    assert store.invoke(take_eq, [5]) == []
    for ref in (None, HostRef(5), take_eq):
        with pytest.raises(TypeError):
            store.invoke(take_eq, [ref])


# Linking


def test_a_failed_instantiation_leaves_what_it_wrote() -> None:
    store = Store()
    owner = load(
        """(memory (export "m") 1) (table (export "t") 2 funcref) (type $f (func (result i32)))
           (func (export "call") (param i32) (result i32) (call_indirect (type $f) (local.get 0)))""",
        store=store,
    )
    text = """(import "" "m" (memory 1)) (import "" "t" (table 2 funcref))
              (func $f (result i32) (i32.const 42))
              (elem (i32.const 1) $f) (data (i32.const 3) "abc") (data (i32.const 65535) "xy")"""
    with pytest.raises(Trap, match="memory"):
        load(text, [owner.exports["m"], owner.exports["t"]], store)
    assert owner.memories[0].data[:7] == b"\0\0\0abc\0"
    assert owner.memories[0].data[65_535] == 0
    assert call(owner, "call", 1) == [42]


def test_segments_are_dropped_once_copied() -> None:
    instance = load(
        """(memory 1) (table 1 funcref)
           (func $f (export "init") (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1)))
           (func (export "elem") (table.init 0 (i32.const 0) (i32.const 0) (i32.const 1)))
           (data (i32.const 0) "a") (elem (i32.const 0) func $f)"""
    )
    assert trap(instance, "init") == "out of bounds memory access"
    assert trap(instance, "elem") == "out of bounds table access"


def test_identity_across_instances() -> None:
    store = Store()
    maker = load(
        """(type $a (array i8)) (tag (export "tag") (param (ref $a)))
           (func (export "make") (result (ref $a)) (array.new_fixed $a 2 (i32.const 0x1ff) (i32.const 2)))""",
        store=store,
    )
    user = load(
        """(type $b (array i8)) (import "" "make" (func $make (result (ref $b))))
           (func (export "get") (result i32) (array.get_s $b (call $make) (i32.const 0)))
           (func (export "same") (param anyref) (result i32)
             (ref.eq (ref.cast (ref $b) (local.get 0)) (ref.cast (ref null $b) (local.get 0))))
           (func (export "out and in") (param anyref) (result anyref)
             (any.convert_extern (extern.convert_any (local.get 0))))""",
        [maker.exports["make"]],
        store,
    )
    assert call(user, "get") == [0xFFFF_FFFF]
    (array,) = call(maker, "make")
    assert isinstance(array, ArrayInst)
    assert array.fields == [0xFF, 2]
    assert call(user, "same", array) == [1]
    assert call(user, "out and in", array)[0] is array
    assert trap(user, "same", HostRef(1)) == "cast failure"


def test_imports_must_match() -> None:
    store = Store()
    world = spectest(store)
    for text, names in (
        ('(import "" "" (func (param i32)))', ["print"]),
        ('(import "" "" (memory 2))', ["memory"]),
        ('(import "" "" (memory 1 1))', ["memory"]),
        ('(import "" "" (memory i64 1))', ["memory"]),
        ('(import "" "" (table 10 20 externref))', ["table"]),
        ('(import "" "" (global (mut i32)))', ["global_i32"]),
        ('(import "" "" (tag))', ["print"]),
        ('(import "" "" (func))', []),
        ("", ["print"]),
    ):
        with pytest.raises(Unlinkable):
            load(text, [world[name] for name in names], store)


def test_types_follow_growth() -> None:
    instance = load(
        """(memory (export "m") 0 5) (table (export "t") 1 funcref)
           (func (export "grow") 
             (drop (memory.grow (i32.const 3))) (drop (table.grow (ref.null func) (i32.const 4))))"""
    )
    call(instance, "grow")
    memory, table = instance.exports["m"], instance.exports["t"]
    assert isinstance(memory, MemInst)
    assert isinstance(table, TableInst)
    assert memory.type.limits == Limits(3, 5)
    assert table.type.limits == Limits(5, None)
    load('(import "" "" (memory 3)) (import "" "" (table 5 funcref))', [memory, table], instance.store)


def test_spectest() -> None:
    store = Store()
    heard: list[tuple[str, tuple[Any, ...]]] = []
    world = spectest(store, lambda name, args: heard.append((name, args)))
    instance = load(
        """(import "spectest" "print_i32_f32" (func $p (param i32 f32)))
           (import "spectest" "global_f32" (global $g f32))
           (func (export "f") (call $p (i32.const 1) (global.get $g)))""",
        [world["print_i32_f32"], world["global_f32"]],
        store,
    )
    call(instance, "f")
    assert heard == [("print_i32_f32", (1, 0x4426A666))]
