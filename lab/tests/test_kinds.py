"""The oracle's own test: a table of the kinds of difference, one row a kind.

What `ref/py` says to the cases below is recorded; a row changes one thing in it.  Every kind of forbidden difference
must be reported, with the engine that shows it; no kind of permitted difference may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
from zoo import case_of

from wasmlab.judgement import Arbiter, Judgement
from wasmlab.opening import open_engine
from wasmlab.oracle import Answer, Verdict
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register
from wasmlab_ref.features import WASM_3

NAN = "(f32.div (f32.const 0) (f32.const 0))"
PAYLOAD = "(f32.add (f32.const nan:0x200001) (f32.const 1))"
NAN_F64 = "(f64.div (f64.const 0) (f64.const 0))"
SIGN = f"(i32.shr_u (i32.reinterpret_f32 {NAN}) (i32.const 31))"

FUNCTIONS: dict[str, tuple[str, str]] = {
    "numbers": ("i32 f32 f64 v128",
                "(i32.const 42) (f32.const -0) (f64.const inf) (v128.const i64x2 1 0)"),
    "nothing": ("", ""),
    "divide": ("i32", "(i32.div_s (i32.const 1) (i32.const 0))"),
    "throw": ("", "(throw $t (i32.const 1) (f32.const 2))"),
    "number": ("i32", "(i32.const 7)"),
    "objects": ("(ref null $s) anyref (ref null $a) eqref",
                "(global.get $o) (global.get $o) (array.new_default $a (i32.const 3)) (ref.i31 (i32.const 7))"),
    "host": ("", "(call $log (i32.const 1) (i64.const 2)) (call $log (i32.const 3) (i64.const 4))"),
    "private": ("i32", "(global.set $p (i32.add (global.get $p) (i32.const 1))) (global.get $p)"),
    "peek": ("i32", "(i32.load $q (i32.const 0))"),
    "div-nan": ("f32", NAN),
    "payload": ("f32", PAYLOAD),
    "two": ("f32", "(f32.min (f32.const nan) (f32.const nan:0x1))"),
    "round": ("f32", "(f32.ceil (f32.const nan))"),
    "promote": ("f64", f"(f64.promote_f32 {PAYLOAD})"),
    "demote": ("f32", f"(f32.demote_f64 {NAN_F64})"),
    "lanes": ("v128", "(f32x4.sqrt (v128.const f32x4 nan nan:0x123 1 -1))"),
    "lanes64": ("v128", "(f64x2.sub (v128.const f64x2 inf 1) (v128.const f64x2 inf 1))"),
    "negated": ("f32", "(f32.neg (f32.const nan:0x5))"),
    "bits": ("i32", f"(i32.reinterpret_f32 {NAN})"),
    "masked": ("i32", f"(i32.and (i32.reinterpret_f32 {PAYLOAD}) (i32.const 0x7f000000))"),
    "compared": ("i32", f"(f32.eq {PAYLOAD} {PAYLOAD})"),
    "field": ("f32", f"(struct.get $f 0 (struct.new $f {NAN}))"),
    "element": ("i32", f"(array.get_u $a (array.new $a {SIGN} (i32.const 2)) (i32.const 1))"),
    "caught": ("f32", f"(block $b (result i32 f32) (try_table (catch $t $b) (throw $t (i32.const 1) {NAN}))"
               " (i32.const 0) (f32.const 0)) (local.set 0) (drop) (local.get 0)"),
    "scalar": ("i31ref", f"(ref.i31 {SIGN})"),
    "either": ("i32", f"(select (i32.const 4) (i32.const 5) {SIGN})"),
    "stored": ("", f"(f32.store (i32.const 8) {PAYLOAD}) (global.set $g {NAN})"),
    "thrown": ("", f"(throw $t (i32.const 1) {NAN})"),
    "traps": ("", "(array.copy $a $a (ref.null $a) (i32.const 0) (array.new_default $a (i32.const 1)) (i32.const 1)"
              " (i32.const 1))"),
}  # fmt: skip
MODULE = f"""(module (type $s (struct)) (type $f (struct (field f32))) (type $a (array (mut i8)))
  (import "lab" "log" (func $log (param i32 i64)))
  (memory (export "memory") 1 4) (memory $q 1) (data $d (memory $q) (i32.const 0) "\\07")
  (global $g (export "global") (mut f32) (f32.const 0)) (global $p (mut i32) (i32.const 4))
  (global $o (export "object") (ref null $s) (struct.new $s))
  (table (export "table") (ref null any) (elem (global.get $o) (ref.null any) (global.get $o)
    (ref.i31 (i32.const 3))))
  (table (export "functions") funcref (elem (ref.func $log) (ref.null func)))
  (tag $t (export "t") (param i32 f32)) (tag $u (export "u") (param i32 f32))
  {"".join(f'(func (export "{n}") {f"(result {t})" if t else ""} (local f32) {body})' for n, (t, body) in FUNCTIONS.items())})"""  # noqa: E501
READS = ("memory", "table", "functions", "global", "object")
MAIN = case_of(
    MODULE, "(module (func $s unreachable) (start $s))",
    steps=(Instantiate("a", 0), Register("a", "a"), *(Invoke("a", name) for name in FUNCTIONS), Instantiate("b", 1),
           *(Read("a", name) for name in READS)),
)  # fmt: skip
AT = {name: at for at, name in enumerate(("instance", "registered", *FUNCTIONS, "start", *READS))}


def calling(body: str, results: str = "i32", more: str = "") -> Case:
    """A case of one call."""
    text = f"""(module (import "lab" "log" (func $log (param i32 i64))) (memory 1 4) (data (i32.const 0) "\\02\\01")
      (table funcref (elem $two $one)) (func $two (result i32) (i32.const 2)) (func $one (result i32) (i32.const 1))
      {more} (func (export "f") (result {results}) {body}))"""
    return case_of(text, steps=(Instantiate("a", 0), Invoke("a", "f")))


def descending(depth: int) -> Case:
    """A recursion of some depth."""
    more = f"""(func $r (param i32) (result i32) (if (result i32) (i32.lt_u (local.get 0) (i32.const {depth}))
      (then (call $r (i32.add (local.get 0) (i32.const 1)))) (else (i32.const 1))))"""
    return calling("(call $r (i32.const 0))", more=more)


def relaxed(mnemonic: str, operands: str) -> Case:
    """A relaxed instruction on operands for which its choices differ."""
    return calling(f"({mnemonic} {operands})", "v128")


BIG, NEGATIVE = "(v128.const f32x4 0x1p+33 nan 1 -inf)", "(v128.const f64x2 0x1p+40 nan)"
ONES = "(v128.const i32x4 -1 -1 -1 -1)"
CASES = {
    "main": MAIN,
    "branch": calling(f"(if (result i32) {SIGN} (then (i32.const 1)) (else (i32.const 2)))"),
    "address": calling(f"(i32.load8_u {SIGN})"),
    "trap": calling(f"(i32.div_u (i32.const 1) {SIGN})"),
    "host call": calling(f"(call $log {SIGN} (i64.const 1)) (i32.const 2)"),
    "index": calling(f"(call_indirect (result i32) {SIGN})"),
    "grow": calling("(memory.grow (i32.const 1)) (memory.size)", "i32 i32"),
    "deep": descending(2000),
    "shallow": descending(10),
    "endless": calling("(loop (br 0)) (i32.const 1)"),
    "invalid": case_of("(module (func (result i32)))", steps=(Instantiate("a", 0), Invoke("a", "f"))),
    "unlinkable": case_of('(module (import "x" "y" (func)))', steps=(Instantiate("a", 0),)),
    "malformed": Case((b"\0asm\2\0\0\0",), (Instantiate("a", 0),)),
    "gc": case_of("(module (type (struct)))", steps=(Instantiate("a", 0),)),
    "i8x16.relaxed_swizzle": relaxed("i8x16.relaxed_swizzle", f"{ONES} (v128.const i32x4 0x12 0x7f 0x80 0xff)"),
    "i32x4.relaxed_trunc_f32x4_s": relaxed("i32x4.relaxed_trunc_f32x4_s", BIG),
    "i32x4.relaxed_trunc_f32x4_u": relaxed("i32x4.relaxed_trunc_f32x4_u", BIG),
    "i32x4.relaxed_trunc_f64x2_s_zero": relaxed("i32x4.relaxed_trunc_f64x2_s_zero", NEGATIVE),
    "f32x4.relaxed_madd": relaxed("f32x4.relaxed_madd", " ".join(
        f"(v128.const f32x4 {x} 0 0 0)" for x in ("0x1.000002p0", "0x1.000002p0", "-0x1.000004p0"))),
    "f32x4.relaxed_min": relaxed("f32x4.relaxed_min", "(v128.const f32x4 nan 0 0 0) (v128.const f32x4 1 1 1 1)"),
    "f64x2.relaxed_max": relaxed("f64x2.relaxed_max", "(v128.const f64x2 -0 0) (v128.const f64x2 0 0)"),
    "i32x4.relaxed_laneselect": relaxed("i32x4.relaxed_laneselect", f"{ONES} (v128.const i32x4 0 0 0 0)"
                                        " (v128.const i32x4 0x80000000 1 0 -1)"),
    "i16x8.relaxed_q15mulr_s": relaxed("i16x8.relaxed_q15mulr_s", "(v128.const i16x8 -32768 0 0 0 0 0 0 0)"
                                       " (v128.const i16x8 -32768 0 0 0 0 0 0 0)"),
    "i16x8.relaxed_dot_i8x16_i7x16_s": relaxed("i16x8.relaxed_dot_i8x16_i7x16_s",
                                               f"(v128.const i32x4 1 0 0 0) {ONES}"),
}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What an engine answered."""

    outcomes: tuple[Outcome, ...]
    trace: tuple[str, ...] = ()

    def but(self, step: int, outcome: Outcome) -> Said:
        """The same with another outcome of a step."""
        return replace(self, outcomes=(*self.outcomes[:step], outcome, *self.outcomes[step + 1 :]))


