"""Measuring engines on kernels, on small modules, and by the memory of an instance.

A kernel is a module without imports that exports `run: (i32) -> (i64)`.  `expected.json` beside the modules says with
which arguments, and what comes out: {"fib": {"full": {"n": 33, "result_i64": 3524578}, "small": {…}}, …}.

Rounds are interleaved: each engine once on each kernel, then again, so that what else the machine does meets all alike.
Times are processor times of the worker around one request (round trip times where they cannot be seen or are not
wanted); a request is one call, or as many as take long enough.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wasmlab_ref.case import Case, Instantiate, Invoke
from wasmlab_ref.encode import encode
from wasmlab_ref.outcome import Rejected
from wasmlab_ref.text import parse_module

from .errors import UsageError

KERNELS = Path(__file__).parent / "kernels"
SMALL_MODULES = ("tiny", "small", "medium")
"""Kernels that measure what a module costs, not how fast it runs."""

LONG_ENOUGH = 0.03
"""Seconds that a measured request should take."""

MODULES = 200
"""Small modules in one measurement, all on their way at once as far as the window allows."""

INSTANCES = 10_000
WARM_INSTANCES = 500
"""Instances that are made before the memory of those after them is measured."""

ENOUGH_MEMORY = 256 << 20
"""Bytes after which no more instances are made."""

MAX_REPEAT = 10_000


@dataclass(frozen=True, slots=True)
class Kernel:
    """A module, the argument of `run`, and what it should give, if that is known."""

    name: str
    binary: bytes
    argument: int
    result: str | None


def load_kernels(folder: Path, size: str, argument: int | None, names: Sequence[str]) -> list[Kernel]:
    """The kernels of a folder, `size` "full" or "small"; all of them, or those named.

    UsageError where there are none, where a module is broken, or where no argument is known.
    """
    known: dict[str, Any] = {}
    table = folder / "expected.json"
    try:
        if table.exists():
            known = json.loads(table.read_text())
        paths = sorted([*folder.glob("*.wasm"), *folder.glob("*.wat")])
    except (OSError, ValueError) as error:
        raise UsageError(f"{table}: {error}") from None
    by_name = {path.stem: path for path in paths}
    if missing := [name for name in names if name not in by_name]:
        raise UsageError(f"no kernel {missing[0]!r} in {folder}", hint=f"kernels: {', '.join(by_name) or 'none'}")
    if not by_name:
        raise UsageError(f"no kernels in {folder} (*.wasm, *.wat)")
    return [_kernel(by_name[name], known.get(name, {}).get(size, {}), argument) for name in names or by_name]


def _kernel(path: Path, row: Mapping[str, Any], argument: int | None) -> Kernel:
    n = argument if argument is not None else row.get("n")
    if n is None:
        raise UsageError(f"{path}: no argument is known for it", hint="--n 1000, or an expected.json beside it")
    result = row.get("result_i64") if n == row.get("n") else None
    try:
        data = path.read_bytes()
        binary = data if path.suffix == ".wasm" else encode(parse_module(data))
    except (OSError, Rejected) as error:
        raise UsageError(f"{path}: {error}") from None
    return Kernel(path.stem, binary, n, None if result is None else f"i64:{result & (1 << 64) - 1:x}")


# Times


@dataclass(slots=True)
class Times:
    """Seconds of one engine on one kernel, a number for each round; `trouble` where there are none."""

    seconds: list[float] = field(default_factory=list)
    value: str = ""
    trouble: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def spread(self) -> float | None:
        """(slowest - fastest) / median."""
        return (max(self.seconds) - min(self.seconds)) / statistics.median(self.seconds) if self.seconds else None

    def to_json(self) -> dict[str, Any]:
        if not self.seconds:
            return {"trouble": self.trouble}
        numbers = {"median": self.median, "best": min(self.seconds), "spread": self.spread, "rounds": self.seconds}
        return {**numbers, "value": self.value, **({"trouble": self.trouble} if self.trouble else {})}


class _Run:
    """One engine on one kernel, in a store of its own that lives through all rounds."""

    def __init__(self, engine: Any, kernel: Kernel, wall: bool, limit: float) -> None:
        self.engine, self.kernel, self.wall, self.limit = engine, kernel, wall, limit
        self.times = Times()
        self.repeat = 1
        self.session = engine.session(limit)
        self.over = False
        outcome = self.session.instantiate("m", kernel.binary)
        if outcome.kind != "returned":
            self.fail(str(outcome))

    def fail(self, why: str) -> None:
        self.times.trouble, self.over = why, True

    def call(self) -> float:
        """Seconds of a request."""
        worker = self.engine.worker
        before, start = worker.processor_time(), time.perf_counter()
        outcome = self.session.invoke("m", "run", (f"i32:{self.kernel.argument & 0xFFFF_FFFF:x}",), self.repeat)
        wall, used = time.perf_counter() - start, worker.processor_time() - before
        if outcome.kind != "returned" or len(outcome.values) != 1:
            self.fail(str(outcome))
            return 0.0
        self.times.value = outcome.values[0]
        if self.kernel.result not in (None, outcome.values[0]):
            self.times.trouble = f"gives {outcome.values[0]}, not {self.kernel.result}"
        return wall if self.wall or used <= 0 else used

    def warm_up(self) -> None:
        """A call that is not counted; from its time follows how many make a request."""
        if self.over:
            return
        for _ in range(2):  # the first one translates
            seconds = self.call()
            if self.over or seconds > LONG_ENOUGH:
                break
        if not self.over and seconds < LONG_ENOUGH:
            self.repeat = min(MAX_REPEAT, math.ceil(LONG_ENOUGH / max(seconds, 1e-6)))

    def measure(self) -> None:
        """One more round."""
        if self.over:
            return
        seconds = self.call()
        if not self.over:
            self.times.seconds.append(seconds / self.repeat)
            self.over = seconds > self.limit / 4 and len(self.times.seconds) >= 2  # too slow for more


Progress = Callable[[str], None]


def kernel_times(
    engines: Sequence[Any], kernels: Sequence[Kernel], rounds: int, wall: bool, limit: float, progress: Progress
) -> dict[str, dict[str, Times]]:
    """By kernel and engine; `limit`: seconds that one request may take."""
    runs = []
    for kernel in kernels:
        for engine in engines:
            progress(f"{kernel.name} on {engine.name}: warming up")
            run = _Run(engine, kernel, wall, limit)
            run.warm_up()
            runs.append(run)
    for number in range(rounds):
        for run in runs if number % 2 == 0 else runs[::-1]:
            progress(f"round {number + 1} of {rounds}: {run.kernel.name} on {run.engine.name}")
            run.measure()
    for run in runs:
        run.session.end()
    found: dict[str, dict[str, Times]] = {kernel.name: {} for kernel in kernels}
    for run in runs:
        found[run.kernel.name][run.engine.name] = run.times
    return found


def ratios(times: Mapping[str, Mapping[str, Times]], base: str) -> dict[str, dict[str, float]]:
    """How many times as fast as `base` each engine is, by kernel; only where both ran."""
    found: dict[str, dict[str, float]] = {}
    for kernel, row in times.items():
        reference = row[base].median if base in row else None
        found[kernel] = {
            name: reference / one.median for name, one in row.items() if reference and one.median is not None
        }
    return found


def geometric_means(by_kernel: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The geometric mean of each engine's ratios over the kernels that all engines with any ratio ran."""
    names = {name for row in by_kernel.values() for name in row}
    shared = [row for row in by_kernel.values() if names <= row.keys()]
    return {name: statistics.geometric_mean([row[name] for row in shared]) for name in sorted(names)} if shared else {}


