"""The C engine under sanitizers: the official suite, generated modules, and fuzzing guided by coverage.

    python reference_engine/tests/sanitize/sanitize.py [CHECK …] [--cases N] [--seed S] [--time SECONDS] [--suite DIR]

    undefined   AddressSanitizer and UndefinedBehaviorSanitizer: handlers that return to a loop, and that call others
    memory      MemorySanitizer: nothing is read that was never written
    threads     ThreadSanitizer: four threads, each with stores of its own, on one engine
    failing     AddressSanitizer, every allocation failing in turn
    aliasing    optimised further than the engine is built, strict aliasing included: the answers stay the same
    fuzz        libFuzzer: decode, validate, instantiate and run whatever comes, with the sanitizers of `undefined`

Without a CHECK all of them.  All but `fuzz` run the same programs: the suite's scripts, where there is one, and --cases
generated cases from --seed on; all builds must give the same answers, those of the library itself first.  clang and its
runtime libraries are needed.  Exit status 1 where something was found, 3 where the compiler is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from wasmlab_gen import SeededSource, any_case
from wasmlab_ref import script as s
from wasmlab_ref.case import Case, Instantiate, Invoke, Read, Register
from wasmlab_ref.encode import encode
from wasmlab_ref.expect import argument
from wasmlab_ref.fast.build import FLAGS, FOLDER
from wasmlab_ref.fast.engine import Get, Load, ReadBytes, Step, Validate, encode_step
from wasmlab_ref.features import FEATURES
from wasmlab_ref.outcome import Malformed, Rejected

HERE = Path(__file__).parent
WRAPPED = "-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc"
UNDEFINED = (
    "-fsanitize=address,undefined,float-cast-overflow,float-divide-by-zero",
    # Wasm divides by zero, which IEC 60559 defines.
    "-fno-sanitize=float-divide-by-zero",
    "-fno-sanitize-recover=all",
)
LOOP, STRICT = "-DWASMLAB_LOOP", "-fno-strict-aliasing"

BUILDS: dict[str, tuple[tuple[str, ...], str]] = {
    "plain": (FLAGS, "once"),
    "smoke": (("-O0", "-g1", LOOP, STRICT, *UNDEFINED), "once"),
    "undefined": (("-O1", "-g", LOOP, STRICT, *UNDEFINED), "once"),
    "undefined, handlers that call": (("-O2", "-g", STRICT, *UNDEFINED), "once"),
    "memory": (("-O1", "-g", LOOP, STRICT, "-fsanitize=memory", "-fno-sanitize-recover=all"), "once"),
    "threads": (("-O1", "-g", LOOP, STRICT, "-fsanitize=thread"), "threads"),
    "failing": (("-O1", "-g", LOOP, STRICT, *UNDEFINED), "memory"),
    "aliasing": (("-O3", "-ffp-contract=off", "-fstrict-aliasing"), "once"),
}
"""Flags, and the mode of replay.c."""

CHECKS = ("undefined", "memory", "threads", "failing", "aliasing", "fuzz")
"""What is done unless asked otherwise; `smoke` is the first one, for tests, built in little time."""


# What is run


def scripts(folder: Path) -> Iterator[list[Step]]:
    """The commands of each script of a suite, as far as the C engine can be asked."""
    for path in sorted(folder.rglob("*.wast")):
        if "legacy" not in path.parts:
            yield list(_steps(s.parse_script(path.read_bytes())))


def _steps(commands: Iterable[s.Command]) -> Iterator[Step]:
    modules: dict[str | None, bytes] = {}
    names: dict[str | None, str] = {}
    count = 0
    for command in commands:
        subject: object = command
        match command:
            case s.AssertReturn() | s.AssertTrap() | s.AssertExhaustion() | s.AssertException():
                subject = command.action
            case s.AssertUnlinkable():
                subject = command.module
            case s.AssertInvalid(module=source) | s.AssertMalformed(module=source):
                if (data := _binary(source)) is not None:
                    yield Validate(data)
                continue
        match subject:
            case s.Module(id=id_, source=source, definition=definition):
                if (data := _binary(source)) is None:
                    continue
                modules[None] = modules[id_] = data
                if not definition:
                    count += 1
                    names[None] = names[id_] = f"m{count}"
                    yield Load(f"m{count}", data)
            case s.ModuleInstance(id=id_, module=module):
                count += 1
                names[None] = names[id_] = f"m{count}"
                yield Load(f"m{count}", modules[module])
            case s.Register(name=name, id=id_):
                yield Register(names.get(id_, "?"), name)
            case s.Invoke(id=id_, name=name, args=args):
                yield Invoke(names.get(id_, "?"), name, tuple(map(argument, args)))
            case s.Get(id=id_, name=name):
                yield Get(names.get(id_, "?"), name)


def _binary(source: s.ModuleSource) -> bytes | None:
    try:
        return source.data if isinstance(source, s.BinaryModule) else encode(source.parse())
    except (Malformed, Rejected):
        return None


def generated(seed: int, first: int, end: int) -> Iterator[Case]:
    """Cases as a campaign has them: valid ones, almost valid ones, mutated ones."""
    for number in range(first, end):
        yield any_case(SeededSource(seed << 64 | number), frozenset(FEATURES))


def steps_of(case: Case) -> Iterator[Step]:
    """The steps of a case; whatever a `Read` reads is read both ways."""
    for step in case.steps:
        match step:
            case Instantiate(name, module):
                yield Load(name, case.modules[module])
            case Read(name, export):
                yield ReadBytes(name, export)
                yield Get(name, export)
            case Register() | Invoke():
                yield step


def write(programs: Iterator[list[Step]], to: Path) -> int:
    """Record programs as replay.c reads them; their number."""
    n = 0
    with to.open("wb") as file:
        for steps in programs:
            program = b"".join(map(encode_step, steps))
            file.write(len(program).to_bytes(4, "little") + program)
            n += 1
    return n


# How


class Found(Exception):
    """A sanitizer's report, or another answer."""


