"""The special instructions' register: what can make an expression of a type, and what is a statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from wasmlab_ref.types import ValType

if TYPE_CHECKING:
    from .function import Body
    from .module import Builder

Offers: TypeAlias = "Callable[[Builder, Any], Sequence[Any]]"
Make: TypeAlias = "Callable[[Body, Any, Any, int, str], None]"


@dataclass(frozen=True, slots=True, eq=False)
class Special:
    """A way to use an instruction with a validation rule of its own.

    `offers` says, for a module and a type (None for statements), what there is to choose from: nothing means that
    it cannot be drawn.  `make` gets the body, one of these, the type, the fuel and the blind shape.
    """

    mnemonic: str
    feature: str
    weight: int
    offers: Offers
    make: Make

    def bound(self, options: Sequence[Any]) -> Callable[[Body, Any, int, str], None]:
        """`make` with one of the options."""
        make, n = self.make, len(options)

        def drawn(b: Body, t: ValType, fuel: int, nan: str) -> None:
            make(b, options[b.below(n)], t, fuel, nan)

        return drawn


EXPRESSIONS: list[Special] = []
STATEMENTS: list[Special] = []


def always(module: Builder, t: Any) -> Sequence[Any]:
    """Offers nothing to choose from but itself."""
    return (None,)


def expression(mnemonic: str, feature: str, offers: Offers = always, weight: int = 1) -> Callable[[Make], Make]:
    """Register a way to make an expression."""

    def register(make: Make) -> Make:
        EXPRESSIONS.append(Special(mnemonic, feature, weight, offers, make))
        return make

    return register


def statement(mnemonic: str, feature: str, offers: Offers = always, weight: int = 1) -> Callable[[Make], Make]:
    """Register a statement."""

    def register(make: Make) -> Make:
        STATEMENTS.append(Special(mnemonic, feature, weight, offers, make))
        return make

    return register
