"""The fuzz loop, against engines inside this process."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import zoo

from wasmlab.campaign import Shard, derive, generate, siblings_for, telling_rules
from wasmlab.errors import UsageError
from wasmlab.hunter import shrink
from wasmlab.judgement import Arbiter, Judgement
from wasmlab.known import Known
from wasmlab.model import REACHED, UNEXAMINED, Batch, Campaign, EngineRecord
from wasmlab.opening import open_engine
from wasmlab.parallel import hunt
from wasmlab.plan import SIBLINGS, SIBLINGS_ABROAD, STARTS, Plan
from wasmlab.reduce import Budget
from wasmlab.signature import opcodes
from wasmlab.store import Store, load
from wasmlab_adapters.engine import Engine
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.registry import resolve
from wasmlab_matrices.known import KnownDivergence
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome

OPS = ("i32.add", "i32.sub", "i32.xor", "i32.shl", "i32.div_s", "i32.rem_u")


def make(seed: int, features: frozenset[str]) -> Case:
    """A small random case."""
    draw = random.Random(seed)
    body = "(local.get 0)"
    for _ in range(draw.randrange(1, 6)):
        body = f"({draw.choice(OPS)} {body} (i32.const {draw.getrandbits(6)}))"
    text = f'(module (func (export "f") (param i32) (result i32) {body}))'
    return zoo.case_of(text, steps=(Instantiate("a", 0), *(Invoke("a", "f", (f"i32:{n:x}",)) for n in (0, 3))))


def flaky(name: str) -> zoo.LocalEngine:
    """`flaky` differs once in its life time, in the first process of it."""
    engine = zoo.resolve("right" if name == "flaky" else name)
    engine.name = name
    if name == "flaky" and not made:
        engine.bug = zoo.BUGS["xor-lsb"]
    made.append(name)
    return engine


made: list[str] = []


def plan(*engines: str, **changes: object) -> Plan:
    fields: dict[str, object] = {
        "engines": engines, "features": frozenset({"mvp"}), "seed": 1, "resolve": zoo.resolve, "make": make,
        "examples": 200,
    }  # fmt: skip
    return Plan(**{**fields, **changes})  # type: ignore[arg-type]


def campaign(*engines: str, seed: int = 1) -> Campaign:
    return Campaign(tuple(EngineRecord(e, e, "1", ("mvp",)) for e in engines), ("mvp",), seed, "digest")


def test_seeds_of_cases_are_fixed_for_all_time() -> None:
    assert [derive(0, i) for i in (0, 1, 7, 8)] == [
        5857645148978988072, 5857645148978988073, 5857645148978988079, 14719997280833369592,
    ]  # fmt: skip
    assert derive(1, 2) == derive(1, 2) != derive(2, 1)


def test_engines_that_agree(tmp_path: Path) -> None:
    with Store(tmp_path, campaign("right", "also")) as store:
        hunt(plan("right", "also"), store, 1, lambda: False)
    run = load(tmp_path)
    assert run.cases == 200
    assert run.counters["agree"] == 200
    assert run.counters["calls"] == run.counters["complete calls"] == 400
    assert run.complete == 1.0
    assert not run.divergences
    assert run.instructions["i32.add"] > 0
    assert run.progress.low == 200


def test_a_planted_bug_is_found_reduced_signed_and_counted_once(tmp_path: Path) -> None:
    names = ("right", "bug/xor-lsb")
    with Store(tmp_path, campaign(*names)) as store:
        totals = hunt(plan(*names), store, 1, lambda: False)
    run = load(tmp_path)
    (found,) = run.divergences
    assert found.signature == "right returned / bug/xor-lsb returned at invoke: i32.xor [i32]"
    assert found.count == run.counters["diverge"] == totals.signatures[found.id] > 20
    assert found.size <= 3
    assert found.answers["right"][0][found.step or 0] != found.answers["bug/xor-lsb"][0][found.step or 0]


class Emulated(zoo.LocalEngine):
    """An engine that is run on a second processor, of this name, before what it does counts."""

    second = "also"


@pytest.mark.parametrize(("second", "count"), [("also", 0), ("bug/xor-lsb", 1)])
def test_what_is_seen_under_emulation_has_to_be_seen_on_two_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str, count: int
) -> None:
    monkeypatch.setattr(Emulated, "second", second)

    def resolve(name: str) -> zoo.LocalEngine:
        engine = zoo.resolve("bug/xor-lsb" if name == "emulated" else name)
        return Emulated(name, engine.bug) if name == "emulated" else engine

    with Store(tmp_path, campaign("right", "emulated")) as store:
        hunt(plan("right", "emulated", resolve=resolve, examples=60), store, 1, lambda: False)
    run = load(tmp_path)
    assert len(run.divergences) == count
    assert bool(run.inconclusive["seen on one emulated processor only"]) == (not count)
    assert all(divergence.sentence.endswith("; also as bug/xor-lsb") for divergence in run.divergences)


@pytest.mark.parametrize("bug", ["bug/xor-lsb", "slow-bug"])
def test_emulated_engines_that_do_as_the_first_are_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    monkeypatch.setattr(Emulated, "second", "bug/xor-lsb")

    def resolve(name: str) -> zoo.LocalEngine:
        return (
            Emulated(name, zoo.BUGS["xor-lsb"] if name == "slow-bug" else None) if "slow" in name else zoo.resolve(name)
        )

    names = ("right", "also", "slow", bug)
    with Store(tmp_path, campaign(*names)) as store:
        hunt(plan(*names, resolve=resolve, examples=60), store, 1, lambda: False)
    (found,) = load(tmp_path).divergences
    assert found.groups == (("right", "also"), (bug,))


def test_two_bugs_are_two_signatures(tmp_path: Path) -> None:
    with Store(tmp_path, campaign("bug/xor-lsb", "bug/shl-high")) as store:
        hunt(plan("bug/xor-lsb", "bug/shl-high", examples=100), store, 1, lambda: False)
    opcodes = {d.signature.partition(": ")[2] for d in load(tmp_path).divergences}
    assert {"i32.xor [i32]", "i32.shl [i32]"} <= opcodes


def test_what_does_not_happen_again_in_fresh_processes_is_inconclusive(tmp_path: Path) -> None:
    made.clear()
    with Store(tmp_path, campaign("flaky", "right")) as store:
        hunt(plan("flaky", "right", resolve=flaky, examples=60), store, 1, lambda: False)
    run = load(tmp_path)
    assert not run.divergences
    assert run.inconclusive["not reproduced in fresh processes"] > 0
    assert run.samples[0].reason == "not reproduced in fresh processes"


def test_a_campaign_goes_on_where_it_stopped(tmp_path: Path) -> None:
    names = ("right", "bug/xor-lsb")
    seen = 0

    def stop() -> bool:
        return seen > 0

    def show(totals: object) -> None:
        nonlocal seen
        seen += 1

    with Store(tmp_path, campaign(*names)) as store:
        hunt(plan(*names, examples=50), store, 1, lambda: False, show)
    with Store(tmp_path, campaign(*names)) as store:
        assert store.progress.low == 50
        hunt(plan(*names, examples=120), store, 1, lambda: False)
    whole = tmp_path / "whole"
    with Store(whole, campaign(*names)) as store:
        hunt(plan(*names, examples=120), store, 1, lambda: False)
    assert load(tmp_path).counters == load(whole).counters
    assert [d.id for d in load(tmp_path).divergences] == [d.id for d in load(whole).divergences]


def test_an_interrupt_keeps_what_was_done(tmp_path: Path) -> None:
    def interrupted(seed: int, features: frozenset[str]) -> Case:
        if seed == derive(1, 100):
            raise KeyboardInterrupt
        return make(seed, features)

    with Store(tmp_path, campaign("right", "also")) as store, pytest.raises(KeyboardInterrupt):
        hunt(plan("right", "also", make=interrupted), store, 1, lambda: False)
    assert load(tmp_path).progress.low >= 80


def test_time_ends_a_campaign(tmp_path: Path) -> None:
    with Store(tmp_path, campaign("right", "also")) as store:
        hunt(plan("right", "also", examples=None, deadline=time.monotonic() + 0.4), store, 1, lambda: False)
    assert load(tmp_path).cases > 0


def test_two_processes_do_the_same_as_one(tmp_path: Path) -> None:
    names = ("right", "bug/xor-lsb")
    for jobs in (1, 2):
        with Store(tmp_path / str(jobs), campaign(*names)) as store:
            hunt(plan(*names, examples=80), store, jobs, lambda: False)
    one, two = load(tmp_path / "1"), load(tmp_path / "2")
    assert one.counters == two.counters
    assert {d.id: d.count for d in one.divergences} == {d.id: d.count for d in two.divergences}


def test_an_engine_that_cannot_start_ends_the_campaign_in_any_process(tmp_path: Path) -> None:
    for jobs in (1, 2):
        with Store(tmp_path / str(jobs), campaign("right")) as store, pytest.raises(UsageError, match="no engine here"):
            hunt(plan("right", resolve=missing), store, jobs, lambda: False)


def missing(name: str) -> zoo.LocalEngine:
    raise UsageError("no engine here")


def test_a_shard_hands_over_what_it_has(tmp_path: Path) -> None:
    with Shard(plan("right", "also")) as shard:
        batches = list(shard.run(iter(range(40))))
    assert sorted(i for batch in batches for i in batch.done) == list(range(40))
    assert all(isinstance(batch, Batch) for batch in batches)


# With the reference as arbiter


class Sleepy(zoo.LocalEngine):
    """Never comes back from a shift."""

    def collect(self) -> zoo.Answer:
        case, _ = self.queue[0]
        answer = super().collect()
        if "i32.shl" not in opcodes(case):
            return answer
        return zoo.Answer((Outcome("timed out", detail="no answer within 5 s"),) * len(answer.outcomes))


class Fickle(zoo.LocalEngine):
    """Another choice each time it is asked."""

    def collect(self) -> zoo.Answer:
        case, _ = self.queue[0]
        answer = super().collect()
        if case.origin == "a probe" and self.runs > 3:
            wrong = Outcome("returned", ("v128:123",))
            return replace(answer, outcomes=tuple(wrong if "v128" in str(o) else o for o in answer.outcomes))
        return answer


def with_reference(name: str) -> Any:
    special = {"sleepy": Sleepy, "fickle": Fickle}
    if name in special:
        return special[name](name)
    return open_engine(name) if name == "ref/py" else zoo.resolve(name)


def test_a_time_out_that_nothing_called_for_is_a_finding(tmp_path: Path) -> None:
    names = ("right", "sleepy")
    with Store(tmp_path, campaign(*names)) as store:
        hunt(plan(*names, resolve=with_reference, arbiter="ref/py", examples=30), store, 1, lambda: False)
    run = load(tmp_path)
    (found,) = run.divergences
    assert found.signature == "right returned / sleepy timed out at instantiate: i32.shl"
    assert found.size <= 3
    assert not run.inconclusive


def test_a_choice_that_changes_is_a_finding(tmp_path: Path) -> None:
    names = ("right", "fickle")
    with Store(tmp_path, campaign(*names)) as store:
        hunt(plan(*names, resolve=with_reference, arbiter="ref/py", examples=5), store, 1, lambda: False)
    run = load(tmp_path)
    (found,) = run.divergences
    assert "fickle changes its choices while it runs: f32x4.relaxed_madd 0, then none" in found.sentence
    assert run.choices["right"]["i8x16.relaxed_swizzle"] == "0"


RAW = """(module (func (export "f") (param f64 i32) (result i64 i32)
  (i64.reinterpret_f64 (f64.add (local.get 0) (f64.const nan:0x123))) (i32.xor (local.get 1) (i32.const 3))))"""


def test_reduction_does_not_drift_into_what_is_open() -> None:
    """Of two differences, one permitted, the other one is what is left."""
    case = zoo.case_of(RAW, steps=(Instantiate("a", 0), Invoke("a", "f", ("f64:0", "i32:1"))))
    bug = zoo.LocalEngine("bug", ("i32.xor", zoo.wrong_when(zoo.always)))
    loose = zoo.LocalEngine("loose", ("f64.add", zoo.wrong_when(zoo.always, lambda bits: bits ^ 1 << 63)))
    with open_engine("ref/py") as reference:
        judgement = Judgement(arbiter=Arbiter(lambda: reference))
        assert judgement.compare([zoo.resolve("right"), loose], case)[0].kind == "agree"
        engines = [loose, bug]
        verdict, _ = judgement.compare(engines, case)
        found, signature = shrink(case, verdict, engines, judgement, Budget())
    assert verdict.groups == (("loose",), ("bug",))
    assert signature.opcodes == ("i32.xor",)
    assert found["size"] <= 3


def test_half_of_the_mixed_cases_are_raw() -> None:
    features = frozenset({"mvp"})
    for setting in ("canonical", "raw", "mixed"):
        for seed in (5, 5 | 1 << 63):
            mixed = "raw" if seed >> 63 else "canonical"
            expected = generate(seed, features, nan=mixed if setting == "mixed" else setting)
            assert generate(seed, features, nan=setting) == expected


class Sometimes(zoo.LocalEngine):
    """Wrong every other time that it is asked."""

    asked = 0

    def collect(self) -> zoo.Answer:
        Sometimes.asked += 1
        self.bug = zoo.BUGS["xor-lsb"] if Sometimes.asked % 2 else None
        return super().collect()


def test_what_shows_only_sometimes_is_reduced_and_counted_so(tmp_path: Path) -> None:
    def resolve(name: str) -> zoo.LocalEngine:
        return Sometimes(name) if name == "sometimes" else zoo.resolve(name)

    names = ("right", "sometimes")
    with Store(tmp_path, campaign(*names)) as store:
        hunt(plan(*names, resolve=resolve, examples=40), store, 1, lambda: False)
    run = load(tmp_path)
    found = next(d for d in run.divergences if d.signature.endswith("i32.xor [i32]"))
    assert found.size <= 3
    shown, tried = found.confirmed
    assert 0 < shown < tried


def test_what_shows_always_is_confirmed_each_time(tmp_path: Path) -> None:
    names = ("right", "bug/xor-lsb")
    with Store(tmp_path, campaign(*names)) as store:
        hunt(plan(*names, examples=20), store, 1, lambda: False)
    (found,) = load(tmp_path).divergences
    assert found.confirmed == (3, 3)
    assert found.trace[-1][1] == "i32.xor"
    assert found.trace[-1][2] != found.trace[-1][3]


class Both(zoo.LocalEngine):
    """Two bugs."""

    def collect(self) -> zoo.Answer:
        self.bug = zoo.BUGS["xor-lsb" if "i32.xor" in opcodes(self.queue[0][0]) else "shl-high"]
        return super().collect()


@pytest.mark.parametrize(
    ("signature", "found"), [("*", {"i32.xor [i32]"}), ("*i32*", {"i32.xor [i32]", "i32.shl [i32]"})]
)
def test_what_a_row_explains_whatever_the_instructions_is_reduced_once(
    tmp_path: Path, signature: str, found: set[str]
) -> None:
    def resolve(name: str) -> zoo.LocalEngine:
        return Both(name) if name == "both" else zoo.resolve(name)

    row = KnownDivergence("both", "*", f"ref returned / both returned at invoke: {signature}", "a.wast", "why", "where")
    names = ("ref", "both")
    with Store(tmp_path, campaign(*names)) as store:
        hunt(plan(*names, resolve=resolve, known=Known((row,))), store, 1, lambda: False)
    run = load(tmp_path)
    assert all(divergence.known == "why where" for divergence in run.divergences)
    assert {divergence.signature.partition(": ")[2] for divergence in run.divergences} == found
    assert sum(divergence.count for divergence in run.divergences) == run.counters["diverge"] > 50


class Tired(zoo.LocalEngine):
    """Its process ends with the case that it is asked 20th, and no other one starts."""

    asked = 0

    def collect(self) -> zoo.Answer:
        self.asked += 1
        if self.asked > 20:
            raise EngineUnavailable(f"{self.name} does not start: no hello within 20 s")
        return super().collect()


def tired(name: str) -> zoo.LocalEngine:
    return Tired(name) if name == "tired" else zoo.resolve(name)


def test_an_engine_that_does_not_start_again_is_left_out(tmp_path: Path) -> None:
    names = ("right", "tired", "bug/xor-lsb")
    with Store(tmp_path, campaign(*names)) as store:
        totals = hunt(plan(*names, resolve=tired, examples=60), store, 1, lambda: False)
    run = load(tmp_path)
    assert totals.troubles == ["tired does not start: no hello within 20 s; left out from case 20 on"]
    assert run.cases == run.progress.low == 60
    assert run.counters["tired: left out"] == 40
    assert sum(found.count for found in run.divergences) == run.counters["diverge"] > 10
    assert all(found.signature.endswith(": i32.xor [i32]") for found in run.divergences)


@pytest.mark.parametrize("jobs", [1, 2])
def test_where_one_engine_is_left_the_cases_end_and_what_was_done_stays(tmp_path: Path, jobs: int) -> None:
    names = ("right", "tired")
    with Store(tmp_path, campaign(*names)) as store:
        totals = hunt(plan(*names, resolve=tired, examples=300), store, jobs, lambda: False)
    assert totals.troubles == ["tired does not start: no hello within 20 s; the cases end here"] * jobs
    assert load(tmp_path).cases == load(tmp_path).counters["agree"] == 20 * jobs


class Once(zoo.LocalEngine):
    """An engine of which one process starts, and then `late` others do not."""

    starts, late = 0, 0

    def __enter__(self) -> zoo.LocalEngine:
        Once.starts += 1
        if 1 < Once.starts <= 1 + Once.late:
            raise EngineUnavailable(f"{self.name} does not start: no hello within 20 s")
        return super().__enter__()


@pytest.mark.parametrize("late", [STARTS - 1, STARTS])
def test_a_case_is_kept_whose_engine_does_not_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    monkeypatch.setattr(Once, "starts", 0)
    monkeypatch.setattr(Once, "late", late)

    def resolve(name: str) -> zoo.LocalEngine:
        return Once(name, zoo.BUGS["xor-lsb"]) if name == "once" else zoo.resolve(name)

    names = ("right", "once")
    with Store(tmp_path, campaign(*names)) as store:
        totals = hunt(plan(*names, resolve=resolve, examples=40), store, 1, lambda: False)
    run = load(tmp_path)
    (found,) = run.divergences
    put_off = int(late == STARTS)  # otherwise it is tried often enough
    assert run.cases + put_off == 40
    assert [sample.reason for sample in run.samples] == [UNEXAMINED] * put_off
    assert len(totals.troubles) == put_off
    if put_off:
        (sample,) = run.samples
        assert totals.troubles[0].startswith(f"case {sample.index} is kept, and left for the next time: once does not")
        with Store(tmp_path, campaign(*names)) as store:
            hunt(plan(*names, resolve=resolve, examples=40), store, 1, lambda: False)
        again = load(tmp_path)
        assert again.progress.low == 40
        assert again.divergences[0].count == found.count + 1


@pytest.mark.parametrize("siblings", [SIBLINGS, SIBLINGS_ABROAD])
def test_cases_of_a_family_share_their_modules(siblings: int) -> None:
    features = frozenset({"mvp", "bulk-memory", "simd"})

    def drawn() -> list[Case]:
        indices = range(20 * siblings)
        return [generate(derive(5, index, siblings), features, siblings=siblings) for index in indices]

    cases = drawn()
    assert cases == drawn(), "whatever was drawn before"
    families = [cases[at : at + siblings] for at in range(0, len(cases), siblings)]
    valid = [[case for case in family if case.origin[-1].isdigit()] for family in families]
    assert all(len({case.modules for case in family}) <= 1 for family in valid)
    assert len({family[0].modules for family in valid if family}) > 15
    assert sum(len({case.steps for case in family}) >= len(family) - siblings // 16 for family in valid) >= 18


def test_cases_are_of_one_module_where_instances_share_functions_only() -> None:
    features = frozenset({"mvp"})
    linked, alone = ([generate(derive(5, i), features, linked=chance) for i in range(160)] for chance in (True, False))
    assert max(len(case.modules) for case in linked) > 1
    assert {len(case.modules) for case in alone} == {1}


def test_families_are_larger_where_engines_run_in_containers() -> None:
    here, abroad = (EngineRecord("e", "e", "1", ("mvp",), machine=machine) for machine in ("", "container, arm64"))
    assert (siblings_for([here, here]), siblings_for([here, abroad])) == (SIBLINGS, SIBLINGS_ABROAD)


def test_rules_are_told_by_engines_of_this_machine() -> None:
    here, abroad, silent = (
        SimpleNamespace(hello={"rules": rules}, machine=machine)
        for rules, machine in ((True, ""), (True, "container, arm64"), (False, ""))
    )
    assert telling_rules([silent, here, abroad]) == [here]
    assert telling_rules([silent, abroad]) == [abroad]
    assert not telling_rules([silent])


class Settled(Engine):
    """The reference as an engine that makes the choices of x86, and can make no others."""

    profiles = property(lambda self: False)  # type: ignore[assignment]


def chosen_by_x86(name: str) -> Any:
    if name == "ref/py":
        return open_engine(name)
    target = resolve("ref/py")
    return Settled(replace(target, name=name, argv=(*target.argv, "nan=x86", "R_swizzle=1")))


def raw_case(seed: int, features: frozenset[str]) -> Case:
    args = [("f64:0", "i32:1"), ("f64:fff8000000000001", "i32:2")]
    return zoo.case_of(RAW, steps=(Instantiate("a", 0), *(Invoke("a", "f", each) for each in args)))


def test_the_reference_is_asked_for_the_choices_of_the_other_engine() -> None:
    job = plan("ref/py", "x86", resolve=chosen_by_x86, make=raw_case, arbiter="ref/py")
    with Shard(job) as shard:
        (batch,) = shard.run(iter(range(3)))
        assert shard._judgement.arbiter is not None
        assert shard._judgement.arbiter.runs == 0, "nothing was left to explain"
    assert batch.counters["agree"] == 3
    assert batch.choices["ref/py"] == batch.choices["x86"]
    assert (batch.choices["x86"]["nan"], batch.choices["x86"]["i8x16.relaxed_swizzle"]) == ("x86", "1")


class Telling(zoo.LocalEngine):
    """Says which rules a case used: one for each number that it is called with."""

    hello = MappingProxyType({"rules": True})

    def collect(self) -> zoo.Answer:
        case, _ = self.queue[0]
        answer = super().collect()
        numbers = {arg for step in case.steps if isinstance(step, Invoke) for arg in step.args}
        return replace(answer, rules=frozenset(f"rule {len(case.modules[0]) % 3} {number}" for number in numbers))


def test_the_first_case_that_reaches_something_is_kept(tmp_path: Path) -> None:
    def resolve(name: str) -> zoo.LocalEngine:
        return Telling(name) if name == "telling" else zoo.resolve(name)

    names = ("right", "telling")
    for examples in (20, 60):  # the second time nothing is new
        with Store(tmp_path, campaign(*names)) as store:
            hunt(plan(*names, resolve=resolve, examples=examples), store, 1, lambda: False)
        samples = load(tmp_path).samples
        assert {sample.reason for sample in samples} == {REACHED}
        assert 1 <= len(samples) <= 3
    assert len(load(tmp_path).rules) <= 6
