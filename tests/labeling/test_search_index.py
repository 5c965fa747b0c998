"""Search in segments: what a search finds while indexes are built, and the job that builds them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import connection
from django.utils import timezone

from labeling import jobs, search_building, search_index, word_search
from labeling.models import Job, SearchIndex, Tweet
from labeling.models.tweets import MAX_ID
from labeling.search_index import State
from tests.factories import make_import, make_tweet


def add(count: int, *, segment: int, text: str = "common word{n}", import_id: int = 0) -> None:
    for n in range(count):
        make_tweet(text.format(n=f"{segment}x{n}"), search_segment=segment, import_id=import_id)


def build() -> Job:
    job = search_index.request()
    assert job is not None
    done = jobs.run_job(job.pk, search_building.work, heartbeat=False)
    assert done is not None
    assert done.error == ""
    return done


def indexes() -> dict[str, bool]:
    """{name: valid} of the search indexes in the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE c.relname LIKE 'tweet_search_%%'"
        )
        return dict(cursor.fetchall())


def bounds() -> list[tuple[int, int]]:
    return list(SearchIndex.objects.values_list("first_id", "last_id"))


def id_range(first: int, last: int) -> tuple[int, int]:
    """The first and the last tweet of these segments."""
    ids = Tweet.objects.filter(search_segment__range=(first, last)).values_list("id", flat=True)
    return min(ids), max(ids)


@pytest.fixture
def own_indexes(transactional_db):
    yield
    with connection.cursor() as cursor:
        for name in indexes():
            if name != search_index.SMALL_ADDITIONS:
                cursor.execute(f"DROP INDEX {name}")


# Searching ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_small_additions_are_found_at_once():
    add(3, segment=0)
    assert len(word_search.any_of("common", cap=10)) == 3
    assert search_index.coverage() is None


@pytest.mark.django_db
def test_a_link_is_found_by_where_it_leads_and_not_by_itself():
    add(1, segment=0, text="read this https://news.example/story/{n}")
    assert len(word_search.any_of("news.example", cap=10)) == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_tsvector('tweet_text', text)::text FROM labeling_tweet")
        assert "story" not in cursor.fetchone()[0]


@pytest.mark.django_db
def test_tweets_without_an_index_are_not_found_and_the_coverage_says_so():
    add(3, segment=0)
    add(2, segment=1)
    row = make_import(imported=2)
    SearchIndex.objects.create(first_segment=1, last_segment=1, import_row=row)
    assert len(word_search.any_of("common", cap=10)) == 3
    coverage = search_index.coverage()
    assert coverage is not None
    assert (coverage.waiting, coverage.job) == (2, None)
    assert 0 < coverage.share < 1


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["/tweets/", "/imports/"])
def test_pages_say_how_much_is_searched_while_something_is_missing(page, client_of, reviewer):
    make_tweet()
    client = client_of(reviewer)
    assert "are indexed" not in client.get(page).content.decode()
    SearchIndex.objects.create(first_segment=1, last_segment=1, tweets=1_200_000)
    assert "about 1.2 million wait for their index" in client.get(page).content.decode()
    SearchIndex.objects.update(tweets=100_000)
    assert "about 100,000 wait for their index" in client.get(page).content.decode()
    job = search_index.request()
    assert job is not None
    assert f'href="/jobs/{job.pk}/"' in client.get(page).content.decode()


@pytest.mark.django_db
def test_a_search_for_nothing_is_refused_by_the_page(client_of, analyst):
    answer = client_of(analyst).get("/tweets/", {"q": "-word"})
    assert answer.status_code == 400
    assert "Add a word to look for" in answer.content.decode()


# Segments -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_import_has_segments_of_its_own_one_after_the_other(monkeypatch):
    monkeypatch.setattr(search_index, "SEGMENT_TWEETS", 1_000)
    row, other = make_import(), make_import()
    assert search_index.open_segment(row) == search_index.open_segment(row) == 1
    assert search_index.open_segment(other) == 2
    row.imported = 1_200
    row.save()
    assert search_index.open_segment(row) == search_index.open_segment(row) == 3
    row.imported += 500
    row.save()
    sizes = [search_index.tweets_in(index) for index in SearchIndex.objects.filter(import_row=row)]
    assert sizes == [1_200, 500]


