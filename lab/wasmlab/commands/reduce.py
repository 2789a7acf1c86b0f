"""`wasmlab reduce`: the smallest case that still shows what a file shows."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from wasmlab_ref.case import Case

from ..crew import Crew, Question
from ..errors import UsageError
from ..findings import regression_script
from ..foreign import plain
from ..hunter import CONFIRMATIONS, TRIES, patience, shrink
from ..judgement import Judgement
from ..loading import load_any
from ..model import Divergence
from ..opening import judging, names_of, opened
from ..oracle import Verdict, pairs
from ..reduce import Budget, Parts
from ..signature import key_of, size
from .options import Duration, OutputFile, stopping


@click.command("reduce")
@click.argument("file")
@click.option("--engines", default="", help="Engines, separated by commas: ref,wasmtime. A finding has its own.")
@click.option("--engine", "more", multiple=True, help="One more engine; may be repeated (for programs with commas).")
@click.option("--invoke", "calls", multiple=True, help='A call of a bare module, "add 1 0x2"; may be repeated.')
@click.option("-j", "jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Candidates run at once.")
@click.option("--time", "seconds", type=Duration(), default="5m", show_default=True, help="How long at most.")
@click.option("--tries", type=click.IntRange(min=1), help="Runs of a candidate; one that shows it is enough.")
@click.option("-o", "--out", type=OutputFile(), help="The script (.wast), or the case (.json).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def reduce(
    file: str, engines: str, more: tuple[str, ...], calls: tuple[str, ...], jobs: int, seconds: float,
    tries: int | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Shrink a case while the same engines differ in the same way; every step on the way is a valid case.

    FILE is a .wasm, .wat or .wast, a case (.json), or a finding of a campaign: FOLDER/ID, or its ID alone. Companions,
    scripts and arguments shrink, too. One engine is enough for a crash or a hang. What shows only sometimes gets
    several runs a candidate. The script goes to stdout, or to -o; Ctrl-C ends with what there is.

    \b
    Example: wasmlab reduce night/3f2a90c1d4e5 -o smallest.wast
    """
    loaded = load_any(file, calls, whole=True)
    names = loaded.engines if loaded.engines and not engines and not more else names_of(engines, more)
    names, verdict, shown = _verdict(loaded.case, names)
    if tries is None:
        tries = 1 if shown == CONFIRMATIONS else TRIES
    console = Console(stderr=True)
    console.print(Text(plain(f"{key_of(verdict)}; shown in {shown} of {CONFIRMATIONS} runs", 1000)), soft_wrap=True)
    with opened(names) as started, judging(started) as judgement, stopping() as stop:
        progress = _Progress(console, loaded.case)
        crew = (lambda question: Crew(lambda: _own(names, question), jobs)) if jobs > 1 else None
        budget = Budget(seconds, stop.is_set, runs=1_000_000)
        fields, signature = shrink(loaded.case, verdict, started, judgement, budget, tries, crew, progress.show)
        versions = {engine.name: engine.version for engine in started}
    found = Divergence(index=0, **fields)
    progress.end(found, budget.asked)
    script = regression_script(found, versions)
    if out:
        text = json.dumps(found.reduced.to_json(), indent=1) + "\n" if out.suffix == ".json" else script
        out.write_text(text, encoding="utf-8")
    if as_json:
        click.echo(json.dumps(to_json(found, str(signature), budget.asked, script)))
    else:
        click.echo(out if out else script, nl=bool(out))
    sys.exit(130 if stop.is_set() else 0)


def _verdict(case: Case, names: tuple[str, ...]) -> tuple[tuple[str, ...], Verdict, int]:
    """The engines to look into, what they show, and in how many of several fresh processes they do."""
    chosen, found, shown = names, Verdict("agree"), 0
    for _ in range(CONFIRMATIONS):
        with opened(names) as engines, judging(engines) as judgement:
            verdict, answers = judgement.compare(engines, case)
            if verdict.diverges and (deadline := patience(verdict, engines)) is not None:
                verdict, answers = judgement.compare(engines, case, deadline)
            shown += verdict.diverges
            if verdict.diverges and not found.diverges:
                chosen, found = _first_pair(case, answers, names, verdict, judgement, engines)
            elif not found.diverges:
                found = verdict
    if not found.diverges:
        raise UsageError(f"the engines do not differ ({found.kind}{': ' * bool(found.reason)}{found.reason})")
    return chosen, found, shown


def _first_pair(
    case: Case, answers: dict[str, Any], names: tuple[str, ...], verdict: Verdict, judgement: Judgement,
    engines: Sequence[Any],
) -> tuple[tuple[str, ...], Verdict]:  # fmt: skip
    """Of many engines those that agree with the first one, and a group that does not."""
    by_name = {engine.name: engine for engine in engines}

    def judged(some: tuple[str, ...]) -> Verdict:
        return judgement.verdict(
            case, {name: answers[name] for name in some}, lambda name: by_name[name].run(case, observe="full")
        )

    chosen = next(pairs(answers, judged), names) if len(names) > 2 else names
    return chosen, judged(chosen) if chosen != names else verdict


@contextmanager
def _own(names: tuple[str, ...], question: Callable[[Sequence[Any], Judgement], Question]) -> Iterator[Question]:
    """A question with engines of its own."""
    with opened(names) as engines, judging(engines) as judgement:
        yield question(engines, judgement)


class _Progress:
    """What is left, on stderr: a line that changes on a terminal, else one line in a while."""

    def __init__(self, console: Console, case: Case) -> None:
        self.console, self.before = console, size(case)
        self.bytes, self.started, self._last = sum(map(len, case.modules)), time.monotonic(), 0.0
        self.status = console.status("") if console.is_terminal else None
        if self.status:
            self.status.start()

    def show(self, parts: Parts, asked: int) -> None:
        """A step was made."""
        now = time.monotonic()
        left = sum(s.op.mnemonic not in ("end", "else") for m in parts.modules for f in m.funcs for s in f.body)
        line = (
            f"{left} of {self.before} instructions, {len(parts.steps)} steps, {asked} tried, {now - self.started:.1f} s"
        )
        if self.status:
            self.status.update(line)
        elif now - self._last > 2.0:
            self._last = now
            print(line, file=sys.stderr, flush=True)

    def end(self, found: Divergence, asked: int) -> None:
        """The sum."""
        if self.status:
            self.status.stop()
        after = sum(map(len, found.reduced.modules))
        sizes = f"{self.before} → {found.size} instructions, {self.bytes:,} → {after:,} bytes"
        line = f"{sizes}, {asked} tried, {found.seconds:.1f} s"
        self.console.print(Text(line), soft_wrap=True)


def to_json(found: Divergence, signature: str, asked: int, script: str) -> dict[str, Any]:
    """What `reduce --json` prints."""
    return {
        "id": found.id,
        "signature": signature,
        "sentence": found.sentence,
        "size": found.size,
        "size_before": size(found.case),
        "tried": asked,
        "seconds": round(found.seconds, 3),
        "case": found.reduced.to_json(),
        "wast": script,
    }
