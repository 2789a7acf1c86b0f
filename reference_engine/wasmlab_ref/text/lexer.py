"""Lexical format (section 6.2 of the standard): characters to tokens.

Tokens are plain strings, cut by one regular expression; what a token means is decided where it is expected, so that
the common case costs nothing.  Comments are skipped; annotations are taken out of the stream and kept aside, with
the index of the token that follows them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from ..outcome import Malformed

IDCHARS = r"0-9A-Za-z!#$%&'*+\-./:<=>?@\\^_`|~"
_HEX = "[0-9a-fA-F]"
_ESCAPES = rf'\\(?:[tnr"\'\\]|{_HEX}{_HEX}|u\{{{_HEX}(?:_?{_HEX})*+\}})'
_STRING = rf'"(?:[^"\\\x00-\x1f\x7f]++|{_ESCAPES})*+"'
_TOKEN = rf"\((?:@(?:[{IDCHARS}]++|{_STRING})?+)?+|\)|(?:[{IDCHARS},\[\]{{}}]++|;(?!;)|{_STRING})++"
_SCAN = re.compile(rf"(?:[ \t\r\n]++|;;[^\r\n]*+)*+({_TOKEN}|\Z|.)", re.DOTALL)
_COMMENT_OR_STRING = re.compile(rf"{_STRING}|;;[^\r\n]*+|\(;")
_COMMENT_BRACKET = re.compile(r"\(;|;\)")
_VISIBLE = re.compile(r"[^\r\n]")

_TOKEN_CHARACTER = re.compile(rf"[{IDCHARS},;\[\]{{}}()]")
_ONE_STRING = re.compile(_STRING)
_IDENTIFIER = re.compile(rf"\$[{IDCHARS}]+")

_ESCAPE = re.compile(rb"\\(?:u\{([0-9a-fA-F_]+)\}|([0-9a-fA-F]{2})|(.))")
_ESCAPED = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b'"': b'"', b"'": b"'", b"\\": b"\\"}


@dataclass(frozen=True, slots=True)
class Annotation:
    """`(@name items…)`; `before` is the index of the token that follows, `start` its own place in the source."""

    name: str
    items: tuple[str, ...]
    before: int
    start: int


class Source:
    """A text cut into tokens, without comments and annotations; two empty tokens mark its end."""

    def __init__(self, text: str | bytes) -> None:
        self.text = _decode(text)
        self.annotations: list[Annotation] = []
        self._origins: list[int] | None = None
        self._offsets: list[int] | None = None
        self._newlines: list[int] | None = None
        self._plain = _blank_comments(self.text) if "(;" in self.text else self.text
        self.tokens: list[str] = _SCAN.findall(self._plain)
        while self.tokens and not self.tokens[-1]:
            self.tokens.pop()
        self.tokens += ("", "")
        self._refuse_illegal_characters()
        if "(@" in self._plain:
            self._take_annotations()

    def offset(self, index: int) -> int:
        """Where token `index` starts, in characters."""
        offsets = self._all_offsets()
        origin = index if self._origins is None else self._origins[index]
        return offsets[min(origin, len(offsets) - 1)]

    def _all_offsets(self) -> list[int]:
        if self._offsets is None:
            self._offsets = [match.start(1) for match in _SCAN.finditer(self._plain)]
        return self._offsets

    def between(self, start: int, end: int) -> str:
        """The text from token `start` up to token `end`."""
        return self.text[self.offset(start) : self.offset(end)]

    def line(self, index: int) -> int:
        """The line of token `index`, from 1."""
        if self._newlines is None:
            self._newlines = [match.start() for match in re.finditer("\n", self.text)]
        return bisect_right(self._newlines, self.offset(index)) + 1

    def error(self, index: int, message: str) -> Malformed:
        """An error at token `index`."""
        return _error_at(self.text, self.offset(index), message)

    def annotation_error(self, annotation: Annotation, message: str) -> Malformed:
        """An error at an annotation."""
        return _error_at(self.text, self._all_offsets()[annotation.start], message)

    def _refuse_illegal_characters(self) -> None:
        singles = {token for token in set(self.tokens) if len(token) == 1}
        illegal = {token for token in singles if not _TOKEN_CHARACTER.fullmatch(token)}
        if illegal:
            index = next(i for i, token in enumerate(self.tokens) if token in illegal)
            offset = self.offset(index)
            raise _error_at(self.text, offset, _lexical_error(self._plain, offset))

    def _take_annotations(self) -> None:
        kept: list[str] = []
        origins: list[int] = []
        depth, start, name, items = 0, 0, "", list[str]()
        for index, token in enumerate(self.tokens):
            if depth:
                depth += token.startswith("(") - (token == ")")
                items.append(token)
                if not token:
                    raise self.error(start, "unclosed annotation")
                if not depth:
                    self.annotations.append(Annotation(name, tuple(items[:-1]), len(kept), start))
            elif token.startswith("(@"):
                depth, start, name, items = 1, index, self._annotation_name(index), []
            else:
                kept.append(token)
                origins.append(index)
        self.tokens, self._origins = kept, origins

    def _annotation_name(self, index: int) -> str:
        token = self.tokens[index][2:]
        if token.startswith('"'):
            try:
                token = string_bytes(token).decode()
            except ValueError:
                raise self.error(index, "malformed UTF-8 encoding") from None
        if not token:
            raise self.error(index, "empty annotation id")
        return token


def is_identifier(token: str) -> bool:
    """Whether a token is an identifier without quotes."""
    return _IDENTIFIER.fullmatch(token) is not None


def is_string(token: str) -> bool:
    """Whether a token is one string literal (and not, say, two without space between)."""
    return token.startswith('"') and _ONE_STRING.fullmatch(token) is not None


def string_bytes(token: str) -> bytes:
    """The bytes that a string literal stands for; ValueError for a `\\u{…}` that is no scalar value."""
    raw = token[1:-1].encode()
    return _ESCAPE.sub(_unescape, raw) if b"\\" in raw else raw


def _unescape(match: re.Match[bytes]) -> bytes:
    scalar, byte, character = match.groups()
    if byte:
        return bytes.fromhex(byte.decode())
    if character:
        return _ESCAPED[character]
    value = int(scalar.replace(b"_", b""), 16)
    if value >= 0x110000 or 0xD800 <= value < 0xE000:
        raise ValueError("malformed UTF-8 encoding: no Unicode scalar value")
    return chr(value).encode()


def syntax_error_caret(text: str, error: Malformed) -> str:
    """The line of `text` at which `error` was found, with a caret below; empty if the error names no line."""
    lines = text.split("\n")
    if error.line is None or error.line > len(lines):
        return ""
    width = 100
    line, column = lines[error.line - 1].rstrip("\r"), error.column - 1
    start = max(0, column - width // 2) if len(line) > width else 0
    shown = "".join(c if c.isprintable() else " " for c in line[start : start + width])
    return f"{shown}\n{' ' * (column - start)}^"


def _decode(text: str | bytes) -> str:
    try:
        if isinstance(text, bytes):
            return text.decode()
        text.encode()
    except UnicodeDecodeError as problem:
        before = problem.object[: problem.start].decode()
        raise _error_at(before, len(before), "malformed UTF-8 encoding") from None
    except UnicodeEncodeError as problem:
        raise _error_at(problem.object, problem.start, "malformed UTF-8 encoding") from None
    return text


def _error_at(text: str, offset: int, message: str) -> Malformed:
    line_start = text.rfind("\n", 0, offset) + 1
    return Malformed(message, line=text.count("\n", 0, offset) + 1, column=offset - line_start + 1)


def _lexical_error(text: str, offset: int) -> str:
    if text[offset] != '"':
        return f"illegal character {text[offset]!r}"
    if text.startswith("$", offset - 1):
        return "empty identifier"
    if text.startswith("(@", offset - 2):
        return "empty annotation id"
    body = re.compile(r'(?:[^"\\\x00-\x1f\x7f]++|\\.)*+').match(text, offset + 1)
    end = body.end() if body else offset + 1
    if end >= len(text) or text[end] in "\n\r\\":
        return "unclosed string"
    return "illegal escape" if text[end] == '"' else "illegal control character in string literal"


def _blank_comments(text: str) -> str:
    """The text with block comments replaced by as many spaces, so that places stay what they were."""
    parts, done, scan = [], 0, 0
    while opening := _COMMENT_OR_STRING.search(text, scan):
        scan = opening.end()
        if opening[0] != "(;":
            continue
        depth = 1
        while depth:
            bracket = _COMMENT_BRACKET.search(text, scan)
            if not bracket:
                raise _error_at(text, opening.start(), "unclosed comment")
            depth += 1 if bracket[0] == "(;" else -1
            scan = bracket.end()
        parts += [text[done : opening.start()], _VISIBLE.sub(" ", text[opening.start() : scan])]
        done = scan
    return "".join([*parts, text[done:]])
