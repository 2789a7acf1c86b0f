"""The conformance page: what it says, and that nothing of an engine or a script gets into it unescaped."""

from __future__ import annotations

from wasmlab.conform import Failure, Tally
from wasmlab.results import Column
from wasmlab_matrices.expectations import Expectation
from wasmlab_reports.conformance import render_conformance

EVIL = "<script>alert(1)</script>\x1b[31m"


def column(engine: str, arch: str = "amd64", failures: tuple[Failure, ...] = (), **fields: str) -> Column:
    files = {"a.wast": Tally(passed=99_999, failed=len(failures), total=99_999 + len(failures))}
    files["a.wast"].failures += failures
    return Column(engine, "core", resolved=engine, version=fields.get("version", "1"), arch=arch, files=files)


def failure(line: int, text: str = "x") -> Failure:
    return Failure("a.wast", line, "assert_return", text, text)


def test_failures_have_their_place_outcomes_and_reasons() -> None:
    failing = column("v8", failures=(failure(3, "i32:1"), failure(5)))
    row = Expectation(engine="v8", at=("a.wast:5",), reason="a limit of the API", link="https://example.org/1")
    page = render_conformance([failing, column("ref")], [row])
    assert "/a.wast#L3" in page
    assert "i32:1" in page
    assert "a limit of the API" in page
    assert 'href="https://example.org/1"' in page
    assert "1 unexpected failure<" in page
    assert page.index("a.wast:3") < page.index("a.wast:5")  # what is new comes first


def test_a_share_is_never_rounded_up_to_all() -> None:
    page = render_conformance([column("v8", failures=(failure(3),))], [])
    assert ">99.9<" in page
    assert ">100<" not in page


def test_hostile_text_is_escaped() -> None:
    evil = column(f"cmd:{EVIL}", failures=(failure(1, EVIL),), version=EVIL)
    missing = Column("gone", "core", missing=EVIL)
    page = render_conformance([evil, missing], [])
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script" in page


def test_architectures_of_one_engine_are_compared() -> None:
    page = render_conformance([column("v8", failures=(failure(7),)), column("v8:arm64", "arm64")], [])
    assert "between architectures" in page
    assert "between architectures" not in render_conformance([column("v8"), column("v8:arm64", "arm64")], [])


def test_rows_that_no_longer_hold_are_told() -> None:
    rows = [
        Expectation(engine="v8", at=("a.wast:1",), reason="old"),
        Expectation(engine="v8", at=("b.wast",), reason="gone"),
    ]
    page = render_conformance([column("v8")], rows)
    assert "passes now" in page
    assert "no such file" in page
