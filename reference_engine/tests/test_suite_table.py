"""The official suite is whole: each file's commands and assertions against a pinned table, so that none can vanish."""

from __future__ import annotations

import os
from pathlib import Path

from wasmlab_ref.script import parse_script

TABLE = Path(__file__).parent / "data" / "assertions.tsv"


def counted(suite: Path) -> list[str]:
    """A line a file of the standard: name, commands, assertions."""
    rows = []
    for path in sorted([*suite.glob("*.wast"), *suite.glob("custom/*.wast")]):
        names = [type(command).__name__ for command in parse_script(path.read_bytes())]
        assertions = sum(name.startswith("Assert") for name in names)
        rows.append(f"{path.relative_to(suite).as_posix()}\t{len(names)}\t{assertions}")
    return rows


def test_every_file_has_its_assertions(core_suite: Path) -> None:
    rows = counted(core_suite)
    header, *pinned = TABLE.read_text().splitlines()
    if os.environ.get("WASMLAB_BLESS"):
        TABLE.write_text("\n".join([header, *rows]) + "\n")
    assert rows == pinned
