"""Files to cases and back: modules, scripts, cases, companions, regression tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from zoo import case_of, resolve

from wasmlab import cli
from wasmlab.companion import bare_case
from wasmlab.errors import UsageError
from wasmlab.foreign import plain
from wasmlab.loading import load_file, load_module
from wasmlab.oracle import judge
from wasmlab.wast import CALLEE, digest, identifier, literal, to_wast
from wasmlab_ref import script
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Read, Register
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.engine import Store
from wasmlab_ref.outcome import Trap
from wasmlab_ref.text import parse_module
from wasmlab_ref.validate import validate

IMPORTING = """(module
  (type $s (struct (field i32)))
  (import "env" "f" (func $f (param i32) (result f32 i64)))
  (import "env" "g" (global $g (mut v128)))
  (import "env" "t" (table 3 externref))
  (import "env" "m" (memory 1 2))
  (import "env" "e" (tag (param i32)))
  (import "other" "f" (func (param (ref null $s)) (result (ref null $s) i31ref)))
  (import "spectest" "print_i32" (func $print (param i32)))
  (export "m" (memory 0))
  (global (export "g2") i32 (i32.const 4))
  (func (export "run") (param i32 f64 v128 funcref externref) (result f32 i64)
    (call $print (i32.const 1)) (call $f (local.get 0)))
  (func (export "no") (param (ref any))))"""


def test_a_bare_module_gets_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.wasm"
    path.write_bytes(case_of(IMPORTING).modules[0])
    loaded = load_file(path)
    for data in loaded.case.modules:
        validate(decode(data))
    answer = resolve("right").run(loaded.case)
    assert {outcome.kind for outcome in answer.outcomes} == {"returned"}
    assert loaded.notes == ["no is not called: a parameter takes no null"]
    assert loaded.made_up
    assert load_file(path).case == loaded.case
    assert [s.export for s in loaded.case.steps if isinstance(s, Read)] == ["m", "g2"]


def test_a_malformed_module_is_only_instantiated() -> None:
    assert bare_case(b"\0asm")[0].steps == (Instantiate("module", 0),)


def test_text_is_assembled_and_its_errors_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "a.wat"
    path.write_text('(module (func (export "f")))')
    assert decode(load_module(path)).exports[0].name == "f"
    path.write_text("(module\n  (func\n    i32.addd))")
    for load in (load_file, load_module):
        with pytest.raises(UsageError) as caught:
            load(path)
        message = str(caught.value).split("\n")
        assert message[0].startswith(f"{path}:3:5: ")
        assert message[1:] == ["    i32.addd))", "    ^"]


SCRIPT = """
(module $a (memory (export "m") 1) (global (export "g") i32 (i32.const 3))
  (func (export "f") (param f32) (result f32) (local.get 0)) (func (export "t") unreachable))
