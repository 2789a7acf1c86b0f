"""Engines from the names on a command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from wasmlab_ref.features import FEATURES, closure

from .choices import Choices, choices_of
from .errors import Missing, UsageError
from .foreign import plain
from .judgement import Arbiter, Judgement
from .plan import start_all


@contextmanager
def engine_errors() -> Iterator[None]:
    """The adapters' errors as the command line's: a wrong name is wrong usage, an absent engine is missing."""
    from wasmlab_adapters.errors import EngineNameError, EngineUnavailable

    try:
        yield
    except EngineUnavailable as error:
        raise Missing(str(error), error.hint) from None
    except EngineNameError as error:
        raise UsageError(str(error)) from None


def open_engine(name: str) -> Any:
    """An engine that is not started yet; `UsageError` for a wrong name, `Missing` for what cannot be had here."""
    from wasmlab_adapters.engine import Engine

    with engine_errors():
        return Engine(target_of(name))


def target_of(name: str) -> Any:
    """The target of a name, installed if need be: that may take minutes, so it is said."""
    from wasmlab_adapters.errors import EngineUnavailable, NotInstalled
    from wasmlab_adapters.registry import EngineName, resolve

    whole = EngineName.parse(name).whole()
    try:
        return resolve(whole, fetch=False)
    except NotInstalled as error:
        click.echo(plain(f"{error}: it is fetched now"), err=True)
    except EngineUnavailable:
        pass  # perhaps for want of an image
    return resolve(whole)


def _archs(context: click.Context, option: click.Parameter, text: str) -> tuple[str, ...]:
    from wasmlab_matrices.load import ARCHITECTURES

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in ARCHITECTURES:
            raise click.BadParameter(f"no architecture {name!r}: there are {', '.join(ARCHITECTURES)}")
    return names


ARCHS = click.option(
    "--archs", default="", callback=_archs, help="Architectures, separated by commas: amd64,arm64,riscv64."
)
"""The option of commands that run engines on several architectures."""


def names_of(engines: str, more: Sequence[str] = (), archs: Sequence[str] = (), least: int = 1) -> tuple[str, ...]:
    """The names of `--engines` and `--engine`, each once, on each of the architectures that it runs on."""
    from wasmlab_adapters.registry import EngineName

    with engine_errors():
        asked = [name.whole() for name in (*EngineName.parse_list(engines), *map(EngineName.parse, more))]
        if len({*map(str, asked)}) != len(asked):
            raise UsageError(f"an engine is named twice: {', '.join(map(str, asked))}")
        columns = {str(name): [str(column) for column in name.on(archs)] for name in asked}
    for name, found in columns.items():
        if not found:
            raise UsageError(f"{name} runs on none of {', '.join(archs)}", hint="wasmlab engines list")
    names = [column for name in asked for column in columns[str(name)]]
    if len(set(names)) != len(names):
        raise UsageError(f"an engine is named twice: {', '.join(names)}")
    if len(names) < least:
        raise UsageError(
            f"at least {least} engine{'s are' if least > 1 else ' is'} needed", hint="--engines ref,wasmtime"
        )
    return tuple(names)


@contextmanager
def opened(names: Sequence[str], resolve: Callable[[str], Any] = open_engine) -> Iterator[list[Any]]:
    """The engines, started."""
    with ExitStack() as stack, engine_errors():
        yield start_all([resolve(name) for name in names], stack)


def common_features(engines: Iterable[Any], wanted: str | None) -> frozenset[str]:
    """What all engines support, with what it builds on; or `wanted` (commas between), if all of them do."""
    engines = list(engines)
    features = {engine.name: sound_features(engine) for engine in engines}
    shared = frozenset.intersection(*features.values())
    shared = frozenset(name for name in shared if closure([name]) <= shared)
    if wanted is None:
        return shared
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in FEATURES:
            raise UsageError(f"no feature {name!r}", hint=f"features: {', '.join(FEATURES)}")
        for engine in engines:
            if lacking := closure([name]) - features[engine.name]:
                raise UsageError(f"{engine.name} does not support {', '.join(sorted(lacking))}")
    return closure([*names, "mvp"])


def sound_features(engine: Any) -> frozenset[str]:
    """What an engine claims, but for what a probe showed to be wrong; engines out of packages are probed once."""
    from wasmlab_adapters.probed import probed

    features = frozenset(engine.features) & frozenset(FEATURES)
    target = getattr(engine, "target", None)  # none of one that runs in this process
    return features & probed(target).sound if target and target.packaged else features


REFERENCE = "ref/py"
"""The engine that explains differences: it takes profiles and can tell what the standard leaves open."""


@contextmanager
def judging(engines: Iterable[Any]) -> Iterator[Judgement]:
    """How to judge engines that are started; they are probed for what they choose."""
    engines = list(engines)
    arbiter = Arbiter(lambda: open_engine(REFERENCE))
    try:
        choices: dict[str, Choices] = {engine.name: choices_of(engine) for engine in engines}
        yield Judgement(merged_stages(engines), arbiter, choices, {engine.name: engine.features for engine in engines})
    finally:
        arbiter.close()


def merged_stages(engines: Iterable[Any]) -> frozenset[str]:
    """The engines that do not tell malformed from invalid modules: all that do not say that they do."""
    return frozenset(engine.name for engine in engines if not getattr(engine, "tells_malformed", False))
