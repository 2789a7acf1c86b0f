"""Matrices: the jobs that they mean, their order and shards, what a run leaves, and what it says in the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wasmlab import cli, matrix
from wasmlab.errors import UsageError
from wasmlab.results import load_columns
from wasmlab_adapters.install import host_architecture
from wasmlab_matrices.matrix import Conformance, Fuzzing, Matrix

GOOD = '(module (func (export "f") (result i32) (i32.const 1)))\n(assert_return (invoke "f") (i32.const 1))\n'
BAD = GOOD.replace("\n(assert", "\n\n(assert").replace("(i32.const 1))\n", "(i32.const 2))\n")


def test_jobs_are_engines_times_architectures_then_campaigns() -> None:
    here = host_architecture()
    other = next(arch for arch in ("amd64", "arm64") if arch != here)
    found = matrix.jobs_of(
        Matrix(
            about="a",
            engines=("ref", "wasmtime", f"ref/py:{other}"),
            archs=(here, other, "riscv64"),
            conform=(Conformance(filter="a*"), Conformance(suite="x", engines=("ref/py",))),
            fuzz=(Fuzzing(name="f", engines=("ref", "wasmtime"), minutes=1.5),),
        ),
        seed=7,
    )
    wasmtime = ["conform core wasmtime", f"conform core wasmtime:{other}"]  # not made for riscv64
    ref = ["conform core ref", f"conform core ref:{other}", "conform core ref:riscv64"]
    titles = [job.title for job in found]
    assert titles[: len(ref + wasmtime)] == ref + wasmtime
    assert titles[-1] == "fuzz f"
    assert f"conform core ref/py:{other}" in titles
    assert found[0].arguments == ("conform", "--engine", "ref", "--suite", "core", "--filter", "a*")
    assert found[-1].arguments == ("fuzz", "--engines", "ref,wasmtime", "--time", "1.5m", "--seed", "7")


def test_shards_are_all_jobs_each_once() -> None:
    jobs = matrix.jobs_of(Matrix(about="a", engines=("ref", "ref/py", "wasmtime"), conform=(Conformance(),)), 1)
    parts = [matrix.chosen(jobs, None, (i, 2)) for i in (1, 2)]
    assert sorted(job.title for part in parts for job in part) == sorted(job.title for job in jobs)
    assert [job.title for job in matrix.chosen(jobs, "wasm*", (1, 1))] == ["conform core wasmtime"]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "good.wast").write_text(GOOD)
    (folder / "later.wast").write_text(GOOD)
    return folder


def write(tmp_path: Path, suite: Path, engines: str = "[ref/py]", fuzz: str = "") -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(f"about: a test\nengines: {engines}\nconform: [{{suite: {suite}}}]\n{fuzz}")
    return path


def test_a_run_is_kept_resumed_and_judged(tmp_path: Path, suite: Path, capfd: pytest.CaptureFixture[str]) -> None:
    campaign = "fuzz: [{name: one, engines: [ref/py, ref], examples: 5, seed: 1}]\n"
    file, out = write(tmp_path, suite, fuzz=campaign), tmp_path / "run"
    assert cli.run(["matrix", "run", str(file), "--out", str(out), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["columns"], found["unexpected"], found["campaigns"]) == (1, 0, {"fuzz/one": 0})
    assert (out / "conformance.html").exists()
    assert (out / "fuzz" / "one" / "report.html").exists()
    (log,) = (out / "logs").glob("conform*")
    assert log.read_text().startswith("$ wasmlab conform --engine ref/py")

    assert cli.run(["matrix", "run", str(file), "--out", str(out)]) == 2  # there is a run in it
    assert "--resume" in capfd.readouterr().err
    before = (out / "jobs.json").read_text()
    (suite / "good.wast").write_text(BAD)
    assert cli.run(["matrix", "run", str(file), "--out", str(out), "--resume"]) == 0  # nothing is left to do
    assert (out / "jobs.json").read_text() == before


def test_a_failure_that_nobody_expected(tmp_path: Path, suite: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (suite / "later.wast").write_text(BAD)
    assert cli.run(["matrix", "run", str(write(tmp_path, suite)), "--out", str(tmp_path / "run")]) == 1
    out = capfd.readouterr().out
    assert "later.wast:3: assert_return: expected i32:2, got returned i32:1" in out
    assert "unexpected failures: 1" in out


def test_an_engine_that_is_missing_does_not_stop_the_others(
    tmp_path: Path, suite: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, out = write(tmp_path, suite, "['/no/such/engine', ref/py]"), tmp_path / "run"
    assert cli.run(["matrix", "run", str(file), "--out", str(out)]) == 3
    columns = {column.engine: column for column in load_columns([out])}
    assert columns["/no/such/engine"].missing
    assert columns["ref/py"].total.passed == 4
    assert "missing engines: 1" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["nowhere.yaml"], "no matrix 'nowhere.yaml'"),
        (["smoke", "--shard", "3/2"], "'3/2' is no shard"),
        (["smoke", "--only", "zzz"], "no job of smoke matches"),
    ],
)
def test_wrong_usage_is_one_line(args: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["matrix", "run", *args]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert "Traceback" not in err


def test_a_matrix_that_is_wrong_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yaml").write_text("about: a\nengins: [ref]\n")
    assert cli.run(["matrix", "run", str(tmp_path / "m.yaml")]) == 2
    assert "m.yaml:2: unknown key 'engins', did you mean 'engines'?" in capsys.readouterr().err


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text("[1")
    with pytest.raises(UsageError, match="no record of a matrix"):
        matrix.load_done(tmp_path)
