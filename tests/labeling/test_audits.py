"""Audits: how their tweets are drawn, and what is estimated from their labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from labeling import audit_samples, audits, estimate_words, estimates, queues, sampling, scoring, snapshots
from labeling.annotation import annotate, annotate_many, retract
from labeling.audits import stratum_place
from labeling.models import (
    Annotation,
    Audit,
    Job,
    ModelVersion,
    Queue,
    QueueItem,
    Source,
    Tag,
    Tweet,
    Verdict,
)
from labeling.rules import RuleSet
from labeling.sampling import CannotDraw
from tests.factories import make_rule, make_scores, make_tag, make_tweet, make_version

DA, NDA = Verdict.DA, Verdict.NDA
TWEETS = 400


def make_corpus(
    *, tweets: int = TWEETS, specific: int = 20, tags: tuple[Tag, ...] = (), flagged: int = 40
) -> ModelVersion:
    """Scored tweets whose risk falls from .95 to nearly nothing; the first `flagged` are, specific ones come on top."""
    made = Tweet.objects.bulk_create(
        [
            Tweet(text=f"invented {n}", source=Source.GENERAL, dedupe_key=-1 - n, import_id=0)
            for n in range(tweets)
        ]
    )
    others = [make_tweet(source=Source.SPECIFIC) for _ in range(specific)]
    risk = 0.95 * np.exp(-np.arange(tweets) / (1.55 * flagged))
    version = make_version()
    scores = {
        t: (float(r), {tag: float(n < 50) * 0.8 for tag in tags})
        for n, (t, r) in enumerate(zip(made, risk, strict=True))
    }
    make_scores(version, scores | {t: (0.9, {}) for t in others})
    scoring.recount(version.pk)
    version.refresh_from_db()
    return version


def general() -> list[Tweet]:
    """From the highest risk."""
    return list(Tweet.objects.filter(source=Source.GENERAL).order_by("pk"))


def number(tweet: Tweet) -> int:
    return int(tweet.text.removeprefix("invented "))


def is_da(tweet: Tweet) -> bool:
    return number(tweet) % 2 == 0 and number(tweet) < 80


def judge(audit: Audit, user: User, *, only: int | None = None) -> None:
    """As the tweets come; all at once, which is quicker than through the label page."""
    waiting = audit.queue.items.filter(state="waiting").select_related("tweet").order_by("position")
    items = list(waiting[:only])
    for verdict in (DA, NDA):
        ids = [item.tweet_id for item in items if is_da(item.tweet) == (verdict == DA)]
        annotate_many(tweet_ids=ids, annotator=user, verdict=verdict, tag_ids=[])
    QueueItem.objects.filter(pk__in=[item.pk for item in items]).update(state="done", claimed_by=user)


# Drawing --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_it_draws_general_tweets_by_strata_with_known_probabilities():
    version = make_corpus()
    audit = audits.start(version, labels=100, user=None)
    items = list(audit.queue.items.select_related("tweet"))
    assert len(items) == 100
    assert {item.tweet.source for item in items} == {Source.GENERAL}
    assert audit.tweets == sum(stratum["tweets"] for stratum in audit.strata) == TWEETS
    for item in items:
        stratum = audit.strata[stratum_place(item.stratum)]
        assert item.inclusion_probability == pytest.approx(stratum["drawn"] / stratum["tweets"])
        risk = version.score_set.get(tweet_id=item.tweet_id).risk
        assert stratum["low"] <= risk < stratum["high"] or stratum["high"] == 1.0
        assert stratum["flagged"] == (risk >= 0.5)


@pytest.mark.django_db
def test_every_tweet_of_a_stratum_has_the_same_chance():
    """Both ways of drawing, 40 times: by the index on risk, and by random ids below its floor."""
    planned = audits.plan(audits.survey(make_corpus()), 100)
    met = np.zeros(TWEETS)
    first = Tweet.objects.filter(source=Source.GENERAL).earliest("id").pk
    for _ in range(40):
        for ids in audits.draw(planned):
            met[np.array(ids, dtype=int) - first] += 1
    expected = 40 * np.repeat(planned.drawn[::-1] / planned.cells.size[::-1], planned.cells.size[::-1])
    assert abs(met - expected).max() < 5 * np.sqrt(40) / 2
    assert met.sum() == pytest.approx(expected.sum())


@pytest.mark.django_db
def test_the_order_says_nothing_of_the_scores():
    audit = audits.start(make_corpus(), labels=200, user=None)
    places = [stratum_place(i.stratum) for i in audit.queue.items.order_by("position")]
    assert abs(np.corrcoef(np.arange(len(places)), places)[0, 1]) < 0.35


@pytest.mark.django_db
def test_a_tweet_that_people_judged_is_drawn_and_not_asked_again(analyst):
    version = make_corpus(tweets=120)
    for tweet in Tweet.objects.filter(source=Source.GENERAL)[:60]:
        annotate(tweet_id=tweet.pk, annotator=analyst, verdict=NDA, tag_ids=[])
    audit = audits.start(version, labels=120, user=None)
    assert audit.queue.items.filter(state="done").count() == 60
    assert audit.queue.items.filter(state="waiting").count() == 60


@pytest.mark.django_db
def test_without_scores_it_says_what_to_do():
    with pytest.raises(CannotDraw, match="Train a version"):
        audits.start(None, labels=100, user=None)


@pytest.mark.django_db
@pytest.mark.parametrize("labels", [0, 49, queues.MAX_SIZE + 1])
def test_it_refuses_sizes_that_make_no_sense(labels):
    with pytest.raises(CannotDraw, match="from 50 to 5,000"):
        audits.start(make_corpus(), labels=labels, user=None)


@pytest.mark.django_db
def test_it_waits_for_a_scoring_run():
    version = make_corpus()
    Job.objects.create(kind=Job.Kind.SCORE, exclusive_key=scoring.exclusive_key(version))
    with pytest.raises(CannotDraw, match="scoring tweets just now"):
        audits.start(version, labels=100, user=None)


@pytest.mark.django_db
def test_specific_tweets_alone_cannot_be_audited():
    with pytest.raises(CannotDraw, match="hardly any"):
        audits.start(make_corpus(tweets=10), labels=100, user=None)


@pytest.mark.django_db
def test_a_second_audit_of_a_version_keeps_the_strata():
    version = make_corpus()
    first, second = (audits.start(version, labels=100, user=None) for _ in range(2))
    assert [s["low"] for s in first.strata] == [s["low"] for s in second.strata]
    assert [s["tweets"] for s in first.strata] == [s["tweets"] for s in second.strata]
    assert (first.queue.name, second.queue.name) == ("Audit 1", "Audit 2")


@pytest.mark.django_db
def test_an_audit_can_be_drawn_among_the_flagged_alone():
    version = make_corpus(flagged=100)
    audit = audits.start(version, labels=60, user=None, only_flagged=True)
    items = list(audit.queue.items.select_related("tweet"))
    assert len(items) == 60
    assert {item.tweet.source for item in items} == {Source.GENERAL}
    for item in items:
        stratum = audit.strata[stratum_place(item.stratum)]
        assert stratum["flagged"]
        assert version.score_set.get(tweet_id=item.tweet_id).risk >= 0.5
        assert item.inclusion_probability == pytest.approx(stratum["drawn"] / stratum["tweets"])
    assert audit.is_of_flagged
    assert audit.queue.name == "Audit 1"  # whoever judges is not to know that all of them are flagged


@pytest.mark.django_db
def test_of_few_flagged_tweets_all_are_drawn():
    audit = audits.start(make_corpus(), labels=300, user=None, only_flagged=True)
    assert audit.queue.items.count() == sum(s["tweets"] for s in audit.strata if s["flagged"]) < 60


@pytest.mark.django_db
def test_an_empty_flagged_list_cannot_be_drawn_from():
    version = make_corpus()
    version.threshold = 0.99
    version.save()
    scoring.recount(version.pk)
    version.refresh_from_db()
    with pytest.raises(CannotDraw, match="flags no general tweet"):
        audits.start(version, labels=60, user=None, only_flagged=True)
    assert not Queue.objects.exists()


# Estimates ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_judged_corpus_is_reported_as_it_is(analyst):
    version = make_corpus(tweets=200)
    audit = audits.start(version, labels=200, user=None)
    judge(audit, analyst)
    report = estimates.report(version)
    assert report is not None
    assert report.found is not None
    flagged = Tweet.objects.filter(scores__version=version, scores__risk__gte=0.5, source=Source.GENERAL)
    tp = sum(is_da(tweet) for tweet in flagged)
    assert (report.found.positives.low, report.found.positives.high) == (40, 40)
    assert report.found.recall.value == pytest.approx(tp / 40)
    assert report.found.fp.value == flagged.count() - tp
    assert report.progress == audit_samples.Progress(drawn=200, judged=200, unsure=0, skipped=0)


@pytest.mark.django_db
def test_part_of_the_labels_gives_an_interval_around_the_truth(analyst):
    version = make_corpus()
    judge(audits.start(version, labels=300, user=None), analyst, only=150)
    report = estimates.report(version)
    assert report is not None
    assert report.found is not None
    positives = report.found.positives
    assert 5 < positives.width < 60
    assert abs(positives.value - 40) <= positives.width  # the interval itself leaves it out in 5 draws of 100
    assert report.progress.waiting == 150
    assert "DA tweets among 400 general tweets" in estimate_words.sentence(report)


@pytest.mark.django_db
def test_what_people_judged_elsewhere_counts_when_its_turn_comes(analyst):
    """The riskiest are judged first, in other queues: counted at once, they would stand for their whole stratum."""
    version = make_corpus()
    riskiest = general()[:60]
    for verdict in (DA, NDA):
        ids = [tweet.pk for tweet in riskiest if is_da(tweet) == (verdict == DA)]
        annotate_many(tweet_ids=ids, annotator=analyst, verdict=verdict, tag_ids=[])
    audit = audits.start(version, labels=300, user=None)
    before = audit.queue.items.filter(state="done").count()
    assert before > estimates.FEWEST
    first = audit.queue.items.filter(state="waiting").earliest("position")
    sample = audit_samples.read_sample(version, [audit])
    assert sum(one.is_judged for one in sample) == first.position - 1 < estimates.FEWEST
    judge(audit, analyst)
    assert all(one.is_judged for one in audit_samples.read_sample(version, [audit]))


@pytest.mark.django_db
def test_few_labels_give_no_figure(analyst):
    version = make_corpus()
    judge(audits.start(version, labels=100, user=None), analyst, only=estimates.FEWEST - 1)
    report = estimates.report(version)
    assert report is not None
    assert report.found is None


@pytest.mark.django_db
def test_unsure_and_skipped_tweets_are_counted_and_left_out(analyst):
    version = make_corpus(tweets=100)
    audit = audits.start(version, labels=100, user=None)
    judge(audit, analyst, only=98)
    for verdict in (Verdict.UNSURE, None):
        item = queues.claim_next(audit.queue, analyst)
        assert item is not None
        if verdict is None:
            queues.skip(item.pk, analyst)
        else:
            queues.submit(item.pk, analyst, verdict=verdict, tag_ids=[])
    report = estimates.report(version)
    assert report is not None
    assert (report.progress.judged, report.progress.unsure, report.progress.skipped) == (98, 1, 1)
    assert report.if_da is not None
    assert report.if_nda is not None
    assert report.if_da.positives.value == report.if_nda.positives.value + 2


@pytest.mark.django_db
def test_a_judgement_that_was_taken_back_is_left_open(analyst):
    version = make_corpus(tweets=100)
    audit = audits.start(version, labels=100, user=None)
    judge(audit, analyst)
    retract(Annotation.objects.earliest("id"), by=analyst)
    report = estimates.report(version)
    assert report is not None
    assert (report.progress.judged, report.progress.skipped, report.progress.waiting) == (99, 1, 0)


@pytest.mark.django_db
def test_an_audit_of_the_flagged_list_takes_no_label_out_of_the_estimate(analyst):
    """Most of what both drew is judged from the start, behind a tweet of the second that waits."""
    version = make_corpus(flagged=150)
    judge(whole := audits.start(version, labels=100, user=None), analyst)
    before = [one for one in audit_samples.read_sample(version, [whole]) if one.is_judged]
    flagged = audits.start(version, labels=100, user=None, only_flagged=True)
    assert len(set(flagged.queue.items.values_list("state", flat=True))) == 2
    after = [one for one in audit_samples.read_sample(version, [whole, flagged]) if one.is_judged]
    assert {one.tweet_id for one in before} <= {one.tweet_id for one in after}
    drawn = set(flagged.queue.items.values_list("tweet_id", flat=True))
    assert {one.tweet_id for one in after if not one.is_of_whole} == drawn & {one.tweet_id for one in after}


@pytest.mark.django_db
def test_the_labels_serve_another_version_too(analyst):
    """It flags the even ones alone: the same labels say that it is better."""
    version = make_corpus(tweets=200)
    judge(audits.start(version, labels=200, user=None), analyst)
    tweets = general()
    later = make_version()
    version.refresh_from_db()
    ModelVersion.objects.update(is_active=False)
    make_scores(later, {tweet: (0.8 if is_da(tweet) else 0.02, {}) for tweet in tweets})
    scoring.recount(later.pk)
    later.refresh_from_db()
    report = estimates.report(later)
    assert report is not None
    assert report.is_of_another
    assert report.found is not None
    assert report.found.precision is not None
    assert (report.found.recall.value, report.found.precision.value) == (1.0, 1.0)


@pytest.mark.django_db
def test_two_audits_are_put_together(analyst):
    version = make_corpus()
    for _ in range(2):
        judge(audits.start(version, labels=100, user=None), analyst)
    report = estimates.report(version)
    assert report is not None
    distinct = QueueItem.objects.filter(queue__strategy="audit").values("tweet").distinct().count()
    assert report.progress.judged == distinct > 100


@pytest.mark.django_db
def test_the_flagged_alone_say_nothing_of_the_corpus(analyst):
    version = make_corpus(flagged=100)
    judge(audits.start(version, labels=60, user=None, only_flagged=True), analyst)
    assert estimates.report(version) is None
    judge(audits.start(version, labels=100, user=None), analyst, only=estimates.FEWEST - 1)
    report = estimates.report(version)
    assert report is not None
    assert report.found is None
    assert report.whole.judged < estimates.FEWEST < report.progress.judged


@pytest.mark.django_db
def test_what_was_judged_of_the_flagged_before_does_not_stand_for_the_corpus(analyst):
    """Many flagged tweets of the audit are judged from its start, and none below the threshold."""
    version = make_corpus(flagged=60)
    judge(audits.start(version, labels=60, user=None, only_flagged=True), analyst)
    audit = audits.start(version, labels=180, user=None)
    assert audit.queue.items.filter(state="done").count() > estimates.FEWEST
    report = estimates.report(version)
    assert report is not None
    assert (report.whole.judged, report.found) == (0, None)


@pytest.mark.slow
@pytest.mark.django_db
def test_labels_of_the_flagged_sharpen_another_audit(analyst):
    version = make_corpus(tweets=1_000, flagged=300)
    judge(audits.start(version, labels=100, user=None), analyst)
    before = estimates.report(version)
    judge(audits.start(version, labels=150, user=None, only_flagged=True), analyst)
    after = estimates.report(version)
    assert before is not None
    assert before.found is not None
    assert before.found.precision is not None
    assert after is not None
    assert after.found is not None
    assert after.found.precision is not None
    judged = [sum(row.judged for row in report.strata if row.flagged) for report in (before, after)]
    assert judged[1] > judged[0] + 100
    assert after.found.precision.width < 0.13  # of 30 labels it would be .2 for the true .13, and varies


@pytest.mark.django_db
def test_an_audit_of_the_corpus_comes_before_more_labels_of_the_flagged(analyst):
    first = make_corpus(flagged=100)
    judge(audits.start(first, labels=130, user=None), analyst)  # more than twice the other, whatever is drawn
    ModelVersion.objects.update(is_active=False)
    second = make_version()
    make_scores(second, {t: (0.9 if number(t) < 100 else 0.02, {}) for t in general()})
    scoring.recount(second.pk)
    second.refresh_from_db()
    judge(audits.start(second, labels=90, user=None, only_flagged=True), analyst)
    audits.start(second, labels=60, user=None)  # of which nothing is judged but what the others had
    report = estimates.report(second)
    assert report is not None
    assert report.drawn_by == first


@pytest.mark.django_db
def test_it_says_what_lies_beyond_the_keywords(analyst):
    version = make_corpus(tweets=200)
    make_rule(make_tag("even"), "invented [0-9]*[02468]$", kind="regex")  # matches every DA tweet here
    judge(audits.start(version, labels=200, user=None), analyst)
    report = estimates.report(version)
    assert report is not None
    assert report.beyond is not None
    assert report.beyond.judged_positive == 0
    assert report.beyond.positives.value <= 5


@pytest.mark.django_db
def test_no_version_learns_what_an_audit_asked_for(analyst):
    version = make_corpus(tweets=100)
    before = Tweet.objects.filter(source=Source.GENERAL).first()
    assert before is not None
    annotate(tweet_id=before.pk, annotator=analyst, verdict=NDA, tag_ids=[])
    judge(audits.start(version, labels=100, user=None), analyst)
    learnt = {row[0] for row in snapshots._labelled(seed=1) if row[1] == Source.GENERAL}
    assert learnt == {before.pk}


@pytest.mark.django_db
def test_no_version_takes_a_tweet_for_nda_that_an_audit_has_still_to_ask_about(analyst):
    audit = audits.start(make_corpus(), labels=100, user=None)
    asked = set(audit.queue.items.values_list("tweet_id", flat=True))
    draw = snapshots.draw_negatives(1_000, seed=1, rules=RuleSet.active(), tick=lambda *, stage: None)
    drawn = {row[0] for row in draw.rows}
    assert len(drawn) == TWEETS - 100
    assert not drawn & asked


@pytest.mark.django_db
def test_audits_are_not_a_strategy_of_the_queue_form():
    assert Queue.Strategy.AUDIT not in sampling.STRATEGIES


@pytest.mark.django_db
def test_the_prevalence_can_be_a_prior_once_it_is_known_well(analyst):
    version = make_corpus(tweets=200)
    assert estimates.audited_prevalence() is None
    judge(audits.start(version, labels=200, user=None), analyst)
    found = estimates.audited_prevalence()
    assert found is not None
    assert found.value == pytest.approx(0.2)


@pytest.mark.django_db
def test_the_strata_are_shown_from_the_highest_scores(analyst):
    version = make_corpus(tweets=200)
    judge(audits.start(version, labels=200, user=None), analyst)
    report = estimates.report(version)
    assert report is not None
    assert [row.flagged for row in report.strata] == sorted(
        (row.flagged for row in report.strata), reverse=True
    )
    assert sum(row.tweets for row in report.strata) == sum(row.judged for row in report.strata) == 200
    assert sum(row.positive for row in report.strata) == 40


@pytest.mark.django_db
def test_a_tag_is_estimated_where_enough_judged_tweets_have_it(analyst):
    """The model gives it to the first 50 of 200; people to every second one of these. The other tag is too rare."""
    common, rare = make_tag("pain"), make_tag("heroin")
    version = make_corpus(tweets=200, tags=(common, rare))
    audit = audits.start(version, labels=200, user=None)
    for tags, ids in (
        ([common.pk], [t for t in general() if number(t) < 50 and number(t) % 2 == 0]),
        ([rare.pk], [t for t in general() if number(t) == 199]),
        ([], [t for t in general() if (number(t) >= 50 or number(t) % 2) and number(t) != 199]),
    ):
        annotate_many(tweet_ids=[t.pk for t in ids], annotator=analyst, verdict=NDA, tag_ids=tags)
    audit.queue.items.update(state="done", claimed_by=analyst)
    report = estimates.report(version)
    assert report is not None
    first, second = report.tags
    assert (first.positive, second.positive) == (25, 1)
    assert first.found is not None
    assert first.found.precision is not None
    assert (first.found.recall.value, first.found.precision.value) == (1.0, 0.5)
    assert second.found is None
    assert second.more == 200 * 9


@pytest.mark.django_db
def test_the_command_draws_and_reports(analyst, tmp_path):
    with pytest.raises(CommandError, match="none is active"):
        call_command("audit")
    version = make_corpus(tweets=200)
    with pytest.raises(CommandError, match="draw one with"):
        call_command("audit")
    call_command("audit", "--draw", "200")
    with pytest.raises(CommandError, match="Only 0 tweets"):
        call_command("audit")
    judge(Audit.objects.get(), analyst)
    file = tmp_path / "audit.json"
    call_command("audit", "--version", str(version.number), "--json", str(file))
    figures = json.loads(file.read_text())
    assert figures["corpus"]["positives"] == {"value": 40.0, "low": 40.0, "high": 40.0}
    assert figures["labels"]["judged"] == 200


@pytest.mark.django_db
def test_the_command_draws_among_the_flagged_and_says_what_they_tell(analyst, capsys):
    version = make_corpus(flagged=100)
    call_command("audit", "--draw", "60", "--flagged")
    assert "60 of 400 general tweets drawn in" in capsys.readouterr().out
    assert Audit.objects.get().is_of_flagged
    judge(Audit.objects.get(), analyst)
    call_command("audit", "--json", "-")
    figures = json.loads(capsys.readouterr().out)
    assert figures["from_flagged"]["labels"]["judged"] == 60
    assert figures["from_flagged"]["corpus"] is None  # nothing was held out
    call_command("audit")
    assert f"general tweets that version {version.number} flags, " in capsys.readouterr().out


@pytest.mark.django_db
def test_two_audits_take_their_names_one_after_the_other():
    audits.start(make_corpus(), labels=50, user=None)
    with connection.cursor() as cursor:  # held until the transaction ends, which here is the test's
        cursor.execute(
            "SELECT count(*) FROM pg_locks"
            " WHERE locktype = 'advisory' AND objid = %s AND pid = pg_backend_pid()",  # not another test's
            [audits.NAME_LOCK],
        )
        assert cursor.fetchone()[0] == 1
