"""The rows of known.yaml: divergences of engines that are known, each with its reason and a case that shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .schema import read_yaml

OWN = "own"
"""What the project's own rows are called where a file of rows is asked for."""

FOLDER = Path(__file__).parent
"""Where the project's own rows and their cases are."""


@dataclass(frozen=True, slots=True)
class KnownDivergence:
    """A bug of an engine: how it shows, why, where it is written up, and a case that shows it."""

    engine: str
    """Glob of the name: "v8*", "wasmtime*/winch".  Without its stars it is the engine that is asked for the case."""
    versions: str
    """Glob of the engine's version."""
    signature: str
    """Glob of the signature as it is where only the reference (`ref`) and one such engine are compared."""
    case: str
    """A script, module or case beside the file of rows."""
    reason: str
    link: str
    modules: str = ""
    """A regular expression to be found in the modules, which are text, each after what validation has against it."""

    def __post_init__(self) -> None:
        for name in ("engine", "versions", "signature", "case", "reason", "link"):
            if not getattr(self, name).strip():
                raise ValueError(f"key {name!r} is empty")
        if re.search(r"[\[\]?]", self.engine):
            raise ValueError("engine: only the star may stand for something else")
        try:
            re.compile(self.modules)
        except re.error as error:
            raise ValueError(f"modules: no regular expression: {error}") from None

    @property
    def column(self) -> str:
        """The engine that is asked whether the case still shows it."""
        return self.engine.replace("*", "")

    @property
    def sweeping(self) -> bool:
        """Does it say nothing of instructions, only of what validation has against a module?  Then a case need not be
        small to be explained by it."""
        return self.signature.endswith((" at *", ": *")) and (not self.modules or self.modules.startswith(";; "))

    def concerns(self, engine: str, version: str) -> bool:
        """Is it about this engine?"""
        return fnmatchcase(engine, self.engine) and fnmatchcase(version, self.versions)


def load_known(path: Path | None = None) -> tuple[KnownDivergence, ...]:
    """The rows of a file, or the package's own; SchemaError says file, line and key."""
    source = path or FOLDER / "known.yaml"
    return read_yaml(source.read_text(encoding="utf-8"), str(path or source.name), tuple[KnownDivergence, ...])
