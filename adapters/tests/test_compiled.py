"""Workers in C: what is compiled with an engine's sources speaks the protocol, here with an engine of a few lines."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wasmlab_adapters import compilers
from wasmlab_adapters.errors import EngineUnavailable
from wasmlab_adapters.registries import compiled
from wasmlab_adapters.registries.order import Order
from wasmlab_matrices.load import Package

pytestmark = pytest.mark.skipif(not compilers.c_compiler("amd64", True), reason="no C compiler on this system")

FEATURES = Path(compiled.__file__).parents[1] / "workers" / "features.tsv"
ENGINE = r"""
#include <stdlib.h>
#include <string.h>
#include "toy.h"
#include "worker.h"

const char engine_name[] = TOY;
const bool engine_native = true;
const size_t engine_stack = 1 << 20;
struct store { int none; };
struct instance { uint8_t memory[8192]; uint8_t imported[64]; };

const char *engine_version(void) { return "7"; }
bool engine_set(const char *setting, const char *value) { return !strcmp(setting, "mode") && *value; }
void engine_start(void) {}
bool engine_compiles(uint8_t *bytes, size_t size) { return size && bytes[0] == 0; }
store *store_new(void) { return calloc(1, sizeof(store)); }
void store_free(store *s) { free(s); }
static name renamed(const source *of, const import *asked) {
    return asked->of ? (name){"parent", of->of ? 6 : 0} : (name){"M", 1};
}
instance *engine_instantiate(store *s, const source *of, outcome *out) {
    if (!of->size) return fail(out, "invalid", "\"empty\" \xff"), NULL;
    instance *made = calloc(1, sizeof *made);
    size_t size = of->size;
    uint8_t *other = imports_renamed(of, renamed, &size);
    memcpy(made->memory, other ? other : of->bytes, size);
    free(other);
    return made;
}
function *engine_function(instance *of, name export) { return is(export, "f\xc3\xa9") ? (function *)of : NULL; }
void engine_call(instance *of, function *f, const value *args, size_t count, outcome *out) {
    of->memory[100]++;
    lab_log((uint32_t)count, of->memory[100]);
    for (size_t i = 0; i < count; i++) put_value(out, args[i]);
}
bool engine_memory(instance *of, name export, uint8_t **data, size_t *size) {
    *data = of->memory, *size = sizeof of->memory;
    return is(export, "m");
}
bool engine_exports(instance *of, name wanted, uint8_t kind) { return false; }
void engine_get(instance *of, name export, outcome *out) { put_value(out, (value){"i64", UINT64_MAX}); }
"""


def order(tmp_path: Path, *compile: str) -> Order:
    package = Package("debian", "toy", "7", source="workers/c", compile=compile)
    made = Order(package, "7", "amd64", True, tmp_path, tmp_path, 0)
    (made.content / "toy").mkdir(parents=True)
    (made.content / "toy" / "engine.c").write_text(ENGINE)
    (made.content / "include").mkdir()
    (made.content / "include" / "toy.h").touch()
    return made


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = order(tmp_path_factory.mktemp("c"), "toy/*.c", "-I{content}/include", '-DTOY="toy {triple}"')
    source = Path(compiled.__file__).parents[1] / "workers" / "c"
    shutil.copy(source / "worker.h", made.content / "toy")
    compiled.build(made)
    return made.content / "worker"


def ask(worker: Path, *lines: str | dict[str, Any]) -> list[dict[str, Any]]:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    done = subprocess.run([worker, FEATURES, "mode=x"], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def instantiate(module: bytes, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"do": "instantiate", "name": name, "module": base64.b64encode(module).decode(), **more}


def test_hello(worker: Path) -> None:
    (hello,) = ask(worker)
    assert (hello["engine"], hello["version"], hello["values"]) == ("toy x86_64-linux-gnu", "7", "native")
    assert hello["features"][:2] == ["mvp", "sign-extension"]


def test_steps(worker: Path) -> None:
    call = {"do": "call", "name": "a", "export": "f\u00e9", "args": ["f64:fff0000000000001", "i32:0"], "repeat": 3}
    read = {"do": "read", "name": "a", "export": "m"}
    steps = [
        instantiate(b"\0asm"), call, {"do": "get", "name": "a", "export": "g"},
        {**read, "do": "write", "at": 8190, "hex": "00Ff"}, {**read, "at": 8188, "bytes": 4}, read,
        {**read, "at": 8190, "bytes": 3}, {"do": "nothing"}, {**call, "name": "b"}, instantiate(b"", "b"),
    ]  # fmt: skip
    _, mark, answer = ask(worker, {"id": 1 << 40, "steps": steps})
    assert mark == {"started": 1 << 40}
    assert answer["trace"] == ["2,1", "2,2", "2,3"]
    outcomes = answer["outcomes"]
    assert [o["kind"] for o in outcomes] == ["returned"] * 6 + ["unsupported"] * 3 + ["invalid"]
    assert outcomes[1]["values"] == ["f64:fff0000000000001", "i32:0"]
    assert outcomes[2]["values"] == ["i64:ffffffffffffffff"]
    assert outcomes[4]["values"] == ["bytes:000000ff"]
    size, digest = outcomes[5]["values"]
    assert (size, digest[:7]) == ("i64:2000", "digest:")
    assert outcomes[8]["detail"] == "no instance b"
    assert outcomes[9]["detail"] == '"empty" ?'


def test_sessions(worker: Path) -> None:
    look = {"do": "read", "name": "a", "export": "m", "at": 0, "bytes": 4}
    answers = ask(
        worker,
        {"id": 1, "session": "s", "steps": [instantiate(b"\0asm")]},
        {"id": 2, "session": "t", "steps": [look]},
        {"id": 3, "session": "s", "steps": [look, {"do": "end"}]},
        {"id": 4, "session": "s", "steps": [look]},
    )
    kinds = [[o["kind"] for o in answer["outcomes"]] for answer in answers if "outcomes" in answer]
    assert kinds == [["returned"], ["unsupported"], ["returned", "returned"], ["unsupported"]]


@pytest.mark.parametrize(
    "line",
    ["garbage", "[1]", '{"id": "x", "steps": []}', '{"id": 1.5, "steps": []}', '{"id": 1, "steps": [}', "[" * 100_000,
     '{"id": 99999999999999999999, "steps": []}', '"\\ud800"', '{"a": "\\', "{", '{"id" 1}', "nul"],
)  # fmt: skip
def test_lines_that_are_no_requests(worker: Path, line: str) -> None:
    _, error, mark, _ = ask(worker, line, {"id": -3, "steps": []})
    assert error.keys() == {"id", "error"}
    assert error["id"] is None
    assert mark == {"started": -3}


def test_strings(worker: Path) -> None:
    """Escapes of every kind; in what is told what is not ASCII is a question mark for each byte."""
    text = '{"id": 1, "steps": [{"do": "\\u0072ead", "name": "\\"\\\\\\/\\b\\u00e9\\ud83d\\udc0d\\n"}]}'
    *_, answer = ask(worker, text)
    assert answer["outcomes"] == [{"kind": "unsupported", "detail": 'no instance "\\/?' + "?" * 6 + "?"}]


def test_other_names_for_imports(worker: Path) -> None:
    """Of every kind of import the module's name changes, and nothing else; a section of another kind stays."""
    kinds = [
        b"\0\1",
        b"\1\x70\1\2\x83\1",
        b"\1\x63\0\0\1",
        b"\2\1\1\2",
        b"\2\4\1",
        b"\3\x64\x70\1",
        b"\3\x7f\0",
        b"\4\0\1",
    ]
    head, first, rest = b"\0asm\1\0\0\0", b"\1\4\1\x60\0\0", b"\3\2\1\0"

    def section(*names: bytes) -> bytes:
        content = bytes([len(kinds)]) + b"".join(name + kind for name, kind in zip(names, kinds, strict=True))
        return head + first + b"\2" + bytes([len(content)]) + content + rest

    module = section(*[b"\3old\1x"] * len(kinds))
    imports = [["old", f"n{n}"] if n else [None, f"n{n}"] for n in range(len(kinds))]
    wanted = section(b"\6parent\2n0", *[b"\1M\2n%d" % n for n in range(1, len(kinds))])
    read = {"do": "read", "name": "a", "export": "m", "at": 0, "bytes": len(wanted)}
    steps = [instantiate(b"\0", "p"), instantiate(module, imports=imports, of="p"), read]
    *_, answer = ask(worker, {"id": 1, "steps": steps})
    assert bytes.fromhex(answer["outcomes"][2]["values"][0].removeprefix("bytes:")) == wanted
    for broken in (module[:30], module.replace(b"\x64", b"\x65"), head + b"\2\x7f\1"):
        steps = [instantiate(broken, imports=imports), {**read, "bytes": len(broken)}]
        *_, answer = ask(worker, {"id": 1, "steps": steps})
        assert answer["outcomes"][1]["values"] == [f"bytes:{broken.hex()}"]


def test_what_cannot_be_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineUnavailable, match=r"toy 7 has no other/\*\.c"):
        compiled.build(order(tmp_path / "1", "other/*.c"))
    with pytest.raises(EngineUnavailable, match=r"toy 7 has no engines/other\.cc"):
        compiled.build(order(tmp_path / "1b", "engines/other.cc"))
    with pytest.raises(EngineUnavailable, match="toy 7 cannot be compiled: .*toy.h"):
        compiled.build(order(tmp_path / "2", "toy/engine.c"))
    assert not (tmp_path / "2" / "content").exists()
    monkeypatch.setattr(compilers, "c_compiler", lambda *_: None)
    monkeypatch.setattr(compiled, "c_compiler", lambda *_: None)
    with pytest.raises(EngineUnavailable, match="toy 7 needs a C compiler for amd64"):
        compiled.build(order(tmp_path / "3", "toy/engine.c"))
