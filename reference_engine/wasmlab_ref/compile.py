"""Translation of a validated function into blocks, in one pass and without recursion.

The operand height is known at every instruction, so a branch that has nothing to drop is a plain jump.  Code that
cannot be reached is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeAlias

from . import aggregates, atomic, exceptions, memory, references, table  # noqa: F401 (fill the table of handlers)
from .basic import numeric
from .control import (
    CALL,
    IF,
    JUMP,
    RETURN,
    RETURN_CALL,
    TABLE,
    Block,
    Clause,
    Code,
    ExceptionHandler,
    Label,
    unwind,
)
from .events import Weaver
from .handlers import MAKERS, Handler, Maker, Stack
from .isa import Instruction
from .outcome import Exhausted, Trap
from .rules import rule
from .store import FuncInst, Instance, default, field_types, func_type, ref_matcher
from .syntax import Cast, Catch, Instr
from .types import RefType

Control: TypeAlias = "Callable[[_Translation, Block, Instr], None]"
"""How an instruction that ends or begins a block is translated."""

EFFECTS: dict[str, int] = {
    "drop": -1, "select": -2, "local.get": 1, "local.set": -1, "local.tee": 0, "global.get": 1, "global.set": -1,
    "table.get": 0, "table.set": -2, "table.size": 1, "table.grow": -1, "table.fill": -3, "table.copy": -3,
    "table.init": -3, "memory.copy": -3, "ref.null": 1, "ref.func": 1, "ref.is_null": 0, "ref.as_non_null": 0,
    "ref.test": 0, "ref.cast": 0, "any.convert_extern": 0, "extern.convert_any": 0,
    "struct.new_default": 1, "struct.get": 0, "struct.get_s": 0, "struct.get_u": 0, "struct.set": -2,
    "array.new": -1, "array.new_default": 0, "array.new_data": -1, "array.new_elem": -1, "array.get": -1,
    "array.get_s": -1, "array.get_u": -1, "array.set": -3, "array.fill": -4, "array.copy": -5,
    "array.init_data": -4, "array.init_elem": -4,
}  # fmt: skip
"""By how much instructions whose types the table does not give raise the operand stack."""


def effect(instance: Instance, instr: Instr) -> int:
    """By how much a straight-line instruction raises the operand stack."""
    op = instr.op
    if op.params is not None and op.results is not None:
        return len(op.results) - len(op.params)
    if op.mnemonic == "struct.new":
        return 1 - len(field_types(instance.types[instr.args[0]]))
    return 1 - int(instr.args[1]) if op.mnemonic == "array.new_fixed" else EFFECTS[op.mnemonic]


def make(instance: Instance, instr: Instr) -> Handler:
    """The handler of a straight-line instruction."""
    return _prepared(instr.op)[1](instance, instr)


@cache
def _prepared(op: Instruction) -> tuple[Control | None, Maker, int | None]:
    """What ends or begins a block at such an instruction, what makes its handler, and by how much it raises the stack
    (None where that depends on the module)."""
    known = op.params is not None and op.results is not None
    raised = len(op.results or ()) - len(op.params or ()) if known else EFFECTS.get(op.mnemonic)
    return CONTROL.get(op.mnemonic), MAKERS.get(op.mnemonic, numeric), raised


def run_straight(instance: Instance, instrs: Iterable[Instr]) -> Stack:
    """Run straight-line instructions outside of any function; the operand stack they leave."""
    weaver = instance.store.weaver(instance)
    stack: Stack = []
    for position, instr in enumerate(instrs):
        handler = make(instance, instr)
        if weaver is not None:
            handler = weaver.around(position, instr, handler)
        handler(stack, [])
    return stack


def translate(func: FuncInst, instance: Instance) -> Code:
    """The blocks of a function; `Exhausted` if it has more locals than the limit."""
    type_ = func_type(func.type)
    runs = instance.module.locals[func.index - (len(instance.funcs) - len(instance.module.module.funcs))]
    count = len(type_.params) + sum(n for n, _ in runs)
    store = instance.store
    if count > store.limits.locals:
        raise Exhausted("locals")
    weaver = store.weaver(instance, func)
    translation = _Translation(func, instance, len(type_.results), weaver)
    entry = translation.run()
    size = count + translation.peak
    if size >= 64:
        entry.ops.insert(0, lambda stack, locals: store.bulk(size))
    return Code(entry, tuple(default(t) for n, t in runs for _ in range(n)), size)


class _Translation:
    """One function on its way; `block` is None where code cannot be reached."""

    def __init__(self, func: FuncInst, instance: Instance, results: int, weaver: Weaver | None) -> None:
        self.func, self.instance, self.weaver = func, instance, weaver
        self.labels = [Label(0, results, 0, results)]
        self.height = self.peak = self.position = self.handlers = 0
        self.handler: ExceptionHandler | None = None
        self.block: Block | None = Block()

    def run(self) -> Block:
        entry = self.block
        skipped = 0
        if entry is not None and self.weaver:
            entry.ops.append(self.weaver.entry())
        code = self.func.code
        if code is None or entry is None:
            raise TypeError("a host function has no code")
        for self.position, instr in enumerate(code.body):
            name = instr.op.mnemonic
            if self.block is not None:
                self.instruction(self.block, instr, name)
            elif name in _OPENING:
                skipped += 1
            elif skipped:
                skipped -= name == "end"
            elif name == "end":
                self.end()
            elif name == "else":
                self.else_()
        self.end()
        if self.block is not None:
            self.passing(self.block, "Step_pure/frame-vals")
            self.block.kind = RETURN
        return entry

    def instruction(self, block: Block, instr: Instr, name: str) -> None:
        control, maker, raised = _prepared(instr.op)
        if control is None:
            handler = maker(self.instance, instr)
            if self.weaver:
                handler = self.weaver.around(self.position, instr, handler, self.handlers > 0)
            block.ops.append(handler)
            block.cost += 1
            if name in _DEAD_END:
                self.finish(block)
            else:
                self.raise_by(effect(self.instance, instr) if raised is None else raised)
            return
        if name not in {"end", "else"}:
            block.cost += 1
            if self.weaver and name not in _TESTED:
                block.ops.append(self.weaver.before(self.position, instr, self.handlers > 0))
        control(self, block, instr)

    # -- the parts of a graph

    def raise_by(self, amount: int) -> None:
        self.height += amount
        if self.height > self.peak:
            self.peak = self.height

    def append(self, block: Block, instr: Instr, handler: Handler) -> None:
        if self.weaver:
            handler = self.weaver.around(self.position, instr, handler, self.handlers > 0)
        block.ops.append(handler)

    def passing(self, block: Block, *rules: str) -> None:
        if self.weaver:
            block.ops.append(self.weaver.passing(*rules))

    def finish(self, block: Block) -> None:
        """End a block; what follows cannot be reached until a label or a branch opens a new one."""
        block.handler = self.handler
        self.block = None

    def jump(self, block: Block, target: Block) -> None:
        block.kind, block.next = JUMP, target
        self.finish(block)

    def open(self) -> Block:
        self.block = Block()
        return self.block

    def leave(self, block: Block, depth: int) -> Block:
        """Let `block` drop what a branch over `depth` labels drops; the target."""
        label = self.labels[-1 - depth]
        if self.weaver:
            crossed = ("Step_pure/br-handler",) if self.handlers > label.handlers else ()
            nested = ("Step_pure/br-label-succ",) if depth else ()
            block.ops.append(self.weaver.passing(*nested, *crossed, "Step_pure/br-label-zero"))
        if self.height != label.height + label.arity:
            block.ops.append(unwind(label.height, label.arity))
        return label.target()

    def edge(self, depth: int) -> Block:
        """The block that a conditional branch goes to: the label's own, or one in between that drops values."""
        edge = Block()
        target = self.leave(edge, depth)
        if not edge.ops:
            return target
        edge.kind, edge.next, edge.handler = JUMP, target, self.handler
        return edge

    def push_label(self, instr: Instr, loop: bool = False) -> Label:
        params, results = self.arities(instr)
        arity = params if loop else results
        label = Label(self.height - params, arity, params, results, None, loop, None, self.handler, self.handlers)
        self.labels.append(label)
        return label

    def arities(self, instr: Instr) -> tuple[int, int]:
        blocktype = instr.args[0]
        if isinstance(blocktype, int):
            type_ = func_type(self.instance.types[blocktype])
            return len(type_.params), len(type_.results)
        return 0, 0 if blocktype is None else 1

    # -- structured instructions

    @rule("Step_read/block")
    def block_(self, block: Block, instr: Instr) -> None:
        self.push_label(instr)

    @rule("Step_read/loop")
    def loop(self, block: Block, instr: Instr) -> None:
        label = self.push_label(instr, loop=True)
        self.jump(block, label.target())
        self.block = label.block

    @rule("Step_pure/if-true", "Step_pure/if-false")
    def if_(self, block: Block, instr: Instr) -> None:
        self.height -= 1
        self.push_label(instr).otherwise = block
        block.kind = IF
        self.finish(block)
        block.taken = self.open()

    def else_(self, block: Block | None = None, instr: Instr | None = None) -> None:
        label = self.labels[-1]
        if block is not None:
            self.passing(block, "Step_pure/label-vals")
            self.jump(block, label.target())
        self.height = label.height + label.params
        if label.otherwise is not None:
            label.otherwise.next = self.open()
            label.otherwise = None

    @rule("Step_pure/label-vals", "Step_pure/handler-vals")
    def end(self, block: Block | None = None, instr: Instr | None = None) -> None:
        block = self.block
        if block is not None and self.weaver:
            self.passing(block, *self.rules_of_end())
        label = self.labels.pop()
        if label.otherwise is not None:
            label.otherwise.next = label.target()
        if label.block is not None and not label.loop:
            if block is not None:
                self.jump(block, label.block)
            self.block = label.block
        self.handler, self.handlers = label.outer, label.handlers
        self.height = label.height + label.results

    def rules_of_end(self) -> tuple[str, ...]:
        handled = self.labels[-1].handlers < self.handlers
        return ("Step_pure/label-vals", "Step_pure/handler-vals") if handled else ("Step_pure/label-vals",)

    @rule("Step_read/try_table")
    def try_table(self, block: Block, instr: Instr) -> None:
        catches: tuple[Catch, ...] = instr.args[1]
        clauses = tuple(self.clause(catch) for catch in catches)
        self.push_label(instr)
        self.handler = ExceptionHandler(clauses, self.handler)
        self.handlers += 1

    def clause(self, catch: Catch) -> Clause:
        label = self.labels[-1 - catch.label]
        tag = None if catch.tag is None else self.instance.tags[catch.tag]
        if not self.weaver:
            return Clause(catch.kind, tag, label.target(), label.height)
        edge = Block(kind=JUMP, next=label.target())
        crossed = ("Step_pure/br-handler",) if self.handlers > label.handlers else ()
        nested = ("Step_pure/br-label-succ",) if catch.label else ()
        self.passing(edge, *nested, *crossed, "Step_pure/br-label-zero")
        return Clause(catch.kind, tag, edge, label.height)

    # -- branches

    @rule("Step_pure/br-label-zero", "Step_pure/br-label-succ", "Step_pure/br-handler")
    def br(self, block: Block, instr: Instr) -> None:
        self.jump(block, self.leave(block, instr.args[0]))

    def branch_if(self, block: Block, depth: int) -> None:
        block.kind, block.taken = IF, self.edge(depth)
        self.finish(block)
        block.next = self.open()

    @rule("Step_pure/br_if-true", "Step_pure/br_if-false")
    def br_if(self, block: Block, instr: Instr) -> None:
        self.height -= 1
        self.branch_if(block, instr.args[0])

    @rule("Step_pure/br_table-lt", "Step_pure/br_table-ge")
    def br_table(self, block: Block, instr: Instr) -> None:
        self.height -= 1
        depths: tuple[int, ...] = instr.args[0]
        edges = {depth: self.edge(depth) for depth in dict.fromkeys(depths)}
        block.kind, block.targets, block.next = TABLE, tuple(edges[d] for d in depths[:-1]), edges[depths[-1]]
        self.finish(block)

    def test(self, block: Block, instr: Instr, handler: Handler) -> None:
        """Append a handler that decides whether to branch, and pushes the decision."""
        self.append(block, instr, handler)
        self.peak = max(self.peak, self.height + 1)

    @rule("Step_pure/br_on_null-null", "Step_pure/br_on_null-addr")
    def br_on_null(self, block: Block, instr: Instr) -> None:
        def handler(stack: Stack, locals: Stack) -> None:
            if stack[-1] is None:
                stack[-1] = 1
            else:
                stack.append(0)

        self.test(block, instr, handler)
        self.height -= 1
        self.branch_if(block, instr.args[0])
        self.height += 1

    @rule("Step_pure/br_on_non_null-null", "Step_pure/br_on_non_null-addr")
    def br_on_non_null(self, block: Block, instr: Instr) -> None:
        def handler(stack: Stack, locals: Stack) -> None:
            if stack[-1] is None:
                stack[-1] = 0
            else:
                stack.append(1)

        self.test(block, instr, handler)
        self.branch_if(block, instr.args[0])
        self.height -= 1

    @rule("Step_read/br_on_cast-succeed", "Step_read/br_on_cast-fail")
    def br_on_cast(self, block: Block, instr: Instr) -> None:
        cast: Cast = instr.args[0]
        matches = ref_matcher(self.instance.close(cast.target))
        self.test(block, instr, lambda stack, locals: stack.append(int(matches(stack[-1]))))
        self.branch_if(block, cast.label)

    @rule("Step_read/br_on_cast_fail-succeed", "Step_read/br_on_cast_fail-fail")
    def br_on_cast_fail(self, block: Block, instr: Instr) -> None:
        cast: Cast = instr.args[0]
        matches = ref_matcher(self.instance.close(cast.target))
        self.test(block, instr, lambda stack, locals: stack.append(int(not matches(stack[-1]))))
        self.branch_if(block, cast.label)

    # -- calls

    @rule("Step_pure/return-frame", "Step_pure/return-label", "Step_pure/return-handler")
    def return_(self, block: Block, instr: Instr) -> None:
        arity = self.labels[0].arity
        if self.height != arity:
            block.ops.append(unwind(0, arity))
        block.kind = RETURN
        self.finish(block)

    def call_by(self, block: Block, kind: int, type_index: int | None) -> None:
        """End a block with a call; its operands and results are those of the type, or of the block's callee."""
        block.kind = kind
        if kind == RETURN_CALL:
            self.finish(block)
            return
        type_ = block.callee.type if block.callee is not None else self.instance.types[type_index or 0]
        self.raise_by(len(func_type(type_).results) - len(func_type(type_).params))
        self.finish(block)
        block.next = self.open()

    @rule("Step_read/call")
    def call(self, block: Block, instr: Instr) -> None:
        block.callee = self.instance.funcs[instr.args[0]]
        self.call_by(block, CALL, None)

    @rule("Step_read/return_call")
    def return_call(self, block: Block, instr: Instr) -> None:
        block.callee = self.instance.funcs[instr.args[0]]
        self.call_by(block, RETURN_CALL, None)

    def call_ref(self, block: Block, instr: Instr) -> None:
        self.height -= 1
        self.call_by(block, CALL, instr.args[0])

    def return_call_ref(self, block: Block, instr: Instr) -> None:
        self.call_by(block, RETURN_CALL, instr.args[0])

    def callee_of_table(self, block: Block, instr: Instr) -> None:
        table_index, type_index = instr.args
        refs = self.instance.tables[table_index].refs
        matches = ref_matcher(RefType(False, self.instance.types[type_index]))

        def handler(stack: Stack, locals: Stack) -> None:
            try:
                ref = refs[stack[-1]]
            except IndexError:
                raise Trap("undefined element") from None
            if ref is None:
                raise Trap("uninitialized element")
            if not matches(ref):
                raise Trap("indirect call type mismatch")
            stack[-1] = ref

        self.test(block, instr, handler)
        self.height -= 1

    @rule("Step_pure/call_indirect")
    def call_indirect(self, block: Block, instr: Instr) -> None:
        self.callee_of_table(block, instr)
        self.call_by(block, CALL, instr.args[1])

    @rule("Step_pure/return_call_indirect")
    def return_call_indirect(self, block: Block, instr: Instr) -> None:
        self.callee_of_table(block, instr)
        self.call_by(block, RETURN_CALL, instr.args[1])


