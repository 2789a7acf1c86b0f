"""The oracle: what several engines said to one case, folded into a verdict.

Two outcomes *diverge* only if no behaviour that the standard allows explains both.  So bits are compared as texts,
traps by meaning, rejections by stage; and where an engine ran out of something (stack, fuel, time, support), nothing
can be said any more: it leaves the comparison, and its case is *inconclusive* unless the others diverge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from wasmlab_ref.case import Case, Instantiate, Outcome, Step, parse_value

SILENT = frozenset({"exhausted", "timed out", "unsupported"})
"""Outcomes after which nothing can be said about an engine's state."""

OPEN = "open: "
"""How the detail of a silence begins where what happens next depends on bits that the standard leaves open."""

BROKEN = frozenset({"crashed", "unparsed"})
"""Outcomes that are a finding whatever the others did."""

REJECTED = frozenset({"malformed", "invalid", "unlinkable"})


def is_reference(name: str) -> bool:
    """Whether an engine is the lab's own."""
    return re.fullmatch(r"ref\b.*", name) is not None


class Answer(Protocol):
    """What an engine said to a case (`wasmlab_adapters.engine.CaseResult` is one)."""

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """One for each step."""

    @property
    def trace(self) -> Sequence[str]:
        """The host calls."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind` is "agree", "diverge" or "inconclusive"; `reason` a sentence, or what ran out.

    `step` is the index of the step where it was decided (None: after the last), `stage` what that step does
    ("instantiate", "register", "invoke", "read"; "trace" for the host calls; "case" where an engine broke and nobody
    can say when), `groups` the partition of the engines there, in their order, and `outcomes` what they answered.
    """

    kind: str
    reason: str = ""
    step: int | None = None
    stage: str = ""
    groups: tuple[tuple[str, ...], ...] = ()
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)

    @property
    def diverges(self) -> bool:
        """Is it a finding?"""
        return self.kind == "diverge"


def judge(case: Case, answers: Mapping[str, Answer], merged: frozenset[str] = frozenset()) -> Verdict:
    """Compare the engines' answers step by step, up to the first divergence.

    `merged` names the engines that do not distinguish malformed from invalid modules.  Bits that one of two outcomes
    calls open (`Outcome.taint`) are not compared.
    """
    if _same(case, list(answers.values())):
        return Verdict("agree")
    live, left = list(answers), Verdict("agree")
    dead: set[str] = set()
    for index, step in enumerate(case.steps):
        if step.name in dead:
            continue
        found = {name: _at(answers[name], index) for name in live}
        if _alike(list(found.values())) and (type(step) is not Instantiate or found[live[0]].kind == "returned"):
            continue
        verdict = _judge_step(found, index, step, merged)
        if verdict.kind == "diverge":
            return _unplaced(verdict) if index == 0 and any(_all_broken(answers[name]) for name in live) else verdict
        if verdict.kind == "inconclusive":
            live = [name for name in live if found[name].kind not in SILENT]
            left = left if left.kind == "inconclusive" else verdict
            if len(live) < 2:
                return _breaks(case, answers) or left
        if isinstance(step, Instantiate) and found[live[0]].kind != "returned":
            dead.add(step.name)
    return _judge_traces(live, answers) or (left.kind == "inconclusive" and _breaks(case, answers)) or left


_PLAIN = frozenset({"returned", "trapped", "threw"})


def _same(case: Case, answers: Sequence[Answer]) -> bool:
    """Do all answers say the same, and nothing that needs a second look?  Most do."""
    first, *others = answers
    for answer in others:
        if answer.outcomes != first.outcomes or answer.trace != first.trace:
            return False
    return len(first.outcomes) == len(case.steps) and {outcome.kind for outcome in first.outcomes} <= _PLAIN


def _alike(outcomes: Sequence[Outcome]) -> bool:
    """Do outcomes of one step say the same, and nothing that needs a second look?"""
    first = outcomes[0]
    return first.kind in _PLAIN and outcomes.count(first) == len(outcomes)


