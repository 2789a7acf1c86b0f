"""Results of conformance: saved, read again, merged, and held against what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasmlab import suites
from wasmlab.conform import Failure, Tally
from wasmlab.errors import UsageError
from wasmlab.results import Column, judge, load_column, load_columns, save
from wasmlab_matrices.expectations import Expectation


def failure(file: str, line: int) -> Failure:
    return Failure(file, line, "assert_return", "i32:1", "returned i32:2")


def column(engine: str = "v8/liftoff", **fields: object) -> Column:
    files = {
        "a.wast": Tally(passed=3, failed=1, total=4, assertions=4, failures=[failure("a.wast", 7)]),
        "b.wast": Tally(passed=5, total=5, assertions=4),
        "proposals/x/c.wast": Tally(failed=1, total=1, failures=[failure("proposals/x/c.wast", 1)]),
    }
    made = Column(engine, "core", resolved=engine, version="26.1", arch="amd64", started=1.0, files=files)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def row(at: str, **fields: object) -> Expectation:
    return Expectation(**({"engine": "v8*", "at": (at,), "reason": "r"} | fields))  # type: ignore[arg-type]


def test_a_column_is_read_as_it_was_saved(tmp_path: Path) -> None:
    saved = column()
    path = save(saved, tmp_path / "new")
    assert load_column(path) == saved
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert "/" not in path.name


def test_files_of_columns_do_not_collide(tmp_path: Path) -> None:
    names = {save(column(engine), tmp_path).name for engine in ("v8/liftoff", "v8_liftoff", "v8/liftoff:arm64")}
    assert len(names) == 3


def test_totals_leave_out_what_is_not_in_the_standard_yet() -> None:
    assert (column().total.passed, column().total.failed, column().total.total) == (8, 1, 9)
    assert column().groups["x"].failed == 1


def test_shards_merge_and_the_newest_counts(tmp_path: Path) -> None:
    save(column(), tmp_path / "one")
    save(column(started=2.0, files={}), tmp_path / "two")
    save(column("v8"), tmp_path / "two")
    found = load_columns([tmp_path / "one", tmp_path / "two"])
    assert sorted((c.engine, c.started) for c in found) == [("v8", 1.0), ("v8/liftoff", 2.0)]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 1, "files": []}', "[" * 10_000])
def test_what_is_no_column_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.conform.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="is no result of conformance"):
        load_column(path)


def test_an_unexpected_failure() -> None:
    found = judge([column()], [])
    assert [(f.file, f.line) for _, f in found.unexpected] == [("a.wast", 7)]
    assert not found.good


def test_an_expected_failure_is_good() -> None:
    found = judge([column()], [row("a.wast:7")])
    assert (len(found.expected), found.unexpected, found.good) == (1, [], True)


def test_a_row_for_another_line_is_an_unexpected_pass() -> None:
    found = judge([column()], [row("a.wast:8")])
    assert (len(found.unexpected), len(found.passes), found.stale) == (1, 1, [])


def test_a_row_for_a_file_without_failures_is_an_unexpected_pass() -> None:
    found = judge([column()], [row("a.wast"), row("b.wast")])
    assert [at for *_, at in found.passes] == ["b.wast"]


def test_a_row_for_no_file_is_stale_once_where_the_whole_suite_ran() -> None:
    gone = row("gone*.wast")
    assert judge([column(), column("v8")], [row("a.wast"), gone]).stale == [(gone, "gone*.wast")]
    assert judge([column(pattern="a*")], [row("a.wast"), gone]).good


def test_rows_about_others_say_nothing() -> None:
    others = [
        row("b.wast", engine="jsc*"),
        row("b.wast", versions="25.*"),
        row("b.wast", archs=("arm64",)),
        row("b.wast", suite="wasi"),
    ]
    assert judge([column()], [row("a.wast"), *others]).good


def test_a_missing_engine_is_not_judged() -> None:
    assert judge([column(missing="not here", files={})], [row("gone.wast")]).good


def test_what_files_of_the_suite_are_about() -> None:
    core = suites.known_suites()["core"]
    found = {name: core.about_file(name) for name in ("i64.wast", "simd_load.wast", "store2.wast", "memory64.wast")}
    assert found == {
        "i64.wast": "1.0", "simd_load.wast": "simd",
        "store2.wast": "multi-memory", "memory64.wast": "memory64, table64",
    }  # fmt: skip
    assert core.about_file("proposals/threads/atomic.wast") == "threads"
    assert core.about_file("custom/name.wast") == "custom"
