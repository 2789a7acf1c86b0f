"""The module "spectest" of the official test suite as a module, for workers that have none of their own."""

from __future__ import annotations

from functools import lru_cache

from wasmlab_ref.encode import encode
from wasmlab_ref.spectest import GLOBALS, PRINTS
from wasmlab_ref.syntax import Export, Func, Global, Module, Table, instr
from wasmlab_ref.types import FuncType, GlobalType, Limits, MemType, RecType, RefType, SubType, TableType

_SHARED = frozenset({"threads", "multi-memory"})


@lru_cache(maxsize=8)
def spectest_module(features: frozenset[str]) -> bytes:
    """The binary; `table64` and `shared_memory` are there where the features allow it; what is printed goes nowhere."""
    addresses = ("i32", "i64") if "table64" in features else ("i32",)
    tables = [Table(TableType(Limits(10, 20), RefType(True, "func"), address)) for address in addresses]
    exports = [Export(name, "func", i) for i, name in enumerate(PRINTS)]
    exports += [Export(f"global_{type_}", "global", i) for i, type_ in enumerate(GLOBALS)]
    exports += [Export(name, "table", i) for i, name in enumerate(("table", "table64")[: len(tables)])]
    memories = [MemType(Limits(1, 2), shared=shared) for shared in (False, True)[: 1 + (features >= _SHARED)]]
    exports += [Export(name, "memory", i) for i, name in enumerate(("memory", "shared_memory")[: len(memories)])]
    module = Module(
        types=tuple(RecType((SubType(FuncType(params)),)) for params in PRINTS.values()),
        funcs=tuple(Func(i) for i in range(len(PRINTS))),
        tables=tuple(tables),
        memories=tuple(memories),
        globals=tuple(Global(GlobalType(type_), (instr(f"{type_}.const", bits),)) for type_, bits in GLOBALS.items()),
        exports=tuple(exports),
    )
    return encode(module)
