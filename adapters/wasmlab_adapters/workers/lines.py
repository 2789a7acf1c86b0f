"""The lines of docs/protocol.md on a worker's side, with as few system calls as there can be.

It needs nothing but Python: workers run under any.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator
from typing import Any

CHUNK = 1 << 20

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Lines:
    """Requests from standard input, messages to the descriptor `answers`."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._held = bytearray()

    def hold(self, message: dict[str, Any]) -> None:
        """Say something, but not before the next mark, or before there is nothing more to read."""
        self._held += _encode(message).encode() + b"\n"

    def say(self, message: dict[str, Any]) -> None:
        """Say something at once."""
        self.hold(message)
        self._flush()

    def start(self, number: int) -> None:
        """The mark that a request is started; it must be out before anything can go wrong."""
        self._held += b'{"started":%d}\n' % number
        self._flush()

    def _flush(self) -> None:
        while self._held:
            del self._held[: os.write(self._answers, self._held)]

    def batches(self, descriptor: int = 0, pause: float = 0.0) -> Iterator[list[bytes]]:
        """The lines that come in, without their ends; together those that came without a pause of so many seconds."""
        parts: list[bytes] = []
        lines: list[bytes] = []
        while chunk := os.read(descriptor, CHUNK):
            first, *rest = chunk.split(b"\n")
            parts.append(first)
            if rest:
                lines += [b"".join(parts), *rest[:-1]]
                parts = rest[-1:]
            if lines and not (pause and select.select([descriptor], [], [], pause)[0]):
                yield lines
                self._flush()
                lines = []
        if last := b"".join(parts):
            lines.append(last)
        yield lines
        self._flush()

    def requests(self, descriptor: int = 0) -> Iterator[bytes]:
        """The lines that come in, one by one."""
        for lines in self.batches(descriptor):
            yield from lines
