"""Calibration, the prior of the corpus, thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from ml import calibration


def drawn(prior: float, count: int, seed: int = 0):
    """Logits of a perfectly calibrated model at prior .5, and the truth."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(count) < prior).astype(np.float32)
    return rng.normal(np.where(truth > 0, 1.5, -1.5), np.sqrt(3), count).astype(np.float32), truth


def test_platt_scaling_finds_the_scale_of_overconfident_logits():
    logits, truth = drawn(0.5, 20_000)
    scale = calibration.platt(logits * 3 + 1, truth)
    assert scale.slope == pytest.approx(1 / 3, abs=0.03)
    assert scale.intercept == pytest.approx(-1 / 3, abs=0.05)


def test_too_few_positives_leave_the_logits_as_they_are():
    assert calibration.platt(np.array([1, 2, 3], np.float32), np.array([1, 0, 0], np.float32)) == (
        calibration.Scale(1.0, 0.0)
    )


def test_separable_truth_does_not_run_away():
    logits = np.linspace(-2, 2, 100).astype(np.float32)
    scale = calibration.platt(logits, (logits > 0).astype(np.float32))
    assert 0 < scale.slope <= 20


@pytest.mark.parametrize("prior", [0.3, 0.05, 0.01])
def test_the_prior_of_an_unlabelled_sample_is_found(prior: float):
    logits, _ = drawn(prior, 40_000)
    found = calibration.corpus_prior(expit(logits).astype(np.float64), prior=0.5)
    assert found == pytest.approx(prior, rel=0.25)


def test_a_sample_without_any_sign_of_da_gives_a_small_prior_and_not_zero():
    assert 0 < calibration.corpus_prior(np.full(1000, 1e-6), prior=0.3) < 1e-4


def test_moved_probabilities_hold_in_the_corpus():
    logits, truth = drawn(0.02, 100_000)
    scale = calibration.Scale(1.0, 0.0).shifted(calibration.prior_shift(0.5, 0.02))
    p = scale(logits)
    likely = (p > 0.1) & (p < 0.3)
    assert truth[likely].mean() == pytest.approx(p[likely].mean(), abs=0.03)
    assert p.mean() == pytest.approx(truth.mean(), rel=0.1)
    assert logit(0.5) + calibration.prior_shift(0.5, 0.02) == pytest.approx(logit(0.02))


def test_with_many_positives_the_threshold_has_the_best_f1():
    logits, truth = drawn(0.2, 30_000)
    p = expit(logits).astype(np.float64)

    def f1(threshold):
        chosen = p >= threshold
        return 2 * (chosen & (truth > 0)).sum() / (chosen.sum() + truth.sum())

    best = calibration.best_threshold(p, truth)
    assert best is not None
    assert f1(best) == pytest.approx(
        max(f1(value) for value in np.quantile(p, np.linspace(0, 1, 300))), abs=3e-3
    )


def test_with_few_positives_one_lucky_tweet_does_not_drag_the_threshold_down():
    p = np.r_[np.full(8, 0.9), np.full(3, 0.02), 0.019, np.full(188, 0.01)]
    truth = np.r_[np.ones(8), np.zeros(3), 1, np.zeros(188)].astype(np.float32)
    assert calibration.best_threshold(p, truth) == pytest.approx((0.9 + 0.02) / 2)


def test_the_threshold_does_not_depend_on_the_scale_of_the_scores():
    logits, truth = drawn(0.1, 300)
    as_they_are, moved = (
        calibration.best_threshold(expit(logits + shift).astype(np.float64), truth) for shift in (0, -3)
    )
    assert as_they_are is not None
    assert moved is not None
    assert ((expit(logits) >= as_they_are) == (expit(logits - 3) >= moved)).all()


def test_equal_scores_stay_on_one_side_of_the_threshold():
    p = np.array([0.9] * 6 + [0.2] * 4)
    truth = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], np.float32)
    assert calibration.best_threshold(p, truth) == pytest.approx(0.55)


@pytest.mark.parametrize("positives", [0, 4, 20])
def test_no_threshold_without_both_enough_positives_and_a_negative(positives: int):
    truth = np.r_[np.ones(positives), np.zeros(20 - positives)].astype(np.float32)
    assert calibration.best_threshold(np.linspace(1, 0, 20), truth) is None
