"""The pre-resolved form of code: a graph of basic blocks.

A block is a run of straight-line handlers and one way to go on.  All that the standard looks up while it steps
(labels, their arities, the handlers around a place) is resolved to blocks when a function is translated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Union

from .handlers import Handler, Stack
from .store import ExnInst, FuncInst, TagInst, Value

JUMP, IF, TABLE, CALL, RETURN_CALL, RETURN, HALT = range(7)
"""How a block goes on:

    JUMP         at `next`
    IF           pop a number: at `taken` unless it is 0, then at `next`
    TABLE        pop a number: at that one of `targets`, or at `next` if there is none
    CALL         call `callee`, or where that is None the function popped, then at `next`
    RETURN_CALL  return, and call it then
    RETURN       with the whole operand stack as results
    HALT         the invocation has its results on the stack
"""


@dataclass(slots=True, eq=False)
class Block:
    """A basic block; `cost` is the number of its instructions, `handler` the innermost one around its end."""

    ops: list[Handler] = field(default_factory=list)
    cost: int = 0
    kind: int = HALT
    next: Block = None  # type: ignore[assignment]  # set before the block can run
    taken: Block = None  # type: ignore[assignment]
    targets: tuple[Block, ...] = ()
    callee: FuncInst | None = None
    handler: ExceptionHandler | None = None

    def __repr__(self) -> str:
        return f"<block of {self.cost}>"


class Clause(NamedTuple):
    """A resolved catch clause: on a match, cut the stack to `height`, push what the flags say, go on at `block`."""

    kind: str
    tag: TagInst | None
    block: Block
    height: int

    def values(self, exception: ExnInst) -> list[Value]:
        """What the clause pushes: the exception's values, the exception itself, both or neither."""
        values = exception.fields.copy() if self.tag is not None else []
        if self.kind.endswith("_ref"):
            values.append(exception)
        return values


class ExceptionHandler(NamedTuple):
    """A try_table around some code, and the next one around that within the same function."""

    clauses: tuple[Clause, ...]
    outer: Union[ExceptionHandler, None]  # noqa: UP007 (evaluated at run time)


@dataclass(slots=True, eq=False)
class Label:
    """A label while its block is translated: where a branch to it goes, with how many values, at which height.

    A label gets its block when something first branches to it; the code after its `end` goes on in that block.
    """

    height: int
    arity: int
    params: int
    results: int
    block: Block | None = None
    loop: bool = False
    otherwise: Block | None = None
    outer: ExceptionHandler | None = None
    handlers: int = 0

    def target(self) -> Block:
        """The block that a branch goes to."""
        if self.block is None:
            self.block = Block()
        return self.block


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """A translated function: `size` is the most values its activation holds, locals included."""

    entry: Block
    defaults: tuple[Value, ...]
    size: int


def unwind(height: int, arity: int) -> Handler:
    """The handler that drops what lies between the label's height and the values it takes."""

    def handler(stack: Stack, locals: Stack) -> None:
        del stack[height : len(stack) - arity]

    return handler
