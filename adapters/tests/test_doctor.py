"""The doctor says what is wrong and what to do, whatever is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wasmlab_adapters import doctor
from wasmlab_adapters.doctor import Check, examine, self_test
from wasmlab_adapters.errors import EngineUnavailable


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))


def checks() -> dict[str, Check]:
    return {check.name: check for check in examine()}


def test_every_failure_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WASMLAB_SUITES", raising=False)
    found = checks()
    assert list(found) == list(doctor.CHECKS)
    assert all(check.detail for check in found.values())
    assert all(bool(check.hint) != check.ok for check in found.values())
    assert found["python"].ok
    assert found["cache"].ok
    assert "suite fetch" in found["suites"].hint
    assert found["wasmtime"].detail == "installed on first use"


def test_suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "core").mkdir()
    monkeypatch.setenv("WASMLAB_SUITES", str(tmp_path))
    assert checks()["suites"] == Check("suites", True, str(tmp_path))


def test_a_bad_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    found = checks()
    assert not found["cache"].ok
    assert "WASMLAB_CACHE" in found["cache"].hint
    monkeypatch.setenv("WASMLAB_CACHE", "/proc/self/nowhere")
    assert not checks()["cache"].ok


def test_a_check_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[bool, str, str]:
        raise ZeroDivisionError("x")

    monkeypatch.setattr(doctor, "CHECKS", {"x": broken})
    assert list(examine()) == [
        Check("x", False, "ZeroDivisionError: x", "this is a bug of wasmlab: please report it"),
    ]


def test_self_test_believes_nobody() -> None:
    fake = Path(__file__).with_name("fake_worker.py")
    with pytest.raises(EngineUnavailable, match="answers"):  # it returns from everything, and reads no 42
        self_test(f"cmd:{sys.executable} -S {fake}")
    with pytest.raises(EngineUnavailable, match="no program"):
        self_test("./does-not-exist")
