"""Key and signature of a divergence: what stays the same while a case shrinks, and what two reports have in common."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wasmlab_ref.case import WIDTHS, Case, Outcome, parse_value
from wasmlab_ref.decode import decode
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.syntax import Active, Expr, Module

from .floats import is_nan
from .oracle import Verdict, is_reference

NOISE = frozenset({"end", "else", "nop", "drop", "local.get", "local.set", "local.tee", "block", "unreachable"})
"""Instructions that say nothing about a divergence; constants do not, either."""


@dataclass(frozen=True, slots=True)
class Key:
    """What reduction keeps: who differs from whom, in which kinds of outcome, at which kind of step."""

    groups: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...]
    stage: str

    @property
    def placed(self) -> bool:
        """Does it name the place in an engine's sources where that gave up?  Then it says what the divergence is."""
        return any(":" in kind for kind in self.kinds if kind.startswith("crashed"))

    def __str__(self) -> str:
        sides = (f"{','.join(group)} {kind}" for group, kind in zip(self.groups, self.kinds, strict=True))
        return f"{' / '.join(sides)} at {self.stage}"


def key_of(verdict: Verdict) -> Key:
    """The key of a verdict that diverges."""
    return Key(verdict.groups, tuple(_kind(verdict.outcomes[group[0]]) for group in verdict.groups), verdict.stage)


def _kind(outcome: Outcome) -> str:
    match outcome.kind:
        case "trapped":
            return f"trapped {outcome.detail}".rstrip()
        case "crashed":
            return f"crashed {cause(outcome.detail)}".rstrip()
    return outcome.kind


_FILE = r"([\w.+-]+\.\w{1,4}:\d+)"
_PLACE = re.compile(rf"(?:panicked at|[Aa]ssertion failed)[^\n]{{0,300}}?{_FILE}|{_FILE}[^\n]{{0,80}}Assertion")
_SIGNAL = re.compile(r"\bSIG[A-Z]+\b")


def cause(detail: str) -> str:
    """What tells one crash from another: the place in the engine's sources, if it said so, else the signal."""
    if place := _PLACE.search(detail):
        return place[1] or place[2]
    found = _SIGNAL.search(detail)
    return found[0] if found else ""


@dataclass(frozen=True, slots=True)
class Signature:
    """What makes two reduced divergences the same one: key, opcodes and the class of the values that differ."""

    key: Key
    opcodes: tuple[str, ...]
    values: str

    def __str__(self) -> str:
        return (
            f"{self.key}: {' '.join(self.opcodes) or '(no instructions)'}{f' [{self.values}]' if self.values else ''}"
        )

    def alone(self) -> Iterator[tuple[str, Signature]]:
        """Each engine that differs from the reference (else from the first), and the signature of these two alone."""
        key = self.key
        right = next((i for i, group in enumerate(key.groups) if any(map(is_reference, group))), 0)
        if len(key.groups) == 1:  # one that broke, after nobody could follow it any more
            key, right = Key((("ref",), *key.groups), ("silent", *key.kinds), key.stage), 0
        first = "ref" if any(map(is_reference, key.groups[right])) else key.groups[right][0]
        for number, (group, kind) in enumerate(zip(key.groups, key.kinds, strict=True)):
            for name in group if number != right else ():
                pair = Key(((first,), (name,)), (key.kinds[right], kind), key.stage)
                yield name, Signature(pair, self.opcodes, self.values)

    @property
    def id(self) -> str:
        """Twelve hex digits, the same on every machine."""
        return hashlib.sha256(str(self).encode(errors="replace")).hexdigest()[:12]


def signature_of(case: Case, verdict: Verdict) -> Signature:
    """The signature of a reduced case and its verdict."""
    key = key_of(verdict)
    if key.placed:
        return Signature(key, (), "")
    telling = {name for name in opcodes(case) if name not in NOISE and not name.endswith(".const")}
    return Signature(key, tuple(sorted(telling or parts(case))), value_class(verdict))


def parts(case: Case) -> set[str]:
    """What the modules of a case consist of, for divergences that need no telling instruction."""
    found: set[str] = set()
    for data in case.modules:
        try:
            module = decode(data)
        except Malformed:
            return {"(malformed)"}
        found |= {f"({part})" for part in _PARTS if getattr(module, part) not in ((), None)}
    return found


_PARTS = ("imports", "tables", "memories", "tags", "globals", "start", "elems", "datas")


def value_class(verdict: Verdict) -> str:
    """How the first values that differ do: "f32 nan/number", "i64", "ref.null/ref.i31" …; "" if none do."""
    if verdict.stage == "trace":
        return "host calls"
    sides = [verdict.outcomes[group[0]].values for group in verdict.groups]
    for values in zip(*sides, strict=False):
        if len(set(values)) > 1:
            types, classes = zip(*map(_class, values), strict=True)
            kinds = "/".join(sorted(set(classes)))
            return f"{'/'.join(sorted(set(types)))} {kinds}".strip()
    return (
        "count" if len(set(map(len, sides))) > 1 and {o.kind for o in verdict.outcomes.values()} == {"returned"} else ""
    )


def _class(text: str) -> tuple[str, str]:
    try:
        type_, bits = parse_value(text)
    except ValueError:
        return text.partition(":")[0][:20], ""
    if type_ not in ("f32", "f64"):
        return type_, ""
    width = WIDTHS[type_]
    magnitude = bits & ~(1 << (width - 1))
    return type_, "nan" if is_nan(bits, width) else "zero" if magnitude == 0 else "number"


def opcodes(case: Case) -> Iterable[str]:
    """The mnemonics of all instructions of a case, in order, initialisers included."""
    for data in case.modules:
        try:
            module = decode(data)
        except Malformed:
            continue
        for expr in expressions(module):
            for step in expr:
                yield step.op.mnemonic


def expressions(module: Module) -> Iterable[Expr]:
    """All expressions of a module: bodies, initialisers, offsets."""
    for func in module.funcs:
        yield func.body
    for glob in module.globals:
        yield glob.init
    for table in module.tables:
        if table.init is not None:
            yield table.init
    for mode in (*(elem.mode for elem in module.elems), *(data.mode for data in module.datas)):
        if isinstance(mode, Active):
            yield mode.offset
    for elem in module.elems:
        yield from elem.init


def size(case: Case) -> int:
    """The size of a reduced case: all instructions of all bodies, `end` and `else` not counted."""
    count = 0
    for data in case.modules:
        try:
            module = decode(data)
        except Malformed:
            continue
        count += sum(step.op.mnemonic not in ("end", "else") for func in module.funcs for step in func.body)
    return count
