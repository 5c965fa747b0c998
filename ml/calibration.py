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
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit
from scipy.stats import binomtest

MIN_POSITIVES = 5  # in validation; with fewer, a threshold or a slope would be noise
SMALLEST_PRIOR = 1e-5
GOALS = ("f1", "overall", "precision")
SCALE_BOUNDS = [(0.05, 20), (None, None)]
NEWTON_STEPS = 6
ENOUGH_TO_MATCH = 1_000
BOOTSTRAPS = 200
BOOTSTRAP_BINS = 400

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    slope: float
    intercept: float

    def __call__(self, logits: NDArray[np.floating[Any]]) -> Floats:
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

    def loss(parameters: Floats) -> tuple[float, Floats]:
        slope, intercept = parameters
        scaled = slope * values + intercept
        error = expit(scaled) - target
        return float((np.logaddexp(0, scaled) - target * scaled).mean()), np.array(
            [(error * values).mean(), error.mean()]
        )

    found = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=SCALE_BOUNDS)
    return Scale(float(found.x[0]), float(found.x[1]))


def _refitted(values: Floats, positives: NDArray[Any], negatives: NDArray[Any]) -> Scale:
    """The scale of values that are nearly calibrated, from how many of each class have each: some steps of Newton's."""
    count = positives + negatives
    slope, intercept = 1.0, 0.0
    for _ in range(NEWTON_STEPS):
        p = expit(slope * values + intercept)
        error, weight = count * p - positives, count * p * (1 - p) + 1e-9
        gradient = np.array([(error * values).sum(), error.sum()])
        cross = (weight * values).sum()
        curvature = np.array([[(weight * values**2).sum(), cross], [cross, weight.sum()]])
        step = np.linalg.solve(curvature, gradient)
        slope, intercept = float(np.clip(slope - step[0], 0.05, 20)), float(intercept - step[1])
    return Scale(slope, intercept)


def can_be_scaled(truth: NDArray[np.float32]) -> bool:
    """Whether there are enough of both classes for `platt`."""
    positives = float(truth.sum())
    return min(positives, len(truth) - positives) >= MIN_POSITIVES


