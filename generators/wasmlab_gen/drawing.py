"""Draws a module: parts first, then bodies, then what makes private parts visible."""

from __future__ import annotations

from collections.abc import Sequence

from wasmlab_ref.syntax import Active, Expr, Func, Instr, MemArg, instr
from wasmlab_ref.types import PAGE, ArrayType, FuncType, RecType, RefType, ValType

from . import calls, control, faults
from .bits import FUNCREF
from .builder import Builder
from .config import Config
from .constants import constant
from .dense import Dense
from .function import SET, TEE, Body
from .hosts import DEPTH, REENTER, take_hosts
from .linking import Offer, take
from .parts import Function, Memory, Table
from .source import Source
from .swarm import Swarm
from .types import defaultable

NAMES = {"func": "f", "memory": "m", "table": "t", "global": "g", "tag": "e"}


DENSE = 20
"""How many times as large functions of dense code are: for what compilers take to compile them, this is cheap."""


def draw_module(
    source: Source, swarm: Swarm, config: Config, groups: Sequence[RecType] = (), offered: Sequence[Offer] = ()
) -> Builder:
    """A module, ready to build, that may import what is offered."""
    m = Builder(source, swarm, config, groups)
    take(m, offered, len(m.types.subs))
    if source.chance(min(config.log * (3 if m.has("gc") else 1), 100)):  # the host collects garbage
        take_hosts(m)
    m.stillborn = bool(offered) and source.chance(min(3 * config.traps, 100))
    m.dense = source.chance(config.dense)
    _memories(m)
    _tags(m)
    own = _declare(m)
    m.settle()
    _tables(m)  # before the globals: their initialisers cannot use own ones
    _globals(m)
    _datas(m)
    _elems(m)
    _bodies(m, own)
    _exports(m)
    return m


# Parts


def _memories(m: Builder) -> None:
    s = m.source
    room = (3 if m.has("multi-memory") else 1) - len(m.memories)
    wanted = s.pick((1, 1, 1, 2, 0, 3)) if m.swarm.weight("memory") else 0
    for _ in range(min(room, wanted)):
        pages = s.pick((1, 1, 1, 1, 2, 0))
        address = "i64" if m.has("memory64") and s.below(2) else "i32"
        page = PAGE
        if m.has("custom-page-sizes") and s.below(2):
            page, pages = 1, s.pick((PAGE, PAGE - 1, PAGE + 1, 1000, 4099, 2 * PAGE)) if pages else 0
        most = s.pick((pages, pages, pages + 1, pages + 2, pages + 3, None))
        shared = m.has("threads") and s.below(2) > 0
        if shared and most is None:
            most = pages + 4
        m.add_memory(Memory(0, address, pages, most, shared=shared, page=page))


def _tags(m: Builder) -> None:
    if m.has("exceptions"):
        for _ in range(m.source.pick((1, 1, 2, 1, 3))):
            shared = bool(m.tags) and m.source.below(2) > 0
            m.add_tag(m.tags[-1].params if shared else _types(m, 3))


def _types(m: Builder, most: int) -> tuple[ValType, ...]:
    mix = m.mix()
    return tuple([m.source.pick(mix) for _ in range(m.source.below(most + 1))])


def _declare(m: Builder) -> list[Function]:
    """The own functions: their types, and what they may do."""
    s = m.source
    own: list[Function] = []
    for _ in range(min(s.span(1, m.config.functions), s.span(1, m.config.functions))):
        if m.dense:
            own.append(m.add_function(_pairs(m), escapes=s.chance(20), dense=True))
            continue
        depth = s.pick((7, 3, 15)) if s.below(12) == 11 else 0
        type_ = _signature(m, own, depth > 0)
        own.append(m.add_function(type_, escapes=s.chance(55), depth=depth))
    own[0].hot = not own[0].depth and not own[0].dense and not own[0].escapes and s.below(12) == 11
    if m.host_reenter:
        m.reentered = m.add_function(m.types.function(("i32",), ()), escapes=False, depth=DEPTH)
        own.append(m.reentered)
    if s.below(6) == 5 or m.stillborn:
        m.start = m.add_function(m.types.function((), ()), escapes=True).index
        own.append(m.functions[-1])
    if s.chance(min(10 * m.config.traps, 100)):
        own.append(m.add_function(m.types.function((), ()), escapes=False, fault=True))
    return own


