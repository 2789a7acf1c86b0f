"""Workers in containers: what the runner promises holds there, too, whatever becomes of containers and daemon."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors  # type: ignore[import-untyped]
import pytest

from wasmlab_adapters import containers, emulation, images, runner, strays
from wasmlab_adapters.containers import Container, Frames
from wasmlab_adapters.emulation import Machine
from wasmlab_adapters.errors import EngineNameError, EngineUnavailable
from wasmlab_adapters.runner import Worker
from wasmlab_matrices.load import Limits

from .fake_docker import FakeDocker

FAKE = Path(__file__).with_name("fake_worker.py")
Make = Callable[..., Worker]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    fake = FakeDocker()
    monkeypatch.setattr(containers, "client", lambda seconds=0: SimpleNamespace(api=fake))
    monkeypatch.setattr(containers, "_lab", lambda pid: "this run")
    monkeypatch.setattr(containers, "_visible", lambda pid, id_: pid)
    return fake


@pytest.fixture
def make(daemon: FakeDocker) -> Iterator[Make]:
    made = []

    def build(*flags: str, image: str = "image", cpu: str = "", **limits: Any) -> Worker:
        argv = [sys.executable, "-S", str(FAKE), *flags]
        place = Container(image, Machine("arm64", cpu), argv, {"A": "1"}, Limits(**limits))
        made.append(Worker(place, Limits(**limits), "fake"))
        return made[-1]

    yield build
    for worker in made:
        worker.close()
    assert daemon.stopped or not daemon.there


def ask(worker: Worker, *steps: str, deadline: float = 20.0, **more: Any) -> None:
    worker.submit({"steps": [{"do": step} for step in steps], **more}, deadline)


def kinds(worker: Worker) -> list[str]:
    answers = [worker.next() for _ in range(worker.pending())]
    return [a["failure"]["kind"] if "failure" in a else a["outcomes"][0]["kind"] for a in answers]


def test_answers_in_order(make: Make) -> None:
    worker = make()
    for n in range(100):  # far more than the window
        ask(worker, *["call"] * (1 + n % 3))
    assert [len(worker.next()["outcomes"]) for _ in range(100)] == [1 + n % 3 for n in range(100)]


@pytest.mark.parametrize(
    ("what", "kind", "cause", "detail"),
    [
        ("signal SIGSEGV", "crashed", "end", "signal SIGSEGV"),
        ("signal SIGKILL", "crashed", "end", "not killed by the lab"),
        ("exit", "crashed", "end", "exit status 3; stderr: farewell \\x1b[31m cruel world"),
        ("half", "crashed", "end", "exit status 0 in the middle of a line"),
        ("unmarked exit", "crashed", "end", "exit status 4"),
        ("hang", "timed out", "deadline", "no answer within 0.3 s"),
        ("garbage", "unparsed", "protocol", "\\x00\\x1b[2J garbage"),
        ("flood lines", "unparsed", "protocol", "started"),
        ("flood err", "unparsed", "output", "standard error"),
    ],
)
def test_the_one_to_blame(make: Make, what: str, kind: str, cause: str, detail: str) -> None:
    worker = make()
    for step in ("a", "b", what, "c", "d"):
        ask(worker, step, deadline=0.3 if what == "hang" else 20)
    answers = [worker.next() for _ in range(5)]
    failure = answers[2]["failure"]
    assert (failure["kind"], failure["cause"]) == (kind, cause)
    assert detail in failure["detail"]
    assert all(a["outcomes"][0]["kind"] == "returned" for a in answers[:2] + answers[3:])


def test_a_line_without_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_LINE", 1 << 20)
    worker = make()
    ask(worker, "flood out")
    ask(worker, "a")
    assert kinds(worker) == ["unparsed", "returned"]


def test_large_requests_against_large_answers(make: Make) -> None:
    worker = make()
    for _ in range(6):
        ask(worker, "big", pad="y" * (4 << 20))
    assert kinds(worker) == ["returned"] * 6


def test_unread_answers_stop_the_worker(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_UNREAD", 6 << 20)
    worker = make()
    worker.start()
    for _ in range(20):
        ask(worker, "big")
    for _ in range(40):
        worker._loop.step()
    assert worker._unread <= 12 << 20
    assert kinds(worker) == ["returned"] * 20


@pytest.mark.parametrize("how", ["killed", "removed"])
def test_a_container_that_is_lost_loses_nothing(make: Make, daemon: FakeDocker, how: str) -> None:
    worker = make()
    worker.start()
    for step in ("a", "slow", "b", "c"):
        ask(worker, step)
    assert worker.next()["outcomes"][0]["kind"] == "returned"
    while not worker._pending[0].started:
        worker._loop.step()
    if how == "killed":
        daemon.kill()
    else:
        daemon.remove_container(next(iter(daemon.there)), force=True)
    assert kinds(worker) == ["returned"] * 3
    assert (worker.stats.outside, worker.stats.respawns) == (1, 1)


def test_out_of_the_containers_memory(make: Make, daemon: FakeDocker) -> None:
    worker = make(memory=64)
    worker.start()
    ask(worker, "hang")
    while not worker._pending[0].started:
        worker._loop.step()
    next(iter(daemon.there.values())).state["OOMKilled"] = True
    daemon.kill()
    failure = worker.next()["failure"]
    assert (failure["kind"], failure["cause"]) == ("crashed", "memory")
    assert "more than the container's 320 MiB" in failure["detail"]


def test_a_daemon_that_stops_is_nobodys_fault(make: Make, daemon: FakeDocker) -> None:
    worker = make()
    worker.start()
    ask(worker, "hang")
    while not worker._pending[0].started:
        worker._loop.step()
    daemon.stop()
    with pytest.raises(EngineUnavailable, match="fake: the Docker daemon does not answer") as caught:
        worker.next()
    assert "dockerd" in caught.value.hint
    for container in daemon.there.values():
        container.kill()


def test_no_image(make: Make) -> None:
    with pytest.raises(EngineUnavailable, match="image is not there") as caught:
        make(image="nowhere").start()
    assert caught.value.hint == "wasmlab images build"


@pytest.mark.parametrize(("cpu", "pids"), [("", 7), ("max", 14)])
def test_what_a_container_may_not(make: Make, daemon: FakeDocker, cpu: str, pids: int) -> None:
    make(cpu=cpu, memory=100, pids=7).start()
    (made,) = daemon.made
    host = made["host_config"]
    assert made["user"].partition(":")[0] != "0"
    assert made["platform"] == "linux/arm64"
    assert made["labels"]["wasmlab.run"] == "this run"
    assert host["init"]
    assert host["read_only"]
    assert (host["network_mode"], host["cap_drop"]) == ("none", ["ALL"])
    assert host["security_opt"] == ["no-new-privileges"]
    assert host["mem_limit"] == host["memswap_limit"] == (100 + containers.SLACK) << 20
    assert host["pids_limit"] == pids
    assert host["nano_cpus"] > 0
    assert set(host["tmpfs"]) == {"/tmp"}


def test_strays_of_dead_labs(daemon: FakeDocker) -> None:
    namespace, pid, _ = strays.identity().split(".")
    for run in (f"{namespace}.{pid}.1", strays.identity(), f"1{namespace}.{pid}.1"):
        daemon.create_container("image", command=["true"], labels={containers.LABEL: run})
    assert containers.sweep() == 1  # the one of our process id, but another start; of another namespace nobody knows
    assert containers.sweep(strays.identity()) == 1
    assert len(daemon.there) == 1


def test_frames_cut_anywhere() -> None:
    draw = random.Random(1)
    for _ in range(50):
        pieces = [(draw.choice((1, 2)), draw.randbytes(draw.choice((0, 1, 9, 1000)))) for _ in range(30)]
        data = b"".join(bytes([stream, 0, 0, 0]) + len(text).to_bytes(4) + text for stream, text in pieces)
        frames, out = Frames(), b""
        while data:
            size = draw.randrange(1, 50)
            out += frames.feed(data[:size])
            data = data[size:]
        assert out == b"".join(text for stream, text in pieces if stream == 1)
        assert bytes(frames.errors) == b"".join(text for stream, text in pieces if stream == 2)


def test_an_image_that_is_there_does_not_wait_for_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there: set[str] = set()
    monkeypatch.setattr(images, "ready", lambda arch: None)
    monkeypatch.setattr(images, "_context", lambda arch: b"")
    monkeypatch.setattr(images, "_there", lambda tag, arch: tag in there)
    monkeypatch.setattr(images, "cache_folder", lambda: tmp_path)

    def locked(arch: str) -> Any:
        raise BlockingIOError("somebody makes an image")

    monkeypatch.setattr(images, "_locked", locked)
    base = images._base_tags("riscv64")[1]
    package = images.Installed("toy-1.0", tmp_path)
    for tag in (base, lab := images._lab_tag("riscv64", base)):
        with pytest.raises(BlockingIOError):
            images.ensure("riscv64")
        there.add(tag)
    assert images.ensure("riscv64") == lab
    with pytest.raises(BlockingIOError):
        images.ensure("riscv64", package)
    there.add(tag := images._engine_tag(package.name, lab))
    assert images.ensure("riscv64", package) == tag


def test_what_images_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that images share count once, those that only outdated ones have would be free."""
    monkeypatch.setattr(images, "_current", lambda arch, what: {"wasmlab-base:a", "wasmlab-lab:new"})
    rows = [  # identity, what it was made on, bytes in all, label, tags
        ("base", "", 50, "arm64/base", ["wasmlab-base:a"]),
        ("step", "base", 60, "arm64/base", ["<none>:<none>"]),
        ("new", "step", 65, "arm64/lab", ["wasmlab-lab:new"]),
        ("old", "step", 67, "arm64/lab", ["wasmlab-lab:old"]),
        ("engine", "old", 100, "arm64/toy-1", ["wasmlab-engine:old"]),
        ("other", "", 1000, None, ["debian:trixie"]),
        ("cut", "gone", 9, "riscv64/lab", ["wasmlab-lab:r"]),
    ]
    summaries = [
        {"Id": id_, "ParentId": below, "Size": size, "Labels": what and {images.LABEL: what}, "RepoTags": tags}
        for id_, below, size, what, tags in rows
    ]

    class Api:
        def images(self, all: bool) -> Any:
            return summaries

        def remove_image(self, tag: str) -> None:
            if tag == "used":
                raise docker.errors.APIError("in use", response=SimpleNamespace(status_code=409))
            raise docker.errors.ImageNotFound("no such image")

    monkeypatch.setattr(images, "client", lambda: SimpleNamespace(api=Api()))
    found = images.images(["arm64"])
    tags = ["wasmlab-base:a", "wasmlab-engine:old", "wasmlab-lab:new", "wasmlab-lab:old"]
    assert [image.tag for image in found] == tags
    assert [image.current for image in found] == [True, False, True, False]
    assert images.space(found) == 50 + 10 + 5 + 7 + 33
    assert images.told(found)[1] == 7 + 33
    assert images.space(images.images()) == 105 + 9
    assert images.remove("gone")
    assert not images.remove("used")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("E: tar: No space left on device", "no room left for"),
        ("E: no such suite", "cannot make a base .*: E: no such"),
    ],
)
def test_a_base_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, complaint: str) -> None:
    """mmdebstrap hangs up on its whole process group where it fails: we are not in it."""
    program = tmp_path / "bin" / "mmdebstrap"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntrap '' HUP\nkill -HUP 0\necho '{said}' >&2\nexit 25\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir(mode=0o700)
    with pytest.raises(EngineUnavailable, match=complaint):
        images._bootstrap("riscv64", "wasmlab-base:never")
    assert not list((tmp_path / "cache" / "images").glob("base-*"))


