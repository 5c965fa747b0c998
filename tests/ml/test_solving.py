"""The second phase: the tags' weights solved for, the verdict's left alone."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_the_inputs_are_those_that_the_sum_weighs():
    from ml import fitting, solving

    model, train = model_and_examples("fast")
    tables = np.concatenate([model.word_table.numpy()[1:], model.pair_table.numpy()[1:]])
    by_hand = solving.model_inputs(model, train.bags) @ tables + model.bias.numpy()
    assert np.allclose(by_hand, fitting.logits_of(model, train.bags), atol=1e-4)


@pytest.mark.parametrize("architecture", ["fast", "accurate"])
def test_the_tags_are_learned_and_neither_the_verdict_nor_an_unknown_tag_changes(architecture):
    from ml import fitting, solving

    model, train = model_and_examples(architecture)
    before = fitting.logits_of(model, train.bags)
    events: list[dict] = []
    solving.solve_tags(model, train, train.weights, seed=1, report=events.append)
    after = fitting.logits_of(model, train.bags)
    assert np.array_equal(before[:, [0, 3]], after[:, [0, 3]])
    judged = train.weights[:, 1] > 0
    for tag in (1, 2):
        has = train.targets[:, tag] > 0
        assert after[has, tag].min() > after[judged & ~has, tag].max()
    assert [event["step"] for event in events] == [1, 2, 3]


def test_it_can_be_cancelled_between_two_tags_and_nothing_has_changed():
    from ml import solving

    model, train = model_and_examples("fast")
    before = model.state()

    def cancel(event):
        if event["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solving.solve_tags(model, train, train.weights, seed=1, report=cancel)
    assert all(np.array_equal(value, before[name]) for name, value in model.state().items())


def test_without_any_judged_tag_nothing_happens():
    from ml import solving

    model, train = model_and_examples("fast")
    before = model.word_table.numpy()
    solving.solve_tags(model, train, train.weights * [1, 0, 0, 0], seed=1, report=lambda _: None)
    assert np.array_equal(before, model.word_table.numpy())
