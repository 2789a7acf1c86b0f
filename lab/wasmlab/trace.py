"""What an engine computed, instruction by instruction, whatever engine it is.

A case is instrumented: each expression hands its value to the host function `lab.log`, which every worker has, with
the number of its place.  The calls of two engines, side by side, give the first instruction that differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from wasmlab_ref.case import Case, value
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Malformed, Rejected
from wasmlab_ref.syntax import Expr, Func, Global, Import, Module, instr
from wasmlab_ref.types import FuncRef, FuncType, GlobalType, RecType, RefType, SubType, ValType
from wasmlab_ref.validate import validate

from .renumber import imported, walk
from .stacks import Context, Span, analyse

LIMIT = 20_000
"""Values that an instance of a module tells."""

LOG = FuncType(("i32", "i64"), ())
ENTERED = "enter"
"""What stands in place of an instruction where a function is entered."""

_AS_I64: dict[str, tuple[Any, ...]] = {
    "i32": (instr("i64.extend_i32_u"),),
    "i64": (),
    "f32": (instr("i32.reinterpret_f32"), instr("i64.extend_i32_u")),
    "f64": (instr("i64.reinterpret_f64"),),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a case: module, function (imports counted), position in its body, and what stands there.

    `part` numbers the 64-bit parts of a value, of which a v128 has two.
    """

    module: int
    function: int
    at: int
    instruction: str
    type: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A value that was computed, as `i32:5`; "" where a function was entered."""

    place: Place
    value: str

    def to_json(self) -> dict[str, Any]:
        """As a line of a trace says it."""
        found: dict[str, Any] = {
            "module": self.place.module, "function": self.place.function, "at": self.place.at,
            "instruction": self.place.instruction,
        }  # fmt: skip
        return {**found, "value": self.value} if self.value else found

    def __str__(self) -> str:
        where = f"module {self.place.module} function {self.place.function} +{self.place.at}"
        return f"{where}: {self.place.instruction} {self.value}".rstrip()


@dataclass(frozen=True, slots=True)
class Traced:
    """An instrumented case, and what the numbers mean that it logs."""

    case: Case
    places: tuple[Place, ...]

    def events(self, trace: Sequence[str]) -> list[Event]:
        """The events of an engine's host calls; calls that are the case's own are left out."""
        found: list[Event] = []
        low = 0
        for call in trace:
            number, bits = (int(text, 16) for text in call.split(","))
            number -= FIRST
            if not 0 <= number < len(self.places):
                continue
            place = self.places[number]
            if place.type == "v128" and place.part == 0:
                low = bits
            elif place.type == "v128":
                found.append(Event(place, value("v128", bits << 64 | low)))
            elif place.type == "ref":
                found.append(Event(place, "null" if bits else "not null"))
            else:
                found.append(Event(place, value(place.type, bits) if place.type else ""))
        return found


FIRST = 0x7A000000
"""The number of the first place: a case's own calls of `lab.log` are told apart by theirs."""


def instrumented(case: Case, limit: int = LIMIT) -> Traced:
    """The case with every module that is valid made to tell what it computes."""
    places: list[Place] = []
    modules: list[bytes] = []
    for at, data in enumerate(case.modules):
        before = len(places)
        try:
            module = decode(data)
            validate(module)
            told = _Teller(module, at, places, limit).module()
            validate(told)
            modules.append(encode(told))
        except (Malformed, Rejected):
            del places[before:]
            modules.append(data)
    return Traced(Case(tuple(modules), case.steps, case.origin), tuple(places))


