"""`wasmlab bench`: its arithmetic, its kernels, and what it says of engines that are wrong, slow or cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wasmlab import bench, cli
from wasmlab.bench import KERNELS, Times, disagreements, geometric_means, load_kernels, ratios
from wasmlab_adapters.engine import Engine
from wasmlab_adapters.registry import resolve
from wasmlab_reports.bench import page

RUN = '(module (func (export "run") (param i32) (result i64) %s))'


def times(**medians: float) -> dict[str, Times]:
    return {name: Times([seconds], "i64:1") for name, seconds in medians.items()}


def test_numbers() -> None:
    one = Times([3.0, 1.0, 2.0], "i64:1")
    assert (one.median, one.spread) == (2.0, 1.0)
    assert (Times().median, Times().spread) == (None, None)
    row = {"a": times(ref=1.0, x=4.0), "b": times(ref=4.0, x=4.0), "c": {**times(ref=1.0), "x": Times(trouble="slow")}}
    by_kernel = ratios(row, "ref")
    assert by_kernel == {"a": {"ref": 1.0, "x": 0.25}, "b": {"ref": 1.0, "x": 1.0}, "c": {"ref": 1.0}}
    assert geometric_means(by_kernel) == {"ref": 1.0, "x": 0.5}
    assert geometric_means({}) == {}
    assert ratios(row, "absent") == {"a": {}, "b": {}, "c": {}}


def test_disagreements() -> None:
    wrong = {"ref": Times([1.0], "i64:1"), "x": Times([1.0], "i64:2", "gives i64:2, not i64:1")}
    assert list(disagreements({"fib": wrong})) == ["fib: x gives i64:2, not i64:1"]
    other = {"ref": Times([1.0], "i64:1"), "x": Times([1.0], "i64:2")}
    assert list(disagreements({"fib": other})) == ["fib: ref gives i64:1, x gives i64:2"]
    assert list(disagreements({"fib": {"ref": Times([1.0], "i64:1"), "x": Times(trouble="no gc")}})) == []


def test_own_kernels_give_what_is_expected() -> None:
    """On both paths; that the full ones do, too, is seen whenever they are measured."""
    kernels = load_kernels(KERNELS, "small", None, ())
    assert len(kernels) >= 12
    for name in ("ref", "ref/py"):
        with Engine(resolve(name)) as engine:
            for kernel in kernels:
                with engine.session() as session:
                    assert session.instantiate("m", kernel.binary).kind == "returned"
                    outcome = session.invoke("m", "run", (f"i32:{kernel.argument:x}",), repeat=2)
                    assert outcome.values == (kernel.result,), kernel.name


def test_a_measurement(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "INSTANCES", 60)
    monkeypatch.setattr(bench, "WARM_INSTANCES", 20)
    monkeypatch.setattr(bench, "MODULES", 10)
    html = tmp_path / "bench.html"
    command = ["bench", "fib", "throws", "tiny", "--size", "small", "--rounds", "3", "--html", str(html), "--json"]
    assert cli.run(command) == 0
    data = json.loads(capsys.readouterr().out)
    assert [engine["name"] for engine in data["engines"]] == ["ref", "ref/py"]
    assert data["kernels"].keys() == {"fib", "throws"}
    for row in (*data["kernels"].values(), *data["modules"].values()):
        for one in row.values():
            assert len(one["rounds"]) == 3
            assert 0 < one["best"] <= one["median"]
    assert data["ratios"]["fib"]["ref"] == 1.0
    assert data["ratios"]["fib"]["ref/py"] == pytest.approx(
        data["kernels"]["fib"]["ref"]["median"] / data["kernels"]["fib"]["ref/py"]["median"]
    )
    assert data["memory"]["tiny"].keys() == {"ref", "ref/py"}
    assert "Speed on kernels" in html.read_text()


def test_wrong_results_slow_and_impossible_kernels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "one.wat").write_text(RUN % "(i64.const 1)")
    (tmp_path / "trap.wat").write_text(RUN % "unreachable")
    (tmp_path / "forever.wat").write_text(RUN % "(loop (br 0)) (i64.const 0)")
    (tmp_path / "expected.json").write_text(json.dumps({"one": {"full": {"n": 1, "result_i64": -1}}}))
    command = ["bench", "--engines", "ref", "--folder", str(tmp_path), "--rounds", "1", "--limit", "0.3"]
    assert cli.run([*command, "--only", "kernels", "--n", "1"]) == 1
    out = capsys.readouterr().out
    assert "one: ref gives i64:1, not i64:ffffffffffffffff" in out
    assert "unreachable" in out
    assert "timed out" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zzz"], "no kernel 'zzz'"),
        (["--folder", "."], "no kernels"),
        (["fib", "--engines", "nonsense"], "unknown engine"),
        (["fib", "--html", "/nowhere/x.html", "--size", "small", "--engines", "ref", "--rounds", "1"], "/nowhere"),
    ],
)
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_broken_kernels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "x.wat").write_text("(module")
    assert cli.run(["bench", "--folder", str(tmp_path), "--n", "1"]) == 2
    (tmp_path / "x.wat").write_text(RUN % "(i64.const 1)")
    assert cli.run(["bench", "--folder", str(tmp_path)]) == 2
    assert "no argument is known" in capsys.readouterr().err
    (tmp_path / "expected.json").write_text("[")
    assert cli.run(["bench", "--folder", str(tmp_path)]) == 2


def test_the_page_escapes() -> None:
    bad = "<script>alert(1)</script>\x1b[31m"
    row = {bad: {"median": 1.0, "best": 1.0, "spread": 0.0, "rounds": [1.0], "value": bad}}
    html = page(
        {
            "engines": [{"name": bad, "version": bad}], "base": bad, "rounds": 1, "clock": "wall",
            "kernels": {bad: row}, "ratios": {bad: {bad: 1.0}}, "geometric_means": {bad: 1.0}, "modules": {},
            "module_ratios": {}, "memory": {bad: {bad: 1024.0}}, "problems": [bad],
        }
    )  # fmt: skip
    assert "<script>" not in html
    assert "\x1b" not in html