CONTROL: dict[str, Control] = {
    "block": _Translation.block_,
    "if": _Translation.if_,
    "else": _Translation.else_,
    "loop": _Translation.loop,
    "end": _Translation.end,
    "try_table": _Translation.try_table,
    "br": _Translation.br,
    "br_if": _Translation.br_if,
    "br_table": _Translation.br_table,
    "br_on_null": _Translation.br_on_null,
    "br_on_non_null": _Translation.br_on_non_null,
    "br_on_cast": _Translation.br_on_cast,
    "br_on_cast_fail": _Translation.br_on_cast_fail,
    "return": _Translation.return_,
    "call": _Translation.call,
    "call_ref": _Translation.call_ref,
    "call_indirect": _Translation.call_indirect,
    "return_call": _Translation.return_call,
    "return_call_ref": _Translation.return_call_ref,
    "return_call_indirect": _Translation.return_call_indirect,
}
"""Instructions that end a block, or open or close a label."""

_OPENING = frozenset({"block", "loop", "if", "try_table"})
_DEAD_END = frozenset({"unreachable", "throw", "throw_ref"})
_TESTED = frozenset(
    {"br_on_null", "br_on_non_null", "br_on_cast", "br_on_cast_fail", "call_indirect", "return_call_indirect"}
)
