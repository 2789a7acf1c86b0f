"""Runs cases on the pure-Python reference engine, and tells what was observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from wasmlab_ref.case import Case, Instantiate, Invoke, Read, Register
from wasmlab_ref.decode import decode
from wasmlab_ref.engine import Store, argument, shape, written
from wasmlab_ref.events import Listener
from wasmlab_ref.isa import Instruction
from wasmlab_ref.limits import Limits
from wasmlab_ref.outcome import Exhausted, Rejected, Thrown, Trap, Unlinkable
from wasmlab_ref.profile import Profile
from wasmlab_ref.spectest import spectest
from wasmlab_ref.store import GlobalInst, HostRef, Instance, MemInst, TableInst, func_type
from wasmlab_ref.syntax import Instr
from wasmlab_ref.types import SHORTHANDS, FuncType
from wasmlab_ref.validate import validate

EXTERNREF = SHORTHANDS["externref"]


@dataclass
class Executed(Listener):
    """A listener that notes which rules were taken, and which instructions of which function ran."""

    instances: dict[int, int] = field(default_factory=dict)
    current: int = 0
    count: int = 0
    opcodes: Counter[tuple[int, Instruction]] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)

    def instruction(self, func: Any, position: int, instr: Instr, stack: Any, locals: Any) -> None:
        self.count += 1
        if func is not None:
            self.opcodes[self.instances.get(id(func.instance), self.current), instr.op] += 1

    def rule(self, name: str) -> None:
        self.rules[name] += 1


@dataclass
class Run:
    """What a case did: for each step a kind and what was seen; what the host was told."""

    steps: list[tuple[str, Any]] = field(default_factory=list)
    log: list[tuple[int, int]] = field(default_factory=list)
    instructions: int = 0

    @property
    def seen(self) -> tuple[object, ...]:
        return tuple(self.steps), tuple(self.log)


class Host:
    """A store with the host modules that every worker offers."""

    def __init__(self, store: Store, log: Callable[[int, int], None]) -> None:
        self.store = store
        self.instances: dict[str, Instance] = {}
        functions: dict[str, tuple[FuncType, Callable[..., Sequence[Any]]]] = {
            "log": (FuncType(("i32", "i64")), lambda a, b: log(a, b) or ()),
            "trap": (FuncType(), self._trap),
            "reenter": (FuncType(("i32",)), self._reenter),
            "extern": (FuncType(("i32",), (EXTERNREF,)), lambda n: (HostRef(n),)),
            "number": (FuncType((EXTERNREF,), ("i32",)), self._number),
        }
        lab = {name: store.host_function(type_, code) for name, (type_, code) in functions.items()}
        self.registered: dict[str, Any] = {"lab": lab, "spectest": spectest(store)}

    def _trap(self) -> Sequence[Any]:
        raise Trap("host")

    def _number(self, ref: Any) -> Sequence[Any]:
        return (ref.number if isinstance(ref, HostRef) else 2**32 - 1,)

    def _reenter(self, number: int) -> Sequence[Any]:
        if func := self.registered.get("lab.callee", {}).get("reenter"):
            self.store.invoke(func, [number])
        return ()


def run(
    case: Case,
    profile: Profile | None = None,
    listener: Listener | None = None,
    fuel: int = 200_000,
    kind: type[Store] = Store,
) -> Run:
    """Run a case; `fuel` is for each step."""
    found = Run()
    store = kind(profile, Limits(fuel=fuel, call_depth=1000), listener)
    host = Host(store, lambda a, b: found.log.append((a, b)))
    for step in case.steps:
        try:
            found.steps.append(("returned", _step(host, step, case, listener)))
        except Trap as trap:
            found.steps.append(("trapped", trap.kind))
        except Thrown:
            found.steps.append(("threw", None))
        except Exhausted as exhausted:
            found.steps.append(("exhausted", exhausted.resource))
        except Rejected as error:
            found.steps.append((error.stage, str(error)))
        except KeyError as missing:
            found.steps.append(("unsupported", str(missing)))
    found.instructions = store.instructions
    return found


def _step(host: Host, step: Any, case: Case, listener: Listener | None) -> Any:
    match step:
        case Instantiate(name, module):
            valid = validate(decode(case.modules[module]), listener.rule if listener else None)
            if isinstance(listener, Executed):
                listener.current = module
            try:
                imports = [host.registered[i.module][i.name] for i in valid.module.imports]
            except KeyError as missing:
                raise Unlinkable(f"unknown import {missing}") from None
            host.instances[name] = instance = host.store.instantiate(valid, imports)
            if isinstance(listener, Executed):
                listener.instances[id(instance)] = module
        case Register(name, as_):
            host.registered[as_] = host.instances[name].exports
        case Invoke(name, export, args, repeat):
            func: Any = host.instances[name].exports[export]
            type_ = func_type(func.type)
            results: list[Any] = []
            for _ in range(repeat):
                results = host.store.invoke(func, [argument(a, t) for a, t in zip(args, type_.params, strict=True)])
            return tuple(written(results, type_.results))
        case Read(name, export):
            match host.instances[name].exports[export]:
                case MemInst() as memory:
                    return bytes(memory.data[:])
                case GlobalInst() as found:
                    return tuple(written([found.value], [found.type.value]))
                case TableInst() as table:
                    return len(table.refs), tuple(map(shape, table.refs[:64]))
    return None
