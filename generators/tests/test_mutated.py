"""Mutated binaries: never called, never started, refused for many reasons, the same for the same draws."""

from __future__ import annotations

from collections import Counter

import pytest

from wasmlab_gen import SeededSource, any_case, case, mutated
from wasmlab_gen.mutate import HEADER, joined, leb, sections
from wasmlab_ref.case import Case, Instantiate, Register
from wasmlab_ref.decode import decode
from wasmlab_ref.features import WASM_3
from wasmlab_ref.outcome import Malformed, Rejected
from wasmlab_ref.validate import validate


def made(seed: int) -> tuple[Case, Case]:
    source = SeededSource(seed)
    valid = case(source, WASM_3)
    return valid, mutated(source, valid)


def test_nothing_of_them_runs() -> None:
    for seed in range(150):
        valid, changed = made(seed)
        assert all(isinstance(step, Instantiate | Register) for step in changed.steps)
        for before, data in zip(valid.modules, changed.modules, strict=True):
            assert data == before or not runs(data)


def runs(data: bytes) -> bool:
    """Has it a start function?  Shared memories would not do, either: some engines have them."""
    try:
        return decode(data).start is not None
    except Rejected as error:
        return error.message == "malformed limits flags"


def test_they_break_many_things() -> None:
    found: Counter[str] = Counter()
    for seed in range(250):
        for data in made(seed)[1].modules:
            try:
                validate(decode(data))
                found["valid"] += 1
            except Rejected as error:
                found[error.message if error.stage == "malformed" else error.stage] += 1
    assert found["valid"] >= 25
    assert found["invalid"] >= 3
    assert len(found) >= 20, found


def test_the_same_draws_make_the_same_case() -> None:
    assert [made(seed)[1] for seed in range(10)] == [made(seed)[1] for seed in range(10)]


def test_sections_are_taken_apart_and_joined() -> None:
    for seed in range(20):
        for data in case(SeededSource(seed), WASM_3).modules:
            parts = sections(data)
            assert parts
            assert joined(parts) == data
    assert sections(HEADER) == []
    assert [sections(data) for data in (b"", b"\0asm\2\0\0\0", HEADER + b"\1\5\0")] == [None] * 3


@pytest.mark.parametrize(("padding", "valid"), [(0, True), (1, True), (4, True), (5, False)])
def test_numbers_are_padded_as_far_as_they_may_be_and_further(padding: int, valid: bool) -> None:
    data = HEADER + b"\1" + leb(1, padding) + b"\0"
    if valid:
        decode(data)
    else:
        with pytest.raises(Malformed):
            decode(data)


def test_campaigns_run_all_three_kinds() -> None:
    kinds = Counter(any_case(SeededSource(seed), WASM_3).origin.rpartition(" ")[2] for seed in range(320))
    assert 10 <= kinds["mutated"] <= 35
    assert 20 <= kinds["near-valid"] <= 65
