"""The worker of ref/py: the standard made executable, with native values, texts, and the rules that a case used.

    python -m wasmlab_adapters.workers.ref_py [--bridge] [setting=value …]

Settings are those of `Limits` (`call_depth=100`) and `Profile` (`nan=x86`, `R_fmadd=1`).  With `--bridge` it speaks
as an engine without native values does, which is how bridges are tested.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import hashlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from wasmlab_ref.bridge_code import TABLE_BOUND
from wasmlab_ref.case import value
from wasmlab_ref.decode import decode
from wasmlab_ref.engine import Store, argument, identified, shape, written
from wasmlab_ref.events import Listener
from wasmlab_ref.features import FEATURES
from wasmlab_ref.handlers import Stack
from wasmlab_ref.limits import Limits
from wasmlab_ref.outcome import Exhausted, Rejected, Thrown, Trap, Unlinkable
from wasmlab_ref.profile import Profile
from wasmlab_ref.spectest import spectest
from wasmlab_ref.store import (
    ExnInst,
    Extern,
    FuncInst,
    GlobalInst,
    HostRef,
    Instance,
    MemInst,
    TableInst,
    TagInst,
    Value,
    func_type,
)
from wasmlab_ref.syntax import Instr
from wasmlab_ref.taint import Open, Taint, taint_of
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import SHORTHANDS, FuncType
from wasmlab_ref.validate import ValidModule, validate

from .lines import Lines

BLOCK = 4096
KEPT_SIZE = 1 << 16
"""Modules of at most so many characters are kept, decoded and valid."""
HOST_TYPES = {
    "log": FuncType(("i32", "i64")),
    "trap": FuncType(),
    "reenter": FuncType(("i32",)),
    "extern": FuncType(("i32",), (SHORTHANDS["externref"],)),
    "number": FuncType((SHORTHANDS["externref"],), ("i32",)),
}

Outcome = dict[str, Any]


class Unsupported(Exception):
    """A step that cannot be taken."""


def digest(data: Any) -> str:
    """The digest of a memory: of those blocks that are not all zeros."""
    total, zeros = hashlib.sha256(), bytes(BLOCK)
    for at in range(0, len(data), BLOCK):
        block = bytes(data[at : at + BLOCK])
        if block != zeros[: len(block)]:
            total.update((at // BLOCK).to_bytes(8, "little") + block)
    return total.hexdigest()[:16]


def observed(data: Any, full: bool) -> str:
    """What a step tells of the content of a whole memory."""
    return f"bytes:{bytes(data).hex()}" if full else f"digest:{digest(data)}"


@lru_cache(maxsize=16)
def validated(encoded: str) -> ValidModule:
    """A module; cases come in families that have the same ones."""
    return validate(decode(base64.b64decode(encoded)))


# Stores


class Used(Listener):
    """Collects the rules of the standard that were used, and the instructions that were executed."""

    def __init__(self) -> None:
        self.rules: set[str] = set()
        self.executed: set[str] = set()

    def instruction(self, func: FuncInst | None, position: int, instr: Instr, stack: Stack, locals: Stack) -> None:
        self.executed.add(instr.op.mnemonic)

    def rule(self, name: str) -> None:
        self.rules.add(name)


class Session:
    """A store with its instances by name, and what is registered for imports."""

    def __init__(self, profile: Profile, limits: Limits, used: Used | None, taint: Taint | None, bridge: bool) -> None:
        self.store = Store(profile, limits, used, taint)
        self.used, self.taint, self.bridge = used, taint, bridge
        self.masks: list[str] = []
        self.open = ""
        self.instances: dict[str, Instance] = {}
        self.registered: dict[str, dict[str, Extern]] = {}
        self.trace: list[str] = []

    @cached_property
    def lab(self) -> dict[str, Extern]:
        """The host's own module."""
        return {name: self.store.host_function(type_, getattr(self, f"_{name}")) for name, type_ in HOST_TYPES.items()}

    @cached_property
    def spectest(self) -> dict[str, Extern]:
        """The suite's host module."""
        return {} if self.bridge else spectest(self.store)

    def offered(self, module: str) -> dict[str, Extern]:
        """What can be imported from a module."""
        if module == "lab":
            return self.lab
        found = self.registered.get(module)
        return found if found is not None else self.spectest if module == "spectest" else {}

    # Module "lab"

    def _log(self, number: int, long: int) -> Sequence[Value]:
        if taint_of(number) or taint_of(long):
            raise Open("host call")
        self.trace.append(f"{number:x},{long:x}")
        return ()

    def _trap(self) -> Sequence[Value]:
        raise Trap("host")

    def _reenter(self, number: int) -> Sequence[Value]:
        func = self.registered.get("lab.callee", {}).get("reenter")
        if isinstance(func, FuncInst) and func_type(func.type) == HOST_TYPES["reenter"]:
            self.store.invoke(func, [number])
        return ()

    def _extern(self, number: int) -> Sequence[Value]:
        if taint_of(number):
            raise Open("host call")
        return (HostRef(number),)

    def _number(self, ref: Value) -> Sequence[Value]:
        return (ref.number if isinstance(ref, HostRef) else 0xFFFF_FFFF,)

    # Steps

    def instance(self, name: str) -> Instance:
        if name not in self.instances:
            raise Unsupported(f"no instance {name}")
        return self.instances[name]

    def export(self, step: dict[str, Any]) -> Extern:
        found = self.instance(step["name"]).exports.get(step["export"])
        if found is None:
            raise Unsupported(f"no export {step['export']}")
        return found

    def do_instantiate(self, step: dict[str, Any]) -> list[str]:
        of = self.instance(step["of"]).exports if "of" in step else {}
        encoded = step["module"]
        if self.used or len(encoded) > KEPT_SIZE:
            valid = validate(decode(base64.b64decode(encoded)), self.used.rule if self.used else None)
        else:
            valid = validated(encoded)
        imports = []
        for source, name in step["imports"]:
            exports = of if source is None else self.offered(source)
            if name not in exports:
                raise Unlinkable(f"unknown import: {source!r} {name!r}")
            imports.append(exports[name])
        self.instances[step["name"]] = self.store.instantiate(valid, imports)
        return []

    def do_register(self, step: dict[str, Any]) -> list[str]:
        self.registered[step["as"]] = self.instance(step["name"]).exports
        return []

    def do_call(self, step: dict[str, Any]) -> list[str]:
        func = self.export(step)
        if not isinstance(func, FuncInst):
            raise Unsupported(f"export {step['export']} is no function")
        type_ = func_type(func.type)
        texts = step.get("args", [])
        if len(texts) != len(type_.params):
            raise Unsupported(f"{len(texts)} arguments for {len(type_.params)} parameters")
        try:
            args = [argument(text, t) for text, t in zip(texts, type_.params, strict=True)]
        except ValueError as error:
            raise Unsupported(str(error)) from None
        results: Sequence[Value] = ()
        for left in reversed(range(step.get("repeat", 1))):
            try:
                results = self.store.invoke(func, args)
            except Thrown:
                if not left:
                    raise
        self.mask(results)
        return written(results, type_.results)

    def do_get(self, step: dict[str, Any]) -> list[str]:
        match self.export(step):
            case GlobalInst(type_, content):
                self.mask([content])
                return written([content], [type_.value])
            case TableInst() as table:
                seen = [0, *table.refs[:TABLE_BOUND]]
                self.mask(seen)
                return identified([value(table.type.address, len(table.refs)), *map(shape, seen[1:])], seen)
        raise Unsupported(f"export {step['export']} is no global or table")

    def memory(self, step: dict[str, Any], size: int | None = None) -> MemInst:
        memory = self.export(step)
        if not isinstance(memory, MemInst):
            raise Unsupported(f"export {step['export']} is no memory")
        if size is not None and not 0 <= step["at"] <= step["at"] + size <= len(memory.data):
            raise Unsupported(f"{size} bytes at {step['at']} of a memory of {len(memory.data)}")
        return memory

    def do_write(self, step: dict[str, Any]) -> list[str]:
        data = bytes.fromhex(step["hex"])
        self.memory(step, len(data)).data[step["at"] : step["at"] + len(data)] = data
        return []

    def do_read(self, step: dict[str, Any]) -> list[str]:
        if "bytes" in step:
            data = self.memory(step, step["bytes"]).data
            return ["bytes:" + bytes(data[step["at"] : step["at"] + step["bytes"]]).hex()]
        memory = self.memory(step)
        data = memory.data
        if self.taint is not None and (masks := self.taint.of(memory)):
            self.masks = ["", ",".join(f"{at:x}:{mask:x}" for at, mask in sorted(masks.items()))]
        return [value("i64", len(data)), observed(data, step["full"])]

    def do_parse(self, step: dict[str, Any]) -> list[str]:
        validate(parse_module(base64.b64decode(step["source"])))
        return []

    def do_end(self, step: dict[str, Any]) -> list[str]:
        return []

    def mask(self, values: Sequence[Value]) -> None:
        """Remember which bits of a step's values are open."""
        if any(map(taint_of, values)):
            self.masks = [f"{taint:x}" if (taint := taint_of(value)) else "" for value in values]

    def step(self, step: dict[str, Any]) -> Outcome:
        """The outcome of a step; of all steps after one whose end is open, too."""
        if self.open:
            return {"kind": "unsupported", "detail": self.open}
        self.masks = []
        try:
            outcome = self.do(step)
        except Open as decided:
            self.open = f"open: {decided}"
            return {"kind": "unsupported", "detail": self.open}
        return {**outcome, "taint": self.masks} if self.masks else outcome

    def do(self, step: dict[str, Any]) -> Outcome:
        """The outcome of a step, its masks apart."""
        do = getattr(self, f"do_{step['do']}", None)
        if do is None or (self.bridge and (step["do"] in ("get", "parse") or step.get("args"))):
            return {"kind": "unsupported", "detail": f"no step {step['do']} here"}
        try:
            values = do(step)
        except Unsupported as error:
            return {"kind": "unsupported", "detail": str(error)}
        except Rejected as error:
            return {"kind": error.stage, "detail": str(error)}
        except Trap as trap:
            return {"kind": "trapped", "detail": trap.kind}
        except Exhausted as exhausted:
            return {"kind": "exhausted", "detail": exhausted.resource}
        except Thrown as thrown:
            return self.threw(step, thrown.exception)
        return {"kind": "returned", "values": values} if values else {"kind": "returned"}

    def threw(self, step: dict[str, Any], exception: ExnInst) -> Outcome:
        """An uncaught exception, under the name that the called instance exports its tag as."""
        exports = self.instances[step["name"]].exports if step["do"] == "call" and not self.bridge else {}
        for name, extern in exports.items():
            if isinstance(extern, TagInst) and extern is exception.tag:
                self.mask(exception.fields)
                values = written(exception.fields, func_type(extern.type).params)
                return {"kind": "threw", "detail": name, **({"values": values} if values else {})}
        return {"kind": "threw"}


