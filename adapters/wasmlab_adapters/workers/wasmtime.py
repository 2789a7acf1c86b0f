"""A worker for Wasmtime: any wheel's library through its C API, by ctypes; it needs nothing but Python.

    python wasmtime.py --library DIR [setting=value …]

DIR is a folder with `_libwasmtime.so` somewhere below it, as `pip install --target DIR wasmtime` makes it.  Settings
are the C API's `wasmtime_config_<setting>_set`, and for short `opt=none`, `regalloc=single_pass`, `strategy=winch`;
`without=gc,simd` leaves features out.  Values pass by the bridge (docs/protocol.md), so nothing here knows a type.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import gc
import glob
import hashlib
import json
import os
import re
import sys
from ctypes import POINTER, byref, c_bool, c_char_p, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

# The C API.  Buffers of ROOM bytes stand for its structures; an extern is a kind, and from byte 8 on a handle.

OUT = POINTER(c_void_p)
CALLBACK = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, POINTER(c_uint64), c_size_t)

SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "wasm_config_new": (c_void_p, []),
    "wasm_engine_new_with_config": (c_void_p, [c_void_p]),
    "wasm_functype_new": (c_void_p, [c_void_p, c_void_p]),
    "wasm_valtype_new": (c_void_p, [c_uint8]),
    "wasm_valtype_vec_new": (None, [c_void_p, c_size_t, OUT]),
    "wasm_byte_vec_delete": (None, [c_void_p]),
    "wasm_trap_message": (None, [c_void_p, c_void_p]),
    "wasm_trap_delete": (None, [c_void_p]),
    "wasmtime_error_message": (None, [c_void_p, c_void_p]),
    "wasmtime_error_delete": (None, [c_void_p]),
    "wasmtime_trap_new": (c_void_p, [c_char_p, c_size_t]),
    "wasmtime_trap_code": (c_bool, [c_void_p, POINTER(c_uint8)]),
    "wasmtime_module_new": (c_void_p, [c_void_p, c_char_p, c_size_t, OUT]),
    "wasmtime_module_delete": (None, [c_void_p]),
    "wasmtime_store_new": (c_void_p, [c_void_p, c_void_p, c_void_p]),
    "wasmtime_store_context": (c_void_p, [c_void_p]),
    "wasmtime_store_delete": (None, [c_void_p]),
    "wasmtime_instance_new": (c_void_p, [c_void_p, c_void_p, c_char_p, c_size_t, c_char_p, OUT]),
    "wasmtime_instance_export_get": (c_bool, [c_void_p, c_char_p, c_char_p, c_size_t, c_char_p]),
    "wasmtime_func_call": (c_void_p, [c_void_p, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, OUT]),
    "wasmtime_func_new_unchecked": (None, [c_void_p, c_void_p, CALLBACK, c_void_p, c_void_p, c_void_p]),
    "wasmtime_memory_data": (c_void_p, [c_void_p, c_void_p]),
    "wasmtime_memory_data_size": (c_size_t, [c_void_p, c_void_p]),
}
OPTIONAL: dict[str, tuple[Any, list[Any]]] = {
    "wasmtime_store_limiter": (None, [c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64]),
    "wasmtime_context_set_fuel": (c_void_p, [c_void_p, c_uint64]),
    "wasmtime_context_take_exception": (c_bool, [c_void_p, c_char_p]),
    "wasmtime_exnref_unroot": (None, [c_char_p]),
    "wasmtime_extern_delete": (None, [c_char_p]),
    "wasmtime_externref_unroot": (None, [c_char_p]),
    "wasmtime_externref_new": (c_bool, [c_void_p, c_void_p, c_void_p, c_char_p]),
    "wasmtime_externref_data": (c_void_p, [c_void_p, c_char_p]),
    "wasmtime_externref_to_raw": (c_uint32, [c_void_p, c_char_p]),
    "wasmtime_externref_from_raw": (None, [c_void_p, c_uint32, c_char_p]),
    "wasmtime_sharedmemory_data": (c_void_p, [c_void_p]),
    "wasmtime_sharedmemory_data_size": (c_size_t, [c_void_p]),
}
ROOM = 64
HANDLE = 8
FUNC, MEMORY, SHARED_MEMORY = 0, 3, 4
VALUE_TYPES = {"i32": 0, "i64": 1, "externref": 128}

CHOICES = {
    "opt": ("cranelift_opt_level", ("none", "speed", "speed_and_size")),
    "regalloc": ("cranelift_regalloc_algorithm", ("backtracking", "single_pass")),
    "strategy": ("strategy", ("auto", "cranelift", "winch")),
}
PROBES = {
    # feature: the setting that switches it on, and a module that only an engine with the feature compiles
    "mvp": ("", ""),
    "sign-extension": ("", "01060160017f017f030201000a070105002000c00b"),
    "saturating-truncation": ("", "01060160017d017f030201000a080106002000fc000b"),
    "multi-value": ("multi_value", "0106016000027f7f030201000a08010600410041000b"),
    "bulk-memory": ("bulk_memory", "0104016000000302010005030100010a0d010b00410041004100fc0b000b"),
    "reference-types": ("reference_types", "0105016000016f030201000404016f00010a08010600410025000b"),
    "simd": ("simd", "01060160017b017b030201000a080106002000fd610b"),
    "extended-const": ("", "0609017f00410041006a0b"),
    "tail-call": ("tail_call", "010401600000030201000a0601040012000b"),
    "multi-memory": ("multi_memory", "0105016000017f03020100050502000100010a0a0108004100284201000b"),
    "memory64": ("memory64", "0105016000017f0302010005030104010a0901070042002802000b"),
    "table64": ("memory64", "0105016000016f030201000404016f04010a08010600420025000b"),
    "relaxed-simd": ("relaxed_simd", "01060160017b017b030201000a0b01090020002000fd80020b"),
    "function-references": ("function_references", "0109026000006001640000030201010a08010600200014000b"),
    "exceptions": ("exceptions", "010401600000030201000d030100000a0f010d0002401f4001020008000b0b0b"),
    "gc": ("gc", "0109025f017f016000017f030201010a0b010900fb0100fb0200000b"),
}
BASES = {"relaxed-simd": "simd", "gc": "function-references", "table64": "memory64"}
"""Features that the library does not take without another one."""

TRAPS = (
    *("STACK_OVERFLOW", "MEMORY_OUT_OF_BOUNDS", "HEAP_MISALIGNED", "TABLE_OUT_OF_BOUNDS", "INDIRECT_CALL_TO_NULL"),
    *("BAD_SIGNATURE", "INTEGER_OVERFLOW", "INTEGER_DIVISION_BY_ZERO", "BAD_CONVERSION_TO_INTEGER"),
    "UNREACHABLE_CODE_REACHED",
)
"""Names of the first trap codes; the numbers after them changed over time, and their words are taken instead."""

RESOURCES = {
    "STACK_OVERFLOW": "call stack",
    "wasmlab: host depth": "call stack",
    "all fuel consumed": "fuel",
    "allocation size too large": "memory",
}
HOST_TRAP, HOST_DEPTH = "wasmlab: host trap", "wasmlab: host depth"
MAX_REENTRIES = 50
KEPT_BRIDGES = 1000
BLOCK = 4096
ZEROS = bytes(BLOCK)


class Failed(Exception):
    """A step that ended otherwise than by returning; the arguments are kind and detail of its outcome."""


class Library:
    """The library, and the engine in one configuration."""

    def __init__(self, path: str, settings: dict[str, str]) -> None:
        self.dll = ctypes.CDLL(path)
        for name, (result, parameters) in (SIGNATURES | OPTIONAL).items():
            if name in SIGNATURES or hasattr(self.dll, name):
                function = getattr(self.dll, name)
                function.restype, function.argtypes = result, parameters
        self.has_exceptions = hasattr(self.dll, "wasmtime_context_take_exception")
        self.settings = dict(settings)
        self.bridges: dict[str, int] = {}
        lacking = self.settings.pop("without", "").split(",")
        self.without = [name for name in PROBES if name in lacking or BASES.get(name) in lacking]
        self.counts_fuel = self.settings.get("consume_fuel") == "true" and hasattr(
            self.dll, "wasmtime_context_set_fuel"
        )
        wanted = [name for name in PROBES if name not in self.without]
        if self.fails(wanted):
            wanted = self.bearable(wanted)
        self.engine = self.new_engine(wanted)
        self.features = [name for name in PROBES if name not in self.without and self.compiles(PROBES[name][1])]

    def new_engine(self, features: list[str]) -> int:
        """An engine; aborts the process where the library does not like the settings."""
        config = self.dll.wasm_config_new()
        self.set(config, "parallel_compilation", "false")
        for names, value in ((features, "true"), (self.without, "false")):
            for setting in {PROBES[name][0] for name in names} - {""}:
                self.set(config, f"wasm_{setting}", value, optional=True)
        for key, value in self.settings.items():
            self.set(config, key, value)
        engine: int = self.dll.wasm_engine_new_with_config(config)
        return engine

    def set(self, config: int, key: str, value: str, optional: bool = False) -> None:
        """Make a setting; ends the process with a message where there is none of that name or value."""
        if key == "target":
            self.dll.wasmtime_config_target_set.restype = c_void_p
            error = self.dll.wasmtime_config_target_set(c_void_p(config), value.encode())
            if error:
                sys.exit(f"target={value}: {self.error_message(error)}")
            return
        name, choices = CHOICES.get(key, (key, ()))
        number = {"true": 1, "false": 0}.get(value) if not choices else None
        if choices and value in choices:
            number = choices.index(value)
        elif not choices and value.isdigit():
            number = int(value)
        setter = getattr(self.dll, f"wasmtime_config_{name}_set", None)
        if setter is None or number is None:
            if optional or key == "parallel_compilation":
                return
            sys.exit(f"{key}={value}: this library has no such setting or value")
        setter.restype, setter.argtypes = None, [c_void_p, c_uint64]
        setter(config, number)

    def fails(self, features: list[str]) -> bool:
        """Whether an engine with these features ends the process or does not have them all, tried in a child."""
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            self.engine = self.new_engine(features)
            os._exit(not all(self.compiles(PROBES[name][1]) for name in features))
        return os.waitpid(child, 0)[1] != 0

    def bearable(self, features: list[str]) -> list[str]:
        """The features that the library accepts with these settings, each added to those before it."""
        found: list[str] = []
        for name in features:
            if not self.fails([*found, name]):
                found.append(name)
        return found

    def compiles(self, body: str) -> bool:
        """Whether a probe compiles."""
        try:
            self.dll.wasmtime_module_delete(self.compile(b"\0asm\1\0\0\0" + bytes.fromhex(body)))
        except Failed:
            return False
        return True

    def compile(self, data: bytes) -> int:
        """A module of the engine."""
        module = c_void_p()
        error = self.dll.wasmtime_module_new(self.engine, data, len(data), byref(module))
        if error:
            raise Failed(*rejection(self.error_message(error)))
        return module.value or 0

    def bridge(self, encoded: str) -> int:
        """A module that observes another one: many cases have the same, so the last ones stay compiled."""
        module = self.bridges.pop(encoded, None) or self.compile(base64.b64decode(encoded))
        self.bridges[encoded] = module
        if len(self.bridges) > KEPT_BRIDGES:
            self.dll.wasmtime_module_delete(self.bridges.pop(next(iter(self.bridges))))
        return module

    def error_message(self, error: int) -> str:
        """The message of an error, which is freed."""
        text = self._text(self.dll.wasmtime_error_message, error)
        self.dll.wasmtime_error_delete(error)
        return text

    def _text(self, function: Any, thing: int) -> str:
        vector = (c_size_t * 2)()
        function(thing, vector)
        text = ctypes.string_at(vector[1], vector[0]).decode(errors="replace").rstrip("\0")
        self.dll.wasm_byte_vec_delete(vector)
        return text

    def trap(self, trap: int) -> Failed:
        """What a trap means; it is freed."""
        code = c_uint8()
        has_code = self.dll.wasmtime_trap_code(trap, byref(code))
        if has_code and code.value < len(TRAPS):
            words = TRAPS[code.value]
        else:
            text = self._text(self.dll.wasm_trap_message, trap)
            words = text.rpartition("wasm trap: ")[2].partition("\n")[0] if "wasm trap: " in text else text
        self.dll.wasm_trap_delete(trap)
        return ours(words) or Failed("trapped", words)

    def function_type(self, params: tuple[str, ...], results: tuple[str, ...]) -> int:
        """A function type, kept for the life of the process."""
        vectors = []
        for names in (params, results):
            types = (c_void_p * len(names))(*[self.dll.wasm_valtype_new(VALUE_TYPES[name]) for name in names])
            vectors.append((c_size_t * 2)())
            self.dll.wasm_valtype_vec_new(vectors[-1], len(names), types)
        type_: int = self.dll.wasm_functype_new(*vectors)
        return type_


UNSUPPORTED = re.compile(
    r"not enabled|is disabled|not (yet )?(supported|implemented)|[Ii]mplementation limit|[Uu]nsupported"
)
EXHAUSTED = re.compile(
    r"resource limit|exceeds memory limit|out of memory|[Ii]nsufficient|limit exceeded|failed to reserve"
)


def ours(words: str) -> Failed | None:
    """What the host module's own traps and exhausted resources mean."""
    if HOST_TRAP in words:
        return Failed("trapped", "host")
    resource = next((what for text, what in RESOURCES.items() if text in words), None)
    return Failed("exhausted", resource) if resource else None


