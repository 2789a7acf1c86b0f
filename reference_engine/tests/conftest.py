"""Fixtures: work counted, a store with modules."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from wasmlab_ref.decode import decode
from wasmlab_ref.engine import Store
from wasmlab_ref.outcome import Invalid, Malformed, Trap
from wasmlab_ref.store import Extern, FuncInst, Instance
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import FuncType, ValType
from wasmlab_ref.validate import validate

sys.path.insert(0, str(Path(__file__).parent))

from mirror import Mirror

Work = Callable[[Callable[[], object]], int]
GROWTH = 2.3


def _work(function: Callable[[], object]) -> int:
    steps = 0

    def traced(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal steps
        steps += 1
        return traced

    def profiled(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal steps
        steps += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    gc.collect()
    gc.disable()  # what dies is no part of it, and dies when it likes
    sys.settrace(traced)
    sys.setprofile(profiled)
    try:
        result = function()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
        gc.enable()
    del result
    return steps


@pytest.fixture
def work() -> Work:
    """What a call costs, in lines of Python executed and functions called: the same on every machine, however busy."""
    return _work


@pytest.fixture
def linear() -> Callable[[Callable[[int], Callable[[], object]], int], None]:
    """`linear(job, n)` fails unless twice the size costs at most 2.3 times the work; `job(n)` prepares a call."""

    def check(job: Callable[[int], Callable[[], object]], size: int) -> None:
        job(16)()  # fills the caches
        small, large = _work(job(size)), _work(job(2 * size))
        assert large <= GROWTH * small, f"{small} steps for {size}, {large} for {2 * size}"

    return check


class World:
    """A store, and what modules in it can import: instances by the name that they were loaded under.

    The C engine does the same beside it (`mirror`).
    """

    def __init__(self) -> None:
        self.store = Store()
        self.registered: dict[str, dict[str, Extern]] = {"host": {}}
        self.mirror = Mirror()

    def host(self, name: str, params: tuple[ValType, ...], results: tuple[ValType, ...], code: Any) -> None:
        """Offer a host function as ("host", name)."""
        self.mirror.stand_back()
        self.registered["host"][name] = self.store.host_function(FuncType(params, results), code)

    def load(self, module: str | bytes, name: str = "") -> Instance:
        valid = validate(decode(module) if isinstance(module, bytes) else parse_module(module))
        imports = [self.registered[i.module][i.name] for i in valid.module.imports]
        instance = self.mirror.load(valid.module, name, lambda: self.store.instantiate(valid, imports))
        if name:
            self.registered[name] = instance.exports
        return instance

    def call(self, instance: Instance, export: str, *args: Any) -> list[Any]:
        func = instance.exports[export]
        assert isinstance(func, FuncInst)
        return self.mirror.call(instance, export, args, lambda: self.store.invoke(func, args))

    def trap(self, instance: Instance, export: str, *args: Any) -> str:
        with pytest.raises(Trap) as caught:
            self.call(instance, export, *args)
        return caught.value.kind

    def run(self, module: str, export: str, *args: Any) -> list[Any]:
        return self.call(self.load(module), export, *args)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def new_world() -> type[World]:
    return World


@pytest.fixture
def invalid() -> Callable[[str], str]:
    """The message with which validation refuses a text."""

    def message(text: str) -> str:
        with pytest.raises(Invalid) as caught:
            validate(parse_module(text))
        return caught.value.message

    return message


@pytest.fixture
def malformed() -> Callable[[bytes], tuple[str, int | None]]:
    """The message and the offset with which decoding refuses a binary."""

    def message(data: bytes) -> tuple[str, int | None]:
        with pytest.raises(Malformed) as caught:
            decode(data)
        return caught.value.message, caught.value.offset

    return message
