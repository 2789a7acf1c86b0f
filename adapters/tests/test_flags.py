"""What is no flag of a release, or no value of one, is refused in a line by every engine, and never ignored."""

from __future__ import annotations

import pytest

from wasmlab_adapters.engine import Engine
from wasmlab_adapters.errors import EngineUnavailable, NotInstalled
from wasmlab_adapters.registry import resolve

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v8+turboshaft-wasm=false", "bad option: --no-turboshaft-wasm"),
        ("v8+liftoff=maybe", "illegal value for flag --liftoff=maybe"),
        ("deno+wasm-tiering-budget=many", "illegal value"),
        ("jsc+useWebAssemblyFastMemory=0", "BUN_JSC_useWebAssemblyFastMemory=0"),
        ("jsc+useBBQJIT=maybe", "BUN_JSC_useBBQJIT=maybe"),
        ("jsc-shell+useWebAssemblyFastMemory=0", "invalid option"),
        ("spidermonkey+wasm-compiler=turbofan", "wasm-compiler"),
        *((f"{name}+mode=fast", "mode=fast") for name in ("wazero", "chicory", "endive", "wasmi", "wasm3", "wasmedge")),
        ("silverfir+tier=fast", "tier=fast"),
        ("wasmer+compiler=fast", "compiler=fast"),
        ("endive+mode=compiler", "no compiler"),
        ("binaryen+level=O9", "no level O9"),
    ],
)
def test_what_an_engine_does_not_know_is_refused(name: str, said: str) -> None:
    try:
        target = resolve(name, fetch=False)
    except NotInstalled as error:
        pytest.skip(f"{error}; {error.hint}")
    with pytest.raises(EngineUnavailable, match=said) as caught:
        Engine(target).start()
    assert "\n" not in str(caught.value)
