#!/bin/sh
# Builds fractal.wasm. The committed file comes from Debian 12: clang-14 14.0.6-12, lld-14,
# wasi-libc 0.0~git20220510, libclang-rt-14-dev-wasm32; the same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
clang --target=wasm32-wasi --sysroot=/usr -O2 -msimd128 -mbulk-memory -Wall -Wextra -Werror \
	-I../../guest -Wl,--strip-all -o "${1:-fractal.wasm}" fractal.c
