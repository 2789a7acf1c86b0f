"""What a campaign is asked to do, and of whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

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


def start_all(engines: Sequence[Any], stack: ExitStack) -> list[Any]:
    """The engines, entered into `stack`; those that can start at the same time."""
    for engine in engines:
        stack.push(engine)
        if begin := getattr(engine, "begin", None):
            begin()
    return [engine.__enter__() for engine in engines]


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
