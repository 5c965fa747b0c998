"""Erasing a tweet or an author: everywhere, for good, and whatever else is going on at that moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from labeling import (
    annotation,
    deleting,
    erased,
    erasing,
    jobs,
    queues,
    review,
    rules,
    scoring,
    tasks,
    tweets,
)
from labeling.annotation import annotate, annotate_many
from labeling.identity import dedupe_keys
from labeling.imports import importing
from labeling.labels import TweetsGone, derive_labels
from labeling.models import (
    Annotation,
    AuditEvent,
    ErasedAuthor,
    ErasedTweet,
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
    ScoringChunk,
    ScoringRun,
    Source,
    Split,
    Tweet,
    Verdict,
)
from labeling.sampling import STRATEGIES, Drawn
from labeling.score_tables import ScoreTables
from tests.factories import (
    make_annotation,
    make_import,
    make_rule,
    make_scores,
    make_tag,
    make_tweet,
    make_version,
)

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


def erase(*gone: Tweet, author: Any = None, user: User | None = None) -> Job:
    job = erasing.start(tweet_ids=[tweet.pk for tweet in gone], author=author, user=user)
    done = jobs.run_job(job.pk, erasing.work, heartbeat=False)
    assert done is not None
    assert (done.error, done.state) == ("", Job.State.DONE)
    return done


def judge_everywhere(tweet: Tweet, analyst: User, version: ModelVersion) -> None:
    """A row in every table that knows of tweets."""
    queue = Queue.objects.get_or_create(name="all", defaults={"strategy": "random"})[0]
    item = QueueItem.objects.create(queue=queue, tweet=tweet, position=tweet.pk)
    first = make_annotation(tweet, verdict=Verdict.DA, annotator=analyst, queue_item=item, note=tweet.text)
    make_annotation(tweet, annotator=analyst, retracts=first)
    decision = make_annotation(tweet, verdict=Verdict.NDA, annotator=analyst, origin=Origin.REVIEW)
    ReviewItem.objects.create(tweet=tweet, reason="sent", state="corrected", annotation=decision)
    derive_labels([tweet.pk])
    Example.objects.create(version=version, tweet=tweet, split=Split.TEST, verdict=1)
    FlaggedWords.objects.create(version=version, tweet=tweet)


@pytest.fixture
def judged(analyst: User) -> list[Tweet]:
    """Three tweets, judged, scored by a published version and by one that is not, and flagged."""
    found = [make_tweet(f"unheard words {n}", posted_at=timezone.now()) for n in range(3)]
    version, tag = make_version(), make_tag()
    make_scores(version, {tweet: (0.9, {tag: 0.8}) for tweet in found})
    version.score_summary |= {"threshold": 0.5}
    scoring.recount(version.pk)
    unseen, seen = ScoreTables(make_version().pk), ScoreTables(version.pk)
    with connection.cursor() as cursor:
        for own, other in zip(unseen.all, seen.all, strict=True):
            cursor.execute(f"CREATE TABLE {own} AS SELECT * FROM {other}")
    for tweet in found:
        judge_everywhere(tweet, analyst, version)
    return found


def tables_of_tweets() -> dict[str, set[str]]:
    """{table: columns that hold a tweet's number}: named so, or referring to it; found in the database and the models."""
    found: dict[str, set[str]] = {"labeling_tweet": {"id"}}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND column_name LIKE '%%tweet_id%%'"
            " UNION SELECT conrelid::regclass::text, attname FROM pg_constraint"
            " JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY(conkey)"
            " WHERE contype = 'f' AND confrelid = 'labeling_tweet'::regclass"
        )
        rows = cursor.fetchall()
    for field in Tweet._meta.related_objects:
        rows.append((field.related_model._meta.db_table, field.field.column))
    for table, column in rows:
        found.setdefault(table, set()).add(column)
    return found


