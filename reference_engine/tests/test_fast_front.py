"""The C front end against the Python one: the same verdict, and for malformed modules the same offset."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from wasmlab_ref import fast, script
from wasmlab_ref.decode import decode
from wasmlab_ref.encode import encode
from wasmlab_ref.fast import build, generate
from wasmlab_ref.outcome import Exhausted, Invalid, Malformed
from wasmlab_ref.syntax import Func, Module, instr
from wasmlab_ref.types import FieldType, FuncType, RecType, RefType, StructType, SubType
from wasmlab_ref.validate import validate

EMPTY = b"\0asm\1\0\0\0"
BYTES = (0x00, 0x01, 0x05, 0x0B, 0x40, 0x63, 0x6E, 0x70, 0x7F, 0x80, 0xFB, 0xFC, 0xFD, 0xFF)


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    try:
        fast.load()
    except fast.Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def by_python(data: bytes) -> tuple[str, int | None]:
    """Stage, and where malformed the offset."""
    try:
        validate(decode(data))
    except Malformed as error:
        return "malformed", error.offset
    except Invalid:
        return "invalid", None
    except Exhausted:
        return "exhausted", None
    return "", None


def by_c(data: bytes) -> tuple[str, int | None]:
    verdict = fast.check(data)
    return verdict.stage, verdict.offset if verdict.stage == "malformed" else None


def different(binaries: Iterator[bytes]) -> list[str]:
    """What the two say of each binary that they do not agree on."""
    return [
        f"{data.hex()}: C {by_c(data)}, Python {by_python(data)}" for data in binaries if by_c(data) != by_python(data)
    ]


def in_script(path: Path) -> Iterator[tuple[bytes, str | None]]:
    """Each module as a binary, and what an assertion says of it where it must be invalid."""
    for command in script.parse_script(path.read_bytes()):
        match command:
            case script.AssertInvalid(module=source, text=expected):
                pass
            case script.Module(source=source) | script.AssertMalformed(module=source):
                expected = None
            case script.AssertUnlinkable(module=script.Module(source=source)):
                expected = None
            case script.AssertTrap(action=script.Module(source=source)):
                expected = None
            case _:
                continue
        if isinstance(source, script.BinaryModule):
            yield source.data, expected
            continue
        try:
            yield encode(source.parse()), expected
        except Malformed:
            continue


@cache
def all_modules(core_suite: Path) -> tuple[tuple[str, bytes, str | None], ...]:
    """File, binary, and what `in_script` says, of the whole suite."""
    return tuple((path.name, *found) for path in sorted(core_suite.glob("*.wast")) for found in in_script(path))


def valid_modules(core_suite: Path, n: int, largest: int = 1_000) -> list[bytes]:
    """`n` small valid modules of the suite, spread over it."""
    found = {
        data
        for _, data, expected in all_modules(core_suite)
        if expected is None and len(data) <= largest and not fast.check(data).stage
    }
    return random.Random(1).sample(sorted(found), n)


def test_opcodes_h_is_generated() -> None:
    assert generate.HEADER.read_text() == generate.opcodes_h()


def test_core_suite(core_suite: Path) -> None:
    wrong = []
    for name, data, expected in all_modules(core_suite):
        wrong += [f"{name}: {difference}" for difference in different(iter([data]))]
        if expected is not None and not fast.check(data).message.startswith(expected):
            wrong.append(f"{name}: {fast.check(data).message} instead of {expected}")
    assert wrong == []
    assert len(all_modules(core_suite)) > 5_000


def mutated(data: bytes) -> Iterator[bytes]:
    """Every prefix, and every byte changed to some that mean something."""
    for end in range(len(data)):
        yield data[:end]
    for at, byte in enumerate(data):
        for other in {*BYTES, *(byte ^ 1 << bit for bit in range(8))} - {byte}:
            yield data[:at] + bytes([other]) + data[at + 1 :]


def test_mutated_modules(core_suite: Path) -> None:
    for data in valid_modules(core_suite, 12, 150):
        assert different(mutated(data)) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_every_prefix_and_flip(core_suite: Path, part: int) -> None:
    for data in valid_modules(core_suite, 500, 300)[part::10]:
        assert different(mutated(data)) == []


def test_prefixed_opcodes_do_not_run_into_each_other() -> None:
    """FB 0x10000 is not FC 0 or the like, in either path."""
    for prefix in (0xFB, 0xFC, 0xFD):
        for code in (0x13F, 0x10000, 0x1FFFF, 0xFFFFFFF):
            leb = bytes([code & 0x7F | 0x80, code >> 7 & 0x7F | 0x80, code >> 14 & 0x7F | 0x80, code >> 21 & 0x7F])
            body = b"\0" + bytes([prefix]) + leb + b"\x0b"
            data = EMPTY + b"\1\4\1\x60\0\0\3\2\1\0\x0a" + bytes([len(body) + 2, 1, len(body)]) + body
            assert by_c(data) == by_python(data) == ("malformed", 23)


def test_malformed_wins_over_invalid() -> None:
    """Body 1 is invalid, body 2 malformed: decoding comes first."""
    head = EMPTY + b"\1\4\1\x60\0\0\3\3\2\0\0"
    assert by_c(head + b"\x0a\x08\2\3\0\x6a\x0b\2\0\x0b")[0] == "invalid"
    assert by_c(head + b"\x0a\x09\2\3\0\x6a\x0b\3\0\xff\x0b") == ("malformed", len(head) + 9)


def test_declared_function_references_are_those_outside_bodies() -> None:
    module = EMPTY + b"\1\4\1\x60\0\0\3\2\1\0%s\x0a\7\1\5\0\xd2\0\x1a\x0b"
    assert fast.check(module % b"").message.startswith("undeclared function reference")
    assert fast.check(module % b"\x07\5\1\1f\0\0").stage == ""


@pytest.mark.parametrize(
    ("feature", "data"),
    [
        ("simd", b"\1\5\1\x60\1\x7b\0"),
        ("gc", b"\1\3\1\x5f\0"),
        ("gc", b"\6\x0b\2\x7f\0\x41\1\x0b\x7f\0\x23\0\x0b"),
        ("memory64", b"\5\3\1\4\0"),
        ("exceptions", b"\1\4\1\x60\0\0\x0d\3\1\0\0"),
        ("sign-extension", b"\1\4\1\x60\0\0\3\2\1\0\x0a\x08\1\6\0\x41\0\xc0\x1a\x0b"),
    ],
)
def test_features_switched_off(feature: str, data: bytes) -> None:
    bit = 1 << list(generate.FEATURES).index(feature)
    assert fast.check(EMPTY + data).stage == ""
    verdict = fast.check(EMPTY + data, fast.ALL_FEATURES & ~bit)
    assert (verdict.stage, verdict.message) == ("unsupported", f"{feature} is switched off")


def test_first_version_alone() -> None:
    """Tables of functions with active segments need no feature."""
    table = b"\1\4\1\x60\0\0\3\2\1\0\4\4\1\x70\0\1\x09\7\1\0\x41\0\x0b\1\0\x0a\4\1\2\0\x0b"
    assert fast.check(EMPTY + table, 1) == fast.Verdict("")


def one_function(body: bytes, locals_: bytes = b"\0") -> bytes:
    def leb(n: int) -> bytes:
        return bytes([n & 0x7F | 0x80, n >> 7 & 0x7F | 0x80, n >> 14 & 0x7F | 0x80, n >> 21 & 0x7F])

    code = locals_ + body + b"\x0b"
    section = b"\1" + leb(len(code)) + code
    return EMPTY + b"\1\4\1\x60\0\0\3\2\1\0\x0a" + leb(len(section)) + section


def group(*comps: FuncType | StructType) -> RecType:
    return RecType(tuple(SubType(comp) for comp in comps))


def chain(n: int) -> bytes:
    """Types each below the one before, and a use of the last as the first."""
    types = tuple(RecType((SubType(StructType(), (i - 1,) if i else (), False),)) for i in range(n))
    body = (instr("ref.null", n - 1), instr("call", 0))
    function = FuncType((RefType(True, 0),), ())
    return encode(Module(types=(*types, group(function)), funcs=(Func(n, (), body),)))


def test_sub_types_at_any_depth() -> None:
    """A random forest, deeper than the display: a type matches exactly its ancestors."""
    draw = random.Random(3)
    parents = [-1, *(i - 1 if draw.random() < 0.8 else draw.randrange(-1, i) for i in range(1, 80))]
    ancestors: list[set[int]] = []
    for i, parent in enumerate(parents):
        ancestors.append({i} | (ancestors[parent] if parent >= 0 else set()))
    assert max(map(len, ancestors)) > 12
    # A field apart keeps types distinct that have the same parent.
    structs = [StructType((FieldType("i32"),) * (len(found) - 1)) for found in ancestors]
    types = [
        RecType((SubType(structs[i], (parent,) if parent >= 0 else (), False), SubType(FuncType(("i32",) * i))))
        for i, parent in enumerate(2 * p if p >= 0 else -1 for p in parents)
    ]
    for _ in range(600):
        sub, sup = draw.randrange(80), draw.randrange(80)
        body = (instr("ref.null", 2 * sub), instr("call", 0))
        function = FuncType((RefType(True, 2 * sup),), ())
        module = encode(Module(types=(*types, group(function)), funcs=(Func(160, (), body),)))
        assert fast.check(module).stage == ("" if sup in ancestors[sub] else "invalid"), (sub, sup)


def exponential(n: int) -> bytes:
    pairs = (StructType((FieldType(RefType(True, i)),) * 2) for i in range(n))
    return encode(Module(types=(group(StructType()), *map(group, pairs))))


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "blocks": lambda n: one_function(b"\x02\x40" * n + b"\x0b" * n),
    "ifs": lambda n: one_function(b"\x41\0\x04\x40" * n + b"\x05\x0b" * n),
    "unreachable": lambda n: one_function(b"\0" + b"\x6a\x1a" * n),
    "labels": lambda n: one_function(b"\x02\x40" * n + b"\x41\0\x0e" + b"\xff\x7f" + b"\0" * 16384 + b"\x0b" * n),
    "locals": lambda n: one_function(b"\x20\xff\xff\xff\x7f\x1a" * n, b"\1\xff\xff\xff\xff\x0f\x7f"),
    "invalid at once": lambda n: one_function(b"\x1a" + b"\x02\x40" * n + b"\x0b" * n),
    "chain": lambda n: chain(n // 16),
    "exponential": lambda n: exponential(n // 16),
    "group": lambda n: encode(
        Module(types=(group(*(StructType((FieldType(RefType(True, (i + 1) % (n // 16))),)) for i in range(n // 16))),))
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_linear_time(name: str) -> None:
    """Sixteen times the input takes less than forty times as long (and no stack)."""
    times = []
    for n in (1 << 12, 1 << 16):
        data = HOSTILE[name](n)
        assert fast.check(data).stage in ("", "invalid")
        started = time.process_time()
        for _ in range(3):
            fast.check(data)
        times.append(time.process_time() - started)
    assert times[1] < 40 * times[0] + 0.1


def test_a_megabyte_of_blocks() -> None:
    assert fast.check(one_function(b"\x02\x40" * 500_000 + b"\x0b" * 500_000)).stage == ""
    assert fast.check(one_function(b"\x02\x40" * 1_000_000)).stage == "malformed"


def test_rejected_modules_leave_nothing_behind() -> None:
    """A hundred thousand rejected or dropped modules, many with types of their own: memory stays flat."""
    program = """
