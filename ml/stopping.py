"""When a search by review may stop: the recall that is reached, by a bound that holds however often one looks at it.

After some texts were reviewed, in any order, a random sample of the others is labelled, one after the other. How many
positives may the others hold? Callaghan and Müller-Hansen (2020, Systematic Reviews 9:273) test that with the
hypergeometric distribution; their test holds at one look that was planned. People look after every label and stop when
they like what they see, which such a test does not survive (Lewis, Yang and Frieder 2021, arXiv:2108.12746). So the
test here is a martingale: a mixture of likelihood ratios of sampling without replacement, which exceeds 1 / error in a
share of at most `error` of all searches at any time whatever (Ville 1939; Waudby-Smith and Ramdas 2020,
arXiv:2006.04347). The price is about a fifth more labels where none is positive.
"""

from __future__ import annotations

import math

# For the hypothesis that K positives are left, the alternatives are these shares of K, with these weights, which sum to 1.
# None left is by far the most likely alternative when a search ends.
ALTERNATIVES = ((0.0, 0.4), (0.125, 0.1), (0.25, 0.1), (0.375, 0.1), (0.5, 0.1), (0.625, 0.1), (0.75, 0.1))
_ROUNDED = 16  # values of K within which the rounding of an alternative may turn the order of evidence around


def most_left(population: int, *, sampled: int, positives: int, error: float = 0.05) -> int:
    """At most so many of the `population` texts are positive, those of the sample counted, with confidence 1 − error.

    `sampled` of them were drawn at random, without replacement, and labelled; `positives` of these are positive. Valid
    at all sample sizes at once: the limits of all looks together miss the truth with a probability of at most `error`.
    """
    if not 0 <= positives <= sampled <= population:
        raise ValueError(f"{positives} positives among {sampled} sampled of {population}: not a sample.")
    most = population - sampled + positives  # all that is not labelled

    def is_possible(left: int) -> bool:
        return _evidence(left, population, sampled, positives) < -math.log(error)

    low, high = positives, most  # low is possible, high perhaps
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_possible(middle) else (low, middle - 1)
    return max(left for left in range(low, min(low + _ROUNDED, most) + 1) if left == low or is_possible(left))


def _evidence(left: int, population: int, sampled: int, positives: int) -> float:
    """Logarithm of the martingale against the hypothesis that `left` of the population are positive."""
    here = _log_likelihood(left, population, sampled, positives)
    ratios = [
        math.log(weight) + _log_likelihood(int(share * left), population, sampled, positives) - here
        for share, weight in ALTERNATIVES
        if int(share * left) >= positives
    ]
    if not ratios:
        return -math.inf
    top = max(ratios)
    return top + math.log(sum(math.exp(ratio - top) for ratio in ratios))


def _log_likelihood(left: int, population: int, sampled: int, positives: int) -> float:
    """Of the labels in the order in which they came, up to a term that does not depend on `left`."""
    others, negatives = population - left, sampled - positives
    return (
        math.lgamma(left + 1) - math.lgamma(left - positives + 1)
        + math.lgamma(others + 1) - math.lgamma(others - negatives + 1)
    )  # fmt: skip


def recall_reached(
    *,
    found: int,
    found_before: int,
    population: int,
    sampled: int,
    positives: int,
    error: float = 0.05,
) -> float | None:
    """At least this share of all positives is found, with confidence 1 − error. None: nothing to find is known of.

    `found_before`: positives that were known when the sample of the other `population` texts was drawn; `found`: all
    known at this moment, wherever they come from: before, out of the sample, or by reviewing further.
    """
    total = found_before + most_left(population, sampled=sampled, positives=positives, error=error)
    return min(1.0, found / total) if total and found else None


def labels_needed(
    target: float,
    *,
    found: int,
    found_before: int,
    population: int,
    sampled: int,
    positives: int,
    rate: float = 0.0,
    error: float = 0.05,
) -> int | None:
    """How many labels more of the random sample certify a recall of `target`, if a share `rate` of them is positive.

    0 when it is certified. None when not even all that are left would.
    """

    def is_enough(more: int) -> bool:
        new = int(rate * more)
        reached = recall_reached(
            found=found + new, found_before=found_before, population=population, sampled=sampled + more,
            positives=positives + new, error=error,
        )  # fmt: skip
        return reached is not None and reached >= target

    low, high = 0, population - sampled
    if not is_enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return low