def _signature(m: Builder, own: Sequence[Function], recursive: bool) -> int:
    """A function type; often that of another function, since engines compile something for every one."""
    s = m.source
    if own and not recursive and s.below(8) >= 3:
        return s.pick(own).type
    if not recursive and s.below(5) == 4 and (drawn := m.types.indices(FuncType)):
        return s.pick(drawn)
    params = (("i32",) if recursive else ()) + _types(m, 3)
    several = m.has("multi-value") and s.below(3) == 0
    results = _types(m, 3) if several else (s.pick(m.mix()),) if s.below(8) else ()
    return m.types.function(params, results)


def _pairs(m: Builder) -> int:
    """A function type with two parameters of one type, or of each of two."""
    s = m.source
    numbers = m.numbers()
    params = [t for t in (s.pick(numbers), s.pick(numbers))[: 1 + s.below(2)] for _ in range(2)]
    return m.types.function(tuple(params), (s.pick(numbers),))


def _globals(m: Builder) -> None:
    s = m.source
    m.total = m.add_global("i64", True, constant(m, "i64"))
    m.total.total = True
    for i in range(s.span(0, 3)):
        t = s.pick(m.numbers()) if i == 0 else s.pick(m.mix())
        m.add_global(t, i == 0 or s.below(3) > 0, constant(m, t))


def _tables(m: Builder) -> None:
    s = m.source
    room = (3 if m.has("reference-types") else 1) - len(m.tables)
    wanted = s.pick((1, 1, 2, 3, 0)) if m.swarm.weight("table") else 0
    for i in range(min(room, wanted)):
        element = FUNCREF if i == 0 or not m.has("reference-types") else s.pick(m.nullable_types())
        if element.heap == "func" and m.has("function-references") and s.below(4) == 0 and m.functions:
            element = RefType(True, s.pick(m.functions).type)
        size = s.pick((8, 10, 5, 16, 6, 12, 2, 0))
        address = "i64" if m.has("table64") and s.below(2) else "i32"
        init = None
        if m.has("function-references") and s.below(3) == 0:
            solid = RefType(False, element.heap)
            if m.inhabited(solid):
                element = solid if s.below(3) == 0 else element
                init = constant(m, solid)
        m.add_table(Table(0, element, address, size, s.pick((size, size + 1, size + 4, None))), init)


def _offset(m: Builder, address: str, at: int) -> Expr:
    if m.has("extended-const") and m.source.below(3) == 0:
        part = m.source.below(at + 1)
        return (instr(f"{address}.const", part), instr(f"{address}.const", at - part), instr(f"{address}.add"))
    return (instr(f"{address}.const", at),)


def _datas(m: Builder) -> None:
    s = m.source
    bulk = m.has("bulk-memory")
    memories = [x for x in m.memories if x.pages]
    for i in range(s.below(4)):
        length = 16 * s.span(0, 3) + s.pick((0, 1, 7)) if i else 128 + s.below(128)
        seed = s.bits(32)
        data = bytes([(seed * (n + 1) * 0x9E3779B1 >> 13) & 0xFF for n in range(length)])
        if memories and (not bulk or s.below(2)):
            memory = s.pick(memories)
            at = s.pick((0, 0, 8 * s.below(20), memory.bytes - length))
            m.add_data(data, Active(memory.index, _offset(m, memory.address, at)))
        elif bulk:
            m.add_data(data, "passive", safe=not any(d.safe for d in m.datas) or s.below(3) > 0)
    if m.stillborn and m.memories and s.below(2):
        memory = s.pick(m.memories)
        m.add_data(bytes(s.span(1, 8)), Active(memory.index, _offset(m, memory.address, memory.most)))


def _elems(m: Builder) -> None:
    s = m.source
    for table in m.tables:
        known = len(table.slots)
        if table.size > known:
            most = 6 if m.types.top(table.element.heap) == "func" else 2
            _fill(m, table, s.span(1, min(most, table.size - known)))
    fillable = [x for x in m.tables if x.element.nullable or m.inhabited(x.element)]
    if m.stillborn and fillable and m.has("reference-types") and s.below(2):
        table = s.pick(fillable)
        end = table.size if table.max is None else table.max
        m.add_elem(table.element, (constant(m, table.element),), Active(table.index, _offset(m, table.address, end)))
    if m.has("bulk-memory"):
        wanted = [FUNCREF, *(m.nullable_types() if m.has("reference-types") else []), *_elements(m) * 4]
        for _ in range(s.pick((0, 1, 0, 1, 2)) + (m.has("gc") and s.below(2))):
            t = s.pick(wanted)
            if t == FUNCREF and not m.has("reference-types"):
                t = RefType(False, "func")
            if t.nullable or m.inhabited(t):
                init = tuple(constant(m, t) for _ in range(s.span(1, 3)))
                m.add_elem(t, init, "passive", safe=not any(e.safe for e in m.elems) or s.below(3) > 0)


