"""The instruction set: the rows of instructions.tbl as objects.

Kinds of immediates, and what an `Instr` carries for each (always one argument a kind):

    label local global func type table memory tag elem data u32     an int
    field              an int, the index of a field of the preceding `type`
    labels             a tuple of ints; the last one is the default of br_table
    block              a block type: None, a value type, or an int (type index)
    catches            a tuple of `syntax.Catch`
    mem:N              `syntax.MemArg`; N is the natural alignment in bytes
    atomic:N           the same, and no other alignment is valid
    zero               a byte that must be 0, and is
    lane:N             an int below N
    lanes              sixteen ints below 32
    i32 i64 f32 f64 v128    the bits of a constant as an unsigned int
    heap               a heap type
    ref                a reference type (the row's second opcode is the nullable one)
    types?             None, or a tuple of value types (the row's second opcode)
    cast               `syntax.Cast`: label, source and target reference type
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from .features import WASM_3
from .types import SHORTHANDS, RefType, ValType

MEMARGS = ("mem", "atomic")
"""The kinds of immediates that are memory arguments."""


@dataclass(frozen=True, slots=True, eq=False)
class Instruction:
    """A row of instructions.tbl; compared by identity.

    `opcodes` holds one or two numbers, `prefix << 16 | code` for prefixed ones.  `params` and `results` are None
    for instructions with a validation rule of their own; "at" stands for the address type of the memory used.
    `rule` is that of the formal specification where it is `specified`, and only a group's name in proposals.
    """

    mnemonic: str
    opcodes: tuple[int, ...]
    immediates: tuple[str, ...]
    params: tuple[ValType, ...] | None
    results: tuple[ValType, ...] | None
    rule: str
    const: bool
    swap: bool
    feature: str

    @property
    def specified(self) -> bool:
        """Has the formal specification rules for it?"""
        return self.feature in WASM_3

    @property
    def access(self) -> int:
        """The bytes of memory that it accesses, which are its natural alignment; 0 where it has no memory argument."""
        kind, _, size = self.immediates[0].partition(":") if self.immediates else ("", "", "")
        return int(size) if kind in MEMARGS else 0

    def __repr__(self) -> str:
        return f"<{self.mnemonic}>"


def _opcode(text: str) -> int:
    prefix, _, code = text.partition(".")
    return int(prefix, 16) << 16 | int(code, 16) if code else int(prefix, 16)


def _types(text: str) -> tuple[ValType, ...]:
    return tuple(RefType(False, "i31") if t == "i31" else SHORTHANDS.get(t, t) for t in text.split())


def _columns(header: str) -> list[int]:
    names = ["opcode", "mnemonic", "immediates", "type", "rule", "flags"]
    starts = [header.index(f" {name} ") + 1 for name in names[:-1]]
    return [*starts, header.rindex(names[-1])]


def _load() -> tuple[Instruction, ...]:
    rows, feature, starts = [], "", [0]
    for line in (files(__package__) / "instructions.tbl").read_text().splitlines():
        if line.startswith("# opcode  ") and line.endswith("flags"):
            starts = _columns(line)
        elif line.startswith("["):
            feature = line.strip("[]")
        elif line.strip() and not line.startswith("#"):
            opcode, mnemonic, immediates, type_, rule, flags = (
                line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)
            )
            params, arrow, results = type_.partition("->")
            rows.append(
                Instruction(
                    mnemonic=mnemonic,
                    opcodes=tuple(_opcode(o) for o in opcode.split("/")),
                    immediates=() if immediates == "-" else tuple(immediates.split()),
                    params=_types(params) if arrow else None,
                    results=_types(results) if arrow else None,
                    rule=rule,
                    const="const" in flags.split(),
                    swap="swap" in flags.split(),
                    feature=feature,
                )
            )
    return tuple(rows)


INSTRUCTIONS: tuple[Instruction, ...] = _load()
BY_MNEMONIC: dict[str, Instruction] = {row.mnemonic: row for row in INSTRUCTIONS}
BY_OPCODE: dict[int, tuple[Instruction, int]] = {
    opcode: (row, form) for row in INSTRUCTIONS for form, opcode in enumerate(row.opcodes)
}