Reference = Callable[..., Said]
Edit = Callable[[Said, Reference], Said]


@dataclass(frozen=True)
class Kind:
    """A kind of difference: the case, what the other engine says instead, and what is known of that engine."""

    case: str
    edit: Edit
    choices: Mapping[str, str] | None = None
    features: frozenset[str] = WASM_3
    merged: frozenset[str] = frozenset()
    full: tuple[int, int] | None = None
    """A byte of a memory that differs, its address and value."""


def outcome(where: int | str, kind: str, *values: str, detail: str = "", case: str = "main", **more: object) -> Kind:
    """Another outcome of one step."""
    step = AT[where] if isinstance(where, str) else where
    return Kind(case, lambda right, _: right.but(step, Outcome(kind, values, detail)), **more)  # type: ignore[arg-type]


def value(where: str, *values: str, **more: object) -> Kind:
    """Other values of one step."""
    return outcome(where, "returned", *values, **more)  # type: ignore[arg-type]


def call(case: str, kind: str, *values: str, detail: str = "", **more: object) -> Kind:
    """Another outcome of the call of a small case."""
    return outcome(1, kind, *values, detail=detail, case=case, **more)


def first(case: str, kind: str, detail: str = "", **more: object) -> Kind:
    """Another outcome of the instantiation."""
    return outcome(0, kind, detail=detail, case=case, **more)


