"""From an engine's name to the program that runs it.

`name[@version][/variant][+flag=value][:arch[.cpu]]`, such as `ref`, `wasmtime@12.0.0/winch`, `v8/liftoff:arm64`.  Of a
version its beginning is enough: `wasmtime@12` is the newest 12 that there is.
What starts with `./`, `/` or `cmd:` is a program that speaks docs/protocol.md, taken verbatim.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wasmlab_matrices.load import ARCHITECTURES, EngineRow, Limits, Quirk, Variant, load_engines
from wasmlab_ref.case import Outcome

from .command import IN_AN_IMAGE, Choice, command, local_layout, module_present, program
from .emulation import SLOWER, Machine, machine
from .errors import EngineNameError, EngineUnavailable, NotInstalled
from .install import MACHINES, find_installed, host_architecture, install
from .place import Place
from .process import Local, is_program
from .releases import chosen
from .runner import Loop, Worker

GRAMMAR = "name[@version][/variant][+flag=value][:arch[.cpu]], ./program, /program or cmd:command"
_NAME = re.compile(
    r"(?P<engine>[\w.-]+)(?:@(?P<version>[0-9][\w.]*))?(?:/(?P<variant>[\w.-]+))?"
    r"(?P<flags>(?:\+[\w.-]+=[^+:]+)*)(?::(?P<arch>\w+)(?:\.(?P<cpu>[\w.-]+))?)?"
)


@dataclass(frozen=True, slots=True)
class EngineName:
    """A parsed name; `str` gives it back.  For a program, only `program` is set."""

    engine: str = ""
    version: str = ""
    variant: str = ""
    flags: tuple[tuple[str, str], ...] = ()
    arch: str = ""
    cpu: str = ""
    program: str = ""

    @staticmethod
    def parse(text: str) -> EngineName:
        """EngineNameError for what is no name; whether the engine exists is `resolve`'s matter."""
        if is_program(text):
            return EngineName(program=text)
        found = _NAME.fullmatch(text)
        if not found:
            raise EngineNameError(f"{text!r} is no engine: expected {GRAMMAR}")
        flags = [flag.split("=", 1) for flag in found["flags"].split("+")[1:]]
        arch = found["arch"] or ""
        arch = MACHINES.get(arch, arch)
        if arch and arch not in ARCHITECTURES:
            raise EngineNameError(f"{text!r}: " + unknown("architecture", arch, ARCHITECTURES))
        return EngineName(
            found["engine"],
            found["version"] or "",
            found["variant"] or "",
            tuple((key, value) for key, value in flags),
            arch,
            found["cpu"] or "",
        )

    def on(self, archs: Sequence[str]) -> list[EngineName]:
        """The same engine on each of these architectures, as far as it runs there; what is a program, as it is.

        The machine's own architecture needs no container, so there the name stays as it is, too.  EngineNameError
        where there is no such engine.
        """
        if self.program or self.arch:
            return [self]
        row = row_of(self.engine)
        here = host_architecture()
        return [
            self if arch == here else replace(self, arch=arch) for arch in archs or (here,) if arch in row.architectures
        ]

    def whole(self) -> EngineName:
        """The same with its version in full: `wasmtime@12` is its newest 12, which a record has to name."""
        if not self.version or self.program:
            return self
        row = row_of(self.engine).on(self.arch or host_architecture())
        return replace(self, version=chosen(row.package, self.version, self.arch)) if row.package else self

    @staticmethod
    def parse_list(text: str) -> list[EngineName]:
        """Names with commas between them; a `cmd:` takes all that follows."""
        head, command, rest = text.partition("cmd:")
        names = [part.strip() for part in head.split(",")]
        return [EngineName.parse(part) for part in [*names, command + rest] if part]

    def __str__(self) -> str:
        if self.program:
            return self.program
        parts = [self.engine, self.version and f"@{self.version}", self.variant and f"/{self.variant}"]
        parts += [f"+{key}={value}" for key, value in self.flags]
        parts += [self.arch and f":{self.arch}", self.cpu and f".{self.cpu}"]
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Target:
    """An engine in one configuration, ready to be started."""

    name: str
    """As it was asked for."""
    resolved: str
    """What that meant: the version, and the variant behind an alias.  The record keeps this."""
    version: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """What the worker needs beyond the lab's own environment."""
    limits: Limits = field(default_factory=Limits)
    features: frozenset[str] = frozenset()
    """What the row says it supports; empty for a program, whose hello says it."""
    traps: Mapping[str, str] = field(default_factory=dict)
    quirks: tuple[Quirk, ...] = ()
    packaged: bool = False
    """Whether it comes out of a package, rather than with the lab or from a path."""
    machine: Machine | None = None
    """Where its container runs; None: here, in a process."""
    image: str = ""
    """What the container is made of."""

    @property
    def second(self) -> str:
        """The name that means the same on another model of the processor that is emulated; "" where none is."""
        model = self.machine.second if self.machine else ""
        return str(replace(EngineName.parse(self.name), cpu=model)) if model else ""

    @property
    def known_failures(self) -> dict[str, str]:
        """The rules of `wasmlab engines probe` that its row says it breaks, and why."""
        name = EngineName.parse(self.resolved)
        return {} if name.program else row_of(name.engine).known_failures(name.variant, self.version)

    def worker(self, loop: Loop | None = None) -> Worker:
        """A worker for it, not started yet."""
        return Worker(self.place(), self.limits, self.name, loop)

    def place(self) -> Place:
        """Where its workers are started."""
        env = {"RUST_BACKTRACE": "0", **self.env}
        if self.machine is None:
            return Local(self.argv, {**os.environ, **env})
        from .containers import Container  # Docker's client takes its time to be imported

        return Container(self.image, self.machine, self.argv, {**self.machine.env, **env}, self.limits)

    def translate(self, outcome: Outcome) -> Outcome:
        """A worker's outcome in the standard's words: the engine's own words for traps become kinds of traps.tbl.

        Several kinds are joined by "|" where the engine merges them.  Words that its row does not know stay.
        """
        if outcome.kind == "trapped":
            for words, kinds in self.traps.items():
                if words in outcome.detail:
                    return Outcome("trapped", outcome.values, kinds)
        return outcome


