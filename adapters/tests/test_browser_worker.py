"""The worker that is a browser: what it relays, held against a page that is played; then the browsers themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from wasmlab_adapters.engine import Engine
from wasmlab_adapters.registry import resolve
from wasmlab_ref.case import Case, Instantiate, Invoke
from wasmlab_ref.encode import encode
from wasmlab_ref.text import parse_module

RELAY = """import os, subprocess, sys, threading
from wasmlab_adapters.workers.browser import Relay
relay = Relay(1)
relay.child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL).pid
print(relay.url, relay.child, file=sys.stderr, flush=True)
relay.server.serve_forever()
"""


@pytest.fixture
def relay() -> Iterator[tuple[subprocess.Popen[bytes], str, int]]:
    pipe = subprocess.PIPE
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", RELAY], stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        assert process.stderr is not None
        url, child = process.stderr.readline().decode().split()
        try:
            yield process, url, int(child)
        finally:
            process.kill()


def gone(pid: int) -> bool:
    """Has a process ended, or does it within seconds?"""
    for _ in range(500):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def browser() -> list[int]:
    """The processes of a browser that runs below this one."""
    return [child.pid for child in psutil.Process().children(recursive=True) if "python" not in child.name()]


def test_files_are_for_the_browser_alone(relay: tuple[subprocess.Popen[bytes], str, int]) -> None:
    _, url, _ = relay
    with urlopen(url) as page:
        assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert page.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert b"javascript.js" in page.read()
    with urlopen(url + "features.tsv") as features:
        assert features.read().startswith(b"mvp\t")
    for wrong in (url.rsplit("/", 2)[0] + "/", url + "browser.py", url + "../browser.py"):
        with pytest.raises(HTTPError, match="404"):
            urlopen(wrong)


def test_lines_pass_in_both_directions_until_the_end(relay: tuple[subprocess.Popen[bytes], str, int]) -> None:
    process, url, child = relay
    assert process.stdin is not None
    assert process.stdout is not None
    with connect(url.replace("http", "ws") + "socket", max_size=None) as page:
        process.stdin.write(b'{"id":1}\n{"id":2}\n{"id"')
        process.stdin.flush()
        assert page.recv() == '{"id":1}\n{"id":2}'
        page.send('{"started":1}\n')
        assert process.stdout.readline() == b'{"started":1}\n'
        large = b':"' + "é".encode() * (1 << 21) + b'"}\n'
        process.stdin.write(large + b"last")
        process.stdin.close()
        assert page.recv() == '{"id"' + large.decode()[:-1]
        assert page.recv() == "last"
        assert page.recv() == ""
        page.send('{"id":3}\n')
        page.send("")
        assert process.stdout.read() == b'{"id":3}\n'
        with pytest.raises(ConnectionClosed):
            page.recv()
    assert process.wait(10) == 0
    assert gone(child)


def test_a_page_that_is_gone_ends_the_worker(relay: tuple[subprocess.Popen[bytes], str, int]) -> None:
    process, url, child = relay
    with connect(url.replace("http", "ws") + "socket"):
        pass
    assert process.wait(10) == 1
    assert process.stderr is not None
    assert b"the page is gone" in process.stderr.read()
    assert gone(child)


def test_a_package_without_a_browser_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wasmlab_adapters.workers.browser", "firefox", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, env=env, timeout=60, check=False)
    assert done.returncode == 3
    assert b'{"unavailable": "' in done.stdout
    assert b"install again" in done.stdout
    assert done.stderr == b""


@pytest.mark.engine
@pytest.mark.nightly
@pytest.mark.parametrize("name", ["firefox", "chromium"])
def test_a_browser_that_hangs_is_replaced_and_leaves_nothing(name: str) -> None:
    module = encode(
        parse_module('(module (func (export "f") (result i32) (i32.const 7)) (func (export "g") (loop (br 0))))')
    )
    good, hanging = (Case((module,), (Instantiate("a", 0), Invoke("a", export))) for export in "fg")
    with Engine(resolve(name)) as engine:
        assert engine.run(good).outcomes[1].values == ("i32:7",)
        before = browser()
        assert engine.run(hanging, deadline=2).outcomes[1].kind == "timed out"
        assert engine.run(good).outcomes[1].values == ("i32:7",)
        assert all(map(gone, before))
        after = browser()
        assert len(after) > 1
    assert all(map(gone, after))
