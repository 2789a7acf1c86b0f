"""Known divergences: which rows explain one, and rows whose bug does not show any more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import zoo
from test_signature import WRONG, function

from wasmlab import cli, matrix, replay
from wasmlab.commands import known as command
from wasmlab.commands.matrix import _finish
from wasmlab.errors import Missing, UsageError
from wasmlab.judgement import Judgement
from wasmlab.known import Known, account
from wasmlab.loading import load_file
from wasmlab.oracle import Verdict
from wasmlab.signature import signature_of
from wasmlab_adapters.registry import EngineName
from wasmlab_matrices.known import FOLDER, KnownDivergence, load_known
from wasmlab_matrices.load import load_engines
from wasmlab_matrices.matrix import Matrix, load_matrix
from wasmlab_matrices.schema import SchemaError
from wasmlab_ref.case import Case

CLZ = function("(i32.clz (local.get 0))")


def row(**more: str) -> KnownDivergence:
    fields = {
        "engine": "x*", "versions": "1*", "signature": "ref returned / x* at *: i32.clz*", "case": "a.wast",
        "reason": "counted wrongly", "link": "https://example.org/1",
    }  # fmt: skip
    return KnownDivergence(**{**fields, **more})


def explained(found: KnownDivergence, case: Case = CLZ, verdict: Verdict = WRONG, engines: Sequence[str] = ()) -> str:
    names = engines or ("ref", "x")
    return Known((found,)).reason(signature_of(case, verdict), case, [zoo.resolve(name) for name in names])


def test_a_row_explains_what_its_globs_match() -> None:
    assert explained(row()) == "counted wrongly https://example.org/1"
    assert not explained(row(engine="y*"))
    assert not explained(row(versions="2*"))
    assert not explained(row(), function("(local.get 0)"))


def test_a_row_may_ask_for_something_in_the_modules() -> None:
    assert explained(row(modules=r"local\.get 0\n\s+i32\.clz"))
    assert not explained(row(modules="i32.ctz"))


def test_a_large_case_is_explained_by_rows_that_say_nothing_of_instructions() -> None:
    def large(found: KnownDivergence) -> bool:
        engines = [zoo.resolve(name) for name in ("ref", "x")]
        return bool(Known((found,)).reason(signature_of(CLZ, WRONG), CLZ, engines, large=True))

    assert not large(row())
    assert large(row(signature="ref returned / x* at *: *"))
    assert not large(row(signature="ref returned / x* at *: *", modules="i32.clz"))
    assert not large(row(signature="ref returned / x* at *: *", modules=";; invalid: type mismatch"))


def test_every_engine_at_fault_needs_a_row() -> None:
    outcomes = {"ref": WRONG.outcomes["ref"], "x": WRONG.outcomes["x"], "y": WRONG.outcomes["x"]}
    both = Verdict("diverge", "", 1, "invoke", (("ref",), ("x", "y")), outcomes)
    assert not explained(row(), verdict=both, engines=("ref", "x", "y"))
    names = ("ref", "x", "y")
    known = Known((row(), row(engine="y", signature="ref returned / y returned at invoke: *", reason="also")))
    said = known.reason(signature_of(CLZ, both), CLZ, [zoo.resolve(name) for name in names])
    assert said == "counted wrongly https://example.org/1; also https://example.org/1"


def test_what_validation_has_against_a_module_is_part_of_the_account() -> None:
    case = zoo.case_of("(module (func (br 0) (block (i64.ge_s))))", "(module (func (i64.ge_s) (drop)))")
    said = account(case)
    start = ";; invalid: type mismatch: instruction requires [i64 i64] but stack has [] (function 0, "
    assert said.startswith(start + "instruction 2: i64.ge_s, unreachable)\n(module")
    assert "\n" + start + "instruction 0: i64.ge_s)\n(module" in said
    assert account(Case((b"junk",), ())).startswith(";; malformed: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "k.yaml:1: expected a list"),
        ("- {engine: x}", "key 'versions' is missing"),
        ("- {engine: 'x[0]', versions: a, signature: a, case: a, reason: a, link: a}", "only the star"),
        ("- {engine: x, versions: a, signature: a, case: a, reason: ' ', link: a}", "'reason' is empty"),
        ("- {engine: x, versions: a, signature: a, case: a, reason: a, link: a, modules: '('}", "no regular"),
    ],
)  # fmt: skip
def test_rows_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text(text)
    with pytest.raises(SchemaError) as error:
        load_known(tmp_path / "k.yaml")
    assert message in str(error.value)


def test_the_rows_that_we_ship_can_be_asked() -> None:
    engines = load_engines()
    for found in load_known():
        name = EngineName.parse(found.column)
        assert name.engine in engines, found
        assert name.variant in (None, "", *engines[name.engine].variants), found
        assert found.concerns(found.column, found.versions.replace("*", "1")), found
        assert load_file(FOLDER / found.case).case.steps
    unused = {path.name for path in (FOLDER / "cases").iterdir()} - {Path(found.case).name for found in load_known()}
    assert not unused
    assert load_matrix("nightly").known


# Rows whose bug shows, or does not


XOR = """(module (func (export "f") (result i32) (i32.xor (i32.const 1) (i32.const 4))))
(assert_return (invoke "f") (i32.const 5))
"""
ROWS = """
- engine: "bug/xor-lsb"
  versions: "1"
  signature: "ref returned / bug/xor-lsb returned at invoke: i32.xor*"
  case: xor.wast
  reason: "one bit too many"
  link: "here"
