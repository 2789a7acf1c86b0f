"""Which instructions meet?  Draws modules for some seconds of processor time and counts pairs of instructions.

    python generators/tests/pairs.py --seconds 20 [--dense 0]

A pair is an instruction, the place of an operand, and the instruction which makes that operand; it is *shared* if the
two have an operand in common, or two operands are the same value.  What compilers do with more than one instruction at
a time, they do with pairs: how many different ones there are after some time says how soon it is tried.  How many of
those that types allow there are is said, too.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wasmlab_gen import Config, SeededSource
from wasmlab_gen.generate import Family
from wasmlab_ref.features import WASM_3
from wasmlab_ref.isa import INSTRUCTIONS, Instruction
from wasmlab_ref.syntax import Expr

Node: TypeAlias = "tuple[str, tuple[Any, ...]]"
"""What made a value, and out of what; the leaves are locals and constants."""

Pair: TypeAlias = tuple[str, int, str]


def pairs(body: Expr) -> Iterator[tuple[Pair, bool]]:
    """The pairs in straight code, and whether each is shared."""
    stack: list[Node] = []
    for step in body:
        op = step.op
        if op.mnemonic == "local.get" or op.mnemonic.endswith(".const"):
            stack.append((op.mnemonic, step.args))
            continue
        if op.mnemonic == "local.tee":
            continue
        if not _plain(op):
            stack.clear()
            continue
        count = len(op.params or ())
        operands = tuple(stack[len(stack) - count :]) if count and len(stack) >= count else ()
        del stack[max(len(stack) - count, 0) :]
        for place, node in enumerate(operands):
            others = operands[:place] + operands[place + 1 :]
            shared = any(
                other == node or other in node[1] or node in other[1] or _alike(node, other) for other in others
            )
            yield (op.mnemonic, place, node[0]), shared
        for _ in op.results or ():
            stack.append((op.mnemonic, operands))


def _plain(op: Instruction) -> bool:
    return op.params is not None and op.results is not None


def _alike(a: Node, b: Node) -> bool:
    """Have two nodes an operand in common that is a node?"""
    return any(isinstance(x, tuple) and x in b[1] for x in a[1])


def possible() -> int:
    """How many pairs types allow."""
    makers = Counter(op.results[0] for op in INSTRUCTIONS if _plain(op) and op.results)
    return sum(makers[t] for op in INSTRUCTIONS if _plain(op) for t in op.params or ())


@dataclass
class Met:
    """What was counted."""

    seconds: float = 0.0
    families: int = 0
    instructions: int = 0
    pairs: Counter[Pair] = field(default_factory=Counter)
    shared: Counter[Pair] = field(default_factory=Counter)

    def add(self, seed: int, config: Config) -> None:
        """Draw modules, which alone is timed, and count."""
        before = time.process_time()
        family = Family.draw(SeededSource(seed), WASM_3, config)
        self.seconds += time.process_time() - before
        self.families += 1
        for module in family.drawn:
            for func in module.funcs:
                self.instructions += len(func.body)
                for pair, shared in pairs(func.body):
                    self.pairs[pair] += 1
                    self.shared[pair] += shared


def main() -> None:
    """Draw, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--dense", type=int, default=Config().dense)
    parser.add_argument("--nan", default="raw")
    args = parser.parse_args()
    met, seed = Met(), 0
    config = Config(dense=args.dense, nan=args.nan, relaxed="raw" if args.nan == "raw" else "deterministic-inputs")
    while met.seconds < args.seconds:
        met.add(seed, config)
        seed += 1
    print(f"{met.families} families, {met.instructions} instructions in {met.seconds:.1f} s")
    for name, found in (("pairs", met.pairs), ("shared", met.shared)):
        different = sum(n > 0 for n in found.values())
        total = sum(found.values())
        print(f"{name:<8} {different} of {possible()} different, {total} in all, {total / met.seconds:.0f} a second")


if __name__ == "__main__":
    main()
