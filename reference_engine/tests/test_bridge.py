"""Bridges against native values: what comes through memory is what the store holds."""

from __future__ import annotations

import pytest

from wasmlab_ref import bridge, bridge_code
from wasmlab_ref.bridge import Call, CallEntry, Place, ReadEntry, Reads, build
from wasmlab_ref.case import Outcome
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.engine import Store
from wasmlab_ref.features import WASM_3
from wasmlab_ref.interface import interface
from wasmlab_ref.outcome import Malformed, Trap
from wasmlab_ref.store import HostRef, Instance, MemInst
from wasmlab_ref.text import parse_module
from wasmlab_ref.types import SHORTHANDS, FuncType
from wasmlab_ref.validate import validate

ALL = WASM_3
NO_GC = WASM_3 - {"gc"}


class Host:
    """A module under test with its bridge, in one store."""

    def __init__(self, text, uses, features=ALL, catch=True):
        self.store = Store()
        data = encode(parse_module(text))
        self.instance = self.store.instantiate(validate(decode(data)), [])
        self.built = build(interface(data), features, catch)
        self.uses, self.records = uses, self.built.records(uses)
        external = SHORTHANDS["externref"]
        lab = {
            "extern": self.store.host_function(FuncType(("i32",), (external,)), lambda n: (HostRef(n),)),
            "number": self.store.host_function(
                FuncType((external,), ("i32",)),
                lambda ref: (ref.number if isinstance(ref, HostRef) else 0xFFFF_FFFF,),
            ),
        }
        imports = [self.instance.exports[n] if m is None else lab[n] for m, n in self.built.imports]
        self.bridge: Instance = self.store.instantiate(validate(decode(self.built.binary)), imports)
        self.write(self.records.initial)

    def write(self, data):
        self.bridge.exports["memory"].data[: len(data)] = data

    def call(self, use):
        for _ in range(getattr(self.uses[use], "repeat", 1)):
            self.store.invoke(self.bridge.exports["run"])
        self.write(self.place(use).then)

    def place(self, use) -> Place:
        place = self.records.places[use]
        assert isinstance(place, Place), place
        return place

    def record(self, use) -> bytes:
        memory, place = self.bridge.exports["memory"], self.place(use)
        assert isinstance(memory, MemInst)
        return bytes(memory.data[place.address : place.address + place.entry.size])

    def outcomes(self, use):
        entry, record = self.place(use).entry, self.record(use)
        if isinstance(entry, CallEntry):
            return [entry.outcome(record)]
        return [entry.outcome(record, export) for export in self.uses[use].exports]


NUMBERS = {
    "i32": ("0", "80000000", "ffffffff"),
    "i64": ("8000000000000000", "ffffffffffffffff", "20000000000001"),
    "f32": ("7fa00001", "ffa00000", "80000000", "1"),
    "f64": ("7ff4000000000001", "fff0000000000001", "8000000000000000"),
    "v128": ("ffeeddccbbaa99887766554433221100", "80000000000000007fa00001ffa00001"),
}


@pytest.mark.parametrize("type_", NUMBERS)
def test_numbers_pass_bit_by_bit(type_):
    zero = f"({type_}.const {'i64x2 0 0' if type_ == 'v128' else 0})"
    args = [f"{type_}:{bits}" for bits in NUMBERS[type_]]
    host = Host(
        f"""(module (global $g (export "g") (mut {type_}) {zero})
            (func (export "f") (param {type_}) (result {type_}) (global.set $g (local.get 0)) (local.get 0)))""",
        [use for arg in args for use in (Call("f", (arg,)), Reads(("g",)))],
    )
    for use in range(2 * len(args)):
        host.call(use)
    for i, arg in enumerate(args):
        assert host.outcomes(2 * i) == host.outcomes(2 * i + 1) == [Outcome("returned", (arg,))]


