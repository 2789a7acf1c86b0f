"""Validation of instruction sequences: one line for each thing that validators forget."""

from __future__ import annotations

import pytest

from wasmlab_ref import validate_code
from wasmlab_ref.isa import INSTRUCTIONS
from wasmlab_ref.outcome import Invalid
from wasmlab_ref.rules import RULES
from wasmlab_ref.text import parse_module
from wasmlab_ref.validate import validate
from wasmlab_ref.validate_stack import SPECIAL

DEFINITIONS = """
  (type $f (func)) (type $i (func (param i32) (result i32))) (type $g (sub (func (result anyref))))
  (type $h (sub $g (func (result eqref))))
  (type $s (sub (struct (field $p (mut i8)) (field $c i32) (field $r (mut anyref)))))
  (type $t (sub $s (struct (field (mut i8)) (field i32) (field (mut anyref)) (field i64))))
  (type $n (struct (field (ref $s))))
  (type $a (array (mut i16))) (type $b (array i32)) (type $r (array (mut anyref))) (type $e (array (mut eqref)))
  (type $x (array (mut (ref $s)))) (type $d (array (mut i8)))
  (memory $m 1) (memory $w i64 1)
  (table $tf 1 funcref) (table $te 1 externref) (table $tw i64 1 funcref) (table $tg 1 (ref null $g))
  (global $const i32 (i32.const 0)) (global $var (mut i32) (i32.const 0))
  (tag $none) (tag $int (param i32))
  (elem $el func $fun) (elem $eq eqref) (data $data "x")
  (func $fun) (func $int_int (param i32) (result i32) (local.get 0)) (func $eqref (result eqref) (ref.null eq))
"""


def check(function: str) -> None:
    validate(parse_module(f"(module {DEFINITIONS} (func {function}))"))


