"""What a campaign is asked to do, and of whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_ref.case import Case

from .known import Known

SIBLINGS = 8
"""Cases in a row that have the same modules: drawing and compiling these costs more than running another script."""

SIBLINGS_ABROAD = 16
"""The same where an engine runs in a container: most are emulated, and compiling takes ten times as long there."""


class EngineLike(Protocol):
    """What the lab needs of an engine (`wasmlab_adapters.engine.Engine`)."""

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> frozenset[str]: ...

    def submit(self, case: Case, observe: str = "digest", deadline: float | None = None) -> Any: ...

    def collect(self) -> Any: ...

    def run(self, case: Case, observe: str = "digest") -> Any: ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: Any) -> Any: ...


def takes_profiles(engine: EngineLike) -> bool:
    """Can it make each choice that the standard leaves to engines?"""
    return bool(getattr(engine, "profiles", False))


STARTS = 3
"""How often an engine is started whose start has succeeded before: on a busy machine one may take too long."""


def start_all(engines: Sequence[Any], stack: ExitStack, tries: int = 1) -> list[Any]:
    """The engines, entered into `stack`; those that can start at the same time."""
    for engine in engines:
        stack.push(engine)
        if begin := getattr(engine, "begin", None):
            begin()
    return [_started(engine, tries) for engine in engines]


def _started(engine: Any, tries: int) -> Any:
    for _ in range(tries - 1):
        with suppress(EngineUnavailable):
            return engine.__enter__()
    return engine.__enter__()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a shard needs to know; `resolve` and `make` are functions of a module, so that processes can be given them.

    `resolve(name)` makes an engine, `make(seed, features)` a case.  `examples` is the number of cases, `deadline` a
    reading of `time.monotonic()`; either may be None.  `merged`: see `judgement.Judgement`.  `arbiter` is the engine
    that explains differences; "" for none: then nothing is probed, and every difference counts.
    """

    engines: tuple[str, ...]
    features: frozenset[str]
    seed: int
    resolve: Callable[[str], EngineLike]
    make: Callable[[int, frozenset[str]], Case]
    examples: int | None = None
    deadline: float | None = None
    merged: frozenset[str] = frozenset()
    arbiter: str = ""
    known: Known = field(default_factory=Known)
    reduce_seconds: float = 5.0
    siblings: int = SIBLINGS
    """How many cases in a row have the same modules; `make` has to know of it, too."""
    reached: frozenset[str] = frozenset()
    """Rules and instructions that the campaign had reached before: cases that reach others are kept."""
