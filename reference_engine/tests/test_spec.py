"""The official core suite on the Python reference engine."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from wasmlab_ref.engine import Store
from wasmlab_ref.events import Listener
from wasmlab_ref.outcome import Exhausted, Invalid, Malformed, Rejected, Thrown, Trap, Unlinkable, trap_kinds
from wasmlab_ref.script import (
    Action,
    AssertException,
    AssertExhaustion,
    AssertInvalid,
    AssertInvalidCustom,
    AssertMalformed,
    AssertMalformedCustom,
    AssertReturn,
    AssertTrap,
    AssertUnlinkable,
    Command,
    Const,
    Either,
    Get,
    Invoke,
    Lanes,
    Module,
    ModuleInstance,
    Nan,
    RefHost,
    RefNull,
    RefOf,
    Register,
    Result,
    parse_script,
)
from wasmlab_ref.spectest import spectest
from wasmlab_ref.store import Extern, HostRef, Instance, MemInst, Value, ref_matches
from wasmlab_ref.types import RefType
from wasmlab_ref.validate import ValidModule, validate

SLOW = {"return_call.wast", "return_call_ref.wast"}
NANS = {"f32": (0x7FFF_FFFF, 0x7FC0_0000), "f64": (0x7FFF_FFFF_FFFF_FFFF, 0x7FF8_0000_0000_0000)}


def matches(value: Value, expected: Result) -> bool:
    """Whether a result is what a script asks for."""
    match expected:
        case Const(_, bits):
            return bool(value == bits)
        case Nan(type_, kind):
            magnitude, canonical = NANS[type_]
            return bool((value & magnitude if kind == "canonical" else value & canonical) == canonical)
        case Lanes(_, lanes):
            width = 128 // len(lanes)
            parts = [value >> width * i & (1 << width) - 1 for i in range(len(lanes))]
            return all(
                part == lane if isinstance(lane, int) else matches(part, lane)
                for part, lane in zip(parts, lanes, strict=True)
            )
        case RefNull():
            return value is None
        case RefHost(number):
            return bool(value == HostRef(number))
        case RefOf(heap):
            return ref_matches(value, RefType(False, heap))
        case Either(results):
            return any(matches(value, result) for result in results)


class Script:
    """Runs the commands of one script in one store; each mistake is an AssertionError with its line."""

    def __init__(self, listener: Listener | None = None) -> None:
        self.store = Store(listener=listener)
        self.registry: dict[str, dict[str, Extern]] = {"spectest": spectest(self.store)}
        self.modules: dict[str | None, ValidModule] = {}
        self.instances: dict[str | None, Instance] = {}

    def instantiate(self, command: Module | ModuleInstance) -> Instance:
        if isinstance(command, Module):
            module = self.modules[None] = self.modules[command.id] = validate(command.source.parse())
        else:
            module = self.modules[command.module]
        imports = []
        for import_ in module.module.imports:
            extern = self.registry.get(import_.module, {}).get(import_.name)
            if extern is None:
                raise Unlinkable(f"unknown import {import_.module!r} {import_.name!r}")
            imports.append(extern)
        return self.store.instantiate(module, imports)

    def act(self, action: Action) -> list[Value]:
        export = self.instances[action.id].exports[action.name]
        if isinstance(action, Get):
            return [export.value]  # type: ignore[union-attr]
        return self.store.invoke(export, [argument(a) for a in action.args])  # type: ignore[arg-type]

    def run(self, command: Command) -> None:
        match command:
            case Module(definition=True):
                self.modules[None] = self.modules[command.id] = validate(command.source.parse())
            case Module() | ModuleInstance():
                self.instances[None] = self.instances[command.id] = self.instantiate(command)
            case Register(_, name, id_):
                self.registry[name] = self.instances[id_].exports
            case Invoke() | Get():
                self.act(command)
            case AssertReturn(_, action, results):
                values = self.act(action)
                assert len(values) == len(results)
                for value, expected in zip(values, results, strict=True):
                    assert matches(value, expected), f"{value!r} is not {expected}"
            case AssertTrap(_, action, text):
                trap = ends_in(
                    Trap, self.instantiate if isinstance(action, Module | ModuleInstance) else self.act, action
                )
                message = trap_kinds()[trap.kind].text
                assert message.startswith(text) or text.startswith(message), f"{message!r} is not {text!r}"
            case AssertExhaustion(_, action, text):
                ends_in(Exhausted, self.act, action)
            case AssertException(_, action):
                ends_in(Thrown, self.act, action)
            case AssertUnlinkable(_, module):
                ends_in(Unlinkable, self.instantiate, module)
            case AssertMalformed(_, source) | AssertMalformedCustom(_, source):
                ends_in(Malformed, source.parse)
            case AssertInvalid(_, source):
                ends_in(Invalid, validate, source.parse())
            case AssertInvalidCustom(_, source):
                ends_in(Rejected, lambda: validate(source.parse()))


def argument(value: Const | RefNull | RefHost) -> Value:
    match value:
        case Const(_, bits):
            return bits
        case RefNull():
            return None
        case RefHost(number):
            return HostRef(number)


def ends_in(error: type[Any], function: Callable[..., object], *args: object) -> Any:
    """The error that a call must end in."""
    try:
        result = function(*args)
    except error as caught:
        return caught
    raise AssertionError(f"expected {error.__name__}, got {result}")


def scripts() -> list[Any]:
    """The rows of the pinned table: path and number of assertions of each script."""
    _, *lines = (Path(__file__).parent / "data" / "assertions.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    return [
        pytest.param(path, int(assertions), id=path, marks=[pytest.mark.slow] if path in SLOW else [])
        for path, _, assertions in rows
    ]


def run_script(path: Path, listener: Listener | None = None) -> tuple[int, list[str]]:
    """Run a script: the number of its assertions, and one line for each command that failed."""
    script, count, failures = Script(listener), 0, []
    for command in parse_script(path.read_bytes()):
        name = type(command).__name__
        count += name.startswith("Assert")
        try:
            script.run(command)
        except Exception as error:
            failures.append(f"{path.name}:{command.line}: {name}: {type(error).__name__}: {error}")
    return count, failures


@pytest.mark.parametrize(("path", "assertions"), scripts())
def test_script(core_suite: Path, path: str, assertions: int) -> None:
    count, failures = run_script(core_suite / path)
    assert not failures, "\n".join(failures[:20])
    assert count == assertions


class Rules(Listener):
    """Collects the rules taken, and checks that accesses lie within their memory."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def rule(self, name: str) -> None:
        self.taken.add(name)

    def memory_access(self, kind: str, memory: MemInst, address: int, size: int) -> None:
        assert kind in ("read", "write")
        assert 0 <= address <= address + size <= len(memory.data)


NOT_IN_THE_SUITE = {
    "Step/vstore_lane-oob",
    "Step_pure/return-handler",
    "Step_read/return_call_ref-frame-null",  # only in a slow script
    "Step_read/throw_ref-null",
    "Step_read/vload_lane-oob",
}
"""Rules that test_execute_events.py reaches."""


@pytest.mark.slow
def test_the_suite_takes_every_rule(core_suite: Path) -> None:
    rules = Rules()
    for path in sorted(core_suite.glob("*.wast")):
        if path.name not in SLOW:
            assert run_script(path, rules)[1] == []
    table = yaml.safe_load((files("wasmlab_ref") / "rules.yaml").read_text())
    steps = {name for name, row in table.items() if name.startswith("Step") and "function" in row}
    assert rules.taken <= steps
    assert steps - rules.taken <= NOT_IN_THE_SUITE
