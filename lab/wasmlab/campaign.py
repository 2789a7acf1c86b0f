"""The fuzzing campaign: cases from seeds, through all engines, to divergences that are confirmed, reduced and signed.

Case number i is a function of (seed, i, features) alone.  Generation overlaps with execution: every engine has a
window of cases in flight, and the lab makes the next ones while they run.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Protocol

from wasmlab_ref.case import Case, Invoke, Outcome, Read

from .choices import Choices, choices_of, probes
from .foreign import plain
from .judgement import ABSENT, Again, Arbiter, Judgement
from .known import Known
from .model import Answers, Batch, Divergence, EngineRecord, Progress, Sample
from .oracle import BROKEN, Answer, Verdict, pairs
from .reduce import Budget, reduce
from .signature import Signature, key_of, opcodes, signature_of, size

WINDOW = 16
"""Cases in flight on each engine."""

COMMIT_SECONDS = 0.25
GRACE = 15.0
"""Seconds beyond the deadline in which divergences are still reduced."""

RULES_EVERY = 8
"""Every so many cases the reference is asked which rules of the standard they used, which slows it down."""

STALE = 3
"""Reductions in a row that brought nothing new, after which divergences of that key which contain the opcodes of a
known signature are counted under it; one in a while is still reduced."""

SLOW = 3
"""How much longer a crash may take to reduce: every candidate that still crashes costs a new process."""

OPCODES_EVERY = 32
"""Every so many cases the instructions in them are counted, which takes decoding them, where no engine tells which it
executed."""

PATIENCE = 10
"""How many times the deadline a request gets before a time-out is a finding."""

HASTE = 1.0
"""Seconds that a request gets while a time-out is reduced."""

ENDED = frozenset({"returned", "threw", "trapped"})
SAMPLES_EACH = 3


class EngineLike(Protocol):
    """What the lab needs of an engine (`wasmlab_adapters.engine.Engine`)."""

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> frozenset[str]: ...

    def submit(self, case: Case, observe: str = "digest", deadline: float | None = None) -> Any: ...

    def collect(self) -> Any: ...

    def run(self, case: Case, observe: str = "digest") -> Any: ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What a shard needs to know; `resolve` and `make` are functions of a module, so that processes can be given them.

    `resolve(name)` makes an engine, `make(seed, features)` a case.  `examples` is the number of cases, `deadline` a
    reading of `time.monotonic()`; either may be None.  `merged`: see `judgement.Judgement`.  `arbiter` is the engine
    that explains differences; "" for none: then nothing is probed, and every difference counts.
    """

    engines: tuple[str, ...]
    features: frozenset[str]
    seed: int
    resolve: Callable[[str], EngineLike]
    make: Callable[[int, frozenset[str]], Case]
    examples: int | None = None
    deadline: float | None = None
    merged: frozenset[str] = frozenset()
    arbiter: str = ""
    known: Known = field(default_factory=Known)
    reduce_seconds: float = 5.0


