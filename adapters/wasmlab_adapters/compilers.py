"""Which C compiler makes programs for an architecture, and where it comes from."""

from __future__ import annotations

import shutil

from wasmlab_matrices.architectures import load_architectures
from wasmlab_ref.fast.build import COMPILERS


def c_compiler(arch: str, native: bool) -> str | None:
    """The compiler for an architecture, None where there is none; `native`: it is this machine's."""
    names = (f"{load_architectures()[arch].triple}-gcc", *(COMPILERS if native else ()))
    return next(filter(None, map(shutil.which, names)), None)


def compiler_packages(arch: str, native: bool) -> str:
    """Debian's packages that have it."""
    triple = load_architectures()[arch].triple.replace("_", "-")
    return "gcc libc6-dev" if native else f"gcc-{triple} libc6-dev-{arch}-cross"
