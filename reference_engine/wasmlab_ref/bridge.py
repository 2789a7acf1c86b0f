"""Bridge modules: how an engine is called and observed without an API for values.

A bridge stands on the host's side of a module under test.  It starts with that module's types, so a type index means
the same in both (unless nothing that it imports needs them: then all modules of one outside have the same bridge).  It
imports what is to be observed, and exports a memory and functions `() -> ()`.  Each of these works on a *record* in the
memory: it takes arguments from it, calls or reads, and stores what it found as bits.  The worker calls functions and
reads a memory, and needs no values at all.

A record is

    0   i32   status: 0 not entered, 1 entered (and left by a trap), 2 returned, 3 threw what no exported tag
              matches, 4+k threw the k-th exported tag
    4   i32   which call or look it is
    8   i32   the size of the record
    16  …     arguments, then results; or in their place, where no next call needs them, the payload of the exception
              8 bytes a number, 16 a vector; a reference is an i64, its shape below and its payload above bit 32

All uses of a bridge without `repeat` are by one function, "run".  It finds its record by a cursor that moves on each
time, and there what it is to do: so nothing is written or read in between, and compilers, whose cost is by function and
handler, see one of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from . import bridge_code as code
from .bridge_code import HEADER, SHAPES, TABLE_BOUND, Coder, Slot, Source, layout, makeable
from .case import SAME, WIDTHS, Outcome, parse_value, value
from .encode import encode
from .interface import Interface
from .syntax import Export, Global, Instr, Module, instr
from .types import FuncRef, GlobalType, Limits, MemType, RefType, TableType, TagType

PAGE = 1 << 16
WITH_PAYLOAD = frozenset(("ref.extern", "ref.i31", "ref.array", SAME))


class Unbridgeable(ValueError):
    """What no bridge can do: a missing export, an argument that no host can make."""


@dataclass(frozen=True, slots=True)
class Call:
    """Calls of an exported function.

    With `args` it is one call of a case.  Without them, or with `repeat`, it works on a record of its own, however
    often it is called, and arguments may be written there before.
    """

    export: str
    args: tuple[str, ...] | None = None
    repeat: int = 1

    @property
    def fixed(self) -> bool:
        """Whether the record is always the same."""
        return self.args is None or self.repeat > 1


@dataclass(frozen=True, slots=True)
class Reads:
    """One look at exported globals and tables; `fixed` as for calls."""

    exports: tuple[str, ...]
    fixed: bool = False


Use: TypeAlias = Call | Reads


@dataclass(frozen=True)
class Place:
    """Where a use of a bridge leaves what it finds: the exported function, and the address of its record.

    A record that is not `fixed` stands where the cursor is by then, if every use before it came into "run".
    """

    function: str
    address: int
    entry: Entry
    fixed: bool


@dataclass(frozen=True, slots=True)
class CallEntry:
    """The record of a call."""

    export: str
    args: tuple[Slot, ...]
    results: tuple[Slot, ...]
    tags: tuple[str, ...]
    payloads: tuple[tuple[Slot, ...], ...]
    size: int

    @property
    def imports(self) -> tuple[str, ...]:
        """The exports that its function needs."""
        return (self.export, *self.tags)

    def arguments(self, args: Sequence[str]) -> bytes:
        """The bytes of the record from `HEADER` on that hold these arguments; raises `Unbridgeable`."""
        if len(args) != len(self.args):
            raise Unbridgeable(f"{len(args)} arguments for {len(self.args)} parameters")
        return b"".join(_stored(slot, arg) for slot, arg in zip(self.args, args, strict=True))

    def outcome(self, record: bytes) -> Outcome:
        """What a call that came back left in its record."""
        status = int.from_bytes(record[:4], "little")
        if status == code.RETURNED:
            return Outcome("returned", tuple(_value(slot, record) for slot in self.results))
        if status == code.THREW:
            return Outcome("threw")
        if 0 <= (tag := status - code.THREW_TAG) < len(self.tags):
            return Outcome("threw", tuple(_value(slot, record) for slot in self.payloads[tag]), self.tags[tag])
        return Outcome("unparsed", detail=f"the call came back, but its bridge says {status}")


class ReadPart(NamedTuple):
    """A global with the slot of its value, or a table with the slot of its size (its elements follow)."""

    export: str
    kind: str
    slot: Slot
    address: str = ""


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """The record of a look at some exports."""

    parts: tuple[ReadPart, ...]
    size: int

    @property
    def imports(self) -> tuple[str, ...]:
        """The exports that its function needs."""
        return tuple(part.export for part in self.parts)

    def outcomes(self, record: bytes) -> list[Outcome]:
        """The outcome for each export."""
        if int.from_bytes(record[:4], "little") != code.RETURNED:
            return [Outcome("unparsed", detail="the bridge came back without a result")] * len(self.parts)
        return [Outcome("returned", _global_or_table(part, record)) for part in self.parts]


Entry: TypeAlias = CallEntry | ReadEntry


def _global_or_table(part: ReadPart, record: bytes) -> tuple[str, ...]:
    slot = part.slot
    if part.kind == "global":
        return (_value(slot, record),)
    size = int.from_bytes(record[slot.offset : slot.offset + 8], "little")
    places = (slot._replace(offset=slot.offset + 8 * (i + 1)) for i in range(min(size, TABLE_BOUND)))
    return (value(part.address, size), *(_value(place, record) for place in places))


@dataclass(frozen=True)
class Bridge:
    """A bridge module, the imports it needs in order, and for each use its place or why it has none."""

    binary: bytes
    imports: tuple[Source, ...]
    places: tuple[Place | str, ...]
    size: int
    """Up to where records reach: what to read of its memory to see them all."""
    initial: bytes
    """What must be written to its memory, from the start, before anything is called: headers and arguments."""


def build(face: Interface, uses: Sequence[Use], features: frozenset[str], catch: bool) -> Bridge:
    """The bridge for these uses, in the order in which they will take place.

    It needs no feature beyond `features` and those that the module itself needs.  `catch` says whether exceptions are
    to be caught, for which `features` must contain them.
    """
    return _Builder(face, features, catch and "exceptions" in features).build(uses)


class _Builder:
    def __init__(self, face: Interface, features: frozenset[str], catch: bool) -> None:
        self.face, self.features, self.catch = face, features, catch
        self.entries: dict[tuple[str | tuple[str, ...], bool], Entry] = {}
        self.selectors: dict[str | tuple[str, ...], int] = {}
        self.fixed: list[Place] = []
        self.initial = bytearray()
        self.size = 0

    def build(self, uses: Sequence[Use]) -> Bridge:
        # The cursor passes over the records of the moving uses: the fixed ones lie behind them.
        order = sorted(range(len(uses)), key=lambda i: uses[i].fixed)
        placed = {i: self._place(uses[i]) for i in order}
        chosen = [self.entries[key, False] for key in self.selectors]
        needed = [*chosen, *(place.entry for place in self.fixed)]
        plain = all(self.face.is_plain(self.face.exports[name]) for entry in needed for name in entry.imports)
        self.coder = Coder(self.face, self.features, plain)
        for entry in needed:
            self._import(entry)
        exports = [Export("memory", "memory", 0)]
        if chosen:
            start = code.moving(self.coder.imported_globals)
            exports.append(Export("run", "func", self._function(start, chosen)))
        for place in self.fixed:
            exports.append(Export(place.function, "func", self._function(code.fixed(place.address), [place.entry])))
        module = Module(
            types=tuple(self.coder.types),
            imports=tuple(self.coder.imports),
            funcs=tuple(self.coder.funcs),
            memories=(MemType(Limits(self.size + PAGE - 1 >> 16)),),
            globals=(Global(GlobalType("i32", True), (instr("i32.const", 0),)),),
            exports=tuple(exports),
        )
        places = tuple(placed[i] for i in range(len(uses)))
        return Bridge(encode(module), tuple(self.coder.sources), places, self.size, bytes(self.initial))

    # Records

    def _place(self, use: Use) -> Place | str:
        key = use.export if isinstance(use, Call) else use.exports
        try:
            if (key, use.fixed) not in self.entries:
                new = self._call_entry(key, use.fixed) if isinstance(key, str) else self._read_entry(key)
                self.entries[key, use.fixed] = new
            entry = self.entries[key, use.fixed]
            args = b""
            if isinstance(use, Call) and isinstance(entry, CallEntry) and use.args is not None:
                args = entry.arguments(use.args)
        except Unbridgeable as error:
            return str(error)
        address = self.size
        self.size += entry.size
        if use.fixed:
            self.initial += bytes(address + HEADER - len(self.initial)) + args if args else b""
            self.fixed.append(Place(str(len(self.fixed)), address, entry, True))
            return self.fixed[-1]
        selector = self.selectors.setdefault(key, len(self.selectors))
        header = selector.to_bytes(HEADER - code.SELECTOR - 8, "little") + entry.size.to_bytes(8, "little")
        self.initial += bytes(address + code.SELECTOR - len(self.initial)) + header + args
        return Place("run", address, entry, False)

    def _call_entry(self, export: str, fixed: bool) -> CallEntry:
        """The entry of a call; moving records, whose arguments are used once, all have their payload at one place."""
        type_ = self.face.exports.get(export)
        if not isinstance(type_, FuncRef):
            raise Unbridgeable(f"no exported function {export!r}")
        comp = self.face.func_type(type_)
        args, end = layout(self.face, comp.params, HEADER)
        for slot in args:
            if isinstance(slot.type, RefType) and not makeable(slot):
                raise Unbridgeable(f"the host can make no reference for parameter {args.index(slot)}")
        results, size = layout(self.face, comp.results, end)
        tags, payloads, start = [], [], end if fixed else HEADER
        if self.catch:
            for name, tag in self.face.exports.items():
                if isinstance(tag, TagType):
                    payload, payload_end = layout(self.face, self.face.func_type(tag).params, start)
                    tags.append(name)
                    payloads.append(payload)
                    size = max(size, payload_end)
        return CallEntry(export, args, results, tuple(tags), tuple(payloads), size + 15 & ~15)

    def _read_entry(self, exports: tuple[str, ...]) -> ReadEntry:
        parts, end = [], HEADER
        for name in exports:
            match self.face.exports.get(name):
                case GlobalType(type_):
                    (slot,), end = layout(self.face, [type_], end)
                    parts.append(ReadPart(name, "global", slot))
                case TableType(_, element, address):
                    (slot,), _ = layout(self.face, [element], end)
                    parts.append(ReadPart(name, "table", slot, address))
                    end += 8 + 8 * TABLE_BOUND
                case _:
                    raise Unbridgeable(f"no exported global or table {name!r}")
        return ReadEntry(tuple(parts), end + 15 & ~15)

    # Imports, then functions

    def _import(self, entry: Entry) -> None:
        coder = self.coder
        for name in entry.imports:
            coder.importing(None, name, self.face.exports[name])
        if isinstance(entry, ReadEntry):
            seen = [part.slot for part in entry.parts]
        else:
            seen = [*entry.results, *(slot for payload in entry.payloads for slot in payload)]
            if any(
                makeable(slot) > {"ref.null"} or "ref.null" not in makeable(slot)
                for slot in entry.args
                if slot.hierarchy
            ):
                coder.import_host("extern")
        if any(slot.hierarchy in ("any", "extern") for slot in seen):
            coder.import_host("number")

    def _function(self, start: list[Instr], entries: Sequence[Entry]) -> int:
        """A function that works on records of these entries; the first that is called says what is caught."""
        locals_ = code.Locals()
        bodies = [self._body(entry, locals_) for entry in entries]
        called = next((entry for entry in entries if isinstance(entry, CallEntry)), None)
        catches = None
        if self.catch and called:
            tags = [self._index(name) for name in called.tags]
            catches = list(zip(tags, called.payloads, strict=True))
        return self.coder.working(start, bodies, catches, locals_)

    def _body(self, entry: Entry, locals_: code.Locals) -> list[Instr]:
        if isinstance(entry, CallEntry):
            return self.coder.call(self._index(entry.export), entry.args, entry.results, locals_)
        return self.coder.read([(p.kind, self._index(p.export), p.slot, p.address) for p in entry.parts], locals_)

    def _index(self, export: str) -> int:
        return self.coder.importing(None, export, self.face.exports[export])


# Values


def _value(slot: Slot, record: bytes) -> str:
    at = slot.offset
    if isinstance(slot.type, RefType):
        bits = int.from_bytes(record[at : at + 8], "little")
        shape = SHAPES[bits & 0xF]
        return f"{shape}:{bits >> 32:x}" if shape in WITH_PAYLOAD else shape
    return value(slot.type, int.from_bytes(record[at : at + WIDTHS[slot.type] // 8], "little"))


def _stored(slot: Slot, arg: str) -> bytes:
    """An argument as the bytes of its slot."""
    try:
        type_, bits = parse_value(arg)
    except ValueError as error:
        raise Unbridgeable(str(error)) from None
    if isinstance(slot.type, RefType):
        if type_ not in makeable(slot) or bits >> _PAYLOAD_BITS.get(type_, 0):
            raise Unbridgeable(f"the host cannot pass {arg} here")
        return (SHAPES.index(type_) | bits << 32).to_bytes(8, "little")
    if type_ != slot.type:
        raise Unbridgeable(f"{arg} for a parameter of type {slot.type}")
    return bits.to_bytes(16 if type_ == "v128" else 8, "little")


_PAYLOAD_BITS = {"ref.extern": 31, "ref.i31": 31}
