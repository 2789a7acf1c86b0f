"""docs/add-an-engine.md, followed: its worker is taken out of it, made a program, probed, and put into a campaign."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.probe import probe
from wasmlab_adapters.registry import resolve

pytestmark = pytest.mark.engine
PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-an-engine.md"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (source,) = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert source.count("\n") < 100
    try:
        node = resolve("v8").argv[0]
    except EngineUnavailable as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    path = tmp_path_factory.mktemp("mine") / "my-engine"
    assert source.startswith("#!/usr/bin/env node\n")
    path.write_text(source.replace("/usr/bin/env node", node, 1))
    path.chmod(0o755)
    return path


def test_it_keeps_the_protocol(program: Path) -> None:
    with resolve(str(program)).worker() as worker:
        checks = probe(worker)
    assert [check for check in checks if not check.passed] == []
    assert len(checks) > 15


def test_it_agrees_in_a_campaign(program: Path, tmp_path: Path) -> None:
    arguments = ["--engines", f"ref,{program}", "--examples", "100", "--seed", "3", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", "from wasmlab.cli import main; main()", "fuzz", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cases"] == 100
    assert found["divergences"] == []
