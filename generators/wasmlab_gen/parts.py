"""What a module under construction consists of, and what later code must know of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from wasmlab_ref.types import PAGE, Limits, MemType, RefType, ValType


@dataclass(slots=True)
class Function:
    """A function, imported or own.

    `escapes`: references to it may go anywhere, so it makes no indirect calls itself (else there could be cycles);
    `depth`: nonzero for a recursive one, whose first parameter, masked with it, counts down; `cost`: instructions
    a call may run, 0 while its body is not there; `budget`: what the cost may become; `fault`: it is sure to trap, so
    no other code calls it; `hot`: it has a loop of very many rounds; `dense`: its code is dense.
    """

    index: int
    type: int
    params: tuple[ValType, ...]
    results: tuple[ValType, ...]
    escapes: bool = True
    depth: int = 0
    fault: bool = False
    hot: bool = False
    dense: bool = False
    cost: int = 0
    budget: int = 0
    export: str = ""
    throws: bool = False
    called: bool = False
    referred: bool = False

    def refer(self) -> int:
        """Its index, noted as the operand of ref.func."""
        self.referred = True
        return self.index


@dataclass(slots=True)
class Memory:
    """A memory; `bytes` is its least size, `most` what it may grow to; a shared one has a `max`."""

    index: int
    address: str
    pages: int
    max: int | None
    export: str = ""
    shared: bool = False
    page: int = PAGE

    @property
    def bytes(self) -> int:
        return self.pages * self.page

    @property
    def most(self) -> int:
        return self.bytes if self.max is None else self.max * self.page

    def type(self, pages: int, most: int | None) -> MemType:
        """Its type with other limits."""
        return MemType(Limits(pages, most), self.address, self.shared, self.page)


@dataclass(slots=True)
class Table:
    """A table; `slots` are the functions in its first slots, which the code mostly leaves alone."""

    index: int
    element: RefType
    address: str
    size: int
    max: int | None
    export: str = ""
    slots: list[Function | None] = field(default_factory=list)


@dataclass(slots=True)
class Global:
    """A global; the `total` of a module takes up the sums of its functions and is never overwritten."""

    index: int
    type: ValType
    mutable: bool
    imported: bool = False
    total: bool = False
    export: str = ""


@dataclass(slots=True)
class Tag:
    """A tag."""

    index: int
    type: int
    params: tuple[ValType, ...]
    export: str = ""


@dataclass(slots=True)
class Segment:
    """A data or element segment, `type` that of its elements; a safe one is passive and never dropped."""

    index: int
    length: int
    safe: bool
    type: RefType | None = None
