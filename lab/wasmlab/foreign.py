"""Text that came from a module or an engine, made safe for terminals, files and databases."""

from __future__ import annotations


def plain(text: str, limit: int = 500) -> str:
    """`text` with everything unprintable escaped (control characters, lone surrogates, bidirectional marks), cut."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\u{{{code:x}}}" if code > 0xFF else f"\\x{code:02x}"
