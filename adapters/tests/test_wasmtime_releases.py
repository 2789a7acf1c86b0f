"""Old releases of Wasmtime, those of them that are in the cache: each speaks the protocol whole, whatever its C API."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wasmlab_adapters.engine import Engine
from wasmlab_adapters.errors import EngineUnavailable, NotInstalled
from wasmlab_adapters.probe import probe
from wasmlab_adapters.registry import Target, resolve
from wasmlab_ref.encode import encode
from wasmlab_ref.text import parse_module

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
        ("wasmtime@0.31.0/pulley", "target=pulley64: this library has no such setting"),
        ("wasmtime@12.0.0/winch", "makes no engine with strategy=winch"),
        ("wasmtime@12.0.0/single_pass", "no such setting"),
        ("wasmtime@22.0.0/single_pass", "makes no engine with regalloc=single_pass"),
        ("wasmtime@0.26.0+cranelift_nan_canonicalization=true", "no such setting"),
        ("wasmtime@50.0.1/winch+opt=none", "Winch has no such setting"),
        ("wasmtime@50.0.1+opt=best", "opt=best: this library has no such setting or value"),
        ("wasmtime@50.0.1+opt=true", "opt=true: this library has no such setting or value"),
        ("wasmtime@50.0.1+target=vax", "makes no engine with target=vax"),
        ("wasmtime@50.0.1+without=everything", "there is no such feature"),
        ("wasmtime@50.0.1+limits=2", "expected true or false"),
        ("wasmtime@25.0.0/pulley", "makes no engine"),
        ("wasmtime@0.26.0+consume_fuel=true", "cannot set fuel"),
    ],
)
def test_what_a_release_lacks_is_said_in_one_line(name: str, said: str) -> None:
    with pytest.raises(EngineUnavailable, match=said) as caught:
        Engine(installed(name)).start()
    assert "\n" not in str(caught.value)


STEPS = (
    "(local.set 2 (i32.xor (local.get 2) (i32.mul (local.get 0) (local.get 1))))"
    "(local.set 4 (f32.mul (local.get 3) (f32.add (local.get 4) (local.get 3))))"
)
MODULE = f"""(module (func (param i32 i32) (result i32) (local i32 f32 f32) {STEPS * 60}
    {"(local.get 0) (i32.add (local.get 1))" * 30} {"i32.sub " * 29} (i32.add (local.get 2))
    (i32.add (i32.reinterpret_f32 (local.get 4)))))"""
EFFECTS = {
    # What settings change, in the first and the last release here that have them.
    ("opt=none", "opt=speed"): ("0.26.0", "12.0.0", "38.0.0", "50.0.1"),
    ("opt=none", "opt=speed_and_size"): ("0.26.0", "12.0.0", "38.0.0", "50.0.1"),
    ("regalloc=backtracking", "regalloc=single_pass"): ("31.0.0", "38.0.0", "50.0.1"),
    ("cranelift_nan_canonicalization=false", "cranelift_nan_canonicalization=true"): ("12.0.0", "50.0.1"),
    ("consume_fuel=false", "consume_fuel=true"): ("22.0.0", "50.0.1"),
    ("strategy=cranelift", "strategy=winch"): ("50.0.1",),
}


@pytest.mark.parametrize(
    ("release", "settings"), [(release, settings) for settings, found in EFFECTS.items() for release in found]
)
def test_a_setting_that_is_taken_changes_the_code(release: str, settings: tuple[str, str]) -> None:
    """Old releases take any number: only the code shows that a setting is one.  What tells of it is a few bytes."""
    installed(f"wasmtime@{release}")
    here, there = (code(release, setting) for setting in settings)
    assert abs(len(here) - len(there)) > 64 or sum(map(int.__ne__, here, there)) > 300


def code(release: str, setting: str) -> bytes:
    """What a release makes of the module, in a process of its own."""
    package = resolve(f"wasmtime@{release}", fetch=False).argv[-1]
    done = subprocess.run(
        [sys.executable, "-c", CODE, package, setting], input=encode(parse_module(MODULE.encode())),
        capture_output=True, timeout=60, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-500:]
    return done.stdout


CODE = """
import pathlib, sys
from wasmlab_adapters.workers.wasmtime_library import Library
path, = pathlib.Path(sys.argv[1]).rglob("_libwasmtime.so")
library = Library(str(path), dict([sys.argv[2].split("=")]))
sys.stdout.buffer.write(library.api.serialized(library.engine, sys.stdin.buffer.read()))
"""
