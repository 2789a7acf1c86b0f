"""From what `events.c` saw to the names of rules: how each instruction ended, and the rules that are not about that.

`coverage.py` does the same for ref/py; the names of the rules are the table of instructions' and its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

from ..coverage import ALWAYS, OR_TRAP
from ..isa import INSTRUCTIONS
from .generate import dense

MNEMONICS = {dense(opcode): row.mnemonic for row in INSTRUCTIONS for opcode in row.opcodes}
STEMS = {dense(opcode): row.rule for row in INSTRUCTIONS for opcode in row.opcodes if row.specified}

JUMPS = frozenset({"block", "loop", "try_table", "if", "br", "br_if", "br_table", "return"})
CALLS = frozenset({f"{kind}{how}" for kind in ("call", "return_call") for how in ("", "_ref", "_indirect")})
"""Instructions whose rules are told one by one."""

BY_END: dict[str, dict[str, str]] = {
    "Step_pure": {
        "select": "true false",
        "ref.is_null": "true false",
        "ref.eq": "true false null",
        "any.convert_extern": "addr null",
        "extern.convert_any": "addr null",
        "br_on_null": "addr null",
        "br_on_non_null": "addr null",
    },
    "Step_read": {
        "ref.test": "true false",
        "ref.cast": "succ=succeed fail",
        "br_on_cast": "succ=succeed fail",
        "br_on_cast_fail": "succ=succeed fail",
        "array.get": "val=array null oob",
        "memory.fill": "succ zero oob",
        "memory.init": "succ zero oob",
        "table.fill": "succ zero oob",
        "table.init": "succ zero oob",
        "array.fill": "succ zero oob null",
        "array.init_data": "succ=num zero oob1 oob2 null",
        "array.init_elem": "succ zero oob1 oob2 null",
        "memory.copy": "le gt zero oob",
        "table.copy": "le gt zero oob",
        "array.copy": "le gt zero oob1 oob2 null1 null2",
    },
    "Step": {
        "array.set": "val=array null oob",
        "memory.grow": "succ=succeed fail",
        "table.grow": "succ=succeed fail",
    },
}
"""Prefix of the rules' names, stem, and the ends with the names that the rules have for them."""

ENDS = {
    stem: {end: f"{prefix}/{stem}-{name or end}" for end, _, name in (word.partition("=") for word in words.split())}
    for prefix, stems in BY_END.items()
    for stem, words in stems.items()
}


@cache
def rules_of(op: int, end: str) -> tuple[str, ...]:
    """The rules of an instruction, by its number in `opcodes.h`, that ended so."""
    stem, mnemonic = STEMS.get(op), MNEMONICS[op]
    if stem is None or end == "ran" or mnemonic in JUMPS | CALLS:
        return ()
    if stem in ENDS:
        return (ENDS[stem][end],)
    if stem in OR_TRAP:
        return OR_TRAP[stem][end != "val"]
    if stem == "vextract_lane":
        return (f"Step_pure/{stem}-{'pack' if mnemonic[-2:] in {'_s', '_u'} else 'num'}",)
    return ALWAYS.get(stem, (f"Step_pure/{stem}",))


@cache
def _names(library: ctypes.CDLL) -> tuple[list[str], list[str]]:
    """The names of rules and ends."""
    found: tuple[list[str], list[str]] = ([], [])
    for names, tell in zip(found, (library.wl_rule_name, library.wl_end_name), strict=True):
        while name := tell(len(names)):
            names.append(name.decode())
    return found


def names_seen(library: ctypes.CDLL, ops: Sequence[int], rules: Sequence[int]) -> tuple[frozenset[str], frozenset[str]]:
    """Rules and mnemonics."""
    rule_names, ends = _names(library)
    taken = {name for name, was in zip(rule_names, rules, strict=False) if was}
    executed = set()
    for op, bits in enumerate(ops):
        if bits:
            executed.add(MNEMONICS[op])
            for number, end in enumerate(ends):
                if bits >> number & 1:
                    taken.update(rules_of(op, end))
    return frozenset(taken), frozenset(executed)
