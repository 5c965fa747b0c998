"""From logits to probabilities that hold in the corpus, and from probabilities to thresholds.

1. Platt scaling per output on validation (Platt 1999, with his smoothed targets): p = σ(slope · logit + intercept).
2. The verdict is moved from the share of DA among the judged tweets to that of the corpus (Saerens, Latinne and
   Decaestecker 2002): odds are multiplied by the ratio of the prior odds. Being affine in the logit, both steps are
   one slope and one intercept per output, applied inside the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

MIN_POSITIVES = 5  # in validation; with fewer, a threshold or a slope would be noise
SMALLEST_PRIOR = 1e-5


@dataclass(frozen=True)
class Scale:
    slope: float
    intercept: float

    def __call__(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(expit(self.slope * np.asarray(logits, np.float64) + self.intercept))

    def shifted(self, log_odds: float) -> Scale:
        return Scale(self.slope, self.intercept + log_odds)


def platt(logits: NDArray[np.float32], truth: NDArray[np.float32]) -> Scale:
    """The scale with the best likelihood of `truth` (0/1). Too few of either class: the logits as they are."""
    if not can_be_scaled(truth):
        return Scale(1.0, 0.0)
    positives = float(truth.sum())
    negatives = len(truth) - positives
    target = np.where(truth > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    values = np.asarray(logits, np.float64)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, intercept = parameters
        scaled = slope * values + intercept
        error = expit(scaled) - target
        return float((np.logaddexp(0, scaled) - target * scaled).mean()), np.array(
            [(error * values).mean(), error.mean()]
        )

    found = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(0.05, 20), (None, None)])
    return Scale(float(found.x[0]), float(found.x[1]))


def can_be_scaled(truth: NDArray[np.float32]) -> bool:
    """Whether there are enough of both classes for `platt`."""
    positives = float(truth.sum())
    return min(positives, len(truth) - positives) >= MIN_POSITIVES


def log_odds(scales: list[Scale], logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 [n, outputs]: calibrated, from logits [n, outputs]."""
    slopes = np.array([scale.slope for scale in scales])
    return np.asarray(logits * slopes + np.array([scale.intercept for scale in scales]), np.float64)


def corpus_prior(probabilities: NDArray[np.float64], *, prior: float, rounds: int = 1000) -> float:
    """The share of DA in an unlabelled sample, by expectation maximisation (Saerens et al. 2002).

    `probabilities` hold where the share of DA is `prior`. Assumes that DA tweets look alike in both places.
    """
    share = prior
    for _ in range(rounds):
        moved = expit(logit(np.clip(probabilities, 1e-9, 1 - 1e-9)) + prior_shift(prior, share))
        estimate = float(np.clip(moved.mean(), SMALLEST_PRIOR, 1 - SMALLEST_PRIOR))
        if abs(estimate - share) < 1e-7:
            break
        share = estimate
    return share


def prior_shift(old: float, new: float) -> float:
    """What to add to a logit that holds where the share is `old`, so that it holds where it is `new`."""
    old, new = (float(np.clip(share, SMALLEST_PRIOR, 1 - SMALLEST_PRIOR)) for share in (old, new))
    return float(logit(new) - logit(old))


def best_threshold(probabilities: NDArray[np.float64], truth: NDArray[np.float32]) -> float | None:
    """The threshold with the best F1 on these tweets: half-way to the next score below. None: too few positives.

    With a dozen positives the best F1 is that of a lucky tweet. So each tweet counts half as it was judged, and half
    as it is expected to be at its score (Platt), which with many positives comes to the same threshold.
    """
    positives = float(truth.sum())
    if positives < MIN_POSITIVES or positives == len(truth):
        return None
    log_odds = logit(np.clip(probabilities, 1e-9, 1 - 1e-9))
    counted = (truth + platt(log_odds, truth)(log_odds)) / 2
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order], np.cumsum(counted[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + counted.sum())
    last_of_its_score = np.append(ranked[:-1] > ranked[1:], True)
    best = int(np.argmax(np.where(last_of_its_score, f1, -1)))
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def describe(scales: list[Scale], names: list[str]) -> dict[str, Any]:
    return {
        name: {"slope": scale.slope, "intercept": scale.intercept}
        for name, scale in zip(names, scales, strict=True)
    }
