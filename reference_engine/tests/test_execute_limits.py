"""Limits, and programs that try to get around them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from wasmlab_ref.engine import Store
from wasmlab_ref.limits import Limits
from wasmlab_ref.outcome import Exhausted
from wasmlab_ref.store import FuncInst, Instance
from wasmlab_ref.syntax import Catch, Export, Expr, Func, Instr, Module, instr
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import FuncType, RecType, SubType
from wasmlab_ref.validate import validate


def load(text: str, **limits: Any) -> Instance:
    return Store(limits=Limits(**limits)).instantiate(validate(parse_module(text)), [])


def call(instance: Instance, name: str, *args: Any) -> list[Any]:
    func = instance.exports[name]
    assert isinstance(func, FuncInst)
    return instance.store.invoke(func, args)


def exhausted(instance: Instance, name: str, *args: Any) -> str:
    with pytest.raises(Exhausted) as caught:
        call(instance, name, *args)
    return caught.value.resource


def body(*parts: list[Instr]) -> Expr:
    return tuple(instr for part in parts for instr in part)


def module_of(code: Expr, locals: tuple[tuple[int, str], ...] = ()) -> Module:
    func_type = RecType((SubType(FuncType()),))
    return Module(types=(func_type,), funcs=(Func(0, locals, code),), exports=(Export("f", "func", 0),))


LOOPS = """
    (func (export "ever") (loop (br 0)))
    (func (export "empty") (loop (loop (loop (br 2)))))
    (func $count (export "count") (param i32)
      (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0))))
    (func $tail (export "tail") (return_call $tail))
    (func (export "handled")
      (loop $l (block $h (try_table (catch_all $h) (throw $t)) (unreachable)) (br $l)))
    (tag $t)"""


def test_fuel() -> None:
    instance = load(LOOPS, fuel=10_000)
    for name in ("ever", "empty", "tail", "handled"):
        assert exhausted(instance, name) == "fuel"
    call(instance, "count", 1_000)
    assert exhausted(instance, "count", 3_000) == "fuel"
    call(instance, "count", 1_000)


def test_instructions_are_counted() -> None:
    instance = load(LOOPS)
    call(instance, "count", 10)
    assert instance.store.instructions == 1 + 10 * 6
    call(instance, "count", 1)
    assert instance.store.instructions == 1 + 10 * 6 + 7


COUNT = "(global.set $rounds (i32.add (global.get $rounds) (i32.const 1)))"


def rounds(text: str) -> int:
    """How often a loop runs until 100,000 of fuel are gone."""
    instance = load(f"(global $rounds (mut i32) (i32.const 0)) {text.replace('COUNT', COUNT)}", fuel=100_000)
    assert exhausted(instance, "f") == "fuel"
    return int(instance.globals[0].value)


@pytest.mark.parametrize(
    ("fields", "code", "most"),
    [
        ("(memory 100)", "(memory.fill (i32.const 0) (i32.const 1) (i32.const 6000000))", 2),
        ("(table 1000 funcref)", "(table.copy (i32.const 0) (i32.const 0) (i32.const 1000))", 6_667),
        ("(type $a (array (mut i8)))", "(drop (array.new_default $a (i32.const 100000)))", 65),
    ],
)
def test_bulk_work_costs_fuel(fields: str, code: str, most: int) -> None:
    """64 bytes or elements cost as much as an instruction."""
    assert most // 2 <= rounds(f'{fields} (func (export "f") (loop COUNT {code} (br 0)))') <= most


def test_large_frames_and_many_handlers_cost_fuel() -> None:
    locals_ = "i32 " * 50_000
    assert rounds(f'(func $g (local {locals_})) (func (export "f") (loop COUNT (call $g) (br 0)))') < 200
    handlers = "(try_table (catch $b 0)" * 10_000 + "(throw $a)" + ")" * 10_000
    text = f'(func (export "f") (loop $l (block $h (try_table (catch $a $h) COUNT {handlers})) (br $l)))'
    assert rounds(f"(tag $a) (tag $b) {text}") < 20


def test_activations_share_the_room_for_values() -> None:
    text = '(func $f (export "f") (local ' + "i64 " * 1_000 + ") (call $f))"
    assert exhausted(load(text, values=100_000), "f") == "call stack"
    assert exhausted(load(text, call_depth=7), "f") == "call stack"
    assert exhausted(load(text, locals=999), "f") == "locals"


def test_memory_and_table_totals() -> None:
    text = """(memory 1) (memory 1) (table 10 funcref)
              (func (export "memory") (param i32) (result i32) (memory.grow 1 (local.get 0)))
              (func (export "table") (param i32) (result i32) (table.grow (ref.null func) (local.get 0)))"""
    instance = load(text, memory_pages=5, table_elements=12)
    assert [call(instance, "memory", n) for n in (4, 2, 2, 1, 0)] == [[0xFFFF_FFFF], [1], [0xFFFF_FFFF], [3], [4]]
    assert [call(instance, "table", n) for n in (0xFFFF_FFFF, 3, 2, 1)] == [[0xFFFF_FFFF]] * 2 + [[10], [0xFFFF_FFFF]]
    with pytest.raises(Exhausted, match="memory"):
        load(text, memory_pages=1)
    with pytest.raises(Exhausted, match="table"):
        load(text, table_elements=9)


@pytest.mark.parametrize("memory", ["65536", "i64 0x1000000000000"])
@pytest.mark.parametrize("table", ["0xffffffff", "i64 0xffffffffffffffff"])
def test_the_largest_minima(memory: str, table: str) -> None:
    with pytest.raises(Exhausted, match="memory"):
        load(f"(memory {memory})")
    with pytest.raises(Exhausted, match="table"):
        load(f"(table {table} funcref)")


def test_memory_is_resident_where_touched() -> None:
    before = psutil.Process().memory_info().rss
    instance = load(
        """(memory 10000)
           (func (export "f") (i32.store (i32.const 600000000) (i32.const 1)) (drop (memory.grow (i32.const 20000))))"""
    )
    call(instance, "f")
    assert instance.memories[0].pages == 30_000
    assert psutil.Process().memory_info().rss - before < 100 << 20


HEAP = """
    (type $n (struct (field (mut (ref null $n))))) (type $a (array (mut i64)))
    (global $list (mut (ref null $n)) (ref.null $n))
    (func (export "garbage") (param i32)
      (loop
        (drop (array.new_default $a (i32.const 1000)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "cycles") (param i32) (local (ref null $n))
      (loop
        (local.set 1 (struct.new_default $n))
        (struct.set $n 0 (local.get 1) (local.get 1))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "list") (param i32)
      (loop
        (global.set $list (struct.new $n (global.get $list)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "huge") (param i32) (drop (array.new $a (i64.const 1) (local.get 0))))"""


def test_the_heap_counts_what_is_alive() -> None:
    instance = load(HEAP, heap_bytes=2_000_000)
    call(instance, "garbage", 2_000)
    call(instance, "cycles", 100_000)
    call(instance, "list", 10_000)
    assert exhausted(instance, "huge", 0xFFFF_FFFF) == "gc heap"
    assert exhausted(instance, "list", 100_000) == "gc heap"
    instance.globals[0].value = None
    call(instance, "list", 10_000)


def test_a_long_list_is_freed_without_recursion() -> None:
    instance = load(HEAP)
    call(instance, "list", 200_000)
    instance.globals[0].value = None
    gc.collect()
    call(instance, "list", 1)


END = instr("end")
NESTS: dict[str, Callable[[int], Expr]] = {
    "block": lambda n: body([instr("block", None)] * n, [END] * n),
    "loop": lambda n: body([instr("loop", None)] * n, [END] * n),
    "if": lambda n: body([instr("i32.const", 1), instr("if", None)] * n, [END] * n),
    "try_table": lambda n: body(
        [instr("block", None)], [instr("try_table", None, (Catch("catch_all", None, 0),))] * n, [END] * n, [END]
    ),
    "br": lambda n: body([instr("block", None)] * n, [instr("br", n - 1)], [END] * n),
    "unreached": lambda n: body([instr("return")], [instr("loop", None)] * n, [END] * n),
    "br_table": lambda n: body([instr("i32.const", n)], [instr("br_table", (0,) * n)]),
    "br_table to each": lambda n: body(
        [instr("block", None)] * n, [instr("i32.const", n), instr("br_table", (*range(n),) * 10)], [END] * n
    ),
}


@pytest.mark.parametrize("name", NESTS)
def test_deep_nests_translate_in_one_pass(name: str, linear: Callable[..., None]) -> None:
    def job(n: int) -> Callable[[], object]:
        instance = Store().instantiate(validate(module_of(NESTS[name](n))), [])
        return lambda: call(instance, "f")

    linear(job, 1_000)
    assert job(30_000)() == []


def test_the_most_locals() -> None:
    instance = Store().instantiate(validate(module_of((), (((1 << 32) - 1, "i32"),))), [])
    assert exhausted(instance, "f") == "locals"
