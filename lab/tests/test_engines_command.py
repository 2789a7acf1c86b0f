"""`wasmlab engines` and `wasmlab doctor`: tables, JSON, exit statuses."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from wasmlab.commands.doctor import doctor
from wasmlab.commands.engines import engines
from wasmlab.errors import Missing, UsageError
from wasmlab_adapters import doctor as checks
from wasmlab_adapters import probe as prober
from wasmlab_adapters import registry, releases
from wasmlab_adapters.probe import Check
from wasmlab_matrices.load import Package, load_engines


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))


def test_list() -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(engines, ["list"])
    assert result.exit_code == 0
    assert "wasmtime/winch" in result.output
    assert "installed on first use" in " ".join(result.output.split())
    rows = json.loads(CliRunner().invoke(engines, ["list", "--json"]).output)
    found = {row["engine"]: row for row in rows}
    assert {"ref", "ref/py", "wasmtime", "wasmtime/pulley"} <= found.keys()
    assert found["wasmtime"]["hint"] == "wasmlab engines install wasmtime@50.0.1"


@pytest.mark.parametrize(("width", "said"), [(60, "status"), (80, "lacks of"), (150, "what it is")])
def test_a_list_says_what_there_is_room_for(width: int, said: str) -> None:
    output = CliRunner(env={"COLUMNS": str(width)}).invoke(engines, ["list"]).output
    titles = " ".join(output.split()[:12])
    assert said in titles
    assert ("lacks" in titles, "what it is" in titles) == (width >= 80, width >= 150)
    assert max(map(len, output.splitlines())) <= width


def test_what_a_probe_found_is_kept_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    checks_ = [Check("traps", True), Check("feature simd", False, "other bits")]
    monkeypatch.setattr(prober, "probe", lambda _: checks_)
    assert CliRunner().invoke(engines, ["probe", "ref/py"]).exit_code == 1
    rows = {row["engine"]: row for row in json.loads(CliRunner().invoke(engines, ["list", "--json"]).output)}
    assert rows["ref/py"]["probed"] == {"rules": 2, "broken": {"feature simd": "other bits"}, "known": []}
    assert rows["ref/py"]["lacks"] == ["simd"]
    assert rows["wasmtime"]["probed"] is None
    line = next(line for line in CliRunner().invoke(engines, ["list"]).output.splitlines() if " ref/py " in f" {line}")
    assert "1 broken" in line
    assert "simd" in line


def test_a_rule_that_the_row_says_is_broken_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    fails = {"traps": "all traps are one"}
    row = replace(load_engines()["ref"], fails=fails)
    monkeypatch.setattr(registry, "row_of", lambda _: row)
    monkeypatch.setattr(prober, "probe", lambda _: [Check("hello", True), Check("traps", False, "boo")])
    result = CliRunner(env={"COLUMNS": "120"}).invoke(engines, ["probe", "ref/py"])
    assert result.exit_code == 0
    assert "known" in result.output
    assert "boo; the row says: all traps are one" in result.output
    monkeypatch.setattr(prober, "probe", lambda _: [Check("hello", True), Check("traps", True)])
    result = CliRunner(env={"COLUMNS": "120"}).invoke(engines, ["probe", "ref/py"])
    assert result.exit_code == 1
    assert "stale" in result.output


def test_why_an_engine_cannot_be_installed_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    rows = {row["engine"]: row for row in json.loads(CliRunner().invoke(engines, ["list", "--json"]).output)}
    assert rows["wazero"]["status"] == "not installed, which needs go"
    assert not rows["wazero"]["installable"]
    assert rows["wasmtime"]["installable"]


def test_install_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def install(package: Package, version: str, arch: str) -> Path:
        return Path("/nowhere")

    monkeypatch.setattr(registry, "install", install)
    monkeypatch.setattr(releases.REGISTRIES["pypi"], "releases", lambda _: ["11.0.0", "12.0.0", "12.0.1", "13.0.0"])
    result = CliRunner().invoke(engines, ["install", "wasmtime@12"])
    assert result.stdout == "wasmtime@12: wasmtime@12.0.1 is ready\n"
    assert result.stderr == "wasmtime 12.0.1 is not installed: it is fetched now\n"


def test_install_of_what_is_not_there() -> None:
    result = CliRunner().invoke(engines, ["install", "wasmtme"])
    assert isinstance(result.exception, UsageError)
    assert "did you mean wasmtime" in str(result.exception)
    result = CliRunner().invoke(engines, ["install", "./no-package", "wasmtime:riscv64"])
    assert isinstance(result.exception, Missing)
    assert result.exception.status == 3


def test_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = f"cmd:{sys.executable} -S {Path(__file__).parents[2] / 'adapters' / 'tests' / 'fake_worker.py'}"
    monkeypatch.setattr(prober, "probe", lambda worker: [Check("hello", worker.hello["engine"] == "fake")])
    result = CliRunner().invoke(engines, ["probe", fake])
    assert result.exit_code == 0
    assert "kept" in result.output
    monkeypatch.setattr(prober, "probe", lambda _: [Check("hello", True), Check("traps", False, "\x1b[2J[b]boo")])
    result = CliRunner().invoke(engines, ["probe", fake])
    assert result.exit_code == 1
    assert "\\x1b[2J[b]boo" in result.output
    found = json.loads(CliRunner().invoke(engines, ["probe", "--json", fake]).output)
    assert found["hello"]["engine"] == "fake"
    assert [check["passed"] for check in found["checks"]] == [True, False]
    assert isinstance(CliRunner().invoke(engines, ["probe", "./does-not-exist"]).exception, Missing)


def test_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", {"good": lambda: (True, "fine", ""), "bad": lambda: (False, "[b]no", "do x")})
    result = CliRunner().invoke(doctor, [])
    assert result.exit_code == 3
    assert "[b]no" in result.output
    assert "do x" in result.output
    assert json.loads(CliRunner().invoke(doctor, ["--json"]).output)[1] == {
        "name": "bad", "ok": False, "detail": "[b]no", "hint": "do x", "optional": False,
    }  # fmt: skip
    monkeypatch.setattr(checks, "CHECKS", {"good": lambda: (True, "fine", "")})
    assert CliRunner().invoke(doctor, []).exit_code == 0
