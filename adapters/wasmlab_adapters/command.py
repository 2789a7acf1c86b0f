"""The command that runs a worker: from a row, a variant, flags and where everything lies."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import wasmlab_matrices
import wasmlab_ref
from wasmlab_matrices.load import EngineRow, Variant

from .errors import EngineUnavailable
from .registries.debian import run_unpacked


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a worker lie: the interpreter, the adapters, the roots of packages, the engine's package."""

    python: str
    adapters: str
    roots: str
    package: str


IN_AN_IMAGE = Layout("python3", "/opt/wasmlab/wasmlab_adapters", "/opt/wasmlab", "/opt/engine")


def local_layout(package: Path | None) -> Layout:
    """This machine's."""
    here = Path(__file__).resolve().parent
    packages = [str(here), *wasmlab_ref.__path__, *wasmlab_matrices.__path__]
    roots = dict.fromkeys(str(Path(package).resolve().parent) for package in packages)
    return Layout(sys.executable, str(here), os.pathsep.join(roots), str(package or ""))


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine's row, and what was chosen of it."""

    row: EngineRow
    variant: Variant | None
    flags: Mapping[str, str]
    version: str
    arch: str
    package: Path | None
    """The package's folder on this machine."""
    host: tuple[str, ...] = ()
    """The command of the row's host."""


def command(choice: Choice, layout: Layout) -> tuple[list[str], dict[str, str]]:
    """The command and what its environment needs beyond the lab's own."""
    row = choice.row
    module = (choice.variant.module if choice.variant else "") or row.module
    flags, env = _written(row.flag, choice.flags)
    file = f"{layout.adapters}/{row.file}"
    if row.program:
        start = program(choice, layout)
    elif module:
        if not module_present(module):
            raise EngineUnavailable(f"the worker {module} is missing", "is wasmlab installed whole?")
        # -P: neither the working directory nor the worker's own folder may stand in for a package.
        start = [layout.python, "-P", "-m", module]
        env["PYTHONPATH"] = layout.roots
    else:
        start = [layout.python, "-P", file]
    places = {"package": layout.package, "adapters": layout.adapters, "file": file, "version": choice.version}
    arguments: list[str] = []
    for argument in row.arguments if any("{flags}" in a for a in row.arguments) else (*row.arguments, "{flags}"):
        if argument in ("{flags}", "{host}"):
            arguments += flags if argument == "{flags}" else choice.host
        elif "{flags}" not in argument or flags:
            for place, value in (*places.items(), ("flags", ",".join(flags))):
                argument = argument.replace(f"{{{place}}}", value)
            arguments.append(argument)
    return [*start, *arguments], env


def module_present(module: str) -> bool:
    """Whether Python finds a module."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _written(style: str, flags: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Flags as the engine takes them, on its command line or in its environment."""
    if style.startswith("$"):
        return [], {style[1:] + key: value for key, value in flags.items()}
    if style == "setting":
        return [f"{key}={value}" for key, value in flags.items()], {}
    switches = {"true": "--{}", "false": "--no-{}"} if style == "switch" else {}
    return [switches.get(value, "--{}={}").format(key, value) for key, value in flags.items()], {}


def program(choice: Choice, layout: Layout) -> list[str]:
    """The engine's own program, by the loader of its root where it has one."""
    row, folder = choice.row, choice.package
    if folder is None or row.package is None:
        raise EngineUnavailable("an engine's program lies in its package", "its row needs one")
    for pattern in row.program:
        for found in sorted(folder.glob(pattern.replace("{version}", choice.version))):
            path = str(found.relative_to(folder))
            if row.package.registry == "debian":
                return run_unpacked(folder, choice.arch, path, layout.package)
            return [f"{layout.package}/{path}"]
    raise EngineUnavailable(f"{folder.name} has no {' or '.join(row.program)}", f"remove {folder}, and install again")
