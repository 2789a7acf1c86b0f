"""The oracle without the reference at hand; the kinds of difference are in `test_kinds.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
