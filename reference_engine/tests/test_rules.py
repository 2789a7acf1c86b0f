"""rules.yaml against the names of the formal specification's rules and against what the functions say of themselves."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

import wasmlab_ref.validate
from wasmlab_ref import rules

CHAPTERS = ("2.", "4.")
"""The chapters of the specification that rules.yaml must have whole."""

TEXT = (files("wasmlab_ref") / "rules.yaml").read_text()
TABLE: dict[str, dict[str, str]] = yaml.safe_load(TEXT)


def specified() -> list[tuple[str, str]]:
    """(chapter, rule) of each rule in the formal specification."""
    lines = (Path(__file__).parent / "data" / "rules.tsv").read_text().splitlines()
    return [(chapter, name) for chapter, _, name in (x.partition("\t") for x in lines if not x.startswith("#"))]


def resolve(path: str) -> Any:
    """The function named "module.function"."""
    module, *names = path.split(".")
    return reduce(getattr, names, importlib.import_module(f"wasmlab_ref.{module}"))


def test_names_are_specified() -> None:
    assert len(specified()) == 507
    assert set(TABLE) <= {name for _, name in specified()}


def test_chapters_are_whole() -> None:
    required = {name for chapter, name in specified() if chapter.startswith(CHAPTERS)}
    assert required - set(TABLE) == set()


def test_no_rule_twice() -> None:
    names = re.findall(r"^(\S+):", TEXT, re.MULTILINE)  # YAML itself lets the last one win
    assert sorted(names) == sorted(set(names))


def test_rows() -> None:
    for name, row in TABLE.items():
        ((kind, value),) = row.items()
        assert kind in ("function", "structural", "uninhabited"), name
        if kind == "function":
            assert callable(resolve(value)), name
            assert rules.RULES[name] == value
        else:
            assert len(value.split()) > 2, name
            assert name not in rules.RULES


def test_functions_claim_no_other_rules() -> None:
    assert wasmlab_ref.validate
    claimed = {n for n, f in rules.RULES.items() if f.startswith(("match.", "validate"))}
    assert claimed <= set(TABLE)


def test_listening_nests_and_ends() -> None:
    outer: list[str] = []
    inner: list[str] = []
    with rules.listening(outer.append):
        rules.applied("a")
        with pytest.raises(ZeroDivisionError), rules.listening(inner.append):
            rules.applied("b", "c")
            raise ZeroDivisionError
        rules.applied("d")
    rules.applied("e")
    assert (outer, inner) == (["a", "d"], ["b", "c"])
    assert not rules.listened()
