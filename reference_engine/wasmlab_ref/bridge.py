"""Bridge modules: how an engine is called and observed without an API for values.

A bridge stands on the host's side of a module under test.  It starts with that module's types, so a type index means
the same in both (unless nothing that it imports needs them: then all modules of one outside have the same bridge).  It
imports what can be observed, all of it, so that a module has one bridge whatever is asked; and exports a memory and a
function "run" of type `() -> ()`.  That works on a *record* in the memory: it takes arguments from it, calls or reads,
and stores what it found as bits.  The worker calls a function and reads a memory, and needs no values at all.

A record is

    0   i32   status: 0 not entered, 1 entered (and left by a trap), 2 returned, 3 threw what no exported tag
              matches, 4+k threw the k-th exported tag
    4   i32   which call or look it is
    8   i32   how far the next record is
    16  …     arguments, then results; or behind the arguments of all functions, the payload of the exception
              8 bytes a number, 16 a vector; a reference is an i64, its shape below and its payload above bit 32

The address of the record stands at address 0, and moves on with each call: so nothing is written or read in between,
and compilers, whose cost is by function and handler, see one of each.  A record that is used repeatedly is followed by
none (it says 0), until the next address is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from . import bridge_code as code
from .bridge_code import HEADER, SHAPES, TABLE_BOUND, Coder, Slot, Source, layout, makeable
from .case import SAME, WIDTHS, Outcome, parse_value, value
from .encode import encode
from .interface import Interface
from .syntax import Export, Import, Module
from .types import FuncRef, GlobalType, Limits, MemType, RefType, TableType, TagType

PAGE = 1 << 16
FIRST = 16
"""The address of the first record."""
WITH_PAYLOAD = frozenset(("ref.extern", "ref.i31", "ref.array", SAME))


class Unbridgeable(ValueError):
    """What no bridge can do: a missing export, an argument that no host can make."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of an exported function, or `repeat` of them with the same arguments, of which the last one counts."""

    export: str
    args: tuple[str, ...] = ()
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Reads:
    """One look at exported globals and tables."""

    exports: tuple[str, ...]


Use: TypeAlias = Call | Reads


@dataclass(frozen=True, slots=True)
class Place:
    """The record of a use.  After a repeated use `then` must be written at address 0."""

    address: int
    entry: Entry
    then: bytes = b""


@dataclass(frozen=True, slots=True)
class Records:
    """For each use its place, or why it has none; what must be written from address 0 on before the first; how far
    the last reaches."""

    places: tuple[Place | str, ...]
    initial: bytes
    size: int


@dataclass(frozen=True, slots=True)
class CallEntry:
    """The record of a call."""

    export: str
    selector: int
    args: tuple[Slot, ...]
    results: tuple[Slot, ...]
    tags: tuple[str, ...]
    payloads: tuple[tuple[Slot, ...], ...]
    size: int

    @property
    def args_end(self) -> int:
        """The offset behind the arguments."""
        return HEADER + sum(16 if slot.type == "v128" else 8 for slot in self.args)

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
    """The record of a look at all exported globals and tables, by name."""

    parts: Mapping[str, ReadPart]
    selector: int
    size: int

    def outcome(self, record: bytes, export: str) -> Outcome:
        """The outcome for one of them."""
        if int.from_bytes(record[:4], "little") != code.RETURNED:
            return Outcome("unparsed", detail="the bridge came back without a result")
        return Outcome("returned", _global_or_table(self.parts[export], record))


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
    """A bridge module, the imports it needs in order, and how each exported function is called, or why it cannot be."""

    binary: bytes
    imports: tuple[Source, ...]
    calls: Mapping[str, CallEntry | str]
    reads: ReadEntry

    @property
    def reach(self) -> int:
        """How far a single record reaches, at most."""
        return FIRST + max(entry.size for entry in (self.reads, *self.calls.values()) if not isinstance(entry, str))

    def records(self, uses: Sequence[Use]) -> Records:
        """The records of uses, in the order in which they will take place."""
        places: list[Place | str] = []
        content, at = bytearray(FIRST.to_bytes(4, "little")), FIRST
        for use in uses:
            entry, args = self._asked(use)
            if isinstance(entry, str):
                places.append(entry)
                continue
            repeated = isinstance(use, Call) and use.repeat > 1
            end = at + entry.size
            content += bytes(at + code.SELECTOR - len(content)) + entry.selector.to_bytes(4, "little")
            content += (0 if repeated else entry.size).to_bytes(HEADER - code.SIZE, "little") + args
            places.append(Place(at, entry, end.to_bytes(4, "little") if repeated else b""))
            at = end
        return Records(tuple(places), bytes(content), at)

    def _asked(self, use: Use) -> tuple[Entry | str, bytes]:
        """The entry for a use and the bytes of its arguments, or why there is none."""
        if isinstance(use, Reads):
            missing = [name for name in use.exports if name not in self.reads.parts]
            return (f"no exported global or table {missing[0]!r}" if missing else self.reads), b""
        entry = self.calls.get(use.export, f"no exported function {use.export!r}")
        if isinstance(entry, str):
            return entry, b""
        try:
            return entry, entry.arguments(use.args)
        except Unbridgeable as error:
            return str(error), b""


