"""Limits that hold: hostile modules against each of them, in the C engine.

What never ends by itself is ended by fuel, by the clock, or by an interrupt from another thread, whatever it repeats.
"""

from __future__ import annotations

import resource
import shutil
import threading

import pytest

from wasmlab_ref.case import Invoke, Outcome, Register
from wasmlab_ref.encode import encode
from wasmlab_ref.fast import build
from wasmlab_ref.fast.engine import Load, Step, Store
from wasmlab_ref.limits import Limits
from wasmlab_ref.text import parse_module

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, build.COMPILERS)), reason="the C engine needs a compiler, and there is none"
)

LAB = '(import "lab" "log" (func $log (param i32 i64))) (import "lab" "reenter" (func $reenter (param i32)))'
FRAME = f"""(module {LAB} (memory $m 64) (table $t 100000 funcref) (tag $e)
  (type $void (func)) (type $bytes (array (mut i8))) (type $pair (struct (field (ref null 0))))
  (global $big (ref $bytes) (array.new_default $bytes (i32.const 10000000)))
  (data $d "0123456789") (elem $s funcref (ref.func $loop))
  (func $loop (loop (br 0)))
  (func $throw (throw $e))
  (func $self (param i32) (return_call $self (local.get 0)))
  (elem declare func $loop $f)
  (func $f (export "f") %s))"""

ENDLESS = {
    "loop": "(loop (br 0))",
    "loop with a condition": "(loop (br_if 0 (i32.const 1)))",
    "loop with a table": "(loop (br_table 0 0 0 (i32.const 7)))",
    "loop over references": "(loop (drop (br_on_null 0 (ref.null func))))",
    "step": "(local i32) (loop (local.set 0 (i32.add (local.get 0) (i32.const 1)))"
    " (br_if 0 (i32.ge_u (local.get 0) (i32.const 0))))",
    "tail calls": "(return_call $self (i32.const 1))",
    "indirect calls": "(table.set $t (i32.const 0) (ref.func $f)) (return_call_indirect $t (type $void) (i32.const 0))",
    "calls by reference": "(return_call_ref $void (ref.func $f))",
    "exceptions": "(loop (block (try_table (catch $e 0) (call $throw))) (br 0))",
    "exceptions rethrown": "(loop $l (block $b (result exnref) (try_table (catch_all_ref $b) (call $throw)) (br $l))"
    " (drop) (br $l))",
    "exceptions to a loop": "(loop $l (try_table (catch_all $l) (throw $e)))",
    "exceptions to a loop, by reference": "(ref.null exn)"
    " (loop $l (param exnref) (drop) (try_table (catch_all_ref $l) (throw $e)))",
    "exceptions to a loop, from a call": "(loop $l (try_table (catch $e $l) (call $throw)))",
    "host calls": "(loop (call $reenter (i32.const 1)) (br 0))",
    "memory": "(loop (memory.fill $m (i32.const 0) (i32.const 1) (i32.const 4194304)) (br 0))",
    "memory copied": "(loop (memory.copy $m $m (i32.const 1) (i32.const 0) (i32.const 4194303)) (br 0))",
    "table": "(loop (table.fill $t (i32.const 0) (ref.func $f) (i32.const 100000)) (br 0))",
    "array": "(loop (array.fill $bytes (global.get $big) (i32.const 0) (i32.const 1) (i32.const 10000000)) (br 0))",
    "array copied": "(loop (array.copy $bytes $bytes (global.get $big) (i32.const 1) (global.get $big) (i32.const 0)"
    " (i32.const 9999999)) (br 0))",
    "garbage": "(loop (drop (array.new_default $bytes (i32.const 100000))) (br 0))",
    "small garbage": "(loop (drop (ref.cast anyref (array.new_default $bytes (i32.const 1)))) (br 0))",
    "segments": "(loop (memory.init $d (i32.const 0) (i32.const 0) (i32.const 10)) (br 0))",
}
"""Bodies that end only by a limit."""


def binary(text: str) -> bytes:
    return encode(parse_module(text))


def run(*steps: Step, limits: Limits | None = None) -> list[Outcome]:
    with Store(limits=limits) as store:
        return store.run(steps)


