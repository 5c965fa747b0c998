"""Scoring: planned in chunks, each scored exactly once by any number of workers, visible all at once."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling import flagged, jobs, predictors, score_counts, score_indexes, score_tables, scoring, tasks
from labeling.flagged_filters import Filters
from labeling.models import (
    FlaggedWords,
    Job,
    ModelVersion,
    Score,
    ScoreTag,
    ScoringChunk,
    ScoringRun,
    Source,
    Tweet,
)
from labeling.models.tweets import ADDING_LOCK
from labeling.score_tables import ScoreTables
from tests import slow_worker
from tests.factories import make_tag, make_tweet, make_version
from tests.fake_predictor import FakePredictor
from tests.plans import rows_read
from tests.services.conftest import wait_until


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> FakePredictor:
    fake = FakePredictor(["opioids", "overdose"])
    monkeypatch.setattr(scoring, "predictor_of", lambda version: fake)
    return fake


@pytest.fixture
def version(predictor: FakePredictor) -> ModelVersion:
    tags = [make_tag(name) for name in predictor.tags]
    return make_version(tag_ids=[tag.pk for tag in tags], threshold=0.5)


@pytest.fixture
def committed() -> Iterator[None]:
    """For tests that really commit: their partitions would outlive them."""
    yield
    for table in ("labeling_score", "labeling_scoretag"):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table]
            )
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP TABLE {name}")


def run_now(version: ModelVersion, *, activates: bool = False) -> Job:
    run = scoring.start_run(version, user=None, activates=activates)
    assert run.job_id is not None
    job = jobs.run_job(run.job_id, scoring.work, heartbeat=False)
    assert job is not None
    assert job.error == ""
    version.refresh_from_db()
    return job


def claimed(run: ScoringRun) -> ScoringChunk:
    chunk = scoring.claim_chunk(run)
    assert chunk is not None
    return chunk


def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SMALLEST_CHUNK", 4)
    monkeypatch.setattr(scoring, "IDLE_SECONDS", 0.02)


# The scores -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_every_tweet_gets_one_score_with_what_the_model_said(version: ModelVersion) -> None:
    day = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
    high = make_tweet('risk=0.9 "overdose",\nsaid he', posted_at=day, source=Source.SPECIFIC)
    low = make_tweet("nothing to see\r\n\\N")

    job = run_now(version)

    assert (job.state, job.done, job.total) == (Job.State.DONE, 2, 2)
    score = Score.objects.get(version=version, tweet=high)
    assert score.risk == pytest.approx(0.9)
    assert score.source == Source.SPECIFIC
    assert list(bytes(score.tag_bytes)) == [13, 204]  # 255 × 0.05 and 0.8
    with connection.cursor() as cursor:  # the listed one; the other is below the floor
        cursor.execute(f"SELECT tweet_id, posted_at, source FROM {ScoreTables(version.pk).listed}")
        assert cursor.fetchall() == [(high.pk, day, Source.SPECIFIC)]
    assert Score.objects.filter(version=version, tweet=low).exists()
    tag = ScoreTag.objects.get(version=version)
    assert (tag.tweet_id, tag.tag_id) == (high.pk, version.tag_ids[1])
    assert [tag.probability, tag.risk] == pytest.approx([0.8, 0.9])


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", " ", "NULL", '"', '""', "\\.", "a,b\nc\r\nd", "naïve 🙂 \t x", "\x01"])
def test_texts_reach_the_model_unchanged(text: str) -> None:
    make_tweet("x")
    tweet = make_tweet("y")
    tweet.text = text
    tweet.save()
    assert score_tables.read_tweets(tweet.pk, tweet.pk).text.to_pylist() == [text]


@pytest.mark.django_db
def test_a_version_without_tags_and_an_empty_corpus_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "predictor_of", lambda version: FakePredictor([]))
    version = make_version(tag_ids=[], threshold=0.5)
    assert run_now(version).total == 0
    assert version.score_summary["n"] == 0
    make_tweet("risk=0.7")
    run_now(version)
    assert bytes(Score.objects.get(version=version).tag_bytes) == b""


@pytest.mark.django_db
def test_the_summary_counts_what_the_dashboard_shows(version: ModelVersion) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    make_tweet("risk=0.9 overdose", posted_at=day)
    make_tweet("risk=0.5 opioids overdose", posted_at=day)
    make_tweet("risk=0.4 overdose", source=Source.SPECIFIC)
    make_tweet("risk=1.0")

    run_now(version)

    summary = version.score_summary
    assert (summary["n"], summary["flagged"], summary["threshold"]) == (4, 3, 0.5)
    assert summary["days"] == [["2026-03-01", 2, 2], [None, 2, 1]]
    assert summary["sources"] == {"1": [1, 0], "2": [3, 3]}
    opioids, overdose = version.tag_ids
    assert summary["tags"] == [
        {"tag": opioids, "n": 1, "flagged": 1},
        {"tag": overdose, "n": 3, "flagged": 2},
    ]
    edges, counts = summary["histogram"]["edges"], summary["histogram"]["counts"]
    assert (len(edges), len(counts), sum(counts)) == (51, 50, 4)
    assert edges == sorted(edges)
    for risk in (0.9, 0.4, 1.0):
        bin_of = next(k for k in range(50) if edges[k] <= risk <= edges[k + 1])
        assert counts[bin_of] >= 1


@pytest.mark.django_db
def test_the_words_of_the_highest_risks_are_kept(version: ModelVersion, settings) -> None:
    settings.FLAGGED_WORDS = 1
    make_tweet("so risk=0.8")
    highest = make_tweet("so risk=0.9")
    run_now(version)
    words = FlaggedWords.objects.get(version=version)
    assert (words.tweet_id, words.spans) == (highest.pk, [[3, 11, 0.7]])


@pytest.mark.django_db
def test_later_tweets_are_scored_by_a_later_run_alone(
    version: ModelVersion, predictor: FakePredictor
) -> None:
    make_tweet("risk=0.9")
    run_now(version)
    make_tweet("risk=0.8")
    seen = predictor.texts_seen

    job = run_now(version)

    assert (job.done, predictor.texts_seen - seen) == (1, 1)
    assert Score.objects.filter(version=version).count() == 2
    assert version.score_summary["flagged"] == 2
    assert FlaggedWords.objects.filter(version=version).count() == 2


@pytest.mark.django_db
def test_chunks_follow_each_other_without_gaps_and_the_last_ones_are_small(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "CHUNK_TWEETS", 40)
    monkeypatch.setattr(scoring, "SMALLEST_CHUNK", 4)
    monkeypatch.setattr(scoring, "CHUNKS_WANTED", 2)
    made = [make_tweet(f"risk=0.9 {number}").pk for number in range(320)]
    Tweet.objects.filter(pk__in=made[70:90]).delete()  # a gap costs nothing
    run = scoring.start_run(version, user=None, activates=False)
    score_tables.create(ScoreTables(version.pk))
    scoring.plan(run)
    run.refresh_from_db()
    chunks = list(run.chunks.order_by("first_id"))
    there = set(Tweet.objects.values_list("pk", flat=True))
    held = [pk for chunk in chunks for pk in range(chunk.first_id, chunk.last_id + 1)]
    assert len(held) == len(set(held))
    assert there <= set(held)
    assert all(chunk.first_id in there for chunk in chunks)
    sizes = [chunk.last_id - chunk.first_id + 1 for chunk in chunks]
    assert sizes[:6] == [40] * 6
    assert sizes[6:] == [40 // scoring.LAST_PARTS] * 14


@pytest.mark.django_db
def test_scores_are_shown_before_the_words_of_the_list_are_indexed(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is cut off between the two leaves a list that can be read, and another builds the index."""
    tweet = make_tweet("risk=0.9 overdose")
    words = score_indexes.words_index(ScoreTables(version.pk))

    def cut_off(tables: ScoreTables) -> None:
        raise OperationalError("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(score_indexes, "build_words", cut_off)
        run = scoring.start_run(version, user=None, activates=True)
        job = jobs.run_job(run.job_id, scoring.work, heartbeat=False)  # type: ignore[arg-type]
    assert job is not None
    assert job.state == Job.State.FAILED
    version.refresh_from_db()
    assert version.is_active
    assert not ScoringRun.objects.get().activates  # or a takeover would undo what people activate meanwhile
    assert not score_indexes._exists(words)
    shown = flagged.page_of(version, Filters(q="overdose"))
    assert [row.tweet_id for row in shown.rows] == [tweet.pk]
    run_now(version)
    assert score_indexes._exists(words)
    assert ScoringRun.objects.count() == 1


# Which tweets a run scores --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_runs_of_one_version_follow_each_other_without_gap_or_overlap(version: ModelVersion) -> None:
    make_tweet("risk=0.9")
    run_now(version)
    last = make_tweet("risk=0.9")
    run_now(version)
    second, first = version.scoring_runs.all()
    assert (first.after_id, second.after_id, second.last_id) == (0, first.last_id, last.pk)
    assert scoring.scored_up_to(version) == last.pk


@pytest.mark.django_db(transaction=True)
def test_a_run_waits_for_ids_that_an_import_has_taken_and_not_committed(
    version: ModelVersion, committed: None
) -> None:
    """Ids are given out in one order and committed in another: a highest id in sight would leave some out."""
    early, go = threading.Event(), threading.Event()

    def slow_import() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [ADDING_LOCK])
                make_tweet("risk=0.9 came first")
                early.set()
                go.wait(10)
        finally:
            connections.close_all()

    slow = threading.Thread(target=slow_import)
    slow.start()
    early.wait(10)
    make_tweet("risk=0.9 came second")
    threading.Timer(0.5, go.set).start()
    run_now(version)
    slow.join()
    assert Score.objects.filter(version=version).count() == 2


