"""What probes found is kept, asked for first, and not believed for another engine, version, variant or worker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wasmlab_adapters import probed as p
from wasmlab_adapters.probe import Check
from wasmlab_adapters.registry import resolve
from wasmlab_adapters.runner import Worker


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))


def test_an_engine_is_probed_once() -> None:
    asked = []

    def run(worker: Worker) -> list[Check]:
        asked.append(worker.hello["engine"])
        return [Check("traps", True), Check("feature simd", False, "other bits")]

    target = resolve("ref/py")
    assert p.remembered(target) is None
    first = p.probed(target, run)
    assert first.broken == {"feature simd": "other bits"}
    assert "simd" in first.features
    assert first.sound == frozenset(first.features) - {"simd"}
    assert p.probed(target, run) == first == p.remembered(target)
    assert len(asked) == 1


def test_nothing_is_believed_for_another_column_or_by_another_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    target = resolve("ref/py")
    p.remember(target, p.Probed(("mvp",), {}, 1))
    assert p.remembered(target) is not None
    assert p.remembered(replace(target, resolved="ref/py+values=9")) is None
    assert p.remembered(replace(target, image="sha256:1")) is None
    monkeypatch.setattr(p, "sources", lambda: "others")
    assert p.remembered(target) is None


def test_a_damaged_record_is_none_and_a_program_has_none(tmp_path: Path) -> None:
    target = resolve("ref/py")
    p.remember(target, p.Probed(("mvp",), {}, 1))
    (path,) = (tmp_path / "cache" / "probes").glob("*.json")
    for text in ("", "[1]", "{}", '{"features": 1, "broken": {}, "rules": 1}', "\x00"):
        path.write_text(text)
        assert p.remembered(target) is None
    program = resolve("cmd:cat")
    p.remember(program, p.Probed(("mvp",), {}, 1))
    assert p.remembered(program) is None
    assert list((tmp_path / "cache" / "probes").iterdir()) == [path]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "file"))
    p.remember(resolve("ref/py"), p.Probed(("mvp",), {}, 1))
    assert p.remembered(resolve("ref/py")) is None