def trace(*calls: str) -> Kind:
    """Other host calls."""
    return Kind("main", lambda right, _: replace(right, trace=calls))


def chosen(mnemonic: str, choice: int, shown: str = "") -> Kind:
    """What another choice gives, on an engine that showed `shown`."""
    return Kind(mnemonic, lambda _, ref: ref(CASES[mnemonic], **{mnemonic: choice}), {mnemonic: shown or str(choice)})


def under(nan: str) -> Kind:
    """A whole run with the NaNs of another machine."""
    return Kind("main", lambda _, ref: ref(MAIN, nan=nan))


def byte(at: int, number: int) -> Kind:
    """Another byte in memory."""
    digest = Outcome("returned", ("i64:10000", "digest:0123456789abcdef"))
    return Kind("main", lambda right, _: right.but(AT["memory"], digest), full=(at, number))


def everywhere(kind: str, detail: str = "", case: str = "main") -> Kind:
    """Every step ends so: where nobody can say at which it was."""
    return Kind(case, lambda right, _: replace(right, outcomes=(Outcome(kind, (), detail),) * len(right.outcomes)))


def shortened(right: Said, _: Reference) -> Said:
    return replace(right, outcomes=right.outcomes[:-1])


def behind_fuel(right: Said, _: Reference) -> Said:
    tired = right.but(AT["nothing"], Outcome("exhausted", (), "fuel"))
    return tired.but(AT["peek"], Outcome("crashed", (), "SIGSEGV"))


