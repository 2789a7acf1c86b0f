"""A daemon that is stopped in the middle of a campaign: a real one, with a socket and a folder of its own.

Run by .ci/nightly: pytest adapters/tests/daemon.py
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wasmlab_adapters import containers, images
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.registry import resolve

pytestmark = pytest.mark.slow
ARCH = "arm64"
PATIENCE = 300


class Daemon:
    """`dockerd` on a socket of its own; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self.start()

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        command = ["dockerd", "--host", self.host, "--pidfile", f"{self.folder}/pid", "--bridge", "none"]
        command += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/run", "--iptables=false"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE
        while self.docker("version", check=False).returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < until
            time.sleep(0.2)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)

    def docker(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["docker", "--host", self.host, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=PATIENCE)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    try:
        lab = resolve(f"ref:{ARCH}").image
        base = next(tag for tag in images._base_tags(ARCH) if images._there(tag, ARCH))
    except EngineUnavailable as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{error} ({error.hint})")
    if os.getuid() or not shutil.which("dockerd"):
        pytest.skip("only root can start a daemon")
    made = Daemon(tmp_path)
    try:
        subprocess.run(["docker", "save", "-o", tmp_path / "images.tar", base, lab], check=True, timeout=PATIENCE)
        made.docker("load", "--input", f"{tmp_path}/images.tar")
        yield made
    finally:
        if made.process.poll() is None:
            made.stop()


def test_a_daemon_that_stops_in_mid_campaign(daemon: Daemon, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wasmlab.cli", "fuzz", "--engines", f"ref,ref:{ARCH}", "--seed", "1", "--json"]
    command += ["--no-html", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "DOCKER_HOST": daemon.host}
    campaign = subprocess.Popen(
        [*command, "--time", "1h"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert campaign.stderr
    until = time.monotonic() + PATIENCE
    while not (line := campaign.stderr.readline()).startswith("cases ") or int(line.split()[1].replace(",", "")) < 20:
        assert campaign.poll() is None, line
        assert time.monotonic() < until
    daemon.stop()
    out, said = campaign.communicate(timeout=PATIENCE)
    assert campaign.returncode == 3
    (complaint,) = [line for line in said.splitlines() if line.startswith("wasmlab:")]
    assert "Docker" in complaint
    assert "Traceback" not in said + out
    daemon.start()
    again = subprocess.run(
        [*command, "--examples", "200"], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert again.returncode == 0, again.stderr
    (goes_on,) = [line for line in again.stderr.splitlines() if line.startswith("goes on after")]
    assert int(goes_on.split()[3].replace(",", "")) >= 20
    found = json.loads(again.stdout)
    assert found["cases"] >= 200
    assert found["divergences"] == []
    assert daemon.docker("ps", "--all", "--quiet", "--filter", f"label={containers.LABEL}").stdout == ""
