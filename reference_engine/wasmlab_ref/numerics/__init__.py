"""The numerics of WebAssembly (chapter "Numerics" of the standard), exact, in pure Python.

    >>> from wasmlab_ref.numerics import i32_add, i8x16_extract_lane_s
    >>> i32_add(0xFFFF_FFFF, 2)
    1
    >>> hex(i8x16_extract_lane_s(3, 0x80_00_00_00))
    '0xffffff80'

There is one function for every instruction that only computes, named as its mnemonic with "_" for ".".  All values
are bits, as unsigned ints: numbers of their width, floats as IEEE 754 patterns, v128 with lane 0 in the low bits,
truth as 0 or 1.  Immediates (a lane index, the sixteen of i8x16.shuffle as a tuple) precede the operands, which come
in the order in which they were pushed.  Operands are trusted to be in range, as validation ensures.  What traps raises
`Trap`.

These functions are those of the deterministic profile; `functions` has those of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from ..profile import NAN_CHOICES, RELAXED, Profile
from .conversion import conversions
from .floating import operations
from .format import F32, F64
from .integer import INTEGER, Function
from .relaxed import relaxed_vectors
from .vector import INTEGER_VECTORS, float_vectors

__all__ = ["FUNCTIONS", "Function", "functions"]


@cache
def functions(profile: Profile) -> Mapping[str, Function]:
    """The function of every numeric instruction under the profile, by mnemonic ("i32.add")."""
    if profile.single:
        general = replace(profile, single=())
        single = {name: functions(_with(general, name, choice))[name] for name, choice in profile.single}
        return MappingProxyType({**functions(general), **single})
    return MappingProxyType(
        {
            **INTEGER,
            **{f"f{fmt.N}.{name}": f for fmt in (F32, F64) for name, f in operations(fmt, profile.nan).items()},
            **conversions(profile.nan),
            **INTEGER_VECTORS,
            **float_vectors(profile.nan),
            **relaxed_vectors(profile),
        }
    )


def _with(general: Profile, mnemonic: str, choice: int) -> Profile:
    if mnemonic in RELAXED:
        return replace(general, **{RELAXED[mnemonic]: choice})  # type: ignore[arg-type]
    return replace(general, nan=NAN_CHOICES[choice])


FUNCTIONS = functions(Profile())


def __getattr__(name: str) -> Function:
    try:
        return FUNCTIONS[name.replace("_", ".", 1)]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
