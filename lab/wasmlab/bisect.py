"""The first bad release: bisection over versions of which some cannot be asked, and some answer one way and another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

GOOD, BAD = "good", "bad"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a version did: `kind` is "good", "bad", or anything else for inconclusive, with `why`; `bad` of `runs`."""

    kind: str
    why: str = ""
    bad: int = 0
    runs: int = 0


@dataclass(slots=True)
class Bisection:
    """What is known: a good version and a bad one, next to each other but for those between that say nothing."""

    versions: Sequence[str]
    answers: dict[str, Answer] = field(default_factory=dict)
    good: str = ""
    bad: str = ""

    @property
    def between(self) -> list[str]:
        """The inconclusive versions that may be where it changed."""
        if not (self.good and self.bad):
            return []
        ends = sorted(map(self.versions.index, (self.good, self.bad)))
        return list(self.versions[ends[0] + 1 : ends[1]])

    @property
    def fixed(self) -> bool:
        """Is it the newer one that is good?"""
        return bool(self.good and self.bad) and self.versions.index(self.good) > self.versions.index(self.bad)


def bisect(versions: Sequence[str], ask: Callable[[str], Answer]) -> Bisection:
    """Find where `versions`, the oldest first, change from good to bad, or from bad to good.

    Versions that say nothing are passed over.  Where all that say something at the ends are good, `bad` is "", where
    they are bad, `good` is, and `bad` is the oldest.
    """
    found = Bisection(versions)

    def kind(at: int) -> str:
        version = versions[at]
        if version not in found.answers:
            found.answers[version] = ask(version)
        return found.answers[version].kind

    def says(at: int) -> bool:
        return kind(at) in (GOOD, BAD)

    high = next(filter(says, range(len(versions) - 1, -1, -1)), None)
    low = next(filter(says, range(len(versions))), None)
    if low is None or high is None:
        return found
    if kind(low) == kind(high):
        found.good, found.bad = (versions[high], "") if kind(low) == GOOD else ("", versions[low])
        return found
    while (middle := _middle(low, high, says)) is not None:
        low, high = (middle, high) if kind(middle) == kind(low) else (low, middle)
    ends = {kind(at): versions[at] for at in (low, high)}
    found.good, found.bad = ends[GOOD], ends[BAD]
    return found


def _middle(low: int, high: int, says: Callable[[int], bool]) -> int | None:
    """The version nearest to the middle between two that says something; None if there is none."""
    return next(filter(says, sorted(range(low + 1, high), key=lambda at: abs(2 * at - low - high))), None)
