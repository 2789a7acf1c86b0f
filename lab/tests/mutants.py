"""Does the lab find bugs?  Plant one at a time into a copy of ref/py and count how many a short campaign finds.

    python lab/tests/mutants.py --seed 7 --count 40 --examples 2000

Every mutant is one small edit of the syntax tree (a comparison, an operator, a constant, a condition, a statement),
drawn by the seed, evenly over the areas below.  The mutated copy runs as an engine of its own against Wasmtime; it is
killed if the campaign reports a divergence; what is left of that after reduction is shown with the processor time
(the lab's and both workers') that reduction took.  Survivors are printed with their edit, to be argued or learned from.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from wasmlab.model import Divergence
from wasmlab.store import load

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "reference_engine" / "wasmlab_ref"
ROOTS = ("reference_engine", "matrices", "generators", "adapters", "lab", "reports")

AREAS = {
    "numerics": ["numerics/*.py"],
    "control": ["control.py", "compile.py", "execute.py"],
    "memory": ["memory*.py"],
    "tables": ["table.py"],
    "gc": ["aggregates.py", "references.py", "gc.py"],
    "exceptions": ["exceptions.py"],
    "validation": ["validate*.py", "match.py"],
}
"""What is mutated, by area; patterns that match no file are an error."""

COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
BINARY = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip


@dataclass
class Edit:
    """One possible edit: where, what it says, and how to do it (on the tree it came from)."""

    file: Path
    line: int
    before: str
    after: str
    tree: ast.Module
    old: ast.AST
    new: ast.AST

    def source(self) -> str:
        """The file with the edit made."""

        class Replace(ast.NodeTransformer):
            def visit(inner, node: ast.AST) -> ast.AST:
                return self.new if node is self.old else ast.NodeTransformer.generic_visit(inner, node)

        return ast.unparse(ast.fix_missing_locations(Replace().visit(self.tree)))


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that may stand in place of `node`."""
    match node:
        case ast.Compare(left, [op], [right]) if type(op) in COMPARE:
            yield ast.Compare(left, [COMPARE[type(op)]()], [right])
        case ast.BinOp(left, op, right) if type(op) in BINARY:
            yield ast.BinOp(left, BINARY[type(op)](), right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.Constant(int() as n) if type(n) is int:
            yield ast.Constant(n + 1)
            if n:
                yield ast.Constant(n - 1)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Raise() | ast.Expr(ast.Call()) | ast.AugAssign():
            yield ast.Pass()


def edits(file: Path) -> list[Edit]:
    """Every edit of the code inside functions of `file` (tables, types and docstrings stay)."""
    tree = ast.parse(file.read_text())
    found = []
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Lambda)):
        body = function.body if isinstance(function.body, list) else [function.body]
        for node in (n for statement in body for n in ast.walk(statement)):
            for new in variants(node):
                before = ast.unparse(node).splitlines()[0]
                after = ast.unparse(ast.fix_missing_locations(new)).splitlines()[0]
                found.append(Edit(file, getattr(node, "lineno", 0), before, after, tree, node, new))
    return found


def draw(seed: int, count: int) -> list[tuple[str, Edit]]:
    """`count` edits, evenly over the areas."""
    rng = random.Random(seed)
    drawn = []
    names = list(AREAS)
    for i in range(count):
        area = names[i % len(names)]
        files = sorted(f for pattern in AREAS[area] for f in SOURCE.glob(pattern))
        if not files:
            raise SystemExit(f"mutants: no file matches {AREAS[area]}")
        pool = [e for f in files for e in edits(f)]
        drawn.append((area, pool[rng.randrange(len(pool))]))
    return drawn


def hunt(edit: Edit, examples: int, seed: int, opponent: str) -> tuple[str, list[Divergence]]:
    """ "killed", "survived", or "broken" (the mutant does not even start), and the divergences."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "reference_engine"
        shutil.copytree(SOURCE, copy / "wasmlab_ref", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "wasmlab_ref" / edit.file.relative_to(SOURCE)).write_text(edit.source())
        path = os.pathsep.join([str(copy), *(str(ROOT / r) for r in ROOTS[1:])])
        mutant = f"cmd:env PYTHONPATH={path} {sys.executable} -m wasmlab_adapters.workers.ref_py"
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "wasmlab.cli", "fuzz", "--engines", opponent, "--engine", mutant]
        command += ["--examples", str(examples), "--seed", str(seed), "--out", str(out)]
        command += ["--first", "--no-html", "--json"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / r) for r in ROOTS)}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        if done.returncode == 1:
            return f"killed after {json.loads(done.stdout)['cases']}", load(out).divergences
        if done.returncode == 0:
            return "survived", []
        return f"broken: {(done.stderr.strip().splitlines() or ['?'])[-1][:100]}", []


def main() -> int:
    """Draw, hunt, print a line a mutant and the share that was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=35)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--engine", default="wasmtime", help="what the mutants run against")
    parser.add_argument("--list", action="store_true", help="only show the mutants")
    args = parser.parse_args()
    results, sizes, seconds = [], [], []
    for number, (area, edit) in enumerate(draw(args.seed, args.count)):
        where = f"{edit.file.relative_to(SOURCE)}:{edit.line}"
        result, divergences = ("", []) if args.list else hunt(edit, args.examples, args.seed + number, args.engine)
        results.append(result)
        if divergences:
            smallest = min(divergences, key=lambda d: d.size)
            sizes.append(smallest.size)
            seconds.append(smallest.seconds)
            result += f", {smallest.size} instructions after {smallest.seconds:.1f} CPU s"
        print(f"{number:3} {area:<11} {where:<28} {edit.before[:50]:<50} -> {edit.after[:50]:<50} {result}", flush=True)
    if sizes:
        print(f"{len(sizes)} divergences: median {median(sizes):g} instructions, {median(seconds):.1f} CPU s to reduce")
    found = sum(not r.startswith("survived") for r in results)
    print(f"{found} of {len(results)} mutants found ({found / len(results):.0%}), seed {args.seed}")
    return 0 if found >= 0.9 * len(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
