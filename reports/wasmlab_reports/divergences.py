"""A divergence as its page shows it.  Texts are made safe here with `plain`, and escaped by the template."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from wasmlab.findings import regression_test
from wasmlab.foreign import plain
from wasmlab.model import Divergence, Run
from wasmlab.oracle import REJECTED
from wasmlab.signature import NOISE, opcodes, parts, size
from wasmlab.wast import module_text
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register, Step
from wasmlab_ref.isa import BY_MNEMONIC

from .meaning import meaning

STANDARD = "https://webassembly.github.io/spec/core/"
FEW = 8
"""Values of an outcome that are shown."""
LONGEST = 20_000
"""Characters of a module's text that are shown."""

CHAPTERS = {
    "instantiate": ("instantiation", "exec/modules.html#exec-instantiation"),
    "register": ("instantiation", "exec/modules.html#exec-instantiation"),
    "invoke": ("invocation", "exec/modules.html#exec-invocation"),
    "trace": ("host functions", "exec/instructions.html#exec-invoke-host"),
    "malformed": ("the binary format of modules", "binary/modules.html#binary-module"),
    "invalid": ("validation of modules", "valid/modules.html#valid-module"),
    "unlinkable": ("matching of external types", "valid/matching.html#match-externtype"),
}
"""By stage, or by how a module was refused: what the standard calls it, and where it stands."""


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
    """An instruction of a divergence or a chapter about it, the rule's name, and where it stands in the standard."""

    title: str
    name: str
    link: str


@dataclass(frozen=True, slots=True)
class Module:
    """A reduced module: its lines, its size in bytes, a link that downloads it."""

    lines: tuple[Line, ...]
    bytes: int
    link: str


@dataclass(frozen=True, slots=True)
class Size:
    """How large a case is."""

    instructions: int
    bytes: int
    modules: int
    steps: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A divergence as its page shows it; `page` is the file's name."""

    found: Divergence
    run: Run
    page: str
    title: str
    engines: tuple[str, ...]
    modules: tuple[Module, ...]
    rows: tuple[Row, ...]
    rules: tuple[Rule, ...]
    command: str
    elsewhere: str
    script: str
    script_link: str
    case_link: str
    before: Size
    after: Size
    machine: dict[str, str]


def finding(run: Run, found: Divergence) -> Finding:
    """What the page of a divergence shows."""
    telling = _telling(found)
    names = tuple(found.answers)
    script = regression_test(run, found)
    return Finding(
        found=found,
        run=run,
        page=f"{''.join(c for c in found.id if c.isalnum())}.html",
        title=" ".join(sorted(telling)) or " ".join(sorted(parts(found.reduced))) or "no instruction",
        engines=tuple(name for group in found.groups for name in group),
        modules=tuple(Module(_code(data, telling), len(data), link(data)) for data in found.reduced.modules),
        rows=tuple(_rows(found, names)),
        rules=(*(_rule(mnemonic, found) for mnemonic in sorted(telling)), *_chapters(found)),
        command=shlex.join(["wasmlab", "diff", f"{run.folder}/{found.id}"]),
        elsewhere=shlex.join(["wasmlab", "diff", f"{found.id}.wast", "--engines", ",".join(names)]),
        script=script if len(script) <= LONGEST else script[:LONGEST] + "\n…",
        script_link=link(script.encode(errors="replace")),
        case_link=link(json.dumps(found.case.to_json()).encode()),
        before=_size(found.case),
        after=_size(found.reduced),
        machine={} if not run.sessions else {key: plain(text) for key, text in run.sessions[-1].machine.items()},
    )


def _size(case: Case) -> Size:
    return Size(size(case), sum(map(len, case.modules)), len(case.modules), len(case.steps))


def link(data: bytes) -> str:
    """A link that holds what it downloads: the page needs no other file."""
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"


def _chapters(found: Divergence) -> Iterable[Rule]:
    """Where the standard speaks of the stage, and of how modules are refused."""
    refused = {o.kind for outcomes, _ in found.answers.values() for o in outcomes if o.kind in REJECTED}
    for name in (*sorted(refused), *([] if refused else [found.stage])):
        if name in CHAPTERS:
            title, place = CHAPTERS[name]
            yield Rule(title, "", STANDARD + place)


def _telling(found: Divergence) -> frozenset[str]:
    """The instructions that say something."""
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
    """Long lists of values are cut to those that differ, which are numbered."""
    shown = list(enumerate(outcome.values))
    if len(shown) > FEW:
        shown = [(at, v) for at, v in shown if at in differ][:FEW]
    cut = len(shown) < len(outcome.values)
    values = tuple((f"{at + 1}: " * cut + plain(v, 120), meaning(v), at in differ) for at, v in shown)
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