# The protocol


class Worker:
    """Answers requests."""

    def __init__(self, answers: int, profile: Profile, limits: Limits, bridge: bool) -> None:
        self.lines, self.profile, self.limits, self.bridge = Lines(answers), profile, limits, bridge
        self.sessions: dict[str, Session] = {}

    def work(self) -> None:
        """Answer all requests."""
        for line in self.lines.requests():
            self.answer(line)

    def hello(self) -> None:
        hello = {"protocol": 1, "engine": "ref/py", "version": "1", "features": sorted({*FEATURES} - {"annotations"})}
        native = {"text": True, "rules": True, "spectest": True, "tells_malformed": True}
        native |= {"profiles": True, "taint": True}
        self.lines.say({**hello, "values": "bridge"} if self.bridge else {**hello, "values": "native", **native})

    def answer(self, line: bytes) -> None:
        """Take one line; nothing that it holds ends the worker."""
        request: Any = None
        try:
            request = json.loads(line)
            full = request.get("observe") in ("full", "taint")
            steps = request["steps"]
            for step in steps:
                step |= {"do": str(step["do"]), "full": full}
            id_ = request["id"] + 0
            profile = Profile.of(request["profile"]) if request.get("profile") else self.profile
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            found = request.get("id") if isinstance(request, dict) else None
            self.lines.say({"id": found if isinstance(found, int) else None, "error": f"no request: {error!r}"[:500]})
            return
        self.lines.start(id_)
        try:
            self.lines.hold({"id": id_, **self.run(request, steps, profile)})
        except Exception:
            traceback.print_exc()
            self.lines.say({"id": id_, "error": traceback.format_exc(limit=-3)[-1500:]})

    def run(self, request: dict[str, Any], steps: list[dict[str, Any]], profile: Profile) -> dict[str, Any]:
        """The outcomes of a request, and what else was asked for."""
        observe = request.get("observe")
        name = request.get("session")
        session = self.sessions.pop(name, None) if name is not None else None
        if session is None:
            used, taint = Used() if observe == "rules" else None, Taint() if observe == "taint" else None
            session = Session(profile, self.limits, used, taint, self.bridge)
        share = request.get("stack", 100)
        session.store.limits = dataclasses.replace(
            session.store.limits,
            fuel=request.get("fuel"),
            call_depth=self.limits.call_depth * share // 100,
            values=self.limits.values * share // 100,
        )
        session.trace = []
        before = session.store.instructions
        answer: dict[str, Any] = {"outcomes": [session.step(step) for step in steps]}
        if name is not None and not any(step["do"] == "end" for step in steps):
            self.sessions[name] = session
        if session.trace:
            answer["trace"] = session.trace
        if observe == "rules" and (used := session.used):
            answer |= {"rules": sorted(used.rules), "executed": sorted(used.executed)}
            answer["instructions"] = session.store.instructions - before
        return answer


def configured(settings: Sequence[str]) -> tuple[Profile, Limits]:
    """Profile and limits with these settings."""
    profile, limits = {}, {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if key == "nan":
            profile[key] = text
        elif key in {field.name for field in dataclasses.fields(Profile)}:
            profile[key] = int(text)  # type: ignore[assignment]
        elif key in {field.name for field in dataclasses.fields(Limits)}:
            limits[key] = int(text)
        else:
            sys.exit(f"no setting {key!r}")
    return Profile(**profile), Limits(**limits)  # type: ignore[arg-type]


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)
    parser = argparse.ArgumentParser(description="The worker of wasmlab's reference engine, Python path.")
    parser.add_argument("--bridge", action="store_true", help="no native values")
    parser.add_argument("settings", nargs="*", metavar="setting=value")
    options = parser.parse_args()
    worker = Worker(answers, *configured(options.settings), options.bridge)
    worker.hello()
    worker.work()


if __name__ == "__main__":
    main()