@pytest.mark.django_db
def test_segments_grow_with_the_corpus_so_that_a_search_asks_few(monkeypatch):
    assert search_index.segment_size() == search_index.SEGMENT_TWEETS
    monkeypatch.setattr(search_index, "_last_id", lambda: 200_000_000)
    assert search_index.segment_size() == 12_500_000
    row = make_import(imported=3_000_000)
    assert search_index.open_segment(row) == search_index.open_segment(row)


@pytest.mark.django_db
def test_the_more_tweets_there_are_the_larger_an_import_needs_no_index_of_its_own(monkeypatch):
    assert search_index.segment_after() == search_index.SEGMENT_AFTER
    monkeypatch.setattr(search_index, "_last_id", lambda: 20_000_000)
    assert search_index.segment_after() == 100_000


@pytest.mark.django_db
def test_a_segment_that_is_built_takes_no_more_rows():
    row = make_import(imported=10)
    search_index.open_segment(row)
    SearchIndex.objects.update(state=State.BUILDING)
    assert search_index.open_segment(row) == 2


@pytest.mark.django_db
def test_an_index_waits_for_the_end_of_its_import():
    job = jobs.create_job(Job.Kind.IMPORT)
    search_index.open_segment(make_import(job=job))
    assert search_index.ready_to_build() == []
    Job.objects.update(state=Job.State.FAILED)
    assert len(search_index.ready_to_build()) == 1


@pytest.mark.django_db
def test_an_import_that_failed_is_indexed_too_but_asked_for_only_once():
    job = jobs.create_job(Job.Kind.IMPORT)
    search_index.open_segment(make_import(job=job))
    assert not search_building.is_overdue()
    Job.objects.update(state=Job.State.FAILED, finished_at=timezone.now())
    assert search_building.is_overdue()
    asked = search_index.request()
    assert asked is not None
    jobs.request_cancel(asked)
    assert not search_building.is_overdue()


@pytest.mark.django_db
def test_a_build_that_failed_is_asked_for_again_an_hour_later():
    search_index.open_segment(make_import(job=jobs.create_job(Job.Kind.IMPORT)))
    Job.objects.update(state=Job.State.FAILED, finished_at=timezone.now() - timedelta(hours=3))
    asked = search_index.request()
    assert asked is not None
    failed = Job.objects.filter(pk=asked.pk)
    failed.update(state=Job.State.FAILED, finished_at=timezone.now() - timedelta(minutes=59))
    assert not search_building.is_overdue()
    failed.update(finished_at=timezone.now() - timedelta(minutes=61))
    assert search_building.is_overdue()
    assert search_index.request() is not None
    assert not search_building.is_overdue()


# The job --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("own_indexes")
def test_the_job_builds_what_waits_and_forgets_what_is_empty():
    row, empty = make_import(imported=5), make_import()
    add(5, segment=search_index.open_segment(row), import_id=row.pk)
    search_index.open_segment(empty)
    job = build()
    assert indexes() == {"tweet_search_0": True, "tweet_search_1": True}
    assert (job.done, job.total) == (5, 5)
    assert len(word_search.any_of("common", cap=10)) == 5
    assert word_search.any_of("word1x3", cap=10) == [Tweet.objects.get(text__contains="word1x3").pk]
    assert search_index.coverage() is None
    assert bounds() == [id_range(1, 1)]
    build()
    assert len(indexes()) == 2


