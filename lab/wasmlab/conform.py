"""Official scripts on engines: every command of a script is a check, passed, failed, unsupported or not applicable.

A check is *not applicable* where an engine cannot be asked (text format without a text parser), *unsupported* where
it says so itself or the module it needs was; neither counts as passed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from wasmlab_adapters.engine import Engine
from wasmlab_adapters.lowering import face_of
from wasmlab_adapters.session import Session
from wasmlab_ref import script as s
from wasmlab_ref.bridge import Call
from wasmlab_ref.case import Outcome
from wasmlab_ref.encode import encode
from wasmlab_ref.expect import argument, pattern, returned, trapped
from wasmlab_ref.features import FEATURES
from wasmlab_ref.outcome import Malformed, Rejected
from wasmlab_ref.validate import validate

from .errors import UsageError
from .judgement import beyond
from .opening import open_engine
from .suites import unaware

PASSED, FAILED, UNSUPPORTED, NOT_APPLICABLE = "passed", "failed", "unsupported", "not_applicable"


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that did not pass: where, what the script says, what it expects, what the engine did."""

    file: str
    line: int
    command: str
    expected: str
    got: str


@dataclass(slots=True)
class Tally:
    """Checks by result; `assertions` counts the `assert_…` among them."""

    passed: int = 0
    failed: int = 0
    unsupported: int = 0
    not_applicable: int = 0
    total: int = 0
    assertions: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Sum up."""
        for name in ("passed", "failed", "unsupported", "not_applicable", "total", "assertions"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures += other.failures


@dataclass(frozen=True, slots=True)
class Script:
    """A file of a suite; `name` is its path within the suite."""

    path: Path
    name: str

    @property
    def unaware(self) -> frozenset[str]:
        """The features of the standard that it knows nothing of."""
        return unaware(self.path)


def apart(file: str) -> bool:
    """Is a file reported, but not part of an engine's totals: of a proposal that is not in the standard yet?"""
    return file.startswith("proposals/")


def collect(suite: Path, pattern: str | None = None) -> list[Script]:
    """The scripts of a suite (a folder, or one file), without the superseded ones under legacy/."""
    if suite.is_file():
        try:
            s.parse_script(suite.read_bytes())
        except Malformed as error:
            raise UsageError(f"{suite}:{error}", hint="a script (.wast) is expected") from None
        return [Script(suite, suite.name)]
    found = []
    for path in sorted(suite.rglob("*.wast")):
        inside = path.relative_to(suite)
        if inside.parts[0] != "legacy" and (pattern is None or fnmatch(inside.as_posix(), pattern)):
            found.append(Script(path, inside.as_posix()))
    if not found:
        raise UsageError(f"no scripts in {suite}" + (f" match {pattern!r}" if pattern else " (*.wast)"))
    return found


# One script on one engine


