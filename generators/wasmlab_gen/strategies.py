"""Hypothesis strategies, for anybody's property tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from wasmlab_ref.case import Case
from wasmlab_ref.features import WASM_3
from wasmlab_ref.syntax import Module
from wasmlab_ref.types import FuncType, ValType

from . import bits
from .config import Config
from .generate import DEFAULT, case, module
from .source import HypothesisSource


@st.composite
def cases(draw: Callable[[Any], Any], features: frozenset[str] = WASM_3, config: Config = DEFAULT) -> Case:
    """Cases that use only `features`: valid modules that end, with a script."""
    return case(HypothesisSource(draw), features, config)


@st.composite
def modules(draw: Callable[[Any], Any], features: frozenset[str] = WASM_3, config: Config = DEFAULT) -> Module:
    """Valid modules in abstract syntax, which import nothing but the host's log; `wasmlab_ref.encode` for bytes."""
    return module(HypothesisSource(draw), features, config)


@st.composite
def values(draw: Callable[[Any], Any], type_: ValType) -> str:
    """Values of a type as text, such as "i32:2a", that a script can pass."""
    return bits.argument(HypothesisSource(draw), type_)


def function_types(features: frozenset[str] = WASM_3) -> st.SearchStrategy[FuncType]:
    """Function types over numbers, vectors and the common references."""
    names: list[ValType] = ["i32", "i64", "f32", "f64"]
    if "simd" in features:
        names.append("v128")
    if "reference-types" in features:
        names += [bits.FUNCREF, bits.EXTERNREF]
    types = st.lists(st.sampled_from(names), max_size=4).map(tuple)
    results = types if "multi-value" in features else st.lists(st.sampled_from(names), max_size=1).map(tuple)
    return st.builds(FuncType, types, results)
