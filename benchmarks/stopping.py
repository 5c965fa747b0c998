"""How often the stopping certificate errs, over simulated searches; and tests that do not survive being looked at.

    python benchmarks/stopping.py --json stopping.json

A search: --tweets tweets of which .2 % are DA; people review the highest scores until a share of the DA tweets is found
that is just below the target, further below, or a little above. Then a random sample of the others is drawn and judged
one after the other, and the search stops as soon as the certificate says that the target is reached, which is looked at
after every label; or at --most labels, without certificate. An error is a search that stops below its target. The rankings
differ in how far DA and other tweets lie apart; that decides how many tweets are reviewed before.

Beside it: the hypergeometric test (Callaghan and Müller-Hansen 2020), looked at once, after --most labels, and looked at
after every label, which it is not made for; and the quantile bound (QBCB; Lewis, Yang and Frieder 2021), for which a
random sample of all tweets is judged first, and the review stops when it has met enough of the sample's DA tweets.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import binom, hypergeom

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ml import stopping

ERROR = 0.05
TARGETS = (0.7, 0.8, 0.9, 0.95)
BELOW = (
    -0.04,
    0.005,
    0.03,
    0.15,
)  # how far below its target a search is when its sample is drawn; one is above
APART = (1.5, 2.5, 3.5)  # standard deviations between the scores of DA and others

Certified = Callable[[int, int], bool]  # with so many labels of the sample, so many of them positive


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tweets", type=int, default=200_000)
    parser.add_argument("--prevalence", type=float, default=0.002)
    parser.add_argument("--searches", type=int, default=2_000, help="of each setting (2000)")
    parser.add_argument("--most", type=int, default=50_000, help="labels of the sample (50000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    started = time.process_time()
    rng = np.random.default_rng(options.seed)
    positives = round(options.tweets * options.prevalence)
    print(
        f"{options.tweets:,} tweets, {positives:,} DA; {options.searches:,} searches of each setting, at most"
        f" {options.most:,} labels after the review. Errors, in percent of the searches:"
    )
    print(
        f"{'target':>7}{'found':>7}{'apart':>6}{'reviewed':>10} |{'certificate':>12}{'certified':>10}{'labels':>8}"
        f" |{'one look':>9}{'peeking':>9}{'quantile':>9}"
    )
    rows = [
        simulate((target, below, apart), positives, options, rng)
        for target in TARGETS for below in BELOW for apart in APART
    ]  # fmt: skip
    worst = max(row["certificate"]["error"] for row in rows)
    peeking = max(row["peeking"]["error"] for row in rows)
    print(
        f"certificate: errs in {worst:.1%} of searches at worst (limit {ERROR:.0%}) {'kept' if worst <= ERROR else 'MISSED'};"
        f" the hypergeometric test errs in up to {peeking:.1%} when it is looked at after every label"
    )
    result = {
        "tweets": options.tweets, "positives": positives, "searches": options.searches, "rows": rows,
        "worst": worst, "worst_peeking": peeking, "cpu_seconds": time.process_time() - started,
    }  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


def simulate(
    setting: tuple[float, float, float], positives: int, options: Any, rng: np.random.Generator
) -> dict[str, Any]:
    """One setting: all its searches have found the same number, and differ in where the sample's positives lie."""
    target, below, apart = setting
    found = int((target - below) * positives)
    others = options.tweets - positives
    reviewed = found + round(others * float(ndtr(-apart - ndtri(found / positives))))  # others above that cut
    left, population = positives - found, options.tweets - reviewed
    places = np.sort(
        np.array([rng.choice(population, left, replace=False) for _ in range(options.searches)]), axis=1
    )  # the draws, from 0, at which the positives come

    def certificate(sampled: int, hits: int) -> bool:
        reached = stopping.recall_reached(
            found=found + hits, found_before=found, population=population, sampled=sampled, positives=hits, error=ERROR
        )  # fmt: skip
        return reached is not None and reached >= target

    def hypergeometric(sampled: int, hits: int) -> bool:
        """Rejected: so many left that the target is missed."""
        too_many = int((found + hits) / target) - found + 1
        return too_many > hits and float(hypergeom.cdf(hits, population, too_many, sampled)) < ERROR

    row = {
        "target": target, "found": found / positives, "apart": apart, "reviewed": reviewed,
        "certificate": peek(certificate, places, found, target, options.most),
        "peeking": peek(hypergeometric, places, found, target, options.most),
        "one_look": look_once(hypergeometric, places, found, target, options.most),
        "quantile": quantile(target, positives, options, rng),
    }  # fmt: skip
    own = row["certificate"]
    print(
        f"{target:7.0%}{row['found']:7.1%}{apart:6}{reviewed:10,} |{own['error']:12.1%}{own['certified']:10.1%}"
        f"{own['labels'] if own['labels'] is not None else '–':>8}"
        f" |{row['one_look']['error']:9.1%}{row['peeking']['error']:9.1%}{row['quantile']['error']:9.1%}",
        flush=True,
    )
    return row


def peek(certified: Certified, places: np.ndarray, found: int, target: float, most: int) -> dict[str, Any]:
    """Look after every label: between two positives the first certified label is the same for all searches."""
    searches, left = places.shape
    stopped = np.full(searches, -1)
    is_wrong = np.zeros(searches, bool)
    for hits in range(left + 1):
        begin = places[:, hits - 1] + 1 if hits else np.zeros(searches, int)
        end = places[:, hits] if hits < left else np.full(searches, most)  # labels before the next positive
        going = (stopped < 0) & (begin <= most)
        if not going.any():
            break
        first = first_certified(certified, hits, int(np.minimum(end, most)[going].max()))
        if first is None:
            continue
        at = np.maximum(begin, first)
        stops = going & (at <= np.minimum(end, most))
        stopped[stops] = at[stops]
        is_wrong[stops] = (found + hits) / (found + left) < target
    return {
        "error": float(is_wrong.mean()),
        "certified": float((stopped >= 0).mean()),
        "labels": int(np.median(stopped[stopped >= 0])) if (stopped >= 0).any() else None,
    }


def first_certified(certified: Certified, hits: int, most: int) -> int | None:
    """The fewest labels with so many positives that certify; by bisection."""
    low, high = max(hits, 1), most
    if low > high or not certified(high, hits):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if certified(middle, hits) else (middle + 1, high)
    return low


def look_once(
    certified: Certified, places: np.ndarray, found: int, target: float, most: int
) -> dict[str, Any]:
    hits = (places < most).sum(axis=1)
    says = {int(n): certified(most, int(n)) for n in np.unique(hits)}
    is_certified = np.array([says[int(n)] for n in hits])
    is_wrong = is_certified & ((found + hits) / (found + places.shape[1]) < target)
    return {"error": float(is_wrong.mean()), "certified": float(is_certified.mean())}


def quantile(target: float, positives: int, options: Any, rng: np.random.Generator) -> dict[str, Any]:
    """A sample of all tweets first; the review stops at the sample's j-th DA tweet, j by the binomial distribution."""
    hits = rng.hypergeometric(positives, options.tweets - positives, options.most // 2, options.searches)
    wrong, certified = 0, 0
    for drawn in hits:
        wanted = int(binom.ppf(1 - ERROR, drawn, target)) + 1  # P(so many or more | recall = target) <= ERROR
        if wanted > drawn:
            continue
        ranks = np.sort(rng.choice(positives, drawn, replace=False))
        certified += 1
        wrong += (ranks[wanted - 1] + 1) / positives < target
    return {"error": wrong / options.searches, "certified": certified / options.searches}


if __name__ == "__main__":
    main()
