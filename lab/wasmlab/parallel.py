"""A campaign over one or several processes, into one store."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from .campaign import Plan, Shard, numbers
from .errors import LabError
from .model import Batch, Progress
from .store import Store

GRACE = 5.0
"""Seconds that a process gets to end its part after a stop."""


@dataclass(slots=True)
class Totals:
    """Sums over a session, for display."""

    counters: Counter[str] = field(default_factory=Counter)
    inconclusive: Counter[str] = field(default_factory=Counter)
    rules: set[str] = field(default_factory=set)
    signatures: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    def add(self, batch: Batch) -> None:
        """Take a batch in."""
        self.counters.update(batch.counters)
        self.inconclusive.update(batch.inconclusive)
        self.rules.update(batch.rules)
        self.signatures.update(batch.again)
        for found in batch.divergences:
            self.signatures[found.id] += found.count

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Cases a second."""
        return self.counters["cases"] / max(self.seconds, 1e-6)


def hunt(
    plan: Plan, store: Store, jobs: int, stop: Callable[[], bool], show: Callable[[Totals], None] = lambda totals: None
) -> Totals:
    """Run a campaign until its plan is done or `stop()`; every batch is in the store before it is shown.

    On KeyboardInterrupt what is known is recorded, and the exception goes on.
    """
    totals = Totals()
    batches = _alone(plan, store.progress, stop) if jobs == 1 else _together(plan, store.progress, jobs, stop)
    try:
        last = time.monotonic()
        for batch in batches:
            now = time.monotonic()
            batch.seconds, last = now - last, now
            store.record(batch)
            totals.add(batch)
            show(totals)
    finally:
        batches.close()
    return totals


def _alone(plan: Plan, progress: Progress, stop: Callable[[], bool]) -> Generator[Batch, None, None]:
    counter = iter(range(progress.low, 1 << 62))
    with Shard(plan) as shard:
        yield from shard.run(numbers(plan, progress, lambda: next(counter), stop), stop)


# Several processes


def _together(plan: Plan, progress: Progress, jobs: int, stop: Callable[[], bool]) -> Generator[Batch, None, None]:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    ending = context.Event()
    counter = context.Value("q", progress.low)
    done = Progress(progress.low, set(progress.above))
    shards = [
        context.Process(target=_shard, args=(plan, done, counter, ending, results), daemon=True) for _ in range(jobs)
    ]
    for process in shards:
        process.start()
    try:
        yield from _collect(shards, results, ending, stop)
    finally:
        ending.set()
        _end(shards)


def _collect(shards: list[Any], results: Any, ending: Any, stop: Callable[[], bool]) -> Generator[Batch, None, None]:
    """Batches of all processes, until each has said that it is done, or is dead."""
    left = {process.pid for process in shards}
    while left:
        if stop():
            ending.set()
        try:
            sender, said = results.get(timeout=0.2)
        except queue.Empty:
            dead = [p for p in shards if p.pid in left and not p.is_alive()]
            if dead and results.empty():
                raise LabError(f"a process of the campaign died (status {dead[0].exitcode})") from None
            continue
        if isinstance(said, Batch):
            yield said
        elif isinstance(said, BaseException):
            raise said
        else:
            left.discard(sender)


def _end(shards: list[Any]) -> None:
    deadline = time.monotonic() + GRACE
    for process in shards:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()


def _shard(plan: Plan, progress: Progress, counter: Any, ending: Any, results: Any) -> None:
    """What a process does: its part of the campaign, batches to the parent."""
    import os

    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the parent says when to end
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()

    def take() -> int:
        with counter.get_lock():
            counter.value += 1
            return int(counter.value) - 1

    def stop() -> bool:
        return bool(ending.is_set()) or os.getppid() != parent

    pid = os.getpid()
    try:
        with Shard(plan) as shard:
            for batch in shard.run(numbers(plan, progress, take, stop), stop):
                results.put((pid, batch))
        results.put((pid, None))
    except Exception as error:
        results.put((pid, _portable(error)))


def _portable(error: Exception) -> Exception:
    """The error, if it survives being sent; else its text."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return LabError(f"{type(error).__name__}: {error}")
    return error
