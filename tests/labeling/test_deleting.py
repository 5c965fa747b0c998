"""Deleting an import: what goes with it, what stays, going on after a kill, and importing the file again."""

from __future__ import annotations

import time
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from labeling import deleting, jobs, scoring, search_index
from labeling.labels import derive_labels
from labeling.models import (
    Annotation,
    AuditEvent,
    Example,
    FlaggedWords,
    Import,
    Job,
    Label,
    ModelVersion,
    Origin,
    Queue,
    QueueItem,
    ReviewItem,
    Score,
    ScoreTag,
    SearchIndex,
    Split,
    Tweet,
    Verdict,
)
from labeling.score_tables import ScoreTables
from tests.factories import (
    make_annotation,
    make_import,
    make_scores,
    make_tag,
    make_tweet,
    make_version,
)

pytestmark = pytest.mark.django_db


def ended_import(**fields: Any) -> Import:
    return make_import(job=Job.objects.create(kind=Job.Kind.IMPORT, state=Job.State.DONE), **fields)


def judge_everywhere(tweet: Tweet, analyst: Any, version: Any) -> None:
    """A row in every table that knows of tweets."""
    queue = Queue.objects.get_or_create(name="all", defaults={"strategy": "random"})[0]
    item = QueueItem.objects.create(queue=queue, tweet=tweet, position=tweet.pk)
    first = make_annotation(tweet, verdict=Verdict.DA, annotator=analyst, queue_item=item)
    make_annotation(tweet, annotator=analyst, retracts=first)
    decision = make_annotation(tweet, verdict=Verdict.NDA, annotator=analyst, origin=Origin.REVIEW)
    ReviewItem.objects.create(tweet=tweet, reason="sent", state="corrected", annotation=decision)
    derive_labels([tweet.pk])
    Example.objects.create(
        version=version, tweet=tweet, split=Split.TEST, verdict=1, probabilities=[0.9, 0.2]
    )
    FlaggedWords.objects.create(version=version, tweet=tweet)


HANGING = (Label, Annotation, QueueItem, ReviewItem, Example, FlaggedWords, Score, ScoreTag)


@pytest.fixture
def two_imports(analyst) -> tuple[Import, Import]:
    """Three tweets each, judged, scored and flagged."""
    rows = (ended_import(imported=3), ended_import(imported=3))
    tweets = [make_tweet(f"tweet {n}", import_id=rows[n % 2].pk) for n in range(6)]
    version = make_version()
    tag = make_tag()
    make_scores(version, {tweet: (0.9, {tag: 0.8}) for tweet in tweets})
    unseen = make_version()  # scored, but not published: its tables hang nowhere
    with connection.cursor() as cursor:
        own, other = ScoreTables(unseen.pk).score, ScoreTables(version.pk).score
        cursor.execute(f"CREATE TABLE {own} AS SELECT * FROM {other}")
    for tweet in tweets:
        judge_everywhere(tweet, analyst, version)
    version.score_summary |= {"threshold": 0.5}
    version.save()
    scoring.recount(version.pk)
    version.refresh_from_db()
    assert version.score_summary["n"] == 6
    return rows


def delete(row: Import) -> Job:
    done = jobs.run_job(deleting.start(row, user=None).pk, deleting.work, heartbeat=False)
    assert done is not None
    assert done.error == ""
    return done


def test_everything_that_hangs_on_its_tweets_goes_and_nothing_else(two_imports):
    gone, stays = two_imports
    delete(gone)
    left = set(Tweet.objects.values_list("pk", flat=True))
    assert set(Tweet.objects.filter(import_id=stays.pk).values_list("pk", flat=True)) == left
    assert len(left) == 3
    for model in HANGING:
        assert set(model.objects.values_list("tweet_id", flat=True)) == left, model
    for table in deleting.score_tables_of_all(published=True) + deleting.score_tables_of_all(published=False):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT array_agg(DISTINCT tweet_id) FROM {table}")
            assert set(cursor.fetchone()[0]) == left, table


