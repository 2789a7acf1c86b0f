"""The code of bridge modules; see `bridge` for what they are.

Imports come first in every index space: so everything is imported before the first function is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .case import IDENTIFIED, SAME
from .decode import merge_runs
from .interface import Interface
from .syntax import Catch, Func, Import, Instr, MemArg, instr
from .types import (
    KINDS,
    SHORTHANDS,
    ExternType,
    FuncRef,
    FuncType,
    RecType,
    RefType,
    SubType,
    TagType,
    ValType,
)

ENTERED, RETURNED, THREW, THREW_TAG = 1, 2, 3, 4
SELECTOR, SIZE, HEADER = 4, 8, 16
TABLE_BOUND = 64
"""How many elements of a table are observed."""

SHAPES = ("ref.null", "ref.func", "ref.extern", "ref.i31", "ref.struct", "ref.array", "ref.exn", "ref.any", SAME)
NULL, FUNC, EXTERN, I31, STRUCT, ARRAY, EXN, ANY, SAME_AS = range(9)

_ANYREF, _EXTERNREF = SHORTHANDS["anyref"], SHORTHANDS["externref"]
_HELPERS = {
    "to_extern": FuncType(("i64",), (_EXTERNREF,)),
    "to_any": FuncType(("i64",), (_ANYREF,)),
    "shape_extern": FuncType((_EXTERNREF,), ("i64",)),
    "shape_any": FuncType((_ANYREF,), ("i64",)),
    "same": FuncType((_ANYREF, _ANYREF), ("i32",)),
}
_HOST = {"extern": FuncType(("i32",), (_EXTERNREF,)), "number": FuncType((_EXTERNREF,), ("i32",))}

Source = tuple[str | None, str]
"""Module and name of an import; None is the instance under test."""


class Slot(NamedTuple):
    """Where a value lies in a record; `hierarchy` is the top of a reference's heap type, "" for numbers."""

    type: ValType
    offset: int
    hierarchy: str


def layout(face: Interface, types: Iterable[ValType], offset: int) -> tuple[tuple[Slot, ...], int]:
    """Slots for values from `offset` on, and the offset behind them."""
    slots = []
    for t in types:
        slots.append(Slot(t, offset, face.hierarchy(t.heap) if isinstance(t, RefType) else ""))
        offset += 16 if t == "v128" else 8
    return tuple(slots), offset


def makeable(slot: Slot) -> frozenset[str]:
    """The shapes of references that the host can make for a parameter."""
    if not isinstance(slot.type, RefType):
        return frozenset()
    heap = slot.type.heap
    shapes = {
        "ref.null": slot.type.nullable,
        "ref.extern": heap in ("extern", "any"),
        "ref.i31": heap in ("any", "eq", "i31"),
    }
    return frozenset(shape for shape, possible in shapes.items() if possible)


class Locals:
    """The locals of a function; local 0 is the address of the record, the others are lent by type."""

    def __init__(self) -> None:
        self.types: list[ValType] = ["i32"]
        self._lent: set[int] = set()

    def take(self, type_: ValType) -> int:
        """A local that is not lent."""
        for index in range(1, len(self.types)):
            if self.types[index] == type_ and index not in self._lent:
                break
        else:
            index = len(self.types)
            self.types.append(type_)
        self._lent.add(index)
        return index

    def give_back(self) -> None:
        """All that were lent."""
        self._lent.clear()