def places_of(number: int) -> list[str]:
    """Every column of a tweet's number that holds this one."""
    places = []
    for table, columns in tables_of_tweets().items():
        for column in columns:
            with connection.cursor() as cursor:
                cursor.execute(f'SELECT count(*) FROM "{table}" WHERE "{column}" = %s', [number])
                if cursor.fetchone()[0]:
                    places.append(f"{table}.{column}")
    return sorted(places)


def places_of_text(text: str) -> list[str]:
    """Every table with a row that has the text in it, in whatever column."""
    places = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT count(*) FROM "{table}" t WHERE position(%s IN t::text) > 0', [text])
            if cursor.fetchone()[0]:
                places.append(table)
    return sorted(places)


# Everywhere -----------------------------------------------------------------------------------------------


def test_nothing_in_any_table_knows_of_the_tweet_any_more(judged):
    gone, stays = judged[0], judged[1]
    before = places_of(gone.pk)
    # A table that is new belongs into judge_everywhere(), and into deleting.delete_tweets().
    assert set(tables_of_tweets()) - {place.split(".")[0] for place in before} <= {"labeling_erasedtweet"}
    assert places_of_text(gone.text) == ["labeling_annotation", "labeling_tweet"]
    erase(gone)
    assert places_of(gone.pk) == []
    assert places_of_text(gone.text) == []
    assert places_of(stays.pk) != []
    assert Annotation.objects.filter(tweet_id=stays.pk).count() == 3


