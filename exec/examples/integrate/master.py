#!/usr/bin/env python3
"""Integrates by halves: p3 farm integrate.wasm -- ./master.py FROM TO TOLERANCE"""
import json
import sys

spans = []  # by the id of their units


def submit(a, b, tolerance):
    spans.append((a, b, tolerance))
    print(json.dumps({"id": len(spans) - 1, "stdin": f"{a!r} {b!r} {tolerance!r}\n"}), flush=True)


submit(*map(float, sys.argv[1:4]))
parts = []
out = 1
while out:
    r = json.loads(sys.stdin.readline())
    out -= 1
    if not r["ok"]:
        sys.exit(f"unit {r['unit']}: {r['error']}")
    a, b, tolerance = spans[r["id"]]
    if r["stdout"] == "split\n":
        middle = a + (b - a) / 2
        submit(a, middle, tolerance / 2)
        submit(middle, b, tolerance / 2)
        out += 2
    else:
        parts.append(float(r["stdout"]))
print(json.dumps({"output": f"{sum(sorted(parts)):.12f} in {len(spans)} units\n"}), flush=True)
