"""A case of a campaign replays into Hypothesis, which shrinks it."""

from __future__ import annotations

import pytest
from hypothesis import given

from wasmlab_gen import Config, Recorder, SeededSource, case, cases
from wasmlab_gen.replay import MOST_DRAWS, replay
from wasmlab_ref.case import Case
from wasmlab_ref.decode import decode
from wasmlab_ref.features import WASM_3

SMALL = Config(functions=2, instructions=20, expression=4, modules=1, private=0)


class Found(Exception):
    """What the test looks for is there."""


def subtracts(drawn: Case) -> bool:
    return any(s.op.mnemonic == "i32.sub" for m in drawn.modules for f in decode(m).funcs for s in f.body)


def size(drawn: Case) -> int:
    return sum(len(f.body) for m in drawn.modules for f in decode(m).funcs)


def logged() -> tuple[Case, list[int]]:
    for seed in range(100):
        recorder = Recorder(SeededSource(seed))
        drawn = case(recorder, WASM_3, SMALL)
        if subtracts(drawn) and size(drawn) > 40:
            return drawn, recorder.log
    raise AssertionError("no such case")


def test_the_same_case_is_drawn_and_shrunk() -> None:
    wanted, log = logged()
    seen: list[Case] = []

    @given(cases(config=SMALL))
    def test(drawn: Case) -> None:
        seen.append(drawn)
        if subtracts(drawn):
            raise Found

    with pytest.raises(Found):
        replay(test, log)
    assert (wanted.modules, wanted.steps) in [(drawn.modules, drawn.steps) for drawn in seen]
    assert size(seen[-1]) < size(wanted)


def test_what_does_not_fail_raises_nothing() -> None:
    @given(cases(config=SMALL))
    def test(drawn: Case) -> None:
        pass

    replay(test, logged()[1])


def test_too_many_draws_are_refused() -> None:
    @given(cases())
    def test(drawn: Case) -> None:
        pass

    with pytest.raises(ValueError, match="can replay"):
        replay(test, [0] * (MOST_DRAWS + 1))
