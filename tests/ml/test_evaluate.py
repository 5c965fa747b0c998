"""Figures on a sample."""

from __future__ import annotations

import numpy as np
import pytest

from ml import evaluate

NAN = float("nan")
TRUTH = np.array([
    # DA, a, b
    [1, 1, 0],
    [1, 0, 1],
    [1, 1, 1],
    [0, 0, 0],
    [0, NAN, NAN],
    [NAN, 0, 0],
])  # fmt: skip
P = np.array([
    [0.9, 0.8, 0.1],
    [0.8, 0.7, 0.9],
    [0.2, 0.9, 0.3],
    [0.6, 0.1, 0.2],
    [0.1, 0.9, 0.9],
    [0.9, 0.2, 0.8],
])  # fmt: skip


@pytest.fixture
def figures():
    return evaluate.model_figures(["a", "b"], TRUTH, P, [0.5, 0.5, 0.5])


def test_the_verdict_is_counted_on_the_tweets_that_have_one(figures):
    verdict = figures["verdict"]
    assert [verdict[key] for key in ("n", "positives", "tp", "fp", "fn", "tn")] == [5, 3, 2, 1, 1, 1]
    assert verdict["precision"] == verdict["recall"] == verdict["f1"] == pytest.approx(2 / 3)
    assert verdict["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)


def test_tags_are_counted_on_the_tweets_judged_for_tags(figures):
    assert [figures["tags"]["a"][key] for key in ("n", "tp", "fp", "fn", "tn")] == [5, 2, 1, 0, 2]
    assert [figures["tags"]["b"][key] for key in ("n", "tp", "fp", "fn", "tn")] == [5, 1, 1, 1, 2]
    assert figures["micro"] == {"precision": 3 / 5, "recall": 3 / 4, "f1": 6 / 9, "n": 5}
    assert figures["macro"]["recall"] == pytest.approx((1 + 0.5) / 2)


def test_tag_against_tag_counts_every_pair_and_none(figures):
    assert figures["tag_against_tag"] == [[2, 0, 0], [2, 1, 0], [0, 1, 1]]


def test_undefined_figures_are_none():
    empty = evaluate.model_figures(["a"], np.zeros((0, 2)), np.zeros((0, 2)), [0.5, None])
    assert empty["verdict"] is None
    assert empty["tags"]["a"]["precision"] is empty["tags"]["a"]["average_precision"] is None
    assert empty["micro"] == {"precision": None, "recall": None, "f1": None, "n": 0}
    assert empty["tag_against_tag"] == [[0, 0], [0, 0]]
    negative = evaluate.binary(np.zeros(4), np.full(4, 0.1), 0.5, np.full(4, 0.1))
    assert negative["precision"] is negative["recall"] is negative["f1"] is None
    assert negative["curve"]["recall"] == []


def test_without_a_threshold_nothing_is_predicted():
    figures = evaluate.binary(np.array([1.0, 0.0]), np.array([0.9, 0.1]), None, np.array([0.9, 0.1]))
    assert (figures["tp"], figures["fp"], figures["fn"], figures["tn"]) == (0, 0, 1, 1)
    assert figures["precision"] is None
    assert figures["recall"] == figures["f1"] == 0


def test_the_curve_is_short_and_monotone_in_recall():
    rng = np.random.default_rng(0)
    truth = (rng.random(5000) < 0.1).astype(float)
    p = np.clip(truth * 0.3 + rng.random(5000) * 0.7, 0, 1)
    curve = evaluate.binary(truth, p, 0.5, p)["curve"]
    assert 50 <= len(curve["recall"]) == len(curve["precision"]) == len(curve["threshold"]) <= 100
    assert sorted(curve["recall"], reverse=True) == curve["recall"]
    assert sorted(curve["threshold"]) == curve["threshold"]
    assert curve["recall"][0] == 1
    index = len(curve["recall"]) // 2
    chosen = p >= curve["threshold"][index] * (1 - 1e-5)
    assert (truth[chosen].sum() / truth.sum()) == pytest.approx(curve["recall"][index], abs=0.01)


def test_reliability_of_a_calibrated_and_of_an_overconfident_model():
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    truth = (rng.random(20_000) < p).astype(float)
    good = evaluate.binary(truth, p, 0.5, p)["reliability"]
    bad = evaluate.binary(truth, p, 0.5, (p > 0.5) * 0.98 + 0.01)["reliability"]
    assert good["ece"] < 0.02 < bad["ece"]
    assert good["brier"] < bad["brier"]
    assert sum(part["n"] for part in good["bins"]) == 20_000
    assert evaluate.binary(truth, p, 0.5, np.ones(20_000))["reliability"]["bins"][-1]["n"] == 20_000


def test_a_model_without_an_opinion_is_not_judged():
    figures = evaluate.binary(np.array([1.0, 0.0]), np.array([NAN, NAN]), None, np.array([NAN, NAN]))
    assert figures["n"] == 0


def test_of_classes_the_most_probable_is_predicted():
    truth = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [np.nan] * 3], np.float32)
    p = np.array([[0.6, 0.5, 0], [0.1, 0.2, np.nan], [0.1, 0.2, 0.1], [1, 0, 0]], np.float32)
    figures = evaluate.class_figures(["a", "b", "c"], truth, p)
    assert figures is not None
    assert figures["n"] == 3
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert figures["classes"]["a"] == {"n": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert figures["classes"]["c"]["f1"] is None
    assert figures["macro_f1"] == pytest.approx(2 / 3)
    assert evaluate.class_figures(["a", "b", "c"], truth[3:], p[3:]) is None
