"""The official core suite through validation: it applies every rule.  (Messages are test_spec.py's matter too.)"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from wasmlab_ref import script
from wasmlab_ref.outcome import Invalid
from wasmlab_ref.validate import validate

LINKING = ("Externtype_sub/", "Globaltype_sub/", "Limits_sub/", "Memtype_sub", "Tabletype_sub", "Tagtype_sub")
"""Rules that instantiation applies, not validation."""

RULES_YAML = Path(script.__file__).parent / "rules.yaml"


def sources(path: Path) -> Iterator[tuple[int, script.ModuleSource, str | None]]:
    """(line, module, expected message or None for a valid one) of each module that validation sees."""
    for command in script.parse_script(path.read_bytes()):
        match command:
            case script.Module(line=line, source=source):
                yield line, source, None
            case script.AssertInvalid(line=line, module=source, text=text):
                yield line, source, text
            case script.AssertUnlinkable(line=line, module=script.Module(source=source)):
                yield line, source, None
            case script.AssertTrap(line=line, action=script.Module(source=source)):
                yield line, source, None


@pytest.mark.slow
def test_core_suite(core_suite: Path) -> None:
    applied: set[str] = set()
    wrong, valid, invalid = [], 0, 0
    for path in sorted(core_suite.glob("*.wast")):
        for line, source, expected in sources(path):
            message = None
            try:
                validate(source.parse(), applied.add)
            except Invalid as error:
                message = error.message
            valid += message is None
            invalid += message is not None
            if (message is None) != (expected is None) or not (message or "").startswith(expected or ""):
                wrong.append(f"{path.name}:{line}: expected {expected or 'valid'}, is {message or 'valid'}")
    assert wrong == []
    assert (valid, invalid) > (2_000, 2_500)
    assert never_applied(applied) == set()


def never_applied(applied: set[str]) -> set[str]:
    """The rules of rules.yaml that have a function and belong to validation, less those that were applied."""
    table = yaml.safe_load(RULES_YAML.read_text())
    return {
        name
        for name, row in table.items()
        if row.get("function", "").startswith(("match.", "validate")) and not name.startswith(LINKING)
        if name not in applied
    }
