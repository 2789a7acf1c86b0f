"""The lines between lab and worker: docs/protocol.md.  What comes from a worker is taken for hostile."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import orjson

from .process import printable

Answer: TypeAlias = dict[str, Any]

MAX_LINE = 64 << 20
"""Bytes of a line, as the protocol says."""

MAX_PARTS = 1_000_000
"""Values in an answer: Python's objects for them may take thirty times the line's bytes."""

_MARK = b'{"started":'


def encode(message: Answer) -> bytes:
    """A line, with its end."""
    try:
        return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, which some command line may hold
        return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def failure(kind: str, cause: str, detail: str) -> Answer:
    """What the runner answers in a worker's place."""
    return {"failure": {"kind": kind, "cause": cause, "detail": detail}}


def parse_line(line: bytes) -> Answer | str:
    """The object on a line, or what is wrong with it."""
    if line.startswith(_MARK) and line[-1:] == b"}" and (number := line[len(_MARK) : -1]).isdigit():
        return {"started": int(number[:20])}
    if len(line) > MAX_PARTS and sum(line.count(c) for c in b"[{,:") > MAX_PARTS:
        return "more than a million parts"
    try:
        message = orjson.loads(line)  # which takes no lone surrogates, which would break whoever writes them down
    except (ValueError, MemoryError) as error:
        return f"not JSON ({type(error).__name__})"
    return message if isinstance(message, dict) else "not a JSON object"


def check_hello(message: Answer) -> str:
    """What is wrong with a hello, or ""."""
    if message.get("protocol") != 1:
        return f"protocol {printable(repr(message.get('protocol')))[:40]}, this lab speaks 1"
    if message.get("values") not in ("bridge", "native"):
        return '`values` is neither "bridge" nor "native"'
    if not all(isinstance(message.get(key), str) for key in ("engine", "version")):
        return "`engine` and `version` must be texts"
    features = message.get("features")
    if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
        return "`features` must be a list of names"
    return ""
