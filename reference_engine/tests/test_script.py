"""The script language: every command, argument and result; modules parsed on demand."""

from __future__ import annotations

import pytest

from wasmlab_ref import syntax
from wasmlab_ref.outcome import Malformed
from wasmlab_ref.script import (
    AssertException,
    AssertExhaustion,
    AssertInvalid,
    AssertInvalidCustom,
    AssertMalformed,
    AssertMalformedCustom,
    AssertReturn,
    AssertTrap,
    AssertUnlinkable,
    BinaryModule,
    Const,
    Either,
    Get,
    Invoke,
    Lanes,
    Module,
    ModuleInstance,
    Nan,
    QuoteModule,
    RefHost,
    RefNull,
    RefOf,
    Register,
    Result,
    TextModule,
    parse_script,
)

EMPTY = BinaryModule(b"\0asm\1\0\0\0")
EMPTY_TEXT = r'"\00asm" "\01\00\00\00"'


def results(text: str) -> tuple[Result, ...]:
    (command,) = parse_script(f'(assert_return (invoke "f") {text})')
    assert isinstance(command, AssertReturn)
    return command.results


def test_modules() -> None:
    commands = parse_script(
        f"""(module $A (func))
        (module binary {EMPTY_TEXT})
        (module definition $D binary {EMPTY_TEXT})
        (module $Q quote "(func " "nop)")
        (module definition $T (memory 1)) (module definition (memory 1))
        (module instance $i $D) (module instance $D) (module instance)
        (register "r") (register "r\\u{{e9}}" $A)"""
    )
    assert [c.line for c in commands] == [1, 2, 3, 4, 5, 5, 6, 6, 6, 7, 7]
    a, binary, definition, quote, named, unnamed, *others = commands
    assert isinstance(a, Module) and isinstance(a.source, TextModule) and (a.id, a.definition) == ("A", False)  # noqa: PT018
    assert a.source.text == "(module $A (func))"
    assert a.source.parse().funcs == (syntax.Func(0),)
    assert binary == Module(2, None, EMPTY)
    assert definition == Module(3, "D", EMPTY, definition=True)
    assert quote == Module(4, "Q", QuoteModule(b"(func nop)"))
    for command, id_ in ((named, "T"), (unnamed, None)):
        assert isinstance(command, Module)
        assert (command.id, command.definition, len(command.source.parse().memories)) == (id_, True, 1)
    assert others == [
        ModuleInstance(6, "i", "D"), ModuleInstance(6, None, "D"), ModuleInstance(6, None, None),
        Register(7, "r", None), Register(7, "ré", "A"),
    ]  # fmt: skip


def test_sources_parse_themselves() -> None:
    assert EMPTY.parse() == QuoteModule(b"(module)").parse() == QuoteModule(b"").parse() == syntax.Module()


def test_actions() -> None:
    assert parse_script(
        """(invoke "f" (i32.const -1) (f64.const 1) (v128.const i64x2 1 2) (ref.null func) (ref.extern 7) (ref.host 8))
           (get $m "g")"""
    ) == (
        Invoke(
            1, None, "f",
            (Const("i32", 0xFFFFFFFF), Const("f64", 0x3FF0000000000000), Const("v128", 1 | 2 << 64), RefNull("func"),
             RefHost(7), RefHost(8, internal=True)),
        ),
        Get(2, "m", "g"),
    )  # fmt: skip


def test_assertions() -> None:
    call = Invoke(1, None, "f", ())
    module, text = f"(module binary {EMPTY_TEXT})", '"why"'
    cases = {
        '(assert_return (invoke "f"))': AssertReturn(1, call, ()),
        '(assert_return (get "g") (i64.const 1))': AssertReturn(1, Get(1, None, "g"), (Const("i64", 1),)),
        f'(assert_trap (invoke "f") {text})': AssertTrap(1, call, "why"),
        f"(assert_trap {module} {text})": AssertTrap(1, Module(1, None, EMPTY), "why"),
        f"(assert_trap (module instance $m) {text})": AssertTrap(1, ModuleInstance(1, None, "m"), "why"),
        f'(assert_exhaustion (invoke "f") {text})': AssertExhaustion(1, call, "why"),
        '(assert_exception (invoke "f"))': AssertException(1, call),
        f"(assert_malformed {module} {text})": AssertMalformed(1, EMPTY, "why"),
        f"(assert_malformed_custom {module} {text})": AssertMalformedCustom(1, EMPTY, "why"),
        f"(assert_invalid {module} {text})": AssertInvalid(1, EMPTY, "why"),
        f"(assert_invalid_custom {module} {text})": AssertInvalidCustom(1, EMPTY, "why"),
        f"(assert_unlinkable {module} {text})": AssertUnlinkable(1, Module(1, None, EMPTY), "why"),
        f"(assert_unlinkable (module instance $m) {text})": AssertUnlinkable(1, ModuleInstance(1, None, "m"), "why"),
    }
    for source, command in cases.items():
        assert parse_script(source) == (command,)