(register "a" $a)
(module (import "a" "m" (memory 1)) (func (export "f") (param externref) (result i32) (i32.load (i32.const 0))))
(assert_return (invoke "f" (ref.extern 3)) (i32.const 0))
(assert_return (invoke $a "f" (f32.const nan:0x1)) (f32.const nan:0x1))
(assert_return (get $a "g") (i32.const 3))
(assert_trap (invoke $a "t") "unreachable")
(assert_invalid (module (func (result i32))) "type mismatch")
(assert_malformed (module binary "\\00asm") "unexpected end")
(assert_malformed (module quote "(func") "unexpected end")
(assert_unlinkable (module (import "a" "none" (func))) "unknown import")
(assert_trap (module (func unreachable) (start 0)) "unreachable")
(module definition $d)
(module instance $i $d)
(module $a)
"""


def test_a_script_becomes_one_case(tmp_path: Path) -> None:
    path = tmp_path / "a.wast"
    path.write_text(SCRIPT)
    loaded = load_file(path)
    kinds = [outcome.kind for outcome in resolve("right").run(loaded.case).outcomes]
    assert kinds == ["returned"] * 6 + [
        "trapped", "invalid", "malformed", "unlinkable", "trapped", "returned", "returned",
    ]  # fmt: skip
    assert loaded.case.steps[3] == Invoke("module-2", "f", ("ref.extern:3",))
    assert loaded.case.steps[4] == Invoke("a", "f", ("f32:7f800001",))
    names = [s.name for s in loaded.case.steps if isinstance(s, Instantiate)]
    assert len(set(names)) == len(names)
    assert len(loaded.notes) == 1


@pytest.mark.parametrize("text", ['(invoke "f")', "(module instance $i $d)", "(module", '(register "a" $x)'])
def test_scripts_that_cannot_be_run(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.wast"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"a\.wast"):
        load_file(path)


@pytest.mark.parametrize(
    "data",
    [
        "{}", "[]", "null", '"x"', "{", "[" * 100_000,
        '{"modules": [], "steps": [{"do": "instantiate", "name": "a", "module": 0}]}',
        '{"modules": [], "steps": [{"do": "fly"}]}',
        '{"modules": [], "steps": [{"do": "invoke", "name": "a", "export": "f", "args": ["i32:100000000"]}]}',
        '{"modules": [], "steps": [{"do": "invoke", "name": "a", "export": "f", "args": [3]}]}',
    ],
)  # fmt: skip
def test_what_is_no_case(tmp_path: Path, data: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(data)
    with pytest.raises(UsageError, match="is no case"):
        load_file(path)


def test_cases_and_other_files(tmp_path: Path) -> None:
    case = case_of("(module)", steps=(Instantiate("a", 0),))
    (tmp_path / "a.json").write_text(json.dumps(case.to_json()))
    assert load_file(tmp_path / "a.json").case == case
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UsageError, match="expected"):
        load_file(tmp_path / "a.txt")


# Regression tests


def test_a_case_survives_the_way_through_a_script(tmp_path: Path) -> None:
    steps = (
        Instantiate("a b", 0),
        Register("a b", 'x"y\\z'),
        Invoke("a b", "<&>\n", ("f32:ffc12345", "v128:ffffffff00000001", "ref.null", "ref.extern:4"), 3),
        Invoke("a b", "trap"),
        Read("a b", "g"),
    )
    text = """(module (func (export "<&>\\n") (param f32 v128 externref externref) (result v128 f32)
        (local.get 1) (local.get 0))
      (func (export "trap") (drop (i32.div_u (i32.const 1) (i32.const 0)))) (global (export "g") i64 (i64.const -1)))"""
    case = case_of(text, steps=steps)
    before = resolve("right").run(case)
    path = tmp_path / "a.wast"
    path.write_text(to_wast(case, before.outcomes, "a title\nof two lines"))
    commands = script.parse_script(path.read_bytes())
    asserted = [c for c in commands if isinstance(c, script.AssertReturn | script.AssertTrap)]
    assert len(asserted) == 3
    again = load_file(path).case
    assert again.modules == case.modules
    answer = resolve("right").run(again)
    assert [answer.outcomes[i] for i in (0, 1, 4, 5, 6)] == list(before.outcomes)
    assert judge(again, {"a": answer, "b": resolve("also").run(again)}).kind == "agree"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome("malformed"), script.AssertMalformed),
        (Outcome("invalid"), script.AssertInvalid),
        (Outcome("unlinkable"), script.AssertUnlinkable),
        (Outcome("trapped", detail="unreachable"), script.AssertTrap),
    ],
)
def test_modules_that_do_not_come_to_life(outcome: Outcome, expected: type) -> None:
    data = b"\0asm junk" if outcome.kind == "malformed" else case_of("(module (func unreachable) (start 0))").modules[0]
    (command,) = script.parse_script(to_wast(Case((data,), (Instantiate("a", 0),)), [outcome]))
    assert isinstance(command, expected)


def test_hostile_answers_make_no_script_that_cannot_be_read() -> None:
    case = case_of('(module (func (export "f")))', steps=(Instantiate("a", 0), Invoke("a", "f"), Read("a", "f")))
    for values in (("i32:zz",), (")(",), ("ref.\n)",)):
        outcomes = [Outcome("returned"), Outcome("returned", values), Outcome("crashed", values, "\n) (module")]
        script.parse_script(to_wast(case, outcomes, "title\r) \u202e"))


def test_names_and_literals() -> None:
    assert identifier("a-1") == "$a-1"
    assert identifier("a b") == '$"a b"'
    assert literal("i32:ffffffff") == "(i32.const 0xffffffff)"
    assert literal("f64:fff8000000000001") == "(f64.const -nan:0x8000000000001)"
    assert plain("a\x1b[0m\u202e\ud800é") == "a\\x1b[0m\\u{202e}\\u{d800}é"
    assert plain("x" * 100, 10) == "x" * 9 + "…"


def test_calls_of_companions_are_observed() -> None:
    text = """(module (import "h" "f" (func $f (param i32 f64 externref) (result i32))) (import "h" "g" (func $g))
      (func (export "run") (call $g) (drop (call $f (i32.const -1) (f64.const 1) (ref.null extern)))))"""
    case, _ = bare_case(encode(parse_module(text)))
    answer = resolve("right").run(case)
    assert [outcome.kind for outcome in answer.outcomes] == ["returned"] * 4
    assert answer.trace == ("10000,0", "0,3", "1,ffffffff", "2,3ff0000000000000", "3,1")


HOSTED = """(module (import "lab" "log" (func $log (param i32 i64))) (import "lab" "trap" (func $trap))
  (func (export "f") (param i32) (call $log (local.get 0) (i64.const -7)) (call $log (i32.const 9) (i64.const 8)))
  (func (export "t") (call $trap)))"""


REENTERING = """(module (import "lab" "reenter" (func $re (param i32))) (global $g (mut i32) (i32.const 0))
  (func (export "reenter") (param i32) (global.set $g (i32.add (global.get $g) (local.get 0)))
    (if (local.get 0) (then (call $re (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "f") (param i32) (result i32) (call $re (local.get 0)) (global.get $g)))"""


@pytest.mark.parametrize(("callee", "sum_"), [(True, 6), (False, 0)])
def test_a_script_enters_again_where_the_host_does(callee: bool, sum_: int, tmp_path: Path) -> None:
    steps = (Instantiate("a", 0), *[Register("a", "lab.callee")] * callee, Invoke("a", "f", ("i32:3",)))
    outcomes = (*[Outcome("returned")] * (len(steps) - 1), Outcome("returned", (f"i32:{sum_:x}",)))
    case = case_of(REENTERING, steps=steps)
    path = tmp_path / "a.wast"
    path.write_text(to_wast(case, outcomes))
    assert load_file(path).case.steps == steps
    assert load_file(path).case.modules == case.modules
    plain = tmp_path / "suite"
    plain.mkdir()
    text = path.read_text().replace('"lab', '"their')  # as it is to a program that has no such module
    (plain / "a.wast").write_text(text)
    assert cli.run(["conform", "--engines", "ref/py", "--suite", str(plain)]) == 0


def test_a_callee_that_cannot_be_entered_needs_no_module() -> None:
    other = '(module (import "lab" "reenter" (func $re (param i32))) (func (export "reenter") (param i64)))'
    case = case_of(other, steps=(Instantiate("a", 0), Register("a", "lab.callee")))
    assert CALLEE not in to_wast(case, [Outcome("returned")] * 2)


def test_a_script_brings_the_hosts_that_it_needs(tmp_path: Path) -> None:
    """Other programs have no module `lab`; the lab passes over the script's."""
    steps = (Instantiate("a", 0), Invoke("a", "f", ("i32:ffffffff",)), Invoke("a", "t", ()))
    case = case_of(HOSTED, steps=steps)
    calls = ("ffffffff,fffffffffffffff9", "9,8")
    outcomes = (Outcome("returned"), Outcome("returned"), Outcome("trapped", detail="host"))
    text = to_wast(case, outcomes, calls=calls)
    path = tmp_path / "a.wast"
    path.write_text(text)
    loaded = load_file(path)
    assert [type(step) for step in loaded.case.steps] == [Instantiate, Invoke, Invoke]
    assert loaded.case.modules == case.modules
    store = Store()
    checked = False
    instances: dict[str | None, dict[str, Any]] = {}
    registered: dict[str, dict[str, Any]] = {}
    for command in script.parse_script(text.encode()):  # as any other program runs it
        match command:
            case script.Module(_, id_, source):
                module = source.parse()
                imports = [registered[i.module][i.name] for i in module.imports]
                instances[id_] = store.instantiate(validate(module), imports).exports
            case script.Register(_, name, id_):
                registered[name] = instances[id_]
            case script.AssertReturn(_, action, results):
                args = [argument.bits for argument in action.args]
                found = store.invoke(instances[action.id][action.name], args)
                assert len(found) == len(results)
                if action.name == "calls":
                    assert found == [results[0].bits]
                    checked = True
            case script.AssertTrap(_, action):
                with pytest.raises(Trap):
                    store.invoke(instances[action.id][action.name], [])
    assert checked
    assert digest(calls) != digest(calls[::-1])


@pytest.mark.parametrize("name", ["a.wast", "a.json"])
def test_a_script_is_no_module(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("(module)")
    with pytest.raises(UsageError, match=r"expected \.wasm or \.wat"):
        load_module(path)
