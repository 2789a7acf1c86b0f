"""Bytes, integers, vectors and names of the binary format (section 5.2 of the standard)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .outcome import Malformed

T = TypeVar("T")


class Reader:
    """A cursor over `data` from `pos` to `end`; every reader raises `Malformed` at the first offending byte."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data, self.pos = data, pos
        self.end = len(data) if end is None else end

    def fail(self, message: str, pos: int | None = None) -> Malformed:
        """The error at `pos`, by default here."""
        return Malformed(message, self.pos if pos is None else pos)

    def byte(self) -> int:
        """One byte."""
        pos = self.pos
        if pos >= self.end:
            raise self.fail("unexpected end of section or function")
        self.pos = pos + 1
        return self.data[pos]

    def peek(self) -> int:
        """The next byte, which stays; -1 at the end."""
        return self.data[self.pos] if self.pos < self.end else -1

    def bytes(self, n: int) -> bytes:
        """`n` bytes."""
        pos = self.pos
        if n > self.end - pos:
            raise self.fail("length out of bounds" if self.end == len(self.data) else "unexpected end")
        self.pos = pos + n
        return self.data[pos : self.pos]

    def unsigned(self, bits: int) -> int:
        """An unsigned LEB128 integer of at most `bits` bits."""
        result = shift = 0
        while True:
            if shift >= bits:
                raise self.fail("integer representation too long")
            byte = self.byte()
            if bits - shift < 7 and byte & 0x7F >= 1 << (bits - shift):
                raise self.fail("integer too large", self.pos - 1)
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
            shift += 7

    def signed(self, bits: int) -> int:
        """A signed LEB128 integer of at most `bits` bits."""
        result = shift = 0
        while True:
            if shift >= bits:
                raise self.fail("integer representation too long")
            byte = self.byte()
            if bits - shift < 7:
                sign_bits = -1 << (bits - shift - 1) & 0x7F
                if byte & sign_bits not in (0, sign_bits):
                    raise self.fail("integer too large", self.pos - 1)
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result - (1 << shift) if byte & 0x40 else result

    def u32(self) -> int:
        """An unsigned 32-bit integer."""
        pos = self.pos
        if pos < self.end and (byte := self.data[pos]) < 0x80:
            self.pos = pos + 1
            return byte
        return self.unsigned(32)

    def list(self, item: Callable[[Reader], T]) -> list[T]:
        """A list; each item takes at least a byte, so its length is checked before anything is read."""
        pos = self.pos
        n = self.u32()
        if n > self.end - self.pos:
            raise self.fail("length out of bounds", pos)
        return [item(self) for _ in range(n)]

    def name(self) -> str:
        """A name: UTF-8 with its length in bytes."""
        pos = self.pos
        n = self.u32()
        if n > self.end - self.pos:
            raise self.fail("length out of bounds", pos)
        start = self.pos
        try:
            return self.bytes(n).decode()
        except UnicodeDecodeError as error:
            raise self.fail("malformed UTF-8 encoding", start + error.start) from None
