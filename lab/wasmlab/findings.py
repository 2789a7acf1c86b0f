"""A folder for each finding: the reduced case, the case it came from, and a regression test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from glob import glob
from pathlib import Path

from wasmlab_ref.case import Read

from .errors import UsageError
from .foreign import plain
from .model import Divergence, Run
from .store import FILE, load
from .wast import to_wast

PLACES = (".", "*", "wasmlab-runs/*")
"""Where campaigns are looked for, from the current folder, when a finding is named by its id alone."""


def write_findings(run: Run, folder: Path) -> None:
    """Write `findings/<id>/` for every divergence."""
    for found in run.divergences:
        target = folder / "findings" / found.id
        target.mkdir(parents=True, exist_ok=True)
        (target / "case.json").write_text(json.dumps(found.case.to_json()) + "\n")
        (target / "reduced.json").write_text(json.dumps(found.reduced.to_json(), indent=1) + "\n")
        (target / "reduced.wast").write_text(regression_test(run, found), encoding="utf-8")


def regression_test(run: Run, found: Divergence) -> str:
    """The script of a divergence of a campaign."""
    return regression_script(found, {engine.name: engine.version for engine in run.campaign.engines})


def regression_script(found: Divergence, versions: Mapping[str, str]) -> str:
    """The script of a divergence: what the first engine says is taken to be right."""
    names = list(found.answers)
    engines = ", ".join(f"{name} {versions.get(name, '')}".strip() for name in names)
    title = plain(f"{found.sentence}", 300)
    outcomes = found.answers[names[0]][0] if names else ()
    byte = (found.step, *found.byte) if found.byte and found.step is not None else None
    entry = _entry(found)
    calls = found.answers[names[0]][1] if found.stage == "trace" else None
    origin = f"wasmlab {found.id}; {plain(engines, 200)}; as on {plain(names[0], 80) if names else 'none'}"
    return to_wast(found.reduced, outcomes, f"{title}\n{origin}", byte, entry, calls)


def _entry(found: Divergence) -> tuple[int, int] | None:
    """Step and place of the first entry of a table that is null on one side only, or of its size."""
    step = found.step
    if step is None or not isinstance(found.reduced.steps[step], Read) or len(found.groups) < 2:
        return None
    sides = [found.answers[group[0]][0] for group in found.groups[:2] if group[0] in found.answers]
    if len(sides) < 2 or any(step >= len(side) for side in sides):
        return None
    a, b = (side[step].values for side in sides)
    if len(a) < 2 or not a[1:] + b[1:] or not all(value.startswith("ref.") for value in a[1:] + b[1:]):
        return None
    if len(a) != len(b):
        return step, 0
    differ = (at for at, (x, y) in enumerate(zip(a, b, strict=True)) if (x == "ref.null") != (y == "ref.null"))
    at = next(differ, None)
    return None if at is None else (step, at)


def find(text: str) -> tuple[Run, Divergence] | None:
    """The finding that `text` names: `FOLDER/ID`, a folder `…/findings/ID`, or an id (or how it begins) alone.

    None if it is not written like one; `UsageError` if there is none, or more than one.
    """
    path = Path(text)
    if not re.fullmatch(r"[0-9a-f]{4,12}", path.name) or path.is_file():
        return None
    folder = path.parent.parent if path.parent.name == "findings" else path.parent
    places = (
        [folder]
        if len(path.parts) > 1
        else [at for place in PLACES for at in sorted(map(Path, glob(place) if place else ["."]))]
    )
    found = [match for place in places if (place / FILE).is_file() for match in _matches(load(place), path.name)]
    ids = sorted({f"{run.folder}/{divergence.id}" for run, divergence in found})
    if not found:
        where = f"in {folder}" if len(path.parts) > 1 else "in the campaigns of this folder or of wasmlab-runs/"
        raise UsageError(f"no file and no finding {plain(text, 80)} {where}", hint="FOLDER/ID names one of a campaign")
    if len({divergence.id for _, divergence in found}) > 1:
        raise UsageError(f"{plain(text, 80)} is the beginning of several ids: {', '.join(ids[:5])}")
    return min(found, key=lambda match: match[1].size)


def _matches(run: Run, start: str) -> Iterator[tuple[Run, Divergence]]:
    return ((run, divergence) for divergence in run.divergences if divergence.id.startswith(start))
