"""A campaign over one or several processes, into one store."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from .campaign import Shard, numbers
from .errors import LabError
from .model import Batch, Divergence, Progress
from .plan import Plan
from .store import Store

GRACE = 5.0
"""Seconds that a process gets to end its part after a stop."""

BLOCK = 32
"""Case numbers handed to a process at once; it asks for the next ones while it does them."""

DEATHS = 3
"""How many processes may die over a case alone before it is given up."""

STARTS = 10
"""How many processes in a row may be killed from outside before they have said a word."""

LOST = "lost with a process of the lab"

_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Totals:
    """Sums over a session, for display."""

    counters: Counter[str] = field(default_factory=Counter)
    inconclusive: Counter[str] = field(default_factory=Counter)
    rules: set[str] = field(default_factory=set)
    signatures: Counter[str] = field(default_factory=Counter)
    found: dict[str, Divergence] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def add(self, batch: Batch) -> None:
        """Take a batch in."""
        self.counters.update(batch.counters)
        self.inconclusive.update(batch.inconclusive)
        self.rules.update(batch.rules)
        self.signatures.update(batch.again)
        self.troubles += batch.troubles
        for found in batch.divergences:
            self.signatures[found.id] += found.count
            self.found[found.id] = found

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
    plan = replace(plan, reached=store.reached)
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


# Several processes: each has a pipe of its own, so that one which is killed in the middle of a word hurts no other.


class Numbers:
    """Hands out case numbers: blocks of new ones, and groups of those that were lost with a process."""

    def __init__(self, progress: Progress, examples: int | None, deadline: float | None = None) -> None:
        self.done = Progress(progress.low, set(progress.above))
        self._deadline = deadline
        self._next = progress.low
        self._examples = examples
        self._groups: deque[list[int]] = deque()
        self._deaths: Counter[int] = Counter()

    def block(self) -> list[int]:
        """The next new numbers; none when there are no more."""
        found: list[int] = []
        while len(found) < BLOCK and not self._ended:
            if self._next not in self.done:
                found.append(self._next)
            self._next += 1
        return found

    def group(self) -> list[int]:
        """Numbers that were lost, to be done by a process that does nothing else; none if none were."""
        return self._groups.popleft() if self._groups else []

    @property
    def left(self) -> bool:
        """Is there anything more to hand out, and time for it?"""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return not late and (bool(self._groups) or not self._ended)

    @property
    def _ended(self) -> bool:
        return self._examples is not None and self._next >= self._examples

    def lost(self, numbers: set[int], group: bool = False) -> Batch | None:
        """A process died that had these in hand; `group`: they were one, and there was nothing else.

        They are done again as a group, a group as its halves, until the deadly one stands alone.  The batch gives that
        one up, after it was alone `DEATHS` times.
        """
        found = sorted(numbers)
        if group and len(found) == 1:
            self._deaths.update(found)
            if self._deaths[found[0]] >= DEATHS:
                return Batch(found, counters=Counter(cases=1, inconclusive=1), inconclusive=Counter({LOST: 1}))
        half = len(found) // 2 if group else 0
        self._groups.extend(part for part in (found[:half], found[half:]) if part)
        return None


class _Member:
    """A process of the campaign, as its parent sees it."""

    def __init__(self, context: Any, plan: Plan, ending: Any, group: list[int]) -> None:
        self.group, self._given = group, False
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_shard, args=(plan, theirs, ending, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()
        self.holds = set(group)
        self.heard = self.dead = False

    def hand(self, left: Numbers) -> None:
        """Give it numbers to do: its group and no more, or new ones.  If it is dead, that is found out by listening."""
        numbers = left.block() if not self.group else [] if self._given else self.group
        self._given = True
        self.holds.update(numbers)
        with contextlib.suppress(OSError):
            self.pipe.send(numbers)

    def end(self, deadline: float) -> None:
        """Wait for its end until `deadline`, then kill it."""
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _together(plan: Plan, progress: Progress, jobs: int, stop: Callable[[], bool]) -> Generator[Batch, None, None]:
    context = multiprocessing.get_context("spawn")
    ending = context.RawValue("b", 0)  # without a lock, which might be held by one that is killed
    members = [_Member(context, plan, ending, []) for _ in range(jobs)]
    try:
        numbers = Numbers(progress, plan.examples, plan.deadline)
        yield from _collect(members, numbers, ending, stop, lambda group: _Member(context, plan, ending, group))
    finally:
        ending.value = 1
        deadline = time.monotonic() + GRACE
        for member in members:
            member.end(deadline)


def _collect(
    members: list[_Member], left: Numbers, ending: Any, stop: Callable[[], bool], start: Callable[[list[int]], _Member]
) -> Generator[Batch, None, None]:
    """Batches of all processes, until each has said that it is done; one that dies is replaced."""
    alive = {member.pipe: member for member in members}
    silent = 0  # processes in a row that said nothing before they died
    while alive:
        if stop():
            ending.value = 1
        for pipe in wait(list(alive), timeout=0.2):
            assert isinstance(pipe, Connection)
            member = alive[pipe]
            try:
                said = pipe.recv()
            except (EOFError, OSError):  # also in the middle of a message
                silent = 0 if member.heard else silent + 1
                _bury(member, members, silent)
                if given_up := left.lost(member.holds, bool(member.group) and member.heard):
                    yield given_up
                said = None
                member.dead = True
            if isinstance(said, BaseException):
                raise said
            if said is None:
                del alive[pipe]
                if (member.dead or member.group) and left.left and not ending.value:
                    members.append(another := start(left.group()))
                    alive[another.pipe] = another
            elif isinstance(said, Batch):
                member.holds.difference_update(said.done)
                yield said
            else:
                member.heard = True
                member.hand(left)


def _bury(member: _Member, members: list[_Member], silent: int) -> None:
    """A process has died; an error if it cannot have been by chance: it does not even start."""
    members.remove(member)
    member.end(time.monotonic() + GRACE)
    if silent and (member.process.exitcode != -signal.SIGKILL or silent >= STARTS):
        raise LabError(f"a process of the campaign died at its start (status {member.process.exitcode})") from None


def _shard(plan: Plan, pipe: Connection, ending: Any, parent: int) -> None:
    """What a process does: its part of the campaign, batches to the parent."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the parent says when to end
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))

    def stop() -> bool:
        return bool(ending.value) or os.getppid() != parent

    try:
        with Shard(plan) as shard:
            for batch in shard.run(_handed(plan, pipe, stop), stop):
                pipe.send(batch)
        pipe.send(None)
    except (EOFError, BrokenPipeError):
        return  # there is no parent any more
    except Exception as error:
        pipe.send(_portable(error))


def _handed(plan: Plan, pipe: Connection, stop: Callable[[], bool]) -> Iterator[int]:
    """The numbers that the parent hands out, as long as there is time."""
    pipe.send("more")
    while block := pipe.recv():
        pipe.send("more")
        for number in block:
            if stop() or (plan.deadline is not None and time.monotonic() >= plan.deadline):
                return
            yield number


def _portable(error: Exception) -> Exception:
    """The error, if it survives being sent; else its text."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return LabError(f"{type(error).__name__}: {error}")
    return error
