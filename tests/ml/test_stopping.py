"""The bound on what a search has missed: exact at its ends, valid at every look."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ml import stopping


def test_nothing_sampled_says_nothing_and_everything_sampled_says_all():
    assert stopping.most_left(1_000, sampled=0, positives=0) == 1_000
    assert stopping.most_left(1_000, sampled=1_000, positives=7) == 7


def test_without_positives_it_is_the_rule_of_three_and_a_fifth():
    """3 / n is the bound at a single look that was planned."""
    left = stopping.most_left(1_000_000, sampled=10_000, positives=0)
    assert 300 < left < 1.35 * 300


def test_more_labels_allow_fewer_and_more_positives_allow_more():
    by_size = [stopping.most_left(50_000, sampled=n, positives=2) for n in (100, 400, 1_600, 6_400, 25_600)]
    assert by_size == sorted(by_size, reverse=True)
    by_positives = [stopping.most_left(50_000, sampled=2_000, positives=k) for k in range(8)]
    assert by_positives == sorted(by_positives)


@pytest.mark.parametrize(("population", "left"), [(60, 3), (60, 20), (40, 1), (25, 25)])
def test_its_martingale_is_fair_under_the_hypothesis(population, left):
    """The mean of exp(evidence) over all orders of draws stays at 1 or below, after each draw."""
    sampled = 4
    mean = 0.0
    for labels in itertools.product((0, 1), repeat=sampled):
        probability, positives = 1.0, 0
        for drawn, label in enumerate(labels):
            share = max(0, left - positives) / (population - drawn)
            probability *= share if label else 1 - share
            positives += label
        if probability:
            mean += probability * np.exp(stopping._evidence(left, population, sampled, positives))
    assert mean <= 1 + 1e-9


def test_looking_after_every_label_errs_in_at_most_one_of_twenty_searches():
    """2,000 tweets with 30 positives left; an error is a bound below 30 at any look."""
    rng = np.random.default_rng(5)
    looks = range(50, 1_500, 50)
    first_error = {}  # positives seen: the first look at which the bound is too low
    for positives in range(30):
        bad = [
            n
            for n in looks
            if n >= positives and stopping.most_left(2_000, sampled=n, positives=positives) < 30
        ]
        first_error[positives] = min(bad, default=10_000)
    errors = 0
    for _ in range(1_000):
        places = np.sort(rng.choice(2_000, 30, replace=False))
        seen = np.searchsorted(places, looks)
        errors += any(n >= first_error.get(int(k), 10_000) for n, k in zip(looks, seen, strict=True))
    assert 0 < errors <= 65  # 5 % and two standard deviations


def test_recall_counts_what_was_found_since():
    kept = {"found_before": 90, "population": 10_000, "sampled": 3_000, "positives": 0}
    before = stopping.recall_reached(found=90, **kept)
    after = stopping.recall_reached(found=95, **kept)
    assert before is not None
    assert after is not None
    assert 0.85 < before < after <= 1
    assert stopping.recall_reached(found=0, found_before=0, population=10, sampled=10, positives=0) is None


def test_the_labels_needed_are_just_enough():
    kept = {"found": 190, "found_before": 190, "population": 100_000}
    more = stopping.labels_needed(0.9, sampled=500, positives=0, **kept)
    assert more is not None
    reached = [stopping.recall_reached(sampled=500 + n, positives=0, **kept) for n in (more - 1, more)]
    assert reached[0] is not None
    assert reached[1] is not None
    assert reached[0] < 0.9 <= reached[1]
    assert stopping.labels_needed(0.9, sampled=500 + more, positives=0, **kept) == 0


def test_a_rate_that_means_too_much_is_missed_cannot_certify_early():
    kept = {"found": 100, "found_before": 98, "population": 100_000, "sampled": 500, "positives": 2}
    assert (stopping.labels_needed(0.9, rate=2 / 500, **kept) or 10**9) > 40_000
    assert (stopping.labels_needed(0.9, rate=0.0, **kept) or 10**9) < 80_000


def test_what_cannot_be_a_sample_is_refused():
    with pytest.raises(ValueError, match="3 positives among 2 sampled of 10"):
        stopping.most_left(10, sampled=2, positives=3)