def disagreements(times: Mapping[str, Mapping[str, Times]]) -> Iterator[str]:
    """Kernels on which engines give another result than expected, or than each other."""
    for kernel, row in times.items():
        values = {name: one.value for name, one in row.items() if one.value}
        if wrong := [f"{name} {one.trouble}" for name, one in row.items() if one.value and one.trouble]:
            yield f"{kernel}: {'; '.join(wrong)}"
        elif len(set(values.values())) > 1:
            yield f"{kernel}: " + ", ".join(f"{name} gives {value}" for name, value in values.items())


# Small modules, and memory


def module_times(
    engines: Sequence[Any], kernels: Sequence[Kernel], rounds: int, wall: bool, progress: Progress
) -> dict[str, dict[str, Times]]:
    """Seconds to take one module, instantiate it, call it once and drop it, beyond what a request without steps costs.

    That is in the worker, where the protocol's share (base64, JSON) is still part of it.
    """
    found: dict[str, dict[str, Times]] = {
        kernel.name: {engine.name: Times() for engine in engines} for kernel in kernels
    }
    for number in range(rounds + 1):  # the first one warms up
        for engine in engines:
            empty = _batch(engine, Case((), ()), wall)[0]
            for kernel in kernels:
                progress(f"round {number} of {rounds}: {kernel.name} on {engine.name}")
                times = found[kernel.name][engine.name]
                call = Invoke("m", "run", (f"i32:{kernel.argument & 0xFFFF_FFFF:x}",))
                seconds, last = _batch(engine, Case((kernel.binary,), (Instantiate("m", 0), call)), wall)
                if last.kind != "returned":
                    times.trouble = str(last)
                elif number:
                    times.seconds.append(max(seconds - empty, 1e-9))
                    times.value = last.values[0]
    return found


def _batch(engine: Any, case: Case, wall: bool) -> tuple[float, Any]:
    """Seconds a case, and the last outcome."""
    before, start = engine.worker.processor_time(), time.perf_counter()
    result = None
    for _ in range(MODULES):
        engine.submit(case)
    for _ in range(MODULES):
        result = engine.collect()
    elapsed, used = time.perf_counter() - start, engine.worker.processor_time() - before
    seconds = (elapsed if wall or used <= 0 else used) / MODULES
    return seconds, result.outcomes[-1] if result and result.outcomes else None


def instance_memory(
    engines: Sequence[Any], kernels: Sequence[Kernel], progress: Progress
) -> dict[str, dict[str, float]]:
    """Bytes of resident memory for each live instance, by kernel and engine; where it can be seen."""
    found: dict[str, dict[str, float]] = {kernel.name: {} for kernel in kernels}
    for kernel in kernels:
        for engine in engines:
            progress(f"memory of {kernel.name} on {engine.name}")
            if (bytes_ := _memory_each(engine, kernel)) is not None:
                found[kernel.name][engine.name] = bytes_
    return found


def _memory_each(engine: Any, kernel: Kernel) -> float | None:
    """Bytes for each of the instances after the first ones, as many as one store takes; None if it is too few."""
    before = after = made = 0
    with engine.session(60.0) as session:
        while made < INSTANCES and after - before <= ENOUGH_MEMORY:
            if session.instantiate(f"i{made}", kernel.binary).kind != "returned":
                break
            made += 1
            if made == WARM_INSTANCES:
                before = after = engine.worker.resident()
            elif before and made % WARM_INSTANCES == 0:
                after = engine.worker.resident()
        after = engine.worker.resident()
    return max(after - before, 0) / (made - WARM_INSTANCES) if before and made >= 2 * WARM_INSTANCES else None
