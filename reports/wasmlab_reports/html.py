"""The HTML report: an overview and a page for each divergence, static, each needing nothing that is not in it.

Every text that comes from a module or an engine is hostile: it passes `plain` (nothing unprintable) and the escaping
of the template.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from wasmlab.choices import short
from wasmlab.foreign import plain
from wasmlab.model import Run, cost
from wasmlab_ref.features import FEATURES
from wasmlab_ref.isa import INSTRUCTIONS

from .divergences import Finding, finding
from .merge import merged, summed, totals

PAGE = re.compile(r"[0-9a-z]+\.html")


def write_report(runs: Sequence[Run], out: Path) -> None:
    """Write the overview to `out`, and a page for each divergence into the folder beside it that is named like it."""
    folder = out.with_suffix("")
    if folder == out:
        folder = out.with_name(f"{out.name}-pages")
    found = [finding(run, divergence) for run, divergence in merged(runs)]
    pages = {f.page: render_page(f, out.name) for f in found}
    if folder.is_dir():
        for path in folder.iterdir():
            if PAGE.fullmatch(path.name) and path.name not in pages:
                path.unlink()  # of a divergence that has another id by now
    if pages:
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    out.write_text(render(runs, found, folder.name), encoding="utf-8")


def render(runs: Sequence[Run], found: Sequence[Finding], folder: str) -> str:
    """The overview; the pages of the divergences `found` lie in `folder`."""
    return template("report.html").render(
        groups=_groups(runs),
        folder=folder,
        findings=found,
        new=[f for f in found if not f.found.known],
        totals=totals(runs),
        inconclusive=sorted(summed(run.inconclusive for run in runs).items(), key=lambda item: -item[1]),
        explained=_explained(summed(run.counters for run in runs)),
        rules=_rules(runs),
        features=_features(summed(run.instructions for run in runs)),
        made=_time(time.time()),
    )


def render_page(found: Finding, overview: str) -> str:
    """The page of a divergence; `overview` is the file that links here, one folder up."""
    script = text("copy.js")
    return template("divergence.html").render(
        f=found,
        overview=overview,
        started=_time(found.run.started),
        engines=[engine for engine in found.run.campaign.engines if engine.name in found.engines],
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        made=_time(time.time()),
    )


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _explained(counters: Counter[str]) -> list[tuple[str, int]]:
    """How many cases with differences were explained, and by what."""
    found = [(key.removeprefix("explained: "), n) for key, n in counters.items() if key.startswith("explained: ")]
    return sorted(found, key=lambda item: (-item[1], item[0]))


def text(name: str) -> str:
    """A file of the templates, as it is."""
    return (files("wasmlab_reports") / "templates" / name).read_text(encoding="utf-8")


@cache
def template(name: str) -> jinja2.Template:
    """A template of this package, with everything escaped, and the filters `plain`, `number`, `percent`."""

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(text), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"plain": plain, "number": lambda n: f"{n:,}", "percent": lambda x: f"{100 * x:.1f} %"}
    return environment.get_template(name)


def _groups(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Campaigns that differ in their seeds alone (shards) as one; the others one by one."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        key = (run.campaign.versions, run.campaign.names, run.campaign.features, run.campaign.generator)
        groups.setdefault(key, []).append(run)
    return [_group(found) for found in groups.values()]


def _group(runs: Sequence[Run]) -> dict[str, Any]:
    campaign, counters = runs[0].campaign, summed(run.counters for run in runs)
    machines = {tuple(session.machine.items()): session.machine for run in runs for session in run.sessions}
    return {
        "campaign": campaign,
        "shards": [
            {"run": run, "started": _time(run.started), "sessions": len(run.sessions), "command": _command(run)}
            for run in runs
        ],
        "cost": {name: cost(name, counters) for name in campaign.names},
        "health": {name: health(name, counters) for name in campaign.names},
        "choices": _choices(runs[0]),
        "machines": list(machines.values()),
    }


def health(name: str, counters: Counter[str]) -> str:
    """How often an engine did not end as it should, by kind; "" for never."""
    found = [(key.removeprefix(f"{name}: "), n) for key, n in sorted(counters.items()) if key.startswith(f"{name}: ")]
    return ", ".join(f"{n:,} {kind}" for kind, n in found)


def _command(run: Run) -> str:
    """The command that makes the same cases again."""
    listed = [name for name in run.campaign.names if "," not in name and not name.startswith("cmd:")]
    options = ["--engines", ",".join(listed)] if listed else []
    for name in run.campaign.names:
        options += ["--engine", name] if name not in listed else []
    options += ["--seed", str(run.campaign.seed), "--features", ",".join(run.campaign.features)]
    for setting in run.campaign.generator.split()[1:]:  # after the digest: "nan=raw"
        name, _, chosen = setting.partition("=")
        options += [f"--{name}", chosen] if chosen != "mixed" else []
    return shlex.join(["wasmlab", "fuzz", *options])


def _choices(run: Run) -> dict[str, list[str]]:
    """By NaN or parameter of the standard what each engine chose, in the order of the campaign's engines."""
    chosen = [short(run.choices.get(name, {})) for name in run.campaign.names]
    names = dict.fromkeys(name for choices in chosen for name in choices)
    return {name: [choices.get(name, "") for choices in chosen] for name in names}


# Coverage


def _rules(runs: Sequence[Run]) -> dict[str, Any]:
    reached = frozenset(summed(run.rules for run in runs))
    every = yaml.safe_load((files("wasmlab_ref") / "rules.yaml").read_text(encoding="utf-8"))
    live = [name for name, row in every.items() if "function" in row]
    step = [name for name in live if name.startswith("Step")]
    groups = []
    for title, names in (("execution of instructions", step), ("all others", [n for n in live if n not in set(step)])):
        hit = [name for name in names if name in reached]
        missed = [name for name in names if name not in reached]
        groups.append({"title": title, "hit": len(hit), "all": len(names), "missed": missed})
    return {"groups": groups, "reached": len(reached)}


def _features(instructions: Counter[str]) -> list[dict[str, Any]]:
    rows = []
    for feature in FEATURES:
        names = [row.mnemonic for row in INSTRUCTIONS if row.feature == feature and row.mnemonic not in ("else", "end")]
        if names:
            missed = [name for name in names if not instructions[name]]
            rows.append({"name": feature, "hit": len(names) - len(missed), "all": len(names), "missed": missed})
    return rows
