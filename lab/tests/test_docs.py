"""The documents: every command in them runs, every example in Python holds, every link leads somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from wasmlab import cli
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.registry import resolve

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SHORTER = [
    (r"--time \w+", "--examples 12"),
    (r"suite fetch core", "suite fetch core --from {core}"),
    (r"--suite core(?!/)", "--suite {core} --filter i32.wast"),
    (r"--suite core/", "--suite {core}/"),
]
"""The long ones are run shorter, and offline."""


def blocks(language: str) -> list[str]:
    return [
        code
        for document in DOCUMENTS
        for code in re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    ]


def commands() -> list[str]:
    lines = [line.partition("#")[0].strip() for code in blocks("sh") for line in code.splitlines()]
    return [line.removeprefix("./dev ") for line in lines if line]


def test_there_are_two_commands_first() -> None:
    assert [line.split()[0] for line in commands()[:2]] == ["wasmlab", "test"]
    assert all(line.startswith(("wasmlab ", "test")) for line in commands())


@pytest.mark.engine
def test_every_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], core_suite: Path
) -> None:
    try:
        for name in ("wasmtime", "wasmtime/winch"):
            resolve(name)
    except EngineUnavailable as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    for line in commands():
        if line == "test" or "./my-engine" in line:
            continue  # the tests are running; the engine of the reader's own is test_add_an_engine's
        short = line
        for pattern, replacement in SHORTER:
            short = re.sub(pattern, replacement.format(core=shlex.quote(str(core_suite))), short)
        status = cli.run(shlex.split(short)[1:])
        assert status == 0, f"{line}: {capfd.readouterr().err}"


def test_python_examples_hold() -> None:
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            assert target.startswith("http") or (document.parent / target).exists(), f"{document.name}: {target}"
