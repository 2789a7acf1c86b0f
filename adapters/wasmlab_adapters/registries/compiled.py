"""C: our worker, compiled with an engine's sources or against its library, once its package is unpacked.

The row says what belongs to the engine: arguments of the compiler.  Those that end in `.c`, `.cc` or `.s` are files, or
globs of files, beside the worker's sources or in the package; "{content}" stands for the package's folder, "{version}"
for its version, and "{triple}" for the architecture, as the compiler calls it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from wasmlab_matrices.architectures import load_architectures
from wasmlab_ref.fast.build import FOLDER as REFERENCE

from ..compilers import c_compiler, compiler_packages
from ..errors import EngineUnavailable
from .order import ClientFailed, Order, source_folder

OPTIONS = ("-std=gnu11", "-O2", "-pthread", "-w")


def build(order: Order) -> None:
    """Add the program `worker` to the content; EngineUnavailable where it cannot be."""
    compiler = c_compiler(order.arch, order.native)
    if compiler is None:
        hint = f"apt-get install {compiler_packages(order.arch, order.native)}"
        raise EngineUnavailable(f"{order.what} needs a C compiler for {order.arch}", hint)
    folder = source_folder(order.package.source)
    triple = load_architectures()[order.arch].triple
    places = {"{content}": str(order.content), "{version}": order.version, "{triple}": triple}
    command = [compiler, *OPTIONS, f"-I{REFERENCE}", *map(str, sorted(folder.glob("*.c"))), str(REFERENCE / "digest.c")]
    for argument in order.package.compile:
        for place, value in places.items():
            argument = argument.replace(place, value)
        command += _files(order, folder, argument) if argument.endswith((".c", ".cc", ".s")) else [argument]
    try:
        order.run([*command, "-lm", "-o", str(order.content / "worker")])
    except ClientFailed as failed:
        shutil.rmtree(order.content, ignore_errors=True)
        first = next((line for line in failed.words.splitlines() if "error" in line), failed.reason)
        raise EngineUnavailable(f"{order.what} cannot be compiled: {first.strip()[:300]}") from None


def _files(order: Order, folder: Path, pattern: str) -> list[str]:
    """The files of a pattern; EngineUnavailable where there are none, so that a changed package is told at once."""
    found = sorted([*folder.glob(pattern), *order.content.glob(pattern)])
    if not found:
        raise EngineUnavailable(f"{order.what} has no {pattern}", "its row needs another list of files")
    return [str(path) for path in found]
