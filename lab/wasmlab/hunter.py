"""What becomes of a divergence: it is run again in fresh processes, reduced at constant key, and signed."""

from __future__ import annotations

import re
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from wasmlab_ref.case import Case

from .choices import choices_of
from .crew import Crew, Question
from .foreign import plain
from .judgement import Again, Judgement, endless
from .model import Batch, Divergence, kept
from .oracle import BROKEN, Answer, Verdict, pairs
from .plan import STARTS, EngineLike, Plan, start_all
from .reduce import Budget, Parts, reduce
from .signature import Signature, key_of, opcodes, parts, signature_of, size
from .subtract import without
from .trace import last_words

STALE = 3
"""Reductions in a row that brought nothing new (no signature, or one that only adds opcodes to a known one), after
which divergences of that key which contain the opcodes of a known signature are counted under it; one in a while is
still reduced."""

AGAIN = 8
"""Which of the crashes at one place in an engine's sources is reduced once more, where what is known is large."""

LARGE = 20
"""Instructions."""

TELLING = 6
"""Opcodes of a signature that is small enough to say what goes wrong."""

SLOW = 3
"""How much longer a crash may take to reduce: every candidate that still crashes costs a new process."""

CANDIDATES = 100
"""How many candidates a reduction may try at least, where engines are slow: what the confirming run took, so often."""

LONGEST = 12
"""How much longer than usual a reduction may take for that."""

ENOUGH = 10.0
"""Seconds from which on a stopped reduction is kept as far as it came; before, the case is left for the next time."""

PATIENCE = 10
"""How many times the deadline a request gets before a time-out is a finding."""

CONFIRMATIONS = 3
"""Fresh processes that get a chance to show a divergence, before it is reduced and after."""

TRIES = 3
"""Runs of each candidate while a divergence is reduced that does not show every time."""

HASTE = 1.0
"""Seconds that a request gets while a time-out is reduced."""

ONE_PROCESSOR = Verdict("inconclusive", "seen on one emulated processor only")
"""What QEMU does as one model of a processor and not as another is no word about an engine."""


Rerun: TypeAlias = Callable[[Case], Again]
"""What runs a case again, engine by engine."""


