"""One seed gives the same bytes on every machine and every Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from digests import digest, digests

from wasmlab_gen import Recorder, Replay, SeededSource, case
from wasmlab_ref.features import WASM_3

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
SUPPORTED = ("3.11", "3.12", "3.13")


def test_golden_digests() -> None:
    found = digests()
    if os.environ.get("WASMLAB_BLESS"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text())


def python_of(version: str) -> str | None:
    """A Python of that version: this one, one on the path, or one of pyenv."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = [str(path / "bin" / "python") for path in sorted(root.glob(f"{version}.*"))]
    return next(iter(installed), None) or shutil.which(f"python{version}")


@pytest.mark.parametrize("version", SUPPORTED)
def test_golden_digests_on_every_supported_python(version: str) -> None:
    python = python_of(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    roots = os.pathsep.join(str(HERE.parents[1] / root) for root in ("reference_engine", "generators"))
    environment = {**os.environ, "PYTHONPATH": roots, "PYTHONHASHSEED": "7"}
    command = [python, str(HERE / "digests.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert json.loads(done.stdout) == json.loads(GOLDEN.read_text())


def test_the_order_of_cases_does_not_matter() -> None:
    alone = digest(SeededSource(7), WASM_3)
    for seed in range(5):
        case(SeededSource(seed), WASM_3)
    assert digest(SeededSource(7), WASM_3) == alone


def test_a_log_replays() -> None:
    for seed in range(20):
        recorder = Recorder(SeededSource(seed))
        drawn = case(recorder, WASM_3)
        again = case(Replay(recorder.log), WASM_3)
        assert (again.modules, again.steps) == (drawn.modules, drawn.steps)


@pytest.mark.parametrize("log", [[], [0] * 50, [2**32 - 1] * 20_000, list(range(5000)), [1, 0] * 3000])
def test_any_log_gives_a_case(log: list[int]) -> None:
    from wasmlab_ref.decode import decode
    from wasmlab_ref.validate import validate

    for data in case(Replay(log), WASM_3).modules:
        validate(decode(data))


def test_draws_stay_below_and_are_even() -> None:
    source = SeededSource(3)
    counts = [0] * 10
    for _ in range(10_000):
        counts[source.below(10)] += 1
    assert all(850 < n < 1150 for n in counts)
    assert {source.below(1) for _ in range(10)} == {0}
    assert all(0 <= source.bits(128) < 1 << 128 for _ in range(100))
    assert sorted(source.shuffled(range(20))) == list(range(20))
    assert 150 < sum(source.chance(20) for _ in range(1000)) < 250
