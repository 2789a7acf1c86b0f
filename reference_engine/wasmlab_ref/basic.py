"""Parametric, variable and numeric instructions (section 4.6 of the standard)."""

from __future__ import annotations

from functools import partial

from .handlers import Handler, Stack, handles
from .outcome import Trap
from .rules import rule
from .store import Instance
from .syntax import Instr


@handles("unreachable")
@rule("Step_pure/unreachable")
def unreachable(instance: Instance, instr: Instr) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        raise Trap("unreachable")

    return handler


@handles("nop")
@rule("Step_pure/nop")
def nop(instance: Instance, instr: Instr) -> Handler:
    return lambda stack, locals: None


@handles("drop")
@rule("Step_pure/drop")
def drop(instance: Instance, instr: Instr) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        del stack[-1]

    return handler


@handles("select")
@rule("Step_pure/select-true", "Step_pure/select-false")
def select(instance: Instance, instr: Instr) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        condition = stack.pop()
        second = stack.pop()
        if not condition:
            stack[-1] = second

    return handler


@handles("local.get")
@rule("Step_read/local.get")
def local_get(instance: Instance, instr: Instr) -> Handler:
    (x,) = instr.args

    def handler(stack: Stack, locals: Stack) -> None:
        stack.append(locals[x])

    return handler


@handles("local.set")
@rule("Step/local.set")
def local_set(instance: Instance, instr: Instr) -> Handler:
    (x,) = instr.args

    def handler(stack: Stack, locals: Stack) -> None:
        locals[x] = stack.pop()

    return handler


@handles("local.tee")
@rule("Step_pure/local.tee")
def local_tee(instance: Instance, instr: Instr) -> Handler:
    (x,) = instr.args

    def handler(stack: Stack, locals: Stack) -> None:
        locals[x] = stack[-1]

    return handler


@handles("global.get")
@rule("Step_read/global.get")
def global_get(instance: Instance, instr: Instr) -> Handler:
    global_ = instance.globals[instr.args[0]]

    def handler(stack: Stack, locals: Stack) -> None:
        stack.append(global_.value)

    return handler


@handles("global.set")
@rule("Step/global.set")
def global_set(instance: Instance, instr: Instr) -> Handler:
    global_ = instance.globals[instr.args[0]]

    def handler(stack: Stack, locals: Stack) -> None:
        global_.value = stack.pop()

    return handler


@handles("i32.const", "i64.const", "f32.const", "f64.const", "v128.const")
def const(instance: Instance, instr: Instr) -> Handler:
    (value,) = instr.args

    def handler(stack: Stack, locals: Stack) -> None:
        stack.append(value)

    return handler


@rule(
    *(f"Step_pure/{stem}-val" for stem in ("unop", "binop", "cvtop", "vunop", "vbinop", "vternop")),
    *(f"Step_pure/{stem}-trap" for stem in ("binop", "cvtop")),
    *(f"Step_pure/{stem}" for stem in ("testop", "relop", "vvunop", "vvbinop", "vvternop", "vvtestop", "vtestop")),
    *(f"Step_pure/{stem}" for stem in ("vrelop", "vshiftop", "vbitmask", "vswizzlop", "vshuffle", "vsplat")),
    *(f"Step_pure/{stem}" for stem in ("vextract_lane-num", "vextract_lane-pack", "vreplace_lane", "vnarrow")),
    *(f"Step_pure/{stem}" for stem in ("vextunop", "vextbinop", "vextternop", "vcvtop")),
)
def numeric(instance: Instance, instr: Instr) -> Handler:
    """The handler of an instruction that only computes: a function of `numerics`, which traps where it is partial."""
    function = instance.store.numerics[instr.op.mnemonic]
    if instr.args:
        function = partial(function, *instr.args)
    match len(instr.op.params or ()):
        case 1:

            def handler(stack: Stack, locals: Stack) -> None:
                stack[-1] = function(stack[-1])

        case 2:

            def handler(stack: Stack, locals: Stack) -> None:
                right = stack.pop()
                stack[-1] = function(stack[-1], right)

        case _:

            def handler(stack: Stack, locals: Stack) -> None:
                third = stack.pop()
                second = stack.pop()
                stack[-1] = function(stack[-1], second, third)

    return handler
