#!/bin/sh
# Builds the kernels from the C sources in this folder: clang 14 and lld for wasm32, no library.
set -eu
cd "$(dirname "$0")"
for source in *.c; do
    "${CC:-clang}" --target=wasm32 -O2 -std=gnu11 -ffreestanding -fno-builtin -nostdlib -fvisibility=hidden -msign-ext \
        -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=16384 -Wl,--export=run "$source" -o "${source%.c}.wasm"
done
