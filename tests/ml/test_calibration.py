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


def test_the_estimated_prior_is_the_mean_of_the_moved_probabilities():
    logits, _ = drawn(0.02, 20_000)
    found = calibration.corpus_prior(expit(logits).astype(np.float64), prior=0.5)
    moved = expit(logits + calibration.prior_shift(0.5, found))
    assert moved.mean() == pytest.approx(found, rel=1e-5)


def test_a_known_share_is_met_even_where_the_scale_is_wrong():
    logits, _ = drawn(0.02, 20_000)
    for scale in (1.0, 0.6):
        shift = calibration.shift_to(scale * logits.astype(np.float64), 0.02)
        assert shift is not None
        assert expit(scale * logits + shift).mean() == pytest.approx(0.02, rel=1e-4)
        if scale == 1.0:
            assert shift == pytest.approx(calibration.prior_shift(0.5, 0.02), abs=0.15)
    assert calibration.shift_to(logits[:100].astype(np.float64), 0.02) is None


def test_counts_stand_for_repeated_probabilities():
    p, counts = np.array([0.01, 0.2, 0.9]), np.array([900, 50, 10])
    assert calibration.corpus_prior(p, prior=0.5, counts=counts) == pytest.approx(
        calibration.corpus_prior(np.repeat(p, counts), prior=0.5)
    )


def test_the_interval_of_the_prior_holds_the_truth_and_narrows_with_more_judged_texts():
    widths = []
    sample, _ = drawn(0.02, 20_000, seed=1)
    for count in (500, 50_000):
        log_odds, truth = drawn(0.5, count, seed=2)
        interval = calibration.prior_interval(
            log_odds.astype(np.float64), truth, sample.astype(np.float64), seed=1
        )
        assert interval is not None
        assert interval[0] < 0.02 < interval[1]
        widths.append(interval[1] - interval[0])
    assert widths[1] < widths[0] / 2


def test_no_interval_without_both_classes_or_a_sample():
    log_odds, truth = drawn(0.5, 100)
    values = log_odds.astype(np.float64)
    assert calibration.prior_interval(values, np.zeros(100, np.float32), values, seed=1) is None
    assert calibration.prior_interval(values, truth, values[:0], seed=1) is None


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


def three_tags(count: int = 4_000):
    """A frequent tag, a rarer one, and one that nobody has; the last fifth of the tweets was not judged."""
    drawings = [drawn(prior, count, seed) for seed, prior in enumerate((0.3, 0.05, 0.0))]
    p = np.stack([expit(logits).astype(np.float64) for logits, _ in drawings], axis=1)
    truth = np.stack([truth for _, truth in drawings], axis=1)
    truth[-count // 5 :] = np.nan
    return p, truth


def test_each_tag_gets_the_threshold_of_its_goal_and_a_tag_nobody_has_gets_none():
    p, truth = three_tags()
    judged = ~np.isnan(truth[:, 0])
    best = calibration.tag_thresholds(p, truth, calibration.Goal())
    assert best == [*(calibration.best_threshold(p[judged, k], truth[judged, k]) for k in (0, 1)), None]
    precise = calibration.tag_thresholds(p, truth, calibration.Goal("precision", 0.6))
    assert precise[2] is None
    for k in (0, 1):
        assert precise[k] is not None
        chosen = p[judged, k] >= precise[k]
        assert truth[judged, k][chosen].mean() == pytest.approx(0.6, abs=0.06)
    lower = calibration.tag_thresholds(p, truth, calibration.Goal("precision", 0.4))
    assert lower[0] < precise[0]  # type: ignore[operator]


def test_a_precision_out_of_reach_gives_no_threshold():
    rng = np.random.default_rng(0)
    truth = (rng.random((500, 1)) < 0.1).astype(np.float32)
    assert calibration.tag_thresholds(rng.random((500, 1)), truth, calibration.Goal("precision", 0.9)) == [
        None
    ]


@pytest.mark.slow
def test_the_overall_goal_has_the_best_mean_of_micro_and_macro():
    p, truth = three_tags()
    judged = ~np.isnan(truth[:, 0])

    def mean(thresholds):
        predicted = p[judged, :2] >= np.array(thresholds[:2], float)
        hits = (predicted & (truth[judged, :2] > 0)).sum(axis=0)
        sizes = predicted.sum(axis=0) + truth[judged, :2].sum(axis=0)
        return hits.sum() / sizes.sum() + (hits / sizes).mean()

    overall = calibration.tag_thresholds(p, truth, calibration.Goal("overall"))
    assert overall[2] is None
    best = max(
        mean(pair) for pair in np.stack(np.meshgrid(*[np.linspace(0.1, 0.9, 33)] * 2), -1).reshape(-1, 2)
    )
    assert mean(overall) == pytest.approx(best, abs=0.01)
    assert mean(overall) >= mean(calibration.tag_thresholds(p, truth, calibration.Goal())) - 0.002


@pytest.mark.parametrize(
    ("name", "precision", "message"), [("recall", 0.8, "f1, overall"), ("f1", 1.0, "between")]
)
def test_an_unknown_goal_is_refused(name: str, precision: float, message: str):
    with pytest.raises(ValueError, match=message):
        calibration.Goal(name, precision)


def test_intervals_cover_what_a_threshold_reaches_elsewhere():
    """95 % intervals from 200 samples of 400 tweets; the threshold does not depend on the samples."""
    for goal, true_figure in ((calibration.Goal(), "f1"), (calibration.Goal("precision"), "precision")):
        everything, all_truth = drawn(0.2, 200_000, seed=99)
        predicted = expit(everything) >= 0.6
        right = (predicted & (all_truth > 0)).sum()
        size = (predicted.sum() + all_truth.sum()) / 2 if true_figure == "f1" else predicted.sum()
        covered = 0
        for seed in range(200):
            logits, truth = drawn(0.2, 400, seed)
            found = calibration.reached(expit(logits).astype(np.float64), truth, 0.6, goal)
            assert found is not None
            covered += found["low"] <= right / size <= found["high"]
        assert 180 <= covered <= 199


def test_nothing_is_said_of_what_was_not_judged_or_has_no_threshold():
    p, truth = np.full(10, 0.5), np.full(10, np.nan, np.float32)
    assert calibration.reached(p, truth, 0.5, calibration.Goal()) is None
    assert calibration.reached(p, np.ones(10, np.float32), None, calibration.Goal()) is None
    assert calibration.reached(p, np.ones(10, np.float32), 0.9, calibration.Goal("precision")) is None
