"""Resource limits of a store, and the accounts that keep them."""

from __future__ import annotations

from dataclasses import dataclass

from .outcome import Exhausted

UNLIMITED = 1 << 62
"""Fuel where there is no limit: more instructions than any machine runs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one store may use; reaching a limit is `Exhausted`, or -1 from an instruction that grows.

    `fuel` counts instructions of one outermost invocation, and as much again counts what instructions do in bulk, in
    units of 64 bytes or elements; None means no limit.  `call_depth` counts activations, `host_depth` host functions
    that re-entered the store, `values` the locals and operands of all activations together, `locals` those of one
    function.  `memory_pages` (of 64 KiB) and `table_elements` are totals over the store's life.  `heap_bytes` bounds
    the structures, arrays and exceptions that are alive.
    """

    fuel: int | None = None
    call_depth: int = 10_000
    host_depth: int = 50
    values: int = 10_000_000
    locals: int = 50_000
    memory_pages: int = 32_768
    table_elements: int = 10_000_000
    heap_bytes: int = 1 << 28


@dataclass(slots=True)
class Account:
    """A quantity that is taken and never given back."""

    resource: str
    left: int

    def take(self, amount: int) -> bool:
        """Whether `amount` was still there, and is now taken."""
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def require(self, amount: int) -> None:
        """Take `amount`, or end in `Exhausted`."""
        if not self.take(amount):
            raise Exhausted(self.resource)
