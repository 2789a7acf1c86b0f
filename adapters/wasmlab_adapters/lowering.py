"""From the steps of a case to a worker's, and back from its answers to outcomes.

A plan is one request: its steps, and for each step of the case how its outcome is read from the answers.  Where the
worker has no native values, each instance that is called or observed gets one bridge (`wasmlab_ref.bridge`), whose
memory is read once, at the end.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from wasmlab_ref import bridge
from wasmlab_ref.bridge import Bridge, CallEntry, Entry, Place, Records, Use
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register
from wasmlab_ref.interface import Interface, interface
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.types import GlobalType, TableType

from .spectest import spectest_module

WireStep: TypeAlias = dict[str, Any]
Reader: TypeAlias = Callable[[Sequence[Outcome]], Outcome]
"""From the outcomes of a request's steps, one outcome of the case."""

BRIDGE_FEATURES = frozenset(("gc", "exceptions"))
"""What makes bridges differ."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What decides how one speaks to a worker: from its hello."""

    native: bool
    features: frozenset[str]
    spectest: bool
    named: bool
    """Whether the engine links by name."""
    gives_memory: bool
    """Whether the worker has memories for bridges."""

    @staticmethod
    def of(hello: dict[str, Any]) -> Dialect:
        """The dialect that a hello announces."""
        features, named = frozenset(hello["features"]), hello.get("linking") == "names"
        spectest, gives_memory = bool(hello.get("spectest")), bool(hello.get("bridge_memory"))
        return Dialect(hello["values"] == "native", features, spectest, named, gives_memory)


@dataclass(slots=True)
class Plan:
    """The steps of a request, and a reader for each step of the case."""

    steps: list[WireStep] = field(default_factory=list)
    readers: list[Reader | int] = field(default_factory=list)
    """An int is the step that has the outcome."""

    def step(self, do: str, **keys: Any) -> int:
        """Add a step; its index."""
        self.steps.append({"do": do, **keys})
        return len(self.steps) - 1

    def plain(self, index: int) -> None:
        """The next step of the case ended as step `index` of the request."""
        self.readers.append(index)

    def read(self, answers: Sequence[Outcome]) -> tuple[Outcome, ...]:
        """The outcomes of the case."""
        return tuple([answers[read] if type(read) is int else read(answers) for read in self.readers])  # type: ignore[operator]

    def known(self, outcome: Outcome) -> None:
        """The next step of the case has this outcome, whatever the worker says."""
        self.readers.append(lambda answers: outcome)


@lru_cache(maxsize=256)
def encoded(data: bytes) -> str:
    """A module as it travels."""
    return base64.b64encode(data).decode()


def face_of(data: bytes) -> Interface | None:
    """The interface of a module, None for what is none."""
    try:
        return interface(data)
    except Malformed:
        return None


@lru_cache(maxsize=64)
def _bridge(data: bytes, features: frozenset[str], catch: bool, pages: int, named: bool, given_memory: bool) -> Bridge:
    return bridge.build(interface(data), features, catch, pages, named, given_memory)


def bridge_for(data: bytes, dialect: Dialect, catch: bool, pages: int = 1) -> Bridge:
    """The bridge of a module, with a memory of so many pages; several engines and cases share the same."""
    features = dialect.features & BRIDGE_FEATURES
    return _bridge(data, features, catch, pages, dialect.named, dialect.gives_memory)


def pages_for(size: int) -> int:
    """How large the memory of a bridge must be whose records reach so far."""
    return max(size + bridge.PAGE - 1 >> 16, 1)


def instantiate(plan: Plan, name: str, data: bytes, dialect: Dialect, given: set[str]) -> int:
    """Add an instantiation, after one of "spectest" where that is needed and not in `given`; its index."""
    face = face_of(data)
    imports = face.import_names if face else []
    if not dialect.spectest and "spectest" not in given and any(module == "spectest" for module, _ in imports):
        given.add("spectest")
        plan.step("instantiate", name="spectest!", module=encoded(spectest_module(dialect.features)), imports=[])
        plan.step("register", name="spectest!", **{"as": "spectest"})
    return plan.step("instantiate", name=name, module=encoded(data), imports=imports)


