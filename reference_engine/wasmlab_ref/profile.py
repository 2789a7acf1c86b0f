"""The choices that the standard leaves to an implementation in its numerics.

The default `Profile()` is the deterministic profile of the standard: every NaN that arithmetic produces is the
positive canonical one, and every relaxed operation takes its first alternative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NAN_PROFILES = ("canonical", "x86", "arm64", "riscv64")
"""What the instructions of processors do."""

NAN_CHOICES = (*NAN_PROFILES, "swapped")
"""What a single instruction may choose, besides: as on x86, where the compiler exchanged the operands."""

NAN_INSTRUCTIONS = frozenset(
    {
        *(
            f"{t}.{name}"
            for t in ("f32", "f64", "f32x4", "f64x2")
            for name in ("add", "sub", "mul", "div", "min", "max", "sqrt", "ceil", "floor", "trunc", "nearest")
        ),
        *("f32.demote_f64", "f64.promote_f32", "f32x4.demote_f64x2_zero", "f64x2.promote_low_f32x4"),
    }
)
"""The instructions whose results may be any of several NaNs, relaxed ones left out."""

RELAXED_CHOICES: Mapping[str, int] = MappingProxyType(
    {
        "R_fmadd": 2,
        "R_fmin": 4,
        "R_fmax": 4,
        "R_idot": 2,
        "R_iq15mulr": 2,
        "R_trunc_s": 2,
        "R_trunc_u": 4,
        "R_swizzle": 2,
        "R_laneselect": 2,
        "R_laneselect_16": 3,
    }
)
"""The relaxed-SIMD parameters of the standard, each with the number of its alternatives."""

RELAXED: Mapping[str, str] = MappingProxyType(
    {
        "i8x16.relaxed_swizzle": "R_swizzle",
        "i32x4.relaxed_trunc_f32x4_s": "R_trunc_s",
        "i32x4.relaxed_trunc_f32x4_u": "R_trunc_u",
        "i32x4.relaxed_trunc_f64x2_s_zero": "R_trunc_s",
        "i32x4.relaxed_trunc_f64x2_u_zero": "R_trunc_u",
        **{f"{shape}.relaxed_{name}": "R_fmadd" for shape in ("f32x4", "f64x2") for name in ("madd", "nmadd")},
        **{f"{shape}.relaxed_{name}": f"R_f{name}" for shape in ("f32x4", "f64x2") for name in ("min", "max")},
        **{f"{shape}.relaxed_laneselect": "R_laneselect" for shape in ("i8x16", "i32x4", "i64x2")},
        "i16x8.relaxed_laneselect": "R_laneselect_16",
        "i16x8.relaxed_q15mulr_s": "R_iq15mulr",
        "i16x8.relaxed_dot_i8x16_i7x16_s": "R_idot",
        "i32x4.relaxed_dot_i8x16_i7x16_add_s": "R_idot",
    }
)
"""The parameter of each relaxed instruction."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One way to resolve the standard's numeric nondeterminism; hashable, checked when made (ValueError).

    `nan` is the NaN that arithmetic results in: "canonical" (the deterministic profile), or what the instructions
    of "x86", "arm64", "riscv64" hardware give.  The others are the parameters of the standard's section "Relaxed
    Operations"; 0 is what the deterministic profile prescribes:

        R_fmadd        0 multiply-add rounds twice; 1 fused, rounds once
        R_fmin/fmax    for a NaN operand or zeros of opposite sign: 0 as min/max; 1 the first operand;
                       2 the second; 3 the number rather than the NaN, and -0 for min, +0 for max
        R_idot         second operand of the dot product: 0 signed; 1 unsigned
        R_iq15mulr     -1 times -1: 0 saturates; 1 wraps
        R_trunc_s      NaN or out of range: 0 as trunc_sat; 1 -2^(N-1)
        R_trunc_u      NaN or out of range: 0 as trunc_sat; 1 2^N-1; 2 2^N-2; 3 2^(N-1)
        R_swizzle      an index from 16 to 127 selects: 0 zero; 1 the lane modulo 16
        R_laneselect   0 bit by bit; 1 the lane's top bit decides
        R_laneselect_16  the same for i16x8; 2 the top bit of each byte, as x86's pblendvb does.  The standard has one
                       parameter and two alternatives; the official suite allows this one, too

    `single` are choices of single instructions, by mnemonic, which go before those: engines choose by what each
    instruction costs, not by parameter.  For an instruction that may result in several NaNs it is the place of one of
    `NAN_CHOICES`; the C path does not take these.  With `grow` 0, memories and tables refuse to grow.

    For the truncations the standard's second alternative is any number at all.  The numbers here are those of x86
    instruction sequences; SpecTec counts the alternatives of R_trunc_u as four, too.
    """

    nan: str = "canonical"
    R_fmadd: int = 0
    R_fmin: int = 0
    R_fmax: int = 0
    R_idot: int = 0
    R_iq15mulr: int = 0
    R_trunc_s: int = 0
    R_trunc_u: int = 0
    R_swizzle: int = 0
    R_laneselect: int = 0
    R_laneselect_16: int = 0
    single: tuple[tuple[str, int], ...] = ()
    grow: int = 1

    def __post_init__(self) -> None:
        if self.nan not in NAN_CHOICES:
            raise ValueError(f"nan must be one of {', '.join(NAN_CHOICES)}, not {self.nan!r}")
        for name, alternatives in (*RELAXED_CHOICES.items(), ("grow", 2)):
            _check(name, getattr(self, name), alternatives)
        for name, value in self.single:
            if name not in RELAXED and name not in NAN_INSTRUCTIONS:
                raise ValueError(f"no choice {name!r}")
            _check(name, value, RELAXED_CHOICES[RELAXED[name]] if name in RELAXED else len(NAN_CHOICES))

    def choice(self, mnemonic: str) -> int:
        """What a relaxed instruction chooses."""
        general: int = getattr(self, RELAXED[mnemonic])
        return dict(self.single).get(mnemonic, general)

    @staticmethod
    def of(choices: Mapping[str, str | int]) -> Profile:
        """The profile with these choices: `nan`, parameters, single instructions; ValueError for what is none."""
        known = {"nan", "grow", *RELAXED_CHOICES}
        single = tuple(sorted((name, int(value)) for name, value in choices.items() if name not in known))
        return Profile(**{name: choices[name] for name in choices if name in known}, single=single)  # type: ignore[arg-type]


def _check(name: str, value: int, alternatives: int) -> None:
    if not isinstance(value, int) or not 0 <= value < alternatives:
        raise ValueError(f"{name} must be from 0 to {alternatives - 1}, not {value!r}")
