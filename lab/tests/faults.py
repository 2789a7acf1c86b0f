"""Campaigns that are killed at random moments: nothing that was reported is lost, no process stays, no store is torn.

    python lab/tests/faults.py --times 200 --seed 7

Each time one process of a running campaign gets SIGKILL: the lab itself, one of its processes, or an engine's worker.
A lab that was killed is resumed.  In the end the campaign is completed, and must have found what one that nobody
disturbed finds.  Also: the disk is full (on a small file system, where one can be mounted), and the lab dies while an
engine spins in compiled code.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from wasmlab.model import Run
from wasmlab.store import FILE, load
from wasmlab_adapters import strays

HERE = Path(__file__).resolve().parent
ROOTS = [
    HERE.parents[1] / name for name in ("reference_engine", "matrices", "generators", "adapters", "lab", "reports")
]
BUGGY = f"cmd:{sys.executable} {HERE / 'buggy_worker.py'} xor-lsb"
ENGINES = ("--engines", "ref/py", "--engine", BUGGY, "--features", "mvp")
WEIGHTS = {"lab": 1, "process": 2, "worker": 2}
"""How often what is killed: a lab has to start again, which takes long."""

PATIENCE = 120.0
"""Seconds in which what must happen must have happened."""


def environment() -> dict[str, str]:
    """For processes that import wasmlab and the zoo."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *map(str, ROOTS)])}


def lab(folder: Path, *args: str, engines: tuple[str, ...] = ENGINES) -> list[str]:
    """The command of a campaign."""
    command = [sys.executable, "-m", "wasmlab.cli", "fuzz", *engines, "--seed", "1", "--no-html", "--json"]
    return [*command, "--out", str(folder), *args]


