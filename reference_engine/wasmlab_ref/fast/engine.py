"""The C engine from Python: stores, and whole cases in one call.

    with Store() as store:
        outcomes = store.run([Load("m", binary), Invoke("m", "add", ("i32:1", "i32:2"))])

A store is used by one thread at a time; the interpreter's lock is released while C works.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import TracebackType
from typing import TypeAlias

from ..case import Case, Instantiate, Invoke, Outcome, Read, Register
from ..isa import INSTRUCTIONS
from ..limits import Limits
from ..profile import NAN_PROFILES, RELAXED, Profile
from . import engine_handle, load
from .generate import OP_COUNT
from .seen import MNEMONICS, names_seen

KINDS = ("returned", "trapped", "threw", "exhausted", "malformed", "invalid", "unlinkable", "unsupported")
"""Kinds of outcomes, as program.c numbers them."""

UNLIMITED = (1 << 63) - 1
ALL_FEATURES = 0xFFFFFFFF
FIRST_RELAXED = 0x100
"""Second part of the opcode of i8x16.relaxed_swizzle."""

Import: TypeAlias = tuple[str | None, str]
"""Module and name; where the module is None, the export of the instance that `Load.of` names."""


class _Limits(ctypes.Structure):
    _fields_ = (
        ("features", ctypes.c_uint32),
        ("module_bytes", ctypes.c_uint64),
        ("validation_work", ctypes.c_uint64),
        ("fuel", ctypes.c_int64),
        ("call_depth", ctypes.c_uint32),
        ("host_depth", ctypes.c_uint32),
        ("values", ctypes.c_uint64),
        ("locals", ctypes.c_uint64),
        ("memory_pages", ctypes.c_uint64),
        ("table_elements", ctypes.c_uint64),
        ("heap_bytes", ctypes.c_uint64),
    )


class _Profile(ctypes.Structure):
    _fields_ = (("nan", ctypes.c_uint8), ("refuses", ctypes.c_uint8), ("relaxed", ctypes.c_uint8 * 20))


class _Seen(ctypes.Structure):
    _fields_ = (
        ("instructions", ctypes.c_uint64),
        ("ops", ctypes.c_uint32 * OP_COUNT),
        ("rules", ctypes.c_uint8 * 256),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("function", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
        ("op", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What ran: rules of the formal specification, mnemonics, and how many instructions (in functions)."""

    rules: frozenset[str]
    executed: frozenset[str]
    instructions: int


@dataclass(frozen=True, slots=True)
class Event:
    """An instruction that ran, or what it did; `offset` is where its opcode is in the module.

    `kind` is "instruction" (`values`: its topmost operands, where they decide on a rule), "call" (the function),
    "branch" (whether it was taken), "read" or "write" (address and number of bytes).
    """

    kind: str
    function: int
    offset: int
    mnemonic: str
    values: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Load:
    """Instantiate a binary under `name`; with `imports` None each import is found under its own names."""

    name: str
    binary: bytes
    imports: Sequence[Import] | None = None
    of: str = ""


@dataclass(frozen=True, slots=True)
class Validate:
    """Decode and validate a binary."""

    binary: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """Write into an exported memory."""

    name: str
    export: str
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ReadBytes:
    """Read an exported memory: `size` bytes from `at`; all of them with "full", or the digest."""

    name: str
    export: str
    mode: str = "digest"
    at: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Get:
    """The value of an exported global, or the size and the first elements of a table."""

    name: str
    export: str


Step: TypeAlias = Load | Validate | Register | Invoke | Write | ReadBytes | Get
EVENT_KINDS = ("instruction", "call", "branch", "read", "write")
MODES = {"bytes": 0, "digest": 1, "full": 2}