def test_many_values_of_mixed_types_keep_their_order():
    types = "i32 v128 externref i64 f32 i32 f64 funcref v128"
    locals_ = " ".join(f"(local.get {i})" for i in range(9))
    args = ("i32:1", "v128:2", "ref.extern:3", "i64:4", "f32:5", "i32:6", "f64:7", "ref.null", "v128:9")
    host = Host(f'(module (func (export "f") (param {types}) (result {types}) {locals_}))', [Call("f", args)])
    host.call(0)
    assert host.outcomes(0) == [Outcome("returned", args)]


REFERENCES = """(module
    (type $s (struct)) (type $a (array i8)) (tag $e (export "e")) (elem declare func $shapes)
    (func $shapes (export "shapes")
        (result anyref eqref structref arrayref i31ref (ref $s) (ref null $a) funcref nullref)
        (result externref externref exnref)
        (array.new_default $a (i32.const 3)) (struct.new $s) (struct.new $s) (array.new_default $a (i32.const 0))
        (ref.i31 (i32.const -1)) (struct.new $s) (ref.null $a) (ref.func $shapes) (ref.null none)
        (extern.convert_any (ref.i31 (i32.const 7))) (extern.convert_any (struct.new $s))
        (block $h (result exnref) (try_table (catch_all_ref $h) (throw $e)) unreachable))
    (func (export "id") (param anyref eqref i31ref externref structref (ref null $a) funcref exnref nullexternref)
        (result anyref eqref i31ref externref structref (ref null $a) funcref exnref nullexternref)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6) (local.get 7)
        (local.get 8))
    (func (export "strict") (param (ref any) (ref i31) (ref extern)) (result anyref i31ref externref)
        (local.get 0) (local.get 1) (local.get 2)))"""


def test_references_are_told_by_shape():
    host = Host(REFERENCES, [Call("shapes", ())])
    host.call(0)
    shapes = "array:3 struct struct array:0 i31:7fffffff struct null func null i31:7 struct exn"
    assert host.outcomes(0) == [Outcome("returned", tuple(f"ref.{shape}" for shape in shapes.split()))]


@pytest.mark.parametrize(
    "args",
    [
        ("ref.extern:5", "ref.i31:7fffffff", "ref.i31:0", "ref.extern:7fffffff", *["ref.null"] * 5),
        ("ref.i31:5", *["ref.null"] * 8),
        ("ref.null",) * 9,
    ],
)
def test_references_that_a_host_can_make_pass(args):
    host = Host(REFERENCES, [Call("id", args), Call("strict", ("ref.extern:1", "ref.i31:2", "ref.extern:3"))])
    host.call(0)
    host.call(1)
    assert host.outcomes(0) == [Outcome("returned", args)]
    assert host.outcomes(1) == [Outcome("returned", ("ref.extern:1", "ref.i31:2", "ref.extern:3"))]


THROWS = """(module (tag $e (export "e") (param i64 f32 externref)) (tag $p (export "p")) (tag $again (export "again"))
    (tag $own (param i32)) (tag $i (export "i") (param v128))
    (func (export "f") (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (throw $e (i64.const -1) (f32.const nan:0x200001) (ref.null extern))))
        (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $p)))
        (if (i32.eq (local.get 0) (i32.const 2)) (then (throw $own (i32.const 1))))
        (if (i32.eq (local.get 0) (i32.const 3)) (then (throw $i (v128.const i64x2 1 -1))))
        (local.get 0)))"""


def test_exceptions_are_caught_with_their_payload():
    host = Host(THROWS, [Call("f", (f"i32:{i}",)) for i in range(5)])
    for use in range(5):
        host.call(use)
    assert [host.outcomes(use)[0] for use in range(5)] == [
        Outcome("threw", ("i64:ffffffffffffffff", "f32:7fa00001", "ref.null"), "e"),
        Outcome("threw", (), "p"),
        Outcome("threw"),
        Outcome("threw", (f"v128:{(1 << 128) - (1 << 64) + 1:x}",), "i"),
        Outcome("returned", ("i32:4",)),
    ]


