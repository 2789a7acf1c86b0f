"""Structured control, branches and exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wasmlab_ref.syntax import Cast, Catch, instr
from wasmlab_ref.types import RefType, ValType

from . import calls, faults
from .function import Label
from .parts import Tag
from .registry import expression, statement
from .special import cast_pairs, likely

if TYPE_CHECKING:
    from .builder import Builder
    from .function import Body

DEEPEST = 7
HOT = 1000
"""How often code in a hot loop is thought to run, while it is drawn: too often for calls and other loops."""


def run(b: Body, most: int) -> None:
    """Up to `most` statements."""
    statements = b.module.swarm.statements()
    beneath = below(b)
    for _ in range(1 + b.below(most)):
        if b.full():
            break
        statements[b.below(len(statements))](b, None, b.below(b.config.expression), "")
    b.store(beneath)


def below(b: Body) -> tuple[ValType, ...]:
    """Now and then, values that stay on the stack while the next statements run, for the caller to store: one or two,
    or more than a machine has registers."""
    if b.below(4) < 3:
        return ()
    mix = b.module.mix()
    kept = tuple([b.source.pick(mix) for _ in range(1 + b.below(b.source.pick((2, 2, 2, 14))))])
    for t in kept:
        b.expr(t, b.below(2))
    return kept


def deep(b: Body) -> bool:
    return len(b.labels) >= DEEPEST


# Statements with operands below them


@expression("nop", "mvp", weight=4)
def behind(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    """A value behind a statement, which runs with the operands below it that were made before."""
    if fuel > 3 and not b.full():
        statements = b.module.swarm.statements()
        statements[b.below(len(statements))](b, None, b.below(fuel), "")
    b.expr(t, fuel - 2, nan)


# Blocks


@expression("block", "mvp")
def block(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    """A block with a result; it may be left by a branch."""
    if deep(b):
        b.expr(t, fuel - 2)
        return
    b.open("block", (t,))
    if fuel > 5 and b.below(2):
        run(b, 2)
    b.expr(t, fuel - 1)
    if b.below(4) == 0:
        b.emit("br", 0)
        dead(b)
    b.close()


@expression("if", "mvp", weight=2)
def if_(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    if deep(b):
        b.expr(t, fuel - 2)
        return
    b.condition(fuel // 3)
    b.open("if", (t,))
    if fuel > 5 and b.below(3) == 0:
        run(b, 2)
    b.expr(t, fuel // 3)
    b.emit("else")
    b.expr(t, fuel // 3)
    b.close()


@statement("block", "mvp")
def block_statement(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    """A block, with parameters and results where there may be several."""
    if deep(b):
        return
    multi = b.module.has("multi-value")
    mix = b.module.mix()
    params = tuple([b.source.pick(mix) for _ in range(b.below(3))]) if multi else ()
    results = tuple([b.source.pick(mix) for _ in range(b.below(4 if multi else 2))])
    b.exprs(params, fuel)
    b.open("block", results, params)
    b.store(params)
    run(b, 3)
    b.exprs(results, fuel)
    b.close()
    b.store(results)


@statement("if", "mvp", weight=3)
def if_statement(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    if deep(b):
        return
    mix = b.module.mix()
    params: tuple[ValType, ...] = ()
    if b.module.has("multi-value") and b.below(4) == 0:
        params = tuple([b.source.pick(mix) for _ in range(1 + b.below(2))])
    b.exprs(params, fuel // 2)
    b.condition(fuel)
    b.open("if", (), params)
    b.store(params)
    run(b, 3)
    if params or b.below(2):
        b.emit("else")
        b.store(params)
        run(b, 2)
    b.close()


# Loops: a counter that nothing else writes bounds each


def _rounds(b: Body) -> int:
    if b.weight > 1 or not b.affordable(600):
        return 1 + b.below(3)
    return b.source.pick((2, 3, 4, 5, 8, 17, 33))


def loop(b: Body, carried: tuple[ValType, ...], fuel: int) -> None:
    """A loop that leaves `carried` on the stack, values of which each round makes the next ones' parameters.

    It counts down at its head, so that any branch to its label is harmless; or at its end.
    """
    rounds = _rounds(b)
    counter = b.local("i32", reserved=True)
    at_head = b.below(3) > 0
    b.const("i32", rounds)
    b.set(counter)
    start = len(b.code)
    b.exprs(carried, fuel)
    if at_head:
        b.open("block", carried, carried)
    label = b.open("loop", carried, carried)
    b.weight *= rounds
    if at_head:
        b.get(counter)
        b.emit("i32.eqz")
        b.emit("br_if", 1)
    _decrement(b, counter)
    if b.below(4):
        b.get(counter)
        b.fold("i32")
    label.open = at_head
    b.store(carried)
    run(b, 3)
    b.exprs(carried, fuel)
    if at_head:
        b.emit("br", 0)
        dead(b)
    else:
        b.get(counter)
        b.emit("br_if", 0)
    b.weight //= rounds
    b.close()
    if at_head:
        b.close()
    b.extra += (len(b.code) - start) * (rounds - 1) * b.weight


def hot_loop(b: Body) -> None:
    """A loop of as many rounds as the budget allows, up to some thousands: code that tiers compile again."""
    counter = b.local("i32", reserved=True)
    count = len(b.code)
    b.const("i32", 1)
    b.set(counter)
    start, extra = len(b.code), b.extra
    b.open("loop", ())
    b.weight = HOT
    run(b, 2)
    b.get(counter)
    b.fold("i32")
    _decrement(b, counter)
    b.get(counter)
    b.emit("br_if", 0)
    b.weight = 1
    b.close()
    cost = len(b.code) - start + (b.extra - extra) // HOT
    b.extra = extra
    rounds = max(min((b.function.budget - b.cost()) // cost, 5 * HOT), 1)
    b.code[count] = instr("i32.const", rounds)
    b.charge(cost * rounds)


def _decrement(b: Body, counter: int) -> None:
    b.get(counter)
    b.const("i32", 1)
    b.emit("i32.sub")
    b.set(counter)


@statement("loop", "mvp", weight=2)
def loop_statement(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    if deep(b) or b.weight > 20:
        return
    carried: tuple[ValType, ...] = ()
    if b.module.has("multi-value") and b.below(2):
        mix = b.module.mix()
        carried = tuple([b.source.pick(mix) for _ in range(1 + b.below(3))])
    loop(b, carried, fuel)
    b.store(carried)


@expression("loop", "multi-value")
def loop_expression(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    if deep(b) or b.weight > 20 or fuel < 4:
        b.expr(t, fuel - 2)
        return
    loop(b, (t,), fuel // 2)


# Branches


def targets(b: Body, types: tuple[ValType, ...]) -> list[int]:
    """The labels, as indices, that a branch with such values may go to."""
    below, last = b.types.below, len(b.labels) - 1
    return [
        last - i
        for i, label in enumerate(b.labels)
        if label.open and len(label.types) == len(types) and all(map(below, types, label.types))
    ]


@expression("br_if", "mvp", weight=2)
def br_if(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    """A value that may instead be the result of an enclosing block."""
    found = [i for i in targets(b, (t,)) if b.labels[-1 - i].types == (t,)]
    b.expr(t, fuel // 2)
    if found:
        b.rarely()
        b.emit("br_if", b.source.pick(found))


@statement("br_if", "mvp", weight=2)
def br_if_statement(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    found = [i for i in range(len(b.labels)) if b.labels[-1 - i].open]
    if found:
        label = b.source.pick(found)
        types = b.labels[-1 - label].types
        b.exprs(types, fuel // 2)
        b.rarely()
        b.emit("br_if", label)
        b.store(types)


@statement("br_table", "mvp")
def switch(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    """Nested blocks, and a br_table into them."""
    if deep(b):
        return
    cases = 2 + b.below(3)
    for _i in range(cases):
        b.open("block", ())
    b.expr("i32", fuel)
    b.mix("i32")
    b.const("i32", 7)
    b.emit("i32.and")
    others = targets(b, ())
    labels = [b.source.pick(others) if b.below(8) == 0 else b.below(cases) for _ in range(cases)]
    b.emit("br_table", (*labels, b.below(cases)))
    dead(b)
    for i in range(cases):
        b.close()
        run(b, 2)
        if b.below(2) and (out := [n for n in targets(b, ()) if n < cases - i - 1]):
            leave(b, out)


def leave(b: Body, labels: Sequence[int]) -> None:
    """A branch that nearly always falls through to nothing: the rest of a case is skipped."""
    b.leaf("i32")
    b.emit("br_if", b.source.pick(labels))


@expression("br_table", "mvp")
def br_table(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    """A value that leaves one of two blocks, by a table."""
    if deep(b) or fuel < 4:
        b.expr(t, fuel - 2)
        return
    b.open("block", (t,))
    b.open("block", (t,))
    b.expr(t, fuel // 2)
    b.expr("i32", fuel // 4)
    outer = [i for i in targets(b, (t,)) if b.labels[-1 - i].types == (t,)]
    labels = [b.source.pick(outer) if b.below(8) == 0 else b.below(2) for _ in range(b.below(5))]
    b.emit("br_table", (*labels, b.below(2)))
    dead(b)
    b.close()
    b.expr(t, fuel // 4)
    b.condition(1)
    b.emit("select", (t,) if isinstance(t, RefType) else None)
    b.close()


# Ways out


@statement("return", "mvp", weight=2)
def escape(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    """Now and then, leave: by a branch, a return, a tail call, an exception, a trap."""
    if deep(b):
        return
    b.rarely()
    b.open("if", ())
    go(b, fuel)
    dead(b)
    b.close()


def go(b: Body, fuel: int) -> None:
    """An instruction that does not come back."""
    kind = b.below(12)
    if kind < 3:
        labels = [i for i in range(len(b.labels)) if b.labels[-1 - i].open]
        label = b.source.pick(labels)
        b.exprs(b.labels[-1 - label].types, fuel // 2)
        b.emit("br", label)
        return
    if kind >= 5 and b.below(2):
        b.settle()
    if kind < 5 and calls.tail_call(b, fuel):
        pass
    elif kind < 7 and b.module.tags and (b.trying or not b.careful):
        throw(b, b.source.pick(b.module.tags), fuel)
    elif kind == 11 and b.below(100) < 10 * b.risk:
        faults.draw(b)
        b.emit("unreachable")
    elif kind == 10:
        labels = [i for i in range(len(b.labels)) if b.labels[-1 - i].open]
        label = b.source.pick(labels)
        types = b.labels[-1 - label].types
        same = [i for i in labels if b.labels[-1 - i].types == types]
        b.exprs(types, fuel // 2)
        b.expr("i32", fuel // 2)
        b.emit("br_table", (*[b.source.pick(same) for _ in range(b.below(4))], label))
    else:
        b.exprs(b.function.results, fuel // 2)
        b.emit("return")


def dead(b: Body) -> None:
    """Now and then, code that is never reached: with operands out of nowhere."""
    if b.below(100) < 100 - b.config.dead:
        return
    depth = len(b.labels)
    kind = b.below(7)
    if kind == 0:
        b.emit("i32.add")
        b.emit("drop")
    elif kind == 1:
        b.emit("select", None)
        b.emit("drop")
    elif kind == 2:
        b.leaf("i64")
        b.emit("i64.eqz")
        b.emit("drop")
    elif kind == 3:
        b.emit("unreachable")
    elif kind == 4:
        b.emit("select", None)
        b.store((b.source.pick(b.module.numbers()),))
    elif kind == 5 and b.module.has("function-references"):
        b.emit("ref.as_non_null")
        b.store((b.source.pick(b.module.nullable_types()),))
    else:
        b.exprs(b.labels[-1].types, 3)
        b.emit("br", 0)
    if len(b.labels) != depth:
        raise RuntimeError("unbalanced blocks in unreachable code")


# Exceptions


def throw(b: Body, tag: Tag, fuel: int) -> None:
    b.exprs(tag.params, fuel // 2)
    if not b.trying:
        b.function.throws = True
    b.emit("throw", tag.index)


EXNREF = RefType(True, "exn")


def try_table(b: Body, results: tuple[ValType, ...], fuel: int) -> None:
    """Blocks that catch, around a body that throws more often than not; leaves `results`."""
    tags = b.module.tags
    b.open("block", results)
    clauses: list[tuple[str, Tag | None, tuple[ValType, ...]]] = []
    for _ in range(b.source.pick((1, 2, 3, 1, 2, 0))):
        kind = b.source.pick(("catch", "catch", "catch_ref", "catch_all", "catch_all_ref"))
        if not tags and not kind.startswith("catch_all"):
            kind = "catch_all"
        tag = b.source.pick(tags) if not kind.startswith("catch_all") else None
        exn = (RefType(b.below(3) > 0, "exn"),) if kind.endswith("_ref") else ()
        clauses.append((kind, tag, (*(tag.params if tag else ()), *exn)))
    for _kind, _tag, types in reversed(clauses):
        b.open("block", types)
    catches = [Catch(kind, tag.index if tag else None, i) for i, (kind, tag, _) in enumerate(clauses)]
    outer = [i for i in targets(b, ()) if i >= len(clauses)]
    if outer and b.below(6) == 0:
        catches.append(Catch("catch_all", None, b.source.pick(outer)))
    b.emit("try_table", b.block_type((), results), tuple(catches))
    b.labels.append(Label(results))
    b.trying += bool(clauses)
    run(b, 3)
    if b.below(8) == 7 and not deep(b):
        b.condition(2)
        b.open("if", ())
        go(b, 3)
        b.close()
    if clauses or b.trying:
        caught = [tag for _, tag, _ in clauses if tag]
        _perhaps_throw(b, fuel, tags if not caught or (b.trying > 1 and b.below(2)) else caught)
    b.exprs(results, fuel // 2)
    b.trying -= bool(clauses)
    b.close()
    b.emit("br", len(clauses))
    for i, (_kind, _tag, types) in enumerate(clauses):
        b.close()
        _caught(b, types)
        if i < len(clauses) - 1 or results:
            b.exprs(results, fuel // 3)
        if i < len(clauses) - 1:
            b.emit("br", len(clauses) - 1 - i)
    b.close()


def _perhaps_throw(b: Body, fuel: int, tags: Sequence[Tag]) -> None:
    thrown = [i for i, t in enumerate(b.locals) if t == EXNREF]
    if not tags and not thrown:
        return
    sure = b.below(3) == 0
    if not sure:
        b.condition(fuel // 3)
        b.open("if", ())
    if thrown and (not tags or b.below(4) == 0):
        again(b, b.source.pick(thrown))
    else:
        throw(b, b.source.pick(tags), fuel)
    if not sure:
        b.close()


def _caught(b: Body, types: tuple[ValType, ...]) -> None:
    """Keep what an exception carries; now and then throw it again, or look at it."""
    if types and isinstance(types[-1], RefType) and types[-1].heap == "exn":
        kept = [i for i, t in enumerate(b.locals) if t == EXNREF and i not in b.reserved]
        local = b.source.pick(kept) if kept else b.local(EXNREF)
        b.set(local)
        b.store(types[:-1])
        if len(b.labels) < DEEPEST and b.below(3) == 0:
            _again_at_once(b, local)
    else:
        b.store(types)


def _again_at_once(b: Body, local: int) -> None:
    """Throw an exception just caught, and catch it again."""
    b.open("block", ())
    b.emit("try_table", None, (Catch("catch_all", None, 0),))
    b.labels.append(Label(()))
    b.get(local)
    b.emit("throw_ref")
    dead(b)
    b.close()
    b.close()


@statement("try_table", "exceptions", weight=4)
def try_statement(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    if len(b.labels) <= DEEPEST - 3:
        try_table(b, (), fuel)


@expression("try_table", "exceptions")
def try_expression(b: Body, _: Any, t: ValType, fuel: int, nan: str) -> None:
    if len(b.labels) <= DEEPEST - 3 and fuel > 3:
        try_table(b, (t,), fuel // 2)
    else:
        b.expr(t, fuel - 2)


@statement("throw_ref", "exceptions")
def rethrow(b: Body, _: Any, t: None, fuel: int, nan: str) -> None:
    """Throw a caught exception again, where something may catch it, unless it is null."""
    kept = [i for i, u in enumerate(b.locals) if u == EXNREF]
    if kept and b.trying and not deep(b):
        again(b, b.source.pick(kept))


def again(b: Body, local: int) -> None:
    """Throw what a local holds, if it holds anything, or a trap is wanted."""
    if b.risky():
        b.rarely()
    else:
        b.get(local)
        b.emit("ref.is_null")
        b.emit("i32.eqz")
    b.open("if", ())
    b.get(local)
    b.emit("throw_ref")
    b.close()


# Branches on references


def _solid(m: Builder, t: Any) -> Sequence[None]:
    return (None,) if isinstance(t, RefType) and not t.nullable and m.inhabited(t) else ()


@expression("br_on_non_null", "function-references", _solid, of="ref")
def br_on_non_null(b: Body, _: Any, t: RefType, fuel: int, nan: str) -> None:
    if deep(b):
        b.leaf(t)
        return
    b.open("block", (t,))
    b.expr(RefType(True, t.heap), fuel // 2)
    b.emit("br_on_non_null", 0)
    b.expr(t, fuel // 2)
    b.close()


@expression("br_on_null", "function-references", lambda m, t: m.nullable_types() if t == "i32" else (), of="i32")
def br_on_null(b: Body, operand: RefType, t: ValType, fuel: int, nan: str) -> None:
    """A number that tells whether there was a null; the reference is used where it was not."""
    if deep(b):
        b.leaf(t)
        return
    b.open("block", (t,))
    b.open("block", ())
    b.expr(operand, fuel // 2)
    b.emit("br_on_null", 0)
    b.store((RefType(False, operand.heap),))
    b.expr(t, fuel // 3)
    b.emit("br", 1)
    b.close()
    b.leaf(t)
    b.close()


def _casts_to(m: Builder, t: Any) -> Sequence[tuple[RefType, RefType]]:
    if not isinstance(t, RefType) or not (t.nullable or m.inhabited(t)):
        return ()
    return [(source, target) for source, target in cast_pairs(m) if target.heap == t.heap]


@expression("br_on_cast", "gc", _casts_to, of="ref")
def br_on_cast(b: Body, pair: tuple[RefType, RefType], t: RefType, fuel: int, nan: str) -> None:
    if deep(b):
        b.leaf(t)
        return
    source, target = pair
    b.open("block", (t,))
    likely(b, source, target, fuel // 2)
    b.emit("br_on_cast", Cast(0, source, t))
    b.store((b.types.difference(source, t),))
    b.expr(t, fuel // 2)
    b.close()


@expression("br_on_cast_fail", "gc", _casts_to, of="ref")
def br_on_cast_fail(b: Body, pair: tuple[RefType, RefType], t: RefType, fuel: int, nan: str) -> None:
    if deep(b):
        b.leaf(t)
        return
    source, target = pair
    b.open("block", (t,))
    b.open("block", (b.types.difference(source, t),))
    likely(b, source, target, fuel // 2)
    b.emit("br_on_cast_fail", Cast(0, source, t))
    b.emit("br", 1)
    b.close()
    b.store((b.types.difference(source, t),))
    b.expr(t, fuel // 2)
    b.close()
