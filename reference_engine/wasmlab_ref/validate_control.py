"""Validation of control: blocks, branches, calls and exceptions (section 3.4 of the standard)."""

from __future__ import annotations

from collections.abc import Sequence

from .match import difference
from .outcome import Invalid
from .rules import applied, rule
from .syntax import Catch, Instr
from .types import FuncType, RefType, ValType
from .validate_stack import I32, Code, lookup, special

FUNCREF = RefType(True, "func")
EXN = RefType(False, "exn")
EXNREF = RefType(True, "exn")


# Blocks


@special("block")
def block(code: Code, instr: Instr) -> None:
    t = code.context.blocktype(instr.args[0])
    code.enter("block", t.params, t.results)


@special("loop")
def loop(code: Code, instr: Instr) -> None:
    t = code.context.blocktype(instr.args[0])
    code.enter("loop", t.params, t.results)


@special("if")
def if_(code: Code, instr: Instr) -> None:
    t = code.context.blocktype(instr.args[0])
    code.pop(I32)
    code.enter("if", t.params, t.results)


@special("else", variants=())
def else_(code: Code, instr: Instr) -> None:
    if code.frame.opener != "if":
        raise Invalid("else without if")
    frame = code.leave()
    code.open("else", frame.params, frame.results)


@special("end", variants=())
def end(code: Code, instr: Instr) -> None:
    if len(code.frames) == 1:
        raise Invalid("end without block")
    frame = code.leave()
    if frame.opener == "if" and not code.matches(frame.params, frame.results):
        show = code.context.show_all
        raise Invalid(
            f"type mismatch: if without else requires {show(frame.results)} but stack has {show(frame.params)}"
        )
    code.push(frame.results)


@special("try_table")
def try_table(code: Code, instr: Instr) -> None:
    blocktype, catches = instr.args
    for clause in catches:
        catch(code, clause)
    t = code.context.blocktype(blocktype)
    code.enter("try_table", t.params, t.results)


@rule("Catch_ok/catch", "Catch_ok/catch_ref", "Catch_ok/catch_all", "Catch_ok/catch_all_ref")
def catch(code: Code, clause: Catch) -> None:
    """Check a clause of try_table; its label counts from outside of the block."""
    types: tuple[ValType, ...] = ()
    if clause.tag is not None:
        types = lookup(code.context.tags, clause.tag, "tag").params
    if clause.kind.endswith("_ref"):
        types += (EXN,)
    label = code.label(clause.label)
    if not code.matches(types, label):
        show = code.context.show_all
        raise Invalid(f"type mismatch: {clause.kind} gives {show(types)} but label requires {show(label)}")
    applied(f"Catch_ok/{clause.kind}")


# Branches


@special("br")
def br(code: Code, instr: Instr) -> None:
    code.pop(code.label(instr.args[0]))
    code.diverge()


@special("br_if")
def br_if(code: Code, instr: Instr) -> None:
    types = code.label(instr.args[0])
    code.pop(I32)
    code.apply(types, types)


@special("br_table")
def br_table(code: Code, instr: Instr) -> None:
    (labels,) = instr.args
    code.pop(I32)
    arity = len(code.label(labels[-1]))
    checked = set()
    for label in dict.fromkeys(labels):
        types = code.label(label)
        if id(types) in checked:
            continue
        checked.add(id(types))
        if len(types) != arity:
            show = code.context.show_all
            raise Invalid(f"type mismatch: br_table's default takes {arity} operands but label {label} {show(types)}")
        code.expect(types)
    code.pop(code.label(labels[-1]))
    code.diverge()


@special("br_on_null")
def br_on_null(code: Code, instr: Instr) -> None:
    types = code.label(instr.args[0])
    t = code.pop_ref()
    code.apply(types, types)
    code.stack.append(RefType(False, t.heap))


