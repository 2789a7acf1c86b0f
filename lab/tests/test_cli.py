"""The command line: exit statuses, one clear line for what goes wrong, data on stdout alone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import click
import pytest
from zoo import resolve

from wasmlab import cli
from wasmlab.commands import diff as diff_module
from wasmlab.commands import fuzz as fuzz_module
from wasmlab.errors import Missing, UsageError
from wasmlab.judgement import Judgement
from wasmlab_adapters.errors import EngineUnavailable

ROOT = Path(__file__).resolve().parents[2]
WAT = '(module (func (export "f") (param i32) (result i32) (i32.shl (local.get 0) (i32.const 20))))'


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    status = cli.run([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return status, out, err


def environment() -> dict[str, str]:
    roots = [ROOT / name for name in ("reference_engine", "matrices", "generators", "adapters", "lab", "reports")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *map(str, roots)])}


def test_help_is_quick_and_names_every_command() -> None:
    code = "import sys; from wasmlab.cli import run; run(['--help']); print(len(sys.modules)); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in cli.COMMANDS)
    loaded = done.stdout.splitlines()[-1].split()
    assert not {"wasmlab_ref", "wasmlab_adapters", "rich", "sqlite3", "jinja2", "yaml"} & set(loaded)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, name, "--help")
    assert status == 0
    assert "Example: wasmlab " + name in out


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UsageError("wrong", "do this"), 2, "wasmlab: wrong\n         do this\n"),
        (Missing("not there"), 3, "wasmlab: not there\n"),
        (EngineUnavailable("no engine", "get one"), 3, "wasmlab: no engine\n         get one\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 3, "wasmlab: No space left on device: /x\n"),
        (OSError(errno.EROFS, "Read-only file system"), 3, "wasmlab: Read-only file system\n"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), 2, "wasmlab: /x: No such file"),
        (KeyboardInterrupt(), 130, "wasmlab: interrupted\n"),
        (UsageError("a.wat:1:2: bad\n\x1b[31m(\n^"), 2, "wasmlab: a.wat:1:2: bad\n\\x1b[31m(\n^\n"),
        (BrokenPipeError(), 0, ""),
        (SystemExit(1), 1, ""),
    ],
)
def test_errors_end_in_one_clear_line(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    command = click.Command("fuzz", callback=fail)
    monkeypatch.setattr(cli.Lazy, "get_command", lambda *_: command)
    monkeypatch.setattr(cli, "_silence_stdout", lambda: None)
    found, out, err = run(capsys, "fuzz")
    assert (found, out) == (status, "")
    assert err.lstrip("\n").startswith(line)


@pytest.mark.parametrize(
    "command", [("engines", "list"), ("diff", "--engines", "ref/py"), ("trace", "--engines", "ref/py")]
)
def test_a_reader_that_has_gone(command: tuple[str, ...], tmp_path: Path) -> None:
    """`| head -1` is no finding, and no error: click and rich end with 1 where standard output is closed."""
    path = tmp_path / "a.wat"
    path.write_text(WAT)
    args = [*command[:1], str(path), *command[1:]] if "--engines" in command else command
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "wasmlab.cli", *args], stdout=theirs, stderr=subprocess.PIPE, env=environment()
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")


def test_interrupted_while_it_is_imported() -> None:
    code = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without
class Finder:
    find_spec = staticmethod(lambda name, *_: os.kill(os.getpid(), signal.SIGINT) if name == "click" else None)
sys.meta_path.insert(0, Finder)
from wasmlab.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize("group", [(), ("engines",), ("suite",), ("matrix",)])
def test_a_group_without_a_command_shows_its_help(group: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *group)
    assert (status, out) == (2, "")
    assert err.startswith("Usage: wasmlab")


def test_a_bug_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(cli.Lazy, "get_command", lambda *_: click.Command("fuzz", callback=fail))
    with pytest.raises(RuntimeError):
        cli.run(["fuzz"])


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["fuz"], "Did you mean fuzz?"),
        (["fuzz", "--engines", "ref"], "at least 2 engines are needed"),
        (["diff", str(ROOT / "docs" / "example.wat")], "at least 1 engine is needed"),
        (["reduce", "a.wat", "-o", "/nonexistent/x.wast"], "/nonexistent is no folder that can be written to"),
        (["trace", "a.wat", "-o", "/nonexistent/x"], "/nonexistent is no folder that can be written to"),
        (["bench", "--html", "/nonexistent/x.html"], "/nonexistent is no folder that can be written to"),
        (["bench", "--html", "/proc"], "is a directory"),
        (["run", __file__.replace(".py", ".wast"), "--invoke", "f"], "does not exist"),
        (["fuzz", "--engines", "right,right"], "named twice"),
        (["fuzz", "--engines", "a b,c"], "is no engine"),
        (["fuzz", "--engines", "a,b", "--time", "soon"], "is no duration"),
        (["fuzz", "--engines", "a,b", "-j", "0"], "0 is not in the range"),
        (["diff", "/nowhere.wat", "--engines", "ref"], "does not exist"),
        (["report", "/nowhere"], "holds no campaign"),
        (["run", __file__, "--engine", "ref"], "Missing option '--invoke'"),
    ],
)
def test_wrong_usage(args: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *args)
    assert (status, out) == (2, "")
    assert text in err


# Commands, on engines of the zoo


@pytest.fixture
def zoo_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines of the zoo in place of real ones."""
    from test_campaign import make

    for module in (fuzz_module, diff_module):
        monkeypatch.setattr(module, "opened", lambda names: _Opened(names))
        monkeypatch.setattr(module, "names_of", lambda engines, more, archs, least=1: tuple(engines.split(",")))
    monkeypatch.setattr(diff_module, "judging", lambda engines: nullcontext(Judgement()))
    monkeypatch.setattr(fuzz_module, "merged_stages", lambda engines: frozenset())
    monkeypatch.setattr(fuzz_module, "REFERENCE", "")
    monkeypatch.setattr(fuzz_module, "open_engine", resolve)
    monkeypatch.setattr(fuzz_module, "generate", lambda seed, features, **_: make(seed, features))


