"""Stores of Wasmtime: what a worker does in one, the same for every shape of the C API.

An *extern* is what an instance exports or imports; only the store that it came from knows what it is.
"""

from __future__ import annotations

import abc
import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_size_t, c_uint8, c_uint64, c_void_p
from typing import Any

from wasmlab_adapters.workers.wasmtime_api import (
    OUT,
    ROOM,
    VALUE_TYPES,
    Api,
    Failed,
    HostTrap,
    Room,
    export_names,
    vector,
)

HANDLE = 8
FUNC, MEMORY, SHARED_MEMORY = 0, 3, 4
EXTERNREF = 6
"""The kind of a value that is a host's reference, until 21."""
MASKS = {"i32": 0xFFFF_FFFF, "i64": 0xFFFF_FFFF_FFFF_FFFF, "externref": 0xFFFF_FFFF}
"""What of a value's bits counts; of a reference since 22, where it is an index."""

LIMITS = (1 << 31, 10_000_000, 10_000, 10_000, 10_000)
"""Of a memory in bytes, of a table in elements, and the numbers of instances, tables and memories of a store."""

Code = Callable[..., "int | None"]
"""A host function: numbers in, a number or nothing out.  A host's reference is its number, or -1 for any other."""


class HostFunction:
    """A function of the host, for every store: `store` says which one is at work when it is called."""

    def __init__(
        self, api: Api, params: tuple[str, ...], results: tuple[str, ...], code: Code, store: Callable[[], Store]
    ) -> None:
        self.params, self.results, self.code, self.store = params, results, code, store
        self.type = api.function_type(params, results)
        self.callback = kind_of_store(api).callback(self)

    def run(self, args: int, results: int) -> int:
        """Call it with what lies at these addresses; the address of the trap that it ended in, or 0.

        Python's exceptions must not get out: the library would not hear of them.
        """
        store = self.store()
        try:
            found = self.code(*[store.number(args + at * store.VALUE, t) for at, t in enumerate(self.params)])
            if found is not None:
                store.put(results, self.results[0], found)
        except HostTrap as trap:
            (what,) = trap.args
            return what if isinstance(what, int) else store.new_trap(what)
        except Exception as error:
            return store.new_trap(f"wasmlab: {error!r}")
        return 0


class Store(abc.ABC):
    """A store with its instances and host functions."""

    VALUE: int
    """The size of a value in bytes."""

    def __init__(self, api: Api, engine: int) -> None:
        self.api, self.dll = api, api.dll

    @staticmethod
    @abc.abstractmethod
    def callback(function: HostFunction) -> Any:
        """What the library calls for a host function."""

    @abc.abstractmethod
    def number(self, address: int, type_: str) -> int:
        """A value that a host function was given."""

    @abc.abstractmethod
    def put(self, address: int, type_: str, found: int) -> None:
        """A result of a host function.  The datum of a reference is its number plus one: null is no datum."""

    @abc.abstractmethod
    def close(self) -> None:
        """Free everything in it."""

    @abc.abstractmethod
    def new_trap(self, message: str) -> int:
        """A trap of the host's."""

    @abc.abstractmethod
    def host_function(self, function: HostFunction) -> Any:
        """A host function as an extern."""

    @abc.abstractmethod
    def instantiate(self, module: int, data: bytes, externs: list[Any]) -> Any:
        """An instance; `data` is the module that `module` was compiled from."""

    @abc.abstractmethod
    def export(self, instance: Any, name: str) -> Any:
        """An export, None where there is none."""

    @abc.abstractmethod
    def is_function(self, extern: Any) -> bool: ...

    def is_shared_memory(self, extern: Any) -> bool:
        """Whether it is a memory that is shared; releases whose API knows of none say no."""
        return False

    @abc.abstractmethod
    def invoke(self, extern: Any, args: list[int]) -> tuple[int, int]:
        """Call a function with i32s, without results: addresses of the error and of the trap that it ended in."""

    @abc.abstractmethod
    def memory(self, extern: Any) -> tuple[int, int]:
        """Address and size of a memory."""

    @abc.abstractmethod
    def collect(self) -> None:
        """Collect garbage, where the library can be asked to."""

    def refuel(self, fuel: int) -> None:
        """Give what runs next its fuel."""
        raise Failed("unsupported", "this library cannot set fuel")

    def call(self, extern: Any) -> None:
        """Call a function without parameters and results; `Failed` unless it returns."""
        error, trap = self.invoke(extern, [])
        if error or trap:
            raise self.failed(error, trap, "unsupported")

    def failed(self, error: int | None, trap: int | None, otherwise: str) -> Failed:
        """What a call of the API ended in, if not in success."""
        return self.api.error(error, otherwise) if error else self.api.trap(trap or 0)


