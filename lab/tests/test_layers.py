"""Imports go upward only: each package may use those before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYERS = {
    "wasmlab_ref": "reference_engine",
    "wasmlab_matrices": "matrices",
    "wasmlab_gen": "generators",
    "wasmlab_adapters": "adapters",
    "wasmlab": "lab",
    "wasmlab_reports": "reports",
}
"""Package -> folder, in the order in which data flows."""

ROOT = Path(__file__).resolve().parents[2]


def imports(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """The top-level packages that a module imports, and whether it does so inside a function."""
    todo: list[tuple[ast.AST, bool]] = [(tree, False)]
    while todo:
        node, inside = todo.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0], inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        todo += [(child, inside) for child in ast.iter_child_nodes(node)]


@pytest.mark.parametrize("package", LAYERS)
def test_imports_go_upward_only(package: str) -> None:
    order = list(LAYERS)
    allowed = set(order[: order.index(package) + 1])
    wrong = []
    for path in sorted((ROOT / LAYERS[package] / package).rglob("*.py")):
        for name, inside in imports(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            command = package == "wasmlab" and path.parent.name == "commands" and inside
            if name in LAYERS.values() or (
                name in LAYERS and name not in allowed and not (command and name == "wasmlab_reports")
            ):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_the_walk_sees_every_form() -> None:
    code = (
        "import a.b\nfrom c.d import e\ndef f():\n  if 1:\n    import g\nfrom . import h\nx = lambda: __import__('i')\n"
    )
    assert sorted(imports(ast.parse(code))) == [("a", False), ("c", False), ("g", True)]
