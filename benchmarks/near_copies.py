"""How fast near copies are found, how many of those planted, and what the pairs found are like.

    python benchmarks/near_copies.py FILE [--rows 300000] [--show 10]

FILE is a Parquet file with a column `text`, such as benchmarks/corpus.py makes. Needs no database. Copies of texts of
eight words and more are planted among the others; the true Jaccard similarity is that of the sets of 5-byte shingles
of the normalised texts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ml import near_copies
from ml.groups import normalise

PLANTED = 20_000


def change_word(text: str) -> str:
    words = text.split()
    words[len(words) // 2] = "banana"
    return " ".join(words)


def cut(share: float) -> Callable[[str], str]:
    return lambda text: text[: int(share * len(text))] + "…"


# name, fewest and most words of the texts, how a copy is made
KINDS: list[tuple[str, int, int, Callable[[str], str]]] = [
    ("retweet", 8, 999, lambda text: f"RT @some_body: {text}"),
    ("another link", 8, 999, lambda text: f"{text} https://example.org/Zz9"),
    ("number and emoji", 8, 999, lambda text: f"{text} 42 😂😂"),
    ("capitals", 8, 999, lambda text: f"{text.upper()}!!!"),
    ("one word of 12 or more changed", 12, 999, change_word),
    ("one word of 8 to 11 changed", 8, 11, change_word),
    ("cut to 85 %", 8, 999, cut(0.85)),
    ("cut to 70 %", 8, 999, cut(0.70)),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--show", type=int, default=10, help="pairs that are printed")
    options = parser.parse_args()
    texts = pq.read_table(options.file, columns=["text"])["text"].slice(0, options.rows).to_pylist()

    started = time.process_time()
    lines = normalise(texts)
    normalised = time.process_time()
    signatures = list(near_copies.sign(lines))
    signed = time.process_time()
    groups = near_copies.join(signatures)
    seconds = (normalised - started, signed - normalised, time.process_time() - signed)
    names = ("normalise", "sign", "join")
    each = ", ".join(f"{n} {1e6 * s / len(texts):.1f}" for n, s in zip(names, seconds, strict=True))
    print(f"{len(texts):,} texts, CPU µs a text: {each}")

    sizes = np.bincount(groups)
    print(f"{(sizes > 1).sum():,} groups of {sizes[sizes > 1].sum():,} texts, the largest of {sizes.max():,}")
    found = np.flatnonzero(groups != np.arange(len(texts)))
    pairs = [(int(groups[n]), int(n)) for n in found if lines[n] != lines[groups[n]]]
    similarity = np.array([jaccard(lines[a], lines[b]) for a, b in pairs])
    print(f"{len(found) - len(pairs):,} are equal to the first of their group when normalised", end="; ")
    print(f"of the {len(pairs):,} others the true Jaccard similarity with it is:")
    for low, high in ((0, 0.4), (0.4, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 1.01)):
        print(f"  {low:.1f} to {high:.1f}: {((similarity >= low) & (similarity < high)).mean():.1%}")
    rng = np.random.default_rng(1)
    for n in rng.choice(len(pairs), min(options.show, len(pairs)), replace=False):
        a, b = pairs[n]
        print(f"  {similarity[n]:.2f} | {texts[a][:90]!r}\n       | {texts[b][:90]!r}")

    for name, fewest, most, copy in KINDS:
        originals = [text for text in texts if fewest <= len(text.split()) <= most][:PLANTED]
        both = normalise(originals + [copy(text) for text in originals])
        group = near_copies.join(list(near_copies.sign(both)))
        recall = float((group[: len(originals)] == group[len(originals) :]).mean())
        print(f"planted, {name}: {recall:.1%} of {len(originals):,} found")


def jaccard(a: bytes, b: bytes) -> float:
    x, y = ({line[i : i + near_copies.SHINGLE] for i in range(max(1, len(line) - 4))} for line in (a, b))
    return len(x & y) / len(x | y)


if __name__ == "__main__":
    main()
