"""The loss and the choice of batches."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


def test_what_was_not_judged_does_not_count():
    from ml.fitting import masked_loss

    logits = np.array([[0.0, 5.0], [0.0, -5.0]], np.float32)
    targets = np.array([[1, 0], [0, 1]], np.float32)
    only_verdict = masked_loss(logits, targets, np.array([[1, 0], [1, 0]], np.float32), 1.0)
    assert float(only_verdict) == pytest.approx(np.log(2), abs=1e-6)
    with_tag = masked_loss(logits, targets, np.array([[1, 1], [1, 0]], np.float32), 1.0)
    assert float(with_tag) == pytest.approx(np.log(2) + 5.0067 / 2, abs=1e-3)


def test_a_weight_counts_as_often_as_it_says():
    from ml.fitting import masked_loss

    logits, targets = np.array([[2.0]], np.float32), np.array([[0.0]], np.float32)
    once = float(masked_loss(logits, targets, np.array([[1.0]], np.float32), 1.0))
    assert float(masked_loss(logits, targets, np.array([[3.0]], np.float32), 1.0)) == pytest.approx(3 * once)


def test_rule_terms_are_deleted_from_the_asked_share_of_the_texts_that_have_them():
    from ml.fitting import Examples, _variants
    from ml.text import Bags

    variant = np.full(1000, -1)
    variant[:500] = 1000 + np.arange(500)
    nothing = np.zeros((1000, 1), np.float32)
    examples = Examples(Bags(np.zeros(0, np.int32), np.zeros(1500, np.int32)), nothing, nothing, variant)
    chosen = _variants(examples, np.arange(1000), 0.3, np.random.default_rng(0))
    assert (chosen[500:] == np.arange(500, 1000)).all()
    assert (chosen[:500] >= 1000).mean() == pytest.approx(0.3, abs=0.07)
    assert np.array_equal(
        _variants(examples, np.arange(1000), 0.0, np.random.default_rng(0)), np.arange(1000)
    )


def test_the_mean_of_the_weights_takes_their_place_and_gives_it_back():
    import tensorflow as tf

    from ml.fitting import _Mean

    variable = tf.Variable([0.0, 2.0])
    mean = _Mean([variable])
    for value in ([1.0, 2.0], [3.0, 2.0], [5.0, 8.0]):
        variable.assign(value)
        mean.add()
    mean.swap()
    assert variable.numpy().tolist() == [3.0, 4.0]
    mean.swap()
    assert variable.numpy().tolist() == [5.0, 8.0]


def test_what_is_kept_is_the_mean_and_not_the_last_weights():
    from ml.fitting import Examples, Schedule, fit
    from ml.network import Shape, Tagger, Vocabulary
    from ml.text import Bags

    texts = ["took oxy", "opens museum"] * 50
    truth = np.array([[1.0], [0.0]] * 50, np.float32)
    examples = Examples(Bags.of(texts), truth, np.ones_like(truth))
    found = {}
    for averaging in (True, False):
        model = Tagger(Shape("fast", 1), Vocabulary(np.unique(examples.bags.flat), np.zeros(0, np.int32)))
        schedule = Schedule(
            epochs=3, batch=10, rate=0.1, deep_rate=0.1, decay=0.0, tag_loss=0.0, term_deletion=0.0,
            averaging=averaging, seed=1,
        )  # fmt: skip
        fit(model, examples, examples, schedule, lambda _: None)
        found[averaging] = float(np.abs(model.word_table.numpy()).max())
    assert 0 < found[True] < found[False]
