"""`wasmlab fuzz`: the campaign."""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..campaign import generate, generator_digest, records, siblings_for
from ..display import Display, output, summary
from ..errors import Missing, UsageError
from ..findings import write_findings
from ..known import known_divergences
from ..model import Campaign, Run
from ..opening import ARCHS, REFERENCE, common_features, engine_errors, merged_stages, names_of, open_engine, opened
from ..parallel import Totals, hunt
from ..plan import SIBLINGS, Plan
from ..store import Store, load
from .options import Duration, stopping


@click.command("fuzz")
@click.option("--engines", default="", help="Engines, separated by commas: ref,wasmtime.")
@click.option("--engine", "more", multiple=True, help="One more engine; may be repeated (for programs with commas).")
@ARCHS
@click.option("--features", help="Features to use, separated by commas. Default: all that every engine supports.")
@click.option("--examples", type=click.IntRange(min=1), help="Number of cases.")
@click.option("--time", "duration", type=Duration(), help="How long, such as 10m. Default, without --examples: 1m.")
@click.option("--seed", type=click.IntRange(min=0), help="Default: a random one, which is printed.")
@click.option("-j", "jobs", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the campaign; an existing one is resumed.")
@click.option("--nan", type=click.Choice(["raw", "canonical"]), help="NaNs as engines make them, or made canonical.")
@click.option(
    "--relaxed", type=click.Choice(["raw", "settled"]), help="Relaxed SIMD on any operands, or on settled ones."
)
@click.option("--first", is_flag=True, help="Stop at the first divergence.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--no-html", is_flag=True, help="No HTML report.")
def fuzz(
    engines: str, more: tuple[str, ...], archs: tuple[str, ...], features: str | None, examples: int | None,
    duration: float | None, seed: int | None, jobs: int, out: Path | None, nan: str | None, relaxed: str | None,
    first: bool, as_json: bool, no_html: bool,
) -> None:  # fmt: skip
    """Generate cases, run them on every engine, and report where they differ.

    Divergences are confirmed in fresh processes, reduced to a few instructions and told apart by signature. Ctrl-C
    keeps everything; the same command with the same --out and --seed goes on. An engine that cannot be started again,
    three times in a row, is left out: the others go on, and the exit status is 3 unless there is a divergence. One
    that is far slower than all others takes what cases it can, unless --examples says how many all are to take.

    Without --nan and --relaxed half of the cases are raw where an engine takes profiles (ref does): what differs
    then is explained by it, or found open.

    \b
    Example: wasmlab fuzz --engines ref,wasmtime --time 10m -j 2 --out night
    """
    names = names_of(engines, more, archs, least=2)
    duration = duration if duration or examples else 60.0
    with ExitStack() as stack:
        started = stack.enter_context(opened(names))
        common = common_features(started, features)
        engine_records = records(started)
        mixed = any(getattr(engine, "profiles", False) for engine in started)
        folder = out or Path("wasmlab-runs") / time.strftime("%Y-%m-%d-%H%M%S")
        seed = _seed(folder) if seed is None else seed
        nan, relaxed = nan or ("mixed" if mixed else "canonical"), relaxed or ("mixed" if mixed else "settled")
        siblings = siblings_for(engine_records)
        generator = f"{generator_digest()} nan={nan} relaxed={relaxed}"
        generator += f" siblings={siblings}" if siblings != SIBLINGS else ""
        campaign = Campaign(engine_records, tuple(sorted(common)), seed, generator)
        linked = not any(getattr(engine, "island", False) for engine in started)
        generator += "" if linked else " one module"
        make = partial(generate, nan=nan, relaxed=relaxed, siblings=siblings, linked=linked)
        plan = Plan(
            names, common, seed, open_engine, make, examples,
            merged=merged_stages(started), arbiter=REFERENCE, known=known_divergences(), siblings=siblings,
        )  # fmt: skip
        if jobs == 1:
            plan = replace(plan, resolve=Ready(started))
        else:
            stack.close()
        status = _campaign(plan, folder, campaign, jobs, duration, first)
    _finish(folder, as_json, not no_html)
    found = any(not divergence.known for divergence in load(folder).divergences)
    sys.exit(1 if found and status != INTERRUPTED else status)


def _seed(folder: Path) -> int:
    """The seed of the campaign to resume, or a random one."""
    try:
        return load(folder).campaign.seed
    except UsageError:
        return secrets.randbits(32)


class Ready:
    """Opens engines, those first that are started already, each once: some take seconds to start."""

    def __init__(self, started: list[Any]) -> None:
        self._started = {engine.name: engine for engine in started}

    def __call__(self, name: str) -> Any:
        return self._started.pop(name, None) or open_engine(name)


INTERRUPTED = 130


def _campaign(plan: Plan, folder: Path, campaign: Campaign, jobs: int, duration: float | None, first: bool) -> int:
    """Run it, with a display; the exit status, divergences apart."""
    with Store(folder, campaign) as store, stopping() as stop, engine_errors():
        with Display(f"{folder}, seed {plan.seed}", plan.engines, plan.examples, duration) as display:
            display.note(f"{', '.join(campaign.versions)}; seed {plan.seed}; {folder}")
            if done := sum(end - start for start, end in store.progress.ranges):
                display.note(f"goes on after {done:,} cases")
            if duration is not None:
                plan = replace(plan, deadline=time.monotonic() + duration)
            enough = threading.Event()

            def show(totals: Totals) -> None:
                display.show(totals)
                if first and totals.signatures:
                    enough.set()

            try:
                totals = hunt(plan, store, jobs, lambda: stop.is_set() or enough.is_set(), show)
            except KeyboardInterrupt:
                return INTERRUPTED
        return INTERRUPTED if stop.is_set() else Missing.status if totals.troubles else 0


def _finish(folder: Path, as_json: bool, html: bool) -> None:
    """Reports and files of the findings; data on stdout."""
    run = load(folder)
    write_findings(run, folder)
    report = folder / "report.html" if html else None
    if report:
        from wasmlab_reports.html import write_report

        write_report([run], report)
    if as_json:
        click.echo(json.dumps(to_json(run, folder, report)))
    else:
        output().print(summary(run, report))


def to_json(run: Run, folder: Path, report: Path | None) -> dict[str, Any]:
    """What `fuzz --json` prints."""
    return {
        "cases": run.cases,
        "complete": round(run.complete, 4),
        "inconclusive": dict(sorted(run.inconclusive.items())),
        "seconds": round(run.seconds, 3),
        "per_second": round(run.cases / max(run.seconds, 1e-6), 1),
        "rules_reached": len(run.rules),
        "divergences": [
            {
                "signature": d.signature,
                "engines": [name for group in d.groups for name in group],
                "case": str(folder / "findings" / d.id / "reduced.json"),
                "count": d.count,
            }
            for d in run.divergences
        ],
        "report": str(report) if report else None,
    }
