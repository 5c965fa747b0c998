"""How pages grow from a smaller corpus to a larger one: the better p95 of some runs of each.

    python benchmarks/pages_growth.py --small two-1.json two-2.json --large twenty-1.json twenty-2.json

Each file is what `benchmarks/pages.py --json` wrote. The pace of a shared machine changes within the hour, so let the
sizes take turns: small, large, small, large. A page that finds nothing in the smaller corpus is another page than one with
fifty tweets in the larger, and the table says how many were full.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

LIMIT = 1.5


def best(files: list[Path]) -> dict[str, dict[str, Any]]:
    """{page: its figures in the run where its p95 was lowest}."""
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        for name, figures in json.loads(file.read_text())["pages"].items():
            if name not in found or figures["p95_ms"] < found[name]["p95_ms"]:
                found[name] = figures
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--small", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--large", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--limit", type=float, default=LIMIT)
    options = parser.parse_args()
    small, large = best(options.small), best(options.large)
    kept = 0
    print(f"{'page':36} {'p50 ms':>15} {'p95 ms':>15} {'growth':>7}  full pages")
    for name in (name for name in small if name in large):
        a, b = small[name], large[name]
        growth = b["p95_ms"] / a["p95_ms"]
        kept += growth <= options.limit
        pairs = (f"{a[key]:.1f} → {b[key]:.1f}" for key in ("p50_ms", "p95_ms"))
        full = f"{a['full_pages']} of {a['requests']} → {b['full_pages']}" if b["full_pages"] else ""
        mark = "" if growth <= options.limit else "  MISSED"
        print(f"{name:36} {next(pairs):>15} {next(pairs):>15} {growth:6.2f}×  {full}{mark}")
    print(f"{kept} of {len(small.keys() & large.keys())} take at most {options.limit:g} × as long at p95")


if __name__ == "__main__":
    main()