def log_odds(scales: list[Scale], logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 [n, outputs]: calibrated, from logits [n, outputs]."""
    slopes = np.array([scale.slope for scale in scales])
    return np.asarray(logits * slopes + np.array([scale.intercept for scale in scales]), np.float64)


def corpus_prior(
    probabilities: Floats, *, prior: float, counts: NDArray[np.integer[Any]] | None = None
) -> float:
    """The share of DA in an unlabelled sample with the best likelihood, which is where the expectation maximisation
    of Saerens et al. (2002) ends. There the mean of the moved probabilities is that share.

    `probabilities` hold where the share of DA is `prior`; counts: how many texts have each, by default one. Assumes that
    DA tweets look alike in both places.
    """
    odds = logit(np.clip(probabilities, 1e-9, 1 - 1e-9)) + prior_shift(prior, 0.5)
    excess = np.exp(odds) - 1  # the likelihood of a text is proportional to 1 + share · excess
    weights = np.ones(len(excess)) if counts is None else counts

    def slope(share: float) -> float:
        return float((weights * excess / (1 + share * excess)).sum())

    low, high = SMALLEST_PRIOR, 1 - SMALLEST_PRIOR
    if slope(low) <= 0 or slope(high) >= 0:
        return low if slope(low) <= 0 else high
    return float(brentq(slope, low, high, xtol=1e-9))


def prior_interval(
    log_odds: Floats, truth: NDArray[np.float32], sample: Floats, *, seed: int
) -> tuple[float, float] | None:
    """95 % interval of `corpus_prior`, by resampling the validation texts and the sample (Efron 1979).

    log_odds: calibrated, of the validation texts with `truth` (0/1); sample: of the unlabelled texts. Most of the width
    comes from the few negatives of validation that score high: they decide what a high score is worth. None: too few.
    """
    if not can_be_scaled(truth) or not len(sample):
        return None
    edges = np.unique(np.quantile(np.concatenate([log_odds, sample]), np.linspace(0, 1, BOOTSTRAP_BINS + 1)))
    top = np.quantile(log_odds, np.linspace(0, 1, BOOTSTRAP_BINS + 1))  # fine where it matters
    edges = np.unique(np.concatenate([edges, top]))
    middle = (edges[1:] + edges[:-1]) / 2
    positives, negatives, corpus = (
        np.histogram(values, edges)[0] for values in (log_odds[truth > 0], log_odds[truth <= 0], sample)
    )
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(BOOTSTRAPS):
        hits, misses, texts = (rng.poisson(counts) for counts in (positives, negatives, corpus))
        if min(hits.sum(), misses.sum()) < MIN_POSITIVES:
            continue
        share = hits.sum() / (hits.sum() + misses.sum())
        found.append(corpus_prior(_refitted(middle, hits, misses)(middle), prior=float(share), counts=texts))
    if not found:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def prior_shift(old: float, new: float) -> float:
    """What to add to a logit that holds where the share is `old`, so that it holds where it is `new`."""
    old, new = (float(np.clip(share, SMALLEST_PRIOR, 1 - SMALLEST_PRIOR)) for share in (old, new))
    return float(logit(new) - logit(old))


def shift_to(log_odds: Floats, share: float) -> float | None:
    """What to add to the log-odds of a sample of the corpus, so that their probabilities have the mean `share`.

    Where the scale is right it is `prior_shift`; where it is not, the expected number of DA still is. For a `share` that
    `corpus_prior` estimated both are the same. None: the sample is too small to say.
    """
    if len(log_odds) < ENOUGH_TO_MATCH:
        return None
    share = float(np.clip(share, SMALLEST_PRIOR, 1 - SMALLEST_PRIOR))
    return float(brentq(lambda shift: expit(log_odds + shift).mean() - share, -60, 60, xtol=1e-9))


@dataclass(frozen=True)
class Goal:
    """What the tags' thresholds are chosen for.

    name: f1, the best F1 of each tag. overall: the best mean of micro and macro F1 of all tags together, which
    spends fewer false alarms on rare tags. precision: the lowest threshold of each tag at which `precision` is reached.
    """

    name: str = "f1"
    precision: float = 0.8  # wanted, above 0 and below 1

    def __post_init__(self) -> None:
        if self.name not in GOALS:
            raise ValueError(f"Unknown goal {self.name!r}: choose one of {', '.join(GOALS)}.")
        if not 0 < self.precision < 1:
            raise ValueError(
                f"A precision of {self.precision} cannot be reached for: choose one between 0 and 1."
            )


@dataclass(frozen=True)
class _Ranking:
    """The tweets judged for one output, from the highest score down. Place k: the k + 1 highest are predicted.

    With a dozen positives the best figure is that of a lucky tweet. So each tweet counts half as it was judged, and
    half as it is expected to be at its score (Platt), which with many positives comes to the same threshold.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.float64]  # positives among the predicted, counted so
    judged_hits: NDArray[np.float64]  # the same as judged
    positives: float
    possible: NDArray[np.bool_]  # no two equal scores on both sides

    @classmethod
    def of(cls, probabilities: NDArray[np.float64], truth: NDArray[np.float32]) -> _Ranking | None:
        """None: too few positives, or no negative."""
        positives = float(truth.sum())
        if positives < MIN_POSITIVES or positives == len(truth):
            return None
        log_odds = logit(np.clip(probabilities, 1e-9, 1 - 1e-9))
        counted = (truth + platt(log_odds, truth)(log_odds)) / 2
        order = np.argsort(-probabilities, kind="stable")
        scores = probabilities[order]
        return cls(
            scores, np.cumsum(counted[order]), np.cumsum(truth[order], dtype=np.float64), float(counted.sum()),
            np.append(scores[:-1] > scores[1:], True),
        )  # fmt: skip

    def predicted(self) -> NDArray[np.float64]:
        return np.arange(1, len(self.scores) + 1, dtype=np.float64)

    def f1(self) -> NDArray[np.float64]:
        return np.where(self.possible, 2 * self.hits / (self.predicted() + self.positives), -1)

    def threshold(self, place: int) -> float:
        """Half-way to the next score below."""
        below = self.scores[place + 1] if place + 1 < len(self.scores) else 0.0
        return float((self.scores[place] + below) / 2)


def best_threshold(probabilities: NDArray[np.float64], truth: NDArray[np.float32]) -> float | None:
    """The threshold with the best F1 on these tweets. None: too few positives."""
    ranking = _Ranking.of(probabilities, truth)
    return ranking.threshold(int(np.argmax(ranking.f1()))) if ranking else None


