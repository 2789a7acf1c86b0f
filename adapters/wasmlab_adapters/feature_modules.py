"""For each feature a module that uses all of it: an engine that compiles it can be given any module with the feature.

    python -m wasmlab_adapters.feature_modules > adapters/wasmlab_adapters/workers/features.tsv

Workers, which may run where nothing else of the lab is, find them in that file: on each line the name of a feature,
what it builds on, and the module in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from wasmlab_ref.encode import encode
from wasmlab_ref.features import FEATURES
from wasmlab_ref.isa import INSTRUCTIONS, MEMARGS, Instruction
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import RefType, ValType

TEXTS = {
    "mvp": """(memory 1 2) (table 2 funcref) (global $g (mut i32) (i32.const 0))
        (type $f (func (param i32) (result i32)))
        (elem (i32.const 0) $f) (data (i32.const 0) "a")
        (func $f (type $f)
            (block (br 0) unreachable) (loop (br_if 0 (i32.const 0)) (br_table 0 0 (i32.const 0)))
            (if (local.get 0) (then nop) (else (return (i32.const 0))))
            (global.set $g (global.get $g)) (local.set 0 (local.tee 0 (local.get 0))) (drop (i32.const 0))
            (drop (select (i32.const 0) (i32.const 0) (i32.const 0)))
            (call_indirect (type $f) (call $f (i32.const 0)) (i32.const 0)))""",
    "multi-value": """(func $f (param i32) (result i32 i64) (local.get 0) (i64.const 1)
            (block (param i32 i64) (result i32 i64)) (loop (param i32 i64) (result i32 i64))
            (if (param i32 i64) (result i32 i64) (local.get 0) (then) (else)))
        (func (result i32 i64) (call $f (i32.const 1)))""",
    "bulk-memory": """(memory 1) (table 2 funcref) (data "a") (elem func)
        (func (memory.copy (i32.const 0) (i32.const 0) (i32.const 0))
            (table.init 0 (i32.const 0) (i32.const 0) (i32.const 0))
            (table.copy (i32.const 0) (i32.const 0) (i32.const 0)))""",
    "reference-types": """(table $t 2 externref) (table $f 2 funcref) (global (mut externref) (ref.null extern))
        (elem declare func 0) (elem (table $f) (i32.const 0) funcref (ref.null func) (ref.func 0))
        (func (param externref funcref) (result externref)
            (table.set $t (i32.const 0) (table.get $t (i32.const 0))) (drop (ref.is_null (local.get 0)))
            (drop (table.grow $f (ref.func 0) (table.size $t)))
            (table.fill $t (i32.const 0) (ref.null extern) (i32.const 1))
            (table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 0))
            (call_indirect $f (param i32) (i32.const 0) (i32.const 0))
            (select (result externref) (local.get 0) (local.get 0) (i32.const 0)))""",
    "simd": """(memory 1) (global v128 (v128.const i64x2 0 0))
        (func (param v128) (result v128) (local v128) (local.get 1))""",
    "extended-const": """(global $i (import "a" "b") i32) (memory 1)
        (global i64 (i64.mul (i64.add (i64.const 1) (i64.const 1)) (i64.const 2)))
        (data (i32.sub (i32.const 1) (i32.mul (global.get $i) (i32.const 1))) "a")""",
    "tail-call": """(table 1 funcref) (func $f (return_call $f))
        (func (param f32 i64) (result i32) (return_call_indirect (param f32 i64 i64 i64 i64 i64 i64 i64) (result i32)
            (local.get 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
            (i64.const 0) (i32.const 0)))""",
    "multi-memory": """(memory 1) (memory $m 1) (data (memory $m) (i32.const 0) "a") (data $d "b")
        (func (i64.store8 $m (i32.const 0) (i64.load32_s $m offset=8 (i32.const 0)))
            (drop (memory.grow $m (memory.size $m)))
            (memory.copy 0 $m (i32.const 0) (i32.const 0) (i32.const 0))
            (memory.fill $m (i32.const 0) (i32.const 0) (i32.const 0))
            (memory.init $m $d (i32.const 0) (i32.const 0) (i32.const 0)))""",
    "memory64": """(memory i64 1 0x10000) (data (i64.const 1) "a") (data $d "b")
        (func (i64.store8 (i64.const 0) (i64.load32_s offset=0x7fffffffffffffff (i64.const 0)))
            (drop (memory.grow (memory.size))) (memory.copy (i64.const 0) (i64.const 0) (i64.const 0))
            (memory.fill (i64.const 0) (i32.const 0) (i64.const 0))
            (memory.init $d (i64.const 0) (i32.const 0) (i32.const 0)))""",
    "table64": """(table $t i64 2 funcref) (table $n 2 funcref) (elem (table $t) (i64.const 1) func $f)
        (elem $e func $f)
        (func $f (table.set $t (i64.const 0) (table.get $t (i64.const 0)))
            (drop (table.grow $t (ref.null func) (table.size $t)))
            (table.fill $t (i64.const 0) (ref.null func) (i64.const 1))
            (table.copy $n $t (i32.const 0) (i64.const 0) (i32.const 0))
            (table.init $t $e (i64.const 0) (i32.const 0) (i32.const 0))
            (call_indirect $t (i64.const 0)))""",
    "relaxed-simd": "",
    "function-references": """(type $t (func (param i32) (result i32))) (elem declare func $f)
        (table $r 2 (ref $t) (ref.func $f)) (global (ref $t) (ref.func $f)) (elem (ref $t) (ref.func $f))
        (func $f (type $t) (return_call_ref $t (call_ref $t (local.get 0) (ref.func $f)) (table.get $r (i32.const 0))))
        (func (param (ref null $t)) (result (ref $t)) (local (ref $t))
            (block $null (block $some (result (ref $t)) (br_on_non_null $some (local.get 0)) (br $null)) (return))
            (block (local.set 1 (br_on_null 0 (local.get 0))) (return (local.get 1)))
            (ref.as_non_null (local.get 0)))""",
    "exceptions": """(tag $e (import "a" "b") (param i32 f64)) (tag $n) (global (mut exnref) (ref.null exn))
        (func (param i32) (result i32)
            (block $h (result i32 f64 exnref) (block $a (result exnref)
                (block $x (try_table (catch $n $x) (throw $n)))
                (try_table (result i32) (catch_ref $e $h) (catch_all_ref $a) (throw $e (local.get 0) (f64.const 0)))
                (return)) (throw_ref))
            (throw_ref))
        (func (block (try_table (catch_all 0) (return))))""",
    "gc": """(rec (type $s (sub (struct (field (mut i8)) (field i64) (field (ref null $s)))))
            (type $t (sub final $s (struct (field (mut i8)) (field i64) (field (ref null $s)) (field (mut f64))))))
        (type $b (array (mut i16))) (type $f (array (mut f32))) (type $r (array (mut anyref))) (data $d "abcd")
        (type $p (array (mut (ref null $s)))) (elem $e anyref (ref.i31 (i32.const 1)) (struct.new_default $s))
        (elem $es (ref null $s) (struct.new $s (i32.const 1) (i64.const 0) (ref.null none)))
        (table 1 i31ref) (table 1 (ref array) (array.new $b (i32.const 1) (i32.const 2)))
        (global (ref $f) (array.new_fixed $f 2 (f32.const 0) (f32.const 0)))
        (global (mut eqref) (ref.null none))
        (func (param (ref $s) (ref null $b) arrayref anyref) (result i32)
            (drop (struct.new $s (i32.const 1) (i64.const 0) (struct.new_default $s)))
            (drop (array.new_fixed $f 1 (f32.const 0))) (drop (struct.get $s 1 (local.get 0)))
            (drop (struct.get_s $s 0 (local.get 0)))
            (struct.set $s 0 (local.get 0) (struct.get_u $s 0 (local.get 0)))
            (drop (array.new_default $r (i32.const 3))) (drop (array.new_data $b $d (i32.const 0) (i32.const 2)))
            (drop (array.new_elem $r $e (i32.const 0) (i32.const 2)))
            (drop (array.get $f (array.new $f (f32.const 0) (i32.const 1)) (i32.const 0)))
            (drop (array.get_s $b (local.get 1) (i32.const 0)))
            (array.set $b (local.get 1) (i32.const 0) (array.get_u $b (local.get 1) (i32.const 0)))
            (array.fill $b (local.get 1) (i32.const 0) (i32.const 0) (array.len (local.get 2)))
            (array.fill $p (ref.null none) (i32.const 0) (local.get 0) (i32.const 0))
            (array.copy $b $b (local.get 1) (i32.const 0) (local.get 1) (i32.const 0) (i32.const 0))
            (array.copy $r $p (ref.null $r) (i32.const 0) (ref.null $p) (i32.const 0) (i32.const 0))
            (array.init_data $b $d (local.get 1) (i32.const 0) (i32.const 0) (i32.const 0))
            (array.init_elem $p $es (ref.null $p) (i32.const 0) (i32.const 0) (i32.const 0))
            (drop (any.convert_extern (extern.convert_any (local.get 3)))) (drop (ref.cast (ref null $t) (local.get 3)))
            (drop (block $l (result anyref) (br_on_cast $l anyref (ref i31) (local.get 3))))
            (drop (block $l (result anyref) (br_on_cast_fail $l anyref (ref null $b) (local.get 3))))
            (i32.add (ref.test (ref $t) (local.get 3)) (ref.test nullref (local.get 3))))""",
    "threads": "(memory 1 2 shared)",
    "custom-page-sizes": """(memory 1000 2000 (pagesize 1)) (data (i32.const 996) "abcd")
        (func (param i32) (result i32) (drop (memory.grow (memory.size))) (i32.load (local.get 0)))""",
}  # fmt: skip
"""What the table of instructions does not tell by itself; the sections that the other instructions need."""


def feature_module(feature: str) -> bytes:
    """The binary of a feature's module."""
    return encode(parse_module(f"(module {TEXTS.get(feature, '')} {' '.join(_functions(feature))})"))


def _functions(feature: str) -> Iterator[str]:
    """A function for each instruction whose type the table tells."""
    for row in INSTRUCTIONS:
        if row.feature == feature and row.params is not None and row.results is not None:
            types = [[_type(t) for t in side] for side in (row.params, row.results)]
            operands = " ".join(f"(local.get {at})" for at in range(len(types[0])))
            instr = f"({row.mnemonic} {_immediates(row)} {operands})"
            yield f"(func (param {' '.join(types[0])}) (result {' '.join(types[1])}) {instr})"


def _type(type_: ValType) -> str:
    if isinstance(type_, RefType):
        return f"(ref {'null ' * type_.nullable}{type_.heap})"
    return "i32" if type_ == "at" else type_


def _immediates(row: Instruction) -> str:
    texts = []
    for kind in row.immediates:
        name, _, bound = kind.partition(":")
        if name == "lane":
            texts.append(str(int(bound) - 1))
        elif name == "lanes":
            texts.append(" ".join(map(str, range(16, 32))))
        elif name == "v128":
            texts.append("i64x2 1 2")
        elif name not in (*MEMARGS, "memory", "zero"):
            texts.append("0")
    return " ".join(texts)


def lines() -> Iterator[str]:
    """The lines of the file."""
    for feature in FEATURES:
        if feature != "annotations":
            implied = ",".join(name for name in FEATURES if name in FEATURES[feature].implies)
            yield f"{feature}\t{implied}\t{base64.b64encode(feature_module(feature)).decode()}\n"


if __name__ == "__main__":
    print("".join(lines()), end="")