def test_it_is_found_by_no_search_and_in_no_list(judged, client_of, analyst):
    erase(judged[0])
    assert [t.pk for t in tweets.find(tweets.Wanted(q="unheard")).tweets] == [judged[2].pk, judged[1].pk]
    client = client_of(analyst)
    for path in ("/", "/tweets/", "/flagged/", "/queues/"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert judged[0].text not in answer.content.decode()
    assert client.get(f"/tweets/{judged[0].pk}/").status_code == 404


def test_the_same_post_from_the_other_source_goes_too_and_near_copies_stay():
    specific, general = (
        make_tweet("a", external_id="7", source=Source.SPECIFIC),
        make_tweet("a", external_id="7"),
    )
    for tweet in (specific, general):
        tweet.dedupe_key = int(dedupe_keys(tweet.source, [("7", "")])[0])
        tweet.save()
    copy = make_tweet("RT a", group_hash=specific.group_hash)
    assert erase(general).done == 2
    assert list(Tweet.objects.all()) == [copy]


def test_all_of_an_authors_tweets_go_in_batches(monkeypatch):
    monkeypatch.setattr(erasing, "BATCH", 3)
    author, other = erasing.author_of("ann"), erasing.author_of("bob")
    for n in range(10):
        make_tweet(author_hash=author if n % 2 else other)
    stays = make_tweet()
    assert erasing.count_of(author) == 5
    job = erase(author=author)
    assert (job.done, job.stage) == (5, "Tweets erased")
    assert set(Tweet.objects.values_list("author_hash", flat=True)) == {other, None}
    assert Tweet.objects.filter(pk=stays.pk).exists()
    assert erasing.count_of(author) == 0


def test_judgements_can_be_deleted_in_no_other_way(judged):
    from django.db.utils import InternalError

    erase(judged[0])
    with pytest.raises(InternalError, match="Cannot update or delete"), transaction.atomic():
        deleting._delete(Annotation.objects.all())


def test_what_is_on_record_says_who_and_how_many_and_never_whom(judged, admin):
    author = erasing.author_of("ann")
    Tweet.objects.filter(pk=judged[0].pk).update(author_hash=author)
    job = erase(judged[1], author=author, user=admin)
    event = AuditEvent.objects.get(action=AuditEvent.Action.ERASE)
    assert (event.user, event.tweets, event.detail) == (admin, 2, {"what": "author", "job": job.pk})
    assert author.hex not in str(job.detail)
    assert "ann" not in str(job.detail)


# Safe to repeat -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["_erase", "_sweep", "_clean_rejected", "_record"])
def test_an_erasure_that_was_killed_goes_on(judged, monkeypatch, step):
    monkeypatch.setattr(erasing, "BATCH", 2)
    real: Callable[..., Any] = getattr(erasing, step)
    calls = []

    def dies(*args: Any, **options: Any) -> Any:
        calls.append(step)
        if len(calls) == (2 if step == "_erase" else 1):
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(erasing, step, dies)
    job = erasing.start(tweet_ids=[tweet.pk for tweet in judged], user=None)
    with pytest.raises(KeyboardInterrupt):
        jobs.run_job(job.pk, erasing.work, heartbeat=False)
    Job.objects.filter(pk=job.pk).update(heartbeat_at="2020-01-01T00:00Z")
    monkeypatch.setattr(erasing, step, real)
    done = jobs.run_job(job.pk, erasing.work, heartbeat=False)
    assert done is not None
    assert (done.state, done.done) == (Job.State.DONE, 3)
    assert not Tweet.objects.exists()
    assert not any(places_of(tweet.pk) for tweet in judged)
    assert AuditEvent.objects.get(action=AuditEvent.Action.ERASE).tweets == 3


def test_the_next_erasure_ends_what_one_that_was_cancelled_left(judged):
    """Between the deletion and the second look a job has written of the tweet."""
    job = erasing.start(tweet_ids=[judged[0].pk], user=None)
    with transaction.atomic():
        erasing._erase([judged[0].pk], job, set())
    FlaggedWords.objects.create(version=make_version(), tweet_id=judged[0].pk)
    jobs.request_cancel(job)
    erase(judged[1])
    assert places_of(judged[0].pk) == []


def test_the_same_post_that_an_import_was_just_writing_goes_too(monkeypatch):
    """Its batch had asked for marks before there were any, and is committed after the first look."""
    gone = make_tweet("the same words", source=Source.GENERAL, external_id="77")
    settled = scoring.last_settled_id

    def then_commit() -> int:
        make_tweet("the same words", source=Source.SPECIFIC, external_id="77", dedupe_key=other_key)
        return settled()

    (other_key,) = dedupe_keys(Source.SPECIFIC, [("77", "the same words")]).tolist()
    monkeypatch.setattr(scoring, "last_settled_id", then_commit)
    job = erase(gone)
    assert job.done == 2
    assert not Tweet.objects.filter(external_id="77").exists()


def test_an_erasure_that_was_cancelled_is_on_record_and_says_no_more_whom_it_was_about(
    judged, admin, monkeypatch
):
    job = erasing.start(tweet_ids=[judged[0].pk], author=erasing.author_of("ann"), user=admin)
    monkeypatch.setattr(erasing, "_ids_of", lambda author: [])

    def cancelled(before, progress) -> None:
        if Tweet.objects.filter(pk=judged[0].pk).exists():
            return  # for the imports, before the first tweet
        jobs.request_cancel(job)
        progress.write()

    monkeypatch.setattr(erasing, "_wait_for", cancelled)
    done = jobs.run_job(job.pk, erasing.work, heartbeat=False)
    assert done is not None
    assert (done.state, done.detail) == (Job.State.CANCELLED, {})
    event = AuditEvent.objects.get(action=AuditEvent.Action.ERASE)
    assert (event.user, event.tweets) == (admin, 1)


# While others work ----------------------------------------------------------------------------------------


def running(kind: str) -> Job:
    return Job.objects.create(kind=kind, state=Job.State.RUNNING, heartbeat_at=timezone.now())


def test_what_a_running_job_writes_of_it_meanwhile_goes_when_that_job_ends(judged, monkeypatch):
    """The tweet is gone at once; the scores that a run had computed of it come later, and go too."""
    gone, scorer, waited = judged[0], running(Job.Kind.SCORE), []
    version = ModelVersion.objects.get(is_active=True)

    def sleep(seconds: float) -> None:
        waited.append(Tweet.objects.filter(pk=gone.pk).exists())
        FlaggedWords.objects.create(version=version, tweet_id=gone.pk)
        for table in deleting.score_tables_of_all(published=False):
            with connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {table} SELECT * FROM {table} LIMIT 1")
                cursor.execute(
                    f"UPDATE {table} SET tweet_id = %s WHERE ctid = (SELECT max(ctid) FROM {table})",
                    [gone.pk],
                )
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {ScoreTables(version.pk).score} (tweet_id, version_id, risk, source, tag_bytes)"
                " VALUES (%s, %s, .5, 2, '')",
                [gone.pk, version.pk],
            )
        Job.objects.filter(pk=scorer.pk).update(state=Job.State.DONE)
        running(Job.Kind.SCORE)  # began after the tweet was gone: nobody waits for that one

    monkeypatch.setattr(time, "sleep", sleep)
    erase(gone)
    assert waited == [False]
    assert places_of(gone.pk) == []


