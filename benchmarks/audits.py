"""How often the 95 % intervals of an audit hold the truth: simulated audits of corpora whose truth is known.

    python benchmarks/audits.py [--audits 1000] [--labels 1000] [--tweets 20000000] [--json FILE]

Needs numpy and scipy only; no database, no texts. Each corpus has 0.2 % DA. A model's score of a tweet is simulated:
DA and NDA lie around two means; corpora differ in how far these are apart and in what is wrong with the
probabilities. Every audit draws its strata sample anew, as labeling/audits.py does, and estimates what it may not see.

Beside the intervals of ml/estimates.py: those that take the sample for a plain one, those that weight it but take
the estimate for normal (Horvitz–Thompson with the delta method), and those of a hold-out that is half DA.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ml import estimates
from ml.estimates import Bins, Cells

FIGURES = ("prevalence", "precision", "recall")
BEYOND = tuple(f"{figure}, no rule" for figure in FIGURES)  # of the tweets that no rule matches
# Of DA and NDA tweets, the share that no rule matches: of flagged ones, and of the others.
NO_RULE = {"positive": (0.25, 0.6), "negative": (0.5, 0.97)}
PREVALENCE = 0.002
HOLD_OUT = 2_000  # tweets, half of them DA
Z = 1.959964

Bounds = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Kind:
    """A model: how it sees DA, and how its probabilities err."""

    name: str
    distance: float  # between the means of DA and NDA, in standard deviations of NDA
    spread: float = 1.0  # standard deviation of DA
    slope: float = 1.0  # the stated log odds are the true ones times this …
    shift: float = 0.0  # … plus this
    unseen: float = 0.0  # share of the DA tweets that look to the model like NDA
    easy: float = 0.5  # how much further apart DA and NDA are in the hold-out, whose DA came by keywords


KINDS = (
    Kind("good model", 3.5),
    Kind("fair model", 2.8),
    Kind("weak model", 2.0),
    Kind("DA of many sorts", 2.6, spread=1.4),
    Kind("states 3 x too much", 3.0, shift=1.1),
    Kind("states 3 x too little", 3.0, shift=-1.1),
    Kind("too sure of itself", 3.0, slope=1.3),
    Kind("not sure enough", 3.0, slope=0.75),
    Kind("5 % of DA unseen", 3.0, unseen=0.05),
    Kind("15 % of DA unseen", 3.0, unseen=0.15),
)


@dataclass(frozen=True)
class Corpus:
    """Bins of the score from low to high, with the truth of each."""

    bins: Bins
    positive: NDArray[np.int64]  # DA tweets in each bin
    kind: Kind
    threshold: float  # in the latent score
    free_positive: NDArray[np.int64]  # of the DA tweets, those that no rule matches
    free_negative: NDArray[np.int64]

    def truth(self) -> dict[str, float]:
        every = self._figures(self.positive, self.bins.size)
        beyond = self._figures(self.free_positive, self.free_positive + self.free_negative)
        return dict(zip((*FIGURES, *BEYOND), (*every, *beyond), strict=True))

    def _figures(self, positive: NDArray[np.int64], size: NDArray[np.int64]) -> tuple[float, float, float]:
        tp = positive[self.bins.flagged].sum()
        return (
            float(positive.sum() / size.sum()),
            float(tp / size[self.bins.flagged].sum()),
            float(tp / positive.sum()),
        )


@dataclass(frozen=True)
class Audit:
    """What its labels say. Of the judged, those that no rule matches."""

    cells: Cells
    free_positive: NDArray[np.float64]
    free_negative: NDArray[np.float64]


def make_corpus(kind: Kind, *, tweets: int, rng: np.random.Generator) -> Corpus:
    """1. fine steps of the latent score  2. the stated probability of each  3. a threshold at the best F1 that the
    stated probabilities promise  4. whole tweets, drawn once"""
    x = np.linspace(-6, 12, 1801)
    seen = norm.pdf(x, kind.distance, kind.spread)
    nda = norm.pdf(x)
    da = (1 - kind.unseen) * seen + kind.unseen * nda
    log_odds = np.log(np.maximum(seen, 1e-290)) - np.log(np.maximum(nda, 1e-290)) + logit(PREVALENCE)
    log_odds = np.maximum.accumulate(np.where(x < x[np.argmin(log_odds)], log_odds.min(), log_odds))
    stated = expit(kind.slope * log_odds + kind.shift)
    positive = rng.multinomial(round(tweets * PREVALENCE), da / da.sum())
    negative = rng.multinomial(tweets - round(tweets * PREVALENCE), nda / nda.sum())
    size = positive + negative
    found = np.cumsum((size * stated)[::-1])[::-1]
    f1 = 2 * found / (np.cumsum(size[::-1])[::-1] + (size * stated).sum())
    flagged = np.arange(len(x)) >= int(np.argmax(f1))
    keep = size > 0
    bins = Bins(size[keep].astype(np.int64), stated[keep], flagged[keep])
    free = [
        rng.binomial(counts[keep], np.where(flagged[keep], *NO_RULE[name]))
        for name, counts in (("positive", positive), ("negative", negative))
    ]
    return Corpus(bins, positive[keep], kind, float(x[np.argmax(f1)]), *free)


def coarse(corpus: Corpus) -> Corpus:
    """As the product stores it: bins of equal width in log odds from −7 to 7, and one edge at the threshold."""
    place = np.clip(np.floor((logit(corpus.bins.expected) + 7) / 0.28), 0, 49).astype(np.int64)
    place = 2 * place + corpus.bins.flagged
    groups = [np.flatnonzero(place == value) for value in np.unique(place)]
    size = np.array([corpus.bins.size[g].sum() for g in groups])
    expected = np.array([np.average(corpus.bins.expected[g], weights=corpus.bins.size[g]) for g in groups])
    flagged = np.array([corpus.bins.flagged[g[0]] for g in groups])
    positive, free_positive, free_negative = (
        np.array([counts[g].sum() for g in groups])
        for counts in (corpus.positive, corpus.free_positive, corpus.free_negative)
    )
    bins = Bins(size, expected, flagged)
    return Corpus(bins, positive, corpus.kind, corpus.threshold, free_positive, free_negative)


def audit(corpus: Corpus, *, labels: int, rng: np.random.Generator) -> Audit:
    strata = estimates.cut(corpus.bins)
    cells = estimates.merge(corpus.bins, strata)
    taken = estimates.allocate(cells, labels)
    truth, free_positive, free_negative = (
        np.array([counts[s].sum() for s in strata])
        for counts in (corpus.positive, corpus.free_positive, corpus.free_negative)
    )
    positive = rng.hypergeometric(truth, cells.size - truth, taken)
    return Audit(
        replace(cells, labelled=taken.astype(float), positive=positive.astype(float)),
        rng.hypergeometric(free_positive, truth - free_positive, positive).astype(float),
        rng.hypergeometric(free_negative, cells.size - truth - free_negative, taken - positive).astype(float),
    )


# The intervals --------------------------------------------------------------------------------------------


def ours(corpus: Corpus, sample: Audit, rng: np.random.Generator) -> Bounds:
    positives = estimates.draw_positives(sample.cells, draws=2_000, seed=int(rng.integers(1 << 30)))
    every = estimates.summarise(sample.cells, positives)
    beyond = estimates.estimate_part(
        sample.cells, positives, positive=sample.free_positive, negative=sample.free_negative
    )
    named = {figure: every.figure(figure) for figure in FIGURES}
    named |= {name: beyond.figure(figure) for name, figure in zip(BEYOND, FIGURES, strict=True)}
    return {name: (interval.low, interval.high) for name, interval in named.items() if interval}


def plain(corpus: Corpus, sample: Audit, rng: np.random.Generator) -> Bounds:
    """As if the sample were a simple one."""
    cells = sample.cells
    tp, positive = cells.positive[cells.flagged].sum(), cells.positive.sum()
    return {
        "prevalence": _wald(positive, cells.labelled.sum()),
        "precision": _wald(tp, cells.labelled[cells.flagged].sum()),
        "recall": _wald(tp, positive),
    }


def weighted(corpus: Corpus, sample: Audit, rng: np.random.Generator) -> Bounds:
    """Horvitz–Thompson: each label counts for the tweets it stands for; normal intervals."""
    cells = sample.cells
    share = cells.positive / cells.labelled
    variance = cells.size**2.0 * share * (1 - share) / np.maximum(cells.labelled - 1, 1)
    total = cells.size * share
    tp, fn = total[cells.flagged].sum(), total[~cells.flagged].sum()
    var_tp, var_fn = variance[cells.flagged].sum(), variance[~cells.flagged].sum()
    positives = max(tp + fn, 1.0)
    size, flagged = cells.total, cells.size[cells.flagged].sum()
    recall = tp / positives
    spread = np.sqrt((fn / positives**2) ** 2 * var_tp + (tp / positives**2) ** 2 * var_fn)
    return {
        "prevalence": _around(positives / size, np.sqrt(var_tp + var_fn) / size),
        "precision": _around(tp / flagged, np.sqrt(var_tp) / flagged),
        "recall": _around(recall, spread),
    }


def hold_out(corpus: Corpus, sample: Audit, rng: np.random.Generator) -> Bounds:
    """Of a test split that is half DA, found by keywords, and so easier than the DA of the corpus."""
    kind = corpus.kind
    da = rng.normal(kind.distance + kind.easy, kind.spread, HOLD_OUT // 2) >= corpus.threshold
    nda = rng.normal(0, 1, HOLD_OUT // 2) >= corpus.threshold
    return {
        "prevalence": _wald(HOLD_OUT / 2, HOLD_OUT),
        "precision": _wald(da.sum(), da.sum() + nda.sum()),
        "recall": _wald(da.sum(), HOLD_OUT / 2),
    }


def _wald(hits: float, n: float) -> tuple[float, float]:
    share = hits / n if n else 0.0
    return _around(share, np.sqrt(share * (1 - share) / n) if n else 0.0)


def _around(value: float, spread: float) -> tuple[float, float]:
    return value - Z * spread, value + Z * spread


METHODS: dict[str, Callable[[Corpus, Audit, np.random.Generator], Bounds]] = {
    "ours": ours,
    "unweighted": plain,
    "weighted, normal": weighted,
    "hold-out": hold_out,
}


# The simulation -------------------------------------------------------------------------------------------


def simulate(kind: Kind, *, audits: int, labels: int, tweets: int, seed: int) -> dict[str, object]:
    """{"truth": {figure: value}, method: {figure: {"covered", "low", "high" (medians), "width" (median)}}}"""
    rng = np.random.default_rng(seed)
    corpus = coarse(make_corpus(kind, tweets=tweets, rng=rng))
    truth = corpus.truth()
    bounds: dict[str, list[Bounds]] = {name: [] for name in METHODS}
    for _ in range(audits):
        sample = audit(corpus, labels=labels, rng=rng)
        for name, method in METHODS.items():
            bounds[name].append(method(corpus, sample, rng))
    result: dict[str, object] = {"truth": truth}
    for name, found in bounds.items():
        result[name] = {figure: _held(figure, found, truth[figure]) for figure in found[0]}
    return result


def _held(figure: str, found: list[Bounds], truth: float) -> dict[str, float]:
    pairs = np.array([bounds[figure] for bounds in found if figure in bounds])
    low, high = pairs.T
    return {
        "covered": float(((low <= truth) & (truth <= high)).mean()),
        "below": float((high < truth).mean()),
        "above": float((low > truth).mean()),
        "low": float(np.median(low)),
        "high": float(np.median(high)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--audits", type=int, default=1_000, help="simulated for each corpus")
    parser.add_argument("--labels", type=int, default=1_000, help="of each audit")
    parser.add_argument("--tweets", type=int, default=20_000_000, help="in each corpus")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began = time.process_time()
    results = {}
    for kind in KINDS:
        results[kind.name] = simulate(
            kind, audits=options.audits, labels=options.labels, tweets=options.tweets, seed=options.seed
        )
        show(kind.name, results[kind.name])
    print(f"{options.audits:,} audits of {options.labels:,} labels each, {options.tweets:,} tweets;", end=" ")
    print(f"{time.process_time() - began:.0f} s of CPU")
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "corpora": results}, default=str))


def show(name: str, result: dict[str, object]) -> None:
    """Per method and figure: how often its interval holds the truth, and the median interval."""
    truth = result["truth"]
    assert isinstance(truth, dict)
    print(f"\n{name}")
    print(f"  {'':22}{'truth':>8}" + "".join(f"{method:>32}" for method in METHODS))
    for figure in (*FIGURES, *BEYOND):
        line = f"  {figure:22}{truth[figure]:8.2%}"
        for method in METHODS:
            found = result[method]
            assert isinstance(found, dict)
            line += f"{_words(found.get(figure)):>32}"
        print(line)


def _words(held: dict[str, float] | None) -> str:
    """96.4% (42.2% - 72.0%)"""
    return f"{held['covered']:.1%} ({held['low']:.2%} - {held['high']:.2%})" if held else ""


if __name__ == "__main__":
    main()
