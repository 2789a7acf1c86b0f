"""Bits of floats."""

from __future__ import annotations

_LANES = {"f32": (32, 1), "f64": (64, 1), "f32x4": (32, 4), "f64x2": (64, 2)}


def is_nan(bits: int, width: int) -> bool:
    """Are `bits` a NaN of that width?"""
    mantissa = 23 if width == 32 else 52
    exponent = (1 << (width - 1 - mantissa)) - 1
    return bits >> mantissa & exponent == exponent and bits & ((1 << mantissa) - 1) != 0


def lane_nans(shape: str, bits: int) -> bool:
    """Is a lane of `bits` a NaN?  `shape` is "f32", "f64", "f32x4" or "f64x2"."""
    width, count = _LANES[shape]
    return any(is_nan(bits >> width * i & ((1 << width) - 1), width) for i in range(count))
