"""Suites: what is fetched is what is pinned, whatever an archive or a folder holds."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from wasmlab import cli, suites
from wasmlab.errors import Missing, UsageError

FILES = {"a.wast": b"(module)", "custom/b.wast": b"(module $b)"}


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> suites.Suite:
    """A small suite in place of the pinned one, and a cache of its own."""
    source = tmp_path / "source"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "README.md").write_text("no script")
    count, digest = suites.digest(source, "**/*.wast")
    row = replace(suites.known_suites()["core"], count=count, digest=digest)
    monkeypatch.setattr(suites, "known_suites", lambda: {"core": row})
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WASMLAB_SUITES", raising=False)
    return row


def archive(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return gzip.compress(out.getvalue(), mtime=0)


def test_the_pinned_suite_is_the_one_that_is_here(core_suite: Path) -> None:
    suites.check(suites.known_suites()["core"], core_suite)


def test_from_a_folder(suite: suites.Suite, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not here"):
        suites.find("core")
    folder = suites.fetch("core", tmp_path / "source")
    assert suites.find("core") == folder
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(FILES)
    assert suites.fetch("core", tmp_path / "nowhere") == folder  # it is there already


def test_a_folder_that_is_another_suite(suite: suites.Suite, tmp_path: Path) -> None:
    (tmp_path / "source" / "a.wast").write_bytes(b"(module )")
    with pytest.raises(Missing, match="is not suite core"):
        suites.fetch("core", tmp_path / "source")
    assert list((tmp_path / "cache" / "suites").iterdir()) == []
    with pytest.raises(UsageError, match="no suite"):
        suites.fetch("cor")


def test_from_an_archive(suite: suites.Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive({f"testsuite-1234/{name}": content for name, content in FILES.items()})
    monkeypatch.setattr(suites, "_download", lambda _: data)
    assert (suites.fetch("core") / "custom/b.wast").read_bytes() == b"(module $b)"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        archive({f"t/{name}": content for name, content in FILES.items()})[:60],
        archive({"t/../../evil.wast": b"x"}),
        archive({"/etc/evil.wast": b"x"}),
        archive({"t/a.wast": b"(module)"}, {"t/custom/b.wast": "/etc/passwd"}),
        archive({"t/a.wast": b"(module)", "t/custom/b.wast": b"(module $b)", "t/extra.wast": b""}),
    ],
    ids=["empty", "no archive", "truncated", "upwards", "absolute", "a link", "one file more"],
)
def test_hostile_archives(data: bytes, suite: suites.Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "_download", lambda _: data)
    with pytest.raises(Missing):
        suites.fetch("core")
    assert list((tmp_path / "cache" / "suites").iterdir()) == []
    assert not list(tmp_path.rglob("evil.wast"))


def test_an_archive_beyond_the_budget(suite: suites.Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "_download", lambda _: archive({"t/a.wast": b"x" * 5000}))
    monkeypatch.setattr(suites, "MAX_ARCHIVE", 4096)
    with pytest.raises(Missing, match="unpacks to more than"):
        suites.fetch("core")


def test_offline(suite: suites.Suite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = replace(suite, repository="http://127.0.0.1:9")
    monkeypatch.setattr(suites, "known_suites", lambda: {"core": row})
    assert cli.run(["suite", "fetch", "core"]) == 3
    err = capsys.readouterr().err
    assert "cannot fetch" in err
    assert "--from FOLDER" in err
    assert "Traceback" not in err


def test_status(suite: suites.Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["suite", "status"]) == 0
    assert "not here" in capsys.readouterr().out
    assert cli.run(["suite", "fetch", "core", "--from", str(tmp_path / "source")]) == 0
    assert cli.run(["suite", "status", "--json"]) == 0
    assert '"ready"' in capsys.readouterr().out


def test_a_folder_within_a_suite_is_a_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "core" / "proposals" / "threads").mkdir(parents=True)
    monkeypatch.setenv("WASMLAB_SUITES", str(tmp_path))
    assert suites.find("core/proposals/threads") == tmp_path / "core" / "proposals" / "threads"
    with pytest.raises(UsageError, match="no suite or path"):
        suites.find("core/proposals/none")
    assert suites.unaware(Path("/x/proposals/threads/a.wast")) >= {"multi-memory"}
    assert not suites.unaware(Path("/x/proposals/gc/threads/a.wast"))
