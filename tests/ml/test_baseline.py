"""The yardstick."""

from __future__ import annotations

import numpy as np

from ml.baseline import Baseline


def test_it_learns_from_judged_cells_alone():
    texts = ["took pills", "need pills", "nice garden", "green garden"] * 5
    targets = np.array([[1, 1], [1, 0], [0, 0], [0, 0]] * 5, np.float32)
    weights = np.array([[1, 0], [1, 0], [1, 0], [1, 0]] * 5, np.float32)
    p = Baseline(texts, targets, weights).predict(["pills", "garden"])
    assert p[0, 0] > 0.5 > p[1, 0]
    assert np.isnan(p[:, 1]).all()


def test_texts_without_words_give_no_opinion():
    ones = np.ones((2, 1), np.float32)
    assert np.isnan(Baseline(["!", "?"], np.array([[1], [0]], np.float32), ones).predict(["a"])).all()
    assert Baseline(["a b", "c d"], np.array([[1], [0]], np.float32), ones).predict([]).shape == (0, 1)