def test_records_follow_each_other_over_traps_and_repeated_calls():
    host = Host(
        """(module (global $n (export "n") (mut i32) (i32.const 0))
            (func (export "div") (param i32) (result i32) (i32.div_s (i32.const 6) (local.get 0)))
            (func (export "count") (result i32)
                (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))""",
        [
            Call("div", ("i32:0",)),
            Call("count", (), repeat=5),
            Call("div", ("i32:2",)),
            Reads(("n",)),
            Call("count", ()),
            Reads(("n",)),
        ],
    )
    with pytest.raises(Trap):
        host.call(0)
    for use in range(1, 6):
        host.call(use)
    assert host.record(0)[:4] == b"\1\0\0\0", "entered, and left by a trap"
    came = [host.outcomes(use)[0].values for use in range(1, 6)]
    assert came == [("i32:5",), ("i32:3",), ("i32:5",), ("i32:6",), ("i32:6",)]


def test_a_repeated_call_has_its_arguments_each_time():
    host = Host(
        """(module (tag $e (export "e") (param i64 i64)) (global $n (mut i32) (i32.const 0))
            (func (export "f") (param i64) (result i64)
                (global.set $n (i32.add (global.get $n) (i32.const 1)))
                (if (i32.ne (global.get $n) (i32.const 3)) (then (throw $e (local.get 0) (i64.const -1))))
                (local.get 0)))""",
        [Call("f", ("i64:7",), 3), Call("f", ("i64:8",), 2)],
    )
    for use in range(2):
        host.call(use)
    assert [host.outcomes(use)[0] for use in range(2)] == [
        Outcome("returned", ("i64:7",)),
        Outcome("threw", ("i64:8", "i64:ffffffffffffffff"), "e"),
    ]


def test_tables_are_read_up_to_a_bound():
    host = Host(
        """(module (table $t (export "t") 3 funcref) (elem (table $t) (i32.const 1) func $f) (func $f)
            (table (export "x") i64 100 200 externref) (table (export "n") 0 anyref)
            (table (export "i") 1 i31ref (ref.i31 (i32.const 4))) (global (export "g") i64 (i64.const -1)))""",
        [Reads(("t", "x", "g", "n", "i"))],
    )
    host.call(0)
    assert host.outcomes(0) == [
        Outcome("returned", ("i32:3", "ref.null", "ref.func", "ref.null")),
        Outcome("returned", ("i64:64", *["ref.null"] * bridge_code.TABLE_BOUND)),
        Outcome("returned", ("i64:ffffffffffffffff",)),
        Outcome("returned", ("i32:0",)),
        Outcome("returned", ("i32:1", "ref.i31:4")),
    ]


def test_types_keep_their_indices_and_identity():
    host = Host(
        """(module (rec (type $a (func (param (ref null $b)))) (type $b (struct (field (ref null $a)))))
            (rec (type $c (sub (func (result i32))))) (type $d (sub final $c (func (result i32))))
            (func (export "f") (type $a)) (func (export "d") (type $d) (i32.const 9)) (tag (export "t") (type $a)))""",
        [Call("f", ("ref.null",)), Call("d", ())],
    )
    host.call(0)
    host.call(1)
    assert [host.outcomes(use)[0] for use in (0, 1)] == [Outcome("returned"), Outcome("returned", ("i32:9",))]


def test_modules_that_look_alike_have_the_same_bridge():
    def built(text):
        return build(interface(encode(parse_module(text))), ALL, True).binary

    one = '(module (type (struct)) (func (export "f") (param i32)) (global (export "g") funcref (ref.null func)))'
    two = one.replace("(struct)", "(array i8)").replace("(param i32)", "(param i32) (drop (local.get 0))")
    assert built(one) == built(two)
    for named in ("(rec (type $t (func (param i32))) (type (struct)))", "(type $t (sub (func (param i32))))"):
        types = f"(type (func (param i32))) {named}"
        apart = f'(module {types} (func (export "f") (type $t)) (global (export "g") i32 (i32.const 0)))'
        assert built(apart) != built(one)
        host = Host(apart, [Call("f", ("i32:1",)), Reads(("g",))])
        host.call(0)
        assert host.outcomes(0) == [Outcome("returned")]


