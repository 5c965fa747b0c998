"""What a stratified sample with known labels says of a whole corpus: how many positives, precision, recall.

The corpus is cut into cells by score; each cell's size is known, and some of its tweets, a random choice, are judged.
Where positives are rare, most of them may lie in a cell that is far too large for the judged ones to show any. So the
cells are not estimated one by one: their shares follow the score, recalibrated by what was judged, and each may
deviate from it. The intervals are those of simulated draws from that posterior; benchmarks/audits.py measures how
often they hold the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS = 4_000
LEVEL = 0.95
# Where the score says what the labels cannot, the posterior allows for more errors of the score than most models have.
# Bounds around this part of the draws then hold the truth in about 95 of 100 audits (benchmarks/audits.py).
EXTRAPOLATED_LEVEL = 0.915
SMALLEST_SHARE = 1e-8

# The recalibration: log odds of a cell = PIVOT + shift + slope · (log odds by the score − PIVOT) + deviation.
# The priors are wide against what calibration usually gets wrong: a shift of one is a factor of 2.7 in the share.
PIVOT = -3.0
SHIFTS = np.linspace(-3.0, 3.0, 41)
SHIFT_SPREAD = 1.0
SLOPES = np.linspace(0.3, 1.9, 33)
SLOPE_SPREAD = 0.4
DEVIATIONS = np.array([0.1, 0.25, 0.5, 1.0, 2.0])  # scales of the cells' deviations, in log odds
DEVIATION_SPREAD = 0.8  # of the half-normal prior of that scale
TAIL = 4  # degrees of freedom of the deviations: one cell may be far off while the others are not

_STEP = 0.15
_LOG_ODDS = np.arange(-18.0, 9.0, _STEP)  # of a cell's share
_SHARES = 1 / (1 + np.exp(-_LOG_ODDS))


@dataclass(frozen=True)
class Cells:
    """Parts of a corpus; arrays of one length H. A whole corpus: every tweet is in exactly one cell."""

    size: Ints  # tweets in the cell
    expected: Floats  # mean probability that the model gives them, 0 to 1
    flagged: NDArray[np.bool_]  # at or above the threshold; a cell is wholly on one side
    labelled: (
        Floats  # judged tweets of the cell, a random choice of it; fractions where they are only expected
    )
    positive: Floats  # of these, the positives

    def __post_init__(self) -> None:
        lengths = {
            len(part) for part in (self.size, self.expected, self.flagged, self.labelled, self.positive)
        }
        if len(lengths) != 1:
            raise ValueError("All parts of Cells have one length.")
        if (self.labelled > self.size).any() or (self.positive > self.labelled).any():
            raise ValueError("A cell has no more positives than labels, and no more labels than tweets.")

    @property
    def total(self) -> int:
        return int(self.size.sum())

    def at(self, chosen: NDArray[np.bool_]) -> Cells:
        """Some of the cells; `chosen`: [H]."""
        return Cells(
            self.size[chosen],
            self.expected[chosen],
            self.flagged[chosen],
            self.labelled[chosen],
            self.positive[chosen],
        )


@dataclass(frozen=True)
class Interval:
    """An estimate (the median of the draws) and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True)
class Estimates:
    """Of the corpus. Counts are tweets; precision is None where nothing is flagged."""

    positives: Interval
    prevalence: Interval
    precision: Interval | None
    recall: Interval
    tp: Interval  # flagged positives
    fp: Interval
    fn: Interval  # missed
    tn: Interval

    def figure(self, name: str) -> Interval | None:
        """One of FIGURES."""
        found: Interval | None = getattr(self, name)
        return found


FIGURES = ("prevalence", "precision", "recall")


# The posterior --------------------------------------------------------------------------------------------


def draw_positives(cells: Cells, *, draws: int = DRAWS, seed: int = 1) -> Ints:
    """[draws, H]: how many positives each cell may hold, the judged ones included. About 30 ms for ten cells.

    1. For each cell, the likelihood of its share on a grid of log odds.
    2. For each recalibration (shift, slope, scale of the deviations) on a grid, the probability of what was judged,
       each cell's deviation integrated out: Student's t around the recalibrated score.
    3. Draw recalibrations by that, then each cell's share, then the positives among the tweets not judged.

    A hierarchical form of stratified estimation with the score as prior guess: Marchant & Rubinstein 2017
    (arXiv:1703.00617) have independent Beta cells; the recalibration is Platt's.
    """
    rng = np.random.default_rng(seed)
    likelihood = _likelihood(cells)
    place, scale = _draw_recalibrations(cells, likelihood, draws=draws, rng=rng)
    shares = _draw_shares(likelihood, place, scale, rng=rng)
    judged = np.rint(cells.positive).astype(np.int64)
    rest = np.maximum(cells.size - np.rint(cells.labelled).astype(np.int64), 0)
    return judged + rng.binomial(rest, shares)


