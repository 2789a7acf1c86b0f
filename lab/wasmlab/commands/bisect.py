"""`wasmlab bisect`: the first release of an engine that shows a divergence."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

import click
from rich.console import Console
from rich.text import Text

from wasmlab_ref.case import Case

from .. import bisect as b
from ..bisect import BAD, GOOD, Answer, Bisection
from ..errors import LabError, Missing, UsageError
from ..foreign import plain
from ..loading import load_any
from ..opening import engine_errors, judging, names_of, opened

STYLES = {GOOD: "green", BAD: "red"}


@click.command("bisect")
@click.argument("file")
@click.option("--engines", default="", help="Who is right, and last the engine to bisect. A finding has its own.")
@click.option("--invoke", "calls", multiple=True, help='A call of a bare module, "add 1 0x2"; may be repeated.')
@click.option("--good", help="The oldest version to look at. Default: the oldest that there is.")
@click.option("--bad", help="The newest version to look at. Default: the one in --engines, else the newest.")
@click.option("--versions", help="The versions, oldest first, separated by commas. Default: all releases.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1, 100), help="Runs of each version.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def bisect(
    file: str, engines: str, calls: tuple[str, ...], good: str | None, bad: str | None, versions: str | None,
    repeats: int, as_json: bool,
) -> None:  # fmt: skip
    """Find the first release of an engine that differs from the others on a file or a finding.

    Each version that is asked is installed into your cache and runs the case several times in fresh processes: it is
    bad if it differs each time, good if it never does; what differs only sometimes, lacks a feature or cannot be had
    is inconclusive and passed over. Versions between the last good one and the first bad one that say nothing are
    named. Where the oldest is bad and the newest good, the release that fixed it is found. Exit status 1 if a version
    is bad, 0 if none is, 3 if none could be asked.

    \b
    Example: wasmlab bisect night/3f2a90c1d4e5 --good 4.0.0
    """
    loaded = load_any(file, calls)
    names = list(loaded.engines if loaded.engines and not engines else names_of(engines, least=2))
    if len(names) < 2:
        raise UsageError("two engines are needed: who is right, and the one to bisect", hint="--engines ref,wasmtime")
    *others, suspect = names
    chosen = _versions(suspect, good, bad, versions)
    console = Console(stderr=True)
    console.print(Text(plain(f"{suspect}: {len(chosen)} versions, {chosen[0]} to {chosen[-1]}")), soft_wrap=True)

    def ask(version: str) -> Answer:
        answer = _ask(loaded.case, [*others, at_version(suspect, version)], repeats)
        line = Text.assemble(f"{version:>12}  ", (answer.kind, STYLES.get(answer.kind, "yellow")))
        console.print(line + Text(f"  {plain(answer.why, 200)}", style="dim"), soft_wrap=True)
        return answer

    found = b.bisect(chosen, ask)
    if not (found.good or found.bad):
        raise Missing(f"no version of {suspect} that was asked said anything", "the reasons are above")
    click.echo(json.dumps(to_json(found)) if as_json else plain(sentence(suspect, found), 2000))
    sys.exit(1 if found.bad else 0)


def _versions(suspect: str, good: str | None, bad: str | None, versions: str | None) -> list[str]:
    from wasmlab_adapters.registry import EngineName

    with engine_errors():
        name = EngineName.parse(suspect)
        if name.program:
            raise UsageError(f"{plain(suspect, 80)} is a program, and has no versions to choose from")
        found = [v.strip() for v in versions.split(",") if v.strip()] if versions else _releases(name.engine)
    bad = bad or name.version
    first = _versions_of(name.engine, good, found)[0] if good else 0
    last = _versions_of(name.engine, bad, found)[-1] if bad else len(found) - 1
    if last <= first:
        raise UsageError(f"there is nothing between {found[first]} and {found[last]}")
    return found[first : last + 1]


def _versions_of(engine: str, end: str, found: Sequence[str]) -> list[int]:
    """Where in `found` a version is, or all those are that begin so."""
    from wasmlab_adapters.registries.order import begins, near

    at = [number for number, version in enumerate(found) if begins(version, end)]
    if not at:
        raise UsageError(f"{engine} has no version {plain(end, 40)}", hint=f"near it: {', '.join(near(end, found))}")
    return at


def _releases(engine: str) -> list[str]:
    from wasmlab_adapters.registry import row_of
    from wasmlab_adapters.releases import releases

    package = row_of(engine).package
    if package is None:
        raise UsageError(f"{engine} is part of the lab and has no versions to choose from")
    return releases(package)


def at_version(name: str, version: str) -> str:
    """The engine of that name in another version."""
    from wasmlab_adapters.registry import EngineName

    return str(replace(EngineName.parse(name), version=version))


def _ask(case: Case, names: Sequence[str], repeats: int) -> Answer:
    """Run the case in fresh processes of each engine, several times."""
    bad, other = 0, ""
    for done in range(repeats):
        try:
            with opened(names) as engines, judging(engines) as judgement:
                verdict, _ = judgement.compare(engines, case)
        except LabError as error:
            return Answer("unavailable", str(error).partition("\n")[0])
        if verdict.diverges and not any(names[-1] in group for group in verdict.groups[1:]):
            other = "the others differ among themselves"
        bad += verdict.diverges
        other = other or ("" if verdict.kind in ("agree", "diverge") else verdict.reason)
        if other and not bad:
            return Answer("inconclusive", other, bad, done + 1)
        if verdict.diverges:
            why = verdict.reason
    if bad == repeats:
        return Answer(BAD, why, bad, repeats)
    return Answer("flaky", f"differs in {bad} of {repeats} runs", bad, repeats) if bad else Answer(GOOD, "", 0, repeats)


def sentence(suspect: str, found: Bisection) -> str:
    """The result in words."""
    if not found.bad:
        return f"no version of {suspect} that was asked is bad; good: {found.good or 'none'}"
    if not found.good:
        return f"{suspect}: {found.bad} is bad already, and no version that was asked is good"
    unsure = f"; in between, inconclusive: {', '.join(found.between)}" if found.between else ""
    if found.fixed:
        return f"{suspect}: fixed in {found.good}, last bad {found.bad}{unsure}"
    return f"{suspect}: first bad {found.bad}, last good {found.good}{unsure}"


def to_json(found: Bisection) -> dict[str, object]:
    """What `bisect --json` prints."""
    return {
        "good": found.good or None,
        "bad": found.bad or None,
        "fixed": found.fixed,
        "between": found.between,
        "answers": {version: asdict(answer) for version, answer in found.answers.items()},
    }
