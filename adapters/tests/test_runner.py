"""The runner against workers that crash, hang, flood and lie: each failure blamed on its request, no other harmed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from wasmlab_adapters import process, runner, strays
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.process import Local
from wasmlab_adapters.runner import Worker
from wasmlab_matrices.load import Limits

FAKE = Path(__file__).with_name("fake_worker.py")
Make = Callable[..., Worker]


@pytest.fixture
def make() -> Iterator[Make]:
    made = []

    def build(*flags: str, **limits: Any) -> Worker:
        made.append(Worker(Local([sys.executable, "-S", str(FAKE), *flags]), limits=Limits(**limits), name="./fake"))
        return made[-1]

    yield build
    for worker in made:
        worker.close()


def ask(worker: Worker, *steps: str, deadline: float = 5.0, **more: Any) -> None:
    worker.submit({"steps": [{"do": step} for step in steps], **more}, deadline)


def kinds(worker: Worker) -> list[str]:
    """The kinds of all answers that are still to be taken."""
    answers = [worker.next() for _ in range(worker.pending())]
    return [a["failure"]["kind"] if "failure" in a else a["outcomes"][0]["kind"] for a in answers]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pid: int, within: float = 3.0) -> bool:
    until = time.monotonic() + within
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_answers_in_order(make: Make) -> None:
    worker = make()
    worker.start()
    assert worker.hello["engine"] == "fake"
    for n in range(200):  # far more than the window
        ask(worker, *["call"] * (1 + n % 3))
    assert [len(worker.next()["outcomes"]) for _ in range(200)] == [1 + n % 3 for n in range(200)]
    assert worker.pending() == 0
    with pytest.raises(LookupError):
        worker.next()


@pytest.mark.parametrize(
    ("what", "kind", "cause", "detail"),
    [
        ("signal SIGSEGV", "crashed", "end", "signal SIGSEGV"),
        ("signal SIGKILL", "crashed", "end", "not killed by the lab"),
        ("exit", "crashed", "end", "exit status 3; stderr: farewell \\x1b[31m cruel world"),
        ("half", "crashed", "end", "exit status 0 in the middle of a line"),
        ("close", "crashed", "end", "closed its standard output"),
        ("unmarked exit", "crashed", "end", "exit status 4"),
        ("grandchild", "crashed", "end", "signal SIGSEGV"),
        ("hang", "timed out", "deadline", "no answer within 0.3 s"),
        ("garbage", "unparsed", "protocol", "\\x00\\x1b[2J garbage"),
        ("bytes", "unparsed", "protocol", "not JSON"),
        ("surrogate", "unparsed", "protocol", "not JSON"),
        ("deep", "unparsed", "protocol", "not JSON"),
        ("wrong id", "unparsed", "protocol", "not the answer to 3"),
        ("too many", "unparsed", "protocol", "not 1 outcomes"),
        ("bomb", "unparsed", "protocol", "a million parts"),
        ("flood lines", "unparsed", "protocol", "started"),
        ("flood err", "unparsed", "output", "standard error"),
    ],
)
def test_the_one_to_blame(
    make: Make, monkeypatch: pytest.MonkeyPatch, what: str, kind: str, cause: str, detail: str
) -> None:
    monkeypatch.setattr(runner, "EXIT_GRACE", 0.2)
    worker = make()
    worker.start()
    for step in ("a", "b", what, "c", "d"):
        ask(worker, step, deadline=0.3 if what == "hang" else 20)
    answers = [worker.next() for _ in range(5)]
    failure = answers[2]["failure"]
    assert (failure["kind"], failure["cause"]) == (kind, cause)
    assert detail in failure["detail"]
    assert failure["detail"].replace("\n", "").isprintable()
    assert all(a["outcomes"][0]["kind"] == "returned" for a in answers[:2] + answers[3:])
    assert worker.stats.respawns >= 1


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "/a/bin/node: bad option: --x\n/a/bin/node: bad option: --y\n",
            "node: bad option: --x; node: bad option: --y",
        ),
        ("\n#\n# Fatal error\n#\n  in f\nmore\nmore", "# Fatal error; in f"),
        ("Traceback (most recent call last):\n  File x\n    f()\nOSError: no", "OSError: no"),
        ("", ""),
        ("x" * 1000, "x" * 300),
    ],
)
def test_what_a_program_says_in_a_line(said: str, line: str) -> None:
    assert process.gist(said) == line


def test_a_start_that_fails_is_told_in_a_line() -> None:
    says = [sys.executable, "-S", "-c", "import sys; sys.exit('no such option\\n\\n  because\\nread the manual')"]
    worker = Worker(Local(says), limits=Limits(), name="toy@1")
    with pytest.raises(EngineUnavailable) as caught:
        worker.start()
    assert str(caught.value) == "toy@1 does not start: exit status 1; it says: no such option; because"
    assert caught.value.hint == ""
    worker.close()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_start_that_is_killed_from_outside_is_tried_again(make: Make, tmp_path: Path, times: int) -> None:
    worker = make(f"killed={tmp_path / 'starts'}:{times}")
    if times == runner.RESTARTS:
        with pytest.raises(EngineUnavailable, match="does not start: signal SIGKILL"):
            worker.start()
        assert (tmp_path / "starts").stat().st_size == times
        return
    worker.start()
    ask(worker, "a")
    assert kinds(worker) == ["returned"]


def test_a_line_without_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_LINE", 1 << 20)
    worker = make()
    for step in ("flood out", "a"):
        ask(worker, step, deadline=20)
    failure = worker.next()["failure"]
    assert (failure["kind"], failure["cause"]) == ("unparsed", "output")
    assert kinds(worker) == ["returned"]


def test_each_of_many_crashes(make: Make) -> None:
    worker = make()
    worker.start()
    descriptors = len(os.listdir("/proc/self/fd"))
    for step in ["signal SIGABRT", "a", "signal SIGFPE"] * 3:
        ask(worker, step)
    assert kinds(worker) == ["crashed", "returned", "crashed"] * 3
    worker.start()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert (worker.stats.crashes, worker.stats.unblamed) == (6, 0)


def test_death_between_requests_is_unseen(make: Make) -> None:
    worker = make()
    for step in ("exit after", "a", "b"):
        ask(worker, step)
    assert kinds(worker) == ["returned"] * 3
    worker.start()
    time.sleep(0.1)
    ask(worker, "exit after")
    assert kinds(worker) == ["returned"]
    time.sleep(0.1)
    ask(worker, "a")
    assert kinds(worker) == ["returned"]
    assert worker.stats.crashes == worker.stats.unblamed


def test_memory_limit(make: Make) -> None:
    worker = make(memory=100)
    for step in ("a", "eat", "b"):
        ask(worker, step, deadline=20)
    answers = [worker.next() for _ in range(3)]
    assert answers[1]["failure"]["cause"] == "memory"
    assert "more than 100" in answers[1]["failure"]["detail"]
    assert "outcomes" in answers[0]
    assert "outcomes" in answers[2]
    assert worker.stats.peak_resident > 100 << 20


def test_a_descendants_memory_counts(make: Make) -> None:
    script = f"{sys.executable} -S {FAKE}; true"
    worker = Worker(Local(["/bin/sh", "-c", script]), limits=Limits(memory=100), name="wrapped")
    with worker:
        ask(worker, "eat", deadline=20)
        assert worker.next()["failure"]["cause"] == "memory"


def test_recycling(make: Make) -> None:
    worker = make(recycle=10, window=4)
    for _ in range(35):
        ask(worker, "a")
    pids = [worker.next()["outcomes"][0]["detail"] for _ in range(35)]
    assert len(set(pids)) == 3
    assert worker.stats.recycled >= 2
    assert worker.stats.crashes == 0


def test_recycling_waits_for_sessions(make: Make) -> None:
    worker = make(recycle=5, window=2)
    for _ in range(12):
        ask(worker, "a", session="s")
    ask(worker, "end", session="s")
    ask(worker, "a")
    details = [worker.next()["outcomes"][0]["detail"] for _ in range(14)]
    assert details[:13] == [str(n) for n in range(1, 14)]
    assert worker.stats.recycled == 1


def test_lost_sessions(make: Make) -> None:
    worker = make()
    ask(worker, "a", session="s")
    ask(worker, "signal SIGSEGV", session="t")
    ask(worker, "b", session="s")
    ask(worker, "c")
    ask(worker, "d", session="u")  # not begun when the process ended: it is sent again
    ask(worker, "end", session="s")
    ask(worker, "e", session="s")  # a new store
    answers = [worker.next() for _ in range(7)]
    causes = [a.get("failure", {}).get("cause") for a in answers]
    assert causes == [None, "end", "session", None, None, "session", None]
    assert answers[6]["outcomes"][0]["detail"] == "1"
    ask(worker, "f", session="t")
    ask(worker, "end", session="t")
    ask(worker, "g", session="t")
    assert kinds(worker) == ["crashed", "crashed", "returned"]


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        ("silent", "no hello within 0.3 s"),
        ("{}", "protocol None"),
        ("garbage", "not JSON"),
        ('{"protocol": 1, "engine": "x", "version": 2, "values": "native", "features": []}', "must be texts"),
        ('{"protocol": 1, "engine": "x", "version": "2", "values": "both", "features": []}', "`values`"),
        ('{"protocol": 1, "engine": "x", "version": "2", "values": "native", "features": [1]}', "list of names"),
        ('{"unavailable": "no library", "hint": "install it"}', r"^\./fake: no library$"),
    ],
)
def test_no_hello(make: Make, hello: str, message: str) -> None:
    worker = make(f"hello={hello}", startup=0.3 if hello == "silent" else 10)
    with pytest.raises(EngineUnavailable, match=message) as caught:
        worker.start()
    assert caught.value.hint


def test_a_start_that_others_hold_up_is_waited_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things a start takes long, and is no failure."""
    waits = iter([10.0] * 5)
    monkeypatch.setattr(process.Process, "waited", lambda self: next(waits, 0.0))
    worker = make("hello=silent", startup=0.3)
    with pytest.raises(EngineUnavailable, match=r"no hello within 0\.3 s"):
        worker.start()
    assert next(waits, None) is None


