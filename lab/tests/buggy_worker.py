"""The worker of ref/py with one bug of the zoo in it: `buggy_worker.py xor-lsb`; a real process, to be killed."""

from __future__ import annotations

import sys

from zoo import BUGS

import wasmlab_ref.engine
from wasmlab_adapters.workers import ref_py
from wasmlab_ref import numerics


def main() -> None:
    """Plant the bug, then serve."""
    mnemonic, bug = BUGS[sys.argv.pop(1)]
    right = numerics.functions

    def functions(*args: object) -> object:
        table = dict(right(*args))  # type: ignore[arg-type]
        return {**table, mnemonic: bug(table[mnemonic])}

    wasmlab_ref.engine.functions = functions  # type: ignore[assignment]
    ref_py.main()


if __name__ == "__main__":
    main()
