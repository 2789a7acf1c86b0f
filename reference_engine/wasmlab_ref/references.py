"""Reference instructions (section 4.6.9 of the standard), and the scalar and external references."""

from __future__ import annotations

from .handlers import Handler, Stack, handles
from .outcome import Trap
from .rules import rule
from .store import Instance, ref_matcher
from .syntax import Instr


@handles("ref.null")
@rule("Step_read/ref.null")
def ref_null(instance: Instance, instr: Instr) -> Handler:
    return lambda stack, locals: stack.append(None)


@handles("ref.func")
@rule("Step_read/ref.func")
def ref_func(instance: Instance, instr: Instr) -> Handler:
    func = instance.funcs[instr.args[0]]
    return lambda stack, locals: stack.append(func)


@handles("ref.is_null")
@rule("Step_pure/ref.is_null-true", "Step_pure/ref.is_null-false")
def ref_is_null(instance: Instance, instr: Instr) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        stack[-1] = int(stack[-1] is None)

    return handler


@handles("ref.as_non_null")
@rule("Step_pure/ref.as_non_null-null", "Step_pure/ref.as_non_null-addr")
def ref_as_non_null(instance: Instance, instr: Instr) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        if stack[-1] is None:
            raise Trap("null reference")

    return handler


@handles("ref.eq")
@rule("Step_pure/ref.eq-null", "Step_pure/ref.eq-true", "Step_pure/ref.eq-false")
def ref_eq(instance: Instance, instr: Instr) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        right = stack.pop()
        stack[-1] = int(stack[-1] == right)  # objects compare by identity, scalars by value

    return handler


@handles("ref.test")
@rule("Step_read/ref.test-true", "Step_read/ref.test-false")
def ref_test(instance: Instance, instr: Instr) -> Handler:
    matches = ref_matcher(instance.close(instr.args[0]))

    def handler(stack: Stack, locals: Stack) -> None:
        stack[-1] = int(matches(stack[-1]))

    return handler


@handles("ref.cast")
@rule("Step_read/ref.cast-succeed", "Step_read/ref.cast-fail")
def ref_cast(instance: Instance, instr: Instr) -> Handler:
    matches = ref_matcher(instance.close(instr.args[0]))

    def handler(stack: Stack, locals: Stack) -> None:
        if not matches(stack[-1]):
            raise Trap("cast failure")

    return handler


@handles("ref.i31")
@rule("Step_pure/ref.i31")
def ref_i31(instance: Instance, instr: Instr) -> Handler:
    def handler(stack: Stack, locals: Stack) -> None:
        stack[-1] &= 0x7FFF_FFFF

    return handler


@handles("i31.get_s", "i31.get_u")
@rule("Step_pure/i31.get-null", "Step_pure/i31.get-num")
def i31_get(instance: Instance, instr: Instr) -> Handler:
    sign = 0x8000_0000 if instr.op.mnemonic == "i31.get_s" else 0

    def handler(stack: Stack, locals: Stack) -> None:
        value = stack[-1]
        if value is None:
            raise Trap("null i31 reference")
        stack[-1] = value | value << 1 & sign

    return handler


@handles("any.convert_extern", "extern.convert_any")
@rule(
    "Step_pure/any.convert_extern-null",
    "Step_pure/any.convert_extern-addr",
    "Step_pure/extern.convert_any-null",
    "Step_pure/extern.convert_any-addr",
)
def convert(instance: Instance, instr: Instr) -> Handler:
    return lambda stack, locals: None  # the representation is the same on both sides
