"""Engines' packages, installed into the user's cache on first use; never into the lab's own environment.

A package of version v lies in `<cache>/engines/<registry>/<name>-<v>/`; several versions side by side, and those of
another architecture beside them.  What is being installed lies in a `.part` folder under a lock, and is renamed when it
is whole: so an interrupted installation leaves nothing half, and several processes may want the same engine at once.
Where packages come from is the matter of `registries/`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import time
from pathlib import Path

from platformdirs import user_cache_path

from wasmlab_matrices.load import Package

from .errors import EngineUnavailable
from .registries import REGISTRIES, compiled
from .registries.order import Order, locked, source_digest, unusable

KEPT = 24 * 3600
"""Seconds that the part of a killed installation waits to be gone on with."""
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def host_architecture() -> str:
    """The machine's architecture as the lab calls it: amd64, arm64, riscv64."""
    machine = platform.machine()
    return MACHINES.get(machine, machine)


def cache_folder() -> Path:
    """The user's cache: WASMLAB_CACHE, or where the system keeps caches."""
    return Path(os.environ.get("WASMLAB_CACHE") or user_cache_path("wasmlab"))


def find_installed(package: Package, version: str, arch: str = "") -> Path | None:
    """The folder of an installed package, or None; EngineUnavailable where the cache is not only ours."""
    folder = folder_of(package, version, arch)
    for place in _from_cache(folder):
        if not os.path.lexists(place):
            return None
        _check_private(place)
    return folder


def install(package: Package, version: str = "", arch: str = "") -> Path:
    """The folder of the package in `version` (the pinned one if none is given), installed now if need be.

    `arch` is the architecture whose package it is, by default this machine's.
    """
    registry = REGISTRIES[package.registry]
    version = version or package.version
    if not re.fullmatch(registry.VERSION, version):
        raise EngineUnavailable(f"{version!r} is no version of {package.name}", f"such as {package.version}")
    folder = folder_of(package, version, arch)
    if found := find_installed(package, version, arch):
        return found
    private_folder(folder.parent)
    sweep(folder.parent)
    with locked(folder.with_name(f"{folder.name}.lock")) as lock:
        if found := find_installed(package, version, arch):  # another process was faster
            return found
        part = folder.with_name(f"{folder.name}.part")
        order = Order(package, version, arch or host_architecture(), _native(arch), part, folder.parent, lock)
        try:
            part.mkdir(mode=0o700, exist_ok=True)
            shutil.rmtree(order.content, ignore_errors=True)  # half of it, if a process was killed here
            registry.fill(order)
            if package.compile:
                compiled.build(order)
            order.content.rename(folder)
        except OSError as error:
            raise unusable(part, error) from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def sweep(registry: Path) -> None:
    """Remove what killed installations left there a day ago or longer; what is being installed has its lock taken."""
    for part in registry.glob("*.part"):
        try:
            if time.time() - part.stat().st_mtime < KEPT:
                continue
            with locked(part.with_suffix(".lock"), wait=False):
                shutil.rmtree(part, ignore_errors=True)
        except (OSError, EngineUnavailable):  # somebody is at work on it, or was faster
            continue


def lacking(package: Package) -> str:
    """The programs that an installation needs and that this machine does not have, with commas between them."""
    programs: tuple[str, ...] = getattr(REGISTRIES[package.registry], "PROGRAMS", ())
    return ", ".join(program for program in programs if shutil.which(program) is None)


def _native(arch: str) -> bool:
    return not arch or arch == host_architecture()


def private_folder(folder: Path) -> None:
    """Make a folder of the cache, and those above it in the cache, which only their owner may enter.

    EngineUnavailable where others can write into one that is there.
    """
    for place in _from_cache(folder):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            pass  # no folder: the check below says so
        except OSError as error:
            raise unusable(place, error) from None
        _check_private(place)


def _from_cache(folder: Path) -> list[Path]:
    """The cache, and what lies between it and a folder in it, which comes last."""
    parts = folder.relative_to(cache_folder()).parts
    return [cache_folder().joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _check_private(folder: Path) -> None:
    try:
        found = folder.lstat()
    except OSError as error:
        raise unusable(folder, error) from None
    wrong = ""
    if not stat.S_ISDIR(found.st_mode):
        wrong = "is a symbolic link" if stat.S_ISLNK(found.st_mode) else "is no folder"
    elif found.st_uid != os.geteuid():
        wrong = "belongs to somebody else"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        wrong = "can be written by others"
    if wrong:
        raise EngineUnavailable(f"the cache {folder} {wrong}", f"chmod 700 {folder}, or set WASMLAB_CACHE to another")


def folder_of(package: Package, version: str, arch: str) -> Path:
    """Where a package lies, or would."""
    name = package.name_for(arch or host_architecture()).replace("/", "+").replace(":", "+")
    foreign = "" if _native(arch) else f"-{arch}"
    built = f"-{source_digest(package.source, *package.compile)[:12]}" if package.source else ""
    return cache_folder() / "engines" / package.registry / f"{name}-{version}{built}{foreign}"
