"""Features of the standard: the rows of features.tbl, and what a set of them implies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Feature:
    """A row of features.tbl; `since` is the version of the standard that has it, "-" for a proposal."""

    name: str
    since: str
    implies: tuple[str, ...]
    help: str


def _load() -> dict[str, Feature]:
    rows = {}
    for line in (files(__package__) / "features.tbl").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, since, implies, help_ = line.split(maxsplit=3)
            rows[name] = Feature(name, since, () if implies == "-" else tuple(implies.split(",")), help_)
    return rows


FEATURES: dict[str, Feature] = _load()
WASM_3: frozenset[str] = frozenset(name for name, row in FEATURES.items() if row.since != "-")


def closure(names: Iterable[str]) -> frozenset[str]:
    """The features named and all that they imply; KeyError for an unknown name."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += FEATURES[name].implies
    return frozenset(found)
