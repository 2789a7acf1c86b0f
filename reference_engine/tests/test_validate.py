"""Validation of modules: types, definitions, segments, exports, and what `ValidModule` says."""

from __future__ import annotations

import pytest

from wasmlab_ref.outcome import Invalid
from wasmlab_ref.syntax import Func, Module, instr
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import FuncRef, FuncType, GlobalType, MemType, RecType, RefType, SubType, TableType, TagType
from wasmlab_ref.validate import ValidModule, validate


def check(text: str) -> ValidModule:
    return validate(parse_module(text))


def refused(text: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        check(text)
    return caught.value


VALID = {
    "recursive group": "(rec (type $a (struct (field (ref $b)))) (type $b (struct (field (ref null $a)))))",
    "mutual recursion through functions": "(rec (type $f (func (param (ref $g)))) (type $g (func (result (ref $f)))))",
    "subtype in its group": "(rec (type $a (sub (struct))) (type $b (sub $a (struct (field (ref $b))))))",
    "covariant override": "(type $a (sub (struct (field anyref)))) (type (sub $a (struct (field eqref) (field i8))))",
    "function subtype": "(type $f (sub (func (param eqref) (result anyref))))"
    "(type (sub $f (func (param anyref) (result eqref))))",
    "largest memory": "(memory 65536 65536)",
    "largest 64-bit memory": "(memory i64 0x1_0000_0000_0000 0x1_0000_0000_0000)",
    "largest table": "(table 0xffff_ffff 0xffff_ffff funcref)",
    "largest 64-bit table": "(table i64 0xffff_ffff_ffff_ffff 0xffff_ffff_ffff_ffff funcref)",
    "table of non-null references": "(func $f) (table 1 (ref func) (ref.func $f)) (func (drop (ref.func $f)))",
    "imported table of non-null references": '(import "m" "t" (table 1 (ref func)))',
    "table initialised by an imported global": '(global (import "m" "g") (ref func))'
    "(table 1 (ref func) (global.get 0))",
    "global from an earlier one": "(global $a i32 (i32.const 1)) (global i32 (i32.add (global.get $a) (i32.const 2)))",
    "extended constants": "(global i64 (i64.mul (i64.sub (i64.const 1) (i64.const 2)) (i64.const 3)))",
    "constant structures": "(type $s (struct (field (mut i8)) (field anyref)))"
    "(global (ref $s) (struct.new $s (i32.const 1) (ref.i31 (i32.const 2)))) (global anyref (struct.new_default $s))",
    "constant arrays": "(type $a (array (mut i16))) (global (ref $a) (array.new $a (i32.const 1) (i32.const 2)))"
    "(global (ref $a) (array.new_default $a (i32.const 2))) (global eqref (array.new_fixed $a 1 (i32.const 2)))",
    "constant conversions": "(global externref (extern.convert_any (any.convert_extern (ref.null extern))))",
    "several memories": "(memory 1) (memory i64 1) (data (memory 1) (i64.const 0))",
    "reference declared by an export": '(func $f (export "f")) (func (drop (ref.func $f)))',
    "reference declared by a global": "(func $f) (global funcref (ref.func $f)) (func (drop (ref.func $f)))",
    "reference declared by a segment": "(func $f) (elem declare func $f) (func (drop (ref.func $f)))",
    "segment of a subtype": "(func $f) (table 1 funcref) (elem (table 0) (i32.const 0) (ref func) (ref.func $f))",
    "64-bit table segment": "(table i64 1 funcref) (elem (table 0) (i64.const 0) funcref)",
    "one export twice": '(func $f (export "a") (export "b"))',
    "tag with parameters": "(tag (param i32 externref))",
    "start": "(func $f) (start $f)",
}


@pytest.mark.parametrize("fields", VALID.values(), ids=VALID)
def test_valid(fields: str) -> None:
    check(f"(module {fields})")


INVALID = {
    "type beyond the group": ("(type (func (param (ref 1)))) (type (func))", "unknown type 1"),
    "unknown supertype": ("(type (sub 3 (struct)))", "unknown type 3"),
    "supertype of itself": ("(type $a (sub $a (struct)))", "unknown type 0"),
    "circular supertypes": ("(rec (type $a (sub $b (struct))) (type $b (sub $a (struct))))", "unknown type 1"),
    "two supertypes": ("(type $a (sub (struct))) (type (sub $a $a (struct)))", "sub type 1 has more than one"),
    "final supertype": ("(type $a (struct)) (type (sub $a (struct)))", "sub type 1 has final super type 0"),
    "wrong kind of supertype": (
        "(type $a (sub (struct))) (type (sub $a (array i8)))",
        "sub type 1 does not match",
    ),
    "missing field": ("(type $a (sub (struct (field i32)))) (type (sub $a (struct)))", "sub type 1 does not match"),
    "mutable field of a subtype": (
        "(type $a (sub (struct (field (mut anyref))))) (type (sub $a (struct (field (mut eqref)))))",
        "sub type 1 does not match",
    ),
    "contravariant result": (
        "(type $f (sub (func (result eqref)))) (type (sub $f (func (result anyref))))",
        "sub type 1 does not match",
    ),
    "import of a function of another kind": (
        '(type $s (struct)) (import "m" "f" (func (type $s)))',
        "type mismatch: non-function type 0",
    ),
    "tag with results": ("(type $f (func (result i32))) (tag (type $f))", "non-empty tag result type"),
    "imported tag with results": (
        '(type $f (func (result i32))) (import "m" "t" (tag (type $f)))',
        "non-empty tag result type",
    ),
    "memory too large": ("(memory 65537)", "memory size must be at most 65536 pages (4GiB)"),
    "memory's maximum too large": ("(memory 0 65537)", "memory size must be at most 65536 pages (4GiB)"),
    "64-bit memory too large": ("(memory i64 0x1_0000_0000_0001)", "memory size must be at most 2^48 pages"),
    "table too large": ("(table 0x1_0000_0000 funcref)", "table size must be at most 2^32-1"),
    "minimum above maximum": ("(memory 2 1)", "size minimum must not be greater than maximum"),
    "table's minimum above its maximum": ("(table 2 1 funcref)", "size minimum must not be greater than maximum"),
    "table without initialiser": ("(table 1 (ref func))", "type mismatch"),
    "empty table without initialiser": ("(table 0 (ref func))", "type mismatch"),
    "table initialised by a defined global": (
        "(global $g (ref null func) (ref.null func)) (table 1 funcref (global.get $g))",
        "unknown global 0",
    ),
    "table initialised with a wrong type": ("(table 1 funcref (ref.null extern))", "type mismatch"),
    "global from itself": ("(global $a i32 (global.get $a))", "unknown global 0"),
    "global from a later one": ("(global i32 (global.get 1)) (global i32 (i32.const 0))", "unknown global 1"),
    "global from a mutable one": (
        "(global $a (mut i32) (i32.const 0)) (global i32 (global.get $a))",
        "constant expression required",
    ),
    "division in a constant": ("(global i32 (i32.div_u (i32.const 0) (i32.const 1)))", "constant expression required"),
    "float arithmetic in a constant": ("(global f32 (f32.add (f32.const 0) (f32.const 1)))", "constant expression"),
    "array.new_data in a constant": (
        '(type $a (array i8)) (data "") (global (ref $a) (array.new_data $a 0 (i32.const 0) (i32.const 0)))',
        "constant expression required",
    ),
    "two values for a global": ("(global i32 (i32.const 0) (i32.const 0))", "type mismatch"),
    "no value for a global": ("(global i32)", "type mismatch"),
    "constant of another type": ("(global i32 (i64.const 0))", "type mismatch"),
    "undeclared reference": ("(func $f) (func (drop (ref.func $f)))", "undeclared function reference"),
    "start declares nothing": ("(func $f) (start $f) (func (drop (ref.func $f)))", "undeclared function reference"),
    "call declares nothing": ("(func $f) (func (call $f) (drop (ref.func $f)))", "undeclared function reference"),
    "unknown function in a segment": ("(elem declare func 7)", "unknown function 7"),
    "segment for an unknown table": ("(elem (table 1) (i32.const 0) funcref)", "unknown table 1"),
    "segment for an unknown memory": ('(data (i32.const 0) "")', "unknown memory 0"),
    "offset of the other width": ("(memory i64 1) (data (i32.const 0))", "type mismatch"),
    "table offset of the other width": ("(table i64 1 funcref) (elem (i32.const 0) funcref)", "type mismatch"),
    "segment wider than its table": (
        "(table 1 (ref null 0)) (type (func)) (elem (i32.const 0) funcref)",
        "type mismatch",
    ),
    "null in a segment of non-null references": ("(elem (ref func) (ref.null func))", "type mismatch"),
    "start with a parameter": ("(func $f (param i32)) (start $f)", "start function"),
    "start with a result": ("(func $f (result i32) (i32.const 0)) (start $f)", "start function"),
    "unknown start": ("(start 0)", "unknown function 0"),
    "duplicate export": ('(func $f (export "a")) (memory (export "a") 1)', "duplicate export name"),
    "unknown function exported": ('(export "a" (func 0))', "unknown function 0"),
    "unknown tag exported": ('(export "a" (tag 0))', "unknown tag 0"),
    "unknown memory exported": ('(export "a" (memory 0))', "unknown memory 0"),
    "local of unknown type": ("(func (local (ref 5)))", "unknown type 5"),
    "global of unknown type": ("(global (ref null 5) (ref.null none))", "unknown type 5"),
}


@pytest.mark.parametrize(("fields", "message"), INVALID.values(), ids=INVALID)
def test_invalid(fields: str, message: str) -> None:
    assert refused(f"(module {fields})").message.startswith(message)


PLACES = {
    '(import "m" "a" (func)) (func) (func (nop) (drop))': "function 2, instruction 1: drop",
    "(func (block (result i32)))": "function 0, instruction 1: end",
    "(func (result i32))": "function 0, instruction 0: end",
    "(global i32 (i32.const 1)) (global i32 (i64.const 1))": "global 1, instruction 1: end",
    "(global i32 (nop) (i32.const 1))": "global 0, instruction 0: nop",
    "(memory 1) (data (i32.const 0)) (data (f32.const 0))": "data segment 1, instruction 1: end",
    "(rec (type (sub (struct))) (type (sub 0 (array i8))))": "type 1",
    '(func (export "a") (export "a"))': "export 1",
    '(import "m" "n" (memory 2 1))': "import 0",
    "(table 1 (ref func))": "table 0",
    "(start 0)": "start",
}


@pytest.mark.parametrize(("fields", "where"), PLACES.items(), ids=PLACES.values())
def test_where(fields: str, where: str) -> None:
    assert refused(f"(module {fields})").where == where


def test_standard_order() -> None:
    error = refused("(module (memory 2 1) (global i32 (i64.const 0)) (func (drop)) (start 5))")
    assert error.where.startswith("global 0")
    error = refused('(module (memory 1) (func (drop)) (data (i64.const 0)) (start 5) (export "a" (func 9)))')
    assert error.where.startswith("function 0")


def test_valid_module_is_closed() -> None:
    valid = check(
        """(module
          (type $s (struct)) (type $f (func (param (ref null $s))))
          (import "m" "f" (func $i (type $f))) (import "m" "g" (global (ref null $s)))
          (import "m" "t" (tag (type $f)))
          (table $t 1 2 (ref null $f)) (memory i64 1) (tag (param i32)) (global (mut i32) (i32.const 0))
          (func $d (export "d") (local i32 i32 (ref null $s)))
          (elem $e (ref null $f) (ref.func $i))
          (export "t" (table 0)) (export "m" (memory 0)) (export "g" (global 0)) (export "x" (tag 0)))"""
    )
    s, f = valid.types[:2]
    nothing = next(t for t in valid.types if t.comp == FuncType())
    ref_s, ref_f = RefType(True, s), RefType(True, f)
    assert valid.funcs == (f, nothing)
    assert valid.imports == (FuncRef(f), GlobalType(ref_s), TagType(f))
    assert valid.tags[0] is f
    assert valid.tags[1].comp == FuncType(("i32",))
    assert valid.tables[0].element == ref_f
    assert valid.globals == (GlobalType(ref_s), GlobalType("i32", True))
    assert valid.elems == (ref_f,)
    assert valid.locals == (((2, "i32"), (1, ref_s)),)
    kinds = [FuncRef, TableType, MemType, GlobalType, TagType]
    assert [type(t) for t in valid.exports] == kinds
    assert valid.exports[0] == FuncRef(nothing)


def test_types_are_shared_between_modules() -> None:
    one = check("(module (rec (type $a (struct (field (ref null $b)))) (type $b (sub (func (param (ref $a)))))))")
    two = check(
        "(module (type (func)) (rec (type $a (struct (field (ref null $b)))) (type $b (sub (func (param (ref $a)))))))"
    )
    assert one.types == two.types[1:]
    alone = check("(module (type (struct (field (ref null func)))))")
    assert alone.types[0] not in one.types


def test_block_heights() -> None:
    valid = check(
        """(module (func (param i32) (result i32)
          (i32.const 1) (block) (i32.const 2) (loop (param i32) (drop))
          (if (result i32) (local.get 0) (then (try_table (result i32) (i32.const 3))) (else (i32.const 4)))
          (i32.add)) (func))"""
    )
    assert valid.block_heights == ((1, 1, 1, 1), ())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (("end",), "end without block"),
        (("else",), "else without if"),
        (("block",), "block without end"),
        (("block", "else", "end"), "else without if"),
    ],
)
def test_blocks_that_do_not_pair(body: tuple[str, ...], message: str) -> None:
    """No format can write these; a module made by hand can be so."""
    instrs = tuple(instr(name, None) if name == "block" else instr(name) for name in body)
    module = Module(types=(RecType((SubType(FuncType()),)),), funcs=(Func(0, (), instrs),))
    with pytest.raises(Invalid, match=message):
        validate(module)


def test_types_made_by_hand() -> None:
    for t in ("bot", "i8", "i128", RefType(True, "bot"), RefType(True, "thing"), RefType(True, -1)):
        with pytest.raises(Invalid, match="^unknown"):
            validate(Module(types=(RecType((SubType(FuncType((t,))),)),)))


def test_listener_hears_each_rule() -> None:
    heard: list[str] = []
    module = parse_module("(module (func (param i32) (result i32) (select (local.get 0) (i32.const 1) (local.get 0))))")
    assert validate(module, heard.append) == validate(module)
    instrs = [name for name in heard if name.startswith("Instr_ok/")]
    assert instrs == [f"Instr_ok/{n}" for n in ("local.get", "const", "local.get", "select-impl")]
    assert heard[-1] == "Module_ok"
    heard.clear()
    with pytest.raises(Invalid):
        validate(parse_module("(module (func (drop)))"), heard.append)
    assert "Instr_ok/drop" not in heard
    assert "Module_ok" not in heard
