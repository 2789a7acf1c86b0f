"""What ends a command: one clear line, a hint, and the exit status of the command line."""

from __future__ import annotations


class LabError(Exception):
    """An error for the user; `hint` says what to do next."""

    status = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LabError):
    """Wrong usage or bad input: status 2."""


class Missing(LabError):
    """An engine, a suite or something of the environment is not there: status 3."""

    status = 3
