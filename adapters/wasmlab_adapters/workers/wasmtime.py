"""A worker for Wasmtime: any wheel's library since 0.23 through its C API; it needs nothing but Python.

    python wasmtime.py --library DIR [setting=value …]

DIR is a folder with `_libwasmtime.so` somewhere below it, as `pip install --target DIR wasmtime` makes it.  Settings
are the C API's `wasmtime_config_<setting>_set`, and for short `opt=none`, `regalloc=single_pass`, `strategy=winch`;
`without=gc,simd` leaves features out.  Values pass by the bridge (docs/protocol.md), so nothing here knows a type.
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
from base64 import b64decode
from collections.abc import Callable
from ctypes import c_uint64, c_void_p
from typing import Any

# By file path, under any Python, there is no package on the path yet.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from wasmlab_adapters.workers.wasmtime_api import (
    HOST_DEPTH,
    HOST_TRAP,
    Api,
    Failed,
    HostTrap,
)
from wasmlab_adapters.workers.wasmtime_stores import HostFunction, Store, kind_of_store

CHOICES = {
    "opt": ("cranelift_opt_level", ("none", "speed", "speed_and_size")),
    "regalloc": ("cranelift_regalloc_algorithm", ("backtracking", "single_pass")),
    "strategy": ("strategy", ("auto", "cranelift", "winch")),
}
SETTINGS = {
    "multi-value": "multi_value",
    "bulk-memory": "bulk_memory",
    "reference-types": "reference_types",
    "simd": "simd",
    "tail-call": "tail_call",
    "multi-memory": "multi_memory",
    "memory64": "memory64",
    "table64": "memory64",
    "relaxed-simd": "relaxed_simd",
    "function-references": "function_references",
    "exceptions": "exceptions",
    "gc": "gc",
    "threads": "threads",
}
"""The settings that switch features on, in releases that have them."""
BASES = {"relaxed-simd": "simd", "gc": "function-references", "table64": "memory64"}
"""Features that the library does not take without another one."""

FEATURE_MODULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "features.tsv")
MAX_REENTRIES = 50
KEPT_BRIDGES = 1000
BLOCK = 4096
ZEROS = bytes(BLOCK)


class Library:
    """The library, and the engine in one configuration."""

    def __init__(self, path: str, settings: dict[str, str]) -> None:
        self.api = Api(path)
        self.dll = self.api.dll
        self.settings = dict(settings)
        self.bridges: dict[str, tuple[int, bytes]] = {}
        lacking = self.settings.pop("without", "").split(",")
        self.without = [name for name in SETTINGS if name in lacking or BASES.get(name) in lacking]
        self.counts_fuel = self.settings.get("consume_fuel") == "true"
        if self.counts_fuel and not hasattr(self.dll, "wasmtime_context_set_fuel"):
            sys.exit("consume_fuel=true: this library cannot set fuel")
        wanted = [name for name in SETTINGS if name not in self.without]
        if not self.survives(lambda: self.new_engine(wanted)):
            wanted = self.bearable(wanted)
        self.engine = self.new_engine(wanted)
        self.features = self.complete()

    def new_engine(self, features: list[str]) -> int:
        """An engine; aborts the process where the library does not like the settings."""
        config = self.dll.wasm_config_new()
        self.set(config, "parallel_compilation", "false", optional=True)
        for names, value in ((features, "true"), (self.without, "false")):
            for setting in {SETTINGS[name] for name in names}:
                self.set(config, f"wasm_{setting}", value, optional=True)
        for key, value in self.settings.items():
            self.set(config, key, value)
        engine: int = self.dll.wasm_engine_new_with_config(config)
        return engine

    def set(self, config: int, key: str, value: str, optional: bool = False) -> None:
        """Make a setting; ends the process with a message where there is none of that name or value."""
        name, choices = CHOICES.get(key, (key, ()))
        setter = getattr(self.dll, f"wasmtime_config_{name}_set", None)
        number = choices.index(value) if value in choices else {"true": 1, "false": 0}.get(value)
        if number is None and not choices and value.isdigit():
            number = int(value)
        if key == "target" and setter is not None:
            error = setter(config, value.encode())
            if error:
                sys.exit(f"target={value}: {self.api.error_message(error)}")
        elif key == "regalloc" and setter is None and hasattr(self.dll, "wasmtime_config_cranelift_flag_set"):
            self.dll.wasmtime_config_cranelift_flag_set(config, b"regalloc_algorithm", value.encode())
        elif setter is not None and number is not None and (value != "winch" or self.api.has("winch")):
            setter.restype, setter.argtypes = c_void_p, [c_void_p, c_uint64]
            setter(config, number)
        elif not optional:
            sys.exit(f"{key}={value}: this library has no such setting or value")

    def survives(self, act: Callable[[], object]) -> bool:
        """Whether something leaves the process alive and raises nothing, tried in a child."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                act()
                status = 0
            finally:
                os._exit(status)
        return os.waitpid(child, 0)[1] == 0

    def bearable(self, features: list[str]) -> list[str]:
        """The features that the library can be asked for with these settings, each added to those before it."""
        found: list[str] = []
        if not self.survives(lambda: self.new_engine([])):
            said = " ".join(f"{key}={value}" for key, value in self.settings.items())
            sys.exit(f"this library makes no engine with {said or 'its own settings'}")
        for name in features:
            if self.survives(lambda: self.new_engine([*found, name])):  # noqa: B023
                found.append(name)
        return found

    def complete(self) -> list[str]:
        """The features of which all is there: the modules of these use every instruction."""
        with open(FEATURE_MODULES) as file:
            modules = dict(line.rstrip("\n").split("\t") for line in file)

        def compiles(*names: str) -> bool:
            return self.survives(lambda: [self.api.compile(self.engine, b64decode(modules[name])) for name in names])

        names = [name for name in modules if name not in self.without]
        return names if compiles(*names) else [name for name in names if compiles(name)]

    def bridge(self, encoded: str) -> tuple[int, bytes]:
        """A module that observes another one: many cases have the same, so the last ones stay compiled."""
        found = self.bridges.pop(encoded, None)
        if found is None:
            data = b64decode(encoded)
            found = self.api.compile(self.engine, data), data
        self.bridges[encoded] = found
        if len(self.bridges) > KEPT_BRIDGES:
            self.api.release(self.bridges.pop(next(iter(self.bridges)))[0])
        return found


