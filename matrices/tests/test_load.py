"""engines.yaml is sound, and what is wrong in such a file is said with file, line, key and near name."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from wasmlab_matrices.load import load_engines
from wasmlab_matrices.schema import SchemaError, read_yaml
from wasmlab_ref.isa import INSTRUCTIONS
from wasmlab_ref.outcome import trap_kinds

GOOD = """
toy:
  about: a toy
  file: workers/toy.py
"""


def possible(features: tuple[str, ...]) -> set[str]:
    """The kinds of traps that instructions of these features end in."""
    names = [instruction.mnemonic for instruction in INSTRUCTIONS if instruction.feature in features]
    return {
        kind
        for kind, trap in trap_kinds().items()
        if any(fnmatchcase(n, glob) for n in names for glob in trap.raised_by)
    }


def test_the_rows() -> None:
    rows = load_engines()
    assert {"ref", "wasmtime"} <= rows.keys()
    package = rows["wasmtime"].package
    assert package
    assert all(package.version in name for name in package.sha256)
    assert {"none", "winch", "pulley"} <= rows["wasmtime"].variants.keys()
    for name, row in rows.items():
        assert re.fullmatch(r"[\w.-]+", name)
        if row.values == "bridge":
            named = {kind for kinds in row.traps.values() for kind in kinds.split("|")}
            assert not possible(row.features) - named, f"{name} lacks {possible(row.features) - named}"
        assert 0 < row.limits.window <= 64
        assert row.limits.recycle_memory <= row.limits.memory


def test_flags_that_older_releases_lack() -> None:
    row = load_engines()["v8"]
    lacking = [v for v in ("18.20.4", "20.9.0", "20.14.1", "22.1.0") if len(row.emulated_flags(v)) == 1]
    knowing = [v for v in ("20", "20.15.0", "22.2.0", "26.10.0") if row.emulated_flags(v) == row.emulated]
    assert (len(lacking), len(knowing)) == (4, 4)


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("  abuot: x", r"toy.yaml:5: toy: unknown key 'abuot', did you mean 'about'\?"),
        ("  zzz: x", r"toy.yaml:5: toy: unknown key 'zzz'; known: about, "),
        ("  about: x", r"toy.yaml:5: toy: key 'about' appears twice"),
        ("  limits: {memory: much}", r"toy.yaml:5: toy.limits.memory: expected a whole number"),
        ("  limits: {memory: true}", r"toy.yaml:5: toy.limits.memory: expected a whole number"),
        ("  limits: 7", r"toy.yaml:5: toy.limits: expected a mapping"),
        ("  features: simd", r"toy.yaml:5: toy.features: expected a list"),
        ("  features:\n  - mvp\n  - simmd", r"unknown feature 'simmd', did you mean 'simd'\?"),
        ("  features: [1.0]", r"toy.yaml:5: toy.features\[0\]: expected a text \(in quotes: '1.0' is none\)"),
        ("  traps: {x: unreachable|unrechable}", r"unknown trap kind 'unrechable', did you mean 'unreachable'\?"),
        ("  architectures: [amd46]", r"unknown architecture 'amd46', did you mean 'amd64'\?"),
        ("  variants: {fast: {about: x, flags: {opt: '1'}}}", r"unknown flag of variant fast 'opt'"),
        ("  variants: {fast: {}}", r"toy.yaml:5: toy.variants.fast: key 'about' is missing"),
        ("  module: x", r"expected either `module`, or `file` or `program`"),
        ("  package: {registry: npn, name: x, version: '1'}", r"toy.yaml:5: toy.package: unknown registry 'npn'"),
        ("  package: {registry: pypi, name: x, version: '1', sha256: {a: b}}", r"expected 64 hex digits"),
        ("  [1, 2]: x", r"toy.yaml:5: toy: a key must be a text"),
        ("  about: !!python/object/apply:os.system [x]", r"toy.yaml:5: toy: key 'about' appears twice"),
        ("  values: !!python/name:os.system x", r"toy.yaml:5: toy.values: expected a text"),
        ("  x: [", r"toy.yaml:\d+: not YAML"),
        ("  - x", r"toy.yaml:\d+: not YAML"),
    ],
)
def test_errors(tmp_path: Path, addition: str, message: str) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(GOOD + addition)
    with pytest.raises(SchemaError, match=message):
        load_engines(path)


@pytest.mark.parametrize("text", ["", "# nothing", "--- a\n--- b\n", "[" * 100_000, "a: &a [*a]", "\x00", "- x"])
def test_no_document(text: str) -> None:
    with pytest.raises(SchemaError, match=r"toy\.yaml"):
        read_yaml(text, "toy.yaml", dict[str, str])


def test_aliases_do_not_explode() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{p}, *{p}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True))
    with pytest.raises(SchemaError, match="expected a text"):
        read_yaml(bomb, "toy.yaml", dict[str, tuple[str, ...]])
