"""The worker for JavaScript hosts: what can be checked of it without an engine."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

import wasmlab_adapters
from wasmlab_adapters.engine import Engine
from wasmlab_adapters.registry import resolve
from wasmlab_ref.encode import encode
from wasmlab_ref.text import parse_module

SOURCE = (Path(wasmlab_adapters.__path__[0]) / "workers" / "javascript.js").read_text()


def test_its_modules_are_what_their_comments_say() -> None:
    found = re.findall(r'((?:// [ (].*\n)+)const (?:LAB|REFERENCES) = "(.*)";', SOURCE)
    assert len(found) == 2
    for comment, module in found:
        text = re.sub(r"^// ?", "", comment[comment.index("// (module") :], flags=re.MULTILINE)
        assert base64.b64decode(module) == encode(parse_module(text))


@pytest.mark.engine
@pytest.mark.parametrize("type_", ["externref", "anyref", "i32"])
def test_an_import_that_is_not_there(type_: str) -> None:
    module = encode(parse_module(f'(module (import "a" "g" (global {type_})))'))
    with Engine(resolve("v8")) as engine, engine.session() as session:
        outcome = session.instantiate("m", module)
    assert outcome.kind == "unlinkable"
