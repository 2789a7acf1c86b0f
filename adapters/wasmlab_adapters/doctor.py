"""What works here, what does not, and what to do about it."""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from wasmlab_matrices.load import ARCHITECTURES

from .errors import EngineUnavailable, NotInstalled
from .install import cache_folder, host_architecture, private_folder
from .registry import resolve

MIN_DISK = 1 << 30
MIN_MEMORY = 1 << 30
MAX_OUTDATED = 1 << 30
"""Bytes of images made from what is not the case any more: each change of the lab leaves some behind."""
OLDEST_HYPOTHESIS = (6, 100)

# One function without parameters and results, which stores 42 at address 0 of the exported memory "m".
SELF_TEST = bytes.fromhex(
    "0061736d01000000 010401600000 03020100 0503010001 070902016d0200016600000a0b0109004100412a3602000b"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `hint` says what to do where it is not `ok`."""

    name: str
    ok: bool
    detail: str
    hint: str = ""
    optional: bool = False
    """Whether wasmlab can do without it, only containers of other architectures cannot."""


def examine() -> Iterator[Check]:
    """Every check, as it is done; a check that breaks is a check that failed."""
    for name, check in CHECKS.items():
        try:
            ok, detail, hint = check()
        except EngineUnavailable as error:
            ok, detail, hint = False, str(error), error.hint
        except Exception as error:
            ok, detail, hint = False, f"{type(error).__name__}: {error}", "this is a bug of wasmlab: please report it"
        yield Check(name, ok, detail, "" if ok else hint, name in OPTIONAL)


def self_test(engine: str) -> str:
    """Run one small module on an engine that is installed; the version it told.  EngineUnavailable if it cannot."""
    with resolve(engine, fetch=False).worker() as worker:
        steps = [
            {"do": "instantiate", "name": "i", "module": base64.b64encode(SELF_TEST).decode(), "imports": []},
            {"do": "call", "name": "i", "export": "f", "args": []},
            {"do": "read", "name": "i", "export": "m", "at": 0, "bytes": 4},
        ]
        worker.submit({"steps": steps})
        answer = worker.next()
        if "failure" in answer:
            raise EngineUnavailable(f"{engine}: {answer['failure']['detail']}", f"wasmlab engines probe {engine}")
        last = answer["outcomes"][-1]
        if not isinstance(last, dict) or last.get("values") != ["bytes:2a000000"]:
            raise EngineUnavailable(f"{engine} answers {answer['outcomes']}", f"wasmlab engines probe {engine}")
        return f"{worker.hello['engine']} {worker.hello['version']}"


Result = tuple[bool, str, str]


def _python() -> Result:
    return sys.version_info >= (3, 11), f"{platform.python_version()} ({sys.executable})", "wasmlab needs Python 3.11"


def _system() -> Result:
    detail = f"{platform.system()} {platform.release()}, {host_architecture()}, {os.cpu_count()} processors"
    return Path("/proc/self/stat").exists(), detail, "workers are watched through /proc, which is Linux's"


def _memory() -> Result:
    free = psutil.virtual_memory().available
    return free >= MIN_MEMORY, f"{free / (1 << 30):.1f} GiB free", "engines will be killed: free some, or use fewer"


def _cache() -> Result:
    folder = cache_folder()
    private_folder(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return False, f"{folder}: {error.strerror}", "set WASMLAB_CACHE to a folder of yours"
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False, f"{folder} is mounted noexec", "engines cannot be loaded from there: set WASMLAB_CACHE"
    return True, str(folder), ""


def _disk() -> Result:
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return free >= MIN_DISK, f"{free / (1 << 30):.1f} GiB free at {folder}", "free some, or set WASMLAB_CACHE"


def _pip() -> Result:
    if importlib.util.find_spec("pip") is None:
        return False, "missing", f"{sys.executable} -m ensurepip   (engines are installed by it)"
    return True, importlib.metadata.version("pip"), ""


def _hypothesis() -> Result:
    version = importlib.metadata.version("hypothesis")
    new = tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_HYPOTHESIS
    return new, version, "pip install --upgrade hypothesis"


def _reference() -> Result:
    return True, self_test("ref"), ""


def _reference_python() -> Result:
    return True, self_test("ref/py"), ""


def _wasmtime() -> Result:
    try:
        resolve("wasmtime", fetch=False)
    except NotInstalled:
        return _pip()[0], "installed on first use", "install pip first"
    return True, self_test("wasmtime"), ""


def _suites() -> Result:
    given = os.environ.get("WASMLAB_SUITES")
    folders = [Path(given)] if given else []
    for folder in [*folders, cache_folder() / "suites"]:
        if (folder / "core").is_dir():
            return True, str(folder), ""
    return False, "the core suite is not here", "wasmlab suite fetch core   (only `conform` needs it)"


def _docker() -> Result:
    from .containers import server

    return True, server(), ""


def _containers(arch: str) -> Result:
    from . import emulation, images

    emulation.ready(arch)
    detail = str(emulation.machine(arch)).removeprefix("container, ")
    try:
        detail += f", {images.ensure(arch, make=False)}"
    except NotInstalled:
        detail += ", its image is made on first use (wasmlab images build)"
    images.c_compiler(arch)
    return True, detail, ""


def _images() -> Result:
    from . import images

    said, outdated = images.told(images.images())
    return outdated < MAX_OUTDATED, said, "wasmlab images remove --outdated"


CHECKS: dict[str, Callable[[], Result]] = {
    "python": _python,
    "system": _system,
    "memory": _memory,
    "cache": _cache,
    "disk": _disk,
    "pip": _pip,
    "hypothesis": _hypothesis,
    "ref": _reference,
    "ref/py": _reference_python,
    "wasmtime": _wasmtime,
    "suites": _suites,
    "docker": _docker,
    **{f"containers, {arch}": partial(_containers, arch) for arch in ARCHITECTURES},
    "images": _images,
}
OPTIONAL = frozenset(name for name in CHECKS if name.startswith(("docker", "containers", "images")))
