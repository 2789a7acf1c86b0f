"""Where does the time of a campaign go?  Runs one in this process and says how many microseconds a case each part took.

    taskset -c 1 python lab/tests/throughput.py --engines ref,wasmtime --cases 3000 --seed 1

Everything is processor time: the lab's by part (a part's time is without that of the parts which it calls), a worker's
by the kernel's account.  `-j 1`, as in `wasmlab fuzz`, with a store, so the sum of it all is what a case costs on one
core.  What the cases were is printed as well: a rate says little without the size of the modules.  `--profile` adds
where Python spends its time, by function.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from wasmlab import campaign, judgement
from wasmlab.campaign import Shard, generate, generator_digest, numbers, records, siblings_for
from wasmlab.hunter import Hunter
from wasmlab.model import Campaign
from wasmlab.opening import REFERENCE, common_features, merged_stages, open_engine, opened
from wasmlab.plan import Plan
from wasmlab.store import Store
from wasmlab_adapters import engine as adapters
from wasmlab_adapters.runner import Loop, Worker
from wasmlab_gen import generate as generator
from wasmlab_ref.case import Case
from wasmlab_ref.decode import decode
from wasmlab_ref.syntax import Module


class Stopwatch:
    """Processor time by part; the innermost part that is running gets it."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._running = ["the rest"]
        self._since = time.process_time()

    def switch(self) -> float:
        """Give what went by to the part that is running."""
        now = time.process_time()
        self.spent[self._running[-1]] += now - self._since
        self._since = now
        return now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """This is `name`."""
        self.switch()
        self._running.append(name)
        try:
            yield
        finally:
            self.switch()
            self._running.pop()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as a part."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return timed


PARTS: list[tuple[str, Any, str]] = [
    ("generate", campaign, "derive"),
    ("encode", generator, "encode"),
    ("almost valid", generator, "near_valid"),
    ("almost valid", generator, "mutated"),
    ("lower, bridge", adapters, "lower"),
    ("requests", Worker, "submit"),
    ("wait, read answers", Worker, "next"),
    ("wait, read answers", Loop, "step"),
    ("outcomes", adapters.Engine, "collect"),
    ("judge", judgement.Judgement, "verdict"),
    ("count", Shard, "_count"),
    ("confirm, reduce", Hunter, "examine"),
    ("store", Store, "record"),
]
"""The parts of the lab: what is timed, and where it is called from."""


def measure(
    names: tuple[str, ...], cases: int, seed: int, features: str | None, profile: str, siblings: int | None
) -> None:
    """Run a campaign and print its parts."""
    watch, made = Stopwatch(), list[Case]()
    with opened(names) as engines:
        common = common_features(engines, features)
        merged = merged_stages(engines)
        mixed = "mixed" if any(getattr(engine, "profiles", False) for engine in engines) else "canonical"
        described = records(engines)
    siblings = siblings or siblings_for(described)
    relaxed = mixed if mixed == "mixed" else "settled"

    def make(seed: int, features: frozenset[str]) -> Case:
        with watch.part("generate"):
            made.append(generate(seed, features, nan=mixed, relaxed=relaxed, siblings=siblings))
        return made[-1]

    plan = Plan(names, common, seed, open_engine, make, cases, merged=merged, arbiter=REFERENCE, siblings=siblings)
    counts, workers = Counter[str](), dict[str, float]()
    reasons = Counter[str]()
    counter = iter(range(cases + 1))
    with tempfile.TemporaryDirectory() as folder, _patched(watch):
        identity = Campaign(described, tuple(sorted(common)), seed, generator_digest())
        with Store(Path(folder) / "run", identity) as store, Shard(plan) as shard:
            columns: dict[str, Any] = {engine.name: engine for engine in shard._engines}
            before = {name: engine.processor_time() for name, engine in columns.items()}
            started = time.monotonic(), watch.switch()
            watch.spent.clear()
            profiler = cProfile.Profile(time.process_time) if profile else None
            if profiler:
                profiler.enable()
            for batch in shard.run(numbers(plan, store.progress, partial(next, counter), lambda: False)):
                store.record(batch)
                counts.update(batch.counters)
                reasons.update(batch.inconclusive)
                arbiter = shard._judgement.arbiter
                if arbiter and arbiter._engine:
                    columns.setdefault(f"{REFERENCE}, to explain", arbiter._engine)
                for name, engine in columns.items():
                    workers[name] = engine.processor_time() - before.get(name, 0.0)
            if profiler:
                profiler.disable()
            ended = time.monotonic(), watch.switch()
    done = counts["cases"]
    if arbiter:
        print(f"differences explained by {arbiter.runs} runs of {REFERENCE}")
    print_parts(watch, workers, done, ended[0] - started[0], ended[1] - started[1])
    print_cases(made, counts, reasons)
    if profiler:
        pstats.Stats(profiler).sort_stats(profile).print_stats(60)


