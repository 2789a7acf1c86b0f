"""Validation of instruction sequences: the algorithm over the flat list of instructions (section 3.4 and appendix).

Rows of instructions.tbl with parameters and results are checked by one function, `fixed`; the others by one function
each in `validate_control` and `validate_special`.  An instruction whose rule has no function is refused when this
module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import validate_control, validate_special  # noqa: F401  they fill SPECIAL
from .isa import INSTRUCTIONS, Instruction
from .outcome import Invalid
from .rules import applied, listened, rule
from .syntax import Expr, Instr, MemArg
from .types import ValType
from .validate_stack import SPECIAL, Check, Code, Context, Locals, lookup

Verify = Callable[[Code, Any], str | None]
"""Checks an immediate; the address type, if it is a memory's."""


@rule("Memarg_ok")
def memarg(natural: int, exactly: bool = False) -> Verify:
    """Alignment at most (or `exactly`) `natural` bytes, offset within the memory's address type."""
    largest = natural.bit_length() - 1

    def verify(code: Code, argument: MemArg) -> str:
        address = lookup(code.context.memories, argument.memory, "memory").address
        if argument.align > largest:
            raise Invalid("alignment must not be larger than natural")
        if exactly and argument.align != largest:
            raise Invalid("atomic alignment must be natural")
        if argument.offset >> (32 if address == "i32" else 64):
            raise Invalid("offset out of range")
        applied("Memarg_ok")
        return address

    return verify


def lane(count: int) -> Verify:
    """A lane index below `count`."""

    def verify(code: Code, argument: int) -> None:
        if argument >= count:
            raise Invalid(f"invalid lane index {argument}")

    return verify


def _lanes(code: Code, argument: tuple[int, ...]) -> None:
    if max(argument) >= 32:
        raise Invalid(f"invalid lane index {max(argument)}")


def _memory(code: Code, argument: int) -> str:
    return lookup(code.context.memories, argument, "memory").address


def _data(code: Code, argument: int) -> None:
    lookup(code.context.datas, argument, "data segment")


def _elem(code: Code, argument: int) -> None:
    lookup(code.context.elems, argument, "elem segment")


_SIZED: dict[str, Callable[[int], Verify]] = {"mem": memarg, "atomic": partial(memarg, exactly=True), "lane": lane}
_VERIFY: dict[str, Verify] = {"lanes": _lanes, "memory": _memory, "data": _data, "elem": _elem}
_ANY_BITS = {"i32", "i64", "f32", "f64", "v128", "zero"}


def _verify(kind: str) -> Verify:
    name, _, number = kind.partition(":")
    return _SIZED[name](int(number)) if number else _VERIFY[name]


_FIXED = [op for op in INSTRUCTIONS if op.params is not None]


@rule(*(f"Instr_ok/{op.rule}" for op in _FIXED if op.specified))
def fixed(op: Instruction) -> Check:
    """The check of a row with parameters and results."""
    params, results = list(op.params or ()), op.results or ()
    verifiers = [_verify(kind) for kind in op.immediates if kind not in _ANY_BITS]
    count = len(params)

    def check(code: Code, instr: Instr) -> None:
        stack = code.stack
        base = len(stack) - count
        if base >= code.height and stack[base:] == params:
            stack[base:] = results
        else:
            code.apply(params, results)

    def check_immediates(code: Code, instr: Instr) -> None:
        for verify, argument in zip(verifiers, instr.args, strict=True):
            verify(code, argument)
        check(code, instr)

    def check_address(code: Code, instr: Instr) -> None:
        address = ""
        for verify, argument in zip(verifiers, instr.args, strict=True):
            address = verify(code, argument) or address
        code.apply(*typed[address])

    typed = {
        address: tuple([address if t == "at" else t for t in types] for types in (params, results))
        for address in ("i32", "i64")
    }
    return check_address if "at" in [*params, *results] else check_immediates if verifiers else check


def _check(op: Instruction) -> Check:
    return SPECIAL[op.rule] if op.params is None else fixed(op)


CHECKS: dict[Instruction, Check] = {op: _check(op) for op in INSTRUCTIONS}


def _announced(body: Expr) -> Iterator[Instr]:
    """The instructions of `body`; the rule of each is announced as soon as it was checked."""
    for instr in body:
        yield instr
        stem = instr.op.rule
        if stem == "select":
            stem = "select-impl" if instr.args[0] is None else "select-expl"
        if stem not in ("else", "end") and instr.op.specified:
            applied(f"Instr_ok/{stem}")


@rule("Expr_ok")
def check_expr(
    context: Context, body: Expr, results: tuple[ValType, ...], where: str, locals_: Locals | None = None
) -> tuple[int, ...]:
    """Check that `body` has these results; the operand heights at its blocks' entries, below their parameters.

    `where` begins what `Invalid.where` says.
    """
    code = Code(context, locals_ or Locals(), results)
    checks = CHECKS
    number = 0
    try:
        for instr in _announced(body) if listened() else body:
            checks[instr[0]](code, instr)
            number += 1
        if len(code.frames) > 1:
            raise Invalid(f"{code.frame.opener} without end")
        code.leave()
    except Invalid as error:
        name = body[number].op.mnemonic if number < len(body) else "end"
        unreached = ", unreachable" if any(frame.unreachable for frame in code.frames) else ""
        raise Invalid(error.message, f"{where}, instruction {number}: {name}{unreached}") from None
    applied("Expr_ok")
    return tuple(code.block_heights)


@rule("Expr_ok_const", "Expr_const")
def check_constant(context: Context, body: Expr, result: ValType, where: str) -> None:
    """Check that `body` is constant and has this result."""
    for number, instr in enumerate(body):
        try:
            require_constant(context, instr)
        except Invalid as error:
            raise Invalid(error.message, f"{where}, instruction {number}: {instr.op.mnemonic}") from None
    check_expr(context, body, (result,), where)
    applied("Expr_const", "Expr_ok_const")


@rule(*(f"Instr_const/{op.rule}" for op in INSTRUCTIONS if op.const))
def require_constant(context: Context, instr: Instr) -> None:
    """Refuse an instruction that is not constant: a flag of the table, and for globals that they are immutable."""
    op = instr.op
    if not op.const or (op.rule == "global.get" and lookup(context.globals, instr.args[0], "global").mutable):
        raise Invalid("constant expression required")
    applied(f"Instr_const/{op.rule}")
