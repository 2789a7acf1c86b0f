"""The fuzzing campaign: cases from seeds, through all engines, to divergences that are confirmed, reduced and signed.

Case number i is a function of (seed, i, features) alone.  Generation overlaps with execution: every engine has a
window of cases in flight, and the lab makes the next ones while they run.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_ref.case import Case, Invoke, Outcome, Read
from wasmlab_ref.profile import RELAXED

from .choices import Choices, choices_of, probes, profile_of
from .flights import WINDOW, Flight, Flights
from .foreign import plain
from .hunter import Hunter
from .judgement import ABSENT, Again, Arbiter, Judgement, fuelled
from .model import LEFT_OUT, REACHED, SPENT, TAKEN, UNEXAMINED, Batch, Divergence, EngineRecord, Progress, Sample, kept
from .oracle import Answer
from .plan import SIBLINGS, SIBLINGS_ABROAD, STARTS, EngineLike, Plan, start_all, takes_profiles
from .signature import opcodes, size

if TYPE_CHECKING:
    from wasmlab_gen import Family

COMMIT_SECONDS = 0.25
GRACE = 15.0
"""Seconds beyond the deadline in which divergences are still reduced."""

RULES_EVERY = 32
"""Every so many cases the reference is asked which rules of the standard they used, which slows it down."""

OPCODES_EVERY = 32
"""Every so many cases the instructions in them are counted, which takes decoding them, where no engine tells which it
executed."""

ENDED = frozenset({"returned", "threw", "trapped"})
SAMPLES_EACH = 3


def derive(seed: int, index: int, siblings: int = SIBLINGS) -> int:
    """The seed of case number `index`: 64 bits, of which the cases of a family differ in the last ones only."""
    family, member = divmod(index, siblings)
    digest = hashlib.blake2b(f"{seed}/{family}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") // siblings * siblings + member


def generate(
    seed: int,
    features: frozenset[str],
    nan: str = "canonical",
    relaxed: str = "settled",
    siblings: int = SIBLINGS,
    linked: bool = True,
) -> Case:
    """A case of the project's generator; one of eight is only almost valid, one of sixteen has bytes changed.

    Cases whose seeds differ in the last bits only (see `derive`) have the same modules and scripts of their own.
    `nan` and `relaxed` are "raw", "canonical" and "settled", or "mixed": raw in half of the families.  Without `linked`
    each case is of one module.
    """
    from wasmlab_gen import SeededSource

    family: Family = _family(seed // siblings * siblings, features, nan, relaxed, linked)
    return family.any_case(SeededSource(seed + (1 << 64)), f"seed {seed}")


@lru_cache(maxsize=2)
def _family(seed: int, features: frozenset[str], nan: str, relaxed: str, linked: bool) -> Family:
    from wasmlab_gen import Config, Family, SeededSource

    raw = seed >> 63 & 1
    config = Config(
        nan="raw" if nan == "raw" or (nan == "mixed" and raw) else "canonical",
        relaxed="raw" if relaxed == "raw" or (relaxed == "mixed" and raw) else "deterministic-inputs",
    )
    config = config if linked else replace(config, linked=0)
    return Family.draw(SeededSource(seed), features, config)


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
            shlex.join(getattr(getattr(engine, "target", None), "argv", ())),
            plain(str(getattr(engine, "machine", ""))),
        )
        for engine in engines
    )


def siblings_for(engines: Iterable[EngineRecord]) -> int:
    """How many cases in a row have the same modules in a campaign of these engines."""
    return SIBLINGS_ABROAD if any(engine.machine for engine in engines) else SIBLINGS


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
        self._asked: dict[str, dict[str, str | int]] = {}
        resolve = plan.resolve
        self.plan = plan = replace(plan, resolve=lambda name: asked(resolve(name), self._asked.get(name)))
        self.batch = Batch()
        self._engines: list[EngineLike] = []
        self._stack = ExitStack()
        self._spares: dict[str, EngineLike] = {}
        arbiter = Arbiter(lambda: plan.resolve(plan.arbiter)) if plan.arbiter else None
        self._judgement = Judgement(plan.merged, arbiter)
        self._hunter = Hunter(plan, self._judgement)
        self._samples: Counter[str] = Counter()
        self._reached = set(plan.reached)
        self._started = 0.0
        self._spent: dict[str, float] = {}

    def __enter__(self) -> Shard:
        try:
            self._engines = start_all([self.plan.resolve(name) for name in self.plan.engines], self._stack)
            self._judgement.features = {engine.name: engine.features for engine in self._engines}
            if self._judgement.arbiter is not None:
                self._stack.callback(self._judgement.arbiter.close)
                self._judgement.choices = self._choices()
                self.batch.choices = dict(self._judgement.choices)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _choices(self) -> dict[str, Choices]:
        """What the engines choose.  Those that can choose anything are asked for what the first other one does: what
        the standard leaves open then makes no difference, most of the time."""
        chosen: dict[str, Choices] = {e.name: choices_of(e) for e in self._engines if not takes_profiles(e)}
        first = next(iter(chosen.values()), {})
        for engine in filter(takes_profiles, self._engines):
            if first.get("nan"):
                self._asked[engine.name] = {**profile_of(first), "nan": first["nan"]}
            chosen[engine.name] = choices_of(asked(engine, self._asked.get(engine.name)))
        return chosen

    def run(self, indices: Iterator[int], stop: Callable[[], bool] = lambda: False) -> Iterator[Batch]:
        """Do the cases; yields what happened every 250 ms, and at the end.

        They end where fewer than two engines are left.
        """
        self._started = time.monotonic()
        self._spend()
        try:
            yield from self._run(indices, stop)
        except KeyboardInterrupt:
            yield self.take()
            raise
        except EngineUnavailable as error:
            self.batch.troubles.append(f"{error}; the cases end here")
        yield self.take()

    def _run(self, indices: Iterator[int], stop: Callable[[], bool]) -> Iterator[Batch]:
        def over() -> bool:
            late = self.plan.deadline is not None and time.monotonic() > self.plan.deadline + GRACE
            return late or stop()

        committed = time.monotonic()
        flights = Flights(self._engines, self.plan.examples is not None, lambda line: self.batch.troubles.append(line))
        telling = telling_rules(self._engines)
        for index in indices:
            case = self.plan.make(derive(self.plan.seed, index, self.plan.siblings), self.plan.features)
            flights.launch(index, case, telling if index % RULES_EVERY == 0 else ())
            for flight in flights.landed(WINDOW):
                self._settle(flight, over)
                if (now := time.monotonic()) - committed >= COMMIT_SECONDS:
                    committed = now
                    yield self.take()
        late: set[str] = set()
        for flight in flights.left():
            if over():
                return
            self._settle(flight, over)
            late.update(flight.missing)
        if self._judgement.arbiter is not None:
            for engine in self._engines:
                if engine.name not in late:
                    self._same_choices(engine)

    def take(self) -> Batch:
        """What happened since the last time; the shard goes on with an empty batch."""
        now = time.monotonic()
        self._spend()
        batch, self.batch = self.batch, Batch()
        batch.seconds, self._started = now - self._started, now
        return batch

    def _spend(self) -> None:
        """Count what each engine used of the processors since the last time; of a process that is new, all of it."""
        for engine in self._engines:
            now = getattr(engine, "processor_time", float)()
            before, self._spent[engine.name] = self._spent.get(engine.name, now), now
            self.batch.counters[SPENT + engine.name] += round((now - before if now >= before else now) * 1e6)

    def _settle(self, flight: Flight, stop: Callable[[], bool]) -> None:
        """Judge the engines' answers to a case.

        A case whose divergence cannot be looked into any more is left for the next time.
        """
        index, case, answers = flight.index, flight.case, flight.answers
        try:
            verdict = self._judgement.verdict(case, answers, self._again(case))
            if verdict.diverges:
                found = None if stop() else self._hunter.examine(index, case, answers, self._again, self.batch, stop)
                if found is None:
                    return
                verdict = found
        except EngineUnavailable as error:
            self.batch.troubles.append(f"case {index} is kept, and left for the next time: {error}")
            self.batch.samples.append(Sample(UNEXAMINED, index, case, kept(answers)))
            return
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
                (self._spares[name],) = start_all([self.plan.resolve(name)], self._stack, STARTS)
            spare = self._spares[name]
            answer: Answer = spare.run(case, observe="full", **fuelled(spare))
            return answer

        return again

    def _same_choices(self, engine: EngineLike) -> None:
        """An engine whose relaxed instructions choose otherwise at the end than at the start is a finding."""
        before, after = self._judgement.choices[engine.name], choices_of(engine)
        changed = sorted(name for name in before if name in RELAXED and before[name] != after.get(name, before[name]))
        if changed:
            self.batch.divergences.append(changed_choice(engine, before, after, changed))

    def _count(self, index: int, case: Case, answers: dict[str, Any]) -> None:
        counters = self.batch.counters
        by_outcomes: list[tuple[Sequence[Outcome], list[str]]] = []
        fresh: set[str] = set()
        for name, answer in answers.items():
            counters[TAKEN + name] += 1
            alike = next((names for outcomes, names in by_outcomes if outcomes == answer.outcomes), None)
            if alike is None:
                by_outcomes.append((answer.outcomes, alike := []))
            alike.append(name)
            if rules := getattr(answer, "rules", ()):
                executed = set(getattr(answer, "executed", ()))
                self.batch.rules.update(set(rules))
                self.batch.instructions.update(executed)
                fresh |= executed.union(rules) - self._reached
        if fresh:
            self._reached |= fresh
            self.batch.samples.append(Sample(REACHED, index, case, {}))
        calls = [at for at, step in enumerate(case.steps) if type(step) is Invoke]
        observed = any(type(step) is Read for step in case.steps)
        counters["calls"] += len(calls)
        distinct = [outcomes for outcomes, _ in by_outcomes]
        counters["complete calls"] += sum(
            [_complete([found[at : at + 1] for found in distinct], observed) for at in calls]
        )
        for outcomes, names in by_outcomes:
            odd = {o.kind for o in outcomes if o.kind not in ENDED and not o.detail.startswith(ABSENT)}
            counters.update([f"{name}: {kind}" for name in names for kind in odd])
        gone = set(self.plan.engines).difference(engine.name for engine in self._engines)
        counters.update([f"{name}: {LEFT_OUT}" for name in gone])
        if index % OPCODES_EVERY == 0 and not telling_rules(self._engines):
            self.batch.instructions.update(set(opcodes(case)))


def _complete(ends: Sequence[Sequence[Outcome]], observed: bool) -> bool:
    """Did a call end as the standard foresees, with something to compare?  A trap must be one for the others, too."""
    kind = ends[0][0].kind if ends[0] else ""
    return kind in ENDED and all(
        len(end) == 1 and end[0].kind == kind and (observed or kind != "returned" or bool(end[0].values))
        for end in ends
    )


def asked(engine: EngineLike, profile: dict[str, str | int] | None) -> EngineLike:
    """The engine, asked to make these choices."""
    if profile:
        engine.profile = profile  # type: ignore[attr-defined]
    return engine


def telling_rules(engines: Sequence[EngineLike]) -> list[EngineLike]:
    """The engines that say which rules of the standard a case used, without those in containers where others do: the
    rules are the same, and telling them takes ten times as long under QEMU."""
    found = [engine for engine in engines if getattr(engine, "hello", {}).get("rules")]
    return [engine for engine in found if not getattr(engine, "machine", "")] or found


def changed_choice(engine: EngineLike, before: Choices, after: Choices, changed: Sequence[str]) -> Divergence:
    """The finding that an engine's choices are not constant, as the standard has it."""
    case = probes("relaxed-simd")[1]
    said = "; ".join(f"{name} {before[name] or 'none'}, then {after[name] or 'none'}" for name in changed)
    sentence = f"{engine.name} changes its choices while it runs: {said}"
    signature = f"{engine.name} changes {' '.join(changed)}"
    answers = kept({engine.name: engine.run(case)})
    return Divergence(
        id=hashlib.sha256(signature.encode()).hexdigest()[:12], signature=signature, groups=((engine.name,),),
        stage="probe", sentence=plain(sentence), index=0, case=case, reduced=case, step=None, answers=answers,
        size=size(case), seconds=0.0,
    )  # fmt: skip
