"""Generates valid WebAssembly that runs, ends, and shows what it computed."""

from .cases import case, module
from .config import Config
from .source import HypothesisSource, Recorder, Replay, SeededSource, Source

__all__ = ["Config", "HypothesisSource", "Recorder", "Replay", "SeededSource", "Source", "case", "module"]
