"""What probes found, kept in the cache: for each engine in one version, variant, architecture and with one worker.

    <cache>/probes/wasmtime@50.0.1+winch-3f2a….json

What another worker, probe or package said is not believed any more: their digest is part of the file's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import EngineUnavailable
from .install import cache_folder, private_folder
from .probe import FEATURE, Check, probe
from .process import is_program
from .registries.order import contents
from .registry import Target
from .runner import Worker
from .whole import write_json

SOURCES = ("workers", "probe.py", "probe_features.py", "lowering.py")
"""What a probe's answer depends on, beside the engine."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What an engine said of itself, and which rules its worker broke, with what came."""

    features: tuple[str, ...]
    broken: dict[str, str]
    rules: int
    """How many rules were looked at."""

    @property
    def sound(self) -> frozenset[str]:
        """The features that it claims, and of which no probe showed otherwise."""
        return frozenset(name for name in self.features if FEATURE + name not in self.broken)

    @staticmethod
    def of(features: Sequence[str], checks: Sequence[Check]) -> Probed:
        """From the hello's features and a probe's checks."""
        broken = {check.name: check.detail for check in checks if not check.passed}
        return Probed(tuple(features), broken, len(checks))


def remembered(target: Target) -> Probed | None:
    """What is known of an engine; None for nothing, and for what cannot be read."""
    path = _path(target)
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8")) if path else None
        return Probed(tuple(found["features"]), dict(found["broken"]), int(found["rules"])) if found else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(target: Target, found: Probed) -> None:
    """Keep it; where the cache cannot be written, it will be asked again."""
    path = _path(target)
    if path is None:
        return
    try:
        private_folder(path.parent)
        write_json(path, {"engine": target.resolved, **asdict(found)})
    except (OSError, EngineUnavailable):
        pass


def probed(target: Target, run: Callable[[Worker], list[Check]] = probe) -> Probed:
    """What is known of an engine; it is probed now, by a worker of its own, if nothing is."""
    if found := remembered(target):
        return found
    with target.worker() as worker:
        found = Probed.of(worker.hello["features"], run(worker))
    remember(target, found)
    return found


def _path(target: Target) -> Path | None:
    """The file for an engine; None for a program, which may be another one the next time."""
    if is_program(target.resolved):
        return None
    digest = hashlib.sha256("\0".join((target.resolved, target.image, sources())).encode()).hexdigest()
    name = re.sub(r"[^\w.@-]+", "+", target.resolved)
    return cache_folder() / "probes" / f"{name}-{digest[:12]}.json"


@cache
def sources() -> str:
    """The digest of what is asked, and by whom."""
    total = hashlib.sha256()
    here = Path(__file__).resolve().parent
    for source in SOURCES:
        for line in contents(here / source, here):
            total.update(line)
    return total.hexdigest()
