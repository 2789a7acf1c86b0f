"""Does the lab find real bugs by itself?  Fuzzes old releases of engines, knowing nothing but their names.

    python lab/tests/blind.py [--engine wasmtime] [--cpu 600] [row …]

The rows are those of `zoo_check.py`; of each only the bad version and the engine's switches are used for the hunt,
which ends as soon as it has the row's bug, or after so many seconds of processor time, workers included.  What is found
is then told apart: it *is* the row's bug if the fixed version does not show it, and if it looks as the row's module
does on the bad version: the same place of a crash, or the same kinds of outcome by an instruction that the two have in
common.  All that was found on the way is printed, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from zoo_check import ROOT, engines_of, rows_of, spelled

from wasmlab.signature import NOISE, cause, opcodes
from wasmlab.store import load
from wasmlab_matrices.load import load_engines
from wasmlab_ref.case import Case

ROOTS = ("reference_engine", "matrices", "generators", "adapters", "lab", "reports")
REFERENCE = "ref/fast"
SLICE = 40
"""Seconds of the clock after which the findings are looked at, and the campaign goes on."""


@dataclass
class Hunt:
    """What became of a row: the processor time until it was found, its signature, and what else was."""

    cpu: float = 0.0
    cases: int = 0
    signature: str = ""
    others: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Instructions that reduction left of each finding."""
    seconds: list[float] = field(default_factory=list)
    """Processor time that it took."""


def wasmlab(*args: str) -> tuple[Any, float]:
    """What a command says with --json, and the processor time that it and its workers took."""
    command = [sys.executable, "-m", "wasmlab.cli", *args, "--json"]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        process = subprocess.Popen(command, stdout=out, stderr=error)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        error.seek(0)
        if process.returncode not in (0, 1):
            raise RuntimeError(error.read().decode(errors="replace").strip()[-300:])
        return json.loads(out.read()), used.ru_utime + used.ru_stime


def shown(answer: dict[str, Any], name: str) -> tuple[str, str]:
    """How an engine ended where it went wrong in a `diff`: the kind, with the place of a crash."""
    if answer["verdict"] != "diverge" or name not in answer["at_fault"]:
        return "", ""
    found = answer["outcomes"][name]
    outcome = found[-1 if answer["step"] is None else answer["step"]]
    return outcome["kind"], cause(outcome.get("detail", "")) if outcome["kind"] == "crashed" else ""


def telling(case: Case) -> set[str]:
    """The instructions of a case that say something about a divergence."""
    return {name for name in opcodes(case) if name not in NOISE and not name.endswith(".const")}


def is_it(row: dict[str, Any], folder: Path, names: dict[str, str], found: Path) -> bool:
    """Is a reduced case the row's bug?"""
    engines = ",".join(["ref", *names.values()])
    answer, _ = wasmlab("diff", str(found), "--engines", engines)
    if names.get("good") in answer["at_fault"]:
        return False
    calls = [part for call in row["invoke"] or () for part in ("--invoke", spelled(call))]
    known, _ = wasmlab("diff", str(folder / row["wat"]), "--engines", engines, *calls)
    kind, place = shown(known, names["bad"])
    if (kind, place) != shown(answer, names["bad"]) or not kind:
        return False
    return ":" in place or bool(telling(Case.from_json(known["case"])) & telling(Case.from_json(answer["case"])))


def hunt(row: dict[str, Any], folder: Path, names: dict[str, str], limit: float, seed: int) -> Hunt:
    """Fuzz the bad version of a row."""
    result, looked = Hunt(), set()
    with tempfile.TemporaryDirectory() as out:
        while result.cpu < limit:
            engines = f"{REFERENCE},{names['bad']}"
            left = min(SLICE, max(limit - result.cpu, 5))
            answer, used = wasmlab("fuzz", "--engines", engines, "--time", f"{left:.0f}s", "--seed", str(seed),
                                   "--out", out, "--no-html")  # fmt: skip
            result.cpu += used
            result.cases = answer["cases"]
            stored = {divergence.signature: divergence for divergence in load(Path(out)).divergences}
            for divergence in answer["divergences"]:
                signature = divergence["signature"]
                if signature in looked:
                    continue
                looked.add(signature)
                result.sizes.append(stored[signature].size)
                result.seconds.append(stored[signature].seconds)
                if is_it(row, folder, names, Path(divergence["case"])):
                    result.signature = signature
                    return result
                result.others.append(signature)
    return result


def main() -> int:
    """Hunt, print a line a row and what else was found; 1 if fewer than --least were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", help="only the rows of this engine")
    parser.add_argument("--cpu", type=float, default=600, help="seconds of processor time a row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=int, default=10, help="how many rows have to be found")
    parser.add_argument("rows", nargs="*", help="only these rows")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / name) for name in ROOTS)
    folder, chosen = rows_of(args.engine, args.rows)
    known, found, sizes, seconds = load_engines(), 0, [], []
    for row in chosen:
        if row["engine"] not in known:
            print(f"{row['id']:<28} not hunted: no engine {row['engine']} in the lab", flush=True)
            continue
        names = engines_of(row, known[row["engine"]].flags, limits=True)
        try:
            result = hunt(row, folder, names, args.cpu, args.seed)
        except RuntimeError as error:
            print(f"{row['id']:<28} not hunted: {error}", flush=True)
            continue
        found += bool(result.signature)
        sizes += result.sizes
        seconds += result.seconds
        state = "found" if result.signature else "not found"
        print(f"{row['id']:<28} {state:<10} {result.cpu:4.0f} CPU s {result.cases:7} cases  {result.signature}")
        for other in result.others:
            print(f"{'':<28} also: {other}")
        sys.stdout.flush()
    if sizes:
        print(f"{len(sizes)} findings: median {median(sizes):g} instructions, {median(seconds):.1f} CPU s to reduce")
    print(f"{found} of {len(chosen)} found")
    return 0 if found >= min(args.least, len(chosen)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
