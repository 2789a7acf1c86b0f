"""Run once while the lab's image is made: what Python compiles when a worker is imported is kept for every start."""

import contextlib
import importlib
import pkgutil
import sys

import wasmlab_adapters.workers as workers

sys.dont_write_bytecode = False
for found in pkgutil.iter_modules(workers.__path__):
    with contextlib.suppress(ImportError, SystemExit):  # of a worker that does not run here
        importlib.import_module(f"{workers.__name__}.{found.name}")
