"""Go modules: a worker of ours is built with the engine's module, for any architecture, by the `go` command.

`go.sum` beside the worker's source pins the row's version; others are held against the checksum database.
"""

from __future__ import annotations

import os
import re
import shutil

from ..errors import EngineUnavailable
from .order import ClientFailed, Order, no_such_version, source_folder

VERSION = r"[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*"
PROGRAMS = ("go",)
SECONDS = 1200


def fill(order: Order) -> None:
    """Build the worker; the content is one program."""
    source = order.part / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(source_folder(order.package.source), source)
    env = {**os.environ, "GOARCH": order.arch, "GOOS": "linux", "CGO_ENABLED": "0", "GOFLAGS": "-modcacherw"}
    try:
        if order.version != order.package.version:
            order.run(["go", "get", f"{order.name}@v{order.version}"], env, SECONDS, source)
        order.content.mkdir(mode=0o700)
        build = ["go", "build", "-trimpath", "-ldflags", f"-X main.version={order.version} -s -w"]
        order.run([*build, "-o", str(order.content / "worker"), "."], env, SECONDS, source)
    except ClientFailed as failed:
        shutil.rmtree(order.content, ignore_errors=True)
        if "unknown revision" in failed.words or "no matching versions" in failed.words:
            raise no_such_version(order, releases(order)) from None
        raise EngineUnavailable(f"{order.what} cannot be built: {failed.reason}") from None
    finally:
        shutil.rmtree(source, ignore_errors=True)


def releases(order: Order) -> list[str]:
    """The released versions, as far as the registry tells them."""
    try:
        words = order.run(["go", "list", "-m", "-versions", order.name], folder=source_folder(order.package.source))
    except ClientFailed:
        return []
    return [word.removeprefix("v") for word in words.split() if re.fullmatch(f"v{VERSION}", word)]
