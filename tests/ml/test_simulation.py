"""Replaying a labelled set: the figures are the set's own, and the same for the same seed."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from ml import choosing, simulation

OTHER = ["rain", "goal", "bread", "train", "cat", "school", "paint", "river"]


@pytest.fixture(scope="module")
def replay():
    """1,000 texts of which 40 are DA and 12 have the tag; five of each are known, and twenty others."""
    rng = np.random.default_rng(3)
    texts = [f"{rng.choice(OTHER)} {rng.choice(OTHER)} {n} {rng.integers(10**6)}" for n in range(1_000)]
    truth = np.zeros((1_000, 2), np.float32)
    for n in range(40):
        texts[n] += f" pills {rng.choice(['swallowed', 'sold', 'bought'])}"
        truth[n, 0] = 1
    for n in range(12):
        texts[n] += f" {rng.choice(['fentanyl', 'patches'])} today"
        truth[n, 1] = 1
    known = np.zeros(1_000, dtype=bool)
    known[[*range(5), *range(12, 17), *range(40, 60)]] = True
    return simulation.Replay(texts, truth, ["fentanyl"], known, ~known, assumed=100)


@pytest.mark.parametrize("strategy", choosing.STRATEGIES)
def test_the_same_seed_gives_the_same_curve_and_it_never_falls(replay, strategy):
    first, again = (
        simulation.simulate(replay, strategy, labels=60, batch=20, tag=0, seed=4) for _ in range(2)
    )
    assert first.tolist() == again.tolist()
    assert len(first) == 60 or strategy == "rare_tag"  # ends when nothing resembles the examples any more
    assert (np.diff(first) >= 0).all()
    assert first[-1] <= 7


def test_the_riskiest_bring_more_than_random_ones(replay):
    found = {s: simulation.simulate(replay, s, labels=100, batch=20)[-1] for s in ("risk", "random")}
    assert found["risk"] >= 25
    assert found["random"] <= 10


def test_a_rare_tag_is_complete_sooner_by_its_own_strategy_than_by_chance(replay):
    found = simulation.simulate(replay, "rare_tag", labels=200, batch=10, tag=0, until=6)
    assert simulation.labels_until(found, 6) is not None
    assert len(found) < 60


def test_labels_until_counts_from_one():
    found = np.array([0, 1, 1, 2])
    assert [simulation.labels_until(found, n) for n in (1, 2, 3)] == [2, 4, None]


def test_a_pool_that_runs_out_ends_the_curve(replay):
    known = replay.known[:50]
    small = simulation.Replay(replay.texts[:50], replay.truth[:50], ["fentanyl"], known, ~known)
    assert len(simulation.simulate(small, "random", labels=1_000)) == int((~known).sum())


def test_hiding_starts_from_as_many_as_asked_for(replay):
    for_da = simulation.hide(replay.texts, replay.truth, replay.tags, start=20, seed=1)
    assert (for_da.known.sum(), replay.truth[for_da.known, 0].sum()) == (20, 10)
    for_tag = simulation.hide(replay.texts, replay.truth, replay.tags, start=20, tag=0, examples=4, seed=1)
    assert (for_tag.known.sum(), replay.truth[for_tag.known, 1].sum()) == (20, 4)
    assert not (for_tag.known & for_tag.free).any()
    with pytest.raises(ValueError, match="40 texts of the set are labelled with DA"):
        simulation.hide(replay.texts, replay.truth, replay.tags, start=80)


def test_a_comparison_is_plain_data_and_becomes_a_picture(replay):
    replays = [simulation.hide(replay.texts, replay.truth, replay.tags, start=20, seed=n) for n in (1, 2)]
    told = []
    result = simulation.compare(
        replays, ["risk", "random"], labels=100, batch=50, report=lambda *counts: told.append(counts)
    )
    assert json.loads(json.dumps(result)) == result
    assert (result["positives"], result["labels"], told[-1]) == (30, [50, 100], (4, 4))
    risk = result["strategies"]["risk"]
    assert risk["found"] == np.mean(risk["each"], axis=0).tolist()
    picture = ElementTree.fromstring(simulation.chart(result))
    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) == 2
