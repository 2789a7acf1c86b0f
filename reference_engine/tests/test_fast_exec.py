"""Execution in the C engine: limits, calls, the heap, exceptions, memories, and both ways of dispatch."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from wasmlab_ref.case import Invoke, Outcome, Register
from wasmlab_ref.encode import encode
from wasmlab_ref.fast import build
from wasmlab_ref.fast.engine import Get, Load, ReadBytes, Step, Store, Write
from wasmlab_ref.limits import Limits
from wasmlab_ref.profile import Profile
from wasmlab_ref.text import parse_module

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, build.COMPILERS)), reason="ref/fast needs a C compiler, and there is none"
)


def binary(text: str) -> bytes:
    return encode(parse_module(text))


def run(text: str, *calls: tuple[Any, ...], stress: bool = False, **limits: Any) -> list[Outcome]:
    """The outcomes of instantiating a module and of calls, each (name, *arguments)."""
    steps: list[Step] = [Load("m", binary(text))]
    steps += [Invoke("m", name, tuple(args)) for name, *args in calls]
    with Store(limits=Limits(**limits), stress=stress) as store:
        return store.run(steps)


def values(text: str, *calls: tuple[Any, ...], **options: Any) -> list[tuple[str, ...]]:
    outcomes = run(text, *calls, **options)
    assert all(o.kind == "returned" for o in outcomes), outcomes
    return [o.values for o in outcomes[1:]]


def detail(text: str, *call: Any, **limits: Any) -> tuple[str, str]:
    outcome = run(text, call, **limits)[1]
    return outcome.kind, outcome.detail


# Limits


@pytest.mark.parametrize("loop", ["(loop (br 0))", "(loop (br_if 0 (i32.const 1)))", "(call 0)", "(return_call 0)"])
def test_fuel_ends_everything_that_repeats(loop: str) -> None:
    kind, what = detail(f'(module (func (export "f") {loop}))', "f", fuel=5000, call_depth=1_000_000)
    assert (kind, what) == ("exhausted", "fuel")


def test_fuel_is_for_each_call() -> None:
    text = '(module (func (export "f") (local i32) (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0)'
    text += " (i32.const 1))) (i32.const 1000))))))"
    assert [o.kind for o in run(text, *[("f",)] * 5, fuel=1500)] == ["returned"] * 6


def test_bulk_operations_cost_fuel() -> None:
    text = """(module (memory 64) (func (export "f") (loop
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 4194304)) (br 0))))"""
    assert detail(text, "f", fuel=1_000_000) == ("exhausted", "fuel")


def test_wall_clock() -> None:
    with Store() as store:
        store.deadline(0.05)
        outcomes = store.run([Load("m", binary('(module (func (export "f") (loop (br 0))))')), Invoke("m", "f")])
    assert outcomes[1] == Outcome("exhausted", detail="time")


@pytest.mark.parametrize("depth", [1, 2, 100, 9999])
def test_call_depth_is_exact(depth: int) -> None:
    text = """(module (func $f (export "f") (param i32) (result i32)
        (if (result i32) (local.get 0) (then (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))
        (else (i32.const 1)))))"""
    inside, outside = run(text, ("f", f"i32:{depth - 1:x}"), ("f", f"i32:{depth:x}"), call_depth=depth)[1:]
    assert inside.values == (f"i32:{depth:x}",)
    assert outside == Outcome("exhausted", detail="call stack")


def test_the_value_stack_is_a_limit() -> None:
    text = f'(module (func $f (export "f") (local {"i64 " * 1000}) (call $f)))'
    assert detail(text, "f", call_depth=1_000_000, values=100_000) == ("exhausted", "call stack")


def test_locals_and_deep_operands() -> None:
    assert detail(f'(module (func (export "f") (local {"i64 " * 50_001})))', "f") == ("exhausted", "locals")
    many = "(i32.const 1)" * 30_000
    text = f'(module (func (export "f") (result i32) {many} {"(i32.add)" * 29_999}))'
    assert values(text, ("f",)) == [("i32:7530",)]


def test_memory_and_table_limits() -> None:
    text = """(module (memory 1) (table 1 funcref)
        (func (export "m") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "t") (param i32) (result i32) (table.grow (ref.null func) (local.get 0))))"""
    calls = [("m", "i32:10"), ("m", "i32:3"), ("m", "i32:1"), ("t", "i32:64"), ("t", "i32:63"), ("t", "i32:1")]
    found = values(text, *calls, memory_pages=4, table_elements=100)
    assert [v[0] for v in found] == ["i32:ffffffff", "i32:1", "i32:ffffffff", "i32:ffffffff", "i32:1", "i32:ffffffff"]


def test_untouched_memory_takes_no_room() -> None:
    text = (
        '(module (memory (export "mem") 16384) (func (export "f") (i32.store8 (i32.const 1073741823) (i32.const 7))))'
    )
    with Store() as store:
        program: list[Step] = [
            Load("m", binary(text)),
            Invoke("m", "f"),
            ReadBytes("m", "mem", "bytes", (1 << 30) - 2, 2),
        ]
        assert store.run(program)[2].values == ("bytes:0007",)


# The heap

LIST = """(module (rec (type $n (struct (field $next (mut (ref null $n))) (field $v i32))))
    (func (export "cycles") (param i32) (result i32) (local $a (ref null $n)) (local $i i32)
      (loop
        (local.set $a (struct.new $n (ref.null $n) (local.get $i)))
        (struct.set $n $next (local.get $a) (struct.new $n (local.get $a) (i32.const 1)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (local.get 0))))
      (struct.get $n $v (local.get $a)))
    (func (export "chain") (param i32) (result i32) (local $a (ref null $n)) (local $i i32)
      (loop
        (local.set $a (struct.new $n (local.get $a) (local.get $i)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (local.get 0))))
      (local.set $i (i32.const 0))
      (loop
        (local.set $i (i32.add (local.get $i) (struct.get $n $v (local.get $a))))
        (br_if 0 (i32.eqz (ref.is_null (local.tee $a (struct.get $n $next (local.get $a)))))))
      (local.get $i))
    (type $bytes (array (mut i8)))
    (func (export "large") (param i32) (result i32) (local $a (ref null $bytes))
      (loop (local.set $a (array.new $bytes (i32.const 255) (i32.const 100000)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
      (array.get_s $bytes (local.get $a) (i32.const 99999))))"""


def test_cycles_are_collected() -> None:
    assert values(LIST, ("cycles", "i32:80000"), heap_bytes=1 << 21) == [("i32:7ffff",)]


def test_large_objects_are_collected() -> None:
    assert values(LIST, ("large", "i32:400"), heap_bytes=1 << 20) == [("i32:ffffffff",)]


def test_what_is_alive_stays() -> None:
    n = 2000
    assert values(LIST, ("chain", f"i32:{n:x}"), stress=True) == [(f"i32:{n * (n - 1) // 2:x}",)]
    assert detail(LIST, "chain", "i32:100000", heap_bytes=1 << 20) == ("exhausted", "gc heap")


def test_a_huge_array_is_refused() -> None:
    text = """(module (type $a (array i64)) (func (export "f") (param i32) (result i32)
        (array.len (array.new_default $a (local.get 0)))))"""
    assert detail(text, "f", "i32:ffffffff") == ("exhausted", "gc heap")


# Calls and exceptions


def test_tail_calls_of_other_types_do_not_grow_the_stack() -> None:
    text = """(module
      (func $wide (param i64 i64 i64 i64 i32) (result i32) (local v128 v128)
        (return_call $narrow (local.get 4)))
      (func $narrow (export "f") (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 42))))
        (return_call $wide (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
          (i32.sub (local.get 0) (i32.const 1)))))"""
    assert values(text, ("f", "i32:f4240"), call_depth=2, values=100) == [("i32:2a",)]


def test_tail_calls_across_instances_and_back() -> None:
    first = """(module (table (export "t") 1 funcref) (type $f (func (param i32) (result i32)))
      (memory (data "\\11"))
      (func (export "a") (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then (return_call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))
          (else (i32.load8_u (i32.const 0))))))"""
    second = """(module (import "a" "t" (table 1 funcref)) (import "a" "a" (func $a (param i32) (result i32)))
      (memory (data "\\22")) (elem (i32.const 0) func $b)
      (func $b (export "b") (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then (return_call $a (i32.sub (local.get 0) (i32.const 1))))
          (else (i32.load8_u (i32.const 0)))))
      (func (export "sum") (param i32) (result i32)
        (i32.add (call $a (local.get 0)) (i32.load8_u (i32.const 0)))))"""
    steps: list[Step] = [Load("a", binary(first)), Register("a", "a"), Load("b", binary(second))]
    steps += [Invoke("b", "sum", (f"i32:{n:x}",)) for n in (100_000, 100_001)]
    with Store(limits=Limits(call_depth=3)) as store:
        assert [o.values for o in store.run(steps)[3:]] == [("i32:33",), ("i32:44",)]


def test_handlers_are_found_without_recursion() -> None:
    text = """(module (tag $t (export "t") (param i32))
      (func $deep (param i32) (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))))
        (throw $t (local.get 0)))
      (func (export "caught") (param i32) (result i32)
        (block $h (result i32) (try_table (catch $t $h) (call $deep (local.get 0))) (i32.const 99)))
      (func (export "uncaught") (call $deep (i32.const 3))))"""
    caught, uncaught = run(text, ("caught", "i32:2000"), ("uncaught",))[1:]
    assert caught.values == ("i32:0",)
    assert uncaught == Outcome("threw", ("i32:0",), "t")


def test_a_trap_leaves_writes_and_a_usable_store() -> None:
    text = """(module (memory (export "m") 1) (global $g (export "g") (mut i32) (i32.const 0))
      (func (export "f") (i32.store (i32.const 8) (i32.const 5)) (global.set $g (i32.const 6)) unreachable))"""
    with Store() as store:
        steps: list[Step] = [
            Load("m", binary(text)),
            Invoke("m", "f"),
            Get("m", "g"),
            ReadBytes("m", "m", "bytes", 8, 4),
        ]
        outcomes = store.run(steps)
    assert outcomes[1] == Outcome("trapped", detail="unreachable")
    assert [o.values for o in outcomes[2:]] == [("i32:6",), ("bytes:05000000",)]


def test_hosts() -> None:
    text = """(module (import "lab" "log" (func $log (param i32 i64))) (import "lab" "trap" (func $trap))
      (import "lab" "reenter" (func $again (param i32)))
      (func (export "log") (call $log (i32.const 7) (i64.const -1)))
      (func (export "trap") (call $trap))
      (func (export "reenter") (param i32)
        (call $log (local.get 0) (i64.const 0))
        (if (local.get 0) (then (call $again (i32.sub (local.get 0) (i32.const 1)))))))"""
    steps: list[Step] = [Load("m", binary(text)), Register("m", "lab.callee"), Invoke("m", "log"), Invoke("m", "trap")]
    steps += [Invoke("m", "reenter", ("i32:3",)), Invoke("m", "reenter", ("i32:40",))]
    with Store() as store:
        outcomes = store.run(steps)
        trace = store.trace
    assert [o.kind for o in outcomes] == ["returned"] * 3 + ["trapped", "returned", "exhausted"]
    assert outcomes[3].detail == "host"
    assert trace[:5] == [(7, (1 << 64) - 1), (3, 0), (2, 0), (1, 0), (0, 0)]


# Memories


def test_offsets_carry() -> None:
    text = """(module (memory i64 1) (func (export "f") (param i64) (result i32)
        (i32.load offset=18446744073709551615 (local.get 0))))"""
    for address in ("0", "1", "2", "10000", "ffffffffffffffff"):
        assert detail(text, "f", f"i64:{address}") == ("trapped", "out of bounds memory access")


def test_a_memory_imported_twice_is_one() -> None:
    first = '(module (memory (export "m") 2) (func (export "nop")))'
    second = """(module (import "a" "m" (memory 1)) (import "a" "m" (memory $second 1))
      (func (export "f") (result i32)
        (i32.store (i32.const 0) (i32.const 1)) (i32.store $second (i32.const 131068) (i32.const 2))
        (i32.add (i32.load (i32.const 131068)) (i32.load $second (i32.const 0)))))"""
    with Store() as store:
        steps: list[Step] = [Load("a", binary(first)), Register("a", "a"), Load("b", binary(second)), Invoke("b", "f")]
        assert store.run(steps)[3].values == ("i32:3",)


def test_the_digest_takes_whole_blocks() -> None:
    """However much of a memory is there: a block is 4096 bytes, with the zeros that nobody touched."""
    block = bytearray(4096)
    block[40] = 0xEF
    text = r'(module (memory (export "m") 1) (data (i32.const 40) "\ef"))'
    expected = hashlib.sha256(bytes(8) + bytes(block)).hexdigest()[:16]
    with Store() as store:
        outcome = store.run([Load("m", binary(text)), ReadBytes("m", "m")])[1]
    assert outcome.values == ("i64:10000", f"digest:{expected}")


def test_write_and_digest() -> None:
    with Store() as store:
        outcomes = store.run([
            Load("m", binary('(module (memory (export "m") 1))')),
            ReadBytes("m", "m"),
            Write("m", "m", 65530, b"abcdef"),
            ReadBytes("m", "m"),
            Write("m", "m", 65531, b"abcdef"),
        ])  # fmt: skip
    assert outcomes[1].values == ("i64:10000", "digest:e3b0c44298fc1c14")
    assert outcomes[3].values[1] != outcomes[1].values[1]
    assert outcomes[4].kind == "unsupported"


# Profiles


def test_nans_by_profile() -> None:
    text = """(module (func (export "add") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
      (func (export "div") (param f32 f32) (result f32) (f32.div (local.get 0) (local.get 1))))"""
    expected = {
        "canonical": ("f64:7ff8000000000000", "f32:7fc00000"),
        "x86": ("f64:fff8000000000123", "f32:ffc00000"),
        "arm64": ("f64:7ffc000000000000", "f32:7fc00000"),
        "riscv64": ("f64:7ff8000000000000", "f32:7fc00000"),
    }
    calls: list[Step] = [
        Invoke("m", "add", ("f64:fff8000000000123", "f64:7ff4000000000000")),
        Invoke("m", "div", ("f32:0", "f32:80000000")),
    ]
    for nan, results in expected.items():
        with Store(Profile(nan=nan)) as store:
            outcomes = store.run([Load("m", binary(text)), *calls])
        assert tuple(o.values[0] for o in outcomes[1:]) == results, nan


# Both ways of dispatch


LOOPING = """
import sys
from wasmlab_ref.fast import build, engine
from wasmlab_ref.case import Invoke
from wasmlab_ref.encode import encode
from wasmlab_ref.text import parse_module
text = sys.stdin.read()
steps = [engine.Load("m", encode(parse_module(text))), engine.Invoke("m", "cycles", ("i32:3000",))]
with engine.Store() as store:
    print(*(outcome for outcome in store.run([*steps, engine.Invoke("m", "chain", ("i32:64",))])), sep="|")
"""


@pytest.mark.slow
def test_the_portable_loop() -> None:
    """The same handlers, returning to a loop, unoptimised: what sanitizers and other compilers run."""
    done = subprocess.run(
        [sys.executable, "-c", LOOPING], input=LIST, capture_output=True, text=True,
        env={**os.environ, "CFLAGS": "-DWASMLAB_LOOP -O0", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.strip() == "returned|returned i32:2fff|returned i32:1356", done.stderr


FRAMELESS = re.compile(
    r"(add|sub|mul|and|or|xor|shl|shr_[su]|rot[lr]|eq|ne|[lg][te]_[su])(32|64)_[ASK]{2}_[AD]"
    r"|br_\w+|step_\w+|load_\w+_(SK|SS|AK)(_D)?|store_\w+_[AS]K_[SK]|then(32|64)_\w+_[AD]|i(32|64)_\w+_[ASK]{3}_D"
    r"|wl_op_(mov|put|br|br_table_[SA]|const_\w+|return_[0SAK]|select_\w+|global_get\w*|global_set_\w+)"
)
"""Handlers of what loops are made of, but for a few that gcc has one register too few for."""


def test_handlers_are_jumps() -> None:
    """gcc promises no tail calls: what it made is looked at.  A frame would grow the stack with every instruction."""
    objdump = shutil.which("objdump")
    if not objdump or build.platform.machine() != "x86_64":
        pytest.skip("needs objdump and x86-64")
    text = subprocess.run(
        [objdump, "-d", "--no-show-raw-insn", str(build.library())], capture_output=True, text=True
    ).stdout
    functions: dict[str, list[str]] = {}
    body: list[str] = []
    for line in text.splitlines():
        if line.endswith(">:"):
            body = functions.setdefault(line.split("<")[1][:-2], [])
        elif len(parts := line.split("\t")) > 1:
            body.append(parts[1])
    handlers = {n: b for n, b in functions.items() if any(re.match(r"jmp +\*", i) for i in b) and "@plt" not in n}
    assert len(handlers) > 2_000
    calling = [name for name, body in handlers.items() if any(re.match(r"call +\*", i) for i in body)]
    assert not calling, "handlers that call the next one instead of jumping to it"
    plain = [name for name in handlers if FRAMELESS.fullmatch(name)]
    assert len(plain) > 1_000
    framed = [n for n in plain if any(re.match(r"push|(sub|add) +\S+,%rsp", i) for i in handlers[n])]
    assert not framed, "handlers that save registers"


SMALL_STACK = """
import threading
from wasmlab_ref.encode import encode
from wasmlab_ref.fast import engine
from wasmlab_ref.text import parse_module
text = '''(module (memory 1) (func $f (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (type $t (func (param i32) (result i32))) (table funcref (elem $f))
  (func (export "run") (param i32) (result i32) (local i32 f64)
    (loop $l
      (i32.store (i32.and (local.get 0) (i32.const 0xfff8)) (local.get 1))
      (local.set 1 (i32.xor (i32.rotl (local.get 1) (i32.const 5))
        (i32.load8_u (i32.and (local.get 0) (i32.const 255)))))
      (local.set 1 (call $f (call_indirect (type $t) (local.get 1) (i32.const 0))))
      (local.set 2 (f64.sqrt (f64.add (local.get 2) (f64.convert_i32_s (local.get 0)))))
      (if (i32.and (local.get 1) (i32.const 1)) (then (local.set 1 (i32.shr_u (local.get 1) (i32.const 1)))))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1)))'''
steps = [engine.Load("m", encode(parse_module(text))), engine.Invoke("m", "run", ("i32:3d0900",))]
engine.Store().close()
def work():
    with engine.Store() as store:
        print(store.run(steps)[1].kind)
threading.stack_size(256 << 10)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_a_hundred_million_instructions_on_a_small_stack() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL_STACK], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.strip() == "returned", done.stderr
