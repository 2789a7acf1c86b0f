"""What goes wrong with engines before a case is run."""

from __future__ import annotations


class EngineUnavailable(Exception):
    """An engine that cannot be had or started here; `hint` says what to do next (the command line ends with 3)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NotInstalled(EngineUnavailable):
    """An engine whose package could be installed, which was not asked for."""


class EngineNameError(ValueError):
    """A text that names no engine, with near names where there are any (wrong usage: the command line ends with 2)."""
