"""PyPI: one wheel, or the sources that a worker of ours is compiled with, by this Python's pip."""

from __future__ import annotations

import importlib.util
import re
import sys

from ..errors import EngineUnavailable
from .order import ClientFailed, Order, no_such_version

VERSION = r"[0-9][0-9A-Za-z.]*"
_VERSIONS = re.compile(r"\(from versions: ([^)]*)\)")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}
_GLIBCS = ("2_39", "2_35", "2_34", "2_31", "2_28", "2_27", "2_17")


def fill(order: Order) -> None:
    """Download the wheel or the sources and unpack them."""
    pattern = "*.tar.gz" if order.package.source else "*.whl"
    archive = order.downloaded(pattern)
    if archive is None:
        _download(order)
        archives = list(order.part.glob(pattern))
        if len(archives) != 1:
            raise EngineUnavailable(f"pip downloaded {len(archives)} files for {order.what}, not one {pattern[1:]}")
        archive = order.checked(archives[0])
    order.unpack([archive])


def releases(order: Order) -> list[str]:
    """The versions that this machine and Python can have."""
    said = order.run([*_pip(order), "index", "versions", "--no-input", "--disable-pip-version-check", order.name])
    found = re.search(r"^Available versions: (.*)$", said, re.MULTILINE)
    return found[1].split(", ") if found else []


def _pip(order: Order) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise EngineUnavailable(f"{order.what}: this Python has no pip", f"{sys.executable} -m ensurepip")
    return [sys.executable, "-P", "-m", "pip"]


def _download(order: Order) -> None:
    command = [*_pip(order), "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--retries=2", "--no-deps", "--dest", str(order.part)]
    if order.package.source:
        command += ["--no-binary", order.name]
    else:
        command += ["--only-binary", ":all:"]
    if not (order.native or order.package.source):
        machine = _MACHINES[order.arch]
        tags = [f"manylinux_{glibc}_{machine}" for glibc in _GLIBCS] + [f"manylinux2014_{machine}"]
        command += [f"--platform={tag}" for tag in tags]
    wanted = f"{order.name}=={order.version}"
    if order.package.source and order.pins:  # pip runs what sources ask for: only if they are the pinned ones
        hashes = "".join(f" --hash=sha256:{digest}" for digest in order.pins.values())
        (order.part / "requirements.txt").write_text(f"{wanted}{hashes}\n")
        wanted = f"--requirement={order.part / 'requirements.txt'}"
    try:
        order.run([*command, wanted])
    except ClientFailed as failed:
        if (versions := _VERSIONS.search(failed.words)) and versions[1] != "none":
            raise no_such_version(order, versions[1].split(", ")) from None
        raise EngineUnavailable(f"pip cannot get {order.what}: {failed.reason}") from None
