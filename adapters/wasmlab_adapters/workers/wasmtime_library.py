"""A library of Wasmtime with an engine in one configuration, and what that engine supports, found out by trying.

What ends the process (unknown settings, features that do not go together, modules at which compilers panic) is tried in
children.
"""

from __future__ import annotations

import os
import sys
from base64 import b64decode
from collections.abc import Callable
from ctypes import c_uint64, c_void_p

from wasmlab_adapters.workers.wasmtime_api import Api

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
    "custom-page-sizes": "custom_page_sizes",
}
"""The settings that switch features on, in releases that have them."""
FEATURE_MODULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "features.tsv")
PLAIN = b"\0asm\1\0\0\0" + bytes.fromhex("01060160017f017f030201000a0601040020000b")
"""A module with a function that returns its parameter."""

CHEAPER = ("parallel_compilation", "memory_init_cow", "native_unwind_info")
"""What costs more than it brings where a module lives for a few calls, and leaves the code of functions as it is."""

SHARED = "wasmtime_sharedmemory_data"
"""What libraries have that know of shared memories."""

KEPT_BRIDGES, KEPT_MODULES = 1000, 8


def feature_modules() -> dict[str, tuple[frozenset[str], bytes]]:
    """For each feature what it builds on, and a module that uses all of it; what it builds on comes before it."""
    with open(FEATURE_MODULES) as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return {name: (frozenset(bases.split(",")) - {""}, b64decode(module)) for name, bases, module in rows}


RESERVED = {
    "memory_reservation": "0",
    "static_memory_maximum_size": "0",
    "memory_guard_size": "0",
    "static_memory_guard_size": "0",
    "dynamic_memory_guard_size": "0",
    "memory_reservation_for_growth": "1048576",
}
"""`reserve=little`, under the names of new and old releases: no gigabytes of address space for each memory.

No guard pages either: a vector stored across the end of a memory must not leave its first half there, which a guard
page alone does not prevent on arm64 (seen under QEMU; the architecture allows it)."""
LITTLE = ("reserve", "little")