def _all_broken(answer: Answer) -> bool:
    """Did an engine break, without anybody knowing at which of several steps?"""
    return len(answer.outcomes) > 1 and len(set(answer.outcomes)) == 1 and answer.outcomes[0].kind in BROKEN


def _unplaced(verdict: Verdict) -> Verdict:
    return replace(verdict, step=None, stage="case")


def pairs(answers: Mapping[str, Answer], judged: Callable[[tuple[str, ...]], Verdict]) -> Iterator[tuple[str, ...]]:
    """The sets of engines to look into where more than two are compared; `judged` says how a set of them is judged.

    Those that agree with the first engine, against each group that does not; then the former among themselves, for
    what differs later.
    """
    names = tuple(answers)
    while len(names) > 1:
        verdict = judged(names)
        if not verdict.diverges:
            return
        for group in verdict.groups[1:] or verdict.groups:
            yield (*verdict.groups[0], *group) if group != verdict.groups[0] else names
        names = verdict.groups[0]


def _at(answer: Answer, index: int) -> Outcome:
    if index < len(answer.outcomes):
        return answer.outcomes[index]
    return Outcome("unparsed", detail=f"{len(answer.outcomes)} outcomes, none for step {index}")


def _judge_step(found: dict[str, Outcome], index: int, step: Step, merged: frozenset[str]) -> Verdict:
    stage = type(step).__name__.lower()
    speaking = {name: outcome for name, outcome in found.items() if outcome.kind not in SILENT}
    groups = partition(speaking, merged)
    broken = [name for name, outcome in found.items() if outcome.kind in BROKEN]
    if len(groups) > 1 or broken:
        reason = sentence(groups, found)
        return Verdict("diverge", reason, index, stage, groups, found)
    if len(speaking) < len(found):
        silent = next(outcome for outcome in found.values() if outcome.kind in SILENT)
        return Verdict("inconclusive", silence(silent), index, stage, groups, found)
    return Verdict("agree")


def silence(outcome: Outcome) -> str:
    """The reason to count: what ran out, but of a refusal or a time-out only that there was one."""
    if outcome.detail.startswith(OPEN):
        return f"nan ({outcome.detail.removeprefix(OPEN)})"
    short = outcome.detail.partition(":")[0][:40]
    return f"{outcome.kind} ({short})" if outcome.kind == "exhausted" and short else outcome.kind


def _breaks(case: Case, answers: Mapping[str, Answer]) -> Verdict | None:
    """An engine that left the comparison may have broken later on; a crash needs no witness."""
    for name, answer in answers.items():
        for index, (step, outcome) in enumerate(zip(case.steps, answer.outcomes, strict=False)):
            if outcome.kind in BROKEN:
                groups, found = ((name,),), {name: outcome}
                stage = type(step).__name__.lower()
                return Verdict("diverge", sentence(groups, found), index, stage, groups, found)
    return None


def _judge_traces(live: Sequence[str], answers: Mapping[str, Answer]) -> Verdict | None:
    traces = {name: tuple(answers[name].trace) for name in live}
    first = traces[live[0]]
    if all(trace == first for trace in traces.values()):
        return None
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name, trace in traces.items():
        kinds.setdefault(trace, []).append(name)
    groups = tuple(map(tuple, kinds.values()))
    at = next(i for i in range(max(map(len, kinds)) + 1) if len({trace[i : i + 1] for trace in kinds}) > 1)
    said = "; ".join(f"{', '.join(names)} {_call(trace, at)}" for trace, names in kinds.items())
    outcomes = {name: Outcome("returned", trace, "host calls") for name, trace in traces.items()}
    return Verdict("diverge", f"host call {at + 1} differs: {said}", None, "trace", groups, outcomes)


def _call(trace: tuple[str, ...], at: int) -> str:
    return f"made lab.log({trace[at]})" if at < len(trace) else "made none"


