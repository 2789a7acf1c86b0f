"""The C engine beside the Python one: whatever a test's `World` does is done there, too, and must end in the same.

It stands back for the rest of a test where the two cannot be compared: host functions of the test's own, references as
arguments, imports that only Python has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from wasmlab_ref import fast
from wasmlab_ref.case import Invoke, Outcome, Register
from wasmlab_ref.case import value as number
from wasmlab_ref.encode import encode
from wasmlab_ref.engine import written
from wasmlab_ref.fast.engine import Load, Step, Store
from wasmlab_ref.outcome import Exhausted, Rejected, Thrown, Trap
from wasmlab_ref.store import FuncInst
from wasmlab_ref.syntax import Module
from wasmlab_ref.types import RefType

T = TypeVar("T")
HOSTS = ("spectest", "lab")


def outcome_of(act: Callable[[], T]) -> tuple[T | None, Outcome, Exception | None]:
    """What Python did: a result, or what it raised."""
    try:
        return act(), Outcome("returned"), None
    except Trap as error:
        return None, Outcome("trapped", detail=error.kind), error
    except Thrown as error:
        return None, Outcome("threw"), error
    except Exhausted as error:
        return None, Outcome("exhausted", detail=error.resource), error
    except Rejected as error:
        return None, Outcome(error.stage), error


class Mirror:
    """One store in C; `compared` counts what was."""

    def __init__(self) -> None:
        self.store: Store | None = None
        with suppress(fast.Unavailable):
            self.store = Store()
        self.names: dict[int, str] = {}
        self.registered = set(HOSTS)
        self.loaded = self.compared = 0

    def stand_back(self) -> None:
        """From here on Python is alone."""
        if self.store:
            self.store.close()
        self.store = None

    def _ask(self, step: Step) -> Outcome:
        assert self.store
        return self.store.run([step])[0]

    def load(self, module: Module, name: str, instantiate: Callable[[], T]) -> T:
        """Instantiate in both; `instantiate` does it in Python."""
        instance, python, error = outcome_of(instantiate)
        if any(i.module not in self.registered for i in module.imports):
            self.stand_back()
        if self.store:
            self.loaded += 1
            own = f"m{self.loaded}"
            c = self._ask(Load(own, encode(module)))
            self._same(python, c, "")
            if instance is not None:
                self.names[id(instance)] = own
                if name:
                    self.registered.add(name)
                    self._ask(Register(own, name))
        if error:
            raise error
        assert instance is not None
        return instance

    def call(self, instance: Any, export: str, args: Sequence[Any], invoke: Callable[[], list[Any]]) -> list[Any]:
        """Call in both."""
        results, python, error = outcome_of(invoke)
        func = instance.exports[export]
        if self.store and isinstance(func, FuncInst) and id(instance) in self.names:
            types = func.type.comp.params  # type: ignore[union-attr]
            if any(isinstance(t, RefType) and a is not None for a, t in zip(args, types, strict=True)):
                self.stand_back()
            else:
                texts = tuple("ref.null" if a is None else number(str(t), a) for a, t in zip(args, types, strict=True))
                c = self._ask(Invoke(self.names[id(instance)], export, texts))
                if results is not None:
                    python = Outcome("returned", tuple(written(results, func.type.comp.results)))  # type: ignore[union-attr]
                self._same(python, c, export)
        if error:
            raise error
        assert results is not None
        return results

    def _same(self, python: Outcome, c: Outcome, export: str) -> None:
        self.compared += 1
        kinds = c.kind == python.kind
        details = c.kind not in ("trapped", "exhausted") or c.detail in python.detail.split("|")  # either of two
        values = c.kind == "threw" or c.values == python.values
        agree = kinds and details and values
        assert agree, f"{export}: C {c}, Python {python}"
