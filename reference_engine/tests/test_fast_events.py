"""What the library with events tells; that it agrees with ref/py is tested in lab/tests/test_rules_agree.py."""

from __future__ import annotations

import shutil

import pytest

from wasmlab_ref.case import Invoke
from wasmlab_ref.encode import encode
from wasmlab_ref.fast import build
from wasmlab_ref.fast.engine import Load, Store
from wasmlab_ref.text import parse_module

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, build.COMPILERS)), reason="the C engine needs a compiler, and there is none"
)

TEXT = """(module (memory 1)
    (func $g (param i32) (result i32) (i32.load16_u offset=4 (local.get 0)))
    (func (export "f") (param i32) (result i32)
      (i32.store8 (i32.const 9) (i32.const 7))
      (if (result i32) (local.get 0) (then (call $g (i32.const 5))) (else (i32.const 7)))))"""


def test_a_trace_of_calls_branches_and_memory() -> None:
    data = encode(parse_module(TEXT))
    with Store(events=True) as store:
        store.run([Load("m", data)])
        store.keep(100)
        store.run([Invoke("m", "f", ("i32:1",))])
        events = store.events()
        assert [e.mnemonic for e in events if e.kind == "instruction"] == [
            "i32.const", "i32.const", "i32.store8", "local.get", "if", "i32.const", "call", "local.get", "i32.load16_u",
        ]  # fmt: skip
        assert [(e.kind, e.function, e.values) for e in events if e.kind != "instruction"] == [
            ("write", 1, (9, 1)),
            ("call", 1, (0, 0)),
            ("read", 0, (9, 2)),
        ]
        for event in events:
            assert data[event.offset] == {"call": 0x10, "local.get": 0x20, "i32.const": 0x41, "if": 0x04}.get(
                event.mnemonic, data[event.offset]
            )
        store.keep(2)
        store.run([Invoke("m", "f", ("i32:0",))])
        assert [e.mnemonic for e in store.events()] == ["i32.const", "i32.const"]
        assert store.seen().instructions == 15


def test_a_store_without_events() -> None:
    with Store() as store, pytest.raises(ValueError, match="without events"):
        store.seen()


def test_events_change_no_result_and_no_limit() -> None:
    text = """(module (func $f (export "f") (param i32) (result i32)
        (if (result i32) (local.get 0) (then (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))
          (else (i32.const 0)))))"""
    steps = [Load("m", encode(parse_module(text))), *(Invoke("m", "f", (f"i32:{n:x}",)) for n in (0, 9, 9999, 10000))]
    with Store() as plain, Store(events=True) as telling:
        assert plain.run(steps) == telling.run(steps)