def test_it_waits_for_a_chunk_whose_run_was_just_cancelled(judged, monkeypatch):
    run = ScoringRun.objects.create(version=make_version())
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    chunk = ScoringChunk.objects.create(
        run=run, first_id=1, last_id=9, state="claimed", claimed_at=timezone.now(), backend_pid=pid
    )
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        ScoringChunk.objects.filter(pk=chunk.pk).update(state="done")

    monkeypatch.setattr(time, "sleep", sleep)
    erase(judged[0])
    assert len(waited) == 1


def test_it_does_not_wait_for_a_job_whose_worker_is_lost(judged):
    Job.objects.create(kind=Job.Kind.SCORE, state=Job.State.RUNNING, heartbeat_at="2020-01-01T00:00Z")
    erase(judged[0])


def test_an_author_is_erased_only_after_imports_that_do_not_know_it_yet(monkeypatch):
    author, importer = erasing.author_of("ann"), running(Job.Kind.IMPORT)
    make_tweet(author_hash=author)

    def sleep(seconds: float) -> None:
        assert ErasedAuthor.objects.filter(author_hash=author).exists()
        make_tweet(author_hash=author)
        Job.objects.filter(pk=importer.pk).update(state=Job.State.DONE)

    monkeypatch.setattr(time, "sleep", sleep)
    assert erase(author=author).done == 2


def test_nothing_can_be_said_of_a_tweet_that_has_just_gone(judged, analyst):
    gone, stays = judged[0], judged[1]
    erase(gone)
    with pytest.raises(TweetsGone), transaction.atomic():
        annotate(tweet_id=gone.pk, annotator=analyst, verdict=1, tag_ids=[])
    with pytest.raises(TweetsGone), transaction.atomic():
        annotate_many(tweet_ids=[stays.pk, gone.pk], annotator=analyst, verdict=1)
    assert review.send_to_review([gone.pk], by=analyst) == 0
    assert places_of(gone.pk) == []


def test_a_tweet_that_goes_while_a_queue_is_drawn_is_not_in_it(judged, analyst, monkeypatch):
    gone, stays = make_tweet(), make_tweet()

    def draw(order: Any) -> list[Drawn]:
        erase(gone)
        return [Drawn(gone.pk, ""), Drawn(stays.pk, "")]

    monkeypatch.setitem(STRATEGIES, "random", draw)
    queue = queues.create_queue(name="drawn", strategy="random", size=2, user=analyst)
    assert [item.tweet_id for item in queue.items.all()] == [stays.pk]


def test_applying_rules_reads_again_when_a_tweet_goes_meanwhile(monkeypatch):
    tag = make_tag()
    make_rule(tag, "percs")
    gone, stays = make_tweet("percs one"), make_tweet("percs two")
    real = rules._copy_votes
    calls: list[Any] = []

    def copy(cursor: Any, changed: Any) -> None:
        if not calls:
            calls.append(changed)
            # As if another had done it: what this transaction deletes comes back when it is rolled back.
            raise TweetsGone
        real(cursor, changed)

    monkeypatch.setattr(rules, "_copy_votes", copy)
    jobs.run_job(rules.start_apply().pk, tasks.work_for(Job.Kind.RULES), heartbeat=False)
    assert set(Label.objects.values_list("tweet_id", flat=True)) == {gone.pk, stays.pk}


