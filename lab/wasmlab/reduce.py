"""Structural reduction: the smallest case that still shows the same thing.

Passes are functions that yield smaller versions of a case; the reducer encodes them, has them validated, asks whether
they still show it, and goes on from the first that does.  Every step on the way is a valid case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from wasmlab_ref.case import Case, Instantiate, Invoke, Read, Register, Step
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Malformed, Rejected
from wasmlab_ref.syntax import Active, Expr, Func, Module
from wasmlab_ref.validate import validate

from . import edits
from .crew import Crew
from .isolate import isolated
from .renumber import without_unused
from .stacks import Context

T = TypeVar("T")

PATIENCE = 5
"""How many times its seconds a reduction may take on a machine that is busy with other things."""


@dataclass(slots=True)
class Budget:
    """When to stop: seconds from the first question on, questions asked, or `stop()`.

    The seconds are those of `clock`; where that is not the wall's, `PATIENCE` times as many of the wall's end it, too.
    """

    seconds: float = 5.0
    stop: Callable[[], bool] = lambda: False
    runs: int = 5000
    clock: Callable[[], float] = time.monotonic
    asked: int = 0
    _begun: tuple[float, float] | None = field(default=None, repr=False)

    def spent(self) -> bool:
        """Is it used up?"""
        now = (self.clock(), time.monotonic())
        self._begun = begun = self._begun or now
        used, wall = now[0] - begun[0], now[1] - begun[1]
        return self.asked >= self.runs or used >= self.seconds or wall >= PATIENCE * self.seconds or self.stop()


@dataclass(frozen=True, slots=True)
class Parts:
    """A case with its modules decoded."""

    modules: tuple[Module, ...]
    steps: tuple[Step, ...]

    def with_module(self, at: int, module: Module) -> Parts:
        """The same with another module."""
        return Parts((*self.modules[:at], module, *self.modules[at + 1 :]), self.steps)

    def with_steps(self, steps: tuple[Step, ...]) -> Parts:
        """The same with other steps."""
        return Parts(self.modules, steps)

    def with_func(self, at: int, index: int, func: Func) -> Parts:
        """The same with another function `index` (imports not counted) in module `at`."""
        module = self.modules[at]
        return self.with_module(at, replace(module, funcs=(*module.funcs[:index], func, *module.funcs[index + 1 :])))


Pass = Callable[[Parts], Iterator[Parts]]


def reduce(
    case: Case,
    step: int | None,
    same: Callable[[Case], bool],
    observer: Any,
    budget: Budget | None = None,
    crew: Crew | None = None,
    progress: Callable[[Parts, int], None] = lambda parts, asked: None,
) -> Case:
    """The smallest version of `case` found for which `same` holds; `case` itself if it never does.

    `step` is the index of the last step that matters (None: all do), `observer` an engine that is asked for the
    values of intermediate results.  A `crew` asks about several candidates at once, with the same result in the end.
    `progress` hears of each step: what is left, and how many candidates were tried.
    """
    return Reducer(case, same, observer, budget or Budget(), crew, progress).reduce(step)


class Reducer:
    """The state of one reduction."""

    def __init__(
        self,
        case: Case,
        same: Callable[[Case], bool],
        observer: Any,
        budget: Budget,
        crew: Crew | None = None,
        progress: Callable[[Parts, int], None] = lambda parts, asked: None,
    ) -> None:
        self.best, self.same, self.observer, self.budget = case, same, observer, budget
        self.crew, self.progress = crew, progress
        self._known: dict[tuple[Any, ...], bool] = {}
        self._valid: dict[bytes, bool] = {}
        self._bodies: dict[int, tuple[Expr, int, int]] = {}
        try:
            self.parts: Parts | None = Parts(tuple(decode(m) for m in case.modules), case.steps)
        except Malformed:
            self.parts = None
        self._must_be_valid = self.parts is not None and all(map(self._is_valid, self.parts.modules, case.modules))

    def reduce(self, step: int | None) -> Case:
        """Run the passes until none helps."""
        if self.parts is None:
            self._bytes_only(step)
            return self.best
        if step is not None and step + 1 < len(self.parts.steps):
            self.accept(Parts(self.parts.modules, self.parts.steps[: step + 1]))
        self._list(_steps, _with_steps)
        self._first(lambda parts: isolated(parts, self))
        self._list(_bodies, _with_bodies)
        while not self.budget.spent():
            before = self.measure(self.parts)
            self._list(_steps, _with_steps)
            self._list(_items, _with_items)
            for passed in PASSES:
                self._first(passed)
            if self.measure(self.parts) >= before:
                break
        return self.best

    # Trying

    def accept(self, candidate: Parts) -> bool:
        """Go on from `candidate`, if it is smaller, valid and still shows the same."""
        return self.first_of([candidate]) is not None

    def first_of(self, candidates: Iterable[Parts | None]) -> int | None:
        """Go on from the first candidate that is smaller, valid and still shows the same; its place among them."""
        at_once = self.crew.size if self.crew else 1
        waiting: list[tuple[int, Parts, Case]] = []
        for place, candidate in enumerate(candidates):
            if self.budget.spent():
                return None
            if candidate is None or (case := self._worth_asking(candidate)) is None:
                continue
            waiting.append((place, candidate, case))
            if len(waiting) == at_once:
                if (found := self._ask(waiting)) is not None:
                    return found
                waiting = []
        return self._ask(waiting) if waiting and not self.budget.spent() else None

    def _worth_asking(self, candidate: Parts) -> Case | None:
        if self.parts is not None and self.measure(candidate) >= self.measure(self.parts):
            return None
        case = self.case(candidate)
        return None if case is None or self._known.get((case.modules, case.steps)) is False else case

    def _ask(self, waiting: Sequence[tuple[int, Parts, Case]]) -> int | None:
        """Which of several candidates is the first to hold, all asked at once."""
        new = [case for _, _, case in waiting if (case.modules, case.steps) not in self._known]
        self.budget.asked += len(new)
        answers = self.crew.answers(new) if self.crew else [self.same(case) for case in new]
        self._known.update(((case.modules, case.steps), answer) for case, answer in zip(new, answers, strict=True))
        for place, candidate, case in waiting:
            if self._known[case.modules, case.steps]:
                self.parts, self.best = candidate, case
                self.progress(candidate, self.budget.asked)
                return place
        return None

    def case(self, candidate: Parts) -> Case | None:
        """The case that `candidate` encodes to; None if a module of it is not valid."""
        try:
            modules = tuple(encode(module) for module in candidate.modules)
        except (TypeError, ValueError, IndexError, KeyError):
            return None
        if self._must_be_valid and not all(map(self._is_valid, candidate.modules, modules)):
            return None
        return Case(modules, candidate.steps, self.best.origin)

    def _is_valid(self, module: Module, data: bytes) -> bool:
        if data not in self._valid:
            try:
                validate(module)
                self._valid[data] = True
            except Rejected:
                self._valid[data] = False
        return self._valid[data]

    def measure(self, parts: Parts) -> tuple[int, ...]:
        """What reduction makes smaller, the most important first."""
        modules = parts.modules
        weight = sum(
            4 * sum(map(len, (m.imports, m.funcs, m.exports, m.tables, m.memories, m.tags, m.globals)))
            + sum(len(d.init) + 2 for d in m.datas)
            + sum(len(e.init) + 2 for e in m.elems)
            + sum(len(g.subtypes) for g in m.types)
            + sum(len(g.init) for g in m.globals)
            + sum(n for f in m.funcs for n, _ in f.locals)
            + len(m.customs)
            + (m.start is not None)
            for m in modules
        )
        bodies = [self._body(f.body) for m in modules for f in m.funcs]
        args = sum(_bits([a.partition(":")[2] for a in s.args]) for s in parts.steps if isinstance(s, Invoke))
        calls = sum(s.repeat for s in parts.steps if isinstance(s, Invoke))
        cost, bits = (sum(column) for column in zip(*bodies, strict=True)) if bodies else (0, 0)
        return cost, len(modules) + len(parts.steps), weight, calls + bits + args

    def _body(self, body: Expr) -> tuple[int, int]:
        """Cost and bits of a function's body.  Candidates share most bodies, so each is looked at once."""
        if id(body) not in self._bodies:  # kept with the answer, so that no other body gets its number
            self._bodies[id(body)] = body, edits.cost(body), sum(_bits(s.args) for s in body)
        return self._bodies[id(body)][1:]

    # Strategies

    def _first(self, passed: Pass) -> None:
        """Take the first candidate that holds, and begin again, until none does.

        An edit that did not hold will hardly do so after the next one: the more often it did not, the longer it waits,
        or all would be tried again after each step.  Before the end each has its turn.
        """
        waiting = _Waiting()
        while self.parts is not None and not self.budget.spent():
            place = self.first_of(waiting.due(self.parts, passed(self.parts)))
            if not waiting.go_on(place):
                return

    def _list(self, items: Callable[[Parts], Sequence[T]], without: Callable[[Parts, Sequence[T]], Parts]) -> None:
        """Drop chunks of a list, halving their size: delta debugging."""
        if self.parts is None:
            return
        size = len(items(self.parts))
        while size and not self.budget.spent():
            at: int | None = 0
            while at is not None and at < len(found := items(parts := self.parts)):
                chunks = [found[i : i + size] for i in range(at, len(found), size)]
                place = self.first_of(_dropped(without, parts, chunk) for chunk in chunks)
                at = None if place is None else at + place * size
            size = min(size // 2, len(items(self.parts)))

    def _bytes_only(self, step: int | None) -> None:
        """Fewer steps of a case with a module that cannot be decoded."""
        steps = self.best.steps if step is None else self.best.steps[: step + 1]
        for at in range(len(steps) - 1, -1, -1):
            candidate = Case(self.best.modules, (*steps[:at], *steps[at + 1 :]), self.best.origin)
            if not self.budget.spent() and self.same(candidate):
                self.best, steps = candidate, candidate.steps


class _Waiting:
    """Which edits wait for their turn: one that failed `n` times lets `2 ** n` steps pass."""

    def __init__(self) -> None:
        self.step, self.all = 0, False
        self.failures: dict[Any, tuple[int, int]] = {}
        """How often an edit failed, and the step at which it is due again."""
        self.tried: list[Any] = []
        self.passed_over = False

    def due(self, parts: Parts, candidates: Iterable[Parts]) -> Iterator[Parts]:
        """The candidates that do not wait."""
        self.tried, self.passed_over = [], False
        for candidate in candidates:
            edit = _edit(parts, candidate)
            if not self.all and self.failures.get(edit, (0, 0))[1] > self.step:
                self.passed_over = True
                continue
            self.tried.append(edit)
            yield candidate

    def go_on(self, place: int | None) -> bool:
        """Note which of those that were due held, if any; whether there is more to try."""
        for edit in self.tried[:place]:
            times = self.failures.get(edit, (0, 0))[0]
            if edit is not None:
                self.failures[edit] = times + 1, self.step + 2**times + 1
        self.step += 1
        self.all = place is None and self.passed_over
        return place is not None or self.all


def _edit(before: Parts, after: Parts) -> Any:
    """What was changed in a function's body, wherever it stands there; None for other changes."""
    for at, (old, new) in enumerate(zip(before.modules, after.modules, strict=False)):
        for index, (func, other) in enumerate(zip(old.funcs, new.funcs, strict=False)):
            if func is not other:
                a, b = func.body, other.body
                start = _common(a, b)
                end = _common(a[start:][::-1], b[start:][::-1])
                return at, index, a[start : len(a) - end], b[start : len(b) - end]
    return None


def _common(a: Expr, b: Expr) -> int:
    """How many instructions both begin with."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def _dropped(without: Callable[[Parts, Sequence[T]], Parts], parts: Parts, chunk: Sequence[T]) -> Parts | None:
    try:
        return without(parts, chunk)
    except KeyError:
        return None


def _bits(values: Iterable[Any]) -> int:
    texts = (f"{v:x}" if isinstance(v, int) else v if isinstance(v, str) else "0" for v in values)
    return sum(len(text) for text in texts if text != "0")


# Lists whose items can be dropped


def _steps(parts: Parts) -> list[int]:
    return list(range(len(parts.steps)))


def _with_steps(parts: Parts, dropped: Sequence[int]) -> Parts:
    gone = set(dropped)
    return _without_modules(Parts(parts.modules, tuple(s for i, s in enumerate(parts.steps) if i not in gone)))


def _without_modules(parts: Parts) -> Parts:
    """Without the modules that no step instantiates."""
    used = sorted({s.module for s in parts.steps if isinstance(s, Instantiate)})
    place = {old: new for new, old in enumerate(used)}
    steps = tuple(replace(s, module=place[s.module]) if isinstance(s, Instantiate) else s for s in parts.steps)
    return Parts(tuple(parts.modules[i] for i in used), steps)


def _bodies(parts: Parts) -> list[tuple[int, int]]:
    return [
        (at, i)
        for at, module in enumerate(parts.modules)
        for i, func in enumerate(module.funcs)
        if func.body not in ((), (edits.UNREACHABLE,))
    ]


def _with_bodies(parts: Parts, dropped: Sequence[tuple[int, int]]) -> Parts:
    gone = set(dropped)
    modules = []
    for at, module in enumerate(parts.modules):
        context = Context(module)
        funcs = tuple(next(edits.stubs(context, f), f) if (at, i) in gone else f for i, f in enumerate(module.funcs))
        modules.append(replace(module, funcs=funcs))
    return Parts(tuple(modules), parts.steps)


Item = tuple[int, str, Any]


def _items(parts: Parts) -> list[Item]:
    """What can go from a module together with all that only it needs."""
    wanted = _wanted(parts)
    found: list[Item] = []
    for at, m in enumerate(parts.modules):
        found += [(at, "customs", i) for i in range(len(m.customs))]
        found += [(at, "start", 0)] if m.start is not None else []
        found += [(at, "datas", i) for i, d in enumerate(m.datas) if isinstance(d.mode, Active)]
        found += [(at, "elems", i) for i, e in enumerate(m.elems) if isinstance(e.mode, Active)]
        found += [(at, "exports", i) for i, e in enumerate(m.exports) if (at, e.name) not in wanted]
        found += [(at, "unused", 0)]
    return found


def _wanted(parts: Parts) -> set[tuple[int, str]]:
    """Module and name of the exports that a step mentions, or that may be what another module imports."""
    module_of = {s.name: s.module for s in parts.steps if isinstance(s, Instantiate)}
    found = {(module_of.get(s.name, -1), s.export) for s in parts.steps if isinstance(s, Invoke | Read)}
    for register in (s for s in parts.steps if isinstance(s, Register)):
        names = {i.name for m in parts.modules for i in m.imports if i.module == register.module}
        found |= {(module_of.get(register.name, -1), name) for name in names}
    return found


def _with_items(parts: Parts, dropped: Sequence[Item]) -> Parts:
    modules = []
    for at, module in enumerate(parts.modules):
        gone = {(what, i) for where, what, i in dropped if where == at}
        if gone:
            changes: dict[str, Any] = {
                what: tuple(x for i, x in enumerate(getattr(module, what)) if (what, i) not in gone)
                for what in ("customs", "exports")
            }
            changes |= {
                what: tuple(
                    replace(x, mode="passive") if (what, i) in gone else x for i, x in enumerate(getattr(module, what))
                )
                for what in ("datas", "elems")
            }
            changes["start"] = None if ("start", 0) in gone else module.start
            module = without_unused(replace(module, **changes))
        modules.append(module)
    return Parts(tuple(modules), parts.steps)


# Passes


def _each(parts: Parts, versions: Callable[[Context, Func], Iterable[Func]]) -> Iterator[Parts]:
    for at, module in enumerate(parts.modules):
        context = Context(module)
        for index, func in sorted(enumerate(module.funcs), key=lambda pair: -len(pair[1].body)):
            for changed in versions(context, func):
                yield parts.with_func(at, index, changed)


def smaller_bodies(parts: Parts) -> Iterator[Parts]:
    """Functions without a body, then with smaller ones."""
    yield from _each(parts, edits.stubs)
    yield from _each(parts, edits.edited)


def fewer_locals(parts: Parts) -> Iterator[Parts]:
    """Functions without their unused locals."""
    yield from _each(parts, lambda context, func: [edits.without_locals(context, func)])


def simpler_constants(parts: Parts) -> Iterator[Parts]:
    """Simpler constants, in bodies and among the arguments."""
    yield from _each(parts, lambda context, func: edits.simplified(func))
    for at, step in enumerate(parts.steps):
        if isinstance(step, Invoke):
            for i, arg in enumerate(step.args):
                type_, _, bits = arg.partition(":")
                for simple in edits.SIMPLE.get(type_, ()):
                    if f"{simple:x}" == bits:
                        break
                    args = (*step.args[:i], f"{type_}:{simple:x}", *step.args[i + 1 :])
                    yield Parts(parts.modules, (*parts.steps[:at], replace(step, args=args), *parts.steps[at + 1 :]))


def simpler_initialisers(parts: Parts) -> Iterator[Parts]:
    """Globals with shorter initialisers."""
    for at, module in enumerate(parts.modules):
        for changed in edits.simpler_initialisers(module):
            yield parts.with_module(at, changed)


def shorter_segments(parts: Parts) -> Iterator[Parts]:
    """Segments without their second half, their first, or their last or first item."""
    for at, module in enumerate(parts.modules):
        for kind in ("elems", "datas"):
            segments = getattr(module, kind)
            for i, segment in enumerate(segments):
                init = segment.init
                for less in dict.fromkeys((init[: len(init) // 2], init[len(init) // 2 :], init[:-1], init[1:])):
                    if len(less) < len(init):
                        changed = (*segments[:i], replace(segment, init=less), *segments[i + 1 :])
                        fields: dict[str, Any] = {kind: changed}
                        yield parts.with_module(at, replace(module, **fields))


def single_call(parts: Parts) -> Iterator[Parts]:
    """Calls made once where they were repeated."""
    for at, step in enumerate(parts.steps):
        if isinstance(step, Invoke) and step.repeat > 1:
            yield Parts(parts.modules, (*parts.steps[:at], replace(step, repeat=1), *parts.steps[at + 1 :]))


PASSES: tuple[Pass, ...] = (
    smaller_bodies, shorter_segments, simpler_initialisers, fewer_locals, simpler_constants, single_call,
)  # fmt: skip