def test_results() -> None:
    assert results(
        """(f32.const nan:canonical) (f64.const nan:arithmetic) (f32.const nan:0x1) (f32.const -0)
           (v128.const f32x4 nan:canonical 1 nan:arithmetic nan) (v128.const f64x2 0 1) (ref.null) (ref.null extern)
           (ref.extern) (ref.extern 3) (ref.host 4) (ref.func) (ref.i31) (ref.eq) (ref.struct) (ref.array) (ref.any)
           (ref.exn) (ref) (either (i32.const 1) (ref.null))"""
    ) == (
        Nan("f32", "canonical"), Nan("f64", "arithmetic"), Const("f32", 0x7F800001), Const("f32", 1 << 31),
        Lanes("f32x4", (Nan("f32", "canonical"), 0x3F800000, Nan("f32", "arithmetic"), 0x7FC00000)),
        Const("v128", 0x3FF0000000000000 << 64), RefNull(None), RefNull("extern"),
        RefOf("extern"), RefHost(3), RefHost(4, internal=True),
        *(RefOf(heap) for heap in ("func", "i31", "eq", "struct", "array", "any", "exn", "any")),
        Either((Const("i32", 1), RefNull(None))),
    )  # fmt: skip


def test_fields_alone_are_a_script_of_one_module() -> None:
    (command,) = parse_script('\n(func) (memory 0) (func (export "f"))\n')
    assert isinstance(command, Module)
    assert command.line == 2
    assert len(command.source.parse().funcs) == 2


def test_a_malformed_module_costs_nothing_until_it_is_parsed() -> None:
    _, text, quote = parse_script('(module)\n(module\n  (func bad))\n(module quote "(func\\n bad)")')
    assert isinstance(text, Module)
    with pytest.raises(Malformed) as caught:
        text.source.parse()
    assert (caught.value.line, caught.value.column) == (3, 9)
    assert isinstance(quote, Module)
    with pytest.raises(Malformed) as caught:
        quote.source.parse()
    assert (caught.value.line, caught.value.column) == (2, 2)


def test_annotations_belong_to_their_module() -> None:
    commands = parse_script('(@name "x") (module (@custom "a")) (@custom "b") (module (@name "n") (func)) (module)')
    customs = [c.source.parse().customs for c in commands if isinstance(c, Module)]
    assert [[custom.name for custom in per_module] for per_module in customs] == [["a"], ["name"], []]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(assert_nothing)", "unknown operator assert_nothing"),
        ("module", "unexpected token module"),
        ("(module", "unexpected token"),
        ("(module func)", "unexpected token func"),
        ('(module binary "a" b)', "unknown operator b"),
        ("(input \"f\")", "the meta command `input` is not supported"),
        ("(script)", "the meta command `script` is not supported"),
        ("(invoke f)", "unknown operator f"),
        ('(invoke "\\ff")', "malformed UTF-8 encoding"),
        ('(invoke "f" (i32.const))', "unexpected token )"),
        ('(invoke "f" (i32.const 0x1_0000_0000))', "constant out of range"),
        ('(invoke "f" (f32.const nan:canonical))', "unexpected token f32.const"),
        ('(invoke "f" (ref.null))', "unexpected token ref.null"),
        ('(invoke "f" (ref.func))', "unexpected token ref.func"),
        ('(assert_return (invoke "f") (v128.const f32x4 nan:canonical))', "wrong number of lane literals"),
        ('(assert_return (invoke "f") (v128.const i32x4 nan:canonical 0 0 0))', "unexpected token nan:canonical"),
        ('(assert_return (invoke "f") (either (either)))', "unexpected token either"),
        ('(assert_return (module) "x")', "unexpected token module"),
        ('(assert_invalid (module instance) "x")', "unexpected token"),
        ('(assert_invalid (invoke "f") "x")', "unexpected token invoke"),
        ('(assert_trap (invoke "f"))', "unexpected token )"),
        ("(register a)", "unknown operator a"),
        ('(module) "', "unclosed string"),
    ],
)  # fmt: skip
def test_malformed_scripts(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_script(text)
    assert caught.value.message.startswith(message)
    assert caught.value.line == 1