def compile_(name: str, source: Path, flags: tuple[str, ...], folder: Path) -> Path:
    """Compile the engine and a driver by clang."""
    program = folder / "-".join((name.replace(", ", "-").replace(" ", "-"), _digest(source)))
    if not program.exists():
        objects = []
        for file in (source, *sorted(FOLDER.glob("*.c"))):
            objects.append(program.with_suffix(f".{file.stem}.o"))
            options = ["-std=c11", "-pthread", f"-I{FOLDER}", *flags, "-c", str(file), "-o", str(objects[-1])]
            subprocess.run([CLANG, *options], check=True)
        linking = [flag for flag in flags if flag.startswith(("-fsanitize", "-O"))]
        wrapped = [WRAPPED] if source.name == "replay.c" else []
        subprocess.run(
            [CLANG, *linking, *wrapped, *map(str, objects), "-lm", "-pthread", "-o", str(program)], check=True
        )
    return program


def _digest(source: Path) -> str:
    """Of all that is compiled, so that what was kept is not taken for what is there now."""
    files = (source, *sorted(FOLDER.glob("*.[ch]")))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


CLANG = os.environ.get("CLANG", "clang")
ENVIRONMENT = {
    **os.environ,
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:allocator_may_return_null=1:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}


def replay(name: str, programs: Path, folder: Path, limit: float) -> str:
    """Run programs in a build; what it prints."""
    flags, mode = BUILDS[name]
    program = compile_(name, HERE / "replay.c", flags, folder)
    done = subprocess.run(
        [str(program), mode, str(programs)], capture_output=True, text=True, env=ENVIRONMENT, timeout=limit
    )
    if done.returncode:
        kept = Path(tempfile.gettempdir()) / f"sanitize-{os.getpid()}"
        shutil.copy(programs, kept)
        raise Found(f"{name}: exit {done.returncode}, programs kept in {kept}\n{done.stderr[:6_000]}")
    return done.stdout.strip()