def submit(client: Any, queue: Queue, shown: str, **headers: str) -> Any:
    data = {"shown": shown, "verdict": "1", "action": "submit"}
    return client.post(reverse("labeling:label-submit", args=[queue.pk]), data, headers=headers)


@pytest.mark.parametrize("headers", [{}, {"hx-request": "true"}])
def test_who_submits_a_label_of_an_erased_tweet_is_told_and_gets_the_next(client_of, analyst, headers):
    gone, following = make_tweet("words of the first"), make_tweet("words of the second")
    queue = queues.create_queue(
        name="two", strategy="selected", size=2, user=analyst, tweet_ids=[gone.pk, following.pk]
    )
    client = client_of(analyst)
    shown = client.get(reverse("labeling:label", args=[queue.pk])).context["shown"]
    erase(gone)
    answer = submit(client, queue, shown, **headers)
    assert answer.status_code == 409
    content = answer.content.decode()
    assert "it was erased meanwhile, so nothing was saved" in content
    assert following.text in content
    assert gone.text not in content
    assert not Annotation.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["correct", "retract"])
def test_who_judges_on_the_page_of_a_tweet_that_goes_meanwhile_is_told(client_of, analyst, monkeypatch, name):
    tweet = make_tweet()
    own = make_annotation(tweet, verdict=Verdict.DA, annotator=analyst)
    verb = "annotate" if name == "correct" else name
    real = getattr(annotation, verb)

    def late(*args: Any, **options: Any) -> Any:
        erase(tweet)
        return real(*args, **options)

    monkeypatch.setattr(annotation, verb, late)
    path = reverse(f"labeling:tweet-{name}", args=[tweet.pk, own.pk] if name == "retract" else [tweet.pk])
    answer = client_of(analyst).post(path, {"verdict": "1"}, follow=True)
    assert answer.redirect_chain == [("/tweets/", 302)]
    assert "erased a moment ago, so nothing was saved" in answer.content.decode()
    assert places_of(tweet.pk) == []


@pytest.mark.django_db(transaction=True)
def test_a_bulk_action_on_a_tweet_that_goes_meanwhile_does_nothing_and_says_so(
    client_of, analyst, monkeypatch
):
    gone, stays = make_tweet(), make_tweet()
    monkeypatch.setattr(
        "labeling.views.flagged.chosen_ids", lambda request: [erase(gone), stays.pk, gone.pk][1:]
    )
    answer = client_of(analyst).post("/flagged/bulk/", {"action": "da"}, follow=True)
    assert "nothing was saved" in answer.content.decode()
    assert not Annotation.objects.exists()
    assert not AuditEvent.objects.filter(action=AuditEvent.Action.BULK).exists()


