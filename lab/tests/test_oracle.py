"""The oracle: every forbidden difference is reported, no permitted one is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from wasmlab.oracle import judge, pairs, same_trap
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register

CASE = Case(
    (b"",),
    (
        Instantiate("a", 0),
        Register("a", "a"),
        Invoke("a", "f"),
        Invoke("a", "g"),
        Invoke("a", "h"),
        Read("a", "memory"),
        Read("a", "table"),
        Read("a", "global"),
    ),
)


@dataclass(frozen=True)
class Answer:
    outcomes: tuple[Outcome, ...]
    trace: tuple[str, ...] = ()

    def with_(self, step: int, outcome: Outcome) -> Answer:
        return replace(self, outcomes=(*self.outcomes[:step], outcome, *self.outcomes[step + 1 :]))


def returned(*values: str) -> Outcome:
    return Outcome("returned", values)


def trapped(kind: str) -> Outcome:
    return Outcome("trapped", detail=kind)


RECORDED = Answer(
    (
        returned(),
        returned(),
        returned("i32:2a", "f32:80000000", "f64:7ff0000000000000", "v128:1"),
        trapped("integer divide by zero"),
        Outcome("threw", ("i32:1", "ref.null"), "t"),
        returned("i64:10000", "digest:0123456789abcdef"),
        returned("i64:3", "ref.null", "ref.func", "ref.extern:5"),
        returned("ref.i31:7"),
    ),
    ("1,2", "3,4"),
)
"""What an engine said to `CASE`."""

F = RECORDED.outcomes[2].values

FORBIDDEN: dict[str, Answer] = {
    "one bit of an i32": RECORDED.with_(2, returned("i32:2b", *F[1:])),
    "the sign of zero": RECORDED.with_(2, returned(F[0], "f32:0", *F[2:])),
    "infinity for the largest number": RECORDED.with_(2, returned(*F[:2], "f64:7fefffffffffffff", F[3])),
    "infinity for NaN": RECORDED.with_(2, returned(*F[:2], "f64:7ff8000000000000", F[3])),
    "the top bit of a vector": RECORDED.with_(2, returned(*F[:3], "v128:80000000000000000000000000000001")),
    "another type of the same bits": RECORDED.with_(2, returned("i64:2a", *F[1:])),
    "a result too few": RECORDED.with_(2, returned(*F[:3])),
    "a result too many": RECORDED.with_(2, returned(*F, "i32:0")),
    "results in another order": RECORDED.with_(2, returned(F[1], F[0], *F[2:])),
    "a trap where there is none": RECORDED.with_(2, trapped("unreachable")),
    "no trap where there is one": RECORDED.with_(3, returned()),
    "another trap": RECORDED.with_(3, trapped("integer overflow")),
    "another trap among several": RECORDED.with_(3, trapped("integer overflow|invalid conversion to integer")),
    "an exception for a trap": RECORDED.with_(3, Outcome("threw")),
    "a trap for an exception": RECORDED.with_(4, trapped("unreachable")),
    "another payload": RECORDED.with_(4, Outcome("threw", ("i32:2", "ref.null"), "t")),
    "no payload": RECORDED.with_(4, Outcome("threw", (), "t")),
    "another tag": RECORDED.with_(4, Outcome("threw", ("i32:1", "ref.null"), "u")),
    "a caught exception": RECORDED.with_(4, returned("i32:1", "ref.null")),
    "one byte of a memory": RECORDED.with_(5, returned("i64:10000", "digest:1123456789abcdef")),
    "the size of a memory": RECORDED.with_(5, returned("i64:20000", "digest:0123456789abcdef")),
    "the size of a table": RECORDED.with_(6, returned("i64:2", "ref.null", "ref.func")),
    "null for a function": RECORDED.with_(6, returned("i64:3", "ref.null", "ref.null", "ref.extern:5")),
    "another reference of the host": RECORDED.with_(6, returned("i64:3", "ref.null", "ref.func", "ref.extern:6")),
    "another scalar": RECORDED.with_(7, returned("ref.i31:8")),
    "a structure for a scalar": RECORDED.with_(7, returned("ref.struct")),
    "a module refused": RECORDED.with_(0, Outcome("invalid", detail="type mismatch")),
    "a module malformed": RECORDED.with_(0, Outcome("malformed")),
    "imports refused": RECORDED.with_(0, Outcome("unlinkable")),
    "a trap in the start function": RECORDED.with_(0, trapped("unreachable")),
    "a crash": RECORDED.with_(5, Outcome("crashed", detail="SIGSEGV")),
    "a crash at once": Answer((Outcome("crashed", detail="SIGSEGV"),) * 8),
    "nonsense": RECORDED.with_(3, Outcome("unparsed", detail="[]")),
    "an outcome too few": replace(RECORDED, outcomes=RECORDED.outcomes[:-1]),
    "no outcome at all": Answer(()),
    "a host call less": replace(RECORDED, trace=("1,2",)),
    "a host call more": replace(RECORDED, trace=("1,2", "3,4", "5,6")),
    "host calls in another order": replace(RECORDED, trace=("3,4", "1,2")),
    "another argument of a host call": replace(RECORDED, trace=("1,2", "3,5")),
    "a crash after running out of fuel": RECORDED.with_(2, Outcome("exhausted")).with_(4, Outcome("crashed")),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_differences_are_reported(name: str) -> None:
    for answers in ({"ref": RECORDED, "x": FORBIDDEN[name]}, {"x": FORBIDDEN[name], "ref": RECORDED}):
        verdict = judge(CASE, answers)
        assert verdict.diverges, name
        assert any("x" in group for group in verdict.groups)
        assert verdict.reason
    three = judge(CASE, {"ref": RECORDED, "y": RECORDED, "x": FORBIDDEN[name]})
    assert three.diverges


def test_there_are_enough_of_both() -> None:
    assert len(FORBIDDEN) >= 30
    assert len(PERMITTED) >= 15


REFUSED = Answer((Outcome("malformed", detail="magic"), *(Outcome("unsupported", detail="no instance"),) * 7))

PERMITTED: dict[str, tuple[Answer, Answer, str]] = {
    "nothing": (RECORDED, RECORDED, "agree"),
    "a trap among several": (
        RECORDED, RECORDED.with_(3, trapped("integer overflow|integer divide by zero")), "agree"),
    "several traps on both sides": (
        RECORDED.with_(3, trapped("a|b")), RECORDED.with_(3, trapped("b | c")), "agree"),
    "a trap without a word": (RECORDED, RECORDED.with_(3, trapped("")), "agree"),
    "an exception without a name": (
        RECORDED, RECORDED.with_(4, Outcome("threw", ("i32:1", "ref.null"))), "agree"),
    "the message of a refusal": (
        REFUSED, replace(REFUSED, outcomes=(Outcome("malformed", detail="other"), *REFUSED.outcomes[1:])), "agree"),
    "what is said about an instance that is not there": (
        REFUSED, replace(REFUSED, outcomes=(REFUSED.outcomes[0], *(returned("i32:1"),) * 7)), "agree"),
    "both invalid": (RECORDED.with_(0, Outcome("invalid", detail="x")), RECORDED.with_(0, Outcome("invalid")), "agree"),
    "both unlinkable": (RECORDED.with_(0, Outcome("unlinkable")), RECORDED.with_(0, Outcome("unlinkable")), "agree"),
    "no stack": (RECORDED, RECORDED.with_(2, Outcome("exhausted", detail="call stack")), "exhausted (call stack)"),
    "no stack on both": (
        RECORDED.with_(2, Outcome("exhausted")), RECORDED.with_(2, Outcome("exhausted", detail="fuel")),
        "inconclusive"),
    "no fuel, whatever follows": (
        RECORDED, RECORDED.with_(2, Outcome("exhausted", detail="fuel")).with_(3, returned("i32:9")),
        "exhausted (fuel)"),
    "no time": (RECORDED, RECORDED.with_(2, Outcome("timed out")), "timed out"),
    "no time at all": (RECORDED, Answer((Outcome("timed out"),) * 8), "timed out"),
    "no support": (RECORDED, RECORDED.with_(0, Outcome("unsupported", detail="gc: no")), "unsupported"),
    "no support, and no trace": (
        replace(RECORDED, trace=()), RECORDED.with_(7, Outcome("unsupported")), "unsupported"),
}  # fmt: skip


@pytest.mark.parametrize("name", PERMITTED)
def test_permitted_differences_are_not(name: str) -> None:
    a, b, expected = PERMITTED[name]
    for answers in ({"ref": a, "x": b}, {"x": b, "ref": a}):
        verdict = judge(CASE, answers)
        assert expected in (verdict.kind, verdict.reason), (name, verdict)
        assert not verdict.diverges


def test_malformed_and_invalid_are_one_for_engines_that_do_not_tell() -> None:
    a, b = RECORDED.with_(0, Outcome("malformed")), RECORDED.with_(0, Outcome("invalid"))
    assert judge(CASE, {"ref": a, "x": b}).diverges
    assert judge(CASE, {"ref": a, "x": b}, frozenset({"x"})).kind == "agree"
    unlinkable = RECORDED.with_(0, Outcome("unlinkable"))
    assert judge(CASE, {"ref": unlinkable, "x": b}, frozenset({"x"})).diverges


def test_the_first_difference_counts() -> None:
    wrong = RECORDED.with_(2, returned("i32:0")).with_(3, returned())
    verdict = judge(CASE, {"ref": RECORDED, "x": wrong})
    assert (verdict.step, verdict.stage, verdict.groups) == (2, "invoke", (("ref",), ("x",)))
    assert verdict.outcomes["x"] == returned("i32:0")


def test_an_engine_that_broke_at_no_known_step() -> None:
    verdict = judge(CASE, {"ref": RECORDED, "x": Answer((Outcome("crashed", detail="SIGABRT"),) * 8)})
    assert (verdict.step, verdict.stage) == (None, "case")


def test_an_engine_without_an_answer_does_not_silence_the_others() -> None:
    tired = RECORDED.with_(2, Outcome("exhausted", detail="fuel"))
    wrong = RECORDED.with_(5, returned("i64:10000", "digest:0"))
    assert judge(CASE, {"ref": RECORDED, "tired": tired, "x": wrong}).diverges
    assert judge(CASE, {"ref": RECORDED, "tired": tired, "x": RECORDED}).kind == "inconclusive"


def test_several_wrong_engines_are_looked_into_one_by_one() -> None:
    answers = {
        "ref": RECORDED,
        "late": RECORDED.with_(7, returned("ref.null")),
        "x": RECORDED.with_(2, returned("i32:1")),
        "y": RECORDED.with_(2, returned("i32:2")),
        "z": RECORDED.with_(2, returned("i32:1")),
    }

    def sets(answers: dict[str, Answer]) -> list[tuple[str, ...]]:
        return list(pairs(answers, lambda names: judge(CASE, {name: answers[name] for name in names})))

    assert sets(answers) == [("ref", "late", "x", "z"), ("ref", "late", "y"), ("ref", "late")]
    assert sets({"ref": RECORDED, "x": RECORDED}) == []
    alone = {"ref": RECORDED.with_(2, Outcome("exhausted")), "x": RECORDED.with_(4, Outcome("crashed"))}
    assert sets(alone) == [("ref", "x")]


def test_trap_kinds() -> None:
    assert same_trap("a|b", "b")
    assert same_trap("", "b")
    assert not same_trap("a", "b|c")
