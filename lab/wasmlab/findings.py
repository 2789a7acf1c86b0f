"""A folder for each finding: the reduced case, the case it came from, and a regression test."""

from __future__ import annotations

import json
from pathlib import Path

from .foreign import plain
from .model import Divergence, Run
from .wast import to_wast


def write_findings(run: Run, folder: Path) -> None:
    """Write `findings/<id>/` for every divergence."""
    for found in run.divergences:
        target = folder / "findings" / found.id
        target.mkdir(parents=True, exist_ok=True)
        (target / "case.json").write_text(json.dumps(found.case.to_json()) + "\n")
        (target / "reduced.json").write_text(json.dumps(found.reduced.to_json(), indent=1) + "\n")
        (target / "reduced.wast").write_text(regression_test(run, found), encoding="utf-8")


def regression_test(run: Run, found: Divergence) -> str:
    """The script of a divergence: what the first engine says is taken to be right."""
    names = list(found.answers)
    versions = {e.name: e.version for e in run.campaign.engines}
    engines = ", ".join(f"{name} {versions.get(name, '')}".strip() for name in names)
    title = plain(f"{found.sentence}", 300)
    outcomes = found.answers[names[0]][0] if names else ()
    byte = (found.step, *found.byte) if found.byte and found.step is not None else None
    origin = f"wasmlab {found.id}; {plain(engines, 200)}; as on {plain(names[0], 80) if names else 'none'}"
    return to_wast(found.reduced, outcomes, f"{title}\n{origin}", byte)
