"""Two networks in one model: `fast` reads every text, `accurate` reads again those that `fast` puts near the top.

Cascades of cheap and dear classifiers go back to Viola and Jones (2001). Both networks learn from the same examples.
What both say is one probability: `accurate` is calibrated on the texts that reach it, `fast` on all, and both are moved
by the same log-odds to the share of DA in the corpus, since that move is the same for any subset of texts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binomtest

from ml import calibration
from ml.network import Tagger

LEAST_LISTED = 100  # texts of the sample on which the loss is estimated; fewer say nothing
PRIOR_TIMES = 3.0  # read again at least this many times the share of DA: where DA is common, the top is wide
RESAMPLES = 1000


class Pair(NamedTuple):
    """The networks of a cascade."""

    fast: Tagger
    accurate: Tagger


@dataclass(frozen=True)
class Join:
    """How the log-odds of two networks become one. `cut`: of DA by `fast`; texts from there on are read again."""

    cut: float
    fast: list[calibration.Scale]
    accurate: list[calibration.Scale]

    def log_odds(self, fast: NDArray[np.float32], accurate: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 [n, 1 + tags] from the logits of both: whole rows of `accurate` where `fast` reaches the cut."""
        first = calibration.log_odds(self.fast, fast)
        again = first[:, 0] >= self.cut
        return np.where(again[:, None], calibration.log_odds(self.accurate, accurate), first)

    def description(self, threshold: float | None) -> dict[str, Any]:
        """As the model file has it; `cut` and `ceiling` are probabilities."""
        return {
            "scales": [asdict(scale) for scale in self.accurate],
            "cut": float(expit(self.cut)),
            "ceiling": 1.0 if threshold is None else below(threshold),
        }

    def shifted(self, log_odds: float) -> Join:
        """The same for another share of DA."""
        return Join(
            self.cut + log_odds,
            [self.fast[0].shifted(log_odds), *self.fast[1:]],
            [self.accurate[0].shifted(log_odds), *self.accurate[1:]],
        )


def cut_of(log_odds: NDArray[np.float64], *, share: float, prior: float) -> float:
    """Where to cut a sample of the corpus, so that `share` of it is read again; more where DA is common."""
    share = min(1.0, max(share, PRIOR_TIMES * prior))
    if not len(log_odds) or share == 1.0:
        return -np.inf
    return float(np.quantile(log_odds, 1 - share))


def below(threshold: float) -> float:
    """The next smaller 32-bit probability: the most that a text may get which only `fast` has read.

    So nothing is flagged that `accurate` has not read.
    """
    return float(np.nextafter(np.float32(threshold), np.float32(0)))


def loss_on_sample(
    read_again: NDArray[np.bool_], accurate: NDArray[np.floating[Any]], *, flagged: int
) -> dict[str, Any] | None:
    """How much of the list of `accurate` alone the cascade has read, on a random sample of the corpus.

    accurate: its verdict on all of the sample. The list: its first `flagged` texts, at least LEAST_LISTED. The interval
    is that of Wilson (1927), 95 %. None where the sample is too small.
    """
    listed = max(flagged, LEAST_LISTED)
    if len(accurate) < 2 * listed:
        return None
    first = np.argsort(-accurate, kind="stable")[:listed]
    kept = int(read_again[first].sum())
    interval = binomtest(kept, listed).proportion_ci(method="wilson")
    return {
        "sample": len(accurate), "read_again": int(read_again.sum()), "listed": listed, "kept": kept,
        "share": kept / listed, "low": float(interval.low), "high": float(interval.high),
    }  # fmt: skip


def loss_of_precision(
    truth: NDArray[np.floating[Any]],
    cascade: NDArray[np.floating[Any]],
    accurate: NDArray[np.floating[Any]],
    *,
    seed: int,
) -> dict[str, Any] | None:
    """Average precision of the verdict with the cascade and with `accurate` on everything, on held-out texts.

    low, high: 95 % interval of the difference, by resampling the texts (Efron 1979). None without both classes.
    """
    judged = ~np.isnan(truth)
    y = truth[judged] > 0
    if not 0 < y.sum() < len(y):
        return None
    orders = [np.argsort(-scores[judged], kind="stable") for scores in (cascade, accurate)]
    rng = np.random.default_rng(seed)

    def precisions(weights: NDArray[np.float64]) -> list[float]:
        return [_average_precision(y[order], weights[order]) for order in orders]

    found = precisions(np.ones(len(y)))
    drawn = [np.bincount(rng.integers(0, len(y), len(y)), minlength=len(y)) for _ in range(RESAMPLES)]
    differences = [a - b for a, b in (precisions(weights.astype(np.float64)) for weights in drawn)]
    low, high = np.nanquantile(differences, [0.025, 0.975])
    return {"n": len(y), "cascade": found[0], "accurate": found[1], "low": float(low), "high": float(high)}


def _average_precision(truth: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Of texts in order, each counted `weights` times. NaN when no positive is among them."""
    hits = weights * truth
    precision = np.cumsum(hits) / np.maximum(np.cumsum(weights), 1e-12)
    return float((hits * precision).sum() / hits.sum()) if hits.sum() else float("nan")