def rejection(message: str) -> tuple[str, str]:
    """Outcome of a module that does not compile; Wasmtime does not tell malformed from invalid."""
    return ("unsupported" if UNSUPPORTED.search(message) else "invalid"), message


class Store:
    """A store: instances by name, and what is registered for imports."""

    def __init__(self, library: Library, host: Host) -> None:
        self.library, self.dll, self.host = library, library.dll, host
        self.store = self.dll.wasmtime_store_new(library.engine, None, None)
        self.context = self.dll.wasmtime_store_context(self.store)
        if hasattr(self.dll, "wasmtime_store_limiter"):
            self.dll.wasmtime_store_limiter(self.store, 1 << 31, 10_000_000, 10_000, 10_000, 10_000)
        self.instances: dict[str, Any] = {}
        self.registered: dict[str, Any] = {}
        self.host_functions: dict[str, Any] = {}
        self.fuel: int | None = None

    def close(self) -> None:
        """Free everything in it."""
        self.dll.wasmtime_store_delete(self.store)

    def refuel(self) -> None:
        """Give the next instantiation or call its fuel."""
        if self.library.counts_fuel:
            self.dll.wasmtime_context_set_fuel(self.context, (1 << 62) if self.fuel is None else self.fuel)

    def export(self, instance: Any, name: str) -> Any:
        """An export as an extern, None where there is none."""
        extern = ctypes.create_string_buffer(ROOM)
        encoded = name.encode()
        found = self.dll.wasmtime_instance_export_get(self.context, instance, encoded, len(encoded), extern)
        return extern if found else None

    def find(self, step: dict[str, Any]) -> Any:
        """The export that a step names."""
        if step["name"] not in self.instances:
            raise Failed("unsupported", f"no instance {step['name']}")
        extern = self.export(self.instances[step["name"]], step["export"])
        if extern is None:
            raise Failed("unsupported", f"no export {step['export']}")
        return extern

    def resolve(self, module: str | None, name: str, of: str | None) -> Any:
        """An import."""
        if module == "lab" and (found := self.host.function(self, name)):
            return found
        instance = self.instances.get(of or "") if module is None else self.registered.get(module)
        extern = instance and self.export(instance, name)
        if not extern:
            raise Failed("unlinkable", f"unknown import: {module} {name}")
        return extern

    def instantiate(self, step: dict[str, Any]) -> list[str]:
        of = step.get("of")
        if of is not None and of not in self.instances:
            raise Failed("unsupported", f"no instance {of}")
        library = self.library
        module = library.compile(base64.b64decode(step["module"])) if of is None else library.bridge(step["module"])
        try:
            externs = [self.resolve(module_name, name, of) for module_name, name in step.get("imports", ())]
            stride = self.host.stride
            imports = b"".join([extern.raw[:stride] for extern in externs])
            instance, trap = ctypes.create_string_buffer(ROOM), c_void_p()
            self.refuel()
            error = self.dll.wasmtime_instance_new(self.context, module, imports, len(externs), instance, byref(trap))
        finally:
            if of is None:
                self.dll.wasmtime_module_delete(module)
        self.check(error, trap, "unlinkable")
        self.instances[step["name"]] = instance
        return []

    def check(self, error: int | None, trap: c_void_p, otherwise: str) -> None:
        """Raise what a call of the C API ended in, if not in success."""
        if error:
            message = self.library.error_message(error)
            raise ours(message) or Failed("exhausted" if EXHAUSTED.search(message) else otherwise, message)
        if not trap.value:
            return
        failed = self.library.trap(trap.value)
        if self.library.has_exceptions:
            exception = ctypes.create_string_buffer(ROOM)
            if self.dll.wasmtime_context_take_exception(self.context, exception):
                self.dll.wasmtime_exnref_unroot(exception)
                failed = Failed("threw", "")
        raise failed

    def register(self, step: dict[str, Any]) -> list[str]:
        if step["name"] not in self.instances:
            raise Failed("unsupported", f"no instance {step['name']}")
        self.registered[step["as"]] = self.instances[step["name"]]
        return []

    def call(self, step: dict[str, Any]) -> list[str]:
        extern = self.find(step)
        if extern.raw[0] != FUNC:
            raise Failed("unsupported", f"export {step['export']} is no function")
        for _ in range(step.get("repeat", 1)):
            trap = c_void_p()
            self.refuel()
            error = self.dll.wasmtime_func_call(
                self.context, ctypes.addressof(extern) + HANDLE, None, 0, None, 0, byref(trap)
            )
            if error or trap.value:
                self.check(error, trap, "unsupported")
        return []

    def memory(self, step: dict[str, Any]) -> tuple[int, int]:
        """Address and size of an exported memory."""
        extern = self.find(step)
        handle = ctypes.addressof(extern) + HANDLE
        if extern.raw[0] == MEMORY:
            return (
                self.dll.wasmtime_memory_data(self.context, handle) or 0,
                self.dll.wasmtime_memory_data_size(self.context, handle),
            )
        if extern.raw[0] == SHARED_MEMORY:
            shared = ctypes.cast(handle, OUT)[0]
            found = self.dll.wasmtime_sharedmemory_data(shared) or 0, self.dll.wasmtime_sharedmemory_data_size(shared)
            self.dll.wasmtime_extern_delete(extern)
            return found
        raise Failed("unsupported", f"export {step['export']} is no memory")

    def write(self, step: dict[str, Any]) -> list[str]:
        address, size = self.memory(step)
        data, at = bytes.fromhex(step["hex"]), step["at"]
        if at < 0 or at + len(data) > size:
            raise Failed("unsupported", f"bytes {at} to {at + len(data)} of a memory of {size}")
        ctypes.memmove(address + at, data, len(data))
        return []

    def read(self, step: dict[str, Any], full: bool) -> list[str]:
        address, size = self.memory(step)
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
    """Module `lab`: callbacks made once, which act on the store at work."""

    def __init__(self, library: Library) -> None:
        self.library, self.dll = library, library.dll
        self.store: Store | None = None
        self.trace: list[str] = []
        self.depth = 0
        self.callbacks: dict[str, tuple[tuple[str, ...], tuple[str, ...], Any]] = {
            "log": (("i32", "i64"), (), self.log),
            "trap": ((), (), self.trap),
            "reenter": (("i32",), (), self.reenter),
        }
        if "reference-types" in library.features and hasattr(self.dll, "wasmtime_externref_unroot"):
            self.callbacks["extern"] = (("i32",), ("externref",), self.extern)
            self.callbacks["number"] = (("externref",), ("i32",), self.number)
        self.functions = {
            name: (library.function_type(params, results), CALLBACK(self.guarded(code)))
            for name, (params, results, code) in self.callbacks.items()
        }
        self.stride = 0
        self.stride = self.measure_stride()

    def measure_stride(self) -> int:
        """The size of an extern, which grew over the versions: up to where one of a memory is written."""
        store = Store(self.library, self)
        try:
            module = base64.b64encode(b"\0asm\1\0\0\0" + bytes.fromhex("05030100010705010161 0200")).decode()
            store.instantiate({"name": "", "module": module})
            extern = ctypes.create_string_buffer(b"\xa5" * ROOM, ROOM)
            self.dll.wasmtime_instance_export_get(store.context, store.instances[""], b"a", 1, extern)
            return len(extern.raw.rstrip(b"\xa5")) + HANDLE - 1 & -HANDLE
        finally:
            store.close()

    def function(self, store: Store, name: str) -> Any:
        """The function of that name as an extern of the store, None where there is none."""
        if name not in self.functions:
            return None
        if name not in store.host_functions:
            type_, callback = self.functions[name]
            extern = ctypes.create_string_buffer(ROOM)
            handle = ctypes.addressof(extern) + HANDLE
            self.dll.wasmtime_func_new_unchecked(store.context, type_, callback, None, None, handle)
            store.host_functions[name] = extern
        return store.host_functions[name]

    def guarded(self, code: Any) -> Any:
        """A callback that turns whatever Python raises into a trap: an exception would be ignored."""

        def callback(_env: int, _caller: int, values: Any, _count: int) -> int:
            try:
                return code(values) or 0
            except Exception as error:
                return self.new_trap(f"wasmlab: {error!r}")

        return callback

    def new_trap(self, message: str) -> int:
        encoded = message.encode()
        trap: int = self.dll.wasmtime_trap_new(encoded, len(encoded))
        return trap

    def log(self, values: Any) -> None:
        self.trace.append(f"{values[0] & 0xFFFF_FFFF:x},{values[2]:x}")

    def trap(self, values: Any) -> int:
        return self.new_trap(HOST_TRAP)

    def reenter(self, values: Any) -> int:
        store = self.store
        callee = store and store.registered.get("lab.callee")
        extern = store and callee and store.export(callee, "reenter")
        if not store or not extern or extern.raw[0] != FUNC:
            return 0
        if self.depth >= MAX_REENTRIES:
            return self.new_trap(HOST_DEPTH)
        argument = (c_uint64 * (ROOM // 8))(VALUE_TYPES["i32"], values[0] & 0xFFFF_FFFF)
        trap = c_void_p()
        self.depth += 1
        try:
            error = self.dll.wasmtime_func_call(
                store.context,
                ctypes.addressof(extern) + HANDLE,
                ctypes.cast(argument, c_char_p),
                1,
                None,
                0,
                byref(trap),
            )
        finally:
            self.depth -= 1
        if error:
            # Its cause is at the end; before it each level tells all backtraces of those below.
            return self.new_trap(self.library.error_message(error)[-300:])
        return trap.value or 0

    def extern(self, values: Any) -> int:
        """The number, plus one because null is no datum, is the datum of the reference."""
        context, reference = self.store and self.store.context, ctypes.create_string_buffer(ROOM)
        if not self.dll.wasmtime_externref_new(context, (values[0] & 0xFFFF_FFFF) + 1, None, reference):
            return self.new_trap("wasmlab: no room for a reference")
        values[0] = self.dll.wasmtime_externref_to_raw(context, reference)
        self.forget(reference)
        return 0

    def forget(self, reference: Any) -> None:
        """Free a root; before there were exceptions it took other parameters, and the store frees it anyway."""
        if self.library.has_exceptions:
            self.dll.wasmtime_externref_unroot(reference)

    def number(self, values: Any) -> int:
        context, reference, raw = self.store and self.store.context, ctypes.create_string_buffer(ROOM), values[0]
        datum = 0
        if raw & 0xFFFF_FFFF:
            self.dll.wasmtime_externref_from_raw(context, raw & 0xFFFF_FFFF, reference)
            datum = self.dll.wasmtime_externref_data(context, reference) or 0
            self.forget(reference)
        values[0] = datum - 1 & 0xFFFF_FFFF
        return 0


class Worker:
    """The protocol."""

    def __init__(self, library: Library, answers: int) -> None:
        self.library, self.answers = library, answers
        self.host = Host(library)
        self.sessions: dict[str, Store] = {}

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
        session = request.get("session")
        store = self.sessions.pop(session, None) if session is not None else None
        store = store or Store(self.library, self.host)
        store.fuel = request.get("fuel")
        self.host.store, self.host.trace, self.host.depth = store, [], 0
        full = request.get("observe") == "full"
        try:
            outcomes = [store.step(step, full) for step in steps]
        finally:
            self.host.store = None
            if session is None or any(step["do"] == "end" for step in steps):
                store.close()
            else:
                self.sessions[session] = store
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
