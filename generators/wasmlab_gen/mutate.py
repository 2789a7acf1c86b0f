"""Binaries with a few bytes wrong: what decoders must refuse, or must not.

Nothing here knows whether the result is a module; every engine must say the same.  It is only instantiated, and never
has a start function, so that nothing of it runs: a changed loop need not end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from wasmlab_ref.case import Case, Instantiate, Register
from wasmlab_ref.decode import decode
from wasmlab_ref.features import WASM_3
from wasmlab_ref.outcome import Rejected
from wasmlab_ref.types import PAGE, MemType

from .breaks import Draws

Sections: TypeAlias = "list[tuple[int, bytes]]"
HEADER = b"\0asm\1\0\0\0"
_CORNERS = (0x00, 0x01, 0x3F, 0x40, 0x60, 0x63, 0x64, 0x6F, 0x70, 0x7B, 0x7F, 0x80, 0x81, 0xFB, 0xFC, 0xFD, 0xFF)
_NAMES = (b"\4name", b"\1x", b"\2\xc3\x28", b"\0", b"\4name\1\3\1\0\0", b"\x7fx", b"")
"""What custom sections begin with: good names and bad ones, and subsections that nobody needs to understand."""


def mutated(source: Draws, case: Case, features: frozenset[str] = WASM_3) -> Case:
    """`case` with the bytes of one module changed in one to three places, and nothing called."""
    modules = list(case.modules)
    victim = source.below(len(modules))
    data = without_start(modules[victim])
    for _ in range(1 + source.below(3)):
        change = MUTATIONS[source.below(len(MUTATIONS))]
        changed = change(source, data)
        data = data if _unwanted(changed, features) else changed
    modules[victim] = data
    steps = tuple(s for s in case.steps if isinstance(s, Instantiate | Register))
    return Case(tuple(modules), steps, f"{case.origin} mutated")


def without_start(data: bytes) -> bytes:
    """A module that does not run when it is instantiated."""
    found = sections(data)
    return data if found is None else joined([part for part in found if part[0] != 8])


def _unwanted(data: bytes, features: frozenset[str]) -> bool:
    """Has it become a module with a start function, or with memories that are shared or have pages of another size?

    Both are proposals, which many engines have switched on.
    """
    try:
        module = decode(data)
        memories = (*module.memories, *(i.type for i in module.imports if isinstance(i.type, MemType)))
        shared, sized = any(m.shared for m in memories), any(m.page != PAGE for m in memories)
        odd = (shared and "threads" not in features) or (sized and "custom-page-sizes" not in features)
        return odd or module.start is not None
    except Rejected as error:
        return error.message in ("malformed limits flags", "invalid custom page size")


# Bytes


def _place(s: Draws, data: bytes) -> int:
    return s.below(len(data)) if data else 0


def _flip(s: Draws, data: bytes) -> bytes:
    at = _place(s, data)
    return data[:at] + bytes([b ^ 1 << s.below(8) for b in data[at : at + 1]]) + data[at + 1 :]


def _put(s: Draws, data: bytes) -> bytes:
    at = _place(s, data)
    return data[:at] + bytes([_CORNERS[s.below(len(_CORNERS))]]) + data[at + 1 :]


def _insert(s: Draws, data: bytes) -> bytes:
    at = _place(s, data)
    return data[:at] + bytes([_CORNERS[s.below(len(_CORNERS))]]) + data[at:]


def _delete(s: Draws, data: bytes) -> bytes:
    at = _place(s, data)
    return data[:at] + data[at + 1 + s.below(2) :]


def _truncate(s: Draws, data: bytes) -> bytes:
    return data[: _place(s, data)]


# Sections


def sections(data: bytes) -> Sections | None:
    """The sections of a binary by number and content, None where it is too broken for that."""
    if data[:8] != HEADER:
        return None
    found: Sections = []
    at = 8
    while at < len(data):
        number, size, shift = data[at], 0, 0
        at += 1
        while at < len(data) and shift < 35:
            byte = data[at]
            size |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        if at + size > len(data):
            return None
        found.append((number, data[at : at + size]))
        at += size
    return found


def leb(n: int, padding: int = 0) -> bytes:
    """An unsigned LEB128 number with so many bytes more than it needs."""
    out = bytearray()
    while True:
        out.append(n & 0x7F | 0x80)
        n >>= 7
        if not n:
            break
    out += b"\x80" * padding
    out[-1] &= 0x7F
    return bytes(out)


def joined(parts: Sections) -> bytes:
    """The binary of sections."""
    return HEADER + b"".join([bytes([number]) + leb(len(content)) + content for number, content in parts])


def _within(change: Callable[[Draws, Sections, int], bytes]) -> Callable[[Draws, bytes], bytes]:
    """A change of one section, or of a bit where there is none."""

    def mutate(s: Draws, data: bytes) -> bytes:
        parts = sections(data)
        return change(s, parts, s.below(len(parts))) if parts else _flip(s, data)

    return mutate


def _content(s: Draws, parts: Sections, at: int) -> bytes:
    """A byte of the content wrong, with the size kept right."""
    number, content = parts[at]
    change = (_flip, _put, _insert, _delete, _truncate)[s.below(5)]
    return joined([*parts[:at], (number, change(s, content)), *parts[at + 1 :]])


def _count(s: Draws, parts: Sections, at: int) -> bytes:
    """The number of items padded, or not that of the items."""
    number, content = parts[at]
    if content[:1] >= b"\x80" or not content:
        return joined(parts)
    count = leb(content[0], s.below(6)) if s.below(2) else leb(max(content[0] - 1 + 2 * s.below(2), 0))
    return joined([*parts[:at], (number, count + content[1:]), *parts[at + 1 :]])


def _size(s: Draws, parts: Sections, at: int) -> bytes:
    """The size padded, up to one byte too many; or not that of the content."""
    number, content = parts[at]
    size = leb(len(content), s.below(6)) if s.below(2) else leb(max(len(content) - 1 + 2 * s.below(2), 0))
    return joined(parts[:at]) + bytes([number]) + size + content + joined(parts[at + 1 :])[8:]


def _order(s: Draws, parts: Sections, at: int) -> bytes:
    """A section twice, gone, elsewhere, or of another number."""
    others = parts[:at] + parts[at + 1 :]
    match s.below(4):
        case 0:
            return joined([*parts[:at], parts[at], *parts[at:]])
        case 1:
            return joined(others)
        case 2:
            to = s.below(len(parts))
            return joined([*others[:to], parts[at], *others[to:]])
    return joined([*parts[:at], (s.below(16), parts[at][1]), *parts[at + 1 :]])


def _custom(s: Draws, parts: Sections, at: int) -> bytes:
    """A custom section somewhere, also after the last one."""
    at += s.below(2)
    return joined([*parts[:at], (0, _NAMES[s.below(len(_NAMES))]), *parts[at:]])


MUTATIONS: list[Callable[[Draws, bytes], bytes]] = [
    _flip, _put, _insert, _delete, _truncate,
    *[_within(_content)] * 6, *[_within(_count)] * 2, *[_within(_size)] * 2, _within(_order), _within(_custom),
]  # fmt: skip
