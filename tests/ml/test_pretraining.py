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
    found = pretraining.learn(texts, pretraining.Settings(dims=8, least=2))
    assert found.vectors.shape == (len(found.words), 8)
    assert (found.origin["texts"], found.origin["words"]) == (800, len(found.words))

    def similar(one: str, other: str) -> float:
        a, b = (found.table(text.Bags.of([word]).flat)[1] for word in (one, other))
        return float(a @ b)

    assert similar("oxy", "percs") > 0.8 > similar("oxy", "soup")
    again = pretraining.learn(texts, pretraining.Settings(dims=8, least=2))
    assert np.array_equal(found.vectors, again.vectors)
    assert found.origin == again.origin


def test_a_word_that_is_not_known_has_no_vector():
    from ml import pretraining, text

    found = pretraining.learn(["one two", "two one", "three"], pretraining.Settings(dims=2, least=2))
    words = np.unique(text.Bags.of(["one two three four"]).flat)
    table = found.table(words)
    assert table.shape == (5, 2)
    assert [bool(row.any()) for row in table[1:]] == np.isin(words, found.words).tolist()
    assert len(found.words) == 2
    assert not table[0].any()


@pytest.mark.parametrize("texts", [[], [""], ["one"], ["one one"]])
def test_too_few_words_have_no_vectors(texts):
    from ml import pretraining

    found = pretraining.learn(texts, pretraining.Settings(dims=4, least=1))
    assert found.vectors.shape == (len(found.words), 4)
    assert not found.vectors.any()


def test_what_is_saved_is_what_was_learned(tmp_path):
    from ml import pretraining

    found = pretraining.learn(["we took oxy", "we took percs"] * 5, pretraining.Settings(dims=3, least=2))
    found.save(tmp_path / "a.npz")
    found.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = pretraining.WordVectors.load(tmp_path / "a.npz", found.origin)
    assert np.array_equal(again.vectors, found.vectors)
    assert np.array_equal(again.subwords, found.subwords)
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not word vectors"):
        pretraining.WordVectors.load(tmp_path / "b.npz", {})