def instantiate_bridge(plan: Plan, name: str, of: str, built: Bridge, pages: int) -> int:
    """Add the bridge of instance `of`; its index."""
    imports = [list(source) for source in built.imports]
    memory = {"memory": pages} if ["lab", "memory"] in imports else {}
    return plan.step("instantiate", name=name, of=of, module=encoded(built.binary), imports=imports, **memory)


def write(plan: Plan, name: str, data: bytes) -> None:
    """Write to the memory of a bridge, from the start."""
    plan.step("write", name=name, export="memory", at=0, hex=data.hex())


def lower(case: Case, dialect: Dialect) -> Plan:
    """The request for a case."""
    return _native(case, dialect) if dialect.native else _Bridged(case, dialect).plan


def _native(case: Case, dialect: Dialect) -> Plan:
    plan, given = Plan(), set[str]()
    faces: dict[str, Interface | None] = {}
    steps, plain = plan.steps, plan.plain
    for step in case.steps:
        if isinstance(step, Invoke):
            call: WireStep = {"do": "call", "name": step.name, "export": step.export, "args": step.args}
            if step.repeat > 1:
                call["repeat"] = step.repeat
            steps.append(call)
        elif isinstance(step, Read):
            face = faces.get(step.name)
            observed = face is not None and isinstance(face.exports.get(step.export), _READ_BY_BRIDGE)
            steps.append({"do": "get" if observed else "read", "name": step.name, "export": step.export})
        elif isinstance(step, Instantiate):
            data = case.modules[step.module]
            faces[step.name] = face_of(data)
            instantiate(plan, step.name, data, dialect, given)
        else:
            steps.append({"do": "register", "name": step.name, "as": step.module})
        plain(len(steps) - 1)
    return plan


@dataclass(slots=True, eq=False)
class _Instance:
    """An instance of a case: what is asked of its bridge, and where in the request all that came to lie."""

    name: str
    bridge_name: str
    """Of its own: instances of a case may have the same name, one after the other."""
    data: bytes
    face: Interface
    uses: list[Use] = field(default_factory=list)
    built: Bridge | None = None
    records: Records | None = None
    calls: dict[int, int] = field(default_factory=dict)
    """From uses to the steps that call their functions."""
    index: int = -1
    bridge_index: int = -1
    memory_index: int = -1
    _records: dict[int, bytes | Outcome] | None = None

    def record(self, use: int, answers: Sequence[Outcome]) -> bytes | Outcome:
        """The record that a use left behind, or what came instead of it; of one request's answers only."""
        if self._records is None:
            self._records = self._split(answers)
        return self._records[use]

    def _split(self, answers: Sequence[Outcome]) -> dict[int, bytes | Outcome]:
        memory = answers[self.memory_index]
        if answers[self.index].kind != "returned":
            return dict.fromkeys(self.calls, Outcome("unsupported", detail=f"no instance {self.name}"))
        if answers[self.bridge_index].kind != "returned":
            return dict.fromkeys(self.calls, Outcome("unsupported", detail=f"bridge: {answers[self.bridge_index]}"))
        content = bytes_read(memory, self.records.size if self.records else 0)
        if isinstance(content, Outcome):
            return dict.fromkeys(self.calls, content)
        found: dict[int, bytes | Outcome] = {}
        lost = False
        for use in self.calls:
            place = self.place(use)
            found[use] = record = content[place.address : place.address + place.entry.size]
            # A call that did not even come into the bridge left the next record's address where it was.
            lost = lost or not any(record[:4])
            if lost:
                found[use] = Outcome("unparsed", detail="the call did not reach its bridge")
        return found

    def place(self, use: int) -> Place:
        """The place of a use that has one."""
        place = self.records.places[use] if self.records else None
        if not isinstance(place, Place):
            raise LookupError(f"use {use} of instance {self.name} has no place")
        return place


