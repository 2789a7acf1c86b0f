"""The module "spectest" that the official scripts import from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .store import Extern, GlobalInst, MemInst, TableInst, Value
from .types import FuncType, GlobalType, Limits, MemType, RefType, TableType

if TYPE_CHECKING:
    from .engine import Store

PRINTS: dict[str, tuple[str, ...]] = {
    "print": (),
    "print_i32": ("i32",),
    "print_i64": ("i64",),
    "print_f32": ("f32",),
    "print_f64": ("f64",),
    "print_i32_f32": ("i32", "f32"),
    "print_f64_f64": ("f64", "f64"),
}
GLOBALS: dict[str, int] = {"i32": 666, "i64": 666, "f32": 0x4426_A666, "f64": 0x4084_D4CC_CCCC_CCCD}

Log = Callable[[str, tuple[Value, ...]], None]


def _printer(name: str, log: Log | None) -> Callable[..., Sequence[Value]]:
    def call(*args: Value) -> Sequence[Value]:
        if log is not None:
            log(name, args)
        return ()

    return call


def spectest(store: Store, log: Log | None = None) -> dict[str, Extern]:
    """The exports of a fresh "spectest"; `log` hears each call of a print function with its arguments."""
    exports: dict[str, Extern] = {
        name: store.host_function(FuncType(params), _printer(name, log)) for name, params in PRINTS.items()
    }
    for type_, value in GLOBALS.items():
        exports[f"global_{type_}"] = GlobalInst(GlobalType(type_), value)
    for name, address in (("table", "i32"), ("table64", "i64")):
        type_of_table = TableType(Limits(10, 20), RefType(True, "func"), address)
        exports[name] = TableInst.new(type_of_table, None, store.table)
    exports["memory"] = MemInst.new(MemType(Limits(1, 2)), store.memory)
    exports["shared_memory"] = MemInst.new(MemType(Limits(1, 2), shared=True), store.memory)
    return exports