@contextmanager
def _patched(watch: Stopwatch) -> Iterator[None]:
    with mock.patch.object(campaign, "derive", watch.timed("generate", campaign.derive)):
        stack = [mock.patch.object(owner, name, watch.timed(part, getattr(owner, name))) for part, owner, name in PARTS]
        for patch in stack:
            patch.start()
        try:
            yield
        finally:
            for patch in stack:
                patch.stop()


def print_parts(watch: Stopwatch, workers: dict[str, float], cases: int, wall: float, lab: float) -> None:
    """A line a part."""
    total = lab + sum(workers.values())
    print(f"{cases} cases in {wall:.1f} s: {cases / wall:.0f} a second; processor time {total:.1f} s: "
          f"{cases / total:.0f} a second on one core")  # fmt: skip
    rows = [*((f"lab: {name}", spent) for name, spent in sorted(watch.spent.items(), key=lambda row: -row[1]))]
    rows += [(f"worker: {name}", spent) for name, spent in workers.items()]
    for name, spent in rows:
        print(f"  {name:28}{spent / cases * 1e6:8.0f} us a case {spent / total:6.1%}")


def print_cases(made: list[Case], counts: Counter[str], reasons: Counter[str]) -> None:
    """What the cases were like."""
    valid = [case for case in made if not case.origin.endswith(("valid", "mutated"))]
    modules = list(dict.fromkeys(data for case in valid for data in case.modules))
    found = [decode(data) for data in modules]
    sizes = [sum(step.op.mnemonic not in ("end", "else") for f in m.funcs for step in f.body) for m in found]
    distinct = len({data for case in made for data in case.modules})
    print({k: v for k, v in counts.items() if k.startswith("expl")})
    print(f"cases: {counts['complete calls'] / max(counts['calls'], 1):.1%} of the calls complete, "
          f"{sum(reasons.values()) / max(counts['cases'], 1):.2%} inconclusive {dict(reasons)}")  # fmt: skip
    print(f"modules: {distinct} distinct, of valid ones {len(modules)}: median {statistics.median(sizes)} "
          f"instructions, {statistics.median(map(len, modules))} bytes")  # fmt: skip
    kinds: dict[str, Callable[[Module], bool]] = {
        "memory": lambda m: bool(m.memories),
        "table": lambda m: bool(m.tables),
        "simd": lambda m: any(step.op.feature in ("simd", "relaxed-simd") for f in m.funcs for step in f.body),
        "gc": lambda m: any(step.op.feature == "gc" for f in m.funcs for step in f.body),
        "exceptions": lambda m: any(step.op.feature == "exceptions" for f in m.funcs for step in f.body),
    }
    shares = [f"{kind} {sum(map(has, found)) / len(found):.0%}" for kind, has in kinds.items()]
    print("with:", ", ".join([*shares, f"several modules {sum(len(c.modules) > 1 for c in valid) / len(valid):.0%}"]))


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="ref,wasmtime")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--features", help="default: all that the engines have")
    parser.add_argument("--siblings", type=int, help="cases with the same modules; default: as `wasmlab fuzz` has it")
    parser.add_argument("--profile", choices=["tottime", "cumtime"], default="", help="add Python's own profile")
    args = parser.parse_args()
    measure(tuple(args.engines.split(",")), args.cases, args.seed, args.features, args.profile, args.siblings)


if __name__ == "__main__":
    main()