@dataclass
class Campaign:
    """A campaign in one folder that is started again and again."""

    folder: Path
    draw: random.Random
    engines: tuple[str, ...] = ENGINES
    jobs: int = 2
    process: subprocess.Popen[bytes] | None = None
    killed: Counter[str] = field(default_factory=Counter)

    @property
    def said(self) -> Path:
        """What it says on stderr."""
        return self.folder.with_name(f"{self.folder.name}.said")

    def start(self) -> None:
        """Start or resume it, unless it runs."""
        if self.process is not None and self.process.poll() is None:
            return
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                lab(self.folder, "--examples", "100000000", "-j", str(self.jobs), engines=self.engines),
                env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def wait_for(self, cases: int) -> None:
        """Wait until so many more cases are done."""
        until, base = time.monotonic() + PATIENCE, self.done()
        while self.done() < base + cases:
            assert self.process
            assert self.process.poll() is None, self.said.read_text(errors="replace")
            assert time.monotonic() < until, f"{self.done() - base} cases in {PATIENCE} s"
            time.sleep(0.05)

    def done(self) -> int:
        """How many cases are done, all runs together."""
        return load(self.folder).cases if (self.folder / FILE).is_file() and tables(self.folder) else 0

    def family(self) -> dict[str, list[psutil.Process]]:
        """Its processes: "lab", "process" (that do cases), "worker" (of engines, and all else)."""
        assert self.process
        found: dict[str, list[psutil.Process]] = {"lab": [], "process": [], "worker": []}
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.process.pid)
            found["lab"].append(top)
            for child in top.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    command = " ".join(child.cmdline())
                    if "resource_tracker" not in command:
                        found["process" if "multiprocessing.spawn" in command else "worker"].append(child)
        return found

    def kill_one(self, kind: str = "") -> str:
        """Kill one process, of a kind that is drawn, and look at what is left."""
        family = self.family()
        kinds = [kind for kind, found in family.items() if found]
        kind = kind or self.draw.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        victim = self.draw.choice(family[kind])
        everyone = [process for found in family.values() for process in found]
        runs = {strays.identity(process.pid) for process in everyone} - {""}
        before = load(self.folder) if (self.folder / FILE).is_file() and tables(self.folder) else None
        shown = self.shown()
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        self.killed[kind] += 1
        if kind == "lab":
            self.gone(everyone, runs)
        self.check(before, shown)
        return kind

    def gone(self, everyone: list[psutil.Process], runs: set[str]) -> None:
        """Nothing is left of a lab that died."""
        assert self.process
        self.process.wait(PATIENCE)
        until = time.monotonic() + PATIENCE
        left: list[object] = [self]
        while left and time.monotonic() < until:
            left = [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            left += [pid for pid, mark in strays.marked() if mark in runs]
            time.sleep(0.05)
        if left:
            raise AssertionError(f"still there: {left}")

    def shown(self) -> int:
        """The cases that this run has said it did."""
        numbers = re.findall(r"cases ([\d,]+)", self.said.read_text(errors="replace")) if self.said.exists() else []
        return int(numbers[-1].replace(",", "")) if numbers else 0

    def check(self, before: Run | None, shown: int) -> None:
        """The store is whole and has all it had."""
        if before is None:
            return
        with contextlib.closing(sqlite3.connect(self.folder / FILE)) as db:
            (state,) = db.execute("PRAGMA integrity_check").fetchone()
        now = load(self.folder)
        done, was = (run.progress.low + len(run.progress.above) for run in (now, before))
        assert state == "ok", state
        assert now.cases == done >= max(was, shown), (now.cases, done, was, shown)
        assert sum(now.counters[kind] for kind in ("agree", "diverge", "inconclusive")) == done
        counts = {found.id: found.count for found in now.divergences}
        assert all(counts.get(found.id, 0) >= found.count for found in before.divergences)

    def end(self) -> None:
        """End it for good."""
        if self.process is not None and self.process.poll() is None:
            self.kill_one("lab")


def tables(folder: Path) -> bool:
    """Has the store its tables already?"""
    with contextlib.closing(sqlite3.connect(folder / FILE, timeout=10)) as db:
        return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'campaign'").fetchone() is not None


def complete(folder: Path, examples: int, engines: tuple[str, ...] = ENGINES) -> Run:
    """Run a campaign up to its end."""
    command = lab(folder, "--examples", str(examples), engines=engines)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return load(folder)


def same_findings(killed: Run, whole: Run) -> None:
    """What was disturbed found what the other one found, but for cases that are accounted for."""
    from wasmlab.parallel import LOST

    assert killed.cases == whole.cases, (killed.cases, whole.cases)
    missing = whole.counters["diverge"] - killed.counters["diverge"]
    assert 0 <= missing <= killed.inconclusive[LOST], (missing, killed.inconclusive)
    assert {found.signature.partition(":")[0] for found in whole.divergences} == {
        found.signature.partition(":")[0] for found in killed.divergences
    }


def random_kills(folder: Path, times: int, seed: int, engines: tuple[str, ...] = ENGINES) -> Counter[str]:
    """Kill `times` times, complete, and compare; how often what was killed."""
    campaign = Campaign(folder, random.Random(seed), engines)
    try:
        for number in range(times):
            campaign.start()
            if campaign.draw.random() < 0.75:  # else it is killed while it starts
                campaign.wait_for(1)
            time.sleep(campaign.draw.uniform(0.0, 1.5))
            kind = campaign.kill_one()
            if number % 10 == 9:
                print(
                    f"{number + 1} of {times}, the last a {kind}; {campaign.done():,} cases",
                    file=sys.stderr,
                    flush=True,
                )
        campaign.start()
        campaign.wait_for(20)
    finally:
        campaign.end()
    done = load(folder)
    examples = max([done.progress.low, *(number + 1 for number in done.progress.above)])
    same_findings(complete(folder, examples, engines), complete(folder.with_name("whole"), examples, engines))
    return campaign.killed


def full_disk(folder: Path, size: str = "300k") -> None:
    """A campaign on a file system that fills up ends with one clear line, and goes on where there is room again."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        command = lab(folder / "run", "--examples", "20000")
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 3, (done.returncode, done.stderr)
        last = done.stderr.strip().splitlines()[-2:]
        assert last[0].startswith("wasmlab: cannot write"), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        before = load(folder / "run")
        subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
        examples = before.progress.low + 100
        command = lab(folder / "run", "--examples", str(examples))
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert json.loads(done.stdout)["cases"] == examples
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


SPIN = """
import sys, time
from wasmlab.opening import open_engine
from wasmlab_ref.case import Case, Instantiate, Invoke
from wasmlab_ref.encode import encode
from wasmlab_ref.text import parse_module
text = '(module (func (export "f") (loop (br 0))))'
case = Case((encode(parse_module(text)),), (Instantiate("a", 0), Invoke("a", "f", ())))
engine = open_engine(sys.argv[1])
engine.start()
engine.submit(case, deadline=1000.0)
print("started", flush=True)
engine.collect()
"""


def spinning(engine: str) -> float:
    """Kill a lab whose worker spins; seconds until the worker was gone."""
    process = subprocess.Popen(
        [sys.executable, "-c", SPIN, engine], env=environment(), stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout
    process.stdout.readline()
    run = strays.identity(process.pid)
    workers: list[psutil.Process] = []
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        workers = [psutil.Process(pid) for pid, mark in strays.marked() if mark == run]
        if any(sum(worker.cpu_times()[:2]) > 0.5 for worker in workers):
            break
        time.sleep(0.1)
    assert any(sum(worker.cpu_times()[:2]) > 0.5 for worker in workers), "nothing spins"
    process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    process.wait()
    while any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers):
        assert time.monotonic() < killed + PATIENCE, "the worker spins on"
        time.sleep(0.01)
    assert not [pid for pid, mark in strays.marked() if mark == run]
    return time.monotonic() - killed


def main() -> int:
    """All of it; a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", default="wasmtime", help="what spins in compiled code")
    parser.add_argument("--only", choices=["kills", "disk", "spin"], help="one of the three")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without ending the campaign
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if args.only in (None, "spin"):
            print(f"spinning in {args.engine}: gone {spinning(args.engine):.2f} s after the lab was killed", flush=True)
        if args.only in (None, "disk"):
            full_disk(folder / "small")
            print("full disk: one clear line, status 3; resumed with more room", flush=True)
        if args.only in (None, "kills"):
            killed = random_kills(folder / "run", args.times, args.seed)
            run = load(folder / "run")
            print(f"killed {', '.join(f'{n} × {kind}' for kind, n in killed.items())}: {run.cases:,} cases, none lost")
            print(f"inconclusive: {dict(run.inconclusive)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
