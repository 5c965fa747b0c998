"""Labels that may be wrong: looked for by a job, asked about in the review queue."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.urls import reverse

from labeling import jobs, wrong_labels
from labeling.annotation import annotate
from labeling.labels import derive_labels
from labeling.models import Job, Origin, ReviewItem, Tag, Tweet, Verdict
from tests.factories import make_annotation, make_tag, make_tweet

pytestmark = pytest.mark.django_db


@pytest.fixture
def tag() -> Tag:
    return make_tag("opioids")


def run() -> Job:
    job = wrong_labels.request(user=None)
    jobs.run_job(job.pk, wrong_labels.work, heartbeat=False)
    job.refresh_from_db()
    return job


@pytest.fixture
def corpus(tag) -> list[Tweet]:
    """Imported judgements: tweets about pills are DA with the tag, those about tea NDA without; two of each are not."""
    tweets = []
    for n in range(160):
        is_da = n % 2 == 0
        words = ("took", "pills") if is_da else ("drank", "tea")
        tweets.append(make_tweet(f"{words[0]} some {words[1]} {('again', 'today', 'at home')[n % 3]} {n}"))
        said = is_da is (n >= 4)  # the first four are the wrong way round
        verdict = Verdict.DA if said else Verdict.NDA
        make_annotation(tweets[-1], origin=Origin.IMPORT, verdict=verdict, tag_ids=[tag.pk] if said else [])
    derive_labels([tweet.pk for tweet in tweets])
    return tweets


def test_wrong_labels_are_sent_to_review_with_what_is_in_question(corpus):
    job = run()
    assert (job.state, job.detail["tweets"]) == (Job.State.DONE, 160)
    items = list(ReviewItem.objects.open().order_by("id"))
    assert {item.tweet_id for item in items} == {tweet.pk for tweet in corpus[:4]}
    assert {item.reason for item in items} == {"wrong"}
    notes = {item.tweet_id: item.note for item in items}
    assert "Is it NDA (" in notes[corpus[0].pk]
    assert "Is “opioids” missing (" in notes[corpus[0].pk]
    assert "Is it DA (" in notes[corpus[1].pk]
    assert "Is “opioids” right (" in notes[corpus[1].pk]
    assert job.stage == "160 tweets looked at, 4 sent to review"


def test_a_tweet_is_asked_about_once_and_what_a_reviewer_decided_is_settled(corpus, reviewer):
    annotate(tweet_id=corpus[0].pk, annotator=reviewer, verdict=Verdict.NDA, tag_ids=[], origin=Origin.REVIEW)
    run()
    assert {item.tweet_id for item in ReviewItem.objects.all()} == {tweet.pk for tweet in corpus[1:4]}
    ReviewItem.objects.update(state=ReviewItem.State.REJECTED)
    assert run().detail["opened"] == 0
    assert ReviewItem.objects.count() == 3


def test_what_only_rules_said_is_not_looked_at(corpus, tag):
    for _ in range(20):
        make_annotation(make_tweet("tea"), origin=Origin.RULE, tag_ids=[tag.pk])
    derive_labels(list(Tweet.objects.values_list("pk", flat=True)))
    assert run().detail["tweets"] == 160


def test_another_judgement_does_not_close_the_question(corpus, analyst):
    run()
    annotate(tweet_id=corpus[0].pk, annotator=analyst, verdict=Verdict.DA, tag_ids=[])
    assert ReviewItem.objects.open().filter(tweet=corpus[0]).exists()


def test_only_the_worst_are_sent(corpus, monkeypatch):
    monkeypatch.setattr(wrong_labels, "ITEMS", 2)
    assert run().detail["opened"] == 2


def test_too_few_labels_say_what_to_do():
    job = run()
    assert job.state == Job.State.FAILED
    assert "at least 100 are needed" in job.error


def test_the_page_starts_one_search(
    reviewer, client_of, django_capture_on_commit_callbacks, monkeypatch, corpus
):
    rung: list[tuple[int, str]] = []
    monkeypatch.setattr(
        "labeling.tasks.run_job.apply_async", lambda args, queue, **k: rung.append((args[0], queue))
    )
    client, url = client_of(reviewer), reverse("labeling:wrong-labels")
    assert url in client.get(reverse("labeling:queue-new")).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(url)
    job = Job.objects.get(kind=Job.Kind.WRONG_LABELS)
    assert rung == [(job.pk, "jobs")]
    assert answer.url == reverse("labeling:job-detail", args=[job.pk])
    assert client.post(url).url == answer.url
    jobs.run_job(job.pk, wrong_labels.work, heartbeat=False)
    body = client.get(answer.url).content.decode()
    assert "?reason__exact=wrong" in body
    listed = client.get(
        reverse("admin:labeling_reviewitem_changelist"), {"reason__exact": "wrong"}
    ).content.decode()
    assert "The label may be wrong" in listed
    assert "Is it NDA (" in listed


@pytest.mark.slow
def test_pages_do_not_load_cleanlab():
    code = (
        "import os, django; os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'tests.settings'); django.setup();"
        "import labeling.urls, labeling.tasks, labeling.wrong_labels, sys; sys.exit('cleanlab' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
