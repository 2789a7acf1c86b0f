"""Traces: what a case computes is told and not changed, and the first instruction that differs is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zoo
from test_cli import _Opened, run
from test_reduce import EVERYTHING, STEPS

from wasmlab.campaign import derive, generate
from wasmlab.commands import trace as command
from wasmlab.trace import Event, first_difference, instrumented, last_words
from wasmlab_ref.case import Instantiate, Invoke
from wasmlab_ref.features import WASM_3

SUM = """(module (func (export "f") (param i32 f32 v128) (result i32)
  (i32.xor (i32.add (local.get 0) (i32.const 2)) (i32.trunc_sat_f32_s (local.get 1)))
  (drop (i8x16.add (local.get 2) (local.get 2))) (drop (ref.null func))))"""
CALL = (Instantiate("a", 0), Invoke("a", "f", ("i32:5", "f32:40400000", "v128:10000000000000002")))


def events(name: str, *texts: str, steps: tuple[object, ...] = CALL, limit: int = 1000) -> list[Event]:
    traced = instrumented(zoo.case_of(*texts, steps=steps), limit)
    return traced.events(zoo.resolve(name).run(traced.case).trace)


def test_values_of_all_types_are_told_in_order() -> None:
    said = [(event.place.instruction, event.value) for event in events("right", SUM)]
    assert said == [
        ("enter", ""), ("local.get", "i32:5"), ("i32.const", "i32:2"), ("i32.add", "i32:7"),
        ("local.get", "f32:40400000"), ("i32.trunc_sat_f32_s", "i32:3"), ("i32.xor", "i32:4"),
        ("local.get", "v128:10000000000000002"), ("local.get", "v128:10000000000000002"),
        ("i8x16.add", "v128:20000000000000004"), ("ref.null", "null"),
    ]  # fmt: skip


def test_outcomes_stay_what_they_are() -> None:
    engine = zoo.resolve("right")
    case = zoo.case_of(EVERYTHING, steps=STEPS)
    traced = instrumented(case)
    assert engine.run(traced.case).outcomes == engine.run(case).outcomes
    assert len(traced.places) > 20


@pytest.mark.parametrize("number", range(20))
def test_generated_cases_stay_what_they_are(number: int) -> None:
    from wasmlab.opening import open_engine

    case = generate(derive(9, number), frozenset(WASM_3))
    traced = instrumented(case)
    with open_engine("ref/py") as engine:
        before, after = engine.run(case), engine.run(traced.case)
    assert before.outcomes == after.outcomes or any(o.kind == "exhausted" for o in before.outcomes + after.outcomes)


def test_the_limit_is_kept() -> None:
    loop = (
        '(module (func (export "f") (param i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))'
    )
    steps = (Instantiate("a", 0), Invoke("a", "f", ("i32:3e8",)))
    assert len(events("right", loop, steps=steps, limit=50)) == 50


def test_the_first_difference_is_the_wrong_instruction() -> None:
    right, wrong = events("right", SUM), events("bug/xor-lsb", SUM)
    at = first_difference([right, wrong])
    assert at is not None
    assert right[at].place.instruction == "i32.xor"
    assert (right[at].value, wrong[at].value) == ("i32:4", "i32:5")
    assert first_difference([right, right]) is None
    assert first_difference([right, right[:3]]) == 3


def test_modules_that_are_not_valid_are_left_alone() -> None:
    case = zoo.case_of("(module)")
    broken = type(case)((b"\0asm", *case.modules), case.steps)
    assert instrumented(broken).case.modules[0] == b"\0asm"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "opened", _Opened)
    monkeypatch.setattr(command, "names_of", lambda engines, more: tuple(engines.split(",")))
    path = tmp_path / "a.wat"
    path.write_text('(module (func (export "f") (param i32) (result i32) (i32.xor (local.get 0) (i32.const 1))))')
    status, out, _ = run(capsys, "trace", str(path), "--engines", "right", "--invoke", "f 5")
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[-1] == {"module": 0, "function": 0, "at": 2, "instruction": "i32.xor", "value": "i32:4"}
    both = ["trace", str(path), "--engines", "right,bug/xor-lsb", "--invoke", "f 5"]
    status, out, _ = run(capsys, *both)
    assert status == 1
    assert out.splitlines()[-1].split()[-3:] == ["i32.xor", "i32:4", "i32:5"]
    status, out, _ = run(capsys, *both, "--json", "-o", str(tmp_path / "t.jsonl"))
    data = json.loads(out)
    assert data["at"]["bug/xor-lsb"]["value"] == "i32:5"
    assert data["before"][-1]["value"] == "i32:1"
    assert json.loads((tmp_path / "t.jsonl").read_text().splitlines()[-1])["engine"] == "bug/xor-lsb"
    status, out, _ = run(capsys, "trace", str(path), "--engines", "right,also", "--invoke", "f 5")
    assert (status, out) == (0, "no difference in 4 events\n")
    path.write_text("(module)")
    status, _, err = run(capsys, "trace", str(path), "--engines", "right")
    assert status == 2
    assert "none is valid, or none has code" in err


def test_the_last_words_of_engines_that_differ() -> None:
    case = zoo.case_of(SUM, steps=CALL)
    engines = [zoo.resolve("right"), zoo.resolve("bug/xor-lsb")]
    rows = last_words(case, engines, shown=2)
    assert [row[1:] for row in rows] == [
        ("local.get", "f32:40400000", "f32:40400000"),
        ("i32.trunc_sat_f32_s", "i32:3", "i32:3"),
        ("i32.xor", "i32:4", "i32:5"),
    ]
    assert rows[-1][0] == "module 0 function 0 +5"
    assert last_words(case, engines[:1] * 2) == ()
