"""The parser: abbreviations of the standard, names, type uses, folded instructions, annotations, errors."""

from __future__ import annotations

import pytest

from wasmlab_ref.outcome import Invalid, Malformed
from wasmlab_ref.syntax import (
    Active,
    Cast,
    Catch,
    Custom,
    Data,
    Elem,
    Export,
    Expr,
    Func,
    Import,
    MemArg,
    Module,
    instr,
)
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import (
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

ZERO = (instr("i32.const", 0),)
HINT = "@metadata.code.branch_hint"
FUNCREF, FUNC = RefType(True, "func"), RefType(False, "func")


def body(text: str, before: str = "") -> Expr:
    """The instructions of the last function."""
    return parse_module(f"{before} (func {text})").funcs[-1].body


def plain(*types: FuncType) -> tuple[RecType, ...]:
    return tuple(RecType((SubType(t),)) for t in types)


def test_a_module_and_its_fields_alone_are_the_same() -> None:
    assert parse_module("(module $m (func))") == parse_module(b"(func)") == Module(plain(FuncType()), funcs=(Func(0),))
    assert parse_module("") == parse_module("(module)") == Module()


def test_inline_imports_and_exports_in_order() -> None:
    m = parse_module(
        """(func $f (export "a") (export "b") (import "m" "f") (param i32))
           (memory $m (import "m" "m") i64 1 2)
           (table (export "t") (import "m" "t") 1 funcref)
           (global (import "m" "g") (mut i64)) (import "m" "e" (tag $e (param i32)))
           (export "e" (tag $e)) (func (export "c") call $f) (export "m" (memory $m))"""
    )
    assert m.imports == (
        Import("m", "f", FuncRef(0)),
        Import("m", "m", MemType(Limits(1, 2), "i64")),
        Import("m", "t", TableType(Limits(1), FUNCREF)),
        Import("m", "g", GlobalType("i64", True)),
        Import("m", "e", TagType(0)),
    )
    assert [(e.name, e.kind, e.index) for e in m.exports] == [
        ("a", "func", 0), ("b", "func", 0), ("t", "table", 0), ("e", "tag", 0), ("c", "func", 1), ("m", "memory", 0),
    ]  # fmt: skip


def test_inline_segments_take_their_place_among_the_others() -> None:
    m = parse_module(
        """(data "p") (memory $m i64 (data "a" "b\\00")) (data $d "q") (elem $e func)
           (table $t funcref (elem $f $f)) (table i64 (ref null $ft) (elem (item ref.null $ft) (ref.func $f)))
           (elem $x (table $t) (offset (i32.const 0)) funcref (ref.null func))
           (type $ft (func)) (func $f data.drop $d elem.drop $e elem.drop $x)"""
    )
    assert m.datas == (Data(b"p"), Data(b"ab\0", Active(0, (instr("i64.const", 0),))), Data(b"q"))
    assert m.memories == (MemType(Limits(1, 1), "i64"),)
    null, ref = (instr("ref.null", 0),), (instr("ref.func", 0),)
    typed = RefType(True, 0)
    assert m.tables[1].type == TableType(Limits(2, 2), typed, "i64")
    assert m.elems == (
        Elem(FUNC, ()),
        Elem(FUNC, (ref, ref), Active(0, ZERO)),
        Elem(typed, (null, ref), Active(1, (instr("i64.const", 0),))),
        Elem(FUNCREF, ((instr("ref.null", "func"),),), Active(0, ZERO)),
    )
    assert [step.args for step in m.funcs[0].body] == [(2,), (0,), (3,)]


def test_element_segments() -> None:
    m = parse_module(
        """(func $f) (table $t 9 funcref) (elem (i32.const 0) $f 0) (elem declare func $f) (elem (offset i32.const 0))
           (elem (table $t) (i32.const 0) func 0) (elem funcref) (elem declare (ref func) (item ref.func $f))"""
    )
    one = ((instr("ref.func", 0),),)
    assert m.elems == (
        Elem(FUNC, one * 2, Active(0, ZERO)), Elem(FUNC, one, "declare"), Elem(FUNC, (), Active(0, ZERO)),
        Elem(FUNC, one, Active(0, ZERO)), Elem(FUNCREF, ()), Elem(FUNC, one, "declare"),
    )  # fmt: skip


def test_empty_inline_data_makes_an_empty_memory() -> None:
    m = parse_module("(memory (data))")
    assert (m.memories, m.datas) == ((MemType(Limits(0, 0)),), (Data(b"", Active(0, ZERO)),))


def test_implicit_types_are_appended_in_order_and_shared() -> None:
    m = parse_module(
        """(func (param i32)) (func (block (param i32) (result i32) nop)) (type $t (func (param i64)))
           (func (param i32) (call_indirect (param i64))) (table 0 funcref) (tag (param i64 i32))"""
    )
    i32_to_i32 = FuncType(("i32",), ("i32",))
    assert m.types == plain(FuncType(("i64",)), FuncType(("i32",)), FuncType(), i32_to_i32, FuncType(("i64", "i32")))
    assert [f.type for f in m.funcs] == [1, 2, 1]
    assert m.funcs[1].body[0] == instr("block", 3)
    assert m.funcs[2].body == (instr("call_indirect", 0, 0),)


def test_implicit_types_match_only_plain_final_functions() -> None:
    m = parse_module(
        "(type (sub (func))) (rec (type (func)) (type (struct))) (rec (type $t (func))) (type (func)) (func)"
    )
    assert m.funcs[0].type == 3


def test_type_definitions() -> None:
    m = parse_module(
        """(rec (type $a (sub (struct (field $x i8) (field (mut (ref null $b)) i64) (field))))
                (type $b (sub final $a (array (mut i16)))))
           (type $f (func (param $p anyref) (param) (param i32 f64) (result exnref) (result (ref $f))))"""
    )
    struct = StructType((FieldType("i8"), FieldType(RefType(True, 1), True), FieldType("i64")))
    func = FuncType((RefType(True, "any"), "i32", "f64"), (RefType(True, "exn"), RefType(False, 2)))
    assert m.types == (
        RecType((SubType(struct, (), False), SubType(ArrayType(FieldType("i16", True)), (0,)))),
        *plain(func),
    )


def test_parameters_of_a_type_definition_bind_nothing() -> None:
    m = parse_module("(type (func (param $x i32) (param $x i64)))")
    assert m.types == plain(FuncType(("i32", "i64")))


def test_block_types() -> None:
    code = body("block end loop (result i32) end block (type 0) end block (param) (result) end", "(type (func))")
    assert [step.args[0] for step in code if step.args] == [None, "i32", 0, None]


def test_locals_are_named_and_merged() -> None:
    m = parse_module(
        """(type $t (func (param i32))) (func (type $t) (local $x i32) (local i32 i64) (local) (local $y i64)
           local.get $x local.get $y)"""
    )
    assert m.funcs[0].locals == ((2, "i32"), (2, "i64"))
    assert [step.args for step in m.funcs[0].body] == [(1,), (4,)]


def test_folded_instructions() -> None:
    assert body("(i32.add (i32.const 1) (i32.mul i32.const 2 (i32.const 3)))") == (
        instr("i32.const", 1), instr("i32.const", 2), instr("i32.const", 3), instr("i32.mul"), instr("i32.add"),
    )  # fmt: skip
    assert body("(if $l (result i32) (i32.const 1) (then (br $l)) (else unreachable))") == (
        instr("i32.const", 1), instr("if", "i32"), instr("br", 0), instr("else"), instr("unreachable"), instr("end"),
    )  # fmt: skip
    assert body("(block $a (loop $b (br_table $a $b 2)))")[2] == instr("br_table", (1, 0, 2))


def test_labels_shadow_and_come_back() -> None:
    code = body("block $l block $l br $l end $l br $l if $l br $l else $l br $l end $l end $l")
    assert [step.args[0] for step in code if step.op.mnemonic == "br"] == [0, 0, 0, 0]
    code = body("block $l block br $l end end")
    assert code[2] == instr("br", 1)


def test_the_label_of_a_block_is_not_in_scope_before_its_body() -> None:
    assert body("(block $l (if $l (br_if $l (i32.const 1)) (then (br $l))))")[2] == instr("br_if", 0)
    code = body("block $l try_table $l (catch $e $l) (catch_all_ref 1) br $l end end", "(tag $e)")
    assert code[1] == instr("try_table", None, (Catch("catch", 0, 0), Catch("catch_all_ref", None, 1)))
    assert code[2] == instr("br", 0)


def test_immediates() -> None:
    before = "(memory $a 1) (memory $b 1) (table $s 1 funcref) (table $t 1 funcref) (data $d) (elem $e func) "
    before += "(type $st (struct (field i32) (field $y i32))) (type $other (struct (field $y i32))) (func $f)"
    code = body(
        """i32.load offset=0x10 align=1 i32.load $b v128.load8_lane 3 v128.load8_lane 1 3 v128.load8_lane $b align=1 2
           memory.init $d memory.init $b $d table.init $t $e table.init $e memory.copy $b $a memory.copy table.copy 1 0
           table.get memory.grow $b struct.get $st $y struct.get $other $y array.new_fixed 0 7 select
           select (result i32) (result) ref.null func ref.null $st ref.test (ref null $st) ref.cast i31ref
           br_on_cast 0 anyref (ref i31) call_indirect $t (type 1) ref.func $f select (result)""",
        before,
    )
    assert [step.args for step in code] == [
        (MemArg(0, 0, 16),), (MemArg(1, 2, 0),), (MemArg(0, 0, 0), 3), (MemArg(1, 0, 0), 3), (MemArg(1, 0, 0), 2),
        (0, 0), (1, 0), (1, 0), (0, 0), (1, 0), (0, 0), (1, 0),
        (0,), (1,), (0, 1), (1, 0), (0, 7), (None,),
        (("i32",),), ("func",), (0,), (RefType(True, 0),), (RefType(True, "i31"),),
        (Cast(0, RefType(True, "any"), RefType(False, "i31")),), (1, 1), (0,), ((),),
    ]  # fmt: skip


def test_constants_are_bits() -> None:
    code = body("i32.const -1 f32.const -nan:0x1 f64.const inf v128.const i16x8 1 2 3 4 5 6 7 -8")
    assert [step.args[0] for step in code] == [
        0xFFFFFFFF, 0xFF800001, 0x7FF0000000000000, 0xFFF80007000600050004000300020001,
    ]  # fmt: skip
    assert body("v128.const f32x4 0 -0 nan 1")[0].args[0] == 0x3F8000007FC000008000000000000000


def test_identifiers_can_be_any_string() -> None:
    m = parse_module(r'(func $"a b") (func $"\41") (func call $"a b" call $A call $"\u{41}")')
    assert [step.args[0] for step in m.funcs[2].body] == [0, 1, 1]


def test_a_quoted_identifier_is_not_its_spelling() -> None:
    with pytest.raises(Malformed, match="unknown func"):
        parse_module(r'(func $"\"a\"") (func call $"a")')
    with pytest.raises(Malformed, match="unknown operator"):
        parse_module(r'(func $"a,b") (func call $a,b)')


# Annotations


def test_custom_sections_in_the_order_of_the_binary() -> None:
    m = parse_module(
        """(module (@custom "A" "aaa") (type $t (func)) (@custom "B" (after func) "bbb")
           (@custom "C" (before func) "ccc")
           (@custom "D" (after last) "d" "dd") (table 10 funcref) (func (type $t)) (@custom "E" (after import) "eee")
           (@custom "F" (before type) "fff") (@custom "G" (after data) "ggg") (@custom "H" (after code) "hhh")
           (@custom "I" (after func) "iii") (@custom "J" (before func) "jjj") (@custom "K" (before first) "kkk"))"""
    )
    assert "".join(c.name for c in m.customs) == "KFECJBIHGAD"
    assert [c.after for c in m.customs] == [0, 0, 2, 2, 2, 3, 3, 10, 11, 11, 11]
    assert m.customs[-1] == Custom("D", b"ddd", 11)


def test_names() -> None:
    m = parse_module(
        """(module $m (@name "M") (import "" "" (func (@name "i") (param $x (@name "p") i32)))
           (type $t (@name "T") (struct (field i32) (field $y (@name "F") i32)))
           (func $f (@name "λ") (param i32) (local i32) (local (@name "l") i32)) (tag $e (@name "E")))"""
    )
    assert m.customs == (
        Custom(
            "name",
            b"\x00\x02\x01M"
            b"\x01\x08\x02\x00\x01i\x01\x02\xce\xbb"
            b"\x02\x0b\x02\x00\x01\x00\x01p\x01\x01\x02\x01l"
            b"\x04\x04\x01\x00\x01T"
            b"\x0a\x06\x01\x00\x01\x01\x01F"
            b"\x0b\x04\x01\x00\x01E",
            10,
        ),
    )


def test_branch_hints_have_the_offset_of_their_instruction() -> None:
    m = parse_module(
        """(func) (func (local i64) (block (@metadata.code.branch_hint "\\01") (br_if 0 (i32.const 1000)))
           i32.const 0 (@metadata.code.branch_hint "\\00") if end)"""
    )
    assert m.customs == (Custom("metadata.code.branch_hint", b"\x01\x01\x02\x08\x01\x01\x0d\x01\x00", 3),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('(func (@custom "x"))', "misplaced @custom annotation"),
        ('(module (@custom "x") $m)', "misplaced @custom annotation"),
        ("(@custom x)", "@custom annotation: missing section name"),
        (r'(@custom "\ff")', "@custom annotation: malformed UTF-8 encoding"),
        (r'(@custom "a" "\u{d800}")', "@custom annotation: malformed UTF-8 encoding"),
        ('(@custom "a" (before last))', "@custom annotation: malformed section kind"),
        ('(@custom "a" (before', "unclosed annotation"),
        ('(@custom "a" ())', "@custom annotation: malformed placement"),
        ('(@custom "a" (after func func))', "@custom annotation: unexpected token"),
        ('(func (@name "a") (@name "b"))', "@name annotation: multiple func names"),
        ('(func (@name a))', "@name annotation: string expected"),
        ('(func (@name "a" "b"))', "@name annotation: unexpected token"),
        ('(func (param (@name "a") i32 i32))', "unexpected token"),
        ('(func (block (param (@name "a") i32)))', "misplaced @name annotation"),
        (f'(func ({HINT} "\\02") br_if 0)', f"{HINT} annotation: invalid hint value"),
        (f'(func ({HINT} "\\00") ({HINT} "\\00") br_if 0)', f"{HINT} annotation: duplicate annotation"),
        (f'(global i32 ({HINT} "\\00") br_if 0)', f"{HINT} annotation: not in a function"),
    ],
)  # fmt: skip
def test_malformed_annotations(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_module(text)
    assert caught.value.message.startswith(message)
    assert caught.value.line == 1


def test_a_branch_hint_on_another_instruction_is_invalid() -> None:
    with pytest.raises(Invalid, match="invalid target"):
        parse_module('(func (@metadata.code.branch_hint "\\00") nop)')


# Errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(func i32.foo)", "unknown operator i32.foo"),
        ("(func 0x)", "unknown operator 0x"),
        ('(data "a""b")', "unknown operator"),
        ("(func i32.const 0x1_0000_0000)", "constant out of range"),
        ("(func f32.const 1e39)", "constant out of range"),
        ("(func i32.const)", "unexpected token )"),
        ("(func i32.const 1.0)", "unexpected token 1.0"),
        ("(func br $l)", "unknown label $l"),
        ("(func block $a end $b)", "mismatching label $b"),
        ("(func block end $b)", "mismatching label $b"),
        ("(func if $a else $b end)", "mismatching label $b"),
        ("(func else)", "unexpected token else"),
        ("(func if else else end)", "unexpected token else"),
        ("(func (end))", "unexpected token end"),
        ("(func end)", "unexpected token end"),
        ("(func (block end))", "unexpected token end"),
        ("(func block)", "unexpected token )"),
        ("(func (if (i32.const 0)))", "unexpected token )"),
        ("(func (if (then) (then)))", "unexpected token then"),
        ("(func (if (then) nop))", "unexpected token nop"),
        ("(func (if i32.const 0 (then)))", "unexpected token i32.const"),
        ("(func (if (then) (else) (else)))", "unexpected token else"),
        ("(func (then))", "unexpected token then"),
        ("(func $f) (func $f)", "duplicate func $f"),
        ("(func $f (import \"\" \"\")) (func $f)", "duplicate func $f"),
        ("(func (param $x i32) (local $x i32))", "duplicate local $x"),
        ("(type (struct (field $a i32) (field $a i32)))", "duplicate field $a"),
        ("(func) (import \"\" \"\" (func))", "import after function"),
        ("(memory 1) (func (import \"\" \"\"))", "import after memory"),
        ("(start 0) (start 0)", "multiple start sections"),
        ("(type $t (func)) (func (type $t) (param i32))", "inline function type"),
        ("(type $t (struct)) (func (type $t) (param i32))", "inline function type"),
        ("(func (type 9) (param i32))", "unknown type"),
        ("(func (type $t))", "unknown type $t"),
        ("(func (result i32) (param i32))", "unexpected token param"),
        ("(func (param $x i32 i32))", "unexpected token i32"),
        ("(func block (param $x i32) end)", "unexpected token $x"),
        ("(func i32.load align=3)", "alignment must be a power of two"),
        ("(func i32.load align=0)", "alignment must be a power of two"),
        ("(func i32.load align=8 offset=1)", "unexpected token offset=1"),
        ("(func i32.load offset=-1)", "unknown operator offset=-1"),
        ("(func i32.load offset=0x1_0000_0000_0000_0000)", "i64 constant out of range"),
        ("(func memory.copy 0)", "unexpected token 0"),
        ("(func br_table)", "unexpected token )"),
        ("(func v128.const i32x4 0 0 0)", "wrong number of lane literals"),
        ("(func v128.const i8x16 256 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0)", "constant out of range"),
        ("(func i8x16.shuffle 0)", "invalid lane length"),
        ("(func i8x16.extract_lane_s 256)", "i8 constant out of range"),
        ("(func call $f)", "unknown func $f"),
        ("(func f32.const nan:canonical)", "unexpected token"),
        ("(memory)", "unexpected token )"),
        ("(memory -1)", "unexpected token -1"),
        ("(import \"\\ff\" \"\" (func))", "malformed UTF-8 encoding"),
        ("(func $)", "empty identifier"),
        ("(nonsense)", "unknown operator nonsense"),
        ("(catch)", "unexpected token catch"),
        ("(module) (module)", "unexpected token ("),
        ("(module", "unexpected token"),
        ("(module))", "unexpected token )"),
        ("(elem (table 0) (i32.const 0) 0)", "unexpected token 0"),
        ("(table 1 i32)", "unexpected token i32"),
        ("(type (func)", "unexpected token"),
        ("nop", "unexpected token nop"),
        ("\x00", "illegal character"),
    ],
)  # fmt: skip
def test_malformed(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_module(text)
    assert caught.value.message.startswith(message)
    assert caught.value.line == 1


def test_errors_have_line_and_column() -> None:
    with pytest.raises(Malformed) as caught:
        parse_module("(module\n  (func\n    nop bad))")
    assert (caught.value.line, caught.value.column) == (3, 9)
    assert str(caught.value) == "3:9: unknown operator bad"


def test_exports_are_data() -> None:
    assert parse_module('(export "" (global 7))').exports == (Export("", "global", 7),)
