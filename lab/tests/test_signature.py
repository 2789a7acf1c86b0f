"""Keys and signatures: the same for what is the same finding, different for what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from zoo import case_of

from wasmlab.oracle import Verdict
from wasmlab.signature import cause, key_of, signature_of, size, value_class
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome

STEPS = (Instantiate("a", 0), Invoke("a", "f", ("i32:1",)))


def verdict(a: Outcome, b: Outcome, stage: str = "invoke") -> Verdict:
    return Verdict("diverge", "", 1, stage, (("ref",), ("x",)), {"ref": a, "x": b})


def returned(*values: str) -> Outcome:
    return Outcome("returned", values)


def function(body: str) -> Case:
    return case_of(f'(module (func (export "f") (param i32) (result i32) {body}))', steps=STEPS)


WRONG = verdict(returned("i32:1"), returned("i32:2"))


def test_operands_do_not_count() -> None:
    one = signature_of(function("(i32.xor (local.get 0) (i32.const 5))"), WRONG)
    two = signature_of(function("(i32.xor (i32.const 77) (local.get 0)) (local.tee 0) (nop)"), WRONG)
    assert one == two
    assert one.id == two.id
    assert str(one) == "ref returned / x returned at invoke: i32.xor [i32]"
    assert one.id != signature_of(function("(i32.or (local.get 0) (i32.const 5))"), WRONG).id


def test_what_is_different() -> None:
    case = function("(i32.clz (local.get 0))")
    trap = Outcome("trapped", detail="unreachable")
    all_ = [
        WRONG,
        verdict(returned("i32:1"), trap),
        verdict(returned("i32:1"), Outcome("trapped", detail="integer overflow")),
        verdict(trap, returned("i32:1")),
        verdict(returned("i32:1"), Outcome("crashed", detail="signal SIGSEGV")),
        verdict(returned("i32:1"), Outcome("crashed", detail="signal SIGABRT")),
        verdict(returned("i32:1"), returned("i32:2"), "read"),
    ]
    assert len({signature_of(case, v).id for v in all_}) == len(all_)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (("i32:1",), ("i32:2",), "i32"),
        (("f32:7fc00000",), ("f32:1",), "f32 nan/number"),
        (("f64:0",), ("f64:8000000000000000",), "f64 zero"),
        (("i32:1", "ref.null"), ("i32:1", "ref.func"), "ref.func/ref.null"),
        (("i64:1", "digest:00"), ("i64:1", "digest:01"), "digest"),
        (("i32:1",), (), "count"),
        (("<junk>",), ("i32:1",), "<junk>/i32"),
    ],
)
def test_classes_of_values(a: tuple[str, ...], b: tuple[str, ...], expected: str) -> None:
    assert value_class(verdict(returned(*a), returned(*b))) == expected


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("signal SIGSEGV; stderr: ", "SIGSEGV"),
        (
            "signal SIGABRT; stderr: thread '<unnamed>' panicked at cranelift/codegen/src/lower.rs:766:21:\nx",
            "lower.rs:766",
        ),
        ("signal SIGABRT; stderr: thread 'main' panicked at 'not done', src/a.rs:12:3", "a.rs:12"),
        ("exit: foo.c:33: main: Assertion `x' failed.", "foo.c:33"),
        ("exit status 3", ""),
    ],
)
def test_causes_of_crashes(detail: str, expected: str) -> None:
    assert cause(detail) == expected


def test_crashes_at_one_place_are_one() -> None:
    crash = verdict(returned(), Outcome("crashed", detail="SIGABRT panicked at src/a.rs:1:2: v1"), "case")
    again = verdict(returned(), Outcome("crashed", detail="SIGABRT panicked at src/a.rs:1:2: v7"), "case")
    one, two = function("(i32.clz (local.get 0))"), function("(i32.ctz (local.get 0))")
    assert signature_of(one, crash) == signature_of(two, again)
    assert key_of(crash) == key_of(again)


def test_without_a_telling_instruction_the_parts_count() -> None:
    tables = case_of("(module (table 1 funcref) (func i32.const 1 drop))", steps=STEPS)
    assert signature_of(tables, WRONG).opcodes == ("(tables)",)
    assert signature_of(Case((b"junk",), STEPS), WRONG).opcodes == ("(malformed)",)
    assert size(tables) == 2
    assert size(Case((b"junk",), ())) == 0


def test_a_signature_of_one_engine_alone() -> None:
    outcomes = {"v8": returned("i32:1"), "ref": returned("i32:1"), "jsc": returned("i32:2"), "deno": returned("i32:2")}
    several = Verdict("diverge", "", 1, "invoke", (("v8", "ref"), ("jsc", "deno")), outcomes)
    found = signature_of(function("(i32.clz (local.get 0))"), several)
    assert [(name, str(one)) for name, one in found.alone()] == [
        ("jsc", "ref returned / jsc returned at invoke: i32.clz [i32]"),
        ("deno", "ref returned / deno returned at invoke: i32.clz [i32]"),
    ]
    fast = replace(
        several,
        groups=(("ref/fast:arm64",), ("jsc",)),
        outcomes={"ref/fast:arm64": WRONG.outcomes["ref"], "jsc": WRONG.outcomes["x"]},
    )
    ((_, one),) = signature_of(function("(i32.clz (local.get 0))"), fast).alone()
    assert str(one) == "ref returned / jsc returned at invoke: i32.clz [i32]"
    swapped = replace(several, groups=(("jsc",), ("ref",)))
    assert [name for name, _ in signature_of(function("(local.get 0)"), swapped).alone()] == ["jsc"]
    crash = Verdict("diverge", "", None, "case", (("jsc",),), {"jsc": Outcome("crashed", detail="signal SIGSEGV")})
    ((name, one),) = signature_of(function("(i32.clz (local.get 0))"), crash).alone()
    assert (name, str(one)) == ("jsc", "ref silent / jsc crashed SIGSEGV at case: i32.clz")
