"""Both paths of the reference engine judge binaries that are hardly modules: the same verdict, and where malformed the
same offset.

    python reference_engine/tests/verdicts.py mutated --count 1000000 --seed 1 -j 2 --out verdicts
    python reference_engine/tests/verdicts.py flips   --count 500 --suite suites/core --out flips

`mutated`: binary number i of a seed is a function of both: a generated module with up to three changes of bytes or
sections (two modules grafted onto each other among them), or garbage behind a header, in sections or bodies.  `flips`:
of so many valid modules every prefix, and every byte with each of its bits flipped.

With --out the folder keeps how far it came and every difference, and the same command goes on there.  What one path
accepts and the other gives up on for its size (stage "exhausted") is counted apart.  Exit status 1 on a difference.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from wasmlab_gen import SeededSource, case
from wasmlab_gen.mutate import HEADER, MUTATIONS, joined, leb, sections
from wasmlab_ref import fast, script
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.features import FEATURES
from wasmlab_ref.outcome import Exhausted, Invalid, Malformed, Rejected
from wasmlab_ref.validate import validate

POOL = 400
"""Generated modules that mutations begin with, anew for every chunk."""

CHUNK = 5_000


class Verdict(NamedTuple):
    """Stage ("" for a valid module), the offset where malformed, and what the path says."""

    stage: str
    offset: int | None
    message: str


def by_python(data: bytes) -> Verdict:
    """What ref/py says."""
    try:
        validate(decode(data))
    except Malformed as error:
        return Verdict("malformed", error.offset, error.message)
    except Invalid as error:
        return Verdict("invalid", None, error.message)
    except Exhausted as error:
        return Verdict("exhausted", None, str(error))
    return Verdict("", None, "")


def by_c(data: bytes) -> Verdict:
    """What the C path says."""
    verdict = fast.check(data)
    return Verdict(verdict.stage, verdict.offset if verdict.stage == "malformed" else None, verdict.message)


def kind(message: str) -> str:
    """What a message is about, without what it says of the case."""
    return message.partition(":")[0].rstrip("0123456789 ")


class Tally:
    """Binaries by verdict, and those that the paths do not agree on."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.different: list[str] = []
        self.messages: Counter[tuple[str, str]] = Counter()

    def judge(self, data: bytes) -> None:
        """Ask both."""
        c, python = by_c(data), by_python(data)
        if "exhausted" in (c.stage, python.stage) and c.stage != python.stage:
            self.counts["too large for one"] += 1
        elif c[:2] != python[:2]:
            self.different.append(f"{data.hex()}: C {c}, Python {python}")
        else:
            self.counts[c.stage or "valid"] += 1
            if kind(c.message) != kind(python.message):
                self.messages[kind(c.message), kind(python.message)] += 1

    def add(self, other: Tally) -> None:
        """Sum up."""
        self.counts += other.counts
        self.different += other.different
        self.messages += other.messages


# What is judged


@cache
def pool(seed: int, chunk: int) -> list[bytes]:
    """Valid modules."""
    found: list[bytes] = []
    while len(found) < POOL:
        number = chunk << 12 | len(found)
        found += case(SeededSource(seed << 64 | number), frozenset(FEATURES)).modules
    return [data for data in found if len(data) < 3_000]


def _graft(s: SeededSource, data: bytes, other: bytes) -> bytes:
    """A section of one module in the place of another's, or a piece of bytes."""
    mine, theirs = sections(data), sections(other)
    if mine and theirs and s.below(2):
        at = s.below(len(mine))
        return joined([*mine[:at], theirs[s.below(len(theirs))], *mine[at + 1 :]])
    at, start, length = s.below(len(data)), s.below(len(other)), 1 + s.below(12)
    return data[:at] + other[start : start + length] + data[at + length :]


def _bytes(s: SeededSource, n: int) -> bytes:
    return bytes(
        [s.below(256) if s.below(3) else (0, 1, 0x0B, 0x40, 0x7F, 0x60, 0x20, 0x41)[s.below(8)] for _ in range(n)]
    )


def _garbage(s: SeededSource) -> bytes:
    """Random bytes: alone, behind a header, in a section, or as the body of a function with locals of all kinds."""
    match s.below(4):
        case 0:
            return _bytes(s, s.below(40))
        case 1:
            return HEADER + _bytes(s, s.below(60))
        case 2:
            return joined([(s.below(15), _bytes(s, s.below(40))) for _ in range(1 + s.below(3))])
    body = b"\1\2\x7e" + _bytes(s, s.below(60)) + b"\x0b" * s.below(3)
    types = b"\4\x60\3\x7f\x7d\x6e\1\x7f\x5e\x7f\1\x5f\2\x78\1\x63\0\0\x60\0\0"
    middle = [(1, types), (3, b"\1\0"), (4, b"\1\x70\0\1"), (5, b"\1\0\1"), (13, b"\1\0\3"), (6, b"\1\x7f\1\x41\0\x0b")]
    return joined([*middle, (7, b"\1\1f\0\0"), (12, b"\1\1"), (10, b"\1" + leb(len(body)) + body), (11, b"\1\1\1a")])


