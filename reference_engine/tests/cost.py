"""What does a module cost ref/fast?  In C, through Python, in memory, and whether ten million of them leave anything.

    ./dev python reference_engine/tests/cost.py [FOLDER] [--other PROGRAM] [--soak N]

The folder has tiny, small, medium (.wasm or .wat).  Another engine's program takes the same arguments as data/cost.c
and is run in the same rounds.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from wasmlab_ref.case import Invoke
from wasmlab_ref.encode import encode
from wasmlab_ref.fast.build import FOLDER, library
from wasmlab_ref.fast.engine import Load, Store
from wasmlab_ref.text import parse_module

KERNELS = Path(__file__).parents[2] / "lab" / "wasmlab" / "kernels"
ARGUMENTS = {"tiny": 5, "small": 10, "medium": 5}


def modules(folder: Path, scratch: Path) -> dict[str, Path]:
    """Binaries of those that the folder has, from text if need be."""
    found = {}
    for name in ARGUMENTS:
        binary, text = folder / f"{name}.wasm", folder / f"{name}.wat"
        if not binary.exists() and text.exists():
            binary = scratch / f"{name}.wasm"
            binary.write_bytes(encode(parse_module(text.read_bytes())))
        if binary.exists():
            found[name] = binary
    return found


def compiled(scratch: Path) -> Path:
    """The program of data/cost.c, with the library as the engine uses it."""
    made, built = scratch / "cost", library()
    source = Path(__file__).parent / "data" / "cost.c"
    compiler = shutil.which("cc") or shutil.which("gcc") or "clang"
    command = [compiler, "-O2", f"-I{FOLDER}", str(source), str(built), f"-Wl,-rpath,{built.parent}", "-o", str(made)]
    subprocess.run(command, check=True)
    return made


def told(program: Path, *arguments: object) -> str:
    """What a program says."""
    done = subprocess.run([str(program), *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def through_python(binary: bytes, argument: int) -> float:
    """Microseconds of processor time of a store, a load, a call, and its outcome as Python sees it."""
    steps = [Load("m", binary), Invoke("m", "run", (f"i32:{argument:x}",))]
    times = []
    for _ in range(200):
        start = time.thread_time()
        for _ in range(100):
            with Store() as store:
                store.run(steps)
        times.append((time.thread_time() - start) / 100)
    return statistics.fmean(sorted(times)[:40]) * 1e6


def main() -> None:
    """Print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=KERNELS)
    parser.add_argument("--other", type=Path, help="a program like data/cost.c for another engine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--soak", type=int, metavar="N", help="only run N tiny modules: 10000000 take five seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        program = compiled(Path(name))
        found = modules(options.folder, Path(name))
        programs = {"ref/fast": program, **({options.other.name: options.other} if options.other else {})}
        if options.soak:
            print(told(program, "soak", found["tiny"], ARGUMENTS["tiny"], options.soak))
            return
        for module, path in found.items():
            argument = ARGUMENTS[module]
            for _ in range(options.rounds):
                for engine, each in programs.items():
                    print(f"{module:8}{engine:12}{told(each, 'time', path, argument)}")
            print(f"{module:8}{'from Python':12}{through_python(path.read_bytes(), argument):.1f} us")
            for engine, each in programs.items():
                print(f"{module:8}{engine:12}{told(each, 'memory', path, argument, options.instances)}")


if __name__ == "__main__":
    main()