def _likelihood(cells: Cells) -> Floats:
    """[H, grid]: the chance of the cell's labels for each share, 1 at the best."""
    positive, negative = cells.positive[:, None], (cells.labelled - cells.positive)[:, None]
    log = positive * np.log(_SHARES) + negative * np.log1p(-_SHARES)
    return np.asarray(np.exp(log - log.max(axis=1, keepdims=True)))


@lru_cache(maxsize=1)
def _deviations() -> Floats:
    """[scales, grid of centres, grid of shares]: the density of a cell's share around its recalibrated score."""
    away = (_LOG_ODDS[None, :] - _LOG_ODDS[:, None]) / DEVIATIONS[:, None, None]
    density = (1 + away**2 / TAIL) ** (-(TAIL + 1) / 2)
    return np.asarray(density / density.sum(axis=2, keepdims=True))


def _draw_recalibrations(
    cells: Cells, likelihood: Floats, *, draws: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """[draws, H] places of the centres in the grid, and [draws] places among DEVIATIONS."""
    score = logit(np.clip(cells.expected, SMALLEST_SHARE, 1 - SMALLEST_SHARE)) - PIVOT
    shift, slope = (grid.ravel() for grid in np.meshgrid(SHIFTS, SLOPES, indexing="ij"))
    centres = PIVOT + shift[:, None] + slope[:, None] * score[None, :]
    places = np.clip(np.rint((centres - _LOG_ODDS[0]) / _STEP), 0, len(_LOG_ODDS) - 1).astype(np.int64)
    marginal = np.log(np.maximum(np.einsum("scg,hg->shc", _deviations(), likelihood), 1e-300))
    log = np.stack([marginal[s][np.arange(len(score)), places].sum(axis=1) for s in range(len(DEVIATIONS))])
    log += -0.5 * (shift / SHIFT_SPREAD) ** 2 - 0.5 * ((slope - 1) / SLOPE_SPREAD) ** 2
    # The scales are not evenly spaced: each stands for the stretch around it.
    log += (-0.5 * (DEVIATIONS / DEVIATION_SPREAD) ** 2 + np.log(np.gradient(DEVIATIONS)))[:, None]
    weight = np.exp(log - log.max()).ravel()
    chosen = rng.choice(weight.size, draws, p=weight / weight.sum())
    return places[chosen % len(shift)], chosen // len(shift)


def _draw_shares(likelihood: Floats, places: Ints, scales: Ints, *, rng: np.random.Generator) -> Floats:
    """[draws, H] shares, each from its cell's posterior around the drawn centre."""
    shares = np.empty(places.shape)
    for h in range(places.shape[1]):
        key, inverse = np.unique(scales * len(_LOG_ODDS) + places[:, h], return_inverse=True)
        density = _deviations()[key // len(_LOG_ODDS), key % len(_LOG_ODDS)] * likelihood[h]
        cumulative = np.cumsum(density, axis=1)
        cumulative /= cumulative[:, -1:]
        found = (rng.random(len(inverse))[:, None] > cumulative[inverse]).sum(axis=1)
        at = _LOG_ODDS[np.minimum(found, len(_LOG_ODDS) - 1)] + _STEP * (rng.random(len(inverse)) - 0.5)
        shares[:, h] = 1 / (1 + np.exp(-at))
    return shares


# Figures --------------------------------------------------------------------------------------------------


def estimate(cells: Cells, *, draws: int = DRAWS, seed: int = 1) -> Estimates:
    """Prevalence, precision, recall and the confusion matrix of the corpus, with 95 % intervals."""
    return summarise(cells, draw_positives(cells, draws=draws, seed=seed))


def summarise(cells: Cells, positives: Ints) -> Estimates:
    """The figures of draws that are made already: `positives` as draw_positives() gives them."""
    flagged = int(cells.size[cells.flagged].sum())
    tp = positives[:, cells.flagged].sum(axis=1)
    return figures(tp, positives.sum(axis=1) - tp, flagged=flagged, total=cells.total)


def figures(tp: Ints, fn: Ints, *, flagged: Ints | int, total: Ints | int) -> Estimates:
    """From draws of the flagged and of the missed positives, each [draws]. `flagged` and `total` may be draws too."""
    positives = tp + fn
    return Estimates(
        positives=_interval(positives),
        prevalence=_interval(positives / np.maximum(total, 1)),
        precision=_interval(tp / np.maximum(flagged, 1), LEVEL) if np.any(flagged) else None,
        recall=_interval(tp / np.maximum(positives, 1)),
        tp=_interval(tp, LEVEL),
        fp=_interval(flagged - tp, LEVEL),
        fn=_interval(fn),
        tn=_interval(total - flagged - fn),
    )


def estimate_part(
    cells: Cells, positives: Ints, *, positive: Floats, negative: Floats, seed: int = 2
) -> Estimates:
    """The same figures for a part of the corpus of which only the judged tweets are known: say, what no rule matches.

    `positive` and `negative`, [H]: how many of the cell's judged positives and negatives belong to it. The share of
    either in a cell has a Beta posterior (Jeffreys); a cell without a judged positive says nothing of that share.
    """
    rng = np.random.default_rng(seed)
    found = []
    for own, judged, total in (
        (positive, cells.positive, positives),
        (negative, cells.labelled - cells.positive, cells.size - positives),
    ):
        share = rng.beta(0.5 + own, 0.5 + judged - own, total.shape)
        found.append(np.clip(np.rint(total * share), own, total).astype(np.int64))
    within, beside = found
    tp = within[:, cells.flagged].sum(axis=1)
    return figures(
        tp,
        within.sum(axis=1) - tp,
        flagged=tp + beside[:, cells.flagged].sum(axis=1),
        total=(within + beside).sum(axis=1),
    )


@dataclass(frozen=True)
class FromFlagged:
    """What the flagged tweets say of the whole corpus, by the recall on held-out positives. Counts are tweets."""

    precision: Interval
    tp: Interval  # flagged positives
    recall: Interval  # on the held-out positives
    positives: Interval  # in the corpus, if its positives are flagged as often as the held-out ones
    prevalence: Interval


def estimate_from_flagged(
    cells: Cells, *, held_out: int, found: int, draws: int = DRAWS, seed: int = 1
) -> FromFlagged:
    """Positives = flagged × precision / recall: precision from judged flagged tweets, recall from `found` of `held_out`
    positives of another sample that the same threshold flags.

    Of `cells` only the sizes of those below the threshold count. Holds only where the positives of the corpus are flagged
    as often as the held-out ones; where they score lower it is too low. The intervals have the uncertainty of both
    shares: the flagged positives as draw_positives() has them, the recall from its Beta posterior (Jeffreys), and how
    many positives of a finite corpus go with them (negative binomial). ValueError without flagged or held-out tweets.
    """
    if held_out < 1 or not 0 <= found <= held_out or not cells.flagged.any():
        raise ValueError("It takes flagged tweets, and held-out positives of which some number is found.")
    rng = np.random.default_rng([seed, 1])
    own = cells.at(cells.flagged)
    tp = draw_positives(own, draws=draws, seed=seed).sum(axis=1)
    recall = rng.beta(found + 0.5, held_out - found + 0.5, draws)
    positives = np.minimum(tp + rng.negative_binomial(np.maximum(tp, 0.5), recall), cells.total)
    return FromFlagged(
        precision=_interval(tp / max(own.total, 1), LEVEL),
        tp=_interval(tp, LEVEL),
        recall=_interval(recall, LEVEL),
        positives=_interval(positives, LEVEL),
        prevalence=_interval(positives / max(cells.total, 1), LEVEL),
    )


def per_cell(positives: Ints) -> list[Interval]:
    """How many positives each cell holds, from draw_positives()."""
    return [_interval(own) for own in positives.T]


def _interval(draws: NDArray[Any], level: float = EXTRAPOLATED_LEVEL) -> Interval:
    low, middle, high = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return Interval(float(middle), float(low), float(high))


# Planning -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bins:
    """A histogram of scores, from the lowest bin to the highest; arrays of one length."""

    size: Ints  # tweets
    expected: Floats  # mean probability
    flagged: NDArray[np.bool_]


STRATA_BELOW, STRATA_ABOVE = 6, 3
FLAGGED_PART = 0.3  # of the labels, for precision; the others look for what was missed


def cut(bins: Bins) -> list[slice]:
    """Runs of neighbouring bins as strata, from the lowest: each side of the threshold in about equal parts of
    size × standard deviation (Dalenius & Hodges 1959), so that every stratum deserves about as many labels."""
    first = int(np.argmax(bins.flagged)) if bins.flagged.any() else len(bins.size)
    return [
        *_cut_side(bins, 0, first, STRATA_BELOW),
        *_cut_side(bins, first, len(bins.size), STRATA_ABOVE),
    ]


def _cut_side(bins: Bins, start: int, stop: int, parts: int) -> list[slice]:
    """From the top, where the bins are fine against the differences in them."""
    spread = _spread(bins.size, bins.expected)
    found: list[slice] = []
    end = stop
    left = spread[start:stop].sum()
    for part in range(parts, 0, -1):
        if end <= start:
            break
        begin, got = end, 0.0
        while begin > start and (part == 1 or got < left / part):
            begin -= 1
            got += spread[begin]
        left -= got
        if bins.size[begin:end].sum():
            found.append(slice(begin, end))
        end = begin
    return found[::-1]


def merge(bins: Bins, strata: Sequence[slice]) -> Cells:
    """The strata as cells, nothing labelled yet."""
    size = np.array([bins.size[s].sum() for s in strata], dtype=np.int64)
    weight = np.maximum(bins.size, 1e-9)  # an empty stratum has the mean of its bins
    expected = np.array([np.average(bins.expected[s], weights=weight[s]) for s in strata])
    flagged = np.array([bins.flagged[s.start] for s in strata], dtype=bool)
    return Cells(size, expected, flagged, np.zeros(len(size)), np.zeros(len(size)))


def _spread(size: Ints, expected: Floats) -> Floats:
    return np.asarray(size * np.sqrt(np.clip(expected * (1 - expected), SMALLEST_SHARE, None)))


def allocate(cells: Cells, labels: int, *, only_flagged: bool = False) -> Ints:
    """[H] tweets to judge in each cell: by size × standard deviation (Neyman 1934), with FLAGGED_PART for the
    flagged ones, never more than there are. The sum is `labels`, or all tweets where these are fewer.
    `only_flagged`: all labels go to the flagged ones."""
    if only_flagged:
        taken = np.zeros(len(cells.size), dtype=np.int64)
        if cells.flagged.any():
            taken[cells.flagged] = allocate(cells.at(cells.flagged), labels)
        return taken
    weight = _spread(cells.size, cells.expected)
    weight = np.sqrt(weight * weight.mean())  # between Neyman and equal: the scores are only a guess
    for side, part in ((cells.flagged, FLAGGED_PART), (~cells.flagged, 1 - FLAGGED_PART)):
        if side.any():
            weight[side] *= part / weight[side].sum()
    taken = np.zeros(len(weight), dtype=np.int64)
    wanted = min(labels, cells.total)
    while (missing := wanted - int(taken.sum())) > 0:
        room = np.where(taken < cells.size, weight, 0.0)
        more = np.floor(missing * room / room.sum()).astype(np.int64)
        if not more.any():
            more[np.argmax(room)] = 1
        taken = np.minimum(taken + more, cells.size)
    return taken


def expect(cells: Cells, labels: int, *, shares: Floats | None = None) -> Cells:
    """The cells as they are likely to be after `labels` more: `shares` positives in each, by default as scored."""
    likely = cells.expected if shares is None else shares
    taken = np.minimum(allocate(cells, labels), cells.size - cells.labelled)
    return replace(cells, labelled=cells.labelled + taken, positive=cells.positive + taken * likely)


PLANNING_DRAWS = 1_000
MOST_LABELS = 20_000
GROWTH = 1.4  # from one number of labels that is tried to the next


def labels_to_halve(cells: Cells, *, seed: int = 1) -> dict[str, int | None]:
    """{figure: how many labels more would halve its interval, about}. None: more than MOST_LABELS, or no interval.

    Tries numbers of labels, each with the positives that they are likely to find. Some 100 ms.
    """
    draws = draw_positives(cells, draws=PLANNING_DRAWS, seed=seed)
    shares = np.clip(draws.mean(axis=0) / np.maximum(cells.size, 1), 0.0, 1.0)
    now = estimate(cells, draws=PLANNING_DRAWS, seed=seed)
    found: dict[str, int | None] = dict.fromkeys(FIGURES)
    more = max(int(cells.labelled.sum() * 0.5), 50)
    while more <= MOST_LABELS and None in found.values():
        then = estimate(expect(cells, more, shares=shares), draws=PLANNING_DRAWS, seed=seed)
        for name in FIGURES:
            before, after = now.figure(name), then.figure(name)
            if found[name] is None and before and after and after.width <= before.width / 2:
                found[name] = more
        more = int(more * GROWTH)
    return found
