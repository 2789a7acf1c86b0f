"""Whole cases and single modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wasmlab_ref.case import Case
from wasmlab_ref.encode import encode
from wasmlab_ref.features import FEATURES, closure
from wasmlab_ref.syntax import Module
from wasmlab_ref.types import RecType

from .almost import near_valid
from .builder import Builder
from .config import Config
from .drawing import draw_module
from .linking import Offer, offers
from .mutate import mutated
from .source import SeededSource, Source
from .steps import script
from .swarm import Swarm
from .types import draw_groups

DEFAULT = Config()
NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")


@dataclass(frozen=True, slots=True)
class Family:
    """Modules drawn together, from which many cases can be made: drawing and compiling them costs more than a case."""

    features: frozenset[str]
    drawn: Sequence[Module]
    modules: tuple[bytes, ...]
    builders: Sequence[Builder]

    @staticmethod
    def draw(source: Source, features: frozenset[str], config: Config = DEFAULT) -> Family:
        """One that uses only `features` (closed under implication)."""
        modules, builders = draw(source, features, config)
        return Family(features, modules, tuple([encode(m) for m in modules]), builders)

    def case(self, source: Source, origin: str = "") -> Case:
        """A case with a script of its own: valid, and sure to end."""
        return Case(self.modules, script(source, self.builders, NAMES[: len(self.builders)]), origin or named(source))

    def any_case(self, source: Source, origin: str = "") -> Case:
        """What campaigns run: a valid case, but one of eight is only almost valid, and one of sixteen mutated."""
        made = self.case(source, origin)
        kind = source.below(16)
        if kind == 0:
            return mutated(source, made, self.features)
        return near_valid(source, made, self.features, self.drawn) if kind < 3 else made


def named(source: Source) -> str:
    """Where cases of a source come from, in words."""
    return f"seed {source.seed}" if isinstance(source, SeededSource) else ""


def case(source: Source, features: frozenset[str], config: Config = DEFAULT) -> Case:
    """A case that uses only `features` (closed under implication): valid, and sure to end."""
    return Family.draw(source, features, config).case(source)


def any_case(source: Source, features: frozenset[str], config: Config = DEFAULT) -> Case:
    """What campaigns run; see `Family.any_case`."""
    return Family.draw(source, features, config).any_case(source)


def module(source: Source, features: frozenset[str], config: Config = DEFAULT) -> Module:
    """One module without imports from others, in abstract syntax."""
    swarm = draw_swarm(source, features, config)
    return draw_module(source, swarm, config, _groups(source, swarm)).build()


def draw(source: Source, features: frozenset[str], config: Config) -> tuple[list[Module], list[Builder]]:
    """The modules of a case, with what is known of each."""
    swarm = draw_swarm(source, features, config)
    groups = _groups(source, swarm)
    count = 1
    if config.modules > 1 and source.chance(config.linked):
        count = source.span(2, min(config.modules, len(NAMES)))
    shared = sum(len(group.subtypes) for group in groups)
    builders: list[Builder] = []
    offered: list[Offer] = []
    for name in NAMES[:count]:
        builder = draw_module(source, swarm, config, groups, offered)
        builders.append(builder)
        if not builder.stillborn:
            offered += offers(builder, name, shared)
    return [builder.build() for builder in builders], builders


def draw_swarm(source: Source, features: frozenset[str], config: Config) -> Swarm:
    """A subset of the features, closed under implication, and weights."""
    if not source.chance(config.swarm):
        return Swarm(source, features, whole=True)
    kept = ["mvp"]
    for name in FEATURES:
        if name in features and source.below(8) < 5:
            kept.append(name)
    return Swarm(source, closure(kept), whole=False)


def _groups(source: Source, swarm: Swarm) -> Sequence[RecType]:
    if "gc" not in swarm.features:
        return ()
    vectors = ["v128"] if "simd" in swarm.features and source.below(2) else []
    return draw_groups(source, ["i32", "i64", "f32", "f64", *vectors])
