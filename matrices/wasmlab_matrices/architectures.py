"""The rows of architectures.yaml: the architectures that workers run on, and how others call them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files

from .schema import read_yaml


@dataclass(frozen=True, slots=True)
class Architecture:
    """A row of architectures.yaml."""

    machine: str
    """What `uname -m` and QEMU call it."""
    platform: str
    """What Docker calls it."""
    triple: str
    """What compilers and Debian's folders call it."""
    cpus: dict[str, str]
    """Names of processor models to what QEMU_CPU is set to: the usual one first, then the one that has to confirm."""

    def __post_init__(self) -> None:
        if len(self.cpus) < 2:
            raise ValueError("cpus: expected two at least")


@functools.cache
def load_architectures() -> dict[str, Architecture]:
    """The architectures by the lab's name for them."""
    source = files(__package__) / "architectures.yaml"
    return read_yaml(source.read_text(), "architectures.yaml", dict[str, Architecture])
