"""How good is the generator?  Run its cases on ref/py and measure what they reach.

    python generators/tests/quality.py --cases 10000 --seconds 600 --seed 1

The cases are those of a campaign: mostly valid ones, some almost valid, some mutated.  What is measured:

    rules            rules of the formal specification that were taken, of those that are functions in rules.yaml
    trap rules       the execution rules that end in a trap
    live             (module, opcode) pairs of valid modules that were executed
    complete         calls that ended in results, an exception or a trap
    observed         executed instructions of which one flipped bit of the result changes what is compared (a sample)

Exit status 1 where something is below its bar, or a case did not end.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.resources import files
from statistics import median
from typing import Any

from reference import Executed, Listener, run

from wasmlab_gen import Config, SeededSource, any_case
from wasmlab_ref.case import Case, Instantiate, Invoke
from wasmlab_ref.decode import decode
from wasmlab_ref.engine import Store
from wasmlab_ref.events import Reporter, Weaver
from wasmlab_ref.features import WASM_3
from wasmlab_ref.isa import INSTRUCTIONS
from wasmlab_ref.store import FuncInst, Instance
from wasmlab_ref.syntax import Instr

BARS = {"execution": 95, "validation": 90, "trap rules": 92, "live": 80, "complete": 95, "observed": 60}
"""In percent."""

TRAPS = re.compile(r".*-(oob\d?|null\d?|trap|fail)")
NO_TRAPS = {
    "Step_pure/any.convert_extern-null", "Step_pure/extern.convert_any-null", "Step_pure/br_on_null-null",
    "Step_pure/br_on_non_null-null", "Step_pure/ref.eq-null", "Step/memory.grow-fail", "Step/table.grow-fail",
    "Step_read/br_on_cast-fail", "Step_read/br_on_cast_fail-fail",
}  # fmt: skip
"""Rules with such a name that do not end in a trap."""


def rules() -> dict[str, set[str]]:
    """The inhabited rules by kind."""
    text = files("wasmlab_ref").joinpath("rules.yaml").read_text(encoding="utf-8")
    validation, _, execution = (
        set(re.findall(r"^(\S+): \{function:", part, re.MULTILINE))
        for part in re.split(r"^(# 4\.1-execution.values)$", text, flags=re.MULTILINE)
    )
    traps = {name for name in execution if TRAPS.fullmatch(name)} - NO_TRAPS | {"Step_pure/unreachable"}
    return {"execution": execution, "validation": validation, "trap rules": traps}


# One flipped bit

NAMED = re.compile(r"local\.(get|tee)|global\.get|select|struct\.get(_[su])?|array\.get(_[su])?")


class Flipping(Reporter):
    """Weaves in a count of the values that are made, and flips a bit of the one that is number `target`."""

    count, target, bit = 0, 0, 0

    def around(self, position: int, instr: Instr, handler: Any, handled: bool = False) -> Any:
        inner = super().around(position, instr, handler, handled)
        if self.func is None or not (instr.op.results or NAMED.fullmatch(instr.op.mnemonic)):
            return inner
        width = {"i64": 64, "f64": 64, "v128": 128, "i32": 32, "f32": 32}.get(str((instr.op.results or ("",))[0]), 31)

        def flipping(stack: Any, locals: Any) -> None:
            inner(stack, locals)
            if type(stack[-1]) is int:
                Flipping.count += 1
                if Flipping.count == Flipping.target:
                    stack[-1] ^= 1 << Flipping.bit % width
                    body = () if self.func.code is None else self.func.code.body
                    Flipping.flipped = " ".join(step.op.mnemonic for step in body[position : position + 3])

        return flipping

    flipped = ""


class FlippingStore(Store):
    """A store that translates so."""

    def weaver(self, instance: Instance, func: FuncInst | None = None) -> Weaver | None:
        return Flipping(Listener(), instance, func)


def observed(drawn: Case, rng: random.Random, samples: int, lost: Counter[str]) -> int:
    """Of so many flips, how many are seen; `lost` counts the others by instruction."""
    Flipping.count, Flipping.target = 0, 0
    before = run(drawn, kind=FlippingStore)
    total, seen = Flipping.count, 0
    for _ in range(samples if total else 0):
        Flipping.count, Flipping.target, Flipping.bit = 0, 1 + rng.randrange(total), rng.randrange(128)
        if run(drawn, fuel=4 * before.instructions + 1000, kind=FlippingStore).seen != before.seen:
            seen += 1
        else:
            lost[Flipping.flipped] += 1
    return seen


# All of it


@dataclass
class Quality:
    """What was measured."""

    cases: int = 0
    generating: float = 0.0
    sizes: list[int] = field(default_factory=list)
    executed: list[int] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    """Rules, by the number of cases that took them."""
    rows: set[str] = field(default_factory=set)
    dead: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    live: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    """How the steps of cases that are almost valid or mutated ended."""
    traps: Counter[str] = field(default_factory=Counter)
    flips: int = 0
    seen: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    def add(self, seed: int, sample: int) -> None:
        """Draw a case, run it, and count."""
        before = time.perf_counter()
        drawn = any_case(SeededSource(seed), WASM_3, Config())
        self.generating += time.perf_counter() - before
        self.cases += 1
        listener = Executed()
        outcome = run(drawn, listener=listener)
        self.taken.update(set(listener.rules))
        self.rows.update(op.mnemonic for _, op in listener.opcodes)
        if drawn.origin.endswith(("valid", "mutated")):
            self.verdicts.update(kind for kind, _ in outcome.steps)
            return
        self.executed.append(listener.count)
        for step, (kind, detail) in zip(drawn.steps, outcome.steps, strict=True):
            if isinstance(step, Invoke | Instantiate):
                self.steps[f"{type(step).__name__.lower()} {kind}"] += 1
            if kind == "trapped":
                self.traps[detail] += 1
        for index, data in enumerate(drawn.modules):
            code = [step.op for f in decode(data).funcs for step in f.body if step.op.mnemonic not in ("end", "else")]
            self.sizes.append(len(code))
            for op in set(code):
                self.pairs += 1
                if listener.opcodes[index, op]:
                    self.live += 1
                else:
                    self.dead[op.mnemonic] += 1
        if sample and self.cases % 8 == 0:
            self.flips += sample
            self.seen += observed(drawn, random.Random(seed), sample, self.lost)

    def shares(self) -> dict[str, tuple[int, int]]:
        """What was reached, of how much."""
        found = {kind: (len(names & self.taken.keys()), len(names)) for kind, names in rules().items()}
        found["live"] = self.live, self.pairs
        invoked = {kind.split()[1]: n for kind, n in self.steps.items() if kind.startswith("invoke")}
        ended = sum(invoked.get(kind, 0) for kind in ("returned", "trapped", "threw"))
        found["complete"] = ended, sum(invoked.values())
        if self.flips:
            found["observed"] = self.seen, self.flips
        return found

    def print(self, verbose: bool) -> None:
        """A line a figure; with `verbose` also what is missing or rare."""
        print(f"cases        {self.cases}, generated at {self.cases / self.generating:.0f} a second")
        print(f"instructions {median(self.sizes):.0f} a module, {median(self.executed):.0f} executed a case (medians), "
              f"at most {max(self.executed)}")  # fmt: skip
        print(f"rows         {len(self.rows)} of {len(INSTRUCTIONS) - 2} executed")
        for name, (reached, of) in self.shares().items():
            print(f"{name:<12} {reached} of {of}: {reached / max(of, 1):.1%}, bar {BARS[name]} %")
        print("steps       ", ", ".join(f"{n} {kind}" for kind, n in self.steps.most_common()))
        print("not valid   ", ", ".join(f"{n} {kind}" for kind, n in self.verdicts.most_common()))
        print("traps       ", ", ".join(f"{n} {kind}" for kind, n in self.traps.most_common()))
        if verbose:
            for kind, names in rules().items():
                print(f"{kind}: never", *sorted(names - self.taken.keys()))
            rare = sorted((n, name) for name, n in self.taken.items() if n < self.cases / 500)
            print("rare:", *(f"{name}={n}" for n, name in rare))
            print("rows never executed:", *sorted({row.mnemonic for row in INSTRUCTIONS} - self.rows))
            print("dead:", *(f"{name}={n}" for name, n in self.dead.most_common(40)))
            print("lost:", *(f"{name}={n}," for name, n in self.lost.most_common(40)))

    def below(self) -> list[str]:
        """What misses its bar."""
        found = [name for name, (reached, of) in self.shares().items() if 100 * reached < BARS[name] * of]
        return found + ["ending"] * any(kind.endswith("exhausted") for kind in self.steps)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flips", type=int, default=4, help="bits flipped in every eighth case")
    parser.add_argument("-v", "--verbose", action="store_true", help="what is missing")
    args = parser.parse_args()
    quality, end = Quality(), time.monotonic() + args.seconds
    for index in range(args.cases):
        quality.add(args.seed << 32 | index, args.flips)
        if time.monotonic() > end:
            break
    quality.print(args.verbose)
    below = quality.below()
    if below:
        print("below the bar:", *below)
    return 1 if below else 0


if __name__ == "__main__":
    raise SystemExit(main())
