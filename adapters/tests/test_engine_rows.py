"""The rows against the engines themselves: what a row promises, the engine in the cache does."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator

import pytest

from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.probe import probe
from wasmlab_adapters.probed import Probed, remember
from wasmlab_adapters.registry import Target, resolve
from wasmlab_matrices.load import load_engines
from wasmlab_ref.case import Outcome
from wasmlab_ref.encode import encode
from wasmlab_ref.features import FEATURES
from wasmlab_ref.text import parse_module

pytestmark = pytest.mark.engine

NAMES = [
    pytest.param(full, marks=[pytest.mark.nightly] if row.heavy else [])
    for name, row in load_engines().items()
    if row.package
    for full in (name, *(f"{name}/{variant}" for variant in row.variants))
]
TRAPS = {
    "unreachable": "unreachable",
    "integer divide by zero": "(drop (i32.div_s (i32.const 1) (i32.const 0)))",
    "integer overflow": "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
    "invalid conversion to integer": "(drop (i32.trunc_f32_s (f32.const nan)))",
    "out of bounds memory access": "(drop (i32.load (i32.const -1)))",
    "out of bounds table access": "(table.init 0 0 (i32.const 9) (i32.const 0) (i32.const 9))",
    "undefined element": "(call_indirect 0 (type 0) (i32.const 100))",
    "uninitialized element": "(call_indirect 0 (type 0) (i32.const 0))",
    "indirect call type mismatch": "(call_indirect 0 (type 1) (i32.const 1) (i32.const 1))",
    "out of bounds array access": "(drop (array.get 3 (array.new_default 3 (i32.const 1)) (i32.const 5)))",
    "null function reference": "(call_ref 0 (ref.null 0))",
    "null structure reference": "(drop (struct.get 2 0 (ref.null 2)))",
    "null array reference": "(drop (array.len (ref.null 3)))",
    "null i31 reference": "(drop (i31.get_s (ref.null i31)))",
    "null exception reference": "(throw_ref (ref.null exn))",
    "null reference": "(drop (ref.as_non_null (ref.null any)))",
    "cast failure": "(drop (ref.cast (ref 2) (ref.i31 (i32.const 1))))",
    "unaligned atomic": "(drop (i32.atomic.load (i32.const 1)))",
    "expected shared memory": "(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))",
}
PLAIN = """(module (type (func)) (type (func (param i32))) (memory 1) (table 10 funcref) (elem (i32.const 1) func 0)
  (func (export "f") (type 0) {}))"""
WITH_GC = """(module (type (func)) (type (func (param i32))) (type (struct (field i32))) (type (array i32))
  (func (export "f") (type 0) {}))"""


@pytest.fixture(scope="module", params=NAMES)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    try:
        yield resolve(request.param)
    except EngineUnavailable as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


def test_features(target: Target) -> None:
    """A row claims what its engine does, no less: a campaign would not know, and `engines list` would be wrong."""
    with target.worker() as worker:
        assert set(worker.hello["features"]) & FEATURES.keys() == target.features
        assert worker.hello["version"].startswith(target.version)


def test_it_keeps_the_protocol_and_every_bit(target: Target) -> None:
    """All but what the row says, and that is still true."""
    known = target.known_failures
    with target.worker() as worker:
        found = Probed.of(worker.hello["features"], probe(worker))
    remember(target, found)  # the best occasion
    broken = found.broken
    assert broken.keys() == known.keys(), broken


def test_traps(target: Target) -> None:
    needs_gc = [kind for kind, body in TRAPS.items() if "ref" in body or "array" in body or "struct" in body]
    with target.worker() as worker:
        kinds = [kind for kind in TRAPS if "gc" in target.features or kind not in needs_gc]
        kinds = [kind for kind in kinds if "threads" in target.features or "atomic" not in TRAPS[kind]]
        if "bulk-memory" not in target.features:
            kinds.remove("out of bounds table access")
        for kind in kinds:
            text = (WITH_GC if kind in needs_gc else PLAIN).format(TRAPS[kind])
            module = base64.b64encode(encode(parse_module(text))).decode()
            steps = [
                {"do": "instantiate", "name": "i", "module": module, "imports": []},
                {"do": "call", "name": "i", "export": "f"},
            ]
            worker.submit({"steps": steps})
        for kind in kinds:
            outcome = target.translate(Outcome.from_json(worker.next()["outcomes"][1]))
            assert outcome.kind == "trapped", outcome
            assert kind in outcome.detail.split("|"), outcome
