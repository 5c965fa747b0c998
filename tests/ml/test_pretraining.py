"""Word vectors from unlabelled texts."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


def test_words_that_occur_alike_have_alike_vectors():
    from ml import pretraining, text

    rng = np.random.default_rng(0)
    drugs, foods = ["oxy", "percs", "vikes"], ["bread", "cheese", "soup"]
    texts = [
        f"popped {rng.choice(drugs)} then slept {rng.choice(['all day', 'all night'])}" for _ in range(400)
    ]
    texts += [
        f"cooked {rng.choice(foods)} for dinner {rng.choice(['at home', 'with mum'])}" for _ in range(400)
    ]
    bags = text.Bags.of(texts)
    known = np.unique(bags.flat)
    row_of_word = np.zeros(text.BUCKETS, np.int32)
    row_of_word[known] = np.arange(1, len(known) + 1)
    vectors = pretraining.word_vectors(bags, row_of_word, dims=8, seed=1)
    assert vectors.shape == (len(known) + 1, 8)
    assert not vectors[0].any()

    def similar(one: str, other: str) -> float:
        a, b = (vectors[row_of_word[text.Bags.of([word]).flat[0]]] for word in (one, other))
        return float(a @ b)

    assert similar("oxy", "percs") > 0.8 > similar("oxy", "soup")
    again = pretraining.word_vectors(bags, row_of_word, dims=8, seed=1)
    assert np.array_equal(vectors, again)