@special("br_on_non_null")
def br_on_non_null(code: Code, instr: Instr) -> None:
    types, taken = _label_with_ref(code, instr.args[0])
    code.pop((RefType(True, taken.heap),))
    code.apply(types, types)


def _label_with_ref(code: Code, index: int) -> tuple[Sequence[ValType], RefType]:
    """The types of a label whose last one must be a reference, apart."""
    types = code.label(index)
    if types and isinstance(types[-1], RefType):
        return types[:-1], types[-1]
    raise Invalid(f"type mismatch: instruction requires a reference for label {index} {code.context.show_all(types)}")


def _branch_on_cast(code: Code, instr: Instr, on_failure: bool) -> None:
    label, source, target = instr.args[0]
    types, taken = _label_with_ref(code, label)
    source, target = code.context.reftype(source), code.context.reftype(target)
    rest = difference(source, target)
    branch, stay = (rest, target) if on_failure else (target, rest)
    code.require_match(target, source)
    code.require_match(branch, taken)
    code.pop((source,))
    code.apply(types, types)
    code.stack.append(stay)


@special("br_on_cast")
def br_on_cast(code: Code, instr: Instr) -> None:
    _branch_on_cast(code, instr, on_failure=False)


@special("br_on_cast_fail")
def br_on_cast_fail(code: Code, instr: Instr) -> None:
    _branch_on_cast(code, instr, on_failure=True)


# Calls


def _tail(code: Code, params: Sequence[ValType], results: Sequence[ValType]) -> None:
    """Take the operands of a tail call, whose results are those of this function."""
    if not code.matches(results, code.results):
        show = code.context.show_all
        raise Invalid(f"type mismatch: function requires results {show(code.results)} but callee has {show(results)}")
    code.pop(params)
    code.diverge()


def _callee_in_table(code: Code, instr: Instr) -> FuncType:
    """The type that an indirect call expects; the table must hold functions, its index is taken."""
    table, index = instr.args
    tabletype = lookup(code.context.tables, table, "table")
    code.require_match(tabletype.element, FUNCREF)
    signature = code.context.expand(index, FuncType)
    code.pop((tabletype.address,))
    return signature


def _callee_by_ref(code: Code, instr: Instr) -> FuncType:
    """The type that a call through a reference expects; the reference is taken."""
    (index,) = instr.args
    signature = code.context.expand(index, FuncType)
    code.pop((code.context.ref(index, nullable=True),))
    return signature


@special("return")
def return_(code: Code, instr: Instr) -> None:
    code.pop(code.results)
    code.diverge()


@special("call")
def call(code: Code, instr: Instr) -> None:
    signature = lookup(code.context.signatures, instr.args[0], "function")
    code.apply(signature.params, signature.results)


@special("call_ref")
def call_ref(code: Code, instr: Instr) -> None:
    signature = _callee_by_ref(code, instr)
    code.apply(signature.params, signature.results)


@special("call_indirect")
def call_indirect(code: Code, instr: Instr) -> None:
    signature = _callee_in_table(code, instr)
    code.apply(signature.params, signature.results)


@special("return_call")
def return_call(code: Code, instr: Instr) -> None:
    signature = lookup(code.context.signatures, instr.args[0], "function")
    _tail(code, signature.params, signature.results)


@special("return_call_ref")
def return_call_ref(code: Code, instr: Instr) -> None:
    signature = _callee_by_ref(code, instr)
    _tail(code, signature.params, signature.results)


@special("return_call_indirect")
def return_call_indirect(code: Code, instr: Instr) -> None:
    signature = _callee_in_table(code, instr)
    _tail(code, signature.params, signature.results)


@special("throw")
def throw(code: Code, instr: Instr) -> None:
    code.pop(lookup(code.context.tags, instr.args[0], "tag").params)
    code.diverge()


@special("throw_ref")
def throw_ref(code: Code, instr: Instr) -> None:
    code.pop((EXNREF,))
    code.diverge()
