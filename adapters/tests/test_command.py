"""From rows to commands: flags as engines take them, programs out of packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wasmlab_adapters.command import Choice, command, local_layout
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_matrices.load import EngineRow, Package

FLAGS = {"a": "true", "b": "false", "c": "7"}


def run(
    row: EngineRow, package: Path | None = None, flags: dict[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    return command(Choice(row, None, flags or {}, "1.2", "amd64", package), local_layout(package))


@pytest.mark.parametrize(
    ("style", "arguments", "environment"),
    [
        ("setting", ["a=true", "b=false", "c=7"], {}),
        ("option", ["--a=true", "--b=false", "--c=7"], {}),
        ("switch", ["--a", "--no-b", "--c=7"], {}),
        ("$X_", [], {"X_a": "true", "X_b": "false", "X_c": "7"}),
    ],
)
def test_flags(style: str, arguments: list[str], environment: dict[str, str]) -> None:
    argv, env = run(EngineRow("x", file="workers/x.py", flag=style), flags=FLAGS)
    assert argv[:2] == [sys.executable, "-P"]
    assert argv[2].endswith("/wasmlab_adapters/workers/x.py")
    assert (argv[3:], env) == (arguments, environment)


def test_programs(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "x-1.2").touch()
    package = Package("npm", "x", "1.2")
    row = EngineRow(
        "x",
        file="workers/x.js",
        package=package,
        program=("none", "bin/x-{version}"),
        arguments=("{flags}", "--all={flags}", "{file}", "{package}/y", "{version}"),
        flag="switch",
    )
    file = str(Path(local_layout(None).adapters) / "workers/x.js")
    argv, _ = run(row, tmp_path, FLAGS)
    start = str(tmp_path / "bin" / "x-1.2")
    assert argv == [start, "--a", "--no-b", "--c=7", "--all=--a,--no-b,--c=7", file, f"{tmp_path}/y", "1.2"]
    assert run(row, tmp_path)[0] == [start, file, f"{tmp_path}/y", "1.2"]
    (tmp_path / "bin" / "x-1.2").unlink()
    with pytest.raises(EngineUnavailable, match="has no none or bin/x-"):
        run(row, tmp_path)


def test_a_host_is_the_command_of_another_engine() -> None:
    row = EngineRow("x", module="wasmlab_adapters.strays", host="v8", arguments=("{flags}", "--", "{host}", "y"))
    choice = Choice(row, None, FLAGS, "1.2", "amd64", None, ("loader", "node"))
    argv, _ = command(choice, local_layout(None))
    assert argv[4:] == ["a=true", "b=false", "c=7", "--", "loader", "node", "y"]
