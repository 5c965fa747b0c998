"""Two networks in one model, and what that costs in precision."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.ml.conftest import invented_examples


@pytest.fixture
def texts() -> list[str]:
    return invented_examples(300, seed=2)["text"].tolist()


@pytest.fixture
def predictor(trained):
    from ml import predict

    return predict.load(trained["cascade"][0] / "model.zip")


@pytest.mark.tensorflow
def test_its_networks_are_those_that_would_be_trained_alone(trained):
    from ml import artefact

    pair, _ = artefact.load(trained["cascade"][0] / "model.zip")
    for name, mine in zip(("fast", "accurate"), pair, strict=True):
        alone, _ = artefact.load(trained[name][0] / "model.zip")
        for weight, value in alone.state().items():
            assert np.array_equal(mine.state()[weight], value), (name, weight)


@pytest.mark.tensorflow
def test_accurate_has_the_last_word_on_what_reaches_the_cut(predictor, texts):
    fast, accurate = predictor.fast.predict(texts), predictor.accurate.predict(texts)
    found = predictor.predict(texts)
    again = fast[:, 0] >= predictor.cut
    assert 0 < again.sum() < len(texts)
    assert np.allclose(found[again], accurate[again], rtol=1e-5)
    assert np.allclose(found[~again, 1:], fast[~again, 1:], rtol=1e-5)
    assert np.allclose(found[~again, 0], np.minimum(fast[~again, 0], predictor.ceiling), rtol=1e-5)


@pytest.mark.tensorflow
def test_nothing_is_flagged_that_accurate_has_not_read(predictor, texts):
    threshold = predictor.thresholds["DA"]
    predictor.cut, predictor.ceiling = 0.999999, predictor.ceiling  # as if hardly anything reached it
    unread = predictor.fast.predict(texts)[:, 0] < predictor.cut
    assert unread.any()
    assert (predictor.predict(texts)[unread, 0].astype(np.float64) < threshold).all()


@pytest.mark.tensorflow
def test_words_come_from_the_network_that_gave_the_score(predictor):
    texts = ["i popped oxy again", "council plans a prize", "i took percs before work"]
    again = predictor.fast.predict(texts)[:, 0] >= predictor.cut
    assert again.tolist() == [True, False, True]
    expected = [
        (predictor.accurate if high else predictor.fast).words([value])[0]
        for value, high in zip(texts, again, strict=True)
    ]
    for found, wanted in zip(predictor.words(texts), expected, strict=True):
        assert [span[:2] for span in found] == [span[:2] for span in wanted]
        assert np.allclose([span[2] for span in found], [span[2] for span in wanted], atol=1e-5)


@pytest.mark.tensorflow
def test_the_report_says_what_it_lost(trained):
    _, report = trained["cascade"]
    loss = report["cascade"]["test"]
    assert loss["n"] == 90
    assert loss["cascade"] == pytest.approx(
        report["samples"]["test"]["network"]["verdict"]["average_precision"], abs=1e-3
    )
    assert loss["low"] <= loss["high"]
    assert report["cascade"]["sample"] is None  # sixty general texts say nothing
    assert "cascade" not in trained["fast"][1]


@pytest.mark.tensorflow
def test_earlier_versions_refuse_its_file(trained):
    for name, expected in (("fast", 1), ("cascade", 2)):
        with zipfile.ZipFile(trained[name][0] / "model.zip") as archive:
            assert json.loads(archive.read("model.json"))["format"] == expected


@pytest.mark.slow
def test_the_wanted_share_of_the_corpus_reaches_the_cut():
    from ml import cascade

    log_odds = np.random.default_rng(1).normal(size=10_000)
    assert (log_odds >= cascade.cut_of(log_odds, share=0.03, prior=0.001)).mean() == pytest.approx(0.03)
    assert (log_odds >= cascade.cut_of(log_odds, share=0.03, prior=0.05)).mean() == pytest.approx(0.15)
    for everything in (
        cascade.cut_of(log_odds, share=0.03, prior=0.5),
        cascade.cut_of(log_odds[:0], share=0.03, prior=0),
    ):
        assert everything == -np.inf


@pytest.mark.slow
def test_the_loss_on_a_sample_counts_the_head_of_the_better_list():
    from ml import cascade

    accurate = np.linspace(1, 0, 1_000)
    again = np.ones(1_000, bool)
    again[[3, 50, 400]] = False
    loss = cascade.loss_on_sample(again, accurate, flagged=20)
    assert loss is not None
    assert (loss["listed"], loss["kept"], loss["read_again"], loss["sample"]) == (100, 98, 997, 1_000)
    assert loss["low"] < loss["share"] == 0.98 < loss["high"]
    assert cascade.loss_on_sample(again[:150], accurate[:150], flagged=20) is None


@pytest.mark.slow
def test_the_loss_of_precision_has_the_two_figures_and_an_interval_around_their_difference():
    from ml import cascade

    rng = np.random.default_rng(1)
    truth = (rng.random(3_000) < 0.1).astype(float)
    accurate = truth + rng.normal(size=3_000)
    lost = np.where(rng.random(3_000) < 0.5, accurate, -5.0)
    truth[:10] = np.nan
    loss = cascade.loss_of_precision(truth, lost, accurate, seed=1)
    assert loss is not None
    assert loss["n"] == 2_990
    assert loss["accurate"] == pytest.approx(average_precision_score(truth[10:], accurate[10:]))
    assert loss["low"] < loss["cascade"] - loss["accurate"] < loss["high"] < 0
    same = cascade.loss_of_precision(truth, accurate, accurate, seed=1)
    assert same is not None
    assert same["low"] == same["high"] == 0
    assert cascade.loss_of_precision(np.ones(10), lost[:10], lost[:10], seed=1) is None
