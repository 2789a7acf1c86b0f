"""Known divergences once more: does the case of each row still show on its engine what the row says?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from wasmlab_adapters.whole import write_json
from wasmlab_matrices.known import FOLDER, OWN, KnownDivergence, load_known
from wasmlab_ref.case import Case

from .errors import Missing, UsageError
from .known import Known
from .loading import load_file
from .opening import judging, opened
from .signature import signature_of

TRIES = 3
"""How often a case is run before it is said that it shows nothing."""

SHOWN, STALE, MISSING = "shown", "stale", "missing"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a row's case on its engine: `shown`, `stale` (it shows something else, or nothing), `missing`."""

    engine: str
    version: str
    case: str
    state: str
    said: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As a dictionary."""
        return asdict(self)


def rows_of(name: str) -> tuple[tuple[KnownDivergence, ...], Path]:
    """The rows of a file, or the project's own, and the folder that their cases are in."""
    return (load_known(), FOLDER) if name == OWN else (load_known(Path(name)), Path(name).parent)


def replay(
    rows: Sequence[KnownDivergence], folder: Path, open_: Callable[[Sequence[str]], Any] = opened
) -> Iterator[Replayed]:
    """Run the case of each row on the reference and on the row's engine, an engine's rows one after the other."""
    ordered = sorted(rows, key=lambda row: row.column)
    for column, group in groupby(ordered, key=lambda row: row.column):
        yield from _replay(column, [(row, load_file(folder / row.case).case) for row in group], open_)


def _replay(
    column: str, rows: Sequence[tuple[KnownDivergence, Case]], open_: Callable[[Sequence[str]], Any]
) -> Iterator[Replayed]:
    try:
        with open_(("ref", column)) as engines, judging(engines) as judgement:
            for row, case in rows:
                state, said = _state(row, case, engines, judgement)
                yield Replayed(column, engines[1].version, row.case, state, said, row.reason)
    except Missing as error:
        for row, _ in rows:
            yield Replayed(column, "", row.case, MISSING, str(error), row.reason)


def _state(row: KnownDivergence, case: Case, engines: Sequence[Any], judgement: Any) -> tuple[str, str]:
    name, version = engines[1].name, str(engines[1].version)
    if not row.concerns(name, version):
        return STALE, f"the row is about versions {row.versions}"
    said = ""
    for _ in range(TRIES):
        verdict, _ = judgement.compare(engines, case)
        if not verdict.diverges:
            said = said or f"{verdict.kind}{f': {verdict.reason}' if verdict.reason else ''}"
            continue
        signature = signature_of(case, verdict)
        if Known((row,)).reason(signature, case, engines):
            return SHOWN, verdict.reason
        said = f"something else: {signature}"
    return STALE, said


FILE = "known.json"
"""What a run leaves in its folder."""


def save(found: Sequence[Replayed], folder: Path) -> None:
    """Keep what became of the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, [row.to_json() for row in found])


def load_replayed(folder: Path) -> list[Replayed]:
    """What `save` kept; nothing where there is nothing."""
    try:
        return [Replayed(**row) for row in json.loads((folder / FILE).read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise UsageError(f"{folder / FILE} is no record of known divergences: {error}") from None
