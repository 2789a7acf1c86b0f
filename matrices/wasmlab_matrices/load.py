"""The rows of engines.yaml: which engines the lab knows, where each comes from, what is particular about it."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

from wasmlab_ref.features import FEATURES
from wasmlab_ref.outcome import trap_kinds

from .architectures import load_architectures
from .schema import SchemaError, read_yaml

__all__ = ["ARCHITECTURES", "EngineRow", "Limits", "Package", "Quirk", "SchemaError", "Variant", "load_engines"]

ARCHITECTURES = tuple(load_architectures())
REGISTRIES = ("pypi", "npm", "debian", "go", "maven", "cargo")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker of an engine may use."""

    startup: float = 10.0
    """Seconds until its hello."""
    deadline: float = 5.0
    """Seconds for a request that names no deadline of its own."""
    memory: int = 2048
    """MiB of resident memory, beyond which it is killed and the request at work blamed."""
    recycle_memory: int = 1024
    """MiB of resident memory, beyond which it is replaced between requests."""
    recycle: int = 20_000
    """Requests after which it is replaced."""
    pids: int = 256
    """Processes and threads, where it runs in a container."""
    window: int = 32
    """Requests on their way at once; the protocol allows 64."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a registry."""

    registry: str
    name: str
    """"{arch}" in it stands for what `arch` says of the architecture."""
    version: str
    sha256: dict[str, str] = field(default_factory=dict)
    """Pins the files of `version`, by name."""
    arch: dict[str, str] = field(default_factory=dict)
    """From the lab's names of architectures to those in the package's name."""
    source: str = ""
    """A folder beside the adapters: the worker's source, which is built with the package."""
    compile: tuple[str, ...] = ()
    """For a worker in C: arguments of the compiler that belong to the engine, as registries/compiled.py says."""
    releases: dict[str, str] = field(default_factory=dict)
    """Debian only: from versions to "suite package"."""
    oldest: str = ""
    """The first release that the worker can drive; "" for all that there are."""
    fixed: tuple[str, ...] = ()
    """Debian only: what has to lie where Debian has it, which can be had in a container alone."""

    def __post_init__(self) -> None:
        _known("registry", [self.registry], REGISTRIES)
        _known("architecture", self.arch, ARCHITECTURES)
        for name, digest in self.sha256.items():
            if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
                raise ValueError(f"sha256 of {name}: expected 64 hex digits")
        if self.compile and not self.source:
            raise ValueError("compile: a worker's `source` is needed")
        if self.releases and self.version not in self.releases:
            raise ValueError(f"releases: {self.version} is missing")

    def name_for(self, arch: str) -> str:
        """The package's name for an architecture."""
        return self.name.replace("{arch}", self.arch.get(arch, arch))


