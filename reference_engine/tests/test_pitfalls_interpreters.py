"""How interpreters broke, as far as one in Python can break in the same way.

Elsewhere: work a doubling of hostile input costs, in test_validate_hostile.py, test_text_hostile.py and
test_execute_limits.py; operands in unreachable code, and rules that validators miss, in test_validate_code.py; sizes
and starts that wrap, in test_pitfalls_widths.py; circular supertypes in test_validate.py.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmlab_ref import types
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.engine import Store
from wasmlab_ref.limits import Limits
from wasmlab_ref.outcome import Exhausted, Invalid, Malformed, Rejected
from wasmlab_ref.text import parse_module
from wasmlab_ref.validate import validate

HEADER = b"\0asm\1\0\0\0"


# Slots and heights


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("(return (i32.const 1)) (select) (block (param i32) (drop)) (block (param i64 f32) (drop) (drop))", 1),
        ("(i32.const 2) (block (br 0) (i32.add) (i32.eqz) (drop) (drop))", 2),
        ("(block (result i32) (i32.const 3) (br 0) (loop (param i32) (result i32 i32) (i32.const 0)) (drop))", 3),
        ("(i32.const 4) (i32.const 0) (if (param i32) (result i32) (then (br 1) (drop) (unreachable)) (else))", 4),
        ("(i32.const 5) (i32.const 1) (if (param i32) (result i32) (then (br 1) (i32.eqz)) (else unreachable))", 5),
        ("(i32.const 1) (i32.const 5) (loop (param i32) (result i32) (i32.const 1) (br_if 1) (br 0)) (i32.add)", 5),
        ("(i32.const 0) (loop (br 1 (i32.const 7)) (drop) (br_if 0) (br_table 0 0))", 7),
        ("(f64.const 0) (v128.const i64x2 0 0) (i32.const 8) (br 0)", 8),
        ("(block (block (br_table 0 1 (i32.const 1)) (f32.neg) (drop) (br_if 1) (drop)) unreachable) (i32.const 9)", 9),
        ("(i32.const 10) (try_table (param i32) (result i32) (br 0) (throw_ref))", 10),
        ("(return_call $eleven) (call_indirect (param i64) (result f32)) (drop)", 11),
        ("(block (result i32 i64) (i32.const 12) (i64.const 0) (br 0) (local.tee $x) (drop)) (drop)", 12),
    ],
)  # fmt: skip
def test_code_around_the_unreachable(world: Any, code: str, result: int) -> None:
    text = f"""(table 1 funcref) (func $eleven (result i32) (i32.const 11))
               (func (export "f") (result i32) (local $x i64) {code})"""
    assert world.run(text, "f") == [result]
    assert world.call(world.load(encode(parse_module(text))), "f") == [result]


@pytest.mark.parametrize(
    "code",
    [
        "(if (result i32) (i32.const 1) (then (i32.const 1)) (else)) (drop)",
        "(if (result i32) (i32.const 1) (then) (else (i32.const 1))) (drop)",
        "(if (i32.const 1) (then (i32.const 1)) (else (i32.const 1)))",
        "(loop (result i32)) (drop)",
        "(loop (i32.const 1))",
        "(block (result i32) (i32.const 1) (i32.const 1)) (drop)",
        "(i32.const 1) (loop (drop))",
        "(i32.const 1) (loop (param i32) (drop) (br 0))",
        "(unreachable) (block (param i32) (drop) (drop))",
        "(unreachable) (if (then (drop)))",
        "(block (br 0) (block (drop)))",
        "(select (i32.const 1) (i64.const 1) (i32.const 1)) (drop)",
        "(select (v128.const i64x2 0 0) (i64.const 1) (i32.const 1)) (drop)",
        "(select (result i32 i32) (i32.const 1) (i32.const 1) (i32.const 1)) (drop)",
        "(select (result) (i32.const 1) (i32.const 1) (i32.const 1)) (drop)",
        "(memory.fill (i32.const 0) (f32.const 0) (i32.const 0))",
        "(block (type $struct))",
        "(block (type 99))",
        "(call_indirect (type $struct) (i32.const 0))",
    ],
)
def test_heights_and_rules_that_validators_miss(invalid: Callable[[str], str], code: str) -> None:
    message = invalid(f"(type $struct (struct)) (memory 1) (table 1 funcref) (func {code})")
    assert message.startswith(("type mismatch", "unknown type", "invalid result arity"))


@pytest.mark.parametrize(
    "init",
    [
        "", "(i32.add)", "(i32.const 1) (i32.add)", "(i32.const 1) (i32.const 2)", "(i64.const 1)", "(f32.const 1)",
        "(nop) (i32.const 1)", "(i32.const 1) (drop) (i32.const 1)", "(block (result i32) (i32.const 1))",
        "(i32.const 1) (return)", "(unreachable)", "(local.get 0)", "(call 0)", "(i32.eqz (i32.const 1))",
    ],
)  # fmt: skip
def test_constant_expressions_have_one_value_and_constant_instructions(
    invalid: Callable[[str], str], init: str
) -> None:
    for place in ("(global i32 {})", "(memory 1) (data (offset {}))", "(table 1 funcref) (elem (offset {}) func)"):
        assert invalid("(func) " + place.format(init)).startswith(("type mismatch", "constant expression required"))


# Frames


def test_tail_calls_do_not_touch_the_callers_frame(world: Any) -> None:
    """The callee has more parameters and locals than the caller; the caller's caller keeps what it had."""
    wide = " ".join(f"(i64.const {i})" for i in range(30))
    text = f"""(type $wide (func (param {"i64 " * 30}) (result i64))) (table funcref (elem $wide))
        (func $wide (type $wide) (local {"i64 " * 30}) (local.set 0 (i64.const -1)) (local.set 59 (i64.const -1))
          (i64.add (local.get 29) (local.get 40)))
        (func $direct (result i64) (return_call $wide {wide}))
        (func $indirect (result i64) (return_call_indirect (type $wide) {wide} (i32.const 0)))
        (func $ref (result i64) (return_call_ref $wide {wide} (ref.func $wide)))
        (func (export "f") (param i32 i64) (result i32 i64 i64 i64 i64 i32) (local i32)
          (local.set 2 (i32.const 7))
          (local.get 0) (local.get 1) (call $direct) (call $indirect) (call $ref) (local.get 2))"""
    assert world.run(text, "f", 5, 6) == [5, 6, 29, 29, 29, 7]


