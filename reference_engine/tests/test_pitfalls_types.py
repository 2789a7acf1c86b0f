"""What implementers forget about types.

Elsewhere: locals and tables without a default, declared references, bottom types after an unconditional branch, packed
fields that need a sign, in test_validate_code.py and test_validate.py; matching of every kind of type in test_match.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from wasmlab_ref.outcome import Thrown, Unlinkable
from wasmlab_ref.store import HostRef

PAIR = "(rec (type $a (struct (field (ref null $b)))) (type $b (struct (field (ref null $a)) (field i32))))"


def test_groups_are_canonical_across_modules_and_iso_recursive(world: Any) -> None:
    world.load(f'{PAIR} (func (export "make") (result (ref any)) (struct.new $b (ref.null $a) (i32.const 7)))', "maker")
    user = """(type (func)) {} (import "maker" "make" (func $make (result (ref any))))
              (func (export "is") (result i32) (ref.test (ref $b) (call $make)))"""
    assert world.run(user.format(PAIR), "is") == [1]
    longer = PAIR[:-1] + " (type (struct)))"
    turned = "(rec (type $b (struct (field (ref null $a)) (field i32))) (type $a (struct (field (ref null $b)))))"
    unrolled = f"{PAIR.replace('$a', '$c').replace('$b', '$d')} (type $b (struct (field (ref null $c)) (field i32)))"
    for other in (longer, turned, unrolled):
        assert world.run(user.format(other), "is") == [0]


def test_call_indirect_goes_by_identity_and_subtyping(world: Any) -> None:
    types = "(type $top (sub (func (result anyref)))) (type $sub (sub $top (func (result i31ref))))"
    world.load(
        f"""{types} (table (export "t") 3 funcref) (elem (i32.const 0) $top $sub)
            (func $top (type $top) (ref.null any)) (func $sub (type $sub) (ref.i31 (i32.const 3)))""",
        "owner",
    )
    user = world.load(
        f"""(type $alone (func (result anyref))) {types} (import "owner" "t" (table 3 funcref))
            (func (export "top") (param i32) (result anyref) (call_indirect (type $top) (local.get 0)))
            (func (export "sub") (param i32) (result anyref) (call_indirect (type $sub) (local.get 0)))
            (func (export "alone") (param i32) (result anyref) (return_call_indirect (type $alone) (local.get 0)))"""
    )
    assert [world.call(user, "top", i) for i in (0, 1)] == [[None], [3]]
    assert world.call(user, "sub", 1) == [3]
    assert world.trap(user, "sub", 0) == "indirect call type mismatch"
    assert [world.trap(user, "alone", i) for i in (0, 1)] == ["indirect call type mismatch"] * 2


def test_ref_cast_of_functions_goes_by_declared_supertypes(world: Any) -> None:
    instance = world.load(
        """(type $top (sub (func))) (type $sub (sub $top (func))) (type $other (sub $top (func (param))))
           (type $leaf (sub final $sub (func)))
           (func $leaf (type $leaf)) (elem declare func $leaf)
           (func (export "sub") (result i32) (ref.test (ref $sub) (ref.func $leaf)))
           (func (export "final") (drop (ref.cast (ref $leaf) (ref.func $leaf))))
           (func (export "sibling") (param funcref) (drop (ref.cast (ref null $l2) (local.get 0))))
           (type $l2 (sub final $sub (func (result))))
           (rec (type $r (sub $sub (func))) (type (func)))
           (func (export "grouped") (param funcref) (drop (ref.cast (ref $r) (local.get 0))))
           (func (export "leaf") (result funcref) (ref.func $leaf))"""
    )
    (leaf,) = world.call(instance, "leaf")
    assert world.call(instance, "sub") == [1]
    assert world.call(instance, "final") == []
    assert world.call(instance, "sibling", leaf) == []  # declared in the same way, so the same type
    assert world.trap(instance, "grouped", leaf) == "cast failure"


@pytest.mark.parametrize(
    ("export", "import_", "links"),
    [
        ("(global (export {}) (mut anyref) (ref.null any))", "(global (mut anyref))", True),
        ("(global (export {}) (mut i31ref) (ref.null i31))", "(global (mut anyref))", False),
        ("(global (export {}) (mut anyref) (ref.null any))", "(global (mut i31ref))", False),
        ("(global (export {}) i31ref (ref.null i31))", "(global anyref)", True),
        ("(global (export {}) anyref (ref.null any))", "(global i31ref)", False),
        ("(global (export {}) (mut i32) (i32.const 0))", "(global i32)", False),
        ("(global (export {}) i32 (i32.const 0))", "(global (mut i32))", False),
        ("(table (export {}) 1 funcref)", "(table 1 (ref null func))", True),
        ("(type $f (func)) (table (export {}) 1 (ref null $f))", "(table 1 funcref)", False),
        ("(table (export {}) 1 funcref)", "(table 1 nullfuncref)", False),
        ("(table (export {}) 5 funcref)", "(table 3 funcref)", True),
        ("(table (export {}) 5 funcref)", "(table 5 9 funcref)", False),
        ("(table (export {}) 5 7 funcref)", "(table 5 9 funcref)", True),
        ("(table (export {}) 5 10 funcref)", "(table 5 9 funcref)", False),
        ("(table (export {}) i64 5 funcref)", "(table 5 funcref)", False),
        ("(memory (export {}) 2 3)", "(memory 1 3)", True),
        ("(memory (export {}) 2 3)", "(memory 1)", True),
        ("(memory (export {}) 2)", "(memory 1 3)", False),
        ("(memory (export {}) 2 3)", "(memory 3)", False),
        ("(memory (export {}) i64 2)", "(memory i64 1)", True),
        ("(memory (export {}) 2)", "(memory i64 1)", False),
        ("(type $f (sub (func))) (type $g (sub $f (func))) (func (export {}) (type $g))", "(func (type $f))", True),
        ("(type $f (sub (func))) (type $g (sub $f (func))) (func (export {}) (type $f))", "(func (type $g))", False),
        ("(func (export {}) (param anyref))", "(func (param i31ref))", False),
        ("(type $t (func (param i32))) (tag (export {}) (type $t))", "(tag (param i32))", True),
        ("(type $t (sub (func))) (tag (export {}) (type $t))", "(tag)", False),
        ("(type $f (sub (func))) (type $g (sub $f (func))) (tag (export {}) (type $g))", "(tag (type $f))", False),
    ],
)
def test_imports_match_invariantly_or_by_range(world: Any, export: str, import_: str, links: bool) -> None:
    world.load(export.format('"x"'), "owner")
    text = f'(type $f (sub (func))) (type $g (sub $f (func))) (import "owner" "x" {import_})'
    if links:
        world.load(text)
    else:
        with pytest.raises(Unlinkable, match="incompatible import type"):
            world.load(text)


def test_tags_match_by_identity_not_by_type(world: Any) -> None:
    world.load('(tag $t (export "t")) (tag (export "u")) (func (export "throw") (throw $t))', "owner")
    catcher = """(import "owner" "{}" (tag $t)) (import "owner" "throw" (func $throw))
                 (func (export "f") (result i32)
                   (block $h (try_table (catch $t $h) (call $throw)) (return (i32.const 0))) (i32.const 1))"""
    assert world.run(catcher.format("t"), "f") == [1]
    with pytest.raises(Thrown):
        world.run(catcher.format("u"), "f")


def test_tags_have_no_results(invalid: Any) -> None:
    assert invalid("(tag (result i32))").startswith("non-empty tag result type")
    assert invalid('(type $t (func (result i32))) (import "" "" (tag (type $t)))').startswith("non-empty tag result")


def test_bottom_types_are_run_too(world: Any) -> None:
    """Code after an unconditional branch has operands of no type: it is valid, translated, and never reached."""
    instance = world.load(
        """(func (export "br_table") (result i32)
             (block $a (result i32)
               (block $b (result i32) (br $a (i32.const 1)) (br_table $a $b $a)) (drop) unreachable))
           (func (export "br_on") (result i32)
             (block $l (result (ref any)) (br_if $l (ref.i31 (i32.const 5)) (i32.const 1)) (return (i32.const 2))
               (ref.as_non_null) (drop) (br_on_cast $l anyref (ref i31))
               (br_on_cast_fail $l anyref nullref) unreachable)
             (i31.get_s (ref.cast (ref i31))))
           (func (export "select") (result i32) (return (i32.const 3)) (select) (select (i32.const 1)) (drop))"""
    )
    assert world.call(instance, "br_table") == [1]
    assert world.call(instance, "br_on") == [5]
    assert world.call(instance, "select") == [3]


def test_packed_fields_wrap_and_extend(world: Any) -> None:
    instance = world.load(
        """(type $s (struct (field (mut i8)) (field (mut i16)))) (type $a (array (mut i16)))
           (func (export "s") (param i32) (result i32 i32 i32 i32) (local $s (ref $s))
             (local.set $s (struct.new $s (local.get 0) (local.get 0)))
             (struct.get_s $s 0 (local.get $s)) (struct.get_u $s 0 (local.get $s))
             (struct.get_s $s 1 (local.get $s)) (struct.get_u $s 1 (local.get $s)))
           (func (export "a") (param i32) (result i32 i32) (local $a (ref $a))
             (local.set $a (array.new $a (i32.const 0) (i32.const 2)))
             (array.set $a (local.get $a) (i32.const 1) (local.get 0))
             (array.get_s $a (local.get $a) (i32.const 1)) (array.get_u $a (local.get $a) (i32.const 1)))"""
    )
    assert world.call(instance, "s", 0xABCD_FF80) == [0xFFFF_FF80, 0x80, 0xFFFF_FF80, 0xFF80]
    assert world.call(instance, "s", 0x1234_7F7F) == [0x7F, 0x7F, 0x7F7F, 0x7F7F]
    assert world.call(instance, "a", 0x0001_8000) == [0xFFFF_8000, 0x8000]


def test_conversions_between_the_hierarchies_keep_identity(world: Any) -> None:
    instance = world.load(
        """(type $s (struct))
           (global $s (ref $s) (struct.new $s))
           (func (export "same") (result i32)
             (ref.eq (global.get $s) (ref.cast eqref (any.convert_extern (extern.convert_any (global.get $s))))))
           (func (export "round") (param externref) (result externref)
             (extern.convert_any (any.convert_extern (local.get 0))))
           (func (export "i31") (param externref) (result i32)
             (i31.get_u (ref.cast i31ref (any.convert_extern (local.get 0)))))
           (func (export "is eq") (param externref) (result i32)
             (ref.test eqref (any.convert_extern (local.get 0))))
           (func (export "out") (param anyref) (result externref) (extern.convert_any (local.get 0)))"""
    )
    assert world.call(instance, "same") == [1]
    for ref in (None, HostRef(3), 5):
        assert world.call(instance, "round", ref) == [ref]
    (outside,) = world.call(instance, "out", 77)
    assert world.call(instance, "i31", outside) == [77]
    assert world.call(instance, "is eq", HostRef(3)) == [0]
    assert world.call(instance, "is eq", None) == [1]


def test_i31_wraps(world: Any) -> None:
    instance = world.load(
        """(func (export "f") (param i32) (result i32 i32)
             (i31.get_s (ref.i31 (local.get 0))) (i31.get_u (ref.i31 (local.get 0))))
           (func (export "eq") (param i32 i32) (result i32)
             (ref.eq (ref.i31 (local.get 0)) (ref.i31 (local.get 1))))"""
    )
    assert world.call(instance, "f", 0xFFFF_FFFF) == [0xFFFF_FFFF, 0x7FFF_FFFF]
    assert world.call(instance, "f", 0x4000_0000) == [0xC000_0000, 0x4000_0000]
    assert world.call(instance, "f", 0x8000_0001) == [1, 1]
    assert world.call(instance, "eq", 0x8000_0001, 1) == [1]