@dataclass(frozen=True, slots=True)
class Quirk:
    """Where an engine behaves in a way that the lab has to know, and why."""

    what: str
    reason: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """A configuration of an engine with a column of its own: its flags, and the features it lacks."""

    about: str
    flags: dict[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    adds: tuple[str, ...] = ()
    """Features that only its flags switch on."""
    fails: dict[str, str] = field(default_factory=dict)
    """Rules of `wasmlab engines probe` that it is known to break, and why."""
    keeps: tuple[str, ...] = ()
    """Rules that it keeps, although the row's `fails` has them."""
    module: str = ""
    """A worker of its own, as in `EngineRow`."""
    compiled: bool = False
    """The lab compiles its library on this machine, for other architectures, too."""

    def __post_init__(self) -> None:
        _known("feature", (*self.without, *self.adds), FEATURES)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is different about an engine on one architecture, where another package has it."""

    package: Package
    program: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Features that it lacks there."""

    def __post_init__(self) -> None:
        _known("feature", self.without, FEATURES)


@dataclass(frozen=True, slots=True)
class EngineRow:
    """A row of engines.yaml."""

    about: str
    names: tuple[str, ...] = ()
    """Other names that it has."""
    module: str = ""
    """The worker, a module of the lab (`python -m`)."""
    file: str = ""
    """The worker, a single file beside the adapters that needs nothing else of the lab."""
    program: tuple[str, ...] = ()
    """What runs the worker instead of Python, or is the worker: a glob within the package, of several the first that
    matches."""
    host: str = ""
    """An engine whose program the worker needs beside its own package: a JavaScript host."""
    arguments: tuple[str, ...] = ()
    """What it is called with: "{package}" is the folder of the installed package, "{adapters}" that of the adapters,
    "{file}" the worker's, "{version}" the package's; "{flags}" are the flags, which else come last, and "{host}" the
    command of the host."""
    flag: str = "setting"
    """How it takes flags: "setting" (`key=value`), "option" (`--key=value`), "switch" (likewise, but `--key` and
    `--no-key` for true and false), or "$PREFIX": in variables of its environment, whose names begin so."""
    alias: tuple[str, ...] = ()
    """Variants, fastest first: the name without a variant means the first of them that is present."""
    package: Package | None = None
    architectures: tuple[str, ...] = ARCHITECTURES
    """Where the engine runs natively."""
    elsewhere: dict[str, Elsewhere] = field(default_factory=dict)
    """By architecture: what is different there."""
    values: str = "bridge"
    features: tuple[str, ...] = ()
    """What it supports without flags; the worker's hello has the last word."""
    flags: dict[str, str] = field(default_factory=dict)
    """The flags that its worker takes, and what each does."""
    emulated: dict[str, str] = field(default_factory=dict)
    """Flags where QEMU plays the processor; a variant's, and those of a name, go before."""
    lacks: dict[str, str] = field(default_factory=dict)
    """By globs of versions: a flag of `emulated` that these releases do not have, and run without."""
    traps: dict[str, str] = field(default_factory=dict)
    """What the engine's message contains, to kinds of traps.tbl: several, joined by "|", where it merges them."""
    limits: Limits = field(default_factory=Limits)
    heavy: bool = False
    """Its package takes minutes to download or to build: only the nightly run's tests ask for it."""
    quirks: tuple[Quirk, ...] = ()
    fails: dict[str, str] = field(default_factory=dict)
    """Rules of `wasmlab engines probe` that it is known to break in every variant that does not keep them, and why."""
    older: dict[str, dict[str, str]] = field(default_factory=dict)
    """Likewise, of other releases than the package's: by globs of their versions."""
    variants: dict[str, Variant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _known("feature", self.features, FEATURES)
        _known("architecture", self.architectures, ARCHITECTURES)
        _known("architecture", self.elsewhere, self.architectures)
        _known("values", [self.values], ("bridge", "native"))
        _known("trap kind", [kind for kinds in self.traps.values() for kind in kinds.split("|")], trap_kinds())
        _known("variant", self.alias, self.variants)
        if not self.flag.startswith("$"):
            _known("way to write flags", [self.flag], ("setting", "option", "switch"))
        _known("flag of emulated", self.emulated, self.flags)
        _known("flag of lacks", self.lacks.values(), self.emulated)
        for name, variant in self.variants.items():
            _known(f"flag of variant {name}", variant.flags, self.flags)
        if not self.alias and bool(self.module) == bool(self.file or self.program):
            raise ValueError("expected either `module`, or `file` or `program`")

    def on(self, arch: str) -> EngineRow:
        """The row as it is on an architecture."""
        other = self.elsewhere.get(arch)
        if other is None:
            return self
        features = tuple(name for name in self.features if name not in other.without)
        return replace(self, package=other.package, program=other.program, features=features, elsewhere={})

    def emulated_flags(self, version: str) -> dict[str, str]:
        """The flags of a release where QEMU plays the processor."""
        lacking = {flag for versions, flag in self.lacks.items() if fnmatchcase(version, versions)}
        return {flag: value for flag, value in self.emulated.items() if flag not in lacking}

    def known_failures(self, variant: str, version: str) -> dict[str, str]:
        """The rules of `wasmlab engines probe` that a release is known to break in a variant, and why."""
        chosen = self.variants.get(variant)
        kept = chosen.keeps if chosen else ()
        found = {rule: why for rule, why in self.fails.items() if rule not in kept} | (chosen.fails if chosen else {})
        for versions, rules in self.older.items():
            if fnmatchcase(version, versions):
                found |= rules
        return found

    def features_of(self, variant: Variant | None) -> frozenset[str]:
        """What it supports in a variant."""
        found = frozenset(self.features)
        return (found | frozenset(variant.adds)) - frozenset(variant.without) if variant else found


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"unknown {what} {name!r}" + (f", did you mean {near[0]!r}?" if near else ""))


@functools.cache
def load_engines(path: Path | None = None) -> dict[str, EngineRow]:
    """The engines by name, from `path` or the package's own file; SchemaError says file, line and key."""
    source = path or files(__package__) / "engines.yaml"
    return read_yaml(source.read_text(), str(path or "engines.yaml"), dict[str, EngineRow])
