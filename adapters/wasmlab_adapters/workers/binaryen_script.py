"""The scripts that Binaryen's `wasm-shell` runs for requests: what it is told to do, a step at a time.

The shell prints what the functions "print" of "spectest" are given.  So everything that is to be told is a vector: a
mark before each step, then what the host was asked for, how a call ended, and the words of memories.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any

from wasmlab_ref.interface import Interface, interface
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.reader import Reader
from wasmlab_ref.types import PAGE, FuncRef, FuncType, MemType, TagType

from .ref_py import HOST_TYPES, Outcome


class T(IntEnum):
    """What a printed vector tells, in its first lane: the step that comes, and then of it."""

    AT, LOG, TRAP, DEEP, CALLED, SIZE, WORD, BYTE = range(8)


LAB = """
(module $lab
  (type $units (array (mut i16)))
  (import "spectest" "print" (func $print (param v128)))
  (table (export "callee") 1 funcref)
  (global $depth (mut i32) (i32.const 0))
  (func $tell (export "tell") (param i32 i32 i64)
    (call $print (i64x2.replace_lane 1 (i32x4.replace_lane 1 (i32x4.splat (local.get 0)) (local.get 1)) (local.get 2))))
  (func (export "at") (param i32)
    (global.set $depth (i32.const 0))
    (call $tell (i32.const 0) (local.get 0) (i64.const 0)))
  (func (export "log") (param i32 i64) (call $tell (i32.const 1) (local.get 0) (local.get 1)))
  (func (export "trap") (call $tell (i32.const 2) (i32.const 0) (i64.const 0)) unreachable)
  (func (export "reenter") (param i32)
    (if (ref.is_null (table.get 0 (i32.const 0))) (then (return)))
    (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
    (if (i32.gt_u (global.get $depth) (i32.const 50))
      (then (call $tell (i32.const 3) (i32.const 0) (i64.const 0)) (unreachable)))
    (block $thrown (result exnref)
      (try_table (catch_all_ref $thrown) (call_indirect (param i32) (local.get 0) (i32.const 0)))
      (global.set $depth (i32.sub (global.get $depth) (i32.const 1)))
      (return))
    (global.set $depth (i32.sub (global.get $depth) (i32.const 1)))
    (throw_ref))
  (func (export "extern") (param i32) (result externref)
    (string.new_wtf16_array
      (array.new_fixed $units 2 (local.get 0) (i32.shr_u (local.get 0) (i32.const 16))) (i32.const 0) (i32.const 2)))
  (func (export "number") (param externref) (result i32)
    (local $units stringref)
    (if (i32.eqz (ref.test (ref string) (local.get 0))) (then (return (i32.const -1))))
    (local.set $units (ref.cast (ref string) (local.get 0)))
    (i32.or (stringview_wtf16.get_codeunit (local.get $units) (i32.const 0))
      (i32.shl (stringview_wtf16.get_codeunit (local.get $units) (i32.const 1)) (i32.const 16)))))
(register "lab" $lab)"""
"""The host's module.  Its references are strings, which are external values like any: no structures, as others that a
module could make."""
CALLER = """
(module ${name}
  (import "{of}" {export} (func $called))
  (import "lab" "tell" (func $tell (param i32 i32 i64)))
  (func $again (export "again") (param $left i32) (result i32) (local $threw i32)
    (loop $again
      (local.set $threw (i32.const 1))
      (block $thrown
        (try_table (catch_all $thrown) (call $called))
        (local.set $threw (i32.const 0)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $threw))
  (func (export "go") (param i32)
    (call $tell (i32.const 4) (call $again (local.get 0)) (i64.const 0))))"""
OBSERVER = """
(module ${name}
  (import "{of}" {export} (memory {memory}))
  (import "lab" "tell" (func $tell (param i32 i32 i64)))
  (func (export "part") (param $at i32) (param $left i32)
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $left)))
        (call $tell (i32.const 7) (local.get $at) (i64.load8_u {where}))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $again))))
  (func (export "all") (local $at i32) (local $left i32) (local $size i64)
    (local.set $size (i64.mul (i64.const {page}) {pages}))
    (call $tell (i32.const 5) (i32.const 0) (local.get $size))
    (local.set $left (i32.wrap_i64 (i64.shr_u (local.get $size) (i64.const 4))))
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $left)))
        (if (i64.ne (i64.or (i64.load {where}) (i64.load offset=8 {where})) (i64.const 0))
          (then
            (call $tell (i32.const 6) (local.get $at) (i64.load {where}))
            (call $tell (i32.const 6) (i32.add (local.get $at) (i32.const 8)) (i64.load offset=8 {where}))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $again)))
    (call 1 (local.get $at) (i32.and (i32.wrap_i64 (local.get $size)) (i32.const 15)))))"""
WRITER = """
(module ${name} (import "{of}" {export} (memory {memory})) (data ({address}.const {at}) {data}))"""
CALLEE = """
(module ${name}
  (import "lab" "callee" (table 1 funcref))
  (import "{of}" "reenter" (func (param i32)))
  (elem (i32.const 0) func 0))"""
NO_CALLEE = """
(module ${name}
  (import "lab" "callee" (table 1 funcref))
  (func (table.set (i32.const 0) (ref.null func)))
  (start 0))"""


LASTING = ("trapped", "exhausted", "threw")
"""How an instantiation fails that had effects."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance: what the script calls it, and what it shows."""

    key: str
    face: Interface