def test_locals_start_as_zero_in_every_activation(world: Any) -> None:
    instance = world.load(
        """(func $f (param i32) (result i32 i64 f32 i32) (local $i i32) (local $l i64) (local $f f32) (local $r anyref)
             (local.get $i) (local.get $l) (local.get $f) (ref.is_null (local.get $r))
             (local.set $i (i32.const -1)) (local.set $l (i64.const -1)) (local.set $f (f32.const 1))
             (local.set $r (ref.i31 (i32.const 1)))
             (block (br_if 0 (i32.eqz (local.get 0)))
               (return_call $f (i32.sub (local.get 0) (i32.const 1)))))
           (func (export "f") (result i32 i64 f32 i32)
             (call $f (i32.const 0)) (drop) (drop) (drop) (drop) (call $f (i32.const 3)))"""
    )
    assert world.call(instance, "f") == world.call(instance, "f") == [0, 0, 0, 1]


def test_what_is_new_is_zero(world: Any) -> None:
    """Grown memories and tables, new objects, and everything of a new store."""
    text = """(memory 1 3) (table 1 9 externref) (type $a (array (mut i64)))
        (type $s (struct (field i8) (field anyref)))
        (func (export "spoil") (memory.fill (i32.const 0) (i32.const 0xff) (i32.const 65536)))
        (func (export "f") (result i32 i32 i64 i32 i32) (local $a (ref $a))
          (drop (memory.grow (i32.const 1))) (drop (table.grow (ref.null extern) (i32.const 2)))
          (i32.load (i32.const 65536)) (ref.is_null (table.get (i32.const 2)))
          (array.get $a (array.new_default $a (i32.const 5)) (i32.const 4))
          (struct.get_u $s 0 (struct.new_default $s)) (ref.is_null (struct.get $s 1 (struct.new_default $s))))"""
    instance = world.load(text)
    world.call(instance, "spoil")
    assert world.call(instance, "f") == [0, 1, 0, 0, 1]
    del instance
    for _ in range(3):
        again = Store().instantiate(validate(parse_module(text)))
        assert not any(again.memories[0].data)
        again.memories[0].data[:] = b"\xff" * 65_536


