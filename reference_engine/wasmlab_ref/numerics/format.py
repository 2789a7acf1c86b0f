"""The floating-point formats f32 and f64: bits, Python floats, exact numbers and rounding between them."""

from __future__ import annotations

from struct import Struct


class Format:
    """An IEEE 754 interchange format of N bits, P of them fraction; its constants are bit patterns."""

    def __init__(self, N: int, P: int, bits: str, floats: str) -> None:
        self.N, self.P, self.code = N, P, floats
        self.sign = 1 << N - 1
        self.magnitude = self.sign - 1
        self.infinity = self.sign - (1 << P)
        self.quiet = 1 << P - 1  # the top bit of the payload, clear in a signalling NaN
        self.nan = self.infinity | self.quiet  # the positive canonical one
        self.least = 2 - P - (1 << N - P - 2)  # the exponent of the least subnormal number
        # A float's way through struct, one or two at a time.  It keeps of a NaN only that it is one: the C conversion
        # between float and double quiets it.
        self.pack_bits, self.unpack_bits = Struct(f"<{bits}").pack, Struct(f"<{bits}").unpack
        self.pack_float, self.unpack_float = Struct(f"<{floats}").pack, Struct(f"<{floats}").unpack
        self.pack_bits2, self.unpack_float2 = Struct(f"<2{bits}").pack, Struct(f"<2{floats}").unpack

    def is_nan(self, a: int) -> bool:
        return a & self.magnitude > self.infinity

    def is_finite(self, a: int) -> bool:
        return a & self.magnitude < self.infinity

    def decode(self, a: int) -> float:
        x: float = self.unpack_float(self.pack_bits(a))[0]
        return x

    def encode(self, x: float) -> int:
        """The bits of x, rounded to this format."""
        if x != x:
            return self.nan
        try:
            a: int = self.unpack_bits(self.pack_float(x))[0]
        except OverflowError:
            return self.infinity if x > 0 else self.sign | self.infinity
        return a

    def exact(self, a: int) -> tuple[int, int]:
        """(m, e) with a = m * 2^e; a is finite."""
        exponent, m = divmod(a & self.magnitude, 1 << self.P)
        if exponent:
            m, exponent = m | 1 << self.P, exponent - 1
        return -m if a & self.sign else m, exponent + self.least

    def ieee(self, m: int, e: int) -> int:
        """ieee_N(m * 2^e): rounds once, to nearest, ties to even; m = 0 gives +0."""
        if not m:
            return 0
        sign, m = (self.sign, -m) if m < 0 else (0, m)
        excess = max(m.bit_length() - self.P - 1, self.least - e)
        if excess > 0:
            rest, half = m & (1 << excess) - 1, 1 << excess - 1
            m >>= excess
            m += rest > half or (rest == half and m & 1)
        else:
            m <<= -excess
        # The hidden bit of m, or the carry of a fraction rounded up, counts the exponent up by one.
        return sign | min((e + excess - self.least << self.P) + m, self.infinity)


F32 = Format(32, 23, "I", "f")
F64 = Format(64, 52, "Q", "d")
