"""A place in a text that moves forward, and the literals that it can read (section 6.3)."""

from __future__ import annotations

from ..outcome import Malformed
from . import numbers
from .lexer import Source, is_identifier, is_string, string_bytes

KEYWORDS: set[str] = set()
"""Words with a place in the grammar, for the choice between two error messages; each module adds its own."""


def is_number(token: str) -> bool:
    """Whether a token begins like a number."""
    return token[:1].isdecimal() or token[:1] in ("+", "-") or token.startswith(("inf", "nan"))


def is_known(token: str) -> bool:
    """Whether a token is one of the language at all."""
    return (
        token in ("(", ")")
        or token in KEYWORDS
        or numbers.is_literal(token.removeprefix("offset=").removeprefix("align="))
        or is_identifier(token)
        or is_string(token.removeprefix("$"))
    )


def shortened(token: str) -> str:
    """A token for an error message."""
    return token if len(token) <= 60 else f"{token[:57]}..."


class Cursor:
    """A place in a source that moves forward; `i` is the index of the next token."""

    def __init__(self, source: Source, start: int = 0) -> None:
        self.source, self.tokens, self.i = source, source.tokens, start

    def error(self, message: str, at: int | None = None) -> Malformed:
        """An error at the next token, or at token `at`."""
        return self.source.error(self.i if at is None else at, message)

    def unexpected(self, at: int | None = None) -> Malformed:
        """The error for a token that has no place here: "unexpected token" or "unknown operator"."""
        at = self.i if at is None else at
        token = self.tokens[at]
        if token == "":
            return self.error("unexpected token: end of text", at)
        if token == "$":
            return self.error("empty identifier", at)
        kind = "unexpected token" if is_known(token) else "unknown operator"
        return self.error(f"{kind} {shortened(token)}", at)

    def at(self, keyword: str) -> bool:
        """Whether `(keyword` comes next."""
        return self.tokens[self.i] == "(" and self.tokens[self.i + 1] == keyword

    def opens(self, keyword: str) -> bool:
        """Read `(keyword` if it comes next."""
        if self.at(keyword):
            self.i += 2
            return True
        return False

    def takes(self, token: str) -> bool:
        """Read `token` if it comes next."""
        if self.tokens[self.i] == token:
            self.i += 1
            return True
        return False

    def expect(self, token: str) -> None:
        """Read `token`, or fail."""
        if self.tokens[self.i] != token:
            raise self.unexpected()
        self.i += 1

    def string(self) -> bytes:
        """Read a string literal."""
        token = self.tokens[self.i]
        if not is_string(token):
            raise self.unexpected()
        try:
            value = string_bytes(token)
        except ValueError as problem:
            raise self.error(str(problem)) from None
        self.i += 1
        return value

    def strings(self) -> bytes:
        """Read string literals as long as there are any, and join them."""
        parts = []
        while self.tokens[self.i].startswith('"'):
            parts.append(self.string())
        return b"".join(parts)

    def name(self) -> str:
        """Read a string literal that is UTF-8."""
        start = self.i
        try:
            return self.string().decode()
        except UnicodeDecodeError:
            raise self.error("malformed UTF-8 encoding", start) from None

    def identifier(self) -> str | None:
        """Read an identifier if one comes next; the result has no `$`."""
        if self.tokens[self.i].startswith("$"):
            self.i += 1
            return self.identifier_at(self.i - 1)
        return None

    def identifier_at(self, index: int) -> str:
        """The identifier that token `index` is."""
        token = self.tokens[index]
        if is_identifier(token):
            return token[1:]
        if not is_string(token[1:]):
            raise self.unexpected(index)
        try:
            name = string_bytes(token[1:]).decode()
        except ValueError:
            raise self.error("malformed UTF-8 encoding", index) from None
        if not name:
            raise self.error("empty identifier", index)
        return name

    def natural(self, bits: int) -> int:
        """Read an unsigned number below 2^bits."""
        token = self.tokens[self.i]
        if len(token) < 3 and token.isdecimal():  # most numbers are
            self.i += 1
            return int(token)
        try:
            value = numbers.natural(token, bits)
        except OverflowError:
            raise self.error(f"i{bits} constant out of range") from None
        if value is None:
            raise self.unexpected()
        self.i += 1
        return value

    def integer(self, bits: int) -> int:
        """Read a number of `bits` bits, signed or not."""
        try:
            value = numbers.integer(self.tokens[self.i], bits)
        except OverflowError:
            raise self.error("constant out of range") from None
        if value is None:
            raise self.unexpected()
        self.i += 1
        return value

    def floating(self, format_: numbers.Format) -> int:
        """Read a float; the result is its bits."""
        try:
            value = numbers.floating(self.tokens[self.i], format_)
        except OverflowError:
            raise self.error("constant out of range") from None
        if value is None:
            raise self.unexpected()
        self.i += 1
        return value

    def skip(self) -> None:
        """Read a parenthesised phrase without looking into it."""
        tokens, i, depth = self.tokens, self.i, 0
        while True:
            token = tokens[i]
            if token == "(":
                depth += 1
            elif token == ")":
                depth -= 1
            elif not token:
                raise self.unexpected(i)
            i += 1
            if depth <= 0:
                break
        self.i = i