def replay_all(checks: list[str], programs: Path, folder: Path, limit: float) -> None:
    """Run programs in all builds of these checks; raises `Found`."""
    expected = "" if checks == ["smoke"] else replay("plain", programs, folder, limit)
    print(f"  plain: {expected}", flush=True)
    for name in BUILDS:
        if name.partition(",")[0] not in checks:
            continue
        started = time.monotonic()
        answer = replay(name, programs, folder, limit)
        print(f"  {name}: {answer} in {time.monotonic() - started:.0f} s", flush=True)
        if expected and BUILDS[name][1] == "once" and answer != expected:
            raise Found(f"{name}: other answers than the library's")


def fuzz(seconds: int, seed: int, corpus: Path, seeds: list[bytes], folder: Path) -> None:
    """libFuzzer for that long; raises `Found`."""
    flags = ("-O1", "-g", LOOP, STRICT, *UNDEFINED, "-fsanitize=fuzzer")
    program = compile_("fuzz", HERE / "fuzz.c", flags, folder)
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for i, data in enumerate(seeds):
            (corpus / f"seed-{i}").write_bytes(bytes([i % 2]) + data)
    options = (f"-max_total_time={seconds}", f"-seed={seed % (1 << 31) + 1}", "-max_len=4096", "-timeout=20")
    options += ("-rss_limit_mb=2048", "-print_final_stats=1", "-use_value_profile=1", f"-artifact_prefix={corpus}-")
    done = subprocess.run([str(program), *options, str(corpus)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    lines = [line for line in done.stderr.splitlines() if line.startswith("stat::") or "cov:" in line]
    print("  fuzz: " + "; ".join(lines[-6:]), flush=True)
    if done.returncode:
        raise Found(f"fuzz: exit {done.returncode}\n{done.stderr[-6_000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", default=[], help=", ".join(CHECKS))
    parser.add_argument("--cases", type=int, default=1_000, help="generated cases (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first one's number, to go on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time", type=int, default=60, help="seconds of fuzzing")
    parser.add_argument("--suite", type=Path, help="folder with the official scripts")
    parser.add_argument("--keep", type=Path, help="keep what is built, and the fuzzer's corpus, in this folder")
    options = parser.parse_args()
    checks = options.checks or list(CHECKS)
    if unknown := [name for name in checks if name not in (*CHECKS, "smoke")]:
        parser.error(f"no check {unknown[0]!r}; there are {', '.join(CHECKS)}")
    if not shutil.which(CLANG):
        print(f"sanitize: {CLANG} is not installed (CLANG names another one)", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="sanitize-") as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            check(checks, options, folder)
        except Found as found:
            print(found, file=sys.stderr)
            return 1
    return 0


def check(checks: list[str], options: argparse.Namespace, folder: Path) -> None:
    """All that is asked for; raises `Found`."""
    programs, replayed = folder / "programs", [name for name in checks if name != "fuzz"]
    if replayed and options.suite:
        print(f"{write(scripts(options.suite), programs)} scripts of {options.suite}", flush=True)
        # scripts are long, and few of their allocations are in places of their own
        replay_all([name for name in replayed if name != "failing"], programs, folder, 7_200)
    end = options.first + options.cases
    for first in range(options.first, end, 2_000) if replayed else ():
        last = min(first + 2_000, end)
        cases = generated(options.seed, first, last)
        write((list(steps_of(case)) for case in cases), programs)
        print(f"cases {first} to {last} of seed {options.seed}", flush=True)
        replay_all(replayed, programs, folder, 7_200)
    if "fuzz" in checks:
        seeds = [data for case in generated(options.seed, 0, 200) for data in case.modules if len(data) < 4_000]
        fuzz(options.time, options.seed, folder / "corpus", seeds, folder)


if __name__ == "__main__":
    sys.exit(main())
