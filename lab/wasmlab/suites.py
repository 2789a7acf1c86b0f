"""The official test suites: pinned, fetched into the user's cache, held against their digest.

A suite is found, in this order: a folder or file given by path, the folder WASMLAB_SUITES, the cache.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.resources import files
from itertools import pairwise
from pathlib import Path, PurePosixPath

import yaml

from wasmlab_adapters import install

from .errors import Missing, UsageError

MAX_ARCHIVE = 200 << 20
"""Bytes that an archive may unpack to; the largest suite has a tenth of it."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A row of suites.yaml."""

    name: str
    about: str
    repository: str
    commit: str
    files: str
    count: int
    digest: str
    proposals: dict[str, list[str]] = field(default_factory=dict)
    """What a file at the top level is about: globs by name."""
    unaware: dict[str, list[str]] = field(default_factory=dict)
    """By folder under proposals/ the features that its files know nothing of: they were written before those."""

    def about_file(self, name: str) -> str:
        """The proposal (or folder, or version of the standard) that a file of the suite belongs to."""
        folder, _, rest = name.rpartition("/")
        if folder:
            return folder.removeprefix("proposals/")
        return next((title for title, globs in self.proposals.items() if any(fnmatch(rest, g) for g in globs)), "1.0")

    @property
    def url(self) -> str:
        """Where the archive of the pinned commit is."""
        return f"{self.repository}/archive/{self.commit}.tar.gz"


def known_suites() -> dict[str, Suite]:
    """The rows of suites.yaml by name."""
    rows = yaml.safe_load((files("wasmlab_matrices") / "suites.yaml").read_text())
    return {name: Suite(name, **row) for name, row in rows.items()}


def unaware(path: Path) -> frozenset[str]:
    """The features that a script of a suite knows nothing of."""
    folders = path.parts[:-1]
    proposals = [after for before, after in pairwise(folders) if before == "proposals"]
    rows = [suite.unaware.get(name, []) for suite in known_suites().values() for name in proposals]
    return frozenset(name for row in rows for name in row)


def cache_folder() -> Path:
    """Where fetched suites lie."""
    return install.cache_folder() / "suites"


def scripts(folder: Path, pattern: str = "**/*.wast") -> list[Path]:
    """The suite's files in a fixed order."""
    return sorted(folder.glob(pattern), key=lambda path: path.relative_to(folder).as_posix())


def digest(folder: Path, pattern: str) -> tuple[int, str]:
    """Number of files and SHA-256 over their paths and contents."""
    total = hashlib.sha256()
    found = scripts(folder, pattern)
    for path in found:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return len(found), total.hexdigest()


def check(suite: Suite, folder: Path) -> None:
    """Raise `Missing` unless `folder` holds exactly the pinned suite."""
    count, found = digest(folder, suite.files)
    if found != suite.digest:
        raise Missing(
            f"{folder} is not suite {suite.name} at commit {suite.commit[:9]}: {count} files, digest {found[:12]}",
            hint=f"expected {suite.count} files, digest {suite.digest[:12]}",
        )


def find(name: str) -> Path:
    """The folder (or file) of a suite, given its name (with a path inside of it, if need be) or a path."""
    suites = known_suites()
    if name not in suites:
        path, (first, _, inside) = Path(name), name.partition("/")
        if first in suites and inside and not path.exists():
            path = find(first) / inside
        if path.exists():
            return path
        raise UsageError(f"no suite or path {name!r}", hint=f"known suites: {', '.join(suites)}")
    given = os.environ.get("WASMLAB_SUITES")
    for folder in ([Path(given) / name] if given else []) + [cache_folder() / name]:
        if folder.is_dir():
            return folder
    raise Missing(f"suite {name} is not here", hint=f"wasmlab suite fetch {name}   (or --from FOLDER)")


def fetch(name: str, source: Path | None = None) -> Path:
    """Put the pinned suite into the cache, from its archive or from `source`; checked before it counts."""
    suites = known_suites()
    if name not in suites:
        raise UsageError(f"no suite {name!r}", hint=f"known suites: {', '.join(suites)}")
    suite = suites[name]
    target = cache_folder() / name
    if target.is_dir() and digest(target, suite.files)[1] == suite.digest:
        return target
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_name(f".{name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        for path, content in _from_folder(suite, source) if source else _from_archive(suite, _download(suite)):
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            (part / path).write_bytes(content)
        check(suite, part)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _from_folder(suite: Suite, source: Path) -> Iterator[tuple[str, bytes]]:
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder")
    for path in scripts(source, suite.files):
        yield path.relative_to(source).as_posix(), path.read_bytes()


def _download(suite: Suite) -> bytes:
    try:
        with urllib.request.urlopen(suite.url, timeout=60) as answer:
            data: bytes = answer.read(MAX_ARCHIVE + 1)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise Missing(
            f"cannot fetch {suite.url}: {reason}", hint=f"wasmlab suite fetch {suite.name} --from FOLDER"
        ) from None
    if len(data) > MAX_ARCHIVE:
        raise Missing(f"{suite.url} is larger than {MAX_ARCHIVE >> 20} MiB")
    return data


def _from_archive(suite: Suite, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The suite's files in the archive; paths are rebuilt from plain parts, links and devices are passed over."""
    budget = MAX_ARCHIVE
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts[1:]
                inside = PurePosixPath(*parts) if parts else PurePosixPath()
                if not member.isfile() or not inside.match(suite.files.rpartition("/")[2]) or ".." in inside.parts:
                    continue
                budget -= member.size
                if budget < 0:
                    raise Missing(f"the archive of suite {suite.name} unpacks to more than {MAX_ARCHIVE >> 20} MiB")
                content = archive.extractfile(member)
                yield inside.as_posix(), content.read() if content else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Missing(f"the archive of suite {suite.name} is damaged: {error}") from None