VALID = [
    # unreachable code is polymorphic, down to the block's own height only
    "unreachable i32.add drop",
    "unreachable drop drop drop",
    "(result i32) unreachable",
    "(result i32) unreachable select",
    "(result i64) unreachable i64.const 0 i32.const 0 select",
    "(result i64) i64.const 0 unreachable select",
    "unreachable select unreachable",
    "unreachable select drop",
    "unreachable (block (param i32) drop)",
    "unreachable (block (result i32) (i32.const 1)) drop",
    "(result f32) block br 0 f32.neg drop end f32.const 0",
    "return drop",
    # br_table looks at each label by itself when operands are missing
    "(result i32) (block (result f32) unreachable br_table 0 1 1) drop i32.const 0",
    "(result anyref) (block (result eqref) (ref.null i31) (br_table 0 1 (i32.const 0)))",
    # branches on references, in reachable and unreachable code
    "(param funcref) (block (br_on_null 0 (local.get 0)) (drop (block (result (ref func)) unreachable)) drop)",
    "(param externref) (result (ref extern)) (br_on_non_null 0 (local.get 0)) unreachable",
    "(param anyref) (result i31ref) (br_on_cast 0 anyref i31ref (local.get 0)) drop (ref.null i31)",
    "(param anyref) (result anyref) (br_on_cast_fail 0 anyref (ref i31) (local.get 0)) (block (param (ref i31)) drop)"
    " ref.null any",
    "(param anyref) (result (ref any)) (br_on_cast_fail 0 anyref i31ref (local.get 0)) (i31.get_s) drop unreachable",
    "unreachable br_on_null 0 (block (param (ref func)) drop)",
    "unreachable br_on_null 0 (block (param (ref extern)) drop)",
    "unreachable ref.as_non_null (block (param (ref $s)) drop)",
    "unreachable ref.is_null drop",
    "(result (ref any)) unreachable any.convert_extern",
    "(result (ref extern)) unreachable extern.convert_any",
    "(param (ref i31)) (result (ref extern)) (extern.convert_any (local.get 0))",
    "unreachable array.get_s $a drop",
    "unreachable struct.set $s $r",
    "unreachable array.new_fixed $a 4294967295 drop",
    "unreachable call_ref $i drop",
    "unreachable throw_ref",
    # blocks
    "(param i32) (if (local.get 0) (then) (else)) (if (local.get 0) (then))",
    "(result i32) (i32.const 1) (if (param i32) (result i32) (i32.const 2) (then))",
    "(result eqref) (ref.i31 (i32.const 1)) (if (param eqref) (result eqref) (i32.const 2) (then))",
    "(loop (br 0))",
    "(result i32) (i32.const 0) (loop (param i32) (result i32) (br 0))",
    "(result i32) (i32.const 0) (block (type $i))",
    # br_if leaves the label's types
    "(result anyref) (ref.null i31) (br_if 0 (i32.const 0))",
    # try_table: labels of clauses count from outside
    "(result i32) (try_table (catch $int 0)) (i32.const 0)",
    "(result i32 exnref) (try_table (catch_ref $int 0)) unreachable",
    "(result exnref) (block $l (result exnref) (try_table (catch_all_ref $l)) (ref.null exn))",
    "(block $l (try_table (catch_all $l) (catch $none $l) (br 0)))",
    # calls
    "(return_call $fun)",
    "(result i32) (return_call $int_int (i32.const 0))",
    "(result anyref) (return_call $eqref)",
    "(result i32) (return_call_indirect $tf (type $i) (i32.const 0) (i32.const 0))",
    "(call_indirect $tw (type $f) (i64.const 0))",
    "(param (ref null $h)) (drop (call_ref $g (local.get 0)))",
    "(drop (call_indirect $tg (type $h) (i32.const 0)))",
    "(param (ref $f)) (return_call_ref $f (local.get 0))",
    # locals without a default
    "(local (ref func)) (local.set 0 (ref.func $fun)) (drop (local.get 0))",
    "(local (ref func)) (local.set 0 (ref.func $fun)) (block (drop (local.get 0)))",
    "(local (ref func)) (drop (local.tee 0 (ref.func $fun))) (drop (local.get 0))",
    "(param (ref func)) (drop (local.get 0))",
    "(local (ref func)) (block (local.set 0 (ref.func $fun)) (drop (local.get 0)))",
    "(local (ref func)) (local.set 0 (ref.func $fun)) (block (local.set 0 (ref.func $fun))) (drop (local.get 0))",
    # widths
    "(memory.copy $m $w (i32.const 0) (i64.const 0) (i32.const 0))",
    "(memory.copy $w $m (i64.const 0) (i32.const 0) (i32.const 0))",
    "(memory.copy $w $w (i64.const 0) (i64.const 0) (i64.const 0))",
    "(table.copy $tf $tw (i32.const 0) (i64.const 0) (i32.const 0))",
    "(table.copy $tw $tw (i64.const 0) (i64.const 0) (i64.const 0))",
    "(table.copy $tf $tg (i32.const 0) (i32.const 0) (i32.const 0))",
    "(memory.fill $w (i64.const 0) (i32.const 0) (i64.const 0))",
    "(memory.init $w $data (i64.const 0) (i32.const 0) (i32.const 0))",
    "(table.init $tw $el (i64.const 0) (i32.const 0) (i32.const 0))",
    "(table.fill $tw (i64.const 0) (ref.null func) (i64.const 0))",
    "(drop (i64.eqz (table.grow $tw (ref.null func) (i64.const 0))))",
    "(drop (i64.eqz (memory.grow $w (memory.size $w))))",
    "(drop (i32.load $m offset=0xffff_ffff (i32.const 0)))",
    "(drop (i32.load $w offset=0x1_0000_0000 (i64.const 0)))",
    "(drop (i32.load $w offset=0xffff_ffff_ffff_ffff (i64.const 0)))",
    # structures and arrays
    "(param (ref null $t)) (drop (struct.get_s $s $p (local.get 0)))",
    "(drop (struct.new $s (i32.const 0) (i32.const 0) (ref.null i31)))",
    "(drop (struct.new_default $t))",
    "(param (ref null $a)) (drop (array.get_u $a (local.get 0) (i32.const 0)))",
    "(param (ref $r) (ref $e))"
    " (array.copy $r $e (local.get 0) (i32.const 0) (local.get 1) (i32.const 0) (i32.const 0))",
    "(drop (array.new_elem $r $eq (i32.const 0) (i32.const 0)))",
    "(drop (array.new_data $b $data (i32.const 0) (i32.const 0)))",
    "(drop (array.len (ref.null array)))",
    "(drop (array.len (ref.null none)))",
    # casts go from the top of the hierarchy
    "(param anyref) (drop (ref.cast (ref $t) (local.get 0))) (drop (ref.test nullref (local.get 0)))",
    "(param funcref) (drop (ref.cast (ref null $h) (local.get 0)))",
    "(drop (ref.eq (ref.null none) (ref.i31 (i32.const 0))))",
    "(drop (select (result funcref) (ref.null func) (ref.func $fun) (i32.const 0)))",
    "(drop (select (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0) (i32.const 0)))",
]


