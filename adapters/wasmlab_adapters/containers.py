"""Workers in containers: the same protocol as in local processes, over the stream that Docker attaches.

A container has no network, no capabilities, a file system that it cannot write to, an unprivileged user, and limits.
It bears the identity of its lab as a label: a guard removes it when the lab ends, and every lab removes at its start
what dead ones left.

    python -m wasmlab_adapters.containers RUN    is that guard, which waits for the end of its standard input
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker  # type: ignore[import-untyped]
import docker.errors  # type: ignore[import-untyped]
import requests

from wasmlab_matrices.load import Limits

from . import process, strays
from .emulation import Machine
from .errors import EngineUnavailable
from .place import Ending

LABEL = "wasmlab.run"
SLACK = 256
"""MiB beyond the memory that the lab itself allows a worker: it says so first, and the kernel is the backstop."""
CPUS = 2
TMPFS = "rw,noexec,nosuid,nodev,size=64m"
NOBODY = "65534:65534"
SECONDS = 60
"""What the daemon may take to answer."""
START_DAEMON = "start it (sudo systemctl start docker, or sudo dockerd), and see `wasmlab doctor`"
ERRORS = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


@functools.cache
def _client(pid: int, thread: int, seconds: int) -> Any:
    return docker.from_env(timeout=seconds)


def client(seconds: int = SECONDS) -> Any:
    """The daemon's client, one a thread; EngineUnavailable where there is no daemon."""
    try:
        return _client(os.getpid(), threading.get_ident(), seconds)
    except ERRORS as error:
        raise unavailable(error) from None


def server() -> str:
    """What the daemon says it is; EngineUnavailable where there is none."""
    try:
        said = client().version()
    except ERRORS as error:
        raise unavailable(error) from None
    return f"{said['Version']}, API {said['ApiVersion']}, {said['Arch']}"


def unavailable(error: Exception) -> EngineUnavailable:
    """What went wrong between lab and daemon, in one line."""
    if isinstance(error, docker.errors.ImageNotFound):
        return EngineUnavailable(f"the image is not there: {_said(error)}", "wasmlab images build")
    if isinstance(error, docker.errors.APIError):
        return EngineUnavailable(f"Docker refuses: {_said(error)}", "wasmlab doctor")
    text = str(error)
    if "PermissionError" in text or "Permission denied" in text:
        return EngineUnavailable("Docker's socket is not for this user", 'sudo usermod -aG docker "$USER", and log in')
    if isinstance(error, requests.exceptions.Timeout):
        return EngineUnavailable(f"the Docker daemon does not answer within {SECONDS} s", START_DAEMON)
    return EngineUnavailable("the Docker daemon does not answer", START_DAEMON)


def _said(error: docker.errors.APIError) -> str:
    return process.printable(str(error.explanation or error)).strip().replace("\n", " ")[:300]


@dataclass(frozen=True, slots=True)
class Container:
    """A place: containers of one image, with this command, environment and limits."""

    image: str
    machine: Machine
    argv: Sequence[str]
    env: Mapping[str, str]
    limits: Limits

    @property
    def program(self) -> str:
        """What is started, for messages."""
        return f"{os.path.basename(self.argv[0])} in {self.image}"

    def start(self) -> Running:
        """Start a container; EngineUnavailable where that is impossible."""
        api = client().api
        run = _lab(os.getpid())
        try:
            made = api.create_container(
                self.image,
                command=list(self.argv),
                environment=dict(self.env),
                stdin_open=True,
                user=_user(),
                working_dir="/tmp",
                labels={LABEL: run, "wasmlab.pid": str(os.getpid())},
                platform=self.machine.platform,
                host_config=api.create_host_config(**self._host()),
            )["Id"]
            try:
                return Running(api, made, self.limits.memory + SLACK)
            except BaseException:
                with contextlib.suppress(*ERRORS):
                    api.remove_container(made, force=True)
                raise
        except ERRORS as error:
            raise unavailable(error) from None

    def _host(self) -> dict[str, Any]:
        memory = (self.limits.memory + SLACK) << 20
        return {
            "init": True,  # a worker that is process 1 and dies of a signal under QEMU hangs for ever
            "network_mode": "none",
            "read_only": True,
            "tmpfs": {"/tmp": TMPFS},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "mem_limit": memory,
            "memswap_limit": memory,
            "pids_limit": self.limits.pids * (2 if self.machine.cpu else 1),  # QEMU runs a thread of its own for each
            "nano_cpus": min(CPUS, os.cpu_count() or 1) * 10**9,
            "ulimits": [docker.types.Ulimit(name="core", soft=0, hard=0)],
            "log_config": docker.types.LogConfig(type="none"),
        }


def _user() -> str:
    """The lab's own user, whom the guard may look at; nobody where that is root."""
    return f"{os.getuid()}:{os.getgid()}" if os.getuid() else NOBODY


