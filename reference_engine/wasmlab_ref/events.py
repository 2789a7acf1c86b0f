"""Observing an execution: instructions, the rules they take, memory accesses, calls.

A store with a listener translates functions with reports woven in; without one no instruction pays for it.
"""

from __future__ import annotations

from collections.abc import Callable

from .coverage import classifier, rules_before
from .handlers import Handler, Stack
from .outcome import Thrown, Trap
from .store import FuncInst, Instance, MemInst
from .syntax import Instr, MemArg


class Listener:
    """What hears of an execution; subclasses override what is of interest to them."""

    def instruction(self, func: FuncInst | None, position: int, instr: Instr, stack: Stack, locals: Stack) -> None:
        """An instruction is about to run; `stack` and `locals` must not be changed.

        `position` is its index in the function's body.  `func` is None in constant expressions and in what
        instantiation runs for segments.
        """

    def rule(self, name: str) -> None:
        """A reduction rule of the formal specification was taken, such as "Step_pure/br_if-true"."""

    def memory_access(self, kind: str, memory: MemInst, address: int, size: int) -> None:
        """Bytes were accessed; `kind` is "read" or "write"."""

    def call(self, func: FuncInst) -> None:
        """A function was entered."""


Accesses = Callable[[Stack], list[tuple[str, MemInst, int, int]]]


def accesses(instance: Instance, instr: Instr) -> Accesses | None:
    """What tells from its operands the memory accesses of an instruction that did not trap; None if it has none."""
    name, args = instr.op.mnemonic, instr.args
    if args and isinstance(args[0], MemArg):
        memory, offset = instance.memories[args[0].memory], args[0].offset
        size = instr.op.access
        kind = "write" if "store" in name or "rmw" in name else "read"
        place = -len(instr.op.params or ())
        return lambda operands: [(kind, memory, operands[place] + offset, size)]
    if name in {"memory.fill", "memory.init"}:
        memory = instance.memories[args[0]]
        return lambda operands: [("write", memory, operands[-3], operands[-1])]
    if name == "memory.copy":
        target, source = instance.memories[args[0]], instance.memories[args[1]]
        return lambda operands: [
            ("read", source, operands[-2], operands[-1]),
            ("write", target, operands[-3], operands[-1]),
        ]
    return None


class Weaver:
    """What puts more into the code of one function while it is translated; by itself nothing."""

    def entry(self) -> Handler:
        """A handler for the start of the function."""
        return _nothing

    def around(self, position: int, instr: Instr, handler: Handler, handled: bool = False) -> Handler:
        """A handler in place of an instruction's own; `handled`: within a try_table of its function."""
        return handler

    def before(self, position: int, instr: Instr, handled: bool) -> Handler:
        """A handler for what comes just before a control instruction."""
        return _nothing

    def passing(self, *rules: str) -> Handler:
        """A handler for a place where rules apply that no instruction stands for."""
        return _nothing


def _nothing(stack: Stack, locals: Stack) -> None:
    pass


class Reporter(Weaver):
    """Weaves reports to a listener."""

    def __init__(self, listener: Listener, instance: Instance, func: FuncInst | None = None) -> None:
        self.listener, self.instance, self.func = listener, instance, func

    def entry(self) -> Handler:
        """A handler that reports that the function was entered."""
        listener, func = self.listener, self.func

        def handler(stack: Stack, locals: Stack) -> None:
            if func is not None:
                listener.call(func)

        return handler

    def around(self, position: int, instr: Instr, handler: Handler, handled: bool = False) -> Handler:
        """A handler that runs `handler` and reports the instruction, its rules and its memory accesses."""
        listener, func = self.listener, self.func
        classify, accessed = classifier(instr), accesses(self.instance, instr)

        def report(operands: Stack, trap: str | None, stack: Stack) -> None:
            for name in classify(operands, trap, stack[-1] if stack else None):
                listener.rule(name)

        def observed(stack: Stack, locals: Stack) -> None:
            listener.instruction(func, position, instr, stack, locals)
            operands = stack[-5:]
            try:
                handler(stack, locals)
            except Trap as trap:
                report(operands, trap.kind, stack)
                if handled:
                    listener.rule("Step_pure/trap-handler")
                raise
            except Thrown:
                report(operands, None, stack)
                raise
            report(operands, None, stack)
            if accessed is not None:
                for access in accessed(operands):
                    listener.memory_access(*access)

        return observed

    def before(self, position: int, instr: Instr, handled: bool) -> Handler:
        """A handler that reports a control instruction about to be taken."""
        listener, func = self.listener, self.func

        def handler(stack: Stack, locals: Stack) -> None:
            listener.instruction(func, position, instr, stack, locals)
            for name in rules_before(instr, stack, handled):
                listener.rule(name)

        return handler

    def passing(self, *rules: str) -> Handler:
        """A handler that reports rules that apply at that place."""
        listener = self.listener

        def handler(stack: Stack, locals: Stack) -> None:
            for name in rules:
                listener.rule(name)

        return handler
