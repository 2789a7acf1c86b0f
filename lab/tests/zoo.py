"""Engines inside this process: the reference's Python path, as it is and with one bug planted each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from wasmlab_ref import numerics
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register, value
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.engine import Store
from wasmlab_ref.features import FEATURES
from wasmlab_ref.limits import Limits
from wasmlab_ref.outcome import Exhausted, Rejected, Thrown, Trap, Unlinkable
from wasmlab_ref.profile import Profile
from wasmlab_ref.spectest import spectest
from wasmlab_ref.store import FuncInst, GlobalInst, MemInst, TableInst
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import RefType
from wasmlab_ref.validate import validate

Bug = Callable[[Callable[..., Any]], Callable[..., Any]]


def wrong_when(condition: Callable[..., bool], bits: Callable[[int], int] = lambda r: r ^ 1) -> Bug:
    """A bug that changes results for some operands."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(*args: Any) -> Any:
            result = right(*args)
            return bits(result) if condition(*args) else result

        return wrong

    return plant


def raises(condition: Callable[..., bool], error: Exception) -> Bug:
    """A bug that ends otherwise for some operands."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(*args: Any) -> Any:
            if condition(*args):
                raise error
            return right(*args)

        return wrong

    return plant


def always(*_: Any) -> bool:
    return True


class Crash(Exception):
    """The process of the engine ends."""


BUGS: Mapping[str, tuple[str, Bug]] = MappingProxyType({
    "shl-high": ("i32.shl", wrong_when(lambda a, b: b & 31 > 15)),
    "sub-equal": ("i64.sub", wrong_when(lambda a, b: a != b)),
    "xor-lsb": ("i32.xor", wrong_when(always)),
    "clz-zero": ("i32.clz", wrong_when(lambda a: a < 1 << 16)),
    "div-overflow": ("i32.div_s", wrong_when(lambda a, b: b >> 31 == 1)),
    "rem-traps": ("i32.rem_u", raises(lambda a, b: b > 1000, Trap("integer overflow"))),
    "f32-neg": ("f32.neg", wrong_when(always, lambda r: r ^ 0x80000000)),
    "f64-add": ("f64.add", wrong_when(lambda a, b: a != b)),
    "dot": ("i8x16.add", wrong_when(always, lambda r: r ^ 1 << 77)),
    "popcnt-crash": ("i64.popcnt", raises(always, Crash("SIGSEGV"))),
})  # fmt: skip


@dataclass
class Answer:
    outcomes: tuple[Outcome, ...]
    trace: tuple[str, ...] = ()
    rules: frozenset[str] = frozenset()
    instructions: int = 0
    seconds: float = 0.0


@dataclass
class LocalEngine:
    """An engine that runs cases in this process, when they are collected."""

    name: str
    bug: tuple[str, Bug] | None = None
    version: str = "1"
    features: frozenset[str] = frozenset(FEATURES)
    runs: int = 0
    queue: deque[tuple[Case, str]] = field(default_factory=deque)

    def submit(self, case: Case, observe: str = "digest", deadline: float | None = None) -> None:
        self.queue.append((case, observe))

    def collect(self) -> Answer:
        self.runs += 1
        case, observe = self.queue.popleft()
        return _Machine(self.bug, observe == "full").answer(case)

    def run(self, case: Case, observe: str = "digest") -> Answer:
        self.submit(case, observe)
        return self.collect()

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.queue.clear()


def resolve(name: str) -> LocalEngine:
    """`right`, or `bug/<row of BUGS>`."""
    return LocalEngine(name, BUGS[name.removeprefix("bug/")] if name.startswith("bug/") else None)


class _Machine:
    def __init__(self, bug: tuple[str, Bug] | None, full: bool = False) -> None:
        self.full = full
        self.store = Store(limits=Limits(fuel=20_000, call_depth=200))
        if bug:
            table = dict(numerics.functions(Profile()))
            table[bug[0]] = bug[1](table[bug[0]])
            self.store.numerics = table
        self.instances: dict[str, Any] = {}
        self.trace: list[str] = []
        log = self.store.host_function(
            __import__("wasmlab_ref.types", fromlist=["FuncType"]).FuncType(("i32", "i64")), self._log
        )
        self.registered: dict[str, dict[str, Any]] = {"spectest": spectest(self.store), "lab": {"log": log}}

    def _log(self, a: int, b: int) -> tuple[()]:
        self.trace.append(f"{a:x},{b:x}")
        return ()

    def answer(self, case: Case) -> Answer:
        outcomes = []
        for step in case.steps:
            try:
                outcomes.append(self._step(case, step))
            except Rejected as error:
                outcomes.append(Outcome(error.stage, detail=str(error)))
            except Trap as trap:
                outcomes.append(Outcome("trapped", detail=trap.kind))
            except Thrown:
                outcomes.append(Outcome("threw"))
            except Exhausted as error:
                outcomes.append(Outcome("exhausted", detail=error.resource))
            except KeyError as error:
                outcomes.append(Outcome("unsupported", detail=f"no instance or export {error}"))
            except Crash as crash:
                outcomes.append(Outcome("crashed", detail=str(crash)))
                outcomes += [Outcome("unsupported", detail="no instance")] * (len(case.steps) - len(outcomes))
                break
        return Answer(tuple(outcomes), tuple(self.trace))

    def _step(self, case: Case, step: Any) -> Outcome:
        match step:
            case Instantiate(name, module):
                decoded = decode(case.modules[module])
                valid = validate(decoded)
                try:
                    imports = [self.registered[i.module][i.name] for i in decoded.imports]
                except KeyError as error:
                    raise Unlinkable(f"unknown import {error}") from None
                self.instances[name] = self.store.instantiate(valid, imports)
                return Outcome("returned")
            case Register(name, module):
                self.registered[module] = self.instances[name].exports
                return Outcome("returned")
            case Invoke(name, export, args, repeat):
                func = self.instances[name].exports[export]
                comp = func.type.comp
                bits = [None if a == "ref.null" else int(a.partition(":")[2], 16) for a in args]
                for _ in range(repeat):
                    results = self.store.invoke(func, bits)
                return Outcome("returned", tuple(map(_show, comp.results, results)))
            case Read(name, export):
                return Outcome("returned", _read(self.instances[name].exports[export], self.full))
        raise TypeError(step)


def _show(type_: Any, found: Any) -> str:
    if isinstance(type_, RefType):
        return "ref.null" if found is None else "ref.func" if isinstance(found, FuncInst) else "ref.any"
    return value(type_, found)


def _read(extern: Any, full: bool) -> tuple[str, ...]:
    match extern:
        case GlobalInst():
            return (_show(extern.type.value, extern.value),)
        case MemInst():
            if full:
                return (value("i64", len(extern.data)), f"bytes:{bytes(extern.data).hex()}")
            return (value("i64", len(extern.data)), f"digest:{sha256(bytes(extern.data)).hexdigest()[:16]}")
        case TableInst():
            return (value("i64", len(extern.refs)), *(_show(RefType(True, "func"), r) for r in extern.refs))
    return ()


def case_of(*texts: str, steps: tuple[Any, ...] = ()) -> Case:
    """A case of modules in the text format."""
    return Case(tuple(encode(parse_module(text)) for text in texts), steps)