@pytest.mark.parametrize("function", VALID)
def test_valid(function: str) -> None:
    check(function)


MISMATCH = [
    "i32.add drop",
    "unreachable i64.const 0 i32.add drop",
    "unreachable (block i32.add drop)",
    "i32.const 0",
    "unreachable i32.const 0",
    "(result i32) unreachable i64.const 0",
    "(result i32) unreachable i32.const 0 i32.const 0",
    "unreachable f32.const 0 i32.const 0 i32.const 0 select drop",
    "unreachable ref.null func i32.const 0 select drop",
    "(select (ref.null func) (ref.null func) (i32.const 0)) drop",
    "(result i64) unreachable i64.const 0 i32.const 0 select i32.eqz",
    "unreachable i32.const 0 ref.is_null drop",
    "unreachable i32.const 0 ref.as_non_null drop",
    "unreachable (ref.null func) any.convert_extern drop",
    "(if (i32.const 1) (then (i32.const 0)))",
    "(result i32) (if (result i32) (i32.const 1) (then (i32.const 0)))",
    "i32.const 0 block drop end drop",
    "(i32.const 1) (if (param i32) (i32.const 2) (then drop))",
    "unreachable (block (param i32))",
    "(block (result i32) (i64.const 0)) drop",
    "(block (param i32) drop)",
    "(result i32) (block (result f32) (f32.const 0) (br_table 0 1 (i32.const 0))) drop i32.const 0",
    "(result i32) (block unreachable br_table 0 1) i32.const 0",
    "(result eqref) (ref.null any) (br_table 0 (i32.const 0))",
    "(result anyref) (block (result eqref) (ref.null any) (br_table 0 1 (i32.const 0)))",
    "(result anyref) (ref.null i31) (br_if 0 (i32.const 0)) (i31.get_s) drop (ref.null any)",
    "(param funcref) (block (br_on_non_null 0 (local.get 0)))",
    "(param anyref) (result i31ref) (br_on_cast 0 anyref anyref (local.get 0)) drop (ref.null i31)",
    "(param eqref) (result anyref) (br_on_cast 0 eqref anyref (local.get 0))",
    "(param anyref) (result (ref any)) (br_on_cast_fail 0 anyref (ref i31) (local.get 0))",
    "(param anyref) (br_on_cast 0 anyref i31ref (local.get 0)) drop",
    "(result i32) (br_on_cast 0 anyref i31ref (ref.null any)) drop i32.const 0",
    "(param i32) (call $int_int (i64.const 0)) drop",
    "(call_indirect $te (type $f) (i32.const 0))",
    "(call_indirect $tw (type $f) (i32.const 0))",
    "(return_call $int_int (i32.const 0))",
    "(result eqref) (return_call_indirect $tf (type $g) (i32.const 0))",
    "(param (ref null $g)) (drop (call_ref $h (local.get 0)))",
    "(call_ref $s (ref.null $s))",
    "(throw $int)",
    "(throw_ref (ref.null any))",
    "(block $l (try_table (catch $int $l)))",
    "(result i32) (block (result i32) (try_table (catch_all 0)) (i32.const 0))",
    "(result i32) (block (result i32) (try_table (catch_ref $int 0)) (i32.const 0))",
    "(result (ref null exn)) (block (result i31ref) (try_table (catch_all_ref 0)) (ref.null i31)) drop ref.null exn",
    "(memory.copy $m $w (i32.const 0) (i64.const 0) (i64.const 0))",
    "(memory.copy $w $m (i32.const 0) (i64.const 0) (i32.const 0))",
    "(table.copy $tf $tw (i32.const 0) (i64.const 0) (i64.const 0))",
    "(table.copy $tg $tf (i32.const 0) (i32.const 0) (i32.const 0))",
    "(table.init $te $el (i32.const 0) (i32.const 0) (i32.const 0))",
    "(memory.fill $m (i32.const 0) (f32.const 0) (i32.const 0))",
    "(memory.fill $w (i64.const 0) (i32.const 0) (i32.const 0))",
    "(memory.init $w $data (i64.const 0) (i64.const 0) (i64.const 0))",
    "(drop (i32.load $w (i32.const 0)))",
    "(drop (i32.eqz (memory.size $w)))",
    "(drop (i32.eqz (table.size $tw)))",
    "(param (ref null $s)) (drop (struct.get $s $p (local.get 0)))",
    "(param (ref null $s)) (drop (struct.get_s $s $c (local.get 0)))",
    "(param (ref null $a)) (drop (array.get $a (local.get 0) (i32.const 0)))",
    "(param (ref null $b)) (drop (array.get_u $b (local.get 0) (i32.const 0)))",
    "(param (ref null $s)) (drop (struct.get $t 3 (local.get 0)))",
    "(drop (struct.new_default $n))",
    "(drop (array.new_default $x (i32.const 0)))",
    "(drop (struct.new $f))",
    "(drop (array.new $s (i32.const 0) (i32.const 0)))",
    "(drop (struct.get $a 0 (ref.null $a)))",
    "(drop (array.new_elem $r $el (i32.const 0) (i32.const 0)))",
    "(drop (array.new_elem $b $el (i32.const 0) (i32.const 0)))",
    "(array.init_elem $e $el (ref.null $e) (i32.const 0) (i32.const 0) (i32.const 0))",
    "(drop (array.new_fixed $b 2 (i32.const 0)))",
    "(drop (array.len (ref.null eq)))",
    "(drop (ref.eq (ref.null any) (ref.null eq)))",
    "(drop (ref.test (ref i31) (ref.null func)))",
    "(drop (ref.cast (ref func) (ref.null any)))",
    "(param (ref i31)) (result (ref extern)) (extern.convert_any (ref.null i31))",
    "(local i32) (local.set 0 (i64.const 0))",
    "(global.set $var (i64.const 0))",
    "(block (type $s))",
]


