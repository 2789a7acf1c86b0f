"""Conformance: what a script's commands come to on an engine, and what is said of those that fail."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wasmlab import cli, conform
from wasmlab.errors import UsageError
from wasmlab_adapters.engine import Engine
from wasmlab_adapters.registry import resolve
from wasmlab_adapters.runner import Worker
from wasmlab_matrices.load import Limits

BRIDGED = (
    f"cmd:env PYTHONPATH={shlex.quote(os.pathsep.join(sys.path))} {shlex.quote(sys.executable)}"
    " -m wasmlab_adapters.workers.ref_py --bridge"
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(resolve("ref/py")) as started:
        yield started


def tally(text: str, engine: Engine, folder: Path, name: str = "case.wast") -> conform.Tally:
    path = folder / "case.wast"
    path.write_text(text)
    return conform.run_script(conform.Script(path, name), engine)


GOOD = r"""
(module $m (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "nan") (result f32) (f32.const nan)) (global (export "g") i32 (i32.const 7))
  (func (export "div") (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
  (func $deep (export "deep") (call $deep)) (tag $t) (func (export "throw") (throw $t))
  (func (export "x") (param externref) (result externref) (local.get 0)))
(assert_return (invoke "add" (i32.const 1) (i32.const -2)) (i32.const -1))
(assert_return (invoke $m "nan") (f32.const nan:canonical))
(assert_return (invoke "x" (ref.extern 3)) (ref.extern 3))
(assert_return (get "g") (i32.const 7))
(assert_trap (invoke "div" (i32.const 0)) "integer divide by zero")
(assert_exhaustion (invoke "deep") "call stack exhausted")
(assert_exception (invoke "throw"))
(assert_malformed (module binary "\00asn") "magic header not detected")
(assert_malformed (module quote "(func (result i32) i33.const 1)") "unknown operator")
(assert_invalid (module (func (result i32))) "type mismatch")
(register "M" $m)
(module (import "M" "g" (global i32)))
(assert_unlinkable (module (import "M" "none" (func))) "unknown import")
(module definition $d (memory 1))
(module instance $i $d)
(assert_trap (module (func $f unreachable) (start $f)) "unreachable")
"""


def test_everything_that_holds_passes(engine: Engine, tmp_path: Path) -> None:
    found = tally(GOOD, engine, tmp_path)
    assert (found.passed, found.failures) == (found.total, [])
    assert (found.total, found.assertions) == (17, 12)


def test_a_bridged_engine_without_a_text_parser(tmp_path: Path) -> None:
    with Engine(resolve(BRIDGED)) as bridged:
        assert not bridged.text
        found = tally(GOOD, bridged, tmp_path)
    assert (found.passed, found.not_applicable, found.failures) == (16, 1, [])


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        ('(assert_return (invoke "f") (i32.const 2))', "returned i32:1"),
        ('(assert_return (invoke "f"))', "returned i32:1"),
        ('(assert_return (invoke "f") (i64.const 1))', "returned i32:1"),
        ('(assert_return (invoke "n") (f32.const nan:canonical))', "returned f32:7fa00000"),
        ('(assert_return (invoke "z") (f32.const 0))', "returned f32:80000000"),
        ('(assert_return (invoke "t") (i32.const 1))', "trapped (unreachable)"),
        ('(assert_return (invoke "r") (ref.extern 1))', "returned ref.null"),
        ('(assert_trap (invoke "f") "unreachable")', "returned i32:1"),
        ('(assert_trap (invoke "t") "integer overflow")', "trapped (unreachable)"),
        ('(assert_exhaustion (invoke "f") "call stack exhausted")', "returned i32:1"),
        ('(assert_exception (invoke "t"))', "trapped (unreachable)"),
        ('(assert_invalid (module) "type mismatch")', "returned"),
        ('(assert_malformed (module binary "\\00asm" "\\01\\00\\00\\00") "x")', "returned"),
        ('(assert_malformed (module quote "(func)") "x")', "returned"),
        ('(assert_unlinkable (module) "unknown import")', "returned"),
        ('(module (import "no" "thing" (func)))', "unlinkable"),
        ('(invoke "t")', "trapped (unreachable)"),
        ('(get "none")', "no exported"),
        ('(register "x" $nobody)', "no instance"),
        ("(module (func (result i32)))", "invalid"),
        ("(module (func i33.nop))", "lab fault: 7:15: unknown operator"),
        ('(module $b (func unreachable) (start 0)) (assert_return (invoke $b "f"))', "no instance"),
    ],
)
def test_everything_that_does_not_hold_fails_with_its_line(
    wrong: str, got: str, engine: Engine, tmp_path: Path
) -> None:
    script = f"""(module
      (func (export "f") (result i32) (i32.const 1)) (func (export "t") unreachable)
      (func (export "n") (result f32) (f32.const nan:0x200000))
      (func (export "z") (result f32) (f32.const -0))
      (func (export "r") (result externref) (ref.null extern)))
    (assert_return (invoke "f") (i32.const 1))
{wrong}
"""
    found = tally(script, engine, tmp_path)
    if got == "no exported":
        assert found.passed + found.unsupported == found.total - len(found.failures)
        return
    assert found.failures
    failure = found.failures[-1]
    assert (failure.file, failure.line) == ("case.wast", 7)
    assert got in failure.got
    assert f"({failure.command}" in wrong


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ("(i64.const -1)", "i64:ffffffffffffffff"),
        ("(f32.const nan:canonical)", "f32:nan:canonical"),
        ("(v128.const f32x4 nan:arithmetic 1 0 0)", "f32x4:nan:arithmetic,3f800000,0,0"),
        ("(ref.func)", "ref.func"),
        ("(ref.null)", "ref.null"),
        ("(ref.extern 3)", "ref.extern:3"),
        ("(either (i32.const 1) (i32.const 2))", "i32:1 or i32:2"),
    ],
)
def test_what_was_expected_is_told_in_words(result: str, shown: str, engine: Engine, tmp_path: Path) -> None:
    (failure,) = tally(f'(module (func (export "f")))(assert_return (invoke "f") {result})', engine, tmp_path).failures
    assert failure.expected == shown


def test_a_script_that_is_none(engine: Engine, tmp_path: Path) -> None:
    found = tally("(module (func)\n(assert_return", engine, tmp_path)
    assert (found.total, found.failed) == (1, 1)
    assert "lab fault" in found.failures[0].got
    assert tally("(modul", engine, tmp_path, "proposals/x/y.wast").unsupported == 1


def test_what_is_collected(tmp_path: Path) -> None:
    for name in ("b.wast", "a.wast", "custom/c.wast", "legacy/d.wast", "proposals/threads/e.wast", "note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = conform.collect(tmp_path)
    assert [s.name for s in found] == ["a.wast", "b.wast", "custom/c.wast", "proposals/threads/e.wast"]
    assert [conform.apart(s.name) for s in found] == [False, False, False, True]
    assert [s.name for s in conform.collect(tmp_path, "?.wast")] == ["a.wast", "b.wast"]
    assert [s.name for s in conform.collect(tmp_path / "a.wast")] == ["a.wast"]
    (tmp_path / "a.wast").write_bytes(b"\x00garbage\xff")
    with pytest.raises(UsageError, match="a.wast:1:"):
        conform.collect(tmp_path / "a.wast")
    with pytest.raises(UsageError, match="no scripts"):
        conform.collect(tmp_path, "zzz*")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "proposals" / "new").mkdir(parents=True)
    (tmp_path / "good.wast").write_text("(module)")
    (tmp_path / "proposals" / "new" / "later.wast").write_text("(module (func new.instruction))")
    assert cli.run(["conform", "--engines", "ref/py", "--suite", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["engines"]["ref/py"]
    assert {k: found[k] for k in ("passed", "failed", "unsupported", "not_applicable", "total", "failures")} == {
        "passed": 1, "failed": 0, "unsupported": 0, "not_applicable": 0, "total": 1, "failures": [],
    }  # fmt: skip
    assert found["groups"]["proposals/new"]["unsupported"] == 1
    (tmp_path / "bad.wast").write_text('(module)\n\n(assert_invalid (module) "no\\1b[31m")')
    assert cli.run(["conform", "--engines", "ref/py", "--suite", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "bad.wast:3: assert_invalid: expected invalid: no" in out
    assert "\x1b[31m" not in out


@pytest.mark.parametrize(
    ("args", "status", "line"),
    [
        (["--engines", "ref/py", "--suite", "nowhere"], 2, "no suite or path 'nowhere'"),
        (["--engines", "wastime", "--suite", "."], 2, "wasmtime"),
        (["--engines", "", "--suite", "."], 2, "engine"),
        (["--engines", "ref/py", "--suite", ".", "--filter", "zzz"], 2, "no scripts"),
    ],
)
def test_wrong_usage_is_one_line(args: list[str], status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["conform", *args]) == status
    err = capsys.readouterr().err
    assert line in err
    assert "Traceback" not in err


SHADOWED = """
(module $M (memory (export "m") 1) (func (export "get") (result i32) (i32.load8_u (i32.const 0))))
(register "M" $M)
(module $two (memory 1) (memory (export "x") 1))
(register "two" $two)
(module (import "M" "m" (memory 1)) (memory 1) (data (i32.const 0) "\\07"))
(assert_return (invoke $M "get") (i32.const 7))
(module (import "two" "x" (memory 1)))
(module $free (func (export "f") (result i32) (i32.const 1)))
(assert_return (invoke $free "f") (i32.const 2))
"""


@pytest.mark.engine
def test_what_an_unsupported_module_would_have_done_is_not_held_against_an_engine(tmp_path: Path) -> None:
    with Engine(resolve("wasmtime+without=multi-memory")) as small:
        found = tally(SHADOWED, small, tmp_path)
    # two modules, a registration of one, what the other would have written, what imports from the first
    assert (found.unsupported, found.failed) == (5, 1)
    assert [failure.line for failure in found.failures] == [10]


MANY = "\n".join(
    ['(module (global $g (mut i32) (i32.const 0)) (func (export "f") (result i32) (global.set $g (i32.add '
     '(global.get $g) (i32.const 1))) (global.get $g)) (func (export "t") unreachable))']
    + [f'(assert_return (invoke "f") (i32.const {n}))' for n in range(1, 101)]
    + ['(assert_trap (invoke "t") "unreachable")', '(assert_return (invoke "f") (i32.const 101))', "(module)"]
    + ['(assert_return (invoke "f"))']
)  # fmt: skip


@pytest.mark.parametrize("name", ["ref/py", pytest.param("v8", marks=pytest.mark.engine)])
def test_calls_in_a_row_are_made_in_order(name: str, tmp_path: Path) -> None:
    with Engine(resolve(name)) as engine:
        found = tally(MANY, engine, tmp_path)
    assert found.failures == []
    assert (found.passed, found.unsupported) == (104, 1)  # the last call is to another module


DYING = """(module (func (export "f") (result i32) (i32.const 1)) (func (export "g") (loop (br 0))))
(assert_return (invoke "f") (i32.const 1))
(assert_return (invoke "g"))
(assert_return (invoke "f") (i32.const 1))
(module (func (export "f") (result i32) (i32.const 1)))
"""


def test_after_a_call_that_does_not_end_the_store_is_gone(tmp_path: Path) -> None:
    with Engine(replace(resolve("ref/py"), limits=Limits(startup=60, deadline=0.5))) as engine:
        found = tally(DYING, engine, tmp_path)
        assert [(failure.line, failure.got[:9]) for failure in found.failures] == [(3, "timed out")]
        assert (found.passed, found.unsupported) == (2, 2)
        assert tally(GOOD, engine, tmp_path).failed == 0


class Modest(Engine):
    """An engine that takes more than it claims."""

    features = frozenset({"mvp", "sign-extension", "multi-value"})  # type: ignore[assignment]


BEYOND = """
(module $v (func (export "f") (result i32) (i32x4.extract_lane 0 (v128.const i32x4 1 2 3 4))))
(assert_return (invoke $v "f") (i32.const 1))
(assert_return (invoke $v "f") (i32.const 2))
(module $plain (func (export "f") (result i32) (i32.const 1)))
(assert_return (invoke $plain "f") (i32.const 2))
(assert_invalid (module (memory i64 1)) "not even that")
(assert_invalid (module (memory 1)) "not even that")
(assert_trap (module (memory 1) (func (drop (v128.const i32x4 1 2 3 4)))) "not even that")
"""


def test_what_an_engine_does_not_claim_is_not_held_against_it(tmp_path: Path) -> None:
    with Modest(resolve("ref/py")) as modest:
        found = tally(BEYOND, modest, tmp_path)
    assert [failure.line for failure in found.failures] == [6, 8]
    assert (found.passed, found.unsupported) == (3, 3)


def test_a_worker_that_is_killed_from_outside_loses_nothing(tmp_path: Path) -> None:
    with Engine(resolve("ref/py")) as engine:
        whole = tally(GOOD, engine, tmp_path)
        killed = []

        def submit(request: dict[str, Any], deadline: float | None = None) -> None:
            if len(killed) < 5:
                killed.append(request)
                if len(killed) == 5:
                    os.kill(engine.worker._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
            Worker.submit(engine.worker, request, deadline)

        engine.worker.submit = submit  # type: ignore[method-assign]
        assert tally(GOOD, engine, tmp_path) == whole
        assert engine.worker.stats.outside == 1
    assert not whole.failed


OLDER = """
(assert_invalid (module (memory 0) (memory 0)) "multiple memories")
(assert_malformed (module quote "(memory 0x1_0000_0000)") "i32 constant out of range")
(module (table 1 funcref) (memory 1) (func $f) (elem 0 (i32.const 0) $f) (data 0 (i32.const 0) "a"))
"""


def test_what_a_proposal_calls_invalid_may_be_valid_since(engine: Engine, tmp_path: Path) -> None:
    """Its files were written for an older version of the standard: row `unaware` of the suite."""
    for name, failed in (("threads", 0), ("wide-arithmetic", 2)):
        folder = tmp_path / "proposals" / name
        folder.mkdir(parents=True)
        found = tally(OLDER, engine, folder)
        assert (found.failed, found.passed) == (failed, 3 - failed)
        assert tally('(assert_invalid (module (func)) "no")', engine, folder).failed == 1
        assert tally('(assert_invalid (module (memory 0) (memory 0) (func nop drop)) "no")', engine, folder).passed == 1


@pytest.mark.parametrize("name", ["ref/py", "ref"])
@pytest.mark.parametrize(("proposal", "checks"), [("threads", 619), ("custom-page-sizes", 207)])
def test_suites_of_proposals_that_are_there(name: str, proposal: str, checks: int, core_suite: Path) -> None:
    scripts = conform.collect(core_suite, f"proposals/{proposal}/*")
    with Engine(resolve(name)) as engine:
        tallies = [conform.run_script(script, engine) for script in scripts]
    assert [failure for found in tallies for failure in found.failures] == []
    assert sum(found.passed for found in tallies) == sum(found.total for found in tallies) == checks


def test_an_interruption_ends_the_processes_in_the_middle_of_a_script(tmp_path: Path) -> None:
    """Whoever interrupts does not wait for a file to be done."""
    quick, endless = tmp_path / "quick.wast", tmp_path / "endless.wast"
    quick.write_text("(module)\n")
    calls = '(assert_return (invoke "f"))\n' * 1000
    endless.write_text(f'(module (func (export "f") (loop $l (br $l))))\n{calls}')
    results = conform.run([*conform.collect(quick), *conform.collect(endless)], ["ref/py"], 2)
    script, _ = next(results)
    assert script.name == "quick.wast"
    processes = multiprocessing.active_children()
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert processes
    for process in processes:
        process.join()
    assert 128 + signal.SIGTERM in {process.exitcode for process in processes}  # of one that is idle it is 0
