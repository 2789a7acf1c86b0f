"""The official core suite through the text format, and an independent parser beside ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wasmlab_ref import script, syntax
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Malformed, Rejected
from wasmlab_ref.text import parse_module, print_module

REFUSED = (script.AssertMalformed, script.AssertMalformedCustom, script.AssertInvalidCustom)
TextSource = script.TextModule | script.QuoteModule


def files(core_suite: Path) -> list[Path]:
    return sorted([*core_suite.glob("*.wast"), *core_suite.glob("custom/*.wast")])


def text_modules(path: Path) -> Iterator[tuple[script.Command, TextSource]]:
    """The commands of a script that hold a module in text."""
    for command in script.parse_script(path.read_bytes()):
        holder: Any = command.action if isinstance(command, script.AssertTrap) else command
        source = getattr(holder, "source", None) or getattr(holder, "module", None)
        source = source.source if isinstance(source, script.Module) else source
        if isinstance(source, TextSource):
            yield command, source


def test_every_script_parses_and_every_module_as_the_suite_says(core_suite: Path) -> None:
    counts: Counter[str] = Counter()
    for path in files(core_suite):
        for command, source in text_modules(path):
            place = f"{path.name}:{command.line}"
            if not isinstance(command, REFUSED):
                source.parse()
                counts["parsed"] += 1
                continue
            with pytest.raises(Rejected) as caught:
                pytest.fail(f"{place} is accepted: {source.parse()}")
            assert caught.value.message.startswith(command.text), place
            counts["refused"] += 1
    assert counts["parsed"] > 5_000
    assert counts["refused"] > 1_200


def positive_modules(core_suite: Path) -> Iterator[tuple[str, syntax.Module]]:
    for path in files(core_suite):
        for command, source in text_modules(path):
            if not isinstance(command, REFUSED):
                yield f"{path.name}:{command.line}", source.parse()


def test_every_module_is_printed_and_read_again(core_suite: Path) -> None:
    for place, module in positive_modules(core_suite):
        assert parse_module(print_module(module)) == module, place


@pytest.mark.slow
def test_every_module_is_encoded_and_decoded_again(core_suite: Path) -> None:
    for place, module in positive_modules(core_suite):
        assert decode(encode(module)) == module, place


OTHER_OPINION = {
    "names.wast": "refuses confusing Unicode in names",
    "try_table.wast": "`(catch_all)` as an instruction of the old exceptions",
    "branch_hint.wast": "does not check what a hint is attached to",
    "type-rec.wast": "does not find a function type that stands in a group `(rec …)` of its own",
    "type-subtyping.wast": "lets an implicit type use take a type that is not final",
}
"""Files with modules on which the other parser has an opinion of its own, which is not the standard's."""


@pytest.mark.engine
def test_an_independent_parser_reads_the_same(core_suite: Path) -> None:
    wasmtime = pytest.importorskip("wasmtime", reason="needs the wheel `wasmtime`")

    def theirs(text: str) -> syntax.Module | None:
        try:
            return decode(bytes(wasmtime.wat2wasm(text)))
        except (wasmtime.WasmtimeError, Malformed):
            return None

    def unnamed(module: syntax.Module) -> syntax.Module:
        return replace(module, customs=tuple(c for c in module.customs if c.name != "name"))

    differ: Counter[str] = Counter()
    same = 0
    for path in files(core_suite):
        for _, source in text_modules(path):
            text = source.text if isinstance(source.text, str) else source.text.decode(errors="surrogateescape")
            try:
                ours = unnamed(source.parse())
            except Rejected:
                ours = None
            try:
                other = theirs(text)
            except UnicodeEncodeError:
                other = None
            if ours == (unnamed(other) if other else None):
                same += 1
            else:
                differ[path.name] += 1
    assert same > 6_000
    assert set(differ) <= set(OTHER_OPINION)
    assert differ.total() <= 12
