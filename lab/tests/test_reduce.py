"""Reduction: planted bugs shrink to a few instructions, at constant key, with valid cases all the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from zoo import BUGS, case_of, resolve

from wasmlab import edits
from wasmlab.crew import Crew, Question
from wasmlab.hunter import shrink
from wasmlab.judgement import Judgement
from wasmlab.loading import load_file
from wasmlab.reduce import Budget, reduce
from wasmlab.signature import key_of
from wasmlab.stacks import Context
from wasmlab.wast import to_wast
from wasmlab_ref.case import Case, Instantiate, Invoke, Read, Register
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Invalid
from wasmlab_ref.text import parse_module
from wasmlab_ref.validate import validate

EVERYTHING = """(module
  (type $ft (func (param i32) (result i32)))
  (memory (export "mem") 1) (data (i32.const 8) "hello")
  (table $t 4 funcref) (elem (i32.const 0) $leaf $leaf)
  (global $g (mut i64) (i64.const 77)) (global $unused i32 (i32.const 1))
  (func $leaf (param i32) (result i32)
    (i32.xor (local.get 0) (i32.shl (local.get 0) (i32.const 20))))
  (func $mix (param $a i32) (param $b i32) (result i32) (local $i i32) (local $acc i32)
    (local.set $acc (i32.const 1))
    (block $out
      (loop $again
        (br_if $out (i32.ge_u (local.get $i) (i32.const 5)))
        (local.set $acc (i32.add (local.get $acc)
          (call_indirect (type $ft) (i32.add (local.get $a) (local.get $i)) (i32.const 1))))
        (if (i32.and (local.get $acc) (i32.const 1))
          (then (global.set $g (i64.sub (global.get $g) (i64.extend_i32_u (local.get $acc)))))
          (else (local.set $acc (i32.div_s (local.get $acc) (i32.const -3)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $again)))
    (i32.store (i32.const 100) (i32.clz (local.get $b)))
    (i32.rem_u (i32.add (local.get $acc) (i32.load (i32.const 100))) (i32.add (local.get $b) (i32.const 0x7ffffff0))))
  (func (export "run") (param i32 i32) (result i32 i64)
    (drop (f32.neg (f32.convert_i32_s (local.get 0))))
    (i32.add (call $mix (local.get 0) (local.get 1)) (i32.wrap_i64 (i64.popcnt (global.get $g))))
    (i64.reinterpret_f64 (f64.neg (f64.add (f64.convert_i32_u (local.get 0)) (f64.const 1.5)))))
  (func (export "vector") (param i32) (result i32) (local $v v128)
    (local.set $v (i8x16.splat (local.get 0)))
    (local.set $v (i8x16.add (local.get $v) (v128.const i32x4 1 2 3 4)))
    (i32x4.extract_lane 2 (i32x4.add (local.get $v) (local.get $v))))
  (func (export "floats") (param f32) (result f32)
    (if (result f32) (f32.lt (local.get 0) (f32.const 0))
      (then (f32.neg (f32.mul (local.get 0) (f32.const 2))))
      (else (f32.neg (local.get 0))))))"""

STEPS = (
    Instantiate("a", 0),
    Invoke("a", "vector", ("i32:7",)),
    Invoke("a", "floats", ("f32:40000000",)),
    Invoke("a", "run", ("i32:5", "i32:7")),
    Read("a", "mem"),
)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_shrinks_to_a_few_instructions(bug: str) -> None:
    engines = [resolve("right"), resolve(f"bug/{bug}")]
    case = case_of(EVERYTHING, steps=STEPS)
    verdict, _ = Judgement().compare(engines, case)
    assert verdict.diverges
    budget = Budget(seconds=600)
    found, signature = shrink(case, verdict, engines, Judgement(), budget)
    assert budget.asked <= 400
    assert found["size"] <= 6, (bug, signature)
    assert BUGS[bug][0] in signature.opcodes
    again, _ = Judgement().compare(engines, found["reduced"])
    assert key_of(again) == key_of(verdict) == signature.key


def test_every_step_on_the_way_is_valid_and_smaller() -> None:
    engines = [resolve("right"), resolve("bug/xor-lsb")]
    case = case_of(EVERYTHING, steps=STEPS)
    verdict, _ = Judgement().compare(engines, case)
    tried: list[Case] = []

    def same(candidate: Case) -> bool:
        for module in candidate.modules:
            validate(decode(module))
        tried.append(candidate)
        again, _ = Judgement().compare(engines, candidate)
        return again.diverges and key_of(again) == key_of(verdict)

    reduced = reduce(case, verdict.step, same, engines[0])
    assert reduced in tried
    assert len(set(tried)) == len(tried)


def mnemonics(case: Case) -> list[str]:
    return [s.op.mnemonic for module in case.modules for f in decode(module).funcs for s in f.body]


def test_what_is_tried_grows_with_the_case_and_not_with_its_square() -> None:
    def asked(count: int) -> int:
        statements = "(global.set 0 (i32.popcnt (i32.mul (local.get 0) (i32.const 3))))" * count
        wat = f'(module (global (mut i32) (i32.const 0)) (func (export "run") (param i32) {statements}))'
        case = case_of(wat, steps=(Instantiate("a", 0), Invoke("a", "run", ("i32:5",))))
        budget = Budget(seconds=600)

        def same(candidate: Case) -> bool:
            found = mnemonics(candidate)
            return found.count("i32.popcnt") == count and "unreachable" not in found

        assert "i32.mul" not in mnemonics(reduce(case, 1, same, resolve("right"), budget))
        return budget.asked

    assert asked(40) < 3 * asked(20)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # What is in a local, where it is taken out of it.
        ("(local.set 1 (i32.mul (local.get 0) (i32.const 3))) (i32.xor (local.get 1) (i32.const 5))",
         ["local.get", "i32.const", "i32.mul", "i32.const", "i32.xor"]),
        ("(local.set 1 (i32.const 3)) (i32.xor (local.get 1) (local.get 1))", ["i32.const", "i32.const", "i32.xor"]),
        # A value that is no constant.
        ("(i32.xor (i32.mul (local.get 1) (i32.const 3)) (local.get 0))", ["local.get", "local.get", "i32.xor"]),
    ],
)  # fmt: skip
def test_versions_of_a_body(before: str, after: list[str]) -> None:
    text = f"(module (func (param i32) (result i32) (local i32) {before}))"
    module = parse_module(text.encode())
    found = [[s.op.mnemonic for s in f.body] for f in edits.edited(Context(module), module.funcs[0])]
    assert after in found


def test_what_does_not_reproduce_stays_as_it_is() -> None:
    case = case_of(EVERYTHING, steps=STEPS)
    assert reduce(case, None, lambda candidate: False, resolve("right")) == case


def test_a_budget_is_kept() -> None:
    asked: list[Case] = []
    budget = Budget(runs=10)
    reduce(case_of(EVERYTHING, steps=STEPS), None, lambda c: bool(asked.append(c)), resolve("right"), budget)
    assert len(asked) == 10


def test_a_malformed_module_loses_steps_only() -> None:
    steps = (*STEPS, Instantiate("b", 1), Invoke("a", "vector", ("i32:1",)))
    case = Case((*case_of(EVERYTHING).modules, b"\0asm\1\0\0\0\x0c"), steps)
    reduced = reduce(case, 5, lambda c: Instantiate("b", 1) in c.steps, resolve("right"))
    assert reduced.steps == (Instantiate("b", 1),)


def test_a_function_whose_type_there_is_not() -> None:
    module = parse_module("(module (func) (func (drop (i32.const 1)) (nop)) (func (nop)))")
    funcs = (module.funcs[0], replace(module.funcs[1], type=9), module.funcs[2])
    case = Case((encode(replace(module, funcs=funcs)),), (Instantiate("m", 0),))
    small = reduce(case, 0, lambda smaller: any(b"\x09" in data for data in smaller.modules), resolve("right"))
    assert len(small.modules[0]) < len(case.modules[0])
    with pytest.raises(Invalid):
        validate(decode(small.modules[0]))


def test_where_a_memory_differs_is_told_and_tested(tmp_path: Path) -> None:
    text = """(module (memory (export "m") i64 1) (func (export "f") (param i32)
      (i64.store8 offset=7 (i64.const 5) (i64.sub (i64.extend_i32_u (local.get 0)) (i64.const 1)))))"""
    case = case_of(text, steps=(Instantiate("a", 0), Invoke("a", "f", ("i32:42",)), Read("a", "m")))
    engines = [resolve("right"), resolve("bug/sub-equal")]
    verdict, _ = Judgement().compare(engines, case)
    found, _ = shrink(case, verdict, engines, Judgement(), Budget())
    address, right = found["byte"]
    assert f"byte {address:#x} is {right:02x} and" in found["sentence"]
    answers = found["answers"]["right"][0]
    path = tmp_path / "a.wast"
    path.write_text(to_wast(found["reduced"], answers, "", (found["step"], *found["byte"])))
    again = load_file(path).case
    assert resolve("right").run(again).outcomes[-1].values == (f"i32:{right:x}",)
    assert resolve("bug/sub-equal").run(again).outcomes[-1].values != (f"i32:{right:x}",)


def test_several_at_once_end_where_one_does() -> None:
    case = case_of(EVERYTHING, steps=STEPS)
    engines = [resolve("right"), resolve("bug/sub-equal")]
    verdict, _ = Judgement().compare(engines, case)

    def ask(candidate: Case, names: tuple[str, ...] = ("right", "bug/sub-equal")) -> bool:
        again, _ = Judgement().compare([resolve(name) for name in names], candidate)
        return again.diverges and key_of(again) == key_of(verdict)

    alone = reduce(case, verdict.step, ask, engines[0])
    opened: list[int] = []

    @contextmanager
    def own() -> Iterator[Question]:
        opened.append(threading.get_ident())
        yield ask

    seen: list[int] = []
    with Crew(own, 3) as crew:
        together = reduce(
            case, verdict.step, ask, engines[0], crew=crew, progress=lambda parts, asked: seen.append(asked)
        )
    assert together == alone
    assert len(set(opened)) == 3
    assert seen == sorted(seen)
    assert len(seen) > 3


def test_what_goes_wrong_in_a_crew_is_raised() -> None:
    @contextmanager
    def nothing() -> Iterator[Question]:
        raise OSError("no engine")
        yield

    with Crew(nothing, 2) as crew, pytest.raises(OSError, match="no engine"):
        crew.answers([case_of(EVERYTHING)])


def test_exports_and_segments_that_nobody_needs_go() -> None:
    host = '(module (table (export "t") 4 funcref) (memory (export "m") 1) (func (export "f")))'
    user = """(module (import "host" "f" (func $f)) (table (export "t") 4 funcref) (memory (export "m") 1)
      (elem (i32.const 0) func $f $f $f) (data (i32.const 0) "abcdefgh") (func (export "f")))"""
    steps = (Instantiate("h", 0), Register("h", "host"), Instantiate("a", 1), Read("a", "t"))
    case = case_of(host, user, steps=steps)

    def same(candidate: Case) -> bool:
        outcomes = resolve("right").run(candidate).outcomes
        return bool(outcomes) and outcomes[-1].values[:2] == ("i64:4", "ref.func")

    reduced = reduce(case, None, same, resolve("right"))
    modules = [decode(data) for data in reduced.modules]
    assert [[export.name for export in module.exports] for module in modules] == [["f"], ["t"]]
    assert [len(segment.init) for segment in modules[1].elems] == [1]
    assert not modules[1].datas