def mutated(seed: int, number: int) -> bytes:
    """Binary number `number` of a seed."""
    s = SeededSource(seed << 64 | 1 << 63 | number)
    if s.below(8) == 0:
        return _garbage(s)
    modules = pool(seed, number // CHUNK)
    data = modules[s.below(len(modules))]
    for _ in range(1 + s.below(3)):
        choice = s.below(len(MUTATIONS) + 3)
        if choice < len(MUTATIONS):
            data = MUTATIONS[choice](s, data)
        elif data:
            data = _graft(s, data, modules[s.below(len(modules))])
    return data


def valid_modules(suite: Path, n: int, largest: int) -> list[bytes]:
    """`n` valid modules of the suite's scripts, spread over it."""
    found = set()
    for path in sorted(suite.rglob("*.wast")):
        if "legacy" in path.parts:
            continue
        for command in script.parse_script(path.read_bytes()):
            if isinstance(command, script.Module):
                source = command.source
                try:
                    data = source.data if isinstance(source, script.BinaryModule) else encode(source.parse())
                except Rejected:  # a proposal's
                    continue
                if len(data) <= largest and not by_c(data).stage:
                    found.add(data)
    return random.Random(1).sample(sorted(found), n)


def flips(data: bytes) -> Iterator[bytes]:
    """Every prefix, and every byte with each bit flipped."""
    for end in range(len(data)):
        yield data[:end]
    for at, byte in enumerate(data):
        for bit in range(8):
            yield data[:at] + bytes([byte ^ 1 << bit]) + data[at + 1 :]


# How


def judge_mutated(seed: int, first: int, end: int) -> Tally:
    """Binaries `first` to `end`."""
    tally = Tally()
    for number in range(first, end):
        tally.judge(mutated(seed, number))
    pool.cache_clear()
    return tally


def judge_flips(modules: list[bytes]) -> Tally:
    """All flips of some modules."""
    tally = Tally()
    for data in modules:
        for changed in flips(data):
            tally.judge(changed)
    return tally


class Progress:
    """What was judged, kept in a folder."""

    def __init__(self, folder: Path | None, what: str) -> None:
        self.path = folder / f"{what}.json" if folder else None
        self.total, self.done, self.seconds = Tally(), set[int](), 0.0
        if self.path and self.path.exists():
            kept = json.loads(self.path.read_text())
            self.done, self.seconds = set(kept["done"]), kept["seconds"]
            self.total.counts.update(kept["counts"])
            self.total.different += kept["different"]
            self.total.messages.update({(c, py): n for c, py, n in kept["messages"]})

    def add(self, job: int, tally: Tally, seconds: float) -> None:
        """One more chunk."""
        self.done.add(job)
        self.total.add(tally)
        self.seconds += seconds
        if self.path:
            kept = {"done": sorted(self.done), "seconds": self.seconds, "counts": dict(self.total.counts),
                    "different": self.total.different,
                    "messages": [[*pair, n] for pair, n in self.total.messages.items()]}  # fmt: skip
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps(kept))
            part.replace(self.path)

    def __str__(self) -> str:
        counts = self.total.counts
        parts = [f"{counts.total():,} judged", *(f"{n:,} {stage}" for stage, n in counts.most_common())]
        return ", ".join([*parts, f"{len(self.total.different)} different, {self.seconds:.0f} s"])


def run(jobs: dict[int, tuple[Callable[..., Tally], tuple[object, ...]]], processes: int, progress: Progress) -> None:
    """All jobs that are not done yet."""
    todo = ((number, job) for number, job in jobs.items() if number not in progress.done)
    with ProcessPoolExecutor(processes) as executor:
        running = {}
        started = time.monotonic()
        while True:
            for number, (function, arguments) in islice(todo, 2 * processes - len(running)):
                running[executor.submit(function, *arguments)] = number
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                now = time.monotonic()
                progress.add(running.pop(future), future.result(), now - started)
                started = now
                print(f"\r{progress}", end="", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["mutated", "flips"])
    parser.add_argument("--count", type=int, default=20_000, help="binaries, or modules whose bits are flipped")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-j", type=int, default=1, help="processes")
    parser.add_argument("--largest", type=int, default=300, help="bytes of a module whose bits are flipped")
    parser.add_argument("--suite", type=Path, help="folder with the official scripts, for flips")
    parser.add_argument("--out", type=Path, help="folder that keeps the state")
    options = parser.parse_args()
    jobs: dict[int, tuple[Callable[..., Tally], tuple[object, ...]]] = {}
    if options.what == "mutated":
        for i, first in enumerate(range(0, options.count, CHUNK)):
            jobs[i] = judge_mutated, (options.seed, first, min(first + CHUNK, options.count))
    elif options.suite:
        modules = valid_modules(options.suite, options.count, options.largest)
        for i in range(0, len(modules), 5):
            jobs[i // 5] = judge_flips, (modules[i : i + 5],)
    else:
        parser.error("flips needs --suite")
    progress = Progress(options.out, f"{options.what}-{options.seed}")
    run(jobs, options.j, progress)
    print(f"\n{progress}")
    for (c, python), n in progress.total.messages.most_common(20):
        print(f"  {n:,} times C says {c!r}, Python {python!r}")
    for line in progress.total.different[:10]:
        print(line[:2_000])
    return bool(progress.total.different)


if __name__ == "__main__":
    sys.exit(main())
