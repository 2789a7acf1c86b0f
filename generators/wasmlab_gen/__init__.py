"""Generates valid WebAssembly that runs, ends, and shows what it computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .almost import near_valid
from .config import Config
from .generate import Family, any_case, case, module
from .mutate import mutated
from .source import HypothesisSource, Recorder, Replay, SeededSource, Source

if TYPE_CHECKING:
    from .strategies import cases, function_types, modules, values

__all__ = [
    "Config",
    "Family",
    "HypothesisSource",
    "Recorder",
    "Replay",
    "SeededSource",
    "Source",
    "any_case",
    "case",
    "cases",
    "function_types",
    "module",
    "modules",
    "mutated",
    "near_valid",
    "values",
]  # fmt: skip

_STRATEGIES = ("cases", "function_types", "modules", "values")
"""Imported when asked for: campaigns need no Hypothesis, which is slow to import."""


def __getattr__(name: str) -> Any:
    if name in _STRATEGIES:
        from . import strategies

        return getattr(strategies, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
