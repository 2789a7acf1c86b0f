"""Which reduction rule of the formal specification an executed instruction took.

Where a rule rewrites an instruction into others (`local.tee` into `local.set`), the ones that follow immediately are
named, too; the repetitions of bulk instructions are not.  Rules of numeric instructions that never trap are named
after the stem in the table of instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .handlers import Stack
from .store import typing
from .syntax import Instr

Rules: TypeAlias = tuple[str, ...]
Classifier: TypeAlias = Callable[[Stack, "str | None", Any], Rules]
"""From the operands (the last ones of the stack), the kind of the trap if any, and the result."""

MINUS_ONE = (0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)

ALWAYS: dict[str, Rules] = {
    "const": (),
    "vconst": (),
    "local.get": ("Step_read/local.get",),
    "local.set": ("Step/local.set",),
    "local.tee": ("Step_pure/local.tee", "Step/local.set"),
    "global.get": ("Step_read/global.get",),
    "global.set": ("Step/global.set",),
    "table.size": ("Step_read/table.size",),
    "memory.size": ("Step_read/memory.size",),
    "elem.drop": ("Step/elem.drop",),
    "data.drop": ("Step/data.drop",),
    "ref.null": ("Step_read/ref.null",),
    "ref.func": ("Step_read/ref.func",),
    "struct.new": ("Step/struct.new",),
    "struct.new_default": ("Step_read/struct.new_default", "Step/struct.new"),
    "array.new": ("Step_pure/array.new", "Step/array.new_fixed"),
    "array.new_default": ("Step_read/array.new_default", "Step/array.new_fixed"),
    "array.new_fixed": ("Step/array.new_fixed",),
    "throw": ("Step/throw",),
}
"""Rules that the instruction alone decides; a stem not in these tables is that of a rule `Step_pure/<stem>`."""

OR_TRAP: dict[str, tuple[Rules, Rules]] = {
    **{
        stem: ((f"Step_pure/{stem}-val",), (f"Step_pure/{stem}-trap",))
        for stem in ("unop", "binop", "cvtop", "vunop", "vbinop", "vternop")
    },
    "load-val": (("Step_read/load-num-val",), ("Step_read/load-num-oob",)),
    "store-val": (("Step/store-num-val",), ("Step/store-num-oob",)),
    "store-pack": (("Step/store-pack-val",), ("Step/store-pack-oob",)),
    "vload-val": (("Step_read/vload-val",), ("Step_read/vload-oob",)),
    **{
        stem: ((f"Step_read/{stem}-val",), (f"Step_read/{stem}-oob",))
        for stem in ("load-pack", "vload-pack", "vload-splat", "vload-zero", "vload_lane", "table.get")
    },
    **{stem: ((f"Step/{stem}-val",), (f"Step/{stem}-oob",)) for stem in ("vstore", "vstore_lane", "table.set")},
    "ref.as_non_null": (("Step_pure/ref.as_non_null-addr",), ("Step_pure/ref.as_non_null-null",)),
    "i31.get": (("Step_pure/i31.get-num",), ("Step_pure/i31.get-null",)),
    "struct.get": (("Step_read/struct.get-struct",), ("Step_read/struct.get-null",)),
    "struct.set": (("Step/struct.set-struct",), ("Step/struct.set-null",)),
    "array.len": (("Step_read/array.len-array",), ("Step_read/array.len-null",)),
    "array.new_data": (("Step_read/array.new_data-num", "Step/array.new_fixed"), ("Step_read/array.new_data-oob",)),
    "array.new_elem": (("Step_read/array.new_elem-alloc", "Step/array.new_fixed"), ("Step_read/array.new_elem-oob",)),
    "throw_ref": ((), ("Step_read/throw_ref-null",)),
}
"""Rules for success and for a trap."""


def _select(operands: Stack, trap: str | None, result: Any) -> Rules:
    return ("Step_pure/select-true",) if operands[-1] else ("Step_pure/select-false",)


def _is_null(operands: Stack, trap: str | None, result: Any) -> Rules:
    return ("Step_pure/ref.is_null-true",) if result else ("Step_pure/ref.is_null-false",)


def _ref_eq(operands: Stack, trap: str | None, result: Any) -> Rules:
    if not result:
        return ("Step_pure/ref.eq-false",)
    return ("Step_pure/ref.eq-null",) if operands[-1] is None else ("Step_pure/ref.eq-true",)


def _ref_test(operands: Stack, trap: str | None, result: Any) -> Rules:
    return *typing(operands[-1]), f"Step_read/ref.test-{'true' if result else 'false'}"


def _ref_cast(operands: Stack, trap: str | None, result: Any) -> Rules:
    return *typing(operands[-1]), f"Step_read/ref.cast-{'fail' if trap else 'succeed'}"


def _by_null(stem: str) -> Classifier:
    return lambda operands, trap, result: (f"Step_pure/{stem}-{'null' if operands[-1] is None else 'addr'}",)


def _on_cast(stem: str) -> Classifier:
    return lambda operands, trap, result: (
        *typing(operands[-1]),
        f"Step_read/{stem}-{'succeed' if (result != 0) == (stem == 'br_on_cast') else 'fail'}",
    )


def _grow(stem: str) -> Classifier:
    return lambda operands, trap, result: (f"Step/{stem}-{'fail' if result in MINUS_ONE else 'succeed'}",)


def _element(stem: str) -> Classifier:
    def classify(operands: Stack, trap: str | None, result: Any) -> Rules:
        end = "array" if trap is None else "null" if trap.startswith("null") else "oob"
        return (f"{stem}-{end}",)

    return classify


def _bulk(stem: str, moved: str = "succ") -> Classifier:
    """Filling and initialising: null before out of bounds, and nothing to do only within bounds."""

    def classify(operands: Stack, trap: str | None, result: Any) -> Rules:
        if trap is not None:
            end = "null" if trap.startswith("null") else "oob"
            if end == "oob" and "array.init" in stem:
                ref, to, _, size = operands[-4:]
                end = "oob1" if to + size > len(ref.fields) else "oob2"
        else:
            end = moved if operands[-1] else "zero"
        return (f"Step_read/{stem}-{end}",)

    return classify


def _copy(stem: str) -> Classifier:
    def classify(operands: Stack, trap: str | None, result: Any) -> Rules:
        to, start, size = operands[-3:]
        end = "oob" if trap else "zero" if not size else "le" if to <= start else "gt"
        return (f"Step_read/{stem}-{end}",)

    return classify


def _array_copy(operands: Stack, trap: str | None, result: Any) -> Rules:
    target, to, source, start, size = operands[-5:]
    if target is None:
        end = "null1"
    elif source is None:
        end = "null2"
    elif trap is not None:
        end = "oob1" if to + size > len(target.fields) else "oob2"
    else:
        end = "zero" if not size else "le" if to <= start else "gt"
    return (f"Step_read/array.copy-{end}",)


def _indirect(stem: str) -> Classifier:
    """`call_indirect` is `table.get`, `ref.cast` and `call_ref`, each of which can trap."""
    first = f"Step_pure/{stem}"
    get, cast = "Step_read/table.get-val", "Step_read/ref.cast-succeed"

    def classify(operands: Stack, trap: str | None, result: Any) -> Rules:
        match trap:
            case "undefined element":
                return first, "Step_read/table.get-oob"
            case "indirect call type mismatch":
                return first, get, "Step_read/ref.cast-fail"
            case _ if stem == "call_indirect":
                return first, get, cast, f"Step_read/call_ref-{'null' if trap else 'func'}"
            case _:
                return first, get, cast, *_return_call(trap is not None)

    return classify


def _return_call(null: bool) -> Rules:
    if null:
        return "Step_read/return_call_ref-label", "Step_read/return_call_ref-frame-null"
    return "Step_read/return_call_ref-label", "Step_read/return_call_ref-frame-addr", "Step_read/call_ref-func"


BY_OPERANDS: dict[str, Classifier] = {
    "select": _select,
    "ref.is_null": _is_null,
    "ref.eq": _ref_eq,
    "ref.test": _ref_test,
    "ref.cast": _ref_cast,
    "any.convert_extern": _by_null("any.convert_extern"),
    "extern.convert_any": _by_null("extern.convert_any"),
    "br_on_null": _by_null("br_on_null"),
    "br_on_non_null": _by_null("br_on_non_null"),
    "br_on_cast": _on_cast("br_on_cast"),
    "br_on_cast_fail": _on_cast("br_on_cast_fail"),
    "memory.grow": _grow("memory.grow"),
    "table.grow": _grow("table.grow"),
    "array.get": _element("Step_read/array.get"),
    "array.set": _element("Step/array.set"),
    "memory.fill": _bulk("memory.fill"),
    "memory.init": _bulk("memory.init"),
    "table.fill": _bulk("table.fill"),
    "table.init": _bulk("table.init"),
    "array.fill": _bulk("array.fill"),
    "array.init_data": _bulk("array.init_data", "num"),
    "array.init_elem": _bulk("array.init_elem"),
    "memory.copy": _copy("memory.copy"),
    "table.copy": _copy("table.copy"),
    "array.copy": _array_copy,
    "call_indirect": _indirect("call_indirect"),
    "return_call_indirect": _indirect("return_call_indirect"),
}
"""Rules that operands, trap or result decide."""


def classifier(instr: Instr) -> Classifier:
    """What tells the rules that an execution of `instr` took."""
    stem = instr.op.rule
    if not instr.op.specified:
        return lambda operands, trap, result: ()
    if stem in BY_OPERANDS:
        return BY_OPERANDS[stem]
    if stem in OR_TRAP:
        success, trapped = OR_TRAP[stem]
        return lambda operands, trap, result: success if trap is None else trapped
    if stem == "vextract_lane":
        always: Rules = (f"Step_pure/{stem}-{'pack' if instr.op.mnemonic[-2:] in {'_s', '_u'} else 'num'}",)
    else:
        always = ALWAYS.get(stem, (f"Step_pure/{stem}",))
    return lambda operands, trap, result: always


def rules_before(instr: Instr, stack: Stack, handled: bool) -> Rules:
    """The rules that a control instruction is about to take; `handled`: within a try_table of its function."""
    match instr.op.mnemonic:
        case "block" | "loop" | "try_table" as name:
            return (f"Step_read/{name}",)
        case "if":
            return ("Step_pure/if-true" if stack[-1] else "Step_pure/if-false"), "Step_read/block"
        case "br_if":
            return ("Step_pure/br_if-true" if stack[-1] else "Step_pure/br_if-false",)
        case "br_table":
            return ("Step_pure/br_table-lt" if stack[-1] < len(instr.args[0]) - 1 else "Step_pure/br_table-ge",)
        case "return":
            return (*("Step_pure/return-handler",) * handled, "Step_pure/return-label", "Step_pure/return-frame")
        case "call":
            return "Step_read/call", "Step_read/call_ref-func"
        case "call_ref":
            if stack[-1] is None:
                return "Step_read/call_ref-null", *("Step_pure/trap-handler",) * handled
            return ("Step_read/call_ref-func",)
        case "return_call":
            return "Step_read/return_call", *_unhandled(handled), *_return_call(False)
        case "return_call_ref":
            return *_unhandled(handled), *_return_call(stack[-1] is None)
    return ()


def _unhandled(handled: bool) -> Rules:
    return ("Step_read/return_call_ref-handler",) * handled
