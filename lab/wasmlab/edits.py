"""Smaller versions of a function's body: edits on flat code, the largest first.

An edit replaces a stretch of code by other code.  It need not be valid, nor keep the divergence; whoever tries it
finds out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from wasmlab_ref.syntax import Cast, Expr, Func, Instr, Module, instr
from wasmlab_ref.types import RefType, ValType

from .stacks import BLOCKS, Body, Context, Span, Types, analyse, local_types

_ZERO = {t: instr(f"{t}.const", 0) for t in ("i32", "i64", "f32", "f64", "v128")}
_LABELLED = frozenset({"br", "br_if", "br_on_null", "br_on_non_null"})
DROP, UNREACHABLE, BLOCK, END = instr("drop"), instr("unreachable"), instr("block", None), instr("end")


def default(type_: ValType) -> Expr:
    """Code that makes some value of a type; for a reference that cannot be null, code that traps."""
    if isinstance(type_, str):
        return (_ZERO[type_],) if type_ in _ZERO else (UNREACHABLE,)
    null = instr("ref.null", type_.heap)
    return (null,) if type_.nullable else (null, instr("ref.as_non_null"))


def defaults(types: Types) -> Expr:
    """Code that makes some values of those types."""
    return tuple(step for t in types for step in default(t))


def with_body(func: Func, body: Expr) -> Func:
    """The function with another body."""
    return replace(func, body=body)


def splice(code: Expr, start: int, end: int, new: Expr) -> Expr:
    """`code` with `start:end` replaced."""
    return code[:start] + new + code[end:]


def stubs(context: Context, func: Func) -> Iterator[Func]:
    """The function with hardly a body at all."""
    if func.body and func.body != (UNREACHABLE,):
        results = context.func_type(func.type).results
        yield Func(func.type, (), defaults(results))
        yield Func(func.type, (), (UNREACHABLE,))


def edited(context: Context, func: Func) -> Iterator[Func]:
    """Smaller functions, the largest steps first."""
    body = analyse(context, func)
    results = context.func_type(func.type).results
    edits = sorted(
        _edits(func.body, body, results, local_types(context, func)),
        key=lambda edit: (len(edit[2]) - (edit[1] - edit[0]), edit[0]),
    )
    for start, end, new in edits:
        if new != func.body[start:end]:
            yield with_body(func, splice(func.body, start, end, new))
    for start, else_at, end in sorted(body.blocks, key=lambda block: block[0] - block[2]):
        for code in _unwrapped(func.body, start, else_at, end):
            yield with_body(func, code)
    for span in body.spans:
        if func.body[span.at].op.mnemonic == "local.set":
            yield from (with_body(func, code) for code in _inlined(func.body, span))


Edit = tuple[int, int, Expr]


def _edits(code: Expr, body: Body, results: Types, locals_: Sequence[ValType]) -> Iterator[Edit]:
    for start, end in body.dead:
        yield start, end, ()
    yield from _runs(body)
    for span in body.spans:
        yield from _of_span(code, span)
        yield from _of_locals(span, locals_)
        if span.results == results:
            yield 0, len(code), code[span.start : span.end]
            yield span.end, len(code), ()


def _runs(body: Body) -> Iterator[Edit]:
    """Deletion of statements, by halves of the runs in which they stand next to each other."""
    starts = {span.start: span.end for span in sorted(body.spans, key=lambda s: s.end) if not span.results}
    ends = set(starts.values())
    for first in sorted(starts):
        if first in ends:
            continue
        run = [first]
        while run[-1] in starts and starts[run[-1]] > run[-1]:
            run.append(starts[run[-1]])
        size = len(run) - 1
        while size > 1:
            for i in range(0, len(run) - 1, size):
                yield run[i], run[min(i + size, len(run) - 1)], ()
            size //= 2


def _of_span(code: Expr, span: Span) -> Iterator[Edit]:
    start, end = span.start, span.end
    if not span.results:
        yield start, end, ()
    else:
        yield start, end, defaults(span.results)
    for operand in span.operands:
        made = code[operand.start : operand.end]
        if len(span.results) == 1 and _may_replace(operand.type, span.results[0]):
            yield start, end, made
        yield start, end, (*made, DROP, *defaults(span.results))
    if len(span.operands) > 1:
        kept = tuple(step for o in span.operands for step in (*code[o.start : o.end], DROP))
        yield start, end, (*kept, *defaults(span.results))
    if span.results and code[span.at].op.mnemonic not in BLOCKS:
        yield start, end, (UNREACHABLE,)


def _of_locals(span: Span, locals_: Sequence[ValType]) -> Iterator[Edit]:
    """A value that is no constant: what needs one that a compiler does not know keeps it, and loses how it was made."""
    if len(span.results) == 1 and span.end - span.start > 1 and span.results[0] in locals_:
        yield span.start, span.end, (instr("local.get", locals_.index(span.results[0])),)


def _inlined(code: Expr, span: Span) -> Iterator[Expr]:
    """What is put into a local, where it is taken out of it: if that is in one place, or a single instruction."""
    made, local = code[span.start : span.at], code[span.at].args[0]
    taken = [at for at, step in enumerate(code) if step.op.mnemonic == "local.get" and step.args[0] == local]
    if taken and (len(taken) == 1 or len(made) == 1):
        gone = set(range(span.start, span.end))
        places = dict.fromkeys(taken, made)
        yield tuple(new for at, step in enumerate(code) if at not in gone for new in places.get(at, (step,)))


def _may_replace(given: ValType, wanted: ValType) -> bool:
    return given == wanted or (isinstance(given, RefType) and isinstance(wanted, RefType))


def _unwrapped(code: Expr, start: int, else_at: int | None, end: int) -> Iterator[Expr]:
    """A block replaced by its content; a conditional by one of its arms; a loop by a block."""
    inner = code[start + 1 : else_at or end]
    head, tail = code[:start], code[end + 1 :]
    is_if = code[start].op.mnemonic == "if"
    arms = [inner, code[else_at + 1 : end]] if else_at else [inner]
    for arm in arms:
        if (flat := _lowered(arm)) is not None:
            yield (*head, *((DROP,) if is_if else ()), *flat, *tail)
        if code[start].op.mnemonic != "block":
            block = instr("block", code[start].args[0])
            yield (*head, *((DROP,) if is_if else ()), block, *arm, END, *tail)
    if is_if and else_at and code[start].args[0] is None:
        yield (*code[:else_at], *code[end:])


def _lowered(code: Expr) -> Expr | None:
    """The content of a block outside it: labels one lower; None if something branches to the block itself."""
    depth, out = 0, []
    for step in code:
        name = step.op.mnemonic
        if name == "end":
            depth -= 1
        lowered = _lower(step, depth)
        if lowered is None:
            return None
        out.append(lowered)
        if name in BLOCKS:
            depth += 1
    return tuple(out)


def _lower(step: Instr, depth: int) -> Instr | None:
    name, args = step.op.mnemonic, step.args
    if name in _LABELLED:
        labels: Iterable[int] = (args[0],)
    elif name == "br_table":
        labels = args[0]
    elif name in ("br_on_cast", "br_on_cast_fail"):
        labels = (args[0].label,)
    elif name == "try_table":
        labels = tuple(c.label for c in args[1])
    else:
        return step
    if depth in labels:
        return None
    lower = {label: label - (label > depth) for label in labels}
    if name == "br_table":
        return Instr(step.op, (tuple(lower[label] for label in args[0]),))
    if name == "try_table":
        return Instr(step.op, (args[0], tuple(c._replace(label=lower[c.label]) for c in args[1])))
    if isinstance(args[0], Cast):
        return Instr(step.op, (args[0]._replace(label=lower[args[0].label]),))
    return Instr(step.op, (lower[args[0]],))


SIMPLE = {"i32": (0, 1, 0xFFFFFFFF), "i64": (0, 1, (1 << 64) - 1), "f32": (0, 0x3F800000), "f64": (0, 0x3FF << 52),
          "v128": (0, (1 << 128) - 1)}  # fmt: skip


def simplified(func: Func) -> Iterator[Func]:
    """The function with one constant made simpler, or the offset of one access made zero."""
    for at, step in enumerate(func.body):
        type_, dot, const = step.op.mnemonic.partition(".")
        if dot and const == "const":
            for bits in SIMPLE[type_]:
                if bits == step.args[0]:
                    break
                yield with_body(func, splice(func.body, at, at + 1, (Instr(step.op, (bits,)),)))
        elif step.op.access and step.args[0].offset:
            args = (step.args[0]._replace(offset=0), *step.args[1:])
            yield with_body(func, splice(func.body, at, at + 1, (Instr(step.op, args),)))


def simpler_initialisers(module: Module) -> Iterator[Module]:
    """The module with one global's initialiser made a default, or cut."""
    for at, item in enumerate(module.globals):
        simple = default(item.type.value)
        if len(simple) < len(item.init):
            yield replace(module, globals=(*module.globals[:at], replace(item, init=simple), *module.globals[at + 1 :]))
        for start in range(len(item.init)):
            for end in range(start + 1, len(item.init)):
                changed = replace(item, init=item.init[start:end])
                yield replace(module, globals=(*module.globals[:at], changed, *module.globals[at + 1 :]))


def without_locals(context: Context, func: Func) -> Func:
    """The function without the locals that its body does not use."""
    params = len(context.func_type(func.type).params)
    used = sorted({s.args[0] for s in func.body if s.op.immediates[:1] == ("local",) and s.args[0] >= params})
    types = [t for count, t in func.locals for _ in range(count)]
    place = {old: params + i for i, old in enumerate(used)}
    body = tuple(
        Instr(s.op, (place.get(s.args[0], s.args[0]),)) if s.op.immediates[:1] == ("local",) else s for s in func.body
    )
    runs: list[tuple[int, ValType]] = []
    for old in used:
        type_ = types[old - params]
        if runs and runs[-1][1] == type_:
            runs[-1] = (runs[-1][0] + 1, type_)
        else:
            runs.append((1, type_))
    return Func(func.type, tuple(runs), body)


def cost(body: Expr) -> int:
    """Number of instructions of a body, `end` and `else` not counted."""
    return sum(s.op.mnemonic not in ("end", "else") for s in body)
