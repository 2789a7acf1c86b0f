"""Installing an engine's package: safe against archives, other users, interruptions and each other.  No network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from wasmlab_adapters import archives
from wasmlab_adapters import install as module
from wasmlab_adapters.archives import unpack
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.install import find_installed, install
from wasmlab_adapters.registries import order, pypi
from wasmlab_matrices.load import Package

WHEEL = "toy_engine-1.0-py3-none-any.whl"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("WASMLAB_CACHE", str(folder))
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that pip finds without network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "toy_engine-1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr("toy_engine/__init__.py", "answer = 42\n")
        archive.writestr("toy_engine/lib.so", b"\x7fELF" * 100_000)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-engine\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder / WHEEL


def package(wheel: Path | None = None) -> Package:
    pins = {WHEEL: hashlib.sha256(wheel.read_bytes()).hexdigest()} if wheel else {}
    return Package("pypi", "toy-engine", "1.0", pins)


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.glob("engines/pypi/*") if path.suffix != ".lock"]


def test_install(cache: Path, wheel: Path) -> None:
    assert find_installed(package(), "1.0") is None
    folder = install(package(wheel))
    assert (folder / "toy_engine" / "__init__.py").read_text() == "answer = 42\n"
    assert find_installed(package(), "1.0") == folder
    assert leftovers(cache) == ["toy-engine-1.0"]
    for path in (cache, cache / "engines", folder, folder / "toy_engine"):
        assert path.stat().st_mode & 0o777 == 0o700
    wheel.unlink()
    assert install(package()) == folder  # without pip this time


@pytest.mark.parametrize("size", ["64k", "500k"])
def test_a_cache_without_room(cache: Path, wheel: Path, size: str) -> None:
    """Too small for the download, and for what comes out of it."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("toy_engine/noise", os.urandom(100_000))
    cache.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(cache)], check=True)
    try:
        with pytest.raises(EngineUnavailable, match=f"no room left for {cache}") as caught:
            install(package(wheel))
        assert "\n" not in str(caught.value)
        assert "WASMLAB_CACHE" in caught.value.hint
        assert leftovers(cache) == []
        subprocess.run(["mount", "-o", "remount,size=50m", str(cache)], check=True)
        assert install(package(wheel)).is_dir()
    finally:
        subprocess.run(["umount", "-l", str(cache)], check=True)


def test_wrong_hash(cache: Path, wheel: Path) -> None:
    with pytest.raises(EngineUnavailable, match="not the pinned 0000"):
        install(Package("pypi", "toy-engine", "1.0", {WHEEL: "0" * 64}))
    with pytest.raises(EngineUnavailable, match="no pinned SHA-256"):
        install(Package("pypi", "toy-engine", "1.0", {"other.whl": "0" * 64}))
    assert find_installed(package(), "1.0") is None
    assert install(package(wheel)).is_dir()


