"""Have we found enough? The check of a search, its counts and its pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling import queues, stopping
from labeling.annotation import annotate, retract
from labeling.models import Annotation, Job, Queue, QueueItem, ScoringRun, Source, Tweet, Verdict
from labeling.sampling import CannotDraw
from tests.factories import make_scores, make_tweet, make_version

pytestmark = pytest.mark.django_db
DA, NDA, UNSURE = Verdict.DA, Verdict.NDA, Verdict.UNSURE


@pytest.fixture
def tweets() -> list[Tweet]:
    """60 general tweets and 10 specific ones, scored by the active version."""
    made = [make_tweet(source=Source.GENERAL if n < 60 else Source.SPECIFIC) for n in range(70)]
    version = make_version()
    make_scores(version, {tweet: (0.9 - n / 100, {}) for n, tweet in enumerate(made)})
    version.score_summary["n"] = 70
    version.score_summary["sources"] = {str(int(Source.GENERAL)): [60, 0], str(int(Source.SPECIFIC)): [10, 0]}
    version.save()
    job = Job.objects.create(kind=Job.Kind.SCORE, state=Job.State.DONE)
    ScoringRun.objects.create(version=version, job=job, after_id=0, last_id=made[-1].pk)
    return made


def judge(tweet_id: int, user: User, verdict: Verdict) -> None:
    annotate(tweet_id=tweet_id, annotator=user, verdict=verdict, tag_ids=[])


def make_check(size: int = 10, **fields: Any) -> Queue:
    fields.setdefault("source", Source.GENERAL)
    return queues.create_queue(name="check", strategy="remainder", size=size, user=None, **fields)


def drawn_by(queue: Queue) -> list[int]:
    return list(queue.items.order_by("position").values_list("tweet_id", flat=True))


def test_a_check_is_drawn_from_what_nobody_had_judged(tweets, analyst):
    for tweet in tweets[:5]:
        judge(tweet.pk, analyst, DA)
    check = make_check(size=500, shows_suggestion=True)
    assert set(drawn_by(check)) == {tweet.pk for tweet in tweets[5:60]}
    assert check.remainder is not None
    assert check.remainder["population"] == 55
    assert not check.shows_suggestion  # always blind
    assert {item.inclusion_probability for item in check.items.all()} == {1.0}


def test_a_tweet_that_waits_elsewhere_is_part_of_what_is_left(tweets):
    queues.create_queue(name="riskiest", strategy="risk", size=20, user=None)
    assert len(drawn_by(make_check(size=500))) == 60


def test_a_check_needs_scores():
    make_tweet()
    with pytest.raises(CannotDraw, match="Train a version"):
        make_check()


def test_it_counts_in_the_order_of_the_draw_up_to_the_first_that_waits(tweets, analyst):
    ids = drawn_by(check := make_check(size=10))
    for place, verdict in ((0, NDA), (1, DA), (2, UNSURE), (5, DA), (6, NDA)):
        judge(ids[place], analyst, verdict)
    certificate = stopping.certificate_of(check)
    assert certificate.sample == stopping.Sample(drawn=10, judged=3, positives=1, skipped=0, later=2)
    assert (certificate.found, certificate.found_before) == (2, 0)


def test_a_skipped_tweet_counts_as_missed_until_somebody_judges_it(tweets, analyst, reviewer):
    ids = drawn_by(check := make_check(size=10))
    check.items.filter(tweet_id=ids[0]).update(state=QueueItem.State.SKIPPED)
    assert stopping.certificate_of(check).sample == stopping.Sample(10, 1, 1, 1, 0)
    judge(ids[0], reviewer, NDA)
    assert stopping.certificate_of(check).sample == stopping.Sample(10, 1, 0, 0, 0)


def test_a_judgement_that_was_taken_back_counts_as_missed_and_holds_nothing_up(tweets, analyst):
    """Nobody is asked for it again: were it waited for, no later label would ever count."""
    check = make_check(size=10)
    for _ in range(3):
        item = queues.claim_next(check, analyst)
        assert item is not None
        last = queues.submit(item.pk, analyst, verdict=NDA, tag_ids=[])
    first = Annotation.objects.earliest("id")
    assert last is not None
    retract(first, by=analyst)
    assert stopping.certificate_of(check).sample == stopping.Sample(
        drawn=10, judged=3, positives=1, skipped=1, later=0
    )


def test_what_is_found_later_raises_the_share_and_leaves_the_limit(tweets, analyst):
    for tweet in tweets[:8]:
        judge(tweet.pk, analyst, DA)
    ids = drawn_by(check := make_check(size=50))
    for tweet_id in ids[:30]:
        judge(tweet_id, analyst, NDA)
    before = stopping.certificate_of(check)
    others = [tweet.pk for tweet in tweets[8:60] if tweet.pk not in ids[:30]]
    judge(next(i for i in others if i != ids[30]), analyst, DA)
    after = stopping.certificate_of(check)
    assert (before.found, before.found_before, before.judged) == (8, 8, 38)
    assert (after.found, after.found_before, after.judged) == (9, 8, 39)
    assert after.most_left == before.most_left
    assert before.recall is not None
    assert after.recall is not None
    assert after.recall > before.recall


def test_when_all_is_judged_all_is_certain(tweets, analyst):
    for tweet in tweets[:3]:
        judge(tweet.pk, analyst, DA)
    check = make_check(size=500)
    for tweet_id in drawn_by(check):
        judge(tweet_id, analyst, NDA)
    certificate = stopping.certificate_of(check)
    assert (certificate.percent, certificate.missing) == (100, 0)
    assert {step.labels for step in stopping.steps_of(certificate)} == {0}


def test_a_check_is_enlarged_from_what_it_was_drawn_from(tweets, analyst):
    """A tweet that was judged since is still part of what was left, and may be drawn."""
    ids = drawn_by(check := make_check(size=20))
    for tweet in tweets[:60]:
        if tweet.pk not in ids:
            judge(tweet.pk, analyst, NDA)
    make_tweet()  # came later: not part of it
    assert queues.enlarge_check(check, 500) == 40
    assert set(drawn_by(check)) == {tweet.pk for tweet in tweets[:60]}
    assert sorted(check.items.values_list("position", flat=True)) == list(range(1, 61))


def test_the_page_says_in_words_what_is_certain(tweets, analyst, client_of):
    for tweet in tweets[:10]:
        judge(tweet.pk, analyst, DA)
    check = make_check(size=500)
    ids = drawn_by(check)
    client = client_of(analyst)
    assert "Nothing can be said yet" in client.get(f"/queues/{check.pk}/check/").content.decode()
    for tweet_id in ids[:45]:
        judge(tweet_id, analyst, NDA)
    page = client.get(f"/queues/{check.pk}/check/").content.decode()
    percent = stopping.certificate_of(check).percent
    assert percent is not None
    assert percent > 50
    assert f"at least <strong>{percent}&nbsp;%</strong> are found" in page
    assert "after 55 tweets were judged" in page
    assert "Draw more tweets" not in page  # for reviewers


def test_the_page_asks_few_questions(tweets, analyst, client_of, django_assert_max_num_queries):
    check = make_check()
    client = client_of(analyst)
    with django_assert_max_num_queries(9):
        client.get(f"/queues/{check.pk}/check/")


def test_without_a_check_the_page_says_what_one_is(tweets, reviewer, client_of):
    client = client_of(reviewer)
    page = client.get("/queues/check/").content.decode()
    assert "No check yet" in page
    assert "/queues/new/?strategy=remainder" in page
    new = client.get("/queues/new/?strategy=remainder").content.decode()
    assert 'id="strategy-remainder" value="remainder" checked' in new
    check = make_check()
    assert client.get("/queues/check/")["Location"] == f"/queues/{check.pk}/check/"
    assert "What it says" in client.get("/queues/").content.decode()


def test_a_reviewer_makes_a_check_and_enlarges_it(tweets, reviewer, client_of):
    client = client_of(reviewer)
    made = client.post(
        "/queues/new/",
        {
            "name": "enough?",
            "strategy": "remainder",
            "size": "10",
            "source": "general",
            "annotators_per_tweet": "1",
        },
    )
    check = Queue.objects.get()
    assert made["Location"] == f"/queues/{check.pk}/check/"
    client.post(f"/queues/{check.pk}/check/more/", {"size": "15"})
    assert check.items.count() == 25
    answer = client.post(f"/queues/{check.pk}/check/more/", {"size": "many"}, follow=True)
    assert "Say how many tweets to add" in answer.content.decode()
    assert check.items.count() == 25
