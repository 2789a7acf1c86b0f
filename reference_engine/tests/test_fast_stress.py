"""The C front end under sanitizers: memory that runs out, threads, and the readers that check nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wasmlab_ref import script
from wasmlab_ref.encode import encode
from wasmlab_ref.fast.build import FOLDER
from wasmlab_ref.outcome import Malformed

DRIVER = Path(__file__).parent / "data" / "front_stress.c"
FRONT = ("types", "reader", "decode", "module", "skim", "validate", "validate_locals", "validate_control")
SOURCES = [DRIVER, *(FOLDER / f"{name}.c" for name in (*FRONT, "validate_aggregate"))]
WRAPPED = "-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc"


def binaries(path: Path) -> list[bytes]:
    """The modules of a script."""
    found = []
    for command in script.parse_script(path.read_bytes()):
        if isinstance(command, script.Module | script.AssertInvalid | script.AssertMalformed):
            source = command.source if isinstance(command, script.Module) else command.module
            try:
                found.append(source.data if isinstance(source, script.BinaryModule) else encode(source.parse()))
            except Malformed:
                continue
    return found


@pytest.fixture(scope="module")
def corpus(core_suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("corpus") / "modules"
    modules = [data for path in sorted(core_suite.glob("*.wast")) for data in binaries(path) if len(data) < 5_000]
    file.write_bytes(b"".join(len(data).to_bytes(4, "little") + data for data in modules))
    return file


def stress(sanitizers: str, mode: str, corpus: Path, folder: Path) -> None:
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.skip("no C compiler")
    options = ["-std=c11", "-O1", "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-pthread", WRAPPED]
    built = subprocess.run(
        [*compiler.split(), *options, f"-I{FOLDER}", *map(str, SOURCES), "-o", str(folder / "stress")],
        capture_output=True,
        text=True,
    )
    if built.returncode and "cannot find" in built.stderr and not os.environ.get("CI"):
        pytest.skip(f"the compiler has no -fsanitize={sanitizers}")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(folder / "stress"), mode, str(corpus)], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-4_000:]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["memory", "threads", "walk"])
def test_address_and_undefined_behaviour(mode: str, corpus: Path, tmp_path: Path) -> None:
    stress("address,undefined", mode, corpus, tmp_path)


@pytest.mark.slow
def test_threads(corpus: Path, tmp_path: Path) -> None:
    stress("thread", "threads", corpus, tmp_path)