SWIZZLE = {"i8x16.relaxed_swizzle": "0"}
SMALLEST = ("i32:2a", "f32:80000000", "f64:7ff0000000000000", "v128:1")

FORBIDDEN: dict[str, Kind] = {
    # results
    "one bit of an i32": value("numbers", "i32:2b", *SMALLEST[1:]),
    "the sign of a zero": value("numbers", "i32:2a", "f32:0", *SMALLEST[2:]),
    "the largest number for infinity": value("numbers", *SMALLEST[:2], "f64:7fefffffffffffff", "v128:1"),
    "a NaN for infinity": value("numbers", *SMALLEST[:2], "f64:7ff8000000000000", "v128:1"),
    "the top bit of a vector": value("numbers", *SMALLEST[:3], "v128:80000000000000000000000000000001"),
    "another type of the same bits": value("numbers", "i64:2a", *SMALLEST[1:]),
    "a result too few": value("numbers", *SMALLEST[:3]),
    "a result too many": value("numbers", *SMALLEST, "i32:0"),
    "results in another order": value("numbers", SMALLEST[1], SMALLEST[0], *SMALLEST[2:]),
    "a result of nothing": value("nothing", "i32:0"),
    # NaNs beyond what is left open
    "a payload of a generated NaN": value("div-nan", "f32:7fc00001"),
    "a signalling NaN made": value("div-nan", "f32:7fa00000"),
    "a number for a NaN": value("div-nan", "f32:0"),
    "infinity for a NaN": value("div-nan", "f32:7f800000"),
    "a signalling NaN kept by arithmetic": value("payload", "f32:7fa00001"),
    "a NaN that is neither canonical nor quiet, of two": value("two", "f32:7f800001"),
    "a payload from rounding a canonical NaN": value("round", "f32:7fc00001"),
    "a NaN made quiet by negation": value("negated", "f32:ffc00005"),
    "the sign that negation gives": value("negated", "f32:7f800005"),
    "another number beside a NaN's lane": value("lanes", "v128:7fc000003f8000017fc001237fc00000"),
    "a NaN in a lane of numbers": value("lanes64", "v128:7ff80000000000007ff8000000000000"),
    "other bits of a NaN seen as an integer": value("bits", "i32:7fc00001"),
    "bits that are the same in all NaNs": value("masked", "i32:7e000000"),
    "equal NaNs": value("compared", "i32:1"),
    "a payload in a structure": value("field", "f32:7fc00001"),
    "a payload in what was caught": value("caught", "f32:7fc00001"),
    "neither of two selected": value("either", "i32:6"),
    "a payload in a global": value("global", "f32:7fc00001"),
    # ends
    "a trap where there is none": outcome("number", "trapped", detail="unreachable"),
    "no trap where there is one": value("divide", "i32:0"),
    "another trap": outcome("divide", "trapped", detail="integer overflow"),
    "another trap of several": outcome("divide", "trapped", detail="integer overflow|invalid conversion to integer"),
    "neither of two traps": outcome("traps", "trapped", detail="cast failure"),
    "an exception for a trap": outcome("divide", "threw"),
    "a trap for an exception": outcome("throw", "trapped", detail="unreachable"),
    "another payload": outcome("throw", "threw", "i32:2", "f32:40000000", detail="t"),
    "no payload": outcome("throw", "threw", detail="t"),
    "another tag": outcome("throw", "threw", "i32:1", "f32:40000000", detail="u"),
    "no exception": value("throw"),
    "an exception out of nothing": outcome("nothing", "threw", "i32:1", "f32:40000000", detail="t"),
    "a trap in an instantiation that succeeds": outcome("instance", "trapped", detail="unreachable"),
    "success of a start function that traps": value("start"),
    # state, also behind traps and where it is private
    "state after a trap": value("number", "i32:8"),
    "a private global, by its accessor": value("private", "i32:4"),
    "a private memory, by its accessor": value("peek", "i32:0"),
    "one byte of a memory": byte(65535, 1),
    "a byte beside an open one": byte(12, 1),
    "the size of a memory": value("memory", "i64:20000", "digest:0123456789abcdef"),
    "the size of a table": value("table", "i32:3", "ref.struct", "ref.null", "ref.same:1"),
    "null for a function": value("functions", "i32:2", "ref.null", "ref.null"),
    "a function for null": value("functions", "i32:2", "ref.func", "ref.func"),
    "null for an object in a global": value("object", "ref.null"),
    # objects
    "an array for a structure": value("objects", "ref.array:0", "ref.same:0", "ref.array:3", "ref.i31:7"),
    "the length of an array": value("objects", "ref.struct", "ref.same:0", "ref.array:4", "ref.i31:7"),
    "another scalar": value("objects", "ref.struct", "ref.same:0", "ref.array:3", "ref.i31:8"),
    "two objects for one": value("objects", "ref.struct", "ref.struct", "ref.array:3", "ref.i31:7"),
    "two objects for one in a table": value("table", "i32:4", "ref.struct", "ref.null", "ref.struct", "ref.i31:3"),
    "a reference of the host for an object": value("objects", "ref.struct", "ref.same:0", "ref.extern:3", "ref.i31:7"),
    # accepting and refusing
    "a module refused": outcome("instance", "invalid", detail="type mismatch"),
    "a module malformed": outcome("instance", "malformed"),
    "imports refused": outcome("instance", "unlinkable"),
    "an invalid module taken": first("invalid", "returned"),
    "a malformed module taken": first("malformed", "returned"),
    "missing imports taken": first("unlinkable", "returned"),
    "malformed for invalid, by who can tell": first("invalid", "malformed"),
    "unlinkable for invalid": first("invalid", "unlinkable"),
    "a module refused for a feature that the engine has": first("gc", "invalid"),
    # host calls
    "a host call less": trace("1,2"),
    "a host call more": trace("1,2", "3,4", "5,6"),
    "host calls in another order": trace("3,4", "1,2"),
    "another argument of a host call": trace("1,2", "3,5"),
    # resources that are no excuse
    "a hang": everywhere("timed out", case="shallow"),
    "a stack that ends early": call("shallow", "exhausted", detail="call stack"),
    "memory that grew by half": call("grow", "returned", "i32:ffffffff", "i32:2"),
    "growth that says another size": call("grow", "returned", "i32:2", "i32:2"),
    # choices
    "a choice that changes within a worker": chosen("i32x4.relaxed_laneselect", 1, shown="0"),
    "another choice of a fused multiplication": chosen("f32x4.relaxed_madd", 1, shown="0"),
    "a result of no choice": call("i8x16.relaxed_swizzle", "returned", "v128:123", choices=SWIZZLE),
    # engines that break
    "a crash": outcome("peek", "crashed", detail="SIGSEGV"),
    "a crash at no known step": everywhere("crashed", "SIGSEGV"),
    "a crash behind what ran out of fuel": Kind("main", behind_fuel),
    "nonsense": outcome("number", "unparsed", detail="[]"),
    "an outcome too few": Kind("main", shortened),
    "no outcome at all": Kind("main", lambda right, _: replace(right, outcomes=())),
}  # fmt: skip

