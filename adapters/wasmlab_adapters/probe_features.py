"""What a worker is probed with: for each feature a module and what its functions return, and values at the extremes."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from wasmlab_ref.case import Instantiate, Invoke, Outcome, Read, Register, Step

Probe: TypeAlias = tuple[str, list[tuple[Step, Outcome]]]
"""A module in the text format, and steps with what is right."""


def _call(export: str, args: str, results: str, kind: str = "returned", detail: str = "") -> tuple[Step, Outcome]:
    return Invoke("a", export, tuple(args.split())), Outcome(kind, tuple(results.split()), detail)


def _read(export: str, results: str) -> tuple[Step, Outcome]:
    return Read("a", export), Outcome("returned", tuple(results.split()))


def _same(type_: str, *bits: str) -> Probe:
    """Bits that go in as an argument, through a global, and come out as a result."""
    text = f"""(module (global $g (export "g") (mut {type_}) ({type_}.const 0{" 0 0 0" if type_ == "v128" else ""}))
        (func (export "f") (param {type_}) (result {type_}) (global.set $g (local.get 0)) (local.get 0)))"""
    if type_ == "v128":
        text = text.replace("v128.const 0", "v128.const i32x4 0")
    return text, [
        step for b in bits for step in (_call("f", f"{type_}:{b}", f"{type_}:{b}"), _read("g", f"{type_}:{b}"))
    ]


PROBES: dict[str, Probe] = {
    "mvp": ('(module (func (export "f") (result i32) (i32.const 42)))', [_call("f", "", "i32:2a")]),
    "sign-extension": (
        '(module (func (export "f") (param i32) (result i32) (i32.extend8_s (local.get 0))))',
        [_call("f", "i32:80", "i32:ffffff80")],
    ),
    "saturating-truncation": (
        '(module (func (export "f") (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0))))',
        [_call("f", "f32:7f800000", "i32:7fffffff")],
    ),
    "multi-value": (
        '(module (func (export "f") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0)))',
        [_call("f", "i32:1 i64:2", "i64:2 i32:1")],
    ),
    "bulk-memory": (
        """(module (memory 1) (data $d "\\05\\06")
            (func (export "f") (result i32)
                (memory.init $d (i32.const 1) (i32.const 0) (i32.const 2))
                (memory.copy (i32.const 4) (i32.const 0) (i32.const 4))
                (memory.fill (i32.const 5) (i32.const 9) (i32.const 1))
                (data.drop $d)
                (i32.load (i32.const 4))))""",
        [_call("f", "", "i32:60900")],
    ),
    "reference-types": (
        """(module (table $t (export "t") 2 externref) (func $f (export "f") (param externref) (result externref)
            (table.set $t (i32.const 1) (local.get 0)) (table.get $t (i32.const 1))))""",
        [
            _call("f", "ref.extern:7fffffff", "ref.extern:7fffffff"),
            _read("t", "i32:2 ref.null ref.extern:7fffffff"),
            _call("f", "ref.null", "ref.null"),
        ],
    ),
    "simd": (
        '(module (func (export "f") (param v128) (result v128) (i8x16.neg (local.get 0))))',
        [_call("f", "v128:102030405060708090a0b0c0d0e0f10", "v128:fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0")],
    ),
    "extended-const": (
        """(module (global $g i64 (i64.mul (i64.const 6) (i64.const 7)))
            (func (export "f") (result i64) (global.get $g)))""",
        [_call("f", "", "i64:2a")],
    ),
    "tail-call": (
        """(module (func $f (export "f") (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (return_call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 7)))))""",
        [_call("f", "i32:f4240", "i32:7")],
    ),
    "multi-memory": (
        """(module (memory 1) (memory $m (export "m") 1) (data (memory $m) (i32.const 0) "\\2a")
            (func (export "f") (result i32) (i32.load $m (i32.const 0))))""",
        [_call("f", "", "i32:2a")],
    ),
    "memory64": (
        """(module (memory i64 1) (data (i64.const 1) "\\2a")
            (func (export "f") (param i64) (result i32) (i32.load8_u (local.get 0))))""",
        [_call("f", "i64:1", "i32:2a")],
    ),
    "table64": (
        """(module (table (export "t") i64 2 funcref) (elem (i64.const 1) func $f)
            (func $f (export "f") (result i64) (table.size 0)))""",
        [_call("f", "", "i64:2"), _read("t", "i64:2 ref.null ref.func")],
    ),
    "relaxed-simd": (
        """(module (func (export "f") (param v128) (result v128)
            (i8x16.relaxed_swizzle (local.get 0) (v128.const i64x2 0 0))))""",
        [_call("f", "v128:11", "v128:11111111111111111111111111111111")],
    ),
    "function-references": (
        """(module (type $t (func (result i32))) (elem declare func $g) (func $g (type $t) (i32.const 42))
            (func (export "f") (result i32) (call_ref $t (ref.func $g))))""",
        [_call("f", "", "i32:2a")],
    ),
    "exceptions": (
        """(module (tag $e (export "e") (param i64 f32)) (tag $own)
            (func (export "f") (result i64 f32) (block $h (result i64 f32)
                (try_table (result i64 f32) (catch $e $h) (throw $e (i64.const -1) (f32.const nan:0x200000)))))
            (func (export "g") (throw $e (i64.const -2) (f32.const -nan:0x200001)))
            (func (export "h") (throw $own)))""",
        [
            _call("f", "", "i64:ffffffffffffffff f32:7fa00000"),
            _call("g", "", "i64:fffffffffffffffe f32:ffa00001", "threw", "e"),
            _call("h", "", "", "threw"),
        ],
    ),
    "gc": (
        """(module (type $s (struct (field (mut i32)))) (type $a (array i16))
            (func (export "f") (result i32) (struct.get $s 0 (struct.new $s (i32.const 42))))
            (func (export "any") (param anyref i31ref) (result anyref i31ref) (local.get 0) (local.get 1))
            (func (export "refs") (result anyref eqref structref arrayref nullref externref)
                (ref.i31 (i32.const -1)) (struct.new_default $s) (struct.new_default $s)
                (array.new_default $a (i32.const 9)) (ref.null none) (extern.convert_any (ref.i31 (i32.const 3)))))""",
        [
            _call("f", "", "i32:2a"),
            _call("any", "ref.extern:5 ref.i31:7fffffff", "ref.extern:5 ref.i31:7fffffff"),
            _call("any", "ref.i31:0 ref.null", "ref.i31:0 ref.null"),
            _call("refs", "", "ref.i31:7fffffff ref.struct ref.struct ref.array:9 ref.null ref.i31:3"),
        ],
    ),
    "threads": (
        """(module (memory (export "m") 1 1 shared)
            (func (export "f") (result i32) (atomic.fence)
                (i32.atomic.store offset=4 (i32.const 4) (i32.const 0x102))
                (drop (i32.atomic.rmw8.add_u (i32.const 8) (i32.const 0xff)))
                (i32.add (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))
                    (i32.atomic.rmw.cmpxchg (i32.const 8) (i32.const 0x101) (i32.const 7))))
            (func (export "g") (result i32) (memory.atomic.wait64 (i32.const 8) (i64.const 7) (i64.const 0)))
            (func (export "h") (result i64) (i32.atomic.store (i32.const 16) (i32.const -2))
                (i64.atomic.rmw32.add_u (i32.const 16) (i64.const 1))))""",
        [
            _call("f", "", "i32:102"),
            _call("g", "", "i32:2"),
            _call("h", "", "i64:fffffffe"),
        ],
    ),
    "custom-page-sizes": (
        """(module (memory (export "m") 3 6 (pagesize 1)) (data (i32.const 0) "abc")
            (func (export "f") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "g") (result i32) (i32.load16_u offset=2 (i32.const 1))))""",
        [
            _call("f", "i32:4", "i32:ffffffff"),
            _call("f", "i32:2", "i32:3"),
            _call("g", "", "i32:0"),
            _call("f", "i32:0", "i32:5"),
        ],
    ),
}
"""By feature."""

EXACT: list[tuple[str, tuple[str, ...], Probe]] = [
    ("i32", ("mvp",), _same("i32", "0", "ffffffff", "80000000")),
    ("i64", ("mvp",), _same("i64", "ffffffffffffffff", "8000000000000000", "7fffffffffffffff", "20000000000001")),
    ("f32", ("mvp",), _same("f32", "7fa00000", "ffa00001", "7f800001", "ffffffff", "80000000", "1", "7fc00000")),
    ("f64", ("mvp",), _same("f64", "7ff4000000000001", "fff0000000000001", "8000000000000000", "1")),
    (
        "v128",
        ("simd",),
        _same("v128", "ffa00001_7fa00001_fff00000_00000001".replace("_", ""), "80000000000000007ff0000000000001"),
    ),
]
"""Values that tend to be lost on the way: name, features needed, probe."""


def across(features: Collection[str]) -> tuple[list[str], list[tuple[Step, Outcome]]]:
    """Bits that go from module to module: as arguments and results, in globals, in exceptions.

    For each type two modules in the text format, and steps with what is right.
    """
    values = {"i64": "i64:8000000000000001", "f32": "f32:7fa00001", "f64": "f64:fff0000000000001"}
    if "simd" in features:
        values["v128"] = "v128:ffa000017fa00001fff0000000000001"
    able = "exceptions" in features
    texts: list[str] = []
    steps: list[tuple[Step, Outcome]] = []
    for type_, value in values.items():
        zero = f"({type_}.const {'i64x2 0 0' if type_ == 'v128' else '0'})"
        first = f"""(module (global $g (export "g") (mut {type_}) {zero})
            (func (export "f") (param {type_}) (result {type_}) (global.set $g (local.get 0)) (local.get 0)) {{}})"""
        second = f"""(module (import "{type_}" "f" (func $f (param {type_}) (result {type_})))
            (import "{type_}" "g" (global $g (mut {type_}))) {{}}
            (func (export "call") (param {type_}) (result {type_}) (drop (call $f (local.get 0))) (global.get $g)))"""
        throws = f"""(tag $e (export "e") (param {type_}))
            (func (export "throw") (param {type_}) (throw $e (local.get 0)))"""
        catches = f"""(import "{type_}" "e" (tag $e (param {type_})))
            (import "{type_}" "throw" (func $throw (param {type_})))
            (func (export "caught") (param {type_}) (result {type_}) (block $h (result {type_})
                (try_table (catch $e $h) (call $throw (local.get 0))) unreachable))"""
        number = len(texts)
        texts += [first.format(throws if able else ""), second.format(catches if able else "")]
        steps += [(step, Outcome("returned")) for step in (Instantiate(type_, number), Register(type_, type_))]
        steps.append((Instantiate("a", number + 1), Outcome("returned")))
        steps += [_call(export, value, value) for export in ("call", "caught")[: 1 + able]]
    return texts, steps
