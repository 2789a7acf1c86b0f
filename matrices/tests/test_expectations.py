"""Known failures and matrices: rows that are read, matched, and refused with their line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wasmlab_matrices.expectations import Expectation, covers, load_expectations
from wasmlab_matrices.load import load_engines
from wasmlab_matrices.matrix import known_matrices, load_matrix
from wasmlab_matrices.schema import SchemaError


def test_a_row_concerns_columns_and_covers_checks() -> None:
    row = Expectation(engine="v8*", at=("table*.wast:12",), reason="r", versions="26.*", archs=("amd64",))
    assert row.concerns("core", "v8/liftoff", "26.10.0", "amd64")
    assert not row.concerns("core", "v8/liftoff", "26.10.0", "arm64")
    assert not row.concerns("core", "v8", "22.1.0", "amd64")
    assert not row.concerns("wasi", "v8", "26.10.0", "amd64")
    several = replace(row, engine="binaryen|binaryen/O[12]")
    names = ("binaryen", "binaryen/O1", "binaryen/O3", "binaryen-exec")
    assert [several.concerns("core", name, "26.10.0", "amd64") for name in names] == [True, True, False, False]
    assert row.covers("table_get.wast", 12, "assert_trap")
    assert not row.covers("table_get.wast", 13, "assert_trap")
    assert covers(row.at[0], "table_get.wast")
    assert not row.covers("memory.wast", 12, "assert_trap")
    assert Expectation(engine="*", at=("a.wast",), reason="r").covers("a.wast", 99, "module")
    limited = Expectation(engine="*", at=("a.wast",), reason="r", checks=("assert_invalid",))
    assert limited.covers("a.wast", 1, "assert_invalid")
    assert not limited.covers("a.wast", 1, "assert_return")
    several = Expectation(engine="*", at=("a.wast:5-7",), reason="r")
    assert [several.covers("a.wast", line, "invoke") for line in (4, 5, 6, 7, 8, 57)] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert covers(several.at[0], "a.wast")
    with pytest.raises(ValueError, match="first-last"):
        Expectation(engine="*", at=("a.wast:7-5",), reason="r")


def test_the_rows_we_ship_are_about_engines_that_there_are() -> None:
    columns = {
        full
        for name, row in load_engines().items()
        for full in (name, *(f"{name}/{variant}" for variant in row.variants))
    }
    for row in load_expectations():
        assert any(row.concerns(row.suite, column, "1.0", row.archs[0]) or row.versions != "*" for column in columns), (
            row
        )


def test_our_matrices_are_read() -> None:
    assert "smoke" in known_matrices()
    for name in known_matrices():
        matrix = load_matrix(name)
        assert matrix.engines
        assert matrix.conform or matrix.fuzz


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about: a\nengins: [ref]", "m.yaml:2: unknown key 'engins', did you mean 'engines'?"),
        ("about: a\nengines: [ref]\narchs: [mips]", "unknown architecture 'mips'"),
        ("about: a\nengines: [ref]\nfuzz: [{name: x, engines: [ref]}]", "m.yaml:3: fuzz[0]: a campaign needs at least"),
        ("about: a\nengines: [ref]\nfuzz: [{name: x, engines: [ref, b]}]", "either `examples` or `minutes`"),
        ("about: a\nengines: [ref]\nfuzz: [{name: ../x, engines: [ref, b], examples: 1}]", "letters, digits"),
        ("about: a", "key 'engines' is missing"),
    ],
)
def test_what_is_wrong_in_a_matrix_is_said_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(SchemaError) as error:
        load_matrix(str(path))
    assert message in str(error.value)


def test_a_row_without_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text('- {engine: "v8", at: [a.wast], reason: " "}')
    with pytest.raises(SchemaError, match="a reason is required"):
        load_expectations(path)
