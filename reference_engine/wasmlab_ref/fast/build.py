"""Builds the C engine into the user's cache, once for each state of source, flags, compiler and machine.

There are two libraries, of the same handlers: the engine, and the one that tells events (`events.h`).  What does not
know of events is compiled once for both.

    WASMLAB_CACHE   the cache, else where the system keeps caches
    CC              the compiler, with options if need be; else the first of cc, gcc, clang
    CFLAGS          more options, behind the engine's own

Many processes may ask at once: one compiles, the others wait for its lock, and a library appears complete or not at
all.  Nothing is ever loaded from a folder that somebody else can write to.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parent
BUILT = FOLDER / "library.so"
"""Where the library lies in an image, or a package for one platform: it was built with it, and none is built there."""
COMPILERS = ("cc", "gcc", "clang")

FLAGS = (
    "-std=c11",
    "-O2",
    "-fPIC",
    "-pthread",
    "-ffp-contract=off",  # a fused multiply-add rounds once where the standard rounds twice
    "-fno-strict-aliasing",
    "-fomit-frame-pointer",
    "-fno-math-errno",  # a square root is an instruction
    "-foptimize-sibling-calls",  # handlers end in tail calls
    "-falign-functions=64",  # a handler that crosses a cache line costs up to 20 %
    "-fno-semantic-interposition",
)

BINDING = () if platform.system() == "Darwin" else ("-Wl,-Bsymbolic",)
"""For the linker: what the library calls in itself it finds without a detour."""

TIMEOUT = 900
"""Seconds for one file, on a machine that has much else to do."""


class Unavailable(Exception):
    """There is no C engine here: `reason` says why, `remedy` how to go on."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}: {remedy}" if remedy else reason)
        self.reason, self.remedy = reason, remedy


WITHOUT_COMPILER = "install gcc or clang, or use ref/py, which needs none"


def library(flags: Sequence[str] = (), compiler: Sequence[str] = (), events: bool = False) -> Path:
    """The shared library, built now if this is the first time; `flags` are added to the engine's own.

    `compiler`, a command, is one for another machine; by default it is this one's.  With `events` it is the library
    that tells them.

    Raises `Unavailable` where there is no compiler, no usable cache, or where the compiler fails.
    """
    name = "-events.so" if events else ".so"
    if BUILT.exists() and not flags and not compiler:
        built = BUILT.with_name(BUILT.stem + name)
        if not built.exists():
            raise Unavailable(f"{built.name} was not built with this package", "use ref/py")
        return built
    compiler = compiler or _compiler()
    options = (*FLAGS, *shlex.split(os.environ.get("CFLAGS", "")), *flags)
    folder = private_cache() / "fast"
    _private(folder)
    target = folder / f"wasmlab-{_key(compiler, options)}"
    wanted = target.with_name(target.name + name)
    if not wanted.exists():
        with _lock(target.with_suffix(".lock")):
            if not wanted.exists():
                _build(compiler, options, target)
    return wanted


def private_cache() -> Path:
    """The user's cache, which only the user can write to."""
    from platformdirs import user_cache_path  # not where the library is there already

    cache = Path(os.environ.get("WASMLAB_CACHE") or user_cache_path("wasmlab"))
    _private(cache)
    return cache


def _compiler() -> list[str]:
    if wanted := shlex.split(os.environ.get("CC", "")):
        if found := shutil.which(wanted[0]):
            return [found, *wanted[1:]]
        raise Unavailable(f"CC names {wanted[0]!r}, which is not there", WITHOUT_COMPILER)
    for name in COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise Unavailable("no C compiler found", WITHOUT_COMPILER)


def _private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise Unavailable(f"the cache {folder} cannot be used ({error.strerror})", "set WASMLAB_CACHE") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unavailable(f"the cache {folder} is not a folder that only you can write to", "set WASMLAB_CACHE")


def _key(compiler: Sequence[str], options: Sequence[str]) -> str:
    """What distinguishes one build from another; a compiler that was replaced has another size or time."""
    program = os.stat(shutil.which(compiler[0]) or compiler[0])
    parts = [*compiler, str(program.st_size), str(program.st_mtime_ns), *options]
    parts += [platform.system(), platform.machine(), *platform.libc_ver()]
    digest = hashlib.sha256("\0".join(parts).encode())
    for path in sorted([*FOLDER.glob("*.c"), *FOLDER.glob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of that name; it stays behind, empty, for removing it would let two hold it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _build(compiler: Sequence[str], options: Sequence[str], target: Path) -> None:
    """Both libraries, `target` with ".so" and "-events.so"; the lock is held."""
    for killed in target.parent.glob(f"build-{target.name}-*"):
        shutil.rmtree(killed, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"build-{target.name}-", dir=target.parent) as name:
        part = Path(name)
        sources = sorted(FOLDER.glob("*.c"), key=lambda path: -path.stat().st_size)
        plain = {path: part / f"{path.stem}.o" for path in sources}
        telling = {path: part / f"{path.stem}-events.o" for path in sources if "EVENT" in path.read_text()}
        commands = [[*compiler, *options, "-c", str(path), "-o", str(made)] for path, made in plain.items()]
        commands += [
            [*compiler, *options, "-DWASMLAB_EVENTS", "-c", str(path), "-o", str(made)]
            for path, made in telling.items()
        ]
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            for _ in pool.map(_run, commands):
                pass
        for ending, objects in (("-events.so", plain | telling), (".so", plain)):
            made = part / f"library{ending}"
            _run([*compiler, *options, "-shared", *BINDING, *map(str, objects.values()), "-lm", "-o", str(made)])
            os.replace(made, target.with_name(target.name + ending))


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"the C compiler did not run ({error})", WITHOUT_COMPILER) from None
    if done.returncode:
        if "no space left on device" in done.stderr.lower():
            raise Unavailable("there is no room left to compile the C engine", "make room, or set WASMLAB_CACHE")
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise Unavailable(f"the C engine does not compile ({first.strip()})", WITHOUT_COMPILER)