def resolve(name: str | EngineName, *, fetch: bool = True) -> Target:
    """The target of a name; installs the engine's package where it is missing, unless `fetch` is off.

    EngineNameError for unknown engines, variants and flags, EngineUnavailable for what cannot be had here.
    """
    parsed = EngineName.parse(name) if isinstance(name, str) else name
    if parsed.program:
        return _resolve_program(parsed.program)
    row = row_of(parsed.engine)
    where = machine(parsed.arch, parsed.cpu) if parsed.arch else None
    arch = parsed.arch or host_architecture()
    if arch not in row.architectures:
        raise EngineUnavailable(f"{parsed.engine} does not run on {arch}", f"it does on {', '.join(row.architectures)}")
    row = row.on(arch)
    if parsed.version and row.package is None:
        raise EngineNameError(f"{parsed.engine} is part of the lab and has no versions to choose from")
    variant_name = parsed.variant or (_first_present(parsed.engine, row) if row.alias else "")
    if variant_name and variant_name not in row.variants:
        raise EngineNameError(unknown(f"variant of {parsed.engine}", variant_name, row.variants))
    variant = row.variants.get(variant_name)
    flags = {**(variant.flags if variant else {}), **dict(parsed.flags)}
    for flag in flags:
        if flag not in row.flags:
            raise EngineNameError(unknown(f"flag of {parsed.engine}", flag, row.flags))
    version, package = _package(parsed, row, fetch)
    if where and where.cpu:
        flags = row.emulated_flags(version) | flags
    image = _image(parsed, row, version, package, variant, fetch) if where else ""
    layout = IN_AN_IMAGE if where else local_layout(package)
    host = _host(row.host, fetch) if row.host else ()
    argv, env = command(Choice(row, variant, flags, version, arch, package, host), layout)
    resolved = replace(
        parsed, version=version if row.package else "", variant=variant_name, cpu=where.cpu if where else ""
    )
    return Target(
        name=str(parsed),
        resolved=str(resolved),
        version=version,
        argv=tuple(argv),
        env=env,
        limits=_slower(row.limits) if where and where.cpu else row.limits,
        features=row.features_of(variant),
        traps=row.traps,
        quirks=row.quirks,
        packaged=row.package is not None,
        machine=where,
        image=image,
    )


def row_of(engine: str) -> EngineRow:
    """The row of an engine, by its name or one that it also has."""
    rows = load_engines()
    names = {name: row for key, row in rows.items() for name in (key, *row.names)}
    if engine not in names:
        raise EngineNameError(unknown("engine", engine, names))
    return names[engine]


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name, with the near ones."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"unknown {what} {name!r}" + (
        f", did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known) or 'none'}"
    )


def _resolve_program(program: str) -> Target:
    try:
        argv = shlex.split(program.removeprefix("cmd:")) if program.startswith("cmd:") else [program]
    except ValueError as error:
        raise EngineNameError(f"{program!r}: {error}") from None
    if not argv:
        raise EngineNameError("`cmd:` needs a command after it")
    return Target(name=program, resolved=program, version="", argv=tuple(argv), env={})


def _first_present(engine: str, row: EngineRow) -> str:
    for name in row.alias:
        module = row.variants[name].module
        if not module or module_present(module):
            return name
    raise EngineUnavailable(f"no variant of {engine} is present: {', '.join(row.alias)}", "is wasmlab installed whole?")


def _package(name: EngineName, row: EngineRow, fetch: bool) -> tuple[str, Path | None]:
    """Version and folder of the engine's package, if it has one."""
    if row.package is None:
        return wasmlab_version(), None
    version = chosen(row.package, name.version, name.arch, fetch)
    if fetch:
        return version, install(row.package, version, name.arch)
    folder = find_installed(row.package, version, name.arch)
    if folder is None:
        raise NotInstalled(
            f"{name.engine} {version} is not installed", f"wasmlab engines install {name.engine}@{version}"
        )
    return version, folder


def _host(engine: str, fetch: bool) -> tuple[str, ...]:
    """The command of an engine's program on this machine, without arguments."""
    arch = host_architecture()
    row = row_of(engine).on(arch)
    version, package = _package(EngineName(engine), row, fetch)
    return tuple(program(Choice(row, None, {}, version, arch, package), local_layout(package)))


def wasmlab_version() -> str:
    """The version of the lab's own engines: the lab's."""
    try:
        return importlib.metadata.version("wasmlab")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return "checkout"


def _image(
    name: EngineName, row: EngineRow, version: str, package: Path | None, variant: Variant | None, make: bool
) -> str:
    """The image for an engine on another machine than this."""
    from . import images

    if variant and variant.compiled:
        images.c_engine(name.arch)
    fixed = row.package.fixed if row.package else ()
    found = images.Installed(f"{name.engine}-{version}", package, fixed) if package else None
    return images.ensure(name.arch, found, make)


def _slower(limits: Limits) -> Limits:
    """Limits of time for an emulated processor, and of memory: QEMU keeps its translations in it."""
    return replace(
        limits,
        startup=limits.startup * SLOWER,
        deadline=limits.deadline * SLOWER,
        memory=limits.memory * 3 // 2,
        recycle_memory=limits.recycle_memory * 3 // 2,
    )
