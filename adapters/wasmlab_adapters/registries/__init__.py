"""Package registries, a module each, by the registry's own client.

A registry has `fill(order)`, which makes the folder `order.content` from the package, and `VERSION`, what its versions
look like; `PROGRAMS` are those of the machine that it needs.  Adding one is a module here and a row of REGISTRIES.
"""

from __future__ import annotations

from typing import Protocol

from wasmlab_matrices.load import REGISTRIES as NAMES

from . import cargo, debian, go, maven, npm, pypi
from .order import Order


class Registry(Protocol):
    """What a module here offers."""

    VERSION: str
    """A regular expression."""

    def fill(self, order: Order) -> None:
        """Make the folder `order.content`; EngineUnavailable says in one line why that cannot be."""


REGISTRIES: dict[str, Registry] = {
    "pypi": pypi, "npm": npm, "debian": debian, "go": go, "maven": maven, "cargo": cargo,
}  # fmt: skip

if set(REGISTRIES) != set(NAMES):
    raise RuntimeError(f"the rows' registries are {NAMES}")