@contextmanager
def elsewhere(work: Callable[[], None]) -> Iterator[threading.Thread]:
    """In a thread with a connection of its own."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield thread
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.django_db(transaction=True)
def test_a_submit_that_is_under_way_is_waited_for_and_goes_with_the_tweet(analyst, monkeypatch):
    """The submit holds the item and wants the tweet; whoever took the tweet first would lock each other up."""
    tweet = make_tweet()
    queue = queues.create_queue(name="one", strategy="selected", size=1, user=analyst, tweet_ids=[tweet.pk])
    item = queues.claim_next(queue, analyst)
    assert item is not None
    holds, goes_on = threading.Event(), threading.Event()
    real = queues._finish
    problems = []

    def finish(*args: Any) -> None:
        real(*args)
        holds.set()
        goes_on.wait(10)

    def judge() -> None:
        try:
            queues.submit(item.pk, analyst, verdict=1, tag_ids=[])
        except Exception as problem:
            problems.append(problem)

    sleeps = []
    real_sleep = time.sleep

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)  # the erasure has let go once: now the submit may go on
        goes_on.set()
        real_sleep(0.2)

    monkeypatch.setattr(queues, "_finish", finish)
    monkeypatch.setattr(time, "sleep", sleep)
    with elsewhere(judge):
        assert holds.wait(10)
        erase(tweet)
    assert problems == []
    assert sleeps != []
    assert places_of(tweet.pk) == []


# It does not come back ------------------------------------------------------------------------------------

FILE = "id,text,user\n1,one,ann\n2,two,bob\n3,three,ann\n4,four,\n"


def read(path: Path, text: str = FILE, *, source: str = "general") -> tuple[Import, str]:
    path.write_text(text)
    out = StringIO()
    call_command("import_tweets", str(path), source=source, stdout=out, stderr=StringIO())
    row = Import.objects.order_by("-pk").first()
    assert row is not None
    return row, out.getvalue()


def counts(row: Import) -> tuple[int, int, int]:
    return row.imported, row.duplicates, row.erased


def named(name: str) -> Tweet:
    return Tweet.objects.with_external_id(name).get()


@pytest.mark.parametrize("source", ["general", "specific"])
def test_a_later_import_leaves_an_erased_tweet_out_and_says_so(tmp_path, source):
    row, said = read(tmp_path / "a.csv")
    assert counts(row) == (4, 0, 0)
    assert "erased before 0," in said
    erase(named("2"))
    row, said = read(tmp_path / "b.csv", FILE + "5,five,eve\n", source=source)
    assert counts(row) == ((1, 3, 1) if source == "general" else (4, 0, 1))
    assert "erased before 1," in said
    assert not Tweet.objects.with_external_id("2").exists()


def test_a_tweet_without_an_id_is_known_by_its_text(tmp_path):
    read(tmp_path / "a.csv", "text\nalpha\nbeta\n")
    erase(Tweet.objects.get(text="alpha"))
    row, _ = read(tmp_path / "b.csv", "text\nalpha\nbeta\ngamma\n")
    assert counts(row) == (1, 1, 1)


def test_a_later_import_leaves_an_erased_author_out_with_new_tweets_too(tmp_path):
    read(tmp_path / "a.csv")
    assert erase(author=erasing.author_of(" ann ")).done == 2
    row, _ = read(tmp_path / "b.csv", FILE + "6,six,ann\n7,seven,eve\n")
    assert counts(row) == (1, 2, 3)
    assert sorted(Tweet.objects.values_list("text", flat=True)) == ["four", "seven", "two"]
    row, _ = read(tmp_path / "c.csv", "id,text\n1,one\n8,eight\n")  # nothing says who wrote it
    assert counts(row) == (1, 0, 1)


def test_judgements_of_rows_that_are_left_out_are_left_out_and_the_others_fit(tmp_path):
    read(tmp_path / "a.csv")
    erase(named("2"), author=erasing.author_of("ann"))
    Tweet.objects.all().delete()
    row, _ = read(
        tmp_path / "b.csv", "id,text,user,verdict\n1,one,ann,DA\n2,two,bob,DA\n4,four,,NDA\n5,five,eve,DA\n"
    )
    assert counts(row) == (2, 0, 2)
    assert dict(Label.objects.values_list("tweet__external_id", "verdict")) == {
        "4": Verdict.NDA,
        "5": Verdict.DA,
    }


def test_the_page_of_the_import_says_how_many_were_left_out(tmp_path, client_of, reviewer):
    read(tmp_path / "a.csv")
    erase(named("2"))
    row, _ = read(tmp_path / "b.csv")
    page = client_of(reviewer).get(reverse("labeling:import-detail", args=[row.pk])).content.decode()
    assert "Erased before" in page


def test_marks_say_nothing_without_the_secret(tmp_path, settings):
    read(tmp_path / "a.csv")
    erase(named("2"))
    keys = np.concatenate([dedupe_keys(source, [("2", "two")]) for source in Source])
    marks = set(ErasedTweet.objects.values_list("mark", flat=True))
    assert marks == set(erased.marks_of(keys).tolist())
    assert not marks & set(keys.tolist())
    settings.SECRET_KEY = "another"
    assert not marks & set(erased.marks_of(keys).tolist())


REJECTED = "\n".join(
    [
        "id,text,user",
        "1,one,ann",
        "2,two,bob",
        "2,,zed",  # the id of an erased tweet
        "8,,ann",  # an erased author
        "9,,eve",
        "",
    ]
)


def test_lists_of_rejected_rows_lose_what_is_erased(tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    row, _ = read(tmp_path / "a.csv", REJECTED)
    assert (row.imported, row.rejected) == (2, 3)
    job = erase(named("2"), author=erasing.author_of("ann"))
    assert job.detail == {"rejected_rows": 2}
    ((line, _, content),) = importing.first_rejected(row, 10)
    assert line == "6"
    assert "eve" in content
    assert sorted(path.suffix for path in (tmp_path / "rejected").iterdir()) == [".csv"]


def test_a_later_list_of_rejected_rows_does_not_show_an_erased_author(tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    erase(author=erasing.author_of("ann"))
    row, _ = read(tmp_path / "a.csv", REJECTED)
    assert counts(row) == (1, 0, 1)
    contents = [content for _, _, content in importing.first_rejected(row, 10)]
    assert [bool(content) for content in contents] == [True, False, True]


def test_a_later_list_of_rejected_rows_does_not_show_an_erased_tweet(tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    read(tmp_path / "a.csv")
    erase(named("2"))
    row, _ = read(tmp_path / "b.csv", REJECTED)
    contents = [content for _, _, content in importing.first_rejected(row, 10)]
    assert [bool(content) for content in contents] == [False, True, True]


@pytest.mark.parametrize(
    ("content", "is_gone"),
    [
        ('["2", "other"]', True),
        ('[2, "other"]', True),
        ('["22", "two of them"]', False),
        ("'=x,2,other", True),  # a row that could not be read
        ('["2", "a long text that was cut', True),
        ('["3", "plain"]', True),
        ("", False),
    ],
)
def test_rejected_rows_are_known_by_a_whole_cell(content, is_gone):
    marks = erased.marks_of(dedupe_keys(Source.GENERAL, [("2", ""), ("", "plain")]))
    assert erased.are_erased([content], marks) == [is_gone]


# Page -----------------------------------------------------------------------------------------------------


def path_of(tweet: Tweet) -> str:
    return reverse("labeling:tweet-erase", args=[tweet.pk])


def test_only_admins_are_offered_it(judged, client_of, outsider, analyst, reviewer, admin):
    path = path_of(judged[0])
    for user in (outsider, analyst, reviewer):
        client = client_of(user)
        assert client.get(path).status_code == 403
        assert client.post(path, {"sure": "yes"}).status_code == 403
        assert path not in client.get(f"/tweets/{judged[0].pk}/").content.decode()
    assert path in client_of(admin).get(f"/tweets/{judged[0].pk}/").content.decode()
    assert not Job.objects.exists()


def test_the_page_says_what_goes_and_what_is_not_reached(judged, client_of, admin):
    tweet = judged[0]
    make_tweet(group_hash=tweet.group_hash)
    page = client_of(admin).get(path_of(tweet))
    loss = page.context["loss"]
    assert (loss.annotations, loss.items, loss.reviews) == (3, 1, 1)
    assert (loss.versions, loss.snapshots, loss.copies) == (1, 1, 1)
    content = page.content.decode()
    assert reverse("labeling:tweet-copies", args=[tweet.pk]) in content
    for unreached in ("have learnt from it", "backups", "Counts."):
        assert unreached in content
    assert "Its author is not known" in content
    assert tweet.text not in content


def test_the_page_names_uploads_that_wait(client_of, admin):
    make_import(file="imports/abc")
    assert "1 upload <a" in client_of(admin).get(path_of(make_tweet())).content.decode()


def test_nothing_is_erased_before_the_box_is_ticked(judged, client_of, admin):
    answer = client_of(admin).post(path_of(judged[0]), {"author": "yes"})
    assert answer.status_code == 400
    assert "nothing was erased" in answer.content.decode()
    assert not Job.objects.exists()


@pytest.mark.parametrize("whole", [False, True])
def test_the_form_starts_the_job_and_goes_back_to_the_list(client_of, admin, whole):
    author = erasing.author_of("ann")
    tweet, other = make_tweet(author_hash=author), make_tweet(author_hash=author)
    data = {"sure": "yes", **({"author": "yes"} if whole else {})}
    answer = client_of(admin).post(path_of(tweet), data, follow=True)
    assert answer.redirect_chain == [("/tweets/", 302)]
    job = Job.objects.get(kind=Job.Kind.ERASE)
    assert f'<a href="/jobs/{job.pk}/">' in answer.content.decode()
    assert job.created_by == admin
    assert tasks.queue_of(job.kind) == "background"
    jobs.run_job(job.pk, tasks.work_for(job.kind), heartbeat=False)
    assert list(Tweet.objects.all()) == ([] if whole else [other])
    assert client_of(admin).get(f"/jobs/{job.pk}/").status_code == 200


# Command --------------------------------------------------------------------------------------------------


def run(*arguments: Any, **options: Any) -> tuple[str, str]:
    out, said = StringIO(), StringIO()
    call_command("erase", *arguments, stdout=out, stderr=said, **options)
    return out.getvalue(), said.getvalue()


def test_the_command_says_what_would_go_and_erases_with_yes(judged, tmp_path):
    read(tmp_path / "a.csv")
    said = StringIO()
    with pytest.raises(CommandError, match="Nothing was erased"):
        call_command("erase", "--tweet", str(judged[0].pk), stderr=said)
    assert "3 judgements, scored by 1 versions, in 1 training snapshots" in said.getvalue()
    out, _ = run("--tweet", f"internal:{judged[0].pk}", "4", "--yes")
    assert out.startswith("erased 2 tweets and 0 rejected rows in ")
    assert out.count("\n") == 1
    assert not Score.objects.filter(tweet_id=judged[0].pk).exists()


def test_the_command_erases_an_author_and_does_not_say_the_name(tmp_path):
    read(tmp_path / "a.csv")
    out, said = run("--author", "ann", "--yes")
    assert "the author: 2 tweets" in said
    assert out.startswith("erased 2 tweets")
    assert "ann" not in out + said
    assert run("--author", "ann", "--yes")[0].startswith("erased 0 tweets")


def test_the_command_can_be_repeated_and_knows_what_never_was(tmp_path):
    read(tmp_path / "a.csv")
    assert run("--tweet", "2", "--yes")[0].startswith("erased 1 tweets")
    assert run("--tweet", "external:2", "--yes")[0].startswith("erased 0 tweets")
    with pytest.raises(CommandError, match="There is no tweet 99999999"):
        run("--tweet", "99999999", "--yes")
    with pytest.raises(CommandError, match="empty"):
        run("--author", " ", "--yes")


def test_a_number_that_may_be_two_tweets_is_refused(tmp_path):
    read(tmp_path / "a.csv")
    tweet = make_tweet()
    read(tmp_path / "b.csv", f"id,text\n{tweet.pk},five\n")
    with pytest.raises(CommandError, match=f"internal:{tweet.pk} or external:{tweet.pk}"):
        run("--tweet", str(tweet.pk), "--yes")
    assert run("--tweet", f"external:{tweet.pk}", "--yes")[0].startswith("erased 1 tweets")
    assert Tweet.objects.filter(pk=tweet.pk).exists()
