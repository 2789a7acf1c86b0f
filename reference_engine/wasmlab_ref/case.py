"""Cases and outcomes: what the lab runs on every engine, and what it hears back.

Values travel as text, `type:hex`, the bits of a number or vector without leading zeros: "i32:2a",
"f32:7fc00000", "v128:0".  References are told by shape: "ref.null", "ref.func", "ref.extern:5" (the host's
reference number 5), "ref.i31:7", "ref.struct", "ref.array:3" (its length), "ref.exn", "ref.any" (none of these),
"ref.same:2" (the structure or array that value number 2 of the same outcome is, counted from 0).  Equal texts are
equal values; no number ever passes through a float or a JSON number.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

_HEX = re.compile(r"0|[1-9a-f][0-9a-f]*")
WIDTHS = {"i32": 32, "i64": 64, "f32": 32, "f64": 64, "v128": 128}


def value(type_: str, bits: int) -> str:
    """The text of a number or vector."""
    return f"{type_}:{bits:x}"


def parse_value(text: str) -> tuple[str, int]:
    """Type and bits of a number or vector, type and payload (0 where none) of a reference; ValueError if neither."""
    type_, _, bits = text.partition(":")
    number = int(bits, 16) if _HEX.fullmatch(bits) else -1  # `int` would take signs, spaces and underscores too
    if type_ in WIDTHS:
        if number < 0 or number >> WIDTHS[type_]:
            raise ValueError(f"{text!r} is not a value: expected {type_}:<at most {WIDTHS[type_] // 4} hex digits>")
    elif type_.startswith("ref.") and not bits:
        return type_, 0
    elif not type_.startswith("ref.") or number < 0:
        raise ValueError(f"{text!r} is not a value: expected type:hexbits, such as i32:2a")
    return type_, number


SAME = "ref.same"
IDENTIFIED = 16
"""Among so many values at the start of an outcome, and among all elements of a table, equal objects are told."""


def shapes(values: Sequence[str]) -> list[str]:
    """Values with the shapes of those that are the same as an earlier one."""
    found: list[str] = []
    for text in values:
        type_, _, at = text.partition(":")
        same = type_ == SAME and bool(_HEX.fullmatch(at)) and int(at, 16) < len(found)
        found.append(found[int(at, 16)] if same else text)
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did on one engine.

    In the standard's words: "returned", "trapped", "threw", "exhausted", "malformed", "invalid", "unlinkable";
    in the world's: "unsupported", "timed out", "crashed", "unparsed".  `values` are results or the payload of an
    exception; `detail` is the trap kind (several, joined by "|", where an engine does not tell them apart), the
    tag, the exhausted resource, the signal, or the engine's own message.  `taint` is what a run says that keeps
    track of what the standard leaves open: for each value the mask of its open bits, "" for none.
    """

    kind: str
    values: tuple[str, ...] = ()
    detail: str = ""
    taint: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.detail and f"({self.detail})", *self.values) if part)

    def to_json(self) -> dict[str, Any]:
        """As a dictionary without empty fields."""
        found: dict[str, Any] = {"kind": self.kind}
        if self.values:
            found["values"] = list(self.values)
        if self.detail:
            found["detail"] = self.detail
        if self.taint:
            found["taint"] = list(self.taint)
        return found

    @staticmethod
    def from_json(data: Any) -> Outcome:
        """The inverse of `to_json`; "unparsed" for anything else (the data may come from a hostile worker)."""
        if data == _RETURNED:
            return RETURNED
        if isinstance(data, dict):
            kind, values, detail = data.get("kind"), data.get("values", []), data.get("detail", "")
            taint = data.get("taint", [])
            if kind in OUTCOME_KINDS and _strings(values) and isinstance(detail, str) and _strings(taint):
                return Outcome(kind, tuple(values), detail, tuple(taint))
        return Outcome("unparsed", detail=repr(data)[:200])


def _strings(found: Any) -> bool:
    return isinstance(found, list) and set(map(type, found)) <= _STR


_STR = {str}
_RETURNED = {"kind": "returned"}
RETURNED = Outcome("returned")
"""What most steps end in."""


STANDARD_KINDS = ("returned", "trapped", "threw", "exhausted", "malformed", "invalid", "unlinkable")
WORLD_KINDS = ("unsupported", "timed out", "crashed", "unparsed")
OUTCOME_KINDS = frozenset(STANDARD_KINDS + WORLD_KINDS)


@dataclass(frozen=True, slots=True)
class Instantiate:
    """Instantiate module number `module` of the case under `name`; imports are found among registered names."""

    name: str
    module: int


@dataclass(frozen=True, slots=True)
class Register:
    """Offer the exports of instance `name` to later imports from module `module`."""

    name: str
    module: str


@dataclass(frozen=True, slots=True)
class Invoke:
    """Call an exported function; with `repeat` n times (tiers warm up), of which the last counts."""

    name: str
    export: str
    args: tuple[str, ...] = ()
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Read:
    """Observe an exported global (its value), memory (size in bytes, digest) or table (size, shapes)."""

    name: str
    export: str


Step: TypeAlias = Instantiate | Register | Invoke | Read
_STEPS: dict[str, type[Any]] = {c.__name__.lower(): c for c in (Instantiate, Register, Invoke, Read)}


@dataclass(frozen=True, slots=True)
class Case:
    """One or more modules (binary) and the steps to take with them, in order; `origin` says where it came from."""

    modules: tuple[bytes, ...]
    steps: tuple[Step, ...]
    origin: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a dictionary; modules in base64."""
        steps = [
            {"do": type(s).__name__.lower(), **{field: getattr(s, field) for field in s.__dataclass_fields__}}
            for s in self.steps
        ]
        return {
            "modules": [base64.b64encode(m).decode() for m in self.modules],
            "steps": [{k: list(v) if isinstance(v, tuple) else v for k, v in s.items()} for s in steps],
            "origin": self.origin,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Case:
        """The inverse of `to_json`."""
        steps = []
        for step in data["steps"]:
            fields = {k: tuple(v) if isinstance(v, list) else v for k, v in step.items() if k != "do"}
            steps.append(_STEPS[step["do"]](**fields))
        return Case(tuple(base64.b64decode(m) for m in data["modules"]), tuple(steps), data.get("origin", ""))