def _elements(m: Builder) -> list[RefType]:
    """The references that arrays hold."""
    comps = [sub.comp for sub in m.types.subs if isinstance(sub.comp, ArrayType)]
    return [comp.element.storage for comp in comps if isinstance(comp.element.storage, RefType)]


def _fill(m: Builder, table: Table, length: int) -> None:
    """An active segment into the first slots of a table that nothing is known of."""
    s = m.source
    first = len(table.slots)
    solid = RefType(False, table.element.heap)
    if m.types.top(table.element.heap) == "func":
        functions = m.referable(table.element.heap)
        if not functions:
            return
        filled = [s.pick(functions) for _ in range(length)]
        init: tuple[Expr, ...] = tuple((instr("ref.func", f.refer()),) for f in filled)
        if table.element.heap == "func" and s.below(8):
            solid = RefType(False, "func")
        table.slots += filled
    elif m.has("reference-types") and (table.element.nullable or m.inhabited(solid)):
        init = tuple(constant(m, table.element) for _ in range(length))
        solid = table.element
    else:
        return
    m.add_elem(solid, init, Active(table.index, _offset(m, table.address, first)))


# Bodies


def _bodies(m: Builder, own: Sequence[Function]) -> None:
    s = m.source
    share = m.config.instructions // (6 * len(own))
    for f in s.shuffled(own):
        f.budget = calls.INDIRECT if f.escapes else max(m.config.executed // 10, calls.INDIRECT)
        if f.hot:
            f.budget = max(m.config.executed // 2, calls.INDIRECT)
        size = share * (40 + s.below(121)) // 100
        if f.dense:
            f.budget = max(m.config.executed // 10, calls.INDIRECT)
            thick = Dense(m, f, DENSE * m.config.instructions * s.below(201) // (100 * len(own)))
            thick.fill()
            m.bodies[f.index] = thick.finish()
            f.cost = 1 + thick.cost()
            continue
        body = Body(m, f, max(size, 3), careful=f.index == m.start)
        _prologue(body)
        _fill_body(body)
        m.bodies[f.index] = body.finish()
        f.cost = (1 + body.cost()) * (1 if not f.depth else f.depth + 1 if body.again < 2 else 16)
        if f is m.reentered and m.host_reenter:
            m.host_reenter.cost = f.cost


def _prologue(b: Body) -> None:
    f, s = b.function, b.source
    if f.depth:
        f.budget //= 16
        b.get(0)
        b.fold("i32")
        b.get(0)
        b.const("i32", f.depth)
        b.emit("i32.and")
        b.tee(0)
        b.emit("i32.eqz")
        b.open("if", ())
        for t in f.results:
            b.leaf(t)
        b.emit("return")
        b.close()
    mix = b.module.mix()
    for _ in range(s.span(1, 4)):
        t = s.pick(mix)
        if not defaultable(t) or (isinstance(t, RefType) and s.below(2)):
            b.leaf(t)
            b.set(b.local(t))
        else:
            b.local(t)


def _fill_body(b: Body) -> None:
    f, s = b.function, b.source
    statements = b.module.swarm.statements()
    sites = 0 if not f.depth else 1 if f.depth != 3 else 2
    beneath = control.below(b)
    for _ in range(b.size):  # whatever is drawn ends, also where no statement has anything to be about
        if b.full():
            break
        statements[b.below(len(statements))](b, None, b.below(b.config.expression + 1), "")
        if b.again < sites and s.below(2):
            calls.again(b, 2)
            b.store(f.results)
    b.store(beneath)
    if f.hot:
        control.hot_loop(b)
    if f is b.module.reentered and b.module.host_reenter and not b.again:
        b.get(0)
        b.const("i32", 1)
        b.emit("i32.sub")
        b.emit("call", b.module.host_reenter.index)
        b.again = 1
    _keep(b)
    if f.fault or (f.index == b.module.start and b.module.stillborn):
        _fail(b)
    fuel = b.below(b.config.expression + 1)
    if f.depth and not b.again and b.module.has("tail-call"):
        calls.again(b, 2, tail=True)
    elif s.below(3) == 0 and calls.tail_call(b, fuel):
        pass
    else:
        for t in f.results:
            b.expr(t, fuel)
        if s.below(8) == 0:
            b.emit("return")
            control.dead(b)


def _fail(b: Body) -> None:
    """Trap, or throw what nobody catches."""
    if b.module.tags and b.below(4) == 3:
        control.throw(b, b.source.pick(b.module.tags), 4)
    else:
        faults.draw(b)


def _keep(b: Body) -> None:
    """Sum up what some locals hold, and add the sums to the module's total."""
    m, s = b.module, b.source
    sets = [step.args[0] for step in b.code if step.op is SET or step.op is TEE]
    written = [i for i in dict.fromkeys(sets) if i not in b.reserved]
    for local in [i for i in written[-6:] if s.below(16)]:
        t = b.locals[local]
        if isinstance(t, RefType):
            b.look(local, t)
            continue
        b.get(local)
        if m.paged and s.below(4) == 0:
            memory = s.pick(m.paged)
            b.set(kept := b.scratch(t))
            b.const(memory.address, 8 * s.below(30))
            b.get(kept)
            b.emit("v128.store" if t == "v128" else f"{t}.store", MemArg(memory.index, 0, s.below(8)))
        else:
            b.fold(t)
    b.settle()


# What is seen from outside


def _exports(m: Builder) -> None:
    """Export nearly everything; read what stays private through functions."""
    s = m.source
    for f in m.functions:
        if f is m.reentered:
            m.export(f, "func", REENTER)
        elif f.index in m.bodies and f.index != m.start and s.below(16):
            m.export(f, "func", f"f{f.index}")
    for tag in m.tags:
        m.export(tag, "tag", f"e{tag.index}")
    hidden: list[tuple[tuple[ValType, ...], list[Instr], int]] = []
    for memory in m.memories:
        if s.chance(m.config.private) and memory.bytes:
            hidden.append((("i64",), _checksum(memory), 250))
        else:
            m.export(memory, "memory", f"m{memory.index}")
    for g in m.globals:
        if g.mutable and s.chance(m.config.private):
            hidden.append(((g.type,), [instr("global.get", g.index)], 1))
        else:
            m.export(g, "global", f"g{g.index}")
    for table in m.tables:
        if table.size and m.has("reference-types") and s.chance(m.config.private // 2):
            hidden += [((table.element,), _element(table, at), 2) for at in range(min(table.size, 2))]
        else:
            m.export(table, "table", f"t{table.index}")
    _accessors(m, hidden)


def _element(table: Table, at: int) -> list[Instr]:
    return [instr(f"{table.address}.const", at), instr("table.get", table.index)]


def _accessors(m: Builder, hidden: Sequence[tuple[tuple[ValType, ...], list[Instr], int]]) -> None:
    """Functions that give away what is hidden (results, code, cost): one for all of it, where several results may be.

    Engines compile something for every function that can be called from outside, and for every type of one.
    """
    if m.has("multi-value") and hidden:
        results = tuple([t for types, _, _ in hidden for t in types])
        hidden = [(results, [step for _, code, _ in hidden for step in code], sum(cost for _, _, cost in hidden))]
    for number, (results, code, cost) in enumerate(hidden):
        f = m.add_function(m.types.function((), results), cost=cost)
        sums = any(step.op is SET for step in code)
        m.bodies[f.index] = Func(f.type, _SCRATCH if sums else (), tuple(code))
        m.export(f, "func", f"peek{number}")


_SCRATCH: tuple[tuple[int, ValType], ...] = ((1, "i32"), (2, "i64"))
"""The locals of accessors: an address of either type, and the sum."""

_ROUND, _SUMMED = 32, 256


def _checksum(memory: Memory) -> list[Instr]:
    """Of the first 256 bytes, where most accesses go, and the last 8."""
    t, at, total = memory.address, 0 if memory.address == "i32" else 1, instr("local.get", 2)
    step = [instr("i64.const", 0x9E3779B97F4A7C15), instr("i64.mul")]
    loads: list[Instr] = []
    for offset in range(0, _ROUND, 8):
        loads += [*step, instr("local.get", at), instr("i64.load", MemArg(memory.index, 3, offset)), instr("i64.add")]
    return [
        instr(f"{t}.const", 0),
        instr("local.set", at),
        instr("i64.const", 1),
        instr("local.set", 2),
        instr("loop", None),
        total,
        *loads,
        instr("local.set", 2),
        instr("local.get", at),
        instr(f"{t}.const", _ROUND),
        instr(f"{t}.add"),
        instr("local.tee", at),
        instr(f"{t}.const", _SUMMED),
        instr(f"{t}.ne"),
        instr("br_if", 0),
        instr("end"),
        total,
        *step,
        instr(f"{t}.const", memory.bytes - 8),
        instr("i64.load", MemArg(memory.index, 0, 0)),
        instr("i64.add"),
    ]
