"""Engines: cases and sessions, natively and by bridge, on workers that behave and on workers that do not."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from pathlib import Path

import pytest

from wasmlab_adapters.engine import Engine
from wasmlab_adapters.registry import Target, resolve
from wasmlab_adapters.workers.ref_fast import Session
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register, shapes
from wasmlab_ref.encode import encode
from wasmlab_ref.fast.engine import Load
from wasmlab_ref.limits import Limits
from wasmlab_ref.profile import Profile
from wasmlab_ref.text import parse_module


def binary(text: str) -> bytes:
    return encode(parse_module(text))


def by_bridge() -> Target:
    target = resolve("ref/py")
    return dataclasses.replace(target, name="bridged", argv=(*target.argv, "--bridge"))


@pytest.fixture(scope="module")
def engines():
    with Engine(resolve("ref/py")) as native, Engine(by_bridge()) as bridged:
        yield native, bridged


WIDE = binary(
    """(module
    (type $s (struct (field i32))) (type $a (array i32)) (tag $e (export "e") (param i64 f32 externref))
    (tag $p (export "p")) (tag $own (param i32)) (memory (export "m") 1 2)
    (global (export "g") (mut f64) (f64.const nan:0x4000000000001))
    (global (export "gs") (ref $s) (struct.new_default $s))
    (table (export "t") 3 10 funcref) (elem (i32.const 1) func $id) (table (export "x") i64 2 externref)
    (func $id (export "id") (param v128 f32 i64 externref) (result v128 f32 i64 externref)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3))
    (func (export "any") (param anyref i31ref (ref null $s)) 
        (result anyref i31ref (ref null $s) funcref (ref $a) exnref)
        (local.get 0) (local.get 1) (local.get 2) (ref.func $id) (array.new_default $a (i32.const 5)) (ref.null exn))
    (func (export "throw") (param i64 f32 externref) (throw $e (local.get 0) (local.get 1) (local.get 2)))
    (func (export "plain") (throw $p))
    (func (export "own") (throw $own (i32.const 1)))
    (func (export "div") (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
    (func (export "set") (param f64) (global.set 0 (local.get 0)) (i32.store (i32.const 65532) (i32.const -1)))
    (func (export "grow") (result i32) (memory.grow (i32.const 1)))
    (func $deep (export "deep") (call $deep)))"""
)
INVOKES = [
    Invoke(
        "a", "id", ("v128:ffeeddccbbaa99887766554433221100", "f32:7fa00001", "i64:8000000000000000", "ref.extern:5")
    ),
    Invoke("a", "any", ("ref.extern:7", "ref.i31:7fffffff", "ref.null")),
    Invoke("a", "throw", ("i64:1", "f32:7fa00001", "ref.extern:5")),
    Invoke("a", "plain"),
    Invoke("a", "own"),
    Read("a", "t"),
    Invoke("a", "div", ("i32:0",)),
    Invoke("a", "div", ("i32:1",), 3),
    Read("a", "m"),
    Read("a", "g"),
    Invoke("a", "set", ("f64:fff0000000000001",)),
    *(Read("a", name) for name in ("g", "m", "gs", "t", "x")),
    Invoke("a", "grow"),
    Invoke("a", "deep"),
    Read("a", "m"),
    Invoke("a", "div", ("i32:ffffffff",)),
]


def test_values_by_bridge_are_the_native_ones(engines):
    native, bridged = (engine.run(Case((WIDE,), (Instantiate("a", 0), *INVOKES))) for engine in engines)
    assert native.outcomes == bridged.outcomes
    assert native.outcomes[1] == Outcome("returned", INVOKES[0].args)
    assert native.outcomes[3] == Outcome("threw", INVOKES[2].args, "e")
    assert [str(outcome) for outcome in native.outcomes[4:8]] == [
        "threw (p)",
        "threw",
        "returned i32:3 ref.null ref.func ref.null",
        "trapped (integer divide by zero)",
    ]
    assert native.outcomes[-3] == Outcome("exhausted", detail="call stack")


def test_sessions_answer_as_cases_do(engines):
    for engine in engines:
        whole = engine.run(Case((WIDE,), (Instantiate("a", 0), *INVOKES))).outcomes
        with engine.session() as session:
            came = [session.instantiate("a", WIDE)]
            for step in INVOKES:
                if isinstance(step, Invoke):
                    came.append(session.invoke(step.name, step.export, step.args))
                else:
                    came.append(session.read(step.name, step.export))
        assert tuple(came) == whole


LINKED = (
    binary('(module (global $g (mut i32) (i32.const 1)) (export "g" (global $g)) (memory (export "m") 1))'),
    binary(
        """(module (import "A" "g" (global $g (mut i32))) (import "A" "m" (memory 1))
        (import "spectest" "global_i64" (global i64))
        (import "lab" "log" (func $log (param i32 i64))) (import "lab" "trap" (func $trap))
        (import "lab" "reenter" (func $re (param i32))) (import "spectest" "print_i32" (func $print (param i32)))
        (func (export "reenter") (param i32) (global.set $g (local.get 0)))
        (func (export "f") (result i64) (call $print (i32.const 1)) (call $log (i32.const -1) (global.get 1))
            (call $re (i32.const 77)) (i32.store8 (i32.const 5) (i32.const 6)) (global.get 1))
        (func (export "trap") (call $trap)))"""
    ),
    binary('(module (memory 1) (func $f unreachable) (start $f) (func (export "f")))'),
)


def test_several_instances_hosts_and_failures(engines):
    steps = (
        Instantiate("a", 0),
        Instantiate("b", 1),  # not linkable yet
        Invoke("b", "f"),
        Register("a", "A"),
        Instantiate("b", 1),
        Invoke("b", "f"),
        Register("b", "lab.callee"),
        Invoke("b", "f"),
        Invoke("b", "trap"),
        Read("a", "g"),
        Read("a", "m"),
        Instantiate("c", 2),
        Invoke("c", "f"),
        Invoke("nobody", "f"),
    )
    native, bridged = (engine.run(Case(LINKED, steps)) for engine in engines)
    assert [outcome.kind for outcome in native.outcomes] == [outcome.kind for outcome in bridged.outcomes]
    assert native.outcomes[1].kind == "unlinkable"
    assert native.outcomes[8] == bridged.outcomes[8] == Outcome("trapped", detail="host")
    assert native.outcomes[9:11] == bridged.outcomes[9:11]
    assert native.outcomes[9].values == ("i32:4d",)
    assert native.outcomes[11].kind == "trapped"
    assert [native.outcomes[i].kind for i in (2, 12, 13)] == ["unsupported"] * 3
    assert native.trace == bridged.trace == ("ffffffff,29a", "ffffffff,29a")


def test_modules_that_are_none(engines):
    truncated, invalid = WIDE[:-3], binary('(module (func (export "f") (result i32)))')
    steps = (Instantiate("a", 0), Invoke("a", "f"), Read("a", "m"), Instantiate("b", 1), Invoke("b", "f"))
    for engine in engines:
        kinds = [outcome.kind for outcome in engine.run(Case((truncated, invalid), steps)).outcomes]
        assert kinds == ["malformed", "unsupported", "unsupported", "invalid", "unsupported"]


def test_a_name_may_be_used_again(engines):
    counters = [binary(f'(module (func (export "f") (result i32) (i32.const {n})))') for n in (1, 2)]
    steps = (Instantiate("a", 0), Invoke("a", "f"), Instantiate("a", 1), Invoke("a", "f"))
    for engine in engines:
        outcomes = engine.run(Case(tuple(counters), steps)).outcomes
        assert [outcome.values for outcome in outcomes] == [(), ("i32:1",), (), ("i32:2",)]


def test_many_cases_in_order_and_rules(engines):
    native, _ = engines
    for engine in engines:
        cases = [
            Case(
                (binary(f'(module (func (export "f") (result i32) (i32.const {n})))'),),
                (Instantiate("a", 0), Invoke("a", "f")),
            )
            for n in range(50)
        ]
        for case in cases:
            engine.submit(case)
        with pytest.raises(RuntimeError):
            engine.run(cases[0])
        assert [engine.collect().outcomes[1].values for _ in cases] == [(f"i32:{n:x}",) for n in range(50)]
        with pytest.raises(LookupError):
            engine.collect()
    result = native.run(cases[0], observe="rules")
    assert "Func_ok" in result.rules
    assert result.executed == ("i32.const",)
    assert result.instructions
    full = native.run(Case((WIDE,), (Instantiate("a", 0), Read("a", "m"))), observe="full")
    assert full.outcomes[1] == Outcome("returned", ("i64:10000", "bytes:" + "00" * 65536))


def test_fuel():
    looping = Case(
        (binary('(module (func (export "f") (loop $l (br $l))) (func (export "g")))'),),
        (Instantiate("a", 0), Invoke("a", "f"), Invoke("a", "g")),
    )
    for target in (resolve("ref/py"), by_bridge()):
        with Engine(target, fuel=1000) as engine:
            outcomes = engine.run(looping).outcomes
        assert outcomes == (Outcome("returned"), Outcome("exhausted", detail="fuel"), Outcome("returned"))


def test_texts(engines):
    native, bridged = engines
    assert native.text
    assert native.tells_malformed
    assert not bridged.text
    with native.session() as session:
        for text, kind in (
            ("(module)", "returned"),
            ("(module", "malformed"),
            ("(module (func (result i32)))", "invalid"),
        ):
            assert session.parse(text).kind == kind
        assert session.parse(b'(module (export "\xff"))').kind == "malformed"


# Workers that do not behave

PRELUDE = """
import json, os, sys
def say(message):
    print(json.dumps(message), flush=True)
def returned(*values):
    return {"kind": "returned", "values": list(values)}
say({"protocol": 1, "engine": "odd", "version": "1", "values": "bridge", "features": ["mvp"]})
for line in sys.stdin:
    request = json.loads(line)
    say({"started": request["id"]})
"""


def odd(tmp_path: Path, body: str, **keys) -> Target:
    path = tmp_path / "odd.py"
    path.write_text(PRELUDE + textwrap.indent(textwrap.dedent(body), "    "))
    return Target("odd", "odd", "", (sys.executable, str(path)), {}, **keys)


CALLED = Case(
    (binary('(module (func (export "f") (result i32) unreachable))'),), (Instantiate("a", 0), Invoke("a", "f"))
)


@pytest.mark.parametrize(
    "values", ["", '"bytes:zz"', '"bytes:00"', '"i32:0"', '"bytes:" + "00" * 48', '"bytes:" + "ff" * 48', '"x", "y"']
)
def test_what_a_worker_says_of_its_memory_is_not_believed(tmp_path, values):
    body = f"""
    found = {{"read": returned({values})}}
    say({{"id": request["id"], "outcomes": [found.get(step["do"], returned()) for step in request["steps"]]}})
    """
    with Engine(odd(tmp_path, body)) as engine:
        assert engine.run(CALLED).outcomes[1].kind == "unparsed"
        with engine.session() as session:
            session.instantiate("a", CALLED.modules[0])
            assert session.invoke("a", "f").kind == "unparsed"


@pytest.mark.parametrize(
    "outcomes", ["[]", '[{"kind": "nonsense"}] * len(request["steps"])', "[7] * len(request['steps'])"]
)
def test_outcomes_that_are_none(tmp_path, outcomes):
    with Engine(odd(tmp_path, f'say({{"id": request["id"], "outcomes": {outcomes}}})')) as engine:
        result = engine.run(CALLED)
    assert result.outcomes[0].kind == "unparsed"


def test_a_crash_is_the_outcome_of_all_steps_and_the_next_case_runs(tmp_path):
    body = """
    if len(request["steps"]) > 1:
        os.abort()
    say({"id": request["id"], "outcomes": [returned()]})
    """
    with Engine(odd(tmp_path, body)) as engine:
        crashed = engine.run(CALLED).outcomes
        assert [outcome.kind for outcome in crashed] == ["crashed"] * 2
        assert "SIGABRT" in crashed[0].detail
        assert engine.run(Case(CALLED.modules, CALLED.steps[:1])).outcomes == (Outcome("returned"),)


def test_a_crash_ends_its_session(tmp_path):
    body = """
    if any(step["do"] == "call" for step in request["steps"]):
        os._exit(3)
    say({"id": request["id"], "outcomes": [returned() for step in request["steps"]]})
    """
    with Engine(odd(tmp_path, body)) as engine:
        session = engine.session()
        assert session.instantiate("a", CALLED.modules[0]).kind == "returned"
        assert session.invoke("a", "f").kind == "crashed"
        later = session.register("a", "M")
        assert later.kind == "unsupported"
        assert "crashed" in later.detail
        session.end()
        with engine.session() as again:
            assert again.instantiate("a", CALLED.modules[0]).kind == "returned"


def test_an_engines_words_become_kinds_of_traps(tmp_path):
    body = """
    trap = {"kind": "trapped", "detail": "oh: division went wrong"}
    kinds = {"call": trap, "read": returned("bytes:" + "00" * 16 + "01" + "00" * 31)}
    say({"id": request["id"], "outcomes": [kinds.get(step["do"], returned()) for step in request["steps"]]})
    """
    traps = {"division": "integer divide by zero|integer overflow"}
    with Engine(odd(tmp_path, body, traps=traps)) as engine:
        assert engine.run(CALLED).outcomes[1] == Outcome("trapped", detail="integer divide by zero|integer overflow")


def test_a_call_that_never_reached_its_bridge_spoils_the_later_ones(tmp_path):
    body = """
    kinds = {"call": {"kind": "exhausted", "detail": "fuel"}, "read": returned("bytes:" + "00" * 80)}
    say({"id": request["id"], "outcomes": [kinds.get(step["do"], returned()) for step in request["steps"]]})
    """
    with Engine(odd(tmp_path, body)) as engine:
        outcomes = engine.run(Case(CALLED.modules, (*CALLED.steps, Invoke("a", "f")))).outcomes
    assert [outcome.kind for outcome in outcomes[1:]] == ["unparsed", "unparsed"]


@pytest.mark.engine
@pytest.mark.parametrize("name", ["wasmtime", "wasmtime/none", "wasmtime/pulley"])
def test_wasmtime_answers_as_ref_does(engines, name):
    case = Case((WIDE,), (Instantiate("a", 0), *INVOKES))
    expected = engines[0].run(case).outcomes
    with Engine(resolve(name)) as engine:
        assert engine.run(case).outcomes == expected
        with engine.session() as session:
            session.instantiate("a", WIDE)
            assert session.invoke("a", "id", INVOKES[0].args) == expected[1]


@pytest.mark.engine
def test_wasmtime_counts_fuel():
    case = Case((binary('(module (func (export "f") (loop $l (br $l))))'),), (Instantiate("a", 0), Invoke("a", "f")))
    with Engine(resolve("wasmtime+consume_fuel=true"), fuel=100_000) as engine:
        assert engine.run(case).outcomes[1] == Outcome("exhausted", detail="fuel")


def test_repeated_calls_go_on_after_an_exception_and_end_with_a_trap(engines) -> None:
    counting = binary(
        """(module (tag $e (export "e") (param i32)) (global $n (export "n") (mut i32) (i32.const 0))
        (func $next (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
        (func (export "throws") (param i32) (throw $e (i32.add (local.get 0) (call $next))))
        (func (export "third") (param i32) (result i32) (if (result i32) (i32.eq (call $next) (i32.const 3))
            (then (unreachable)) (else (global.get $n)))))"""
    )
    for export, outcome, count in [
        ("throws", Outcome("threw", ("i32:75",), "e"), "i32:5"),
        ("third", Outcome("trapped", detail="unreachable"), "i32:3"),
    ]:
        steps = (Instantiate("a", 0), Invoke("a", export, ("i32:70",), 5), Read("a", "n"))
        for engine in engines:
            assert engine.run(Case((counting,), steps)).outcomes[1:] == (outcome, Outcome("returned", (count,)))


def test_masks_of_open_bits_are_the_references_to_give(tmp_path, engines):
    body = """
    found = [{"kind": "returned", "values": ["i32:1"], "taint": ["ffffffff"]} for step in request["steps"]]
    say({"id": request["id"], "outcomes": found})
    """
    with Engine(odd(tmp_path, body)) as engine:
        assert engine.run(CALLED).outcomes[0].taint == ()
    text = '(module (func (export "f") (result f32) (f32.div (f32.const 0) (f32.const 0))))'
    case = Case((binary(text),), (Instantiate("a", 0), Invoke("a", "f")))
    native, _ = engines
    assert native.profiles
    assert native.run(case, "taint").outcomes[1].taint == ("80000000",)
    assert native.run(case, more={"profile": {"nan": "x86"}}).outcomes[1].values == ("f32:ffc00000",)
    assert native.run(case, more={"profile": {"nan": "vax"}}).outcomes[1].kind == "unparsed"


def test_a_share_of_the_stack(engines):
    text = """(module (func $f (export "f") (param i32)
      (br_if 0 (i32.eqz (local.get 0))) (call $f (i32.sub (local.get 0) (i32.const 1)))))"""
    case = Case((binary(text),), (Instantiate("a", 0), Invoke("a", "f", ("i32:1f4",))))
    native, _ = engines
    assert native.run(case).outcomes[1].kind == "returned"
    assert native.run(case, more={"stack": 1}).outcomes[1] == Outcome("exhausted", detail="call stack")


IDENTITIES = binary(
    """(module (type $s (struct (field (mut i32)))) (type $a (array i8))
  (tag $t (export "t") (param eqref externref anyref))
  (global $g (ref null $s) (struct.new $s (i32.const 1)))
  (global $h (ref null $a) (array.new_default $a (i32.const 3)))
  (table (export "table") 7 eqref) (table (export "hosts") 4 externref)
  (func (export "fill")
    (table.set 0 (i32.const 1) (global.get $g)) (table.set 0 (i32.const 2) (ref.i31 (i32.const 5)))
    (table.set 0 (i32.const 3) (ref.i31 (i32.const 5))) (table.set 0 (i32.const 4) (global.get $h))
    (table.set 0 (i32.const 5) (global.get $g)) (table.set 0 (i32.const 6) (global.get $h))
    (table.set 1 (i32.const 1) (extern.convert_any (global.get $g)))
    (table.set 1 (i32.const 3) (extern.convert_any (global.get $g))))
  (func (export "many") (result i32 (ref null $s) anyref externref (ref null $a) (ref null $s) eqref i31ref)
    (i32.const 7) (global.get $g) (struct.new $s (i32.const 1)) (extern.convert_any (global.get $g)) (global.get $h)
    (global.get $g) (global.get $h) (ref.i31 (i32.const 1)))
  (func (export "throw")
    (throw $t (global.get $h) (extern.convert_any (global.get $g)) (global.get $h)))
  (func (export "far") (result i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 eqref eqref eqref)
    (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (global.get $g) (global.get $g) (global.get $g)))"""
)


@pytest.mark.parametrize("name", ["ref/py", "bridged", "ref/fast"])
def test_equal_objects_of_one_outcome_are_told(name: str) -> None:
    calls = [Invoke("a", export) for export in ("many", "throw", "far", "fill")]
    steps = (Instantiate("a", 0), *calls, Read("a", "table"), Read("a", "hosts"))
    with Engine(by_bridge() if name == "bridged" else resolve(name)) as engine:
        found = [outcome.values for outcome in engine.run(Case((IDENTITIES,), steps)).outcomes[1:]]
    assert found == [
        ("i32:7", "ref.struct", "ref.struct", "ref.same:1", "ref.array:3", "ref.same:1", "ref.same:4", "ref.i31:1"),
        ("ref.array:3", "ref.struct", "ref.same:0"),
        (*["i64:0"] * 14, "ref.struct", "ref.same:e", "ref.struct"),
        (),
        ("i32:7", "ref.null", "ref.struct", "ref.i31:5", "ref.i31:5", "ref.array:3", "ref.same:2", "ref.same:5"),
        ("i32:4", "ref.null", "ref.struct", "ref.null", "ref.same:2"),
    ]
    assert shapes(found[0])[5:7] == ["ref.struct", "ref.array:3"]


def test_garbage_is_collected_at_every_allocation_where_asked() -> None:
    binary = encode(
        parse_module('(type $s (struct)) (func (export "f") (drop (struct.new $s)) (drop (struct.new $s)))')
    )
    steps = [Load("m", binary), Invoke("m", "f")]
    collections = []
    for stress in (False, True):
        session = Session(Profile(), Limits(), observed=False, stress=stress)
        assert [outcome.kind for outcome in session.store.run(steps)] == ["returned"] * 2
        collections.append(session.store.collections)
        session.store.close()
    assert collections == [0, 2]
    call = Case((binary,), (Instantiate("m", 0), Invoke("m", "f")))
    with Engine(resolve("ref/fast+stress=1")) as engine:
        assert engine.run(call).outcomes[1].kind == "returned"
