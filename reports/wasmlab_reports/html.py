"""The HTML report: one page that needs nothing else, made of one or many campaigns.

Every text that comes from a module or an engine is hostile: it passes `plain` (nothing unprintable) and the escaping
of the template.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import zip_longest
from typing import Any

import jinja2
import yaml

from wasmlab.choices import short
from wasmlab.findings import regression_test
from wasmlab.foreign import plain
from wasmlab.model import Divergence, Run
from wasmlab.oracle import REJECTED
from wasmlab.signature import NOISE, opcodes
from wasmlab.wast import module_text
from wasmlab_ref.case import Instantiate, Invoke, Outcome, Read, Register, Step
from wasmlab_ref.features import FEATURES
from wasmlab_ref.isa import BY_MNEMONIC, INSTRUCTIONS

from .meaning import meaning

STANDARD = "https://webassembly.github.io/spec/core/"
FEW = 8
"""Values of an outcome that are shown."""
LONGEST = 20_000
"""Characters of a module's text that are shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of code; `telling` where the signature names its instruction."""

    indent: str
    text: str
    telling: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """What an engine did in a step, and to which group of engines it belongs where they differ (0: the first).

    `values` are bits, meaning, and whether the engines differ there; `equal` the number of those left out.
    """

    kind: str
    detail: str
    values: tuple[tuple[str, str, bool], ...]
    group: int | None
    equal: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A step: what it does, and a cell for each engine."""

    step: str
    cells: tuple[Cell, ...]
    decisive: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """An instruction of a divergence, and where the standard defines it."""

    mnemonic: str
    name: str
    link: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A divergence as the page shows it."""

    found: Divergence
    title: str
    engines: tuple[str, ...]
    modules: tuple[tuple[Line, ...], ...]
    rows: tuple[Row, ...]
    rules: tuple[Rule, ...]
    command: str
    script: str


def render(runs: Sequence[Run]) -> str:
    """The page."""
    found = [_finding(run, divergence) for run, divergence in _merged(runs)]
    return template("report.html").render(
        runs=[_run(run) for run in runs],
        findings=found,
        new=[f for f in found if not f.found.known],
        totals=_totals(runs),
        inconclusive=sorted(_sum(run.inconclusive for run in runs).items(), key=lambda item: -item[1]),
        explained=_explained(_sum(run.counters for run in runs)),
        rules=_rules(runs),
        features=_features(_sum(run.instructions for run in runs)),
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    )


def _explained(counters: Counter[str]) -> list[tuple[str, int]]:
    """How many cases with differences were explained, and by what."""
    found = [(key.removeprefix("explained: "), n) for key, n in counters.items() if key.startswith("explained: ")]
    return sorted(found, key=lambda item: (-item[1], item[0]))


@cache
def template(name: str) -> jinja2.Template:
    """A template of this package, with everything escaped, and the filters `plain`, `number`, `percent`."""

    def load(name: str) -> str:
        return (files("wasmlab_reports") / "templates" / name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"plain": plain, "number": lambda n: f"{n:,}", "percent": lambda x: f"{100 * x:.1f} %"}
    return environment.get_template(name)


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _merged(runs: Sequence[Run]) -> list[tuple[Run, Divergence]]:
    """Divergences of all runs, those of one signature as one: its smallest case, all counted; unknown ones first."""
    merged: dict[str, tuple[Run, Divergence]] = {}
    for run in runs:
        for found in run.divergences:
            if found.id not in merged:
                merged[found.id] = (run, found)
                continue
            run_before, before = merged[found.id]
            count = before.count + found.count
            smaller = (run, found) if found.size < before.size else (run_before, before)
            merged[found.id] = (smaller[0], replace(smaller[1], count=count))
    return sorted(merged.values(), key=lambda pair: (bool(pair[1].known), -pair[1].count, pair[1].id))


def _totals(runs: Sequence[Run]) -> dict[str, Any]:
    counters, seconds = _sum(run.counters for run in runs), sum(run.seconds for run in runs)
    cases, calls = counters["cases"], counters["calls"]
    return {
        "cases": cases,
        "rate": cases / seconds if seconds else 0.0,
        "complete": counters["complete calls"] / calls if calls else 1.0,
        "inconclusive": counters["inconclusive"] / cases if cases else 0.0,
        "seconds": seconds,
    }


def _run(run: Run) -> dict[str, Any]:
    engines = ",".join(run.campaign.names)
    options = ["--engines", engines, "--seed", str(run.campaign.seed), "--features", ",".join(run.campaign.features)]
    for setting in run.campaign.generator.split()[1:]:  # after the digest: "nan=raw"
        name, _, chosen = setting.partition("=")
        options += [f"--{name}", chosen] if chosen != "mixed" else []
    health = {
        name: ", ".join(
            f"{n:,} {key.removeprefix(f'{name}: ')}"
            for key, n in sorted(run.counters.items())
            if key.startswith(f"{name}: ")
        )
        for name in run.campaign.names
    }
    return {
        "run": run,
        "started": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.started)),
        "command": shlex.join(["wasmlab", "fuzz", *options]),
        "health": health,
        "choices": _choices(run),
    }


