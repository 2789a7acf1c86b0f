"""Docker's API as far as workers need it, with processes of this machine in place of containers."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import docker.errors  # type: ignore[import-untyped]
import requests


class Container:
    """A process, and the socket that its streams are on, in frames."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.ours, self.theirs = socket.socketpair()
        self.process: subprocess.Popen[bytes] | None = None
        self.state: dict[str, Any] = {"Running": False, "ExitCode": 0, "OOMKilled": False, "Pid": 0, "Error": ""}
        self._sending = threading.Lock()

    def start(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.arguments["command"], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        self.state |= {"Running": True, "Pid": self.process.pid}
        streams = ((1, self.process.stdout), (2, self.process.stderr))
        pumps = [threading.Thread(target=self._out, args=stream, daemon=True) for stream in streams]
        for thread in (*pumps, threading.Thread(target=self._in, daemon=True)):
            thread.start()
        threading.Thread(target=self._end, args=(pumps,), daemon=True).start()

    def _out(self, stream: int, pipe: Any) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(pipe.fileno(), 1 << 15):
                with self._sending:
                    self.ours.sendall(bytes([stream, 0, 0, 0]) + len(data).to_bytes(4) + data)

    def _in(self) -> None:
        assert self.process
        assert self.process.stdin
        with contextlib.suppress(OSError, ValueError):
            while data := self.ours.recv(1 << 15):
                self.process.stdin.write(data)
            self.process.stdin.close()

    def _end(self, pumps: list[threading.Thread]) -> None:
        assert self.process
        code = self.process.wait()
        for thread in pumps:
            thread.join(timeout=5)
        self.state |= {"Running": False, "ExitCode": code if code >= 0 else 128 - code}
        with contextlib.suppress(OSError):
            self.ours.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            self.ours.shutdown(socket.SHUT_RDWR)


class FakeDocker:
    """The low-level client of a daemon that can be stopped."""

    def __init__(self) -> None:
        self.there: dict[str, Container] = {}
        self.made: list[dict[str, Any]] = []
        self.stopped = False
        self._ids: Iterator[int] = itertools.count()

    def stop(self) -> None:
        """The daemon goes away: streams end, and nobody answers."""
        self.stopped = True
        for container in self.there.values():
            with contextlib.suppress(OSError):
                container.ours.shutdown(socket.SHUT_RDWR)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Somebody kills what runs."""
        for container in self.there.values():
            if container.process:
                container.process.send_signal(number)

    def _find(self, id_: str) -> Container:
        if self.stopped:
            raise requests.exceptions.ConnectionError("FileNotFoundError")
        if id_ not in self.there:
            raise docker.errors.NotFound("no such container")
        return self.there[id_]

    def create_host_config(self, **arguments: Any) -> dict[str, Any]:
        return arguments

    def create_container(self, image: str, **arguments: Any) -> dict[str, str]:
        if self.stopped:
            raise requests.exceptions.ConnectionError("FileNotFoundError")
        if image == "nowhere":
            raise docker.errors.ImageNotFound(f"No such image: {image}")
        id_ = f"{next(self._ids):064x}"
        self.made.append(arguments)
        self.there[id_] = Container(arguments)
        return {"Id": id_}

    def attach_socket(self, id_: str, params: dict[str, int]) -> Any:
        assert params == {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        theirs = self._find(id_).theirs
        return SimpleNamespace(_sock=theirs, close=theirs.close)

    def start(self, id_: str) -> None:
        self._find(id_).start()

    def inspect_container(self, id_: str) -> dict[str, Any]:
        return {"State": dict(self._find(id_).state)}

    def remove_container(self, id_: str, force: bool) -> None:
        assert force
        self._find(id_).kill()
        del self.there[id_]

    def containers(self, all: bool, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        assert all
        key, _, wanted = filters["label"][0].partition("=")
        labels = {id_: container.arguments["labels"] for id_, container in self.there.items()}
        return [{"Id": id_, "Labels": found} for id_, found in labels.items() if not wanted or found[key] == wanted]