"""


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of rows, about engines of this process; `bug/gone` is one that there is not."""

    @contextmanager
    def opened(names: Sequence[str]) -> Iterator[list[Any]]:
        if "bug/gone" in names:
            raise Missing("no such engine", "buy one")
        yield [zoo.resolve(name) for name in names]

    def replayed(rows: Sequence[KnownDivergence], folder: Path) -> Iterator[replay.Replayed]:
        return original(rows, folder, opened)

    original = replay.replay
    monkeypatch.setattr(replay, "judging", lambda engines: nullcontext(Judgement()))
    monkeypatch.setattr(command.r, "replay", replayed)
    (tmp_path / "xor.wast").write_text(XOR)
    (tmp_path / "known.yaml").write_text(ROWS)
    return tmp_path / "known.yaml"


def test_a_bug_that_still_shows(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["known", str(rows)]) == 0
    assert "1 shown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("i32.xor (i32", "i32.or (i32", "agree"),
        ('versions: "1"', 'versions: "0.*"', "the row is about versions 0.*"),
        ("invoke: i32.xor*", "invoke: i32.or*", "something else: ref returned / bug/xor-lsb returned at invoke: i32"),
        ("reason:", "modules: 'i64'\n  reason:", "something else: "),
    ],
)  # fmt: skip
def test_a_bug_that_is_gone(old: str, new: str, said: str, rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (rows, rows.parent / "xor.wast"):
        path.write_text(path.read_text().replace(old, new))
    assert cli.run(["known", str(rows), "--json", "--out", str(rows.parent / "out")]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["state"] == "stale"
    assert said in found["said"]
    assert [one.to_json() for one in replay.load_replayed(rows.parent / "out")] == [found]


def test_an_engine_that_is_missing_is_said_and_hides_nothing(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows.write_text(ROWS + '- {engine: bug/gone, versions: "1", signature: "*", case: xor.wast, reason: r, link: l}\n')
    assert cli.run(["known", str(rows)]) == 3
    out = capsys.readouterr().out
    assert "no such engine" in out
    assert "1 shown, 1 missing" in out
    (rows.parent / "xor.wast").write_text(XOR.replace("i32.xor", "i32.or"))
    assert cli.run(["known", str(rows)]) == 1
    assert cli.run(["known", str(rows), "--only", "bug/g*"]) == 3
    assert cli.run(["known", str(rows), "--only", "y"]) == 2


def test_a_case_that_is_not_there_is_wrong_input(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows.write_text(ROWS.replace("xor.wast", "none.wast"))
    assert cli.run(["known", str(rows)]) == 2
    assert "none.wast: No such file" in capsys.readouterr().err


def test_a_stale_row_sets_the_exit_status_of_a_matrix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = matrix.jobs_of(Matrix(about="a", engines=("ref",), known="rows.yaml"), 1)
    assert [(job.arguments, job.out) for job in jobs] == [(("known", "rows.yaml"), "known")]

    def end(state: str, status: int) -> tuple[int, str]:
        replay.save([replay.Replayed("v8", "1", "a.wast", state, "agree", "r")], tmp_path / "known")
        (tmp_path / matrix.STATE).write_text(json.dumps({jobs[0].title: {"status": status, "seconds": 1.0}}))
        return _finish(tmp_path, jobs, False), capsys.readouterr().out

    status, out = end(replay.STALE, 1)
    assert (status, "v8, a.wast: agree" in out) == (1, True)
    status, out = end(replay.MISSING, 3)
    assert (status, "known v8: agree" in out) == (3, True)
    assert end(replay.SHOWN, 0)[0] == 0


def test_the_matrix_runs_the_check(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, on real engines: `ref/py` differs from `ref` in nothing."""
    (tmp_path / "a.wast").write_text(XOR)
    (tmp_path / "k.yaml").write_text(ROWS.replace("bug/xor-lsb", "ref/py").replace("xor.wast", "a.wast"))
    (tmp_path / "m.yaml").write_text(f"about: a\nengines: [ref/py]\nknown: {tmp_path / 'k.yaml'}\n")
    assert cli.run(["matrix", "run", str(tmp_path / "m.yaml"), "--out", str(tmp_path / "run")]) == 1
    assert "ref/py, a.wast: agree" in capfd.readouterr().out


@pytest.mark.nightly
@pytest.mark.engine
def test_our_rows_show() -> None:
    """Every row of ours on its engine; `wasmlab known` says more."""
    assert cli.run(["known"]) == 0


def test_outcomes_of_rows_survive_a_damaged_record(tmp_path: Path) -> None:
    assert replay.load_replayed(tmp_path) == []
    (tmp_path / replay.FILE).write_text("[1")
    with pytest.raises(UsageError, match="no record of known"):
        replay.load_replayed(tmp_path)
