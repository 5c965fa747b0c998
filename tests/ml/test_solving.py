"""The second phase: the tags' weights solved for, the verdict's left alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.ml.conftest import invented_examples

pytestmark = pytest.mark.tensorflow
TAGS = ["opioids", "alcohol", "unheard-of"]


def model_and_examples(architecture: str):
    """A network with random weights, and texts in which the 4th output is a tag that nobody has."""
    from ml import fitting, text
    from ml.network import Shape, Tagger, Vocabulary

    table = invented_examples(240)
    bags = text.Bags.of(table["text"].tolist())
    rows = np.repeat(np.arange(len(bags), dtype=np.int32), bags.lengths)
    pairs = np.unique(text.pair_buckets(bags.flat, rows)[0].numpy())
    shape = Shape(architecture, outputs=4, word_dims=8, filters=4, length=12)
    model = Tagger(shape, Vocabulary(words=np.unique(bags.flat)[::2].copy(), pairs=pairs[::3].copy()))
    rng = np.random.default_rng(0)
    for name, weight in model.named_weights().items():
        value = rng.normal(size=weight.shape).astype(np.float32)
        weight.assign(
            value * (np.arange(len(value)) > 0)[:, None] if name.endswith(("table", "vectors")) else value
        )
    truth = table[["verdict", *TAGS]].to_numpy(np.float32)
    weights = (~np.isnan(truth)).astype(np.float32)
    return model, fitting.Examples(bags, np.nan_to_num(truth), weights)


def solve(model, train, weights, report=lambda _: None):
    from ml import solving

    texts = invented_examples(240)["text"].tolist()
    solving.solve_tags(
        model, train, weights, texts=texts, validation=train, validation_texts=texts, seed=1, report=report
    )


def test_the_inputs_are_those_that_the_sum_weighs():
    from ml import fitting, solving

    model, train = model_and_examples("fast")
    tables = np.concatenate([model.word_table.numpy()[1:], model.pair_table.numpy()[1:]])
    by_hand = solving.model_inputs(model, train.bags) @ tables + model.bias.numpy()
    assert np.allclose(by_hand, fitting.logits_of(model, train.bags), atol=1e-4)


@pytest.mark.parametrize("architecture", ["fast", "accurate"])
def test_the_tags_are_learned_and_neither_the_verdict_nor_an_unknown_tag_changes(architecture):
    from ml import fitting

    model, train = model_and_examples(architecture)
    texts = invented_examples(240)["text"].tolist()
    before = fitting.logits_of_texts(model, texts)
    events: list[dict] = []
    solve(model, train, train.weights, events.append)
    after = fitting.logits_of_texts(model, texts)
    assert np.array_equal(before[:, [0, 3]], after[:, [0, 3]])
    judged = train.weights[:, 1] > 0
    for tag in (1, 2):
        has = train.targets[:, tag] > 0
        assert average_precision_score(has[judged], after[judged, tag]) > 0.99
    assert [event["step"] for event in events] == [1, 2, 3]


def test_accurate_takes_the_share_of_the_network_that_ranks_best():
    from ml import fitting

    texts = invented_examples(240)["text"].tolist()
    model, train = model_and_examples("accurate")
    random = fitting.logits_of_texts(model, texts)
    solve(model, train, train.weights)
    solved = fitting.logits_of_texts(model, texts)
    judged = train.weights[:, 1] > 0
    assert abs(np.corrcoef(random[judged, 1], solved[judged, 1])[0, 1]) < 0.5


def test_it_can_be_cancelled_between_two_tags_and_nothing_has_changed():
    model, train = model_and_examples("fast")
    before = model.state()

    def cancel(event):
        if event["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(model, train, train.weights, cancel)
    assert all(np.array_equal(value, before[name]) for name, value in model.state().items())


def test_without_any_judged_tag_nothing_happens():
    model, train = model_and_examples("fast")
    before = model.word_table.numpy()
    solve(model, train, train.weights * [1, 0, 0, 0])
    assert np.array_equal(before, model.word_table.numpy())
