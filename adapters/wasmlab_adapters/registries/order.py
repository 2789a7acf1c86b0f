"""What an installation is given, and what all of them do alike: run a client, hold files against their pins."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import subprocess
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wasmlab_matrices.load import Package

from ..archives import unpack
from ..errors import EngineUnavailable
from ..process import printable

SECONDS = 900
"""What a client may take for a download."""
_OFFLINE = re.compile(
    r"name resolution|name or service not known|network is unreachable|failed to establish|connection (refused|broken)"
    r"|timed out|proxyerror|nodename nor servname|could not resolve ('|host)|could not connect|unknown host"
    r"|temporary failure resolving"
    r"|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|unable to connect",
    re.IGNORECASE,
)
FULL = re.compile(r"no space left on device|\bENOSPC\b|disk quota exceeded", re.IGNORECASE)
_ERROR = re.compile(r"(\[?ERROR\]?:?|E:|npm (ERR!|error)|error(\[E\d+\])?:) ?")
"""How clients mark the lines that say why they failed."""


class ClientFailed(Exception):
    """A client that ended with an error; `words` is what it said, printable."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words

    @property
    def reason(self) -> str:
        """One line of it."""
        lines = [line.strip() for line in self.words.splitlines() if line.strip() and line[:2] != "# "]
        errors = [line for line in lines if _ERROR.match(line)]
        return _ERROR.sub("", (errors or lines or ["no reason given"])[0])[:300]


@dataclass(frozen=True, slots=True)
class Order:
    """A package in a version for an architecture, and the folder that it is made in."""

    package: Package
    version: str
    arch: str
    native: bool
    """Whether `arch` is this machine's."""
    part: Path
    """Survives an interruption: whole downloads that are pinned are not made again."""
    shared: Path
    """The registry's folder in the cache, for what its packages share."""
    lock: int
    """The descriptor of the lock.  Clients share it: if we are killed, the next process waits until they have ended."""

    @property
    def content(self) -> Path:
        """What the registry has to make."""
        return self.part / "content"

    @property
    def name(self) -> str:
        """The package's name for the architecture."""
        return self.package.name_for(self.arch)

    @property
    def what(self) -> str:
        """What messages call it."""
        return f"{self.name} {self.version}"

    def run(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
        folder: Path | None = None,
    ) -> str:
        """Run a client; what it wrote on its standard output.  ClientFailed where it fails for a reason of its own."""
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL, pass_fds=[self.lock], env=env,
                cwd=folder,
            )  # fmt: skip
        except FileNotFoundError:
            raise EngineUnavailable(f"{self.what} needs the program {command[0]}", f"install {command[0]}") from None
        except subprocess.TimeoutExpired:
            raise EngineUnavailable(f"{self.what}: {command[0]} did not end within {seconds:g} s") from None
        if done.returncode == 0:
            return done.stdout.decode(errors="replace")
        words = printable(done.stderr + b"\n" + done.stdout)  # Maven says its errors on the other one
        if _OFFLINE.search(words):
            raise EngineUnavailable(f"{self.what} is not installed and there is no network", "connect once, and retry")
        if FULL.search(words):
            raise no_room(self.part)
        raise ClientFailed(words)

    def downloaded(self, pattern: str) -> Path | None:
        """The one archive of that pattern, held against its pin; None where there is none or only a half one."""
        pins = self.pins
        for left in self.part.glob(pattern):
            if pins.get(left.name) == digest(left):
                return left
            left.unlink()
        return None

    @property
    def pins(self) -> dict[str, str]:
        """The digests of the files of this version, by name; empty for other versions than the row's."""
        return self.package.sha256 if self.version == self.package.version else {}

    def checked(self, archive: Path) -> Path:
        """An archive that was just downloaded, if it is the pinned one."""
        if pins := self.pins:
            expected = pins.get(archive.name)
            found = digest(archive)
            if expected != found:
                archive.unlink()
                if expected is None:
                    raise EngineUnavailable(f"{archive.name} has no pinned SHA-256", f"pinned: {', '.join(pins)}")
                raise EngineUnavailable(f"{archive.name} has SHA-256 {found[:16]}…, not the pinned {expected[:16]}…")
        return archive

    def unpack(self, archives: list[Path]) -> None:
        """Make the content from archives, and note what they were."""
        unpack(archives, self.content)
        lines = [f"{digest(archive)}  {archive.name}\n" for archive in archives]
        (self.content / "wasmlab-sources.txt").write_text("".join(sorted(lines)))


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_folder(name: str) -> Path:
    """Where the source of a worker is that is built with its engine."""
    return Path(__file__).resolve().parents[1] / name


@cache
def source_digest(name: str, *compile: str) -> str:
    """Changes when the source of a worker does, or how it is compiled: what was built from another is not this one."""
    total = hashlib.sha256("".join(f"{argument}\0" for argument in compile).encode())
    for line in contents(source_folder(name), source_folder(name)):
        total.update(line)
    return total.hexdigest()


def contents(top: Path, root: Path) -> Iterator[bytes]:
    """For a digest: each file below `top`, or `top` itself, with its path from `root`; not what Python compiled."""
    for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
        if path.is_file() and path.suffix != ".pyc":
            yield f"{path.relative_to(root)}\0".encode() + path.read_bytes()


def no_such_version(order: Order, versions: Sequence[str]) -> EngineUnavailable:
    """The error for a version that the registry does not have; `versions` are those that it has."""
    where = "this machine and Python" if order.package.registry == "pypi" else f"{order.arch}"
    hint = f"near it: {', '.join(near(order.version, versions))}" if versions else ""
    return EngineUnavailable(f"there is no {order.what} for {where}", hint)


def near(version: str, known: Sequence[str], count: int = 3) -> list[str]:
    """The versions on both sides of one that there is not, the oldest first."""
    found = sorted(known, key=numbers)
    at = bisect_left(found, numbers(version), key=numbers)
    first = max(0, min(at - count + 1, len(found) - count))
    return found[first : first + count]


def begins(version: str, beginning: str) -> bool:
    """Is it the version that is named, or one that begins so?"""
    return f"{version}.".startswith(f"{beginning}.")


def numbers(version: str) -> list[int]:
    """What versions are sorted by."""
    return [int(number) for number in re.findall(r"\d+", version)]


def no_room(folder: Path) -> EngineUnavailable:
    """The error for a disk that is full."""
    return EngineUnavailable(f"there is no room left for {folder}", "make room, or set WASMLAB_CACHE to another folder")


def unusable(folder: Path, error: OSError) -> EngineUnavailable:
    """The error for a cache that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_room(folder)
    return EngineUnavailable(f"the cache {folder} cannot be used: {error.strerror}", "set WASMLAB_CACHE to another")


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[int]:
    """Wait for the lock on a file, which stays: removing it would let two processes hold different ones.

    Without `wait`, BlockingIOError where another process has it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise unusable(path, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)
