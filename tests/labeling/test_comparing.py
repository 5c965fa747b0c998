"""Two versions on the tweets that both held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from labeling import comparing, versions
from labeling.models import Example, ModelVersion, Tag, Tweet, Verdict
from tests.reports import make_evaluated_version

pytestmark = pytest.mark.django_db


def test_average_precision_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    for _ in range(30):
        positive = rng.random(50) < 0.3
        scores = np.round(rng.random(50), 1)
        if positive.any():
            expected = average_precision_score(positive, scores)
            assert comparing.average_precision(positive, scores) == pytest.approx(expected)
    assert comparing.average_precision(np.zeros(3, bool), np.zeros(3)) is None


def two_versions() -> tuple[ModelVersion, ModelVersion]:
    """The second knows the first's tags but one, in another order, and was measured on some of its tweets."""
    before = make_evaluated_version(3, tweets=100, seed=1)
    tags = {tag.pk: tag for tag in Tag.objects.all()}
    tweets = list(Tweet.objects.order_by("pk")[20:])
    after = make_evaluated_version([tags[before.tag_ids[2]], tags[before.tag_ids[0]]], tweets=tweets, seed=2)
    return before, after


def test_comparing_measures_both_on_the_tweets_that_both_held_out():
    before, after = two_versions()
    comparisons = {c.head: c for c in comparing.both_held_out(before, after).compare()}
    assert list(comparisons) == ["DA", *after.report["tags"]]
    verdict = after.report["samples"]["test"]["network"]["verdict"]
    da: Any = comparisons["DA"]
    assert (da.n, da.positives) == (verdict["n"], verdict["positives"])
    for name in ("precision", "recall", "f1", "average_precision"):
        assert getattr(da.after, name) == pytest.approx(verdict[name])
    tag = comparisons["overdose"]
    assert tag.after.f1 == pytest.approx(after.report["samples"]["test"]["network"]["tags"]["overdose"]["f1"])
    assert da.difference("f1") == pytest.approx(da.after.f1 - da.before.f1)


def test_the_tweets_whose_decision_differs():
    before, after = two_versions()
    p_before: dict[int, Any] = dict(
        Example.objects.filter(version=before).values_list("tweet_id", "probabilities")
    )
    expected, fixed = set(), set()
    examples: Any = Example.objects.filter(version=after, verdict__isnull=False)
    for e in examples:
        was, now = p_before[e.tweet_id][0] >= 0.5, e.probabilities[0] >= 0.5
        if was != now:
            expected.add(e.tweet_id)
            if now == bool(e.verdict):
                fixed.add(e.tweet_id)
    assert {row.tweet_id for row in comparing.changed(before, after)} == expected
    assert comparing.count_changed(before, after) == {
        "all": len(expected),
        "fixed": len(fixed),
        "broken": len(expected - fixed),
    }
    assert fixed
    assert expected - fixed


def test_versions_without_common_tweets_compare_to_nothing():
    before, after = make_evaluated_version(1, tweets=20), make_evaluated_version([], tweets=20)
    (da,) = comparing.both_held_out(before, after).compare()
    assert (da.n, da.before.f1, da.difference("f1")) == (0, None, None)


def test_a_sample_is_that_of_the_later_versions_report():
    before, after = two_versions()
    both = comparing.both_held_out(before, after)
    for sample, size in both.sizes().items():
        rows = versions.held_out(after, sample).filter(verdict__in=(Verdict.DA, Verdict.NDA))
        (da, *_) = both.compare(sample)
        assert size == da.n == rows.count() > 0
        assert da.positives == rows.filter(verdict=Verdict.DA).count()
        changed = comparing.changed(before, after, sample)
        assert set(changed) == set(comparing.changed(before, after)) & set(rows)
        assert comparing.count_changed(before, after, sample)["all"] == changed.count()
    assert len(set(both.sizes().values())) == 3


def test_what_people_judged_comes_first_where_it_is_enough(monkeypatch):
    both = comparing.both_held_out(*two_versions())
    judged = both.compare("people")[0]
    monkeypatch.setattr(comparing, "ENOUGH_JUDGED", judged.n)
    monkeypatch.setattr(comparing, "ENOUGH_DA", judged.positives)
    assert both.first_sample() == "people"
    monkeypatch.setattr(comparing, "ENOUGH_DA", judged.positives + 1)
    assert both.first_sample() == "test"
    monkeypatch.setattr(comparing, "ENOUGH_DA", judged.positives)
    monkeypatch.setattr(comparing, "ENOUGH_JUDGED", judged.n + 1)
    assert both.first_sample() == "test"
