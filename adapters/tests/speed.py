"""What a tiny module costs on each engine, warm, through the runner: no test, a measurement.

    ./dev python adapters/tests/speed.py v8 jsc spidermonkey

Every module is another one (engines keep what they compiled).  It is compiled, instantiated, called once through its
bridge, and its result is read.  Told are the processor time of the worker and the wall time, both in microseconds, of
each of several rounds the least; "bare" is the same without a bridge, "alone" what a JavaScript engine takes for it in
a loop of its own, without a worker (loop.js).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import psutil

from wasmlab_adapters.engine import Engine
from wasmlab_adapters.lowering import encoded, lower
from wasmlab_adapters.registry import Target, resolve
from wasmlab_ref.case import Case, Instantiate, Invoke
from wasmlab_ref.encode import encode
from wasmlab_ref.text import parse_module

TEXT = '(module (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const {}))))'
BARE = '(module (global $g (mut i32) (i32.const 0)) (func (export "f") (global.set $g (i32.const {}))))'


def processor_time() -> float:
    """Of all workers, threads that have ended included, in seconds; to the nanosecond, where psutil counts by 10 ms."""
    return sum(time.clock_gettime(~child.pid << 3 | 2) for child in psutil.Process().children(recursive=True))


def rounds(engine: Engine, requests: list[dict[str, object]], size: int) -> tuple[float, float]:
    """Microseconds of processor and wall time for one request, the least of the rounds; the first is for warming."""
    least = [1e9, 1e9]
    for start in range(0, len(requests), size):
        part = requests[start : start + size]
        cpu, wall = processor_time(), time.perf_counter()
        for request in part:
            engine.worker.submit(request)
        for _ in part:
            answer = engine.worker.next()
            if any(outcome["kind"] != "returned" for outcome in answer["outcomes"]):
                raise SystemExit(f"{engine.name}: {answer}")
        spent = processor_time() - cpu, time.perf_counter() - wall
        if start:
            least = [min(a, b / len(part) * 1e6) for a, b in zip(least, spent, strict=True)]
    return least[0], least[1]


def alone(target: Target, size: int, times: int) -> float | None:
    """Microseconds of processor time for a module in the engine's own loop; None where it is no host of JavaScript."""
    at = next((i for i, word in enumerate(target.argv) if word.endswith("/javascript.js")), None)
    if at is None:
        return None

    def spent(count: int) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        options = [word for word in target.argv[at + 1 :] if word == "--"]
        command = [*target.argv[:at], str(Path(__file__).with_name("loop.js")), *options, str(count)]
        subprocess.run(command, env={**os.environ, **target.env}, check=True, stdin=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(spent(size * 5) - spent(size) for _ in range(times)) / (size * 4) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="+")
    parser.add_argument("--modules", type=int, default=2000, help="in a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    count = options.modules * (options.rounds + 1)
    print(f"{'engine':24}{'µs processor':>14}{'µs wall':>10}{'bare, processor':>18}{'wall':>8}{'alone':>8}")
    for name in options.engines:
        target = resolve(name)
        with Engine(replace(target, limits=replace(target.limits, recycle=1 << 30))) as engine:
            bridged = []
            for n in range(count):
                case = Case(
                    (encode(parse_module(TEXT.format(n))),), (Instantiate("a", 0), Invoke("a", "f", ("i32:1",)))
                )
                bridged.append(engine.request(lower(case, engine.dialect).steps))
            bare = []
            for n in range(count):
                module = encoded(encode(parse_module(BARE.format(n))))
                steps = [
                    {"do": "instantiate", "name": "a", "module": module, "imports": []},
                    {"do": "call", "name": "a", "export": "f"},
                ]
                bare.append({"steps": steps})
            found = (*rounds(engine, bridged, options.modules), *rounds(engine, bare, options.modules))
        own = alone(target, options.modules, options.rounds)
        print(f"{name:24}{found[0]:14.1f}{found[1]:10.0f}{found[2]:18.1f}{found[3]:8.0f}{own or 0:8.0f}", flush=True)


if __name__ == "__main__":
    main()
