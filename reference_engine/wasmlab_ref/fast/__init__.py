"""The C engine `ref`: a shared library built on first use, and what Python calls in it.

`module.h` says how a module is represented, `wl.h` what a program that embeds the engine sees.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

from .build import Unavailable, library

STAGES = ("", "malformed", "invalid", "unlinkable", "exhausted", "unsupported", "no memory")
"""wl_stage of module.h by number; "" where nothing is wrong."""

ALL_FEATURES = 0xFFFFFFFF


class WlError(ctypes.Structure):
    """wl_error of module.h."""

    _fields_ = (
        ("stage", ctypes.c_int),
        ("function", ctypes.c_uint32),
        ("offset", ctypes.c_size_t),
        ("message", ctypes.c_char * 160),
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the front end says of a binary.

    `stage` is "" for a valid module, else as in `STAGES`; `offset` is the first offending byte of a malformed one, and
    the instruction or entry at fault otherwise.
    """

    stage: str
    offset: int = 0
    message: str = ""


@cache
def load(events: bool = False) -> ctypes.CDLL:
    """The library, or with `events` the one that tells them; `Unavailable` where it cannot be built or loaded."""
    path = library(events=events)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise Unavailable(
            f"{path} cannot be loaded ({error})", "set WASMLAB_CACHE to a file system without noexec"
        ) from None
    loaded.wl_engine_new.restype = ctypes.c_void_p
    loaded.wl_check.argtypes = (
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.POINTER(WlError),
    )  # fmt: skip
    return loaded


@cache
def engine_handle(events: bool = False) -> int:
    """The engine of this process, which owns the canonical types: one for each library."""
    engine = load(events).wl_engine_new()
    if not engine:
        raise MemoryError
    return int(engine)


def check(data: bytes, features: int = ALL_FEATURES) -> Verdict:
    """Decode and validate a binary; `features` are bits WL_FEATURE_* of opcodes.h."""
    error = WlError()
    stage = load().wl_check(engine_handle(), data, len(data), features, ctypes.byref(error))
    return Verdict(STAGES[stage], error.offset, error.message.decode(errors="replace")) if stage else Verdict("")


__all__ = ["ALL_FEATURES", "STAGES", "Unavailable", "Verdict", "check", "engine_handle", "load"]