@pytest.mark.parametrize("function", MISMATCH)
def test_type_mismatch(function: str) -> None:
    with pytest.raises(Invalid, match="^type mismatch"):
        check(function)


OTHER = {
    "(drop (local.get 0))": "unknown local 0",
    "(local i32) (local.set 1 (i32.const 0))": "unknown local 1",
    "(br 1)": "unknown label 1",
    "(br_table 0 0 7 0 (i32.const 0))": "unknown label 7",
    "(block (try_table (catch_all 2)))": "unknown label 2",
    "(call 9)": "unknown function 9",
    "(drop (ref.func 9))": "unknown function 9",
    "(drop (ref.null 99))": "unknown type 99",
    "(drop (ref.test (ref 99) (ref.null any)))": "unknown type 99",
    "(block (result (ref 99)) unreachable) drop": "unknown type 99",
    "(drop (global.get 9))": "unknown global 9",
    "(global.set $const (i32.const 0))": "immutable global",
    "(drop (table.size 9))": "unknown table 9",
    "(drop (memory.size 9))": "unknown memory 9",
    "(drop (i32.load 9 (i32.const 0)))": "unknown memory 9",
    "(throw 9)": "unknown tag 9",
    "(data.drop 9)": "unknown data segment 9",
    "(elem.drop 9)": "unknown elem segment 9",
    "(memory.init 9 (i32.const 0) (i32.const 0) (i32.const 0))": "unknown data segment 9",
    "(table.init $tf 9 (i32.const 0) (i32.const 0) (i32.const 0))": "unknown elem segment 9",
    "(drop (array.new_data $b 9 (i32.const 0) (i32.const 0)))": "unknown data segment 9",
    "(drop (struct.get $s 9 (ref.null $s)))": "unknown field 9",
    "(struct.set $s $c (ref.null $s) (i32.const 0))": "immutable field",
    "(array.set $b (ref.null $b) (i32.const 0) (i32.const 0))": "immutable array",
    "(array.fill $b (ref.null $b) (i32.const 0) (i32.const 0) (i32.const 0))": "immutable array",
    "(array.init_data $b $data (ref.null $b) (i32.const 0) (i32.const 0) (i32.const 0))": "immutable array",
    "(array.copy $b $b (ref.null $b) (i32.const 0) (ref.null $b) (i32.const 0) (i32.const 0))": "immutable array",
    "(array.copy $e $r (ref.null $e) (i32.const 0) (ref.null $r) (i32.const 0) (i32.const 0))": "array types do not",
    "(array.copy $a $d (ref.null $a) (i32.const 0) (ref.null $d) (i32.const 0) (i32.const 0))": "array types do not",
    "(drop (array.new_data $r $data (i32.const 0) (i32.const 0)))": "array type is not numeric or vector",
    "(drop (i32.load align=8 (i32.const 0)))": "alignment must not be larger than natural",
    "(drop (v128.load8_splat align=2 (i32.const 0)))": "alignment must not be larger than natural",
    "(drop (i32.load $m offset=0x1_0000_0000 (i32.const 0)))": "offset out of range",
    "(v128.store64_lane $m offset=0x1_0000_0000 0 (i32.const 0) (v128.const i64x2 0 0))": "offset out of range",
    "(drop (i8x16.extract_lane_s 16 (v128.const i64x2 0 0)))": "invalid lane index",
    "(v128.store64_lane 2 (i32.const 0) (v128.const i64x2 0 0))": "invalid lane index",
    "unreachable (i8x16.shuffle 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 32) drop": "invalid lane index",
    "(drop (select (result i32 i32) (i32.const 0) (i32.const 0) (i32.const 0)))": "invalid result arity",
    "(drop (select (result) (i32.const 0) (i32.const 0) (i32.const 0)))": "invalid result arity",
    "(local (ref func)) (drop (local.get 0))": "uninitialized local 0",
    "(local (ref func)) (block (local.set 0 (ref.func $fun))) (drop (local.get 0))": "uninitialized local 0",
    "(local (ref func)) (if (i32.const 0) (then (local.set 0 (ref.func $fun))) (else (drop (local.get 0))))": "uninit",
    "(local (ref func)) (try_table (local.set 0 (ref.func $fun))) (drop (local.get 0))": "uninitialized local 0",
    "(local (ref func)) unreachable (drop (local.get 0))": "uninitialized local 0",
    "(local i32 (ref func)) (drop (local.get 0)) (drop (local.get 1))": "uninitialized local 1",
}


@pytest.mark.parametrize(("function", "message"), OTHER.items())
def test_other_errors(function: str, message: str) -> None:
    with pytest.raises(Invalid, match=f"^{message}"):
        check(function)


def test_message_names_types_as_the_module_does() -> None:
    with pytest.raises(Invalid) as caught:
        check("(i32.add (struct.new_default $s) (ref.null func)) drop")
    assert caught.value.message == "type mismatch: instruction requires [i32 i32] but stack has [(ref 4) funcref]"


def test_every_instruction_has_a_check_and_a_rule() -> None:
    assert set(validate_code.CHECKS) == set(INSTRUCTIONS)
    assert set(SPECIAL) == {op.rule for op in INSTRUCTIONS if op.params is None}
    for op in INSTRUCTIONS:
        if op.specified and op.rule not in ("else", "end", "select"):
            assert f"Instr_ok/{op.rule}" in RULES
