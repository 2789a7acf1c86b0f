"""Wasmtime's C API by ctypes, in all its shapes since 0.23; it needs nothing but Python.

`Api` is a library; the stores are in `wasmtime_stores`.  Buffers of ROOM bytes stand for the API's structures.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from ctypes import POINTER, byref, c_bool, c_char_p, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

OUT = POINTER(c_void_p)
ROOM = 64
Room = ctypes.c_char * ROOM

Signature = tuple[Any, list[Any]]

COMMON: dict[str, Signature] = {
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
}
HANDLES: dict[str, Signature] = {
    "wasmtime_trap_new": (c_void_p, [c_char_p, c_size_t]),
    "wasmtime_module_new": (c_void_p, [c_void_p, c_char_p, c_size_t, OUT]),
    "wasmtime_module_delete": (None, [c_void_p]),
    "wasmtime_store_new": (c_void_p, [c_void_p, c_void_p, c_void_p]),
    "wasmtime_store_context": (c_void_p, [c_void_p]),
    "wasmtime_store_delete": (None, [c_void_p]),
    "wasmtime_instance_new": (c_void_p, [c_void_p, c_void_p, c_char_p, c_size_t, c_char_p, OUT]),
    "wasmtime_instance_export_get": (c_bool, [c_void_p, c_char_p, c_char_p, c_size_t, c_char_p]),
    "wasmtime_func_call": (c_void_p, [c_void_p, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, OUT]),
    "wasmtime_func_new": (None, [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]),
    "wasmtime_memory_data": (c_void_p, [c_void_p, c_void_p]),
    "wasmtime_memory_data_size": (c_size_t, [c_void_p, c_void_p]),
    "wasmtime_externref_data": (c_void_p, [c_void_p]),
    "wasmtime_externref_new": (c_void_p, [c_void_p, c_void_p]),
}
"""Since 0.27: stores own everything, and what lies in them is known by handles."""

ROOTS: dict[str, Signature] = {
    "wasmtime_func_new_unchecked": (None, [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]),
    "wasmtime_externref_new": (c_bool, [c_void_p, c_void_p, c_void_p, c_char_p]),
    "wasmtime_externref_data": (c_void_p, [c_void_p, c_char_p]),
    "wasmtime_externref_to_raw": (c_uint32, [c_void_p, c_char_p]),
    "wasmtime_externref_from_raw": (None, [c_void_p, c_uint32, c_char_p]),
    "wasmtime_externref_unroot": (None, [c_char_p]),
}
"""Since 22: references are roots of a store's collector."""

OBJECTS: dict[str, Signature] = {
    "wasm_trap_new": (c_void_p, [c_void_p, c_void_p]),
    "wasm_store_new": (c_void_p, [c_void_p]),
    "wasm_store_delete": (None, [c_void_p]),
    "wasm_module_delete": (None, [c_void_p]),
    "wasm_instance_delete": (None, [c_void_p]),
    "wasm_instance_exports": (None, [c_void_p, c_void_p]),
    "wasm_extern_vec_delete": (None, [c_void_p]),
    "wasm_extern_kind": (c_uint8, [c_void_p]),
    "wasm_extern_as_func": (c_void_p, [c_void_p]),
    "wasm_extern_as_memory": (c_void_p, [c_void_p]),
    "wasm_func_as_extern": (c_void_p, [c_void_p]),
    "wasm_func_delete": (None, [c_void_p]),
    "wasm_func_new_with_env": (c_void_p, [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]),
    "wasm_memory_data": (c_void_p, [c_void_p]),
    "wasm_memory_data_size": (c_size_t, [c_void_p]),
    "wasmtime_module_new": (c_void_p, [c_void_p, c_void_p, OUT]),
    "wasmtime_instance_new": (c_void_p, [c_void_p, c_void_p, c_void_p, OUT, OUT]),
    "wasmtime_func_call": (c_void_p, [c_void_p, c_void_p, c_void_p, OUT]),
    "wasmtime_externref_new": (None, [c_void_p, c_void_p]),
    "wasmtime_externref_data": (c_bool, [c_void_p, OUT]),
}
"""Until 0.26: everything is an object that counts its references."""

