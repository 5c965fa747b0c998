"""The words behind a score: deleting them lowers it more than deleting random ones."""

from __future__ import annotations

import numpy as np
import pytest

from ml import faithfulness
from tests.ml.conftest import invented_examples


class Counting:
    """P(DA) grows with the number of "pill"s; marks those, or, where it lies, everything else."""

    def __init__(self, *, is_honest: bool) -> None:
        self.is_honest = is_honest

    def predict(self, texts):
        odds = np.array([text.split().count("pill") - 1.5 for text in texts])
        return (1 / (1 + np.exp(-odds))).astype(np.float32)[:, None]

    def words(self, texts):
        return [list(self._words(text)) for text in texts]

    def _words(self, text):
        place = 0
        for word in text.split():
            start = text.index(word, place)
            place = start + len(word)
            yield start, place, 0.9 if (word == "pill") is self.is_honest else -0.1


TEXTS = ["a pill and a pill and one pill again", "pill then pill then tea pill for two or three"]


def test_words_that_drive_the_score_are_told_from_random_ones():
    found = faithfulness.measure(Counting(is_honest=True), TEXTS, words=3)
    assert found is not None
    assert found.marked == pytest.approx(3, abs=0.01)
    assert 0 < found.random < 2
    assert found.low > 0


def test_words_that_say_nothing_of_the_score_are_found_out():
    found = faithfulness.measure(Counting(is_honest=False), TEXTS, words=3)
    assert found is not None
    assert found.marked == pytest.approx(0, abs=0.01)
    assert found.marked < found.random


def test_texts_without_words_to_spare_are_left_out():
    assert (
        faithfulness.measure(Counting(is_honest=True), ["pill pill", "", "one pill please"], words=3) is None
    )


@pytest.mark.tensorflow
@pytest.mark.parametrize("architecture", ["fast", "accurate", "cascade"])
def test_the_networks_mark_words_that_drive_their_scores(trained, architecture):
    from ml import predict

    out, report = trained[architecture]
    examples = invented_examples(600, seed=9)
    texts = examples[examples["verdict"] == 1]["text"].tolist()
    found = faithfulness.measure(predict.load(out / "model.zip"), texts, words=2)
    assert found is not None
    assert found.low > 0, found
    assert set(report["faithfulness"]) == {"n", "words", "marked", "random", "low", "high"}
