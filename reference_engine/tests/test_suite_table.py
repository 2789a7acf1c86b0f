"""The official suite is whole: each file's commands and assertions against a pinned table, so that none can vanish."""

from __future__ import annotations

import os
from pathlib import Path

from wasmlab_ref.script import parse_script

TABLE = Path(__file__).parent / "data" / "assertions.tsv"


def scripts(suite: Path) -> list[Path]:
    return sorted([*suite.glob("*.wast"), *suite.glob("custom/*.wast")])


def counted(suite: Path, path: Path) -> str:
    """A line a file: name, commands, assertions."""
    names = [type(command).__name__ for command in parse_script(path.read_bytes())]
    assertions = sum(name.startswith("Assert") for name in names)
    return f"{path.relative_to(suite).as_posix()}\t{len(names)}\t{assertions}"


def test_every_file_is_in_the_table(core_suite: Path) -> None:
    """test_spec.py runs the files of the table and counts."""
    header, *pinned = TABLE.read_text().splitlines()
    paths = scripts(core_suite)
    if os.environ.get("WASMLAB_BLESS"):
        pinned = [counted(core_suite, path) for path in paths]
        TABLE.write_text("\n".join([header, *pinned]) + "\n")
    assert [row.split("\t")[0] for row in pinned] == [path.relative_to(core_suite).as_posix() for path in paths]
