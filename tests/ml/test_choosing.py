"""Strategies over a pool in memory: what they take, and what they never do."""

from __future__ import annotations

import numpy as np
import pytest

from ml import choosing, simulation

SUBJECTS = ["rain and wind", "a goal in the cup", "bread and butter", "trains are late", "my cat sleeps"]


def make_pool(texts, *, truth=None, known=(), tags=("blue",)):
    """A replay's pool: `known` rows are labelled, the others free."""
    is_known = np.zeros(len(texts), dtype=bool)
    is_known[list(known)] = True
    values = np.zeros((len(texts), 1 + len(tags)), np.float32) if truth is None else truth
    replay = simulation.Replay(list(texts), values, list(tags), is_known, ~is_known, assumed=0)
    return simulation._Pool(replay, simulation.Features.of(replay.texts), np.random.default_rng(1))


def some_texts(n=60):
    return [f"{SUBJECTS[i % 5]} number {i} word{i} other{i} third{i} last{i}" for i in range(n)]


def judged(n):
    """The first is DA and blue, the second neither."""
    truth = np.zeros((n, 2), np.float32)
    truth[0] = 1
    return truth


@pytest.mark.parametrize("name", choosing.STRATEGIES)
def test_it_takes_free_texts_once_each_and_no_more_than_asked_for(name):
    texts = some_texts()
    pool = make_pool(texts, truth=judged(60), known=(0, 1))
    chosen = [c.id for c in choosing.STRATEGIES[name](pool, 7, 0)]
    assert 0 < len(chosen) <= 7
    assert len(set(chosen)) == len(chosen)
    assert not {0, 1} & set(chosen)


@pytest.mark.parametrize("name", choosing.STRATEGIES)
def test_an_empty_pool_gives_nothing(name):
    pool = make_pool(some_texts(2), truth=judged(2), known=(0, 1))
    assert choosing.STRATEGIES[name](pool, 5, 0) == []


@pytest.mark.parametrize("name", [n for n in choosing.STRATEGIES if n != "random"])
def test_it_never_takes_two_of_one_group_of_near_copies(name):
    copies = [
        f"RT the very same blue text about the rain in the mountains https://t.co/{n}" for n in range(20)
    ]
    texts = ["a blue thing about the rain in the mountains", "not at all", *copies, *some_texts(30)]
    pool = make_pool(texts, truth=judged(len(texts)), known=(0, 1))
    chosen = [c.id for c in choosing.STRATEGIES[name](pool, 10, 0)]
    assert sum(2 <= n < 22 for n in chosen) <= 1


def test_a_varied_choice_meets_every_subject():
    texts = [
        "risky thing",
        "nothing",
        *[f"risky {SUBJECTS[0]} {n}" for n in range(30)],
        *[f"risky {s}" for s in SUBJECTS[1:]],
    ]
    pool = make_pool(texts, truth=judged(len(texts)), known=(0, 1))
    chosen = [texts[c.id] for c in choosing.choose_diverse(pool, 6)]
    assert all(any(subject in text for text in chosen) for subject in SUBJECTS)


def test_a_rare_tag_is_found_by_its_words_in_a_bounded_sub_pool():
    """Whatever the size of the pool, only texts that have a telling word are read."""
    texts = [
        "my vaporizer is broken", "the new vaporizer came", "nothing of the kind", "a goal in the cup",
        *some_texts(200), "who sells a vaporizer here", "vaporizer or pipe?",
    ]  # fmt: skip
    truth = np.zeros((len(texts), 2), np.float32)
    truth[:2, 1] = 1
    pool = make_pool(texts, truth=truth, known=range(4))
    read: list[int] = []
    give_texts = pool.texts

    def texts_of(ids):
        read.extend(ids)
        return give_texts(ids)

    pool.texts = texts_of
    pool.background = lambda limit: some_texts(100)
    chosen = choosing.choose_rare_tag(pool, 5, 0)
    assert {c.id for c in chosen[:2]} == {204, 205}
    assert len(set(read) - {0, 1, 2, 3}) < 60


def test_the_regression_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    texts = [" ".join(rng.choice([f"w{n}" for n in range(40)], 8)) for _ in range(150)]
    positive, negative = texts[:20], texts[20:]
    fitted = choosing.WordWeights.fit(positive, negative)
    row, column, value = choosing._table([choosing.words_of(t) for t in texts], fitted.columns, fitted.rarity)
    table = np.zeros((150, len(fitted.columns)))
    table[row, column] = value
    truth = np.arange(150) < 20
    theirs = LogisticRegression(C=1 / choosing.PENALTY, class_weight="balanced", tol=1e-8).fit(table, truth)
    assert np.corrcoef(theirs.decision_function(table), fitted.scores(texts))[0, 1] > 0.999


def test_links_and_handles_are_no_words():
    assert choosing.words_of("RT @someone: Don’t https://t.co/x #Pain") == {"rt", "don’t", "#pain"}