WORDS = Outcome("unsupported", (), "no instance")
SMALL = frozenset({"mvp"})

PERMITTED: dict[str, tuple[str, Kind]] = {
    "nothing differs": ("agree", Kind("main", lambda right, _: right)),
    # NaNs
    "the sign of a generated NaN": ("agree", value("div-nan", "f32:ffc00000")),
    "a payload that an operand had": ("agree", value("payload", "f32:7fe00001")),
    "a payload that no operand had, where one was not canonical": ("agree", value("payload", "f32:ffffffff")),
    "the other of two NaN operands": ("agree", value("two", "f32:7fc00001")),
    "the sign of a rounded NaN": ("agree", value("round", "f32:ffc00000")),
    "a promoted payload": ("agree", value("promote", "f64:7ffc000020000000")),
    "the sign of a demoted NaN": ("agree", value("demote", "f32:ffc00000")),
    "the sign of a NaN in one of four lanes": ("agree", value("lanes", "v128:ffc000003f8000007fc00123ffc00000")),
    "the sign of a NaN in one of two lanes": ("agree", value("lanes64", "v128:fff8000000000000")),
    "a NaN's sign seen as an integer": ("agree", value("bits", "i32:ffc00000")),
    "a NaN's sign in a structure": ("agree", value("field", "f32:ffc00000")),
    "a NaN's sign in an array": ("agree", value("element", "i32:1")),
    "a NaN's sign in what was caught": ("agree", value("caught", "f32:ffc00000")),
    "a NaN's sign in what was thrown": ("agree", outcome("thrown", "threw", "i32:1", "f32:ffc00000", detail="t")),
    "a NaN's sign in a scalar reference": ("agree", value("scalar", "ref.i31:1")),
    "a NaN's sign decides between two values": ("agree", value("either", "i32:4")),
    "a NaN's sign in a global": ("agree", value("global", "f32:ffc00000")),
    "a NaN's sign in a memory": ("agree", byte(11, 0xFF)),
    "a NaN's payload in a memory": ("agree", byte(8, 0x55)),
    "all NaNs of an x86-64 run": ("agree", under("x86")),
    "all NaNs of an arm64 run": ("agree", under("arm64")),
    "all NaNs of a riscv64 run": ("agree", under("riscv64")),
    "a NaN's sign decides on a branch": ("nan (branch)", call("branch", "returned", "i32:1234")),
    "a NaN's sign is an address": ("nan (address)", call("address", "returned", "i32:1234")),
    "a NaN's sign decides on a trap": ("nan (trap)", call("trap", "returned", "i32:1234")),
    "a NaN's sign goes to the host": ("nan (host call)", call("host call", "returned", "i32:1234")),
    "a NaN's sign is an index": ("nan (index)", call("index", "returned", "i32:1234")),
    # relaxed vectors: the choice that the engine showed
    **{f"R_{what}": ("agree", chosen(mnemonic, 1)) for what, mnemonic in (
        ("swizzle", "i8x16.relaxed_swizzle"), ("trunc_s", "i32x4.relaxed_trunc_f32x4_s"),
        ("trunc_u", "i32x4.relaxed_trunc_f32x4_u"), ("trunc of doubles", "i32x4.relaxed_trunc_f64x2_s_zero"),
        ("fmadd", "f32x4.relaxed_madd"), ("fmin", "f32x4.relaxed_min"), ("fmax", "f64x2.relaxed_max"),
        ("laneselect", "i32x4.relaxed_laneselect"), ("iq15mulr", "i16x8.relaxed_q15mulr_s"),
        ("idot", "i16x8.relaxed_dot_i8x16_i7x16_s"))},
    # words
    "a trap told as one of several": (
        "agree", outcome("divide", "trapped", detail="integer overflow|integer divide by zero")),
    "a trap without a word": ("agree", outcome("divide", "trapped")),
    "the first of two conditions of a trap": ("agree", outcome("traps", "trapped", detail="null array reference")),
    "the second of two conditions of a trap": (
        "agree", outcome("traps", "trapped", detail="out of bounds array access")),
    "an exception without a name": ("agree", outcome("throw", "threw", "i32:1", "f32:40000000")),
    "other words for what is invalid": ("agree", first("invalid", "invalid", "whatever")),
    "other words for what is malformed": ("agree", first("malformed", "malformed", "whatever")),
    "other words for what is not linked": ("agree", first("unlinkable", "unlinkable", "whatever")),
    "malformed for invalid, by who cannot tell": ("agree", first("invalid", "malformed", merged=frozenset({"x"}))),
    "what is said of an instance that is not there": ("agree", call("invalid", "returned", "i32:1")),
    # resources and features
    "refused growth": ("refused growth", call("grow", "returned", "i32:ffffffff", "i32:1")),
    "no stack for a deep recursion": ("exhausted (call stack)", call("deep", "exhausted", detail="call stack")),
    "no fuel": ("exhausted (fuel)", call("shallow", "exhausted", detail="fuel")),
    "no memory": ("exhausted (memory)", first("shallow", "exhausted", "memory")),
    "no end of an endless loop": ("timed out", everywhere("timed out", case="endless")),
    "no support": ("unsupported", outcome("number", "unsupported", detail="gc: no")),
    "a module refused for a feature that the engine lacks": ("unsupported", first("gc", "invalid", features=SMALL)),
    "nothing more from who gave up": ("exhausted (fuel)", Kind("main", lambda right, _: replace(
        right.but(AT["nothing"], Outcome("exhausted", (), "fuel")).but(AT["number"], WORDS), trace=()))),
}  # fmt: skip


