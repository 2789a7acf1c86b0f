"""What a campaign records: plain data, shared by campaign, store and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wasmlab_ref.case import Case, Outcome

Answers = dict[str, tuple[tuple[Outcome, ...], tuple[str, ...]]]
"""By engine: an outcome for each step, and the trace of host calls."""


def kept(answers: Mapping[str, Any]) -> Answers:
    """Answers as the store keeps them."""
    return {name: (tuple(answer.outcomes), tuple(answer.trace)) for name, answer in answers.items()}


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """An engine of a campaign: as it was named, and what the name resolved to."""

    name: str
    resolved: str
    version: str
    features: tuple[str, ...]
    command: str = ""
    """How its worker is started, flags and all."""
    machine: str = ""
    """What its container runs on, with QEMU's version and model; "" for a process."""

    def to_json(self) -> dict[str, Any]:
        """As a dictionary."""
        return {
            "name": self.name, "resolved": self.resolved, "version": self.version, "features": list(self.features),
            "command": self.command, "machine": self.machine,
        }  # fmt: skip

    @staticmethod
    def from_json(data: dict[str, Any]) -> EngineRecord:
        """The inverse of `to_json`."""
        return EngineRecord(
            data["name"], data["resolved"], data["version"], tuple(data["features"]), data.get("command", ""),
            data.get("machine", ""),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Campaign:
    """What identifies a campaign: resuming needs the same one."""

    engines: tuple[EngineRecord, ...]
    features: tuple[str, ...]
    seed: int
    generator: str

    @property
    def names(self) -> tuple[str, ...]:
        """The engines' names, in order."""
        return tuple(engine.name for engine in self.engines)

    @property
    def versions(self) -> tuple[str, ...]:
        """What the names resolved to, in order."""
        return tuple(
            f"{engine.resolved or engine.name} {engine.version} {engine.machine}".strip() for engine in self.engines
        )


@dataclass(frozen=True, slots=True)
class Divergence:
    """A divergence, reduced.  `reduced` is valid and still diverges at step `step`; `answers` are to it."""

    id: str
    signature: str
    groups: tuple[tuple[str, ...], ...]
    stage: str
    sentence: str
    index: int
    case: Case
    reduced: Case
    step: int | None
    answers: Answers
    size: int
    seconds: float
    known: str = ""
    count: int = 1
    byte: tuple[int, int] | None = None
    """Where the memory read in step `step` differs first, and what the first engine has there."""
    confirmed: tuple[int, int] = (1, 1)
    """How often the reduced case showed it in fresh processes, of how many times."""
    trace: tuple[tuple[str, ...], ...] = ()
    """What the engines computed up to the first difference (`trace.last_words`), in the order of `answers`."""


REACHED = "reached something new"
"""Why a case is kept that was the first to use a rule of the standard or an instruction."""

UNEXAMINED = "differed, and an engine did not start again"
"""Why a case is kept that nobody could look into."""

LEFT_OUT = "left out"
"""What is counted of an engine for each case that was done without it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A case kept because it was inconclusive for `reason`, did not diverge again ("not reproduced"), or is REACHED."""

    reason: str
    index: int
    case: Case
    answers: Answers


SPENT = "µs of "
"""Before an engine's name: the counter of the processor time that its workers used, in microseconds."""


TAKEN = "cases of "
"""Likewise: the counter of the cases that it took."""


def cost(name: str, counters: Counter[str]) -> str:
    """What a case costs an engine, in processor time: "1.2 ms a case"; how many it took, if not all; or ""."""
    spent, taken = counters[SPENT + name], counters[TAKEN + name]
    facts = [f"{spent / taken / 1e3:,.1f} ms a case"] if spent and taken else []
    facts += [f"{taken:,} cases"] if 0 < taken < counters["cases"] else []
    return ", ".join(facts)


@dataclass(slots=True)
class Batch:
    """What happened since the last batch; adds up."""

    done: list[int] = field(default_factory=list)
    seconds: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)
    inconclusive: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    instructions: Counter[str] = field(default_factory=Counter)
    divergences: list[Divergence] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    choices: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """By engine: what it was found to choose (`choices.Choices`), where that is new."""
    troubles: list[str] = field(default_factory=list)
    """What kept the lab from its work, such as an engine that does not start any more: a line each."""


@dataclass(slots=True)
class Progress:
    """Which case numbers are done: all below `low`, and those of `above`."""

    low: int = 0
    above: set[int] = field(default_factory=set)

    def add(self, indices: Iterable[int]) -> None:
        """Mark as done."""
        self.above.update(i for i in indices if i >= self.low)
        while self.low in self.above:
            self.above.remove(self.low)
            self.low += 1

    def __contains__(self, index: int) -> bool:
        return index < self.low or index in self.above

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The numbers that are done, as half-open ranges in order."""
        found = [(0, self.low)] if self.low else []
        for index in sorted(self.above):
            if found and found[-1][1] == index:
                found[-1] = (found[-1][0], index + 1)
            else:
                found.append((index, index + 1))
        return found

    @staticmethod
    def of(ranges: Iterable[tuple[int, int]]) -> Progress:
        """The inverse of `ranges`."""
        found = Progress()
        for first, end in ranges:
            found.add(range(max(first, found.low), end))
        return found


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a campaign, from its start or a resumption on: when, how long, and where (`machine.machine`)."""

    started: float
    seconds: float
    machine: Mapping[str, str]


@dataclass(slots=True)
class Run:
    """All that a store holds, as reports read it."""

    folder: str
    campaign: Campaign
    started: float
    seconds: float
    counters: Counter[str]
    inconclusive: Counter[str]
    rules: Counter[str]
    instructions: Counter[str]
    divergences: list[Divergence]
    samples: list[Sample]
    progress: Progress = field(default_factory=Progress)
    choices: dict[str, Mapping[str, str]] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """Number of cases that every engine answered."""
        return self.counters["cases"]

    @property
    def complete(self) -> float:
        """Share of calls that ran to an end which the standard foresees, of all calls made; 1.0 for none."""
        return self.counters["complete calls"] / (self.counters["calls"] or 1) if self.counters["calls"] else 1.0