@pytest.mark.usefixtures("own_indexes")
def test_a_search_knows_how_common_words_are_before_it_asks_a_new_index(monkeypatch):
    """Without statistics it would have the index list every tweet with "the"."""
    add(5, segment=search_index.open_segment(row := make_import(imported=5)), import_id=row.pk)
    told: list[str] = []
    run = search_building._Session.run

    def listen(self, sql, *values, **watch):
        told.append(sql)
        return run(self, sql, *values, **watch)

    monkeypatch.setattr(search_building._Session, "run", listen)
    build()
    kinds = [sql.split()[0] for sql in told]
    assert kinds.index("ANALYZE") < kinds.index("CREATE")


@pytest.mark.django_db
def test_the_upgrade_finds_the_bounds_of_the_indexes_that_are_ready():
    add(3, segment=1)
    add(2, segment=2)
    add(4, segment=4)
    for first, last, state in ((1, 2, State.READY), (3, 4, State.WAITING)):
        SearchIndex.objects.create(first_segment=first, last_segment=last, state=state)
    with connection.cursor() as cursor:
        cursor.execute(import_module("labeling.migrations.0016_search_bounds").BOUNDS)
    assert bounds() == [id_range(1, 2), (0, MAX_ID)]


@pytest.mark.usefixtures("own_indexes")
def test_it_takes_up_what_a_killed_build_left():
    row = make_import()
    add(5, segment=search_index.open_segment(row), import_id=row.pk)
    SearchIndex.objects.update(state=State.BUILDING, built=0.5)
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX tweet_search_1 ON labeling_tweet (id)")
        cursor.execute("CREATE INDEX tweet_search_9_12 ON labeling_tweet (id)")
    build()
    assert indexes() == {"tweet_search_0": True, "tweet_search_1": True}
    assert len(word_search.any_of("common", cap=10)) == 5


@pytest.mark.usefixtures("own_indexes")
def test_many_small_indexes_become_one_while_the_parts_are_searched():
    for _ in range(search_building.MERGE_FROM + 2):
        row = make_import(imported=3)
        add(3, segment=search_index.open_segment(row), import_id=row.pk)
    build()
    assert [(i.first_segment, i.last_segment, i.tweets) for i in SearchIndex.objects.all()] == [(1, 10, 30)]
    assert indexes() == {"tweet_search_0": True, "tweet_search_1_10": True}
    assert bounds() == [id_range(1, 10)]
    assert len(word_search.any_of("common", cap=100)) == 30


@pytest.mark.usefixtures("own_indexes")
def test_small_indexes_are_not_merged_across_one_that_an_import_still_fills():
    job = jobs.create_job(Job.Kind.IMPORT)
    for n in range(search_building.MERGE_FROM + 2):
        row = make_import(imported=3, job=job if n == 4 else None)
        add(3, segment=search_index.open_segment(row), import_id=row.pk)
    build()
    assert [(i.first_segment, i.last_segment, i.state) for i in SearchIndex.objects.all()] == [
        (1, 4, State.READY),
        (5, 5, State.WAITING),
        (6, 10, State.READY),
    ]
    assert bounds() == [id_range(1, 4), (0, MAX_ID), id_range(6, 10)]


