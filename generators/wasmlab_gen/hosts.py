"""What modules import from the host: the closed set of functions that every worker has, and "spectest"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmlab_ref.spectest import GLOBALS, PRINTS
from wasmlab_ref.syntax import Import
from wasmlab_ref.types import FuncRef, GlobalType, Limits, MemType, RefType, TableType, ValType

from .bits import EXTERNREF, FUNCREF
from .parts import Function, Global, Memory, Table

if TYPE_CHECKING:
    from .builder import Builder

REENTER = "reenter"
"""The export that the host calls back, of the instance that is registered as CALLEE."""
CALLEE = "lab.callee"
DEPTH = 3
"""How deep the host is entered again, at most."""


def take_hosts(m: Builder) -> None:
    """Import the host's log, and some of the rest."""
    s = m.source
    m.host_log = _function(m, "lab", "log", ("i32", "i64"), (), called=True)
    if m.has("reference-types") and s.below(2):
        extern = _function(m, "lab", "extern", ("i32",), (EXTERNREF,), escapes=False)
        extern.depth = 7  # its numbers stay small
        _function(m, "lab", "number", (EXTERNREF,), ("i32",))
    if s.below(8) == 7:
        m.host_trap = _function(m, "lab", "trap", (), (), escapes=False, fault=True)
    if s.below(5) == 4:
        m.host_reenter = _function(m, "lab", REENTER, ("i32",), (), escapes=False)
        m.host_reenter.cost = 0  # until the function that it enters is there
    if s.below(3) == 2:
        _spectest(m)


def _function(
    m: Builder,
    module: str,
    name: str,
    params: tuple[ValType, ...],
    results: tuple[ValType, ...],
    escapes: bool = True,
    fault: bool = False,
    called: bool = False,
) -> Function:
    type_ = m.types.function(params, results)
    m.imports.append(Import(module, name, FuncRef(type_)))
    return m.add_function(type_, cost=1, escapes=escapes, fault=fault, called=called)


def _spectest(m: Builder) -> None:
    """Some of the suite's host module; its memory and tables are shared by all modules of a case."""
    s = m.source
    for name, params in s.shuffled(PRINTS.items())[: 1 + s.below(3)]:
        _function(m, "spectest", name, params, ())
    for t in s.shuffled(GLOBALS)[: s.below(3)]:
        m.imports.append(Import("spectest", f"global_{t}", GlobalType(t)))
        m.globals.append(Global(len(m.globals), t, False, imported=True))
    if s.below(2) and (m.has("multi-memory") or not m.memories):
        m.add_memory(Memory(0, "i32", 1, 2), Import("spectest", "memory", MemType(Limits(1, 2))))
    if s.below(2) and (m.has("reference-types") or not m.tables):
        address = "i64" if m.has("table64") and s.below(2) else "i32"
        name = "table64" if address == "i64" else "table"
        type_ = TableType(Limits(10, 20), RefType(True, "func"), address)
        m.add_table(Table(0, FUNCREF, address, 10, 20), imported=Import("spectest", name, type_))
