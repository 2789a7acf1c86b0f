"""A parser of the text format that is not ours, the one in Wasmtime's wheel, reads the official suite beside ours."""

from __future__ import annotations

import importlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.install import install
from wasmlab_matrices.load import load_engines
from wasmlab_ref import script
from wasmlab_ref.decode import decode
from wasmlab_ref.outcome import Rejected
from wasmlab_ref.syntax import Cast, Func, Instr, Module
from wasmlab_ref.types import DefType, FuncRef, RefType, TagType, close_group

pytestmark = pytest.mark.engine

OPINIONS: dict[str, tuple[int, str]] = {
    "branch_hint.wast": (1, "a branch hint belongs to `if` or `br_if` (code metadata); they take it anywhere"),
    "names.wast": (1, "a name is any string of Unicode scalar values (section 6.3); they refuse confusing ones"),
    "type-subtyping.wast": (2, "a type use without index takes a type `(func …)`, which is final (6.6); they any"),
}
"""Where the two differ: how many modules of the file, and the rule of the standard that decides for ours."""


def missing(message: str) -> NoReturn:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(message)


@pytest.fixture
def wat2wasm(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], bytes]:
    package = load_engines()["wasmtime"].package
    assert package is not None
    try:
        monkeypatch.syspath_prepend(str(install(package)))
    except EngineUnavailable as error:
        missing(str(error))
    wasmtime = importlib.import_module("wasmtime")

    def convert(text: str) -> bytes:
        try:
            return bytes(wasmtime.wat2wasm(text))
        except wasmtime.WasmtimeError as error:
            raise Rejected(str(error)) from None

    return convert


@pytest.fixture
def suite() -> Path:
    beside = Path(__file__).resolve().parents[3] / "shared" / "suites"
    for folder in (os.environ.get("WASMLAB_SUITES"), beside):
        if folder and (Path(folder) / "core").is_dir():
            return Path(folder) / "core"
    missing("the official suite is missing: `wasmlab suite fetch core`, or set WASMLAB_SUITES")


def text_modules(path: Path) -> Iterator[tuple[int, script.TextModule | script.QuoteModule]]:
    """The modules in text of a script, with their lines."""
    for command in script.parse_script(path.read_bytes()):
        holder: Any = command.action if isinstance(command, script.AssertTrap) else command
        source = getattr(holder, "source", None) or getattr(holder, "module", None)
        source = source.source if isinstance(source, script.Module) else source
        if isinstance(source, script.TextModule | script.QuoteModule):
            yield command.line, source


def meaning(module: Module) -> Module:
    """The module without its names, and with the types that its indices roll up to: what a runtime could tell."""
    module = replace(module, customs=tuple(custom for custom in module.customs if custom.name != "name"))
    types: list[DefType] = []
    for rec in module.types:
        try:
            types += close_group(rec, types)
        except IndexError:  # invalid: only the syntax is left to compare
            return module
    return _closed(replace(module, types=()), types)  # type: ignore[no-any-return]


def _index(index: Any, types: list[DefType]) -> Any:
    return types[index] if isinstance(index, int) and index < len(types) else _closed(index, types)


def _closed(part: Any, types: list[DefType]) -> Any:
    """A part of a module with its type indices replaced."""
    match part:
        case Instr():
            kinds = zip(part.op.immediates, part.args, strict=True)
            return Instr(
                part.op,
                tuple(_index(a, types) if k in ("type", "block", "heap") else _closed(a, types) for k, a in kinds),
            )
        case RefType(nullable, heap):
            return RefType(nullable, _index(heap, types))
        case FuncRef() | TagType():
            return replace(part, type=_index(part.type, types))
        case Cast(label, source, target):
            return Cast(label, _closed(source, types), _closed(target, types))
        case Func(type_, locals_, body):
            return Func(_index(type_, types), _closed(locals_, types), _closed(body, types))
        case tuple() if type(part) is tuple:
            return tuple(_closed(item, types) for item in part)
    if is_dataclass(part) and not isinstance(part, type | DefType):
        return replace(part, **{f.name: _closed(getattr(part, f.name), types) for f in fields(part)})
    return part


def test_another_parser_reads_the_same(suite: Path, wat2wasm: Callable[[str], bytes]) -> None:
    differ: dict[str, list[int]] = defaultdict(list)
    same = 0
    for path in sorted([*suite.glob("*.wast"), *suite.glob("custom/*.wast")]):
        for line, source in text_modules(path):
            text = source.text if isinstance(source.text, str) else source.text.decode(errors="surrogateescape")
            try:
                ours = meaning(source.parse())
            except Rejected:
                ours = None
            try:
                theirs = meaning(decode(wat2wasm(text)))
            except (Rejected, UnicodeEncodeError):
                theirs = None
            if ours == theirs:
                same += 1
            else:
                differ[path.name].append(line)
    assert same > 6_000
    assert {name: len(lines) for name, lines in differ.items()} == {name: n for name, (n, _) in OPINIONS.items()}, (
        differ
    )
