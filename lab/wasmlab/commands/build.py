"""`wasmlab build`: the C engine, built ahead of its first use."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..errors import Missing
from ..opening import engine_errors


@click.command("build")
@click.option("--arch", "archs", default="", help="Architectures, separated by commas: arm64,riscv64. [this machine's]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout: paths by architecture.")
def build(archs: str, as_json: bool) -> None:
    """Build the C engine `ref` into the cache, for this machine or, with a cross compiler, for others.

    It is built on first use otherwise, once for each state of its source, of the compiler and its flags (CC, CFLAGS).
    Prints where the library is; the one beside it, -events.so, tells which rules of the standard a run took.

    \b
    Example: wasmlab build --arch amd64,arm64,riscv64
    """
    from wasmlab_adapters.install import host_architecture
    from wasmlab_matrices.load import ARCHITECTURES

    wanted = [arch.strip() for arch in archs.split(",") if arch.strip()] or [host_architecture()]
    if unknown := [arch for arch in wanted if arch not in ARCHITECTURES]:
        raise click.UsageError(f"no architecture {unknown[0]!r}; known: {', '.join(ARCHITECTURES)}")
    found = {}
    for arch in wanted:
        found[arch] = str(_library(arch))
        if not as_json:
            click.echo(f"{arch}  {found[arch]}")
    if as_json:
        click.echo(json.dumps(found))


def _library(arch: str) -> Path:
    from wasmlab_adapters.images import c_engine
    from wasmlab_adapters.install import host_architecture
    from wasmlab_ref.fast.build import Unavailable, library

    if arch != host_architecture():
        with engine_errors():
            return c_engine(arch)
    try:
        return library()
    except Unavailable as error:
        raise Missing(error.reason, error.remedy) from None
