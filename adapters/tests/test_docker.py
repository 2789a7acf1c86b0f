"""Real containers of a foreign architecture: that they work, what they may not, and what becomes of them.

Without Docker and QEMU these skip; in CI they fail.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wasmlab import cli
from wasmlab_adapters import containers, images, strays
from wasmlab_adapters.containers import Container
from wasmlab_adapters.emulation import machine
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.probe import _converse
from wasmlab_adapters.registry import resolve
from wasmlab_adapters.runner import Worker
from wasmlab_matrices.load import Limits

pytestmark = pytest.mark.slow
ARCH = "arm64"
FAKE = Path(__file__).with_name("fake_worker.py")
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example.wat"

INSIDE = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def allowed(path):
    try:
        open(path, "w").close()
    except OSError:
        return False
    return True
print(json.dumps({
    "machine": os.uname().machine,
    "user": os.getuid(),
    "capabilities": int(status["CapEff"], 16),
    "new privileges": status["NoNewPrivs"].strip(),
    "network": sorted(line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line),
    "writes": [path for path in ("/x", "/opt/x", "/etc/x", "/tmp/x", "/usr/x") if allowed(path)],
}))
"""


@pytest.fixture(scope="module")
def image() -> str:
    try:
        return resolve(f"ref/py:{ARCH}").image
    except EngineUnavailable as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{error} ({error.hint})")


def inside(image: str, argv: list[str], **limits: Any) -> Container:
    return Container(image, machine(ARCH), argv, machine(ARCH).env, Limits(startup=90, **limits))


@pytest.fixture
def worker(image: str) -> Iterator[Worker]:
    place = inside(image, ["python3", "-S", "-c", FAKE.read_text()], memory=200)
    with Worker(place, Limits(startup=90, memory=200), "fake") as made:
        yield made


def ask(worker: Worker, *steps: str, deadline: float = 60.0, **more: Any) -> None:
    for step in steps:
        worker.submit({"steps": [{"do": step}], **more}, deadline)


def kinds(worker: Worker) -> list[str]:
    answers = [worker.next() for _ in range(worker.pending())]
    return [a["failure"]["kind"] if "failure" in a else a["outcomes"][0]["kind"] for a in answers]


def ours() -> list[str]:
    """The containers of this process."""
    return [id_ for id_, run in containers._labelled(containers.client().api) if run == strays.identity()]


def test_what_a_container_may_not(image: str) -> None:
    said = _converse(inside(image, ["python3", "-c", INSIDE]), b"")
    assert json.loads(said) == {
        "machine": "aarch64", "user": os.getuid() or 65534, "capabilities": 0, "new privileges": "1",
        "network": ["lo"], "writes": ["/tmp/x"],
    }  # fmt: skip


def test_one_module_on_two_architectures(image: str, capfd: pytest.CaptureFixture[str]) -> None:
    names = f"ref/py,ref/py:{ARCH},ref:{ARCH},ref/py:{ARCH}.max"
    assert cli.run(["diff", str(EXAMPLE), "--invoke", "fac 14", "--engines", names, "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert list(said["outcomes"]) == names.split(",")
    assert {json.dumps(outcomes[-1]) for outcomes in said["outcomes"].values()} == {
        '{"kind": "returned", "values": ["i64:144c3b2800"]}'
    }
    assert not ours()


def test_a_kernel_on_two_architectures(image: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--engines",
        "ref",
        "--archs",
        f"amd64,{ARCH}",
        "--size",
        "small",
        "--rounds",
        "1",
        "--only",
        "kernels",
    ]
    assert cli.run(["bench", "fib", *arguments, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert all(times["median"] > 0 for times in found["kernels"]["fib"].values())
    assert [engine["name"] for engine in found["engines"]] == ["ref", f"ref:{ARCH}"]


@pytest.mark.parametrize(
    ("step", "kind", "said"),
    [
        ("signal SIGSEGV", "crashed", "signal SIGSEGV"),
        ("signal SIGABRT", "crashed", "signal SIGABRT"),
        ("exit", "crashed", "exit status 3"),
        ("flood err", "unparsed", "standard error"),
        ("flood lines", "unparsed", "started"),
        ("hang", "timed out", "no answer within 1 s"),
        ("eat", "crashed", "memory"),
    ],
)
def test_what_goes_wrong_in_one(worker: Worker, step: str, kind: str, said: str) -> None:
    worker.start()
    ask(worker, "a")
    ask(worker, step, deadline=1 if step == "hang" else 60)
    ask(worker, "b")
    answers = [worker.next() for _ in range(3)]
    assert answers[1]["failure"]["kind"] == kind
    assert said in answers[1]["failure"]["detail"]
    assert [answers[n]["outcomes"][0]["kind"] for n in (0, 2)] == ["returned"] * 2


def test_more_memory_than_its_container_has(image: str) -> None:
    place = inside(image, ["python3", "-S", "-c", FAKE.read_text()], memory=0)
    with Worker(place, Limits(startup=90, memory=4000), "fake") as worker:
        ask(worker, "eat", "b")
        failure = worker.next()["failure"]
        assert (failure["kind"], failure["cause"]) == ("crashed", "memory")
        assert kinds(worker) == ["returned"]


def test_large_lines(worker: Worker) -> None:
    worker.start()
    ask(worker, *["big"] * 4, pad="y" * (4 << 20))
    assert kinds(worker) == ["returned"] * 4


@pytest.mark.parametrize("how", ["kill", "remove"])
def test_a_container_that_is_lost_loses_nothing(worker: Worker, how: str) -> None:
    worker.start()
    ask(worker, "a", "slow", "b")
    assert worker.next()["outcomes"]
    api, (id_,) = containers.client().api, ours()
    if how == "kill":
        api.kill(id_)
    else:
        api.remove_container(id_, force=True)
    assert kinds(worker) == ["returned"] * 2
    worker.close()
    assert not ours()


def test_an_image_of_another_architecture(image: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"is for {ARCH}, not for riscv64") as caught:
        images._there(image, "riscv64")
    assert caught.value.hint == f"docker image rm {image}"


LAB = """
import sys, time
from wasmlab_adapters.registry import resolve
worker = resolve(sys.argv[1]).worker()
worker.start()
print("ready", flush=True)
time.sleep(1000)
"""


def test_no_container_outlives_its_lab(image: str) -> None:
    lab = subprocess.Popen([sys.executable, "-c", LAB, f"ref/py:{ARCH}"], stdout=subprocess.PIPE, text=True)
    assert lab.stdout
    assert lab.stdout.readline() == "ready\n"
    run = strays.identity(lab.pid)
    api = containers.client().api
    assert [owner for _, owner in containers._labelled(api)].count(run) == 1
    lab.send_signal(signal.SIGKILL)
    lab.wait()
    lab.stdout.close()
    until = time.monotonic() + 30
    while any(owner == run for _, owner in containers._labelled(api)):
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.engine
def test_a_campaign_on_two_architectures(image: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """NaNs as each processor makes them are no divergence."""
    arguments = ["--engines", "ref,wasmtime", "--archs", f"amd64,{ARCH}", "--examples", "60", "--seed", "1"]
    assert cli.run(["fuzz", *arguments, "--nan", "raw", "--json", "--out", str(tmp_path)]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["cases"], said["divergences"]) == (60, [])
    report = (tmp_path / "report.html").read_text()
    assert "as cortex-a72" in report
