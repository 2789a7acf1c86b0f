"""A short cut of reduction: single instructions, with the operands that they really had.

One run on the reference tells the value of every numeric expression: each is stored in a global of its own as it is
computed.  A second run, on all engines, calls one small function for each instruction, with those values as
arguments.  Where they differ, the divergence is down to an instruction or two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wasmlab_ref.case import WIDTHS, Instantiate, Invoke, Read, Step, parse_value
from wasmlab_ref.syntax import Export, Expr, Func, Global, Module, instr
from wasmlab_ref.types import FuncType, GlobalType, RecType, SubType, ValType

from .renumber import imported, without_unused
from .stacks import BLOCKS, Body, Context, Operand, Span, analyse

if TYPE_CHECKING:
    from .reduce import Parts, Reducer

MAX_PROBES = 400
DEPTHS = (1, 2, 3)
"""How many levels of operators to keep above the observed values."""

Values = dict[tuple[int, int], dict[int, int]]
"""By (module, function): the last bits that each stretch of code computed, by where the stretch ends."""


def isolated(parts: Parts, reducer: Reducer) -> Iterator[Parts]:
    """Cases that call one instruction on which the engines may differ."""
    values = observe(parts, reducer)
    for depth in DEPTHS:
        for candidate in _at_depth(parts, values, depth):
            if reducer.budget.spent():
                return
            yield candidate


# Observing


def observe(parts: Parts, reducer: Reducer) -> Values:
    """The values that numeric expressions had last when the observer ran the case."""
    modules: list[Module] = []
    places: list[tuple[int, int, int, int]] = []
    for at, module in enumerate(parts.modules):
        probed, found = _probed(module, at)
        modules.append(probed)
        places += found
    names = {s.module: s.name for s in parts.steps if isinstance(s, Instantiate)}
    places = [place for place in places if place[0] in names]
    reads = tuple(Read(names[at], f"probe {n}") for at, n, _, _ in places)
    case = reducer.case(type(parts)(tuple(modules), (*parts.steps, *reads)))
    if case is None or not places:
        return {}
    outcomes = reducer.observer.run(case).outcomes[len(parts.steps) :]
    values: Values = {}
    for (at, _, index, end), outcome in zip(places, outcomes, strict=False):
        if outcome.kind == "returned" and outcome.values:
            values.setdefault((at, index), {})[end] = parse_value(outcome.values[0])[1]
    return values


def _probed(module: Module, at: int) -> tuple[Module, list[tuple[int, int, int, int]]]:
    context = Context(module)
    first = imported(module, "global") + len(module.globals)
    funcs = list(module.funcs)
    new: list[Global] = []
    places: list[tuple[int, int, int, int]] = []
    for index, func in enumerate(module.funcs):
        inserted: dict[int, Expr] = {}
        for span in analyse(context, func).spans:
            if len(span.results) == 1 and span.results[0] in WIDTHS and len(new) < MAX_PROBES:
                number = len(new)
                new.append(Global(GlobalType(span.results[0], True), (instr(f"{span.results[0]}.const", 0),)))
                inserted[span.end] = (instr("global.set", first + number), instr("global.get", first + number))
                places.append((at, number, index, span.end))
        body: list[Any] = []
        for position, step in enumerate((*func.body, None)):
            body += inserted.get(position, ())
            body += [] if step is None else [step]
        funcs[index] = replace(func, body=tuple(body))
    exports = tuple(Export(f"probe {n}", "global", first + n) for n in range(len(new)))
    probed = replace(module, funcs=tuple(funcs), globals=(*module.globals, *new), exports=(*module.exports, *exports))
    return probed, places


# Isolating


def _at_depth(parts: Parts, values: Values, depth: int) -> Iterator[Parts]:
    instances = {s.module: s for s in parts.steps if isinstance(s, Instantiate)}
    last = parts.steps[-1].name if parts.steps else ""
    for at, module in sorted(enumerate(parts.modules), key=lambda pair: instances.get(pair[0]) is None):
        if at not in instances or not isinstance(parts.steps[-1], Invoke):
            continue
        context = Context(module)
        for (where, index), found in values.items():
            if where == at:
                func = module.funcs[index]
                body = analyse(context, func)
                for span in body.spans:
                    piece = _Piece(context, func, body, found, depth).of(span)
                    if piece is not None:
                        yield _calling(parts, at, instances[at], last, piece)


class _Piece:
    """An instruction with `depth` levels of operators, its leaves parameters with observed values."""

    def __init__(self, context: Context, func: Func, body: Body, values: dict[int, int], depth: int) -> None:
        self.context, self.func, self.depth, self.values = context, func, depth, values
        self.makers = {span.end: span for span in body.spans if len(span.results) == 1}
        self.params: list[ValType] = []
        self.args: list[str] = []
        self.code: list[Any] = []
        self.levels = 0

    def of(self, span: Span) -> tuple[FuncType, Expr, tuple[str, ...]] | None:
        """Type, body and arguments of a function that does what `span` did; None if that cannot be told."""
        operator = self.func.body[span.at].op
        if operator.mnemonic in BLOCKS or not span.operands or "local" in operator.immediates[:1]:
            return None
        if "label" in "".join(operator.immediates) or "cast" in operator.immediates:
            return None
        if not self._emit(span, self.depth) or self.levels < self.depth:
            return None
        return FuncType(tuple(self.params), span.results), tuple(self.code), tuple(self.args)

    def _emit(self, span: Span, depth: int) -> bool:
        self.levels = max(self.levels, self.depth - depth + 1)
        if not all(self._operand(operand, depth - 1) for operand in span.operands):
            return False
        self.code.append(self.func.body[span.at])
        return True

    def _operand(self, operand: Operand, depth: int) -> bool:
        maker = self.makers.get(operand.end)
        if maker is not None and maker.start == operand.start:
            op = self.func.body[maker.at].op
            if op.mnemonic.endswith(".const"):
                self.code.append(self.func.body[maker.at])
                return True
            plain = (
                op.mnemonic not in BLOCKS and "label" not in "".join(op.immediates) and op.immediates[:1] != ("local",)
            )
            if plain and (depth > 0 or operand.type not in WIDTHS):
                return self._emit(maker, depth)
        if operand.type not in WIDTHS or operand.end not in self.values:
            return False
        self.code.append(instr("local.get", len(self.params)))
        self.params.append(operand.type)
        self.args.append(f"{operand.type}:{self.values[operand.end]:x}")
        return True


def _calling(
    parts: Parts, at: int, instance: Instantiate, last: str, piece: tuple[FuncType, Expr, tuple[str, ...]]
) -> Parts:
    """The case with one more function, which the last step calls."""
    type_, body, args = piece
    module = parts.modules[at]
    func = Func(sum(len(g.subtypes) for g in module.types), (), body)
    name = "f"
    index = imported(module, "func") + len(module.funcs)
    keep = tuple(e for e in module.exports if e.name != name)
    added = replace(
        module,
        types=(*module.types, RecType((SubType(type_),))),
        funcs=(*module.funcs, func),
        exports=(*keep, Export(name, "func", index)),
    )
    wanted = {i.name for m in parts.modules for i in m.imports}
    lean = replace(added, exports=tuple(e for e in added.exports if e.name == name or e.name in wanted))
    steps: Sequence[Step] = [s for s in parts.steps if not isinstance(s, Invoke | Read)]
    return parts.with_module(at, without_unused(lean)).with_steps((*steps, Invoke(instance.name, name, args)))
