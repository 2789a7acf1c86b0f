"""The official core suite's modules through the text format and the binary format, there and back.

That each text parses, or is refused with the message that the suite names, test_spec.py sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wasmlab_ref import script, syntax
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.text import parse_module, print_module

REFUSED = (script.AssertMalformed, script.AssertMalformedCustom, script.AssertInvalidCustom)
TextSource = script.TextModule | script.QuoteModule


def positive_modules(core_suite: Path, largest: int) -> Iterator[tuple[str, syntax.Module]]:
    """The well-formed modules in text, with their places, of files that have at most `largest` bytes."""
    for path in sorted([*core_suite.glob("*.wast"), *core_suite.glob("custom/*.wast")]):
        if path.stat().st_size > largest:
            continue
        for command in script.parse_script(path.read_bytes()):
            holder: Any = command.action if isinstance(command, script.AssertTrap) else command
            source = getattr(holder, "source", None) or getattr(holder, "module", None)
            source = source.source if isinstance(source, script.Module) else source
            if isinstance(source, TextSource) and not isinstance(command, REFUSED):
                yield f"{path.name}:{command.line}", source.parse()


@pytest.mark.parametrize("largest", [30_000, pytest.param(1 << 30, marks=pytest.mark.slow)])
def test_every_module_is_printed_and_encoded_and_read_again(core_suite: Path, largest: int) -> None:
    count = 0
    for place, module in positive_modules(core_suite, largest):
        assert parse_module(print_module(module)) == module, place
        assert decode(encode(module)) == module, place
        count += 1
    assert count > 2_000