@pytest.mark.usefixtures("own_indexes")
def test_an_index_that_an_import_writes_into_meanwhile_has_open_bounds(monkeypatch):
    job = jobs.create_job(Job.Kind.IMPORT)
    row = make_import(imported=3, job=job)
    Job.objects.update(state=Job.State.FAILED)
    add(3, segment=search_index.open_segment(row), import_id=row.pk)
    renew = search_building._renew_statistics

    def go_on(*args, **kwargs) -> None:  # somebody lets the import go on just now
        Job.objects.filter(pk=job.pk).update(state=Job.State.RUNNING)
        renew(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(search_building, "_renew_statistics", go_on)
        build()
    assert bounds() == [(0, MAX_ID)]
    Job.objects.filter(pk=job.pk).update(state=Job.State.DONE)
    build()
    assert bounds() == [id_range(1, 1)]


@pytest.mark.django_db
def test_an_index_that_replaces_others_hides_nothing_while_it_is_built():
    SearchIndex.objects.create(first_segment=1, last_segment=1, tweets=5, state=State.READY)
    SearchIndex.objects.create(first_segment=2, last_segment=2, tweets=5, state=State.READY)
    SearchIndex.objects.create(first_segment=1, last_segment=2, tweets=10, state=State.BUILDING)
    assert search_index.coverage() is None


@contextmanager
def held_by_a_writer(*, seconds: float) -> Iterator[None]:
    """A transaction that has written into the table of tweets: builds wait for its end."""
    held, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE labeling_tweet IN ROW EXCLUSIVE MODE")
            held.set()
            ended.wait(seconds)
            cursor.execute("ROLLBACK")
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    try:
        yield
    finally:
        ended.set()
        holder.join()


def keys() -> dict[str, int]:
    """The keys of tweets, and halves of keys that a REINDEX has left, with their files."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, c.relfilenode FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE i.indrelid = 'labeling_tweet'::regclass AND i.indisunique"
        )
        return dict(cursor.fetchall())


@pytest.mark.slow
@pytest.mark.usefixtures("own_indexes")
def test_keys_are_packed_once_after_a_large_import_and_a_cancel_leaves_no_half_of_one(monkeypatch):
    row = make_import()
    add(5, segment=search_index.open_segment(row), import_id=row.pk)
    job = search_index.request()
    assert job is not None
    before = keys()
    run, waiting = search_building._Session.run, ExitStack()

    def run_and_cancel(self, sql, *values, **watch):
        if sql.startswith("REINDEX"):
            Job.objects.filter(pk=job.pk).update(cancel_requested=True)
            waiting.enter_context(held_by_a_writer(seconds=3))
        return run(self, sql, *values, **watch)

    with waiting, monkeypatch.context() as patch:
        patch.setattr(search_building._Session, "run", run_and_cancel)
        done = jobs.run_job(job.pk, search_building.work, heartbeat=False)
    assert done is not None
    assert done.state == Job.State.CANCELLED
    assert keys() == before
    build()
    packed = keys()
    assert packed.keys() == before.keys()
    assert set(packed.values()).isdisjoint(before.values())
    build()
    assert keys() == packed


@pytest.mark.slow
@pytest.mark.usefixtures("own_indexes")
def test_keys_that_cannot_be_packed_keep_nobody_from_searching(monkeypatch, caplog):
    row = make_import()
    add(5, segment=search_index.open_segment(row), import_id=row.pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")  # how many rows are new is known at once
    before, run, statements = keys(), search_building._Session.run, []

    def run_on_a_full_disk(self, sql, *values, **watch):
        statements.append(sql.split()[0])
        if sql.startswith("REINDEX"):  # the server answers with an error, as it does when its disk is full
            sql = "SELECT 1 / 0"
        return run(self, sql, *values, **watch)

    with monkeypatch.context() as patch:
        patch.setattr(search_building._Session, "run", run_on_a_full_disk)
        job = build()
    assert job.state == Job.State.DONE
    assert statements[-1] == "VACUUM"
    assert "could not be packed" in caplog.text
    assert keys() == before


@pytest.mark.slow
@pytest.mark.usefixtures("own_indexes")
def test_a_cancel_stops_the_build_and_leaves_nothing():
    row = make_import()
    add(5, segment=search_index.open_segment(row), import_id=row.pk)
    job = search_index.request()
    assert job is not None

    def cancel(seen: Job) -> None:
        if seen.stage.startswith(("Building", "Waiting")):
            Job.objects.filter(pk=seen.pk).update(cancel_requested=True)

    with held_by_a_writer(
        seconds=3
    ):  # what a cancelled build leaves can be dropped only when nobody is in its way
        done = jobs.run_job(job.pk, search_building.work, heartbeat=False, watch=cancel)
    assert done is not None
    assert done.state == Job.State.CANCELLED
    assert indexes() == {"tweet_search_0": True}
    assert SearchIndex.objects.get().state == State.WAITING
    build()
    assert len(word_search.any_of("common", cap=10)) == 5