def test_the_dashboard_counts_what_is_left(two_imports):
    delete(two_imports[0])
    version = ModelVersion.objects.get(is_active=True)
    assert (version.score_summary["n"], version.score_summary["flagged"]) == (3, 3)


def test_pages_of_the_version_still_work(two_imports, client_of, analyst):
    delete(two_imports[0])
    client = client_of(analyst)
    number = ModelVersion.objects.get(is_active=True).number
    for url in (
        "/",
        "/tweets/",
        "/flagged/",
        f"/versions/{number}/",
        "/queues/",
    ):
        assert client.get(url).status_code == 200, url


def test_judgements_can_be_deleted_in_no_other_way(two_imports):
    from django.db import transaction
    from django.db.utils import InternalError

    delete(two_imports[0])
    with pytest.raises(InternalError, match="Cannot update or delete"), transaction.atomic():
        deleting._delete(Annotation.objects.all())


def test_the_row_stays_and_the_deletion_is_on_record(two_imports, admin, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    row = two_imports[0]
    row.rejected_file.save("rejected.csv", ContentFile(b"line"))
    path = Path(row.rejected_file.path)
    job = deleting.start(row, user=admin)
    jobs.run_job(job.pk, deleting.work, heartbeat=False)
    row.refresh_from_db()
    assert row.deleted_at is not None
    assert row.imported == 3
    assert not row.rejected_file
    assert not path.exists()
    event = AuditEvent.objects.get(action=AuditEvent.Action.DELETE)
    assert (event.user, event.tweets, event.detail["import"]) == (admin, 3, row.pk)


def test_a_deletion_that_was_killed_goes_on(two_imports, monkeypatch):
    row = two_imports[0]
    monkeypatch.setattr(deleting, "RANGE", 2)
    real, calls = deleting.delete_range, list[Any]()

    def dies(*args: Any) -> int:
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(deleting, "delete_range", dies)
    job = deleting.start(row, user=None)
    with pytest.raises(KeyboardInterrupt):
        jobs.run_job(job.pk, deleting.work, heartbeat=False)
    assert Tweet.objects.filter(import_id=row.pk).count() == 2
    Job.objects.filter(pk=job.pk).update(heartbeat_at="2020-01-01T00:00Z")
    monkeypatch.setattr(deleting, "delete_range", real)
    done = jobs.run_job(job.pk, deleting.work, heartbeat=False)
    assert done is not None
    assert done.state == Job.State.DONE
    assert Tweet.objects.count() == 3
    assert AuditEvent.objects.filter(action=AuditEvent.Action.DELETE).count() == 1


def test_it_waits_for_whoever_writes_of_tweets(two_imports, monkeypatch):
    scorer = Job.objects.create(kind=Job.Kind.SCORE, state=Job.State.RUNNING)
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(Tweet.objects.count())
        Job.objects.filter(pk=scorer.pk).update(state=Job.State.DONE)

    monkeypatch.setattr(time, "sleep", sleep)
    delete(two_imports[0])
    assert waited == [6]


def test_it_does_not_wait_for_a_job_whose_worker_is_gone(two_imports, monkeypatch):
    """The background worker that would take it over may be the one that deletes."""
    long_ago = timezone.now() - timedelta(days=1)
    Job.objects.create(kind=Job.Kind.NEAR_COPIES, state=Job.State.RUNNING, heartbeat_at=long_ago)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    delete(two_imports[0])
    assert Tweet.objects.count() == 3


def test_scores_that_a_chunk_wrote_of_a_tweet_that_is_gone_go_too(two_imports, monkeypatch):
    """It had read the tweet a moment before."""
    version = ModelVersion.objects.earliest("pk")
    gone = Tweet.objects.filter(import_id=two_imports[0].pk).earliest("id").pk
    table = ScoreTables(version.pk).score

    def write_late() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (tweet_id, version_id, risk, source, tag_bytes)"
                f" SELECT %s, version_id, risk, source, tag_bytes FROM {table} LIMIT 1",
                [gone],
            )

    monkeypatch.setattr(deleting, "_sweep_unpublished", write_late)
    delete(two_imports[0])
    version.refresh_from_db()
    assert version.score_summary["n"] == 3
    assert not Score.objects.filter(version=version, tweet_id=gone).exists()


