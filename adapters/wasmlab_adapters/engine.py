"""An engine as the lab sees it: cases and scripts in, outcomes out.

    with Engine(resolve("wasmtime")) as engine:
        result = engine.run(case)

Several cases may be on their way: `submit` hands one over, `collect` takes the next result, in order.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from wasmlab_ref.case import Case, Outcome

from .errors import EngineUnavailable
from .lowering import Dialect, Plan, lower
from .registry import Target
from .runner import Loop, Worker
from .session import Session

BRIDGE_FUEL = 1_000
"""Instructions that a bridge may need beside those of the function that it calls."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What an engine did with a case.

    `outcomes` are one for each step; where the engine crashed, hung or talked nonsense, all of them say so.  `trace`
    are the calls of `lab.log`.  `rules`, `executed` (the mnemonics of instructions) and `instructions` (how many ran)
    are there when they were asked for and the engine can tell.  `seconds` from when the engine was free for it to its
    answer, as far as the lab was listening.
    """

    outcomes: tuple[Outcome, ...]
    trace: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    executed: tuple[str, ...] = ()
    instructions: int | None = None
    seconds: float = 0.0


class Engine:
    """One column: an engine in one configuration, in a process of its own.

    `worker` may be one that runs already; `fuel` are the instructions of each step, where the engine counts them.
    """

    def __init__(
        self, target: Target, loop: Loop | None = None, fuel: int | None = None, worker: Worker | None = None
    ) -> None:
        self.target, self.fuel = target, fuel
        self.name = target.name
        self.profile: dict[str, str | int] = {}
        """The choices that it is asked to make, where `profiles` says that it can."""
        self.worker = worker or target.worker(loop)
        self._plans: deque[tuple[Plan, float, bool]] = deque()
        self._numbers = itertools.count()
        self._last = 0.0

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> None:
        """Let the worker start, without waiting for it."""
        self.worker.begin()

    def start(self) -> None:
        """Start the worker; EngineUnavailable where that fails."""
        self.worker.start()

    def close(self) -> None:
        """End the worker; what was submitted and not collected is lost."""
        self.worker.close()
        self._plans.clear()

    @property
    def ready(self) -> bool:
        """Whether `collect` would not have to wait."""
        return self.worker.ready()

    def processor_time(self) -> float:
        """Seconds of processor time that the worker's present process used."""
        return self.worker.processor_time()

    # What the worker's hello says

    @property
    def hello(self) -> dict[str, Any]:
        """The worker's hello; starts the worker if need be."""
        if not self.worker.hello:
            self.worker.start()
        return self.worker.hello

    @property
    def version(self) -> str:
        """The engine's version, as it says itself."""
        return str(self.hello["version"])

    @property
    def features(self) -> frozenset[str]:
        """What the engine supports in this configuration."""
        return frozenset(self.hello["features"])

    @property
    def machine(self) -> str:
        """What its container runs on: the architecture, and QEMU's version and model; "" where it is a process here."""
        return str(self.target.machine or "")

    @property
    def second(self) -> str:
        """Its name on another model of the processor that is emulated for it; "" where none is."""
        return self.target.second

    @property
    def text(self) -> bool:
        """Whether it reads the text format."""
        return bool(self.hello.get("text"))

    @property
    def tells_malformed(self) -> bool:
        """Whether it tells malformed from invalid modules."""
        return bool(self.hello.get("tells_malformed"))

    @property
    def island(self) -> bool:
        """Whether its instances share functions only."""
        return self.hello.get("linking") == "functions"

    @property
    def profiles(self) -> bool:
        """Whether it can make each choice that the standard leaves to engines."""
        return bool(self.hello.get("profiles"))

    @property
    def dialect(self) -> Dialect:
        """How one speaks to the worker."""
        return Dialect.of(self.hello)

    # Cases

    def submit(
        self, case: Case, observe: str = "digest", deadline: float | None = None, more: dict[str, Any] | None = None
    ) -> None:
        """Hand over a case.

        `observe` is "digest", "full" (whole memories), "rules" or "taint"; `deadline` the seconds that it may take, by
        default the row's; `more` what else the request says ("profile", "stack", "fuel").
        """
        plan = lower(case, self.dialect)
        self.worker.submit({**self.request(plan.steps, observe), **(more or {})}, deadline)
        self._plans.append((plan, time.monotonic(), observe == "taint"))

    def collect(self) -> CaseResult:
        """The next result, in the order of submission; LookupError where nothing was submitted."""
        if not self._plans:
            raise LookupError("no case was submitted whose result was not collected")
        answer = self.worker.next()
        plan, submitted, masks = self._plans.popleft()
        now = time.monotonic()
        seconds, self._last = now - max(submitted, self._last), now
        outcomes = self.outcomes(answer, len(plan.steps), masks)
        if isinstance(outcomes, Outcome):
            return CaseResult((outcomes,) * len(plan.readers), seconds=seconds)
        return CaseResult(
            plan.read(outcomes),
            texts(answer.get("trace")),
            texts(answer.get("rules")),
            texts(answer.get("executed")),
            answer["instructions"] if isinstance(answer.get("instructions"), int) else None,
            seconds,
        )

    def run(
        self, case: Case, observe: str = "digest", deadline: float | None = None, more: dict[str, Any] | None = None
    ) -> CaseResult:
        """The result of one case, as `submit` has it; only where nothing else is on its way."""
        if self._plans:
            raise RuntimeError("cases are on their way: their results come first")
        self.submit(case, observe, deadline, more)
        try:
            return self.collect()
        except EngineUnavailable:
            self.close()  # it may be started again for another case
            raise

    # Scripts

    def session(self, deadline: float | None = None) -> Session:
        """A store that lives until the session's end, for scripts; `deadline`: seconds for each step."""
        return Session(self, f"s{next(self._numbers)}", deadline)

    # Requests and answers

    def request(self, steps: list[dict[str, Any]], observe: str = "digest", session: str = "") -> dict[str, Any]:
        """A request with these steps."""
        request: dict[str, Any] = {"steps": steps}
        if session:
            request["session"] = session
        if observe != "digest" and (observe != "rules" or self.hello.get("rules")):
            request["observe"] = observe
        if self.profile:
            request["profile"] = self.profile
        if self.fuel is not None:
            request["fuel"] = self.fuel if self.dialect.native else self.fuel + BRIDGE_FUEL
        return request

    def outcomes(self, answer: dict[str, Any], steps: int, masks: bool = False) -> list[Outcome] | Outcome:
        """The outcomes of a request's steps, or the one for all of them where the worker failed.

        `masks`: keep those of open bits, which nobody else may claim.
        """
        failure = answer.get("failure")
        if failure:
            return Outcome(failure["kind"], detail=failure["detail"])
        found = answer.get("outcomes")
        if not isinstance(found, list) or len(found) != steps:
            return Outcome("unparsed", detail=f"{steps} steps were answered by {answer!r:.200}")
        read = [self.target.translate(Outcome.from_json(item)) for item in found]
        return read if masks else [replace(outcome, taint=()) if outcome.taint else outcome for outcome in read]


def texts(found: Any) -> tuple[str, ...]:
    """A list of texts from a worker; empty for anything else."""
    return tuple(found) if isinstance(found, list) and all(isinstance(text, str) for text in found) else ()
