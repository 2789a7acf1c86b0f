"""What a listener hears: instructions, accesses, calls, and the rules of the formal specification."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from wasmlab_ref import compile, coverage
from wasmlab_ref.engine import Store
from wasmlab_ref.events import Listener
from wasmlab_ref.handlers import Stack
from wasmlab_ref.isa import INSTRUCTIONS
from wasmlab_ref.outcome import Thrown, Trap
from wasmlab_ref.store import FuncInst, Instance, MemInst
from wasmlab_ref.syntax import Instr
from wasmlab_ref.text import parse_module
from wasmlab_ref.validate import validate


class Recorder(Listener):
    """Writes down all that it hears."""

    def __init__(self) -> None:
        self.rules: list[str] = []
        self.instructions: list[tuple[int | None, int, str, Stack]] = []
        self.accesses: list[tuple[str, int, int]] = []
        self.calls: list[int] = []

    def instruction(self, func: FuncInst | None, position: int, instr: Instr, stack: Stack, locals: Stack) -> None:
        self.instructions.append((None if func is None else func.index, position, instr.op.mnemonic, stack.copy()))

    def rule(self, name: str) -> None:
        self.rules.append(name)

    def memory_access(self, kind: str, memory: MemInst, address: int, size: int) -> None:
        self.accesses.append((kind, address, size))

    def call(self, func: FuncInst) -> None:
        self.calls.append(func.index)


def load(text: str) -> tuple[Instance, Recorder]:
    recorder = Recorder()
    instance = Store(listener=recorder).instantiate(validate(parse_module(text)), [])
    return instance, recorder


def heard(text: str, *args: Any) -> list[str]:
    """The rules that a call of "f" takes, whatever it ends in."""
    instance, recorder = load(text)
    recorder.rules.clear()
    func = instance.exports["f"]
    assert isinstance(func, FuncInst)
    with suppress(Trap, Thrown):
        instance.store.invoke(func, args)
    return recorder.rules


def test_instructions_accesses_and_calls() -> None:
    instance, recorder = load(
        """(memory 1) (data (i32.const 5) "abc")
           (func $g (param i32) (result i32) (i32.load16_u offset=4 (local.get 0)))
           (func (export "f") (param i32) (result i32)
             (memory.copy (i32.const 9) (i32.const 5) (i32.const 2))
             (if (result i32) (local.get 0) (then (call $g (i32.const 5))) (else (i32.const 7))))"""
    )
    assert recorder.instructions[-1][:3] == (None, 4, "data.drop")
    assert recorder.accesses == [("write", 5, 3)]
    func = instance.exports["f"]
    assert isinstance(func, FuncInst)
    recorder.instructions.clear()
    assert instance.store.invoke(func, [1]) == [0x6261]
    assert recorder.instructions == [
        (1, 0, "i32.const", []),
        (1, 1, "i32.const", [9]),
        (1, 2, "i32.const", [9, 5]),
        (1, 3, "memory.copy", [9, 5, 2]),
        (1, 4, "local.get", []),
        (1, 5, "if", [1]),
        (1, 6, "i32.const", []),
        (1, 7, "call", [5]),
        (0, 0, "local.get", []),
        (0, 1, "i32.load16_u", [5]),
    ]
    assert recorder.accesses[1:] == [("read", 5, 2), ("write", 9, 2), ("read", 9, 2)]
    assert recorder.calls == [1, 0]


def test_listening_changes_no_result_and_costs_the_others_nothing() -> None:
    text = """(func $f (export "f") (param i32) (result i32)
                (if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0))
                  (else (i32.add (call $f (i32.sub (local.get 0) (i32.const 1)))
                                 (call $f (i32.sub (local.get 0) (i32.const 2)))))))"""
    watched, recorder = load(text)
    plain = Store().instantiate(validate(parse_module(text)), [])
    results = []
    for instance in (watched, plain):
        func = instance.exports["f"]
        assert isinstance(func, FuncInst)
        results.append(instance.store.invoke(func, [12]))
    assert results == [[144], [144]]
    assert len(recorder.instructions) == watched.store.instructions == plain.store.instructions
    body = plain.funcs[0].body
    assert body is not None
    assert not any(handler.__module__ == "wasmlab_ref.events" for handler in body.entry.ops)


@pytest.mark.parametrize(
    ("text", "args", "rules"),
    [
        ("(i32.div_u (i32.const 1) (local.get 0)) (drop)", [0], ["binop-trap"]),
        ("(i32.div_u (i32.const 1) (local.get 0)) (drop)", [1], ["binop-val", "drop", "label-vals", "frame-vals"]),
        ("(br_if 0 (local.get 0))", [1], ["br_if-true", "br-label-zero", "frame-vals"]),
        ("(br_if 0 (local.get 0))", [0], ["br_if-false", "label-vals", "frame-vals"]),
        (
            "(block (try_table (br 1)))",
            [0],
            ["br-label-succ", "br-handler", "br-label-zero", "label-vals", "frame-vals"],
        ),
        ("(br_table 0 0 (local.get 0))", [1], ["br_table-ge", "br-label-zero", "frame-vals"]),
        ("(try_table (return))", [0], ["return-handler", "return-label", "return-frame"]),
        ("(try_table (unreachable))", [0], ["unreachable", "trap-handler"]),
    ],
)
def test_pure_rules(text: str, args: list[int], rules: list[str]) -> None:
    names = heard(f'(func (export "f") (param i32) {text})', *args)
    assert [name[10:] for name in names if name.startswith("Step_pure/") and "trap-i" not in name][
        : len(rules)
    ] == rules


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("(throw_ref (ref.null exn))", "Step_read/throw_ref-null"),
        ("(return_call_ref 0 (ref.null 0))", "Step_read/return_call_ref-frame-null"),
        ("(v128.load8_lane 0 (i32.const -1) (v128.const i64x2 0 0)) (drop)", "Step_read/vload_lane-oob"),
        ("(v128.store64_lane 0 (i32.const 65529) (v128.const i64x2 0 0))", "Step/vstore_lane-oob"),
        ("(try_table (return))", "Step_pure/return-handler"),
    ],
)
def test_rules_that_the_suite_does_not_reach(text: str, rule: str) -> None:
    assert rule in heard(f'(memory 1) (func (export "f") {text})')


def test_an_exception_on_its_way() -> None:
    names = heard(
        """(tag $a) (tag $b)
           (func $g (try_table (throw $a)))
           (func (export "f")
             (block $h (try_table (catch $b $h) (catch $a $h) (call $g))))"""
    )
    way = [name.partition("throw_ref-")[2] for name in names if "throw_ref-" in name]
    assert way == ["instrs", "label", "handler-empty", "frame", "instrs", "label", "handler-next", "handler-catch"]


def test_rules_named_are_those_of_the_specification() -> None:
    lines = (Path(__file__).parent / "data" / "rules.tsv").read_text().splitlines()
    rules = {line.partition("\t")[2] for line in lines}
    for row in INSTRUCTIONS:
        if row.mnemonic not in compile.CONTROL and row.rule not in coverage.BY_OPERANDS:
            classify = coverage.classifier(Instr(row, ()))
            for trap in (None, "unreachable"):
                assert set(classify([], trap, 0)) <= rules