class _Bridged:
    """Lowers a case for a worker without native values."""

    def __init__(self, case: Case, dialect: Dialect) -> None:
        self.case, self.dialect = case, dialect
        self.plan = Plan()
        self.instances: list[_Instance | None] = []
        self.asked: list[tuple[_Instance, int] | None] = []
        """For each step that needs a bridge the instance and the use."""
        self._ask()
        throws = any(face.has_tags for face in map(face_of, case.modules) if face)
        for instance in self.instances:
            if instance and instance.uses:
                built = bridge_for(instance.data, dialect, throws)
                instance.records = built.records(instance.uses)
                if (pages := pages_for(instance.records.size)) > 1:
                    built = bridge_for(instance.data, dialect, throws, pages)
                instance.built = built
        self._emit()

    def _ask(self) -> None:
        """Collect what is asked of which bridge; neighbouring reads of one instance are one use."""
        current: dict[str, _Instance | None] = {}
        looks: dict[str, tuple[int, list[str]]] = {}
        for step in self.case.steps:
            asked, instance = None, current.get(step.name)
            if isinstance(step, Read):
                if instance and isinstance(instance.face.exports.get(step.export), _READ_BY_BRIDGE):
                    if step.name not in looks:
                        looks[step.name] = len(instance.uses), []
                        instance.uses.append(bridge.Reads(()))
                    use, seen = looks[step.name]
                    seen.append(step.export)
                    instance.uses[use] = bridge.Reads(tuple(seen))
                    asked = instance, use
                self.asked.append(asked)
                continue
            looks = {}
            if isinstance(step, Invoke):
                if instance:
                    asked = instance, len(instance.uses)
                    instance.uses.append(bridge.Call(step.export, step.args, step.repeat))
            elif isinstance(step, Instantiate):
                data = self.case.modules[step.module]
                face = face_of(data)
                current[step.name] = _Instance(step.name, f"{len(self.instances)}!", data, face) if face else None
                self.instances.append(current[step.name])
            self.asked.append(asked)

    def _emit(self) -> None:
        plan, given, instances = self.plan, set[str](), iter(self.instances)
        for step, asked in zip(self.case.steps, self.asked, strict=True):
            match step:
                case Instantiate(name, module):
                    index = instantiate(plan, name, self.case.modules[module], self.dialect, given)
                    plan.plain(index)
                    instance = next(instances)
                    if instance and instance.built and instance.records:
                        instance.index = index
                        pages = pages_for(instance.records.size)
                        built = instance.built
                        instance.bridge_index = instantiate_bridge(plan, instance.bridge_name, name, built, pages)
                        write(plan, instance.bridge_name, instance.records.initial)
                case Register(name, module_name):
                    plan.plain(plan.step("register", name=name, **{"as": module_name}))
                case _ if asked:
                    self._use(step, *asked)
                case Read(name, export):
                    plan.plain(plan.step("read", name=name, export=export))
                case _:
                    plan.known(Outcome("unsupported", detail=f"no instance {step.name}"))
        for instance in self.instances:
            if instance and instance.records:
                size = instance.records.size
                instance.memory_index = plan.step("read", name=instance.bridge_name, export="memory", at=0, bytes=size)

    def _use(self, step: Invoke | Read, instance: _Instance, use: int) -> None:
        plan, place = self.plan, instance.records.places[use] if instance.records else "no bridge"
        if isinstance(place, str):
            plan.known(Outcome("unsupported", detail=place))
            return
        if use not in instance.calls:
            repeat = {"repeat": step.repeat} if isinstance(step, Invoke) and step.repeat > 1 else {}
            instance.calls[use] = plan.step("call", name=instance.bridge_name, export="run", **repeat)
            if place.then:
                write(plan, instance.bridge_name, place.then)
        index, entry, export = instance.calls[use], place.entry, step.export

        def read(answers: Sequence[Outcome]) -> Outcome:
            record = instance.record(use, answers)
            if isinstance(record, Outcome):
                return record
            return answers[index] if answers[index].kind != "returned" else found(entry, record, export)

        plan.readers.append(read)


_READ_BY_BRIDGE = (GlobalType, TableType)


def bytes_read(answer: Outcome, size: int) -> bytes | Outcome:
    """The bytes that a step `read` answered, or what came instead of that many."""
    if answer.kind != "returned":
        return answer
    try:
        data = bytes.fromhex("".join(answer.values).removeprefix("bytes:"))
    except ValueError:
        data = b""
    return data if len(data) == size else Outcome("unparsed", detail=f"{size} bytes of a memory: {answer}"[:500])


def found(entry: Entry, record: bytes, export: str) -> Outcome:
    """What a record says of an export after its function came back."""
    return entry.outcome(record) if isinstance(entry, CallEntry) else entry.outcome(record, export)