class Handles(Store):
    """Since 0.27; references as they were until 21, values with their kind."""

    CALLBACK: Any = CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)
    VALUE = 24
    stride = 0
    """The size of an extern, which grew over the versions."""

    def __init__(self, api: Api, engine: int) -> None:
        super().__init__(api, engine)
        self.store = self.dll.wasmtime_store_new(engine, None, None)
        self.context = self.dll.wasmtime_store_context(self.store)
        if api.limited and hasattr(self.dll, "wasmtime_store_limiter"):
            self.dll.wasmtime_store_limiter(self.store, *LIMITS)
        if not Handles.stride:
            Handles.stride = self._measure(engine)

    def collect(self) -> None:
        if hasattr(self.dll, "wasmtime_context_gc"):
            self.dll.wasmtime_context_gc(self.context)

    def _measure(self, engine: int) -> int:
        """The size of an extern: up to where one of a memory is written."""
        data = b"\0asm\1\0\0\0" + bytes.fromhex("05030100010705010161 0200")
        module = self.api.compile(engine, data)
        instance, extern = self.instantiate(module, data, []), ctypes.create_string_buffer(b"\xa5" * ROOM, ROOM)
        self.dll.wasmtime_instance_export_get(self.context, instance, b"a", 1, extern)
        self.api.release(module)
        return len(extern.raw.rstrip(b"\xa5")) + HANDLE - 1 & -HANDLE

    @staticmethod
    def callback(function: HostFunction) -> Any:
        def callback(_env: int, _caller: int, args: int, _n: int, results: int, _m: int) -> int:
            return function.run(args, results)

        return Handles.CALLBACK(callback)

    def number(self, address: int, type_: str) -> int:
        found = c_uint64.from_address(address + HANDLE).value
        if type_ == "externref":
            return (self.dll.wasmtime_externref_data(found) or 0) - 1 if found else -1
        return found & MASKS[type_]

    def put(self, address: int, type_: str, found: int) -> None:
        externref = type_ == "externref"
        c_uint8.from_address(address).value = EXTERNREF if externref else VALUE_TYPES[type_]
        value = self.dll.wasmtime_externref_new(found + 1, None) if externref else found & MASKS[type_]
        c_uint64.from_address(address + HANDLE).value = value

    def close(self) -> None:
        self.dll.wasmtime_store_delete(self.store)

    def refuel(self, fuel: int) -> None:
        self.dll.wasmtime_context_set_fuel(self.context, fuel)

    def new_trap(self, message: str) -> int:
        encoded = message.encode()
        trap: int = self.dll.wasmtime_trap_new(encoded, len(encoded))
        return trap

    def host_function(self, function: HostFunction) -> Any:
        extern = Room()
        self._new_function(
            self.context, function.type, function.callback, None, None, ctypes.addressof(extern) + HANDLE
        )
        return extern

    @property
    def _new_function(self) -> Any:
        return self.dll.wasmtime_func_new

    def instantiate(self, module: int, data: bytes, externs: list[Any]) -> Any:
        imports = b"".join([extern.raw[: self.stride] for extern in externs])
        instance, trap = Room(), c_void_p()
        error = self.dll.wasmtime_instance_new(self.context, module, imports, len(externs), instance, byref(trap))
        if error or trap.value:
            raise self.failed(error, trap.value, "unlinkable")
        return instance

    def failed(self, error: int | None, trap: int | None, otherwise: str) -> Failed:
        failed = super().failed(error, trap, otherwise)
        if self.api.has_exceptions:  # a start function that throws is an error, not a trap
            exception = Room()
            if self.dll.wasmtime_context_take_exception(self.context, exception):
                if hasattr(self.dll, "wasmtime_exnref_unroot"):
                    self.dll.wasmtime_exnref_unroot(exception)
                else:
                    self.dll.wasmtime_exn_delete(ctypes.cast(exception, OUT)[0])
                return Failed("threw", "")
        elif failed.args[1].startswith("thrown Wasm exception"):  # until 43 there is no way to take it
            return Failed("threw", "")
        return failed

    def export(self, instance: Any, name: str) -> Any:
        extern = Room()
        encoded = name.encode()
        found = self.dll.wasmtime_instance_export_get(self.context, instance, encoded, len(encoded), extern)
        return extern if found else None

    def is_function(self, extern: Any) -> bool:
        return bool(extern.raw[0] == FUNC)

    def is_shared_memory(self, extern: Any) -> bool:
        return bool(extern.raw[0] == SHARED_MEMORY)

    def invoke(self, extern: Any, args: list[int]) -> tuple[int, int]:
        trap, arguments = c_void_p(), None
        address = ctypes.addressof(extern) + HANDLE
        if args:
            values = (c_uint64 * ROOM)()
            for at, number in enumerate(args):
                values[at * self.VALUE // 8], values[at * self.VALUE // 8 + 1] = VALUE_TYPES["i32"], number
            arguments = ctypes.cast(values, c_char_p)
        error = self.dll.wasmtime_func_call(self.context, address, arguments, len(args), None, 0, byref(trap))
        return error or 0, trap.value or 0

    def memory(self, extern: Any) -> tuple[int, int]:
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
        raise Failed("unsupported", "this export is no memory")


class Roots(Handles):
    """Since 22: references are roots; host functions take values without their kind."""

    CALLBACK: Any = CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_void_p, c_size_t)
    VALUE = 16

    @staticmethod
    def callback(function: HostFunction) -> Any:
        return Roots.CALLBACK(lambda _env, _caller, values, _n: function.run(values, values))

    @property
    def _new_function(self) -> Any:
        return self.dll.wasmtime_func_new_unchecked

    def number(self, address: int, type_: str) -> int:
        found = c_uint64.from_address(address).value & MASKS[type_]
        if type_ != "externref":
            return found
        if not found:
            return -1
        reference = Room()
        self.dll.wasmtime_externref_from_raw(self.context, found, reference)
        datum = self.dll.wasmtime_externref_data(self.context, reference) or 0
        self._forget(reference)
        return datum - 1

    def put(self, address: int, type_: str, found: int) -> None:
        if type_ == "externref":
            reference = Room()
            if not self.dll.wasmtime_externref_new(self.context, found + 1, None, reference):
                raise HostTrap("wasmlab: no room for a reference")
            found = self.dll.wasmtime_externref_to_raw(self.context, reference)
            self._forget(reference)
        c_uint64.from_address(address).value = found & MASKS[type_]

    def _forget(self, reference: Any) -> None:
        """Free a root; before there were exceptions it took other parameters, and the store frees it anyway."""
        if self.api.has_exceptions:
            self.dll.wasmtime_externref_unroot(reference)


