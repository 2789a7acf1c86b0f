"""Which releases a package has, and which of them the beginning of a version means: `wasmtime@12` is the newest 12.

Registries are asked by their own clients, which takes seconds, so that a list is kept in the cache for a day.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

from wasmlab_matrices.load import Package

from .errors import EngineUnavailable
from .install import find_installed, folder_of, host_architecture, private_folder
from .registries import REGISTRIES
from .registries.order import ClientFailed, Order, begins, locked, near, numbers
from .whole import write_json

FRESH = 24 * 3600
"""Seconds that a list is believed."""
_RELEASE = re.compile(r"\d+(\.\d+)*")


def releases(package: Package, arch: str = "") -> list[str]:
    """The package's releases that there are for an architecture, the oldest first; previews are left out.

    EngineUnavailable where its registry does not tell.
    """
    if package.releases:
        return sorted(package.releases, key=numbers)
    kept = _kept(package, arch)
    if kept.exists() and time.time() - kept.stat().st_mtime < FRESH and (found := _read(kept)):
        return _driven(package, found)
    found = sorted(filter(_RELEASE.fullmatch, _asked(package, arch)), key=numbers)
    if not found:
        raise EngineUnavailable(
            f"{package.registry} tells no releases of {package.name}", f"name one in full, such as {package.version}"
        )
    write_json(kept, found)
    return _driven(package, found)


def _driven(package: Package, versions: list[str]) -> list[str]:
    """Those that the worker can drive."""
    return [version for version in versions if numbers(version) >= numbers(package.oldest)]


def chosen(package: Package, wanted: str, arch: str = "", fetch: bool = True) -> str:
    """The version that is meant: the pinned one by nothing, the newest release by the beginning of its version.

    A whole version is taken as it is.  Without `fetch`, and where the registry cannot be reached, the newest that is
    installed; EngineUnavailable where no release begins so.
    """
    if not wanted:
        return package.version
    name = package.name_for(arch or host_architecture())
    if numbers(wanted) < numbers(package.oldest)[: len(numbers(wanted))]:
        raise EngineUnavailable(f"{name} {wanted} is too old", f"the worker needs {package.oldest} or newer")
    whole = wanted in package.releases or wanted.count(".") >= package.version.count(".")
    if whole or not _RELEASE.fullmatch(wanted) or find_installed(package, wanted, arch):
        return wanted
    try:
        found = releases(package, arch) if fetch else _read(_kept(package, arch))
    except EngineUnavailable:
        found, fetch = _read(_kept(package, arch)), False
        if not found and not begins(package.version, wanted):
            raise
    matching = [version for version in _driven(package, found) or [package.version] if begins(version, wanted)]
    if not fetch:
        matching = [version for version in matching if find_installed(package, version, arch)] or matching
    if not matching:
        raise EngineUnavailable(
            f"there is no {name} {wanted}", f"near it: {', '.join(near(wanted, found))}" if found else ""
        )
    return matching[-1]


def _kept(package: Package, arch: str) -> Path:
    folder = folder_of(package, "0", arch).parent
    return folder / f"{re.sub(r'[/:]', '+', package.name_for(arch or host_architecture()))}.releases.json"


def _read(kept: Path) -> list[str]:
    """A list that was kept; nothing for none, and for what cannot be read."""
    try:
        found = json.loads(kept.read_text())
    except (OSError, ValueError):
        return []
    return [version for version in found if isinstance(version, str)] if isinstance(found, list) else []


def _asked(package: Package, arch: str) -> list[str]:
    """What the registry tells."""
    lister = getattr(REGISTRIES[package.registry], "releases", None)
    if lister is None:
        return []
    kept = _kept(package, arch)
    private_folder(kept.parent)
    with locked(kept.with_suffix(".lock")) as lock:
        part = kept.with_suffix(".part")
        host = host_architecture()
        order = Order(package, package.version, arch or host, arch in ("", host), part, kept.parent, lock)
        try:
            part.mkdir(mode=0o700, exist_ok=True)
            found: list[str] = lister(order)
        except ClientFailed as failed:
            raise EngineUnavailable(f"no list of the releases of {package.name}: {failed.reason}") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return found
