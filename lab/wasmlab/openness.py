"""What the standard leaves open: NaNs of arithmetic, choices of relaxed vector instructions.

A case is *settled* if no such freedom shows in it: each of its open instructions either has its NaNs made canonical
right behind it, as the generator does, or had operands for which every permitted behaviour gives the same bits.
Reduction must not take the guards away and report what is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

from wasmlab_ref.case import Case
from wasmlab_ref.decode import decode
from wasmlab_ref.isa import INSTRUCTIONS
from wasmlab_ref.numerics import functions
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.profile import NAN_PROFILES, RELAXED_CHOICES, Profile
from wasmlab_ref.syntax import Expr

from .floats import lane_nans

NAN_CHOOSING = frozenset(
    row.mnemonic
    for row in INSTRUCTIONS
    if re.fullmatch(
        r"f(32|64|32x4|64x2)\.(relaxed_)?"
        r"(add|sub|mul|div|sqrt|min|max|ceil|floor|trunc|nearest|madd|nmadd|demote\w+|promote\w+)",
        row.mnemonic,
    )
)
"""Instructions whose NaN results the standard leaves open (numerics, "NaN Propagation")."""

OPEN = NAN_CHOOSING | {row.mnemonic for row in INSTRUCTIONS if row.feature == "relaxed-simd"}

_GUARD = ("local.tee", "const", "local.get", "local.get", "eq", "select")


def guarded(code: Expr, at: int) -> bool:
    """Are the NaNs of the instruction at `at` made canonical right behind it?  A relaxed one has other freedoms."""
    if ".relaxed_" in code[at].op.mnemonic:
        return False
    following = code[at + 1 : at + 1 + len(_GUARD)]
    if len(following) < len(_GUARD):
        return False
    names = [step.op.mnemonic for step in following]
    kept = following[0].args
    return (
        names[0] == "local.tee"
        and names[1].endswith(".const")
        and names[2] == names[3] == "local.get"
        and following[2].args == following[3].args == kept
        and names[4].endswith(".eq")
        and names[5] in ("select", "v128.bitselect")
    )


def open_places(code: Expr) -> Iterator[int]:
    """Where the open instructions are that have no guard."""
    return (at for at, step in enumerate(code) if step.op.mnemonic in OPEN and not guarded(code, at))


def has_open_nans(case: Case) -> bool:
    """Does `case` contain an unguarded instruction whose results the standard leaves open?"""
    for data in case.modules:
        try:
            module = decode(data)
        except Malformed:
            continue
        if any(True for func in module.funcs for _ in open_places(func.body)):
            return True
    return False


def settled(mnemonic: str, operands: Sequence[int]) -> bool:
    """Does every permitted behaviour of an open instruction give the same bits for these operands?"""
    results = {functions(profile)[mnemonic](*operands) for profile in _profiles()}
    if len(results) > 1:
        return False
    shape = mnemonic.partition(".")[0]
    return mnemonic not in NAN_CHOOSING or not lane_nans(shape, results.pop())


@cache
def _profiles() -> tuple[Profile, ...]:
    """The deterministic profile, and those that differ from it in one respect."""
    single = [Profile(nan=nan) for nan in NAN_PROFILES]
    for name, choices in RELAXED_CHOICES.items():
        single += [Profile(**{name: choice}) for choice in range(1, choices)]  # type: ignore[arg-type]
    mixed = [Profile(R_fmin=a, R_fmax=a, nan=nan) for a, nan in product(range(4), NAN_PROFILES)]
    return tuple(dict.fromkeys(single + mixed))
