"""The official core suite on the Python reference engine."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from wasmlab_ref import expect
from wasmlab_ref.case import Outcome
from wasmlab_ref.engine import Store, argument, written
from wasmlab_ref.events import Listener
from wasmlab_ref.outcome import Exhausted, Invalid, Malformed, Rejected, Thrown, Trap, Unlinkable
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
    BinaryModule,
    Command,
    Get,
    Invoke,
    Module,
    ModuleInstance,
    Register,
    parse_script,
)
from wasmlab_ref.spectest import spectest
from wasmlab_ref.store import Extern, FuncInst, GlobalInst, Instance, MemInst, func_type
from wasmlab_ref.validate import ValidModule, validate

SLOW = {"return_call.wast", "return_call_ref.wast", "skip-stack-guard-page.wast"}


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

    def act(self, action: Action) -> Outcome:
        export = self.instances[action.id].exports[action.name]
        if isinstance(export, GlobalInst):
            return Outcome("returned", tuple(written([export.value], [export.type.value])))
        assert isinstance(export, FuncInst)
        type_ = func_type(export.type)
        texts = map(expect.argument, action.args if isinstance(action, Invoke) else ())
        values = self.store.invoke(export, [argument(text, t) for text, t in zip(texts, type_.params, strict=True)])
        return Outcome("returned", tuple(written(values, type_.results)))

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
                outcome = self.act(action)
                assert expect.returned(outcome, results), f"{outcome} is not {results}"
            case AssertTrap(_, action, text):
                trap = ends_in(
                    Trap, self.instantiate if isinstance(action, Module | ModuleInstance) else self.act, action
                )
                outcome = Outcome("trapped", detail=trap.kind)
                assert expect.trapped(outcome, text), f"{outcome} is not {text!r}"
            case AssertExhaustion(_, action, text):
                ends_in(Exhausted, self.act, action)
            case AssertException(_, action):
                ends_in(Thrown, self.act, action)
            case AssertUnlinkable(_, module):
                ends_in(Unlinkable, self.instantiate, module)
            case AssertMalformed(_, source, text) | AssertMalformedCustom(_, source, text):
                error = ends_in(Malformed, source.parse)
                if not isinstance(source, BinaryModule):  # which of several mistakes a binary has first is not settled
                    says(error, text)
            case AssertInvalid(_, source, text):
                says(ends_in(Invalid, validate, source.parse()), text)
            case AssertInvalidCustom(_, source, text):
                says(ends_in(Rejected, lambda: validate(source.parse())), text)


def ends_in(error: type[Any], function: Callable[..., object], *args: object) -> Any:
    """The error that a call must end in."""
    try:
        result = function(*args)
    except error as caught:
        return caught
    raise AssertionError(f"expected {error.__name__}, got {result}")


def says(error: Rejected, text: str) -> None:
    assert error.message.startswith(text), f"{error.message!r} is not {text!r}"


def scripts() -> list[Any]:
    """The rows of the pinned table: path, number of commands and of assertions of each script."""
    _, *lines = (Path(__file__).parent / "data" / "assertions.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    return [
        pytest.param(path, (int(commands), int(assertions)), id=path, marks=[pytest.mark.slow] if path in SLOW else [])
        for path, commands, assertions in rows
    ]


def run_script(path: Path, listener: Listener | None = None) -> tuple[tuple[int, int], list[str]]:
    """Run a script: the numbers of its commands and assertions, and one line for each command that failed."""
    script, assertions, failures = Script(listener), 0, []
    commands = parse_script(path.read_bytes())
    for command in commands:
        name = type(command).__name__
        assertions += name.startswith("Assert")
        try:
            script.run(command)
        except Exception as error:
            failures.append(f"{path.name}:{command.line}: {name}: {type(error).__name__}: {error}")
    return (len(commands), assertions), failures


@pytest.mark.parametrize(("path", "pinned"), scripts())
def test_script(core_suite: Path, path: str, pinned: tuple[int, int]) -> None:
    counts, failures = run_script(core_suite / path)
    assert not failures, "\n".join(failures[:20])
    assert counts == pinned


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
    functions = {name for name, row in table.items() if "function" in row}
    steps = {name for name in functions if name.startswith("Step")}
    assert rules.taken <= functions
    assert steps - rules.taken <= NOT_IN_THE_SUITE
