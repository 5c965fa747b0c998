"""Do the words that a model marks drive its score? Deletes them, and random ones, from texts that the model flags.

    python benchmarks/faithfulness.py MODEL FILE [--words 1,2,3,5] [--most 1000] [--json FILE]

MODEL is a folder that ml.train wrote, or a model.zip; FILE holds texts that it has not learnt from, as JSONL or CSV
with a column `text`. Prints by how much the log-odds of DA fall on average, with a 95 % interval of the difference.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ml import faithfulness, files, predict


def measure(
    predictor: Any, texts: list[str], *, words: list[int], most: int
) -> list[faithfulness.Faithfulness]:
    """On the flagged ones among the texts, at most so many of them."""
    risks = predictor.predict(texts)[:, 0]
    limit = predictor.thresholds["DA"] or 0.5
    flagged = [text for text, risk in zip(texts, risks, strict=True) if risk >= limit][:most]
    print(f"{len(texts):,} texts, {len(flagged):,} of the flagged ones are measured")
    found = [faithfulness.measure(predictor, flagged, words=count) for count in words]
    return [one for one in found if one is not None]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--words", default="1,2,3,5", help="how many are deleted at once")
    parser.add_argument("--most", type=int, default=1_000, help="flagged texts")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    predictor = predict.load(options.model / "model.zip" if options.model.is_dir() else options.model)
    texts = files.read(options.file, text="text")["text"].tolist()
    words = [int(count) for count in options.words.split(",")]
    found = measure(predictor, texts, words=words, most=options.most)
    print(f"{'words deleted':>14}{'texts':>8}{'marked':>10}{'random':>10}{'difference':>12}  95 % interval")
    for one in found:
        print(
            f"{one.words:>14}{one.n:>8,}{one.marked:>10.3f}{one.random:>10.3f}{one.marked - one.random:>12.3f}"
            f"  {one.low:.3f} to {one.high:.3f}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1))
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
