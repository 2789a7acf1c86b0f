"""The worker of ref: the C engine, with native values and texts; a request is one call into C.

    python -m wasmlab_adapters.workers.ref_fast [--bridge] [setting=value …]

Settings are those of the worker of ref/py, and stress=1, with which garbage is collected at every allocation.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from contextlib import suppress
from typing import Any

from wasmlab_ref.case import Invoke, Register
from wasmlab_ref.decode import decode
from wasmlab_ref.fast import Unavailable
from wasmlab_ref.fast.engine import Get, Load, ReadBytes, Step, Store, Write
from wasmlab_ref.features import FEATURES
from wasmlab_ref.limits import Limits
from wasmlab_ref.outcome import Rejected
from wasmlab_ref.profile import Profile
from wasmlab_ref.text import parse_module
from wasmlab_ref.validate import validate

from .ref_py import Outcome, Worker, configured


def step_of(step: dict[str, Any]) -> Step | None:
    """What the C engine does for a step; None: nothing."""
    name, export = step.get("name", ""), step.get("export", "")
    match step["do"]:
        case "instantiate":
            return Load(
                name, base64.b64decode(step["module"]), [(m, n) for m, n in step["imports"]], step.get("of", "")
            )
        case "register":
            return Register(name, step["as"])
        case "call":
            return Invoke(name, export, tuple(step.get("args", ())), step.get("repeat", 1))
        case "write":
            return Write(name, export, step["at"], bytes.fromhex(step["hex"]))
        case "read" if "bytes" in step:
            return ReadBytes(name, export, "bytes", step["at"], step["bytes"])
        case "read":
            return ReadBytes(name, export, "full" if step["full"] else "digest")
        case "get":
            return Get(name, export)
    return None


def parsed(step: dict[str, Any]) -> Outcome:
    """The outcome of a step that parses a text; what the text means is checked by ref/py."""
    try:
        validate(parse_module(base64.b64decode(step["source"])))
    except Rejected as error:
        return {"kind": error.stage, "detail": str(error)}
    return {"kind": "returned"}


class Session:
    """A store, and the rules that the validation of its modules applied: ref/py tells these."""

    def __init__(self, profile: Profile, limits: Limits, observed: bool, stress: bool) -> None:
        self.store = Store(profile, limits, stress, events=observed)
        self.observed = observed
        self.rules: set[str] = set()

    def validate(self, steps: list[dict[str, Any]]) -> None:
        """Hear the validation of the modules that are instantiated."""
        for step in steps:
            if step["do"] == "instantiate":
                with suppress(Rejected):
                    validate(decode(base64.b64decode(step["module"])), self.rules.add)


class FastWorker(Worker):
    """Answers requests by the C engine; `rules`: whether there is a library that tells events; `stress`: see above."""

    rules = stress = False

    def hello(self) -> None:
        hello = {"protocol": 1, "engine": "ref/fast", "version": "1", "features": sorted({*FEATURES} - {"annotations"})}
        native = {"text": True, "rules": self.rules, "spectest": True, "tells_malformed": True, "profiles": True}
        self.lines.say({**hello, "values": "bridge"} if self.bridge else {**hello, "values": "native", **native})

    def outcomes(self, store: Store, steps: list[dict[str, Any]]) -> list[Outcome]:
        """Runs of steps that C takes at once, with the others between them."""
        found: list[Outcome] = [{"kind": "returned"}] * len(steps)
        todo: dict[int, Step] = {}
        for i, step in enumerate(steps):
            do = step["do"]
            if self.bridge and (do in ("get", "parse") or step.get("args")):
                found[i] = {"kind": "unsupported", "detail": f"no step {do} here"}
            elif do == "parse":
                found[i] = parsed(step)
            elif made := step_of(step):
                todo[i] = made
            elif do != "end":
                found[i] = {"kind": "unsupported", "detail": f"no step {do} here"}
        for i, (kind, values, detail) in zip(todo, store.told(todo.values()), strict=True):
            outcome: Outcome = {"kind": kind}
            found[i] = outcome
            if kind != "threw" or not self.bridge:
                if values:
                    outcome["values"] = values
                if detail:
                    outcome["detail"] = detail
        return found

    def run(self, request: dict[str, Any], steps: list[dict[str, Any]], profile: Profile) -> dict[str, Any]:
        name = request.get("session")
        session: Any = self.sessions.pop(name, None) if name is not None else None
        if session is None:
            session = Session(profile, self.limits, request.get("observe") == "rules" and self.rules, self.stress)
        store: Store = session.store
        store.limit(request.get("fuel", self.limits.fuel), request.get("stack", 100))
        before = store.seen().instructions if session.observed else 0
        answer: dict[str, Any] = {"outcomes": self.outcomes(store, steps)}
        if store.trace:
            answer["trace"] = [f"{number:x},{long:x}" for number, long in store.trace]
        if session.observed:
            session.validate(steps)
            seen = store.seen()
            answer |= {"rules": sorted(session.rules | seen.rules), "executed": sorted(seen.executed)}
            answer["instructions"] = seen.instructions - before
        if name is not None and not any(step["do"] == "end" for step in steps):
            self.sessions[name] = session
        else:
            store.close()
        return answer


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)
    parser = argparse.ArgumentParser(description="The worker of wasmlab's reference engine, C path.")
    parser.add_argument("--bridge", action="store_true", help="no native values")
    parser.add_argument("settings", nargs="*", metavar="setting=value")
    options = parser.parse_args()
    profile, limits = configured([setting for setting in options.settings if setting != "stress=1"])
    worker = FastWorker(answers, profile, limits, options.bridge)
    worker.stress = "stress=1" in options.settings
    try:
        Store(profile, limits).close()
    except Unavailable as error:
        worker.lines.say({"unavailable": error.reason, "hint": error.remedy})
        sys.exit(3)
    with suppress(Unavailable):
        Store(profile, limits, events=True).close()
        worker.rules = True
    worker.hello()
    worker.work()


if __name__ == "__main__":
    main()
