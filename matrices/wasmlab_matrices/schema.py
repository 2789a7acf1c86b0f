"""YAML read into dataclasses: the dataclass is the schema, and an error says file, line, key and what was near.

Fields are strings, numbers, booleans, `tuple[T, ...]`, `dict[str, T]`, `T | None` and other dataclasses.  A field
without a default is required.  Nothing but YAML's plain data is constructed; the nesting is bounded by the schema.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
_PLAIN = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


class SchemaError(ValueError):
    """A YAML file that is not what it should be: `<file>:<line>: <key>: <what is wrong>`."""


def read_yaml(text: str, name: str, schema: type[T]) -> T:
    """Read one YAML document; `name` is what errors call the file."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SchemaError(f"{name}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SchemaError(f"{name}: not YAML: {type(error).__name__}") from None
    if node is None:
        raise SchemaError(f"{name}:1: empty")
    return typing.cast(T, _Reader(name).read(node, schema, ""))


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name

    def error(self, node: yaml.Node, key: str, message: str) -> SchemaError:
        return SchemaError(": ".join(p for p in (f"{self.name}:{node.start_mark.line + 1}", key, message) if p))

    def read(self, node: yaml.Node, schema: Any, key: str) -> Any:
        origin, arguments = typing.get_origin(schema), typing.get_args(schema)
        if origin in (types.UnionType, typing.Union):
            if node.tag == "tag:yaml.org,2002:null":
                return None
            return self.read(node, next(a for a in arguments if a is not type(None)), key)
        if origin is tuple:
            if not isinstance(node, yaml.SequenceNode):
                raise self.error(node, key, "expected a list")
            return tuple(self.read(n, arguments[0], f"{key}[{i}]") for i, n in enumerate(node.value))
        if origin is dict:
            return {k: self.read(n, arguments[1], f"{key}.{k}".lstrip(".")) for k, _, n in self.pairs(node, key)}
        if dataclasses.is_dataclass(schema):
            return self.record(node, typing.cast(type, schema), key)
        return self.plain(node, schema, key)

    def pairs(self, node: yaml.Node, key: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Key, its node and the value's of each entry; a key twice is an error, not the last one's victory."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, key, "expected a mapping")
        seen = set()
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise self.error(name, key, "a key must be a text")
            if name.value in seen:
                raise self.error(name, key, f"key {name.value!r} appears twice")
            seen.add(name.value)
            yield name.value, name, value

    def record(self, node: yaml.Node, schema: type, key: str) -> Any:
        hints = typing.get_type_hints(schema)
        found = {}
        for name, name_node, value in self.pairs(node, key):
            if name not in hints:
                near = difflib.get_close_matches(name, hints, n=1)
                hint = f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(hints)}"
                raise self.error(name_node, key, f"unknown key {name!r}{hint}")
            found[name] = self.read(value, hints[name], f"{key}.{name}".lstrip("."))
        required = dataclasses.MISSING
        for field in dataclasses.fields(schema):
            if field.name not in found and field.default is required and field.default_factory is required:
                raise self.error(node, key, f"key {field.name!r} is missing")
        try:
            return schema(**found)
        except ValueError as error:  # the dataclass's own check of how its fields fit together
            raise self.error(node, key, str(error)) from None

    def plain(self, node: yaml.Node, schema: type, key: str) -> Any:
        loader = yaml.SafeLoader("")
        try:
            value = loader.construct_object(node) if isinstance(node, yaml.ScalarNode) else None
        except (ValueError, yaml.YAMLError):
            value = None
        if schema is float and type(value) is int:
            value = float(value)
        if type(value) is not schema:
            quote = f" (in quotes: {node.value!r} is none)" if schema is str and value is not None else ""
            raise self.error(node, key, f"expected {_PLAIN[schema]}{quote}")
        return value
