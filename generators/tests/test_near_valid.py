"""Almost valid modules: mostly refused, never called, the same for the same draws."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from wasmlab_gen import Config, SeededSource, case, near_valid
from wasmlab_gen.bits import FUNCREF
from wasmlab_gen.breaks import snippets
from wasmlab_ref.case import Case, Instantiate, Register
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.features import WASM_3
from wasmlab_ref.outcome import Invalid, Rejected
from wasmlab_ref.syntax import Func, Module, Table
from wasmlab_ref.types import FuncType, Limits, MemType, RecType, SubType, TableType
from wasmlab_ref.validate import validate

MVP = frozenset({"mvp"})


def made(seed: int, features: frozenset[str] = WASM_3) -> tuple[Case, Case]:
    source = SeededSource(seed)
    valid = case(source, features, Config())
    return valid, near_valid(source, valid, features)


def verdict(edited: Case) -> str:
    try:
        for data in edited.modules:
            validate(decode(data))
    except Rejected as error:
        return str(error).partition(" (")[0]
    return "valid"


def test_one_module_is_edited_and_nothing_is_called() -> None:
    for seed in range(60):
        valid, edited = made(seed)
        changed = [a != b for a, b in zip(valid.modules, edited.modules, strict=True)]
        assert sum(changed) <= 1
        assert all(isinstance(step, Instantiate | Register) for step in edited.steps)
        starts = [decode(data).start for data, new in zip(edited.modules, changed, strict=True) if new]
        assert all(start in (None, 999) for start in starts)  # there are never so many functions


def test_most_break_a_rule_and_many_different_ones() -> None:
    found = Counter(verdict(made(seed)[1]) for seed in range(400))
    assert 40 < found["valid"] < 280
    assert len(found) > 25, found


def test_every_line_of_the_table_of_breaks_is_invalid() -> None:
    types = tuple(RecType((SubType(comp),)) for comp in (FuncType((), ()), FuncType(("i32",), ("i32",))))
    plain = Module(types=types, memories=(MemType(Limits(1)),), tables=(Table(TableType(Limits(1), FUNCREF)),))
    for feature, code in snippets():
        broken = replace(plain, funcs=(Func(0, (), code),))
        with pytest.raises(Invalid):
            validate(decode(encode(broken)))
            pytest.fail(f"{feature}: {code} is valid")


def test_edits_keep_to_the_features() -> None:
    for seed in range(60):
        for data in made(seed, MVP)[1].modules:
            assert {step.op.feature for func in decode(data).funcs for step in func.body} <= MVP


def test_the_same_draws_make_the_same_case() -> None:
    assert [made(seed)[1] for seed in range(20)] == [made(seed)[1] for seed in range(20)]
