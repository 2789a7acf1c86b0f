"""Annotations that mean custom sections: @custom, @name and @metadata.code.branch_hint (appendix A.4 of the standard).

All others are white space.  A custom section keeps its place as the section that it follows; `Module.customs` is in
the order of the binary format.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace

from ..decode import SECTIONS, USES_DATA_INDEX
from ..encode import instruction, unsigned, val_type, vector
from ..encode import name as encode_name
from ..outcome import Invalid, Malformed
from ..syntax import Custom, Module
from ..types import FuncRef, ValType
from .lexer import Annotation, Source, is_string, string_bytes

SECTION_IDS = {
    "type": 1, "import": 2, "func": 3, "table": 4, "memory": 5, "global": 6, "export": 7, "start": 8, "elem": 9,
    "code": 10, "data": 11, "datacount": 12, "tag": 13,
}  # fmt: skip
SECTION_NAMES = {number: keyword for keyword, number in SECTION_IDS.items()}
_ORDER = (0, *SECTIONS)
_HINT = "metadata.code.branch_hint"
_HINTED = ("if", "br_if")

_NameMap = dict[int, str]


class Annotations:
    """The annotations before the tokens after `start` up to `end`, and what becomes of them while they are parsed."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.source = source
        self.hints: dict[int, list[Annotation]] = {}
        self._customs: list[Annotation] = []
        self._names: dict[int, list[Annotation]] = {}
        self._named: dict[str, _NameMap] = {space: {} for space in ("module", "func", "type", "tag")}
        self._named_inside: dict[str, dict[int, _NameMap]] = {"local": {}, "field": {}}
        self._hinted: dict[int, list[tuple[int, bytes]]] = {}
        found = source.annotations
        first, last = (bisect_right(found, place, key=lambda a: a.before) for place in (start, end))
        for annotation in found[first:last]:
            place = annotation.before
            if annotation.name == "custom":
                self._customs.append(annotation)
            elif annotation.name == "name":
                self._names.setdefault(place, []).append(annotation)
            elif annotation.name == _HINT:
                self.hints.setdefault(place + (source.tokens[place] == "("), []).append(annotation)

    def _error(self, annotation: Annotation, message: str) -> Malformed:
        return self.source.annotation_error(annotation, message)

    # Names

    def names_at(self, place: int) -> bool:
        """Whether a @name annotation stands before token `place`."""
        return place in self._names

    def name(self, space: str, place: int, index: int) -> None:
        """Take the @name annotation before token `place`, if there is one, for definition `index` of `space`."""
        if place in self._names:
            self._named[space][index] = self._take(space, place)

    def name_inside(self, space: str, place: int, outer: int | None, index: int) -> None:
        """The same for a local of function `outer` or a field of type `outer`; with None it names nothing."""
        if place in self._names:
            name = self._take(space, place)
            if outer is not None:
                self._named_inside[space].setdefault(outer, {})[index] = name

    def _take(self, space: str, place: int) -> str:
        annotation, *others = self._names.pop(place)
        if others:
            raise self._error(others[0], f"@name annotation: multiple {space} names")
        if len(annotation.items) > 1:
            raise self._error(annotation, "@name annotation: unexpected token")
        return self._string(annotation, "string expected")

    def _string(self, annotation: Annotation, otherwise: str) -> str:
        """The first item, which must be a string in UTF-8."""
        token = annotation.items[0] if annotation.items else ""
        if not is_string(token):
            raise self._error(annotation, f"@{annotation.name} annotation: {otherwise}")
        try:
            return string_bytes(token).decode()
        except ValueError:
            raise self._error(annotation, f"@{annotation.name} annotation: malformed UTF-8 encoding") from None

    def _strings(self, annotation: Annotation, first: int) -> bytes:
        """The items from `first` on, which must be strings, joined."""
        items = annotation.items[first:]
        if not all(map(is_string, items)):
            raise self._error(annotation, f"@{annotation.name} annotation: unexpected token")
        try:
            return b"".join(map(string_bytes, items))
        except ValueError:
            raise self._error(annotation, f"@{annotation.name} annotation: malformed UTF-8 encoding") from None

    # Branch hints

    def hint(self, place: int, function: int, position: int, target: str) -> None:
        """Take the hint on the instruction `target` at token `place`, which is number `position` in its function."""
        annotation, *others = self.hints.pop(place)
        if others:
            raise self._error(others[0], f"@{_HINT} annotation: duplicate annotation")
        likely = self._strings(annotation, 0)
        if likely not in (b"\0", b"\1"):
            raise self._error(annotation, f"@{_HINT} annotation: invalid hint value")
        if target not in _HINTED:
            problem = self._error(annotation, f"@{_HINT} annotation: invalid target")
            raise Invalid(problem.message, f"line {problem.line}")
        self._hinted.setdefault(function, []).append((position, likely))

    # The end of the module

    def customs(self, module: Module, fields: Iterable[int]) -> tuple[Custom, ...]:
        """The custom sections of `module`; `fields` are the places where @custom may stand."""
        for names in self._names.values():
            raise self._error(names[0], "misplaced @name annotation")
        for hints in self.hints.values():
            raise self._error(hints[0], f"@{_HINT} annotation: not in a function, before an instruction")
        name_section = self._name_section()
        if not (self._customs or name_section or self._hinted):
            return ()
        allowed, place, placed = set(fields), _Places(module), []
        for annotation in self._customs:
            if annotation.before not in allowed:
                raise self._error(annotation, "misplaced @custom annotation")
            placed.append(self._custom(annotation, place))
        if name_section:
            placed.append(place("after", "last", "name", name_section))
        if self._hinted:
            placed.append(place("before", "code", _HINT, self._hint_section(module)))
        return _in_order(placed)

    def _custom(self, annotation: Annotation, place: _Places) -> _Placed:
        title = self._string(annotation, "missing section name")
        items = annotation.items
        direction, section, first = "after", "last", 1
        if items[1:2] == ("(",):
            direction, section, first = *self._placement(annotation), 5
        return place(direction, section, title, self._strings(annotation, first))

    def _placement(self, annotation: Annotation) -> tuple[str, str]:
        """`(before section)` or `(after section)`, which the items 1 to 4 must be."""
        direction, section, closing = (*annotation.items[2:5], "", "", "")[:3]
        ends = {"before": "first", "after": "last"}
        if direction not in ends:
            raise self._error(annotation, "@custom annotation: malformed placement")
        if section not in SECTION_IDS and section != ends[direction]:
            raise self._error(annotation, "@custom annotation: malformed section kind")
        if closing != ")":
            raise self._error(annotation, "@custom annotation: unexpected token")
        return direction, section

    def _name_section(self) -> bytes:
        named, inside = self._named, self._named_inside
        contents = {
            0: encode_name(named["module"][0]) if named["module"] else b"",
            1: _name_map(named["func"]),
            2: _indirect_name_map(inside["local"]),
            4: _name_map(named["type"]),
            10: _indirect_name_map(inside["field"]),
            11: _name_map(named["tag"]),
        }
        return b"".join(bytes((id_,)) + unsigned(len(body)) + body for id_, body in contents.items() if body)

    def _hint_section(self, module: Module) -> bytes:
        imported = sum(isinstance(i.type, FuncRef) for i in module.imports)

        def function(index: int) -> bytes:
            func = module.funcs[index - imported]
            hints, parts, offset, done = sorted(self._hinted[index]), [], len(vector(_run, func.locals)), 0
            for position, likely in hints:
                offset += sum(len(instruction(step)) for step in func.body[done:position])
                done = position
                parts.append(unsigned(offset) + b"\1" + likely)
            return unsigned(index) + unsigned(len(parts)) + b"".join(parts)

        return vector(function, sorted(self._hinted))


