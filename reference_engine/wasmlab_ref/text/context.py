"""What names stand for while a module is parsed: the identifier context of the standard (section 6.1.4)."""

from __future__ import annotations

from ..types import FuncType, RecType, SubType
from .annotations import Annotations
from .cursor import Cursor, shortened
from .lexer import Source

SPACES = ("type", "func", "table", "memory", "global", "tag", "elem", "data")


class Context(Cursor):
    """A cursor with the names in scope."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        super().__init__(source, start)
        self.names: dict[str, dict[str, int]] = {space: {} for space in (*SPACES, "local")}
        self.fields: dict[int, dict[str, int]] = {}
        self.types: list[RecType] = []
        self.subtypes: list[SubType] = []
        self.labels: list[str | None] = []
        self.label_depths: dict[str, list[int]] = {}
        self.annotations = Annotations(source, start, end)
        self.function: int | None = None
        self._plain_types: dict[FuncType, int] = {}

    # Definitions

    def bind(self, space: str, index: int) -> None:
        """Read an identifier, if there is one, and let it stand for `index`."""
        self.bind_in(self.names[space], space, index)

    def bind_in(self, names: dict[str, int], what: str, index: int) -> None:
        """The same in any table of names; `what` is for the error message."""
        start = self.i
        name = self.identifier()
        if name is not None and names.setdefault(name, index) != index:
            raise self.error(f"duplicate {what} ${shortened(name)}", start)

    def add_group(self, group: RecType) -> None:
        """Append a recursive type to the types of the module."""
        if len(group.subtypes) == 1:
            (only,) = group.subtypes
            if isinstance(only.comp, FuncType) and only.final and not only.supers:
                self._plain_types.setdefault(only.comp, len(self.subtypes))
        self.types.append(group)
        self.subtypes += group.subtypes

    def function_type(self, type_: FuncType) -> int:
        """The index of the first plain definition of a function type; one is appended if there is none."""
        if type_ not in self._plain_types:
            self.add_group(RecType((SubType(type_),)))
        return self._plain_types[type_]

    def composite(self, index: int) -> FuncType | None:
        """The function type at `index`, None if there is no such type or it is no function type."""
        comp = self.subtypes[index].comp if index < len(self.subtypes) else None
        return comp if isinstance(comp, FuncType) else None

    # Uses

    def has_index(self) -> bool:
        """Whether an index comes next, as a number or an identifier."""
        first = self.tokens[self.i][:1]
        return first.isdecimal() or first == "$"

    def index(self, space: str) -> int:
        """Read an index of `space`."""
        return self.index_in(self.names[space], space)

    def index_in(self, names: dict[str, int], what: str) -> int:
        """The same with any table of names."""
        token = self.tokens[self.i]
        if not token.startswith("$"):
            return self.natural(32)
        name = self.identifier_at(self.i)
        index = names.get(name)
        if index is None:
            raise self.error(f"unknown {what} ${shortened(name)}")
        self.i += 1
        return index

    def field(self, type_index: int) -> int:
        """Read the index of a field of a structure type."""
        return self.index_in(self.fields.get(type_index, {}), "field")

    # Labels

    def enter(self, label: str | None) -> None:
        """Open a block."""
        if label is not None:
            self.label_depths.setdefault(label, []).append(len(self.labels))
        self.labels.append(label)

    def leave(self) -> None:
        """Close the innermost block."""
        label = self.labels.pop()
        if label is not None:
            self.label_depths[label].pop()

    def label(self) -> int:
        """Read the index of a label; the innermost one of a name counts."""
        token = self.tokens[self.i]
        if not token.startswith("$"):
            return self.natural(32)
        name = self.identifier_at(self.i)
        depths = self.label_depths.get(name)
        if not depths:
            raise self.error(f"unknown label ${shortened(name)}")
        self.i += 1
        return len(self.labels) - 1 - depths[-1]
