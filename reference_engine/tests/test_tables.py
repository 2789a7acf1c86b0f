"""The tables against the standard's own names, opcodes and types; every row through both formats."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.features import FEATURES
from wasmlab_ref.isa import BY_MNEMONIC, BY_OPCODE, INSTRUCTIONS, MEMARGS, Instruction
from wasmlab_ref.outcome import trap_kinds
from wasmlab_ref.syntax import Cast, Catch, Func, Instr, MemArg, Module, instr
from wasmlab_ref.text import parse_module, print_module
from wasmlab_ref.types import FuncType, RecType, RefType, SubType

DATA = Path(__file__).parent / "data"

SAMPLES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ["label", "local", "global", "func", "type", "table", "memory", "tag", "elem", "data", "field"], (0, 3, 200)
    ),
    "u32": (0, 3, 0xFFFF_FFFF),
    "labels": ((0,), (1, 2, 300, 0)),
    "block": (None, "i32", RefType(True, "any"), RefType(False, 5), 0, 70),
    "catches": ((), (Catch("catch", 1, 0), Catch("catch_ref", 2, 1), Catch("catch_all", None, 2))),
    **dict.fromkeys(MEMARGS, (MemArg(0, 0, 0), MemArg(3, 2, 1 << 40))),
    "zero": (0,),
    "lane": (0, 1),
    "lanes": (tuple(range(16)),),
    "i32": (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF),
    "i64": (0, 1 << 63, (1 << 64) - 1),
    "f32": (0x7FA0_0000, 0x8000_0000, 0x3F80_0001),
    "f64": (0x7FF4 << 48, 1 << 63),
    "v128": (0, (1 << 128) - 1, 0x0102_0304 << 96),
    "heap": ("func", "none", 0, 300),
    "ref": (RefType(True, "eq"), RefType(False, 7)),
    "types?": (None, ("i32",), (RefType(True, "extern"),)),
    "cast": (Cast(0, RefType(True, "any"), RefType(False, "i31")), Cast(3, RefType(False, 1), RefType(True, 2))),
}
"""Values of every kind of immediate."""

FUNCTION = RecType((SubType(FuncType()),))


def samples(row: Instruction) -> list[Instr]:
    """Instructions of a row, each immediate at each of its sample values."""
    kinds = [kind.partition(":")[0] for kind in row.immediates]
    longest = max((len(SAMPLES[kind]) for kind in kinds), default=1)
    return [Instr(row, tuple(SAMPLES[k][i % len(SAMPLES[k])] for k in kinds)) for i in range(longest)]


def closed(step: Instr) -> tuple[Instr, ...]:
    """The instruction in a body with every block closed."""
    if step.op.mnemonic in ("block", "loop", "if", "try_table"):
        return (step, instr("end"))
    if step.op.mnemonic in ("else", "end"):
        opened = (instr("if", None), step)
        return opened if step.op.mnemonic == "end" else (*opened, instr("end"))
    return (step,)


def lines(name: str) -> list[str]:
    return [line for line in (DATA / name).read_text().splitlines() if line and not line.startswith("#")]


def test_mnemonics_are_those_of_the_standard() -> None:
    names = [line for line in lines("mnemonics.txt") if not line.startswith("- ")]
    assert sorted(BY_MNEMONIC) == sorted(names)
    assert len(BY_MNEMONIC) == len(INSTRUCTIONS)


def test_opcodes_and_plain_types_are_those_of_the_standard() -> None:
    standard = dict(line.split("\t") for line in lines("opcodes.tsv"))
    ours = {f"{op >> 16:X}.{op & 0xFFFF:X}" if op >> 16 else f"{op:X}" for op in BY_OPCODE}
    assert ours == set(standard)
    for opcode, (row, _) in BY_OPCODE.items():
        type_ = standard[f"{opcode >> 16:X}.{opcode & 0xFFFF:X}" if opcode >> 16 else f"{opcode:X}"]
        if type_ != "-" and row.params is not None and "at" not in (*row.params, *(row.results or ())):
            assert type_ == f"{' '.join(map(str, row.params))} -> {' '.join(map(str, row.results or ()))}".strip()


def test_every_column_refers_to_something() -> None:
    for row in INSTRUCTIONS:
        assert row.feature in FEATURES
        for kind in row.immediates:
            assert kind.partition(":")[0] in SAMPLES, f"{row} has an unknown kind of immediate"
    assert all(i in FEATURES for feature in FEATURES.values() for i in feature.implies)


def test_every_trap_is_raised_by_some_instruction() -> None:
    for kind in trap_kinds().values():
        for pattern in kind.raised_by:
            assert any(fnmatch(m, pattern) for m in BY_MNEMONIC), f"{pattern} of {kind.kind!r} matches nothing"


def test_every_row_round_trips_through_both_formats() -> None:
    for row in INSTRUCTIONS:
        for step in samples(row):
            module = Module(types=(FUNCTION,), funcs=(Func(0, (), closed(step)),))
            if "data" in row.immediates:
                assert b"\x0c\x01\x00" in encode(module), row  # such a body needs the data count section
            assert decode(encode(module)) == module, row
            assert parse_module(print_module(module)) == module, row
