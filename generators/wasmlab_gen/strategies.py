"""Hypothesis strategies, for anybody's property tests:

    from hypothesis import given
    from wasmlab_gen import cases, modules

    @given(modules())
    def test_my_decoder(module): ...

`features` are names from features.tbl, closed under what they imply (`wasmlab_ref.features.closure`); `config` says how
large, how trapping, how linked what is drawn is (`Config`).  All shrink to the simplest that still fails, and draw the
same code as campaigns do: `replay.replay` runs such a test on a case that a campaign found.
"""

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
    """Cases that use only `features`: one or more valid modules in the binary format, and a script that ends.

    features    what modules may use; each case uses a subset of it (`config.swarm`)
    config      sizes, and the chances of traps, of several modules, of private state, of the host
    """
    return case(HypothesisSource(draw), features, config)


@st.composite
def modules(draw: Callable[[Any], Any], features: frozenset[str] = WASM_3, config: Config = DEFAULT) -> Module:
    """Valid modules in abstract syntax, which import nothing but the host's functions; `wasmlab_ref.encode` for bytes.

    features    what the module may use
    config      as for `cases`; what is about several modules or about calls means nothing here
    """
    return module(HypothesisSource(draw), features, config)


@st.composite
def values(draw: Callable[[Any], Any], type_: ValType) -> str:
    """Values as text, such as "i32:2a" or "ref.null", that a script can pass; corners are as likely as all others.

    type_       "i32", "i64", "f32", "f64", "v128", or a nullable `RefType`; ValueError for a reference type that
                nothing outside of a module has a value of
    """
    if not bits.can_pass(type_):
        raise ValueError(f"no script can pass a {type_}")
    return bits.argument(HypothesisSource(draw), type_)


def function_types(features: frozenset[str] = WASM_3, params: int = 4, results: int = 4) -> st.SearchStrategy[FuncType]:
    """Function types over numbers, vectors and the common references.

    features    "simd" gives vectors, "reference-types" references; without "multi-value" there is one result at most
    params      at most so many parameters
    results     at most so many results
    """
    names: list[ValType] = ["i32", "i64", "f32", "f64"]
    if "simd" in features:
        names.append("v128")
    if "reference-types" in features:
        names += [bits.FUNCREF, bits.EXTERNREF]
    most = results if "multi-value" in features else min(results, 1)
    type_ = st.sampled_from(names)
    return st.builds(FuncType, st.lists(type_, max_size=params).map(tuple), st.lists(type_, max_size=most).map(tuple))