class Hunter:
    """Confirms divergences in fresh processes, reduces and signs them."""

    def __init__(self, plan: Plan, judgement: Judgement) -> None:
        self.plan, self.judgement = plan, judgement
        self._signatures: defaultdict[str, dict[str, Signature]] = defaultdict(dict)
        self._sizes: dict[str, int] = {}
        self._played: dict[str, bool] = {}
        self._said: dict[tuple[str, str], str] = {}
        self._met: Counter[str] = Counter()
        self._stale: Counter[str] = Counter()
        self._engines: dict[str, EngineLike] = {}
        self._explained: dict[str, str] = {}

    def examine(
        self,
        index: int,
        case: Case,
        answers: dict[str, Any],
        rerun: Rerun,
        batch: Batch,
        stop: Callable[[], bool] = lambda: False,
    ) -> Verdict | None:
        """Add what a divergence turns out to be to `batch`; the verdict that counts in the end, None if stopped.

        `rerun` runs a case, this one or another, beside those in flight.
        """
        found, full = Verdict("inconclusive", "not reproduced in fresh processes"), rerun(case)

        def judged(names: tuple[str, ...]) -> Verdict:
            return self.judgement.verdict(case, {name: answers[name] for name in names}, full)

        for several in pairs(answers, judged):
            names = self._fewest(several, judged)
            again = self._examine(index, case, names, judged(names), rerun, batch, stop)
            if again is None:
                return None
            if again.diverges or (again == ONE_PROCESSOR and not found.diverges):
                found = again
        return found

    def _fewest(self, names: tuple[str, ...], judged: Callable[[tuple[str, ...]], Verdict]) -> tuple[str, ...]:
        """Those of `names` that a difference needs: not the emulated ones that do as the first does.

        Each costs seconds to start, of which confirming one difference takes five.
        """
        if not any(self._emulated(name) for name in names[1:]):
            return names
        groups = judged(names).groups
        odd = {name for group in groups[1:] or groups for name in group}
        fewer = tuple(name for name in names if name == names[0] or name in odd or not self._emulated(name))
        return fewer if len(fewer) > 1 and judged(fewer).diverges else names

    def _emulated(self, name: str) -> bool:
        """Does QEMU play the processor that this engine runs on?"""
        if name not in self._played:
            self._played[name] = bool(getattr(self.plan.resolve(name), "second", ""))
        return self._played[name]

    def _examine(
        self,
        index: int,
        case: Case,
        names: tuple[str, ...],
        verdict: Verdict,
        rerun: Rerun,
        batch: Batch,
        stop: Callable[[], bool],
    ) -> Verdict | None:
        key = str(key_of(verdict))
        self._met[key] += 1
        if id_ := self._explained.get(self._rows(case, names, verdict), ""):
            batch.again[id_] += 1
            return verdict
        alike = ""
        if not costly(verdict):
            alike, case, verdict = self._beyond_known(case, names, verdict, rerun)
            key = str(key_of(verdict))
        said = (key, words(verdict))
        if alike := alike or self._alike(key, key_of(verdict).placed, case) or self._said.get(said, ""):
            batch.again[alike] += 1
            return verdict
        again = verdict
        for attempt in range(1 if times_out(verdict) else CONFIRMATIONS):
            with ExitStack() as stack:
                engines = start_all([self.plan.resolve(name) for name in names], stack, STARTS)
                before = processor_time(engines)
                again = self.judgement.compare(engines, case, patience(verdict, engines))[0]
                if not again.diverges:
                    continue
                cost = processor_time(engines) - before
                models = self._other_models(case, engines, verdict, stack)
                if models is None:
                    return ONE_PROCESSOR
                broke, usual = costly(again), self.plan.reduce_seconds
                seconds = usual * SLOW if broke else max(usual, min(CANDIDATES * cost, usual * LONGEST))
                budget = Budget(seconds, stop, clock=partial(processor_time, engines))
                tries = TRIES if attempt else 1
                begun = time.monotonic()
                fields, signature = shrink(case, again, engines, self.judgement, budget, tries)
                fields["sentence"] += models
                known = self.plan.known.reason(signature, fields["reduced"], engines)
                self._engines.update((engine.name, engine) for engine in engines)
                if rows := known and self._rows(case, names, verdict):
                    self._explained.setdefault(rows, signature.id)
                new = not any(
                    set(other.opcodes).issubset(signature.opcodes) and other.values == signature.values
                    for other in self._signatures[key].values()
                )
                better = fields["size"] < self._sizes.get(signature.id, fields["size"] + 1)
                if better and not broke and fields["stage"] != "probe":
                    fields["trace"] = last_words(fields["reduced"], engines)
                break
        else:
            return again
        if stop() and time.monotonic() - begun < ENOUGH:
            return None
        if better and not stop():
            self._sizes[signature.id] = fields["size"]
            fields["confirmed"] = confirmed(fields["reduced"], names, self.plan.resolve, self.judgement)
        self._stale[key] = 0 if new else self._stale[key] + 1
        self._signatures[key][signature.id] = signature
        if said[1]:
            self._said[said] = signature.id
        batch.divergences.append(Divergence(index=index, known=known, **fields))
        return again

    def _rows(self, case: Case, names: tuple[str, ...], verdict: Verdict) -> str:
        """What the rows of known divergences say that explain one as it is; "" if none do, or an engine is new here.

        Where they explained one before, reducing another brings nothing.
        """
        engines = [self._engines[name] for name in names if name in self._engines]
        if len(engines) < len(names) or not self.plan.known.rows:
            return ""
        return self.plan.known.reason(signature_of(case, verdict), case, engines, large=True)

    def _beyond_known(
        self, case: Case, names: tuple[str, ...], verdict: Verdict, rerun: Rerun
    ) -> tuple[str, Case, Verdict]:
        """The id of the known signature that explains a divergence, or "" and the case without what is known."""
        for signature in self._signatures[str(key_of(verdict))].values():
            less = without(case, signature.opcodes) if len(signature.opcodes) <= TELLING else None
            if less is None:
                continue
            again, answers = rerun(less), dict[str, Answer]()
            for name in names:
                answers[name] = again(name)
                if endless(answers[name]):
                    break
            if len(answers) < len(names):
                continue
            found = self.judgement.verdict(less, answers, again)
            if found.kind == "agree":
                return signature.id, case, verdict
            if not found.diverges or costly(found):
                continue
            case, verdict = less, found
        return "", case, verdict

    def _other_models(
        self, case: Case, engines: Sequence[EngineLike], verdict: Verdict, stack: ExitStack
    ) -> str | None:
        """Does a divergence show, too, where QEMU plays other processors?  What to say of it; None if it does not."""
        seconds = {engine.name: str(second) for engine in engines if (second := getattr(engine, "second", ""))}
        if not seconds:
            return ""
        names = [seconds.get(engine.name, engine.name) for engine in engines]
        again = start_all([self.plan.resolve(name) for name in names], stack, STARTS)
        if self.judgement.arbiter is not None:
            self.judgement.choices |= {e.name: choices_of(e) for e in again if e.name not in self.judgement.choices}
        self.judgement.features |= {engine.name: engine.features for engine in again}
        if not self.judgement.compare(again, case, patience(verdict, again))[0].diverges:
            return None
        return f"; also as {', '.join(seconds.values())}"

    def _alike(self, key: str, placed: bool, case: Case) -> str:
        """The id of a signature to count a case under without reducing it; never one whose opcodes it lacks.

        Where the key names the place of a crash, it is all of the signature: reducing another brings at most a
        smaller case, which is tried once more where it is large.
        """
        met = self._met[key]
        if (
            placed
            and (known := next(iter(self._signatures[key]), ""))
            and (met != AGAIN or self._sizes[known] <= LARGE)
        ):
            return known
        if self._stale[key] < STALE or met & (met - 1) == 0:
            return ""
        present = parts(case).union(opcodes(case))
        return next((id_ for id_, s in self._signatures[key].items() if present.issuperset(s.opcodes)), "")