def _run(run: tuple[int, ValType]) -> bytes:
    return unsigned(run[0]) + val_type(run[1])


def _name_map(names: dict[int, str]) -> bytes:
    return vector(lambda index: unsigned(index) + encode_name(names[index]), sorted(names)) if names else b""


def _indirect_name_map(names: dict[int, _NameMap]) -> bytes:
    return vector(lambda index: unsigned(index) + _name_map(names[index]), sorted(names)) if names else b""


_Placed = tuple[tuple[int, bool], Custom]
"""A custom section with its place: the number of a section, and whether before the next one rather than after it."""


def _in_order(placed: list[_Placed]) -> tuple[Custom, ...]:
    """The sections by place, and in the order of the text where that is the same; so `after` never goes back."""
    customs, latest = [], 0
    for _, custom in sorted(placed, key=lambda pair: pair[0]):
        latest = max(latest, _ORDER.index(custom.after))
        customs.append(replace(custom, after=_ORDER[latest]))
    return tuple(customs)


class _Places:
    """Places custom sections among the sections that the binary of a module has."""

    def __init__(self, module: Module) -> None:
        parts = {
            1: module.types, 2: module.imports, 3: module.funcs, 4: module.tables, 5: module.memories, 13: module.tags,
            6: module.globals, 7: module.exports, 8: module.start is not None, 9: module.elems, 10: module.funcs,
            11: module.datas, 12: any(step.op in USES_DATA_INDEX for func in module.funcs for step in func.body),
        }  # fmt: skip
        self.present = {section for section, content in parts.items() if content}

    def __call__(self, direction: str, section: str, title: str, data: bytes) -> _Placed:
        """`(after s)` is kept to the letter, so that what was printed is read back even if there is no section s;
        the other placements go by the sections that there are."""
        if section == "first":
            return (0, False), Custom(title, data, 0)
        if direction == "after" and section != "last":
            id_ = SECTION_IDS[section]
            return (_ORDER.index(id_), False), Custom(title, data, id_)
        limit = len(_ORDER) if section == "last" else _ORDER.index(SECTION_IDS[section])
        id_ = next((s for s in reversed(_ORDER[:limit]) if s in self.present), 0)
        return (limit - 1, True), Custom(title, data, id_)
