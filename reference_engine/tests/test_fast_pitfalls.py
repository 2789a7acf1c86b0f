"""How interpreters broke, in the C engine: each test is a class of bugs that was found in one, this one included.

The tests of test_pitfalls_*.py run their modules in the C engine, too (mirror.py); here is what needs it alone.  Flat
memory over rejected modules is in test_fast_front.py, memory that runs out in test_fast_stress.py and sanitize/.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from wasmlab_ref import fast
from wasmlab_ref.case import Invoke, Outcome, Register
from wasmlab_ref.encode import encode
from wasmlab_ref.fast import build
from wasmlab_ref.fast.engine import Get, Load, Step, Store
from wasmlab_ref.fast.engine import _Limits as LIMITS
from wasmlab_ref.limits import Limits
from wasmlab_ref.numerics import functions
from wasmlab_ref.profile import NAN_PROFILES, Profile
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


# NaNs


@pytest.mark.parametrize("nan", NAN_PROFILES)
@pytest.mark.parametrize("name", ["add", "mul", "min", "max", "relaxed_min", "relaxed_max"])
@pytest.mark.parametrize("shape", ["f32x4", "f64x2"])
def test_which_of_two_nans(shape: str, name: str, nan: str) -> None:
    """Of scalars and lanes, quiet and signalling, with each payload first: as the Python path has it."""
    bits, lanes = int(shape[1:3]), int(shape[4])
    exponent = {32: 0x7F800000, 64: 0x7FF << 52}[bits]
    numbers = [
        exponent,
        *(exponent | part for part in (1, 2, exponent >> 1 & ~exponent, 3 << bits - 11)),
        1 << bits - 1,
    ]
    profile, code = Profile(nan=nan), [f"{shape}.{name}"] + [f"f{bits}.{name}"] * ("relaxed" not in name)
    for a, b in product(numbers, numbers):
        for mnemonic in code:
            scalar = mnemonic.startswith(f"f{bits}.")
            count = 1 if scalar else lanes
            t = f"f{bits}" if scalar else "v128"
            one, other = (sum(n << bits * i for i in range(count)) for n in (a, b))
            text = f'(module (func (export "f") (param {t} {t}) (result {t}) ({mnemonic} (local.get 0) (local.get 1))))'
            with Store(profile) as store:
                arguments = (f"{t}:{one:x}", f"{t}:{other:x}")
                found = store.run([Load("m", binary(text)), Invoke("m", "f", arguments)])[1]
            assert found.values == (f"{t}:{functions(profile)[mnemonic](one, other):x}",), (mnemonic, arguments)


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


# Values


class Externval(ctypes.Structure):
    """wl_externval of wl.h."""

    _fields_ = (("kind", ctypes.c_uint32), ("p", ctypes.c_void_p))


def test_the_upper_half_of_a_float_is_zero_for_embedders() -> None:
    """Its slot had an i64 before, which no caller and no reader of the global is to see."""
    text = """(global $g (export "g") (mut f32) (f32.const 0)) (memory 1)
        (func $spoil (param i64 i64 i64) (result i64) (i64.or (local.get 0) (i64.or (local.get 1) (local.get 2))))
        (func (export "f") (param $at i32) (result f32 f32)
          (drop (call $spoil (i64.const -1) (i64.const -1) (i64.const -1)))
          (f32.load (local.get $at)) (f32.load offset=4 (local.get $at))
          (global.set $g (f32.load offset=8 (local.get $at))))"""
    library, pointer = ctypes.CDLL(str(build.library())), ctypes.c_void_p
    for name in ("wl_engine_new", "wl_store_new"):
        getattr(library, name).restype = pointer
    library.wl_export_named.restype = Externval
    library.wl_default_limits.restype = LIMITS
    limits, module, instance, error = library.wl_default_limits(), pointer(), pointer(), fast.WlError()
    engine, status, data = pointer(library.wl_engine_new()), ctypes.c_int(), binary(text)
    store = pointer(library.wl_store_new(engine, ctypes.byref(limits), None))
    size = ctypes.c_size_t(len(data))
    assert not library.wl_load(engine, data, size, ctypes.byref(limits), ctypes.byref(module), ctypes.byref(error))
    made = (ctypes.byref(instance), ctypes.byref(error), ctypes.byref(status))
    assert not library.wl_instantiate(store, module, None, *made)
    argument, results, value = (ctypes.c_uint64 * 1)(), (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 2)()
    func, found = (library.wl_export_named(instance, name, ctypes.c_size_t(1)) for name in (b"f", b"g"))
    assert library.wl_execute(store, pointer(func.p), argument, results) == 0
    library.wl_global_get(pointer(found.p), value)
    assert ([*results], value[0]) == ([0, 0], 0)
    library.wl_store_free(store)
    library.wl_module_release(module)
    library.wl_engine_free(engine)


# Collections


def test_the_mirror_sees_a_difference(world: Any) -> None:
    """What test_pitfalls_*.py rely on: both engines ran, and something else than Python says fails."""
    instance = world.load('(func (export "f") (param i32) (result i32) (i32.div_s (i32.const 6) (local.get 0)))')
    assert world.call(instance, "f", 2) == [3]
    assert world.trap(instance, "f", 0) == "integer divide by zero"
    assert world.mirror.compared == 3
    with pytest.raises(AssertionError, match="C returned i32:3, Python returned i32:4"):
        world.mirror.call(instance, "f", [2], lambda: [4])


REACHABLE = """(type $cell (sub (struct (field i32) (field (mut anyref)))))
    (type $refs (array (mut anyref))) (tag $e (param anyref)) (table $t 4 anyref) (elem $el anyref (ref.null any))
    (global $g (mut anyref) (ref.null any))
    (func $cell (param i32 anyref) (result (ref $cell)) (struct.new $cell (local.get 0) (local.get 1)))
    (func $number (param anyref) (result i32) (struct.get $cell 0 (ref.cast (ref $cell) (local.get 0))))
    (func $garbage (loop (drop (array.new_default $refs (i32.const 700)))
      (drop (struct.new $cell (i32.const -1) (ref.null any)))))
    (func (export "operands") (result i32) (local $top i32)
      (call $cell (i32.const 1) (ref.null any)) (call $cell (i32.const 2) (ref.null any)) (call $garbage)
      (local.set $top (struct.get $cell 0)) (i32.add (struct.get $cell 0) (local.get $top)))
    (func (export "locals") (param i32) (result i32) (local $a anyref) (local $v v128) (local $b anyref)
      (local.set $a (call $cell (i32.const 3) (call $cell (i32.const 4) (ref.null any))))
      (local.set $b (struct.get $cell 1 (ref.cast (ref $cell) (local.get $a)))) (local.set $a (ref.null any))
      (call $garbage) (call $number (local.get $b)))
    (func (export "table") (result i32)
      (table.set $t (i32.const 3) (call $cell (i32.const 5) (ref.null any)))
      (drop (table.grow $t (call $cell (i32.const 6) (ref.null any)) (i32.const 90))) (call $garbage)
      (i32.add (call $number (table.get $t (i32.const 3))) (call $number (table.get $t (i32.const 93)))))
    (func (export "global") (result i32)
      (global.set $g (extern.internalize (extern.externalize (call $cell (i32.const 7) (ref.null any)))))
      (call $garbage) (call $number (global.get $g)))
    (func (export "array") (result i32) (local $a (ref $refs))
      (local.set $a (array.new $refs (call $cell (i32.const 8) (ref.null any)) (i32.const 600))) (call $garbage)
      (array.set $refs (local.get $a) (i32.const 1) (call $cell (i32.const 9) (ref.null any))) (call $garbage)
      (array.copy $refs $refs (local.get $a) (i32.const 0) (local.get $a) (i32.const 1) (i32.const 2)) (call $garbage)
      (i32.add (call $number (array.get $refs (local.get $a) (i32.const 0)))
        (call $number (array.get $refs (local.get $a) (i32.const 599)))))
    (func (export "exception") (result i32) (local $x exnref)
      (block $caught (result anyref exnref)
        (try_table (catch_ref $e $caught) (throw $e (call $cell (i32.const 10) (ref.null any)))) (unreachable))
      (local.set $x) (drop) (call $garbage)
      (block $again (result anyref) (try_table (catch $e $again) (throw_ref (local.get $x))) (unreachable))
      (call $garbage) (call $number))
    (func $passes (param anyref i64 anyref) (result i32) (call $garbage)
      (i32.add (call $number (local.get 0)) (call $number (local.get 2))))
    (func (export "arguments") (result i32)
      (return_call $passes (call $cell (i32.const 11) (ref.null any)) (i64.const 0)
        (call $cell (i32.const 12) (ref.null any))))
    (func (export "fixed") (result i32) (array.new_fixed $refs 3 (call $cell (i32.const 13) (ref.null any))
        (array.new_default $refs (i32.const 1)) (call $cell (i32.const 14) (ref.null any))) (call $garbage)
      (call $number (array.get $refs (i32.const 2))))""".replace("extern.internalize", "any.convert_extern").replace(
    "extern.externalize", "extern.convert_any"
)


def test_what_can_be_reached_survives_a_collection_at_every_allocation() -> None:
    """From operands, locals, tables, globals, arrays, exceptions, arguments and results, behind one another."""
    names = ("operands", "locals", "table", "global", "array", "exception", "arguments", "fixed")
    module, results = Load("m", binary(REACHABLE)), []
    for stress in (False, True):
        with Store(stress=stress) as store:
            loaded = store.run([module])
            outcomes = store.run([Invoke("m", name, ("i32:0",) if name == "locals" else ()) for name in names] * 3)
            assert loaded[0].kind == "returned"
            assert (store.collections > 100) == stress
            results.append([o.values for o in outcomes])
    expected = [(f"i32:{n:x}",) for n in (3, 4, 11, 7, 17, 10, 23, 14)]
    assert results == [expected * 3] * 2


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


def test_exports_are_found_by_name() -> None:
    """Few are looked through, many kept in order; names differ in their first and in their last byte, and in length."""
    for n in (1, 16, 17, 100):
        names = [f"{'a' * (i % 7)}{i}" for i in range(n)]
        exports = "".join(f'(func (export "{name}") (result i32) (i32.const {i}))' for i, name in enumerate(names))
        steps = [Load("m", binary(exports)), *(Invoke("m", name, ()) for name in [*names, "", "a", "zz", "a" * 9])]
        outcomes = run(*steps)[1:]
        assert [o.values for o in outcomes[:n]] == [(f"i32:{i:x}",) for i in range(n)]
        assert {o.kind for o in outcomes[n:]} == {"unsupported"}


# Work: counted in basic blocks that run, so that no test depends on time


class Counted:
    """The C engine built to count its work."""

    def __init__(self) -> None:
        flags = ("-fsanitize-coverage=trace-pc", "-DWASMLAB_LOOP", "-O1", "-include")
        self.library = ctypes.CDLL(str(build.library((*flags, str(Path(__file__).parent / "data" / "count_blocks.h")))))
        self.library.wl_engine_new.restype = ctypes.c_void_p
        self.blocks = ctypes.c_uint64.in_dll(self.library, "wl_blocks")

    def check(self, data: bytes) -> tuple[str, int]:
        """The stage that refuses a binary, and the work it took to see it, in an engine that knows no types yet."""
        error, engine = fast.WlError(), ctypes.c_void_p(self.library.wl_engine_new())
        before = self.blocks.value
        features = ctypes.c_uint32(fast.ALL_FEATURES)
        stage = self.library.wl_check(engine, data, ctypes.c_size_t(len(data)), features, ctypes.byref(error))
        work = self.blocks.value - before
        self.library.wl_engine_free(engine)
        return fast.STAGES[stage], work


@pytest.fixture(scope="module")
def counted() -> Iterator[Counted]:
    try:
        yield Counted()
    except build.Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


SECTIONS = [1, 2, 3, 4, 5, 13, 6, 7, 9, 10, 11]


@pytest.mark.slow
@pytest.mark.parametrize("number", SECTIONS)
def test_count_bombs_cost_nothing(counted: Counted, number: int) -> None:
    for count in (2**31 - 1, 2**31, 2**31 + 1, 2**32 - 4, 2**32 - 1):
        stage, work = counted.check(HEADER + section(number, leb(count)))
        assert (stage, work < 1_000) == ("malformed", True)


def one_body(code: bytes, before: bytes = b"") -> bytes:
    function = leb(len(code)) + code
    return HEADER + section(1, b"\1\x60\0\0") + section(3, b"\1\0") + before + section(10, b"\1" + function)


@pytest.mark.slow
def test_count_bombs_in_code_cost_nothing(counted: Counted) -> None:
    most = leb(2**32 - 1)
    for code in (
        b"\1" + most + b"\x7f\2" + most + b"\x7f\x0b",  # more than 2^32-1 locals
        b"\0\x0e" + most + b"\0\x0b",
        b"\0\x1c" + most + b"\x7f\x0b",
        b"\0\x1f\x40" + most + b"\x0b\x0b",
        most + b"\x0b",
    ):
        stage, work = counted.check(one_body(code))
        assert (stage, work < 2_000) == ("malformed", True), code
    stage, work = counted.check(one_body(b"\2" + leb(2**31) + b"\x7f\1\x7f\x0b"))  # 2^31 locals are no matter
    assert (stage, work < 5_000) == ("", True)


def many_parameters(n: int) -> bytes:
    types = b"\1\x60" + leb(n) + b"\x7f" * n + b"\0"
    return HEADER + section(1, types) + section(3, leb(n) + b"\0" * n) + section(10, leb(n) + b"\2\0\x0b" * n)


def locals_far_apart(n: int) -> bytes:
    """Locals without a default, set one after another, whose indices have many zeros at the end."""
    export = section(7, b"\1\1f\0\0")
    code = b"\1" + leb(2**32 - 1) + b"\x64\x70" + b"".join(b"\xd2\0\x21" + leb(i << 18) for i in range(1, n))
    return one_body(code + b"\x0b", export)


def table_of_labels(n: int) -> bytes:
    """`n` blocks, and `n` branches of one table to each of them in turn."""
    labels = b"".join(map(leb, range(n)))
    return one_body(b"\0" + b"\2\x40" * n + b"\x41\0\x0e" + leb(n) + labels + b"\0" + b"\x0b" * (n + 1))


def clauses(n: int) -> bytes:
    """As many catch clauses, each to another label."""
    catches = b"".join(b"\2" + leb(i) for i in range(n))
    return one_body(b"\0" + b"\2\x40" * n + b"\x1f\x40" + leb(n) + catches + b"\x0b" * (n + 2))


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "blocks": lambda n: one_body(b"\0" + b"\2\x40" * n + b"\x0b" * (n + 1)),
    "unclosed blocks": lambda n: one_body(b"\0" + b"\2\x40" * n),
    "unreachable": lambda n: one_body(b"\0\0" + b"\x6a\x1a" * n + b"\x0b"),
    "invalid at once": lambda n: one_body(b"\0\x1a" + b"\2\x40" * n + b"\x0b" * (n + 1)),
    "parameters of functions": many_parameters,
    "locals": lambda n: one_body(leb(n) + b"\1\x7f" * n + b"\x20\0\x1a" * n + b"\x0b"),
    "locals far apart": locals_far_apart,
    "labels": table_of_labels,
    "catch clauses": clauses,
    "operands": lambda n: one_body(b"\0" + b"\x41\0" * n + b"\x1a" * n + b"\x0b"),
    "types": lambda n: binary("".join(f"(type (func (param {'i32 ' * (i % 9)})))" for i in range(n))),
    "one group": lambda n: binary("(rec " + "(type (struct))" * n + ")"),
    "sub types": lambda n: binary(
        "(type (sub (struct)))" + "".join(f"(type (sub {i} (struct)))" for i in range(n - 1))
    ),
    "types that unfold": lambda n: binary(
        "(type (struct))" + "".join(f"(type (struct (field (ref {i}) (ref {i}))))" for i in range(n - 1))
    ),
    "exports": lambda n: binary("(func $f)" + "".join(f'(export "{i}" (func $f))' for i in range(n))),
    "elements": lambda n: binary("(func $f) (elem func " + "$f " * n + ")"),
    "globals": lambda n: binary(
        "(global i32 (i32.const 0))" + "".join(f"(global i32 (global.get {i // 2}))" for i in range(n))
    ),
    "custom sections": lambda n: HEADER + b"\0\2\1a" * n,
    "names": lambda n: HEADER + section(2, b"\1" + leb(n) + b"a" * n + b"\1b\3\x7f\0"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_twice_the_input_is_twice_the_work(counted: Counted, make: Callable[[int], bytes]) -> None:
    stage, work = counted.check(make(2_000))
    _, twice = counted.check(make(4_000))
    assert stage in ("", "malformed", "invalid")
    assert twice <= 2.3 * work, (stage, work, twice)


def test_no_nans_of_single_instructions() -> None:
    with pytest.raises(ValueError, match="C path"):
        Store(Profile(single=(("f32.add", 4),)))
