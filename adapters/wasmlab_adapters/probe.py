"""Holds a worker against docs/protocol.md: what a newcomer's worker must do, one check after the other.

Every check is a small conversation through the lab's own runner and lowering, so what passes here is what campaigns
rely on; only the checks of the raw lines talk to a process of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register, Step
from wasmlab_ref.encode import encode
from wasmlab_ref.features import FEATURES, closure
from wasmlab_ref.text import parse_module

from .engine import Engine
from .lowering import encoded
from .place import Place
from .probe_features import EXACT, PROBES, Probe, across
from .registry import Target
from .runner import Worker
from .wire import MAX_LINE

FEATURE = "feature "
"""What the names of those checks begin with that are about one feature, whose name follows."""
CONVERSATION_SECONDS = 30
"""Seconds that a worker has for what is asked of it in raw lines."""


@dataclass(frozen=True, slots=True)
class Check:
    """A rule of the protocol, whether the worker keeps it, and what it did where not."""

    name: str
    passed: bool
    detail: str = ""


def probe(worker: Worker) -> list[Check]:
    """All checks of a worker; starts it if need be (EngineUnavailable where that fails)."""
    engine = Engine(Target(worker.name, worker.name, "", (), {}), worker=worker)
    worker.start()
    prober = _Prober(engine)
    checks = [prober.check(name, code) for name, code in prober.rules()]
    return checks + [prober.check(FEATURE + name, partial(prober.feature, name)) for name in prober.claimed]


class _Broken(Exception):
    """A rule that is not kept; the message says what came."""


def _want(condition: bool, came: object) -> None:
    if not condition:
        raise _Broken(f"{came}"[:500])


def _module(text: str) -> bytes:
    return encode(parse_module(text))


def _converse(place: Place, text: bytes) -> bytes:
    """What a new worker writes when it is given this, and then the end of its input."""
    running, out, until = place.start(), b"", time.monotonic() + CONVERSATION_SECONDS
    try:
        while text:
            select.select([], [running.stdin], [], 1)
            with contextlib.suppress(BlockingIOError):
                text = text[os.write(running.stdin, text) :]
            _want(time.monotonic() < until, "its input is not read")
        running.close_stdin()
        while True:
            select.select([running.stdout], [], [], 1)
            with contextlib.suppress(BlockingIOError):
                if not (chunk := running.read()):
                    return out
                out += chunk
            _want(time.monotonic() < until, f"no end within {CONVERSATION_SECONDS} seconds after the end of its input")
            _want(len(out) < MAX_LINE, "a flood after the end of its input")
    finally:
        running.end()


class _Prober:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.worker = engine, engine.worker
        self.claimed = [name for name in engine.hello["features"] if name in FEATURES]

    def check(self, name: str, code: Callable[[], None]) -> Check:
        """Run a check."""
        try:
            code()
        except _Broken as broken:
            return Check(name, False, str(broken))
        return Check(name, True)

    def rules(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """The checks that concern every worker."""
        yield "hello", self.hello
        yield "raw lines: marks, ids, order, garbage", self.raw
        yield "several requests at once", self.window
        yield "instances and register", self.instances
        yield "names beyond ASCII", self.names
        yield "requests are isolated", self.isolation
        yield "sessions", self.sessions
        yield "a failing step does not end its request", self.failing_steps
        yield "malformed and invalid modules", self.rejected
        yield "traps", self.traps
        yield "repeat", self.repeat
        yield "memories: read, write, digest", self.memories
        yield "lab.log, lab.trap", self.host
        yield "lab.reenter", self.reenter
        if "exceptions" in self.claimed:
            yield "exceptions through lab.reenter", self.exceptions
        if "reference-types" in self.claimed:
            yield "lab.extern, lab.number", self.extern
        yield "spectest", self.spectest
        for name, needs, probe in EXACT:
            if closure(needs) <= set(self.claimed):
                yield f"bits: {name}", partial(self.exact, probe)
        yield "bits: from module to module", self.across

    # Conversations

    def run(self, modules: list[bytes], *steps: Step) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
        """Outcomes and trace of a case."""
        result = self.engine.run(Case(tuple(modules), steps))
        return result.outcomes, result.trace

    def ask(self, *steps: dict[str, Any], session: str = "", observe: str = "digest") -> list[Outcome]:
        """The outcomes of a request as it is."""
        self.worker.submit(self.engine.request(list(steps), observe, session))
        outcomes = self.engine.outcomes(self.worker.next(), len(steps))
        if isinstance(outcomes, Outcome):
            raise _Broken(str(outcomes))
        return outcomes

    def exact(self, probe: Probe) -> None:
        """What calls return, bit by bit."""
        text, calls = probe
        outcomes, _ = self.run([_module(text)], Instantiate("a", 0), *(step for step, _ in calls))
        wanted = [Outcome("returned"), *(outcome for _, outcome in calls)]
        for came, want in zip(outcomes, wanted, strict=True):
            _want(came == want, f"{came}, where {want} is right")

    def across(self) -> None:
        """Calls, globals and exceptions between two modules."""
        texts, calls = across(self.claimed)
        outcomes, _ = self.run([_module(text) for text in texts], *(step for step, _ in calls))
        for came, (step, want) in zip(outcomes, calls, strict=True):
            _want(came == want, f"{step}: {came}, where {want} is right")

    def feature(self, name: str) -> None:
        """A module that uses the feature."""
        if name in PROBES:
            self.exact(PROBES[name])

    # Rules

    def hello(self) -> None:
        names = self.engine.hello["features"]
        unknown = [name for name in names if name not in FEATURES]
        _want(not unknown, f"unknown features {unknown}: features.tbl has the names")
        lacking = sorted(closure(self.claimed) - set(names))
        _want(not lacking, f"features claimed without those that they build on: {', '.join(lacking)}")
        _want("mvp" in names, "feature mvp is missing")

    def raw(self) -> None:
        register = [{"do": "register", "name": "a", "as": "b"}]
        lines = [b"garbage", b"[1]", b'{"id": 1}', *(_line({"id": id_, "steps": register}) for id_ in (-5, 1 << 40))]
        out = _converse(self.worker.place, b"\n".join(lines) + b"\n")
        messages = [_parsed(line) for line in out.splitlines()[1:]]
        _want(all("error" in message for message in messages[:3]), f"no errors for three bad lines: {messages}")
        _want([message.get("id") for message in messages[:3]] == [None, None, 1], f"ids of errors: {messages[:3]}")
        came = [message.get("started", message.get("id")) for message in messages[3:]]
        _want(came == [-5, -5, 1 << 40, 1 << 40], f"not a mark and an answer for each of two requests: {messages[3:]}")

    def window(self) -> None:
        modules = [_module(f'(module (func (export "f") (result i32) (i32.const {n})))') for n in range(40)]
        for module in modules:
            self.engine.submit(Case((module,), (Instantiate("a", 0), Invoke("a", "f"))))
        came = [self.engine.collect().outcomes[-1] for _ in modules]
        for n, outcome in enumerate(came):
            _want(outcome == Outcome("returned", (f"i32:{n:x}",)), f"request {n}: {outcome}")

    def instances(self) -> None:
        first = _module(
            '(module (global $g (export "g") (mut i32) (i32.const 1)) (func (export "f") (global.set 0 (i32.const 2))))'
        )
        second = _module(
            '(module (import "M" "g" (global (mut i32))) (import "M" "f" (func)) '
            '(func (export "h") (result i32) (call 0) (global.get 0)))'
        )
        (*_, called), _ = self.run(
            [first, second], Instantiate("a", 0), Register("a", "M"), Instantiate("b", 1), Invoke("b", "h")
        )
        _want(called == Outcome("returned", ("i32:2",)), called)
        (_, missing, *_), _ = self.run([first, second], Instantiate("a", 0), Instantiate("b", 1))
        _want(missing.kind == "unlinkable", f"unknown import: {missing}")
        wrong = _module('(module (import "M" "f" (func (param i32))))')
        (*_, mismatch), _ = self.run([first, wrong], Instantiate("a", 0), Register("a", "M"), Instantiate("b", 1))
        _want(mismatch.kind == "unlinkable", f"import of another type: {mismatch}")

    def names(self) -> None:
        """Lines are UTF-8, escaped or not; names are any characters."""
        name = "\ufeff\u00e9\u212b\U0001f40d"
        module = _module('(module (func (export "x") (result i32) (i32.const 7)))')
        size = len(name.encode())
        module = module.replace(b"\x07\x05\x01\x01x", bytes((7, 4 + size, 1, size)) + name.encode())
        (_, called), _ = self.run([module], Instantiate("a", 0), Invoke("a", name))
        _want(called == Outcome("returned", ("i32:7",)), f"a function {name!a}: {called}")

    def isolation(self) -> None:
        self.ask({"do": "instantiate", "name": "a", "module": encoded(_module("(module)")), "imports": []})
        (outcome,) = self.ask({"do": "register", "name": "a", "as": "M"})
        _want(outcome.kind == "unsupported", f"an instance of the request before is there: {outcome}")

    def sessions(self) -> None:
        module = _module(
            "(module (global (mut i32) (i32.const 0)) "
            '(func (export "f") (result i32) (global.set 0 (i32.add (global.get 0) (i32.const 1))) (global.get 0)))'
        )
        with self.engine.session() as one, self.engine.session() as two:
            for session in (one, two):
                outcome = session.instantiate("a", module)
                _want(outcome.kind == "returned", outcome)
            came = [session.invoke("a", "f").values for session in (one, one, two)]
            _want(came == [("i32:1",), ("i32:2",), ("i32:1",)], f"counters of two sessions: {came}")
        self.ask({"do": "instantiate", "name": "a", "module": encoded(module), "imports": []}, session="again")
        self.ask({"do": "end"}, session="again")
        outcome, _ = self.ask({"do": "register", "name": "a", "as": "M"}, {"do": "end"}, session="again")
        _want(outcome.kind == "unsupported", f"an instance outlived the end of its session: {outcome}")

    def failing_steps(self) -> None:
        module = encoded(_module('(module (func (export "f")) (func (export "u") unreachable))'))
        outcomes = self.ask(
            {"do": "call", "name": "a", "export": "f"},
            {"do": "instantiate", "name": "a", "module": module, "imports": []},
            {"do": "call", "name": "a", "export": "u"},
            {"do": "call", "name": "a", "export": "nothing"},
            {"do": "no such step"},
            {"do": "call", "name": "a", "export": "f"},
        )
        came = [outcome.kind for outcome in outcomes]
        wanted = ["unsupported", "returned", "trapped", "unsupported", "unsupported", "returned"]
        _want(came == wanted, f"{came}, where {wanted} is right")

    def rejected(self) -> None:
        malformed, invalid = b"\0asm\1\0\0\0\1", _module("(module (func (result i32)))")
        for name, module, kinds in (
            ("malformed", malformed, ("malformed", "invalid")),
            ("invalid", invalid, ("invalid",)),
        ):
            (outcome,), _ = self.run([module], Instantiate("a", 0))
            allowed = (name,) if self.engine.tells_malformed else kinds
            _want(outcome.kind in allowed, f"a module that is {name}: {outcome}")

    def traps(self) -> None:
        module = _module(
            "(module (memory 1) (table 1 funcref) (type $t (func)) (func $f (param i32)) (elem (i32.const 0) $f) "
            '(func (export "unreachable") unreachable) '
            '(func (export "zero") (drop (i32.div_u (i32.const 1) (i32.const 0)))) '
            '(func (export "overflow") (drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))) '
            '(func (export "conversion") (drop (i32.trunc_f32_s (f32.const nan)))) '
            '(func (export "memory") (drop (i32.load (i32.const 65533)))) '
            '(func (export "element") (call_indirect (type $t) (i32.const 1))) '
            '(func (export "type") (call_indirect (type $t) (i32.const 0))))'
        )
        names = ("unreachable", "zero", "overflow", "conversion", "memory", "element", "type")
        (_, *came), _ = self.run([module], Instantiate("a", 0), *(Invoke("a", name) for name in names))
        for name, outcome in zip(names, came, strict=True):
            _want(outcome.kind == "trapped" and bool(outcome.detail), f"{name}: {outcome}")
        start = _module("(module (func $f unreachable) (start $f))")
        (outcome, after), _ = self.run([start], Instantiate("a", 0), Register("a", "M"))
        _want(
            (outcome.kind, after.kind) == ("trapped", "unsupported"),
            f"a trap in the start function: {outcome}, {after}",
        )

    def repeat(self) -> None:
        module = _module(
            "(module (global (mut i32) (i32.const 0)) "
            '(func (export "f") (result i32) (global.set 0 (i32.add (global.get 0) (i32.const 1))) (global.get 0)))'
        )
        (*_, outcome), _ = self.run([module], Instantiate("a", 0), Invoke("a", "f", (), 1000))
        _want(outcome == Outcome("returned", ("i32:3e8",)), outcome)

    def memories(self) -> None:
        module = encoded(_module('(module (memory (export "m") 2) (data (i32.const 8190) "\\01\\02\\03"))'))
        name = {"name": "a", "export": "m"}
        outcomes = self.ask(
            {"do": "instantiate", "name": "a", "module": module, "imports": []},
            {"do": "read", **name, "at": 8189, "bytes": 5},
            {"do": "read", **name},
            {"do": "write", **name, "at": 131070, "hex": "ff80"},
            {"do": "read", **name},
            {"do": "write", **name, "at": 131071, "hex": "ff80"},
            {"do": "read", **name, "at": 131072, "bytes": 1},
        )
        blocks = {1: bytes(4094) + b"\1\2", 2: b"\3" + bytes(4095)}
        wanted = [(), ("bytes:0001020300",), ("i64:20000", _digest(blocks)), ()]
        wanted.append(("i64:20000", _digest(blocks | {31: bytes(4094) + b"\xff\x80"})))
        came = [outcome.values for outcome in outcomes[:5]]
        _want(came == wanted, f"{came}, where {wanted} is right")
        kinds = [outcome.kind for outcome in outcomes[5:]]
        _want(kinds == ["unsupported"] * 2, f"accesses beyond the end: {kinds}")
        small = encoded(_module('(module (memory (export "m") 1) (data (i32.const 5) "\\01"))'))
        start = {"do": "instantiate", "name": "a", "module": small, "imports": []}
        _, whole = self.ask(start, {"do": "read", **name}, observe="full")
        content = (bytes(5) + b"\1" + bytes(65530)).hex()
        _want(whole.values == ("i64:10000", f"bytes:{content}"), f"a memory in full: {str(whole)[:80]}")

    def host(self) -> None:
        module = _module(
            '(module (import "lab" "log" (func $log (param i32 i64))) (import "lab" "trap" (func $trap)) '
            '(func (export "log") (param i32 i64) (call $log (local.get 0) (local.get 1))) '
            '(func (export "trap") (call $trap)))'
        )
        calls = [Invoke("a", "log", ("i32:ffffffff", "i64:8000000000000001")), Invoke("a", "trap")]
        calls.append(Invoke("a", "log", ("i32:0", "i64:7")))
        (*_, trapped, _), trace = self.run([module], Instantiate("a", 0), *calls)
        _want(trace == ("ffffffff,8000000000000001", "0,7"), f"trace {trace}")
        _want(trapped == Outcome("trapped", detail="host"), trapped)

    def reenter(self) -> None:
        module = _module(
            '(module (import "lab" "log" (func $log (param i32 i64))) (import "lab" "reenter" (func $re (param i32))) '
            '(func (export "reenter") (param i32) (call $log (local.get 0) (i64.const 0)) '
            "(if (i32.eqz (local.get 0)) (then unreachable)) (call $re (i32.sub (local.get 0) (i32.const 1)))) "
            '(func (export "f") (param i32) (call $re (local.get 0))))'
        )
        (_, nothing, _, came), trace = self.run(
            [module],
            Instantiate("a", 0),
            Invoke("a", "f", ("i32:3",)),
            Register("a", "lab.callee"),
            Invoke("a", "f", ("i32:3",)),
        )
        _want(nothing.kind == "returned", f"without lab.callee: {nothing}")
        _want(came.kind == "trapped", f"a trap in a function that was entered again: {came}")
        _want(trace == ("3,0", "2,0", "1,0", "0,0"), f"trace {trace}")
        (*_, deep), _ = self.run(
            [module], Instantiate("a", 0), Register("a", "lab.callee"), Invoke("a", "f", ("i32:ffff",))
        )
        _want(deep.kind == "exhausted", f"entered again 65,535 deep: {deep}")

    def exceptions(self) -> None:
        module = _module(
            '(module (import "lab" "reenter" (func $re (param i32))) (tag $e (export "e") (param i32)) '
            '(func (export "reenter") (param i32) (throw $e (local.get 0))) '
            '(func (export "catch") (result i32) (block $h (result i32) '
            "(try_table (catch $e $h) (call $re (i32.const 5))) (i32.const -1))) "
            '(func (export "pass") (call $re (i32.const 6))))'
        )
        (*_, caught, passed, again), _ = self.run(
            [module],
            Instantiate("a", 0),
            Register("a", "lab.callee"),
            *(Invoke("a", name) for name in ("catch", "pass", "catch")),
        )
        if caught.kind == passed.kind == "unsupported":
            return  # its host functions cannot throw, and it says so
        _want(caught == again == Outcome("returned", ("i32:5",)), f"{caught}, {again}")
        _want(passed == Outcome("threw", ("i32:6",), "e"), passed)

    def extern(self) -> None:
        module = _module(
            '(module (import "lab" "extern" (func $e (param i32) (result externref))) '
            '(import "lab" "number" (func $n (param externref) (result i32))) '
            "(global $g (mut externref) (ref.null extern)) "
            '(func (export "f") (param i32) (result i32) (global.set $g (call $e (local.get 0))) '
            "(call $n (global.get $g))) "
            '(func (export "null") (result i32) (call $n (ref.null extern))))'
        )
        calls = [Invoke("a", "f", (number,)) for number in ("i32:0", "i32:7fffffff")]
        (_, *came), _ = self.run([module], Instantiate("a", 0), *calls, Invoke("a", "null"))
        values = [outcome.values for outcome in came]
        _want(values == [("i32:0",), ("i32:7fffffff",), ("i32:ffffffff",)], came)

    def spectest(self) -> None:
        module = _module(
            '(module (import "spectest" "print_i32_f32" (func $p (param i32 f32))) '
            '(import "spectest" "global_f64" (global $g f64)) (import "spectest" "memory" (memory 1 2)) '
            '(import "spectest" "table" (table 10 20 funcref)) (export "m" (memory 0)) '
            '(func (export "f") (result f64) (call $p (i32.const 1) (f32.const 2)) (global.get $g)))'
        )
        (_, called, memory), _ = self.run([module], Instantiate("a", 0), Invoke("a", "f"), Read("a", "m"))
        _want(called == Outcome("returned", ("f64:4084d4cccccccccd",)), called)
        _want(memory.values == ("i64:10000", _digest({})), memory)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise _Broken(f"a line that is no JSON object: {line[:200]!r}")
    return message


def _digest(blocks: dict[int, bytes]) -> str:
    total = sha256()
    for number, block in blocks.items():
        total.update(number.to_bytes(8, "little") + block)
    return "digest:" + total.hexdigest()[:16]