def derive(seed: int, index: int) -> int:
    """The seed of case number `index`: 64 bits."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest(), "little")


def generate(seed: int, features: frozenset[str], nan: str = "canonical", relaxed: str = "settled") -> Case:
    """A case of the project's generator; one of eight is only almost valid, one of sixteen has bytes changed.

    `nan` and `relaxed` are "raw", "canonical" and "settled", or "mixed": raw in half of the cases.
    """
    from wasmlab_gen import Config, SeededSource, any_case

    source = SeededSource(seed)
    raw = seed >> 63 & 1
    config = Config(
        nan="raw" if nan == "raw" or (nan == "mixed" and raw) else "canonical",
        relaxed="raw" if relaxed == "raw" or (relaxed == "mixed" and raw) else "deterministic-inputs",
    )
    return any_case(source, features, config)


def generator_digest() -> str:
    """Changes when the generator does: one seed gives the same cases for one digest."""
    total = hashlib.sha256()
    for package in ("wasmlab_gen", "wasmlab_ref"):
        for item in sorted(files(package).iterdir(), key=lambda item: item.name):
            if item.name.endswith((".tbl", ".yaml")) or (item.name.endswith(".py") and package == "wasmlab_gen"):
                total.update(f"{item.name}\0".encode() + item.read_bytes())
    return total.hexdigest()[:16]


def records(engines: Iterable[EngineLike]) -> tuple[EngineRecord, ...]:
    """What the store says about the engines."""
    return tuple(
        EngineRecord(
            engine.name,
            plain(str(getattr(getattr(engine, "target", engine), "resolved", engine.name))),
            plain(str(getattr(engine, "version", ""))),
            tuple(sorted(engine.features)),
        )
        for engine in engines
    )


def numbers(plan: Plan, progress: Progress, take: Callable[[], int], stop: Callable[[], bool]) -> Iterator[int]:
    """The case numbers to do, as long as there is time; `take` hands out each number once, over all processes."""
    while not stop() and (plan.deadline is None or time.monotonic() < plan.deadline):
        index = take()
        if plan.examples is not None and index >= plan.examples:
            return
        if index not in progress:
            yield index


class Shard:
    """One process's part of a campaign, with engines of its own; a context manager that starts and ends them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.batch = Batch()
        self._engines: list[EngineLike] = []
        self._stack = ExitStack()
        self._spares: dict[str, EngineLike] = {}
        arbiter = Arbiter(lambda: plan.resolve(plan.arbiter)) if plan.arbiter else None
        self._judgement = Judgement(plan.merged, arbiter)
        self._hunter = Hunter(plan, self._judgement)
        self._samples: Counter[str] = Counter()
        self._started = 0.0

    def __enter__(self) -> Shard:
        try:
            self._engines = [self._stack.enter_context(self.plan.resolve(name)) for name in self.plan.engines]
            self._judgement.features = {engine.name: engine.features for engine in self._engines}
            if self._judgement.arbiter is not None:
                self._stack.callback(self._judgement.arbiter.close)
                self._judgement.choices = {engine.name: choices_of(engine) for engine in self._engines}
                self.batch.choices = dict(self._judgement.choices)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, indices: Iterator[int], stop: Callable[[], bool] = lambda: False) -> Iterator[Batch]:
        """Do the cases; yields what happened every 250 ms, and at the end."""
        self._started = time.monotonic()
        try:
            yield from self._run(indices, stop)
        except KeyboardInterrupt:
            yield self.take()
            raise
        yield self.take()

    def _run(self, indices: Iterator[int], stop: Callable[[], bool]) -> Iterator[Batch]:
        def over() -> bool:
            late = self.plan.deadline is not None and time.monotonic() > self.plan.deadline + GRACE
            return late or stop()

        committed = time.monotonic()
        flying: deque[tuple[int, Case]] = deque()
        for index in indices:
            case = self.plan.make(derive(self.plan.seed, index), self.plan.features)
            for engine in self._engines:
                engine.submit(case, observe="rules" if index % RULES_EVERY == 0 and tells_rules(engine) else "digest")
            flying.append((index, case))
            if len(flying) >= WINDOW:
                self._settle(*flying.popleft(), over)
                if (now := time.monotonic()) - committed >= COMMIT_SECONDS:
                    committed = now
                    yield self.take()
        while flying and not over():
            self._settle(*flying.popleft(), over)
        if not flying and self._judgement.arbiter is not None:
            for engine in self._engines:
                self._same_choices(engine)

    def take(self) -> Batch:
        """What happened since the last time; the shard goes on with an empty batch."""
        now = time.monotonic()
        batch, self.batch = self.batch, Batch()
        batch.seconds, self._started = now - self._started, now
        return batch

    def _settle(self, index: int, case: Case, stop: Callable[[], bool]) -> None:
        """Take the engines' answers to the oldest case in flight, and judge them.

        A case whose divergence cannot be looked into any more is left for the next time.
        """
        answers = {engine.name: engine.collect() for engine in self._engines}
        verdict = self._judgement.verdict(case, answers, self._again(case))
        if verdict.diverges:
            found = None if stop() else self._hunter.examine(index, case, answers, self._again(case), self.batch, stop)
            if found is None:
                return
            verdict = found
        self._count(index, case, answers)
        if verdict.kind == "inconclusive":
            reason = plain(verdict.reason, 80)
            self.batch.inconclusive[reason] += 1
            if self._samples[reason] < SAMPLES_EACH:
                self._samples[reason] += 1
                self.batch.samples.append(Sample(reason, index, case, kept(answers)))
        if verdict.kind == "agree" and verdict.reason:
            self.batch.counters[f"explained: {verdict.reason}"] += 1
        self.batch.counters[verdict.kind] += 1
        self.batch.counters["cases"] += 1
        self.batch.done.append(index)

    def _again(self, case: Case) -> Again:
        """Runs a case once more, beside those in flight."""

        def again(name: str) -> Answer:
            if name not in self._spares:
                self._spares[name] = self._stack.enter_context(self.plan.resolve(name))
            answer: Answer = self._spares[name].run(case, observe="full")
            return answer

        return again

    def _same_choices(self, engine: EngineLike) -> None:
        """An engine that chooses otherwise at the end than at the start is a finding."""
        before, after = self._judgement.choices[engine.name], choices_of(engine)
        changed = sorted(name for name in before if name in after and before[name] != after[name])
        if changed:
            self.batch.divergences.append(changed_choice(engine, before, after, changed))

    def _count(self, index: int, case: Case, answers: dict[str, Any]) -> None:
        counters = self.batch.counters
        distinct = {answer.outcomes for answer in answers.values()}
        observed = any(isinstance(step, Read) for step in case.steps)
        for at, step in enumerate(case.steps):
            if isinstance(step, Invoke):
                counters["calls"] += 1
                ends = [found[at] for found in distinct if at < len(found)]
                alike = len(ends) == len(distinct) and len({end.kind for end in ends}) == 1
                if alike and all(_complete(end, observed) for end in ends):
                    counters["complete calls"] += 1
        for name, answer in answers.items():
            for kind in {o.kind for o in answer.outcomes if o.kind not in ENDED and not o.detail.startswith(ABSENT)}:
                counters[f"{name}: {kind}"] += 1
            self.batch.rules.update(set(getattr(answer, "rules", ())))
            self.batch.instructions.update(set(getattr(answer, "executed", ())))
        if index % OPCODES_EVERY == 0 and not any(map(tells_rules, self._engines)):
            self.batch.instructions.update(set(opcodes(case)))


