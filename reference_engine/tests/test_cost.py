"""The measure that tests of cost use: it counts, and it tells linear from quadratic."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def summed(n: int) -> Callable[[], object]:
    return lambda: sum(i for i in range(n))


def pairs(n: int) -> Callable[[], object]:
    return lambda: [[i * j for i in range(n)] for j in range(n)]


def test_work_is_counted(work: Callable[..., int]) -> None:
    assert work(summed(1_000)) == work(summed(1_000)) >= 1_000
    assert work(lambda: [len("a") for _ in range(1_000)]) > 2_000


def test_linear_and_quadratic(linear: Callable[..., None]) -> None:
    linear(summed, 100)
    with pytest.raises(AssertionError, match="steps for 100"):
        linear(pairs, 100)