class Coder:
    """Collects the imports, types and functions of one bridge.

    `plain` says that nothing that it imports needs the types of the module: then it leaves them out, and many modules
    have the same bridge.
    """

    def __init__(self, face: Interface, features: frozenset[str], plain: bool) -> None:
        self.face, self.plain = face, plain
        self.gc = "gc" in features
        self.types = [] if plain else list(face.types)
        self.imports: list[Import] = []
        self.sources: list[Source] = []
        self.funcs: list[Func] = []
        self._type_of: dict[FuncType, int] = {}
        self._imported: dict[Source, int] = {}
        self._counts = dict.fromkeys(KINDS.values(), 0)
        self._helpers: dict[str, int] = {}

    # Index spaces

    def type(self, type_: FuncType) -> int:
        """The index of a function type."""
        if type_ not in self._type_of:
            self._type_of[type_] = (0 if self.plain else len(self.face.subtypes)) + len(self._type_of)
            self.types.append(RecType((SubType(type_),)))
        return self._type_of[type_]

    def importing(self, module: str | None, name: str, type_: ExternType) -> int:
        """The index of what is imported, each only once; only before the first function."""
        source = (module, name)
        if source not in self._imported:
            kind = KINDS[type(type_)]
            self._imported[source] = self._counts[kind]
            self._counts[kind] += 1
            if self.plain and module is None and isinstance(type_, FuncRef | TagType):
                type_ = type(type_)(self.type(self.face.func_type(type_)))
            self.imports.append(Import("", "", type_))
            self.sources.append(source)
        return self._imported[source]

    def import_host(self, *names: str) -> None:
        """Import functions of module `lab`."""
        for name in names:
            self.importing("lab", name, FuncRef(self.type(_HOST[name])))

    def _host(self, name: str) -> Instr:
        return instr("call", self._imported["lab", name])

    def function(self, type_: FuncType, locals_: Sequence[ValType], code: list[Instr]) -> int:
        """Define a function and return its index."""
        self.funcs.append(Func(self.type(type_), merge_runs([(1, t) for t in locals_]), tuple(code)))
        return self._counts["func"] + len(self.funcs) - 1

    def _helper(self, name: str) -> Instr:
        if name not in self._helpers:
            locals_, code = getattr(self, f"_{name}")()
            self._helpers[name] = self.function(_HELPERS[name], locals_, code)
        return instr("call", self._helpers[name])

    # References from and to their stored form: the shape, and the payload above bit 32

    def _to_extern(self) -> tuple[list[ValType], list[Instr]]:
        return [], [
            instr("local.get", 0),
            instr("i32.wrap_i64"),
            instr("if", _EXTERNREF),
            *_payload(0),
            self._host("extern"),
            instr("else"),
            instr("ref.null", "extern"),
            instr("end"),
        ]

    def _to_any(self) -> tuple[list[ValType], list[Instr]]:
        return [], [
            *[instr("local.get", 0), instr("i32.wrap_i64"), instr("i32.const", I31), instr("i32.eq")],
            instr("if", _ANYREF),
            *_payload(0),
            instr("ref.i31"),
            instr("else"),
            instr("local.get", 0),
            self._helper("to_extern"),
            instr("any.convert_extern"),
            instr("end"),
        ]

    def _shape_extern(self) -> tuple[list[ValType], list[Instr]]:
        if self.gc:
            return [], [instr("local.get", 0), instr("any.convert_extern"), self._helper("shape_any")]
        return ["i32"], [
            *_if_null_return(),
            *self._number([instr("local.get", 0)], 1),
        ]

    def _shape_any(self) -> tuple[list[ValType], list[Instr]]:
        code = _if_null_return()
        for heap, shape, payload in (
            ("i31", I31, "i31.get_u"),
            ("struct", STRUCT, None),
            ("array", ARRAY, "array.len"),
        ):
            target = RefType(False, heap)
            code += [instr("local.get", 0), instr("ref.test", target), instr("if", None)]
            if payload:
                code += [instr("local.get", 0), instr("ref.cast", target), instr(payload), *_tagged(shape)]
            else:
                code.append(instr("i64.const", shape))
            code += [instr("return"), instr("end")]
        return ["i32"], code + self._number([instr("local.get", 0), instr("extern.convert_any")], 1)

    def _same(self) -> tuple[list[ValType], list[Instr]]:
        """Are two references to one structure or array?"""
        eq = RefType(False, "eq")
        tests = [step for heap in ("struct", "array") for step in (_FIRST, instr("ref.test", RefType(False, heap)))]
        return [], [
            *[*tests, instr("i32.or"), _SECOND, instr("ref.test", eq), instr("i32.and")],
            instr("if", "i32"),
            *[_FIRST, instr("ref.cast", eq), _SECOND, instr("ref.cast", eq), instr("ref.eq")],
            instr("else"),
            instr("i32.const", 0),
            instr("end"),
        ]

    def _number(self, reference: list[Instr], local: int) -> list[Instr]:
        """The shape of a host's reference, or ANY for what is none."""
        return [
            *reference,
            self._host("number"),
            instr("local.tee", local),
            *[instr("i32.const", 0), instr("i32.lt_s")],
            instr("if", "i64"),
            instr("i64.const", ANY),
            instr("else"),
            instr("local.get", local),
            *_tagged(EXTERN),
            instr("end"),
        ]

    def _shape(self, hierarchy: str) -> list[Instr]:
        """From a reference on the stack to its stored form."""
        if hierarchy in ("func", "exn"):
            code = [instr("ref.is_null"), instr("i32.eqz"), instr("i64.extend_i32_u")]
            return code if hierarchy == "func" else [*code, instr("i64.const", EXN), instr("i64.mul")]
        return [self._helper(f"shape_{hierarchy}")]

    # Values from and to a record

    def _load(self, slot: Slot) -> list[Instr]:
        if not isinstance(slot.type, RefType):
            return [_RECORD, instr(f"{slot.type}.load", MemArg(0, 0, slot.offset))]
        if makeable(slot) <= {"ref.null"}:
            return [instr("ref.null", slot.type.heap)]
        code = [_RECORD, instr("i64.load", MemArg(0, 0, slot.offset)), self._helper(f"to_{slot.hierarchy}")]
        if slot.hierarchy == "any":
            return code if slot.type == _ANYREF else [*code, instr("ref.cast", slot.type)]
        return code if slot.type.nullable else [*code, instr("ref.as_non_null")]

    def _store(self, slots: Sequence[Slot], locals_: Locals) -> list[Instr]:
        """Store values that are on the stack, the last one on top."""
        code, stores = [], []
        told = [at for at, slot in enumerate(slots[:IDENTIFIED]) if self._identifies(slot)]
        kept: dict[int, int] = {}
        for at, slot in reversed([*enumerate(slots)]):
            type_ = slot.type
            if isinstance(type_, RefType):
                if at in told and len(told) > 1:
                    kept[at] = locals_.take(_ANYREF)
                    code += [*self._as_any(slot), instr("local.tee", kept[at])]
                    code.append(self._helper("shape_any"))
                else:
                    code += self._shape(slot.hierarchy)
                type_ = "i64"
            local = locals_.take(type_)
            code.append(instr("local.set", local))
            stores += [_RECORD, instr("local.get", local), instr(f"{type_}.store", MemArg(0, 0, slot.offset))]
        for at in kept:
            for earlier in sorted((other for other in kept if other < at), reverse=True):  # the first one stays
                stores += [instr("local.get", kept[at]), instr("local.get", kept[earlier]), self._helper("same")]
                stores += [instr("if", None), _RECORD, instr("i64.const", SAME_AS | earlier << 32)]
                stores += [instr("i64.store", MemArg(0, 0, slots[at].offset)), instr("end")]
        locals_.give_back()
        return code + stores

    def _identifies(self, slot: Slot) -> bool:
        """Can there be structures and arrays in a slot?"""
        return self.gc and slot.hierarchy in ("any", "extern")

    @staticmethod
    def _as_any(slot: Slot) -> list[Instr]:
        return [instr("any.convert_extern")] if slot.hierarchy == "extern" else []

    # Functions

    def call(self, func: int, args: Sequence[Slot], results: Sequence[Slot], locals_: Locals) -> list[Instr]:
        """Code that calls `func` on a record."""
        load = [step for slot in args for step in self._load(slot)]
        return [*load, instr("call", func), *self._store(results, locals_), *_status(RETURNED)]

    def working(
        self,
        start: list[Instr],
        bodies: Sequence[list[Instr]],
        catches: Sequence[tuple[int, Sequence[Slot]]] | None,
        locals_: Locals,
    ) -> int:
        """A function that works on a record: by the body that the record selects, where there are several.

        `catches` are tags with the slots of their payload, None for no handler at all.
        """
        code = _selecting(bodies) if len(bodies) > 1 else [step for body in bodies for step in body]
        if catches is not None:
            code = self._catching(code, catches, locals_)
        return self.function(FuncType(), locals_.types, [*start, *_status(ENTERED), *code])

    def _catching(
        self, body: list[Instr], catches: Sequence[tuple[int, Sequence[Slot]]], locals_: Locals
    ) -> list[Instr]:
        """`body` in blocks, from the outermost: done, any exception, and one for each tag, the first innermost."""
        n = len(catches)
        blocks = [instr("block", self._block_type([slot.type for slot in slots])) for _, slots in reversed(catches)]
        clauses = [Catch("catch", tag, k) for k, (tag, _) in enumerate(catches)]
        clauses.append(Catch("catch_all", None, n))
        code = [instr("block", None), instr("block", None), *blocks]
        code += [instr("try_table", None, tuple(clauses)), *body, instr("end"), instr("br", n + 1)]
        for k, (_, slots) in enumerate(catches):
            code += [instr("end"), *self._store(slots, locals_), *_status(THREW_TAG + k), instr("br", n - k)]
        return [*code, instr("end"), *_status(THREW), instr("end")]

    def _block_type(self, results: list[ValType]) -> ValType | int | None:
        if len(results) > 1:
            return self.type(FuncType((), tuple(results)))
        return results[0] if results else None

    def read(self, parts: Sequence[tuple[str, int, Slot, str]], locals_: Locals) -> list[Instr]:
        """Code that reads globals and tables: kind, index, slot of the value or elements, address type."""
        code: list[Instr] = []
        for kind, index, slot, address in parts:
            if kind == "global":
                stored = "i64" if isinstance(slot.type, RefType) else slot.type
                shape = self._shape(slot.hierarchy) if slot.hierarchy else []
                store = instr(f"{stored}.store", MemArg(0, 0, slot.offset))
                code += [_RECORD, instr("global.get", index), *shape, store]
            else:
                code += self._table(index, slot, address, locals_)
        return [*code, *_status(RETURNED)]

    def _table(self, table: int, slot: Slot, at: str, locals_: Locals) -> list[Instr]:
        """The size as an i64, and the shapes of the first elements behind it."""
        i, to = locals_.take(at), locals_.take("i32")
        size = [instr("table.size", table), *([instr("i64.extend_i32_u")] if at == "i32" else [])]
        code = [
            *[_RECORD, *size, instr("i64.store", MemArg(0, 0, slot.offset))],
            *[instr(f"{at}.const", 0), instr("local.set", i)],
            *[_RECORD, instr("i32.const", slot.offset + 8), instr("i32.add"), instr("local.set", to)],
            *[instr("block", None), instr("loop", None)],
            *[instr("local.get", i), instr("table.size", table), instr(f"{at}.ge_u"), instr("br_if", 1)],
            *[instr("local.get", i), instr(f"{at}.const", TABLE_BOUND), instr(f"{at}.ge_u"), instr("br_if", 1)],
            *[instr("local.get", to), instr("local.get", i), instr("table.get", table)],
            *[*self._shape(slot.hierarchy), instr("i64.store", MemArg(0, 0, 0))],
            *(self._same_element(table, slot, (i, to), at, locals_) if self._identifies(slot) else ()),
            *[instr("local.get", i), instr(f"{at}.const", 1), instr(f"{at}.add"), instr("local.set", i)],
            *[instr("local.get", to), instr("i32.const", 8), instr("i32.add"), instr("local.set", to)],
            *[instr("br", 0), instr("end"), instr("end")],
        ]
        locals_.give_back()
        return code

    def _same_element(self, table: int, slot: Slot, place: tuple[int, int], at: str, locals_: Locals) -> list[Instr]:
        """Where element `i` is an object, and an earlier one is the same: tell so; the size is value 0."""
        (i, to), j, found = place, locals_.take(at), locals_.take(_ANYREF)
        wide = [instr("i64.extend_i32_u")] if at == "i32" else []
        return [
            *[instr("local.get", i), instr("table.get", table), *self._as_any(slot), instr("local.tee", found)],
            *[instr("local.get", found), self._helper("same")],
            instr("if", None),
            *[instr(f"{at}.const", 0), instr("local.set", j)],
            *[instr("block", None), instr("loop", None)],
            *[instr("local.get", j), instr("local.get", i), instr(f"{at}.ge_u"), instr("br_if", 1)],
            *[instr("local.get", j), instr(f"{at}.const", 1), instr(f"{at}.add"), instr("local.set", j)],
            *[instr("local.get", j), instr(f"{at}.const", 1), instr(f"{at}.sub"), instr("table.get", table)],
            *[
                *self._as_any(slot),
                instr("local.get", found),
                self._helper("same"),
                instr("i32.eqz"),
                instr("br_if", 0),
            ],
            *[instr("local.get", to), instr("local.get", j), *wide, instr("i64.const", 32), instr("i64.shl")],
            *[instr("i64.const", SAME_AS), instr("i64.or"), instr("i64.store", MemArg(0, 0, 0))],
            *[instr("end"), instr("end"), instr("end")],
        ]


