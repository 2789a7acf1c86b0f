"""crates.io: a worker of ours in Rust is built with the engine's crate, for any architecture, by `cargo`.

The worker's `Cargo.lock` pins what the row's version is built of, all of it by digest; of another version the index's
digests hold.  The crate's name is the feature that the worker is built with, and "native" another, on the machine's own
architecture.  What was compiled stays in the cache: an interrupted build goes on where it was, and only what changed is
built again.  A package without a worker in Rust is the crate's own files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from wasmlab_matrices.architectures import load_architectures

from ..errors import EngineUnavailable
from .order import ClientFailed, Order, locked, no_such_version, source_folder

VERSION = r"[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*"
PROGRAMS = ("cargo",)
SECONDS = 7200
"""What a build may take: large engines need a quarter of an hour of two processors."""
_TARGETS = {
    "amd64": "x86_64-unknown-linux-gnu",
    "arm64": "aarch64-unknown-linux-gnu",
    "riscv64": "riscv64gc-unknown-linux-gnu",
}


def fill(order: Order) -> None:
    """Build the worker, where there is one in Rust: the content is one program.  Else unpack the crate."""
    if order.package.source and (source_folder(order.package.source) / "Cargo.toml").exists():
        _build(order)
    else:
        order.unpack([download(order)])


def download(order: Order) -> Path:
    """The crate itself, `name-version.crate`, held against its pin."""
    if found := order.downloaded("*.crate"):
        return found
    project = order.part / "project"
    (project / "src").mkdir(mode=0o700, parents=True, exist_ok=True)
    (project / "src" / "lib.rs").touch()
    wanted = f'[dependencies]\n{order.name} = {{ version = "={order.version}", default-features = false }}\n'
    (project / "Cargo.toml").write_text(f'[package]\nname = "project"\nversion = "0.0.0"\n{wanted}')
    try:
        described = order.run(["cargo", "metadata", "--quiet", "--format-version=1"], folder=project)
    except ClientFailed as failed:
        raise _failed(order, failed, "cannot be had") from None
    finally:
        shutil.rmtree(project, ignore_errors=True)
    for package in json.loads(described)["packages"]:
        if package["name"] == order.name:
            source = Path(package["manifest_path"]).parent  # of registry/src/<index>, beside registry/cache/<index>
            crate = source.parents[2] / "cache" / source.parent.name / f"{source.name}.crate"
            return order.checked(Path(shutil.copy(crate, order.part)))
    raise EngineUnavailable(f"cargo does not say where it has {order.what}")


def _build(order: Order) -> None:
    source = order.part / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(source_folder(order.package.source), source, ignore=shutil.ignore_patterns("target"))
    place = order.shared / f"{order.name}-{order.arch}.build"
    with locked(place.with_suffix(".build.lock")):  # versions share what they have in common
        try:
            built = _cargo_build(order, source, place)
            order.content.mkdir(mode=0o700)
            shutil.copy(built, order.content)
            shutil.copy(source / "Cargo.lock", order.content)
        except ClientFailed as failed:
            raise _failed(order, failed, "cannot be built") from None
        finally:
            shutil.rmtree(source, ignore_errors=True)


def _cargo_build(order: Order, source: Path, place: Path) -> Path:
    """The program that cargo made in `place`."""
    target = _TARGETS[order.arch]
    features = f"{order.name},native" if order.native else order.name
    build = ["cargo", "build", "--quiet", "--release", "--no-default-features", f"--features={features}"]
    env = {**os.environ, "CARGO_TARGET_DIR": str(place)}
    if order.version == order.package.version:
        build.append("--locked")
    else:
        _ask_for(order, source / "Cargo.toml")
    if not order.native:
        build.append(f"--target={target}")
        linker = f"CARGO_TARGET_{target.upper().replace('-', '_')}_LINKER"
        env.setdefault(linker, f"{load_architectures()[order.arch].triple}-gcc")
    order.run(build, env, SECONDS, source)
    return place / ("." if order.native else target) / "release" / "worker"


def _ask_for(order: Order, manifest: Path) -> None:
    """Make the worker's manifest name another version of the engine."""
    line = re.compile(rf'^({re.escape(order.name)} = {{ version = "=)[^"]*', re.MULTILINE)
    text, count = line.subn(rf"\g<1>{order.version}", manifest.read_text())
    if count != 1:
        raise EngineUnavailable(f"{order.package.source}/Cargo.toml pins no {order.name}")
    manifest.write_text(text)


def _failed(order: Order, failed: ClientFailed, how: str) -> EngineUnavailable:
    """What went wrong, and what to do, from the words of cargo and rustc."""
    if "failed to select a version for the requirement" in failed.words or "no matching package" in failed.words:
        found = re.search(r"didn't match: (.*)$", failed.words, re.MULTILINE)
        return no_such_version(order, re.findall(VERSION, found[1]) if found else [])
    if "target may not be installed" in failed.words:
        hint = f"rustup target add {_TARGETS[order.arch]}"
        return EngineUnavailable(f"{order.what} needs Rust's standard library for {order.arch}", hint)
    if re.search(r"linker `[^`]*` not found", failed.words):
        triple = load_architectures()[order.arch].triple.replace("_", "-")
        hint = "apt-get install gcc" if order.native else f"apt-get install gcc-{triple}"
        return EngineUnavailable(f"{order.what} needs a linker for {order.arch}", hint)
    return EngineUnavailable(f"{order.what} {how}: {failed.reason}")
