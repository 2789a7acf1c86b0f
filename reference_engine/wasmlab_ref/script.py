"""The script language of the official suite (`.wast`): modules, actions and assertions.

`parse_script` reads the commands; the modules in them are parsed on demand, by `.parse()`, because many are meant to
be malformed.  A command knows its line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from . import syntax
from .decode import decode
from .text.cursor import KEYWORDS, Cursor
from .text.instructions import lane_value, lanes, pack
from .text.lexer import Source
from .text.module import is_field, parse_fields, parse_module
from .text.numbers import FORMATS
from .types import ABSTRACT_HEAP_TYPES

# Modules


@dataclass(frozen=True, slots=True)
class TextModule:
    """A module written out in the script: the tokens from `start` up to `end` of `source`."""

    source: Source
    start: int
    end: int

    @property
    def text(self) -> str:
        """The module as a text of its own."""
        return f"(module {self.source.between(self.start, self.end)})"

    def parse(self) -> syntax.Module:
        """The module; `Malformed` has the line of the script."""
        return parse_fields(self.source, self.start, self.end)


@dataclass(frozen=True, slots=True)
class QuoteModule:
    """`(module quote "…")`: a text in strings."""

    text: bytes

    def parse(self) -> syntax.Module:
        """The module; `Malformed` has the line of the quoted text."""
        return parse_module(self.text)


@dataclass(frozen=True, slots=True)
class BinaryModule:
    """`(module binary "…")`."""

    data: bytes

    def parse(self) -> syntax.Module:
        """The module; `Malformed` has the offset of the byte."""
        return decode(self.data)


ModuleSource: TypeAlias = TextModule | QuoteModule | BinaryModule


# Arguments and results


@dataclass(frozen=True, slots=True)
class Const:
    """A number or vector: `type` is "i32" … "v128"."""

    type: str
    bits: int


@dataclass(frozen=True, slots=True)
class RefNull:
    """A null reference; as a result, None stands for one of any type."""

    heap: str | int | None


@dataclass(frozen=True, slots=True)
class RefHost:
    """`(ref.extern n)`, and `(ref.host n)` with `internal`: number n of the host, outside or inside of anyref."""

    number: int
    internal: bool = False


Argument: TypeAlias = Const | RefNull | RefHost


@dataclass(frozen=True, slots=True)
class Nan:
    """Any NaN of f32 or f64 that is "canonical" or "arithmetic"."""

    type: str
    kind: str


@dataclass(frozen=True, slots=True)
class Lanes:
    """A vector of `shape` in which some lanes may be any NaN of a kind: each is its bits or a `Nan`."""

    shape: str
    lanes: tuple[int | Nan, ...]


@dataclass(frozen=True, slots=True)
class RefOf:
    """Any reference, not null, to `heap`: "func", "extern", "i31", "any" …"""

    heap: str


@dataclass(frozen=True, slots=True)
class Either:
    """Any of several results."""

    results: tuple[Result, ...]


Result: TypeAlias = "Const | RefNull | RefHost | Nan | Lanes | RefOf | Either"


# Commands


@dataclass(frozen=True, slots=True)
class Module:
    """Defines a module, and instantiates it unless `definition`; `id` has no `$`."""

    line: int
    id: str | None
    source: ModuleSource
    definition: bool = False


@dataclass(frozen=True, slots=True)
class ModuleInstance:
    """Instantiates module `module` (None: the latest) under the name `id`."""

    line: int
    id: str | None
    module: str | None


@dataclass(frozen=True, slots=True)
class Register:
    """Makes instance `id` (None: the latest) importable as `name`."""

    line: int
    name: str
    id: str | None


@dataclass(frozen=True, slots=True)
class Invoke:
    """Calls an exported function of instance `id` (None: the latest)."""

    line: int
    id: str | None
    name: str
    args: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Get:
    """Reads an exported global of instance `id` (None: the latest)."""

    line: int
    id: str | None
    name: str


Action: TypeAlias = Invoke | Get


@dataclass(frozen=True, slots=True)
class AssertReturn:
    """The action returns values that match `results`."""

    line: int
    action: Action
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class AssertTrap:
    """The action, or the instantiation, traps; `text` begins the reason."""

    line: int
    action: Action | Module | ModuleInstance
    text: str


@dataclass(frozen=True, slots=True)
class AssertExhaustion:
    """The action exhausts a resource."""

    line: int
    action: Action
    text: str


@dataclass(frozen=True, slots=True)
class AssertException:
    """The action throws an exception that nothing catches."""

    line: int
    action: Action


@dataclass(frozen=True, slots=True)
class AssertMalformed:
    """Parsing or decoding the module fails."""

    line: int
    module: ModuleSource
    text: str


@dataclass(frozen=True, slots=True)
class AssertMalformedCustom:
    """Parsing the module fails because of an annotation, decoding because of a custom section."""

    line: int
    module: ModuleSource
    text: str


@dataclass(frozen=True, slots=True)
class AssertInvalid:
    """Validating the module fails."""

    line: int
    module: ModuleSource
    text: str


@dataclass(frozen=True, slots=True)
class AssertInvalidCustom:
    """Validating the module fails because of an annotation or a custom section; parsing may say so already."""

    line: int
    module: ModuleSource
    text: str


@dataclass(frozen=True, slots=True)
class AssertUnlinkable:
    """Instantiation refuses the imports."""

    line: int
    module: Module | ModuleInstance
    text: str


Command: TypeAlias = (
    Module | ModuleInstance | Register | Invoke | Get | AssertReturn | AssertTrap | AssertExhaustion | AssertException
    | AssertMalformed | AssertMalformedCustom | AssertInvalid | AssertInvalidCustom | AssertUnlinkable
)  # fmt: skip


def parse_script(text: str | bytes) -> tuple[Command, ...]:
    """The commands of a script; fields of a module alone are a script of that module.

    Raises `Malformed` with line and column where the script itself is; modules in it are not looked into.
    """
    source = Source(text)
    if is_field(source.tokens[1]) and source.tokens[0] == "(":
        return (Module(source.line(0), None, TextModule(source, 0, len(source.tokens) - 2)),)
    p, commands = Cursor(source), []
    while p.tokens[p.i]:
        commands.append(_command(p))
    return tuple(commands)


def _command(p: Cursor) -> Command:
    start = p.i
    p.expect("(")
    keyword = p.tokens[p.i]
    read = _COMMANDS.get(keyword)
    if read is None:
        if keyword in ("script", "input", "output"):
            raise p.error(f"the meta command `{keyword}` is not supported")
        raise p.unexpected()
    p.i += 1
    command = read(p, p.source.line(start))
    p.expect(")")
    return command


def _module(p: Cursor, line: int) -> Module | ModuleInstance:
    if p.takes("instance"):
        names = [p.identifier(), p.identifier()]
        return ModuleInstance(line, *names) if names[1] is not None else ModuleInstance(line, None, names[0])
    definition = p.takes("definition")
    start = p.i
    id_ = p.identifier()
    source: ModuleSource
    if p.takes("binary"):
        source = BinaryModule(p.strings())
    elif p.takes("quote"):
        source = QuoteModule(p.strings())
    else:
        while p.tokens[p.i] == "(":
            p.skip()
        source = TextModule(p.source, start, p.i)
    return Module(line, id_, source, definition)


def _nested(p: Cursor, allowed: tuple[str, ...]) -> Command:
    """A command within an assertion."""
    if p.tokens[p.i] != "(" or p.tokens[p.i + 1] not in allowed:
        raise p.unexpected(p.i + (p.tokens[p.i] == "("))
    return _command(p)


def _action(p: Cursor) -> Action:
    command = _nested(p, ("invoke", "get"))
    if not isinstance(command, Invoke | Get):
        raise p.unexpected()
    return command


def _module_source(p: Cursor) -> ModuleSource:
    command = _nested(p, ("module",))
    if not isinstance(command, Module):
        raise p.unexpected()
    return command.source


def _instantiation(p: Cursor) -> Module | ModuleInstance:
    command = _nested(p, ("module",))
    if not isinstance(command, Module | ModuleInstance):
        raise p.unexpected()
    return command


def _assert_trap(p: Cursor, line: int) -> AssertTrap:
    return AssertTrap(line, _instantiation(p) if p.at("module") else _action(p), p.name())


_COMMANDS: dict[str, Callable[[Cursor, int], Command]] = {
    "module": _module,
    "register": lambda p, line: Register(line, p.name(), p.identifier()),
    "invoke": lambda p, line: Invoke(line, p.identifier(), p.name(), _arguments(p)),
    "get": lambda p, line: Get(line, p.identifier(), p.name()),
    "assert_return": lambda p, line: AssertReturn(line, _action(p), _results(p)),
    "assert_trap": _assert_trap,
    "assert_exhaustion": lambda p, line: AssertExhaustion(line, _action(p), p.name()),
    "assert_exception": lambda p, line: AssertException(line, _action(p)),
    "assert_malformed": lambda p, line: AssertMalformed(line, _module_source(p), p.name()),
    "assert_malformed_custom": lambda p, line: AssertMalformedCustom(line, _module_source(p), p.name()),
    "assert_invalid": lambda p, line: AssertInvalid(line, _module_source(p), p.name()),
    "assert_invalid_custom": lambda p, line: AssertInvalidCustom(line, _module_source(p), p.name()),
    "assert_unlinkable": lambda p, line: AssertUnlinkable(line, _instantiation(p), p.name()),
}


# Values


def _arguments(p: Cursor) -> tuple[Argument, ...]:
    values = []
    while p.tokens[p.i] == "(":
        start = p.i + 1
        value = _result(p)
        if not isinstance(value, Const | RefNull | RefHost) or value == RefNull(None):
            raise p.unexpected(start)
        values.append(value)
    return tuple(values)


def _results(p: Cursor) -> tuple[Result, ...]:
    values = []
    while p.tokens[p.i] == "(":
        values.append(_result(p))
    return tuple(values)


def _result(p: Cursor) -> Result:
    """Read a result; constants are among them."""
    p.expect("(")
    keyword = p.tokens[p.i]
    read = _RESULTS.get(keyword)
    if read is None:
        raise p.unexpected()
    p.i += 1
    value = read(p)
    p.expect(")")
    return value


def _either(p: Cursor) -> Either:
    alternatives: list[Result] = []
    while p.tokens[p.i] == "(":
        if p.at("either"):
            raise p.unexpected(p.i + 1)
        alternatives.append(_result(p))
    return Either(tuple(alternatives))


def _nan(p: Cursor, type_: str) -> Nan | None:
    kind = p.tokens[p.i].removeprefix("nan:")
    if kind not in ("canonical", "arithmetic"):
        return None
    p.i += 1
    return Nan(type_, kind)


def _float(p: Cursor, type_: str) -> Const | Nan:
    return _nan(p, type_) or Const(type_, p.floating(FORMATS[type_]))


def _lane(p: Cursor, shape: str) -> int | Nan:
    nan = _nan(p, shape[:3]) if shape[0] == "f" else None
    return nan or lane_value(p, shape)


def _vector(p: Cursor) -> Const | Lanes:
    shape, values = lanes(p, _lane)
    if any(isinstance(value, Nan) for value in values):
        return Lanes(shape, tuple(values))
    return Const("v128", pack(shape, values))


def _ref_null(p: Cursor) -> RefNull:
    token = p.tokens[p.i]
    if token == ")":
        return RefNull(None)
    if token not in ABSTRACT_HEAP_TYPES:
        return RefNull(p.natural(32))
    p.i += 1
    return RefNull(token)


def _ref_extern(p: Cursor) -> RefHost | RefOf:
    return RefOf("extern") if p.tokens[p.i] == ")" else RefHost(p.natural(32))


def _ref_host(p: Cursor) -> RefHost:
    return RefHost(p.natural(32), internal=True)


def _ref_of(heap: str, _: Cursor) -> RefOf:
    return RefOf(heap)


_RESULTS: dict[str, Callable[[Cursor], Result]] = {
    "i32.const": lambda p: Const("i32", p.integer(32)),
    "i64.const": lambda p: Const("i64", p.integer(64)),
    "f32.const": lambda p: _float(p, "f32"),
    "f64.const": lambda p: _float(p, "f64"),
    "v128.const": _vector,
    "ref.null": _ref_null,
    "ref.extern": _ref_extern,
    "ref.host": _ref_host,
    "ref": partial(_ref_of, "any"),
    **{f"ref.{heap}": partial(_ref_of, heap) for heap in ("any", "eq", "i31", "struct", "array", "func", "exn")},
    "either": _either,
}

KEYWORDS.update(_COMMANDS, _RESULTS)
