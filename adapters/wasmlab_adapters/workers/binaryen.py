"""Binaryen's optimiser as an engine: what it makes of a module runs on the reference, and has to do the same.

    python -m wasmlab_adapters.workers.binaryen [level=O3] -- PACKAGE VERSION NODE…

PACKAGE is the folder of the package `binaryen`, NODE the command that runs JavaScript.  There binaryen.mjs optimises
one module after the other.  The last ones are kept.  Where the optimiser leaves an import out, that nothing uses, it is
not linked.
"""

from __future__ import annotations

import base64
import os
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from wasmlab_ref.encode import encode
from wasmlab_ref.fast import Unavailable
from wasmlab_ref.fast.engine import Store
from wasmlab_ref.features import FEATURES, closure
from wasmlab_ref.interface import interface
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.syntax import Export, Module
from wasmlab_ref.types import KINDS

from .node import Ended, Node
from .ref_fast import FastWorker
from .ref_py import Outcome, configured

SCRIPT = ("--stack-size=6000", str(Path(__file__).with_name("binaryen.mjs")))
"""With most of the usual stack of 8 MiB, in KiB: both the library and the interpreter recur over code."""
FLAGS = {
    "mvp": ["MutableGlobals"],
    "sign-extension": ["SignExt"],
    "saturating-truncation": ["NontrappingFPToInt"],
    "multi-value": ["Multivalue"],
    "bulk-memory": ["BulkMemory", "BulkMemoryOpt"],
    "reference-types": ["ReferenceTypes"],
    "simd": ["SIMD128"],
    "extended-const": ["ExtendedConst"],
    "tail-call": ["TailCall"],
    "multi-memory": ["MultiMemory"],
    "memory64": ["Memory64"],
    "relaxed-simd": ["RelaxedSIMD"],
    "exceptions": ["ExceptionHandling"],
    "gc": ["GC"],
    "threads": ["Atomics"],
    "custom-page-sizes": ["CustomPageSizes"],
}
"""What switches a feature on; without a row it comes with another."""


UNFLAT = {"function-references", "exceptions", "gc"}
"""What -O4 cannot have: its first pass ends the program where there is a branch on a reference, or a try_table."""


class Refused(Exception):
    """The optimiser does not take a module, and says why."""


class Optimiser:
    """Binaryen's library at a level."""

    def __init__(self, node: list[str], package: str, level: str) -> None:
        flags = [flag for flags in FLAGS.values() for flag in flags]
        self.node = Node([*node, *SCRIPT, "library", f"{package}/index.js", level, *flags])
        self.known = FEATURES.keys() - (UNFLAT if level == "O4" else set())
        self.transformed = lru_cache(maxsize=256)(self._transformed)

    def _transformed(self, data: bytes) -> bytes:
        """What it makes of a module; Refused where it takes it for invalid."""
        try:
            answer = self.node.ask(base64.b64encode(data))
        except Ended as ended:
            ended.follow()
        if answer.startswith(b"!"):
            raise Refused(answer[1:].decode(errors="replace"))
        return base64.b64decode(answer[1:])

    def features(self, rows: str) -> list[str]:
        """Those of features.tsv whose module comes through."""
        found: list[str] = []
        for row in rows.splitlines():
            name, _, module = row.split("\t")
            if name in self.known and closure([name]) <= {*found, name}:
                with suppress(Refused):
                    self.transformed(base64.b64decode(module))
                    found.append(name)
        return found


class BinaryenWorker(FastWorker):
    """Answers requests by the C engine, of modules that the optimiser made."""

    optimiser: Optimiser
    version: str

    def hello(self) -> None:
        features = self.optimiser.features((Path(__file__).parent / "features.tsv").read_text())
        hello = {"protocol": 1, "engine": "binaryen", "version": self.version, "features": features}
        self.lines.say({**hello, "values": "native", "spectest": True})

    def outcomes(self, store: Store, steps: list[dict[str, Any]]) -> list[Outcome]:
        """Those of the transformed steps; what the optimiser refused is invalid."""
        made: list[dict[str, Any]] = []
        found: list[Outcome | int] = []
        for step in steps:
            try:
                links, linked = self._transformed(step)
            except Refused as error:
                found.append({"kind": "invalid", "detail": str(error)})
                continue
            made += links
            found.append(len(made))
            made.append(linked)
        told = super().outcomes(store, made)
        return [self._told(told, made, one) if isinstance(one, int) else one for one in found]

    @staticmethod
    def _told(told: list[Outcome], made: list[dict[str, Any]], index: int) -> Outcome:
        """The outcome of a step, which is that of its links where these failed."""
        of = made[index].get("of", "")
        return told[index - 1] if of.endswith(LINKS) and told[index - 1]["kind"] != "returned" else told[index]

    def _transformed(self, step: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """A step with what the optimiser made of its module; where imports were left out, the step before has them."""
        if step["do"] != "instantiate":
            return [], step
        original = base64.b64decode(step["module"])
        data = self.optimiser.transformed(original)
        try:
            before, after = interface(original), interface(data).import_names
        except Malformed as error:
            raise Refused(f"what it makes is malformed: {error}") from None
        made = {**step, "module": base64.b64encode(data).decode(), "imports": [list(names) for names in after]}
        if len(after) == len(before.imports):
            return [], made
        name = step["name"] + LINKS
        places = {names: [None, str(i)] for i, names in enumerate(before.import_names)}
        return (
            [{**step, "name": name, "module": base64.b64encode(links(original)).decode()}],
            {**made, "of": name, "imports": [places[names] for names in after]},
        )


LINKS = " links"
"""Ends the name of an instance that has the imports of another and offers them to it."""


@lru_cache(maxsize=64)
def links(data: bytes) -> bytes:
    """A module that only imports what another does, and exports each under its place."""
    face = interface(data)
    counts = dict.fromkeys(KINDS.values(), -1)
    exports = []
    for place, item in enumerate(face.imports):
        kind = KINDS[type(item.type)]
        counts[kind] += 1
        exports.append(Export(str(place), kind, counts[kind]))
    return encode(Module(types=face.types, imports=face.imports, exports=tuple(exports)))


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)
    split = sys.argv.index("--")
    settings, (package, version, *node) = sys.argv[1:split], sys.argv[split + 1 :]
    levels = [setting.removeprefix("level=") for setting in settings if setting.startswith("level=")]
    profile, limits = configured([setting for setting in settings if not setting.startswith("level=")])
    worker = BinaryenWorker(answers, profile, limits, False)
    try:
        Store(profile, limits).close()
    except Unavailable as error:
        worker.lines.say({"unavailable": error.reason, "hint": error.remedy})
        sys.exit(3)
    worker.version = version
    try:
        worker.optimiser = Optimiser(node, package, levels[-1] if levels else "O2")
    except Ended as ended:
        ended.follow()
    worker.hello()
    worker.work()


if __name__ == "__main__":
    main()