class _Skip(Exception):
    """A check that cannot be made; `status` says why."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Shadow:
    """What unsupported modules throw on the rest of a script: names that never came, instances left unchanged."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        """Names under which nothing was registered, because it was unsupported."""
        self.suspects: set[str] = set()
        """Instances that an unsupported module would have been linked to, and all that are linked to those."""
        self._registered: dict[str, str] = {}
        self._kin: dict[str, set[str]] = {}

    def register(self, name: str, instance: str) -> None:
        """A name is there."""
        self.lost.discard(name)
        self._registered[name] = instance

    def link(self, instance: str, sources: Iterable[str], unsupported: bool) -> None:
        """A module that imports from these names came to life, or did not because it is unsupported."""
        linked = [self._kin.get(self._registered[name], set()) for name in sources if name in self._registered]
        kin = {instance}.union(*linked)
        for name in kin:
            self._kin[name] = kin
        if unsupported or kin & self.suspects:
            self.suspects |= kin

    def kin(self, instance: str) -> set[str]:
        """An instance and those that it shares something with."""
        return self._kin.get(instance, {instance})


REFUSED = "refused"
"""The name of what should not become an instance."""


class _Runner:
    """The commands of one script, in order, in one session."""

    def __init__(self, session: Session, engine: Engine, unaware: frozenset[str]) -> None:
        self.session, self.engine, self.unaware = session, engine, unaware
        self.modules: dict[str | None, bytes] = {}
        self.instances: dict[str | None, str] = {}
        self.missing: dict[str | None, _Skip] = {}
        self.shadow = Shadow()
        self.acted = ""
        """The instance, or the refused module, that the check at work is about."""
        self.ahead: dict[int, Outcome] = {}
        """Outcomes of calls that were made ahead, by the identities of their actions."""
        self.data: dict[str, bytes] = {}
        """The modules of instances by their names, and what was to be refused."""
        self.count = 0

    def call_ahead(self, commands: Sequence[s.Command]) -> None:
        """Make the calls of commands that stand in a row: waiting for each costs more than the call."""
        there = self.instances.keys() - self.missing.keys()
        actions = [action for command in commands if (action := _call_of(command)) and action.id in there]
        calls = [
            (self.instances[action.id], Call(action.name, tuple(argument(a) for a in action.args)))
            for action in actions
        ]
        outcomes = self.session.invoke_all(calls)
        self.ahead = {id(action): outcome for action, outcome in zip(actions, outcomes, strict=True)}

    def check(self, command: s.Command) -> tuple[str, str, str]:
        """Status, what was expected, what came."""
        self.acted = ""
        try:
            expected, outcome, good = self._run(command)
        except _Skip as skip:
            return skip.status, "", skip.reason
        except Rejected as error:  # wasmlab itself cannot read the text: no word about the engine
            return FAILED, "a module", f"lab fault: {error}"
        if outcome.kind == "unsupported":
            return UNSUPPORTED, expected, str(outcome)
        if not good and self.acted in self.shadow.suspects:
            return UNSUPPORTED, expected, f"{outcome}: a module that is unsupported would have changed this instance"
        if not good and (needs := self._beyond()):
            return UNSUPPORTED, expected, f"{outcome}: {needs}"
        return (PASSED if good else FAILED), expected, str(outcome)

    def _run(self, command: s.Command) -> tuple[str, Outcome, bool]:
        match command:
            case s.Module(definition=True):
                self._define(command)
                return "a module", Outcome("returned"), True
            case s.Module() | s.ModuleInstance():
                outcome = self._instantiate(command)
                return "instantiates", outcome, outcome.kind == "returned"
            case s.Register(_, name, id_):
                self.shadow.lost.add(name)
                outcome = self.session.register(self._instance(id_), name)
                self.shadow.register(name, self._instance(id_))
                return "registers", outcome, outcome.kind == "returned"
            case s.Invoke() | s.Get():
                outcome = self._act(command)
                return "returns", outcome, outcome.kind == "returned"
            case s.AssertReturn(_, action, results):
                outcome = self._act(action)
                return " ".join(map(pattern, results)) or "returns", outcome, returned(outcome, results)
            case s.AssertTrap(_, action, text):
                module = isinstance(action, s.Module | s.ModuleInstance)
                outcome = self._instantiate(action) if module else self._act(action)  # type: ignore[arg-type]
                return f"trap: {text}", outcome, trapped(outcome, text)
            case s.AssertExhaustion(_, action, text):
                outcome = self._act(action)
                return f"exhaustion: {text}", outcome, outcome.kind == "exhausted"
            case s.AssertException(_, action):
                outcome = self._act(action)
                return "exception", outcome, outcome.kind == "threw"
            case s.AssertUnlinkable(_, module, text):
                outcome = self._instantiate(module)
                return f"unlinkable: {text}", outcome, outcome.kind == "unlinkable"
            case s.AssertMalformed(_, source, text):
                outcome = self._refuse(source)
                # To files that are older than the standard, what was malformed may be invalid since: limits, for one.
                told = self.engine.tells_malformed and not self.unaware
                good = outcome.kind == "malformed" or (outcome.kind == "invalid" and not told)
                return f"malformed: {text}", outcome, good
            case s.AssertInvalid(_, source, text):
                outcome = self._refuse(source, quote=False)
                if outcome.kind != "invalid" and (since := self._valid_since(source)):
                    return f"valid: {since}", outcome, outcome.kind != "malformed"
                return f"invalid: {text}", outcome, outcome.kind == "invalid"
            case s.AssertMalformedCustom(_, source, text) | s.AssertInvalidCustom(_, source, text):
                outcome = self._refuse(source, custom=True)
                return f"refused: {text}", outcome, outcome.kind in ("malformed", "invalid")

    def _beyond(self) -> str:
        """What says that the check is about a module with more than the engine claims, which it took all the same."""
        about = (self.data[name] for name in sorted(self.shadow.kin(self.acted)) if name in self.data)
        return next(filter(None, (beyond(data, self.engine.features) for data in about)), "")

    def _binary(self, source: s.ModuleSource) -> bytes:
        return source.data if isinstance(source, s.BinaryModule) else encode(source.parse())

    def _define(self, command: s.Module) -> bytes:
        data = self._binary(command.source)
        self.modules[None] = self.modules[command.id] = data
        return data

    def _instantiate(self, command: s.Module | s.ModuleInstance) -> Outcome:
        data = self._define(command) if isinstance(command, s.Module) else self.modules[command.module]
        self.count += 1
        self.acted = name = f"m{self.count}"
        self.data[name] = data
        outcome = self._lacking(name, data, self.session.instantiate(name, data))
        return self._came(command.id, name, outcome, command.line)

    def _lacking(self, name: str, data: bytes, outcome: Outcome) -> Outcome:
        """A module that is refused for a feature which the engine does not have is unsupported; and its kin."""
        face = face_of(data)
        sources = {i.module for i in face.imports} if face else set()
        if outcome.kind in ("invalid", "malformed") and (needs := beyond(data, self.engine.features)):
            outcome = Outcome("unsupported", detail=needs)
        if outcome.kind == "unlinkable" and (lost := sorted(sources & self.shadow.lost)):
            outcome = Outcome("unsupported", detail=f"imports of {', '.join(lost)}, which is unsupported")
        self.shadow.link(name, sources, outcome.kind == "unsupported")
        return outcome

    def _came(self, id_: str | None, name: str, outcome: Outcome, line: int) -> Outcome:
        for key in {None, id_}:
            self.missing.pop(key, None)
            if outcome.kind == "returned":
                self.instances[key] = name
            else:
                status = UNSUPPORTED if outcome.kind == "unsupported" else FAILED
                self.missing[key] = _Skip(status, f"no instance: the module at line {line} {outcome.kind}")
        return outcome

    def _instance(self, id_: str | None) -> str:
        if id_ in self.missing:
            raise self.missing[id_]
        if id_ not in self.instances:
            raise _Skip(FAILED, f"no instance ${id_}")
        return self.instances[id_]

    def _act(self, action: s.Action) -> Outcome:
        self.acted = name = self._instance(action.id)
        if isinstance(action, s.Get):
            return self.session.get(name, action.name)
        if outcome := self.ahead.pop(id(action), None):
            return outcome
        return self.session.invoke(name, action.name, tuple(argument(a) for a in action.args))

    def _refuse(self, source: s.ModuleSource, quote: bool = True, custom: bool = False) -> Outcome:
        """Give the engine a module that it should refuse, in the format the assertion is about."""
        in_text = custom or (quote and isinstance(source, s.QuoteModule))
        if in_text and not self.engine.text:
            raise _Skip(NOT_APPLICABLE, "the engine has no text parser")
        if in_text and isinstance(source, s.QuoteModule):
            return self.session.parse(source.text)
        return self._by_binary(source)

    def _valid_since(self, source: s.ModuleSource) -> str:
        """Why a module is valid that a script calls invalid: for what it knows nothing of; "" where it is not."""
        if not self.unaware:
            return ""
        try:
            validate(source.parse())
        except Rejected:
            return ""
        return beyond(self._binary(source), frozenset(FEATURES) - self.unaware)

    def _by_binary(self, source: s.ModuleSource) -> Outcome:
        try:
            self.acted, self.data[REFUSED] = REFUSED, self._binary(source)
            return self.session.instantiate(REFUSED, self.data[REFUSED])
        except Rejected as error:
            return Outcome(error.stage, detail=str(error))


PATIENCE = 6
"""Deadlines are longer than in campaigns: a script calls a million times in a row, and the machine may be busy."""
ATTEMPTS = 3
"""Runs of a file, as long as its worker is killed from outside."""


def run_script(script: Script, engine: Engine) -> Tally:
    """One file on one engine; nothing that happens in it is raised.

    Where the worker was killed from outside its store is lost, and the file is run again.
    """
    tally = Tally()
    for _ in range(ATTEMPTS):
        killed = engine.worker.stats.outside
        tally = _run_script(script, engine)
        if engine.worker.stats.outside == killed:
            break
    return tally


def _run_script(script: Script, engine: Engine) -> Tally:
    tally = Tally()
    try:
        commands = s.parse_script(script.path.read_bytes())
    except Malformed as error:
        status = UNSUPPORTED if apart(script.name) else FAILED
        _count(tally, status, Failure(script.name, error.line or 0, "script", "a script", f"lab fault: {error}"))
        return tally
    with engine.session(PATIENCE * engine.target.limits.deadline) as session:
        runner = _Runner(session, engine, script.unaware)
        for number, command in enumerate(commands):
            if number % AHEAD == 0 or _call_of(commands[number - 1]) is None:
                runner.call_ahead(_calls(commands, number))
            status, expected, got = runner.check(command)
            if apart(script.name) and got.startswith(("lab fault", "no instance")):
                status = UNSUPPORTED  # wasmlab does not know the proposal
            kind = _command_name(command)
            tally.assertions += kind.startswith("assert")
            _count(tally, status, Failure(script.name, command.line, kind, expected, got))
    return tally


AHEAD = 32
"""Calls that are on their way at once, where a script has so many in a row."""


def _calls(commands: Sequence[s.Command], start: int) -> Sequence[s.Command]:
    """The commands from there on that only call, up to the next multiple of AHEAD."""
    end = start
    while end < len(commands) and _call_of(commands[end]) and (end == start or end % AHEAD):
        end += 1
    return commands[start:end]


def _call_of(command: s.Command) -> s.Invoke | None:
    """The call that a command makes, if nothing but that can happen in it."""
    action = command.action if isinstance(command, s.AssertReturn | s.AssertTrap | s.AssertException) else command
    return action if isinstance(action, s.Invoke) else None


def _command_name(command: s.Command) -> str:
    name = type(command).__name__
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def _count(tally: Tally, status: str, failure: Failure) -> None:
    tally.total += 1
    setattr(tally, status, getattr(tally, status) + 1)
    if status == FAILED:
        tally.failures.append(failure)


# Many scripts on many engines, in several processes

_engines: dict[str, Engine] = {}


def _ready() -> None:
    """A process begins: the parent alone hears of Ctrl-C, and says when to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    """End with the engines, some of which may be in containers, in the middle of whatever is done."""
    try:
        for engine in _engines.values():
            engine.close()
    finally:
        os._exit(128 + signal.SIGTERM)


def _run_one(script: Script, names: Sequence[str]) -> tuple[Script, dict[str, Tally]]:
    for name in names:
        if name not in _engines:
            _engines[name] = open_engine(name)
    return script, {name: run_script(script, _engines[name]) for name in names}


def run(scripts: Iterable[Script], names: Sequence[str], jobs: int) -> Iterator[tuple[Script, dict[str, Tally]]]:
    """Results as they come, the largest files first; `jobs` processes with engines of their own.

    Whoever is interrupted in between ends them, whatever they are at.
    """
    order = sorted(scripts, key=lambda script: -script.path.stat().st_size)
    with ProcessPoolExecutor(max_workers=jobs, initializer=_ready) as pool:
        futures = [pool.submit(_run_one, script, names) for script in order]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
