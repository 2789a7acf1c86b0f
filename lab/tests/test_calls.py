"""Calls that people write: `wasmlab diff --invoke`, and who is at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from zoo_check import judged, spelled

from wasmlab.calls import call
from wasmlab.commands.diff import at_fault
from wasmlab.errors import UsageError
from wasmlab.loading import load_file
from wasmlab.oracle import Verdict
from wasmlab_ref.case import Instantiate, Invoke
from wasmlab_ref.text import parse_module

TEXT = """(module (func (export "add") (param i32 f64) (result i32) (local.get 0))
    (func (export "two words") (param v128)) (func (export "none")))"""


@pytest.mark.parametrize(
    ("text", "export", "args"),
    [
        ("add 1 2", "add", ("i32:1", "f64:4000000000000000")),
        ("add -1 nan:0x4", "add", ("i32:ffffffff", "f64:7ff0000000000004")),
        ("add i32:0x70000000 f64:7ff8000000000000", "add", ("i32:70000000", "f64:7ff8000000000000")),
        ("add 0xff 0x1p3", "add", ("i32:ff", "f64:4020000000000000")),
        ("'two words' v128:0", "two words", ("v128:0",)),
        ("none", "none", ()),
    ],
)
def test_a_call(text: str, export: str, args: tuple[str, ...]) -> None:
    assert call(parse_module(TEXT), text) == Invoke("module", export, args)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is no call"),
        ("'add", "is no call"),
        ("sub 1", "no exported function 'sub'"),
        ("add 1", "add takes 2 arguments"),
        ("add 1 x", "'x' is no f64"),
        ("add 0x100000000 1", "is no i32"),
        ("add i32:100000000 1", "is not a value"),
        ("'two words' 1", "must be given as bits"),
    ],
)
def test_no_call(text: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        call(parse_module(TEXT), text)


def test_calls_replace_made_up_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.wat"
    path.write_text(TEXT)
    loaded = load_file(path, ["none", "add 1 2", "none"])
    assert loaded.case.steps == (
        Instantiate("module", 0),
        Invoke("module", "none"),
        Invoke("module", "add", ("i32:1", "f64:4000000000000000")),
        Invoke("module", "none"),
    )
    assert not loaded.made_up
    assert load_file(path).made_up
    script = tmp_path / "a.wast"
    script.write_text(TEXT)
    with pytest.raises(UsageError, match="for bare modules"):
        load_file(script, ["none"])


@pytest.mark.parametrize(
    ("groups", "blamed"),
    [
        ((("ref", "a"), ("b",)), ["b"]),
        ((("a",), ("ref/py",), ("b", "c")), ["a", "b", "c"]),
        ((("a",), ("reference",)), []),
        ((), []),
    ],
)
def test_the_engine_at_fault(groups: tuple[tuple[str, ...], ...], blamed: list[str]) -> None:
    assert at_fault(Verdict("diverge", groups=groups)) == blamed


def test_rows_of_the_zoo() -> None:
    assert spelled("run i32:-1 i64:24 f32:0x7f800000") == "run i32:ffffffff i64:18 f32:7f800000"
    names = {"bad": "e@1", "good": "e@2"}
    answer = {
        "verdict": "diverge", "at_fault": ["e@1"], "reason": "e@1 returned 1", "step": 1,
        "outcomes": {"e@2": [{"kind": "returned"}, {"kind": "trapped"}]},
    }  # fmt: skip
    assert judged(answer, names).recognised
    assert not judged({**answer, "at_fault": ["e@1", "e@2"]}, names).recognised
    assert not judged({**answer, "verdict": "agree", "at_fault": []}, names).recognised
