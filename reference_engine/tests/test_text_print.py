"""Printing: what was printed reads back as the same module, valid or not, from the suite or drawn at random."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmlab_ref import syntax
from wasmlab_ref.isa import INSTRUCTIONS, MEMARGS, Instruction
from wasmlab_ref.syntax import Active, Cast, Catch, Custom, Instr, MemArg, instr
from wasmlab_ref.text import parse_module, print_module
from wasmlab_ref.text.print import MOST_LOCALS
from wasmlab_ref.types import (
    ABSTRACT_HEAP_TYPES,
    ArrayType,
    FieldType,
    FuncRef,
    FuncType,
    GlobalType,
    Limits,
    MemType,
    RecType,
    RefType,
    StructType,
    SubType,
    TableType,
    TagType,
)

INDEX = st.integers(0, 3) | st.integers(0, (1 << 32) - 1)
NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
HEAP = st.sampled_from(ABSTRACT_HEAP_TYPES) | INDEX
REF = st.builds(RefType, st.booleans(), HEAP)
VALUE = st.sampled_from(["i32", "i64", "f32", "f64", "v128"]) | REF
FIELD = st.builds(FieldType, VALUE | st.sampled_from(["i8", "i16"]), st.booleans())


def few(items: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, min_size=least, max_size=3).map(tuple)


def bits(width: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << width) - 1)


IMMEDIATES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        ["label", "local", "global", "func", "type", "table", "memory", "tag", "elem", "data", "field", "u32"], INDEX
    ),
    "labels": few(INDEX, 1),
    "block": st.none() | VALUE | INDEX,
    "catches": few(
        st.builds(Catch, st.sampled_from(["catch", "catch_ref"]), INDEX, INDEX)
        | st.builds(Catch, st.sampled_from(["catch_all", "catch_all_ref"]), st.none(), INDEX)
    ),
    **dict.fromkeys(MEMARGS, st.builds(MemArg, INDEX, st.integers(0, 63), bits(64))),
    "zero": st.just(0),
    "lane": bits(8),
    "lanes": st.lists(bits(8), min_size=16, max_size=16).map(tuple),
    **{kind: bits(width) for kind, width in {"i32": 32, "i64": 64, "f32": 32, "f64": 64, "v128": 128}.items()},
    "heap": HEAP,
    "ref": REF,
    "types?": st.none() | few(VALUE),
    "cast": st.builds(Cast, INDEX, REF, REF),
}
PLAIN = [row for row in INSTRUCTIONS if row.mnemonic not in ("block", "loop", "if", "try_table", "else", "end")]
BLOCKS = [row for row in INSTRUCTIONS if row.mnemonic in ("block", "loop", "if", "try_table")]


def of_row(row: Instruction) -> st.SearchStrategy[Instr]:
    args = st.tuples(*(IMMEDIATES[kind.partition(":")[0]] for kind in row.immediates))
    return args.map(lambda values: Instr(row, values))


def blocks(inner: st.SearchStrategy[tuple[Instr, ...]]) -> st.SearchStrategy[tuple[Instr, ...]]:
    def around(head: Instr, then: tuple[Instr, ...], other: tuple[Instr, ...] | None) -> tuple[Instr, ...]:
        if head.op.mnemonic == "if" and other is not None:
            return (head, *then, instr("else"), *other, instr("end"))
        return (head, *then, instr("end"))

    head = st.sampled_from(BLOCKS).flatmap(of_row)
    return st.builds(around, head, inner, st.none() | inner) | st.builds(tuple.__add__, inner, inner)


CODE = st.recursive(few(st.sampled_from(PLAIN).flatmap(of_row)), blocks, max_leaves=6)
SOME_CODE = CODE.filter(bool)
LIMITS = st.builds(Limits, bits(64), st.none() | bits(64))
ADDRESS = st.sampled_from(["i32", "i64"])
TABLE = st.builds(TableType, LIMITS, REF, ADDRESS)
MEMORY = st.builds(MemType, LIMITS, ADDRESS, st.booleans(), st.sampled_from([1, 1 << 16, 2, 1 << 64 >> 1]))
GLOBAL = st.builds(GlobalType, VALUE, st.booleans())
TAG = st.builds(TagType, INDEX)
COMPOSITE = (
    st.builds(FuncType, few(VALUE), few(VALUE)) | st.builds(StructType, few(FIELD)) | st.builds(ArrayType, FIELD)
)
SUBTYPE = st.builds(SubType, COMPOSITE, few(INDEX), st.booleans())
KINDS = ["func", "table", "memory", "global", "tag"]
ORDER = [0, 1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11]


def runs(locals_: tuple[tuple[int, Any], ...]) -> tuple[tuple[int, Any], ...]:
    """Neighbouring runs differ."""
    return tuple(run for i, run in enumerate(locals_) if not i or locals_[i - 1][1] != run[1])


MODULES = st.builds(
    syntax.Module,
    types=few(st.builds(RecType, few(SUBTYPE))),
    imports=few(st.builds(syntax.Import, NAME, NAME, st.builds(FuncRef, INDEX) | TABLE | MEMORY | GLOBAL | TAG)),
    funcs=few(st.builds(syntax.Func, INDEX, few(st.tuples(st.integers(1, 9), VALUE)).map(runs), CODE)),
    tables=few(st.builds(syntax.Table, TABLE, st.none() | SOME_CODE)),
    memories=few(MEMORY),
    tags=few(TAG),
    globals=few(st.builds(syntax.Global, GLOBAL, CODE)),
    exports=few(st.builds(syntax.Export, NAME, st.sampled_from(KINDS), INDEX)),
    start=st.none() | INDEX,
    elems=few(
        st.builds(
            syntax.Elem,
            REF | st.just(RefType(False, "func")),
            few(CODE) | few(INDEX.map(lambda i: (instr("ref.func", i),))),
            st.sampled_from(["passive", "declare"]) | st.builds(Active, INDEX, CODE),
        )
    ),
    datas=few(st.builds(syntax.Data, st.binary(max_size=200), st.just("passive") | st.builds(Active, INDEX, CODE))),
    customs=st.lists(st.builds(Custom, NAME, st.binary(max_size=9), st.sampled_from(ORDER)), max_size=4).map(
        lambda customs: tuple(sorted(customs, key=lambda c: ORDER.index(c.after)))
    ),
)


@settings(max_examples=60, deadline=None)
@given(MODULES)
def test_a_printed_module_reads_back(module: syntax.Module) -> None:
    assert parse_module(print_module(module)) == module


@pytest.mark.parametrize("immediates", sorted({row.immediates for row in INSTRUCTIONS}), ids=" ".join)
def test_immediates_of_every_kind_read_back(immediates: tuple[str, ...]) -> None:
    rows = [row for row in INSTRUCTIONS if row.immediates == immediates]

    @settings(max_examples=25, deadline=None)
    @given(st.sampled_from(rows).flatmap(of_row))
    def check(step: Instr) -> None:
        row, code = step.op, (step,)
        if row in BLOCKS:
            code = (step, instr("end"))
        elif row.mnemonic in ("else", "end"):
            code = (instr("if", None), step, *([instr("end")] if row.mnemonic == "else" else []))
        module = syntax.Module(funcs=(syntax.Func(0, (), code),))
        assert parse_module(print_module(module)) == module

    check()


def test_the_text_is_readable() -> None:
    text = print_module(
        parse_module(
            """(type $p (struct (field i8) (field (mut anyref)))) (import "a\\00" "\\"é" (func (param i32)))
               (memory 1 2) (global (mut f64) (f64.const 1.5)) (data (i32.const 8) "hi\\n")
               (func (export "f") (param i32) (result i32) (local i64 i64)
                 (if (result i32) (local.get 0) (then (i32.const -1)) (else (i32.load offset=4 (i32.const 0)))))"""
        )
    )
    assert text == (
        r"""(module
  (type (;0;) (struct (field i8) (field (mut anyref))))
  (type (;1;) (func (param i32)))
  (type (;2;) (func (param i32) (result i32)))
  (import "a\00" "\"\c3\a9" (func (;0;) (type 1)))
  (memory (;0;) 1 2)
  (global (;0;) (mut f64) f64.const 0x1.8p+0)
  (export "f" (func 1))
  (func (;1;) (type 2)
    (local i64 i64)
    local.get 0
    if (result i32)
      i32.const -1
    else
      i32.const 0
      i32.load offset=4
    end
  )
  (data (;0;) (memory 0) (offset i32.const 8) "hi\0a")
)
"""
    )


def test_hostile_names_are_escaped() -> None:
    names = ['"', "\\", "\x00\x1b[2J", "\n)", "(;", ";;", "\u202e", "\U0010ffff", "<script>"]
    module = syntax.Module(exports=tuple(syntax.Export(name, "func", 0) for name in names))
    text = print_module(module)
    assert text.isascii()
    assert "\x1b" not in text
    assert parse_module(text) == module


def test_depth_does_not_make_the_text_quadratic() -> None:
    depth = 20_000
    code = (instr("block", None),) * depth + (instr("end"),) * depth
    module = syntax.Module(funcs=(syntax.Func(0, (), code),))
    text = print_module(module)
    assert len(text) < 250 * depth
    assert parse_module(text) == module


def test_an_empty_initialiser_of_a_table_has_no_text() -> None:
    table = syntax.Table(TableType(Limits(1), RefType(True, "func")), ())
    with pytest.raises(ValueError, match="table 0 has an empty initialiser"):
        print_module(syntax.Module(tables=(table,)))


def test_more_locals_than_a_text_can_hold() -> None:
    module = syntax.Module(funcs=(syntax.Func(0, ((MOST_LOCALS + 1, "i32"),)),))
    with pytest.raises(ValueError, match="function 0 has a run of 1000001 locals"):
        print_module(module)