class Running:
    """A started container; its three streams are one socket, what comes out of it in frames."""

    stderr = None

    def __init__(self, api: Any, id_: str, memory: int) -> None:
        self._api, self._id, self._memory = api, id_, memory
        streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        attached = api.attach_socket(id_, params=streams)
        raw = getattr(attached, "_sock", attached)
        if not isinstance(raw, socket.socket) or hasattr(raw, "getpeercert"):
            raise EngineUnavailable("only a daemon without TLS can be used", "unset DOCKER_HOST, or use a unix socket")
        self._socket = socket.socket(fileno=os.dup(raw.fileno()))
        self._socket.setblocking(False)
        self.stdout = self._socket.fileno()
        self.stdin = os.dup(self.stdout)  # a selector takes a descriptor once
        self._attached = attached  # whose response keeps the connection open
        self._frames = Frames()
        self._over = False
        try:
            api.start(id_)
            self._pid = _visible(api.inspect_container(id_)["State"]["Pid"], id_)
        except BaseException:
            self._close()
            raise

    def read(self) -> bytes:
        """What came on standard output, b"" at the end of the container; BlockingIOError where nothing did."""
        try:
            data = os.read(self.stdout, process.READ_SIZE)
        except ConnectionError:
            data = b""
        self._over |= not data
        out = self._frames.feed(data)
        if data and not out:
            raise BlockingIOError
        return out

    def read_errors(self) -> bytes:
        """What came on standard error beside it."""
        if not self._frames.errors:
            raise BlockingIOError
        errors, self._frames.errors = bytes(self._frames.errors), bytearray()
        return errors

    def exited(self, within: float = 0.0) -> bool:
        """True if the container has ended, as far as its stream tells; waits `within` seconds for it at most."""
        until = time.monotonic() + within
        with contextlib.suppress(OSError):
            while not self._over and (left := until - time.monotonic()) > 0:
                if select.select([self.stdout], [], [], left)[0]:
                    self._over = not os.read(self.stdout, process.READ_SIZE)  # nobody waits for that any more
        if not self._over or within <= 0:
            return self._over
        with contextlib.suppress(*ERRORS):
            while self._api.inspect_container(self._id)["State"]["Running"]:
                if time.monotonic() > until:
                    return False
                time.sleep(0.01)
        return True

    def end(self) -> Ending:
        """Remove the container; how it had ended, if it had.  EngineUnavailable where the daemon has gone."""
        try:
            state = self._api.inspect_container(self._id)["State"]
            self._close()  # the daemon does not end what waits for us to read its flood
            self._api.remove_container(self._id, force=True)
        except docker.errors.NotFound:
            return Ending("its container was removed", "killed")
        except ERRORS as error:
            raise unavailable(error) from None
        finally:
            self._close()
        return _ending(state, self._memory)

    def close_stdin(self) -> None:
        """Tell the worker that there is no more to come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def resident(self) -> int:
        """Bytes of resident memory of all its processes; 0 where the daemon is on another machine."""
        return process.resident(self._pid) if self._pid else 0

    def processor_time(self) -> float:
        """Seconds of processor time of all its processes; 0 where the daemon is on another machine."""
        return process.processor_time(self._pid) if self._pid else 0.0

    def waited(self) -> float:
        """Seconds that its processes could have run, but others had the processors."""
        return process.waited(self._pid) if self._pid else 0.0

    def _close(self) -> None:
        """End the stream, once: a descriptor's number is soon another's."""
        if self._socket.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        os.close(self.stdin)
        response = getattr(self._attached, "_response", None)
        with contextlib.suppress(ValueError, OSError):  # whichever is second finds the connection closed
            if response:
                response.close()
            self._attached.close()


class Frames:
    """Docker's framing: eight bytes (stream, three zeros, size), and that many bytes of it."""

    def __init__(self) -> None:
        self.errors = bytearray()
        """Of standard error, until somebody takes it."""
        self._head = b""
        self._left = 0
        self._stream = 0

    def feed(self, data: bytes) -> bytes:
        """Take in what came; what of it was standard output."""
        out, at = [], 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                if self._stream == 2:
                    self.errors += piece
                else:
                    out.append(piece)
            else:
                piece = data[at : at + 8 - len(self._head)]
                self._head += piece
                if len(self._head) == 8:
                    self._stream, self._left = self._head[0], int.from_bytes(self._head[4:])
                    self._head = b""
            at += len(piece)
        return b"".join(out)


def _ending(state: Mapping[str, Any], memory: int) -> Ending:
    """What a container's state says of its end."""
    code = int(state.get("ExitCode") or 0)
    if state.get("OOMKilled"):
        return Ending(f"killed by the kernel: more than the container's {memory} MiB of memory", "memory")
    if code in (127, 126) and state.get("Error"):
        return Ending(process.printable(str(state["Error"]))[:300])
    if code > 128:
        how = process.describe_status(128 - code)
        return Ending(how, "killed" if code - 128 in (signal.SIGKILL, signal.SIGTERM) else "")
    return Ending(process.describe_status(code))


def _visible(pid: int, id_: str) -> int:
    """The host's id of a container's first process, 0 if that is on another machine."""
    try:
        return pid if id_ in Path(f"/proc/{pid}/cgroup").read_text() else 0
    except OSError:
        return 0


# Strays


@functools.cache
def _lab(pid: int) -> str:
    """The identity of this lab; from now on its guard stands, and the containers of dead labs are gone."""
    run = strays.identity(pid)
    with contextlib.suppress(EngineUnavailable):
        sweep()
    process.stand_guard([sys.executable, "-P", "-m", __name__, run])
    return run


def _labelled(api: Any, label: str = LABEL) -> Iterator[tuple[str, str]]:
    for found in api.containers(all=True, filters={"label": [label]}):
        yield found["Id"], found["Labels"][LABEL]


def sweep(run: str = "") -> int:
    """Remove the containers of a lab, or of all dead ones; how many that were.  EngineUnavailable: no daemon."""
    removed = 0
    api = client().api
    try:
        for id_, owner in _labelled(api, f"{LABEL}={run}" if run else LABEL):
            if run or strays.is_dead(owner):
                with contextlib.suppress(docker.errors.APIError):  # removed by another, or being removed
                    api.remove_container(id_, force=True)
                    removed += 1
    except ERRORS as error:
        raise unavailable(error) from None
    return removed


def _guard(run: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    with contextlib.suppress(EngineUnavailable):
        sweep(run)


if __name__ == "__main__":
    _guard(sys.argv[1])