class _Opened:
    def __init__(self, names: tuple[str, ...]) -> None:
        self.engines = [resolve(name) for name in names]

    def __enter__(self) -> list[object]:
        return list(self.engines)

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.usefixtures("zoo_engines")
def test_fuzz_finds_a_bug_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    args = ["fuzz", "--engines", "right,bug/xor-lsb", "--examples", "60", "--seed", "1", "--out", str(out)]
    status, text, err = run(capsys, *args, "--json")
    assert status == 1
    data = json.loads(text)
    assert list(data) == [
        "cases", "complete", "inconclusive", "seconds", "per_second", "rules_reached", "divergences", "report",
    ]  # fmt: skip
    assert data["cases"] == 60
    (found,) = data["divergences"]
    assert list(found) == ["signature", "engines", "case", "count"]
    assert found["engines"] == ["right", "bug/xor-lsb"]
    assert "i32.xor" in found["signature"]
    (page,) = Path(data["report"]).with_suffix("").iterdir()
    assert "<mark>i32.xor</mark>" in page.read_text(encoding="utf-8")
    assert "seed 1" in err
    assert Path(found["case"]).with_name("reduced.wast").is_file()
    status, text, _ = run(capsys, "diff", found["case"], "--engines", "right,bug/xor-lsb")
    assert status == 1
    assert "diverge: right returned" in text
    assert "exec/instructions.html#exec-binop" in text
    status, text, _ = run(capsys, "report", str(out), "--out", str(tmp_path / "page.html"))
    assert (status, text) == (0, f"{tmp_path / 'page.html'}\n")
    for form in ("markdown", "json", "junit", "sarif"):
        status, text, _ = run(capsys, "report", str(tmp_path), "--format", form, "--out", "-")
        assert status == 0
        assert "xor" in text or form == "sarif"
    status, text, _ = run(capsys, "report", str(out), "--since", str(out))
    assert (status, text) == (0, "# 0 new, 0 not seen again, 1 as before\n")
    status, text, _ = run(capsys, *args, "--no-html")
    assert status == 1
    assert "i32.xor" in text


