"""Every documented setting has an effect."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from statistics import mean
from typing import Any

import pytest
from reference import Executed, run

from wasmlab_gen import Config, SeededSource, case
from wasmlab_gen.generate import draw
from wasmlab_ref.case import Case, Invoke
from wasmlab_ref.decode import decode
from wasmlab_ref.features import WASM_3, closure
from wasmlab_ref.validate import validate

Measure = Callable[[Config], float]
SEEDS = range(40)


def over_cases(measure: Callable[[Case], float], features: frozenset[str] = WASM_3) -> Measure:
    return lambda config: mean(measure(case(SeededSource(seed), features, config)) for seed in SEEDS)


def code(drawn: Case) -> list[Any]:
    return [step for data in drawn.modules for f in decode(data).funcs for step in f.body]


def count(mnemonic: str, of: str = "") -> Callable[[Case], float]:
    return lambda drawn: sum(re.fullmatch(mnemonic, step.op.mnemonic) is not None for step in code(drawn))


def executed(drawn: Case) -> float:
    listener = Executed()
    run(drawn, listener=listener)
    return listener.count


def traps(drawn: Case) -> float:
    return sum(kind == "trapped" for kind, _ in run(drawn).steps)


def features_used(config: Config) -> float:
    return mean(len(draw(SeededSource(seed), WASM_3, config)[1][0].features) for seed in SEEDS)


def names(drawn: Case) -> list[str]:
    return [e.name for data in drawn.modules for e in decode(data).exports]


EFFECTS: dict[str, tuple[Any, Any, Measure]] = {
    # a value, one for which the measure is greater, the measure
    "functions": (1, 9, over_cases(lambda c: sum(len(decode(m).funcs) for m in c.modules))),
    "instructions": (20, 200, over_cases(lambda c: len(code(c)))),
    "dense": (0, 100, over_cases(lambda c: len(code(c)))),
    "expression": (1, 20, over_cases(count(r".*\.(add|sub|and|or|xor|eq|ne)"))),
    "executed": (300, 40_000, over_cases(executed)),
    "modules": (1, 3, over_cases(lambda c: len(c.modules))),
    "linked": (0, 90, over_cases(lambda c: len(c.modules))),
    "swarm": (100, 0, features_used),
    "traps": (0, 60, over_cases(traps)),
    "dead": (0, 100, over_cases(count("unreachable"))),
    "private": (0, 100, over_cases(lambda c: sum(name.startswith("peek") for name in names(c)))),
    "log": (0, 100, over_cases(lambda c: sum(i.module == "lab" for m in c.modules for i in decode(m).imports))),
    "calls": (1, 6, over_cases(lambda c: sum(isinstance(s, Invoke) for s in c.steps))),
    "repeat": (1, 100, over_cases(lambda c: max([s.repeat for s in c.steps if isinstance(s, Invoke)], default=1))),
    "nan": ("raw", "canonical", over_cases(count(r"select|v128\.bitselect"), closure(["simd"]))),
    "relaxed": ("raw", "deterministic-inputs", over_cases(count(r".*\.convert.*_s"), closure(["relaxed-simd"]))),
}


def test_all_fields_are_listed_and_documented() -> None:
    assert list(EFFECTS) == [field.name for field in fields(Config)]
    documented = re.findall(r"^    (\w+)  ", Config.__doc__ or "", re.MULTILINE)
    assert documented == list(EFFECTS)


@pytest.mark.parametrize("name", list(EFFECTS))
def test_each_field_has_an_effect(name: str) -> None:
    less, more, measure = EFFECTS[name]
    assert measure(Config(**{name: less})) < measure(Config(**{name: more}))


@pytest.mark.parametrize("wrong", [{"functions": 0}, {"traps": 101}, {"dead": -1}, {"nan": "x86"}, {"relaxed": "no"}])
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)


@pytest.mark.parametrize(
    "config",
    [
        Config(instructions=1, expression=1, functions=1),
        Config(instructions=1, functions=9, linked=100, swarm=0),
        Config(modules=8, linked=100),
        Config(executed=1),
        Config(traps=100, dead=100, private=100, log=100),
        Config(traps=0, dead=0, private=0, log=0, nan="raw", relaxed="raw", repeat=1, calls=1),
        Config(instructions=1500, functions=20, expression=60),
    ],
    ids=["small", "empty", "linked", "short", "everything", "nothing", "large"],
)
def test_extremes_are_valid_and_end(config: Config) -> None:
    for seed in range(12):
        drawn = case(SeededSource(seed), WASM_3, config)
        for data in drawn.modules:
            validate(decode(data))
        assert executed(drawn) < 2 * max(config.executed, 10_000)