@dataclass(slots=True)
class Session:
    """What the scripts of a session have done so far.

    Instances that nothing links are islands of their own: of what was done, a script repeats only what concerns the
    islands that it is about.  The memory of a bridge is written anew before each use, so that calls leave nothing
    behind on an island without a memory, table or global.
    """

    commands: list[tuple[str, str]] = field(default_factory=list)
    """Those that have an effect, each with the key of an instance that it concerns."""
    instances: dict[str, Instance] = field(default_factory=dict)
    registered: dict[str, Instance] = field(default_factory=dict)
    made: int = 0
    helpers: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Keys of modules that call or observe: by what they do, the key of the instance and the name of the export."""
    links: dict[str, str] = field(default_factory=dict)
    """From keys to others of the same island, and so on to one that stands for it."""
    stateful: set[str] = field(default_factory=set)
    """The keys that stand for islands with a state."""

    def copy(self) -> Session:
        """Another that may go another way."""
        found = [*self.commands], {**self.instances}, {**self.registered}, self.made, {**self.helpers}
        return Session(*found, {**self.links}, {*self.stateful})

    def island(self, key: str) -> str:
        """The key that stands for the island of an instance."""
        while key in self.links:
            key = self.links[key]
        return key

    def join(self, key: str, others: Iterable[Instance], stateful: bool) -> None:
        """Link an instance with others."""
        key = self.island(key)
        for other in others:
            if (island := self.island(other.key)) != key:
                self.links[island] = key
                stateful = stateful or island in self.stateful
        if stateful:
            self.stateful.add(key)

    def sources(self, step: dict[str, Any]) -> list[Instance]:
        """The instances that an instantiation imports from."""
        names = {module for module, _ in step["imports"] if module != "lab"}
        found = [self.registered.get(name) if name is not None else self.instances.get(step["of"]) for name in names]
        return [instance for instance in found if instance]

    def before(self, steps: list[dict[str, Any]]) -> list[str]:
        """The commands that a script for some steps has to begin with."""
        about: list[Instance] = []
        for step in steps:
            if step["do"] == "instantiate":
                about += self.sources(step)
            elif found := self.instances.get(step.get("name", "")):
                about.append(found)
        islands = {self.island(instance.key) for instance in about}
        every = "lab.callee" in self.registered  # which all that import lab.reenter can call
        return [LAB, *[text for key, text in self.commands if every or self.island(key) in islands]]


class Refused(Exception):
    """A step that is not taken."""


def string(data: bytes | str) -> str:
    """A string of the text format."""
    return '"' + "".join(f"\\{byte:02x}" for byte in (data.encode() if isinstance(data, str) else data)) + '"'


@lru_cache(maxsize=256)
def named(data: bytes, key: str) -> str:
    """A binary module in the text format, with this name of its own and no other names: by it the script knows it."""
    name = bytes([len(key)]) + key.encode()
    section = b"\x04name\x00" + bytes([len(name)]) + name
    parts = [data[:8]]
    try:
        r = Reader(data, 8)
        while r.pos < r.end:
            start, custom, size = r.pos, r.byte() == 0, r.u32()
            body = r.bytes(size)
            if not custom or not body.startswith(b"\x04name"):
                parts.append(data[start : r.pos])
        data = b"".join([*parts, b"\x00", bytes([len(section)]), section])
    except Malformed:
        pass  # the engine will say so
    return f"(module binary {string(data)})"


@lru_cache(maxsize=256)
def has_state(data: bytes) -> bool:
    """Whether a module has a memory, a table or a global, or imports one."""
    try:
        if any(not isinstance(item.type, FuncRef | TagType) for item in interface(data).imports):
            return True
        r = Reader(data, 8)
        while r.pos < r.end:
            if r.byte() in (4, 5, 6):
                return True
            r.bytes(r.u32())
    except Malformed:
        pass  # the engine will say so
    return False


class Builder:
    """The commands of a step, which change the session as if the step succeeded.

    Each is told with what is to be repeated of it later.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def build(self, step: dict[str, Any], known: Outcome | None) -> str:
        """The commands for a step; `known`: how it fails."""
        if step["do"] == "instantiate":
            return self.instantiate(step, known)
        do = getattr(self, f"do_{step['do']}", None)
        if do is None:
            raise Refused(f"no step {step['do']} here")
        return "" if known else str(do(step))

    def lasting(self, key: str, text: str) -> str:
        """Commands that are to be repeated, which concern an instance."""
        if text:
            self.session.commands.append((key, text))
        return text

    def instantiate(self, step: dict[str, Any], known: Outcome | None) -> str:
        session, data, key = self.session, base64.b64decode(step["module"]), self.key()
        names = {module for module, _ in step["imports"]}
        of = self.instance(step["of"]) if None in names else session.registered.get("of")
        before = f'(register "of" ${of.key})' if names & {None, "of"} and of else ""
        module = named(data, key)
        if known and known["kind"] not in LASTING:
            return ""
        session.join(key, session.sources(step), None not in names and has_state(data))
        if known:  # what it did before it failed stays done
            return self.lasting(key, f'{before}(assert_trap {module} "")')
        with suppress(Malformed):  # the engine will say so
            session.instances[step["name"]] = Instance(key, interface(data))
        return self.lasting(key, f'{before}{module} (register "{key}" ${key})')

    def do_register(self, step: dict[str, Any]) -> str:
        instance, name = self.instance(step["name"]), step["as"]
        self.session.registered[name] = instance
        if name == "lab":
            return ""
        text = f"(register {string(name)} ${instance.key})"
        if name == "lab.callee":
            type_ = instance.face.exports.get("reenter")
            there = isinstance(type_, FuncRef) and instance.face.func_type(type_) == HOST_TYPES["reenter"]
            text += (CALLEE if there else NO_CALLEE).format(name=self.key(), of=instance.key)
        return self.lasting(instance.key, text)

    def do_call(self, step: dict[str, Any]) -> str:
        instance = self.instance(step["name"])
        type_ = instance.face.exports.get(step["export"])
        if not isinstance(type_, FuncRef) or instance.face.func_type(type_) != FuncType() or step.get("args"):
            raise Refused(f"export {step['export']} is no function without parameters and results")
        places = {"of": instance.key, "export": string(step["export"])}
        key, text = self.helper("call", instance, step["export"], CALLER, places)
        times = f"(i32.const {step.get('repeat', 1)})"
        self.effect(instance, f'(invoke ${key} "again" {times})')
        return f'{text}(invoke ${key} "go" {times})'

    def do_write(self, step: dict[str, Any]) -> str:
        places, data = self.memory(step), bytes.fromhex(step["hex"])
        text = WRITER.format(name=self.key(), at=step["at"], data=string(data), **places)
        return self.effect(self.instance(step["name"]), text)

    def effect(self, instance: Instance, text: str) -> str:
        """Commands that change the state of an island, where it has one."""
        if self.session.island(instance.key) in self.session.stateful:
            self.lasting(instance.key, text)
        return text

    def do_read(self, step: dict[str, Any]) -> str:
        places = self.memory(step)
        key, text = self.helper("observe", self.instance(step["name"]), step["export"], OBSERVER, places)
        if "bytes" in step:
            return f'{text}(invoke ${key} "part" (i32.const {step["at"]}) (i32.const {step["bytes"]}))'
        return f'{text}(invoke ${key} "all")'

    def do_end(self, step: dict[str, Any]) -> str:
        return ""

    def instance(self, name: str) -> Instance:
        found = self.session.instances.get(name)
        if found is None:
            raise Refused(f"no instance {name}")
        return found

    def key(self) -> str:
        """A name that no other instance has."""
        self.session.made += 1
        return f"wasmlab{self.session.made}"

    def helper(self, kind: str, instance: Instance, export: str, text: str, places: dict[str, str]) -> tuple[str, str]:
        """The key of a module that imports an export of an instance, and the module where there was none yet."""
        where = (kind, instance.key, export)
        if where in self.session.helpers:
            return self.session.helpers[where], ""
        key = self.session.helpers[where] = self.key()
        return key, self.lasting(instance.key, text.format(**places, name=key))

    def memory(self, step: dict[str, Any]) -> dict[str, str]:
        """How a module imports and addresses the memory of a step."""
        instance = self.instance(step["name"])
        type_ = instance.face.exports.get(step["export"])
        if not isinstance(type_, MemType):
            raise Refused(f"export {step['export']} is no memory")
        wide = type_.address == "i64"
        words = ["i64" if wide else "", "0", f"{type_.limits.max} shared" if type_.shared else ""]
        words.append(f"(pagesize {type_.page})" if type_.page != PAGE else "")
        return {
            "of": instance.key,
            "export": string(step["export"]),
            "memory": " ".join(words),
            "page": str(type_.page),
            "address": type_.address,
            "pages": "(memory.size)" if wide else "(i64.extend_i32_u (memory.size))",
            "where": "(i64.extend_i32_u (local.get $at))" if wide else "(local.get $at)",
        }


def mark(number: int) -> str:
    """The command that tells which step comes."""
    return f'(invoke $lab "at" (i32.const {number}))'