class Session:
    """A store with its instances by name, and what is registered for imports."""

    def __init__(self, library: Library, host: Host) -> None:
        self.library, self.host = library, host
        self.store = kind_of_store(library.api)(library.api, library.engine)
        self.instances: dict[str, Any] = {}
        self.registered: dict[str, Any] = {}
        self.host_functions: dict[str, Any] = {}
        self.fuel: int | None = None

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
            module, data = library.bridge(step["module"])
        else:
            data = b64decode(step["module"])
            module = library.api.compile(library.engine, data)
        try:
            externs = [self.resolve(module_name, name, of) for module_name, name in step.get("imports", ())]
            self.refuel()
            self.instances[step["name"]] = self.store.instantiate(module, data, externs)
        finally:
            if of is None:
                library.api.release(module)
        return []

    def register(self, step: dict[str, Any]) -> list[str]:
        self.registered[step["as"]] = self.instance(step["name"])
        return []

    def call(self, step: dict[str, Any]) -> list[str]:
        extern = self.find(step)
        if not self.store.is_function(extern):
            raise Failed("unsupported", f"export {step['export']} is no function")
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
    for number in range((size + BLOCK - 1) // BLOCK):
        at = number * BLOCK
        block = ctypes.string_at(address + at, min(BLOCK, size - at))
        if block != ZEROS[: len(block)]:
            total.update(number.to_bytes(8, "little") + block)
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
        self.library, self.answers = library, answers
        self.host = Host(library)
        self.sessions: dict[str, Session] = {}

    def say(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        while data:
            data = data[os.write(self.answers, data) :]

    def answer(self, line: bytes) -> None:
        """Take one line."""
        id_ = None
        try:
            request = json.loads(line)
            id_ = request["id"]
            steps = [{**step, "do": str(step["do"])} for step in request["steps"]]
        except Exception as error:
            self.say({"id": id_ if isinstance(id_, int) else None, "error": f"no request: {error!r}"[:500]})
            return
        self.say({"started": id_})
        try:
            self.say({"id": id_, **self.run(request, steps)})
        except Exception as error:
            self.say({"id": id_, "error": f"{error!r}"[:500]})

    def run(self, request: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
        """The outcomes of a request and its trace."""
        name = request.get("session")
        session = self.sessions.pop(name, None) if name is not None else None
        session = session or Session(self.library, self.host)
        session.fuel = request.get("fuel")
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
    worker.say({**hello, "features": library.features})
    gc.freeze()
    for line in sys.stdin.buffer:
        worker.answer(line)


if __name__ == "__main__":
    main()