def test_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "host_architecture", lambda: "amd64")
    monkeypatch.setattr(emulation, "qemu_version", lambda arch: "7.2.22")
    usual, other = emulation.machine("arm64"), emulation.machine("arm64", "max")
    assert str(usual) == "container, arm64, QEMU 7.2.22 as cortex-a72"
    assert usual.env == {"QEMU_CPU": "cortex-a72"}
    assert other.env == {"QEMU_CPU": "max,pauth-impdef=on"}
    assert (usual.second, other.second) == ("max", "cortex-a72")
    assert (str(emulation.machine("amd64")), emulation.machine("amd64").second) == ("container, amd64", "")
    with pytest.raises(EngineNameError, match="known: cortex-a72, max"):
        emulation.machine("arm64", "cortex-a720")
    with pytest.raises(EngineNameError, match="no model"):
        emulation.machine("amd64", "max")


@pytest.mark.parametrize("there", ["nothing", "disabled", "not fixed", "all"])
def test_what_emulation_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    monkeypatch.setattr(emulation, "BINFMT", tmp_path)
    monkeypatch.setattr(emulation, "host_architecture", lambda: "amd64")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\necho qemu-aarch64 version 9.1.2 '(Debian)'\n")
    program.chmod(0o755)
    if there != "nothing":
        (tmp_path / "register").write_text("")
        flags, enabled = "PF" if there != "not fixed" else "P", "disabled" if there == "disabled" else "enabled"
        (tmp_path / "qemu-aarch64").write_text(f"{enabled}\ninterpreter {program}\nflags: {flags}\noffset 0\n")
    emulation.qemu_version.cache_clear()
    if there == "all":
        emulation.ready("arm64")
        assert emulation.qemu_version("arm64") == "9.1.2"
    else:
        with pytest.raises(EngineUnavailable, match="need QEMU") as caught:
            emulation.ready("arm64")
        assert "update-binfmts --enable qemu-aarch64" in caught.value.hint
    emulation.qemu_version.cache_clear()
    emulation.ready("amd64")
