"""Bisection over versions that answer, answer one way and another, or do not answer; and its command."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import zoo
from test_cli import _Opened, run

from wasmlab.bisect import BAD, GOOD, Answer, bisect
from wasmlab.commands import bisect as command
from wasmlab.errors import Missing
from wasmlab.judgement import Judgement

VERSIONS = [str(n) for n in range(1, 65)]


@pytest.mark.parametrize("first", [2, 3, 31, 63, 64])
def test_the_first_bad_version_is_found_in_few_steps(first: int) -> None:
    found = bisect(VERSIONS, lambda version: Answer(BAD if int(version) >= first else GOOD))
    assert (found.good, found.bad, found.between, found.fixed) == (str(first - 1), str(first), [], False)
    assert len(found.answers) <= 9


def test_the_version_that_fixed_it_is_found() -> None:
    found = bisect(VERSIONS, lambda version: Answer(BAD if int(version) < 40 else GOOD))
    assert (found.bad, found.good, found.fixed) == ("39", "40", True)


def test_versions_that_say_nothing_are_passed_over_and_named() -> None:
    silent = {*range(1, 4), *range(28, 36), 64}

    def ask(version: str) -> Answer:
        number = int(version)
        return Answer("flaky" if number in silent else BAD if number >= 30 else GOOD)

    found = bisect(VERSIONS, ask)
    assert (found.good, found.bad) == ("27", "36")
    assert found.between == [str(n) for n in range(28, 36)]


def test_where_nothing_changes() -> None:
    assert bisect(VERSIONS, lambda _: Answer(GOOD)).bad == ""
    found = bisect(VERSIONS, lambda _: Answer(BAD))
    assert (found.bad, found.good) == ("1", "")
    found = bisect(VERSIONS, lambda _: Answer("unavailable"))
    assert (found.bad, found.good, len(found.answers)) == ("", "", 64)


class Releases(_Opened):
    """wasmtime 1 to 9, of which 3 cannot be had, 5 is flaky and all from 6 on are wrong."""

    turn = 0

    def __init__(self, names: tuple[str, ...]) -> None:
        self.engines = []
        for name in names:
            version = name.partition("@")[2]
            if version == "3":
                raise Missing("no release 3 here")
            Releases.turn += 1
            wrong = version in {"6", "7", "8", "9"} or (version == "5" and Releases.turn % 4 == 0)
            engine = zoo.resolve("bug/xor-lsb" if wrong else "right")
            engine.name = name
            self.engines.append(engine)


@pytest.fixture
def wat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "opened", Releases)
    monkeypatch.setattr(command, "judging", lambda engines: nullcontext(Judgement()))
    monkeypatch.setattr(command, "_releases", lambda engine: [str(n) for n in range(1, 10)])
    path = tmp_path / "a.wat"
    path.write_text('(module (func (export "f") (result i32) (i32.xor (i32.const 5) (i32.const 3))))')
    return path


def test_the_command_says_where_it_changed(wat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "bisect", str(wat), "--engines", "ref,wasmtime")
    assert status == 1
    assert out == "wasmtime: first bad 6, last good 4; in between, inconclusive: 5\n"
    assert "5  flaky  differs in" in err
    status, out, _ = run(capsys, "bisect", str(wat), "--engines", "ref,wasmtime", "--versions", "1,2,3", "--json")
    assert status == 0
    data = json.loads(out)
    assert (data["good"], data["bad"]) == ("2", None)
    assert data["answers"]["3"]["kind"] == "unavailable"
    status, out, err = run(capsys, "bisect", str(wat), "--engines", "ref,wasmtime", "--versions", "3,3")
    assert (status, out) == (3, "")
    assert "no version of wasmtime that was asked said anything" in err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--engines", "ref"], "at least 2 engines"),
        (["--engines", "ref,./mine"], "is a program"),
        (["--engines", "ref,wasmtime", "--good", "77"], "near it: 7, 8, 9"),
        (["--engines", "ref,wasmtime", "--good", "5", "--bad", "4"], "nothing between"),
        (["--engines", "wasmtime,ref"], "part of the lab"),
    ],
)
def test_what_cannot_be_bisected(
    args: list[str], text: str, wat: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "wasmtime,ref" in args:
        monkeypatch.undo()
    status, out, err = run(capsys, "bisect", str(wat), *args)
    assert (status, out) == (2, "")
    assert text in err
