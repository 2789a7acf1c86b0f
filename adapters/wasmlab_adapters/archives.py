"""Engines' archives, unpacked as what they are: files from strangers.

Paths are checked here, whatever the archive's library checks; files are new, plain and ours; links come last, lead
inside and are never written through; the budgets hold for what was really unpacked, since an archive may lie of it.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import stat
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .errors import EngineUnavailable
from .process import printable

MAX_ENTRIES = 60_000
MAX_UNPACKED = 3 << 30
"""Bytes that a package may unpack to."""
_CHUNK = 1 << 20


class Unpacker:
    """Unpacks the archives of one package into a new folder, under common budgets."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._bytes = MAX_UNPACKED
        self._entries = MAX_ENTRIES
        self._links: list[tuple[str, tuple[str, ...], str]] = []
        target.mkdir(mode=0o700)

    def unpack(self, archive: Path) -> None:
        """Unpack one archive, by the ending of its name; EngineUnavailable for anything that it should not hold."""
        kinds: dict[str, Callable[[Path], None]] = {
            ".whl": self._zip, ".jar": self._zip, ".zip": self._zip, ".tgz": self._tar, ".gz": self._tar,
            ".crate": self._tar, ".deb": self._deb,
        }  # fmt: skip
        try:
            kinds[archive.suffix](archive)
        except (
            zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError,
            ValueError,
        ) as error:  # fmt: skip
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # nothing is wrong with the archive
            raise EngineUnavailable(f"{archive.name} cannot be unpacked: {printable(str(error))}") from None

    def finish(self) -> None:
        """Make the links, now that nothing is written any more."""
        for archive, parts, target in self._links:
            depth = len(parts) - 1
            steps = [step for step in target.split("/") if step not in ("", ".")]
            if target.startswith("/"):  # within the package's own root
                steps = [".."] * depth + steps
            up = next((at for at, step in enumerate(steps) if step != ".."), len(steps))
            # Upward only first, where the folders are real: what follows can pass only through links that lead inside.
            if up > depth or ".." in steps[up:] or not target:
                raise EngineUnavailable(f"{archive} holds a link that leads outside: {printable(target)!r}")
            path = self._place(archive, parts)
            if not os.path.lexists(path):
                path.symlink_to("/".join(steps) or ".")

    # Kinds of archives

    def _zip(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            self._count(path.name, len(entries))
            for entry in entries:
                mode = entry.external_attr >> 16
                parts = _parts(path.name, entry.filename)
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise EngineUnavailable(f"{path.name} holds something that is no file: {parts[-1]!r}")
                if entry.is_dir():
                    self._place(path.name, (*parts, ""))
                else:
                    script = len(parts) > 2 and parts[0].endswith(".data") and parts[1] == "scripts"  # as pip does
                    with archive.open(entry) as source:
                        self._file(path.name, parts, mode | 0o100 * script, source)

    def _tar(self, path: Path) -> None:
        with gzip.open(path) as whole:
            with tarfile.open(fileobj=whole, mode="r|") as archive:
                self._entries_of(archive, path.name, links=False)
            while padding := whole.read(_CHUNK):  # to its end, where the checksum is
                self._take(path.name, len(padding))

    def _deb(self, path: Path) -> None:
        """A Debian package: links between files are its daily bread, devices are not."""
        command = ["dpkg-deb", "--fsys-tarfile", str(path)]
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise EngineUnavailable("Debian's packages need dpkg-deb to be unpacked", "apt-get install dpkg") from None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                self._entries_of(archive, path.name, links=True)
        finally:
            process.kill()
            process.communicate()

    def _entries_of(self, archive: tarfile.TarFile, name: str, links: bool) -> None:
        for entry in archive:
            self._count(name, 1)
            if entry.name in (".", "./"):
                continue
            parts = _parts(name, entry.name.removeprefix("./"))
            if entry.isdir():
                self._place(name, (*parts, ""))
            elif entry.isfile():
                if (source := archive.extractfile(entry)) is None:
                    raise ValueError(f"no content of {entry.name}")
                self._file(name, parts, entry.mode, source)
            elif links and entry.issym():
                self._links.append((name, parts, entry.linkname))
            elif links and entry.islnk():
                first = self._place(name, _parts(name, entry.linkname.removeprefix("./")))
                with first.open("rb") as source:
                    self._file(name, parts, first.stat().st_mode, source)
            else:
                raise EngineUnavailable(f"{name} holds something that is no file: {printable(entry.name)!r}")

    # What all share

    def _count(self, archive: str, entries: int) -> None:
        self._entries -= entries
        if self._entries < 0:
            raise EngineUnavailable(f"{archive} has too many entries: more than {MAX_ENTRIES}")

    def _take(self, archive: str, size: int) -> None:
        self._bytes -= size
        if self._bytes < 0:
            raise EngineUnavailable(f"{archive} unpacks to more than {MAX_UNPACKED >> 20} MiB")

    def _place(self, archive: str, parts: tuple[str, ...]) -> Path:
        """Where a path lies, its folders made; no part of it is a link while something may still be written."""
        folder = self.target.joinpath(*parts[:-1])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / parts[-1]

    def _file(self, archive: str, parts: tuple[str, ...], mode: int, source: IO[bytes]) -> None:
        """Write one file, new."""
        path = self._place(archive, parts)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o700 if mode & 0o100 else 0o600), "wb") as out:
            while chunk := source.read(_CHUNK):
                self._take(archive, len(chunk))
                out.write(chunk)


def unpack(archives: list[Path], target: Path) -> None:
    """Unpack archives into one new folder."""
    unpacker = Unpacker(target)
    for archive in archives:
        unpacker.unpack(archive)
    unpacker.finish()


def _parts(archive: str, name: str) -> tuple[str, ...]:
    """The path of an entry, if it stays inside."""
    parts = tuple(name.rstrip("/").split("/"))
    outside = "\\" in name and not archive.endswith(".deb")  # where units of systemd have one in their names
    if any(part in ("", ".", "..") for part in parts) or outside or "\0" in name or re.match("[A-Za-z]:", name):
        raise EngineUnavailable(f"{archive} holds a path that leads outside: {printable(name)!r}")
    return parts