class Objects(Store):
    """Until 0.26: externs are pointers, instances their exports by name."""

    CALLBACK: Any = CFUNCTYPE(c_size_t, c_void_p, POINTER(c_size_t), POINTER(c_size_t))
    VALUE = 16

    def __init__(self, api: Api, engine: int) -> None:
        super().__init__(api, engine)
        self.store = self.dll.wasm_store_new(engine)
        self._functions: list[int] = []
        self._instances: list[int] = []
        self._exports: list[Any] = []

    @staticmethod
    def callback(function: HostFunction) -> Any:
        return Objects.CALLBACK(lambda _env, args, results: function.run(args[1], results[1]))

    def number(self, address: int, type_: str) -> int:
        found = c_uint64.from_address(address + HANDLE).value
        if type_ != "externref":
            return found & MASKS[type_]
        datum = c_void_p()
        known = found and self.dll.wasmtime_externref_data(address, byref(datum))
        return (datum.value or 0) - 1 if known else -1

    def put(self, address: int, type_: str, found: int) -> None:
        if type_ == "externref":
            self.dll.wasmtime_externref_new(found + 1, address)
        else:
            c_uint8.from_address(address).value = VALUE_TYPES[type_]
            c_uint64.from_address(address + HANDLE).value = found & MASKS[type_]

    def close(self) -> None:
        for exports in self._exports:
            self.dll.wasm_extern_vec_delete(exports)
        for instance in self._instances:
            self.dll.wasm_instance_delete(instance)
        for function in self._functions:
            self.dll.wasm_func_delete(function)
        self.dll.wasm_store_delete(self.store)

    def collect(self) -> None:
        """It counts references, and has nothing to collect."""

    def new_trap(self, message: str) -> int:
        encoded = message.encode() + b"\0"
        trap: int = self.dll.wasm_trap_new(self.store, vector(encoded))
        return trap

    def host_function(self, function: HostFunction) -> Any:
        found = self.dll.wasm_func_new_with_env(self.store, function.type, function.callback, None, None)
        self._functions.append(found)
        return self.dll.wasm_func_as_extern(found)

    def instantiate(self, module: int, data: bytes, externs: list[Any]) -> Any:
        array = (c_void_p * len(externs))(*externs)
        imports = (c_size_t * 2)(len(externs), ctypes.addressof(array))
        instance, trap = c_void_p(), c_void_p()
        error = self.dll.wasmtime_instance_new(self.store, module, imports, byref(instance), byref(trap))
        if error or trap.value:
            raise self.failed(error, trap.value, "unlinkable")
        self._instances.append(instance.value or 0)
        exports = (c_size_t * 2)()
        self.dll.wasm_instance_exports(instance, exports)
        self._exports.append(exports)
        found = ctypes.cast(exports[1], OUT)
        return {name: found[at] for at, name in enumerate(export_names(data))}

    def export(self, instance: Any, name: str) -> Any:
        return instance.get(name)

    def is_function(self, extern: Any) -> bool:
        return bool(self.dll.wasm_extern_kind(extern) == FUNC)

    def invoke(self, extern: Any, args: list[int]) -> tuple[int, int]:
        values = (c_uint64 * (2 * len(args)))()
        for at, number in enumerate(args):
            values[2 * at], values[2 * at + 1] = VALUE_TYPES["i32"], number
        given = (c_size_t * 2)(len(args), ctypes.addressof(values))
        nothing, trap = (c_size_t * 2)(), c_void_p()
        error = self.dll.wasmtime_func_call(self.dll.wasm_extern_as_func(extern), given, nothing, byref(trap))
        return error or 0, trap.value or 0

    def memory(self, extern: Any) -> tuple[int, int]:
        if self.dll.wasm_extern_kind(extern) != MEMORY:
            raise Failed("unsupported", "this export is no memory")
        memory = self.dll.wasm_extern_as_memory(extern)
        return self.dll.wasm_memory_data(memory) or 0, self.dll.wasm_memory_data_size(memory)


def kind_of_store(api: Api) -> type[Store]:
    """The stores of a library."""
    return Roots if api.has_roots else Handles if api.has_handles else Objects
