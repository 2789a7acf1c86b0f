"""The C path tells the same rules and instructions as ref/py, on generated cases and on the official suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wasmlab.conform import Script, run_script
from wasmlab_adapters.engine import Engine
from wasmlab_adapters.registry import resolve
from wasmlab_adapters.session import Session
from wasmlab_gen.generate import any_case
from wasmlab_gen.source import SeededSource
from wasmlab_ref import features

FEATURES = frozenset(features.FEATURES) - {"annotations"}
FUEL = {"fuel": 1_000_000}
ENDS_EARLY = {"trapped", "threw", "exhausted"}
"""Outcomes after which ref/py has counted the rest of a block, too."""


@pytest.fixture(scope="module")
def engines() -> Iterator[list[Engine]]:
    with Engine(resolve("ref")) as fast, Engine(resolve("ref/py")) as python:
        yield [fast, python]


@pytest.mark.parametrize("part", range(4))
def test_generated_cases(engines: list[Engine], part: int) -> None:
    reached: set[str] = set()
    for seed in range(75 * part, 75 * part + 75):
        case = any_case(SeededSource(seed), FEATURES)
        fast, python = (engine.run(case, "rules", 60, FUEL) for engine in engines)
        ends = [[(o.kind, o.values) for o in result.outcomes] for result in (fast, python)]
        assert ends[0] == ends[1], seed
        if any(outcome.kind == "exhausted" for outcome in fast.outcomes):
            continue
        assert set(fast.rules) ^ set(python.rules) == set(), seed
        assert fast.executed == python.executed, seed
        if not any(outcome.kind in ENDS_EARLY for outcome in fast.outcomes):
            assert fast.instructions == python.instructions, seed
        reached.update(fast.rules)
    assert len(reached) > 300


class Observed(Engine):
    """An engine whose sessions tell rules."""

    told: set[str]

    def session(self, deadline: float | None = None) -> Session:
        return super().session(600)  # no clock decides about rules

    def request(self, steps: list[dict[str, Any]], observe: str = "digest", session: str = "") -> dict[str, Any]:
        return super().request(steps, "rules", session)

    def outcomes(self, answer: dict[str, Any], steps: int, masks: bool = False) -> Any:
        self.told = self.told.union(answer.get("rules", ()))
        return super().outcomes(answer, steps, masks)


@pytest.mark.slow
def test_the_suite(core_suite: Path) -> None:
    """By script.  Rules beyond the fuel of one path are left out: there are none."""
    every: set[str] = set()
    engines = {name: Observed(resolve(name)) for name in ("ref", "ref/py")}
    for path in sorted(core_suite.rglob("*.wast")):
        if "legacy" in path.parts or "proposals" in path.parts:
            continue
        told: list[set[str]] = []
        for name in ("ref", "ref/py"):
            engine = engines[name]
            engine.told = set()
            run_script(Script(path, path.name), engine)
            told.append(engine.told)
        assert told[0] ^ told[1] == set(), path.name
        every |= told[0]
    assert len(every) > 400
    for engine in engines.values():
        engine.close()
