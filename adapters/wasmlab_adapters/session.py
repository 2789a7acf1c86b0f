"""Sessions: scripts, one step at a time, in a store that lives on between them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wasmlab_ref.bridge import Bridge, Call, Reads
from wasmlab_ref.case import Outcome
from wasmlab_ref.interface import Interface
from wasmlab_ref.types import FuncRef, GlobalType, TableType

from .lowering import Plan, bridge_for, bytes_read, face_of, found, instantiate, instantiate_bridge, pages_for, write

if TYPE_CHECKING:
    from .engine import Engine


@dataclass(slots=True)
class _Known:
    """An instance of the session: its exports, and its bridge, or why there is none."""

    face: Interface | None
    bridge: Bridge | str = "nothing is exported"


@dataclass(frozen=True, slots=True)
class _Use:
    """The steps that use an instance, and what their outcomes mean."""

    plan: Plan
    outcome: Callable[[list[Outcome]], Outcome]


class Session:
    """A store of an engine, kept until `end`.  What the worker does not survive ends the session: every later step is
    "unsupported" and says so."""

    def __init__(self, engine: Engine, name: str, deadline: float | None = None) -> None:
        self._engine, self._name, self._deadline = engine, name, deadline
        self._dialect = engine.dialect
        self._given: set[str] = set()
        self._instances: dict[str, _Known] = {}
        self._ended = ""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def instantiate(self, name: str, data: bytes) -> Outcome:
        """Instantiate a binary module under a name; imports are found among what was registered."""
        plan, face = Plan(), face_of(data)
        index = instantiate(plan, name, data, self._dialect, self._given)
        known = _Known(face)
        bridge_index = None
        if face and not self._dialect.native and any(isinstance(type_, _BRIDGED) for type_ in face.exports.values()):
            built = bridge_for(data, self._dialect, True)
            if (pages := pages_for(built.reach)) > 1:
                built = bridge_for(data, self._dialect, True, pages)
            known.bridge = built
            bridge_index = instantiate_bridge(plan, f"{name}!", name, built, pages)
        answers = self._ask(plan)
        if isinstance(answers, Outcome):
            return answers
        if answers[index].kind == "returned":
            if bridge_index is not None and answers[bridge_index].kind != "returned":
                known.bridge = f"bridge: {answers[bridge_index]}"
            self._instances[name] = known
        return answers[index]

    def register(self, name: str, module: str) -> Outcome:
        """Offer the exports of an instance to later imports from `module`."""
        return self._one("register", name=name, **{"as": module})

    def invoke(self, name: str, export: str, args: Sequence[str] = (), repeat: int = 1) -> Outcome:
        """Call an exported function, `repeat` times; the last call counts."""
        return self.invoke_all([(name, Call(export, tuple(args), repeat))])[0]

    def invoke_all(self, calls: Sequence[tuple[str, Call]]) -> list[Outcome]:
        """Call functions of instances one after the other, all of them on their way at once."""
        return self._use_all([self._use(name, call) for name, call in calls])

    def get(self, name: str, export: str) -> Outcome:
        """The value of an exported global, or size and shapes of an exported table."""
        if self._dialect.native:
            return self._one("get", name=name, export=export)
        return self._use_all([self._use(name, Reads((export,)))])[0]

    def read(self, name: str, export: str) -> Outcome:
        """Observe an exported global, table or memory."""
        known = self._instances.get(name)
        type_ = known.face.exports.get(export) if known and known.face else None
        if isinstance(type_, GlobalType | TableType):
            return self.get(name, export)
        return self._one("read", name=name, export=export)

    def parse(self, source: str | bytes) -> Outcome:
        """Parse and validate a module in the text format; only where the engine's `text` says that it can."""
        data = source.encode() if isinstance(source, str) else source
        return self._one("parse", source=base64.b64encode(data).decode())

    def end(self) -> None:
        """Drop the store."""
        if not self._ended:
            self._one("end")
            self._ended = "it is over"

    def _use(self, name: str, use: Call | Reads) -> _Use | Outcome:
        """How an instance is used; an outcome where it cannot be."""
        plan = Plan()
        if self._dialect.native and isinstance(use, Call):
            plan.step("call", name=name, export=use.export, args=list(use.args), **_again(use.repeat))
            return _Use(plan, lambda answers: answers[0])
        known = self._instances.get(name)
        if known is None:
            return Outcome("unsupported", detail=f"no instance {name}")
        if isinstance(known.bridge, str):
            return Outcome("unsupported", detail=known.bridge)
        records = known.bridge.records([use])
        (place,) = records.places
        if isinstance(place, str):
            return Outcome("unsupported", detail=place)
        write(plan, f"{name}!", records.initial)
        again = _again(use.repeat if isinstance(use, Call) else 1)
        call = plan.step("call", name=f"{name}!", export="run", **again)
        read = plan.step("read", name=f"{name}!", export="memory", at=place.address, bytes=place.entry.size)
        what = use.export if isinstance(use, Call) else use.exports[0]

        def outcome(answers: list[Outcome]) -> Outcome:
            if answers[call].kind != "returned":
                return answers[call]
            record = bytes_read(answers[read], place.entry.size)
            return record if isinstance(record, Outcome) else found(place.entry, record, what)

        return _Use(plan, outcome)

    def _use_all(self, uses: Sequence[_Use | Outcome]) -> list[Outcome]:
        answers = iter(self._ask_all([use.plan for use in uses if isinstance(use, _Use)]))
        outcomes: list[Outcome] = []
        for use in uses:
            if isinstance(use, Outcome):
                outcomes.append(use)
                continue
            answer = next(answers)
            outcomes.append(answer if isinstance(answer, Outcome) else use.outcome(answer))
        return outcomes

    def _one(self, do: str, **keys: Any) -> Outcome:
        plan = Plan()
        plan.step(do, **keys)
        answers = self._ask(plan)
        return answers if isinstance(answers, Outcome) else answers[0]

    def _ask(self, plan: Plan) -> list[Outcome] | Outcome:
        return self._ask_all([plan])[0]

    def _ask_all(self, plans: Sequence[Plan]) -> list[list[Outcome] | Outcome]:
        """The outcomes of each plan's steps, or the one for all of them where the session is over."""
        engine = self._engine
        if engine.worker.pending():
            raise RuntimeError("cases are on their way: their results come before a session")
        sent = [] if self._ended else plans
        for plan in sent:
            engine.worker.submit(engine.request(plan.steps, session=self._name), self._deadline)
        answers: list[list[Outcome] | Outcome] = []
        for plan in sent:
            answer = engine.worker.next()
            if self._ended:
                answers.append(Outcome("unsupported", detail=f"no session: {self._ended}"))
                continue
            outcomes = engine.outcomes(answer, len(plan.steps))
            if isinstance(outcomes, Outcome):
                self._ended = f"its engine {outcomes}"
            answers.append(outcomes)
        if sent and self._ended and not any(step["do"] == "end" for plan in plans for step in plan.steps):
            engine.worker.submit({"steps": [{"do": "end"}], "session": self._name})  # else the runner waits for it
            engine.worker.next()
        return answers or [Outcome("unsupported", detail=f"no session: {self._ended}")] * len(plans)


def _again(repeat: int) -> dict[str, int]:
    return {"repeat": repeat} if repeat > 1 else {}


_BRIDGED = FuncRef | GlobalType | TableType
