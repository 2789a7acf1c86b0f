"""The bytes of a memory: zeroed, and resident only where touched once they are many."""

from __future__ import annotations

import mmap
from typing import TypeAlias

Bytes: TypeAlias = bytearray | mmap.mmap

LAZY = 1 << 22
"""Size from which the operating system's lazily zeroed pages cost less than zeroing at once."""


def _mapped(size: int) -> mmap.mmap:
    if hasattr(mmap, "MAP_PRIVATE"):  # a shared mapping would fault on the pages added by resize
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, size)


def zeroed(size: int) -> Bytes:
    """That many zero bytes."""
    return bytearray(size) if size < LAZY else _mapped(size)


def extend(data: Bytes, size: int) -> Bytes:
    """`data` with zeros up to `size`, in place where possible."""
    if isinstance(data, bytearray):
        if size < LAZY:
            data.extend(bytes(size - len(data)))
            return data
    elif hasattr(mmap, "MAP_PRIVATE") and hasattr(mmap.mmap, "resize"):
        try:
            data.resize(size)
            return data
        except SystemError:  # a platform without mremap
            pass
    grown = _mapped(size)
    grown[: len(data)] = data[:]
    return grown
