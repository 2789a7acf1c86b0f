"""Validation of hostile modules: no recursion over the input, no quadratic time, no expansion of what is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from wasmlab_ref.outcome import Exhausted, Invalid
from wasmlab_ref.syntax import Catch, Elem, Export, Func, Instr, Module, instr
from wasmlab_ref.types import ArrayType, FieldType, FuncType, RecType, RefType, StructType, SubType, ValType
from wasmlab_ref.validate import validate

NULLARY = RecType((SubType(FuncType()),))
UNREACHABLE = instr("unreachable")


def group(*comps: FuncType | StructType | ArrayType) -> RecType:
    return RecType(tuple(SubType(comp) for comp in comps))


def function(body: Sequence[Instr], *types: RecType, locals_: tuple[tuple[int, ValType], ...] = ()) -> Module:
    return Module(types=(NULLARY, *types), funcs=(Func(0, locals_, tuple(body)),), exports=(Export("f", "func", 0),))


def nested_blocks(n: int) -> Module:
    return function([instr("block", None)] * n + [instr("end")] * n)


def nested_ifs_with_else(n: int) -> Module:
    opening = [instr("i32.const", 0), instr("if", None)]
    return function(opening * n + [instr("else"), instr("end")] * n)


def after_unreachable(n: int) -> Module:
    return function([UNREACHABLE] + [instr("i32.add"), instr("drop")] * n)


def wide_tables(n: int) -> Module:
    return function([UNREACHABLE] + [instr("br_table", (0,) * n)] * 10)


def table_to_every_block(n: int) -> Module:
    body = [instr("block", None)] * n + [instr("i32.const", 0), instr("br_table", tuple(range(n)))]
    return function(body + [instr("end")] * n)


def one_large_group(n: int) -> Module:
    return Module(types=(group(*(StructType((FieldType(RefType(True, (i + 1) % n)),)) for i in range(n))),))


def exponential_types(n: int) -> Module:
    pairs = (StructType((FieldType(RefType(True, i)),) * 2) for i in range(n))
    return Module(types=(group(StructType()), *map(group, pairs)))


def deep_supertypes(n: int) -> Module:
    chain = tuple(RecType((SubType(StructType(), (i - 1,) if i else (), False),)) for i in range(n))
    body = [instr("local.get", 1), instr("local.set", 0)] * n
    locals_ = ((1, RefType(True, 0)), (1, RefType(True, n - 1)))
    return Module(types=(*chain, NULLARY), funcs=(Func(n, locals_, tuple(body)),))


def locals_at_the_limit(n: int) -> Module:
    runs: tuple[tuple[int, ValType], ...] = ((1 << 31, "i32"), ((1 << 31) - 1, RefType(False, "func")))
    get = [instr("local.get", (1 << 31) - 1), instr("drop")]
    set_ = [instr("ref.func", 0), instr("local.set", (1 << 32) - 2)]
    return function((get + set_) * n, locals_=runs)


def many_runs(n: int) -> Module:
    body = [i for x in range(n) for i in (instr("local.get", x), instr("drop"))]
    return function(body, locals_=tuple((1, ("i32", "i64")[x % 2]) for x in range(n)))


def huge_arrays(n: int) -> Module:
    pair = [instr("array.new_fixed", 1, (1 << 32) - 1), instr("drop")]
    return function([UNREACHABLE] + pair * n, group(ArrayType(FieldType("i32"))))


def wide_structures(n: int) -> Module:
    triple = [instr("struct.new_default", 1), instr("drop"), instr("struct.new", 1), instr("drop")]
    return function([UNREACHABLE] + triple * n, group(StructType((FieldType("i32"),) * n)))


def locals_set_in_nested_blocks(n: int) -> Module:
    opening = [i for x in range(n) for i in (instr("block", None), instr("ref.func", 0), instr("local.set", x))]
    return function(opening + [instr("end")] * n, locals_=((n, RefType(False, "func")),))


def many_clauses(n: int) -> Module:
    return function([instr("try_table", None, (Catch("catch_all", None, 0),) * n), instr("end")])


def many_functions(n: int) -> Module:
    return Module(types=(NULLARY,), funcs=(Func(0),) * n)


def many_elements(n: int) -> Module:
    elem = Elem(RefType(True, "func"), ((instr("ref.func", 0),),) * n)
    return Module(types=(NULLARY,), funcs=(Func(0),), elems=(elem,))


LINEAR = {
    nested_blocks: 40_000, nested_ifs_with_else: 20_000, after_unreachable: 40_000, wide_tables: 100_000,
    table_to_every_block: 20_000, one_large_group: 8_000, exponential_types: 8_000, deep_supertypes: 8_000,
    locals_at_the_limit: 20_000, many_runs: 20_000, huge_arrays: 30_000, wide_structures: 15_000,
    locals_set_in_nested_blocks: 20_000, many_clauses: 50_000, many_functions: 20_000, many_elements: 15_000,
}  # fmt: skip


@pytest.mark.parametrize("make", LINEAR, ids=lambda make: make.__name__)
def test_work_is_linear(make: Callable[[int], Module], linear: Callable[..., None]) -> None:
    def job(n: int) -> Callable[[], object]:
        return partial(validate, make(n))

    linear(job, 500)
    validate(make(LINEAR[make]))


@pytest.mark.slow
def test_a_megabyte_of_blocks() -> None:
    validate(nested_blocks(500_000))


def test_operands_beyond_measure_are_exhaustion() -> None:
    """Two bytes of code can ask for as many operands as a type has results."""
    wide = RecType((SubType(FuncType((), ("i32",) * 100_000)),))
    producer = Func(1, (), (UNREACHABLE,))
    for body in (
        [instr("call", 1)] * 10_000 + [UNREACHABLE],
        [instr("block", None), instr("call", 1), instr("br", 0), instr("end")] * 10_000,
        [UNREACHABLE] + [instr("block", 1), UNREACHABLE, instr("end")] * 10_000,
    ):
        with pytest.raises(Exhausted, match="validation"):
            validate(Module(types=(NULLARY, wide), funcs=(Func(0, (), tuple(body)), producer)))
    body = [instr("call", 1), UNREACHABLE] * 50
    validate(Module(types=(NULLARY, wide), funcs=(Func(0, (), tuple(body)), producer)))


def test_long_messages_are_cut() -> None:
    wide = RecType((SubType(FuncType(("i32",) * 100_000)),))
    funcs = (Func(0, (), (instr("call", 1),)), Func(1))
    with pytest.raises(Invalid) as caught:
        validate(Module(types=(NULLARY, wide), funcs=funcs))
    assert len(caught.value.message) < 200


def test_operands_at_once_have_a_limit() -> None:
    """Two bytes of code push a thousand operands; a megabyte of them would need gigabytes."""
    thousand = group(FuncType((), ("i32",) * 1_000))
    module = Module(
        types=(thousand, NULLARY), funcs=(Func(0, (), (UNREACHABLE,)), Func(1, (), (instr("call", 0),) * 10_001))
    )
    with pytest.raises(Exhausted, match="validation"):
        validate(module)
