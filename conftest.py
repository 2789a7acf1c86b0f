"""Where the official suites are: WASMLAB_SUITES, the cache, or `shared/suites` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wasmlab.suites import cache_folder


def suites_folder() -> Path | None:
    """The folder that holds `core/`, or None."""
    beside = Path(__file__).resolve().parents[1] / "shared" / "suites"
    for folder in (os.environ.get("WASMLAB_SUITES"), cache_folder(), beside):
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
