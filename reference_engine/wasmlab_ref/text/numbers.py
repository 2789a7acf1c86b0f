"""Literals of integers and floats (section 6.3): text to bits and back.

Every function returns the bits of a value as an unsigned int; no Python float is involved, because a float would
round an f32 twice and lose the payload of a NaN.  Literals may have any length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_DIGITS, _HEX_DIGITS = r"[0-9](?:_?[0-9])*+", r"[0-9a-fA-F](?:_?[0-9a-fA-F])*+"
_INTEGER = re.compile(rf"([+-]?)(?:0x({_HEX_DIGITS})|({_DIGITS}))")
_NATURAL = re.compile(rf"()(?:0x({_HEX_DIGITS})|({_DIGITS}))")
_DECIMAL = re.compile(rf"([+-]?)({_DIGITS})(?:\.({_DIGITS})?)?(?:[eE]([+-]?{_DIGITS}))?")
_HEX = re.compile(rf"([+-]?)0x({_HEX_DIGITS})(?:\.({_HEX_DIGITS})?)?(?:[pP]([+-]?{_DIGITS}))?")
_SPECIAL = re.compile(rf"([+-]?)(?:(inf)|nan(?::0x({_HEX_DIGITS}))?)")
_NAN_PATTERN = re.compile(r"nan:(?:canonical|arithmetic)")

_SIGNIFICANT = 800
"""Decimal digits that can decide a rounding (f64 needs 768); of those beyond, it matters only whether one is not 0."""


class Format(NamedTuple):
    """A binary floating-point format: significand bits with the hidden one, and total width."""

    precision: int
    width: int

    @property
    def bias(self) -> int:
        return (1 << (self.width - self.precision - 1)) - 1

    @property
    def infinity(self) -> int:
        return ((1 << (self.width - self.precision)) - 1) << (self.precision - 1)


F32, F64 = Format(24, 32), Format(53, 64)
FORMATS = {"f32": F32, "f64": F64}


def is_literal(token: str) -> bool:
    """Whether a token is a number, of whatever size, or one of the NaN patterns of scripts."""
    return any(form.fullmatch(token) for form in (_INTEGER, _DECIMAL, _HEX, _SPECIAL, _NAN_PATTERN))


def natural(token: str, bits: int) -> int | None:
    """An unsigned literal below 2^bits; None if the token is none, OverflowError if it is too large."""
    match = _NATURAL.fullmatch(token)
    return _magnitude(match, bits) if match else None


def integer(token: str, bits: int) -> int | None:
    """A signed or unsigned literal of `bits` bits, as its bits; None and OverflowError as for `natural`."""
    match = _INTEGER.fullmatch(token)
    if not match:
        return None
    value = _magnitude(match, bits)
    if not match[1]:
        return value
    if value > (1 << (bits - 1)) - (match[1] == "+"):
        raise OverflowError
    return value if match[1] == "+" else -value & ((1 << bits) - 1)


def _magnitude(match: re.Match[str], bits: int) -> int:
    digits = (match[2] or match[3]).replace("_", "").lstrip("0") or "0"
    if len(digits) > 40:  # 128 bits are 39 digits; also keeps clear of Python's limit for long decimals
        raise OverflowError
    value = int(digits, 16 if match[2] else 10)
    if value >> bits:
        raise OverflowError
    return value


@lru_cache(maxsize=4096)
def floating(token: str, format_: Format) -> int | None:
    """A float literal, rounded once to nearest, ties to even; None and OverflowError as for `natural`."""
    if match := _HEX.fullmatch(token):
        magnitude = _from_hex(match, format_)
    elif match := _DECIMAL.fullmatch(token):
        magnitude = _from_decimal(match, format_)
    elif match := _SPECIAL.fullmatch(token):
        magnitude = _special(match, format_)
    else:
        return None
    return magnitude | (match[1] == "-") << (format_.width - 1)


def _special(match: re.Match[str], format_: Format) -> int:
    if match[2]:
        return format_.infinity
    quiet = 1 << (format_.precision - 2)
    payload = int(match[3].replace("_", ""), 16) if match[3] else quiet
    if not 0 < payload < quiet << 1:
        raise OverflowError
    return format_.infinity | payload


def _from_hex(match: re.Match[str], format_: Format) -> int:
    whole, fraction = match[2].replace("_", ""), (match[3] or "").replace("_", "")
    significand = int(whole + fraction, 16)
    exponent = _exponent(match[4]) - 4 * len(fraction)
    top = significand.bit_length() + exponent
    if not significand or top < -2000:
        return 0
    if top > 2000:
        raise OverflowError
    extra = max(significand.bit_length() - 200, 0)  # cut to 200 bits and a sticky one, so that shifts stay small
    significand = significand >> extra << 1 | (significand & ((1 << extra) - 1) != 0)
    return _round(significand, exponent + extra - 1, 1, format_)


def _from_decimal(match: re.Match[str], format_: Format) -> int:
    whole, fraction = match[2].replace("_", ""), (match[3] or "").replace("_", "")
    digits = (whole + fraction).lstrip("0")
    exponent = _exponent(match[4]) - len(fraction)
    top = len(digits) + exponent
    if not digits or top < -400:
        return 0
    if top > 400:
        raise OverflowError
    if len(digits) > _SIGNIFICANT:
        sticky = "1" if digits[_SIGNIFICANT:].strip("0") else "0"
        exponent += len(digits) - _SIGNIFICANT - 1
        digits = digits[:_SIGNIFICANT] + sticky
    value = int(digits)
    return _round(value * 10 ** max(exponent, 0), 0, 10 ** max(-exponent, 0), format_)


def _exponent(text: str | None) -> int:
    """An exponent; those beyond 18 digits are cut, no text is long enough to make up for them."""
    if not text:
        return 0
    digits = text.replace("_", "").lstrip("+-").lstrip("0") or "0"
    value = int(digits[:18]) if len(digits) <= 18 else 10**18
    return -value if text.startswith("-") else value


def _round(significand: int, exponent: int, denominator: int, format_: Format) -> int:
    """The bits of significand * 2^exponent / denominator, rounded to nearest even; OverflowError at infinity."""
    numerator = significand << max(exponent, 0)
    denominator <<= max(-exponent, 0)
    scale = numerator.bit_length() - denominator.bit_length()
    if numerator << max(-scale, 0) < denominator << max(scale, 0):
        scale -= 1  # now 2^scale <= value < 2^(scale + 1)
    biased = max(scale + format_.bias, 1)
    unit = biased - format_.bias - format_.precision + 1  # the exponent of the last place
    denominator <<= max(unit, 0)
    quotient, rest = divmod(numerator << max(-unit, 0), denominator)
    quotient += 2 * rest > denominator or (2 * rest == denominator and quotient & 1)
    bits = ((biased - 1) << (format_.precision - 1)) + quotient  # a carry moves into the exponent by itself
    if bits >= format_.infinity:
        raise OverflowError
    return bits


def float_text(bits: int, format_: Format) -> str:
    """The literal that reads back as `bits`: hexadecimal, or with the payload of a NaN."""
    sign = "-" if bits >> (format_.width - 1) else ""
    fraction_bits = format_.precision - 1
    biased = bits >> fraction_bits & ((1 << (format_.width - format_.precision)) - 1)
    fraction = bits & ((1 << fraction_bits) - 1)
    if biased == format_.infinity >> fraction_bits:
        return f"{sign}nan:0x{fraction:x}" if fraction else f"{sign}inf"
    digits = -(-fraction_bits // 4)
    shown = f"{fraction << (4 * digits - fraction_bits):0{digits}x}".rstrip("0")
    point = f".{shown}" if shown else ""
    exponent = max(biased, 1) - format_.bias if biased or fraction else 0
    return f"{sign}0x{1 if biased else 0}{point}p{exponent:+d}"
