"""What implementers forget about the text format and scripts.

Elsewhere: the places of annotations, quoted identifiers, inline imports and exports in order, type uses, in
test_text_module.py; commands and their arguments in test_script.py; that `module quote` is not applicable to an engine
without a text parser, in the lab's tests of conform.
"""

from __future__ import annotations

from typing import Any

import pytest

from wasmlab_ref import expect, script
from wasmlab_ref.case import Outcome
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.script import parse_script
from wasmlab_ref.text import parse_module


def refused(text: str | bytes) -> str:
    with pytest.raises(Malformed) as caught:
        parse_module(text)
    return caught.value.message


def test_annotations_stand_between_any_tokens_and_mean_nothing() -> None:
    plain = '(func $f (export "a") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))'
    annotated = plain.replace(" ", ' (@a (@b "(") ;; )\n (; ;) x,y;z) ')
    assert parse_module(annotated) == parse_module(plain)
    assert parse_module('(@"any name" x) (@a)') == parse_module("(module)")
    for text in ("(@a", "(@ a)", "(@)", '(@"" x)', '(@a ")', "(@a (;)"):
        assert refused(text)


def test_identifiers_are_any_string() -> None:
    module = parse_module(
        r"""(func $"a b" call $"\61\20b" call $"(;" call $"é" call $"\u{e9}" call $plain call $"plain")
            (func $"(;") (func $é) (func $plain)""".replace("$é)", '$"é")')
    )
    assert [step.args for step in module.funcs[0].body] == [(0,), (1,), (2,), (2,), (3,), (3,)]
    assert refused(r'(func $"\ff")') == "malformed UTF-8 encoding"
    assert refused('(func $"")') == "empty identifier"
    assert refused('(func $"a" nop) (func $a)') == "duplicate func $a"
    assert refused('(func $ "a")')


def test_names_that_are_not_utf8() -> None:
    for text in (r'(import "\ff" "" (func))', r'(import "" "\c0\80" (func))', r'(func (export "\ed\a0\80"))'):
        assert refused(text) == "malformed UTF-8 encoding"
    assert refused(b'(func (export "\xff"))') == "malformed UTF-8 encoding"
    assert parse_module(r'(memory 1) (data (i32.const 0) "\ff\c0\80")').datas[0].init == b"\xff\xc0\x80"
    (export,) = parse_module(r'(func (export "\u{0}\u{10ffff}\t"))').exports
    assert export.name == "\0\U0010ffff\t"


def test_inline_imports_and_exports_in_order() -> None:
    module = parse_module(
        """(func $a (export "1") (export "2") (import "m" "f") (param i32)) (export "3" (func $b))
           (memory (export "4") (import "m" "m") 1) (func $b (export "5")) (global (export "6") i32 (i32.const 0))
           (table (export "7") funcref (elem $a $b)) (tag (export "8"))"""
    )
    assert [e.name for e in module.exports] == list("12345678")
    assert [e.index for e in module.exports] == [0, 0, 1, 0, 1, 0, 0, 0]
    assert [(i.module, i.name) for i in module.imports] == [("m", "f"), ("m", "m")]
    assert refused('(global i32 (i32.const 0)) (func (import "" ""))').startswith("import after global")
    assert refused('(tag) (memory (import "" "") 1)').startswith("import after tag")


@pytest.mark.parametrize(
    "use",
    [
        "(func (type $f) (param i64))",
        "(func (type $f) (param i32 i32))",
        "(func (type $f) (result i32))",
        "(func (type $f) (param i32) (result i32))",
        "(func (block (type $f) (param i64)) unreachable)",
        "(func (call_indirect (type $f) (param i64)))",
        '(import "" "" (func (type $f) (param)) (func))',
        '(import "" "" (func (type $f) (result f32)))',
        "(tag (type $f) (param i64))",
    ],
)
def test_type_uses_must_match_their_parameters(use: str) -> None:
    assert refused(f"(type $f (func (param i32))) {use}")


def test_type_uses_that_match_or_say_nothing() -> None:
    module = parse_module(
        """(type $f (func (param $x i32))) (func (type $f) (param i32))
           (func (type $f) (param $y i32) (local.get $y) drop)
           (func (type $f) (local.get 0) drop) (tag (type $f) (param i32)) (func (param i32))"""
    )
    assert [f.type for f in module.funcs] == [0] * 4
    assert len(module.types) == 1
    assert refused("(type $f (func (param $x i32))) (func (type $f) (local.get $x))") == "unknown local $x"


def test_fields_have_symbolic_ids_of_their_type() -> None:
    module = parse_module(
        """(type $s (struct (field $a i32) (field i64 i64) (field $b i8))) (type $t (struct (field $b i32)))
           (func (param (ref $s) (ref $t)) (result i32 i32)
             (struct.get_u $s $b (local.get 0)) (struct.get $t $b (local.get 1)))"""
    )
    gets = [step.args for step in module.funcs[0].body if step.op.mnemonic.startswith("struct")]
    assert gets == [(0, 3), (1, 0)]
    fields = "(type $s (struct (field $a i32))) (type $t (struct (field $b i32)))"
    assert refused(f"{fields} (func (struct.get $s $b))").startswith("unknown field $b")
    assert refused("(type (struct (field $a i32 i32)))")


