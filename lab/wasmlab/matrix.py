"""A matrix is a list of commands: `wasmlab conform`, `fuzz` and `known`, each a process of its own, into one folder.

What a job wrote says that it is done, so a run can be resumed, and the folders of shards are merged by reading both.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

from wasmlab_adapters.whole import write_json
from wasmlab_matrices.matrix import Conformance, Fuzzing, Matrix

from .errors import UsageError

CONFORM, FUZZ, KNOWN = "conform", "fuzz", "known"
STATE = "jobs.json"
ENDED = frozenset({0, 1})
"""Exit statuses of jobs that did what they should, whatever they found."""


@dataclass(frozen=True, slots=True)
class Job:
    """A command of a matrix: what it is called, its arguments, and its folder within the run's."""

    title: str
    arguments: tuple[str, ...]
    out: str


@dataclass(frozen=True, slots=True)
class Done:
    """How a job ended: the exit status of its command, and how many seconds it took."""

    status: int
    seconds: float


def jobs_of(matrix: Matrix, seed: int) -> list[Job]:
    """All jobs of a matrix, in its order; `seed` is for campaigns that name none."""
    names = columns_of(matrix.engines, matrix.archs)
    found = [
        _conformance(suite, name)
        for suite in matrix.conform
        for name in (columns_of(suite.engines, matrix.archs) if suite.engines else names)
    ]
    rows = [Job(f"{KNOWN} {matrix.known}", (KNOWN, matrix.known), KNOWN)] if matrix.known else []
    return found + rows + [_campaign(campaign, seed) for campaign in matrix.fuzz]


def columns_of(engines: Sequence[str], archs: Sequence[str]) -> list[str]:
    """Engines times architectures: the names of the columns; an engine stays out of one that its row does not have."""
    from wasmlab_adapters.registry import EngineName

    return list(dict.fromkeys(str(name) for engine in engines for name in EngineName.parse(engine).on(archs)))


def _conformance(suite: Conformance, engine: str) -> Job:
    arguments = [CONFORM, "--engine", engine, "--suite", suite.suite]
    arguments += ["--filter", suite.filter] if suite.filter else []
    return Job(f"{CONFORM} {suite.suite} {engine}", tuple(arguments), CONFORM)


def _campaign(campaign: Fuzzing, seed: int) -> Job:
    arguments = [FUZZ, "--engines", ",".join(campaign.engines)]
    if campaign.examples is not None:
        arguments += ["--examples", str(campaign.examples)]
    else:
        arguments += ["--time", f"{campaign.minutes or 0:g}m"]
    arguments += ["--seed", str(seed if campaign.seed is None else campaign.seed)]
    arguments += ["--features", ",".join(campaign.features)] if campaign.features else []
    return Job(f"{FUZZ} {campaign.name}", tuple(arguments), f"{FUZZ}/{campaign.name}")


def chosen(jobs: Sequence[Job], only: str | None, shard: tuple[int, int]) -> list[Job]:
    """The jobs whose title matches a glob, and of these every n-th from the i-th on, for shard (i, n), 1 <= i <= n."""
    named = [job for job in jobs if only is None or fnmatch(job.title, f"*{only}*")]
    return named[shard[0] - 1 :: shard[1]]


def load_done(folder: Path) -> dict[str, Done]:
    """The jobs of a run that have ended, by title; empty for a folder without any."""
    try:
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return {str(title): Done(int(row["status"]), float(row["seconds"])) for title, row in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder / STATE} is no record of a matrix: {error}") from None


def run(jobs: Sequence[Job], folder: Path, processes: int) -> Iterator[tuple[Job, Done]]:
    """Run the jobs that have not ended well yet; yields each with how it ended.

    What a job prints is in `logs/`; its progress goes to the terminal.  One that dies does not keep the others from
    running; one that was interrupted ends the run with KeyboardInterrupt.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    done = load_done(folder)
    for job in jobs:
        if job.title in done and done[job.title].status in ENDED:
            continue
        started = time.monotonic()
        status = _run(job, folder, processes)
        if status in (130, -signal.SIGINT):
            raise KeyboardInterrupt
        done[job.title] = Done(status, round(time.monotonic() - started, 3))
        write_json(folder / STATE, {title: asdict(ended) for title, ended in done.items()})
        yield job, done[job.title]


def _run(job: Job, folder: Path, processes: int) -> int:
    several = ["-j", str(processes)] if job.arguments[0] != KNOWN else []
    command = [*job.arguments, *several, "--out", str(folder / job.out)]
    name = re.sub(r"[^\w.@+-]+", "_", job.title)
    with (folder / "logs" / f"{name}.txt").open("w", encoding="utf-8") as log:
        log.write(f"$ {shlex.join(['wasmlab', *command])}\n")
        log.flush()
        lab = [sys.executable, "-P", "-m", "wasmlab"]
        with subprocess.Popen([*lab, *command], stdout=log, stdin=subprocess.DEVNULL) as process:
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:  # the job got it, too: it keeps what it has, and ends
                    continue