OPTIONAL: dict[str, Signature] = {
    "wasmtime_store_limiter": (None, [c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64]),
    "wasmtime_context_set_fuel": (c_void_p, [c_void_p, c_uint64]),
    "wasmtime_context_gc": (None, [c_void_p]),
    "wasmtime_context_take_exception": (c_bool, [c_void_p, c_char_p]),
    "wasmtime_exnref_unroot": (None, [c_char_p]),
    "wasmtime_exn_delete": (None, [c_void_p]),
    "wasmtime_extern_delete": (None, [c_char_p]),
    "wasmtime_sharedmemory_data": (c_void_p, [c_void_p]),
    "wasmtime_sharedmemory_data_size": (c_size_t, [c_void_p]),
    "wasmtime_module_serialize": (c_void_p, [c_void_p, c_void_p]),
    "wasmtime_module_deserialize": (c_void_p, [c_void_p, c_char_p, c_size_t, OUT]),
    "wasmtime_config_target_set": (c_void_p, [c_void_p, c_char_p]),
    "wasmtime_config_cranelift_flag_set": (None, [c_void_p, c_char_p, c_char_p]),
}
VALUE_TYPES = {"i32": 0, "i64": 1, "externref": 128}

TRAPS = {
    "STACK_OVERFLOW": "call stack exhausted",
    "MEMORY_OUT_OF_BOUNDS": "out of bounds memory access",
    "HEAP_MISALIGNED": "misaligned memory access",
    "TABLE_OUT_OF_BOUNDS": "out of bounds table access",
    "INDIRECT_CALL_TO_NULL": "uninitialized element",
    "BAD_SIGNATURE": "indirect call type mismatch",
    "INTEGER_OVERFLOW": "integer overflow",
    "INTEGER_DIVISION_BY_ZERO": "integer divide by zero",
    "BAD_CONVERSION_TO_INTEGER": "invalid conversion to integer",
    "UNREACHABLE_CODE_REACHED": "unreachable",
}
"""The names of traps in the C API, and what their messages say; what is not here is known by its words."""

RESOURCES = {
    "STACK_OVERFLOW": "call stack",
    "wasmlab: host depth": "call stack",
    "all fuel consumed": "fuel",
    "allocation size too large": "memory",
}
HOST_TRAP, HOST_DEPTH = "wasmlab: host trap", "wasmlab: host depth"

UNSUPPORTED = re.compile(
    r"not enabled|is disabled|not (yet )?(supported|implemented)|[Ii]mplementation limit|[Uu]nsupported"
)
TOO_MUCH = re.compile(r"greater than max supported")
EXHAUSTED = re.compile(
    r"resource limit|exceeds memory limit|out of memory|[Ii]nsufficient|limit exceeded|failed to reserve"
)


class Failed(Exception):
    """A step that ended otherwise than by returning; the arguments are kind and detail of its outcome."""


class HostTrap(Exception):
    """What a host function raises: the message of its trap, or a trap that is there already."""