import resource, sys
from wasmlab_ref import fast
def run(base):
    for i in range(base, base + 50_000):
        fields = bytes(0x7F - (i >> k & 3) for k in range(0, 24, 2))
        types = b"\\1\\x5f\\x0c" + b"".join(bytes([f, 0]) for f in fields)
        data = b"\\0asm\\1\\0\\0\\0\\1" + bytes([len(types)]) + types
        assert fast.check(data).stage == ""
        assert fast.check(data + b"\\3\\2\\1\\0").stage == "malformed"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first = run(0)
assert run(50_000) - first < 2_000, "KiB"
"""
    done = subprocess.run([sys.executable, "-c", program], env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **more}


def test_threads_share_types(core_suite: Path) -> None:
    """Types are interned and released by several threads at once; ctypes releases the lock of the interpreter."""
    binaries = valid_modules(core_suite, 100)
    with ThreadPoolExecutor(4) as pool:
        stages = list(pool.map(lambda data: fast.check(data).stage, binaries * 10))
    assert set(stages) == {""}


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(fast.Unavailable, match="no-such-compiler.*ref/py"):
        build.library()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fast.Unavailable, match=r"no C compiler found.*ref/py"):
        build.library()


def test_cache_of_others_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setenv("WASMLAB_CACHE", str(tmp_path))
    with pytest.raises(fast.Unavailable, match="only you can write to"):
        build.library()


def test_eight_processes_build_once(tmp_path: Path) -> None:
    """With a compiler that counts: every file is compiled once, and all processes load the same library."""
    log, compiler = tmp_path / "log", tmp_path / "cc"
    compiler.write_text(
        f'#!/bin/sh\nfor last; do :; done\necho "$last" >> {log}\necho built > "$last"\n',
    )
    compiler.chmod(0o755)
    program = "from wasmlab_ref.fast.build import library; print(library().read_text())"
    environment = _environment(CC=str(compiler), WASMLAB_CACHE=str(tmp_path / "cache"))
    running = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) for _ in range(8)
    ]
    assert [process.communicate()[0].strip() for process in running] == [b"built"] * 8
    sources = [path.read_text() for path in build.FOLDER.glob("*.c")]
    assert len(log.read_text().splitlines()) == len(sources) + sum("EVENT" in text for text in sources) + 2
    assert [path.name for path in (tmp_path / "cache" / "fast").iterdir() if path.is_dir()] == []


def test_what_a_killed_build_left_goes(tmp_path: Path) -> None:
    """A compiler that kills whoever started it, the first time."""
    mark, compiler = tmp_path / "mark", tmp_path / "cc"
    compiler.write_text(
        f'#!/bin/sh\nfor last; do :; done\necho built > "$last"\n[ -e {mark} ] || {{ : > {mark}; kill -9 $PPID; }}\n'
    )
    compiler.chmod(0o755)
    program = [sys.executable, "-c", "from wasmlab_ref.fast.build import library; print(library().read_text())"]
    environment = _environment(CC=str(compiler), WASMLAB_CACHE=str(tmp_path / "cache"))
    assert subprocess.run(program, env=environment, capture_output=True).returncode == -9
    folder = tmp_path / "cache" / "fast"
    assert [path for path in folder.iterdir() if path.is_dir()]
    assert subprocess.run(program, env=environment, capture_output=True).stdout.strip() == b"built"
    assert [path for path in folder.iterdir() if path.is_dir()] == []
