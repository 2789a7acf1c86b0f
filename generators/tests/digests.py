"""Digests of what some seeds give; as a script it prints them as JSON, under any Python from 3.11 on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from wasmlab_gen import Config, SeededSource, any_case, case
from wasmlab_gen.source import Source
from wasmlab_ref.case import Case
from wasmlab_ref.features import WASM_3, closure

SETS = {
    "all": WASM_3,
    "mvp": frozenset(["mvp"]),
    "simd": closure(["relaxed-simd"]),
    "gc": closure(["gc", "exceptions"]),
}
RAW = Config(nan="raw", relaxed="raw")


def digest(source: Source, features: frozenset[str], make: Callable[..., Case] = case, *config: Config) -> str:
    """Of the modules and the steps of a case."""
    drawn = make(source, features, *config)
    text = repr(drawn.steps).encode()
    return hashlib.sha256(b"".join(drawn.modules) + text).hexdigest()[:16]


def digests() -> dict[str, str]:
    """By feature set and seed, and those of a campaign, almost valid cases and mutated ones among them."""
    found = {f"{name}/{seed}": digest(SeededSource(seed), SETS[name]) for name in SETS for seed in (0, 1, 2, 2**63)}
    return found | {f"campaign/{seed}": digest(SeededSource(seed), WASM_3, any_case, RAW) for seed in range(24)}


if __name__ == "__main__":
    print(json.dumps(digests(), indent=1))
