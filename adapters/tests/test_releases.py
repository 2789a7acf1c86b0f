"""Which release the beginning of a version means.  No network: the registry is told what to say."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmlab_adapters import registry, releases
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.install import folder_of
from wasmlab_adapters.registries.order import near
from wasmlab_adapters.registry import EngineName
from wasmlab_adapters.releases import chosen
from wasmlab_matrices.load import Package, load_engines

TOY = Package("npm", "toy-{arch}", "3.0.1", oldest="1.2.0")
KNOWN = ["1.10.0", "1.9.0", "0.9.0", "1.2.0", "2.0.0-rc.1", "3.0.1", "3.0.0", "3.1.0"]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the registry was asked."""
    found: list[str] = []

    def lister(order: object) -> list[str]:
        found.append("asked")
        return KNOWN

    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(releases.REGISTRIES["npm"], "releases", lister)
    return found


@pytest.fixture
def offline(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def cut() -> None:
        def lister(order: object) -> list[str]:
            raise EngineUnavailable("toy 3.0.1 is not installed and there is no network")

        monkeypatch.setattr(releases.REGISTRIES["npm"], "releases", lister)

    return cut


@pytest.mark.parametrize(
    ("wanted", "version"),
    [("", "3.0.1"), ("1", "1.10.0"), ("1.9", "1.9.0"), ("3", "3.1.0"), ("3.0", "3.0.1"), ("7.7.7", "7.7.7")],
)
@pytest.mark.usefixtures("asked")
def test_the_newest_that_begins_so(wanted: str, version: str) -> None:
    assert chosen(TOY, wanted) == version


@pytest.mark.usefixtures("asked")
def test_what_there_is_not() -> None:
    with pytest.raises(EngineUnavailable, match=r"^there is no toy-\w+ 2$") as caught:
        chosen(TOY, "2")
    assert caught.value.hint == "near it: 1.9.0, 1.10.0, 3.0.0"
    for wanted in ("0", "0.9.0", "1.1", "1.1.9"):
        with pytest.raises(EngineUnavailable, match=rf"{wanted} is too old$") as caught:
            chosen(TOY, wanted)
        assert caught.value.hint == "the worker needs 1.2.0 or newer"


def test_a_list_is_kept_for_a_day(asked: list[str]) -> None:
    assert [chosen(TOY, "1"), chosen(TOY, "3")] == ["1.10.0", "3.1.0"]
    assert asked == ["asked"]
    (kept,) = folder_of(TOY, "0", "").parent.glob("*.releases.json")
    os.utime(kept, (0, 0))
    chosen(TOY, "1")
    kept.write_text("[[[")
    assert chosen(TOY, "1") == "1.10.0"
    assert len(asked) == 3
    assert chosen(TOY, "3.0.0") == "3.0.0"  # a whole version is not looked up


def test_offline(offline: Callable[[], None]) -> None:
    def forget() -> None:
        for kept in folder_of(TOY, "0", "").parent.glob("*.releases.json"):
            os.utime(kept, (0, 0))

    chosen(TOY, "1")
    forget()
    offline()
    assert chosen(TOY, "1") == "1.10.0"  # by the old list
    folder_of(TOY, "1.9.0", "").mkdir(mode=0o700)
    assert chosen(TOY, "1") == "1.9.0"  # of which this one can be had
    assert chosen(TOY, "1", fetch=False) == "1.9.0"
    for kept in folder_of(TOY, "0", "").parent.glob("*.releases.json"):
        kept.unlink()
    assert chosen(TOY, "3") == "3.0.1"  # the pinned one needs no list
    with pytest.raises(EngineUnavailable, match="no network"):
        chosen(TOY, "1")


def test_near() -> None:
    known = ["1.0.0", "2.4.9", "2.10.1", "2.5.1", "3.0.0"]
    assert near("2.5.0", known) == ["1.0.0", "2.4.9", "2.5.1"]
    assert near("9", known) == ["2.5.1", "2.10.1", "3.0.0"]
    assert near("0.1", known) == ["1.0.0", "2.4.9", "2.5.1"]
    assert near("2", []) == []


def test_debian_says_what_its_row_says() -> None:
    rows = load_engines()
    shell, spidermonkey = rows["jsc-shell"].package, rows["spidermonkey"].package
    assert shell
    assert spidermonkey
    assert [chosen(shell, "2"), chosen(shell, "2.50"), chosen(spidermonkey, "128")] == ["2.54", "2.50", "128"]
    with pytest.raises(EngineUnavailable, match="there is no jsc 3"):
        chosen(shell, "3")


def test_names_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "chosen", lambda package, wanted, arch: f"{wanted}.9.9")
    for text, full in {
        "wasmtime@12/winch:arm64": "wasmtime@12.9.9/winch:arm64", "wasmtime": "wasmtime", "./x@1": "./x@1",
        "ref@1": "ref@1",
    }.items():  # fmt: skip
        assert str(EngineName.parse(text).whole()) == full
