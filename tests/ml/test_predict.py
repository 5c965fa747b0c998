"""Prediction from a saved model."""

from __future__ import annotations

import multiprocessing
import time

import numpy as np
import pyarrow as pa
import pytest

from tests.ml.conftest import TAGS, invented_examples

pytestmark = pytest.mark.tensorflow
ARCHITECTURES = ["fast", "accurate", "cascade"]


@pytest.fixture(params=ARCHITECTURES)
def predictor(trained, request):
    from ml import predict

    return predict.load(trained[request.param][0] / "model.zip")


def test_it_gives_probabilities_of_da_and_of_each_tag(predictor):
    assert predictor.tags == TAGS
    result = predictor.predict(["i took oxy tonight", "council plans the menu again"])
    assert result.shape == (2, 1 + len(TAGS))
    assert result.dtype == np.float32
    assert ((result >= 0) & (result <= 1)).all()
    assert result[0, 0] > result[1, 0]
    assert result[0, 1] > result[0, 2]


def test_thresholds_come_with_the_model(predictor):
    assert set(predictor.thresholds) == {"DA", "tags"}
    assert set(predictor.thresholds["tags"]) == set(TAGS)
    assert predictor.thresholds["tags"]["unheard-of"] is None


def test_arrow_arrays_and_lists_give_the_same(predictor):
    texts = ["i took oxy", "", None, "😀 MORE vodka", "Я и ты"]
    expected = predictor.predict(texts)
    for array in (
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.chunked_array([texts[:2], texts[2:]]),
    ):
        assert np.array_equal(predictor.predict(array), expected)
    assert predictor.predict([]).shape == (0, 1 + len(TAGS))
    assert predictor.predict(pa.array([], pa.string())).shape == (0, 1 + len(TAGS))


def test_a_text_has_the_same_probability_in_any_batch(predictor):
    texts = invented_examples(60)["text"].tolist()
    together = predictor.predict(texts)
    alone = np.concatenate([predictor.predict([value]) for value in texts[:5]])
    assert np.allclose(together[:5], alone, rtol=1e-4, atol=1e-7)


def test_hostile_texts_are_scored(predictor):
    texts = ["a" * 100_000, "\x00", "\ud800", "@" * 5_000, "💊" * 3_000, "ﷺ" * 500, "\n" * 100]
    assert np.isfinite(predictor.predict(texts)).all()
    assert len(predictor.words(texts)) == len(texts)


def test_words_point_at_the_original_text(predictor):
    value = "😀 İ Took some OXY @friend tonight"
    words = predictor.words([value, ""])
    assert words[1] == []
    shown = {value[start:end]: weight for start, end, weight in words[0]}
    assert {"😀", "Took", "some", "OXY", "tonight"} <= set(shown)
    assert all(-1 <= weight <= 1 for weight in shown.values())
    assert "friend" not in shown


def test_words_name_what_drove_the_score(predictor):
    value = "teacher opens the bottle again"
    other = "i popped oxy again"
    drove = {other[a:b]: weight for a, b, weight in predictor.words([other])[0]}
    against = {value[a:b]: weight for a, b, weight in predictor.words([value])[0]}
    assert drove["popped"] > 0
    assert against["teacher"] < drove["popped"]


def in_a_fresh_process(path, texts, queue):
    from ml import predict

    queue.put(predict.load(path, threads=1).predict(texts).tolist())


def test_it_loads_in_a_spawned_worker_with_one_thread(trained):
    from ml import predict

    path, texts = trained["fast"][0] / "model.zip", ["i took oxy", "council plans a prize"]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=in_a_fresh_process, args=(path, texts, queue))
    worker.start()
    found = queue.get(timeout=60)
    worker.join(30)
    assert np.allclose(found, predict.load(path).predict(texts), rtol=1e-5)


def test_fast_is_fast(trained):
    from ml import predict

    predictor = predict.load(trained["fast"][0] / "model.zip")
    texts = pa.array(invented_examples(3000)["text"].tolist() * 10)
    predictor.predict(texts[:5000])
    started = time.process_time()
    predictor.predict(texts)
    assert len(texts) / (time.process_time() - started) > 60_000  # 400,000 on a free core
