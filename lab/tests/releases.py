"""Old and new releases of engines: does each install, keep the protocol, and agree with the reference on a few cases?

    ./dev python lab/tests/releases.py                 # the releases below, which takes minutes and gigabytes
    ./dev python lab/tests/releases.py bun node@22.14.0
    ./dev python lab/tests/releases.py --variants wasmtime       # what each release takes of variants and flags

A line for each release: what it supports, which rules of the probe it breaks (known ones, as its row says, in
brackets), and how many of the cases ran to their end and how many signatures differed from the reference.  A difference
is an old release's own bug, which is what old releases are for.  Exit status 1 where one does not install, does not
run, or breaks a rule that its row does not know.

With `--variants` a release runs a small case in each variant and with each flag, or refuses it in one line, which is
fine, too: not every release has every compiler.  What is no value of a flag has to be refused.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wasmlab.loading import load_file
from wasmlab_adapters.engine import Engine
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.probed import probed
from wasmlab_adapters.registry import EngineName, resolve, row_of

RELEASES = {
    "wasmtime": "0.23.0 0.26.0 0.28.0 0.30.0 0.32.0 0.35.0 0.38.0 0.39.1 1.0.1 3.0.0 6.0.0 9.0.0 12.0.0 15.0.0 18.0.2"
    " 22.0.0 25.0.0 31.0.0 38.0.0 44.0.0 50.0.1",
    "bun": "1.0.36 1.1.45 1.2.23 1.3.5 1.4.5",
    "node": "18.20.8 20.19.0 22.14.0 24.11.0 26.10.0",
    "deno": "2.5.6 2.9.8",
    "wazero": "1.8.2 1.9.0 1.10.1 1.11.0 1.12.0",
    "chicory": "1.4.0 1.5.0 1.6.1 1.7.3 1.7.5",
    "endive": "1.0.0 1.0.1 1.1.0 1.2.0",
}

FLAGS = {
    "wasmtime": "opt=none opt=speed opt=speed_and_size regalloc=backtracking regalloc=single_pass consume_fuel=true"
    " cranelift_nan_canonicalization=true strategy=cranelift strategy=winch target=pulley64 without=simd limits=false"
    " reserve=little",
    "node": "liftoff=false liftoff-only=true wasm-lazy-compilation=false wasm-tiering-budget=1 wasm-sync-tier-up=true"
    " turboshaft-wasm=false stack-size=500 wasm-max-mem-pages=4096 disable-wasm-trap-handler=true",
    "deno": "liftoff=false liftoff-only=true wasm-lazy-compilation=false wasm-tiering-budget=1 wasm-sync-tier-up=true"
    " turboshaft-wasm=false stack-size=500 wasm-max-mem-pages=4096",
    "bun": "useBBQJIT=0 useOMGJIT=0 useConcurrentJIT=0 thresholdForBBQOptimizeAfterWarmUp=0"
    " thresholdForBBQOptimizeSoon=0 thresholdForOMGOptimizeAfterWarmUp=0 thresholdForOMGOptimizeSoon=0"
    " useWasmFastMemory=0 useWebAssemblyFastMemory=0 useWasmMemory64=1",
    "spidermonkey": "wasm-compiler=baseline wasm-compiler=ion disable-wasm-huge-memory=true",
    "wazero": "mode=compiler mode=interpreter",
    "chicory": "mode=compiler mode=interpreter",
}
FLAGS |= {"jsc-shell": FLAGS["bun"], "endive": FLAGS["chicory"]}
NONSENSE = {
    "wasmtime": "opt=best regalloc=linear strategy=fast target=vax consume_fuel=perhaps without=everything limits=2"
    " reserve=much",
    "node": "",
    "spidermonkey": "wasm-compiler=turbofan",
    "wazero": "mode=fast",
    "chicory": "mode=fast",
    "endive": "mode=fast",
}
"""What is no value of a flag."""
CASE, CALL, RESULT = Path(__file__).parents[2] / "docs" / "example.wat", "fac 14", "i64:144c3b2800"


def broken(name: str) -> tuple[str, bool]:
    """What the probe found, and whether the row knows it all."""
    target = resolve(name)
    found = probed(target)
    known = target.known_failures
    texts = [f"({rule})" if rule in known else rule for rule in found.broken]
    words = f"{len(found.features):2} features, {found.rules - len(found.broken)}/{found.rules} rules"
    return words + (f", broken: {', '.join(texts)}" if texts else ""), found.broken.keys() <= known.keys()


def compared(name: str, cases: int) -> tuple[str, bool]:
    """What a small campaign against the reference found, and whether it ran."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "wasmlab.cli", "fuzz", "--engines", f"ref,{name}", "--examples", str(cases)]
        command += ["--seed", "1", "--no-html", "--json", "--out", str(Path(folder, "out"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode not in (0, 1):
        return f"exit status {done.returncode}: {done.stderr.strip()[-200:]}", False
    found = json.loads(done.stdout)
    return f"{found['complete']:.0%} complete, {len(found['divergences'])} differ", found["complete"] > 0


def configured(name: str) -> tuple[str, bool, bool]:
    """What a configuration said, whether that is fine, and whether it runs."""
    try:
        with Engine(resolve(name)) as engine:
            last = engine.run(load_file(CASE, [CALL]).case).outcomes[-1]
    except EngineUnavailable as error:
        return f"refused: {error}", "\n" not in str(error), False
    return str(last), last.values == (RESULT,), True


def audit(name: str) -> int:
    """Look at each variant and flag of a release; how many are not fine."""
    engine, bad = EngineName.parse(name).engine, 0
    for variant in ("", *row_of(engine).variants):
        words, fine, _ = configured(full := f"{name}/{variant}" if variant else name)
        bad += report(full, fine, words)
    for flag in FLAGS.get(engine, "").split():
        words, fine, _ = configured(f"{name}+{flag}")
        bad += report(f"{name}+{flag}", fine, words)
    for flag in NONSENSE.get(engine, "").split():
        words, fine, runs = configured(f"{name}+{flag}")
        bad += report(f"{name}+{flag}", fine and not runs, words)
    return bad


def report(name: str, fine: bool, words: str) -> int:
    """Print a line; 1 for what is not fine."""
    print(f"{'fine' if fine else 'BAD '}  {name:44} {words}", flush=True)
    return int(not fine)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="engines, all their releases, or name@version")
    parser.add_argument("--cases", type=int, default=40, help="to compare with the reference (default %(default)s)")
    parser.add_argument("--variants", action="store_true", help="look at variants and flags instead")
    options = parser.parse_args()
    names = [
        full
        for name in options.names or RELEASES
        for full in ([name] if "@" in name else [f"{name}@{version}" for version in RELEASES[name].split()])
    ]
    if options.variants:
        bad = sum(map(audit, names))
        print(f"{bad} configurations neither run nor say why")
        return 1 if bad else 0
    bad = 0
    for name in names:
        started = time.monotonic()
        try:
            words, good = broken(name)
            more, ran = compared(name, options.cases)
        except (EngineUnavailable, subprocess.TimeoutExpired) as error:
            words, more, good, ran = str(error), "", False, False
        bad += not (good and ran)
        mark = "fine" if good and ran else "BAD "
        print(f"{mark}  {name:18} {time.monotonic() - started:5.0f} s  {words}; {more}", flush=True)
    print(f"{len(names) - bad} of {len(names)} releases install, run and keep the protocol")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
