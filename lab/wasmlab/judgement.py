"""Judging with the reference at hand: a difference is explained, found open, or it is a divergence.

Where engines differ (only then), the reference runs the case as each of them may: under each NaN profile, with the
relaxed choices that the engine showed when it was probed.  What no profile explains it runs once more with a mask of
what the standard leaves open.  And where an engine ran out of time or stack, it says whether that was called for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wasmlab_ref.case import Case, Instantiate, Outcome, Read
from wasmlab_ref.fast import Unavailable, check
from wasmlab_ref.features import FEATURES
from wasmlab_ref.profile import NAN_PROFILES
from wasmlab_ref.taint_rules import may_be_open

from .choices import Choices, nan_profile_of, profile_of
from .oracle import BROKEN, Answer, Verdict, judge, partition, sentence
from .plan import takes_profiles
from .signature import opcodes

ARBITER = "the standard"
FUEL = 2_000_000
"""Instructions of a step of the reference; what needs fewer ends."""

STACK = 1
"""Percent of its stack that the reference may use for an engine's exhaustion to be a finding."""

BEYOND_DOUBT = BROKEN | {"malformed", "invalid"}
"""Where one of the outcomes that differ is such, nothing that the standard leaves open explains it."""

ABSENT = "no instance"
"""How answers begin that are about an instance which did not come to life."""

Again: TypeAlias = Callable[[str], Answer]
"""Runs the case once more on the engine of that name, all bytes of memories observed."""


