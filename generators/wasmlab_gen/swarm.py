"""What one case draws from: a subset of the features, and weights for what they offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from wasmlab_ref.types import RefType, ValType

from . import calls, control, rows, special, statements  # noqa: F401 - these register what they make
from .registry import EXPRESSIONS, STATEMENTS, Special
from .source import Source

if TYPE_CHECKING:
    from .function import Body
    from .rows import Group, Row

Maker: TypeAlias = "Callable[[Body, Any, int, str], None]"
I31 = RefType(False, "i31")
_WEIGHTS = (2, 2, 1, 2, 1, 6, 0)


class Swarm:
    """The features of a case, and the pools that its expressions and statements are drawn from.

    A pool holds each maker as often as its weight; a few dominate it, so that they are met several times.  What a
    maker needs of its module may be missing there: it then leaves the choice to another.
    """

    def __init__(self, source: Source, features: frozenset[str], whole: bool) -> None:
        self.features = features
        self._source, self._whole = source, whole
        self._digits = self._left = 0
        self._weights: dict[object, int] = {}
        self._pools: dict[str, list[Maker]] = {}
        self._closed: dict[tuple[ValType, str], list[Row]] = {}
        self._rows: dict[Group, list[Row]] = {}

    def weight(self, key: object) -> int:
        """How often something is drawn in this case: not at all, or up to six times as often as others."""
        found = self._weights.get(key)
        if found is None:
            found = 2 if self._whole else _WEIGHTS[self._digit()]
            self._weights[key] = found
        return found

    def _digit(self) -> int:
        """A number below 7: several come out of one draw."""
        if self._left == 0:
            self._digits, self._left = self._source.below(7**11), 11
        self._left -= 1
        self._digits, found = divmod(self._digits, 7)
        return found

    def rows(self, group: Group) -> list[Row]:
        """The rows of a group that this case has: in half of the cases only few of many, which so meet each other."""
        found = self._rows.get(group)
        if found is None:
            found = group.rows
            if not self._whole and len(found) > 5 and self._source.below(2):
                found = self._source.shuffled(found)[: 2 + len(found) // 4]
            self._rows[group] = found
        return found

    def closed(self, t: ValType, prefix: str) -> list[Row]:
        """The rows of this case that make a `t` of values of that type; those with a prefix, if there are any."""
        found = self._closed.get((t, prefix))
        if found is None:
            groups = [group for group in rows.groups().get(t, ()) if group.feature in self.features]
            every = [row for group in groups for row in self.rows(group) if row.closed]
            found = [row for row in every if row.prefix == prefix] or every
            self._closed[t, prefix] = found
        return found

    def pool(self, t: ValType) -> list[Maker]:
        """The ways to make a `t`."""
        kind = t if isinstance(t, str) else "i31" if t.heap in ("i31", "eq", "any") else "ref"
        found = self._pools.get(kind)
        if found is None:
            kinds = {"any", kind, "ref" if isinstance(t, RefType) else "number"}
            if kind in ("i32", "i64"):
                kinds.add("address")
            found = self._pools[kind] = self._special(EXPRESSIONS, kinds) + self._plain(kind)
        return found

    def statements(self) -> list[Maker]:
        """The statements."""
        found = self._pools.get("")
        if found is None:
            found = self._pools[""] = self._special(STATEMENTS, {"any"}) + self._plain("")
        return found

    def _special(self, registry: Iterable[Special], kinds: set[str]) -> list[Maker]:
        found: list[Maker] = []
        for row in registry:
            if row.of in kinds and row.feature in self.features:
                weight = self.weight(row)
                found += [row.draw] * (row.weight + 6 if weight == 6 else row.weight * (1 if weight < 2 else 2))
        return found

    def _plain(self, kind: str) -> list[Maker]:
        by_result = rows.groups()
        groups = by_result.get(kind or None, ())
        if kind in ("i32", "i64"):
            groups += by_result["at"]
        elif kind == "i31":
            groups = by_result[I31]
        found: list[Maker] = []
        for group in groups:
            if group.feature in self.features:
                found += [group.make] * (self.weight(group) * group.weight)
        return found
