"""Cases in flight: one engine that is slow does not hold the others back, unless all are to take every case."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import pytest

from wasmlab import flights as module
from wasmlab.flights import WINDOW, Flight, Flights
from wasmlab.plan import EngineLike
from wasmlab_ref.case import Case


class Clock:
    """Stands still but for engines."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Engine:
    """Answers a case with its steps; each takes `seconds`, one after the other."""

    features = frozenset[str]()

    def __init__(self, name: str, seconds: float, clock: Clock) -> None:
        self.name, self.seconds, self.clock = name, seconds, clock
        self.due: deque[tuple[float, Case]] = deque()
        self.free = 0.0

    def submit(self, case: Case, observe: str = "digest", deadline: float | None = None) -> None:
        self.free = max(self.free, self.clock.now) + self.seconds
        self.due.append((self.free, case))

    @property
    def ready(self) -> bool:
        return bool(self.due) and self.due[0][0] <= self.clock.now

    def collect(self) -> Case:
        at, case = self.due.popleft()
        self.clock.now = max(self.clock.now, at)
        return case

    def run(self, case: Case, observe: str = "digest") -> Case:
        self.submit(case)
        return self.collect()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None: ...


def fly(
    monkeypatch: pytest.MonkeyPatch,
    speeds: dict[str, float],
    cases: int,
    patient: bool = False,
    settle: Callable[[Flight], float] = lambda flight: 0.0,
) -> tuple[Counter[str], list[Flight], Clock]:
    """How many cases each engine took, all flights as they landed, and the time before the last ones; `settle` says
    how long it takes to judge one."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    engines: list[EngineLike] = [Engine(name, seconds, clock) for name, seconds in speeds.items()]
    flights = Flights(engines, patient, pytest.fail)
    landed: list[Flight] = []
    for index in range(cases):
        clock.now += 0.001  # what the lab does itself
        flights.launch(index, Case((), ()), ())
        for flight in flights.landed(WINDOW):
            landed.append(flight)
            clock.now += settle(flight)
    taken = clock.now
    landed += flights.left()
    clock.now = taken
    return Counter(name for flight in landed for name in flight.answers), landed, clock


def test_all_take_every_case_where_none_is_far_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, landed, _ = fly(monkeypatch, {"a": 0.001, "b": 0.002, "c": 0.003}, 3000)
    assert taken == {"a": 3000, "b": 3000, "c": 3000}
    assert [flight.index for flight in landed] == list(range(3000))
    assert all(answer is flight.case for flight in landed for answer in flight.answers.values())


def test_the_others_go_on_without_a_straggler(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, landed, clock = fly(monkeypatch, {"a": 0.001, "slow": 0.5, "b": 0.002}, 10_000)
    assert taken["a"] == taken["b"] == 10_000
    assert 40 <= taken["slow"] <= 120  # two a second
    assert clock.now < 40  # rather than 5,000 seconds
    assert sorted(flight.index for flight in landed) == list(range(10_000))


def test_looking_into_what_a_straggler_answers_takes_a_quarter_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {"a": 0.001, "slow": 0.5, "b": 0.002}
    taken, landed, clock = fly(
        monkeypatch, speeds, 10_000, settle=lambda flight: 2.0 if "slow" in flight.answers and flight.index > 99 else 0
    )
    assert sorted(flight.index for flight in landed) == list(range(10_000))
    assert 15 < taken["slow"] < 60
    assert clock.now < 60


def test_two_are_left_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, _, _ = fly(monkeypatch, {"a": 0.001, "slow": 0.5, "slower": 1.0}, 200)
    assert taken["a"] == taken["slow"] == 200
    assert taken["slower"] < 200
    assert fly(monkeypatch, {"a": 0.001, "slow": 0.5}, 100)[0] == {"a": 100, "slow": 100}


def test_every_engine_takes_every_case_of_a_number_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, _, _ = fly(monkeypatch, {"a": 0.001, "slow": 0.5, "b": 0.002}, 200, patient=True)
    assert taken == {"a": 200, "slow": 200, "b": 200}
