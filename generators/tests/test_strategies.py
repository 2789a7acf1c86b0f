from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from wasmlab_gen import Config, cases, function_types, modules, values
from wasmlab_ref.case import Case, parse_value
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.features import closure
from wasmlab_ref.syntax import Module
from wasmlab_ref.types import FuncType, RefType
from wasmlab_ref.validate import validate

SMALL = Config(functions=2, instructions=20, expression=4, modules=1, private=0)
slow = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@slow
@given(modules())
def test_modules_are_valid(drawn: Module) -> None:
    validate(drawn)
    assert decode(encode(drawn)) == drawn


@slow
@given(cases(closure(["simd"])))
def test_cases_are_valid(drawn: Case) -> None:
    for data in drawn.modules:
        validate(decode(data))


@given(st.sampled_from(["i32", "i64", "f32", "f64", "v128"]).flatmap(lambda t: st.tuples(st.just(t), values(t))))
def test_values_are_of_their_type(pair: Any) -> None:
    type_, text = pair
    assert parse_value(text)[0] == type_


@given(function_types(frozenset(["mvp"])))
def test_function_types_keep_to_the_features(drawn: FuncType) -> None:
    assert len(drawn.results) <= 1
    assert set(drawn.params) <= {"i32", "i64", "f32", "f64"}


def test_shrinking_finds_something_small() -> None:
    def adds(drawn: Module) -> bool:
        return any(step.op.mnemonic == "i32.add" for f in drawn.funcs for step in f.body)

    found = find(
        modules(frozenset(["mvp"]), replace(SMALL, dense=0)),  # dense code has many trees, which shrink one by one
        adds,
        settings=settings(max_examples=300, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
                          suppress_health_check=list(HealthCheck)),
    )  # fmt: skip
    assert sum(len(f.body) for f in found.funcs) <= 25


@given(function_types(params=1, results=2))
def test_function_types_keep_to_their_bounds(drawn: FuncType) -> None:
    assert len(drawn.params) <= 1
    assert len(drawn.results) <= 2


@given(st.data())
def test_values_that_nobody_can_pass(data: st.DataObject) -> None:
    with pytest.raises(ValueError, match="no script can pass"):
        data.draw(values(RefType(False, "func")))
    assert data.draw(values(RefType(True, "func"))) == "ref.null"
