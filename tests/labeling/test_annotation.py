"""Annotations are appended; an undo is a row of its own."""

from __future__ import annotations

import pytest
from django.db import Error, transaction

from labeling.annotation import annotate, annotate_many, retract, retract_event
from labeling.models import Annotation, AuditEvent, Label, Origin, Verdict
from tests.factories import make_tweet

pytestmark = pytest.mark.django_db


def test_a_judgement_is_appended_and_becomes_the_label(analyst):
    tweet = make_tweet()
    annotation = annotate(
        tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.DA, tag_ids=[7, 3, 7], note="slang", seconds=2.5
    )
    annotation.refresh_from_db()
    assert (annotation.tag_ids, annotation.origin, annotation.note) == ([3, 7], Origin.ANALYST, "slang")
    label = Label.objects.get(pk=tweet.pk)
    assert (label.verdict, label.tag_ids, label.annotators) == (Verdict.DA, [3, 7], 1)


def test_taking_it_back_leaves_both_rows_and_restores_the_judgement_before(analyst):
    tweet = make_tweet()
    annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.NDA, tag_ids=[])
    second = annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.DA, tag_ids=[1])
    retract(second, by=analyst)
    assert Annotation.objects.filter(tweet=tweet).count() == 3
    assert Label.objects.get(pk=tweet.pk).verdict == Verdict.NDA


def test_taking_it_back_twice_is_harmless(analyst):
    tweet = make_tweet()
    annotation = annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.NDA, tag_ids=None)
    assert retract(annotation, by=analyst) == retract(annotation, by=analyst)
    assert not Label.objects.filter(pk=tweet.pk).exists()


def test_a_retraction_cannot_be_retracted(analyst):
    annotation = annotate(tweet_id=make_tweet().pk, annotator=analyst, verdict=Verdict.NDA, tag_ids=None)
    retraction = retract(annotation, by=analyst)
    with pytest.raises(ValueError, match="annotate the tweet again"):
        retract(retraction, by=analyst)


def test_the_database_itself_refuses_to_change_or_delete_a_judgement(analyst):
    annotation = annotate(tweet_id=make_tweet().pk, annotator=analyst, verdict=Verdict.NDA, tag_ids=None)
    for change in (lambda: Annotation.objects.update(verdict=1), annotation.delete):
        with pytest.raises(Error), transaction.atomic():
            change()


def test_a_bulk_judgement_is_undone_as_one(analyst):
    tweets = [make_tweet() for _ in range(5)]
    annotate(tweet_id=tweets[0].pk, annotator=analyst, verdict=Verdict.NDA, tag_ids=None)
    event = AuditEvent.objects.create(action=AuditEvent.Action.BULK, user=analyst)
    ids = [tweet.pk for tweet in tweets]
    assert (
        annotate_many(tweet_ids=[*ids, ids[0]], annotator=analyst, verdict=Verdict.DA, audit_event=event) == 5
    )
    assert Label.objects.filter(verdict=Verdict.DA).count() == 5
    assert retract_event(event, by=analyst) == 5
    assert list(Label.objects.values_list("pk", "verdict")) == [(ids[0], Verdict.NDA)]
    assert retract_event(event, by=analyst) == 0
    undo = AuditEvent.objects.get(action=AuditEvent.Action.UNDO)
    assert (undo.tweets, undo.detail) == (5, {"undoes": event.pk})
