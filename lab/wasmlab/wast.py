"""A case as a script in the standard's test format, with outcomes as assertions: a regression test to paste."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register, parse_value, shapes
from wasmlab_ref.decode import decode
from wasmlab_ref.outcome import Malformed, trap_kinds
from wasmlab_ref.syntax import Module
from wasmlab_ref.text import print_module
from wasmlab_ref.text.numbers import F32, F64, float_text
from wasmlab_ref.text.print import string
from wasmlab_ref.types import FuncType, RefType

from .stacks import Context

_FLOATS = {"f32": F32, "f64": F64}
_NO_TEXT = "unexpected"
SHAPES = frozenset({"ref.any", "ref.eq", "ref.i31", "ref.struct", "ref.array", "ref.func", "ref.exn"})
"""References that a script can only expect by shape."""


def to_wast(
    case: Case,
    outcomes: Sequence[Outcome],
    title: str = "",
    byte: tuple[int, int, int] | None = None,
    entry: tuple[int, int] | None = None,
    calls: Sequence[str] | None = None,
) -> str:
    """The script; `outcomes` (of the reference) say what is right, one for each step.

    What a script cannot say (the content of memories and tables) becomes a comment; but if `byte` gives the index of
    a step that reads a memory, an address and the byte there, a module that looks for it is added.  Likewise `entry`:
    a step that reads a table, and which of its outcome's values to look for (0: the size, else whether it is null).
    `calls` are the calls of `lab.log` to look for in the end.  The module `lab` is there for other programs than
    wasmlab, which have none.
    """
    lines = [f";; {line}" for line in title.splitlines()]
    lines += _host(case)
    for number, step in enumerate(case.steps):
        outcome = outcomes[number] if number < len(outcomes) else Outcome("unsupported")
        lines += _step(case, step, outcome)
        if byte is not None and byte[0] == number and isinstance(step, Read):
            lines += _check(case, step, *byte[1:])
        if entry is not None and entry[0] == number and isinstance(step, Read):
            lines += _check_table(case, step, outcome, entry[1])
    if calls is not None:
        lines.append(f'(assert_return (invoke ${HOST} "calls") (i64.const {digest(calls):#x}))')
    return "\n".join(lines) + "\n"


HOST = "wasmlab-host"
"""The instance of the module `lab` in a script; wasmlab itself, where every worker has that module, passes over it."""

_FACTOR = 0x9E3779B97F4A7C15
_HOST_FUNCTIONS = {
    "log": f"""  (func (export "log") (param i32 i64)
    (global.set $calls (i64.add (i64.xor (i64.mul (global.get $calls) (i64.const {_FACTOR:#x}))
      (i64.extend_i32_u (local.get 0))) (local.get 1))))""",
    "trap": '  (func (export "trap") (unreachable))',
    "reenter": """  (table $callee (export "callee") 1 funcref)
  (func (export "reenter") (param i32)
    (if (ref.is_null (table.get $callee (i32.const 0))) (then (return)))
    (call_indirect $callee (param i32) (local.get 0) (i32.const 0)))""",
    "extern": """  (func (export "extern") (param i32) (result externref)
    (extern.convert_any (ref.i31 (local.get 0))))""",
    "number": """  (func (export "number") (param externref) (result i32)
    (if (result i32) (ref.test (ref i31) (any.convert_extern (local.get 0)))
      (then (i31.get_u (ref.cast (ref i31) (any.convert_extern (local.get 0)))))
      (else (i32.const -1))))""",
}
"""The functions of the module `lab`, in the text format.  How deep `reenter` goes only the stack limits here."""
CALLEE = "wasmlab-callee"
"""The module of a script that hands the function of `lab.callee` to the module `lab`."""
_CALLEE = f"""(module ${CALLEE} (import "lab" "callee" (table 1 funcref))
  (import "lab.callee" "reenter" (func (param i32))) (elem (i32.const 0) func 0))"""


def digest(calls: Sequence[str]) -> int:
    """What the host's global holds after these calls of `log`."""
    total = 0
    for call in calls:
        number, bits = (int(text, 16) for text in call.split(","))
        total = ((total * _FACTOR & (1 << 64) - 1 ^ number) + bits) & (1 << 64) - 1
    return total


def _host(case: Case) -> Iterator[str]:
    """The module `lab`, with those of its functions that the case imports."""
    wanted = set[str]().union(*map(_wanted, case.modules))
    if functions := [text for name, text in _HOST_FUNCTIONS.items() if name in wanted]:
        yield "\n".join([f"(module ${HOST}", "  (global $calls (mut i64) (i64.const 0))", *functions])
        yield """  (func (export "calls") (result i64) (global.get $calls))
)"""
        yield f'(register "lab" ${HOST})'


def _reenters(case: Case, name: str) -> bool:
    """Does an instance export what `lab.reenter` calls, and does the case use that?"""
    index = next((step.module for step in case.steps if isinstance(step, Instantiate) and step.name == name), None)
    if index is None or not any("reenter" in _wanted(data) for data in case.modules):
        return False
    try:
        module = decode(case.modules[index])
    except Malformed:
        return False
    found = next((export for export in module.exports if (export.name, export.kind) == ("reenter", "func")), None)
    return found is not None and Context(module).function(found.index) == FuncType(("i32",))


def _wanted(data: bytes) -> set[str]:
    """What a module imports of the host's module `lab`."""
    try:
        return {item.name for item in decode(data).imports if item.module == "lab"}
    except Malformed:
        return set()


def module_text(data: bytes, name: str = "", form: str = "") -> str:
    """A module of a script: in text where it can be decoded, else its bytes."""
    head = f"(module{f' {name}' if name else ''}"
    try:
        text = print_module(decode(data)).rstrip() if form != "binary" else ""
    except Malformed:
        text = ""
    if not text:
        return f"{head} binary {string(data)})"
    return head + text.removeprefix("(module")


def _step(case: Case, step: object, outcome: Outcome) -> Iterator[str]:
    match step:
        case Instantiate(name, module):
            yield from _instantiate(case.modules[module], identifier(name), outcome)
        case Register(name, module_name):
            yield f"(register {_string(module_name)} {identifier(name)})"
            if module_name == "lab.callee" and _reenters(case, name):
                yield _CALLEE
        case Invoke(name, export, args, repeat):
            action = " ".join([f"(invoke {identifier(name)} {_string(export)}", *map(literal, args)]) + ")"
            for _ in range(min(repeat, 100) - 1):
                yield action
            yield _assertion(action, outcome)
        case Read(name, export):
            is_global = len(outcome.values) == 1 and outcome.kind == "returned"
            if is_global:
                yield _assertion(f"(get {identifier(name)} {_string(export)})", outcome)
            else:
                yield f";; {_string(export)} of {identifier(name)} then holds {_comment(str(outcome))}"


def _instantiate(data: bytes, name: str, outcome: Outcome) -> Iterator[str]:
    text = module_text(data)
    match outcome.kind:
        case "malformed":
            yield f"(assert_malformed {module_text(data, form='binary')} {_string(_NO_TEXT)})"
        case "invalid":
            yield f'(assert_invalid\n{text}\n  "")'
        case "unlinkable":
            yield f'(assert_unlinkable\n{text}\n  "")'
        case "trapped":
            yield f"(assert_trap\n{text}\n  {_trap_text(outcome)})"
        case _:
            yield module_text(data, name)


def _check(case: Case, step: Read, address: int, right: int) -> Iterator[str]:
    """A module that imports the memory that was read, and looks at one byte."""
    decoded, index = _read_from(case, step)
    type_ = Context(decoded).memories[index].address
    yield f'(register "wasmlab" {identifier(step.name)})'
    yield f"""(module $check
  (import "wasmlab" {_string(step.export)} (memory {"i64 " if type_ == "i64" else ""}0))
  (func (export "byte") (param {type_}) (result i32) (i32.load8_u (local.get 0)))
)"""
    yield f'(assert_return (invoke $check "byte" ({type_}.const {address:#x})) (i32.const {right:#x}))'


def _check_table(case: Case, step: Read, outcome: Outcome, place: int) -> Iterator[str]:
    """A module that imports the table that was read, and looks at its size, or whether an entry is null."""
    decoded, index = _read_from(case, step)
    type_ = Context(decoded).tables[index]
    address, heap = type_.address, type_.element.heap
    if type_.element not in (RefType(True, "func"), RefType(True, "extern")) or place >= len(outcome.values):
        return
    size, is_null = "(table.size 0)", "(ref.is_null (table.get (local.get 0)))"
    right = f"({address}.const {parse_value(outcome.values[0])[1]:#x})"
    yield f'(register "wasmlab" {identifier(step.name)})'
    yield f"""(module $check
  (import "wasmlab" {_string(step.export)} (table {"i64 " if address == "i64" else ""}0 {heap}ref))
  (func (export "size") (result {address}) {size})
  (func (export "is_null") (param {address}) (result i32) {is_null})
)"""
    if place == 0:
        yield f'(assert_return (invoke $check "size") {right})'
    else:
        null = int(outcome.values[place] == "ref.null")
        yield f'(assert_return (invoke $check "is_null" ({address}.const {place - 1})) (i32.const {null}))'


def _read_from(case: Case, step: Read) -> tuple[Module, int]:
    """The module whose export a step reads, and the index behind that."""
    module = next(s.module for s in case.steps if isinstance(s, Instantiate) and s.name == step.name)
    decoded = decode(case.modules[module])
    return decoded, next(e.index for e in decoded.exports if e.name == step.export)


def _assertion(action: str, outcome: Outcome) -> str:
    match outcome.kind:
        case "returned":
            try:
                return " ".join([f"(assert_return {action}", *map(pattern, shapes(outcome.values))]) + ")"
            except ValueError:
                pass  # an engine may answer anything
        case "trapped":
            return f"(assert_trap {action} {_trap_text(outcome)})"
        case "threw":
            return f"(assert_exception {action})"
        case "exhausted":
            return f'(assert_exhaustion {action} "")'
    return f"{action}  ;; {_comment(str(outcome))}"


def _trap_text(outcome: Outcome) -> str:
    row = trap_kinds().get(outcome.detail)
    return _string(row.text if row else "")


def identifier(name: str) -> str:
    """A name as a symbolic identifier."""
    if name.isascii() and name.replace("_", "").replace("-", "").isalnum():
        return f"${name}"
    return f"${_string(name)}"


def literal(text: str) -> str:
    """A value as an argument; floats exactly, NaNs with their payload."""
    type_, bits = parse_value(text)
    match type_:
        case "i32" | "i64":
            return f"({type_}.const {bits:#x})"
        case "f32" | "f64":
            return f"({type_}.const {float_text(bits, _FLOATS[type_])})"
        case "v128":
            return f"(v128.const i32x4 {' '.join(f'{bits >> 32 * i & 0xFFFFFFFF:#010x}' for i in range(4))})"
        case "ref.extern":
            return f"(ref.extern {bits})"
        case "ref.null":
            return "(ref.null extern)"
    if type_ not in SHAPES:
        raise ValueError(f"{text!r} is no value")
    return f"({type_})"


def pattern(text: str) -> str:
    """A value as an expected result."""
    type_ = text.partition(":")[0]
    return "(ref.null)" if type_ == "ref.null" else literal(text)


def _string(text: str) -> str:
    return string(text.encode(errors="replace"))


def _comment(text: str) -> str:
    """Text that cannot end the comment."""
    return "".join(c if c.isprintable() else "?" for c in text)[:300]
