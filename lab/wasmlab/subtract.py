"""A case without what is known to go wrong: does it still diverge?

Most divergences of a campaign are ones that it has met before, and a case may hold a rare one behind a frequent one.
Instructions of a known signature are replaced by others of the same type that do next to nothing, and the case is run
again: if the engines then agree, it was that one; if not, what is left is another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from wasmlab_ref.case import Case
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.isa import Instruction
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.syntax import Expr, Instr

from .edits import DROP, defaults
from .signature import NOISE, opcodes


def without(case: Case, names: Iterable[str]) -> Case | None:
    """The case with one of the instructions of those names replaced, wherever it stands: the rarest in it.

    None where none of them is there, or none can be replaced.
    """
    wanted = frozenset(names) - NOISE
    found = Counter(name for name in opcodes(case) if name in wanted)
    for name, _ in sorted(found.items(), key=lambda item: (item[1], item[0])):
        try:
            modules = tuple(_replaced(data, name) for data in case.modules)
        except Malformed:
            return None
        if modules != case.modules:
            return Case(modules, case.steps, case.origin)
    return None


def _replaced(data: bytes, name: str) -> bytes:
    module = decode(data)
    funcs = tuple(replace(func, body=_body(func.body, name)) for func in module.funcs)
    return data if funcs == module.funcs else encode(replace(module, funcs=funcs))


def _body(body: Expr, name: str) -> Expr:
    return tuple(
        new for step in body for new in (_instead(step.op) or (step,) if step.op.mnemonic == name else (step,))
    )


def _instead(op: Instruction) -> tuple[Instr, ...]:
    """What has the same type; nothing where the table does not say which that is."""
    if op.mnemonic == "select":
        return (DROP, DROP)
    if op.mnemonic.endswith(".const") or not op.results or op.params is None or not set(op.results) <= _NUMBERS:
        return ()
    return (*[DROP] * len(op.params), *defaults(op.results))


_NUMBERS = {"i32", "i64", "f32", "f64", "v128"}
