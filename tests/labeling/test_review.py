"""Which tweets need a reviewer, and how the question is asked, renamed and taken back."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling import review
from labeling.annotation import annotate, annotate_many, retract
from labeling.models import AuditEvent, ModelVersion, Origin, ReviewItem, Verdict
from tests.factories import make_tweet

pytestmark = pytest.mark.django_db


def reasons(tweet) -> list[tuple[str, str]]:
    return list(ReviewItem.objects.filter(tweet=tweet).order_by("id").values_list("reason", "state"))


def judge(tweet, annotator, verdict, tag_ids=(), **kwargs):
    return annotate(tweet_id=tweet.pk, annotator=annotator, verdict=verdict, tag_ids=tag_ids, **kwargs)


def score(tweet, risk: float, *, threshold: float = 0.4) -> ModelVersion:
    """An active version with one published score."""
    version = ModelVersion.objects.create(
        number=1, state="ready", is_active=True, threshold=threshold, scores_published_at=timezone.now()
    )
    with connection.cursor() as cursor:
        table = f"labeling_score_v{version.pk}"
        cursor.execute(f"CREATE TABLE {table} PARTITION OF labeling_score FOR VALUES IN ({version.pk})")
        cursor.execute(
            "INSERT INTO labeling_score (tweet_id, version_id, risk, source, tag_bytes)"
            " VALUES (%s, %s, %s, 2, '')",
            [tweet.pk, version.pk, risk],
        )
    return version


def test_agreement_opens_nothing(analyst, second_analyst):
    tweet = make_tweet()
    judge(tweet, analyst, Verdict.DA, [1])
    judge(tweet, second_analyst, Verdict.DA, [1])
    assert reasons(tweet) == []


def test_disagreement_on_the_verdict_or_the_tags_opens_one_item(analyst, second_analyst):
    by_verdict, by_tags = make_tweet(), make_tweet()
    judge(by_verdict, analyst, Verdict.DA)
    judge(by_verdict, second_analyst, Verdict.NDA)
    judge(by_tags, analyst, Verdict.DA, [1])
    judge(by_tags, second_analyst, Verdict.DA, [2])
    assert reasons(by_verdict) == reasons(by_tags) == [("disagreement", "open")]


def test_it_closes_when_the_analyst_changes_their_mind_and_opens_again_when_needed(analyst, second_analyst):
    tweet = make_tweet()
    judge(tweet, analyst, Verdict.DA)
    judge(tweet, second_analyst, Verdict.NDA)
    judge(tweet, second_analyst, Verdict.DA)
    assert reasons(tweet) == [("disagreement", "rejected")]
    judge(tweet, analyst, Verdict.NDA)
    assert reasons(tweet) == [("disagreement", "rejected"), ("disagreement", "open")]


def test_unsure_becomes_disagreement_when_a_second_analyst_is_sure(analyst, second_analyst):
    tweet = make_tweet()
    judge(tweet, analyst, Verdict.UNSURE)
    assert reasons(tweet) == [("unsure", "open")]
    judge(tweet, second_analyst, Verdict.DA)
    assert reasons(tweet) == [("disagreement", "open")]


def test_an_undo_closes_what_the_annotation_opened(analyst):
    tweet = make_tweet()
    annotation = judge(tweet, analyst, Verdict.UNSURE)
    retract(annotation, by=analyst)
    assert reasons(tweet) == [("unsure", "rejected")]


@pytest.mark.parametrize(
    ("verdict", "risk", "opens"),
    [
        (Verdict.NDA, 0.75, True),
        (Verdict.NDA, 0.65, False),  # above the threshold, but within the margin
        (Verdict.DA, 0.03, True),
        (Verdict.DA, 0.2, False),
        (Verdict.DA, 0.9, False),
    ],
)
def test_a_verdict_far_from_the_active_model_opens_an_item(analyst, verdict, risk, opens):
    tweet = make_tweet()
    score(tweet, risk, threshold=0.4)
    judge(tweet, analyst, verdict)
    assert bool(reasons(tweet)) is opens


def test_a_version_without_published_scores_contradicts_nobody(analyst):
    tweet = make_tweet()
    version = score(tweet, 0.99)
    ModelVersion.objects.filter(pk=version.pk).update(scores_published_at=None)
    judge(tweet, analyst, Verdict.NDA)
    assert reasons(tweet) == []


def test_a_reviewer_who_judges_on_another_page_settles_the_open_item(analyst, second_analyst, reviewer):
    tweet = make_tweet()
    judge(tweet, analyst, Verdict.DA)
    judge(tweet, second_analyst, Verdict.NDA)
    annotation = judge(tweet, reviewer, Verdict.NDA, origin=Origin.REVIEW)
    item = ReviewItem.objects.get(tweet=tweet)
    assert (item.state, item.decided_by, item.annotation) == ("corrected", reviewer, annotation)


def test_sending_opens_one_item_each_and_can_be_withdrawn(analyst, second_analyst):
    sent, already = make_tweet(), make_tweet()
    judge(already, analyst, Verdict.UNSURE)
    event = AuditEvent.objects.create(action=AuditEvent.Action.BULK, user=analyst)
    opened = review.send_to_review([sent.pk, already.pk, sent.pk], by=analyst, note="look", audit_event=event)
    assert opened == 1
    assert reasons(sent) == [("sent", "open")]
    assert reasons(already) == [("unsure", "open")]
    judge(sent, analyst, Verdict.DA)
    assert reasons(sent) == [("sent", "open")], "analysts do not answer what was sent to a reviewer"
    assert review.withdraw_event(event) == 1
    assert reasons(sent) == [("sent", "rejected")]


def test_many_tweets_cost_as_many_queries_as_one(analyst):
    tweets = [make_tweet() for _ in range(50)]
    annotate_many(tweet_ids=[t.pk for t in tweets], annotator=analyst, verdict=Verdict.DA)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        review.consider_many([t.pk for t in tweets])
    assert len(queries) == 2
