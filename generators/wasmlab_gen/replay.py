"""A case that a campaign found, in Hypothesis: the same draws again, then Hypothesis's own shrinking.

The only file that knows how Hypothesis is made inside: the draws come from a provider of our own, which Hypothesis
calls an alternative backend.  What fails with them is drawn again, and shrunk, by Hypothesis itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, settings

try:
    from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, PrimitiveProvider
except ImportError:  # before 6.136
    from hypothesis.internal.conjecture.data import (  # type: ignore[no-redef,attr-defined,unused-ignore]
        AVAILABLE_PROVIDERS,
        PrimitiveProvider,
    )

BACKEND = "wasmlab-replay"
MOST_DRAWS = 4000
"""Hypothesis gives up on cases of many more draws."""


def replay(test: Callable[[], Any], log: Sequence[int]) -> None:
    """Run a test made with `@given(cases())` or `@given(modules())` on logged draws; what it raises is raised shrunk.

    `log` is what a `Recorder` kept while it drew the case, with the same features and configuration.  ValueError where
    it is longer than Hypothesis can replay.
    """
    if len(log) > MOST_DRAWS:
        raise ValueError(f"{len(log)} draws; Hypothesis can replay {MOST_DRAWS}")
    Logged.left = iter(log)
    AVAILABLE_PROVIDERS[BACKEND] = f"{__name__}.{Logged.__name__}"
    again = settings(
        backend=BACKEND,
        max_examples=2,  # before the first, some versions try the simplest case of all
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    try:
        again(test)()
    finally:
        del AVAILABLE_PROVIDERS[BACKEND]


class Logged(PrimitiveProvider):
    """Integers from the log, the simplest of everything else and behind its end."""

    lifetime = "test_function"
    left: Iterator[int] = iter(())

    def draw_integer(self, min_value: int | None = None, max_value: int | None = None, *args: Any, **more: Any) -> int:
        drawn = next(Logged.left, 0)
        low = drawn if min_value is None else max(drawn, min_value)
        return low if max_value is None else min(low, max_value)

    def draw_boolean(self, *args: Any, **more: Any) -> bool:
        return False

    def draw_float(self, *args: Any, **more: Any) -> float:
        return 0.0

    def draw_string(self, intervals: Any, *args: Any, min_size: int = 0, **more: Any) -> str:
        return chr(intervals[0]) * min_size

    def draw_bytes(self, *args: Any, **more: Any) -> bytes:
        return bytes(more.get("min_size", args[0] if args else 0))
