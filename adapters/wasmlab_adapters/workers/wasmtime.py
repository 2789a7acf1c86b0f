"""A worker for Wasmtime: any wheel's library since 0.23 through its C API; it needs nothing but Python.

    python wasmtime.py --library DIR [setting=value …]

DIR is a folder with `_libwasmtime.so` somewhere below it, as `pip install --target DIR wasmtime` makes it.  Settings
are the C API's `wasmtime_config_<setting>_set`, and for short `opt=none`, `regalloc=single_pass`, `strategy=winch`;
`without=gc,simd` leaves features out, `limits=false` lets memories and tables grow as the engine does.  Values pass by
the bridge (docs/protocol.md), so nothing here knows a type.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import glob
import hashlib
import json
import os
import re
import sys
from typing import Any

# By file path, under any Python, there is no package on the path yet.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from wasmlab_adapters.workers.lines import Lines
from wasmlab_adapters.workers.wasmtime_api import HOST_DEPTH, HOST_TRAP, Failed, HostTrap
from wasmlab_adapters.workers.wasmtime_library import Library
from wasmlab_adapters.workers.wasmtime_stores import HostFunction, Store, kind_of_store

MAX_REENTRIES = 50
BLOCK, CHUNK = 4096, 1 << 20
ZEROS = bytes(BLOCK)


class Session:
    """A store with its instances by name, and what is registered for imports."""

    def __init__(self, library: Library, host: Host) -> None:
        self.library, self.host = library, host
        self.store = kind_of_store(library.api)(library.api, library.engine)
        self.instances: dict[str, Any] = {}
        self.called: dict[tuple[str, str], Any] = {}
        self.registered: dict[str, Any] = {}
        self.host_functions: dict[str, Any] = {}
        self.fuel: int | None = None
        self.scripted = False
        """Whether it lives on for other requests, as those of scripts do."""

    def refuel(self) -> None:
        """Give the next instantiation or call its fuel."""
        if self.library.counts_fuel:
            self.store.refuel((1 << 62) if self.fuel is None else self.fuel)

    def instance(self, name: str) -> Any:
        """The instance of that name."""
        if name not in self.instances:
            raise Failed("unsupported", f"no instance {name}")
        return self.instances[name]

    def find(self, step: dict[str, Any]) -> Any:
        """The export that a step names."""
        extern = self.store.export(self.instance(step["name"]), step["export"])
        if extern is None:
            raise Failed("unsupported", f"no export {step['export']}")
        return extern

    def resolve(self, module: str | None, name: str, of: str | None) -> Any:
        """An import."""
        if module == "lab" and name in self.host.functions:
            if name not in self.host_functions:
                self.host_functions[name] = self.store.host_function(self.host.functions[name])
            return self.host_functions[name]
        instance = self.instances.get(of or "") if module is None else self.registered.get(module)
        extern = None if instance is None else self.store.export(instance, name)
        if extern is None:
            raise Failed("unlinkable", f"unknown import: {module} {name}")
        return extern

    def instantiate(self, step: dict[str, Any]) -> list[str]:
        of = step.get("of")
        library = self.library
        if of is not None:
            self.instance(of)
        module, data = library.module(step["module"], of is not None)
        externs = [self.resolve(module_name, name, of) for module_name, name in step.get("imports", ())]
        if not self.scripted and library.api.limited and any(map(self.store.is_shared_memory, externs)):
            # An access to it that is out of bounds would end the process: its place is found in both of two instances.
            raise Failed("unsupported", "a shared memory of two instances")
        self.refuel()
        self.instances[step["name"]] = self.store.instantiate(module, data, externs)
        self.called.clear()
        return []

    def register(self, step: dict[str, Any]) -> list[str]:
        self.registered[step["as"]] = self.instance(step["name"])
        return []

    def call(self, step: dict[str, Any]) -> list[str]:
        key = step["name"], step["export"]
        extern = self.called.get(key)
        if extern is None:
            extern = self.find(step)
            if not self.store.is_function(extern):
                raise Failed("unsupported", f"export {step['export']} is no function")
            self.called[key] = extern
        for _ in range(step.get("repeat", 1)):
            self.refuel()
            self.store.call(extern)
        return []

    def write(self, step: dict[str, Any]) -> list[str]:
        address, size = self.store.memory(self.find(step))
        data, at = bytes.fromhex(step["hex"]), step["at"]
        if at < 0 or at + len(data) > size:
            raise Failed("unsupported", f"bytes {at} to {at + len(data)} of a memory of {size}")
        ctypes.memmove(address + at, data, len(data))
        return []

    def read(self, step: dict[str, Any], full: bool) -> list[str]:
        address, size = self.store.memory(self.find(step))
        if "bytes" in step:
            at, count = step["at"], step["bytes"]
            if at < 0 or count < 0 or at + count > size:
                raise Failed("unsupported", f"bytes {at} to {at + count} of a memory of {size}")
            return ["bytes:" + ctypes.string_at(address + at, count).hex()]
        content = f"bytes:{ctypes.string_at(address, size).hex()}" if full else f"digest:{digest(address, size)}"
        return [f"i64:{size:x}", content]

    def step(self, step: dict[str, Any], full: bool) -> dict[str, Any]:
        """The outcome of a step."""
        try:
            match step["do"]:
                case "instantiate":
                    values = self.instantiate(step)
                case "register":
                    values = self.register(step)
                case "call":
                    values = self.call(step)
                case "write":
                    values = self.write(step)
                case "read":
                    values = self.read(step, full)
                case "end":
                    values = []
                case other:
                    raise Failed("unsupported", f"no step {other}")
        except Failed as failed:
            kind, detail = failed.args
            return {"kind": kind, "detail": detail[:2000]} if detail else {"kind": kind}
        return {"kind": "returned", "values": values} if values else {"kind": "returned"}


def digest(address: int, size: int) -> str:
    """The digest of a memory: of those blocks that are not all zeros."""
    total = hashlib.sha256()
    for start in range(0, size, CHUNK):
        content = ctypes.string_at(address + start, min(CHUNK, size - start))
        for at in range(0, len(content), BLOCK):
            block = content[at : at + BLOCK]
            if block != ZEROS and block != ZEROS[: len(block)]:
                total.update(((start + at) // BLOCK).to_bytes(8, "little") + block)
    return total.hexdigest()[:16]


class Host:
    """Module `lab`: functions made once, which act on the session at work."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.session: Session | None = None
        self.trace: list[str] = []
        self.depth = 0
        self.functions = {
            "log": self.function(("i32", "i64"), (), self.log),
            "trap": self.function((), (), self.trap),
            "reenter": self.function(("i32",), (), self.reenter),
        }
        if "reference-types" in library.features:
            self.functions["extern"] = self.function(("i32",), ("externref",), self.number)
            self.functions["number"] = self.function(("externref",), ("i32",), self.number)

    def function(self, params: tuple[str, ...], results: tuple[str, ...], code: Any) -> HostFunction:
        """A function of this module."""
        return HostFunction(self.library.api, params, results, code, self.store)

    def store(self) -> Store:
        """The store at work."""
        if self.session is None:
            raise RuntimeError("no session is at work")
        return self.session.store

    def log(self, number: int, long: int) -> None:
        """Also collects garbage, as any host function may: engines lose references there."""
        self.store().collect()
        self.trace.append(f"{number:x},{long:x}")

    def trap(self) -> None:
        raise HostTrap(HOST_TRAP)

    def number(self, number: int) -> int:
        """From a reference to its number and back: the store makes and reads references."""
        return number

    def reenter(self, number: int) -> None:
        session = self.session
        callee = session and session.registered.get("lab.callee")
        extern = session and callee and session.store.export(callee, "reenter")
        if not session or not extern or not session.store.is_function(extern):
            return
        if self.depth >= MAX_REENTRIES:
            raise HostTrap(HOST_DEPTH)
        self.depth += 1
        try:
            error, trap = session.store.invoke(extern, [number])
        finally:
            self.depth -= 1
        if error:
            # Its cause is at the end; before it each level tells all backtraces of those below.
            raise HostTrap(self.library.api.error_message(error)[-300:])
        if trap:
            raise HostTrap(trap)