def commands(text: str) -> list[Any]:
    return list(parse_script(text))


def test_definitions_are_instantiated_as_often_as_asked(world: Any) -> None:
    definition, *instances = commands(
        """(module definition $D (global (export "g") (mut i32) (i32.const 0)))
           (module instance $one $D) (module instance $two $D)"""
    )
    assert definition.definition
    assert [(i.id, i.module) for i in instances] == [("one", "D"), ("two", "D")]
    one, two = (world.load(encode(definition.source.parse())) for _ in instances)
    one.globals[0].value = 5
    assert two.globals[0].value == 0


def test_binary_and_quoted_modules_are_what_they_say() -> None:
    text, binary, quote, broken = commands(
        r"""(module (func))
            (module binary "\00asm" "\01\00" "\00\00" "\01\04\01\60\00\00" "\03\02\01\00" "\0a\04\01\02\00\0b")
            (module quote "(func" ")") (module quote "(fu" "nc))")"""
    )
    assert text.source.parse() == binary.source.parse() == quote.source.parse()
    assert isinstance(binary.source, script.BinaryModule)
    assert isinstance(quote.source, script.QuoteModule)
    with pytest.raises(Malformed):
        broken.source.parse()


def expected(text: str) -> script.Result:
    (command,) = commands(f'(assert_return (invoke "f") {text})')
    (result,) = command.results
    return result  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("pattern", "values", "others"),
    [
        ("(either (i32.const 1) (i32.const 2))", ["i32:1", "i32:2"], ["i32:3", "i64:1", "ref.null"]),
        ("(either (f32.const nan:canonical) (f32.const 0))", ["f32:7fc00000", "f32:0"], ["f32:80000000"]),
        ("(ref.null)", ["ref.null"], ["ref.i31:0", "i32:0"]),
        ("(ref.null extern)", ["ref.null"], ["ref.extern:0"]),
        ("(ref.func)", ["ref.func"], ["ref.null", "ref.struct"]),
        ("(ref.extern)", ["ref.extern:0", "ref.i31:1", "ref.struct"], ["ref.null", "ref.func", "ref.exn"]),
        ("(ref.extern 5)", ["ref.extern:5"], ["ref.extern:6", "ref.i31:5", "ref.null"]),
        ("(ref.host 5)", ["ref.extern:5"], ["ref.extern:6", "ref.null"]),
        ("(ref.any)", ["ref.extern:1", "ref.i31:1", "ref.struct", "ref.array:0"], ["ref.null", "ref.func", "ref.exn"]),
        ("(ref.eq)", ["ref.i31:1", "ref.struct", "ref.array:2"], ["ref.extern:1", "ref.null", "ref.func"]),
        ("(ref.i31)", ["ref.i31:0"], ["ref.struct", "ref.null", "i32:0"]),
        ("(ref.struct)", ["ref.struct"], ["ref.array:0", "ref.null"]),
        ("(ref.array)", ["ref.array:0"], ["ref.struct", "ref.null"]),
        ("(ref.exn)", ["ref.exn"], ["ref.null", "ref.any"]),
        ("(i32.const -1)", ["i32:ffffffff"], ["i64:ffffffff", "f32:ffffffff"]),
        ("(f32.const -0)", ["f32:80000000"], ["f32:0"]),
        ("(f32.const nan:0x1)", ["f32:7f800001"], ["f32:7fc00001", "f32:7fc00000"]),
        ("(f32.const nan:canonical)", ["f32:7fc00000", "f32:ffc00000"], ["f32:7fc00001", "f32:7f800000"]),
        ("(f64.const nan:arithmetic)", ["f64:7ff8000000000001", "f64:fff8000000000000"], ["f64:7ff0000000000001"]),
        (
            "(v128.const f64x2 nan:canonical 0)",
            ["v128:7ff8000000000000", "v128:fff8000000000000"],
            ["v128:7ff8000000000001", "v128:17ff8000000000000", "f64:7ff8000000000000"],
        ),
    ],
)
def test_results_are_matched_by_pattern(pattern: str, values: list[str], others: list[str]) -> None:
    result = expected(pattern)
    assert [text for text in [*values, *others] if expect.matches(text, result)] == values


def test_as_many_results_as_expected() -> None:
    (command,) = commands('(assert_return (invoke "f") (i32.const 1) (i32.const 2))')
    assert expect.returned(Outcome("returned", ("i32:1", "i32:2")), command.results)
    for outcome in (
        Outcome("returned", ("i32:1",)),
        Outcome("returned", ("i32:1", "i32:2", "i32:3")),
        Outcome("trapped", ("i32:1", "i32:2"), "unreachable"),
    ):
        assert not expect.returned(outcome, command.results)


def test_traps_are_matched_by_the_beginning_of_their_text() -> None:
    assert expect.trapped(Outcome("trapped", detail="out of bounds memory access"), "out of bounds memory")
    assert expect.trapped(
        Outcome("trapped", detail="undefined element|uninitialized element"), "uninitialized element 7"
    )
    assert not expect.trapped(Outcome("trapped", detail="unreachable"), "out of bounds")
    assert not expect.trapped(Outcome("returned"), "unreachable")
