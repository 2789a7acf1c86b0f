"""Which function implements which rule of the formal specification, and which rules a validation applies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

RULES: dict[str, str] = {}
"""Rule of the SpecTec sources -> the function that implements it, as "module.function"."""

_listener: Callable[[str], None] | None = None


def rule(*names: str) -> Callable[[F], F]:
    """Record that the function decorated implements the rules named."""

    def record(function: F) -> F:
        for name in names:
            RULES[name] = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        return function

    return record


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Within it, `listener` receives the name of each rule that validation or matching applies."""
    global _listener
    outer, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = outer


def applied(*names: str) -> bool:
    """Tell the listener, if there is one, that these rules were applied; always True."""
    if _listener is not None:
        for name in names:
            _listener(name)
    return True


def listened() -> bool:
    """Whether anyone listens."""
    return _listener is not None
