"""Binaryen's columns: what is particular about their workers, beside what engines.yaml says of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from wasmlab_adapters.engine import Engine
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.registry import resolve
from wasmlab_adapters.workers.binaryen import links
from wasmlab_adapters.workers.binaryen_exec import Run
from wasmlab_adapters.workers.binaryen_script import Instance, Session, has_state, mark, named
from wasmlab_adapters.workers.lines import Lines
from wasmlab_adapters.workers.node import Ended, Node
from wasmlab_ref.case import Case, Instantiate, Invoke, Outcome, Register
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.interface import interface
from wasmlab_ref.text import parse_module


def binary(text: str) -> bytes:
    return encode(parse_module(text))


# The optimiser


def test_links_are_the_imports() -> None:
    data = binary(
        '(module (import "m" "f" (func (param i32))) (import "m" "t" (tag)) (import "m" "g" (func)) (memory 1) (func))'
    )
    found = interface(links(data))
    assert found.import_names == [("m", "f"), ("m", "t"), ("m", "g")]
    assert [*found.exports] == ["0", "1", "2"]


@pytest.fixture(scope="module", params=["binaryen", "binaryen-exec"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    try:
        with Engine(resolve(request.param)) as started:
            yield started
    except EngineUnavailable as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


@pytest.mark.engine
def test_an_abort_is_a_crash_and_the_next_case_runs(engine: Engine) -> None:
    """An assertion of Binaryen 132's fails where it reads this one."""
    aborts = binary(
        "(module (memory $a 1) (memory $b i64 1)(func (memory.copy $a $b (i32.const 0) (i64.const 0) (i32.const 1))))"
    )
    outcomes = engine.run(Case((aborts,), (Instantiate("a", 0),))).outcomes
    assert [outcome.kind for outcome in outcomes] == ["crashed"]
    assert "addressType" in outcomes[0].detail
    fine = binary('(module (func (export "f") (result i32) (i32.const 7)))')
    assert engine.run(Case((fine,), (Instantiate("a", 0), Invoke("a", "f")))).outcomes[1].values == ("i32:7",)


@pytest.mark.engine
def test_imports_that_nothing_uses_are_linked(engine: Engine) -> None:
    m = binary('(module (func (export "f")) (memory (export "m") 1))')
    uses = binary(
        '(module (import "m" "f" (func)) (import "m" "m" (memory 1))(func (export "size") (result i32) (memory.size)))'
    )
    other = binary('(module (import "m" "f" (func (param i32))) (func (export "f")))')
    steps = Instantiate("m", 0), Register("m", "m"), Instantiate("a", 1), Invoke("a", "size"), Instantiate("b", 2)
    outcomes = engine.run(Case((m, uses, other), steps)).outcomes
    assert [outcome.kind for outcome in outcomes] == ["returned"] * 4 + ["unlinkable"]
    assert outcomes[3].values == ("i32:1",)


@pytest.mark.engine
def test_what_an_instantiation_did_before_it_trapped_stays(engine: Engine) -> None:
    m = binary('(module (memory (export "m") 1) (func (export "get") (result i32) (i32.load8_u (i32.const 5))))')
    traps = binary('(module (import "m" "m" (memory 1)) (data (i32.const 5) "\\07") (start $f) (func $f unreachable))')
    with engine.session() as session:
        assert session.instantiate("m", m).kind == session.register("m", "m").kind == "returned"
        assert session.instantiate("a", traps).kind == "trapped"
        assert session.invoke("m", "get").values == ("i32:7",)
    steps = Instantiate("m", 0), Register("m", "m"), Instantiate("a", 1), Invoke("m", "get")
    assert engine.run(Case((m, traps), steps)).outcomes[-1].values == ("i32:7",)


@pytest.mark.engine
def test_sessions_keep_what_is_linked(engine: Engine) -> None:
    counter = binary(
        '(module (global $g (mut i32) (i32.const 0)) (func (export "next") (result i32)'
        "(global.set $g (i32.add (global.get $g) (i32.const 1))) (global.get $g)))"
    )
    user = binary(
        '(module (import "m" "next" (func $next (result i32))) (func (export "f") (result i32) (call $next)))'
    )
    pure = binary('(module (func (export "f") (param i64) (result i64) (local.get 0)))')
    with engine.session() as session:
        assert session.instantiate("m", counter).kind == session.register("m", "m").kind == "returned"
        assert session.instantiate("p", pure).kind == "returned"
        assert [session.invoke("m", "next").values for _ in range(2)] == [("i32:1",), ("i32:2",)]
        assert session.instantiate("a", user).kind == "returned"
        assert session.invoke("a", "f").values == ("i32:3",)
        assert session.invoke("p", "f", ("i64:8000000000000001",)).values == ("i64:8000000000000001",)
        assert session.invoke("m", "next").values == ("i32:4",)
        assert session.instantiate("b", b"\0asm\1\0\0\0\1").kind == "invalid"
        assert session.invoke("a", "f").values == ("i32:5",)


# Scripts for the interpreter


