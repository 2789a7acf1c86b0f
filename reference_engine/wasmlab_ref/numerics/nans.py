"""Which NaN an arithmetic operation results in, where that is not always the positive canonical one.

The standard allows either sign, and any payload with the top bit set once an operand's payload is not canonical
(section "NaN Propagation").  Processors pass on an operand, made quiet; they differ in which one, and in the NaN of an
invalid operation:

    nan=       of several NaN operands                             no NaN operand
    x86        the first; in min and max the second                negative
    arm64      the first signalling one, or else the first,        positive
               where the addend of a fused multiply-add is
               first; none if that adds a quiet NaN to inf * 0
    riscv64    none: always the positive canonical NaN             positive
    swapped    as on x86, with the operands exchanged              negative
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .format import Format
from .integer import Function


def _first(fmt: Format, operands: Sequence[int], default: int) -> int:
    return next((a | fmt.quiet for a in operands if fmt.is_nan(a)), default)


def _x86(fmt: Format, name: str, operands: Sequence[int]) -> int:
    if name in ("min", "max"):
        operands = operands[::-1]
    return _first(fmt, operands, fmt.sign | fmt.nan)


def _arm64(fmt: Format, name: str, operands: Sequence[int]) -> int:
    if name in ("fma", "fnma"):
        a, b, c = operands
        if {a & fmt.magnitude, b & fmt.magnitude} == {0, fmt.infinity} and c & fmt.quiet:
            return fmt.nan
        operands = c, a ^ fmt.sign if name == "fnma" else a, b  # x86 negates the product instead
    signalling = [a for a in operands if not a & fmt.quiet]
    return _first(fmt, signalling, _first(fmt, operands, fmt.nan))


def _swapped(fmt: Format, name: str, operands: Sequence[int]) -> int:
    return _x86(fmt, name, operands[::-1])


CHOICES: dict[str, Callable[[Format, str, Sequence[int]], int]] = {"x86": _x86, "arm64": _arm64, "swapped": _swapped}
"""By `Profile.nan`: from an operation's name and operands to the NaN it results in."""


def propagate(fmt: Format, nan: str, name: str, canonical: Function) -> Function:
    """The operation `canonical` of results in `fmt`, with the NaNs of the profile."""
    if nan not in CHOICES:
        return canonical
    choose, canonical_nan = CHOICES[nan], fmt.nan

    def operation(*operands: int) -> int:
        result = canonical(*operands)
        return choose(fmt, name, operands) if result == canonical_nan else result

    return operation


def convert_nan(nan: str, source: Format, target: Format, canonical: Function) -> Function:
    """demote or promote: x86 and arm64 keep the sign and as much of the payload as fits."""
    if nan not in CHOICES:
        return canonical
    excess = source.P - target.P

    def conversion(a: int) -> int:
        if not source.is_nan(a):
            return canonical(a)
        payload = a & (1 << source.P) - 1
        payload = payload >> excess if excess > 0 else payload << -excess
        return (target.sign if a & source.sign else 0) | target.nan | payload

    return conversion
