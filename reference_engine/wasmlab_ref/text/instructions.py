"""Text format of instructions (section 6.5): folded and flat ones, to the flat form of `syntax.Expr`."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from operator import methodcaller
from typing import Any, NamedTuple

from ..isa import BY_MNEMONIC, INSTRUCTIONS, Instruction
from ..syntax import Cast, Catch, Expr, Instr, MemArg, instr
from ..types import RefType
from . import numbers, types
from .context import SPACES, Context
from .cursor import KEYWORDS, Cursor, is_known, is_number, shortened

KEYWORDS.update(BY_MNEMONIC, ("then", "item", "offset", "catch", "catch_ref", "catch_all", "catch_all_ref"))

SHAPES = {
    "i8x16": (16, 8), "i16x8": (8, 16), "i32x4": (4, 32), "i64x2": (2, 64), "f32x4": (4, 32), "f64x2": (2, 64),
}  # fmt: skip
"""Vector shapes: the number of lanes and their width."""
KEYWORDS.update(SHAPES)


# Immediates, by kind


def _mem_arg(p: Context, natural: int, lane_follows: bool) -> MemArg:
    memory = 0
    follower = p.tokens[p.i + 1]
    if p.has_index() and (
        not lane_follows
        or p.tokens[p.i][0] == "$"
        or follower[:1].isdecimal()
        or follower.startswith(("offset=", "align="))
    ):
        memory = p.index("memory")
    offset = _keyed(p, "offset=")
    at = p.i
    align = _keyed(p, "align=")
    if align is None:
        align = natural
    if align.bit_count() != 1:
        raise p.error("alignment must be a power of two", at)
    return MemArg(memory, align.bit_length() - 1, offset or 0)


def _keyed(p: Context, key: str) -> int | None:
    token = p.tokens[p.i]
    if not token.startswith(key):
        return None
    try:
        value = numbers.natural(token[len(key) :], 64)
    except OverflowError:
        raise p.error("i64 constant out of range") from None
    if value is None:
        raise p.error(f"unknown operator {shortened(token)}")
    p.i += 1
    return value


def _labels(p: Context) -> tuple[int, ...]:
    labels = [p.label()]
    while p.has_index():
        labels.append(p.label())
    return tuple(labels)


def _catches(p: Context) -> tuple[Catch, ...]:
    catches = []
    while p.tokens[p.i] == "(" and p.tokens[p.i + 1].startswith("catch"):
        kind = p.tokens[p.i + 1]
        if kind not in KEYWORDS:
            raise p.unexpected(p.i + 1)
        p.i += 2
        tag = None if kind.startswith("catch_all") else p.index("tag")
        catches.append(Catch(kind, tag, p.label()))
        p.expect(")")
    return tuple(catches)


def _lane_indices(p: Context) -> tuple[int, ...]:
    indices = []
    while is_number(p.tokens[p.i]):
        if not set("+-.in").isdisjoint(p.tokens[p.i]):
            raise p.error("i8 constant out of range")
        indices.append(p.natural(8))
    if len(indices) != 16:
        raise p.error("invalid lane length")
    return tuple(indices)


def _shape(p: Cursor) -> str:
    """Read the shape of a vector."""
    shape = p.tokens[p.i]
    if shape not in SHAPES:
        raise p.unexpected()
    p.i += 1
    return shape


def lane_value(p: Cursor, shape: str) -> int:
    """Read one lane of a vector."""
    width = SHAPES[shape][1]
    return p.floating(numbers.FORMATS[f"f{width}"]) if shape[0] == "f" else p.integer(width)


def lanes(p: Cursor, read: Callable[[Cursor, str], Any] = lane_value) -> tuple[str, list[Any]]:
    """Read the shape and the lanes of a vector, each by `read`."""
    shape = _shape(p)
    count, given = SHAPES[shape][0], 0
    while is_number(p.tokens[p.i + given]):
        given += 1
    if given != count:
        if given < count and not is_known(p.tokens[p.i + given]):
            raise p.unexpected(p.i + given)
        raise p.error("wrong number of lane literals")
    return shape, [read(p, shape) for _ in range(count)]


def pack(shape: str, values: list[int]) -> int:
    """The bits of a vector; the first lane is the lowest."""
    width = SHAPES[shape][1]
    return sum(value << lane * width for lane, value in enumerate(values))


def _result_types(p: Context) -> tuple[Any, ...] | None:
    return tuple(types.declarations(p, "result", None)) if p.at("result") else None


def _cast(p: Context) -> Cast:
    label = p.label()
    source: RefType = types.reference_type(p)
    return Cast(label, source, types.reference_type(p))


_READERS: dict[str, Callable[[Context], Any]] = {
    **{space: methodcaller("index", space) for space in (*SPACES, "local")},
    "label": Context.label,
    "u32": lambda p: p.natural(32),
    "labels": _labels,
    "block": types.block_type,
    "catches": _catches,
    "lane": lambda p: p.natural(8),
    "lanes": _lane_indices,
    "i32": lambda p: p.integer(32),
    "i64": lambda p: p.integer(64),
    "f32": lambda p: p.floating(numbers.F32),
    "f64": lambda p: p.floating(numbers.F64),
    "v128": lambda p: pack(*lanes(p)),
    "heap": types.heap_type,
    "ref": types.reference_type,
    "types?": _result_types,
    "cast": _cast,
    "zero": lambda p: 0,
}

_OPTIONAL = ("memory", "table")
"""Kinds of indices that may be left out, all of an instruction at once; they are 0 then."""

Arguments = Callable[[Context], tuple[Any, ...]]


def _arguments(row: Instruction) -> Arguments:
    """The reader of a row's immediates."""
    kinds = row.immediates
    first = kinds[0]
    if row.access:
        natural, lane = row.access, len(kinds) > 1
        if lane:
            return lambda p: (_mem_arg(p, natural, True), p.natural(8))
        return lambda p: (_mem_arg(p, natural, False),)
    if kinds == ("table", "type"):
        return lambda p: (p.index("table") if p.has_index() else 0, types.type_use(p))
    if kinds == ("type", "field"):
        return _type_and_field
    if first in _OPTIONAL:
        return lambda p: _indices(p, kinds)
    if len(kinds) == 1:
        reader = _READERS[first.partition(":")[0]]
        return lambda p: (reader(p),)
    readers = [_READERS[kind] for kind in kinds]
    return lambda p: tuple(reader(p) for reader in readers)