def build(
    face: Interface,
    features: frozenset[str],
    catch: bool,
    pages: int = 1,
    named: bool = False,
    given_memory: bool = False,
) -> Bridge:
    """The bridge of a module, with a memory of so many pages.

    It needs no feature beyond `features` and those that the module itself needs.  `catch` says whether exceptions are
    to be caught, for which `features` must contain them.  `named` is for engines that link by name: then the imports
    have the names of what they stand for, from module "of" or "lab"; else none, so that more bridges are the same.
    `given_memory`: the memory is imported, last, as "memory" of "lab".
    """
    tags = [name for name, type_ in face.exports.items() if isinstance(type_, TagType)]
    return _Builder(face, features, tags if catch and "exceptions" in features else None).build(
        pages, named, given_memory
    )


class _Builder:
    """`tags` are the exports that are caught; None: nothing is."""

    def __init__(self, face: Interface, features: frozenset[str], tags: Sequence[str] | None) -> None:
        self.face, self.tags = face, tags
        self.calls: dict[str, CallEntry | str] = {}
        for name, type_ in face.exports.items():
            if isinstance(type_, FuncRef):
                self.calls[name] = self._call_entry(name, type_)
        self.entries = [entry for entry in self.calls.values() if isinstance(entry, CallEntry)]
        self._payloads()
        self.reads = self._read_entry()
        imports = [*(entry.export for entry in self.entries), *(tags or ()), *self.reads.parts]
        plain = all(face.is_plain(face.exports[name]) for name in imports)
        self.coder = Coder(face, features, plain)
        for name in imports:
            self.coder.importing(None, name, face.exports[name])

    def build(self, pages: int, named: bool, given_memory: bool) -> Bridge:
        self._import_host()
        memory = MemType(Limits(pages))
        if given_memory:
            self.coder.importing("lab", "memory", memory)
        exports = [Export("memory", "memory", 0), Export("run", "func", self._run())]
        module = Module(
            types=tuple(self.coder.types),
            imports=self._named() if named else tuple(self.coder.imports),
            funcs=tuple(self.coder.funcs),
            memories=() if given_memory else (memory,),
            exports=tuple(exports),
        )
        return Bridge(encode(module), tuple(self.coder.sources), self.calls, self.reads)

    # Records

    def _call_entry(self, export: str, type_: FuncRef) -> CallEntry | str:
        comp = self.face.func_type(type_)
        args, end = layout(self.face, comp.params, HEADER)
        for slot in args:
            if isinstance(slot.type, RefType) and not makeable(slot):
                return f"the host can make no reference for parameter {args.index(slot)}"
        results, size = layout(self.face, comp.results, end)
        selector = sum(isinstance(entry, CallEntry) for entry in self.calls.values())
        return CallEntry(export, selector, args, results, (), (), size + 15 & ~15)

    def _payloads(self) -> None:
        """All calls have the payload of an exception at one place, behind the arguments, which may be needed again."""
        start = max((entry.args_end for entry in self.entries), default=HEADER)
        payloads, end = [], HEADER
        for name in self.tags or ():
            tag = self.face.exports[name]
            params = self.face.func_type(tag).params if isinstance(tag, TagType) else ()
            payload, payload_end = layout(self.face, params, start)
            payloads.append(payload)
            end = max(end, payload_end + 15 & ~15)
        self.entries = [
            replace(entry, tags=tuple(self.tags or ()), payloads=tuple(payloads), size=max(entry.size, end))
            for entry in self.entries
        ]
        self.calls |= {entry.export: entry for entry in self.entries}

    def _read_entry(self) -> ReadEntry:
        parts, end = {}, HEADER
        for name, type_ in self.face.exports.items():
            match type_:
                case GlobalType(value_type):
                    (slot,), end = layout(self.face, [value_type], end)
                    parts[name] = ReadPart(name, "global", slot)
                case TableType(_, element, address):
                    (slot,), _ = layout(self.face, [element], end)
                    parts[name] = ReadPart(name, "table", slot, address)
                    end += 8 + 8 * TABLE_BOUND
        return ReadEntry(parts, len(self.entries), end + 15 & ~15)

    # Imports, then the function

    def _import_host(self) -> None:
        seen = [part.slot for part in self.reads.parts.values()]
        for entry in self.entries:
            seen += [*entry.results, *(slot for payload in entry.payloads for slot in payload)]
        args = [slot for entry in self.entries for slot in entry.args if slot.hierarchy]
        if any(makeable(slot) > {"ref.null"} or "ref.null" not in makeable(slot) for slot in args):
            self.coder.import_host("extern")
        if any(slot.hierarchy in ("any", "extern") for slot in seen):
            self.coder.import_host("number")

    def _run(self) -> int:
        """The function, which does what the record says."""
        locals_, index = code.Locals(), self._index
        bodies = [self.coder.call(index(entry.export), entry.args, entry.results, locals_) for entry in self.entries]
        if parts := self.reads.parts.values():
            bodies.append(self.coder.read([(p.kind, index(p.export), p.slot, p.address) for p in parts], locals_))
        catches = None
        if self.tags is not None and self.entries:
            catches = list(zip(map(index, self.tags), self.entries[0].payloads, strict=True))
        return self.coder.working(code.moving(), bodies, catches, locals_)

    def _named(self) -> tuple[Import, ...]:
        pairs = zip(self.coder.imports, self.coder.sources, strict=True)
        return tuple(Import(module or "of", name, imported.type) for imported, (module, name) in pairs)

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
