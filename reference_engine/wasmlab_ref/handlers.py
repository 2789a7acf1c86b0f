"""The table of straight-line instructions: mnemonic -> the function that makes its handler.

A handler acts on the operand stack and the locals of the current activation.  It is made once for each occurrence of
an instruction, bound to what its immediates denote in the instance.  Operands are popped as the standard writes the
rules: the stack's top is the last operand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from .store import Instance
from .syntax import Instr

Stack: TypeAlias = list[Any]
Handler: TypeAlias = Callable[[Stack, Stack], None]
Maker: TypeAlias = Callable[[Instance, Instr], Handler]

M = TypeVar("M", bound=Maker)

MAKERS: dict[str, Maker] = {}


def handles(*mnemonics: str) -> Callable[[M], M]:
    """Register the maker of those instructions' handlers."""

    def register(maker: M) -> M:
        MAKERS.update(dict.fromkeys(mnemonics, maker))
        return maker

    return register
