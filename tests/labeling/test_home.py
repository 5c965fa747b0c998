"""The first page: a fixed number of queries, and one clear next step in every state."""

from __future__ import annotations

from copy import copy
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling import jobs
from labeling.annotation import annotate
from labeling.models import Annotation, Job, ModelVersion, Origin, Queue, QueueItem, Rule, Source, Verdict
from labeling.overview import Overview, Tally, overview
from tests.factories import make_import, make_tag, make_tweet
from tests.plans import rows_read

pytestmark = pytest.mark.django_db

BINARY = {"n": 40, "positives": 10, "precision": 0.8, "recall": 0.9, "f1": 0.847, "average_precision": 0.85}


def next_of(user) -> str:
    step = overview(user).next_step
    assert step is not None
    return step.key


def import_both() -> None:
    make_tweet(source=Source.SPECIFIC)
    make_tweet()
    make_import(source=Source.SPECIFIC, imported=1)
    make_import(source=Source.GENERAL, imported=1)


def make_rule() -> None:
    Rule.objects.create(tag=make_tag(), pattern="percs")


def make_version(number: int = 1, *, is_active: bool = False) -> ModelVersion:
    sample = {"n": 40, "network": {"verdict": BINARY}, "baseline": {"verdict": {**BINARY, "recall": None}}}
    return ModelVersion.objects.create(
        number=number,
        state="ready",
        is_active=is_active,
        trained_at=timezone.now(),
        scores_published_at=timezone.now() if is_active else None,
        score_summary={"n": 2, "flagged": 1} if is_active else {},
        figures={
            "people": {**sample, "description": "judged by a person, <b>held out</b>"},
            "test": {**sample, "network": {"verdict": None}},
        },
    )


def test_the_loop_advances_step_by_step(analyst):
    assert next_of(analyst) == "import"
    import_both()
    assert next_of(analyst) == "rules"
    make_rule()
    assert next_of(analyst) == "train"
    first = make_version()
    assert next_of(analyst) == "score"
    ModelVersion.objects.filter(pk=first.pk).update(is_active=True)
    assert next_of(analyst) == "label"
    make_version(2)
    assert next_of(analyst) == "score"


def test_the_empty_installation_leads_a_newcomer_through_the_loop(client_of, analyst):
    page = client_of(analyst).get("/").content.decode()
    assert "Welcome, ana" in page
    for words in (
        "Import tweets",
        "Tags and rules",
        "Train a model",
        "Score every tweet",
        "Label",
        "Retrain",
    ):
        assert words in page


def test_it_shows_what_the_active_model_claims_and_on_which_sample(client_of, analyst):
    import_both()
    make_version(is_active=True)
    page = client_of(analyst).get("/").content.decode()
    assert "Judged by people" in page
    assert "judged by a person, &lt;b&gt;held out&lt;/b&gt;" in page
    assert "80.0 %" in page
    assert "0.850" in page
    assert "All held-out tweets" not in page, "a sample without positives claims nothing"
    assert "Does it find tweets that use none of my keywords?" in page


@pytest.mark.parametrize(("n", "written"), [(105_000, "105,000"), (20_100_000, "20.1 million")])
def test_an_estimate_of_the_tweets_can_be_read(client_of, analyst, monkeypatch, n, written):
    import_both()
    monkeypatch.setattr(
        Overview,
        "tweets",
        property(lambda self: Tally(n, "estimate"), lambda self, value: None),
        raising=False,
    )
    assert f'<span class="tile-value">{written}</span>' in client_of(analyst).get("/").content.decode()


def test_it_shows_what_runs_and_what_waits(client_of, analyst, reviewer):
    import_both()
    jobs.create_job(Job.Kind.TRAIN, user=analyst)
    queue = Queue.objects.create(name="Rare ones", strategy="random")
    tweet = make_tweet()
    QueueItem.objects.create(queue=queue, tweet=tweet, position=1)
    annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.UNSURE, tag_ids=[])
    page = client_of(analyst).get("/").content.decode()
    assert "Train" in page
    assert "Waiting for a worker" in page
    assert "Rare ones" in page
    assert "You have judged 1 tweet today" in page
    assert "Open reviews" not in page
    assert "Open reviews" in client_of(reviewer).get("/").content.decode()


def test_a_tweet_is_open_while_it_is_held_for_minutes_and_not_in_the_grace_of_a_closed_page(
    client_of, analyst
):
    queue = Queue.objects.create(name="Rare ones", strategy="random")
    item = QueueItem.objects.create(
        queue=queue, tweet=make_tweet(), position=1, state="claimed", claimed_by=analyst
    )
    for seconds, is_open in ((300, True), (10, False)):
        item.claimed_until = timezone.now() + timedelta(seconds=seconds)
        item.save()
        page = client_of(analyst).get("/").content.decode()
        assert ("The tweet that you have open" in page) == is_open


@pytest.mark.usefixtures("analyst")
def test_rules_that_were_applied_since_the_training_are_not_read_to_count_judgements(reviewer):
    make_version(is_active=True)
    tweet = make_tweet()
    by_rules = [Annotation(tweet=tweet, origin=Origin.RULE, tag_ids=[])] * 5_000
    by_people = [Annotation(tweet=tweet, origin=Origin.ANALYST, annotator=reviewer, tag_ids=[])] * 150
    Annotation.objects.bulk_create([copy(one) for one in by_rules + by_people])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE labeling_annotation, auth_user")
    with CaptureQueriesContext(connection) as queries:
        found = overview(reviewer)
    assert found.since_training == Tally(150)
    (counting,) = [query["sql"] for query in queries if "reltuples" in query["sql"]]
    assert rows_read(counting) < 3_000


def test_it_costs_few_queries_however_much_there_is(client_of, reviewer):
    import_both()
    make_rule()
    make_version(is_active=True)
    for n in range(6):
        queue = Queue.objects.create(name=f"queue {n}", strategy="random")
        QueueItem.objects.create(queue=queue, tweet=make_tweet(), position=1)
        jobs.create_job(Job.Kind.IMPORT)
    client = client_of(reviewer)
    with CaptureQueriesContext(connection) as queries:
        client.get("/")
    assert len(queries) <= 10


def test_it_is_for_the_team_and_only_to_read(client_of, outsider, analyst, client):
    assert client_of(outsider).get("/").status_code == 403
    assert client_of(analyst).post("/").status_code == 405
    assert client.get("/")["Location"] == "/log-in/?next=/"


def test_the_theme_is_kept_in_a_cookie_and_leads_back_to_our_own_pages_only(client_of, analyst):
    client = client_of(analyst)
    response = client.post("/theme/", {"theme": "dark", "next": "/agreement/"})
    assert response["Location"] == "/agreement/"
    assert 'data-bs-theme="dark"' in client.get("/").content.decode()
    assert client.post("/theme/", {"theme": "dark", "next": "https://evil.example/"})["Location"] == "/"
    assert client.post("/theme/", {"theme": '"><script>'}).status_code == 400
    assert client.get("/theme/").status_code == 405


def test_the_navigation_marks_the_page_and_shows_review_to_reviewers(client_of, analyst, reviewer):
    page = client_of(analyst).get("/agreement/").content.decode()
    assert 'href="/agreement/" aria-current="page"' in page
    assert "/admin/" not in page
    assert "/admin/labeling/reviewitem/" in client_of(reviewer).get("/").content.decode()