@cache
def _library(events: bool) -> ctypes.CDLL:
    library = load(events)
    pointer = ctypes.c_void_p
    library.wl_default_limits.restype = _Limits
    library.wl_store_new.argtypes = (pointer, ctypes.POINTER(_Limits), ctypes.POINTER(_Profile))
    library.wl_store_new.restype = pointer
    library.wl_store_free.argtypes = (pointer,)
    library.wl_store_free.restype = None
    library.wl_store_limit.argtypes = (pointer, ctypes.c_int64, ctypes.c_uint32, ctypes.c_uint64)
    library.wl_store_limit.restype = None
    library.wl_store_deadline.argtypes = (pointer, ctypes.c_uint64)
    library.wl_store_deadline.restype = None
    library.wl_store_stress.argtypes = library.wl_store_interrupt.argtypes = (pointer, ctypes.c_bool)
    library.wl_store_stress.restype = library.wl_store_interrupt.restype = None
    library.wl_store_collections.argtypes = (pointer,)
    library.wl_store_collections.restype = ctypes.c_uint64
    library.wl_program.argtypes = (
        pointer, ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_size_t),
    )  # fmt: skip
    library.wl_program.restype = ctypes.c_bool
    library.wl_store_seen.argtypes = library.wl_store_clear.argtypes = (pointer,)
    library.wl_store_seen.restype = ctypes.POINTER(_Seen)
    library.wl_store_clear.restype = None
    library.wl_store_trace.argtypes = (pointer, ctypes.c_size_t)
    library.wl_store_trace.restype = None
    library.wl_store_events.argtypes = (pointer, ctypes.POINTER(ctypes.c_size_t))
    library.wl_store_events.restype = ctypes.POINTER(_Event)
    library.wl_rule_name.restype = library.wl_end_name.restype = ctypes.c_char_p
    return library


@lru_cache(maxsize=16)
def _limits(events: bool, limits: Limits) -> _Limits:
    found: _Limits = _library(events).wl_default_limits()
    found.features = ALL_FEATURES
    for name, _ in _Limits._fields_:
        if name != "fuel" and hasattr(limits, name):
            setattr(found, name, getattr(limits, name))
    found.fuel = UNLIMITED if limits.fuel is None else limits.fuel
    return found


@cache
def _profile(profile: Profile) -> _Profile:
    if profile.nan not in NAN_PROFILES or not {name for name, _ in profile.single} <= RELAXED.keys():
        raise ValueError("the C path takes no NaNs of single instructions")
    relaxed = [0] * 20
    for row in INSTRUCTIONS:
        if row.mnemonic in RELAXED:
            relaxed[(row.opcodes[0] & 0xFFFF) - FIRST_RELAXED] = profile.choice(row.mnemonic)
    return _Profile(NAN_PROFILES.index(profile.nan), 1 - profile.grow, (ctypes.c_uint8 * 20)(*relaxed))


# Programs: program.c describes the bytes


def _text(text: str | bytes) -> bytes:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return len(data).to_bytes(4, "little") + data


_name = lru_cache(maxsize=1 << 12)(_text)
"""The same, for texts that come again and again."""


def encode_step(step: Step) -> bytes:
    """A step as program.c reads it."""
    match step:
        case Load(name, binary, imports, of):
            parts = [b"\1", _name(name), _text(binary)]
            parts.append(struct.pack("<I", 0xFFFFFFFF if imports is None else len(imports)))
            for module, field in imports or ():
                parts += [b"\1" if module is None else b"\0", _name(module or ""), _name(field)]
            return b"".join((*parts, _name(of)))
        case Register(name, module):
            return b"\2" + _name(name) + _name(module)
        case Invoke(name, export, args, repeat):
            head = b"\3" + _name(name) + _name(export) + struct.pack("<II", repeat, len(args))
            return head + b"".join(map(_text, args))
        case Write(name, export, at, data):
            return b"\4" + _name(name) + _name(export) + struct.pack("<Q", at) + _text(data)
        case ReadBytes(name, export, mode, at, size):
            return b"\5" + _name(name) + _name(export) + struct.pack("<BQQ", MODES[mode], at, size)
        case Get(name, export):
            return b"\6" + _name(name) + _name(export)
        case Validate(binary):
            return b"\7" + _text(binary)


Told: TypeAlias = "tuple[str, list[str], str]"
"""An outcome as kind, values and detail."""


def _told(data: bytes, steps: int) -> tuple[list[Told], list[tuple[int, int]]]:
    """What an answer says: outcomes, and the trace."""
    number, at, found = struct.Struct("<I").unpack_from, 0, []
    for _ in range(steps):
        kind, detail, values = KINDS[data[at]], "", []
        (size,) = number(data, at + 1)
        at += 5
        if size:
            detail = data[at : at + size].decode("utf-8", "replace")
            at += size
        (count,) = number(data, at)
        at += 4
        for _ in range(count):
            (size,) = number(data, at)
            values.append(data[at + 4 : at + 4 + size].decode("utf-8", "replace"))
            at += 4 + size
        found.append((kind, values, detail))
    (count,) = number(data, at)
    return found, list(struct.iter_unpack("<IQ", data[at + 4 : at + 4 + 12 * count]))


