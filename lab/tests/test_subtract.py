"""Taking what is known to go wrong out of a case, and campaigns that look behind it."""

from __future__ import annotations

from functools import partial

import pytest
from zoo import BUGS, Answer, LocalEngine, case_of
from zoo import resolve as one

from wasmlab.hunter import Hunter
from wasmlab.judgement import Judgement
from wasmlab.model import Batch
from wasmlab.plan import Plan
from wasmlab.signature import opcodes
from wasmlab.subtract import without
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome
from wasmlab_ref.decode import decode
from wasmlab_ref.features import WASM_3
from wasmlab_ref.validate import validate

CODE = """(module
  (func (export "run") (param i32 f32) (result i32 f32)
    (i32.add (i32.popcnt (i32.popcnt (local.get 0))) (i32.shl (local.get 0) (i32.const 20)))
    (select (f32.neg (local.get 1)) (f32.const 1) (local.get 0))))"""


@pytest.mark.parametrize("names", [["i32.popcnt"], ["i32.shl", "i32.popcnt"], ["select"], ["f32.neg", "local.get"]])
def test_the_rarest_is_replaced_and_the_case_stays_valid(names: list[str]) -> None:
    case = case_of(CODE)
    less = without(case, names)
    assert less is not None
    gone = set(opcodes(case)) - set(opcodes(less))
    assert gone == {names[0]}
    validate(decode(less.modules[0]))


def test_what_is_not_there_or_says_nothing_is_not_replaced() -> None:
    case = case_of(CODE)
    assert without(case, ["i64.mul"]) is None
    assert without(case, ["local.get", "f32.const"]) is None


class TwoBugs(LocalEngine):
    """Wrong at every i32.xor and, where there is none, at every f32.neg."""

    def collect(self) -> Answer:
        self.bug = BUGS["xor-lsb" if "i32.xor" in opcodes(self.queue[0][0]) else "f32-neg"]
        return super().collect()


def resolve(name: str) -> LocalEngine:
    return TwoBugs(name, None) if name == "two" else one(name)


FREQUENT = "(i32.xor (i32.trunc_sat_f32_s (local.get 0)) (i32.const 5))"
RARE = "(i32.reinterpret_f32 (f32.neg (f32.abs (local.get 0))))"


def test_a_rare_bug_is_found_behind_a_frequent_one_which_is_reduced_once() -> None:
    plan = Plan(("right", "two"), WASM_3, 0, resolve, lambda seed, features: CASES[0])
    judgement, batch = Judgement(), Batch()
    hunter = Hunter(plan, judgement)
    for index, case in enumerate(CASES):
        engines = [resolve(name) for name in plan.engines]
        answers = {engine.name: engine.run(case) for engine in engines}
        verdict = hunter.examine(index, case, answers, lambda case: partial(rerun, case), batch)
        assert verdict is not None
        assert verdict.diverges
    found = [divergence.signature.partition(": ")[2].split()[0] for divergence in batch.divergences]
    assert found == ["i32.xor", "f32.neg"]
    assert sum(batch.again.values()) == len(CASES) - 2


class NoTables(LocalEngine):
    """Ends at every module that has a table, whatever its instructions."""

    def collect(self) -> Answer:
        case, observe = self.queue.popleft()
        if any(decode(data).tables for data in case.modules):
            return Answer((Outcome("crashed", detail="signal SIGSEGV"),) * len(case.steps))
        return LocalEngine.run(one("right"), case, observe)


def test_a_frequent_crash_without_a_telling_instruction_is_reduced_only_now_and_then() -> None:
    def resolve(name: str) -> LocalEngine:
        return NoTables(name) if name == "tables" else one(name)

    steps = (Instantiate("a", 0),)
    cases = [case_of(f'(module (table {n} funcref) (func (export "run")))', steps=steps) for n in range(1, 13)]
    plan = Plan(("right", "tables"), WASM_3, 0, resolve, lambda seed, features: cases[0])
    batch = Batch()
    hunter = Hunter(plan, Judgement())
    for index, case in enumerate(cases):
        answers = {name: resolve(name).run(case) for name in plan.engines}
        hunter.examine(index, case, answers, lambda case: lambda engine: resolve(engine).run(case, "full"), batch)
    assert {divergence.signature.partition(": ")[2] for divergence in batch.divergences} == {"(tables)"}
    assert [divergence.index for divergence in batch.divergences] == [0, 1, 2, 3, 7]
    assert sum(batch.again.values()) == 7


@pytest.mark.parametrize(("enough", "kept"), [(0.0, 1), (60.0, 0)])
def test_a_reduction_that_is_stopped_late_is_kept(monkeypatch: pytest.MonkeyPatch, enough: float, kept: int) -> None:
    """Else a campaign that is run slice by slice would come back to the same case for ever."""
    monkeypatch.setattr("wasmlab.hunter.ENOUGH", enough)
    stops = iter([False, False])
    plan = Plan(("right", "two"), WASM_3, 0, resolve, lambda seed, features: CASES[0])
    batch = Batch()
    answers = {name: resolve(name).run(CASES[0]) for name in plan.engines}
    verdict = Hunter(plan, Judgement()).examine(
        0, CASES[0], answers, lambda case: partial(rerun, case), batch, lambda: next(stops, True)
    )
    assert (verdict is not None) == bool(kept)
    assert len(batch.divergences) == kept


def rerun(case: Case, name: str) -> Answer:
    return resolve(name).run(case, "full")


def function(*code: str) -> Case:
    body = code[0]
    for more in code[1:]:
        body = f"(i32.add {body} {more})"
    return case_of(
        f'(module (func (export "run") (param f32) (result i32) {body}))',
        steps=(Instantiate("a", 0), Invoke("a", "run", ("f32:40a00000",))),
    )


CASES = [
    function(FREQUENT),
    *[function(FREQUENT, f"(i32.const {n})") for n in range(5)],
    function(FREQUENT, RARE),
    function(RARE, FREQUENT),
    function(FREQUENT),
]
