"""The kernels compute what they always did, on both paths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from wasmlab_ref.case import Invoke
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.engine import Store as PyStore
from wasmlab_ref.fast.build import COMPILERS
from wasmlab_ref.fast.engine import Load, Store
from wasmlab_ref.store import FuncInst
from wasmlab_ref.text import parse_module
from wasmlab_ref.validate import validate

KERNELS = Path(__file__).parent / "kernels"
EXPECTED: dict[str, Any] = json.loads((KERNELS / "expected.json").read_text())


def binary(name: str) -> bytes:
    compiled = KERNELS / f"{name}.wasm"
    return compiled.read_bytes() if compiled.exists() else encode(parse_module((KERNELS / f"{name}.wat").read_bytes()))


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="ref/fast needs a C compiler, and there is none")
@pytest.mark.parametrize("size", ["small", "full"])
@pytest.mark.parametrize("name", EXPECTED)
def test_the_c_path(name: str, size: str) -> None:
    row = EXPECTED[name][size]
    with Store() as store:
        outcome = store.run([Load("m", binary(name)), Invoke("m", "run", (f"i32:{row['n']:x}",))])[1]
    assert outcome.values == (f"i64:{row['result_i64'] & (1 << 64) - 1:x}",)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_the_python_path(name: str) -> None:
    row = EXPECTED[name]["small"]
    store = PyStore()
    function = store.instantiate(validate(decode(binary(name)))).exports["run"]
    assert isinstance(function, FuncInst)
    assert store.invoke(function, [row["n"]]) == [row["result_i64"] & (1 << 64) - 1]
