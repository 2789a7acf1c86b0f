"""`wasmlab images`: what containers of other architectures are made of."""

from __future__ import annotations

import dataclasses
import json
import time

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..opening import ARCHS, engine_errors


@click.group("images")
def images() -> None:
    """The images that workers of other architectures run in. They are made on first use, and kept by Docker.

    \b
    Example: wasmlab images build --archs arm64,riscv64
    """


@images.command("list")
@ARCHS
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
def list_(archs: tuple[str, ...], as_json: bool) -> None:
    """Say which images there are, what they take in all, and which are made from what is not the case any more.

    \b
    Example: wasmlab images list --archs arm64
    """
    from wasmlab_adapters import images as made

    with engine_errors():
        found = made.images(archs)
    if as_json:
        told = [{k: v for k, v in dataclasses.asdict(image).items() if k != "steps"} for image in found]
        click.echo(json.dumps(told, indent=1))
        return
    table = Table("architecture", "what", box=None, header_style="bold")
    table.add_column("image", overflow="fold")
    table.add_column("MB", justify="right")
    table.add_column("")
    for image in found:
        size, status = f"{image.size / 1e6:.0f}", Text("", "") if image.current else Text("outdated", "yellow")
        table.add_row(image.arch, Text(image.what), Text(image.tag), size, status)
    Console().print(table if found else "no images; `wasmlab images build` makes them")
    if found:
        Console().print(made.told(found)[0], highlight=False)


@images.command("build")
@ARCHS
@click.argument("engines", nargs=-1)
def build(archs: tuple[str, ...], engines: tuple[str, ...]) -> None:
    """Make the images of architectures (by default of all) now, and those of ENGINES: what is there, stays.

    \b
    Example: wasmlab images build --archs arm64 wasmtime
    """
    from wasmlab_adapters import images as made
    from wasmlab_adapters.registry import EngineName, resolve
    from wasmlab_matrices.load import ARCHITECTURES

    for arch in archs or ARCHITECTURES:
        with engine_errors():
            started = time.monotonic()
            tags = [made.ensure(arch)]
            for engine in engines:
                tags += [
                    resolve(dataclasses.replace(name, arch=arch)).image for name in EngineName.parse(engine).on([arch])
                ]
        for tag in dict.fromkeys(tags):
            click.echo(f"{arch}: {tag}")
        click.echo(f"{arch}: {time.monotonic() - started:.1f} s", err=True)


@images.command("remove")
@ARCHS
@click.option("--outdated", is_flag=True, help="Only what was made from what is not the case any more.")
def remove(archs: tuple[str, ...], outdated: bool) -> None:
    """Remove images, of these architectures or of all. What a container uses stays.

    \b
    Example: wasmlab images remove --outdated
    """
    from wasmlab_adapters import images as made

    with engine_errors():
        order = {"base": 2, "lab": 1}
        for image in sorted(made.images(archs), key=lambda image: order.get(image.what, 0)):
            if not (outdated and image.current):
                if made.remove(image.tag):
                    click.echo(image.tag)
                else:
                    click.echo(f"{image.tag} is in use, and stays", err=True)
