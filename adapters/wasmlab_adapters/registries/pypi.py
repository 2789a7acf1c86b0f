"""PyPI: one wheel, by this Python's pip."""

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
    """Download the wheel and unpack it."""
    wheel = order.downloaded("*.whl")
    if wheel is None:
        _download(order)
        wheels = list(order.part.glob("*.whl"))
        if len(wheels) != 1:
            raise EngineUnavailable(f"pip downloaded {len(wheels)} files for {order.what}, not one wheel")
        wheel = order.checked(wheels[0])
    order.unpack([wheel])


def releases(order: Order) -> list[str]:
    """The versions that this machine and Python can have, newest first."""
    said = order.run([*_pip(order), "index", "versions", "--no-input", "--disable-pip-version-check", order.name])
    found = re.search(r"^Available versions: (.*)$", said, re.MULTILINE)
    return found[1].split(", ") if found else []


def _pip(order: Order) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise EngineUnavailable(f"{order.what}: this Python has no pip", f"{sys.executable} -m ensurepip")
    return [sys.executable, "-P", "-m", "pip"]


def _download(order: Order) -> None:
    command = [*_pip(order), "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--retries=2", "--no-deps", "--only-binary", ":all:", "--dest", str(order.part)]
    if not order.native:
        machine = _MACHINES[order.arch]
        tags = [f"manylinux_{glibc}_{machine}" for glibc in _GLIBCS] + [f"manylinux2014_{machine}"]
        command += [f"--platform={tag}" for tag in tags]
    try:
        order.run([*command, f"{order.name}=={order.version}"])
    except ClientFailed as failed:
        if (versions := _VERSIONS.search(failed.words)) and versions[1] != "none":
            raise no_such_version(order, versions[1].split(", ")[::-1]) from None
        raise EngineUnavailable(f"pip cannot get {order.what}: {failed.reason}") from None
