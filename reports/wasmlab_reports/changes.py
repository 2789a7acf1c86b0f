"""What changed between two runs, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from wasmlab.model import Run

from .divergences import finding
from .markdown import code
from .merge import Totals, merged, summed, totals


@dataclass(frozen=True, slots=True)
class Change:
    """A divergence that only one of the runs has."""

    id: str
    title: str
    sentence: str
    count: int
    known: str
    command: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs; `same` divergences are in both."""

    new: tuple[Change, ...]
    gone: tuple[Change, ...]
    same: int
    versions: tuple[tuple[str, str], ...]
    rules_new: tuple[str, ...]
    rules_lost: tuple[str, ...]
    before: Totals
    after: Totals


def changes(before: Sequence[Run], after: Sequence[Run]) -> Changes:
    """What differs between two sets of campaigns."""
    old, new = ({d.id: (run, d) for run, d in merged(runs)} for runs in (before, after))
    rules_old, rules_new = (set(summed(run.rules for run in runs)) for runs in (before, after))
    return Changes(
        new=tuple(_change(*new[id_]) for id_ in new if id_ not in old),
        gone=tuple(_change(*old[id_]) for id_ in old if id_ not in new),
        same=len(old.keys() & new.keys()),
        versions=tuple(_versions(before, after)),
        rules_new=tuple(sorted(rules_new - rules_old)),
        rules_lost=tuple(sorted(rules_old - rules_new)),
        before=totals(before),
        after=totals(after),
    )


def _change(run: Run, divergence: object) -> Change:
    f = finding(run, divergence)  # type: ignore[arg-type]
    return Change(f.found.id, f.title, f.found.sentence, f.found.count, f.found.known, f.command)


def _versions(before: Sequence[Run], after: Sequence[Run]) -> list[tuple[str, str]]:
    """What the engines' names resolved to, where that changed; "" where an engine is in one run only."""
    found: list[dict[str, str]] = []
    for runs in (before, after):
        found.append({n: v for run in runs for n, v in zip(run.campaign.names, run.campaign.versions, strict=True)})
    old, new = found
    return [(old.get(n, ""), new.get(n, "")) for n in sorted({*old, *new}) if old.get(n) != new.get(n)]


def as_json(found: Changes) -> str:
    """One object."""
    return json.dumps(asdict(found), indent=1) + "\n"


def as_markdown(found: Changes) -> str:
    """Text that reads well in a terminal and in a CI's summary."""
    lines = [f"# {len(found.new)} new, {len(found.gone)} not seen again, {found.same} as before", ""]
    for old, new in found.versions:
        lines.append(f"- engine: {code(old) if old else 'none'} → {code(new) if new else 'none'}")
    for label, was, now in (
        ("cases", f"{found.before.cases:,}", f"{found.after.cases:,}"),
        ("calls complete", f"{found.before.complete:.1%}", f"{found.after.complete:.1%}"),
        ("inconclusive", f"{found.before.inconclusive:.1%}", f"{found.after.inconclusive:.1%}"),
    ):
        if was != now:
            lines.append(f"- {label}: {was} → {now}")
    for label, rules in (("rules new", found.rules_new), ("rules not reached any more", found.rules_lost)):
        if rules:
            lines.append(
                f"- {label}: {len(rules)} ({', '.join(map(code, rules[:8]))}{', …' if len(rules) > 8 else ''})"
            )
    for label, rows in (("New", found.new), ("Not seen again", found.gone)):
        if rows:
            lines += ["", f"## {label}", ""]
        for row in rows:
            known = f" Known: {code(row.known)}." if row.known else ""
            lines.append(f"- {code(row.id)} {code(row.title, 120)}, {row.count:,} cases: {code(row.sentence)}.{known}")
            lines.append(f"  {code(row.command, 500)}")
    return "\n".join(lines).rstrip() + "\n"
