"""How interpreters broke, in the C engine: each test is a class of bugs that was found in one, this one included."""

from __future__ import annotations

import shutil

import pytest

from wasmlab_ref import fast
from wasmlab_ref.case import Invoke, Outcome, Register
from wasmlab_ref.encode import encode
from wasmlab_ref.fast import build
from wasmlab_ref.fast.engine import Get, Load, Step, Store
from wasmlab_ref.limits import Limits
from wasmlab_ref.text import parse_module

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, build.COMPILERS)), reason="the C engine needs a compiler, and there is none"
)

HEADER = b"\0asm\1\0\0\0"


def leb(n: int) -> bytes:
    low, n = n & 0x7F, n >> 7
    return bytes([low | 0x80]) + leb(n) if n else bytes([low])


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + leb(len(content)) + content


def binary(text: str) -> bytes:
    return encode(parse_module(text))


def run(*steps: Step, limits: Limits | None = None) -> list[Outcome]:
    with Store(limits=limits) as store:
        return store.run(steps)


# Frames


def test_an_exception_leaves_through_a_tail_call_into_another_instance() -> None:
    """What the outermost call goes on with lies behind the return into the first instance."""
    thrower = binary('(tag $e (export "e") (param i32)) (func (export "t") (throw $e (i32.const 7)))')
    caller = binary(
        """(import "b" "t" (func $t)) (import "b" "e" (tag $e (param i32))) (export "e" (tag $e))
           (func $tail (export "tail") (return_call $t)) (func (export "call") (call $t))
           (func (export "caught") (result i32)
             (block (result i32) (try_table (catch $e 0) (call $tail)) (i32.const 0)))"""
    )
    steps = [Load("b", thrower), Register("b", "b"), Load("a", caller)]
    outcomes = run(*steps, *(Invoke("a", name, ()) for name in ("tail", "call", "caught")))
    assert [(o.kind, o.values) for o in outcomes[3:]] == [
        ("threw", ("i32:7",)),
        ("threw", ("i32:7",)),
        ("returned", ("i32:7",)),
    ]


# Instructions in one


@pytest.mark.parametrize("step", ["(i32.const 1)", "(local.get 1)", "(local.get 0)"])
@pytest.mark.parametrize("test", ["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"])
def test_a_local_that_was_stepped_is_compared_with_itself(step: str, test: str) -> None:
    text = f"""(func (export "f") (param i32 i32) (result i32)
        (local.set 0 (i32.add (local.get 0) {step}))
        (if (result i32) (i32.{test} (local.get 0) (local.get 0)) (then (i32.const 1)) (else (i32.const 0))))"""
    expected = "i32:1" if test in ("eq", "le_s", "le_u", "ge_s", "ge_u") else "i32:0"
    assert run(Load("m", binary(text)), Invoke("m", "f", ("i32:5", "i32:3")))[1].values == (expected,)


# Fuel and time


def test_much_at_once_uses_several_slices() -> None:
    """Fuel for what is done in bulk comes in parts; a quarter of a gigabyte needs more than one, and has them."""
    text = """(type $a (array (mut i8))) (func (export "f") (result i32)
        (array.len (array.new_default $a (i32.const 268000000))))"""
    steps = [Load("m", binary(text)), Invoke("m", "f", ())]
    assert run(*steps)[1].values == ("i32:ff95b00",)
    exhausted = run(*steps, limits=Limits(fuel=4_100_000))[1]
    assert (exhausted.kind, exhausted.detail) == ("exhausted", "fuel")


def test_bulk_that_grows_a_table_costs_fuel_but_does_not_fail() -> None:
    text = """(table $t 0 funcref) (export "t" (table $t))
              (func (export "f") (result i32) (table.grow $t (ref.null func) (i32.const 6400)))"""
    steps = [Load("m", binary(text)), Invoke("m", "f", ()), Get("m", "t")]
    assert run(*steps)[1].values == ("i32:0",)
    assert run(*steps, limits=Limits(fuel=50))[1].detail == "fuel"


def test_nothing_is_copied_between_memories_that_are_not_there() -> None:
    text = """(memory 0) (memory $b 0) (func (export "f")
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 0))
        (memory.copy (i32.const 0) (i32.const 0) (i32.const 0))
        (memory.copy $b 0 (i32.const 0) (i32.const 0) (i32.const 0)))"""
    assert run(Load("m", binary(text)), Invoke("m", "f", ()))[1].kind == "returned"


# Size


def thousand_operands_a_call(calls: int) -> bytes:
    types = b"\2\x60\0" + leb(1_000) + b"\x7f" * 1_000 + b"\x60\0\0"
    body = b"\0" + b"\x10\0" * calls + b"\0\x0b"
    code = b"\2\3\0\0\x0b" + leb(len(body)) + body
    return HEADER + section(1, types) + section(3, b"\2\0\1") + section(10, code)


def test_operands_at_once_have_a_limit() -> None:
    """Two bytes of code push a thousand operands; a megabyte of them would need gigabytes."""
    assert fast.check(thousand_operands_a_call(9_999)).stage == ""
    assert fast.check(thousand_operands_a_call(10_001)).stage == "exhausted"
    assert fast.check(thousand_operands_a_call(1_000_000)).stage == "exhausted"


# Limits that hold


def test_a_full_heap_that_collects_at_every_allocation_costs_fuel_and_time() -> None:
    """What lives fills the heap; each little object more has all of it marked."""
    text = """(type $a (array (mut anyref))) (type $s (struct)) (global $g (mut anyref) (ref.null none))
        (func $fill (export "fill") (param $n i32) (local $a (ref $a))
          (global.set $g (local.tee $a (array.new_default $a (local.get $n))))
          (loop (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (array.set $a (local.get $a) (local.get $n) (struct.new $s)) (br_if 0 (local.get $n))))
        (func (export "f") (param $n i32)
          (loop (drop (struct.new $s)) (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))"""
    room = 5 << 20
    limits = Limits(heap_bytes=room, fuel=2_000_000)
    full = (room - 64) // 24
    steps = [Load("m", binary(text)), Invoke("m", "fill", (f"i32:{full:x}",)), Invoke("m", "f", ("i32:186a0",))]
    _, filled, looped = run(*steps, limits=limits)
    assert filled.kind == "returned"
    assert (looped.kind, looped.detail) == ("exhausted", "fuel")
    with Store(limits=Limits(heap_bytes=room)) as store:
        store.run(steps[:2])
        store.deadline(1e-9)
        assert store.run(steps[2:])[0].detail == "time"


def test_handlers_that_an_exception_passes_cost_fuel() -> None:
    """Twenty thousand of them in a function that throws in a loop."""
    text = f"""(tag $e) (tag $other) (func (export "f") (param $n i32)
        (loop $again {"(block (try_table (catch $other 0) (nop)))" * 20_000}
          (block (try_table (catch $e 0) (throw $e)))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))"""
    steps = [Load("m", binary(text)), Invoke("m", "f", ("i32:186a0",))]
    assert run(*steps, limits=Limits(fuel=1_000_000))[1].detail == "fuel"


def test_memory_limits_beyond_all_addresses_are_cut() -> None:
    text = '(memory i64 0) (func (export "f") (result i64) (memory.grow (i64.const 0x1000000000000)))'
    steps = [Load("m", binary(text)), Invoke("m", "f", ())]
    assert run(*steps, limits=Limits(memory_pages=1 << 60))[1].values == (f"i64:{(1 << 64) - 1:x}",)