def _complete(end: Outcome, observed: bool) -> bool:
    """Did a call end as the standard foresees, with something to compare?  A trap must be one for the others, too."""
    return end.kind in ENDED and (observed or bool(end.values) or end.kind != "returned")


def tells_rules(engine: EngineLike) -> bool:
    """Can the engine say which rules of the standard a case used?"""
    return bool(getattr(engine, "hello", {}).get("rules"))


def changed_choice(engine: EngineLike, before: Choices, after: Choices, changed: Sequence[str]) -> Divergence:
    """The finding that an engine's choices are not constant, as the standard has it."""
    relaxed = changed[0] != "nan"
    case = probes(relaxed)[1]
    said = "; ".join(f"{name} {before[name] or 'none'}, then {after[name] or 'none'}" for name in changed)
    sentence = f"{engine.name} changes its choices while it runs: {said}"
    signature = f"{engine.name} changes {' '.join(changed)}"
    answers = kept({engine.name: engine.run(case)})
    return Divergence(
        id=hashlib.sha256(signature.encode()).hexdigest()[:12], signature=signature, groups=((engine.name,),),
        stage="probe", sentence=plain(sentence), index=0, case=case, reduced=case, step=None, answers=answers,
        size=size(case), seconds=0.0,
    )  # fmt: skip


