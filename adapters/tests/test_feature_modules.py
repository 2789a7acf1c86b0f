"""The modules that features are asked for with: current, valid, and with every instruction in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import wasmlab_adapters
from wasmlab_adapters.feature_modules import feature_module, lines
from wasmlab_ref.decode import decode
from wasmlab_ref.features import FEATURES
from wasmlab_ref.isa import INSTRUCTIONS
from wasmlab_ref.validate import validate

FILE = Path(wasmlab_adapters.__path__[0]) / "workers" / "features.tsv"


@pytest.mark.parametrize("feature", [name for name in FEATURES if name != "annotations"])
def test_a_module_uses_every_instruction_of_its_feature(feature: str) -> None:
    module = decode(feature_module(feature))
    validate(module)
    used = {step.op for func in module.funcs for step in func.body}
    assert not [row.mnemonic for row in INSTRUCTIONS if row.feature == feature and row not in used]


def test_the_file_of_the_workers_is_current() -> None:
    if os.environ.get("WASMLAB_BLESS"):
        FILE.write_text("".join(lines()))
    assert FILE.read_text() == "".join(lines())
