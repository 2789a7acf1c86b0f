"""Old releases of Wasmtime, those of them that are in the cache: each speaks the protocol whole, whatever its C API."""

from __future__ import annotations

import pytest

from wasmlab_adapters.engine import Engine
from wasmlab_adapters.errors import EngineUnavailable, NotInstalled
from wasmlab_adapters.probe import probe
from wasmlab_adapters.registry import Target, resolve

pytestmark = pytest.mark.engine

RELEASES = {
    # The first of each shape of the C API that is met, and features that a campaign on it relies on.
    "0.23.0": {"reference-types", "bulk-memory"},
    "0.26.0": {"reference-types"},
    "0.28.0": {"reference-types"},
    "0.31.0": {"simd", "memory64"},
    "12.0.0": {"simd", "relaxed-simd", "multi-memory"},
    "22.0.0": {"function-references", "tail-call"},
    "31.0.0": {"gc", "table64"},
    "38.0.0": {"gc", "extended-const"},
    "44.0.0": {"gc", "exceptions"},
}


def installed(name: str) -> Target:
    try:
        return resolve(name, fetch=False)
    except NotInstalled as error:
        pytest.skip(f"{error}; {error.hint}")


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_passes(release: str) -> None:
    target = installed(f"wasmtime@{release}")
    with Engine(target) as engine:
        assert engine.version == release
        assert engine.features >= RELEASES[release] | {"mvp", "multi-value"}
    with target.worker() as worker:
        assert [check for check in probe(worker) if not check.passed] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wasmtime@0.26.0/winch", "has only Cranelift"),
        ("wasmtime@38.0.0/winch", "has only Cranelift"),
        ("wasmtime@0.31.0/pulley", "makes no engine"),
        ("wasmtime@25.0.0/pulley", "makes no engine"),
        ("wasmtime@0.26.0+consume_fuel=true", "cannot set fuel"),
    ],
)
def test_what_a_release_lacks_is_said_in_one_line(name: str, said: str) -> None:
    with pytest.raises(EngineUnavailable, match=said):
        Engine(installed(name)).start()