def test_no_program() -> None:
    with pytest.raises(EngineUnavailable, match="no program"):
        Worker(Local(["./does-not-exist"])).start()


def test_an_idle_loop_does_not_count(make: Make) -> None:
    worker = make()
    worker.start()
    ask(worker, "slow", deadline=0.4)
    time.sleep(0.6)  # the lab was away: the answer lies in the pipe
    assert kinds(worker) == ["returned"]


def test_unmarked_hang(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MARK_GRACE", 0.1)
    worker = make()
    worker.start()
    ask(worker, "unmarked hang", deadline=0.2)
    ask(worker, "a")
    assert kinds(worker) == ["timed out", "returned"]


def test_large_requests_against_large_answers(make: Make) -> None:
    worker = make(memory=4096, recycle_memory=4096)
    for _ in range(3):
        ask(worker, "big", pad="y" * (5 << 20), deadline=30)
    time.sleep(0.2)
    assert kinds(worker) == ["returned"] * 3


def test_unread_answers_stop_the_worker(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_UNREAD", 1 << 20)
    first, second = make(memory=4096, recycle_memory=4096), make()
    for _ in range(3):
        ask(first, "big", deadline=30)
    for _ in range(20):
        ask(second, "a")
        second.next()
    assert kinds(first) == ["returned"] * 3


def test_recycling_with_unread_answers(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_UNREAD", 1 << 20)
    worker = make(recycle=1, window=1, memory=4096)
    for _ in range(3):
        ask(worker, "big", deadline=30)
    ask(worker, "a")
    worker.start()
    while worker.stats.started < 3 and worker._pending[0].answer is None:
        worker._loop.step()
    assert kinds(worker) == ["returned"] * 4


def test_any_mixture(make: Make) -> None:
    failures = {"signal SIGSEGV": "crashed", "half": "crashed", "unmarked exit": "crashed", "exit": "crashed"}
    failures |= {"garbage": "unparsed", "too many": "unparsed", "wrong id": "unparsed", "grandchild": "crashed"}
    draw = random.Random(5)
    worker, expected = make(recycle=7, window=5), []
    for _ in range(80):
        step = draw.choice([*failures, *["a", "b", "exit after"] * 4])
        expected.append(failures.get(step, "returned"))
        ask(worker, step, deadline=30)
        while worker.pending() > draw.randrange(1, 20):
            found = worker.next()
            kind = found["failure"]["kind"] if "failure" in found else "returned"
            assert kind == expected[-worker.pending() - 1]
    rest = expected[-worker.pending() :]
    assert kinds(worker) == rest


def test_a_thread_that_ends_takes_no_worker_with_it(make: Make) -> None:
    worker = make()
    thread = threading.Thread(target=worker.start)
    thread.start()
    thread.join()
    ask(worker, "a")
    time.sleep(0.1)
    assert kinds(worker) == ["returned"]
    assert worker.stats.started == 1


def work_in_a_fork(pipe: Connection) -> None:
    with Worker(Local([sys.executable, "-S", str(FAKE)])) as worker:
        for step in ("a", "signal SIGSEGV", "b"):
            ask(worker, step)
        pipe.send(kinds(worker))


def test_a_forked_lab_has_workers_of_its_own(make: Make) -> None:
    worker = make()
    worker.start()
    ours, theirs = multiprocessing.Pipe()
    lab = multiprocessing.get_context("fork").Process(target=work_in_a_fork, args=(theirs,))
    lab.start()
    assert ours.poll(20)
    assert ours.recv() == ["returned", "crashed", "returned"]
    lab.join(10)
    ask(worker, "a")
    assert kinds(worker) == ["returned"]
    assert worker.stats.started == 1


def test_without_setpriv(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.shutil, "which", lambda name, path=None: None if name == "setpriv" else name)
    worker = make()
    for step in ("a", "signal SIGSEGV", "b"):
        ask(worker, step)
    assert kinds(worker) == ["returned", "crashed", "returned"]


def test_two_workers_move_together(make: Make) -> None:
    first, second = make(), make()
    first.start()
    second.start()
    ask(first, "slow")
    for _ in range(64):
        ask(second, "a", pad="z" * 100_000)  # more than a pipe holds
    first.next()
    assert sum(r.answer is not None for r in second._pending) > 0
    assert kinds(second) == ["returned"] * 64


def test_close_leaves_nothing(make: Make) -> None:
    worker = make()
    worker.start()
    ask(worker, "a")
    pid = int(worker.next()["outcomes"][0]["detail"])
    ask(worker, "hang")
    worker.close()
    worker.close()
    assert gone(pid)
    assert worker.pending() == 0


LAB = """
import sys, os
from wasmlab_adapters.process import Local
from wasmlab_adapters.runner import Worker
workers = [Worker(Local([sys.executable, "-S", sys.argv[1]]), name="fake") for _ in range(2)]
for worker, step in zip(workers, ("hang", "daemon")):
    worker.start()
    worker.submit({"steps": [{"do": "a"}]}, 5.0)
    print(worker.next()["outcomes"][0]["detail"], flush=True)
    worker.submit({"steps": [{"do": step}]}, 500.0)
if sys.argv[2] == "end":
    workers[1].next()
    sys.exit(0)
print("ready", flush=True)
workers[1].next()
workers[0].next()
"""


def marked(run: str) -> list[int]:
    return [pid for pid, mark in strays.marked() if mark == run]


def guard_of(run: str) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().split(b"\0")[-3:-1] == [strays.__file__.encode(), run.encode()]:
                return int(folder.name)
    raise AssertionError("no guard")


@pytest.mark.parametrize("how", ["kill", "kill with its guard", "end"])
def test_nothing_outlives_the_lab(how: str) -> None:
    paths = os.pathsep.join(p for p in sys.path if p)
    lab = subprocess.Popen(
        [sys.executable, "-c", LAB, str(FAKE), how],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert lab.stdout
    run = strays.identity(lab.pid)
    pids = [int(lab.stdout.readline()) for _ in range(2)]
    if how != "end":
        assert lab.stdout.readline() == "ready\n"
        time.sleep(0.2)
        assert len(marked(run)) >= 3  # with the daemon
        if how != "kill":
            os.kill(guard_of(run), signal.SIGKILL)
        lab.kill()
    lab.wait(10)
    lab.stdout.close()
    assert all(gone(pid) for pid in pids)
    if how == "kill with its guard":
        assert len(marked(run)) == 1  # the parent-death signal does not reach the daemon; the next lab does
        assert strays.sweep() >= 1
    until = time.monotonic() + 5
    while marked(run) and time.monotonic() < until:
        time.sleep(0.02)
    assert marked(run) == []


def test_sweep_spares_the_living() -> None:
    def sleep(mark: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "1000"], env={strays.MARK: mark, "PATH": os.environ["PATH"]})

    namespace, pid, started = strays.identity().split(".")
    living, foreign = sleep(strays.identity()), sleep(f"1{namespace}.{pid}.1")
    dead = sleep(f"{namespace}.{pid}.{int(started) - 1}")  # our process id, used before by another
    odd = sleep("no identity")
    try:
        time.sleep(0.1)
        strays.sweep()
        assert gone(dead.pid)
        assert [p.poll() for p in (living, foreign, odd)] == [None] * 3
    finally:
        for victim in (living, foreign, dead, odd):
            victim.kill()
            victim.wait()
