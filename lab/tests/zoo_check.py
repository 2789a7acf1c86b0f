"""Does the lab recognise real bugs?  Runs `wasmlab diff` on modules at which released engines went wrong.

    python lab/tests/zoo_check.py [--engine wasmtime] [row …]

The rows are in `zoo.yaml` of the folder WASMLAB_ZOO, or of ../shared/zoo beside the checkout: a module, calls, a
version of an engine that gets it wrong and one that does not.  They run without the lab's bounds on memories and
tables, some bugs being beyond them.  A row is recognised if the lab says that the engines diverge and that the bad
version, and not the good one, is at fault.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from wasmlab_adapters.errors import EngineNameError
from wasmlab_adapters.install import install
from wasmlab_adapters.registries.order import source_folder
from wasmlab_adapters.registry import row_of
from wasmlab_matrices.load import Package

ROOT = Path(__file__).resolve().parents[2]
FEATURES = source_folder("workers/features.tsv")
BITS = {"i32": 32, "i64": 64, "f32": 32, "f64": 64, "v128": 128}
OUTCOMES_OF_A_LIMIT = frozenset({"exhausted", "unsupported"})


@dataclass
class Result:
    """What became of a row: whether it was recognised, the engine named, and what else there is to say."""

    recognised: bool
    named: str
    why: str


def spelled(call: str) -> str:
    """A row's call with its arguments as bits, type:hex; numbers after a type are decimal, or hex with 0x."""
    export, *args = call.split()
    found = []
    for arg in args:
        type_, _, number = arg.partition(":")
        found.append(f"{type_}:{int(number, 0) % (1 << BITS[type_]):x}")
    return " ".join([export, *found])


def rows_of(engine: str | None, only: Sequence[str]) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of the zoo, and its rows: of an engine, or of some names; ends with 3 where there is no zoo."""
    folder = Path(os.environ.get("WASMLAB_ZOO") or ROOT.parent / "shared" / "zoo")
    if not (folder / "zoo.yaml").is_file():
        print(f"no zoo.yaml in {folder}; set WASMLAB_ZOO", file=sys.stderr)
        raise SystemExit(3)
    rows = yaml.safe_load((folder / "zoo.yaml").read_text())["bugs"]
    chosen = [r for r in rows if engine in (None, r["engine"]) and (not only or r["id"] in only)]
    return folder, sorted(chosen, key=lambda r: only.index(r["id"])) if only else chosen


def engines_of(row: dict[str, Any], flags: dict[str, str], limits: bool = False) -> dict[str, str]:
    """The names of the bad engine and, if there is one, of the good one; with or without the lab's `limits`."""
    given = (
        {"start": "lookup"} if limits else {"start": "lookup", "limits": "false"}
    )  # a start function as pywasm3 has it
    if (level := row.get("config", {}).get("cranelift_opt_level")) is not None:
        given["opt"] = ("none", "speed", "speed_and_size")[level]
    suffix = "".join(f"+{key}={value}" for key, value in given.items() if key in flags)
    versions = {"bad": row["bad_version"], "good": row["fixed_version"]}
    return {side: f"{row['engine']}@{version}{suffix}" for side, version in versions.items() if version}


def validators(row: dict[str, Any]) -> dict[str, str]:
    """WABT, whose rows are releases of its package in JavaScript, which validates and runs nothing: programs."""
    names = {}
    for side, version in {"bad": row["bad_version"], "good": row["fixed_version"]}.items():
        package = install(Package("npm", "wabt", version)) / "package"
        program = ["node", Path(__file__).with_name("wabt.js"), package, FEATURES, version]
        names[side] = "cmd:" + shlex.join(map(str, program))
    return names


def check(row: dict[str, Any], folder: Path) -> Result:
    """Run a row."""
    try:
        names = validators(row) if row["engine"] == "wabt" else engines_of(row, row_of(row["engine"]).flags)
    except EngineNameError:
        return Result(False, "", f"no engine {row['engine']} in the lab")
    command = [sys.executable, "-m", "wasmlab.cli", "diff", str(folder / row["wat"]), "--json"]
    command += [f"--engine={name}" for name in ("ref", *names.values())]
    for call in row["invoke"] or ():
        command += ["--invoke", spelled(call)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode not in (0, 1):
        return Result(False, "", (done.stderr.strip().splitlines() or ["no answer"])[0])
    found = judged(json.loads(done.stdout), names)
    for name in names.values():
        if name.startswith("cmd:"):
            version = f"{row['engine']}@{name.rsplit(' ', 1)[1]}"
            found = replace(found, named=found.named.replace(name, version), why=found.why.replace(name, version))
    return found


def judged(answer: dict[str, Any], names: dict[str, str]) -> Result:
    """What `wasmlab diff --json` said about a row's engines."""
    fault = answer["at_fault"]
    why = answer["reason"] if answer["verdict"] != "agree" else "all agree"
    right = names["bad"] in fault and names.get("good") not in fault
    if names["bad"] in fault and not right and answer["step"] is not None:
        # A good version may answer with a limit of its own where the bad one dies.
        outcome = answer["outcomes"][names["good"]][answer["step"]]
        right = outcome["kind"] in OUTCOMES_OF_A_LIMIT
    return Result(answer["verdict"] == "diverge" and right, ", ".join(fault), why)


def main() -> int:
    """Check the rows, print a line for each and the share that was recognised; 1 unless that is all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", help="only the rows of this engine")
    parser.add_argument("rows", nargs="*", help="only these rows")
    args = parser.parse_args()
    folder, chosen = rows_of(args.engine, args.rows)
    found = 0
    for row in chosen:
        result = check(row, folder)
        found += result.recognised
        mark = "recognised" if result.recognised else "MISSED"
        print(f"{row['id']:<28} {mark:<11} {result.named:<24} {' '.join(result.why.split())[:110]}", flush=True)
    print(f"{found} of {len(chosen)} recognised")
    return 0 if found == len(chosen) else 1


if __name__ == "__main__":
    raise SystemExit(main())