@pytest.mark.usefixtures("zoo_engines")
def test_fuzz_without_a_finding_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["fuzz", "--engines", "right,also", "--examples", "20", "--out", str(tmp_path), "--json", "--no-html"]
    status, text, _ = run(capsys, *args)
    assert status == 0
    assert json.loads(text)["report"] is None
    status, text, err = run(capsys, *args[:3], "--examples", "40", "--out", str(tmp_path), "--json", "--no-html")
    assert (status, json.loads(text)["cases"]) == (0, 40), err


@pytest.mark.usefixtures("zoo_engines")
@pytest.mark.parametrize(("features", "text"), [("fly", "no feature"), ("gc", "right does not support")])
def test_features_that_cannot_be_had(
    features: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small(_Opened):
        def __enter__(self) -> list[object]:
            for engine in self.engines:
                engine.features = frozenset({"mvp", "simd", "relaxed-simd", "tail-call", "table64"})
            return list(self.engines)

    monkeypatch.setattr(fuzz_module, "opened", Small)
    status, _, err = run(capsys, "fuzz", "--engines", "right,also", "--features", features)
    assert status == 2
    assert text in err


@pytest.mark.usefixtures("zoo_engines")
def test_diff_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.wat"
    path.write_text(WAT)
    status, text, _ = run(capsys, "diff", str(path), "--engines", "right,also")
    assert status == 0
    assert "agree: behaviours that the standard allows" in text
    assert "made up from its digest" in text
    status, text, _ = run(capsys, "diff", str(path), "--engines", "right,bug/shl-high", "--json")
    assert status == 1
    data = json.loads(text)
    assert data["verdict"] == "diverge"
    assert data["groups"] == [["right"], ["bug/shl-high"]]


def test_an_interrupt_keeps_everything(tmp_path: Path) -> None:
    code = f"""
import sys, test_cli, zoo, test_campaign
from wasmlab.commands import fuzz as f
from wasmlab import cli
f.opened, f.open_engine, f.REFERENCE = test_cli._Opened, zoo.resolve, ""
f.generate = lambda seed, features, **_: test_campaign.make(seed, features)
f.names_of = lambda engines, more, archs, least=1: tuple(engines.split(","))
f.merged_stages = lambda engines: frozenset()
sys.exit(cli.run(["fuzz", "--engines", "right,also", "--time", "60s", "--out", {str(tmp_path / "o")!r}, "--json"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (tmp_path / "o" / "campaign.sqlite").exists():
        time.sleep(0.05)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert json.loads(out)["cases"] > 0
    assert "stopping; Ctrl-C" in err


def test_report_takes_what_it_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder of a matrix: results of conformance, campaigns, or both."""
    from test_store import CAMPAIGN

    from wasmlab.results import Column, save
    from wasmlab.store import Store

    save(Column("ref", "core", resolved="ref/fast", version="1"), tmp_path / "m")
    out = tmp_path / "all.html"
    status, text, _ = run(capsys, "report", str(tmp_path / "m"), "--out", str(out))
    assert (status, text) == (0, f"{out}\n")
    assert "Conformance" in out.read_text(encoding="utf-8")
    Store(tmp_path / "m" / "jobs" / "fuzz-1", CAMPAIGN).close()
    status, text, _ = run(capsys, "report", str(tmp_path / "m"), "--out", str(out))
    assert (status, text.splitlines()) == (0, [str(tmp_path / "all-conformance.html"), str(out)])
    assert "No divergence" in out.read_text(encoding="utf-8")