@pytest.mark.parametrize("name", ENDLESS)
def test_fuel(name: str) -> None:
    data = binary(FRAME % ENDLESS[name])
    found = run(Load("m", data), Invoke("m", "f"), limits=Limits(fuel=200_000))
    assert found == [Outcome("returned"), Outcome("exhausted", detail="fuel")]


@pytest.mark.parametrize("name", ENDLESS)
def test_the_clock(name: str) -> None:
    with Store() as store:
        assert store.run([Load("m", binary(FRAME % ENDLESS[name]))]) == [Outcome("returned")]
        store.deadline(0.02)
        assert store.run([Invoke("m", "f")]) == [Outcome("exhausted", detail="time")]
        store.deadline(0)
        assert store.run([Load("n", binary('(module (func (export "f")))')), Invoke("n", "f")])[1].kind == "returned"


def test_an_interrupt_from_another_thread() -> None:
    """The interpreter's lock is free while C works: else nobody could ask for it."""
    with Store() as store:
        threading.Timer(0.05, store.interrupt).start()
        assert store.run([Load("m", binary(FRAME % ENDLESS["loop"])), Invoke("m", "f")])[1].detail == "time"
        store.interrupt(False)
        assert store.run([Load("n", binary('(module (func (export "f")))')), Invoke("n", "f")])[1].kind == "returned"


def test_a_start_function_is_limited_too() -> None:
    text = "(module (func $f (loop (br 0))) (start $f))"
    assert run(Load("m", binary(text)), limits=Limits(fuel=1000)) == [Outcome("exhausted", detail="fuel")]


# Depth

RECURSION = {
    "call": "(call $f)",
    "call_indirect": "(call_indirect (type $v) (i32.const 0))",
    "call_ref": "(call_ref $v (ref.func $f))",
    "in a handler": "(block (try_table (catch_all 0) (call $f)) (return))",
}


@pytest.mark.parametrize("name", RECURSION)
def test_call_depth(name: str) -> None:
    text = f'(module (type $v (func)) (table funcref (elem $f)) (func $f (export "f") (type $v) {RECURSION[name]}))'
    for depth in (1, 1_000, 10_000):
        found = run(Load("m", binary(text)), Invoke("m", "f"), limits=Limits(call_depth=depth))
        assert found[1] == Outcome("exhausted", detail="call stack")


def test_depth_across_instances_and_through_the_host() -> None:
    callee = binary(
        """(module (import "lab" "reenter" (func $reenter (param i32)))
             (func (export "reenter") (param i32) (call $reenter (local.get 0))))"""
    )
    steps = [Load("a", callee), Register("a", "lab.callee"), Invoke("a", "reenter", ("i32:1",))]
    assert run(*steps)[2] == Outcome("exhausted", detail="call stack")
    table = binary('(module (table (export "t") 2 funcref))')
    other = binary(
        """(module (import "t" "t" (table 2 funcref)) (type $v (func)) (elem (i32.const 0) $f)
             (func $f (export "f") (type $v) (call_indirect (type $v) (i32.const 1))))"""
    )
    third = binary(
        """(module (import "t" "t" (table 2 funcref)) (type $v (func)) (elem (i32.const 1) $f)
             (func $f (export "f") (type $v) (call_indirect (type $v) (i32.const 0))))"""
    )
    steps = [Load("t", table), Register("t", "t"), Load("b", other), Load("c", third), Invoke("b", "f")]
    assert run(*steps)[4] == Outcome("exhausted", detail="call stack")


@pytest.mark.parametrize("locals_", [1, 100, 10_000])
def test_the_value_stack(locals_: int) -> None:
    text = f'(module (func $f (export "f") (local {"i64 " * locals_}) (call $f)))'
    limits = Limits(call_depth=1 << 30, values=200_000)
    assert run(Load("m", binary(text)), Invoke("m", "f"), limits=limits)[1] == Outcome("exhausted", detail="call stack")


# Sizes


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("(memory 65536)", "memory"),
        ("(memory 20000) (memory 20000)", "memory"),
        ("(memory i64 0x1000000000000)", "memory"),
        ("(table 0xffffffff funcref)", "table"),
        ("(table i64 0xffffffffffffffff funcref)", "table"),
        ("(table 6000000 funcref) (table 6000000 externref)", "table"),
        ("(type $a (array i64)) (global (ref $a) (array.new_default $a (i32.const -1)))", "gc heap"),
        ("(type $a (array i8)) (elem (ref $a) (array.new_default $a (i32.const 0x7fffffff)))", "gc heap"),
    ],
)
def test_what_is_too_large_to_begin_with(text: str, what: str) -> None:
    assert run(Load("m", binary(f"(module {text})"))) == [Outcome("exhausted", detail=what)]


