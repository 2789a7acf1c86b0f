"""Hostile texts: any depth, any length, any bytes end in a module or a clear error, with work linear in their size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmlab_ref.outcome import Invalid, Malformed
from wasmlab_ref.script import parse_script
from wasmlab_ref.text import parse_module, print_module

BITS = str.maketrans({"0": "i32 ", "1": "i64 "})
HOSTILE: dict[str, Callable[[int], str]] = {
    "open blocks": lambda n: "(module (func " + "(block " * n,
    "closed blocks": lambda n: "(func " + "(block " * n + ")" * n + ")",
    "flat blocks": lambda n: "(func " + "block " * n + "end " * n + ")",
    "flat unclosed": lambda n: "(func " + "block " * n + ")",
    "outermost label": lambda n: "(func block $a " + "block $b br $a " * n + "end " * n + "end)",
    "folded ifs": lambda n: "(func " + "(if (i32.const 0) (then " * n + "))" * n + ")",
    "ifs as conditions": lambda n: "(func " + "(if " * n + "(i32.const 0)" + "(then))" * n + ")",
    "parentheses": lambda n: "(" * n,
    "parentheses in a function": lambda n: "(func " + "(" * n,
    "closing parentheses": lambda n: ")" * n,
    "nested comments": lambda n: "(;" * n + ";)" * n,
    "unclosed comments": lambda n: "(;" * n,
    "comments": lambda n: "(;a;)" * n,
    "nested annotations": lambda n: "(@a " * n + ")" * n,
    "unclosed annotations": lambda n: "(@a " * n,
    "custom annotations": lambda n: "(module " + '(@custom "a")' * n + ")",
    "branch hints": lambda n: "(func " + '(@metadata.code.branch_hint "\\00") br_if 0 ' * n + ")",
    "annotated modules": lambda n: '(module (@custom "a"))' * n,
    "a string": lambda n: '(data "' + "abcdefghij" * n + '")',
    "escapes": lambda n: '(data "' + "\\00" * n + '")',
    "an unclosed string": lambda n: '(data "' + "abcdefghij" * n,
    "unclosed strings": lambda n: "(data " + '"a\n' * n,
    "quotes": lambda n: '"' * n,
    "a reserved token": lambda n: "(func " + '"a"' * n + ")",
    "functions": lambda n: "".join(f"(func $f{i} call $f{i})" for i in range(n)),
    "types": lambda n: "(rec " + "(type (func))" * n + ")",
    "implicit types": lambda n: "".join(f"(func (param {f'{i:b}'.translate(BITS)}))" for i in range(n)),
    "inline segments": lambda n: "(table funcref (elem 0))" * n,
    "a type for many": lambda n: "(type (func (param " + "i32 " * n + ")))" + "(func (type 0))" * n,
    "an integer": lambda n: "(global i32 i32.const " + "1" * n + ")",
    "a decimal": lambda n: "(global f64 f64.const 0." + "1" * n + ")",
    "an exponent": lambda n: "(global f64 f64.const 1e-" + "9" * n + ")",
    "a hex float": lambda n: "(global f64 f64.const 0x0." + "1" * n + "p" + "9" * n + ")",
    "locals": lambda n: "(func (local " + "i32 " * n + "))",
    "nested either": lambda n: '(assert_return (invoke "a") ' + "(either " * n,
    "assertions": lambda n: '(assert_return (invoke "a" (i32.const 1)) (i32.const 2))\n' * n,
}  # fmt: skip


def outcomes(text: str | bytes) -> list[Any]:
    """A module and a script, or the errors with a place that there are instead."""
    results: list[Any] = []
    for read in (parse_module, parse_script):
        try:
            results.append(read(text))
        except (Malformed, Invalid) as error:
            results.append(error)
    return results


def check(results: list[Any]) -> None:
    for result in results:
        if isinstance(result, Malformed):
            assert result.line is not None
            assert len(result.message) < 200


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile(text: Callable[[int], str], linear: Callable[..., None]) -> None:
    def job(n: int) -> Callable[[], object]:
        return partial(outcomes, text(n))

    linear(job, 250)
    check(outcomes(text(4_000)))  # far beyond the recursion limit


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_megabytes(text: Callable[[int], str]) -> None:
    check(outcomes(text(200_000)))


WORDS = """( ) module func param result local i32 i64 $x $y 0 1 -1 0x1p1 nan "a" "\\ff" block loop if then else end br
    br_table call_indirect type table memory data elem item offset ref null funcref import export rec sub final struct
    field mut array i32.const v128.const i8x16 select try_table catch catch_all declare start global tag i32.load
    offset=1 align=2 (@custom (@name (@metadata.code.branch_hint (; ;) definition instance quote binary
    invoke assert_return assert_trap register get either ref.null ref.extern nan:canonical f32x4 memory.init"""
PIECES = st.sampled_from([*WORDS.split(), ";; \n"])


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=40).map(" ".join))
def test_any_words(text: str) -> None:
    check(outcomes(text))


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text(text: str | bytes) -> None:
    check(outcomes(text))


SAMPLE = print_module(
    parse_module(
        """(rec (type $s (sub (struct (field $f (mut i8))))) (type (sub $s (struct (field (mut i8)) (field f32)))))
        (import "m" "f" (func $i (param i32) (result i64))) (table 1 funcref) (memory i64 1 2) (tag $e (param i32))
        (global (mut v128) (v128.const i32x4 1 2 3 4)) (export "f" (func $f)) (start $f)
        (data "a\\00") (elem func $i)
        (func $f (local i32 f64) (block $l (try_table (catch $e $l) (br_table 0 1 (local.get 0)))) drop
          (struct.get_u $s $f (ref.null $s)) drop select (result i32)) (@custom "c" (after type) "d")"""
    )
)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 12), st.text(max_size=3) | PIECES)
def test_a_damaged_module(start: int, length: int, insert: str) -> None:
    text = SAMPLE[:start] + insert + SAMPLE[start + length :]
    try:
        module = parse_module(text)
    except (Malformed, Invalid):
        return
    assert parse_module(print_module(module)) == module