class _Teller:
    """Puts calls into one module."""

    def __init__(self, module: Module, number: int, places: list[Place], limit: int) -> None:
        self.number, self.places, self.limit = number, places, limit
        self.imports = imported(module, "func")
        self.types = sum(len(group.subtypes) for group in module.types)
        self.told = imported(module, "global") + len(module.globals)
        # The import takes the first index after the other imports; what the module defines moves up by one.
        self.before = walk(module, lambda kind, i: i + 1 if kind == "func" and i >= self.imports else i)
        self.context = Context(module)
        self.original = module

    @property
    def guard(self) -> int:
        """The index of the function that calls the host, as long as the limit is not reached."""
        return self.imports + 1 + len(self.before.funcs)

    def module(self) -> Module:
        """The module that tells."""
        pairs = zip(self.original.funcs, self.before.funcs, strict=True)
        funcs = tuple(self._func(i, old, new) for i, (old, new) in enumerate(pairs))
        told, most = self.told, self.limit
        guard = Func(self.types, (), (
            instr("global.get", told), instr("i32.const", most), instr("i32.lt_u"), instr("if", None),
            instr("global.get", told), instr("i32.const", 1), instr("i32.add"), instr("global.set", told),
            instr("local.get", 0), instr("local.get", 1), instr("call", self.imports), instr("end"),
        ))  # fmt: skip
        return replace(
            self.before,
            types=(*self.before.types, RecType((SubType(LOG),))),
            imports=(*self.before.imports, Import("lab", "log", FuncRef(self.types))),
            funcs=(*funcs, guard),
            globals=(*self.before.globals, Global(GlobalType("i32", True), (instr("i32.const", 0),))),
        )

    def _func(self, index: int, old: Func, new: Func) -> Func:
        params = len(self.context.func_type(old.type).params)
        first = params + sum(n for n, _ in new.locals)
        extra: list[ValType] = []
        inserted: dict[int, list[Any]] = {}
        for span in analyse(self.context, old).spans:
            if len(span.results) == 1 and (type_ := _told_as(span.results[0])):
                if span.results[0] not in extra:
                    extra.append(span.results[0])
                local = first + extra.index(span.results[0])
                inserted[span.end] = list(self._tell(index, old, span, type_, local))
        body: list[Any] = list(self._entered(index))
        for position, step in enumerate((*new.body, None)):
            body += inserted.get(position, ())
            body += [] if step is None else [step]
        return replace(new, locals=_with_locals(new.locals, extra), body=tuple(body))

    def _entered(self, index: int) -> Expr:
        number = self._place(index, -1, ENTERED, "")
        return (instr("i32.const", number), instr("i64.const", 0), instr("call", self.guard))

    def _tell(self, index: int, func: Func, span: Span, type_: str, local: int) -> Iterator[Any]:
        mnemonic = func.body[span.at].op.mnemonic
        yield instr("local.tee", local)
        for part in range(2 if type_ == "v128" else 1):
            yield instr("i32.const", self._place(index, span.at, mnemonic, type_, part))
            yield instr("local.get", local)
            if type_ == "v128":
                yield instr("i64x2.extract_lane", part)
            elif type_ == "ref":
                yield from (instr("ref.is_null"), instr("i64.extend_i32_u"))
            else:
                yield from _AS_I64[type_]
            yield instr("call", self.guard)

    def _place(self, index: int, at: int, mnemonic: str, type_: str, part: int = 0) -> int:
        self.places.append(Place(self.number, self.imports + index, at, mnemonic, type_, part))
        return FIRST + len(self.places) - 1


def _told_as(type_: ValType) -> str:
    """How a value is told; "" for one that is not: of a reference only whether it is null."""
    if isinstance(type_, RefType):
        return "ref" if type_.nullable else ""
    return type_ if type_ in _AS_I64 or type_ == "v128" else ""


def _with_locals(runs: tuple[tuple[int, ValType], ...], extra: Sequence[ValType]) -> tuple[tuple[int, ValType], ...]:
    found = list(runs)
    for type_ in extra:
        if found and found[-1][1] == type_:
            found[-1] = (found[-1][0] + 1, type_)
        else:
            found.append((1, type_))
    return tuple(found)


def last_words(case: Case, engines: Sequence[Any], shown: int = 6) -> tuple[tuple[str, ...], ...]:
    """Where, which instruction, and what each engine computed: at the first difference, and just before it.

    Empty if the engines do not differ in what can be told.
    """
    traced = instrumented(case)
    if not traced.places:
        return ()
    events = [traced.events(engine.run(traced.case).trace) for engine in engines]
    at = first_difference(events)
    if at is None:
        return ()
    rows = []
    for number in range(max(0, at - shown), at + 1):
        row = [found[number] if number < len(found) else None for found in events]
        place = next(event for event in row if event).place
        same = all(event and event.place == place for event in row)
        said = [(event.value if same else str(event)) if event else "nothing more" for event in row]
        where = f"module {place.module} function {place.function} +{max(place.at, 0)}"
        rows.append((where, place.instruction, *said))
    return tuple(rows)


def first_difference(traces: Sequence[Sequence[Event]]) -> int | None:
    """Where traces differ first: in a value, in the way, or in that one ends; None if they are the same."""
    rows = enumerate(zip_longest(*traces))
    return next((at for at, row in rows if len(set(row)) > 1), None)
