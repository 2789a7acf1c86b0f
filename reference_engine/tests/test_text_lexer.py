"""Tokens, comments, strings and annotations; places of errors."""

from __future__ import annotations

import pytest

from wasmlab_ref.outcome import Malformed
from wasmlab_ref.text import syntax_error_caret
from wasmlab_ref.text.lexer import Source, string_bytes


def tokens(text: str | bytes) -> list[str]:
    return Source(text).tokens[:-2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\r\n", []),
        ("(a;;x)\nb)", ["(", "a", "b", ")"]),
        ("a(;x;)b", ["a", "b"]),
        ('(;"(;";)"(;x;)";)', []),
        ("(;(;;);)a(;;)", ["a"]),
        ('"(;" a ";)"', ['"(;"', "a", '";)"']),
        (';; "\n"a"', ['"a"']),
        ('0$x"a""b"', ['0$x"a""b"']),
        ('$"a b"(', ['$"a b"', "("]),
        ('(@a (b) "c)" ;;)\n (@d)) e', ["e"]),
        ("((@a)module)", ["(", "module", ")"]),
        ("a;b,{c}[d]", ["a;b,{c}[d]"]),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("ab\n  \x01", "illegal character", 2, 3),
        ("é", "illegal character", 1, 1),
        ('a\n"b\n"', "unclosed string", 2, 1),
        ('"b', "unclosed string", 1, 1),
        ('"b\\', "unclosed string", 1, 1),
        (r'"\q"', "illegal escape", 1, 1),
        (r'"\u{}"', "illegal escape", 1, 1),
        ('"\x07"', "illegal control character", 1, 1),
        ("\n\n (; (; ;)", "unclosed comment", 3, 2),
        ("a (@x (", "unclosed annotation", 1, 3),
        ("(@)", "empty annotation id", 1, 1),
        ('(@"")', "empty annotation id", 1, 1),
        (r'(@"\ff")', "malformed UTF-8 encoding", 1, 1),
        ("(@a \x7f)", "illegal character", 1, 5),
        (b"ok\n \xff", "malformed UTF-8 encoding", 2, 2),
        ("\ud800", "malformed UTF-8 encoding", 1, 1),
    ],
)
def test_errors_have_a_place(text: str | bytes, message: str, line: int, column: int) -> None:
    with pytest.raises(Malformed, match=message) as caught:
        Source(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (r'"\t\n\r\"\'\\\00\fF"', b"\t\n\r\"'\\\x00\xff"),
        (r'"\u{1F6_00}é"', "\U0001f600é".encode()),
        (r'"\5cn"', b"\\n"),
    ],
)
def test_strings(token: str, value: bytes) -> None:
    assert string_bytes(token) == value


@pytest.mark.parametrize("token", [r'"\u{d800}"', r'"\u{110000}"', r'"\u{' + "f" * 10_000 + '}"'])
def test_no_scalar_value(token: str) -> None:
    with pytest.raises(ValueError, match="malformed UTF-8"):
        string_bytes(token)


def test_lines_and_text_between() -> None:
    source = Source("a (;\n;)\n\n(@x) b\nc")
    assert [source.line(i) for i in range(3)] == [1, 4, 5]
    assert source.between(1, 2) == "b\n"


def test_caret_points_at_the_column() -> None:
    text = "(module\n\t(func nop\n  bad))\n"
    error = Malformed("unknown operator bad", line=3, column=3)
    assert syntax_error_caret(text, error) == "  bad))\n  ^"
    assert syntax_error_caret(text, Malformed("x", line=2, column=2)).splitlines() == [" (func nop", " ^"]
    assert syntax_error_caret(text, Malformed("no place")) == ""


def test_caret_cuts_long_lines_and_hides_control_characters() -> None:
    text = "x" * 5000 + "\x1b!" + "y" * 5000
    shown, caret = syntax_error_caret(text, Malformed("x", line=1, column=5002)).splitlines()
    assert len(shown) <= 100
    assert shown[len(caret) - 1] == "!"
    assert "\x1b" not in shown
