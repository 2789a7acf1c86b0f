"""The C path and ref/py do the same under every profile; so does the C path compiled in other ways."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wasmlab.campaign import derive, generate
from wasmlab.conform import Script, run_script
from wasmlab_adapters.engine import Engine
from wasmlab_adapters.registry import resolve
from wasmlab_ref import features
from wasmlab_ref.profile import NAN_PROFILES, RELAXED, RELAXED_CHOICES, Profile

FEATURES = frozenset(features.FEATURES) - {"annotations"}
FUEL = {"fuel": 2_000_000}


@pytest.fixture(scope="module")
def engines() -> Iterator[list[Engine]]:
    with Engine(resolve("ref")) as fast, Engine(resolve("ref/py")) as python:
        yield [fast, python]


def agree(engines: list[Engine], seed: int, profile: dict[str, Any] | None = None) -> None:
    """The same outcome of every step, until one runs out of something."""
    case = generate(seed, FEATURES, nan="raw", relaxed="raw")
    more = {**FUEL, **({"profile": profile} if profile else {})}
    results = [engine.run(case, "full", 60, more) for engine in engines]
    for step, (one, other) in enumerate(zip(*(result.outcomes for result in results), strict=True)):
        if "exhausted" in (one.kind, other.kind):
            return
        refused = one.kind in {"malformed", "invalid", "unlinkable"}
        assert (one.kind, one.values) == (other.kind, other.values), (seed, step, profile)
        assert refused or one.detail == other.detail, (seed, step, profile)
    assert results[0].trace == results[1].trace, (seed, profile)


@pytest.mark.parametrize("nan", NAN_PROFILES)
def test_nan_profiles(engines: list[Engine], nan: str) -> None:
    for number in range(60):
        agree(engines, derive(11, number), {"nan": nan})


def test_relaxed_choices_and_refused_growth(engines: list[Engine]) -> None:
    """Each parameter's alternatives at random, by parameter and by instruction, with any NaNs."""
    draw = random.Random(5)
    for number in range(200):
        profile: dict[str, Any] = {name: draw.randrange(n) for name, n in RELAXED_CHOICES.items()}
        mnemonic = draw.choice(list(RELAXED))
        profile |= {mnemonic: draw.randrange(RELAXED_CHOICES[RELAXED[mnemonic]])}
        profile |= {"nan": draw.choice(NAN_PROFILES), "grow": draw.randrange(2)}
        assert Profile.of(profile)
        agree(engines, derive(12, number), profile)


@pytest.mark.slow
def test_collecting_at_every_allocation(engines: list[Engine], core_suite: Path) -> None:
    """What is lost between two collections is lost then: on generated cases, and the suite's scripts that allocate."""
    target = resolve("ref")
    with Engine(dataclasses.replace(target, argv=(*target.argv, "stress=1"))) as stressed:
        for number in range(300):
            agree([engines[0], stressed], derive(14, number))
        allocating = (b"struct.new", b"array.new", b"throw")
        paths = [path for path in core_suite.glob("*.wast") if any(word in path.read_bytes() for word in allocating)]
        assert len(paths) > 15
        for path in paths:
            tally = run_script(Script(path, path.name), stressed)
            assert tally.total
            assert tally.failures == []


def compiled(**environment: str) -> Engine:
    """The C engine, built in another way."""
    target = resolve("ref")
    place = dataclasses.replace(target, env={**target.env, **environment})
    return Engine(place)


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"CFLAGS": "-DWASMLAB_LOOP"},  # where tail calls are not certain
        {"CFLAGS": "-O0"},  # gcc makes none then
        {"CC": "clang"},
        {"CC": "clang", "CFLAGS": "-DWASMLAB_LOOP -O1"},
    ],
    ids=str,
)
def test_other_builds(environment: dict[str, str], core_suite: Path) -> None:
    compiler = environment.get("CC", "gcc")
    if not shutil.which(compiler):
        assert "CI" not in os.environ, f"no {compiler}"
        pytest.skip(f"no {compiler}")
    with Engine(resolve("ref")) as fast, compiled(**environment) as other:
        for number in range(300):
            agree([fast, other], derive(13, number))
        for path in sorted(core_suite.glob("*.wast")):
            assert run_script(Script(path, path.name), other).failures == []