class Worker:
    """The protocol."""

    def __init__(self, library: Library, answers: int) -> None:
        self.library, self.lines = library, Lines(answers)
        self.host = Host(library)
        self.sessions: dict[str, Session] = {}

    def answer(self, line: bytes) -> None:
        """Take one line."""
        id_ = None
        try:
            request = json.loads(line)
            id_ = request["id"]
            steps = request["steps"]
            for step in steps:
                step["do"] = str(step["do"])
        except Exception as error:
            self.lines.say({"id": id_ if isinstance(id_, int) else None, "error": f"no request: {error!r}"[:500]})
            return
        self.lines.start(id_)
        try:
            self.lines.hold({"id": id_, **self.run(request, steps)})
        except Exception as error:
            self.lines.say({"id": id_, "error": f"{error!r}"[:500]})

    def run(self, request: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
        """The outcomes of a request and its trace."""
        name = request.get("session")
        session = self.sessions.pop(name, None) if name is not None else None
        session = session or Session(self.library, self.host)
        session.fuel, session.scripted = request.get("fuel"), name is not None
        self.host.session, self.host.trace, self.host.depth = session, [], 0
        full = request.get("observe") == "full"
        try:
            outcomes = [session.step(step, full) for step in steps]
        finally:
            self.host.session = None
            if name is None or any(step["do"] == "end" for step in steps):
                session.store.close()
            else:
                self.sessions[name] = session
        answer: dict[str, Any] = {"outcomes": outcomes}
        if self.host.trace:
            answer["trace"] = self.host.trace
        return answer


def version(library: str) -> str:
    """The version of the wheel that a library came from, by the folder that pip leaves beside it."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(library)))
    found = [re.fullmatch(r"wasmtime-(.+)\.dist-info", name) for name in os.listdir(root)]
    return next((match[1] for match in found if match), "unknown")


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)
    parser = argparse.ArgumentParser(description="A wasmlab worker for Wasmtime.")
    parser.add_argument("--library", required=True, help="a folder that holds _libwasmtime.so somewhere")
    parser.add_argument("settings", nargs="*", metavar="setting=value")
    options = parser.parse_args()
    found = sorted(glob.glob(os.path.join(glob.escape(options.library), "**", "_libwasmtime.so"), recursive=True))
    if not found:
        sys.exit(f"no _libwasmtime.so below {options.library}")
    library = Library(found[0], dict(setting.partition("=")[::2] for setting in options.settings))
    worker = Worker(library, answers)
    hello = {"protocol": 1, "engine": "wasmtime", "version": version(found[0]), "values": "bridge"}
    worker.lines.say({**hello, "features": library.features})
    gc.freeze()
    for line in worker.lines.requests():
        worker.answer(line)


if __name__ == "__main__":
    main()
