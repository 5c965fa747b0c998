"""Estimates from a stratified sample: strata, allocation, the posterior and its intervals."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import audits as simulated
from ml import estimates
from ml.estimates import Bins, Cells


def make_cells(size: list[int], expected: list[float], flagged: list[bool], **labels: list[float]) -> Cells:
    zeros = [0.0] * len(size)
    return Cells(
        np.array(size),
        np.array(expected),
        np.array(flagged),
        np.array(labels.get("labelled", zeros), dtype=float),
        np.array(labels.get("positive", zeros), dtype=float),
    )


TWO = make_cells([9_000, 1_000], [0.01, 0.5], [False, True], labelled=[450, 450], positive=[5, 225])


def test_a_corpus_that_is_wholly_judged_is_known_exactly():
    cells = make_cells([90, 10], [0.1, 0.5], [False, True], labelled=[90, 10], positive=[3, 8])
    found = estimates.estimate(cells)
    assert (found.positives.low, found.positives.value, found.positives.high) == (11, 11, 11)
    assert found.recall.low == found.recall.high == pytest.approx(8 / 11)
    assert found.precision is not None
    assert found.precision.value == pytest.approx(0.8)
    assert (found.fp.value, found.fn.value, found.tn.value) == (2, 3, 87)


def test_labels_count_for_the_tweets_that_they_stand_for():
    found = estimates.estimate(TWO)
    assert found.positives.low < 600 < found.positives.high  # 100 of 9,000 and 500 of 1,000
    assert found.recall.value == pytest.approx(500 / 600, abs=0.06)
    assert found.precision is not None
    assert found.precision.value == pytest.approx(0.5, abs=0.03)


def test_a_cell_without_a_positive_may_still_hold_some():
    cells = make_cells([100_000, 1_000], [0.001, 0.5], [False, True], labelled=[200, 200], positive=[0, 100])
    found = estimates.estimate(cells)
    assert found.fn.high > 50


def test_labels_beat_a_score_that_is_wrong():
    """It states a thousandth where there is a tenth."""
    cells = make_cells(
        [10_000, 10_000, 1_000], [0.001, 0.001, 0.5], [False, False, True],
        labelled=[300, 300, 300], positive=[30, 30, 150],
    )  # fmt: skip
    assert estimates.estimate(cells).fn.value == pytest.approx(2_000, rel=0.2)


def test_more_labels_give_a_narrower_interval():
    few = estimates.estimate(estimates.expect(TWO, 100))
    many = estimates.estimate(estimates.expect(TWO, 3_000))
    assert many.recall.width < few.recall.width


def test_it_says_how_many_labels_halve_an_interval():
    halving = estimates.labels_to_halve(TWO)
    assert set(halving) == set(estimates.FIGURES)
    more = halving["precision"]
    assert more is not None
    assert 200 < more < 5_000


def test_nothing_flagged_has_no_precision():
    cells = make_cells([1_000], [0.01], [False], labelled=[100], positive=[2])
    assert estimates.estimate(cells).precision is None


def test_the_same_seed_gives_the_same_figures():
    assert estimates.estimate(TWO, seed=3) == estimates.estimate(TWO, seed=3)


def test_impossible_labels_are_refused():
    with pytest.raises(ValueError, match="no more positives than labels"):
        make_cells([10], [0.1], [False], labelled=[3], positive=[4])


def bins() -> Bins:
    expected = 1 / (1 + np.exp(-np.linspace(-7, 5, 40)))
    return Bins((1_000_000 * np.exp(-np.arange(40) / 4)).astype(np.int64), expected, expected > 0.3)


def test_strata_cover_every_bin_once_and_do_not_cross_the_threshold():
    strata = estimates.cut(bins())
    assert [place for s in strata for place in range(s.start, s.stop)] == list(range(40))
    assert all(len(set(bins().flagged[s])) == 1 for s in strata)


@pytest.mark.parametrize("labels", [10, 300, 5_000])
def test_every_stratum_gets_labels_and_none_more_than_it_has(labels):
    cells = estimates.merge(bins(), estimates.cut(bins()))
    taken = estimates.allocate(cells, labels)
    assert taken.sum() == labels
    assert (taken <= cells.size).all()
    assert labels < 100 or (taken > 0).all()


def test_allocating_more_than_there_is_takes_all():
    cells = make_cells([30, 5], [0.1, 0.9], [False, True])
    assert estimates.allocate(cells, 1_000).tolist() == [30, 5]


def test_the_intervals_hold_the_truth_in_about_95_of_100_audits():
    """benchmarks/audits.py in small. The bounds are wide: 150 audits tell little more."""
    kind = simulated.KINDS[1]
    result = simulated.simulate(kind, audits=150, labels=1_000, tweets=2_000_000, seed=4)
    ours, naive = result["ours"], result["unweighted"]
    assert isinstance(ours, dict)
    assert isinstance(naive, dict)
    assert all(0.9 <= ours[figure]["covered"] <= 1 for figure in simulated.FIGURES)
    assert naive["recall"]["covered"] < 0.1
