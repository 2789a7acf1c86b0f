"""Conversions between integers and floats (section "Conversions")."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..outcome import Trap
from .format import F32, F64, Format
from .integer import Function
from .nans import convert_nan


def integer_range(N: int, sx: str) -> tuple[int, int]:
    """The least and the greatest iN, signed ("s") or unsigned ("u")."""
    return (-1 << N - 1, (1 << N - 1) - 1) if sx == "s" else (0, (1 << N) - 1)


def trunc(fmt: Format, N: int, sx: str) -> Function:
    """trunc_sx: from fmt to iN, towards zero; traps where there is no such integer."""
    decode, (least, greatest), M = fmt.decode, integer_range(N, sx), (1 << N) - 1

    def truncate(a: int) -> int:
        x = decode(a)
        if x != x:
            raise Trap("invalid conversion to integer")
        if least - 1 < x < greatest + 1:  # Python compares a float with an int exactly
            return int(x) & M
        raise Trap("integer overflow")

    return truncate


def trunc_sat(fmt: Format, N: int, sx: str) -> Function:
    """trunc_sat_sx: as trunc_sx, but NaN gives 0 and the rest the nearest integer there is."""
    decode, (least, greatest), M = fmt.decode, integer_range(N, sx), (1 << N) - 1

    def truncate(a: int) -> int:
        x = decode(a)
        if x != x:
            return 0
        return int(min(max(x, least), greatest)) & M

    return truncate


def relaxed_trunc(fmt: Format, N: int, sx: str, otherwise: int | None) -> Function:
    """relaxed_trunc_sx: NaN and what is out of range give `otherwise`, or if None what trunc_sat_sx does."""
    if otherwise is None:
        return trunc_sat(fmt, N, sx)
    decode, (least, greatest), M = fmt.decode, integer_range(N, sx), (1 << N) - 1

    def truncate(a: int) -> int:
        x = decode(a)
        return int(x) & M if least - 1 < x < greatest + 1 else otherwise

    return truncate


def convert(N: int, sx: str, fmt: Format) -> Function:
    """convert_sx: from iN to fmt, rounded once."""
    S = 1 << N - 1
    # What fits binary64, or is to become it, Python rounds at most once; f32 from i64 it would round twice.
    rounded: Callable[[int], int] = fmt.encode if N <= 32 or fmt is F64 else partial(fmt.ieee, e=0)
    if sx == "s":
        return lambda a: rounded((a ^ S) - S)
    return rounded


def demote(nan: str) -> Function:
    """From f64 to f32; `nan` as in `Profile`."""
    return convert_nan(nan, F64, F32, lambda a: F32.encode(F64.decode(a)))


def promote(nan: str) -> Function:
    """From f32 to f64; `nan` as in `Profile`."""
    return convert_nan(nan, F32, F64, lambda a: F64.encode(F32.decode(a)))


def conversions(nan: str) -> dict[str, Function]:
    """cvtop of numbers, by mnemonic."""
    table: dict[str, Function] = {
        "i32.wrap_i64": lambda a: a & 0xFFFF_FFFF,
        "i64.extend_i32_s": lambda a: a if a < 0x8000_0000 else a | 0xFFFF_FFFF_0000_0000,
        "i64.extend_i32_u": lambda a: a,
        "f32.demote_f64": demote(nan),
        "f64.promote_f32": promote(nan),
    }
    for fmt in (F32, F64):
        f = f"f{fmt.N}"
        table |= {f"i{fmt.N}.reinterpret_{f}": lambda a: a, f"{f}.reinterpret_i{fmt.N}": lambda a: a}
        for N in (32, 64):
            for sx in ("s", "u"):
                table[f"i{N}.trunc_{f}_{sx}"] = trunc(fmt, N, sx)
                table[f"i{N}.trunc_sat_{f}_{sx}"] = trunc_sat(fmt, N, sx)
                table[f"{f}.convert_i{N}_{sx}"] = convert(N, sx, fmt)
    return table