class Library:
    """The library, and the engine in one configuration."""

    def __init__(self, path: str, settings: dict[str, str]) -> None:
        self.api = Api(path)
        self.dll = self.api.dll
        self.settings = dict(settings)
        self.bridges: dict[str, tuple[int, bytes]] = {}
        self.modules: dict[str, tuple[int, bytes]] = {}
        limits = self.settings.pop("limits", "true")
        if limits not in ("true", "false"):
            sys.exit(f"limits={limits}: expected true or false")
        self.api.limited = limits == "true"
        self.by_feature = feature_modules()
        self.without = list(filter(None, self.settings.pop("without", "").split(",")))
        for name in self.without:
            if name not in self.by_feature:
                sys.exit(f"without={name}: there is no such feature")
        for name, (bases, _) in self.by_feature.items():
            if not bases.isdisjoint(self.without):
                self.without.append(name)
        self.counts_fuel = self.settings.get("consume_fuel") == "true"
        self.check_settings()
        wanted = [name for name in SETTINGS if name not in self.without]
        if not self.works(wanted):
            wanted = self.bearable(wanted)
        self.engine = self.new_engine(wanted)
        if self.settings.get("strategy") == "winch":
            self.check_winch(wanted)
        self.features = self.complete()
        if "threads" in wanted and "threads" not in self.features and hasattr(self.dll, SHARED):
            wanted.remove("threads")  # Pulley: to compile such a module ends the process
            self.engine = self.new_engine(wanted)
        self.cheap = self.cheap_engine(wanted)
        if "mvp" not in self.features:
            sys.exit(f"this library compiles nothing with {self.asked()}")

    def new_engine(self, features: list[str], settings: dict[str, str] | None = None) -> int:
        """An engine; aborts the process where the library does not like the settings."""
        settings = self.settings if settings is None else settings
        config = self.dll.wasm_config_new()
        for setting in CHEAPER:
            if setting not in settings:
                self.set(config, setting, "false")
        on = {SETTINGS[name] for name in features}
        for setting in on | {SETTINGS[name] for name in self.without if name in SETTINGS}:
            self.set(config, f"wasm_{setting}", "true" if setting in on else "false")
        if "threads" in features:
            self.set(config, "shared_memory", "true")
        for key, value in settings.items():
            if (key, value) == LITTLE:
                for name, number in RESERVED.items():
                    self.set(config, name, number)
            elif not self.set(config, key, value):
                sys.exit(f"{key}={value}: this library has no such setting or value")
        engine: int = self.dll.wasm_engine_new_with_config(config)
        return engine

    def check_settings(self) -> None:
        """End the process with a message where the library lacks what it is asked for, before trying to make it."""
        for key, value in self.settings.items():
            asked = RESERVED.items() if (key, value) == LITTLE else [(key, value)]
            if not any(self.setter(*item) for item in asked):
                sys.exit(f"{key}={value}: this library has no such setting or value")
            if key in ("opt", "regalloc") and self.settings.get("strategy") == "winch":
                sys.exit(f"{key}={value}: Winch has no such setting")
        if self.counts_fuel and not hasattr(self.dll, "wasmtime_context_set_fuel"):
            sys.exit("consume_fuel=true: this library cannot set fuel")

    def set(self, config: int, key: str, value: str) -> bool:
        """Make a setting, if there is one of that name and value."""
        setter = self.setter(key, value)
        if setter is not None:
            setter(config)
        return setter is not None

    def setter(self, key: str, value: str) -> Callable[[int], object] | None:
        """What makes a setting on a configuration; None where the library has none of that name, or no such value."""
        name, choices = CHOICES.get(key, (key, ("false", "true")))
        function = getattr(self.dll, f"wasmtime_config_{name}_set", None)
        if key == "target" and function is not None:
            return lambda config: self.target(function(config, value.encode()), value)
        if key == "regalloc" and function is None:
            flag = getattr(self.dll, "wasmtime_config_cranelift_flag_set", None)
            return flag and (lambda config: flag(config, b"regalloc_algorithm", value.encode()))
        number = choices.index(value) if value in choices else None
        if key not in CHOICES and value.isdigit():
            number = int(value)
        if function is None or number is None:
            return None
        function.restype, function.argtypes = c_void_p, [c_void_p, c_uint64]
        return lambda config: function(config, number)

    def target(self, error: int | None, value: str) -> None:
        """End the process where the library knows no such target."""
        if error:
            sys.exit(f"target={value}: {self.api.error_message(error)}")

    def asked(self) -> str:
        """The settings, in words."""
        return " ".join(f"{key}={value}" for key, value in self.settings.items()) or "its own settings"

    def works(self, features: list[str]) -> bool:
        """Whether there is an engine with these features, which compiles a module that needs none of them."""
        return self.survives(lambda: self.api.compile(self.new_engine(features), PLAIN))

    def check_winch(self, features: list[str]) -> None:
        """End the process unless the code differs from Cranelift's: old releases take any number for a strategy."""
        others = {key: value for key, value in self.settings.items() if key != "strategy"}
        code = [self.api.serialized(engine, PLAIN) for engine in (self.engine, self.new_engine(features, others))]
        if code[0] == code[1] or not self.api.has_words(b"winch"):
            sys.exit("strategy=winch: this library has only Cranelift")

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
        """The features that the library can be asked for with these settings: later ones build on those before them."""
        found = list(features)
        while not self.works(found):
            if not found:
                sys.exit(f"this library makes no engine with {self.asked()}")
            found.pop()
        for name in features[len(found) + 1 :]:
            if self.works([*found, name]):
                found.append(name)
        return found

    def complete(self) -> list[str]:
        """The features of which all is there: the modules of these use every instruction."""

        def compiles(*names: str) -> bool:
            return self.survives(lambda: [self.api.compile(self.engine, self.by_feature[name][1]) for name in names])

        # Where the C API knows nothing of tags or shared memories, to ask for an export that is one ends the process.
        unknown = {"exceptions"} if not self.api.has_exceptions else set()
        unknown |= {"threads"} if not hasattr(self.dll, SHARED) else set()
        names = [name for name in self.by_feature if name not in unknown.union(self.without)]
        if compiles(*names):
            return names
        found: list[str] = []
        for name in names:
            if self.by_feature[name][0].issubset(found) and compiles(name):
                found.append(name)
        return found

    def cheap_engine(self, features: list[str]) -> int | None:
        """An engine that compiles faster, to code that the other one takes; None where there is none."""
        settings = {"opt": "none", "regalloc": "single_pass", **self.settings}

        def works() -> None:
            code = self.api.serialized(self.new_engine(features, settings), PLAIN)
            self.api.deserialized(self.engine, code)

        if settings == self.settings or "strategy" in settings or not self.survives(works):
            return None
        return self.new_engine(features, settings)

    def compile_bridge(self, data: bytes) -> int:
        """A bridge, whose code need not be good."""
        if self.cheap is None:
            return self.api.compile(self.engine, data)
        return self.api.deserialized(self.engine, self.api.serialized(self.cheap, data))

    def module(self, encoded: str, bridge: bool) -> tuple[int, bytes]:
        """A module, compiled, and its bytes.

        The last ones are kept: cases come in families that have the same modules, and bridges are often alike.
        """
        kept = self.bridges if bridge else self.modules
        found = kept.pop(encoded, None)
        if found is None:
            data = b64decode(encoded)
            found = self.compile_bridge(data) if bridge else self.api.compile(self.engine, data), data
        kept[encoded] = found
        if len(kept) > (KEPT_BRIDGES if bridge else KEPT_MODULES):
            self.api.release(kept.pop(next(iter(kept)))[0])
        return found