def _choices(run: Run) -> dict[str, list[str]]:
    """By NaN or parameter of the standard what each engine chose, in the order of the campaign's engines."""
    chosen = [short(run.choices.get(name, {})) for name in run.campaign.names]
    names = dict.fromkeys(name for choices in chosen for name in choices)
    return {name: [choices.get(name, "") for choices in chosen] for name in names}


def _finding(run: Run, found: Divergence) -> Finding:
    telling = _telling(found)
    names = tuple(found.answers)
    command = ["wasmlab", "diff", f"{run.folder}/findings/{found.id}/reduced.json", "--engines", ",".join(names)]
    return Finding(
        found=found,
        title=" ".join(sorted(telling)) or "no instruction",
        engines=tuple(name for group in found.groups for name in group),
        modules=tuple(_code(data, telling) for data in found.reduced.modules),
        rows=tuple(_rows(found, names)),
        rules=tuple(_rule(mnemonic, found) for mnemonic in sorted(telling)),
        command=shlex.join(command),
        script=regression_test(run, found)[:LONGEST],
    )


def _telling(found: Divergence) -> frozenset[str]:
    present = frozenset(opcodes(found.reduced))
    return frozenset(m for m in present if m not in NOISE and not m.endswith(".const")) or present - NOISE


def _code(data: bytes, telling: frozenset[str]) -> tuple[Line, ...]:
    text = module_text(data)[:LONGEST]
    lines = [(line, line.lstrip(" ")) for line in text.split("\n")]
    return tuple(
        Line(line[: len(line) - len(code)], plain(code, 400), not telling.isdisjoint(code.split()[:1]))
        for line, code in lines
    )


def _rule(mnemonic: str, found: Divergence) -> Rule:
    rule = BY_MNEMONIC[mnemonic].rule
    rejected = any(o.kind in REJECTED for outcomes, _ in found.answers.values() for o in outcomes)
    chapter, prefix = ("valid", "valid") if rejected else ("exec", "exec")
    anchor = rule.replace("_", "-").replace(".", "-")
    return Rule(mnemonic, rule, f"{STANDARD}{chapter}/instructions.html#{prefix}-{anchor}")


# Steps and outcomes


def _rows(found: Divergence, names: Sequence[str]) -> Iterable[Row]:
    group_of = {name: number for number, group in enumerate(found.groups) for name in group}
    for at, step in enumerate(found.reduced.steps):
        decisive = at == found.step or found.stage == "case"
        cells = []
        differ = _different(outcomes[at] for outcomes, _ in found.answers.values() if at < len(outcomes))
        for name in names:
            outcomes = found.answers[name][0]
            outcome = outcomes[at] if at < len(outcomes) else Outcome("unparsed", detail="no answer")
            cells.append(_cell(outcome, group_of.get(name) if decisive else None, differ))
        yield Row(_step(step), tuple(cells), decisive)
    if found.stage == "trace":
        calls = [found.answers[name][1] for name in names]
        cells = [
            Cell("host calls", "", tuple((plain(c, 80), "", False) for c in trace[:50]), group_of.get(name))
            for name, trace in zip(names, calls, strict=True)
        ]
        yield Row("host calls", tuple(cells), True)


def _different(outcomes: Iterable[Outcome]) -> frozenset[int]:
    """The places of values that are not the same everywhere."""
    rows = zip_longest(*(outcome.values for outcome in outcomes))
    return frozenset(at for at, values in enumerate(rows) if len(set(values)) > 1)


def _cell(outcome: Outcome, group: int | None, differ: frozenset[int]) -> Cell:
    """Long lists of values are cut to those that differ."""
    shown = list(enumerate(outcome.values))
    if len(shown) > FEW:
        shown = [(at, v) for at, v in shown if at in differ][:FEW]
    values = tuple((plain(v, 120), meaning(v), at in differ) for at, v in shown)
    return Cell(
        outcome.kind, plain(" ".join(outcome.detail.split()), 600), values, group, len(outcome.values) - len(values)
    )


def _step(step: Step) -> str:
    match step:
        case Instantiate(name, module):
            return f"instantiate module {module} as {plain(name, 80)}"
        case Register(name, module):
            return f"register {plain(name, 80)} as “{plain(module, 80)}”"
        case Invoke(name, export, args, repeat):
            times = f", {repeat} times" if repeat > 1 else ""
            shown = ", ".join(f"{plain(a, 60)}" for a in args)
            return f"{plain(name, 80)}.{plain(export, 80)}({shown}){times}"
        case Read(name, export):
            return f"read {plain(name, 80)}.{plain(export, 80)}"


# Coverage


def _rules(runs: Sequence[Run]) -> dict[str, Any]:
    reached = frozenset(_sum(run.rules for run in runs))
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
