"""Many campaigns as one: what every kind of report begins with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from wasmlab.model import Divergence, Run


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over campaigns; `complete` and `inconclusive` are shares."""

    cases: int
    seconds: float
    complete: float
    inconclusive: float
    rules: int

    @property
    def rate(self) -> float:
        """Cases a second of each campaign's time."""
        return self.cases / self.seconds if self.seconds else 0.0


def summed(counters: Iterable[Counter[str]]) -> Counter[str]:
    """The sum of counters."""
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def totals(runs: Sequence[Run]) -> Totals:
    """The sums that a report begins with."""
    counters = summed(run.counters for run in runs)
    cases, calls = counters["cases"], counters["calls"]
    return Totals(
        cases,
        sum(run.seconds for run in runs),
        counters["complete calls"] / calls if calls else 1.0,
        counters["inconclusive"] / cases if cases else 0.0,
        len(summed(run.rules for run in runs)),
    )


def merged(runs: Sequence[Run]) -> list[tuple[Run, Divergence]]:
    """Divergences of all runs, those of one signature as one: its smallest case, all counted; unknown ones first."""
    merged: dict[str, tuple[Run, Divergence]] = {}
    for run in runs:
        for found in run.divergences:
            if found.id not in merged:
                merged[found.id] = (run, found)
                continue
            run_before, before = merged[found.id]
            count = before.count + found.count
            smaller = (run, found) if found.size < before.size else (run_before, before)
            merged[found.id] = (smaller[0], replace(smaller[1], count=count))
    return sorted(merged.values(), key=lambda pair: (bool(pair[1].known), -pair[1].count, pair[1].id))
