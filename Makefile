# `make` lists what there is; every target sets up its own environment through ./dev.
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

check:  ## format, lint, types, layers, tables, fast tests: under 90 s
	./dev ruff format --check .
	./dev ruff check .
	./dev mypy
	./dev test -q -m "not slow and not engine and not nightly"

test:  ## all tests
	./dev test

fix:  ## format and mend what ruff can
	./dev ruff format .
	./dev ruff check --fix .

bless:  ## rewrite expectations that tests keep as data; look at the diff before you commit
	WASMLAB_BLESS=1 ./dev test -q -m "not slow and not nightly"

spec:  ## the official core suite on ref/py
	./dev wasmlab conform --engines ref/py --suite core -j 2

fuzz:  ## a minute of the main job
	./dev wasmlab fuzz --engines ref,wasmtime --time 1m

mutants:  ## plant bugs into ref/py and count how many a campaign finds
	./dev python lab/tests/mutants.py

clean:  ## remove the environment and caches of tools
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist wasmlab-runs

.PHONY: help check test fix bless spec fuzz mutants clean