def test_a_wheel_left_by_an_interruption(cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = cache / "engines" / "pypi" / "toy-engine-1.0.part"
    part.mkdir(parents=True)
    for folder in (cache, cache / "engines", cache / "engines" / "pypi"):
        folder.chmod(0o700)
    (part / "content").mkdir()
    (part / "content" / "half").write_text("")
    (part / WHEEL).write_bytes(wheel.read_bytes())
    monkeypatch.setattr(pypi, "_download", lambda *_: pytest.fail("downloaded again"))
    folder = install(package(wheel))
    assert not (folder / "half").exists()
    assert leftovers(cache) == ["toy-engine-1.0"]


def test_a_half_wheel_left(cache: Path, wheel: Path) -> None:
    part = cache / "engines" / "pypi" / "toy-engine-1.0.part"
    part.mkdir(parents=True, mode=0o700)
    (part / WHEEL).write_bytes(wheel.read_bytes()[:1000])
    assert install(package(wheel)).is_dir()


def test_interrupted_unpacking(cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(archives.Unpacker, "_file", interrupted)
        install(package(wheel))
    assert leftovers(cache) == []
    assert install(package(wheel)).is_dir()


def test_killed_while_unpacking(cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os; from wasmlab_adapters import archives, install; from wasmlab_matrices.load import Package;"
        "archives.Unpacker._file = lambda *_: os.kill(os.getpid(), 9);"
        f"install.install(Package('pypi', 'toy-engine', '1.0', {package(wheel).sha256}))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == -9
    assert leftovers(cache) == ["toy-engine-1.0.part"]
    assert find_installed(package(), "1.0") is None
    monkeypatch.setattr(pypi, "_download", lambda *_: pytest.fail("downloaded again"))
    assert install(package(wheel)).is_dir()
    assert leftovers(cache) == ["toy-engine-1.0"]


def test_two_at_once(cache: Path, wheel: Path) -> None:
    code = (
        "from wasmlab_adapters.install import install; from wasmlab_matrices.load import Package;"
        "print(install(Package('pypi', 'toy-engine', '1.0')))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) for _ in range(2)]
    said = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert said == {f"{cache}/engines/pypi/toy-engine-1.0\n".encode()}
    assert leftovers(cache) == ["toy-engine-1.0"]


def test_no_such_version(cache: Path, wheel: Path) -> None:
    with pytest.raises(EngineUnavailable, match="there is no toy-engine 2.0") as caught:
        install(package(wheel), "2.0")
    assert caught.value.hint == "near it: 1.0"
    with pytest.raises(EngineUnavailable, match="pip cannot get no-toy 1.0: ") as caught:
        install(Package("pypi", "no-toy", "1.0"))
    assert "\n" not in str(caught.value)
    for version in ("-r/etc/passwd", "1.0; x", "../1", "@x", "1/0"):
        with pytest.raises(EngineUnavailable, match="no version"):
            install(package(wheel), version)
    assert leftovers(cache) == []


@pytest.mark.usefixtures("cache")
def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        noise = b"WARNING: Retrying ... Temporary failure in name resolution\n" * 5
        return subprocess.CompletedProcess(command, 1, b"", noise + b"ERROR: No matching distribution found for x\n")

    monkeypatch.setattr(order.subprocess, "run", no_network)
    with pytest.raises(EngineUnavailable, match=r"^toy-engine 1\.0 is not installed and there is no network$"):
        install(package())


@pytest.mark.usefixtures("cache")
def test_no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypi.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EngineUnavailable, match="has no pip") as caught:
        install(package())
    assert "ensurepip" in caught.value.hint


def test_a_cache_of_others(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(EngineUnavailable, match="can be written by others"):
        install(package())
    cache.chmod(0o700)
    cache.rmdir()
    (tmp_path / "real").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "real")
    with pytest.raises(EngineUnavailable, match="is a symbolic link"):
        install(package())
    cache.unlink()
    cache.write_text("")
    with pytest.raises(EngineUnavailable, match="is no folder"):
        install(package())


@pytest.mark.usefixtures("cache")
def test_a_foreign_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 12345)
    with pytest.raises(EngineUnavailable, match="belongs to somebody else") as caught:
        install(package())
    assert "WASMLAB_CACHE" in caught.value.hint


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASMLAB_CACHE", "/proc/self/nowhere")  # not even root can write there
    with pytest.raises(EngineUnavailable, match="cannot be used"):
        install(package())


def archive(path: Path, *entries: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, data, mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            out.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\..\\x", "a//x", "./x", "C:x", ".."])
def test_paths_that_lead_outside(tmp_path: Path, name: str) -> None:
    wheel = archive(tmp_path / "x.whl", ("ok", b"", 0o644), (name, b"boo", 0o644))
    with pytest.raises(EngineUnavailable, match="leads outside|cannot be unpacked"):
        unpack([wheel], tmp_path / "target")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["target", "x.whl"]


def test_entries_that_are_no_files(tmp_path: Path) -> None:
    for number, kind in enumerate((0o120777, 0o020666, 0o010666)):  # link, device, pipe
        wheel = archive(tmp_path / f"{number}.whl", ("x", b"/etc/passwd", kind))
        with pytest.raises(EngineUnavailable, match="no file"):
            unpack([wheel], tmp_path / f"{number}")


def test_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = archive(tmp_path / "bomb.whl", ("a", bytes(3 << 20), 0o644), ("b", bytes(3 << 20), 0o644))
    assert bomb.stat().st_size < 20_000
    monkeypatch.setattr(archives, "MAX_UNPACKED", 4 << 20)
    with pytest.raises(EngineUnavailable, match="more than 4 MiB"):
        unpack([bomb], tmp_path / "bomb")
    monkeypatch.setattr(archives, "MAX_ENTRIES", 1)
    with pytest.raises(EngineUnavailable, match="too many entries"):
        unpack([bomb], tmp_path / "many")


def test_damaged_archives(tmp_path: Path, wheel: Path) -> None:
    data = wheel.read_bytes()
    for number, broken in enumerate((b"", b"PK", data[:-30], data[:200] + bytes(100) + data[300:])):
        path = tmp_path / f"{number}.whl"
        path.write_bytes(broken)
        with pytest.raises(EngineUnavailable, match="cannot be unpacked"):
            unpack([path], tmp_path / f"out{number}")
    twice = archive(tmp_path / "twice.whl", ("a", b"1", 0o644), ("a/b", b"2", 0o644))
    with pytest.raises(EngineUnavailable, match="cannot be unpacked"):
        unpack([twice], tmp_path / "twice")


def test_modes(tmp_path: Path) -> None:
    script = "x-1.data/scripts/run"
    wheel = archive(tmp_path / "x.whl", ("run", b"", 0o104755), ("data", b"", 0o100666), (script, b"", 0o100644))
    unpack([wheel], tmp_path / "out")
    assert (tmp_path / "out" / "run").stat().st_mode & 0o7777 == 0o700
    assert (tmp_path / "out" / "data").stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "out" / script).stat().st_mode & 0o7777 == 0o700
