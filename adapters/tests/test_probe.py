"""The probe: good workers pass it whole, and each fault planted into one is found."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from wasmlab_adapters.probe import probe
from wasmlab_adapters.registry import Target, resolve


def failed(target: Target) -> set[str]:
    with target.worker() as worker:
        checks = probe(worker)
    assert len(checks) > 15
    assert all(bool(check.detail) != check.passed for check in checks)
    return {check.name for check in checks if not check.passed}


@pytest.mark.parametrize("flags", [(), ("--bridge",)])
@pytest.mark.parametrize("name", ["ref", "ref/py"])
def test_the_reference_passes(name, flags):
    target = resolve(name)
    assert failed(dataclasses.replace(target, argv=(*target.argv, *flags))) == set()


@pytest.mark.engine
@pytest.mark.parametrize("name", ["wasmtime", "wasmtime/winch", "wasmtime/pulley"])
def test_wasmtime_passes(name):
    assert failed(resolve(name)) == set()


FAULTS = {
    "hello": 'w.FEATURES = {"mvp": 0, "gc": 0, "warp-drive": 0}',
    "raw lines: marks, ids, order, garbage": """
say = w.Lines.say
w.Lines.say = lambda self, message: None if "error" in message else say(self, message)""",
    "requests are isolated": """
keep = {}
init = w.Session.__init__
def leaky(self, *args):
    init(self, *args)
    self.instances = keep
w.Session.__init__ = leaky""",
    "sessions": """
init = w.Worker.__init__
class NoSessions(dict):
    def __setitem__(self, key, value):
        pass
def forgetful(self, *args):
    init(self, *args)
    self.sessions = NoSessions()
w.Worker.__init__ = forgetful""",
    "a failing step does not end its request": """
step = w.Session.step
def stop(self, what):
    outcome = step(self, what)
    if outcome["kind"] != "returned":
        self.step = lambda what: {"kind": "unsupported"}
    return outcome
w.Session.step = stop""",
    "malformed and invalid modules": """
def refuse(*_):
    raise w.Unlinkable("x")
w.decode = refuse""",
    "repeat": """
call = w.Session.do_call
w.Session.do_call = lambda self, step: call(self, {**step, "repeat": 1})""",
    "memories: read, write, digest": "w.digest = lambda data: w.hashlib.sha256(bytes(data)).hexdigest()[:16]",
    "lab.log, lab.trap": 'w.Session._log = lambda self, number, long: self.trace.append(f"{number},{long}") or ()',
    "lab.reenter": "w.Session._reenter = lambda self, number: ()",
    "lab.extern, lab.number": "w.Session._number = lambda self, ref: (0,)",
    "bits: f32": """
import struct
written = w.written
def quiet(values, types):
    through = lambda v: struct.unpack("<I", struct.pack("<f", struct.unpack("<f", struct.pack("<I", v))[0]))[0]
    return written([through(v) if t == "f32" else v for v, t in zip(values, types)], types)
w.written = quiet""",
    "feature exceptions": 'w.Session.threw = lambda self, step, exception: {"kind": "threw"}',
    "traps": "w.Trap = KeyError",
}


@pytest.mark.parametrize(
    "names",
    [  # together where they do not stand in each other's way: a process costs half a second
        ("hello", "malformed and invalid modules"),
        ("requests are isolated", "a failing step does not end its request"),
        ("traps",),
        (
            *("repeat", "memories: read, write, digest", "lab.log, lab.trap", "lab.reenter", "lab.extern, lab.number"),
            *("bits: f32", "feature exceptions", "raw lines: marks, ids, order, garbage", "sessions"),
        ),
    ],
)
def test_planted_faults_are_found(tmp_path, names):
    path = tmp_path / "faulty.py"
    path.write_text("\n".join(["import wasmlab_adapters.workers.ref_py as w", *map(FAULTS.get, names), "w.main()\n"]))
    target = resolve("ref/py")
    assert set(names) <= failed(dataclasses.replace(target, argv=(sys.executable, "-P", str(path))))
