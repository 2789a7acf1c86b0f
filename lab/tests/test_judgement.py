"""The oracle with the reference at hand: what the standard leaves open is no divergence, everything else is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from zoo import case_of

from wasmlab.choices import choices_of, explain, probes, profile_of, short
from wasmlab.judgement import FUEL, Arbiter, Judgement
from wasmlab.opening import open_engine
from wasmlab.oracle import Answer, Verdict
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read
from wasmlab_ref.features import WASM_3
from wasmlab_ref.isa import BY_MNEMONIC
from wasmlab_ref.numerics import functions
from wasmlab_ref.profile import NAN_CHOICES, NAN_PROFILES, RELAXED, RELAXED_CHOICES, Profile

ZERO, OTHER = "(f32.div (f32.const 0) (f32.const 0))", "(f32.add (f32.const nan:0x200001) (f32.const 1))"
ZERO_F64 = "(f64.div (f64.const 0) (f64.const 0))"
SIGN = f"(i32.shr_u (i32.reinterpret_f32 {ZERO}) (i32.const 31))"
NANS = "(v128.const f32x4 nan nan:0x123 1 -1)"

FUNCTIONS: dict[str, tuple[str, str]] = {
    "zero": ("f32", ZERO),
    "zero64": ("f64", ZERO_F64),
    "other": ("f32", OTHER),
    "other64": ("f64", "(f64.mul (f64.const nan:0x4000000000001) (f64.const 1))"),
    "min": ("f32", "(f32.min (f32.const nan) (f32.const nan:0x1))"),
    "ceil": ("f32", "(f32.ceil (f32.const nan))"),
    "promote": ("f64", f"(f64.promote_f32 {OTHER})"),
    "demote": ("f32", f"(f32.demote_f64 {ZERO_F64})"),
    "abs": ("f32", f"(f32.abs {ZERO})"),
    "neg": ("f32", "(f32.neg (f32.const nan:0x5))"),
    "lanes": ("v128", f"(f32x4.sqrt {NANS})"),
    "lanes64": ("v128", "(f64x2.sub (v128.const f64x2 inf 1) (v128.const f64x2 inf nan:0x1))"),
    "bits": ("i32", f"(i32.reinterpret_f32 {ZERO})"),
    "byte": ("i32", f"(i32.and (i32.reinterpret_f32 {OTHER}) (i32.const 0x7f000000))"),
    "equal": ("i32", f"(f32.eq {OTHER} {OTHER})"),
    "saturated": ("i32", f"(i32.trunc_sat_f32_s {ZERO})"),
    "field": ("f32", f"(struct.get $s 0 (struct.new $s {ZERO}))"),
    "element": ("i32", f"(array.get_u $a (array.new $a {SIGN} (i32.const 2)) (i32.const 1))"),
    "caught": ("f32", f"(block $b (result f32) (try_table (catch $t $b) (throw $t {ZERO})) (f32.const 0))"),
    "scalar": ("i31ref", f"(ref.i31 {SIGN})"),
    "either": ("i32", f"(select (i32.const 4) (i32.const 5) {SIGN})"),
    "stored": ("", f"(f32.store (i32.const 8) {OTHER}) (global.set $g {ZERO})"),
    "thrown": ("", f"(throw $t {ZERO})"),
    "grown": ("i32", "(memory.grow (i32.const 1))"),
}
MODULE = f"""(module (type $s (struct (field f32))) (type $a (array (mut i8)))
  (memory (export "memory") 1 4) (global $g (export "global") (mut f32) (f32.const 0))
  (tag $t (export "t") (param f32))
  {"".join(f'(func (export "{n}") {f"(result {t})" if t else ""} {body})' for n, (t, body) in FUNCTIONS.items())})"""
CASE = case_of(
    MODULE, steps=(Instantiate("a", 0), *(Invoke("a", n) for n in FUNCTIONS), Read("a", "memory"), Read("a", "global"))
)
STEP = {name: at for at, name in enumerate(("", *FUNCTIONS, "memory", "global"))}


@dataclass(frozen=True)
class Said:
    outcomes: tuple[Outcome, ...]
    trace: tuple[str, ...] = ()

    def but(self, step: int, outcome: Outcome) -> Said:
        return replace(self, outcomes=(*self.outcomes[:step], outcome, *self.outcomes[step + 1 :]))


@pytest.fixture(scope="module")
def arbiter() -> Iterator[Arbiter]:
    made = Arbiter(lambda: open_engine("ref/py"))
    yield made
    made.close()


def said(arbiter: Arbiter, case: Case, observe: str = "digest", **profile: str | int) -> Said:
    answer = arbiter.run(case, profile, observe)
    return Said(tuple(answer.outcomes), tuple(answer.trace))


def verdict(
    arbiter: Arbiter, case: Case, other: Said, full: Said | None = None, choices: Mapping[str, str] | None = None
) -> Verdict:
    right = said(arbiter, case)
    judgement = Judgement(arbiter=arbiter, choices={"x": choices or {}})
    full_right = said(arbiter, case, "full")

    whole = full or replace(
        other,
        outcomes=tuple(
            bytes_ if any(text.startswith("digest:") for text in outcome.values) else outcome
            for outcome, bytes_ in zip(other.outcomes, full_right.outcomes, strict=True)
        ),
    )

    def again(name: str) -> Answer:
        return full_right if name == "ref" else whole

    found = judgement.verdict(case, {"ref": right, "x": other}, again)
    turned = judgement.verdict(case, {"x": other, "ref": right}, again)
    assert (found.kind, found.step) == (turned.kind, turned.step)
    return found


PERMITTED: list[tuple[str, str]] = [
    ("zero", "f32:ffc00000"),
    ("zero64", "f64:fff8000000000000"),
    ("other", "f32:7fe00001"),
    ("other", "f32:ffe00001"),
    ("other", "f32:ffffffff"),
    ("other", "f32:7fc00001"),
    ("other64", "f64:7ffc000000000001"),
    ("other64", "f64:fff8000000000000"),
    ("min", "f32:7fc00001"),
    ("min", "f32:ffc00001"),
    ("ceil", "f32:ffc00000"),
    ("promote", "f64:7ffc000020000000"),
    ("promote", "f64:ffffffffffffffff"),
    ("demote", "f32:ffc00000"),
    ("lanes", "v128:ffc000003f8000007fc00123ffc00000"),
    ("lanes", "v128:7fc000003f800000ffffffff7fc00000"),
    ("lanes64", "v128:7ff8000000000001fff8000000000000"),
    ("bits", "i32:ffc00000"),
    ("field", "f32:ffc00000"),
    ("element", "i32:1"),
    ("caught", "f32:ffc00000"),
    ("scalar", "ref.i31:1"),
    ("either", "i32:4"),
    ("global", "f32:ffc00000"),
]

FORBIDDEN: list[tuple[str, str]] = [
    ("zero", "f32:7fc00001"),
    ("zero", "f32:7fa00000"),
    ("zero", "f32:7f800000"),
    ("zero", "f32:0"),
    ("zero", "f64:7fc00000"),
    ("zero64", "f64:7ff8000000000001"),
    ("other", "f32:7fa00001"),
    ("other", "f32:7f800000"),
    ("other64", "f64:7ff4000000000001"),
    ("min", "f32:7f800001"),
    ("ceil", "f32:7fc00001"),
    ("promote", "f64:7ff4000020000000"),
    ("demote", "f32:7fc00001"),
    ("abs", "f32:ffc00000"),
    ("neg", "f32:7f800005"),
    ("neg", "f32:ffc00005"),
    ("lanes", "v128:7fc000003f8000017fc001237fc00000"),
    ("lanes", "v128:7fc000013f8000007fc001237fc00000"),
    ("lanes", "v128:7fc000003f8000007f8001237fc00000"),
    ("lanes64", "v128:7ff80000000000017ff8000000000001"),
    ("bits", "i32:7fc00001"),
    ("byte", "i32:7e000000"),
    ("equal", "i32:1"),
    ("saturated", "i32:1"),
    ("field", "f32:7fc00001"),
    ("element", "i32:2"),
    ("caught", "f32:7fc00001"),
    ("scalar", "ref.i31:2"),
    ("either", "i32:6"),
    ("grown", "i32:2"),
    ("global", "f32:7fc00001"),
]


def injected(arbiter: Arbiter, name: str, text: str) -> Said:
    right = said(arbiter, CASE)
    assert right.outcomes[STEP[name]].values != (text,)
    return right.but(STEP[name], Outcome("returned", (text,)))


@pytest.mark.parametrize(("name", "text"), PERMITTED)
def test_open_bits_may_differ(arbiter: Arbiter, name: str, text: str) -> None:
    found = verdict(arbiter, CASE, injected(arbiter, name, text))
    assert (found.kind, found.reason) == ("agree", "open bits")


@pytest.mark.parametrize(("name", "text"), FORBIDDEN)
def test_other_bits_may_not(arbiter: Arbiter, name: str, text: str) -> None:
    found = verdict(arbiter, CASE, injected(arbiter, name, text))
    assert found.diverges
    assert found.step == STEP[name]
    assert found.groups == (("ref",), ("x",))


def test_a_forbidden_difference_behind_permitted_ones(arbiter: Arbiter) -> None:
    """The earliest forbidden one counts, not the first difference."""
    right = injected(arbiter, "zero", "f32:ffc00000").but(STEP["equal"], Outcome("returned", ("i32:1",)))
    assert verdict(arbiter, CASE, right).step == STEP["equal"]


@pytest.mark.parametrize("nan", NAN_PROFILES[1:])
def test_whole_runs_are_explained_by_their_profile(arbiter: Arbiter, nan: str) -> None:
    found = verdict(arbiter, CASE, said(arbiter, CASE, nan=nan))
    assert found.kind == "agree"
    assert found.reason in (nan, "canonical" if nan == "riscv64" else nan, "")


def memory(arbiter: Arbiter, at: int, byte: int) -> tuple[Said, Said]:
    """The answer with another byte in memory, as digest and in full."""
    full = said(arbiter, CASE, "full")
    size, text = full.outcomes[STEP["memory"]].values
    data = bytearray.fromhex(text.removeprefix("bytes:"))
    assert data[at] != byte
    data[at] = byte
    changed = Outcome("returned", (size, f"bytes:{data.hex()}"))
    digest = Outcome("returned", (size, "digest:0123456789abcdef"))
    return said(arbiter, CASE).but(STEP["memory"], digest), full.but(STEP["memory"], changed)


@pytest.mark.parametrize(("at", "byte"), [(11, 0xFF), (10, 0xFF), (8, 1), (9, 0x80)])
def test_open_bytes_of_a_memory(arbiter: Arbiter, at: int, byte: int) -> None:
    assert verdict(arbiter, CASE, *memory(arbiter, at, byte)).kind == "agree"


@pytest.mark.parametrize(("at", "byte"), [(11, 0x7E), (10, 0x40), (7, 1), (12, 1), (65535, 1)])
def test_other_bytes_of_a_memory(arbiter: Arbiter, at: int, byte: int) -> None:
    found = verdict(arbiter, CASE, *memory(arbiter, at, byte))
    assert (found.kind, found.step) == ("diverge", STEP["memory"])


def test_payloads_of_exceptions(arbiter: Arbiter) -> None:
    right = said(arbiter, CASE)
    for text, kind in (("f32:ffc00000", "agree"), ("f32:7fc00001", "diverge")):
        other = right.but(STEP["thrown"], Outcome("threw", (text,), "t"))
        assert verdict(arbiter, CASE, other).kind == kind


# Where open bits decide

DECIDED = {
    "branch": f"(if (result i32) {SIGN} (then (i32.const 1)) (else (i32.const 2)))",
    "address": f"(i32.load8_u {SIGN})",
    "trap": f"(i32.div_u (i32.const 1) {SIGN})",
    "host call": f"(call $log {SIGN} (i64.const 1)) (i32.const 2)",
    "index": f"(call_indirect (result i32) {SIGN})",
}


@pytest.mark.parametrize("what", DECIDED)
def test_where_open_bits_decide_the_case_is_inconclusive(arbiter: Arbiter, what: str) -> None:
    text = f"""(module (import "lab" "log" (func $log (param i32 i64))) (memory 1) (data (i32.const 0) "\\02\\01")
      (table funcref (elem $two $one)) (func $two (result i32) (i32.const 2)) (func $one (result i32) (i32.const 1))
      (func (export "before") (result i32) (i32.const 7)) (func (export "f") (result i32) {DECIDED[what]}))"""
    case = case_of(text, steps=(Instantiate("a", 0), Invoke("a", "before"), Invoke("a", "f"), Invoke("a", "before")))
    other = said(arbiter, case).but(2, Outcome("returned", ("i32:1234",)))
    found = verdict(arbiter, case, other)
    assert (found.kind, found.reason) == ("inconclusive", f"nan ({what})")
    assert verdict(arbiter, case, other.but(1, Outcome("returned", ("i32:8",)))).step == 1


# Relaxed instructions


def relaxed_case(mnemonic: str) -> Case:
    made, case = probes("relaxed-simd")
    steps = [step for probe, step in zip(made, case.steps[1:], strict=True) if probe.mnemonic == mnemonic]
    return Case(case.modules, (case.steps[0], *steps))


OTHER_CHOICES = [(name, choice) for name in RELAXED for choice in range(1, RELAXED_CHOICES[RELAXED[name]])]


@pytest.mark.parametrize(("mnemonic", "choice"), OTHER_CHOICES)
def test_a_relaxed_choice_counts_where_the_engine_showed_it(arbiter: Arbiter, mnemonic: str, choice: int) -> None:
    case = relaxed_case(mnemonic)
    other = said(arbiter, case, **{mnemonic: choice})
    assert other != said(arbiter, case)
    assert verdict(arbiter, case, other, choices={mnemonic: str(choice)}).kind == "agree"
    assert verdict(arbiter, case, other, choices={mnemonic: "0"}).diverges
    if "trunc" not in mnemonic:
        none = other.but(1, Outcome("returned", ("v128:123456789abcdef0123456789abcdef",)))
        assert verdict(arbiter, case, none, choices={mnemonic: str(choice)}).diverges


@pytest.mark.parametrize("mnemonic", [name for name in RELAXED if "trunc" in name])
def test_a_relaxed_truncation_may_be_any_number_out_of_range(arbiter: Arbiter, mnemonic: str) -> None:
    text = f"""(module (func (export "f") (result v128) ({mnemonic} (v128.const i64x2 0x7ff0000000000000 0))))"""
    case = case_of(text, steps=(Instantiate("a", 0), Invoke("a", "f")))
    other = said(arbiter, case).but(1, Outcome("returned", ("v128:12345600000000",)))
    assert verdict(arbiter, case, other, choices={mnemonic: "1"}).kind == ("agree" if "f32" in mnemonic else "diverge")
    assert verdict(arbiter, case, other, choices={mnemonic: "0"}).diverges


def test_probes_tell_the_choices() -> None:
    with open_engine("ref/py") as engine:
        found = choices_of(engine)
    assert found == {"nan": "canonical", **dict.fromkeys(RELAXED, "0")}
    assert set(short(found)) == {"nan", *RELAXED_CHOICES}


@pytest.mark.parametrize(("mnemonic", "choice"), OTHER_CHOICES)
def test_probes_tell_each_choice_from_the_others(mnemonic: str, choice: int) -> None:
    made, _ = probes("relaxed-simd")
    table = functions(Profile("x86", single=((mnemonic, choice),)))
    outcomes = [Outcome("returned", (f"v128:{table[probe.mnemonic](*probe.operands):x}",)) for probe in made]
    assert explain(made, outcomes)[mnemonic] == str(choice)
    strange = explain(made, [Outcome("returned", ("v128:1",))] * len(made))
    assert strange[mnemonic] == ""
    assert explain(made, [Outcome("returned", ("nonsense:zz",))] * len(made)) == strange
    assert profile_of(strange)[mnemonic] == ("trunc" in mnemonic)


NAN_SINGLES = {"f32.min": "swapped", "f64.ceil": "canonical", "f32x4.mul": "swapped", "f64.promote_f32": "riscv64"}


def test_single_instructions_may_choose_other_nans(arbiter: Arbiter) -> None:
    """As Pulley does, and engines whose compiler exchanged operands."""
    table = functions(Profile("x86", single=tuple((n, NAN_CHOICES.index(c)) for n, c in sorted(NAN_SINGLES.items()))))
    made = [probe for feature in ("mvp", "simd") for probe in probes(feature)[0]]
    outcomes = [
        Outcome("returned", (f"{BY_MNEMONIC[p.mnemonic].results[0]}:{table[p.mnemonic](*p.operands):x}",)) for p in made
    ]
    found = explain(made, outcomes)
    assert found == {"nan": "x86", **NAN_SINGLES, "f64.promote_f32": "canonical"}  # riscv64 is no other there
    assert short(found)["nan"].startswith("x86, but f32.min swapped") or "f32.min swapped" in short(found)["nan"]
    assert profile_of(found) == {}
    text = """(module (memory 1) (func (export "f") (result i32) (i32.load8_u (i32.reinterpret_f32 (f32.min
      (f32.const nan:0x400001) (f32.const nan:0x400002))))))"""
    case = case_of(text, steps=(Instantiate("a", 0), Invoke("a", "f")))
    other = said(arbiter, case, nan="x86", **{"f32.min": NAN_CHOICES.index("swapped")})
    assert verdict(arbiter, case, other, choices=found).kind == "agree"
    assert explain(made, [Outcome("returned", ("f32:1",))] * len(made)) == {"nan": ""}


def test_one_shape_may_choose_otherwise() -> None:
    choices = {f"{shape}.relaxed_laneselect": "1" for shape in ("i8x16", "i64x2")}
    assert short({**choices, "i32x4.relaxed_laneselect": "0"}) == {"R_laneselect": "1, but i32x4.relaxed_laneselect 0"}


# Growth, stack, time


def test_refused_growth_is_inconclusive(arbiter: Arbiter) -> None:
    text = """(module (memory 1 4) (func (export "f") (result i32 i32) (memory.grow (i32.const 1)) (memory.size)))"""
    case = case_of(text, steps=(Instantiate("a", 0), Invoke("a", "f")))
    right = said(arbiter, case)
    refused = right.but(1, Outcome("returned", ("i32:ffffffff", "i32:1")))
    found = verdict(arbiter, case, refused)
    assert (found.kind, found.reason) == ("inconclusive", "refused growth")
    for wrong in (("i32:ffffffff", "i32:2"), ("i32:1", "i32:1"), ("i32:2", "i32:2")):
        assert verdict(arbiter, case, right.but(1, Outcome("returned", wrong))).diverges


def recursive(depth: int) -> Case:
    text = f"""(module (func $r (export "f") (param i32) (result i32)
      (if (result i32) (i32.lt_u (local.get 0) (i32.const {depth}))
        (then (call $r (i32.add (local.get 0) (i32.const 1)))) (else (i32.const 1)))))"""
    return case_of(text, steps=(Instantiate("a", 0), Invoke("a", "f", ("i32:0",))))


def test_exhaustion_is_a_finding_where_little_stack_is_needed(arbiter: Arbiter) -> None:
    exhausted = Outcome("exhausted", detail="call stack")
    for depth, kind in ((10, "diverge"), (2000, "inconclusive")):
        case = recursive(depth)
        found = verdict(arbiter, case, said(arbiter, case).but(1, exhausted))
        assert found.kind == kind
    fuel = said(arbiter, recursive(10)).but(1, Outcome("exhausted", detail="fuel"))
    assert verdict(arbiter, recursive(10), fuel).kind == "inconclusive"


def test_a_time_out_is_a_finding_where_little_is_to_do(arbiter: Arbiter) -> None:
    slow = Said((Outcome("timed out"),) * 2)
    found = verdict(arbiter, recursive(10), slow)
    assert found.diverges
    assert "needs at most" in found.reason
    endless = case_of('(module (func (export "f") (loop (br 0))))', steps=(Instantiate("a", 0), Invoke("a", "f")))
    assert verdict(arbiter, endless, slow).kind == "inconclusive"


TWO_TRAPS = {
    "array.copy $a $a (ref.null $a) (i32.const 0) (array.new_default $a (i32.const 1)) (i32.const 1) (i32.const 1)":
        "null array reference|out of bounds array access",
    "array.copy $a $a (array.new_default $a (i32.const 1)) (i32.const 1) (ref.null $a) (i32.const 0) (i32.const 1)":
        "null array reference|out of bounds array access",
    "array.init_data $a $d (array.new_default $a (i32.const 1)) (i32.const 1) (i32.const 9) (i32.const 1)":
        "out of bounds array access|out of bounds memory access",
    "array.init_elem $b $e (ref.null $b) (i32.const 0) (i32.const 9) (i32.const 1)":
        "null array reference|out of bounds table access",
}  # fmt: skip


@pytest.mark.parametrize("code", TWO_TRAPS)
def test_either_of_two_conditions_that_hold_may_be_named(arbiter: Arbiter, code: str) -> None:
    text = f"""(module (type $a (array (mut i8))) (type $b (array (mut funcref))) (data $d "") (elem $e funcref)
      (func (export "f") ({code})))"""
    case = case_of(text, steps=(Instantiate("a", 0), Invoke("a", "f")))
    right = said(arbiter, case)
    assert right.outcomes[1] == Outcome("trapped", detail=TWO_TRAPS[code])
    for kind in TWO_TRAPS[code].split("|"):
        assert verdict(arbiter, case, right.but(1, Outcome("trapped", detail=kind))).kind == "agree"
    assert verdict(arbiter, case, right.but(1, Outcome("trapped", detail="cast failure"))).diverges


def test_a_module_beyond_an_engines_features_is_not_its_fault(arbiter: Arbiter) -> None:
    mvp = frozenset({"mvp"})
    invalid = Said((Outcome("invalid"),))
    for text, kind in (("(module (type (struct)))", "inconclusive"), ("(module (memory 1))", "diverge")):
        case = case_of(text, steps=(Instantiate("a", 0),))
        judgement = Judgement(arbiter=arbiter, features={"x": mvp, "ref": WASM_3})
        answers: dict[str, Answer] = {"ref": said(arbiter, case), "x": invalid}
        assert judgement.verdict(case, answers, lambda name: invalid).kind == kind


def test_without_anything_open_bits_are_compared(arbiter: Arbiter) -> None:
    """The reference is not asked where nothing is open."""
    case = case_of(
        '(module (func (export "f") (result f32) (f32.const nan:0x5)))', steps=(Instantiate("a", 0), Invoke("a", "f"))
    )
    other = said(arbiter, case).but(1, Outcome("returned", ("f32:7fc00000",)))
    before = arbiter.runs
    assert Judgement(arbiter=arbiter).verdict(case, {"a": said(arbiter, case), "b": other}, lambda name: other).diverges
    assert arbiter.runs == before


def test_there_are_enough_of_both() -> None:
    assert len(PERMITTED) + len(OTHER_CHOICES) >= 30
    assert len(FORBIDDEN) >= 30


class Stub:
    """An engine that ends as it is told to, and counts what it is asked."""

    features = frozenset[str]()

    def __init__(self, name: str, outcome: Outcome, profiles: bool = False) -> None:
        self.name, self.outcome, self.profiles = name, outcome, profiles
        self.asked: list[dict[str, object]] = []

    def submit(self, case: Case, **keys: object) -> None:
        self.asked.append(keys)

    def collect(self) -> SimpleNamespace:
        return SimpleNamespace(outcomes=(self.outcome,), trace=())


@pytest.mark.parametrize(
    "endless", [Outcome("timed out", detail="no answer within 5 s"), Outcome("exhausted", detail="fuel")]
)
def test_a_case_that_does_not_end_for_the_first_is_not_asked_of_the_others(endless: Outcome) -> None:
    case = Case((), (Instantiate("a", 0),))
    ref, other = Stub("ref", endless, profiles=True), Stub("other", Outcome("returned"))
    verdict, answers = Judgement(frozenset()).compare([ref, other], case, first=1)
    assert verdict.kind == "inconclusive"
    assert answers.keys() == {"ref"}
    assert not other.asked
    assert ref.asked == [{"more": {"fuel": FUEL}}]
    ref.outcome = Outcome("returned")
    assert Judgement(frozenset()).compare([ref, other], case, 2.0, first=1)[0].kind == "agree"
    assert other.asked == [{"deadline": 2.0}]
    ref.outcome = endless
    assert Judgement(frozenset()).compare([ref, other], case)[1].keys() == {"ref", "other"}
