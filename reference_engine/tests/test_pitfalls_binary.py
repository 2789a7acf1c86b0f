"""What implementers forget about the binary format; offsets are of the first offending byte in decode order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from wasmlab_ref import syntax
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Invalid
from wasmlab_ref.syntax import MemArg
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import Limits
from wasmlab_ref.validate import validate

HEADER = b"\0asm\1\0\0\0"


def section(number: int, *content: bytes | int) -> bytes:
    body = b"".join(bytes([c]) if isinstance(c, int) else c for c in content)
    assert len(body) < 128
    return bytes([number, len(body)]) + body


def module(*sections: bytes) -> bytes:
    return HEADER + b"".join(sections)


TYPE = section(1, 1, b"\x60\0\0")
FUNC = section(3, 1, 0)
MEMORY = section(5, 1, 0, 1)


def code(*body: int) -> bytes:
    return section(10, 1, len(body) + 2, 0, bytes(body), 0x0B)


def function(*body: int) -> bytes:
    """A module with a memory and a function of these bytes."""
    return module(TYPE, FUNC, MEMORY, code(*body))


AT = len(module(TYPE, FUNC, MEMORY)) + 5
"""Where the body of `function` begins."""


@pytest.mark.parametrize(
    ("flags", "address", "bounded"), [(0, "i32", False), (1, "i32", True), (4, "i64", False), (5, "i64", True)]
)
def test_limits_flags(flags: int, address: str, bounded: bool) -> None:
    memory, *_ = decode(module(section(5, 1, flags, 1, 2) if bounded else section(5, 1, flags, 1))).memories
    assert memory.address == address
    assert memory.limits == Limits(1, 2 if bounded else None)


@pytest.mark.parametrize("flags", [0x10, 0x18, 0x80])
def test_unknown_bits_of_limits_are_malformed(malformed: Any, flags: int) -> None:
    assert malformed(module(section(5, 1, flags, 1, 2))) == ("malformed limits flags", 11)


@pytest.mark.parametrize("flags", [2, 3, 6, 7, 8, 0x10, 0x80])
def test_tables_have_no_shared_bit(malformed: Any, flags: int) -> None:
    assert malformed(module(section(4, 1, 0x70, flags, 1, 2))) == ("malformed limits flags", 12)


def test_limits_are_64_bit_numbers_whatever_the_address_type() -> None:
    data = module(section(5, 1, 0, b"\xff" * 9 + b"\x01"))
    assert decode(data).memories[0].limits.min == (1 << 64) - 1
    with pytest.raises(Invalid, match="memory size"):
        validate(decode(data))


def test_memarg_bit_6_is_a_memory_index(malformed: Any) -> None:
    load = decode(function(0x41, 0, 0x28, 0x42, 0, 3, 0x1A)).funcs[0].body[1]
    assert load.args == (MemArg(0, 2, 3),)
    second = module(TYPE, FUNC, section(5, 2, 0, 1, 0, 1), code(0x41, 0, 0x28, 0x42, 1, 0, 0x1A))
    assert decode(second).funcs[0].body[1].args == (MemArg(1, 2, 0),)
    validate(decode(second))
    assert malformed(function(0x41, 0, 0x28, 0x80, 0x01, 0, 0x1A)) == ("malformed memop flags", AT + 3)
    with pytest.raises(Invalid, match="unknown memory 1"):
        validate(decode(function(0x41, 0, 0x28, 0x42, 1, 0, 0x1A)))


def test_an_alignment_that_is_no_power_in_a_word_is_invalid() -> None:
    with pytest.raises(Invalid, match="alignment"):
        validate(decode(function(0x41, 0, 0x28, 0x3F, 0, 0x1A)))


ORDER = {
    1: b"\1\x60\0\0", 2: b"\0", 3: b"\0", 4: b"\1\x70\0\0", 5: b"\1\0\1", 13: b"\1\0\0", 6: b"\0", 7: b"\0",
    8: b"\0", 9: b"\0", 12: b"\0", 10: b"\0", 11: b"\0",
}  # fmt: skip


def test_every_section_in_order() -> None:
    decode(module(*(section(n, body) for n, body in ORDER.items())))


@pytest.mark.parametrize("pair", list(pairwise(ORDER)), ids=str)
def test_sections_out_of_order_or_twice(malformed: Any, pair: tuple[int, int]) -> None:
    """The tag section comes between memories and globals, the data count between elements and code."""
    first, second = (section(n, ORDER[n]) for n in pair)
    assert malformed(module(second, first)) == ("unexpected content after last section", 8 + len(second))
    assert malformed(module(first, first)) == ("unexpected content after last section", 8 + len(first))


def test_unknown_section(malformed: Any) -> None:
    assert malformed(module(section(14))) == ("malformed section id", 8)


def test_a_table_with_an_initialiser(malformed: Any) -> None:
    (table,) = decode(module(section(4, 1, 0x40, 0, 0x70, 0, 1, 0xD0, 0x70, 0x0B))).tables
    assert table.init == parse_module("(table 1 funcref (ref.null func))").tables[0].init
    assert malformed(module(section(4, 1, 0x40, 1, 0x70, 0, 1, 0xD0, 0x70, 0x0B)))[1] == 12


@pytest.mark.parametrize(
    ("number", "message", "offset"),
    [
        (b"\x80\x80\x80\x80\x00", None, 0),  # five bytes may say zero
        (b"\x80\x80\x80\x80\x80\x00", "integer representation too long", 5),
        (b"\x80\x80\x80\x80\x10", "integer too large", 4),
        (b"\xff\xff\xff\xff\x7f", "integer too large", 4),
        (b"\x80", "unexpected end of section or function", 1),
    ],
)
def test_unsigned_integers_too_long_or_too_large(
    malformed: Any, number: bytes, message: str | None, offset: int
) -> None:
    data = module(section(8, number))
    if message is None:
        assert decode(data).start == 0
    else:
        assert malformed(data) == (message, 10 + offset)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (b"\xff\xff\xff\xff\x7f", 0xFFFF_FFFF),
        (b"\x80\x80\x80\x80\x78", 0x8000_0000),
        (b"\xff\xff\xff\xff\x07", 0x7FFF_FFFF),
        (b"\x80\x80\x80\x80\x00", 0),
        (b"\xff\xff\xff\xff\x0f", "integer too large"),
        (b"\x80\x80\x80\x80\x70", "integer too large"),
        (b"\xff\xff\xff\xff\xff\x7f", "integer representation too long"),
    ],
)
def test_signed_integers_extend_their_sign_in_the_unused_bits(malformed: Any, number: bytes, value: Any) -> None:
    data = function(0x41, *number, 0x1A)
    if isinstance(value, int):
        assert decode(data).funcs[0].body[0].args == (value,)
    else:
        assert malformed(data)[0] == value


def test_type_indices_are_positive_33_bit_numbers(malformed: Any) -> None:
    assert decode(function(0x02, 0x80, 0x00, 0x0B)).funcs[0].body[0].args == (0,)
    assert decode(function(0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x0B)).funcs[0].body[0].args == (0xFFFF_FFFF,)
    assert malformed(function(0x02, 0x80, 0x7F, 0x0B))[0] == "malformed block type"
    assert malformed(function(0xD0, 0x80, 0x7F, 0x1A))[0] == "malformed heap type"


INIT = (0x41, 0, 0x41, 0, 0x41, 0, 0xFC, 8, 0, 0)  # memory.init 0
DATA = section(11, 1, 1, 0)


def test_a_missing_data_count_is_malformed_where_code_names_a_segment(malformed: Any) -> None:
    parts = (TYPE, FUNC, MEMORY)
    assert malformed(module(*parts, code(*INIT), DATA))[0] == "data count section required"
    assert malformed(module(*parts, code(0xFC, 9, 0), DATA))[0] == "data count section required"
    validate(decode(module(*parts, section(12, 1), code(*INIT), DATA)))
    validate(decode(module(*parts, code(), DATA)))


def test_a_data_count_that_is_wrong_is_malformed(malformed: Any) -> None:
    message = "data count and data section have inconsistent lengths"
    assert malformed(module(section(12, 2), DATA))[0] == message
    assert malformed(module(section(12, 1)))[0] == message
    assert malformed(module(section(12, 0), DATA))[0] == message


def test_function_and_code_counts_must_agree(malformed: Any) -> None:
    message = "function and code section have inconsistent lengths"
    assert malformed(module(TYPE, FUNC))[0] == message
    assert malformed(module(TYPE, code()))[0] == message
    assert malformed(module(TYPE, section(3, 2, 0, 0), code()))[0] == message
    decode(module(TYPE, section(3, 0)))
    decode(module(TYPE, section(10, 0)))


@pytest.mark.parametrize(
    ("name", "at"),
    [
        (b"\xff", 0), (b"a\x80", 1), (b"\xc0\x80", 0), (b"\xed\xa0\x80", 0), (b"\xf4\x90\x80\x80", 0),
        (b"ab\xe2\x82", 2), (b"\xf8\x88\x80\x80\x80", 0),
    ],
)  # fmt: skip
def test_names_are_utf8(malformed: Any, name: bytes, at: int) -> None:
    size = len(name)
    message = "malformed UTF-8 encoding"
    assert malformed(module(section(0, size, name))) == (message, 11 + at)
    assert malformed(module(section(2, 1, size, name, 0, 0, 0))) == (message, 12 + at)
    assert malformed(module(section(2, 1, 0, size, name, 0, 0))) == (message, 13 + at)
    assert malformed(module(section(7, 1, size, name, 0, 0))) == (message, 12 + at)


def test_names_may_hold_any_character() -> None:
    name = "\0\ufeff\uffff\U0010ffff\u202e"
    text = syntax.Module(exports=(syntax.Export(name, "func", 0),))
    assert decode(encode(text)).exports[0].name == name


def test_custom_sections_stand_anywhere() -> None:
    custom = section(0, 1, b"c", b"\xff\0")
    sections = [section(n, body) for n, body in ORDER.items()]
    data = module(custom, *(part for s in sections for part in (s, custom, custom)))
    plain = decode(module(*sections))
    found = decode(data)
    assert len(found.customs) == 1 + 2 * len(sections)
    assert {c.data for c in found.customs} == {b"\xff\0"}
    assert syntax.Module(**{**{f: getattr(found, f) for f in found.__dataclass_fields__}, "customs": ()}) == plain


def test_a_custom_section_needs_a_name_and_nothing_else(malformed: Any) -> None:
    assert decode(module(section(0, 0))).customs[0].name == ""
    assert malformed(module(section(0)))[1] == 10
    assert malformed(module(section(0, 2, b"a"))) == ("length out of bounds", 10)


def test_sections_are_as_long_as_they_say(malformed: Any) -> None:
    assert malformed(HEADER + b"\1\5\1\x60\0\0\0") == ("section size mismatch", 14)
    assert malformed(HEADER + b"\1\3\1\x60\0\0")[1] == 13
    assert malformed(HEADER + b"\1\6\1\x60\0\0") == ("length out of bounds", 10)
    assert malformed(module(TYPE, FUNC, section(10, 1, 3, 0, 0x0B, 0x0B)))[0] == "END opcode expected"
    assert malformed(module(TYPE, FUNC, section(10, 1, 1, 0, 0x0B)))[0].startswith("unexpected end")


def test_decoding_comes_before_validation(malformed: Any) -> None:
    """Body 1 is invalid (it leaves an operand), body 2 is malformed (an illegal opcode): the module is malformed."""
    bodies = section(10, 2, 4, 0, 0x41, 0, 0x0B, 3, 0, 0x27, 0x0B)
    data = module(TYPE, section(3, 2, 0, 0), bodies)
    assert malformed(data) == ("illegal opcode 27", len(data) - 2)
    with pytest.raises(Invalid):
        validate(decode(data[:-2] + b"\x01\x0b"))


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"", 0),
        (b"\0asn\1\0\0\0", 0),
        (b"\0asm\2\0\0\0", 4),
        (module(section(1, 1, 0x61)), 11),
        (module(section(1, 1, 0x60, 1, 0x40)), 13),
        (module(section(6, 1, 0x7F, 2, 0x41, 0, 0x0B)), 12),
        (module(section(7, 1, 0, 5, 0)), 12),
        (module(section(13, 1, 1, 0)), 11),
        (module(section(9, 1, 8)), 11),
        (module(section(9, 1, 1, 1, 0)), 12),
        (module(section(11, 1, 3)), 11),
        (function(0xFC, 0x7F), AT),
        (function(0x1F, 0x40, 1, 4, 0, 0x0B), AT + 3),
        (function(0xFB, 24, 4, 0, 0x6E, 0x6D), AT + 2),
    ],
)
def test_offsets(malformed: Any, data: bytes, offset: int) -> None:
    assert malformed(data)[1] == offset


@pytest.mark.parametrize("opcode", [0x06, 0x07, 0x09, 0x16, 0x18, 0x19, 0x27, 0xC5, 0xFA, 0xFF])
def test_opcodes_of_other_proposals_are_illegal(malformed: Any, opcode: int) -> None:
    message, offset = malformed(function(opcode, 0, 0))
    assert message.startswith("illegal opcode")
    assert offset == AT


def test_the_magic_alone_is_no_module(malformed: Any) -> None:
    assert malformed(b"\0asm")[0] == "unexpected end"
    assert decode(HEADER) == syntax.Module()
