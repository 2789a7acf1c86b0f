"""Cases on their way through the engines, each of which answers in order and in its own time."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_ref.case import Case

from .plan import EngineLike

WINDOW = 16
"""Cases in flight on each engine."""

LOOK = 1.0
"""Seconds after which it is looked at what was waited for."""

HELD = 0.85
"""The share of them from which on an engine is a straggler, if all that time no other one was waited for."""

SHARE = 0.25
"""The share of the time that goes to cases which a straggler answered: its differences take long to look into."""

FEWEST = 2
"""Engines that have to be left for a comparison."""


@dataclass(slots=True, eq=False)
class Flight:
    """A case in flight: the engines whose answer has not been taken, and the answers of the others."""

    index: int
    case: Case
    missing: dict[str, EngineLike]
    answers: dict[str, Any] = field(default_factory=dict)


class Flights:
    """Hands cases to engines, and their answers back.

    With `patient` every engine takes every case.  Else one that everybody waits for nearly all the time, since it is
    far slower than the others or dies often, becomes a *straggler*: it takes the cases for which it has room.
    One that cannot be started again is taken out of `engines`, and `tell` is told so in a line.
    """

    def __init__(self, engines: list[EngineLike], patient: bool, tell: Callable[[str], None]) -> None:
        self._engines, self._patient, self._tell = engines, patient, tell
        self._flights: deque[Flight] = deque()
        self._held: deque[Flight] = deque()  # answered, by stragglers too
        self._stragglers: set[str] = set()
        self._waited: defaultdict[str, float] = defaultdict(float)
        self._started = self._looked = time.monotonic()
        self._spent = 0.0

    @property
    def _quick(self) -> int:
        """How many engines are no stragglers."""
        return sum(engine.name not in self._stragglers for engine in self._engines)

    def launch(self, index: int, case: Case, telling: Sequence[EngineLike]) -> None:
        """Hand a case to every engine, but to stragglers that have enough; `telling` are asked for rules."""
        takers = [e for e in self._engines if e.name not in self._stragglers or self._load(e.name) < WINDOW]
        for engine in takers:
            engine.submit(case, observe="rules" if engine in telling else "digest")
        self._flights.append(Flight(index, case, {engine.name: engine for engine in takers}))

    def _load(self, name: str) -> int:
        """How many cases an engine has not answered, or has, but nobody has looked into them."""
        return sum(name in flight.missing for flight in self._flights) + sum(name in f.answers for f in self._held)

    def landed(self, least: int) -> Iterator[Flight]:
        """Cases that are answered, until less than `least` are waited for: the oldest first, but for stragglers'."""
        while True:
            waiting = [flight for flight in self._flights if not self._stragglers.issuperset(flight.missing)]
            if len(waiting) < max(1, least):
                break
            self._wait(waiting[0])
            self._look()
            yield from self._whole()
            while self._held and self._spent < SHARE * (time.monotonic() - self._started):
                begun = time.monotonic()
                yield self._held.popleft()
                self._spent += time.monotonic() - begun

    def left(self) -> Iterator[Flight]:
        """What is in flight at the end; for stragglers nobody waits."""
        yield from self.landed(1)
        yield from (*self._flights, *self._held)

    def _wait(self, flight: Flight) -> None:
        """Take the answers of all but stragglers; where one engine alone has none yet, everybody waits for it."""
        expected = [engine for engine in flight.missing.values() if engine.name not in self._stragglers]
        late = [engine for engine in expected if not ready(engine)]
        for engine in sorted(expected, key=late.__contains__):
            begun = time.monotonic()
            self._collect(flight, engine)
            if len(late) == 1:
                self._waited[engine.name] += time.monotonic() - begun

    def _collect(self, flight: Flight, engine: EngineLike) -> None:
        """Take an engine's answer, waiting for it if need be; EngineUnavailable where too few are left."""
        try:
            flight.answers[engine.name] = engine.collect()
            del flight.missing[engine.name]
        except EngineUnavailable as error:
            if len(self._engines) <= FEWEST:
                raise
            self._engines.remove(engine)
            if self._quick < FEWEST:
                self._stragglers.clear()
            for other in self._flights:
                other.missing.pop(engine.name, None)
            self._tell(f"{error}; left out from case {flight.index} on")

    def _whole(self) -> Iterator[Flight]:
        for flight in list(self._flights):
            for engine in list(flight.missing.values()):
                if engine.name in self._stragglers and ready(engine):
                    self._collect(flight, engine)
            if not flight.missing:
                self._flights.remove(flight)
                if self._stragglers.isdisjoint(flight.answers):
                    yield flight
                else:
                    self._held.append(flight)

    def _look(self) -> None:
        """Is there one more straggler?"""
        now = time.monotonic()
        if self._patient or now - self._looked < LOOK:
            return
        held = HELD * (now - self._looked)
        found = [name for name, waited in self._waited.items() if waited > held]
        if self._quick > FEWEST:
            self._stragglers.update(found)
        self._looked = now
        self._waited.clear()


def ready(engine: EngineLike) -> bool:
    """Is its next answer there?"""
    return bool(getattr(engine, "ready", True))