DEFAULT_PROFILE, DEFAULT_LIMITS = Profile(), Limits()


class Store:
    """A store with its instances by name; `trace` is what lab.log was called with in the last `run`.

    With `stress` garbage is collected at every allocation; with `events` it is slower and tells what ran.
    """

    def __init__(
        self,
        profile: Profile | None = None,
        limits: Limits | None = None,
        stress: bool = False,
        events: bool = False,
    ) -> None:
        self._store: int | None = None
        library = _library(events)
        self.limits = limits or DEFAULT_LIMITS
        limits_ = _limits(events, self.limits)
        self._library = library
        self._store = library.wl_store_new(
            engine_handle(events), ctypes.byref(limits_), ctypes.byref(_profile(profile or DEFAULT_PROFILE))
        )
        if not self._store:
            raise MemoryError
        library.wl_store_stress(self._store, stress)
        self.trace: list[tuple[int, int]] = []

    def limit(self, fuel: int | None = None, stack: int = 100) -> None:
        """Fuel of each outermost call from now on, and the share of the stack, in percent."""
        self._library.wl_store_limit(
            self._store,
            UNLIMITED if fuel is None else min(fuel, UNLIMITED),
            self.limits.call_depth * stack // 100,
            self.limits.values * stack // 100,
        )

    def deadline(self, seconds: float) -> None:
        """How long calls may take from now on, all together; 0 for as long as they like."""
        self._library.wl_store_deadline(self._store, int(seconds * 1e9))

    def interrupt(self, on: bool = True) -> None:
        """End what is running, or will run, as exhausted "time", until it is off again; from any thread."""
        self._library.wl_store_interrupt(self._store, on)

    @property
    def collections(self) -> int:
        """How often garbage was collected."""
        return int(self._library.wl_store_collections(self._store))

    def run(self, steps: Iterable[Step]) -> list[Outcome]:
        """The outcomes of the steps; later ones are tried where one fails."""
        return [Outcome(kind, tuple(values), detail) for kind, values, detail in self.told(steps)]

    def told(self, steps: Iterable[Step]) -> list[Told]:
        """The same, as it comes."""
        encoded = [encode_step(step) for step in steps]
        program = b"".join(encoded)
        found, size = ctypes.c_void_p(), ctypes.c_size_t()
        if not self._library.wl_program(self._store, program, len(program), ctypes.byref(found), ctypes.byref(size)):
            raise MemoryError
        outcomes, self.trace = _told(ctypes.string_at(found, size.value), len(encoded))
        return outcomes

    def seen(self) -> Seen:
        """What ran since the store was made; for stores with `events`."""
        found = self._library.wl_store_seen(self._store)
        if not found:
            raise ValueError("a store without events")
        rules, executed = names_seen(self._library, found.contents.ops, found.contents.rules)
        return Seen(rules, executed, found.contents.instructions)

    def keep(self, most: int) -> None:
        """Keep the next `most` events for `events`; for stores with `events`."""
        self._library.wl_store_trace(self._store, most)

    def events(self) -> list[Event]:
        """The events kept so far."""
        n = ctypes.c_size_t()
        found = self._library.wl_store_events(self._store, ctypes.byref(n))
        return [Event(EVENT_KINDS[e.kind], e.function, e.offset, MNEMONICS[e.op], (e.a, e.b)) for e in found[: n.value]]

    def close(self) -> None:
        """Free the store; nothing of it may be used any more."""
        if self._store:
            self._library.wl_store_free(self._store)
            self._store = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def run_case(
    case: Case, profile: Profile | None = None, limits: Limits | None = None, exports: Mapping[str, str] | None = None
) -> list[Outcome]:
    """The outcomes of a case's steps in a store of its own; `exports` tells what a `Read` reads: "memory" or not."""
    steps: list[Step] = []
    for step in case.steps:
        match step:
            case Instantiate(name, module):
                steps.append(Load(name, case.modules[module]))
            case Read(name, export):
                is_memory = (exports or {}).get(f"{name}.{export}") == "memory"
                steps.append(ReadBytes(name, export) if is_memory else Get(name, export))
            case Register() | Invoke():
                steps.append(step)
    with Store(profile, limits) as store:
        return store.run(steps)
