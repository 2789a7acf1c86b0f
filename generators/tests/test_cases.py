from __future__ import annotations

from collections import Counter
from statistics import median

import pytest
from reference import Executed, run

from wasmlab_gen import Config, SeededSource, case, module
from wasmlab_gen.generate import DEFAULT, draw
from wasmlab_ref.case import Instantiate, Invoke
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.features import FEATURES, WASM_3, closure
from wasmlab_ref.isa import INSTRUCTIONS, Instruction
from wasmlab_ref.profile import RELAXED_CHOICES, Profile
from wasmlab_ref.types import RefType
from wasmlab_ref.validate import validate

PSEUDO = {"else", "end"}  # marks, not executed


def test_modules_are_valid_and_decode_to_what_was_drawn() -> None:
    for seed in range(150):
        modules, _ = draw(SeededSource(seed), WASM_3, DEFAULT)
        for drawn in modules:
            validate(drawn)
            assert decode(encode(drawn)) == drawn


@pytest.mark.parametrize("feature", list(FEATURES))
def test_only_given_features_are_used(feature: str) -> None:
    features = closure([feature])
    config = Config(swarm=0)
    for seed in range(12):
        modules, _ = draw(SeededSource(seed), features, config)
        for drawn in modules:
            validate(drawn)
            used = {step.op.feature for f in drawn.funcs for step in f.body}
            assert used <= features
            if "multi-value" not in features:
                types = [s.comp for g in drawn.types for s in g.subtypes]
                assert all(len(getattr(t, "results", ())) <= 1 for t in types)
            if "multi-memory" not in features:
                assert len(drawn.memories) + sum("Mem" in type(i.type).__name__ for i in drawn.imports) <= 1
            if "memory64" not in features:
                assert all(m.address == "i32" for m in drawn.memories)
            if "table64" not in features:
                assert all(t.type.address == "i32" for t in drawn.tables)
            if "reference-types" not in features:
                assert len(drawn.tables) <= 1
                assert all(e.type == RefType(False, "func") and e.mode != "declare" for e in drawn.elems)


def test_sizes_and_contents() -> None:
    sizes: list[int] = []
    have: Counter[str] = Counter()
    n = 400
    for seed in range(n):
        modules, _ = draw(SeededSource(seed), WASM_3, DEFAULT)
        have["several"] += len(modules) > 1
        for drawn in modules[-1:]:
            ops = [step.op for f in drawn.funcs for step in f.body]
            sizes.append(len(ops))
            have["memory"] += bool(drawn.memories)
            have["table"] += bool(drawn.tables)
            have.update({op.feature for op in ops})
    assert 75 <= median(sizes) <= 150
    for what in ("memory", "table", "simd", "gc", "exceptions", "several", "tail-call", "function-references"):
        assert have[what] >= n // 10, what


def test_every_row_is_generated() -> None:
    generated: set[Instruction] = set()
    for seed in range(2500):
        for drawn in draw(SeededSource(seed), frozenset(FEATURES), DEFAULT)[0]:
            for f in drawn.funcs:
                generated.update([step.op for step in f.body])
        if len(generated) == len(INSTRUCTIONS):
            break
    assert [row.mnemonic for row in INSTRUCTIONS if row not in generated] == []


def test_cases_end_and_complete() -> None:
    kinds: Counter[str] = Counter()
    pairs = executed = 0
    for seed in range(120):
        drawn = case(SeededSource(seed), WASM_3)
        listener = Executed()
        outcome = run(drawn, listener=listener)
        assert listener.count < 2 * DEFAULT.executed
        for step, (kind, _) in zip(drawn.steps, outcome.steps, strict=True):
            if isinstance(step, Invoke):
                kinds[kind] += 1
            elif isinstance(step, Instantiate):
                kinds["instantiated" if kind == "returned" else "stillborn"] += 1
        for index, data in enumerate(drawn.modules):
            opcodes = {step.op for f in decode(data).funcs for step in f.body if step.op.mnemonic not in PSEUDO}
            pairs += len(opcodes)
            executed += sum(1 for op in opcodes if listener.opcodes[index, op])
    invoked = kinds["returned"] + kinds["trapped"] + kinds["threw"] + kinds["exhausted"] + kinds["unsupported"]
    assert kinds["exhausted"] == 0
    assert kinds["stillborn"] <= kinds["instantiated"] // 12
    assert kinds["unsupported"] <= invoked // 25
    assert invoked // 100 <= kinds["trapped"] <= invoked // 6
    assert executed >= 0.75 * pairs


@pytest.mark.parametrize("alternative", [1, 2, 3])
def test_what_the_standard_leaves_open_cannot_be_observed(alternative: int) -> None:
    """Every profile of NaNs and relaxed vector instructions gives the same."""
    features = closure(["relaxed-simd", "multi-value"])
    choices = {name: min(alternative, most - 1) for name, most in RELAXED_CHOICES.items()}
    other = Profile(nan=("x86", "arm64", "x86")[alternative - 1], **choices)
    for seed in range(60):
        drawn = case(SeededSource(1000 * alternative + seed), features if seed % 2 else WASM_3)
        assert run(drawn).seen == run(drawn, other).seen, seed


def test_a_module_alone_imports_only_the_host() -> None:
    for seed in range(60):
        drawn = module(SeededSource(seed), WASM_3)
        validate(drawn)
        assert all(i.module in ("lab", "spectest") for i in drawn.imports)
