"""Code that breaks a rule of validation, by name: a line here for each way, put before the body of a function.

Where an index stands for something that the module has not, another rule is broken, which is as good.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Protocol

from wasmlab_ref.isa import BY_MNEMONIC, INSTRUCTIONS
from wasmlab_ref.syntax import (
    Active,
    Cast,
    Catch,
    Data,
    Elem,
    Export,
    Global,
    Import,
    Instr,
    MemArg,
    Module,
    Table,
    instr,
)
from wasmlab_ref.types import (
    ArrayType,
    CompType,
    FieldType,
    FuncRef,
    FuncType,
    GlobalType,
    Limits,
    MemType,
    RecType,
    RefType,
    StructType,
    SubType,
    TableType,
    TagType,
    ValType,
)


class Draws(Protocol):
    """The one thing that is needed of a source of choices."""

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""


_TABLE = """
mvp block       | block i32; end; drop
mvp block       | block -; i32.const 1; end
mvp block       | block i32; i64.const 1; end; drop
mvp loop        | loop i32; i64.const 1; end; drop
mvp if          | i64.const 0; if -; end
mvp if          | i32.const 0; if i32; i32.const 1; end; drop
mvp if          | i32.const 0; if i32; i32.const 1; else; f32.const 0; end; drop
mvp br          | block i32; br 0; end; drop
mvp br          | br 99
mvp br          | block i64; i32.const 0; br 0; end; drop
mvp br_if       | block -; br_if 0; end
mvp br_if       | block i32; i32.const 0; br_if 0; i32.const 0; end; drop
mvp br_table    | block i32; block -; i32.const 0; i32.const 0; br_table 0,1; end; i32.const 0; end; drop
mvp br_table    | i32.const 0; br_table 0,99
mvp br_table    | block -; i64.const 0; br_table 0; end
mvp call        | call 999
mvp call_indirect | i64.const 0; call_indirect 0 0
mvp call_indirect | i32.const 0; call_indirect 0 999
mvp call_indirect | i32.const 0; call_indirect 99 0
mvp drop        | drop
mvp nop         | i32.const 0; nop
mvp select      | i32.const 0; i64.const 0; i32.const 0; select -; drop
mvp select      | i32.const 0; i32.const 0; i64.const 0; select -; drop
mvp local.get   | local.get 999; drop
mvp local.set   | i32.const 0; local.set 999
mvp local.tee   | local.tee 0; drop
mvp global.get  | global.get 999; drop
mvp global.set  | i32.const 0; global.set 999
mvp global.set  | v128.const 0; global.set 0
mvp memory      | i32.const 0; i32.load 99,0,0; drop
mvp load        | i32.const 0; i32.load 0,3,0; drop
mvp load        | i32.const 0; i64.load 0,4,0; drop
mvp load        | i32.const 0; i64.load8_u 0,1,0; drop
mvp load        | i32.const 0; f64.load 0,0,4294967296; drop
mvp store       | i32.const 0; i32.const 0; i32.store16 0,2,0
mvp store       | i32.const 0; i64.const 0; i32.store 0,0,0
mvp memory.grow | f32.const 0; memory.grow 0; drop
mvp memory.size | memory.size 99; drop
mvp unreachable | unreachable; i64.const 0; i32.add; drop
mvp unreachable | unreachable; select -; i32.eqz; f32.sqrt; drop
multi-value block | block i32; i32.const 0; i32.const 0; end; drop
bulk-memory memory.fill | i32.const 0; i64.const 0; i32.const 0; memory.fill 0
bulk-memory memory.init | i32.const 0; i32.const 0; i32.const 0; memory.init 0 999
bulk-memory memory.copy | i32.const 0; i32.const 0; i32.const 0; memory.copy 0 99
bulk-memory data.drop | data.drop 999
bulk-memory elem.drop | elem.drop 999
bulk-memory table.init | i32.const 0; i32.const 0; i32.const 0; table.init 0 999
bulk-memory table.copy | i32.const 0; f32.const 0; i32.const 0; table.copy 0 0
reference-types ref.is_null | i32.const 0; ref.is_null; drop
reference-types ref.func | ref.func 999; drop
reference-types select | i32.const 0; i64.const 0; i32.const 0; select i32; drop
reference-types select | ref.null func; ref.null func; i32.const 0; select -; drop
reference-types table.get | f64.const 0; table.get 0; drop
reference-types table.get | i32.const 0; table.get 99; drop
reference-types table.set | i32.const 0; i32.const 0; table.set 0
reference-types table.size | table.size 99; drop
reference-types table.grow | ref.null extern; f32.const 0; table.grow 0; drop
reference-types table.fill | i32.const 0; i32.const 0; i32.const 0; table.fill 0
simd lane       | v128.const 0; i8x16.extract_lane_s 16; drop
simd lane       | v128.const 0; i64.const 0; i64x2.replace_lane 2; drop
simd shuffle    | v128.const 0; v128.const 0; i8x16.shuffle 32; drop
simd load       | i32.const 0; v128.load 0,5,0; drop
simd load_lane  | i32.const 0; v128.const 0; v128.load64_lane 0,0,0 2; drop
simd load_lane  | i32.const 0; v128.const 0; v128.load8_lane 0,1,0 0; drop
tail-call return_call | return_call 999
tail-call return_call_indirect | i32.const 0; return_call_indirect 0 999
function-references call_ref | ref.null extern; call_ref 0
function-references call_ref | ref.null func; call_ref 999
function-references return_call_ref | ref.null func; return_call_ref 0
function-references ref.as_non_null | i32.const 0; ref.as_non_null; drop
function-references br_on_null | i64.const 0; br_on_null 0; drop
function-references br_on_null | ref.null func; br_on_null 99; drop
function-references br_on_non_null | block -; ref.null func; br_on_non_null 0; end
function-references block | block funcref!; ref.null func; end; drop
exceptions throw | throw 99
exceptions throw_ref | ref.null func; throw_ref
exceptions throw_ref | i32.const 0; throw_ref
exceptions try_table | block i32; try_table - catch_all:0; end; i32.const 0; end; drop
exceptions try_table | block -; try_table - catch_all_ref:0; end; end
exceptions try_table | block -; try_table - catch:99:0; end; end
exceptions try_table | try_table - catch_all:99; end
exceptions try_table | try_table i32; end; drop
gc ref.eq       | ref.null func; ref.null func; ref.eq; drop
gc ref.i31      | i64.const 0; ref.i31; drop
gc i31.get      | ref.null struct; i31.get_s; drop
gc ref.test     | ref.null func; ref.test any; drop
gc ref.cast     | ref.null extern; ref.cast func; drop
gc ref.cast     | i32.const 0; ref.cast any; drop
gc br_on_cast   | block eqref; ref.null eq; br_on_cast 0:eq:any; end; drop
gc br_on_cast   | block -; ref.null any; br_on_cast 0:any:i31; drop; end
gc br_on_cast   | block funcref; ref.null any; br_on_cast_fail 0:any:i31; end; drop
gc struct.new   | struct.new 999; drop
gc struct.new   | struct.new_default 999; drop
gc struct.get   | ref.null any; struct.get 0 0; drop
gc struct.get   | ref.null none; struct.get 0 99; drop
gc struct.set   | ref.null none; struct.set 0 0
gc array.len    | ref.null struct; array.len; drop
gc array.new    | i64.const 0; i64.const 0; array.new 0; drop
gc array.get    | ref.null none; i64.const 0; array.get 0; drop
gc array.set    | ref.null none; i32.const 0; array.set 0
gc array.new_fixed | array.new_fixed 0 3; drop
gc array.new_data | i32.const 0; i32.const 0; array.new_data 0 999; drop
gc array.new_elem | i32.const 0; i32.const 0; array.new_elem 0 999; drop
gc array.copy   | ref.null none; i32.const 0; ref.null none; i32.const 0; f32.const 0; array.copy 0 0
gc array.fill   | ref.null none; i32.const 0; i32.const 0; array.fill 0
threads memory  | i32.const 0; i32.atomic.load 99,2,0; drop
threads atomic.load | i32.const 0; i32.atomic.load 0,1,0; drop
threads atomic.load | i32.const 0; i64.atomic.load8_u 0,1,0; drop
threads atomic.store | i32.const 0; i64.const 0; i64.atomic.store32 0,0,0
threads atomic.store | i32.const 0; i64.const 0; i32.atomic.store 0,2,0
threads atomic.rmw | i32.const 0; i32.const 0; i32.atomic.rmw16.xchg_u 0,2,0; drop
threads atomic.rmw | i32.const 0; i32.const 0; i64.atomic.rmw.sub 0,3,0; drop
threads atomic.cmpxchg | i32.const 0; i64.const 0; i32.const 0; i64.atomic.rmw.cmpxchg 0,3,0; drop
threads atomic.cmpxchg | i32.const 0; i32.const 0; i32.atomic.rmw8.cmpxchg_u 0,0,0; drop
threads atomic.wait | i32.const 0; i32.const 0; i32.const 0; memory.atomic.wait32 0,2,0; drop
threads atomic.wait | i32.const 0; i32.const 0; i64.const 0; memory.atomic.wait64 0,3,0; drop
threads atomic.wait | i32.const 0; i64.const 0; i64.const 0; memory.atomic.wait64 0,2,0; drop
threads atomic.notify | i32.const 0; i32.const 0; memory.atomic.notify 0,0,0; drop
threads atomic.notify | i32.const 0; i64.const 0; memory.atomic.notify 0,2,0; drop
threads atomic.fence | atomic.fence 0; drop
gc any.convert_extern | ref.null any; any.convert_extern; drop
gc extern.convert_any | ref.null func; extern.convert_any; drop
"""


def _type(token: str) -> ValType:
    if token.rstrip("!").endswith("ref"):
        return RefType(not token.endswith("!"), token.rstrip("!").removesuffix("ref"))
    return token


def _argument(kind: str, token: str) -> Any:
    match kind.partition(":")[0]:
        case "block":
            return None if token == "-" else _type(token)
        case "types?":
            return None if token == "-" else (_type(token),)
        case "labels":
            return tuple(map(int, token.split(",")))
        case "mem" | "atomic":
            return MemArg(*map(int, token.split(",")))
        case "heap":
            return token
        case "ref":
            return RefType(True, token)
        case "cast":
            label, source, target = token.split(":")
            return Cast(int(label), RefType(True, source), RefType(True, target))
        case "lanes":
            return (*range(15), int(token))
        case "catches":
            clause, *indices = token.split(":")
            return (Catch(clause, int(indices[0]) if indices[1:] else None, int(indices[-1])),)
    return int(token)


def _parse(text: str) -> tuple[Instr, ...]:
    code = []
    for part in text.split(";"):
        name, *tokens = part.split()
        op = BY_MNEMONIC[name]
        if "catches" in op.immediates and len(tokens) == 1:
            code.append(Instr(op, (_argument("block", tokens[0]), ())))
        else:
            code.append(Instr(op, tuple(map(_argument, op.immediates, tokens))))
    return tuple(code)


@cache
def snippets() -> tuple[tuple[str, tuple[Instr, ...]], ...]:
    """Feature and code; wrong operands of each group of plain instructions among it."""
    found = []
    for line in _TABLE.strip().splitlines():
        head, _, text = line.partition("|")
        found.append((head.split()[0], _parse(text)))
    groups: dict[tuple[str, str], Any] = {}
    for row in INSTRUCTIONS:
        if row.params and not row.immediates and set(row.params) <= _OTHER.keys():
            groups.setdefault((row.feature, row.rule), row)
    for (feature, _), row in groups.items():
        for wrong in range(len(row.params)):
            types = [_OTHER[t] if i == wrong else t for i, t in enumerate(row.params)]
            zeros = tuple(instr(f"{t}.const", 0) for t in types)
            found.append((feature, (*zeros, Instr(row), *[instr("drop")] * len(row.results or ()))))
        zeros = tuple(instr(f"{t}.const", 0) for t in row.params[1:])
        found.append((feature, (*zeros, Instr(row), *[instr("drop")] * len(row.results or ()))))
    return tuple(found)


_OTHER: dict[Any, str] = {"i32": "i64", "i64": "f64", "f32": "i32", "f64": "f32", "v128": "i64"}
"""A type to give instead of another."""


# Modules


def _code(s: Draws, m: Module, code: tuple[Instr, ...]) -> Module:
    """The code before the body of a function."""
    if not m.funcs:
        return m
    at = s.below(len(m.funcs))
    changed = replace(m.funcs[at], body=code + m.funcs[at].body)
    return replace(m, funcs=(*m.funcs[:at], changed, *m.funcs[at + 1 :]))


def snippet(s: Draws, m: Module, features: frozenset[str]) -> Module:
    """One of the lines above."""
    options = [code for feature, code in snippets() if feature in features]
    options = [code for code in options if all(step.op.feature in features for step in code)]
    return _code(s, m, options[s.below(len(options))])


def aggregate(s: Draws, m: Module, features: frozenset[str]) -> Module:
    """An instruction about a type and a field, operands out of nowhere: often of another kind, sign or mutability."""
    if "gc" not in features:
        return snippet(s, m, features)
    options = [row for row in INSTRUCTIONS if row.feature == "gc" and row.immediates[:1] == ("type",)]
    row = options[s.below(len(options))]
    known = sum(len(group.subtypes) for group in m.types)
    limits = {"type": known + 1, "field": 4, "u32": 4, "data": len(m.datas) + 1, "elem": len(m.elems) + 1}
    args = tuple(s.below(limits[kind]) for kind in row.immediates)
    around = (instr("block", None), instr("unreachable"), Instr(row, args), instr("unreachable"), instr("end"))
    return _code(s, m, around)


def variable(s: Draws, m: Module, features: frozenset[str]) -> Module:
    """A write to what cannot change, a read of what is not set, a reference to what is not declared."""
    kind = s.below(3)
    if kind == 0 and (constants := [i for i in m.imports if isinstance(i.type, GlobalType) and not i.type.mutable]):
        every = [i for i in m.imports if isinstance(i.type, GlobalType)]
        chosen = constants[s.below(len(constants))]
        return _code(s, m, (instr("unreachable"), instr("global.set", every.index(chosen)), instr("unreachable")))
    if kind == 1 and "function-references" in features and m.funcs:
        at = s.below(len(m.funcs))
        f, t = m.funcs[at], RefType(False, ("func", "extern")[s.below(2)])
        count = _params(m, f.type) + sum(n for n, _ in f.locals)
        changed = replace(f, locals=(*f.locals, (1, t)), body=(instr("local.get", count), instr("drop"), *f.body))
        return replace(m, funcs=(*m.funcs[:at], changed, *m.funcs[at + 1 :]))
    if "reference-types" in features:
        imported = sum(isinstance(i.type, FuncRef) for i in m.imports)
        elems = tuple(e for e in m.elems if e.mode != "declare")
        code = (instr("ref.func", s.below(imported + len(m.funcs) + 1)), instr("drop"))
        return _code(s, replace(m, elems=elems), code)
    return snippet(s, m, features)


def _params(m: Module, index: int) -> int:
    subs = [sub for group in m.types for sub in group.subtypes]
    comp = subs[index].comp if index < len(subs) else None
    return len(comp.params) if isinstance(comp, FuncType) else 0


def constant(s: Draws, m: Module, features: frozenset[str]) -> Module:
    """An initialiser that is not constant, looks ahead, has another type, or leaves too much."""
    own = len(m.globals)
    before = sum(isinstance(i.type, GlobalType) for i in m.imports)
    code: tuple[Instr, ...] = (
        (instr("i32.const", 1), instr("i32.clz")),
        (instr("global.get", before + own),),
        (instr("global.get", before + max(own - 1, 0)),),
        (instr("f32.const", 0),),
        (instr("i32.const", 0), instr("i32.const", 0)),
        (),
        (instr("nop"), instr("i32.const", 0)),
    )[s.below(7)]
    kind = s.below(3)
    if kind == 0 and m.memories:
        return replace(m, datas=(*m.datas, Data(b"", Active(0, code))))
    if kind == 1 and m.tables:
        return replace(m, elems=(*m.elems, Elem(RefType(False, "func"), (), Active(0, code))))
    return replace(m, globals=(*m.globals, Global(GlobalType("i32", s.below(2) == 1), code)))


def types(s: Draws, m: Module, features: frozenset[str]) -> Module:
    """A type that says to be below another one, or names one that is not there."""
    known = sum(len(group.subtypes) for group in m.types)
    if "gc" not in features:
        return _imports(s, m, known, features)
    above = s.below(known + 2)
    fields = tuple(FieldType(("i8", "i32", "f64")[s.below(3)], s.below(2) == 1) for _ in range(s.below(3)))
    comps: tuple[CompType, ...] = (
        StructType(fields),
        ArrayType(FieldType("i16", True)),
        FuncType((), ("i32",)),
        StructType((FieldType(RefType(True, known + 1 + s.below(2)), False),)),
    )
    supers = ((above,), (above, 0), ())[s.below(3)]
    return replace(m, types=(*m.types, RecType((SubType(comps[s.below(4)], supers, s.below(2) == 1),))))


def _imports(s: Draws, m: Module, known: int, features: frozenset[str]) -> Module:
    wrong: tuple[Any, ...] = (
        FuncRef(known + s.below(2)),
        MemType(Limits(1 + s.below(2), s.below(2))),
        MemType(Limits(0, 65537)),
        TableType(Limits(2, 1), RefType(True, "func")),
    )
    if "threads" in features:
        wrong += (MemType(Limits(1), shared=True), MemType(Limits(0, 65537), shared=True))
    if "custom-page-sizes" in features:
        wrong += (MemType(Limits(1), page=2), MemType(Limits(0, 1 << 32), page=1))
    return replace(m, imports=(*m.imports, Import("nowhere", "x", wrong[s.below(len(wrong))])))


def outside(s: Draws, m: Module, features: frozenset[str]) -> Module:
    """A part that is wrong by itself: an import, a tag, a table, an export, the start."""
    known = sum(len(group.subtypes) for group in m.types)
    match s.below(5):
        case 0 if "exceptions" in features:
            return replace(m, tags=(*m.tags, TagType(s.below(known + 1))))
        case 1 if "function-references" in features:
            return replace(m, tables=(*m.tables, Table(TableType(Limits(s.below(2)), RefType(False, "func")))))
        case 2:
            kind = ("func", "table", "memory", "global")[s.below(4)]
            return replace(m, exports=(*m.exports, Export("wrong", kind, 99)))
        case 3:
            return replace(m, start=999)
    return _imports(s, m, known, features)


BREAKS = [*[snippet] * 8, *[aggregate] * 2, variable, variable, constant, constant, types, types, outside]
"""What breaks a rule: from draws, a module and features to another module."""
