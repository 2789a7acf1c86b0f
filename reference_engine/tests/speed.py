"""How fast is ref/py?  Instructions a second on small kernels, small modules a second; medians of interleaved rounds.

./dev python reference_engine/tests/speed.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.engine import Store
from wasmlab_ref.store import FuncInst
from wasmlab_ref.text import parse_module
from wasmlab_ref.validate import validate

KERNELS = {
    "calls (fib 18)": (
        "(func $f (export \"run\") (param i32) (result i32) (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))"
        " (then (local.get 0)) (else (i32.add (call $f (i32.sub (local.get 0) (i32.const 1)))"
        " (call $f (i32.sub (local.get 0) (i32.const 2)))))))",
        18,
    ),
    "loop (i64 mix)": (
        "(func (export \"run\") (param i32) (result i64) (local i64) (loop $l (local.set 1 (i64.xor (i64.rotl"
        " (local.get 1) (i64.const 7)) (i64.extend_i32_u (local.get 0)))) (br_if $l (local.tee 0 (i32.sub"
        " (local.get 0) (i32.const 1))))) (local.get 1))",
        10_000,
    ),
    "memory (fill, sum)": (
        "(memory 1) (func (export \"run\") (param i32) (result i32) (local i32) (loop $l (i32.store (i32.and"
        " (local.get 0) (i32.const 0xfff0)) (local.get 0)) (local.set 1 (i32.add (local.get 1) (i32.load8_u"
        " (i32.and (local.get 0) (i32.const 0xffff))))) (br_if $l (local.tee 0 (i32.sub (local.get 0)"
        " (i32.const 1))))) (local.get 1))",
        10_000,
    ),
    "floats (f64, f32)": (
        "(func (export \"run\") (param i32) (result f64) (local f64 f32) (loop $l (local.set 1 (f64.add (f64.mul"
        " (local.get 1) (f64.const 0.99)) (f64.convert_i32_u (local.get 0)))) (local.set 2 (f32.sqrt"
        " (f32.demote_f64 (local.get 1)))) (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))"
        " (local.get 1))",
        5_000,
    ),
    "vectors (i32x4, f32x4)": (
        "(func (export \"run\") (param i32) (result v128) (local v128) (loop $l (local.set 1 (i32x4.add (f32x4.abs"
        " (local.get 1)) (i32x4.splat (local.get 0)))) (br_if $l (local.tee 0 (i32.sub (local.get 0)"
        " (i32.const 1))))) (local.get 1))",
        3_000,
    ),
}  # fmt: skip
SMALL = """(module (memory 1) (table 3 funcref) (global (mut i32) (i32.const 1)) (data (i32.const 0) "abc")
  (func (export "run") (param i32) (result i32) (i32.add (local.get 0) (global.get 0))) (elem (i32.const 0) 0))"""


def kernel(text: str, argument: int) -> Callable[[], float]:
    """A call that gives instructions a second."""
    store = Store()
    run = store.instantiate(validate(parse_module(text))).exports["run"]
    if not isinstance(run, FuncInst):
        raise TypeError("run is no function")

    def measure() -> float:
        before, start = store.instructions, time.perf_counter()
        store.invoke(run, [argument])
        return (store.instructions - before) / (time.perf_counter() - start)

    measure()
    return measure


def modules() -> float:
    """Small modules a second: decode, validate, instantiate, one call."""
    data, count = encode(parse_module(SMALL)), 200
    start = time.perf_counter()
    for _ in range(count):
        store = Store()
        run = store.instantiate(validate(decode(data))).exports["run"]
        if isinstance(run, FuncInst):
            store.invoke(run, [1])
    return count / (time.perf_counter() - start)


def main() -> None:
    """Print a line a kernel: median, and the spread over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    jobs = {name: kernel(text, argument) for name, (text, argument) in KERNELS.items()}
    found: dict[str, list[float]] = {name: [] for name in [*jobs, "small modules"]}
    for _ in range(rounds):
        for name, measure in jobs.items():
            found[name].append(measure())
        found["small modules"].append(modules())
    for name, rates in found.items():
        middle, unit = statistics.median(rates), "modules/s" if name == "small modules" else "instructions/s"
        print(f"{name:24}{middle:14,.0f} {unit:15} spread {(max(rates) - min(rates)) / middle:.0%}")


if __name__ == "__main__":
    main()
