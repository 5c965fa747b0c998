"""The graph: padding, unknown words, and where contributions go."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ml.conftest import invented_examples

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("architecture", ["fast", "accurate"])
def test_unknown_words_add_nothing_and_to_the_tags_of_accurate_their_subwords(trained, architecture):
    from ml import artefact

    model, _ = artefact.load(trained[architecture][0] / "model.zip")
    nothing, unknown, nearly = model(np.array([b"", b"\xf0\x9f\xa6\x84", b"vodkaaa"])).numpy()
    assert np.allclose(nothing, unknown, atol=1e-6)
    assert np.isfinite(nothing).all()
    assert nothing[0] == nearly[0]
    alcohol = 2
    assert (nearly[alcohol] > nothing[alcohol] + 0.1) == (architecture == "accurate")


def test_a_subword_adds_to_a_known_word_what_it_adds_to_an_unknown_one():
    from ml.network import Shape, Tagger, Vocabulary
    from ml.text import subword_buckets, words_and_buckets

    _, hashed, _, _ = words_and_buckets(b"some words")
    subwords = subword_buckets(np.array([b"other"])).numpy().ravel()
    subwords = np.unique(subwords[subwords >= 0])
    assert len(subwords) == 6 + 5 + 4 + 3
    model = Tagger(Shape("fast", outputs=2), Vocabulary(hashed.numpy(), np.zeros(0, np.int32)))
    model.add_subwords(subwords)
    model.subword_table.assign(np.ones((len(subwords) + 1, 2), np.float32))
    logits = model(np.array([b"some words", b"some other words other", b"", b"other"])).numpy()
    assert np.allclose(logits[:, 1], [0, 2 * 18 / 2, 0, 18])


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
