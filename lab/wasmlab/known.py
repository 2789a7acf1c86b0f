"""Known divergences: rows of data, each with a reason and a link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

import yaml

from .errors import UsageError
from .signature import Signature

_COLUMNS = {"engine", "versions", "signature", "reason", "link"}


@dataclass(frozen=True, slots=True)
class Row:
    """A known divergence: globs of the engine's name, its version and the signature; why; where it is written up."""

    engine: str
    versions: str
    signature: str
    reason: str
    link: str


@dataclass(frozen=True, slots=True)
class Known:
    """The rows of a file such as known.yaml."""

    rows: tuple[Row, ...] = ()

    def reason(self, signature: Signature, engines: Iterable[Any]) -> str:
        """Reason and link of the first row that matches, else ""."""
        text = str(signature)
        for row in self.rows:
            if fnmatchcase(text, row.signature) and any(
                fnmatchcase(engine.name, row.engine) and fnmatchcase(str(getattr(engine, "version", "")), row.versions)
                for engine in engines
            ):
                return f"{row.reason} {row.link}".strip()
        return ""


def parse_known(text: str, where: str) -> Known:
    """Read rows; `UsageError` names the row that is wrong."""
    try:
        rows = yaml.safe_load(text) or []
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: {error}") from None
    if not isinstance(rows, list):
        raise UsageError(f"{where}: expected a list of rows")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or set(row) != _COLUMNS or not all(isinstance(v, str) for v in row.values()):
            raise UsageError(f"{where}: row {number} must have the texts {', '.join(sorted(_COLUMNS))}")
    return Known(tuple(Row(**row) for row in rows))


def known_divergences() -> Known:
    """The rows that wasmlab ships."""
    return parse_known((files("wasmlab_matrices") / "known.yaml").read_text(), "known.yaml")
