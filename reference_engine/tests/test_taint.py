"""Runs that track open bits: no behaviour that the standard allows changes a bit that they call closed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from wasmlab_ref.case import WIDTHS
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.engine import Store
from wasmlab_ref.isa import INSTRUCTIONS
from wasmlab_ref.numerics import functions
from wasmlab_ref.outcome import Trap
from wasmlab_ref.profile import NAN_PROFILES, RELAXED, RELAXED_CHOICES, Profile
from wasmlab_ref.syntax import instr
from wasmlab_ref.taint import TRAPPING, Open, Taint, Tainted, taint_of
from wasmlab_ref.taint_rules import opens, rule_of
from wasmlab_ref.text import parse_module
from wasmlab_ref.validate import validate

TABLE = functions(Profile())
NUMERIC = [row for row in INSTRUCTIONS if row.mnemonic in TABLE]

CORNERS = {
    32: (0, 1, 0x80000000, 0x7FFFFFFF, 0xFFFFFFFF, 0x3F800000, 0x7F800000, 0x7FC00000, 0xFFC00000, 0x7FC12345,
         0x7FA00001, 0xFF800001, 0x4F000000, 0xCF800000),
    64: (0, 1, 1 << 63, (1 << 63) - 1, (1 << 64) - 1, 0x3FF0 << 48, 0x7FF0 << 48, 0x7FF8 << 48, 0xFFF8 << 48,
         0x7FF8 << 48 | 77, 0x7FF4 << 48, 0x41E0 << 48),
}  # fmt: skip
NAN_MASKS = {32: (0x80000000, 0x803FFFFF), 64: (1 << 63, (1 << 63) | (1 << 51) - 1)}
QUIET = {32: 0x7FC00000, 64: 0x7FF8 << 48}


def number(rng: random.Random, width: int) -> int:
    if width == 128:
        lane = rng.choice((32, 64))
        return sum(number(rng, lane) << at for at in range(0, 128, lane))
    return rng.choice(CORNERS[width]) if rng.random() < 0.7 else rng.getrandbits(width)


def tainted(rng: random.Random, width: int) -> tuple[int, int]:
    """A number, and a mask: none, that of a NaN, or any."""
    if width == 128:
        lane = rng.choice((32, 64))
        lanes = [tainted(rng, lane) for _ in range(128 // lane)]
        return tuple(sum(part[i] << lane * at for at, part in enumerate(lanes)) for i in (0, 1))  # type: ignore[return-value]
    kind = rng.randrange(4)
    if kind == 0:
        return number(rng, width), 0
    if kind < 3:
        return QUIET[width], rng.choice(NAN_MASKS[width])
    return number(rng, width), rng.getrandbits(width) & rng.getrandbits(width)


def immediates(rng: random.Random, kinds: tuple[str, ...]) -> tuple[object, ...]:
    found: list[object] = []
    for kind in kinds:
        name, _, size = kind.partition(":")
        found.append(rng.randrange(int(size)) if name == "lane" else tuple(rng.randrange(32) for _ in range(16)))
    return tuple(found)


def outcome(function: Callable[..., int], operands: tuple[object, ...]) -> int | str:
    try:
        return function(*operands)
    except Trap as trap:
        return trap.kind


def behaviours(mnemonic: str) -> list[Profile]:
    found = [Profile(nan=nan) for nan in NAN_PROFILES]
    if mnemonic in RELAXED:
        found = [
            Profile(nan=nan, single=((mnemonic, choice),))
            for nan in NAN_PROFILES
            for choice in range(RELAXED_CHOICES[RELAXED[mnemonic]])
        ]
    return found


@pytest.mark.parametrize("row", NUMERIC, ids=lambda row: row.mnemonic)
def test_closed_bits_are_the_same_in_every_behaviour(row: object) -> None:
    mnemonic, params = row.mnemonic, row.params  # type: ignore[attr-defined]
    rng = random.Random(mnemonic)
    profiles = behaviours(mnemonic)
    for _ in range(60):
        args = immediates(rng, row.immediates)  # type: ignore[attr-defined]
        operands, taints = zip(*(tainted(rng, WIDTHS[str(t)]) for t in params), strict=True)
        choice = rng.choice(profiles)
        base = Profile(single=choice.single)
        function = functions(base)[mnemonic]
        if mnemonic in TRAPPING and any(taints) and TRAPPING[mnemonic](operands, taints):
            continue
        result = outcome(function, (*args, *operands))
        rule = rule_of(instr(mnemonic, *args), base, functions(base))
        mask = 0 if isinstance(result, str) else rule(result, operands, taints)
        for profile in (p for p in profiles if p.single == choice.single):
            other = [a ^ (t & rng.getrandbits(128)) for a, t in zip(operands, taints, strict=True)]
            found = outcome(functions(profile)[mnemonic], (*args, *other))
            if isinstance(result, str) or isinstance(found, str):
                assert found == result, (operands, taints, other)
                continue
            assert not (found ^ result) & ~mask, (profile, [*map(hex, operands)], [*map(hex, taints)], hex(mask))


def test_what_opens_is_what_behaviours_differ_in() -> None:
    """Instructions whose results no profile changes never open anything by themselves."""
    for row in NUMERIC:
        if not opens(row.mnemonic) and row.mnemonic not in RELAXED:
            assert all(functions(p)[row.mnemonic] is not None for p in behaviours(row.mnemonic))
            rng = random.Random(row.mnemonic)
            for _ in range(20):
                args = immediates(rng, row.immediates)
                operands = [number(rng, WIDTHS[str(t)]) for t in row.params or ()]
                try:
                    results = {functions(Profile(nan=nan))[row.mnemonic](*args, *operands) for nan in NAN_PROFILES}
                except Trap:
                    continue
                assert len(results) == 1, row.mnemonic


def call(text: str, *args: int, profile: Profile | None = None) -> list[object]:
    store = Store(profile, taint=Taint())
    instance = store.instantiate(validate(decode(encode(parse_module(text)))))
    return store.invoke(instance.exports["f"], list(args))  # type: ignore[arg-type]


ZERO = "(f32.div (f32.const 0) (f32.const 0))"
OTHER = "(f32.add (f32.const nan:0x200001) (local.get 0))"


def mask(body: str, result: str = "f32", more: str = "", local: int = 0) -> int:
    (found,) = call(f'(module {more} (func (export "f") (param f32) (result {result}) {body}))', local)
    return taint_of(found)


SIGN, PAYLOAD = 0x80000000, 0x803FFFFF


@pytest.mark.parametrize(
    ("body", "result", "expected"),
    [
        (ZERO, "f32", SIGN),
        (OTHER, "f32", PAYLOAD),
        (f"(f32.abs {ZERO})", "f32", 0),
        (f"(f32.abs {OTHER})", "f32", 0x3FFFFF),
        (f"(f32.add {ZERO} (f32.const 1))", "f32", SIGN),
        (f"(f32.add {OTHER} (f32.const 1))", "f32", PAYLOAD),
        (f"(f32.eq {OTHER} {OTHER})", "i32", 0),
        (f"(i32.reinterpret_f32 {ZERO})", "i32", SIGN),
        (f"(i32.and (i32.reinterpret_f32 {ZERO}) (i32.const 255))", "i32", 0),
        (f"(i32.shr_u (i32.reinterpret_f32 {ZERO}) (i32.const 31))", "i32", 1),
        (f"(i32.shr_s (i32.reinterpret_f32 {ZERO}) (i32.const 31))", "i32", 0xFFFFFFFF),
        (f"(i32.eqz (i32.reinterpret_f32 {ZERO}))", "i32", 0),
        (f"(i32.trunc_sat_f32_s {ZERO})", "i32", 0),
        (f"(select (f32.const 1) (f32.const 2) (i32.shr_u (i32.reinterpret_f32 {ZERO}) (i32.const 31)))", "f32",
         0x7F800000),
        (f"(i32.div_u (i32.const 7) (i32.reinterpret_f32 {ZERO}))", "i32", 0xFFFFFFFF),
        ("(f32x4.extract_lane 2 (f32x4.sqrt (f32x4.splat (f32.const -1))))", "f32", SIGN),
        ("(f32x4.extract_lane 2 (f32x4.replace_lane 1 (f32x4.splat (f32.const 2)) " + ZERO + "))", "f32", 0),
        ("(f32x4.extract_lane 1 (f32x4.replace_lane 1 (f32x4.splat (f32.const 2)) " + ZERO + "))", "f32", SIGN),
        (f"(i32.store (i32.const 8) (i32.reinterpret_f32 {ZERO})) (i32.load8_u (i32.const 11))", "i32", 0x80),
        (f"(i32.store (i32.const 8) (i32.reinterpret_f32 {ZERO})) (i32.load8_s (i32.const 11))", "i32", 0xFFFFFF80),
        (f"(i32.store (i32.const 8) (i32.reinterpret_f32 {ZERO})) (i32.load (i32.const 10))", "i32", 0x8000),
        (f"(f32.store (i32.const 8) {ZERO}) (memory.copy (i32.const 1) (i32.const 8) (i32.const 9)) "
         "(f32.load (i32.const 1))", "f32", SIGN),
        (f"(f32.store (i32.const 8) {ZERO}) (memory.fill (i32.const 9) (i32.const 1) (i32.const 3)) "
         "(f32.load (i32.const 8))", "f32", 0),
        (f"(f32.store (i32.const 8) {ZERO}) (f32.store (i32.const 8) (f32.const 0)) (f32.load (i32.const 8))", "f32",
         0),
        (f"(global.set $g {ZERO}) (global.get $g)", "f32", SIGN),
        (f"(struct.get $s 0 (struct.new $s {ZERO} (i32.const 0)))", "f32", SIGN),
        (f"(struct.get_s $s 1 (struct.new $s (f32.const 0) (i32.shr_u (i32.reinterpret_f32 {ZERO}) (i32.const 24))))",
         "i32", 0xFFFFFF80),
        (f"(array.get_u $a (array.new $a (i32.shr_u (i32.reinterpret_f32 {ZERO}) (i32.const 24)) (i32.const 3)) "
         "(i32.const 2))", "i32", 0x80),
        (f"(i31.get_s (ref.i31 (i32.shr_u (i32.reinterpret_f32 {ZERO}) (i32.const 1))))", "i32", 0xC0000000),
        (f"(call $id {ZERO})", "f32", SIGN),
        (f"(f32.store (i32.const 4) {ZERO}) (i64.atomic.load (i32.const 0))", "i64", 1 << 63),
        (f"(i32.atomic.store16 (i32.const 4) (i32.shr_u (i32.reinterpret_f32 {ZERO}) (i32.const 16)))"
         "(i32.load (i32.const 4))", "i32", 0x8000),
        (f"(drop (i32.atomic.rmw.xchg (i32.const 4) (i32.reinterpret_f32 {ZERO})))"
         "(i32.atomic.rmw.or (i32.const 4) (i32.const 1))", "i32", SIGN),
        (f"(f32.store (i32.const 4) {ZERO}) (drop (i32.atomic.rmw.or (i32.const 4) (i32.const -1)))"
         "(i32.load (i32.const 4))", "i32", 0),
        (f"(i32.store (i32.const 4) (i32.shr_u (i32.reinterpret_f32 {ZERO}) (i32.const 8)))"
         "(drop (i32.atomic.rmw.add (i32.const 4) (i32.const 0x1000000))) (i32.load (i32.const 4))",
         "i32", 0xFF800000),
        (f"(f32.store (i32.const 4) {ZERO})"
         "(i32.atomic.rmw.cmpxchg (i32.const 4) (i32.const 1) (i32.const 2))", "i32", SIGN),
        (f"(drop (i32.atomic.rmw.cmpxchg (i32.const 4) (i32.const 0) (i32.reinterpret_f32 {ZERO})))"
         "(i32.load (i32.const 4))", "i32", SIGN),
        (f"(block $b (result f32) (try_table (catch $t $b) (throw $t {ZERO})) (f32.const 0))", "f32", SIGN),
    ],
)  # fmt: skip
def test_masks_travel_with_values(body: str, result: str, expected: int) -> None:
    more = """(type $s (struct (field (mut f32)) (field (mut i8)))) (type $a (array (mut i8))) (memory 1)
      (tag $t (param f32)) (global $g (mut f32) (f32.const 0)) (func $id (param f32) (result f32) (local.get 0))"""
    assert mask(body, result, more) == expected


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("(if (i32.shr_u (local.get 0) (i32.const 31)) (then))", "branch"),
        ("(block (br_if 0 (local.get 0)))", "branch"),
        ("(block (br_table 0 0 (local.get 0)))", "branch"),
        ("(drop (i32.load (local.get 0)))", "address"),
        ("(i32.store (local.get 0) (i32.const 1))", "address"),
        ("(memory.fill (i32.const 0) (i32.const 0) (local.get 0))", "address"),
        ("(drop (memory.grow (local.get 0)))", "size"),
        ("(drop (table.get 0 (local.get 0)))", "index"),
        ("(call_indirect (local.get 0))", "index"),
        ("(drop (i32.div_u (i32.const 1) (i32.shr_u (local.get 0) (i32.const 31))))", "trap"),
        ("(drop (i32.atomic.load (local.get 0)))", "address"),
        ("(i64.atomic.store8 (local.get 0) (i64.const 0))", "address"),
        ("(drop (i32.atomic.rmw.add (local.get 0) (i32.const 0)))", "address"),
        ("(drop (i32.atomic.rmw.cmpxchg (local.get 0) (i32.const 0) (i32.const 0)))", "address"),
        ("(drop (memory.atomic.notify (local.get 0) (i32.const 0)))", "address"),
        ("(drop (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.and (i32.const -0x80000000) (local.get 0)) (i32.const 5)))",
         "comparison"),
        ("(i32.store (i32.const 0) (local.get 0))"
         "(drop (memory.atomic.wait32 (i32.const 0) (i32.const 1) (i64.const 0)))", "comparison"),
    ],
)  # fmt: skip
def test_where_open_bits_decide_nothing_can_be_said(body: str, what: str) -> None:
    text = f"""(module (memory 1 1 shared) (table 1 funcref) (func (export "f") (local i32)
      (local.set 0 (i32.reinterpret_f32 {ZERO})) {body}))"""
    with pytest.raises(Open, match=what):
        call(text)


def test_relaxed_choices() -> None:
    text = """(module (func (export "f") (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0))))"""
    vector = 0x3F800000 | 0x4F800000 << 32
    assert taint_of(call(text, vector)[0]) == 0
    assert taint_of(call(text, vector, profile=Profile(R_trunc_s=1))[0]) == 0xFFFFFFFF << 32


def test_values_stay_what_they_are() -> None:
    assert Tainted(5, 1) == 5
    assert f"{Tainted(255, 1):x}" == "ff"
    with pytest.raises(ValueError, match="not both"):
        from wasmlab_ref.events import Listener

        Store(listener=Listener(), taint=Taint())