def _type_and_field(p: Context) -> tuple[int, int]:
    type_ = p.index("type")
    return type_, p.field(type_)


def _indices(p: Context, kinds: tuple[str, ...]) -> tuple[int, ...]:
    start, given = p.i, 0
    while given < len(kinds) and p.has_index():
        p.i += 1
        given += 1
    p.i = start
    return tuple(p.index(kind) if given == len(kinds) or kind not in _OPTIONAL else 0 for kind in kinds)


_ARGUMENTS: dict[str, Arguments] = {row.mnemonic: _arguments(row) for row in INSTRUCTIONS if row.immediates}
_NULLARY: dict[str, Instr] = {row.mnemonic: Instr(row) for row in INSTRUCTIONS if not row.immediates}
_BLOCKS = frozenset(row.mnemonic for row in INSTRUCTIONS if row.immediates[:1] == ("block",))
_ELSE, _END = instr("else"), instr("end")
_DELIMITERS = ("else", "end")


# Sequences of instructions


class _State(Enum):
    """What an open phrase may go on with."""

    PLAIN = "operands of a folded plain instruction, then `)`"
    BLOCK = "instructions, then `end`"
    IF = "instructions, then `else` or `end`"
    FOLDED_BLOCK = "instructions, then `)`"
    CONDITION = "folded instructions, then `(then`"
    THEN = "`(else` or `)`"
    ELSE = "`)`"
    CLAUSE = "instructions, then `)`: the inside of `(then …)` and `(else …)`"


class _Frame(NamedTuple):
    """An open phrase; `instr` is what it still has to emit, `at` the place of its keyword."""

    state: _State
    at: int
    instr: Instr = _END
    label: str | None = None


_CLAUSES_ONLY = frozenset((_State.CONDITION, _State.THEN, _State.ELSE))


