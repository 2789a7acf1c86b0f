"""`wl.h` alone is enough to embed the engine: the example of the documents is built and run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from wasmlab_ref.encode import encode
from wasmlab_ref.fast import build
from wasmlab_ref.text import parse_module

EXAMPLE = Path(__file__).parents[2] / "docs" / "embed.c"
HEAD = '(module (import "env" "report" (func $report (param i32) (result i32))) (memory (export "memory") 2)'
COUNT = (
    HEAD
    + """ (func (export "run") (param i32) (result i64)
    (i32.store8 (i32.const 1) (call $report (local.get 0)))
    (i64.extend_i32_u (i32.add (local.get 0) (call $report (i32.const 7))))))"""
)


@pytest.fixture(scope="module")
def embed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = next(filter(None, map(shutil.which, build.COMPILERS)), None)
    if compiler is None:
        pytest.skip("the C engine needs a compiler, and there is none")
    program, library = tmp_path_factory.mktemp("embed") / "embed", build.library()
    warnings = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(
        [compiler, *warnings, f"-I{build.FOLDER}", EXAMPLE, library, f"-Wl,-rpath,{library.parent}", "-o", program],
        check=True,
    )
    return program


@pytest.mark.parametrize(
    ("text", "argument", "said"),
    [
        (COUNT, "40", "report 40\nreport 7\nreturned 42\nmemory of 131072 bytes: 00 01 00 00\n"),
        (HEAD + '(func (export "run") (param i32) (result i64) unreachable))', "1", "ended by: unreachable\n"),
        (HEAD + '(func (export "run") (param i32) (result i64) (loop (br 0)) (i64.const 0)))', "1", "ended by: fuel\n"),
        (
            HEAD + '(func (export "run") (param i32) (result i64) (loop (drop (call $report (i32.const 0))) (br 0))'
            " (i64.const 0)))", "1", "ended by: host\n",
        ),
        ('(module (import "env" "other" (func)))', "1", "unlinkable: unknown import: 'env' 'other'\n"),
        (HEAD + "(func $s unreachable) (start $s))", "1", "instantiation ended by: unreachable\n"),
        (HEAD + ")", "1", "there is no run: (i32) -> (...)\n"),
    ],
)  # fmt: skip
def test_the_example(embed: Path, tmp_path: Path, text: str, argument: str, said: str) -> None:
    module = tmp_path / "module.wasm"
    module.write_bytes(encode(parse_module(text)))
    done = subprocess.run([embed, module, argument], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_what_is_no_module(embed: Path, tmp_path: Path) -> None:
    module = tmp_path / "module.wasm"
    module.write_bytes(b"\0asm\1\0\0\0\1")
    assert "refused at byte 9" in subprocess.run([embed, module, "1"], capture_output=True, text=True).stdout
