"""Short runs of what `sanitize/sanitize.py` and `verdicts.py` do at length."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import verdicts

from wasmlab_ref import fast

SANITIZE = Path(__file__).parent / "sanitize" / "sanitize.py"


@pytest.mark.slow
def test_sanitizers_find_nothing() -> None:
    if not shutil.which("clang") and not os.environ.get("CI"):
        pytest.skip("clang is not installed")
    done = subprocess.run(
        [sys.executable, str(SANITIZE), "smoke", "fuzz", "--cases", "40", "--time", "5"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_both_paths_judge_alike_what_is_hardly_a_module() -> None:
    try:
        fast.load()
    except fast.Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    tally = verdicts.judge_mutated(3, 0, 400)
    assert tally.different == []
    assert set(tally.counts) >= {"valid", "invalid", "malformed"}


def test_binaries_are_functions_of_their_seed_and_number() -> None:
    first = [verdicts.mutated(5, number) for number in range(50)]
    verdicts.pool.cache_clear()
    assert [verdicts.mutated(5, number) for number in range(50)] == first
    assert [verdicts.mutated(6, number) for number in range(50)] != first
