"""Where choices come from: everything the generator decides is a call of `Source.below`.

Zero is always the simplest choice, so that a shrinker which lowers numbers finds simple cases.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Source(ABC):
    """A stream of choices."""

    @abstractmethod
    def below(self, n: int) -> int:
        """An int from 0 to n - 1; n is at least 1 and at most 2**32."""

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 draws; False is the simple choice."""
        return self.below(100) >= 100 - percent

    def pick(self, options: Sequence[T]) -> T:
        """One of them; the first is the simplest."""
        return options[self.below(len(options))]

    def weighted(self, table: Sequence[tuple[int, T]]) -> T:
        """An option of a table of (weight, option)."""
        n = self.below(sum(weight for weight, _ in table))
        for weight, option in table:
            n -= weight
            if n < 0:
                return option
        raise ValueError("a table without positive weights")

    def span(self, low: int, high: int) -> int:
        """An int from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def bits(self, n: int) -> int:
        """An int of n bits, n a multiple of 32 or below it."""
        if n <= 32:
            return self.below(1 << n)
        return self.below(1 << 32) | self.bits(n - 32) << 32

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """The items in another order; all zeros leave it as it is."""
        out = list(items)
        for i in range(len(out) - 1):
            j = i + self.below(len(out) - i)
            out[i], out[j] = out[j], out[i]
        return out


class SeededSource(Source):
    """The choices of a seed: the same on every machine and every Python, cheap (0.2 µs each)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._bits = random.Random(seed).getrandbits

    def below(self, n: int) -> int:
        return self._bits(32) * n >> 32


class Recorder(Source):
    """Passes another source's choices on and keeps them in `log`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.log: list[int] = []

    def below(self, n: int) -> int:
        drawn = self.source.below(n)
        self.log.append(drawn)
        return drawn


class Replay(Source):
    """The choices of a log again; zeros after its end, and the largest possible one where a choice does not fit."""

    def __init__(self, log: Sequence[int]) -> None:
        self._next = iter(log)

    def below(self, n: int) -> int:
        return min(next(self._next, 0), n - 1)


class HypothesisSource(Source):
    """Choices drawn by Hypothesis: `draw` is that of `@composite`, or the `draw` of `st.data()`."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        from hypothesis import strategies

        self._draw = draw
        self._integers = strategies.integers
        self._strategies: dict[int, Any] = {}

    def below(self, n: int) -> int:
        strategy = self._strategies.get(n)
        if strategy is None:
            strategy = self._strategies[n] = self._integers(0, n - 1)
        drawn: int = self._draw(strategy)
        return drawn