def test_a_running_import_and_one_that_is_gone_cannot_be_deleted(two_imports):
    running = make_import(job=jobs.create_job(Job.Kind.IMPORT))
    with pytest.raises(deleting.CannotDelete, match="still running"):
        deleting.start(running, user=None)
    row = two_imports[0]
    deleting.start(row, user=None)
    with pytest.raises(deleting.CannotDelete, match="being deleted"):
        deleting.start(row, user=None)
    Job.objects.filter(deleted_import=row).update(state=Job.State.CANCELLED)
    delete(row)
    with pytest.raises(deleting.CannotDelete, match="deleted already"):
        deleting.start(row, user=None)


def test_an_import_that_failed_can_be_deleted_and_not_be_gone_on_with(client_of, admin, two_imports):
    row = two_imports[0]
    Job.objects.filter(import_row=row).update(state=Job.State.FAILED)
    row.file.save("left", ContentFile(b"text\n"))
    url = reverse("labeling:import-detail", args=[row.pk])
    client = client_of(admin)
    assert "Go on with the import" in client.get(url).content.decode()
    delete(row)
    page = client.get(url).content.decode()
    assert "Go on with the import" not in page
    assert "its tweets are gone" in page


def test_its_segments_are_forgotten():
    row = ended_import()
    make_tweet(import_id=row.pk, search_segment=search_index.open_segment(row))
    delete(row)
    assert not SearchIndex.objects.exists()


@pytest.mark.slow
def test_a_deleted_file_can_be_imported_again(tmp_path):
    file = tmp_path / "tweets.csv"
    file.write_text("id,text,verdict\n1,one,DA\n2,two,\n")
    for _ in range(2):
        call_command("import_tweets", str(file), source="general", stdout=StringIO(), stderr=StringIO())
        row = Import.objects.first()
        assert row is not None
        assert (row.imported, row.duplicates, Label.objects.count()) == (2, 0, 1)
        delete(row)
        assert Tweet.objects.count() == 0


# Page and command -----------------------------------------------------------------------------------------


def test_the_page_says_what_goes_and_wants_the_box_ticked(
    two_imports, client_of, admin, django_capture_on_commit_callbacks
):
    row, client = two_imports[0], client_of(admin)
    url = reverse("labeling:import-delete", args=[row.pk])
    assert url in client.get(reverse("labeling:import-detail", args=[row.pk])).content.decode()
    page = client.get(url)
    loss = page.context["loss"]
    assert (loss.tweets, loss.judged_shown, loss.examples_shown) == (3, "3", "3")
    assert client.post(url).status_code == 400
    assert not Job.objects.filter(kind=Job.Kind.DELETE).exists()
    answer = client.post(url, {"sure": "yes"})
    assert answer["Location"] == reverse("labeling:import-detail", args=[row.pk])
    assert Job.objects.get(kind=Job.Kind.DELETE).created_by == admin
    assert client.post(url, {"sure": "yes"}).status_code == 400


def test_only_admins_are_offered_it(two_imports, client_of, reviewer):
    page = client_of(reviewer).get(reverse("labeling:import-detail", args=[two_imports[0].pk]))
    assert "Delete the import" not in page.content.decode()


def test_the_command_says_what_would_go_and_deletes_with_yes(two_imports):
    row, said, out = two_imports[0], StringIO(), StringIO()
    with pytest.raises(CommandError, match="Nothing was deleted"):
        call_command("delete_import", row.pk, stderr=said)
    assert "3 tweets, 3 of them judged by people" in said.getvalue()
    call_command("delete_import", row.pk, yes=True, stdout=out, stderr=said)
    assert "deleted 3 tweets" in out.getvalue()
    with pytest.raises(CommandError, match="no import"):
        call_command("delete_import", 999)
