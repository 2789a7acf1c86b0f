"""A matrix: engines × architectures × suites and campaigns, as one YAML file; `campaigns/` holds the project's own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from .load import ARCHITECTURES
from .schema import SchemaError, read_yaml

__all__ = ["Conformance", "Fuzzing", "Matrix", "SchemaError", "known_matrices", "load_matrix"]


@dataclass(frozen=True, slots=True)
class Conformance:
    """A suite on engines; without `engines`, on all of the matrix."""

    suite: str = "core"
    filter: str = ""
    """Only files that match this glob."""
    engines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fuzzing:
    """A campaign.  Exactly one of `examples` (cases) and `minutes` says how long; without a seed, that of the day."""

    name: str
    engines: tuple[str, ...]
    examples: int | None = None
    minutes: float | None = None
    seed: int | None = None
    features: tuple[str, ...] = ()
    """Only these; by default all that every engine has."""

    def __post_init__(self) -> None:
        if len(self.engines) < 2:
            raise ValueError("a campaign needs at least two engines")
        if (self.examples is None) == (self.minutes is None):
            raise ValueError("expected either `examples` or `minutes`")
        if not self.name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"name {self.name!r}: expected letters, digits, - and _")


@dataclass(frozen=True, slots=True)
class Matrix:
    """What is run.  Each engine runs on each of `archs` that it is made for, unless its name says one."""

    about: str
    engines: tuple[str, ...]
    archs: tuple[str, ...] = ()
    """Architectures; by default the machine's own."""
    conform: tuple[Conformance, ...] = ()
    fuzz: tuple[Fuzzing, ...] = ()
    known: str = ""
    """A file of rows such as known.yaml whose cases are to show what they say; `own` are the project's own."""

    def __post_init__(self) -> None:
        for arch in self.archs:
            if arch not in ARCHITECTURES:
                raise ValueError(f"unknown architecture {arch!r}; known: {', '.join(ARCHITECTURES)}")
        names = [campaign.name for campaign in self.fuzz]
        if len(set(names)) != len(names):
            raise ValueError("two campaigns have one name")


def known_matrices() -> tuple[str, ...]:
    """The names of the project's own matrices."""
    folder = files(__package__) / "campaigns"
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_matrix(name: str) -> Matrix:
    """The matrix of a file, or one of the project's own by its name; OSError, or SchemaError with file, line, key."""
    if name in known_matrices():
        source = files(__package__) / "campaigns" / f"{name}.yaml"
        return read_yaml(source.read_text(encoding="utf-8"), f"{name}.yaml", Matrix)
    return read_yaml(Path(name).read_text(encoding="utf-8"), name, Matrix)