def test_a_module_has_the_name_that_the_script_gives_it() -> None:
    data = binary('(module $old (func $f (export "f")))')
    text = named(data, "key")
    assert text.startswith("(module binary ")
    again = bytes.fromhex(text.removeprefix('(module binary "').removesuffix('")').replace("\\", ""))
    assert b"old" not in again
    assert again.endswith(b"\x04name\x00\x04\x03key")
    assert decode(again).exports == decode(data).exports
    assert named(b"\0asm\1\0\0\0\1", "key") == f'(module binary "{"".join(f"{chr(92)}{b:02x}" for b in data[:8])}\\01")'


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ('(module (func (export "f")))', False),
        ('(module (import "m" "f" (func)) (import "m" "t" (tag)))', False),
        ('(module (import "m" "g" (global i32)))', True),
        ("(module (memory 1))", True),
        ("(module (table 1 funcref))", True),
        ("(module (global (mut i32) (i32.const 0)))", True),
    ],
)
def test_what_has_a_state(text: str, state: bool) -> None:
    assert has_state(binary(text)) is state


def test_a_script_begins_with_what_concerns_it() -> None:
    face = interface(binary("(module)"))
    a, b, c = (Instance(key, face) for key in "abc")
    session = Session(instances={"a": a, "b": b, "c": c})
    session.commands = [("a", "(a)"), ("b", "(b)"), ("c", "(c)")]
    assert session.before([{"do": "call", "name": "a"}])[1:] == ["(a)"]
    session.join("c", [a], stateful=True)
    assert session.before([{"do": "call", "name": "a"}])[1:] == ["(a)", "(c)"]
    assert session.island("a") in session.stateful
    assert session.island("b") not in session.stateful
    session.registered["m"] = b
    assert session.before([{"do": "instantiate", "name": "x", "imports": [["m", "f"], ["lab", "log"]]}])[1:] == ["(b)"]
    session.registered["lab.callee"] = b
    assert len(session.before([{"do": "call", "name": "a"}])) == 4


def read(out: str, errors: str = "") -> tuple[int | None, list[Outcome], list[list[str]]]:
    steps = [{"do": "instantiate", "name": name, "module": "AGFzbQEAAAA=", "imports": []} for name in "ab"]
    run = Run(Session(), steps, {})
    stopped = run.read(out, errors)
    return stopped, [Outcome.from_json(outcome) for outcome in run.outcomes], run.logs


def printed(*lanes: int) -> str:
    return f"i32x4 {' '.join(f'0x{lane:08x}' for lane in lanes)} : v128\n"


def test_what_is_printed() -> None:
    at = [printed(0, i, 0, 0) for i in range(3)]
    log = printed(1, 0xFFFF_FFFF, 2, 0x8000_0000)
    assert read(at[0] + log + at[1] + at[2]) == (
        None,
        [Outcome("returned"), Outcome("returned")],
        [["ffffffff,8000000000000002"], []],
    )
    trap, host, limit = "[trap oob]\n", printed(2, 0, 0, 0) + "[trap unreachable]\n", "[host limit stack limit]\n"
    unlinkable = "[trap Imported global a.b with type: i32 isn't compatible\n]\n"
    for words, outcome in {
        trap: Outcome("trapped", detail="oob"),
        host: Outcome("trapped", detail="host"),
        limit: Outcome("exhausted", detail="stack limit"),
        unlinkable: Outcome("unlinkable", detail="Imported global a.b with type: i32 isn't compatible"),
    }.items():
        assert read(at[0] + at[1] + words, "failed to instantiate module\n")[:2] == (1, [Outcome("returned"), outcome])
    stopped, outcomes, _ = read(at[0], "3 BUILDING MODULE [line: 7]\n[parse exception: no\nmodule]\n")
    assert (stopped, outcomes[0]) == (0, Outcome("invalid", detail="[parse exception: no module]"))
    assert read(at[0], "failed to instantiate module")[1][0] == Outcome("threw")


def test_a_mark_of_what_is_repeated_is_none_of_the_steps() -> None:
    assert mark(3) == '(invoke $lab "at" (i32.const 3))'
    assert read("[trap of something before]\n" + "".join(printed(0, i, 0, 0) for i in range(3)))[0] is None


# The program that is asked


def program(text: str) -> Node:
    return Node([sys.executable, "-c", "import sys; print('ready', flush=True)\n" + text])


def test_a_program_answers_line_for_line() -> None:
    node = program("for line in sys.stdin: print(line.strip() * 2, flush=True)")
    assert [node.ask(b"a"), node.ask(b"bc")] == [b"aa", b"bcbc"]
    node.kill()


def test_a_program_that_ends_or_hangs() -> None:
    with pytest.raises(Ended) as ended:
        program("sys.exit(7)").ask(b"a")
    assert ended.value.status == 7
    node = program("import time; time.sleep(100)")
    with pytest.raises(TimeoutError):
        node.ask(b"a", 0.01)
    node.kill()
    with pytest.raises(Ended) as killed:
        node.ask(b"a")
    assert killed.value.status == -9


def test_lines_that_come_together() -> None:
    reader, writer = os.pipe()
    lines = Lines(-1).batches(reader, pause=0.2)
    os.write(writer, b"a\nb\nc")
    os.write(writer, b"d\n")
    assert next(lines) == [b"a", b"b", b"cd"]
    os.write(writer, b"e")
    os.close(writer)
    assert [*lines] == [[b"e"]]
    os.close(reader)
