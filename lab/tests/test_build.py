"""`wasmlab build`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from wasmlab import cli
from wasmlab_adapters.images import c_engine
from wasmlab_adapters.install import host_architecture
from wasmlab_matrices.load import load_architectures
from wasmlab_ref.fast.build import library


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["build", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {host_architecture(): str(library())}


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "machine"), [("arm64", 183), ("riscv64", 243)])
def test_other_machines(capsys: pytest.CaptureFixture[str], arch: str, machine: int) -> None:
    if not shutil.which(f"{load_architectures()[arch].triple}-gcc"):
        assert "CI" not in os.environ, "no cross compiler"
        pytest.skip("no cross compiler")
    assert cli.run(["build", "--arch", arch]) == 0
    path = Path(capsys.readouterr().out.split()[1])
    assert path == c_engine(arch)
    assert int.from_bytes(path.read_bytes()[18:20], "little") == machine  # e_machine of ELF


def test_what_goes_wrong(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cli.run(["build", "--arch", "mips"]) == 2
    assert "amd64, arm64, riscv64" in capsys.readouterr().err
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert cli.run(["build"]) == 3
    assert "ref/py" in capsys.readouterr().err