@pytest.mark.django_db
def test_planning_gives_way_to_lanes_that_wait_for_each_other(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tweet("risk=0.9")
    monkeypatch.setattr(scoring, "HORIZON_WAIT_SECONDS", 0.05)
    other = connection.copy()
    other.inc_thread_sharing()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock_shared(%s)", [ADDING_LOCK])
    threading.Timer(0.3, other.close).start()
    run_now(version)
    assert Score.objects.filter(version=version).count() == 1


@pytest.mark.django_db
def test_the_active_version_scores_what_came_after_its_last_run(version: ModelVersion) -> None:
    make_tweet("risk=0.9")
    assert scoring.start_overdue() is None  # no version is active
    run_now(version, activates=True)
    assert scoring.start_overdue() is None  # nothing new
    make_tweet("risk=0.9")
    importing = jobs.create_job(Job.Kind.IMPORT)
    assert scoring.start_overdue() is None  # more is to come
    jobs.request_cancel(importing)
    run = scoring.start_overdue()
    assert run is not None
    assert scoring.start_overdue() is None  # never twice at once
    jobs.run_job(run.job_id or 0, scoring.work, heartbeat=False)
    version.refresh_from_db()
    assert (version.score_summary["n"], version.score_summary["flagged"]) == (2, 2)


@pytest.mark.django_db
def test_a_run_that_failed_is_not_started_again_by_itself(version: ModelVersion) -> None:
    make_tweet("risk=0.9")
    run_now(version, activates=True)
    make_tweet("risk=0.9")
    run = scoring.start_overdue()
    assert run is not None
    Job.objects.filter(scoring_run=run).update(state=Job.State.FAILED)
    assert scoring.start_overdue() is None


@pytest.mark.django_db
def test_what_no_run_has_finished_with_is_counted(version: ModelVersion) -> None:
    first = make_tweet("risk=0.9")
    assert (scoring.unscored(version), scoring.unfinished_job(version)) == (0, None)  # it was never scored
    run_now(version, activates=True)
    assert (scoring.unscored(version), scoring.unfinished_job(version)) == (0, None)
    last = make_tweet("risk=0.9")
    run = scoring.start_overdue()
    assert run is not None
    assert run.job is not None
    assert scoring.unfinished_job(version) == run.job
    jobs.request_cancel(run.job)
    assert scoring.unscored(version) == last.pk - first.pk
    again = scoring.start_run(version, user=None, activates=False)
    jobs.run_job(again.job_id or 0, scoring.work, heartbeat=False)
    assert (scoring.unscored(version), scoring.unfinished_job(version)) == (0, None)


@pytest.mark.django_db
def test_after_an_import_the_bell_rings_for_scoring(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tweet("risk=0.9")
    run_now(version, activates=True)
    make_tweet("risk=0.9")
    led: list[int] = []
    monkeypatch.setattr("labeling.tasks.enqueue", lambda job: led.append(job.pk))
    monkeypatch.setattr("labeling.tasks.score_chunks.delay_on_commit", lambda run: None)
    monkeypatch.setattr("labeling.tasks.work_for", lambda kind: lambda job, progress: None)
    tasks.run_job(jobs.create_job(Job.Kind.IMPORT).pk)
    assert led == [Job.objects.get(kind=Job.Kind.SCORE, state=Job.State.QUEUED).pk]


# Counts ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_the_counts_of_the_chunks_add_up_to_what_a_scan_finds(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch, settings, zone: str
) -> None:
    settings.TIME_ZONE = zone
    small_chunks(monkeypatch)
    moment = datetime(1999, 10, 30, 22, 15, tzinfo=UTC)
    for n in range(80):
        make_tweet(
            f"risk={(n % 41) / 40} {'overdose' if n % 3 else 'opioids'}",
            posted_at=None if n % 7 == 0 else moment + timedelta(hours=5 * n),
            source=Source.SPECIFIC if n % 5 == 0 else Source.GENERAL,
        )
        if n in (40, 60):
            run_now(version)
    run_now(version)
    published = version.score_summary
    assert published["n"] == 80
    assert len(published["days"]) > 16
    assert set(ScoringChunk.objects.values_list("counts", flat=True)) == {None}
    scoring.recount(version.pk)
    version.refresh_from_db()
    assert version.score_summary == published


@pytest.mark.django_db
@pytest.mark.parametrize("before", [0, 1])
def test_tweets_deleted_in_the_middle_of_a_run_are_not_counted(version: ModelVersion, before: int) -> None:
    for _ in range(before):
        make_tweet("risk=0.9")
        run_now(version)
    erased = make_tweet("risk=0.9 overdose")
    make_tweet("risk=0.8 overdose")
    run, scorer = planned(version)
    scoring.score_chunk(claimed(run), scorer)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {scorer.tables.score} WHERE tweet_id = %s", [erased.pk])
        cursor.execute(f"DELETE FROM {scorer.tables.tag} WHERE tweet_id = %s", [erased.pk])
    scoring.recount(version.pk)
    Job.objects.filter(scoring_run=run).update(state=Job.State.FAILED)
    run_now(version)
    assert version.score_summary["n"] == before + 1
    assert version.score_summary["tags"] == [{"tag": version.tag_ids[1], "n": 1, "flagged": 1}]


@pytest.mark.django_db(transaction=True)
def test_a_recount_and_a_chunk_do_not_miss_each_other(
    version: ModelVersion, committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that is written while the scores are counted would be in neither sum."""
    make_tweet("risk=0.9")
    run_now(version)
    scan, refused = score_counts.scan, []

    def scan_while_another_writes(tables: ScoreTables, **options: Any) -> Any:
        def write() -> None:
            try:
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '100ms'")
                    cursor.execute(f"INSERT INTO {tables.score} SELECT * FROM {tables.score}")
            except OperationalError as error:
                refused.append(getattr(error.__cause__, "pgcode", ""))
            finally:
                connection.close()

        writer = threading.Thread(target=write)
        writer.start()
        writer.join()
        return scan(tables, **options)

    monkeypatch.setattr(score_counts, "scan", scan_while_another_writes)
    scoring.recount(version.pk)
    assert refused == [score_tables.LOCK_NOT_AVAILABLE]


@pytest.mark.django_db
def test_publishing_twice_counts_once(version: ModelVersion) -> None:
    make_tweet("risk=0.9 overdose")
    job = run_now(version)
    Job.objects.filter(pk=job.pk).update(state=Job.State.RUNNING)
    run, progress = job.scoring_run, jobs.Progress(Job.objects.get(pk=job.pk))
    scoring.publish(run, scoring._Scorer(version), progress)
    version.refresh_from_db()
    assert version.score_summary["n"] == 1


# Publication ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_nobody_sees_a_score_before_all_are_there(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch)
    for _ in range(12):
        make_tweet("risk=0.9")
    seen: list[tuple[int, bool]] = []
    real = scoring.score_chunk

    def watching(chunk: ScoringChunk, scorer: scoring._Scorer) -> None:
        real(chunk, scorer)
        published = ModelVersion.objects.values_list("scores_published_at", flat=True).get(pk=version.pk)
        seen.append((Score.objects.filter(version=version).count(), published is not None))

    monkeypatch.setattr(scoring, "score_chunk", watching)
    run_now(version)

    assert len(seen) > 2
    assert set(seen) == {(0, False)}
    assert Score.objects.filter(version=version).count() == 12
    assert version.scores_published_at is not None


@pytest.mark.django_db
def test_the_rows_of_every_chunk_but_the_last_are_known_as_committed_before_the_index_reads_them(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SMALLEST_CHUNK", 300)
    monkeypatch.setattr(scoring, "CHUNK_TWEETS", 300)
    for _ in range(1_200):
        make_tweet("risk=0.3")
    noted, real = [], score_tables.note_committed

    def noting(tables: ScoreTables, pages: range) -> None:
        with CaptureQueriesContext(connection) as queries:
            real(tables, pages)
        noted.append((pages, rows_read(queries[0]["sql"])))

    monkeypatch.setattr(score_tables, "note_committed", noting)
    run_now(version)
    pages = score_tables.pages_of(ScoreTables(version.pk))
    assert len(noted) == 3
    assert all(300 <= rows < 600 for _, rows in noted)  # its own, and those that share their pages
    assert {page for of_one, _ in noted for page in of_one} >= set(range(pages * 2 // 3))


@pytest.mark.django_db
def test_a_leader_that_was_superseded_does_not_publish(version: ModelVersion) -> None:
    make_tweet("risk=0.9")
    run = scoring.start_run(version, user=None, activates=False)
    job = jobs.claim_job(run.job_id or 0)
    assert job is not None
    progress = jobs.Progress(job)
    scorer = scoring._Scorer(version)
    score_tables.create(scorer.tables)
    scoring.plan(run)
    scoring._score_all(run, scorer, progress)
    Job.objects.filter(pk=job.pk).update(attempt=job.attempt + 1)
    with pytest.raises(jobs.Superseded):
        scoring.publish(run, scorer, progress)
    assert not score_tables.is_attached(scorer.tables)


# Starting, cancelling, going on ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_second_run_of_a_version_is_refused_while_one_is_active(version: ModelVersion) -> None:
    run = scoring.start_run(version, user=None, activates=False)
    with pytest.raises(jobs.AlreadyRunning) as refused:
        scoring.start_run(version, user=None, activates=False)
    assert refused.value.job == run.job


@pytest.mark.django_db
def test_a_cancelled_run_goes_on_where_it_stopped(
    version: ModelVersion, predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch)
    for _ in range(20):
        make_tweet("risk=0.9")
    run = scoring.start_run(version, user=None, activates=False)
    real = scoring.score_chunk

    def cancelling(chunk: ScoringChunk, scorer: scoring._Scorer) -> None:
        real(chunk, scorer)
        Job.objects.filter(scoring_run=run).update(cancel_requested=True)

    monkeypatch.setattr(scoring, "score_chunk", cancelling)
    monkeypatch.setattr(jobs, "REPORT_SECONDS", 0)
    job = jobs.run_job(run.job_id or 0, scoring.work, heartbeat=False)
    assert job is not None
    assert job.state == Job.State.CANCELLED
    assert 0 < predictor.texts_seen < 20

    monkeypatch.setattr(scoring, "score_chunk", real)
    again = scoring.start_run(version, user=None, activates=False)
    assert again.pk == run.pk
    jobs.run_job(again.job_id or 0, scoring.work, heartbeat=False)
    assert predictor.texts_seen == 20
    assert Score.objects.filter(version=version).count() == 20


@pytest.mark.django_db
def test_empty_ranges_of_ids_make_no_chunks(version: ModelVersion) -> None:
    make_tweet("risk=0.9", id=5)
    make_tweet("risk=0.9", id=5_000_000_000)
    run_now(version)
    assert ScoringChunk.objects.count() <= 2
    assert Score.objects.filter(version=version).count() == 2


@pytest.mark.django_db
def test_a_failing_model_gives_its_chunk_back_and_says_why(
    version: ModelVersion, predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tweet("risk=0.9")

    def broken(texts: object) -> None:
        raise ValueError("no such vocabulary")

    monkeypatch.setattr(predictor, "predict", broken)
    run = scoring.start_run(version, user=None, activates=False)
    job = jobs.run_job(run.job_id or 0, scoring.work, heartbeat=False)
    assert job is not None
    assert (job.state, job.error) == (Job.State.FAILED, "ValueError: no such vocabulary")
    assert run.chunks.get().state == ScoringChunk.State.WAITING


# Chunks ---------------------------------------------------------------------------------------------------


def planned(version: ModelVersion) -> tuple[ScoringRun, scoring._Scorer]:
    run = scoring.start_run(version, user=None, activates=False)
    scorer = scoring._Scorer(version)
    score_tables.create(scorer.tables)
    scoring.plan(run)
    return run, scorer


@pytest.mark.django_db
def test_a_claimed_chunk_is_not_claimed_again_until_it_is_stale(version: ModelVersion) -> None:
    make_tweet("risk=0.9")
    run, _ = planned(version)
    first = claimed(run)
    assert scoring.claim_chunk(run) is None
    run.chunks.update(claimed_at=timezone.now() - scoring.CLAIM_STALE_AFTER * 2)
    again = claimed(run)
    assert (again.pk, again.attempt) == (first.pk, first.attempt + 1)


@pytest.mark.django_db
def test_the_chunk_of_a_session_that_has_ended_is_free_at_once(version: ModelVersion) -> None:
    make_tweet("risk=0.9")
    run, _ = planned(version)
    claimed(run)
    run.chunks.update(backend_pid=2**31 - 1)  # no process has this number
    assert claimed(run).attempt == 2


@pytest.mark.django_db
def test_a_worker_that_was_thought_dead_writes_nothing(version: ModelVersion) -> None:
    make_tweet("risk=0.9")
    run, scorer = planned(version)
    slow = claimed(run)
    run.chunks.update(claimed_at=timezone.now() - scoring.CLAIM_STALE_AFTER * 2)
    quick = claimed(run)
    scoring.score_chunk(quick, scorer)
    with pytest.raises(scoring.ChunkLost):
        scoring.score_chunk(slow, scorer)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {scorer.tables.score}")
        assert cursor.fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_workers_side_by_side_score_each_tweet_once(
    version: ModelVersion, committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch)
    for _ in range(60):
        make_tweet("risk=0.9 overdose")
    run = scoring.start_run(version, user=None, activates=False)

    def helper() -> None:
        try:
            while scoring.help_run(run.pk, seconds=1) is not scoring.Help.DONE:
                time.sleep(0.01)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=helper) for _ in range(3)]
    for thread in threads:
        thread.start()
    job = jobs.run_job(run.job_id or 0, scoring.work)
    for thread in threads:
        thread.join()
    assert job is not None
    assert (job.state, job.error) == (Job.State.DONE, "")
    assert Score.objects.filter(version=version).count() == 60
    assert ScoreTag.objects.filter(version=version).count() == 60
    assert set(run.chunks.values_list("state", "attempt")) == {(ScoringChunk.State.DONE, 1)}


@pytest.mark.django_db
def test_a_helper_waits_for_the_plan_and_stops_with_the_job(version: ModelVersion) -> None:
    make_tweet("risk=0.9")
    run = scoring.start_run(version, user=None, activates=False)
    assert scoring.help_run(run.pk, seconds=1) is scoring.Help.WAIT
    assert run.job is not None
    jobs.request_cancel(run.job)
    assert scoring.help_run(run.pk, seconds=1) is scoring.Help.DONE
    assert scoring.help_run(0, seconds=1) is scoring.Help.DONE


# The model's file -----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_only_the_file_that_training_recorded_is_opened(tmp_path: Path, settings) -> None:
    settings.MODEL_CACHE = tmp_path
    version = make_version(sha256=hashlib.sha256(b"trained").hexdigest())
    version.artefact.save("model.zip", ContentFile(b"edited"))
    with pytest.raises(jobs.JobError, match="not the one that its training recorded"):
        predictors.predictor_of(version)
    assert list(tmp_path.iterdir()) == []
    version.artefact.storage.delete(str(version.artefact.name))
    with pytest.raises(jobs.JobError, match="is gone"):
        predictors.predictor_of(version)


@pytest.mark.django_db
def test_a_version_without_a_file_says_so() -> None:
    with pytest.raises(jobs.JobError, match="no model file"):
        predictors.predictor_of(make_version())


# Dropping -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_dropping_removes_every_trace_and_allows_a_new_run(version: ModelVersion) -> None:
    make_tweet("risk=0.9 overdose")
    run_now(version)
    scoring.drop_scores(version)
    assert not Score.objects.filter(version=version).exists()
    assert not FlaggedWords.objects.filter(version=version).exists()
    assert (version.score_summary, version.scores_published_at) == ({}, None)
    run_now(version)
    assert Score.objects.filter(version=version).count() == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_dropping_gives_way_to_readers_and_holds_none_of_them_up(
    version: ModelVersion, committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tweet("risk=0.9")
    run_now(version)
    monkeypatch.setattr(score_tables, "DROP_PATIENCE_SECONDS", 1.5)
    long_reader, other = connection.copy(), connection.copy()
    long_reader.inc_thread_sharing()
    long_reader.set_autocommit(False)
    with long_reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM labeling_score")
    waits = []
    refused = threading.Thread(target=lambda: waits.append(_refusal(version)))
    refused.start()
    slowest = 0.0
    with other.cursor() as cursor:
        while refused.is_alive():
            started = time.monotonic()
            cursor.execute("SELECT count(*) FROM labeling_score")
            slowest = max(slowest, time.monotonic() - started)
    assert waits == ["Somebody is reading the scores, perhaps an export. Try again later."]
    assert slowest < 0.6
    threading.Timer(0.5, long_reader.close).start()
    scoring.drop_scores(version)
    other.close()
    assert not Score.objects.filter(version=version).exists()


def _refusal(version: ModelVersion) -> str:
    try:
        scoring.drop_scores(version)
    except jobs.JobError as error:
        return str(error)
    finally:
        connections.close_all()
    return ""


@pytest.mark.django_db
def test_the_active_version_keeps_its_scores(version: ModelVersion) -> None:
    make_tweet("risk=0.9")
    run_now(version)
    ModelVersion.objects.filter(pk=version.pk).update(is_active=True)
    with pytest.raises(jobs.JobError, match="is active"):
        scoring.drop_scores(version)


# The command ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_command_scores_the_newest_version_and_ends_with_figures(
    version: ModelVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tweet("risk=0.9")
    call_command("score", workers=1)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(f"Scored 1 tweets with version {version.number} in ")
    assert last.endswith("1 of 1 are at or above 0.5.")


@pytest.mark.django_db
def test_the_command_says_what_to_do_without_a_version() -> None:
    with pytest.raises(CommandError, match="Train a version first"):
        call_command("score")
    with pytest.raises(CommandError, match="no trained version 7"):
        call_command("score", version=7)


def start_command(pause: float) -> subprocess.Popen[bytes]:
    database = connection.settings_dict
    address = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(
        **{**database, "HOST": database["HOST"] or "localhost", "PORT": database["PORT"] or 5432}
    )
    if database["HOST"].startswith("/"):
        address = "postgres://{USER}:{PASSWORD}@/{NAME}?host={HOST}".format(**database)
    return slow_worker.start(address, pause=pause, tags=["opioids", "overdose"])


@pytest.mark.worker
@pytest.mark.django_db(transaction=True)
def test_after_kill_9_every_tweet_has_exactly_one_score(version: ModelVersion, committed: None) -> None:
    for number in range(300):
        make_tweet(f"risk=0.9 overdose {number}")
    process = start_command(pause=0.3)
    try:
        wait_until(lambda: ScoringChunk.objects.filter(state="done").count() >= 3)
        wait_until(lambda: ScoringChunk.objects.filter(state="claimed").exists())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert ScoringChunk.objects.exclude(state="done").exists()
        assert not Score.objects.filter(version=version).exists()
        again = start_command(pause=0)
        assert again.wait(timeout=60) == 0
    finally:
        process.kill()
    scored = list(Score.objects.filter(version=version).values_list("tweet_id", flat=True))
    assert (len(scored), len(set(scored))) == (300, 300)
    assert ScoreTag.objects.filter(version=version).count() == 300
    tables = ScoreTables(version.pk)
    assert score_tables.is_attached(tables)
    assert ScoringRun.objects.count() == 1
