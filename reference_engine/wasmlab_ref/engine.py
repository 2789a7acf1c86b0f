"""The reference engine's embedding interface (appendix "Embedding" of the standard).

    store = Store()
    instance = store.instantiate(validate(decode(binary)), [])
    store.invoke(instance.exports["add"], [1, 2])

Whatever ends an invocation other than its results is an exception of `outcome`: `Trap`, `Thrown`, `Exhausted`;
instantiation adds `Unlinkable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from . import taint_atomic  # noqa: F401 (fills the table of weavers)
from .case import IDENTIFIED, SAME, parse_value, value
from .compile import translate
from .control import Code
from .events import Listener, Reporter, Weaver
from .execute import execute
from .instantiate import instantiate
from .limits import UNLIMITED, Account, Limits
from .numerics import functions
from .outcome import Exhausted
from .profile import Profile
from .rules import listening
from .store import (
    ArrayInst,
    ExnInst,
    Extern,
    FuncInst,
    Heap,
    HostCode,
    HostRef,
    Instance,
    StructInst,
    Value,
    func_type,
    value_matches,
)
from .taint import Taint, TaintWeaver
from .types import DefType, FuncType, RecType, RefType, SubType, ValType, roll
from .validate import ValidModule


def check(values: Sequence[Value], types: Sequence[ValType]) -> None:
    """TypeError unless the values that come from outside have the types."""
    if len(values) != len(types) or not all(map(value_matches, values, types)):
        raise TypeError(f"{list(values)} are not values of the types {list(types)}")


def shape(ref: Value) -> str:
    """The text of a reference, as `case` describes it."""
    match ref:
        case None:
            return "ref.null"
        case HostRef(number):
            return f"ref.extern:{number:x}" if number < 1 << 31 else "ref.any"
        case int():
            return f"ref.i31:{ref:x}"
        case ArrayInst():
            return f"ref.array:{len(ref.fields):x}"
        case StructInst():
            return "ref.struct"
        case FuncInst():
            return "ref.func"
        case ExnInst():
            return "ref.exn"
    return "ref.any"


def written(values: Sequence[Value], types: Sequence[ValType]) -> list[str]:
    """The texts of values."""
    texts = [shape(v) if isinstance(t, RefType) else value(t, v) for v, t in zip(values, types, strict=True)]
    return identified(texts, values[:IDENTIFIED])


def identified(texts: list[str], values: Sequence[Value]) -> list[str]:
    """The texts, where a structure or array that is an earlier one, too, is told by the place of that."""
    first: dict[int, int] = {}
    for at, found in enumerate(values):
        if isinstance(found, StructInst | ArrayInst) and (same := first.setdefault(id(found), at)) != at:
            texts[at] = f"{SAME}:{same:x}"
    return texts


def argument(text: str, type_: ValType) -> Value:
    """The value of a text; only those references that a host can make.  ValueError if it is not of the type."""
    kind, bits = parse_value(text)
    if isinstance(type_, RefType):
        if kind == "ref.null" and type_.nullable:
            return None
        if kind == "ref.extern" and type_.heap in ("extern", "any") and bits < 1 << 31:
            return HostRef(bits)
        if kind == "ref.i31" and type_.heap in ("any", "eq", "i31") and bits < 1 << 31:
            return bits
    elif kind == type_:
        return bits
    raise ValueError(f"{text} for a parameter of type {type_}")


class Store:
    """A store: where modules are instantiated and functions run.

    `instructions` counts what has been executed so far.  With a `taint` it keeps track of what the standard leaves
    open, which excludes a listener.
    """

    def __init__(
        self,
        profile: Profile | None = None,
        limits: Limits | None = None,
        listener: Listener | None = None,
        taint: Taint | None = None,
    ) -> None:
        if listener is not None and taint is not None:
            raise ValueError("a store has a listener or a taint, not both")
        self.listener, self.taint = listener, taint
        self.limits = limits or Limits()
        self.profile = profile or Profile()
        self.numerics = functions(self.profile)
        self.memory = Account("memory", self.limits.memory_pages)
        self.table = Account("table", self.limits.table_elements)
        self.heap = Heap(self.limits.heap_bytes, self.bulk)
        self.instructions = 0
        self.bulk_fuel = Account("fuel", UNLIMITED)
        self.fuel = UNLIMITED
        self.depth = self.limits.call_depth
        self.room = self.limits.values
        self._host_calls = 0
        self._active = False

    def instantiate(self, module: ValidModule, imports: Sequence[Extern] = ()) -> Instance:
        """Instantiate a module with one instance for each of its imports, and run its start function.

        A trap in a segment or in the start function leaves what was written before.
        """
        with self._heard():
            instance = instantiate(self, module, imports)
        if module.module.start is not None:
            self.invoke(instance.funcs[module.module.start])
        return instance

    def invoke(self, func: FuncInst, args: Sequence[Value] = ()) -> list[Value]:
        """Call a function; arguments and results are values as `store` describes them.

        TypeError if the arguments are not of the function's type.
        """
        with self._heard():
            check(args, func_type(func.type).params)
        if self._active:
            return execute(self, func, list(args))
        self._active = True
        budget = UNLIMITED if self.limits.fuel is None else self.limits.fuel
        self.fuel, self.depth, self.room = budget, self.limits.call_depth, self.limits.values
        self.bulk_fuel.left = budget
        try:
            return execute(self, func, list(args))
        finally:
            self.instructions += budget - max(self.fuel, 0)
            self._active = False

    def host_function(self, type_: DefType | FuncType, code: HostCode) -> FuncInst:
        """A function of the embedder: `code` takes the arguments and returns the sequence of results.

        It may raise `Trap` and `Thrown`, and may call `invoke`.
        """
        if isinstance(type_, FuncType):
            (type_,) = roll(RecType((SubType(type_),)))
        return FuncInst(type_, len(func_type(type_).params), host=code)

    def call_host(self, func: FuncInst, args: list[Value]) -> Sequence[Value]:
        """Call a host function on behalf of the machine."""
        if func.host is None:
            raise TypeError("not a host function")
        depth, room = self.depth, self.room
        if self.listener is not None:
            self.listener.call(func)
        if self._host_calls >= self.limits.host_depth:
            raise Exhausted("call stack")
        self._host_calls += 1
        try:
            results = func.host(*args)
            check(results, func_type(func.type).results)
            return results
        finally:
            self._host_calls -= 1
            self.depth, self.room = depth, room

    def _heard(self) -> AbstractContextManager[None]:
        """Within it, the listener hears of the typing rules that are applied."""
        return nullcontext() if self.listener is None else listening(self.listener.rule)

    def weaver(self, instance: Instance, func: FuncInst | None = None) -> Weaver | None:
        """What is woven into the code of a function, or (None) of an initialiser; mostly nothing."""
        if self.taint is not None:
            return TaintWeaver(self.taint, instance)
        return None if self.listener is None else Reporter(self.listener, instance, func)

    def bulk(self, size: int) -> None:
        """Charge for an instruction that does `size` things at once."""
        self.bulk_fuel.require(size >> 6)

    def translate(self, func: FuncInst) -> Code:
        """Translate a function of a module on its first call."""
        if func.instance is None:
            raise TypeError("a host function has no code")
        func.body = translate(func, func.instance)
        return func.body
