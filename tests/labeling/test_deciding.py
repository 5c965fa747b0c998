"""A reviewer's decisions: appended, audited, never overwriting."""

from __future__ import annotations

import pytest

from labeling.annotation import annotate
from labeling.deciding import CannotDecide, Decision, decide, decide_many
from labeling.models import Annotation, AuditEvent, Label, Origin, ReviewItem, Verdict
from labeling.review import send_to_review
from tests.factories import make_tweet

pytestmark = pytest.mark.django_db


def judge(tweet, annotator, verdict, tag_ids=()):
    return annotate(tweet_id=tweet.pk, annotator=annotator, verdict=verdict, tag_ids=tag_ids)


@pytest.fixture
def tie(analyst, second_analyst) -> ReviewItem:
    tweet = make_tweet()
    judge(tweet, analyst, Verdict.DA, [1, 2])
    judge(tweet, second_analyst, Verdict.NDA)
    return ReviewItem.objects.get(tweet=tweet)


def label_of(item: ReviewItem) -> tuple:
    label = Label.objects.get(pk=item.tweet_id)
    return label.verdict, label.tag_ids, label.verdict_origin, label.is_disputed


def test_a_correction_becomes_the_label_and_leaves_every_judgement_in_place(tie, reviewer):
    before = list(Annotation.objects.values_list("id", "verdict", "tag_ids"))
    item = decide(
        tie, reviewer=reviewer, decision=Decision.CORRECT, verdict=Verdict.DA, tag_ids=[3], note="slang"
    )
    assert (item.state, item.decided_by) == ("corrected", reviewer)
    assert item.annotation is not None
    assert (item.annotation.origin, item.annotation.note) == (Origin.REVIEW, "slang")
    assert label_of(item) == (Verdict.DA, [3], Origin.REVIEW, False)
    assert list(Annotation.objects.values_list("id", "verdict", "tag_ids"))[:2] == before
    assert AuditEvent.objects.get(action="review").user == reviewer


def test_approving_one_judgement_makes_it_the_label(tie, reviewer, analyst):
    chosen = Annotation.objects.get(annotator=analyst)
    item = decide(tie, reviewer=reviewer, decision=Decision.APPROVE, chosen=chosen)
    assert item.state == "approved"
    assert label_of(item) == (Verdict.DA, [1, 2], Origin.REVIEW, False)


def test_a_tie_cannot_be_approved_unseen(tie, reviewer):
    with pytest.raises(CannotDecide, match="no majority"):
        decide(tie, reviewer=reviewer, decision=Decision.APPROVE)
    tie.refresh_from_db()
    assert tie.state == "open"


def test_a_rejection_leaves_the_label_and_does_not_come_back_by_itself(tie, reviewer, analyst):
    before = label_of(tie)
    decide(tie, reviewer=reviewer, decision=Decision.REJECT, note="both are fair")
    tie.refresh_from_db()
    assert (tie.state, tie.annotation, label_of(tie)) == ("rejected", None, before)
    assert tie.note == "both are fair"
    assert not Annotation.objects.filter(origin=Origin.REVIEW).exists()


def test_the_second_reviewer_is_told_that_a_colleague_was_first(tie, reviewer, admin):
    decide(tie, reviewer=reviewer, decision=Decision.REJECT)
    with pytest.raises(CannotDecide, match="colleague"):
        decide(tie, reviewer=admin, decision=Decision.CORRECT, verdict=Verdict.DA)


def test_a_judgement_of_another_tweet_cannot_be_approved(tie, reviewer, analyst):
    foreign = judge(make_tweet(), analyst, Verdict.NDA)
    with pytest.raises(CannotDecide):
        decide(tie, reviewer=reviewer, decision=Decision.APPROVE, chosen=foreign)


def test_bulk_approval_keeps_each_label_and_leaves_ties_open(tie, reviewer, analyst):
    first, second = make_tweet(), make_tweet()
    judge(first, analyst, Verdict.DA, [1])
    judge(second, analyst, Verdict.NDA, [])
    send_to_review([first.pk, second.pk], by=analyst)
    ids = list(ReviewItem.objects.values_list("id", flat=True))
    outcome = decide_many(ids, reviewer=reviewer, decision=Decision.APPROVE)
    assert (outcome.decided, outcome.left) == (2, 1)
    items = {item.tweet_id: item for item in ReviewItem.objects.select_related("annotation")}
    assert label_of(items[first.pk]) == (Verdict.DA, [1], Origin.REVIEW, False)
    assert label_of(items[second.pk]) == (Verdict.NDA, [], Origin.REVIEW, False)
    assert items[tie.tweet_id].state == "open"
    decision = items[first.pk].annotation
    assert decision is not None
    assert decision.tweet_id == first.pk
    assert AuditEvent.objects.get(action="review").tweets == 2


def test_bulk_rejection_writes_no_annotation(tie, reviewer):
    outcome = decide_many([tie.pk], reviewer=reviewer, decision=Decision.REJECT)
    assert (outcome.decided, outcome.left) == (1, 0)
    assert not Annotation.objects.filter(origin=Origin.REVIEW).exists()
