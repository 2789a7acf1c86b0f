"""Findings by their id, and the commands that take them; the regression tests that they leave."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import zoo
from test_campaign import campaign, plan
from test_cli import _Opened, run

from wasmlab.commands import diff as diff_module
from wasmlab.commands import reduce as reduce_module
from wasmlab.errors import UsageError
from wasmlab.findings import find
from wasmlab.judgement import Judgement
from wasmlab.loading import load_any, load_file
from wasmlab.oracle import judge
from wasmlab.parallel import hunt
from wasmlab.signature import size
from wasmlab.store import Store, load
from wasmlab.wast import to_wast
from wasmlab_ref.case import Instantiate, Outcome, Read

NAMES = ("right", "bug/xor-lsb")


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A campaign with a finding, in the current folder."""
    with Store(tmp_path / "night", campaign(*NAMES)) as store:
        hunt(plan(*NAMES, examples=20), store, 1, lambda: False)
    monkeypatch.chdir(tmp_path)
    for module in (diff_module, reduce_module):
        monkeypatch.setattr(module, "opened", _Opened)
        monkeypatch.setattr(module, "names_of", lambda engines, *_: tuple(engines.split(",")))
        monkeypatch.setattr(module, "judging", lambda engines: nullcontext(Judgement()))
    return tmp_path / "night"


def test_a_finding_is_found_by_its_id(night: Path) -> None:
    (divergence,) = load(night).divergences
    id_ = divergence.id
    for text in (id_, id_[:5], f"night/{id_}", str(night / id_[:8]), f"night/findings/{id_}"):
        found = find(text)
        assert found is not None
        assert found[1] == divergence
        assert load_any(text).case == divergence.reduced
        assert load_any(text).engines == NAMES
        assert load_any(text, whole=True).case == divergence.case
    assert find("nothing.wat") is None
    for text in ("00000000", "night/00000000", f"elsewhere/{id_}"):
        with pytest.raises(UsageError, match="no file and no finding"):
            find(text)
    with pytest.raises(UsageError, match="does not exist"):
        load_any("nothing.wat")
    with pytest.raises(UsageError, match="is a folder"):
        load_any("night")


def test_one_command_reproduces_a_finding(night: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (divergence,) = load(night).divergences
    status, out, _ = run(capsys, "diff", f"night/{divergence.id}")
    assert status == 1
    assert "diverge: right returned" in out


@pytest.mark.parametrize("jobs", [1, 2])
def test_reduce_takes_a_finding_and_writes_a_script(jobs: int, night: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (divergence,) = load(night).divergences
    status, out, err = run(capsys, "reduce", divergence.id, "-j", str(jobs), "-o", "small.wast")
    assert (status, out) == (0, "small.wast\n")
    assert "shown in 3 of 3 runs" in err
    assert f"→ {divergence.size} instructions" in err
    case = load_file(Path("small.wast")).case
    assert size(case) == divergence.size
    answers = {name: zoo.resolve(name).run(case) for name in NAMES}
    assert judge(case, answers).diverges
    status, out, _ = run(capsys, "reduce", "small.wast", "--engines", "right,bug/xor-lsb", "--json", "-o", "small.json")
    assert status == 0
    data = json.loads(out)
    assert data["id"] == divergence.id
    assert data["size"] <= data["size_before"] == size(case)
    assert load_file(Path("small.json")).case.to_json() == data["case"]


@pytest.mark.usefixtures("night")
def test_reduce_refuses_what_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.wat").write_text('(module (func (export "f") (result i32) (i32.const 1)))')
    status, out, err = run(capsys, "reduce", "a.wat", "--engines", "right,also")
    assert (status, out) == (2, "")
    assert "the engines do not differ" in err


@pytest.mark.usefixtures("night")
def test_one_engine_is_enough_for_a_crash(capsys: pytest.CaptureFixture[str]) -> None:
    text = '(module (func (export "f") (param i64) (result i64) (i64.mul (i64.popcnt (local.get 0)) (i64.const 3))))'
    Path("a.wat").write_text(text)
    status, out, _ = run(capsys, "reduce", "a.wat", "--engines", "bug/popcnt-crash")
    assert status == 0
    assert "i64.popcnt" in out
    assert "i64.mul" not in out


TABLE = '(module (table (export "t") {size} {type}) (func $f) {elem})'


@pytest.mark.parametrize(
    ("size", "type_", "place", "values"),
    [
        ("2", "funcref", 2, ("i32:2", "ref.null", "ref.func")),
        ("2", "funcref", 1, ("i32:2", "ref.null", "ref.func")),
        ("3", "funcref", 0, ("i32:3", "ref.null", "ref.null", "ref.null")),
        ("i64 2", "externref", 1, ("i64:2", "ref.null", "ref.null")),
    ],
)
def test_a_table_that_differs_is_looked_at_by_the_script(
    size: str, type_: str, place: int, values: tuple[str, ...], tmp_path: Path
) -> None:
    elem = "(elem (i32.const 1) $f)" if "ref.func" in values else ""
    case = zoo.case_of(TABLE.format(size=size, type=type_, elem=elem), steps=(Instantiate("a", 0), Read("a", "t")))
    path = tmp_path / "a.wast"
    path.write_text(to_wast(case, (Outcome("returned"), Outcome("returned", values)), "", None, (1, place)))
    script = load_file(path).case
    last = zoo.resolve("right").run(script).outcomes[-1]
    expected = values[0] if place == 0 else f"i32:{int(values[place] == 'ref.null'):x}"
    assert last == Outcome("returned", (expected,))
    assert path.read_text().count("assert_return") == 1