_RECORD = _FIRST = instr("local.get", 0)
_SECOND = instr("local.get", 1)


def _payload(local: int) -> list[Instr]:
    return [instr("local.get", local), instr("i64.const", 32), instr("i64.shr_u"), instr("i32.wrap_i64")]


def _tagged(shape: int) -> list[Instr]:
    """From an i32, the payload, to the stored form."""
    steps = [instr("i64.extend_i32_u"), instr("i64.const", 32), instr("i64.shl")]
    return [*steps, instr("i64.const", shape), instr("i64.or")]


def _if_null_return() -> list[Instr]:
    test = [instr("local.get", 0), instr("ref.is_null"), instr("if", None)]
    return [*test, instr("i64.const", NULL), instr("return"), instr("end")]


def _status(status: int) -> list[Instr]:
    return [_RECORD, instr("i32.const", status), instr("i32.store", MemArg(0, 0, 0))]


def moving() -> list[Instr]:
    """The start of a function whose record is where address 0 says; the record knows how far the next is."""
    get = [instr("i32.const", 0), instr("i32.const", 0), instr("i32.load", MemArg(0, 0, 0)), instr("local.tee", 0)]
    size = [_RECORD, instr("i32.load", MemArg(0, 0, SIZE))]
    return [*get, *size, instr("i32.add"), instr("i32.store", MemArg(0, 0, 0))]


def _selecting(bodies: Sequence[list[Instr]]) -> list[Instr]:
    """One of several bodies, whose number is in the record."""
    n = len(bodies)
    code = [*[instr("block", None)] * (n + 1), _RECORD, instr("i32.load", MemArg(0, 0, SELECTOR))]
    code.append(instr("br_table", (*range(n), n)))
    for k, body in enumerate(bodies):
        code += [instr("end"), *body, instr("br", n - 1 - k)]
    return [*code, instr("end")]