def tag_thresholds(
    probabilities: NDArray[np.floating[Any]], truth: NDArray[np.float32], goal: Goal
) -> list[float | None]:
    """One threshold per tag. None: too few positives, or no threshold that reaches the goal.

    probabilities, truth: [n, tags], NaN where there is no opinion, or where a tag was not judged.
    """
    rankings = []
    for p, y in zip(probabilities.T, truth.T, strict=True):
        judged = ~np.isnan(y) & ~np.isnan(p)
        rankings.append(_Ranking.of(p[judged].astype(np.float64), y[judged]))
    some = [ranking for ranking in rankings if ranking is not None]
    if goal.name == "precision":
        places: list[int | None] = [_lowest_place(ranking, goal.precision) for ranking in some]
    elif goal.name == "overall":
        places = list(_best_places(some))
    else:
        places = [int(np.argmax(ranking.f1())) for ranking in some]
    chosen = iter(
        None if place is None else ranking.threshold(place)
        for ranking, place in zip(some, places, strict=True)
    )
    return [None if ranking is None else next(chosen) for ranking in rankings]


def _lowest_place(ranking: _Ranking, precision: float) -> int | None:
    """The last place with this precision, and with enough right ones to speak of one."""
    reached = (ranking.hits >= precision * ranking.predicted()) & (ranking.judged_hits >= MIN_POSITIVES)
    places = np.flatnonzero(reached & ranking.possible)
    return int(places[-1]) if len(places) else None


def _best_places(rankings: list[_Ranking], rounds: int = 5) -> list[int]:
    """Places with the best sum of micro and macro F1: one tag after the other is moved to where it does most for
    both, the others held still, until none moves."""
    scores = [ranking.f1() for ranking in rankings]
    sizes = [ranking.predicted() + ranking.positives for ranking in rankings]
    places = [int(np.argmax(score)) for score in scores]
    for _ in range(rounds):
        before = list(places)
        for k, ranking in enumerate(rankings):
            others = [j for j in range(len(rankings)) if j != k]
            hits = sum(rankings[j].hits[places[j]] for j in others)
            size = sum(sizes[j][places[j]] for j in others)
            micro = 2 * (hits + ranking.hits) / (size + sizes[k])
            both = micro + scores[k] / len(rankings)
            places[k] = int(np.argmax(np.where(ranking.possible, both, -1)))
        if places == before:
            break
    return places


def reached(
    probabilities: NDArray[np.float64], truth: NDArray[np.float32], threshold: float | None, goal: Goal
) -> dict[str, Any] | None:
    """What a threshold reached on these tweets: the figure that the goal names, with a 95 % interval.

    Precision: Wilson's interval (Wilson 1927). F1: the percentiles of 2,000 bootstrap samples of the four counts. The
    threshold is held still; where it was chosen on these very tweets, the figure flatters. None without a threshold.
    """
    judged = ~np.isnan(truth) & ~np.isnan(probabilities)
    if threshold is None or not judged.any():
        return None
    y, predicted = truth[judged] > 0, probabilities[judged] >= threshold
    cells = np.array(
        [(y & predicted).sum(), (~y & predicted).sum(), (y & ~predicted).sum(), (~y & ~predicted).sum()]
    )
    result = {"positives": int(y.sum()), "predicted": int(predicted.sum())}
    if goal.name == "precision":
        if not predicted.any():
            return None
        share = binomtest(int(cells[0]), int(predicted.sum()))
        interval = share.proportion_ci(method="wilson")
        figures = {"value": float(share.statistic), "low": float(interval.low), "high": float(interval.high)}
        return {"figure": "precision", **figures, **result}
    drawn = np.random.default_rng(0).multinomial(len(y), cells / len(y), size=2_000)
    low, high = np.quantile(_f1(drawn), [0.025, 0.975])
    return {
        "figure": "F1",
        "value": float(_f1(cells[None])[0]),
        "low": float(low),
        "high": float(high),
        **result,
    }


def _f1(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """From counts [n, 4]: true positives, false positives, false negatives, true negatives."""
    hits = 2.0 * cells[:, 0]
    return np.asarray(hits / np.maximum(hits + cells[:, 1] + cells[:, 2], 1))


def describe(scales: list[Scale], names: list[str]) -> dict[str, Any]:
    return {
        name: {"slope": scale.slope, "intercept": scale.intercept}
        for name, scale in zip(names, scales, strict=True)
    }
