"""Fixtures: the official suites (WASMLAB_SUITES, or `shared/suites` beside the checkout), and a measure of work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


def suites_folder() -> Path | None:
    """The folder that holds `core/`, or None."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "suites"
    for folder in (os.environ.get("WASMLAB_SUITES"), beside):
        if folder and (Path(folder) / "core").is_dir():
            return Path(folder)
    return None


@pytest.fixture(scope="session")
def core_suite() -> Path:
    """The official core suite; skips for a user who has none, fails in CI."""
    suites = suites_folder()
    if suites is None:
        message = "the official suite is missing: `wasmlab suite fetch core`, or set WASMLAB_SUITES"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return suites / "core"


Work = Callable[[Callable[[], object]], int]
GROWTH = 2.3


def _work(function: Callable[[], object]) -> int:
    steps = 0

    def traced(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal steps
        steps += 1
        return traced

    def profiled(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal steps
        steps += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(traced)
    sys.setprofile(profiled)
    try:
        function()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return steps


@pytest.fixture
def work() -> Work:
    """What a call costs, in lines of Python executed and functions called: the same on every machine, however busy."""
    return _work


@pytest.fixture
def linear() -> Callable[[Callable[[int], Callable[[], object]], int], None]:
    """`linear(job, n)` fails unless twice the size costs at most 2.3 times the work; `job(n)` prepares a call."""

    def check(job: Callable[[int], Callable[[], object]], size: int) -> None:
        job(16)()  # fills the caches
        small, large = _work(job(size)), _work(job(2 * size))
        assert large <= GROWTH * small, f"{small} steps for {size}, {large} for {2 * size}"

    return check
