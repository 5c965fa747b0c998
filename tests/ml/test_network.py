"""The graph: padding, unknown words, and where contributions go."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ml.conftest import invented_examples

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("architecture", ["fast", "accurate"])
def test_unknown_words_add_nothing(trained, architecture):
    from ml import artefact

    model, _ = artefact.load(trained[architecture][0] / "model.zip")
    nothing, unknown = model(np.array([b"", b"qqzx wwvk"])).numpy()
    assert np.allclose(nothing, unknown, atol=1e-6)
    assert np.isfinite(nothing).all()


def test_a_long_text_beside_it_does_not_change_a_short_one(trained):
    from ml import artefact

    model, _ = artefact.load(trained["accurate"][0] / "model.zip")
    alone = model(np.array([b"we need oxy"])).numpy()
    beside = model(np.array([b"we need oxy", b"again tonight " * 100])).numpy()
    assert np.allclose(alone[0], beside[0], atol=1e-5)


def test_contributions_of_the_sum_add_up_to_the_logit(trained):
    import tensorflow as tf

    from ml import artefact, text

    model, _ = artefact.load(trained["fast"][0] / "model.zip")
    texts = tf.constant(invented_examples(30)["text"].tolist())
    _, shares = model.contributions(text.join(texts))
    summed = tf.reduce_sum(shares, axis=1).numpy() + model.bias.numpy()[0]
    assert np.allclose(summed, model(texts).numpy()[:, 0], atol=1e-4)


def test_the_folded_convolution_gives_the_same_logits(trained):
    import tensorflow as tf

    from ml import artefact

    model, _ = artefact.load(trained["accurate"][0] / "model.zip")
    texts = tf.constant(
        [*invented_examples(60)["text"], "", "qqzx", "oxy", "qqzx oxy wwvk", "oxy vodka " * 40]
    )
    plain = model(texts).numpy()
    model.fold()
    assert model.folded
    assert np.allclose(model(texts).numpy(), plain, atol=1e-5)
