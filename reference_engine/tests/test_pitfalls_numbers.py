"""What implementers in Python forget about numbers.

Elsewhere: arithmetic against exact rationals, and NaNs of every profile, in test_numerics_float.py and
test_numerics_profile.py; literals in test_text_numbers.py.  Here each pitfall is met in a running module.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from wasmlab_ref.case import parse_value, value
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.engine import written
from wasmlab_ref.text import parse_module, print_module

SIGNALLING, QUIET = 0x7FA0_0001, 0x7FE0_0001


def f32(x: float) -> int:
    return int.from_bytes(struct.pack("<f", x), "little")


def f64(x: float) -> int:
    return int.from_bytes(struct.pack("<d", x), "little")


def test_f32_results_are_rounded_once(world: Any) -> None:
    """1 + (2^-24 + 2^-60) lies just above a tie of f32; in f64 it is rounded to the tie, and then to even."""
    instance = world.load(
        """(func (export "add") (result f32) (f32.add (f32.const 1) (f32.const 0x1.000000p-24)))
           (func (export "mul") (param f32 f32) (result f32) (f32.mul (local.get 0) (local.get 1)))
           (func (export "demote") (param f64) (result f32) (f32.demote_f64 (local.get 0)))
           (func (export "convert") (param i64) (result f32) (f32.convert_i64_u (local.get 0)))
           (func (export "convert s") (param i64) (result f32) (f32.convert_i64_s (local.get 0)))
           (func (export "fma") (param v128 v128 v128) (result v128)
             (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))"""
    )
    assert world.call(instance, "add") == [f32(1)]
    tie = (1 << 40) + (1 << 16)
    assert world.call(instance, "convert", tie) == [f32(float(1 << 40))]
    above = (1 << 63) + (1 << 39) + 1  # as an f64 it is the tie
    assert world.call(instance, "convert", above) == [f32(float((1 << 63) + (1 << 40)))]
    assert world.call(instance, "convert s", (1 << 64) - (1 << 62) - (1 << 38) - 1) == [
        f32(-float((1 << 62) + (1 << 39)))
    ]
    assert world.call(instance, "demote", f64(1 + 2**-24)) == [f32(1)]
    assert world.call(instance, "demote", f64(1 + 2**-24) + 1) == [f32(1) + 1]


def test_f32_subnormals_are_rounded_once(world: Any) -> None:
    instance = world.load(
        '(func (export "f") (param f32 f32) (result f32) (f32.mul (local.get 0) (local.get 1)))'
        '(func (export "g") (param f32 f32) (result f32) (f32.div (local.get 0) (local.get 1)))'
    )
    assert world.call(instance, "f", 1, f32(0.5)) == [0]  # half of the least: a tie, to even
    assert world.call(instance, "f", 1, f32(0.5) + 1) == [1]
    assert world.call(instance, "f", 3, f32(0.5)) == [2]
    assert world.call(instance, "g", 1, f32(2)) == [0]
    assert world.call(instance, "g", 0x0080_0000, f32(2)) == [0x0040_0000]


@pytest.mark.parametrize("bits", [SIGNALLING, SIGNALLING | 1 << 31, 0x7F80_0001, 0xFFBF_FFFF])
def test_signalling_nans_pass_everywhere_unchanged(world: Any, bits: int) -> None:
    """`struct` would make quiet ones of them."""
    world.host("echo", ("f32",), ("f32",), lambda x: [x])
    wide = bits << 32 | bits
    payload = f"{'-' if bits >> 31 else ''}nan:0x{bits & 0x7F_FFFF:x}"
    text = f"""(import "host" "echo" (func $echo (param f32) (result f32))) (memory 1)
        (global $g (mut f32) (f32.const 0))
        (table funcref (elem $id)) (type $id (func (param f32) (result f32)))
        (type $s (struct (field (mut f32)))) (tag $t (param f32))
        (func (export "const") (result f32) (f32.const {payload}))
        (func $id (export "id") (param f32) (result f32) (local.get 0))
        (func (export "all") (param f32) (result f32)
          (f32.store (i32.const 1) (local.get 0))
          (global.set $g (f32.load (i32.const 1)))
          (call $echo (global.get $g))
          (call_indirect (type $id) (i32.const 0))
          (f32.reinterpret_i32 (i32.reinterpret_f32))
          (select (f32.const 0) (i32.const 1))
          (struct.get $s 0 (struct.new $s))
          (f32x4.extract_lane 2 (f32x4.splat))
          (block $h (param f32) (result f32) (try_table (param f32) (catch $t $h) (throw $t)) (unreachable))
          (f32.neg) (f32.neg) (f32.copysign (f32.const {"-" if bits >> 31 else ""}1)))
        (func (export "wide") (param f64) (result f64)
          (f64.store (i32.const 3) (local.get 0)) (f64.load (i32.const 3)))"""
    instance = world.load(encode(parse_module(print_module(parse_module(text)))))
    assert (
        world.call(instance, "const") == world.call(instance, "id", bits) == world.call(instance, "all", bits) == [bits]
    )
    assert world.call(instance, "wide", wide) == [wide]
    assert written([bits], ["f32"]) == [f"f32:{bits:x}"]
    assert parse_value(value("f32", bits)) == ("f32", bits)


def test_arithmetic_makes_nans_quiet(world: Any) -> None:
    instance = world.load(
        """(func (export "add") (param f32) (result f32) (f32.add (local.get 0) (f32.const 0)))
           (func (export "promote") (param f32) (result f64) (f64.promote_f32 (local.get 0)))
           (func (export "demote") (param f64) (result f32) (f32.demote_f64 (local.get 0)))
           (func (export "min") (param f32) (result f32) (f32.min (local.get 0) (f32.const 1)))
           (func (export "nearest") (param f32) (result f32) (f32.nearest (local.get 0)))"""
    )
    for name in ("add", "min", "nearest"):
        (bits,) = world.call(instance, name, SIGNALLING)
        assert bits & 0x7FC0_0000 == 0x7FC0_0000
    assert world.call(instance, "promote", SIGNALLING)[0] & 0x7FF8 << 48 == 0x7FF8 << 48
    assert world.call(instance, "demote", 0x7FF4 << 48)[0] & 0x7FC0_0000 == 0x7FC0_0000


def test_fused_multiply_add_without_math_fma(world: Any) -> None:
    """(1 + 2^-12)^2 - 1 exactly, or after one more rounding: the two results that relaxed_madd may have."""
    text = """(func (export "f") (param v128 v128 v128) (result v128)
                (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))"""
    factor, minus = f32(1 + 2**-12), f32(-1)
    splat = [sum(bits << 32 * i for i in range(4)) for bits in (factor, factor, minus)]
    (result,) = world.run(text, "f", *splat)
    fused, twice = f32(2**-11 + 2**-24), f32(2**-11)
    assert result in [sum(bits << 32 * i for i in range(4)) for bits in (fused, twice)]


def test_integer_literals_of_any_length() -> None:
    """`int()` refuses more than 4,300 decimal digits."""
    zeros = "0" * 5_000
    module = parse_module(
        f"(global i32 (i32.const {zeros}7)) (global i64 (i64.const -{zeros}1)) (global $0 f64 (f64.const {zeros}2))"
    )
    assert [g.init[0].args[0] for g in module.globals] == [7, (1 << 64) - 1, f64(2)]
    with pytest.raises(Exception, match="out of range"):
        parse_module(f"(global i32 (i32.const 1{zeros}))")
    with pytest.raises(Exception, match="out of range"):
        parse_module(f"(memory 1{zeros})")


@pytest.mark.parametrize(
    ("literal", "bits"),
    [
        ("1." + "0" * 4_000 + "1", 0x3FF0_0000_0000_0000),
        ("0x1.00000000000008" + "0" * 4_000, 0x3FF0_0000_0000_0000),  # a tie, to even
        ("0x1.00000000000008" + "0" * 4_000 + "1", 0x3FF0_0000_0000_0001),
        ("0x1.00000000000018" + "0" * 4_000, 0x3FF0_0000_0000_0002),
        ("1" + "0" * 5_000 + "e-5000", 0x3FF0_0000_0000_0000),
        ("0." + "0" * 5_000 + "1e5001", 0x3FF0_0000_0000_0000),
        ("1e-" + "9" * 5_000, 0),
        ("0x0.0" + "0" * 5_000 + "1p20008", 0x3FF0_0000_0000_0000),
        ("nan:0x8_0000_0000_0001", 0x7FF8_0000_0000_0001),
        ("-nan:0x1", 0xFFF0_0000_0000_0001),
        ("-inf", 0xFFF0_0000_0000_0000),
    ],
)
def test_float_literals_of_any_length_round_once(literal: str, bits: int) -> None:
    (global_,) = parse_module(f"(global f64 (f64.const {literal}))").globals
    assert global_.init[0].args == (bits,)


def test_f32_literals_do_not_round_through_f64() -> None:
    just_above = "0x1.0000010000000000000001"  # f64 makes a tie of it
    (global_,) = parse_module(f"(global f32 (f32.const {just_above}))").globals
    assert global_.init[0].args == (0x3F80_0001,)
    decimal = "1.00000005960464477539062500000000000000000000001"
    assert parse_module(f"(global f32 (f32.const {decimal}))").globals[0].init[0].args == (0x3F80_0001,)


@pytest.mark.parametrize("literal", ["nan:0x0", "nan:0x10_0000_0000_0000", "nan:1", "0x1p", "1e", "1e309", "0x1p1024"])
def test_float_literals_out_of_range(literal: str) -> None:
    with pytest.raises(Exception, match="out of range|unknown operator|unexpected token"):
        parse_module(f"(global f64 (f64.const {literal}))")


def test_values_travel_as_text_never_as_json_numbers() -> None:
    """A JSON number above 2^53, or a NaN, would not come back."""
    for type_, bits in (("i64", (1 << 64) - 1), ("f32", SIGNALLING), ("v128", (1 << 128) - 1), ("f64", 1 << 63)):
        assert parse_value(json.loads(json.dumps(value(type_, bits)))) == (type_, bits)
    for wrong in (
        "i32:1_0",
        "i32:-1",
        "i32: 1",
        "i32:1ffffffff",
        "f32:nan",
        "i32:",
        "i8:1",
        "i32:01",
        "i32:A",
        "i32:+1",
        "i32:0x1",
        "i32:\u0661",
        "ref.extern:-1",
        "ref.extern:1_0",
        "ref.i31:g",
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_value(wrong)


def test_constants_are_bits_in_both_formats() -> None:
    text = "(func (result f32 f64) (f32.const nan:0x200001) (f64.const -nan:0x4_0000_0000_0001))"
    module = parse_module(text)
    assert [step.args for step in module.funcs[0].body] == [(SIGNALLING,), (0xFFF4_0000_0000_0001,)]
    assert decode(encode(module)) == module


def test_shift_counts_and_divisions_at_the_edges(world: Any) -> None:
    instance = world.load(
        """(func (export "shl") (param i32 i32) (result i32) (i32.shl (local.get 0) (local.get 1)))
           (func (export "shr_s") (param i64 i64) (result i64) (i64.shr_s (local.get 0) (local.get 1)))
           (func (export "rotl") (param i64 i64) (result i64) (i64.rotl (local.get 0) (local.get 1)))
           (func (export "rem") (param i32 i32) (result i32) (i32.rem_s (local.get 0) (local.get 1)))
           (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))"""
    )
    assert world.call(instance, "shl", 1, 33) == [2]
    assert world.call(instance, "shr_s", 1 << 63, (1 << 64) - 1) == [(1 << 64) - 1]
    assert world.call(instance, "rotl", 3 << 62, 65) == [(1 << 63) + 1]
    assert world.call(instance, "rem", 1 << 31, 0xFFFF_FFFF) == [0]
    assert world.trap(instance, "div", 1 << 31, 0xFFFF_FFFF) == "integer overflow"
    assert world.call(instance, "div", 0xFFFF_FFF9, 2) == [0xFFFF_FFFD]  # -7 / 2 is -3, not -4
    assert world.call(instance, "rem", 0xFFFF_FFF9, 2) == [0xFFFF_FFFF]
