"""What a training learns from, where it differs from what was judged."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from ml.config import Config

if TYPE_CHECKING:
    from ml.fitting import Examples

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def targets() -> ModuleType:
    from ml import targets

    return targets


def examples() -> Examples:
    """Two judged DA, one judged NDA, three drawn; a second column of a tag."""
    from ml import text
    from ml.fitting import Examples

    wanted = np.array([[1, 0], [1, 1], [0, 0], [0, 0], [0, 0], [0, 0]], np.float32)
    weights = np.array([[3, 1], [1, 1], [3, 1], [1, 0.05], [1, 0.05], [1, 0.05]], np.float32)
    return Examples(text.Bags.of([f"text {n}" for n in range(6)]), wanted, weights)


DRAWN = np.array([False, False, False, True, True, True])


def test_what_hidden_positives_cost_as_negatives_is_taken_off(targets):
    import tensorflow as tf

    plain, share = examples(), 0.02
    changed = targets.with_hidden_positives(plain, drawn=DRAWN, share=share)
    off = share / (1 - share) * 3 / 4  # three drawn ones, positives that weigh four
    logits = np.linspace(-3, 4, 6).astype(np.float32)

    def loss(of: Examples) -> np.ndarray:
        cells = tf.nn.sigmoid_cross_entropy_with_logits(labels=of.targets[:, 0], logits=logits)
        return np.asarray(cells) * of.weights[:, 0]

    as_negative = np.logaddexp(0, logits) * plain.weights[:, 0]
    expected = loss(plain) - np.where(plain.targets[:, 0] == 1, off * as_negative, 0)
    assert loss(changed) == pytest.approx(expected, rel=1e-5)
    assert (changed.targets[:, 1] == plain.targets[:, 1]).all()
    assert (changed.weights[:, 1] == plain.weights[:, 1]).all()


def test_no_more_is_taken_off_than_was_measured(targets):
    changed = targets.with_hidden_positives(examples(), drawn=DRAWN, share=0.9)
    assert changed.targets[0, 0] == pytest.approx(1 / (1 - targets.MOST_TAKEN_OFF))
    assert changed.weights[0, 0] == pytest.approx(3 * (1 - targets.MOST_TAKEN_OFF))


@pytest.mark.parametrize(("drawn", "share"), [(DRAWN, 0.0), (np.zeros(6, bool), 0.01)])
def test_nothing_changes_where_nothing_is_hidden_or_nothing_was_drawn(targets, drawn, share):
    plain = examples()
    changed = targets.with_hidden_positives(plain, drawn=drawn, share=share)
    assert (changed.targets == plain.targets).all()
    assert (changed.weights == plain.weights).all()
    assert (plain.targets[:, 0] <= 1).all()  # and what was given stays as it is


def test_more_hidden_positives_than_were_measured_are_refused(targets):
    with pytest.raises(ValueError, match=r"from 0 to 0\.02"):
        targets.check(pd.DataFrame(), [], Config(hidden_positives=0.5))