# Bytes

RICH = encode(
    parse_module(
        """(rec (type $s (sub (struct (field (mut i8))))) (type (sub $s (struct (field (mut i8)) (field f32)))))
           (type $f (func (param i32) (result i32)))
           (import "m" "f" (func $i (type $f))) (import "m" "g" (global i64))
           (func $f (export "f") (type $f) (local i64 i64 (ref null $s))
             (block $l (result i32) (try_table (result i32) (catch $e $l)
               (br_table 0 1 (i32.const 1) (local.get 0))) (drop)
               (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))
               (drop (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
                 (v128.const i64x2 1 2) (v128.load offset=300 (i32.const 0))))
               (drop (select (result f64) (f64.const 1) (f64.const 2) (i32.const 0)))
               (drop (ref.cast (ref null $s) (ref.null any))) (call_indirect (type $f) (i32.const -5) (i32.const 0))))
           (table $t 1 9 funcref) (memory 1 2) (tag $e (param i32)) (global (mut i32) (i32.const 300))
           (elem (table $t) (i32.const 0) func $f) (elem declare funcref (ref.func $f) (ref.null func)) (data $d "abc")
           (data (i32.const 1) "d")"""
    )
)


def judged(data: bytes) -> str:
    """What decoding and validation end in; anything but a module or a rejection is raised."""
    try:
        validate(decode(data))
    except Malformed as error:
        return "malformed" if error.offset is not None and 0 <= error.offset <= len(data) else "without a place"
    except (Invalid, Exhausted):
        return "invalid"
    return "valid"