@pytest.mark.parametrize(
    ("features", "catch", "text"),
    [
        ({"mvp"}, True, '(module (func (export "f") (param f32) (result f32) (local.get 0)))'),
        ({"mvp", "simd"}, False, '(module (func (export "f") (param v128) (result v128) (local.get 0)))'),
        (
            {"mvp", "reference-types"},
            False,
            '(module (func (export "f") (param externref funcref) (result externref) (local.get 0)))',
        ),
        (
            NO_GC,
            True,
            '(module (tag (export "t") (param externref)) (func (export "f") (result externref) unreachable))',
        ),
    ],
)
def test_no_instruction_beyond_the_features(features, catch, text):
    face = interface(encode(parse_module(text)))
    built = build(face, frozenset(features), catch)
    module = decode(built.binary)
    validate(module)
    used = {step.op.feature for func in module.funcs for step in func.body}
    assert used <= set(features)


@pytest.mark.parametrize(
    ("use", "why"),
    [
        (Call("missing", ()), "no exported function"),
        (Call("g", ()), "no exported function"),
        (Reads(("f",)), "no exported global or table"),
        (Call("f", ()), "0 arguments"),
        (Call("f", ("i64:1",)), "parameter of type i32"),
        (Call("f", ("i32:100000000",)), "not a value"),
        (Call("f", ("ref.null",)), "parameter of type i32"),
        (Call("f", ("nonsense",)), "not a value"),
        (Call("e", ("ref.func",)), "cannot pass"),
        (Call("e", ("i32:1",)), "cannot pass"),
        (Call("e", ("ref.extern:80000000",)), "cannot pass"),
        (Call("s", ("ref.struct",)), "can make no reference"),
    ],
)
def test_what_no_bridge_can_do_is_said(use, why):
    face = interface(
        encode(
            parse_module(
                """(module (type $s (struct)) (global (export "g") i32 (i32.const 0)) (func (export "f") (param i32))
                (func (export "e") (param externref)) (func (export "s") (param (ref $s))))"""
            )
        )
    )
    (place,) = build(face, ALL, True).records([use]).places
    assert isinstance(place, str)
    assert why in place


def test_a_record_that_nobody_wrote_is_unparsed():
    entry = CallEntry("f", 0, (), (), (), (), 16)
    assert entry.outcome(bytes(16)).kind == "unparsed"
    assert entry.outcome(b"\xff" * 16).kind == "unparsed"
    assert entry.outcome(b"\4" + bytes(15)).kind == "unparsed", "a tag that is not there"
    assert entry.outcome(b"").kind == "unparsed"
    part = bridge.ReadPart("g", "global", bridge.Slot("i32", 16, ""))
    assert ReadEntry({"g": part}, 0, 32).outcome(bytes(32), "g").kind == "unparsed"


def test_exports_of_impossible_types_are_left_out():
    types, funcs, exports = "01 04 01 60 00 00", "03 02 01 05", "07 05 01 01 66 00 00"
    assert interface(b"\0asm\1\0\0\0" + bytes.fromhex(types + funcs + exports)).exports == {}


@pytest.mark.parametrize("data", [b"", b"nothing", b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x0f", b"\0asm\1\0\0\0\2\1\7"])
def test_what_is_no_module_has_no_interface(data):
    with pytest.raises(Malformed):
        interface(data)


def test_imports_have_names_for_engines_that_link_by_name() -> None:
    module = encode(
        parse_module('(module (func (export "f") (param externref)) (global (export "g") i32 (i32.const 1)))')
    )
    for named in (False, True):
        built = build(interface(module), frozenset(("reference-types",)), False, named=named)
        names = [(i.module, i.name) for i in decode(built.binary).imports]
        assert names == ([(m or "of", n) for m, n in built.imports] if named else [("", "")] * len(built.imports))
        assert {(None, "f"), (None, "g"), ("lab", "extern")} <= set(built.imports)
