"""Files that people hand over: a module in either format, a script, or a case; each becomes one case."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wasmlab_ref import script as s
from wasmlab_ref.case import Case, Instantiate, Invoke, Read, Register, Step, parse_value, value
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.syntax import Module
from wasmlab_ref.text import parse_module, syntax_error_caret

from .calls import call
from .companion import bare_case
from .errors import UsageError
from .findings import find
from .wast import CALLEE, HOST

SUFFIXES = ".wasm, .wat, .wast or .json"


@dataclass(slots=True)
class Loaded:
    """A case, whether its calls were made up, and what was left out, and why."""

    case: Case
    made_up: bool = False
    notes: list[str] = field(default_factory=list)
    engines: tuple[str, ...] = ()
    """The engines that differed, if it is a stored finding."""


def load_any(text: str, calls: Sequence[str] = (), whole: bool = False) -> Loaded:
    """The case of a file, or of a stored finding: its reduced case, or the `whole` one that it came from."""
    if (found := find(text)) is not None:
        run, divergence = found
        notes = [f"finding {divergence.id} of {run.folder}: {divergence.sentence}"]
        return Loaded(divergence.case if whole else divergence.reduced, False, notes, tuple(divergence.answers))
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"{text}: {'is a folder' if path.is_dir() else 'does not exist'}", hint=f"expected {SUFFIXES}")
    return load_file(path, calls)


def load_file(path: Path, calls: Sequence[str] = ()) -> Loaded:
    """The case of a file; `calls` of a bare module replace made up ones; `UsageError` says what is wrong and where."""
    data = path.read_bytes()
    if path.suffix in (".wasm", ".wat") or data[:4] == b"\0asm":
        binary = load_module(path)
        case, notes = bare_case(binary, path.name, [call(_decoded(path, binary), text) for text in calls])
        return Loaded(case, not calls, notes)
    if calls:
        raise UsageError(f"{path}: calls are for bare modules; this file has its own")
    if path.suffix == ".wast":
        return _script(path, data)
    if path.suffix == ".json":
        return Loaded(_case(path, data))
    raise UsageError(f"{path}: expected {SUFFIXES}")


def _decoded(path: Path, data: bytes) -> Module:
    try:
        return decode(data)
    except Malformed as error:
        raise UsageError(f"{path}: malformed: {error}") from None


def load_module(path: Path) -> bytes:
    """The bytes of a module in either format."""
    if path.suffix in (".wast", ".json"):
        raise UsageError(f"{path}: expected .wasm or .wat", hint="wasmlab diff runs scripts and cases")
    data = path.read_bytes()
    if data[:4] == b"\0asm" or path.suffix == ".wasm":
        return data
    return _module(path, data)


def _module(path: Path, data: bytes) -> bytes:
    try:
        return encode(parse_module(data))
    except Malformed as error:
        raise syntax_error(path, data, error) from None


def syntax_error(path: Path, data: bytes, error: Malformed) -> UsageError:
    """The error with its line and a caret."""
    caret = syntax_error_caret(data.decode(errors="replace"), error)
    return UsageError(f"{path}:{error}" + (f"\n{caret}" if caret else ""))


def _case(path: Path, data: bytes) -> Case:
    try:
        case = Case.from_json(json.loads(data))
        for step in case.steps:
            if isinstance(step, Instantiate) and not 0 <= step.module < len(case.modules):
                raise ValueError(f"no module {step.module}")
            if isinstance(step, Invoke):
                for arg in step.args:
                    parse_value(arg)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is no case: {type(error).__name__}: {error}") from None
    return case


# Scripts


def _script(path: Path, data: bytes) -> Loaded:
    try:
        return _Script(path).load(s.parse_script(data))
    except Malformed as error:
        raise syntax_error(path, data, error) from None


class _Script:
    """Turns commands of a script into steps; what they assert is left to the engines' comparison."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modules: list[bytes] = []
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.instances: dict[str | None, str] = {}
        self.definitions: dict[str | None, int] = {}

    def load(self, commands: tuple[s.Command, ...]) -> Loaded:
        for command in commands:
            self.steps += self._command(command)
        return Loaded(Case(tuple(self.modules), tuple(self.steps), self.path.name), False, self.notes)

    def _command(self, command: object) -> Iterator[Step]:
        match command:
            case s.Module() | s.Register() if command.id in (CALLEE, HOST):
                pass  # every worker has it
            case s.AssertReturn(_, s.Invoke() as action) if action.id == HOST:
                self.notes.append(f"line {command.line}: host calls are compared anyway")
            case s.Module(_, id_, source, definition):
                index = self._define(source)
                self.definitions[id_] = self.definitions[None] = index
                if not definition:
                    yield self._instantiate(id_, index)
            case s.ModuleInstance(_, id_, module):
                yield self._instantiate(id_, self._definition(module))
            case s.Register(_, name, id_):
                yield Register(self._instance(id_), name)
            case s.Invoke(_, id_, name, args):
                yield Invoke(self._instance(id_), name, tuple(map(_argument, args)))
            case s.Get(_, id_, name):
                yield Read(self._instance(id_), name)
            case s.AssertTrap(_, action) if isinstance(action, s.Module | s.ModuleInstance):
                yield from self._refused(command.line, action)
            case s.AssertReturn() | s.AssertTrap() | s.AssertExhaustion() | s.AssertException():
                yield from self._command(command.action)
            case s.AssertInvalid() | s.AssertUnlinkable() | s.AssertMalformed():
                yield from self._refused(command.line, command.module)
            case _:
                self.notes.append(f"line {getattr(command, 'line', '?')}: {type(command).__name__} is left out")

    def _refused(self, line: int, module: s.Module | s.ModuleInstance | s.ModuleSource) -> Iterator[Step]:
        """A module that does not come to life: it gets a name that nothing else uses."""
        name = f"refused-{line}"
        if isinstance(module, s.ModuleInstance):
            yield Instantiate(name, self._definition(module.module))
            return
        source = module.source if isinstance(module, s.Module) else module
        if isinstance(source, s.QuoteModule):
            self.notes.append(f"line {line}: only a parser of the text format can refuse this module")
        else:
            yield Instantiate(name, self._define(source))

    def _definition(self, name: str | None) -> int:
        if name not in self.definitions:
            raise UsageError(f"{self.path}: no module definition {name or 'yet'}")
        return self.definitions[name]

    def _define(self, source: s.ModuleSource) -> int:
        self.modules.append(source.data if isinstance(source, s.BinaryModule) else encode(source.parse()))
        return len(self.modules) - 1

    def _instantiate(self, id_: str | None, module: int) -> Instantiate:
        name = f"{id_ or 'module'}-{len(self.steps)}" if id_ is None or id_ in self.instances else id_
        self.instances[id_] = self.instances[None] = name
        return Instantiate(name, module)

    def _instance(self, id_: str | None) -> str:
        if id_ not in self.instances:
            raise UsageError(f"{self.path}: no module {id_ or 'yet'}")
        return self.instances[id_]


def _argument(argument: s.Argument) -> str:
    match argument:
        case s.Const(type_, bits):
            return value(type_, bits)
        case s.RefHost(number):
            return f"ref.extern:{number:x}"
    return "ref.null"
