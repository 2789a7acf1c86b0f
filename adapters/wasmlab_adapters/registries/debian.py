"""Debian: a package with all that it needs, of any release, by an apt state of one's own; the system stays untouched.

The mirror and its keys are the machine's own.  apt holds every file against the release's signature.  Programs out of
another release than the machine's are run by the loader that was unpacked with them (`run_unpacked`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from wasmlab_matrices.architectures import load_architectures

from ..errors import EngineUnavailable
from .order import ClientFailed, Order, locked

VERSION = r"[0-9][0-9A-Za-z.]*"
PROGRAMS = ("apt-get", "apt-cache", "dpkg-deb")
SOURCES = Path("/etc/apt")
_LOADERS = {
    "amd64": "lib64/ld-linux-x86-64.so.2",
    "arm64": "lib/ld-linux-aarch64.so.1",
    "riscv64": "lib/ld-linux-riscv64-lp64d.so.1",
}


def fill(order: Order) -> None:
    """Download the package and what it depends on, and unpack all into one root."""
    if order.version not in order.package.releases:
        known = ", ".join(order.package.releases)
        raise EngineUnavailable(f"Debian has no {order.what} that wasmlab knows", f"there are {known}")
    suite, _, package = order.package.releases[order.version].partition(" ")
    state = order.shared / f"apt-{suite}-{order.arch}"
    state.mkdir(mode=0o700, exist_ok=True)
    with locked(state / "wasmlab.lock"):  # several packages may be installed from one suite at once
        _download(order, suite, package, state)
    order.unpack(sorted(order.part.glob("archives/*.deb")))


def _download(order: Order, suite: str, package: str, state: Path) -> None:
    apt = _options(order, suite, state)
    try:
        order.run(["apt-get", *apt, "update"])
        found = order.run(["apt-cache", *apt, "policy", package])
        version = re.search(r"Candidate: (?:\d+:)?(\S+)", found)
        if not version or version[1] == "(none)":
            raise EngineUnavailable(f"Debian {suite} has no {package} for {order.arch}")
        if not version[1].startswith(order.version):
            raise EngineUnavailable(
                f"Debian {suite} has {package} {version[1]} now, not {order.version}", "its row needs a new version"
            )
        order.run(["apt-get", *apt, "--yes", "--download-only", "install", package])
    except ClientFailed as failed:
        raise EngineUnavailable(f"apt cannot get {order.what}: {failed.reason}") from None


def run_unpacked(folder: Path, arch: str, program: str, root: str = "") -> list[str]:
    """The command that runs a program out of an unpacked root by its own loader and libraries.

    `folder` is the root here, `root` where it will lie when the command is run.
    """
    root = root or str(folder)
    loader = next((path for path in (f"usr/{_LOADERS[arch]}", _LOADERS[arch]) if (folder / path).exists()), None)
    if loader is None:
        raise EngineUnavailable(f"{folder} has no loader for {arch}", "remove the folder, and install again")
    triple = load_architectures()[arch].triple
    places = (f"usr/lib/{triple}", f"lib/{triple}", "usr/lib", "lib")
    return [f"{root}/{loader}", "--library-path", ":".join(f"{root}/{path}" for path in places), f"{root}/{program}"]


def _options(order: Order, suite: str, state: Path) -> list[str]:
    """The options that make apt know one suite for one architecture and nothing else; its lists are kept."""
    mirror, keys = _mirror()
    for folder in (state / "lists" / "partial", state / "etc" / "preferences.d", order.part / "archives" / "partial"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [signed-by={keys}] {mirror} {suite} main\n")
    settings = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Cache::archives": order.part / "archives",
        "Dir::Etc": state / "etc",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": order.arch,
        "APT::Architectures": order.arch,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Retries": "2",
        "Debug::NoLocking": "true",  # the lock is ours
    }
    return ["-qq", *(f"-o{key}={value}" for key, value in settings.items())]


def _mirror() -> tuple[str, str]:
    """The machine's mirror of Debian and the file with its keys."""
    for path in sorted([*SOURCES.glob("sources.list.d/*"), SOURCES / "sources.list"]):
        if path.suffix not in (".sources", ".list") or not os.access(path, os.R_OK):
            continue
        found = re.search(r"^(?:URIs:|deb )\s*(?:\[[^]]*\]\s*)?(\S+/debian/?)(?:\s|$)", path.read_text(), re.MULTILINE)
        if found:
            keys = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
            if not keys.exists():
                raise EngineUnavailable("Debian's keys are missing", "apt-get install debian-archive-keyring")
            return found[1], str(keys)
    raise EngineUnavailable(
        "this machine knows no mirror of Debian", f"add one to {SOURCES}/sources.list.d (file.sources), and its keys"
    )
