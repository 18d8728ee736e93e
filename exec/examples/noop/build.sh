#!/bin/sh
# Builds noop.wasm. The committed file comes from Debian 12: clang-14 14.0.6-12, lld-14; the same
# tools give the same bytes.
set -eu
cd "$(dirname "$0")"
clang --target=wasm32-wasi -nostdlib -O2 -Wall -Wextra -Werror \
	-Wl,--strip-all -o "${1:-noop.wasm}" noop.c
