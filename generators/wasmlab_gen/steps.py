"""The script of a case: instantiate, call, look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wasmlab_ref.case import Instantiate, Invoke, Read, Register, Step, value
from wasmlab_ref.types import ValType

from .bits import argument, can_pass
from .builder import Builder
from .function import CONST
from .hosts import CALLEE
from .parts import Function
from .source import Source


def script(s: Source, builders: Sequence[Builder], names: Sequence[str]) -> tuple[Step, ...]:
    """Instantiate in order, call every exported function some times in between, read what is exported at the end."""
    steps: list[Step] = []
    config = builders[0].config
    fuel = config.executed
    for i, (m, name) in enumerate(zip(builders, names, strict=True)):
        steps.append(Instantiate(name, i))
        if m.stillborn:
            continue
        if m.reentered:
            steps.append(Register(name, CALLEE))
        if i + 1 < len(builders):
            steps.append(Register(name, name))
            fuel = _invoke(s, m, name, steps, fuel, 1)
    alive = [(m, name) for m, name in zip(builders, names, strict=True) if not m.stillborn]
    for m, name in reversed(alive):
        fuel = _invoke(s, m, name, steps, fuel, config.calls)
    for m, name in alive:
        _look(m, name, steps)
    return tuple(steps)


def _callable(f: Function) -> bool:
    return bool(f.export) and not f.export.startswith("peek") and all(can_pass(t) for t in f.params)


def _invoke(s: Source, m: Builder, name: str, steps: list[Step], fuel: int, most: int) -> int:
    """Call the functions, while the fuel lasts; what is left of it."""
    rounds = [f for f in m.functions if _callable(f) for _ in range(1 if f.fault else s.span(1, most))]
    for f in s.shuffled(rounds):
        if f.cost > fuel:
            continue
        repeat = 1
        if s.below(12) == 0:
            repeat = max(min(s.span(1, m.config.repeat), fuel // (4 * f.cost)), 1)
        fuel -= f.cost * repeat
        steps.append(Invoke(name, f.export, tuple([_argument(s, m, f, t) for t in f.params]), repeat))
    return fuel


def _argument(s: Source, m: Builder, f: Function, t: ValType) -> str:
    """An argument: now and then a constant of the function's own code, which it may be compared with."""
    if t in CONST and f.index in m.bodies and s.below(4) == 3:
        known = [step.args[0] for step in m.bodies[f.index].body if step.op is CONST[t]]
        if known:
            return value(str(t), s.pick(known))
    return argument(s, t)


def _look(m: Builder, name: str, steps: list[Step]) -> None:
    for f in m.functions:
        if f.export.startswith("peek"):
            steps.append(Invoke(name, f.export))
    parts: tuple[Any, ...] = (*m.globals, *m.memories, *m.tables)
    for part in parts:
        if part.export:
            steps.append(Read(name, part.export))
