"""How many DA tweets there are by the flagged list, and what the next training takes for their share."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from labeling import audits, corpus_share, estimates, scoring
from labeling.models import Example, ModelVersion, Origin, Source, Split, Verdict
from ml.estimates import Interval
from tests.factories import make_scores, make_tweet, make_version
from tests.labeling.test_audits import general, judge, make_corpus, number

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


def hold_out(
    version: ModelVersion, *, flagged: int, missed: int, origin: Origin | None = Origin.IMPORT, **fields: int
) -> None:
    """Held-out tweets that count as DA."""
    fields = {"source": Source.SPECIFIC, "split": Split.TEST, "verdict": Verdict.DA} | fields
    source = fields.pop("source")
    for n in range(flagged + missed):
        Example.objects.create(
            version=version, tweet=make_tweet(source=Source(source)), verdict_origin=origin,
            probabilities=[0.8 if n < flagged else 0.1], **fields,
        )  # fmt: skip


def judged_list(analyst: User, *, labels: int = 390, only: int | None = None) -> ModelVersion:
    """2,000 tweets, of which 398 are flagged, 40 of them DA; three in four held-out DA tweets are flagged. So many of
    the flagged are judged that at least 32 of the 40 are among them, whatever is drawn."""
    version = make_corpus(tweets=2_000, flagged=400)
    hold_out(version, flagged=75, missed=25)
    judge(audits.start(version, labels=labels, user=None, only_flagged=True), analyst, only=only)
    return version


def found_of(version: ModelVersion) -> corpus_share.FlaggedReport:
    found = corpus_share.report(version)
    assert found is not None
    return found


# The estimate ---------------------------------------------------------------------------------------------


def test_precision_by_recall_is_the_number_of_da_tweets(analyst):
    found = found_of(judged_list(analyst, labels=1_000))  # all that are flagged
    assert found.found is not None
    assert (found.progress.judged, found.positive, found.tweets) == (found.flagged, 40, 2_000)
    assert found.precision.low == found.precision.high == pytest.approx(40 / found.flagged)
    assert found.found.recall.value == pytest.approx(0.75, abs=0.01)
    assert found.found.positives.value == pytest.approx(40 / 0.75, rel=0.05)
    assert found.found.positives.low > 42
    assert found.found.positives.high < 70
    assert found.found.prevalence.value == pytest.approx(found.found.positives.value / 2_000)
    assert "of 100, there are about" in corpus_share.sentence(found)


def test_the_flagged_labels_of_an_audit_of_the_corpus_serve_too(analyst):
    version = make_corpus(flagged=150)
    hold_out(version, flagged=75, missed=25)
    judge(audits.start(version, labels=400, user=None), analyst)
    found = found_of(version)
    assert found.progress.judged == found.flagged < 200
    assert found.found is not None
    assert found.found.tp.value == 40


def test_few_judged_flagged_tweets_give_no_figure(analyst):
    assert corpus_share.report(judged_list(analyst, only=estimates.FEWEST - 1)) is None


def test_few_held_out_tweets_give_the_precision_alone(analyst):
    version = judged_list(analyst)
    Example.objects.all().delete()
    hold_out(version, flagged=20, missed=corpus_share.FEWEST_HELD_OUT - 21)
    found = found_of(version)
    assert (found.held_out, found.found) == (None, None)
    assert found.precision.low > 0


def test_held_out_tweets_that_somebody_judged_come_before_assumed_ones(analyst):
    version = judged_list(analyst)
    hold_out(version, flagged=0, missed=200, origin=None)
    assert found_of(version).held_out == corpus_share.HeldOut(100, 75, is_judged=True)
    Example.objects.exclude(verdict_origin=None).delete()
    hold_out(version, flagged=10, missed=0, origin=Origin.REVIEW)
    assert found_of(version).held_out == corpus_share.HeldOut(210, 10, is_judged=False)


def test_only_specific_da_tweets_of_the_test_split_are_held_out(analyst):
    """General ones were judged because a version flagged them; on validation the threshold was chosen."""
    version = judged_list(analyst)
    hold_out(version, flagged=3, missed=0, source=Source.GENERAL)
    hold_out(version, flagged=3, missed=0, split=Split.VALIDATION)
    hold_out(version, flagged=3, missed=0, verdict=Verdict.NDA)
    hold_out(make_version(), flagged=3, missed=0)
    assert found_of(version).held_out == corpus_share.HeldOut(100, 75, is_judged=True)


def test_a_later_version_has_the_number_from_the_list_of_an_earlier_one(analyst):
    first = judged_list(analyst)
    ModelVersion.objects.update(is_active=False)
    second = make_version()
    make_scores(second, {tweet: (0.9 if number(tweet) >= 1_900 else 0.02, {}) for tweet in general()})
    scoring.recount(second.pk)
    second.refresh_from_db()
    audit = audits.start(second, labels=60, user=None, only_flagged=True)
    assert found_of(second).version == first  # of the second's own nothing is judged
    known = corpus_share.known_share()
    assert known is not None
    assert known.detail["by_version"] == first.number
    judge(audit, analyst)
    assert found_of(second).version == second
    assert found_of(first).version == first
    known = corpus_share.known_share()  # the second has found no DA tweet
    assert known is not None
    assert known.detail["by_version"] == first.number


# The next training ----------------------------------------------------------------------------------------


def test_without_labels_nothing_is_known():
    make_corpus()
    assert corpus_share.known_share() is None


def test_the_flagged_list_says_the_share_where_no_audit_does(analyst):
    version = judged_list(analyst)
    known, found = corpus_share.known_share(), found_of(version)
    assert known is not None
    assert found.found is not None
    assert (known.source, known.share) == ("flagged", found.found.prevalence)
    assert known.detail["judged"] == 390
    assert known.detail["held_out"] == {"tweets": 100, "flagged": 75, "is_judged": True}


def test_a_narrow_audit_comes_first_and_a_wide_one_does_not(analyst, monkeypatch):
    judged_list(analyst)
    monkeypatch.setattr(estimates, "audited_prevalence", lambda: Interval(0.02, 0.015, 0.03))
    known = corpus_share.known_share()
    assert known is not None
    assert (known.source, known.share.value, known.detail) == ("audited", 0.02, {})


def test_too_few_judged_ones_are_no_prior(analyst, monkeypatch):
    monkeypatch.setattr(corpus_share, "ENOUGH_DA", 1)
    monkeypatch.setattr(estimates, "USABLE_PRIOR", 10)
    version = judged_list(analyst, only=corpus_share.ENOUGH_JUDGED - 1)
    assert found_of(version).found is not None
    assert corpus_share.known_share() is None


def test_too_few_da_tweets_are_no_prior(analyst, monkeypatch):
    """Of 1,200 flagged ones 40 are DA: of 200, some eight."""
    version = make_corpus(tweets=2_000, flagged=1_200)
    hold_out(version, flagged=75, missed=25)
    judge(audits.start(version, labels=200, user=None, only_flagged=True), analyst)
    found = found_of(version)
    assert found.found is not None
    assert found.progress.judged == corpus_share.ENOUGH_JUDGED
    assert 0 < found.positive < corpus_share.ENOUGH_DA
    monkeypatch.setattr(estimates, "is_narrow", lambda share: True)
    assert not found.is_usable


def test_a_recall_of_nearly_nothing_is_no_prior(analyst):
    version = judged_list(analyst)
    Example.objects.all().delete()
    hold_out(version, flagged=corpus_share.ENOUGH_DA - 1, missed=60)
    assert found_of(version).found is not None
    assert corpus_share.known_share() is None


def test_a_wide_interval_is_no_prior(analyst, monkeypatch):
    judged_list(analyst)
    monkeypatch.setattr(estimates, "USABLE_PRIOR", 1.05)
    assert corpus_share.known_share() is None
