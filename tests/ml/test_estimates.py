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


@pytest.mark.slow
def test_the_intervals_hold_the_truth_in_about_95_of_100_audits():
    """benchmarks/audits.py in small. The bounds are wide: 150 audits tell little more."""
    kind = simulated.KINDS[1]
    result = simulated.simulate(kind, audits=150, labels=1_000, tweets=2_000_000, seed=4)
    ours, naive = result["ours"], result["unweighted"]
    assert isinstance(ours, dict)
    assert isinstance(naive, dict)
    assert all(0.9 <= ours[figure]["covered"] <= 1 for figure in simulated.FIGURES)
    assert naive["recall"]["covered"] < 0.1


def test_labels_can_go_to_the_flagged_alone():
    cells = make_cells([9_000, 600, 40], [0.01, 0.5, 0.9], [False, True, True])
    assert estimates.allocate(cells, 300, only_flagged=True)[0] == 0
    assert estimates.allocate(cells, 300, only_flagged=True).sum() == 300
    assert estimates.allocate(cells, 2_000, only_flagged=True).tolist() == [0, 600, 40]


# From the flagged and the recall on held-out positives ----------------------------------------------------------

FLAGGED = make_cells(
    [999_000, 700, 300], [0.001, 0.3, 0.8], [False, True, True], labelled=[0, 250, 250], positive=[0, 50, 200]
)  # 140 + 240 of the flagged


def test_positives_are_the_flagged_ones_over_the_recall_on_held_out_ones():
    found = estimates.estimate_from_flagged(FLAGGED, held_out=400, found=200)
    assert found.precision.value == pytest.approx(0.38, abs=0.02)
    assert found.recall.value == pytest.approx(0.5, abs=0.01)
    assert found.positives.value == pytest.approx(760, rel=0.05)
    assert found.prevalence.value == pytest.approx(found.positives.value / 1_000_000)


def test_few_held_out_positives_widen_the_interval():
    few = estimates.estimate_from_flagged(FLAGGED, held_out=20, found=10)
    many = estimates.estimate_from_flagged(FLAGGED, held_out=2_000, found=1_000)
    assert few.positives.width > 3 * many.positives.width
    assert few.precision == many.precision


def test_a_flagged_list_that_is_wholly_judged_leaves_the_recall_in_doubt():
    cells = make_cells([1_000, 50], [0.1, 0.5], [False, True], labelled=[0, 50], positive=[0, 30])
    found = estimates.estimate_from_flagged(cells, held_out=100, found=60)
    assert found.tp.low == found.tp.high == 30
    assert found.positives.low < 50 < found.positives.high


@pytest.mark.parametrize(("held_out", "found"), [(0, 0), (10, 11)])
def test_it_refuses_a_recall_that_cannot_be(held_out, found):
    with pytest.raises(ValueError, match="held-out"):
        estimates.estimate_from_flagged(FLAGGED, held_out=held_out, found=found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "held_out", "tilt"),
    [(1_000, 400, 0.0), (200, 60, 0.0), (500, 200, 1.1)],
    ids=["many", "few", "scores three times too high"],
)
def test_the_interval_holds_the_truth_in_95_of_100(labels, held_out, tilt):
    """Of corpora whose positives are flagged as often as the held-out ones."""
    rng = np.random.default_rng(1)
    runs, total, recall = 100, 1_000_000, 0.6
    share = np.array([0.15, 0.4, 0.8])  # of positives in three flagged strata
    kept = 0
    for run in range(runs):
        positives = rng.binomial(total, 0.003)
        inside = rng.multinomial(rng.binomial(positives, recall), [0.3, 0.4, 0.3])
        size = (inside / share).astype(int)
        scored = 1 / (1 + np.exp(-np.log(share / (1 - share)) - tilt))
        cells = make_cells([total - size.sum(), *size], [0.001, *scored], [False, True, True, True])
        taken = estimates.allocate(cells, labels, only_flagged=True)
        hits = rng.hypergeometric(inside, size - inside, taken[1:])
        judged = make_cells(
            cells.size.tolist(), cells.expected.tolist(), cells.flagged.tolist(),
            labelled=taken.tolist(), positive=[0, *hits],
        )  # fmt: skip
        found = estimates.estimate_from_flagged(
            judged, held_out=held_out, found=rng.binomial(held_out, recall), draws=1_000, seed=run
        )
        kept += found.positives.low <= positives <= found.positives.high
    assert kept / runs >= 0.89
