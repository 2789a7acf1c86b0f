"""Engines' names: parsed, given back, resolved; what is unknown is told with what is near."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from wasmlab_adapters import registry
from wasmlab_adapters.errors import EngineNameError, EngineUnavailable, NotInstalled
from wasmlab_adapters.registry import EngineName, resolve
from wasmlab_ref.case import Outcome


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "host_architecture", lambda: "amd64")


@pytest.fixture
def _installed(tmp_path: Path) -> None:
    for version in ("50.0.1", "12.0.0"):
        (tmp_path / "cache" / "engines" / "pypi" / f"wasmtime-{version}").mkdir(parents=True, mode=0o700)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ref", EngineName("ref")),
        ("ref/py", EngineName("ref", variant="py")),
        ("wasmtime@12.0.0/winch", EngineName("wasmtime", "12.0.0", "winch")),
        ("v8/liftoff:arm64", EngineName("v8", variant="liftoff", arch="arm64")),
        ("v8+a=1+b=x,y:riscv64.rva22", EngineName("v8", flags=(("a", "1"), ("b", "x,y")), arch="riscv64", cpu="rva22")),
        ("./my engine@1/x:y", EngineName(program="./my engine@1/x:y")),
        ("/opt/x", EngineName(program="/opt/x")),
        ("cmd:node w.js --a=b,c", EngineName(program="cmd:node w.js --a=b,c")),
    ],
)
def test_names(text: str, parsed: EngineName) -> None:
    assert EngineName.parse(text) == parsed
    assert str(parsed) == text


def test_architectures_have_one_name() -> None:
    assert str(EngineName.parse("v8:x86_64")) == "v8:amd64"


@pytest.mark.parametrize(
    "text", ["", "@1", "a@", "a/", "a+x", "a+=1", "a:", "a:amd46", "a b", "a@1@2", "a@-r", "a/x/y", "a\n"]
)
def test_no_names(text: str) -> None:
    with pytest.raises(EngineNameError):
        EngineName.parse(text)


def test_lists() -> None:
    names = EngineName.parse_list("ref, wasmtime/winch,./x,cmd:a b,c")
    assert [str(name) for name in names] == ["ref", "wasmtime/winch", "./x", "cmd:a b,c"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wasmtme", "unknown engine 'wasmtme', did you mean wasmtime"),
        ("zzzzzz", "unknown engine 'zzzzzz'; known: "),
        ("wasmtime/wich", "unknown variant of wasmtime 'wich', did you mean winch"),
        ("wasmtime+optt=none", "unknown flag of wasmtime 'optt', did you mean opt"),
        ("cmd:", "needs a command"),
        ("cmd:'", "No closing quotation"),
    ],
)
def test_unknown(name: str, message: str) -> None:
    with pytest.raises(EngineNameError, match=message):
        resolve(name, fetch=False)


@pytest.mark.usefixtures("_installed")
def test_a_target() -> None:
    target = resolve("wasmtime@12.0.0/winch+opt=none")
    assert target.resolved == "wasmtime@12.0.0/winch+opt=none"
    assert target.version == "12.0.0"
    assert target.argv[-2:] == ("strategy=winch", "opt=none")
    assert any(argument.endswith("wasmtime-12.0.0") for argument in target.argv)
    assert "gc" not in target.features
    assert "simd" in target.features
    assert resolve("wasmtime").resolved == "wasmtime@50.0.1"


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ("UNREACHABLE_CODE_REACHED", Outcome("trapped", detail="unreachable")),
        ("TABLE_OUT_OF_BOUNDS", Outcome("trapped", detail="undefined element|out of bounds table access")),
        ("cast failure", Outcome("trapped", detail="cast failure")),
        ("what nobody knows", Outcome("trapped", detail="what nobody knows")),
    ],
)
def test_translation(words: str, outcome: Outcome) -> None:
    assert resolve("wasmtime").translate(Outcome("trapped", detail=words)) == outcome


@pytest.mark.usefixtures("_installed")
def test_one_trap_for_every_null() -> None:
    target = resolve("wasmtime")
    once = target.translate(Outcome("trapped", detail="null reference"))
    assert "null array reference" in once.detail.split("|")
    assert target.translate(once) == once
    assert target.translate(Outcome("threw", detail="null reference")).detail == "null reference"


def test_not_here() -> None:
    with pytest.raises(NotInstalled) as caught:
        resolve("wasmtime@49.0.0", fetch=False)
    assert caught.value.hint == "wasmlab engines install wasmtime@49.0.0"
    with pytest.raises(NotInstalled, match="wasmtime 50"):
        resolve("wasmtime:arm64", fetch=False)
    with pytest.raises(EngineUnavailable, match="does not run on riscv64"):
        resolve("wasmtime:riscv64")
    with pytest.raises(EngineNameError, match="no versions"):
        resolve("ref@1.0")


def test_not_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "host_architecture", lambda: "riscv64")
    with pytest.raises(EngineUnavailable, match="does not run on riscv64") as caught:
        resolve("wasmtime")
    assert "amd64, arm64" in caught.value.hint


def test_programs() -> None:
    target = resolve("cmd:node 'my worker.js' -x")
    assert target.argv == ("node", "my worker.js", "-x")
    assert resolve("./a b").argv == ("./a b",)


def test_a_program_runs() -> None:
    fake = Path(__file__).with_name("fake_worker.py")
    with resolve(f"cmd:{sys.executable} -S {fake}").worker() as worker:
        worker.submit({"steps": [{"do": "a"}]})
        assert worker.next()["outcomes"][0]["kind"] == "returned"


def test_ref_is_an_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "module_present", lambda _: True)
    target = resolve("ref")
    assert (target.name, target.resolved) == ("ref", "ref/fast")
    roots = target.env["PYTHONPATH"].split(os.pathsep)
    for package in ("wasmlab_ref", "wasmlab_adapters", "wasmlab_matrices"):
        assert any((Path(root) / package).is_dir() for root in roots)
    monkeypatch.setattr(registry, "module_present", lambda _: False)
    with pytest.raises(EngineUnavailable, match="no variant of ref"):
        resolve("ref")


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(EngineUnavailable, match="^ref: CC names 'no-such-compiler'") as caught:
        resolve("ref").worker().start()
    assert "ref/py" in caught.value.hint


def test_nothing_is_fetched_for_a_wrong_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "install", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(EngineNameError):
        resolve("wasmtime+x=1")