@pytest.fixture(scope="module")
def arbiter() -> Iterator[Arbiter]:
    made = Arbiter(lambda: open_engine("ref/py"))
    yield made
    made.close()


def patched(memory: Outcome, at: int, number: int) -> Outcome:
    """A memory with another byte."""
    size, text = memory.values
    data = bytearray.fromhex(text.removeprefix("bytes:"))
    assert data[at] != number
    data[at] = number
    return Outcome("returned", (size, f"bytes:{data.hex()}"))


def judged(arbiter: Arbiter, kind: Kind) -> list[Verdict]:
    """The verdicts on the recorded answer and the other one, in both orders, and with a third engine that is right."""
    case = CASES[kind.case]

    def said(case: Case, observe: str = "digest", **profile: str | int) -> Said:
        answer = arbiter.run(case, profile, observe)
        return Said(tuple(answer.outcomes), tuple(answer.trace))

    right = said(case)
    other = kind.edit(right, said)
    judgement = Judgement(
        merged=kind.merged, arbiter=arbiter, choices={"x": kind.choices or {}},
        features={"x": kind.features, "ref": WASM_3},
    )  # fmt: skip

    def again(name: str) -> Answer:
        full = said(case, "full")
        if name != "x":
            return full
        outcomes = []
        for there, short, whole in zip(other.outcomes, right.outcomes, full.outcomes, strict=False):
            if there == short:
                outcomes.append(whole)
            else:
                outcomes.append(patched(whole, *kind.full) if kind.full else there)
        return replace(other, outcomes=tuple(outcomes))

    answers: list[dict[str, Answer]] = [
        {"ref": right, "x": other}, {"x": other, "ref": right}, {"ref": right, "x": other, "y": right}
    ]  # fmt: skip
    return [judgement.verdict(case, found, again) for found in answers]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_differences_are_reported(arbiter: Arbiter, name: str) -> None:
    for verdict in judged(arbiter, FORBIDDEN[name]):
        assert verdict.diverges, verdict
        assert verdict.reason
        assert any(group == ("x",) for group in verdict.groups)


@pytest.mark.parametrize("name", PERMITTED)
def test_permitted_differences_are_not(arbiter: Arbiter, name: str) -> None:
    expected, kind = PERMITTED[name]
    for verdict in judged(arbiter, kind):
        assert not verdict.diverges, verdict
        assert expected in (verdict.kind, verdict.reason), verdict


def test_the_cases_run() -> None:
    """What is recorded is what the rows are about: no step of the main case fails for another reason."""
    with open_engine("ref/py") as engine:
        kinds = {name: engine.run(MAIN).outcomes[at].kind for name, at in AT.items()}
    ends = {"divide": "trapped", "traps": "trapped", "throw": "threw", "thrown": "threw", "start": "trapped"}
    assert kinds == {name: ends.get(name, "returned") for name in AT}


def test_there_are_enough_of_both() -> None:
    assert len(FORBIDDEN) >= 80
    assert len(PERMITTED) >= 50