@dataclass(slots=True)
class Arbiter:
    """The reference, asked about one case at a time; `open` makes an engine that takes profiles and can tell masks."""

    open: Callable[[], Any]
    runs: int = 0
    _engine: Any = None
    _case: Case | None = None
    _said: dict[tuple[Any, ...], Answer] = field(default_factory=dict)

    def run(self, case: Case, profile: Mapping[str, str | int], observe: str = "digest", stack: int = 100) -> Answer:
        """What the reference says to the case under a profile."""
        if self._case is not case:
            self._case, self._said = case, {}
        key = (tuple(sorted(profile.items())), observe, stack)
        if key not in self._said:
            if self._engine is None:
                engine = self.open()
                engine.start()
                self._engine = engine
            self.runs += 1
            more = {"profile": dict(profile), "stack": stack, "fuel": FUEL}
            self._said[key] = self._engine.run(case, observe, more=more)
        return self._said[key]

    def close(self) -> None:
        """End its process."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


@dataclass(slots=True)
class Judgement:
    """How differences are judged in one campaign.

    `merged`: the engines that do not tell malformed from invalid; by engine, `choices`: what it was found to choose,
    `features`: what it supports.  Without an `arbiter` bits are compared, and nothing else.
    """

    merged: frozenset[str] = frozenset()
    arbiter: Arbiter | None = None
    choices: dict[str, Choices] = field(default_factory=dict)
    features: dict[str, frozenset[str]] = field(default_factory=dict)

    def verdict(self, case: Case, answers: Mapping[str, Answer], again: Again) -> Verdict:
        """The verdict that counts.  One that agrees says in its reason what explained a difference."""
        found = judge(case, answers, self.merged)
        if found.diverges and found.stage == "instantiate" and found.step is not None:
            answers = self._excused(case, answers, found.step)
            found = judge(case, answers, self.merged)
        if self.arbiter is None or any(outcome.kind in BEYOND_DOUBT for outcome in found.outcomes.values()):
            return found
        if found.diverges and any(map(may_be_open, opcodes(case))):
            found = self._explained(case, answers, again, found)
        return self._called_for(case, answers, found) if found.kind == "inconclusive" else found

    def compare(
        self, engines: Sequence[Any], case: Case, deadline: float | None = None, first: int = 0
    ) -> tuple[Verdict, dict[str, Answer]]:
        """Run a case on every engine, at once, and judge it.

        Where the `first` ones do not come to an end the others are not asked: what was changed in a case may have ended
        a loop, which engines without fuel would go round until their deadline.
        """
        answers: dict[str, Answer] = {}
        for several in (engines[:first], engines[first:]):
            if any(endless(answer) for answer in answers.values()):
                return Verdict("inconclusive", "it does not end"), answers
            for engine in several:
                more = fuelled(engine) if first else {}
                engine.submit(case, **({} if deadline is None else {"deadline": deadline}), **more)
            answers |= {engine.name: engine.collect() for engine in several}
        by_name = {engine.name: engine for engine in engines}
        return self.verdict(case, answers, lambda name: by_name[name].run(case, observe="full")), answers

    def _excused(self, case: Case, answers: Mapping[str, Answer], at: int) -> Mapping[str, Answer]:
        """The answers, where an engine that refuses a module for a feature it does not have says so.

        Cases are made of what all engines have, but a module with bytes changed may use more.
        """
        step, changed = case.steps[at], dict(answers)
        for name, answer in answers.items():
            features = self.features.get(name)
            refused = at < len(answer.outcomes) and answer.outcomes[at].kind in ("malformed", "invalid")
            if refused and features is not None and isinstance(step, Instantiate):
                lacking = beyond(case.modules[step.module], features)
                if lacking:
                    outcome = Outcome("unsupported", detail=lacking)
                    changed[name] = _Changed((*answer.outcomes[:at], outcome, *answer.outcomes[at + 1 :]), answer.trace)
        return changed

    # Explaining what differs

    def _explained(self, case: Case, answers: Mapping[str, Answer], again: Again, first: Verdict) -> Verdict:
        alike: dict[tuple[Any, ...], Verdict] = {}
        found: dict[str, Verdict] = {}
        for name, answer in answers.items():
            key = (tuple(answer.outcomes), tuple(answer.trace), *sorted(self._relaxed(name).items()))
            if key not in alike:
                alike[key] = self._allowed(case, name, answer, again)
            found[name] = alike[key]
        if any(verdict.diverges for verdict in found.values()):
            return self._guilty(case, answers, found) or first
        left = next((verdict for verdict in found.values() if verdict.kind == "inconclusive"), None)
        reasons = {verdict.reason for verdict in found.values()}
        return left or Verdict("agree", ", ".join(sorted(reasons - {"canonical"} or reasons)))

    def _relaxed(self, name: str) -> dict[str, str | int]:
        return profile_of(self.choices.get(name, {}))

    def _allowed(self, case: Case, name: str, answer: Answer, again: Again) -> Verdict:
        """Is what one engine did allowed?  The verdict against the reference that comes closest to it."""
        relaxed, shown = self._relaxed(name), nan_profile_of(self.choices.get(name, {}))
        likely = [shown] if shown else [{"nan": nan} for nan in NAN_PROFILES]
        for nans in likely:
            if self._against({**relaxed, **nans}, case, name, answer).kind == "agree":
                return Verdict("agree", f"{nans['nan']}{' with exceptions' * (len(nans) > 1)}")
        masked = self._against(relaxed, case, name, _full(case, answer, again, name), "taint")
        if masked.kind == "agree":
            return Verdict("agree", "open bits")
        for nan in NAN_PROFILES if shown else ():
            if self._against({**relaxed, "nan": nan}, case, name, answer).kind == "agree":
                return Verdict("agree", nan)
        if masked.diverges and not self._against({**relaxed, **shown, "grow": 0}, case, name, answer).diverges:
            return Verdict("inconclusive", "refused growth")
        return masked

    def _against(
        self, profile: Mapping[str, str | int], case: Case, name: str, answer: Answer, observe: str = "digest"
    ) -> Verdict:
        if self.arbiter is None:
            raise RuntimeError("nobody to ask")
        said = self.arbiter.run(case, profile, observe)
        return judge(case, {ARBITER: said, name: answer}, self.merged)

    def _guilty(self, case: Case, answers: Mapping[str, Answer], found: Mapping[str, Verdict]) -> Verdict | None:
        """The earliest divergence: those that did what is allowed there, against each group that did not.

        None where nobody did: the reference would be alone against all.
        """
        steps = {name: _place(case, verdict) for name, verdict in found.items() if verdict.diverges}
        step = min(steps.values())
        clean = tuple(name for name in answers if steps.get(name, len(case.steps) + 1) > step)
        if not clean:
            return None
        guilty = [name for name in answers if name not in clean]
        stage = found[guilty[0]].stage
        if step == len(case.steps):
            outcomes = {name: Outcome("returned", tuple(answers[name].trace), "host calls") for name in answers}
        else:
            outcomes = {name: answers[name].outcomes[step] for name in answers}
        groups = (clean, *partition({name: outcomes[name] for name in guilty}, self.merged))
        at = None if step == len(case.steps) else step
        return Verdict("diverge", sentence(groups, outcomes), at, stage, groups, outcomes)

    # Time and stack

    def _called_for(self, case: Case, answers: Mapping[str, Answer], found: Verdict) -> Verdict:
        """An engine that ran out of time or stack where the reference needs next to nothing is a finding."""
        tired = {name: at for name, answer in answers.items() if (at := _tired(answer)) is not None}
        if not tired or self.arbiter is None:
            return found
        said = self.arbiter.run(case, {}, stack=STACK)
        step = min(tired.values())
        if any(outcome.kind in ("exhausted", "timed out") for outcome in said.outcomes):
            return found
        if said.outcomes[step].kind == "unsupported":
            return found
        guilty = tuple(name for name in answers if tired.get(name) == step)
        clean = tuple(name for name in answers if name not in guilty) or (ARBITER,)
        outcomes = {name: answers[name].outcomes[step] if name in answers else said.outcomes[step] for name in clean}
        outcomes |= {name: answers[name].outcomes[step] for name in guilty}
        stage = type(case.steps[step]).__name__.lower()
        groups = (clean, guilty)
        needs = f"the reference needs at most {FUEL:,} instructions a step, and {STACK} % of its stack"
        return Verdict("diverge", f"{sentence(groups, outcomes)}; {needs}", step, stage, groups, outcomes)


@dataclass(frozen=True, slots=True)
class _Changed:
    """An answer in other words."""

    outcomes: Sequence[Outcome]
    trace: Sequence[str]


def beyond(data: bytes, features: frozenset[str]) -> str:
    """What says that a module uses more than these features; "" where it does not."""
    if features >= frozenset(FEATURES) - {"annotations"}:
        return ""
    try:
        found = check(data, sum(1 << at for at, name in enumerate(FEATURES) if name in features))
    except Unavailable:
        return "perhaps a feature"  # there is no compiler for the engine in C, which alone can tell
    return found.message if found.stage == "unsupported" else ""


def _tired(answer: Answer) -> int | None:
    """The first step at which an engine ran out of time or of stack."""
    return next((at for at, outcome in enumerate(answer.outcomes) if is_tired(outcome)), None)


def fuelled(engine: Any) -> dict[str, Any]:
    """What else to ask of an engine, so that a loop without end costs it milliseconds: the reference counts."""
    return {"more": {"fuel": FUEL}} if takes_profiles(engine) else {}


def endless(answer: Answer) -> bool:
    """Did an engine give a case up that may have no end?"""
    return any(o.kind == "timed out" or (o.kind == "exhausted" and "fuel" in o.detail) for o in answer.outcomes)


def is_tired(outcome: Outcome) -> bool:
    """Did it end for want of time, or of stack?"""
    return outcome.kind == "timed out" or (outcome.kind == "exhausted" and outcome.detail.startswith("call stack"))


def _place(case: Case, verdict: Verdict) -> int:
    """The step of a divergence; the trace comes after them all."""
    return len(case.steps) if verdict.step is None else verdict.step


def _full(case: Case, answer: Answer, again: Again, name: str) -> Answer:
    """An answer with the bytes of its memories, if the engine says the same again."""
    reads = [isinstance(step, Read) for step in case.steps]
    if not any(reads):
        return answer
    full = again(name)
    pairs = zip(reads, answer.outcomes, full.outcomes, strict=False)
    same = len(full.outcomes) == len(answer.outcomes) and all(read or a == b for read, a, b in pairs)
    return full if same else answer
