"""The machine: runs blocks, and keeps the activations of one invocation on a stack of its own.

Nothing here recurses over calls of the program; only a host function that re-enters the store starts another machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .control import CALL, HALT, IF, JUMP, RETURN, RETURN_CALL, TABLE, Block
from .exceptions import find_clause
from .handlers import Stack
from .outcome import Exhausted, Thrown, Trap
from .rules import rule
from .store import FuncInst, Value

if TYPE_CHECKING:
    from .engine import Store
    from .events import Listener

Frame = tuple[Block, Stack, Stack, int]
"""An activation that waits for a call: the block that ends in the call, operands, locals, and room for values."""


@rule(
    "Step_read/call_ref-null",
    "Step_read/call_ref-func",
    "Step_pure/frame-vals",
    "Step_read/return_call_ref-frame-null",
    "Step_read/return_call_ref-frame-addr",
    "Step_read/return_call_ref-label",
    "Step_read/return_call_ref-handler",
)
def execute(store: Store, func: FuncInst, args: list[Value]) -> list[Value]:
    """Invoke `func` (section 4.7.5 of the standard: the arguments, the function, `call_ref`).

    The state of the machine is in local variables, which is what makes it fast, and why this is one function.
    """
    block = Block(kind=CALL, next=Block(kind=HALT))
    stack: Stack = [*args, func]
    locals: Stack = []
    frames: list[Frame] = []
    fuel, depth, room = store.fuel, store.depth, store.room
    try:
        while True:
            try:
                while True:
                    fuel -= block.cost
                    if fuel < 0:
                        raise Exhausted("fuel")
                    for op in block.ops:
                        op(stack, locals)
                    kind = block.kind
                    if kind == IF:
                        block = block.taken if stack.pop() else block.next
                        continue
                    if kind == JUMP:
                        block = block.next
                        continue
                    if kind == RETURN:
                        results = stack
                        block, stack, locals, room = frames.pop()
                        stack += results
                        block = block.next
                        continue
                    if kind == TABLE:
                        index = stack.pop()
                        block = block.targets[index] if index < len(block.targets) else block.next
                        continue
                    if kind == HALT:
                        return stack

                    callee = block.callee
                    if callee is None:
                        callee = stack.pop()
                        if callee is None:
                            raise Trap("null function reference")
                    first = len(stack) - callee.params
                    args = stack[first:]
                    if kind == RETURN_CALL:
                        block, stack, locals, room = frames.pop()
                    else:
                        del stack[first:]
                    code = callee.body
                    if code is None:
                        if callee.host is not None:
                            store.fuel, store.depth, store.room = fuel, depth - len(frames), room
                            try:
                                stack += store.call_host(callee, args)
                            except Trap:
                                if store.listener is not None and block.handler is not None:
                                    store.listener.rule("Step_pure/trap-handler")
                                raise
                            finally:
                                fuel = store.fuel
                            block = block.next
                            continue
                        code = store.translate(callee)
                    if len(frames) >= depth or room < code.size:
                        raise Exhausted("call stack")
                    frames.append((block, stack, locals, room))
                    room -= code.size
                    block, stack, locals = code.entry, [], args
                    locals += code.defaults
            except Thrown as thrown:
                exception = thrown.exception
                while (clause := find_clause(store, block.handler, exception)) is None:
                    if not frames:
                        raise
                    block, stack, locals, room = frames.pop()
                stack[clause.height :] = clause.values(exception)
                block = clause.block
    except Trap:
        if store.listener is not None:
            trap_out(store.listener, frames)
        raise
    finally:
        store.fuel = fuel


@rule("Step_pure/trap-instrs", "Step_pure/trap-label", "Step_pure/trap-handler", "Step_pure/trap-frame")
def trap_out(listener: Listener, frames: list[Frame]) -> None:
    """Report how a trap leaves the activations; nothing else is left to do for it."""
    for block, *_ in reversed(frames):
        listener.rule("Step_pure/trap-instrs")
        listener.rule("Step_pure/trap-label")
        listener.rule("Step_pure/trap-frame")
        if block.handler is not None:
            listener.rule("Step_pure/trap-handler")
