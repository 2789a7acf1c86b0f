"""Which architectures run here natively, which under QEMU, as which processor model, and whether that is set up."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wasmlab_matrices.architectures import load_architectures

from .errors import EngineNameError, EngineUnavailable
from .install import host_architecture

SLOWER = 10
"""How many times as long an interpreter takes under QEMU; limits of time are longer by it."""
BINFMT = Path("/proc/sys/fs/binfmt_misc")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a worker in a container runs: an architecture, and, where it is emulated, QEMU's version and the model."""

    arch: str
    cpu: str = ""
    qemu: str = ""

    def __str__(self) -> str:
        if not self.cpu:
            return f"container, {self.arch}"
        return f"container, {self.arch}, QEMU {self.qemu or 'of unknown version'} as {self.cpu}"

    @property
    def platform(self) -> str:
        """What Docker calls it."""
        return load_architectures()[self.arch].platform

    @property
    def env(self) -> dict[str, str]:
        """What QEMU needs to know."""
        return {"QEMU_CPU": load_architectures()[self.arch].cpus[self.cpu]} if self.cpu else {}

    @property
    def second(self) -> str:
        """The model on which a divergence has to be seen, too, before it counts; "" where nothing is emulated."""
        models = load_architectures()[self.arch].cpus
        return next(model for model in models if model != self.cpu) if self.cpu else ""


def machine(arch: str, cpu: str = "") -> Machine:
    """The machine of a container; EngineNameError for a model that is unknown, or where the processor is real."""
    if not emulated(arch):
        if cpu:
            raise EngineNameError(f"this machine is {arch} itself: it has no model {cpu!r} to choose")
        return Machine(arch)
    models = load_architectures()[arch].cpus
    if cpu and cpu not in models:
        raise EngineNameError(f"unknown processor model {cpu!r} of {arch}; known: {', '.join(models)}")
    return Machine(arch, cpu or next(iter(models)), qemu_version(arch))


def emulated(arch: str) -> bool:
    """Whether containers of an architecture need QEMU here."""
    return arch != host_architecture()


def usual_cpu(arch: str) -> str:
    """What QEMU_CPU is where nobody asked for a model."""
    return next(iter(load_architectures()[arch].cpus.values()))


def ready(arch: str) -> None:
    """EngineUnavailable where the kernel does not hand programs of that architecture to QEMU."""
    if not emulated(arch) or not local_daemon() or any(_registered(arch)):
        return
    name = load_architectures()[arch].machine
    hint = "sudo apt-get install qemu-user-static binfmt-support"
    if not (BINFMT / "register").exists():
        hint += f"; sudo mount -t binfmt_misc binfmt_misc {BINFMT}; sudo update-binfmts --enable qemu-{name}"
    elif (BINFMT / f"qemu-{name}").exists() or Path(f"/usr/bin/qemu-{name}-static").exists():
        hint = f"sudo update-binfmts --enable qemu-{name}"
    raise EngineUnavailable(f"containers of {arch} need QEMU, which the kernel is not told of here", hint)


def local_daemon() -> bool:
    """Whether Docker's containers run under this kernel, as far as its address tells."""
    return BINFMT.parent.exists() and os.environ.get("DOCKER_HOST", "unix:").startswith("unix:")


def _registered(arch: str) -> Iterator[Path]:
    """QEMU's programs that the kernel starts for an architecture, wherever the file system is: flag F."""
    try:
        entries = sorted(BINFMT.glob(f"*{load_architectures()[arch].machine}*"))
    except OSError:
        return
    for entry in entries:
        text = entry.read_text(errors="replace")
        found = re.search(r"^interpreter (.+)$", text, re.MULTILINE)
        if found and text.startswith("enabled") and re.search(r"^flags: \w*F", text, re.MULTILINE):
            yield Path(found[1])


@functools.cache
def qemu_version(arch: str) -> str:
    """The version of the QEMU that the kernel starts, "" where that cannot be told."""
    if not local_daemon():
        return ""
    for path in _registered(arch):
        try:
            done = subprocess.run([path.resolve(), "--version"], capture_output=True, timeout=10, text=True)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if found := re.search(r"version (\d[\w.]*)", done.stdout):
            return found[1]
    return ""
