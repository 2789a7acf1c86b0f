"""The special instructions' register: what can make an expression of a type, and what is a statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from .builder import Builder
    from .function import Body

Offers: TypeAlias = "Callable[[Builder, Any], Sequence[Any]]"
Make: TypeAlias = "Callable[[Body, Any, Any, int, str], None]"


class Special:
    """A way to use an instruction with a validation rule of its own.

    `of` is the kind of types it can make: "any", "number", "ref", "i32", or "address" (i32 and i64).  `offers` says,
    for a module and a type (None for statements), what there is to choose from; where that is nothing, another way is
    drawn.  `make` gets the body, one of these, the type, the fuel and the blind shape.
    """

    __slots__ = ("feature", "make", "mnemonic", "of", "offers", "weight")

    def __init__(self, mnemonic: str, feature: str, weight: int, of: str, offers: Offers | None, make: Make) -> None:
        self.mnemonic, self.feature, self.weight, self.of = mnemonic, feature, weight, of
        self.offers, self.make = offers, make

    def draw(self, b: Body, t: Any, fuel: int, nan: str) -> None:
        """Draw from what is offered, and make that; or leave it to another."""
        if self.offers is None:
            self.make(b, None, t, fuel, nan)
        elif options := b.module.options(self, t):
            self.make(b, options[b.below(len(options))], t, fuel, nan)
        elif t is not None:
            b.expr(t, fuel, nan)


EXPRESSIONS: list[Special] = []
STATEMENTS: list[Special] = []


def expression(
    mnemonic: str, feature: str, offers: Offers | None = None, weight: int = 1, of: str = "any"
) -> Callable[[Make], Make]:
    """Register a way to make an expression."""

    def register(make: Make) -> Make:
        EXPRESSIONS.append(Special(mnemonic, feature, weight, of, offers, make))
        return make

    return register


def statement(mnemonic: str, feature: str, offers: Offers | None = None, weight: int = 1) -> Callable[[Make], Make]:
    """Register a statement."""

    def register(make: Make) -> Make:
        STATEMENTS.append(Special(mnemonic, feature, weight, "any", offers, make))
        return make

    return register