def partition(speaking: Mapping[str, Outcome], merged: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    """The engines in groups whose outcomes some behaviour of the standard explains."""
    groups: list[list[str]] = []
    for name, outcome in speaking.items():
        for group in groups:
            if all(compatible(name, outcome, other, speaking[other], merged) for other in group):
                group.append(name)
                break
        else:
            groups.append([name])
    return tuple(map(tuple, groups))


def compatible(one: str, a: Outcome, other: str, b: Outcome, merged: frozenset[str] = frozenset()) -> bool:
    """Does some behaviour that the standard allows explain both `a` on engine `one` and `b` on engine `other`?"""
    if a.kind != b.kind:
        stages = {a.kind, b.kind}
        return stages == {"malformed", "invalid"} and bool({one, other} & merged)
    match a.kind:
        case "trapped":
            return same_trap(a.detail, b.detail)
        case "returned":
            return same_values(a, b)
        case "threw":
            same_tag = not a.detail or not b.detail or a.detail == b.detail
            return same_tag and same_values(a, b)
        case kind if kind in BROKEN:
            return False
    return True


def same_values(a: Outcome, b: Outcome) -> bool:
    """Are the values equal, but for bits that one of the outcomes calls open?"""
    if a.values == b.values:
        return True
    if not (a.taint or b.taint) or len(a.values) != len(b.values):
        return False
    rows = zip(a.values, b.values, _masks(a), _masks(b), strict=True)
    return all(x == y or any(_equal_under(mask, x, y) for mask in masks) for x, y, *masks in rows)


def _masks(outcome: Outcome) -> tuple[str, ...]:
    """A mask for each value."""
    return (*outcome.taint, *("",) * len(outcome.values))[: len(outcome.values)]


def _equal_under(mask: str, x: str, y: str) -> bool:
    """Two values, or the bytes of two memories, of which the bits in `mask` are open."""
    if not mask:
        return False
    try:
        if x.startswith("bytes:") and y.startswith("bytes:"):
            a, b = bytes.fromhex(x[6:]), bytes.fromhex(y[6:])
            open_ = {int(at, 16): int(bits, 16) for at, _, bits in (byte.partition(":") for byte in mask.split(","))}
            differ = [at for at, (left, right) in enumerate(zip(a, b, strict=False)) if left != right]
            return len(a) == len(b) and all(not (a[at] ^ b[at]) & ~open_.get(at, 0) for at in differ)
        (type_x, bits_x), (type_y, bits_y) = parse_value(x), parse_value(y)
    except ValueError:
        return False
    return type_x == type_y and not (bits_x ^ bits_y) & ~int(mask, 16)


def same_trap(a: str, b: str) -> bool:
    """Can two descriptions ("kind" or "kind|kind"; "" where an engine does not say) be of one trap?"""
    kinds_a, kinds_b = ({kind.strip() for kind in text.split("|")} for text in (a, b))
    return not a or not b or bool(kinds_a & kinds_b)


def sentence(groups: tuple[tuple[str, ...], ...], found: Mapping[str, Outcome]) -> str:
    """Who did what, where they differ."""
    sides = [found[group[0]] for group in groups]
    at = first_value(sides) if min(len(side.values) for side in sides) > FEW else None
    said = [describe(side) if at is None else f"{side.kind} {side.values[at]}" for side in sides]
    place = "" if at is None else f" as value {at + 1} of {len(sides[0].values)}"
    return "; ".join(f"{', '.join(group)} {what}" for group, what in zip(groups, said, strict=True)) + place


FEW = 3
"""Values that a sentence names all."""


def first_value(sides: Sequence[Outcome]) -> int | None:
    """The first value in which outcomes of one kind and length differ."""
    if len({(side.kind, len(side.values)) for side in sides}) > 1:
        return None
    rows = enumerate(zip(*(side.values for side in sides), strict=True))
    return next((at for at, values in rows if len(set(values)) > 1), None)


def describe(outcome: Outcome) -> str:
    """An outcome as the end of a sentence: "returned i32:2a", "trapped (unreachable)"."""
    text = " ".join(str(outcome).split()) if outcome.kind != "returned" or outcome.values else "returned nothing"
    return text if len(text) <= 200 else text[:199] + "…"