class Api:
    """A library, with its functions declared."""

    def __init__(self, path: str) -> None:
        self.path, self.dll = path, ctypes.CDLL(path)
        self.limited = True
        """Whether stores get bounds on what memories and tables grow to."""
        self.has_handles = hasattr(self.dll, "wasmtime_store_new")
        self.has_roots = hasattr(self.dll, "wasmtime_externref_unroot")
        self.has_exceptions = hasattr(self.dll, "wasmtime_context_take_exception")
        signatures = COMMON | (HANDLES if self.has_handles else OBJECTS) | (ROOTS if self.has_roots else {})
        for name, (result, parameters) in (signatures | OPTIONAL).items():
            if name in signatures or hasattr(self.dll, name):
                function = getattr(self.dll, name)
                function.restype, function.argtypes = result, parameters

    def compile(self, engine: int, data: bytes) -> int:
        """A module; `Failed` where the engine refuses it."""
        module = c_void_p()
        if self.has_handles:
            error = self.dll.wasmtime_module_new(engine, data, len(data), byref(module))
        else:
            error = self.dll.wasmtime_module_new(engine, vector(data), byref(module))
        if error:
            message = self.error_message(error)
            # Wasmtime does not tell malformed from invalid.
            raise Failed("unsupported" if UNSUPPORTED.search(message) else "invalid", message)
        return module.value or 0

    def has_words(self, words: bytes) -> bool:
        """Whether these bytes are anywhere in the library."""
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(words) >= 0

    def serialized(self, engine: int, data: bytes) -> bytes:
        """The code that an engine makes of a module."""
        found = (c_size_t * 2)()
        module = self.compile(engine, data)
        error = self.dll.wasmtime_module_serialize(module, found)
        self.release(module)
        if error:
            raise Failed("unsupported", self.error_message(error))
        code = ctypes.string_at(found[1], found[0])
        self.dll.wasm_byte_vec_delete(found)
        return code

    def deserialized(self, engine: int, code: bytes) -> int:
        """A module from code that an engine made."""
        module = c_void_p()
        error = self.dll.wasmtime_module_deserialize(engine, code, len(code), byref(module))
        if error:
            raise Failed("unsupported", self.error_message(error))
        return module.value or 0

    def release(self, module: int) -> None:
        """Part with a module; instances of it live on."""
        (self.dll.wasmtime_module_delete if self.has_handles else self.dll.wasm_module_delete)(module)

    def error_message(self, error: int) -> str:
        """The message of an error, which is freed."""
        text = self._text(self.dll.wasmtime_error_message, error)
        self.dll.wasmtime_error_delete(error)
        return text

    def _text(self, function: Any, thing: int) -> str:
        found = (c_size_t * 2)()
        function(thing, found)
        text = ctypes.string_at(found[1], found[0]).decode(errors="replace").rstrip("\0")
        self.dll.wasm_byte_vec_delete(found)
        return text

    def trap(self, trap: int) -> Failed:
        """What a trap means; it is freed.

        Its code is not asked for: releases have ended the process at codes that their C API did not know.
        """
        text = self._text(self.dll.wasm_trap_message, trap)
        _, known, rest = text.rpartition("wasm trap: ")
        words = rest.partition("\n")[0] if known else text
        words = next((name for name, said in TRAPS.items() if known and said in words), words)
        self.dll.wasm_trap_delete(trap)
        return self.of_host(words) or Failed("trapped", words)

    def error(self, error: int, otherwise: str) -> Failed:
        """What an error means, which is freed: `otherwise`, unless it is about a resource or the host's own."""
        message = self.error_message(error)
        kind = "exhausted" if EXHAUSTED.search(message) else "unsupported" if TOO_MUCH.search(message) else otherwise
        return self.of_host(message) or Failed(kind, message)

    def of_host(self, words: str) -> Failed | None:
        """What the host module's own traps and exhausted resources mean."""
        if HOST_TRAP in words:
            return Failed("trapped", "host")
        resource = next((what for text, what in RESOURCES.items() if text in words), None)
        return Failed("exhausted", resource) if resource else None

    def function_type(self, params: tuple[str, ...], results: tuple[str, ...]) -> int:
        """A function type, kept for the life of the process."""
        vectors = []
        for names in (params, results):
            types = (c_void_p * len(names))(*[self.dll.wasm_valtype_new(VALUE_TYPES[name]) for name in names])
            vectors.append((c_size_t * 2)())
            self.dll.wasm_valtype_vec_new(vectors[-1], len(names), types)
        type_: int = self.dll.wasm_functype_new(*vectors)
        return type_


def vector(data: bytes) -> Any:
    """The bytes as one of the API's vectors, which does not own them: keep `data`."""
    return (c_size_t * 2)(len(data), ctypes.cast(c_char_p(data), c_void_p).value or 0)


def export_names(data: bytes) -> list[str]:
    """The names of a valid module's exports, in order."""
    at = 8

    def number() -> int:
        nonlocal at
        found = shift = 0
        while True:
            byte = data[at]
            at += 1
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found

    while at < len(data):
        section = data[at]
        at += 1
        size = number()
        if section != 7:
            at += size
            continue
        names = []
        for _ in range(number()):
            size = number()
            names.append(data[at : at + size].decode())
            at += size + 1
            number()
        return names
    return []