class _Sequence:
    """Reads instructions; nesting is kept on a stack of its own, so that its depth has no limit."""

    def __init__(self, p: Context) -> None:
        self.p = p
        self.out: list[Instr] = []
        self.stack: list[_Frame] = []

    def read(self, only_one: bool) -> Expr:
        """Read up to an unmatched `)`, or just one folded instruction."""
        p, tokens, out, stack = self.p, self.p.tokens, self.out, self.stack
        while True:
            token = tokens[p.i]
            if token == "(":
                self._open(tokens[p.i + 1])
            elif token == ")":
                if not stack:
                    break
                self._close()
                if only_one and not stack:
                    break
            elif stack and stack[-1].state in _CLAUSES_ONLY:
                raise p.unexpected()
            elif token in _BLOCKS:
                self._block(token)
            elif token in _DELIMITERS:
                self._delimit(token)
            else:
                at = p.i
                self._emit(self._plain(token), at)
        return tuple(out)

    def _plain(self, mnemonic: str) -> Instr:
        """Read an instruction with its immediates."""
        p = self.p
        known = _NULLARY.get(mnemonic)
        if known is not None:
            p.i += 1
            return known
        arguments = _ARGUMENTS.get(mnemonic)
        if arguments is None:
            raise p.unexpected()
        p.i += 1
        return Instr(BY_MNEMONIC[mnemonic], arguments(p))

    def _emit(self, step: Instr, at: int) -> None:
        p = self.p
        if at in p.annotations.hints and p.function is not None:
            p.annotations.hint(at, p.function, len(self.out), step.op.mnemonic)
        self.out.append(step)

    def _head(self, mnemonic: str) -> tuple[Instr, str | None]:
        """Read a block instruction up to its body; its label is not in scope yet."""
        p = self.p
        p.i += 1
        label = p.identifier()
        return Instr(BY_MNEMONIC[mnemonic], _ARGUMENTS[mnemonic](p)), label

    def _block(self, mnemonic: str) -> None:
        at = self.p.i
        step, label = self._head(mnemonic)
        self._emit(step, at)
        self.p.enter(label)
        self.stack.append(_Frame(_State.IF if mnemonic == "if" else _State.BLOCK, at, label=label))

    def _delimit(self, keyword: str) -> None:
        """`else` or `end` of a flat block."""
        p = self.p
        state = self.stack[-1].state if self.stack else _State.PLAIN
        if state is not _State.IF and (state is not _State.BLOCK or keyword == "else"):
            raise p.unexpected()
        frame = self.stack.pop()
        at = p.i
        p.i += 1
        label = p.identifier()
        if label is not None and label != frame.label:
            raise p.error(f"mismatching label ${shortened(label)}", p.i - 1)
        if keyword == "else":
            self.stack.append(_Frame(_State.BLOCK, frame.at, label=frame.label))
        else:
            p.leave()
        self._emit(_NULLARY[keyword], at)

    def _open(self, keyword: str) -> None:
        """`(` and what follows."""
        p, state = self.p, self.stack[-1].state if self.stack else _State.PLAIN
        p.i += 1
        at = p.i
        if keyword == "then" and state is _State.CONDITION:
            frame = self.stack[-1]
            self._emit(frame.instr, frame.at)
            p.enter(frame.label)
            self._clause(_State.THEN)
        elif keyword == "else" and state is _State.THEN:
            self.out.append(_ELSE)
            self._clause(_State.ELSE)
        elif state in (_State.THEN, _State.ELSE) or keyword in _DELIMITERS:
            raise p.unexpected()
        elif keyword not in _BLOCKS:
            self.stack.append(_Frame(_State.PLAIN, at, self._plain(keyword)))
        else:
            step, label = self._head(keyword)
            if keyword == "if":
                self.stack.append(_Frame(_State.CONDITION, at, step, label))
            else:
                self._emit(step, at)
                p.enter(label)
                self.stack.append(_Frame(_State.FOLDED_BLOCK, at))

    def _clause(self, state: _State) -> None:
        self.p.i += 1
        self.stack[-1] = _Frame(state, self.p.i)
        self.stack.append(_Frame(_State.CLAUSE, self.p.i))

    def _close(self) -> None:
        """`)`"""
        frame = self.stack[-1]
        if frame.state in (_State.BLOCK, _State.IF, _State.CONDITION):
            raise self.p.unexpected()
        self.stack.pop()
        self.p.i += 1
        if frame.state is _State.PLAIN:
            self._emit(frame.instr, frame.at)
        elif frame.state is not _State.CLAUSE:
            self.out.append(_END)
            self.p.leave()


def expression(p: Context) -> Expr:
    """Read instructions up to a closing parenthesis, which is left."""
    return _Sequence(p).read(only_one=False)


def folded(p: Context) -> Expr:
    """Read one folded instruction."""
    if p.tokens[p.i] != "(":
        raise p.unexpected()
    return _Sequence(p).read(only_one=True)
