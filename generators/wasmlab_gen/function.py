"""The body of a function under construction: typed, top down, operands before their instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wasmlab_ref.isa import BY_MNEMONIC
from wasmlab_ref.syntax import Func, Instr, instr
from wasmlab_ref.types import ArrayType, HeapType, RefType, StructType, ValType

from .bits import BITS
from .types import PACKED, defaultable, unpacked

if TYPE_CHECKING:
    from .builder import Builder
    from .parts import Function
    from .swarm import Maker

CONST = {t: BY_MNEMONIC[f"{t}.const"] for t in BITS}
GET, SET, TEE = (BY_MNEMONIC[f"local.{verb}"] for verb in ("get", "set", "tee"))
BOTTOM = {"any": "none", "func": "nofunc", "extern": "noextern", "exn": "noexn"}
"""The type of nothing but null, of each hierarchy."""

END, DROP = instr("end"), instr("drop")


@dataclass(slots=True)
class Label:
    """An enclosing block; `types` are what a branch to it takes, `open` is false where a branch could loop forever."""

    types: tuple[ValType, ...]
    open: bool = True


class Body:
    """Emits instructions into `code`; what it draws is kept in step with locals, labels and cost.

    `weight` is how often the code at hand runs per call (the product of the loops around it), `extra` what calls and
    loops cost beyond one run of each instruction.
    """

    def __init__(self, module: Builder, function: Function, size: int, careful: bool = False) -> None:
        self.module, self.function, self.source = module, function, module.source
        self.config, self.types = module.config, module.types
        self.below = module.source.below
        self.canonical = module.config.nan == "canonical"
        self.raw_relaxed = module.config.relaxed == "raw"
        self.code: list[Instr] = []
        self.locals: list[ValType] = list(function.params)
        self.reserved: set[int] = {0} if function.depth else set()  # what the code drawn must not overwrite
        self.hidden: set[int] = set()
        self.labels: list[Label] = [Label(function.results)]
        self.size = size
        self.end = size + 2 * module.config.expression + 20
        self.weight, self.extra, self.again = 1, 0, 0
        self.trying = 0
        self.careful = careful
        self.risk = 0 if careful else module.config.traps
        self._scratch: dict[ValType, int] = {}
        self.sums: dict[ValType, int] = {}
        self._readers: dict[ValType, list[Instr]] = {}
        self._writers: dict[ValType, list[int]] = {}
        self._pools: dict[ValType, list[Maker]] = {}

    # Emitting

    def emit(self, mnemonic: str, *args: object) -> None:
        """Append an instruction."""
        self.code.append(Instr(BY_MNEMONIC[mnemonic], args))

    def const(self, t: ValType, bits: int) -> None:
        """Append a constant."""
        self.code.append(Instr(CONST[str(t)], (bits,)))

    def get(self, local: int) -> None:
        self.code.append(Instr(GET, (local,)))

    def set(self, local: int) -> None:
        self.code.append(Instr(SET, (local,)))

    def tee(self, local: int) -> None:
        self.code.append(Instr(TEE, (local,)))

    def open(self, mnemonic: str, results: tuple[ValType, ...], params: tuple[ValType, ...] = ()) -> Label:
        """Begin a block, with its label (that of a loop is closed to branches until its owner opens it)."""
        self.emit(mnemonic, self.block_type(params, results))
        label = Label(results) if mnemonic != "loop" else Label(params, False)
        self.labels.append(label)
        return label

    def close(self) -> None:
        """End the innermost block."""
        self.labels.pop()
        self.code.append(END)

    def block_type(self, params: tuple[ValType, ...], results: tuple[ValType, ...]) -> ValType | int | None:
        """The block type of a signature."""
        if params or len(results) > 1:
            return self.types.function(params, results)
        return results[0] if results else None

    # Drawing

    def risky(self) -> bool:
        """Shall the next operand be left unguarded?"""
        return self.below(100) >= 100 - self.risk

    def full(self) -> bool:
        """Has the body reached its size?"""
        return len(self.code) >= self.size

    def expr(self, t: ValType, fuel: int, nan: str = "") -> None:
        """An expression of type `t` of about `fuel` instructions; the bits of its NaNs in shape `nan` do not matter."""
        if fuel > 0 and len(self.code) < self.end:
            pool = self._pools.get(t) or self._pool(t)
            pool[self.below(len(pool))](self, t, fuel - 1, nan)
        else:
            self.leaf(t)

    def _pool(self, t: ValType) -> list[Maker]:
        found = self._pools[t] = self.module.swarm.pool(t)
        return found

    def exprs(self, ts: Sequence[ValType], fuel: int) -> None:
        """Several expressions, which share the fuel."""
        for t in ts:
            self.expr(t, fuel // len(ts))

    def leaf(self, t: ValType) -> None:
        """A local, a global, or a new value."""
        readers = self.readers(t)
        if readers and self.below(8):
            self.code.append(readers[self.below(len(readers))])
        elif isinstance(t, str):
            self.code.append(Instr(CONST[t], (self.constant(t),)))
        else:
            self.reference(t)

    def constant(self, t: ValType) -> int:
        """The bits of a constant of a number or vector type."""
        return BITS[str(t)](self.source)

    def readers(self, t: ValType) -> list[Instr]:
        """The instructions that read a local or global of type `t`; locals twice."""
        found = self._readers.get(t)
        if found is None:
            below = self.types.below
            found = [
                Instr(GET, (i,))
                for i, u in enumerate(self.locals)
                if (u == t or (t not in BITS and below(u, t))) and i not in self.hidden
            ]
            found = found + found + self.module.global_readers(t)
            self._readers[t] = found
        return found

    def writers(self, t: ValType) -> list[int]:
        """The locals that a value of type `t` may be written to."""
        found = self._writers.get(t)
        if found is None:
            below = self.types.below
            found = [
                i
                for i, u in enumerate(self.locals)
                if (u == t or (t not in BITS and below(t, u))) and i not in self.reserved
            ]
            self._writers[t] = found
        return found

    def local(self, t: ValType, reserved: bool = False, hidden: bool = False) -> int:
        """A new local; a reserved one is read but not written by the code drawn later, a hidden one neither."""
        index, below = len(self.locals), self.types.below
        self.locals.append(t)
        if hidden:
            self.reserved.add(index)
            self.hidden.add(index)
            return index
        for u, readers in self._readers.items():
            if u == t or (u not in BITS and below(t, u)):
                readers.append(Instr(GET, (index,)))
        if reserved:
            self.reserved.add(index)
        else:
            for u, writers in self._writers.items():
                if u == t or (u not in BITS and below(u, t)):
                    writers.append(index)
        return index

    def scratch(self, t: ValType) -> int:
        """A local for a value that is read back at once; hidden, as the value may not be canonical yet."""
        found = self._scratch.get(t)
        if found is None:
            found = self._scratch[t] = self.local(t, hidden=True)
        return found

    def store(self, ts: Sequence[ValType]) -> None:
        """Take values off the stack, the last one first: into locals where there are some."""
        for t in reversed(ts):
            if self.below(3) == 2 and self.fold(t):
                continue
            writers = self.writers(t)
            if writers and self.below(12):
                self.set(writers[self.below(len(writers))])
            elif len(self.locals) < 12 and defaultable(t):
                self.set(self.local(t))
            else:
                self.code.append(DROP)

    # Sums: what the values seen so far leave behind

    def sum(self, t: ValType) -> int:
        """The local that sums up values of type i32, i64 or v128; the code drawn reads it, but never writes it."""
        found = self.sums.get(t)
        if found is None:
            found = self.sums[t] = self.local(t, reserved=True)
        return found

    def mix(self, t: ValType) -> None:
        """Add the value on the stack to its sum, and leave the sum: no bit of any value gets lost on the way."""
        kept = self.sum(t)
        self.get(kept)
        self.emit("i64x2.sub" if t == "v128" else f"{t}.sub")
        self.tee(kept)

    def fold(self, t: ValType) -> bool:
        """Take the value on the stack into a sum; False, with nothing done, where it tells nothing."""
        if isinstance(t, RefType):
            if t.nullable:
                self.emit("ref.is_null")
                return self.fold("i32")
            return self._inside(t)
        if t in ("f32", "f64"):
            integer = "i" + t[1:]
            self.emit(f"{integer}.reinterpret_{t}")
            return self.fold(integer)
        kept = self.sum(t)
        self.get(kept)
        self.emit("i64x2.sub" if t == "v128" else f"{t}.sub")
        self.set(kept)
        return True

    def settle(self) -> None:
        """Add the sums to the module's total, before the function is left."""
        total = self.module.total.index
        for t, kept in self.sums.items():
            for lane in range(2 if t == "v128" else 1):
                self.get(kept)
                if t == "v128":
                    self.emit("i64x2.extract_lane", lane)
                elif t == "i32":
                    self.emit("i64.extend_i32_u")
                self.emit("global.get", total)
                self.emit("i64.sub")
                self.emit("global.set", total)

    def _inside(self, t: RefType) -> bool:
        """Take a part of what the reference on the stack, which is not null, refers to; False if there is none."""
        kind = self.types.kind(t.heap)
        if kind in ("i31", "array"):
            self.emit("i31.get_u" if kind == "i31" else "array.len")
            return self.fold("i32")
        if (numbers := self._numbers(t.heap)) and isinstance(t.heap, int):
            n, storage = self.source.pick(numbers)
            self.emit("struct.get_u" if storage in PACKED else "struct.get", t.heap, n)
            return self.fold(unpacked(storage))
        return False

    def _numbers(self, heap: HeapType) -> list[tuple[int, ValType]]:
        """The fields of a structure, or the elements of an array as field 0, that are no references."""
        comp = self.types.subs[heap].comp if isinstance(heap, int) else None
        fields = comp.fields if isinstance(comp, StructType) else ()
        fields = (comp.element,) if isinstance(comp, ArrayType) else fields
        return [(n, field.storage) for n, field in enumerate(fields) if not isinstance(field.storage, RefType)]

    def look(self, local: int, t: RefType) -> None:
        """Take what a local refers to into a sum, as far as it tells anything."""
        if self.types.top(t.heap) != "any" or not (self._numbers(t.heap) or t.heap == "i31"):
            self.get(local)
            if not self.fold(t):
                self.code.append(DROP)
            return
        self.open("block", ())
        self.get(local)
        if t.nullable:
            self.emit("br_on_null", 0)
        if self.types.kind(t.heap) == "array":
            at, (_, storage) = self.below(3), self._numbers(t.heap)[0]
            self.emit("array.len")
            self.const("i32", at)
            self.emit("i32.le_u")
            self.emit("br_if", 0)
            self.get(local)
            self.const("i32", at)
            self.emit("array.get_s" if storage in PACKED else "array.get", t.heap)
            self.fold(unpacked(storage))
        else:
            self._inside(RefType(False, t.heap))
        self.close()

    def condition(self, fuel: int) -> None:
        """An i32 that is true about half of the time, more or less."""
        kind = self.below(8)
        if kind < 4:
            self.expr("i32", fuel)
        elif kind < 7:
            self.expr("i32", fuel)
            self.mix("i32")
            self.const("i32", 1 << self.below(3))
            self.emit("i32.and")
        else:
            self.leaf("i32")
            self.const("i32", self.below(8))
            self.emit(self.source.pick(("i32.lt_s", "i32.gt_u", "i32.ne", "i32.le_s")))

    def rarely(self) -> None:
        """An i32 that is true seldom."""
        self.leaf("i32")
        if self.below(8):
            self.mix("i32")
        self.const("i32", 0x1F if self.below(2) else 0x3)
        self.emit("i32.and")
        self.const("i32", self.below(4))
        self.emit("i32.eq")

    # References

    def reference(self, t: RefType) -> None:
        """A new reference, or null where that is all there is."""
        solid = RefType(False, t.heap)
        if not self.module.inhabited(solid) or (t.nullable and self.below(8) < 2):
            self.null(t)
            return
        top = self.types.top(t.heap)
        if top == "func":
            self.emit("ref.func", self.source.pick(self.module.referable(t.heap)).refer())
        elif top == "extern":
            self.reference(RefType(False, "any"))
            self.emit("extern.convert_any")
        else:
            self.aggregate(t.heap)

    def null(self, t: RefType) -> None:
        """A null, as a `t`; where `t` has none, the invocation traps."""
        bottom = self.module.has("gc") and self.below(4) == 3
        self.emit("ref.null", BOTTOM[self.types.top(t.heap)] if bottom else t.heap)
        if not t.nullable:
            self.emit("ref.as_non_null")

    def aggregate(self, heap: HeapType) -> None:
        """A new structure, array or i31 below a heap type."""
        options = self.module.concrete(heap)
        if not options or (heap in ("any", "eq", "i31") and self.below(3) == 0):
            self.leaf("i32")
            self.emit("ref.i31")
            return
        index = options[self.below(len(options))]
        comp = self.types.subs[index].comp
        if isinstance(comp, StructType):
            if all(defaultable(f.storage) for f in comp.fields) and self.below(3) == 0:
                self.emit("struct.new_default", index)
                return
            for f in comp.fields:
                self.shallow(unpacked(f.storage))
            self.emit("struct.new", index)
        elif isinstance(comp, ArrayType):
            self.shallow(unpacked(comp.element.storage))
            self.const("i32", 4 + self.below(3))
            self.emit("array.new", index)

    def shallow(self, t: ValType) -> None:
        """A value for a field of a new aggregate: no aggregates below it, so that this ends."""
        if isinstance(t, RefType):
            readers = self.readers(t)
            if readers:
                self.code.append(readers[self.below(len(readers))])
            elif t.nullable:
                self.null(t)
            else:
                self.leaf("i32")
                self.emit("ref.i31")
        else:
            self.leaf(t)

    # Calls

    def cost(self) -> int:
        """Instructions that one call runs, at most, by a rough count."""
        return len(self.code) + self.extra

    def affordable(self, cost: int) -> bool:
        """May something of that cost run at this place?"""
        return self.cost() + cost * self.weight <= self.function.budget

    def charge(self, cost: int) -> None:
        """Count a call."""
        self.extra += cost * self.weight

    def finish(self) -> Func:
        """The function, once its body is complete."""
        runs: list[tuple[int, ValType]] = []
        for t in self.locals[len(self.function.params) :]:
            if runs and runs[-1][1] == t:
                runs[-1] = (runs[-1][0] + 1, t)
            else:
                runs.append((1, t))
        return Func(self.function.type, tuple(runs), tuple(self.code))
