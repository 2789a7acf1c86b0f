"""Instantiation (section 4.7 of the standard)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .compile import run_straight
from .match import match_externtype
from .outcome import Unlinkable
from .rules import applied, rule
from .store import (
    DataInst,
    ElemInst,
    Extern,
    FuncInst,
    GlobalInst,
    Instance,
    MemInst,
    TableInst,
    TagInst,
    Value,
    extern_type,
    func_type,
)
from .syntax import Active, Expr, instr
from .validate import ValidModule

if TYPE_CHECKING:
    from .engine import Store


@rule("Externaddr_ok/sub")
def link(module: ValidModule, imports: Sequence[Extern]) -> None:
    """Check that the instances given have the types that the module imports."""
    for i, (import_, wanted) in enumerate(zip(module.module.imports, module.imports, strict=True)):
        if i >= len(imports):
            raise Unlinkable(f"unknown import: {import_.module!r} {import_.name!r}")
        if not match_externtype(extern_type(imports[i]), wanted):
            raise Unlinkable(f"incompatible import type: {import_.module!r} {import_.name!r}")
        applied("Externaddr_ok/sub")
    if len(imports) > len(module.imports):
        raise Unlinkable(f"{len(imports)} instances for {len(module.imports)} imports")


def instantiate(store: Store, valid: ValidModule, imports: Sequence[Extern]) -> Instance:
    """Instantiate a module: link, allocate, initialise, copy the active segments; all but the start function."""
    link(valid, imports)
    instance = Instance(store, valid, valid.types)
    import_all(instance, imports)
    allocate(instance)
    for kind, index, name in ((e.kind, e.index, e.name) for e in valid.module.exports):
        instance.exports[name] = spaces(instance)[kind][index]
    run_segments(instance)
    return instance


def spaces(instance: Instance) -> dict[str, Sequence[Extern]]:
    """The index spaces by the kind of an export."""
    return {
        "func": instance.funcs,
        "table": instance.tables,
        "memory": instance.memories,
        "global": instance.globals,
        "tag": instance.tags,
    }


def import_all(instance: Instance, imports: Sequence[Extern]) -> None:
    """Begin the index spaces with the imports."""
    for extern in imports:
        match extern:
            case FuncInst():
                instance.funcs.append(extern)
            case TableInst():
                instance.tables.append(extern)
            case MemInst():
                instance.memories.append(extern)
            case GlobalInst():
                instance.globals.append(extern)
            case TagInst():
                instance.tags.append(extern)


def allocate(instance: Instance) -> None:
    """Allocate what the module defines, evaluating initialisers in the standard's order (allocmodule)."""
    store, valid, module = instance.store, instance.module, instance.module.module
    for index in range(len(instance.funcs), len(valid.funcs)):
        code = module.funcs[index - len(valid.funcs) + len(module.funcs)]
        type_ = valid.funcs[index]
        instance.funcs.append(FuncInst(type_, len(func_type(type_).params), instance, index, code))
    for global_ in module.globals:
        value = evaluate(instance, global_.init)
        instance.globals.append(GlobalInst(valid.globals[len(instance.globals)], value))
    table_inits = [None if t.init is None else evaluate(instance, t.init) for t in module.tables]
    elems = [[evaluate(instance, expr) for expr in elem.init] for elem in module.elems]
    instance.tags += [TagInst(type_) for type_ in valid.tags[len(instance.tags) :]]
    instance.memories += [MemInst.new(t, store.memory) for t in valid.memories[len(instance.memories) :]]
    table_types = valid.tables[len(instance.tables) :]
    instance.tables += [
        TableInst.new(type_, init, store.table) for type_, init in zip(table_types, table_inits, strict=True)
    ]
    instance.datas += [DataInst(data.init) for data in module.datas]
    instance.elems += [ElemInst(refs) for refs in elems]


@rule("Eval_expr")
def evaluate(instance: Instance, expr: Expr) -> Value:
    """The value of a constant expression."""
    applied("Eval_expr")
    return run_straight(instance, expr).pop()


def run_segments(instance: Instance) -> None:
    """Copy and drop the active segments: elements, then data (runelem, rundata)."""
    zero = instr("i32.const", 0)
    for i, elem in enumerate(instance.module.module.elems):
        match elem.mode:
            case Active(target, offset):
                size = instr("i32.const", len(elem.init))
                run_straight(instance, (*offset, zero, size, instr("table.init", target, i), instr("elem.drop", i)))
            case "declare":
                instance.elems[i].refs = []
    for i, data in enumerate(instance.module.module.datas):
        match data.mode:
            case Active(target, offset):
                size = instr("i32.const", len(data.init))
                run_straight(instance, (*offset, zero, size, instr("memory.init", target, i), instr("data.drop", i)))