def test_every_truncation_is_refused() -> None:
    assert judged(RICH) == "valid"
    ends, at = {8}, 8
    while at < len(RICH):
        at += 2 + RICH[at + 1] if RICH[at + 1] < 0x80 else 3 + (RICH[at + 1] & 0x7F | RICH[at + 2] << 7)
        ends.add(at)
    outcomes = {n: judged(RICH[:n]) for n in range(len(RICH))}
    assert {n for n, outcome in outcomes.items() if outcome != "malformed"} <= ends
    assert outcomes[8] == "valid"


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(8, len(RICH) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_damaged_bytes_end_in_a_module_or_a_rejection(changes: list[tuple[int, int]]) -> None:
    data = bytearray(RICH)
    for at, byte in changes:
        data[at] = byte
    if judged(bytes(data)) == "valid":
        module = decode(bytes(data))
        assert decode(encode(module)) == module


RESERVED = {
    "mutability": b"\6\5\1\x7f\2\x41\0\x0b",
    "tag attribute": b"\x0d\3\1\1\0",
    "element kind": b"\x09\4\1\1\1\0",
    "initialiser of a table": b"\4\x0a\1\x40\1\x70\0\1\xd0\x70\x0b",
    "export kind": b"\7\4\1\0\5\0",
    "import kind": b"\2\5\1\0\0\5\0",
    "data mode": b"\x0b\3\1\3\0",
    "element mode": b"\x09\3\1\x08\0",
    "composite type": b"\1\4\1\x61\0\0",
}


@pytest.mark.parametrize("section", RESERVED.values(), ids=RESERVED)
def test_reserved_bytes_are_refused(section: bytes) -> None:
    with pytest.raises(Malformed):
        decode(HEADER + section)


@pytest.mark.parametrize("section", [1, 2, 3, 4, 5, 13, 6, 7, 9, 10, 11])
@pytest.mark.parametrize("count", [(1 << 31) - 1, 1 << 31, (1 << 32) - 4, (1 << 32) - 1])
def test_count_bombs_cost_nothing(work: Callable[..., int], section: int, count: int) -> None:
    number = bytes(count >> 7 * i & 0x7F | (0x80 if i < 4 else 0) for i in range(5))
    data = HEADER + bytes([section, 5]) + number

    def refuse() -> None:
        with pytest.raises(Malformed):
            decode(data)

    assert work(refuse) < 2_000


def test_count_bombs_in_code_cost_nothing(work: Callable[..., int]) -> None:
    def body(*code: bytes) -> bytes:
        content = b"".join(code)
        parts = b"\1\4\1\x60\0\0", b"\3\2\1\0", bytes([10, len(content) + 2, 1, len(content)]) + content
        return HEADER + b"".join(parts)

    most = b"\xff\xff\xff\xff\x0f"
    for data in (
        body(b"\1", most, b"\x7f\2", most, b"\x7f\x0b"),  # more than 2^32-1 locals
        body(b"\0\x0e", most, b"\0\x0b"),
        body(b"\0\x1c", most, b"\x7f\x0b"),
        body(b"\0\x1f\x40", most, b"\x0b\x0b"),
        body(most, b"\x0b"),
    ):
        assert work(lambda data=data: judged(data)) < 3_000  # type: ignore[misc]
        assert judged(data) == "malformed"
    assert judged(body(b"\2", most[:-1], b"\x07\x7f\1\x7f\x0b")) == "valid"  # 2^31 of them are no matter


BINARIES: dict[str, Callable[[int], bytes]] = {
    "blocks": lambda n: parse_binary("(func " + "block " * n + "end " * n + ")"),
    "unclosed blocks": lambda n: parse_binary("(func " + "nop " * 2 * n + ")").replace(b"\1" * 2 * n, b"\2\x40" * n),
    "types": lambda n: parse_binary("(type (func))" * n),
    "one group": lambda n: parse_binary("(rec " + "(type (struct))" * n + ")"),
    "exports": lambda n: parse_binary("(func $f)" + "".join(f'(export "{i}" (func $f))' for i in range(n))),
    "locals": lambda n: parse_binary("(func (local " + "i32 i64 " * n + "))"),
    "elements": lambda n: parse_binary("(func $f) (elem func " + "$f " * n + ")"),
    "custom sections": lambda n: HEADER + b"\0\2\1a" * n,
    "labels": lambda n: parse_binary("(func (br_table " + "0 " * n + "(i32.const 0)))"),
    "zeros": lambda n: HEADER + b"\0" * n,
}


def parse_binary(text: str) -> bytes:
    return encode(parse_module(text))


@pytest.mark.parametrize("make", BINARIES.values(), ids=BINARIES)
def test_work_is_linear_in_the_binary(make: Callable[[int], bytes], linear: Callable[..., None]) -> None:
    def job(n: int) -> Callable[[], object]:
        return partial(judged, make(n))

    linear(job, 400)


# Errors, collections, types


def test_rejections_leave_nothing_behind() -> None:
    """Malformed, invalid, unlinkable and trapping modules, each with types of its own."""
    texts = [
        "(func nonsense)",
        "(type (struct (field i32 {0}))) (func (result i32))",
        '(type (struct (field i64 {0}))) (import "a" "b" (func))',
        "(type (struct (field f32 {0}))) (func $f unreachable) (start $f)",
        '(type (struct (field f64 {0}))) (memory 1) (data (i32.const -1) "x")',
    ]

    def round_(number: int) -> None:
        fields = f"{number:b}".replace("0", "i32 ").replace("1", "i64 ")
        for text in texts:
            with pytest.raises(Exception, match="."):
                Store().instantiate(validate(decode(encode(parse_module(text.format(fields))))))

    for i in range(20):
        round_(i)
    gc.collect()
    objects, groups = len(gc.get_objects()), len(types._interned)
    for i in range(20, 200):
        round_(i)
    gc.collect()
    assert len(types._interned) <= groups
    assert len(gc.get_objects()) - objects < 180


def test_objects_reachable_only_through_others_survive_every_collection(world: Any) -> None:
    """A list is built and summed while the collector runs at every allocation."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        text = """(type $cell (struct (field i32) (field (ref null $cell))))
            (global $head (mut (ref null $cell)) (ref.null $cell))
            (func (export "f") (param $n i32) (result i32) (local $c (ref null $cell)) (local $sum i32)
              (loop $l (global.set $head (struct.new $cell (local.get $n) (global.get $head)))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
              (local.set $c (global.get $head))
              (block $end (loop $l (br_if $end (ref.is_null (local.get $c)))
                (local.set $sum (i32.add (local.get $sum) (struct.get $cell 0 (local.get $c))))
                (local.set $c (struct.get $cell 1 (local.get $c))) (br $l)))
              (local.get $sum))"""
        assert world.run(text, "f", 200) == [20_100]
    finally:
        gc.set_threshold(*before)


def test_lengths_times_sizes_do_not_overflow(world: Any) -> None:
    """`array.new_*` of 2^32-1 elements of 16 bytes."""
    instance = world.load(
        """(type $v (array (mut v128))) (type $b (array (mut i8))) (data $d "abc") (type $r (array (mut anyref)))
           (elem $e anyref (ref.null any))
           (func (export "new") (param i32) (drop (array.new $v (v128.const i64x2 0 0) (local.get 0))))
           (func (export "default") (param i32) (drop (array.new_default $r (local.get 0))))
           (func (export "data") (param i32 i32) (drop (array.new_data $v $d (local.get 0) (local.get 1))))
           (func (export "elem") (param i32 i32) (drop (array.new_elem $r $e (local.get 0) (local.get 1))))
           (func (export "init") (param i32 i32)
             (array.init_data $v $d (array.new_default $v (i32.const 2)) (i32.const 0) (local.get 0) (local.get 1)))"""
    )
    extremes = [(1 << 28) - 1, 1 << 28, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, (1 << 32) - 4, (1 << 32) - 1]
    for size in extremes:
        for name in ("new", "default"):
            with pytest.raises(Exhausted, match="gc heap"):
                world.call(instance, name, size)
        for start in (0, 1, *extremes):
            for name in ("data", "elem", "init"):
                assert world.trap(instance, name, start, size).startswith("out of bounds")
    for name in ("data", "elem"):
        assert world.trap(instance, name, 4, 0).startswith("out of bounds")


def test_features_outside_the_standard_are_refused_cleanly() -> None:
    texts = ["(table 1 1 shared funcref)", "(func (drop (i32.atomic.load acq_rel (i32.const 0))))",
             "(func try catch_all end)", "(type (cont 0))", "(component)", "(memory 1 (pagesize 3))",
             "(type (shared (struct)))"]  # fmt: skip
    for text in texts:
        with pytest.raises(Rejected):
            parse_module(text)


def test_groups_may_be_circular_and_unfold_exponentially(world: Any, work: Callable[..., int]) -> None:
    circular = "(rec (type $a (struct (field (ref null $b)))) (type $b (array (ref null $c)))"
    circular += "(type $c (func (param (ref $a)))))"
    pairs = "".join(f"(type $p{i + 1} (struct (field (ref null $p{i})) (field (ref null $p{i}))))" for i in range(60))
    text = f"""{circular} (type $p0 (struct)) {pairs}
               (func (export "a") (result anyref) (struct.new_default $a))
               (func (export "p") (result anyref) (struct.new_default $p60))
               (func (export "is a") (param anyref) (result i32) (ref.test (ref $a) (local.get 0)))
               (func (export "is p") (param anyref) (result i32) (ref.test (ref $p60) (local.get 0)))"""
    one, two = world.load(text), world.load(text)
    (a,), (p,) = world.call(one, "a"), world.call(one, "p")
    assert [world.call(two, "is a", ref) for ref in (a, p)] == [[1], [0]]
    assert [world.call(two, "is p", ref) for ref in (a, p)] == [[0], [1]]
    assert work(lambda: world.call(two, "is p", p)) < 500


def test_groups_that_are_circular_where_they_must_not_be(invalid: Callable[[str], str]) -> None:
    for text in (
        "(rec (type $a (sub $b (func))) (type $b (sub $a (func))))",
        "(type $a (sub $a (struct)))",
        "(rec (type $a (sub $c (struct))) (type $b (sub $a (struct))) (type $c (sub $b (struct))))",
    ):
        assert invalid(text).startswith("unknown type")


def test_deep_calls_and_wide_frames_end_in_exhaustion() -> None:
    text = '(func $f (export "f") (param i32) (result i32) (i32.add (i32.const 1) (call $f (local.get 0))))'
    store = Store(limits=Limits(call_depth=5_000))
    instance = store.instantiate(validate(parse_module(text)))
    func: Any = instance.exports["f"]
    for _ in range(3):
        with pytest.raises(Exhausted, match="call stack"):
            store.invoke(func, [0])