def kept(answers: dict[str, Any]) -> Answers:
    """Answers as the store keeps them."""
    return {name: (tuple(answer.outcomes), tuple(answer.trace)) for name, answer in answers.items()}


class Hunter:
    """Confirms divergences in fresh processes, reduces and signs them."""

    def __init__(self, plan: Plan, judgement: Judgement) -> None:
        self.plan, self.judgement = plan, judgement
        self._signatures: defaultdict[str, dict[str, Signature]] = defaultdict(dict)
        self._met: Counter[str] = Counter()
        self._stale: Counter[str] = Counter()

    def examine(
        self,
        index: int,
        case: Case,
        answers: dict[str, Any],
        full: Again,
        batch: Batch,
        stop: Callable[[], bool] = lambda: False,
    ) -> Verdict | None:
        """Add what a divergence turns out to be to `batch`; the verdict that counts in the end, None if stopped."""
        found = Verdict("inconclusive", "not reproduced in fresh processes")

        def judged(names: tuple[str, ...]) -> Verdict:
            return self.judgement.verdict(case, {name: answers[name] for name in names}, full)

        for names in pairs(answers, judged):
            again = self._examine(index, case, names, judged(names), batch, stop)
            if again is None:
                return None
            found = again if again.diverges else found
        return found

    def _examine(
        self, index: int, case: Case, names: tuple[str, ...], verdict: Verdict, batch: Batch, stop: Callable[[], bool]
    ) -> Verdict | None:
        key = str(key_of(verdict))
        self._met[key] += 1
        if alike := self._alike(key, case):
            batch.again[alike] += 1
            return verdict
        with ExitStack() as stack:
            engines = [stack.enter_context(self.plan.resolve(name)) for name in names]
            again = self.judgement.compare(engines, case, patience(verdict, engines))[0]
            if not again.diverges:
                return again
            slow = SLOW if (BROKEN | {"timed out"}) & {outcome.kind for outcome in again.outcomes.values()} else 1
            budget = Budget(self.plan.reduce_seconds * slow, stop)
            fields, signature = shrink(case, again, engines, self.judgement, budget)
            known = self.plan.known.reason(signature, engines)
        if stop():
            return None
        self._stale[key] = self._stale[key] + 1 if signature.id in self._signatures[key] else 0
        self._signatures[key][signature.id] = signature
        batch.divergences.append(Divergence(index=index, known=known, **fields))
        return again

    def _alike(self, key: str, case: Case) -> str:
        """The id of a signature to count a case under without reducing it; never one whose opcodes it lacks."""
        met = self._met[key]
        if self._stale[key] < STALE or met & (met - 1) == 0:
            return ""
        present = frozenset(opcodes(case))
        return next((id_ for id_, s in self._signatures[key].items() if present.issuperset(s.opcodes)), "")


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


def shrink(
    case: Case, verdict: Verdict, engines: Sequence[EngineLike], judgement: Judgement, budget: Budget
) -> tuple[dict[str, Any], Signature]:
    """Reduce a case that diverges at constant key; the fields of a `Divergence`, and its signature."""
    key, started = key_of(verdict), time.monotonic()
    deadline = HASTE if times_out(verdict) else None

    def same(candidate: Case) -> bool:
        found = judgement.compare(engines, candidate, deadline)[0]
        return found.diverges and key_of(found) == key

    reduced = reduce(case, verdict.step, same, engines[0], budget)
    final, answers = judgement.compare(engines, reduced, deadline)
    if not final.diverges:
        reduced, final = case, verdict
        answers = {name: _One(outcome) for name, outcome in verdict.outcomes.items()}
    signature = signature_of(reduced, final)
    byte, said = first_byte(reduced, final, engines)
    fields = {
        "id": signature.id, "signature": plain(str(signature)), "groups": final.groups, "stage": final.stage,
        "byte": byte, "sentence": plain(final.reason + said), "case": case, "reduced": reduced, "step": final.step,
        "answers": kept(answers), "size": size(reduced), "seconds": time.monotonic() - started,
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
