"""Binaryen's optimiser as an engine: what it makes of a module runs on the reference, and has to do the same.

    python -m wasmlab_adapters.workers.binaryen PACKAGE [level=O3]

PACKAGE is the root with `wasm-opt` in it.  Each module but bridges goes through a process of its own; the last ones are
kept.  Where the optimiser leaves an import out, that nothing uses, it is not linked.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from wasmlab_ref.fast import Unavailable
from wasmlab_ref.fast.engine import Store
from wasmlab_ref.features import FEATURES, closure
from wasmlab_ref.interface import interface
from wasmlab_ref.outcome import Malformed

from ..install import host_architecture
from ..registries.debian import run_unpacked
from .ref_fast import FastWorker
from .ref_py import Outcome, configured

SECONDS = 60
FLAGS = {
    "sign-extension": ["sign-ext"],
    "saturating-truncation": ["nontrapping-float-to-int"],
    "multi-value": ["multivalue"],
    "bulk-memory": ["bulk-memory", "bulk-memory-opt"],
    "reference-types": ["reference-types"],
    "simd": ["simd"],
    "extended-const": ["extended-const"],
    "tail-call": ["tail-call"],
    "multi-memory": ["multimemory"],
    "memory64": ["memory64"],
    "relaxed-simd": ["relaxed-simd"],
    "exceptions": ["exception-handling"],
    "gc": ["gc"],
}
"""What switches a feature on; without a row it comes with another."""


class Refused(Exception):
    """The optimiser does not take a module, and says why."""


class Optimiser:
    """`wasm-opt` at a level."""

    def __init__(self, package: str, level: str) -> None:
        program = run_unpacked(Path(package), host_architecture(), "usr/bin/wasm-opt")
        known = self._run([*program, "--help"], b"").decode(errors="replace")
        flags = [flag for flags in FLAGS.values() for flag in (f"--enable-{name}" for name in flags) if flag in known]
        self.version = re.sub(r"^\D*(\d+).*", r"\1", self._run([*program, "--version"], b"").decode().strip())
        self.command = [*program, "--mvp-features", "--enable-mutable-globals", *flags, f"-{level}", "-", "-o", "-"]
        self.transformed = lru_cache(maxsize=256)(self._transformed)

    @staticmethod
    def _run(command: list[str], data: bytes) -> bytes:
        done = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, check=False)
        if done.returncode < 0:  # as an engine that dies: with its last words
            sys.stderr.buffer.write(done.stderr)
            sys.stderr.flush()
            signal.signal(-done.returncode, signal.SIG_DFL)
            os.kill(os.getpid(), -done.returncode)
        if done.returncode:
            words = done.stderr.decode(errors="replace").split("\n")
            raise Refused(next((line.strip() for line in words if line.strip()), "no reason given")[:300])
        return done.stdout

    def _transformed(self, data: bytes) -> bytes:
        """What it makes of a module; Refused where it takes it for invalid."""
        return self._run(self.command, data)

    def features(self, rows: str) -> list[str]:
        """Those of features.tsv whose module comes through."""
        found: list[str] = []
        for row in rows.splitlines():
            name, _, module = row.split("\t")
            if name in FEATURES and closure([name]) <= {*found, name}:
                with suppress(Refused):
                    self.transformed(base64.b64decode(module))
                    found.append(name)
        return found


class BinaryenWorker(FastWorker):
    """Answers requests by the C engine, of modules that the optimiser made."""

    optimiser: Optimiser

    def hello(self) -> None:
        features = self.optimiser.features((Path(__file__).parent / "features.tsv").read_text())
        hello = {"protocol": 1, "engine": "binaryen", "version": self.optimiser.version, "features": features}
        self.lines.say({**hello, "values": "native", "spectest": True})

    def outcomes(self, store: Store, steps: list[dict[str, Any]]) -> list[Outcome]:
        """Those of the transformed steps; what the optimiser refused is invalid."""
        refused: dict[int, str] = {}
        made: list[dict[str, Any]] = []
        for i, step in enumerate(steps):
            try:
                made.append(self._transformed(step))
            except Refused as error:
                refused[i] = str(error)
                made.append({"do": "end", "full": False})
        found = super().outcomes(store, made)
        return [{"kind": "invalid", "detail": refused[i]} if i in refused else one for i, one in enumerate(found)]

    def _transformed(self, step: dict[str, Any]) -> dict[str, Any]:
        if step["do"] != "instantiate":
            return step
        data = self.optimiser.transformed(base64.b64decode(step["module"]))
        try:
            imports = [list(names) for names in interface(data).import_names]
        except Malformed as error:
            raise Refused(f"what it makes is malformed: {error}") from None
        return {**step, "module": base64.b64encode(data).decode(), "imports": imports}


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)
    package, *settings = sys.argv[1:]
    levels = [setting.removeprefix("level=") for setting in settings if setting.startswith("level=")]
    profile, limits = configured([setting for setting in settings if not setting.startswith("level=")])
    worker = BinaryenWorker(answers, profile, limits, False)
    try:
        Store(profile, limits).close()
    except Unavailable as error:
        worker.lines.say({"unavailable": error.reason, "hint": error.remedy})
        sys.exit(3)
    worker.optimiser = Optimiser(package, levels[-1] if levels else "O2")
    worker.hello()
    worker.work()


if __name__ == "__main__":
    main()
