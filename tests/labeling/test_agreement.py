"""How far analysts agree: figures against worked examples, and the page."""

from __future__ import annotations

import pytest

from labeling.agreement import agreement, measure
from labeling.annotation import annotate, retract
from labeling.models import Annotation, Queue, QueueItem, Tweet, Verdict
from tests.factories import make_tag, make_tweet, make_version


def judge(tweet: Tweet, annotator, verdict: Verdict, tag_ids=(), *, queue: bool = True, **how) -> Annotation:
    """As handed out by a queue of two analysts for each tweet."""
    if queue:
        row, _ = Queue.objects.get_or_create(name="two each", annotators_per_tweet=2)
        seat = row.items.filter(tweet=tweet).count() + 1
        how["queue_item"] = QueueItem.objects.create(queue=row, tweet=tweet, seat=seat, position=tweet.pk)
    return annotate(tweet_id=tweet.pk, annotator=annotator, verdict=verdict, tag_ids=list(tag_ids), **how)


def test_kappa_of_a_worked_example():
    # 50 cases: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed .7, expected .5, kappa .4.
    said = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    found = agreement(said)
    assert found.n == 50
    assert found.share == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)


def test_kappa_is_undefined_when_both_always_say_the_same_and_all_is_undefined_without_cases():
    assert agreement([(1, 1)] * 30).kappa is None
    nothing = agreement([])
    assert (nothing.n, nothing.share, nothing.kappa) == (0, None, None)


@pytest.mark.django_db
def test_only_the_latest_judgement_counts_and_none_that_was_taken_back(analyst, second_analyst):
    tag = make_tag()
    for i in range(20):
        tweet = make_tweet()
        judge(tweet, analyst, Verdict.NDA)
        judge(tweet, analyst, Verdict.DA, [tag.pk])
        other = Verdict.DA if i < 15 else Verdict.NDA
        judge(tweet, second_analyst, other, [tag.pk])
    extra = make_tweet()
    judge(extra, analyst, Verdict.DA)
    mistake = judge(extra, second_analyst, Verdict.DA)
    retract(mistake, by=second_analyst)
    report = measure()
    [pair] = report.pairs
    assert (pair.first, pair.second, pair.verdict.n, pair.verdict.share) == ("ana", "ben", 20, 0.75)
    assert (report.tags[0].given, report.tags[0].agreement.share) == (20, 1.0)
    assert report.tags[0].agreement.kappa is None


@pytest.mark.slow
@pytest.mark.django_db
def test_what_was_said_with_others_answers_in_view_is_left_out(analyst, second_analyst):
    version = make_version()
    for _ in range(20):
        tweet = make_tweet()
        judge(tweet, analyst, Verdict.DA)
        judge(tweet, second_analyst, Verdict.NDA)
        judge(tweet, second_analyst, Verdict.DA, queue=False)  # a correction on the tweet's page
        hinted = make_tweet()
        for user in (analyst, second_analyst):
            judge(hinted, user, Verdict.DA, suggested_by=version.pk)
    [pair] = measure().pairs
    assert (pair.verdict.n, pair.verdict.share) == (20, 0)


@pytest.mark.django_db
def test_the_page_says_too_few_rather_than_a_figure(client_of, analyst, second_analyst):
    client = client_of(analyst)
    assert "judged by two people independently yet" in client.get("/agreement/").content.decode()
    tweet = make_tweet()
    for user in (analyst, second_analyst):
        judge(tweet, user, Verdict.DA)
    page = client.get("/agreement/").content.decode()
    assert "ana and ben" in page
    assert "too few to say" in page


@pytest.mark.django_db
def test_the_page_is_for_the_team_and_only_to_read(client_of, outsider, analyst, client):
    assert client_of(outsider).get("/agreement/").status_code == 403
    assert client_of(analyst).post("/agreement/").status_code == 405
    assert client.get("/agreement/").status_code == 302