def processor_time(engines: Sequence[EngineLike]) -> float:
    """Seconds of processor time that this process and those of the engines used: they take turns.

    Workers that have ended count, too: a candidate that crashes or is killed costs one.
    """
    workers = (getattr(engine, "processor_time", float)() for engine in engines)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + float(sum(workers))


def costly(verdict: Verdict) -> bool:
    """Does each run that shows it cost a process, or much time?"""
    return not (BROKEN | {"timed out"}).isdisjoint(outcome.kind for outcome in verdict.outcomes.values())


def words(verdict: Verdict) -> str:
    """What engines that refuse a module say of it, without numbers: where that is the same, so is the reason."""
    outcomes = (verdict.outcomes[name] for name in sorted(verdict.outcomes))
    said = [outcome.detail for outcome in outcomes if outcome.kind in ("malformed", "invalid")]
    return re.sub(r"(0x)?[0-9a-f]*[0-9][0-9a-f]*", "#", " / ".join(said))


def times_out(verdict: Verdict) -> bool:
    """Is it about an engine that ran out of time?"""
    return any(outcome.kind == "timed out" for outcome in verdict.outcomes.values())


def patience(verdict: Verdict, engines: Sequence[EngineLike]) -> float | None:
    """The deadline of the run that confirms a verdict, None for the usual one."""
    if not times_out(verdict):
        return None
    return max(
        (PATIENCE * engine.target.limits.deadline for engine in engines if hasattr(engine, "target")), default=None
    )


def confirmed(
    case: Case, names: Sequence[str], resolve: Callable[[str], EngineLike], judgement: Judgement
) -> tuple[int, int]:
    """In how many of `CONFIRMATIONS` fresh processes of each engine a case diverges, and that number."""
    shown = 0
    for _ in range(CONFIRMATIONS):
        with ExitStack() as stack:
            engines = start_all([resolve(name) for name in names], stack, STARTS)
            shown += judgement.compare(engines, case)[0].diverges
    return shown, CONFIRMATIONS


def shrink(
    case: Case,
    verdict: Verdict,
    engines: Sequence[EngineLike],
    judgement: Judgement,
    budget: Budget,
    tries: int = 1,
    crew: Callable[[Callable[[Sequence[EngineLike], Judgement], Question]], Crew] | None = None,
    progress: Callable[[Parts, int], None] = lambda parts, asked: None,
) -> tuple[dict[str, Any], Signature]:
    """Reduce a case that diverges at constant key; the fields of a `Divergence`, and its signature.

    A candidate shows it if one of `tries` runs does.  `crew` makes one from what makes a question of engines.
    """
    key, started = key_of(verdict), budget.clock()
    deadline = HASTE if times_out(verdict) else None

    def question(asked: Sequence[EngineLike], judge: Judgement) -> Question:
        def same(candidate: Case) -> bool:
            verdicts = (judge.compare(asked, candidate, deadline, first=1)[0] for _ in range(tries))
            return any(found.diverges and key_of(found) == key for found in verdicts)

        return same

    same = question(engines, judgement)
    with crew(question) if crew else nullcontext() as several:
        reduced = reduce(case, verdict.step, same, engines[0], budget, several, progress)
    for _ in range(tries):
        final, answers = judgement.compare(engines, reduced, deadline)
        if final.diverges:
            break
    else:
        reduced, final = case, verdict
        answers = {name: _One(outcome) for name, outcome in verdict.outcomes.items()}
    signature = signature_of(reduced, final)
    byte, said = first_byte(reduced, final, engines)
    fields = {
        "id": signature.id, "signature": plain(str(signature)), "groups": final.groups, "stage": final.stage,
        "byte": byte, "sentence": plain(final.reason + said), "case": case, "reduced": reduced, "step": final.step,
        "answers": kept(answers), "size": size(reduced), "seconds": budget.clock() - started,
    }  # fmt: skip
    return fields, signature


def first_byte(case: Case, verdict: Verdict, engines: Sequence[EngineLike]) -> tuple[tuple[int, int] | None, str]:
    """Where a memory that was read differs first: address and the first engine's byte, and a sentence about it."""
    if verdict.stage != "read" or verdict.step is None or len(verdict.groups) < 2:
        return None, ""
    contents = []
    for name in (verdict.groups[0][0], verdict.groups[1][0]):
        engine = next(engine for engine in engines if engine.name == name)
        values = engine.run(case, observe="full").outcomes[verdict.step].values
        found = next((value for value in values if value.startswith("bytes:")), "")
        contents.append(bytes.fromhex(found.removeprefix("bytes:")))
    a, b = contents
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    if at >= len(a) or at >= len(b):
        return None, ""
    return (at, a[at]), f"; byte {at:#x} is {a[at]:02x} and {b[at]:02x}"


@dataclass(frozen=True, slots=True)
class _One:
    """The only outcome left of a divergence that came and went."""

    outcome: Any
    trace: tuple[str, ...] = ()

    @property
    def outcomes(self) -> tuple[Any, ...]:
        return (self.outcome,)
