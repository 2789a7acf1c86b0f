"""Runs cases on the pure-Python reference engine, and tells what was observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wasmlab_ref.case import Case, Instantiate, Invoke, Read, Register, parse_value
from wasmlab_ref.decode import decode
from wasmlab_ref.engine import Store
from wasmlab_ref.isa import Instruction
from wasmlab_ref.limits import Limits
from wasmlab_ref.outcome import Exhausted, Thrown, Trap
from wasmlab_ref.profile import Profile
from wasmlab_ref.store import ArrayInst, HostRef
from wasmlab_ref.syntax import Instr
from wasmlab_ref.types import FuncType
from wasmlab_ref.validate import validate


@dataclass
class Executed:
    """A listener that notes which instructions of which function ran."""

    instances: dict[int, int] = field(default_factory=dict)
    current: int = 0
    count: int = 0
    opcodes: Counter[tuple[int, Instruction]] = field(default_factory=Counter)

    def instruction(self, func: Any, position: int, instr: Instr, stack: Any, locals: Any) -> None:
        self.count += 1
        if func is not None:
            self.opcodes[self.instances.get(id(func.instance), self.current), instr.op] += 1

    def rule(self, name: str) -> None: ...

    def memory_access(self, kind: str, memory: Any, address: int, size: int) -> None: ...

    def call(self, func: Any) -> None: ...


@dataclass
class Run:
    """What a case did: for each step a kind and what was seen; what the host was told."""

    steps: list[tuple[str, Any]] = field(default_factory=list)
    log: list[tuple[int, int]] = field(default_factory=list)
    instructions: int = 0

    @property
    def seen(self) -> tuple[object, ...]:
        return tuple(self.steps), tuple(self.log)


def run(case: Case, profile: Profile | None = None, listener: Executed | None = None) -> Run:
    """Run a case; a rejected module raises."""
    found = Run()
    store = Store(profile, Limits(fuel=200_000, call_depth=1000), listener)

    def log(a: int, b: int) -> Sequence[Any]:
        found.log.append((a, b))
        return ()

    registered: dict[str, Any] = {"lab": {"log": store.host_function(FuncType(("i32", "i64"), ()), log)}}
    instances: dict[str, Any] = {}
    modules = [validate(decode(data)) for data in case.modules]
    for step in case.steps:
        try:
            found.steps.append(("returned", _step(store, step, modules, instances, registered, listener)))
        except Trap as trap:
            found.steps.append(("trapped", trap.kind))
        except Thrown:
            found.steps.append(("threw", None))
        except Exhausted as exhausted:
            found.steps.append(("exhausted", exhausted.resource))
        except KeyError as missing:
            found.steps.append(("unsupported", str(missing)))
    found.instructions = store.instructions
    return found


def _step(store: Store, step: Any, modules: Any, instances: Any, registered: Any, listener: Executed | None) -> Any:
    match step:
        case Instantiate(name, module):
            valid = modules[module]
            if listener:
                listener.current = module
            imports = [registered[i.module][i.name] for i in valid.module.imports]
            instances[name] = instance = store.instantiate(valid, imports)
            if listener:
                listener.instances[id(instance)] = module
        case Register(name, as_):
            registered[as_] = instances[name].exports
        case Invoke(name, export, args, repeat):
            results: list[Any] = []
            for _ in range(repeat):
                results = store.invoke(instances[name].exports[export], [_argument(a) for a in args])
            return tuple(map(_shape, results))
        case Read(name, export):
            part = instances[name].exports[export]
            if hasattr(part, "data"):
                return bytes(part.data[:])
            return _shape(part.value) if hasattr(part, "value") else tuple(map(_shape, part.refs))
    return None


def _argument(text: str) -> Any:
    type_, bits = parse_value(text)
    return None if type_ == "ref.null" else HostRef(bits) if type_ == "ref.extern" else bits


def _shape(found: Any) -> Any:
    if isinstance(found, ArrayInst):
        return "array", len(found.fields)
    return found if isinstance(found, int | HostRef | None) else type(found).__name__