def test_growing_ends() -> None:
    text = """(module (memory 0) (table 0 funcref)
      (func (export "memory") (result i32) (loop (br_if 0 (i32.ne (memory.grow (i32.const 7)) (i32.const -1))))
        (memory.size))
      (func (export "table") (result i32)
        (loop (br_if 0 (i32.ne (table.grow (ref.null func) (i32.const 999)) (i32.const -1)))) (table.size)))"""
    limits = Limits(memory_pages=1_000, table_elements=100_000)
    found = run(Load("m", binary(text)), Invoke("m", "memory"), Invoke("m", "table"), limits=limits)
    assert [outcome.values for outcome in found[1:]] == [
        (f"i32:{1_000 // 7 * 7:x}",),
        (f"i32:{100_000 // 999 * 999:x}",),
    ]


def test_memories_of_all_instances_count() -> None:
    data = binary("(module (memory 300) (table 400 funcref))")
    limits = Limits(memory_pages=1_000, table_elements=1_500)
    found = run(*(Load(f"m{i}", data) for i in range(6)), limits=limits)
    assert [outcome.kind for outcome in found] == ["returned"] * 3 + ["exhausted"] * 3


@pytest.mark.parametrize(
    "body",
    [
        "(loop (local.set 0 (struct.new $n (local.get 0))) (br 0))",
        "(loop (local.set 0 (struct.new $n (struct.new $n (local.get 0)))) (br 0))",
        "(loop (table.set $t (i32.const 0) (struct.new $n (table.get $t (i32.const 0)))) (br 0))",
        "(loop (global.set $g (struct.new $n (global.get $g))) (br 0))",
    ],
)
def test_what_stays_alive_is_bounded(body: str) -> None:
    """A list of a million nodes is marked without recursion, and ends as a full heap."""
    text = f"""(module (rec (type $n (struct (field (ref null $n))))) (table $t 1 (ref null $n))
        (global $g (mut (ref null $n)) (ref.null $n)) (func (export "f") (local (ref null $n)) {body}))"""
    found = run(Load("m", binary(text)), Invoke("m", "f"), limits=Limits(heap_bytes=1 << 24))
    assert found[1] == Outcome("exhausted", detail="gc heap")


def test_exceptions_that_stay_alive_are_bounded() -> None:
    text = """(module (tag $e (param exnref)) (func (export "f") (local $x exnref)
        (loop $l (block $b (result exnref exnref) (try_table (catch_ref $e $b) (throw $e (local.get $x))) (br $l))
          (local.set $x) (drop) (br $l))))"""
    found = run(Load("m", binary(text)), Invoke("m", "f"), limits=Limits(heap_bytes=1 << 22))
    assert found[1] == Outcome("exhausted", detail="gc heap")


def test_the_trace_is_bounded() -> None:
    text = f'(module {LAB} (func (export "f") (loop (call $log (i32.const 1) (i64.const 2)) (br 0))))'
    found = run(Load("m", binary(text)), Invoke("m", "f"))
    assert found[1] == Outcome("exhausted", detail="memory")


@pytest.mark.parametrize(
    "body",
    [
        f"(func (local {'i64 ' * 50_001}))",
        f'(func (export "f") (result i32) {"(block (result i32) " * 40_000} (i32.const 1) {")" * 40_000})',
        f"(func (br_table {'0 ' * 300_000} (i32.const 1)))",
        "(func)" * 100_000,
        "(type (func (param i32)))" * 50_000,
        f"(func (result {'i32 ' * 900}) {'(i32.const 1)' * 900})",
        f"(func {'(drop (i32.const 1))' * 200_000})",
    ],
)
def test_numbers_of_everything(body: str) -> None:
    """Linear room, or a refusal; never an end of the process.  Linear time: test_fast_front."""
    data = binary(f"(module {body})")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = run(Load("m", data), Invoke("m", "f"))
    assert found[0].kind in {"returned", "exhausted"}
    assert found[1].kind in {"returned", "unsupported", "exhausted"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB
