"""Scoring runs: plan chunks, claim and score them in any number of processes, publish all at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import OperationalError, connection, transaction
from django.db.models import Max, Min, Q, Sum
from django.utils import timezone

from labeling import jobs, score_counts, score_indexes, score_tables
from labeling.jobs import JobError, Progress
from labeling.models import FlaggedWords, Job, ModelVersion, ScoringChunk, ScoringRun, Tweet
from labeling.models.tweets import ADDING_LOCK
from labeling.predictors import Predictor, predictor_of
from labeling.score_counts import Counts
from labeling.score_tables import ScoreTables, Tweets

logger = logging.getLogger(__name__)

CHUNK_TWEETS = 100_000  # about a second of the fast model, some seconds of the accurate one
SMALLEST_CHUNK = 5_000
CHUNKS_WANTED = 16  # in a small corpus too every worker gets some
LAST_PARTS = (
    8  # the last two are cut into up to so many each: no worker waits long for the one that ends last
)
CLAIM_STALE_AFTER = timedelta(seconds=60)  # a chunk claimed for longer has lost its worker
WRITE_SECONDS = (
    60  # the longest that the server spends on writing a chunk; a worker that is cut off ends there
)
IDLE_SECONDS = 0.2
HORIZON_WAIT_SECONDS = 5
WORDS_BATCH = 256
DEFAULT_THRESHOLD = 0.5


class ChunkLost(Exception):
    """Another worker has taken the chunk over: nothing that this one computed may be kept."""


class Help(StrEnum):
    """What help_run() leaves behind."""

    MORE = "more"  # chunks are left: call again
    WAIT = "wait"  # nothing to claim at this moment: call again later
    DONE = "done"  # the run needs no more help


# Starting ------------------------------------------------------------------------------------------------


def start_run(version: ModelVersion, *, user: AbstractBaseUser | None, activates: bool) -> ScoringRun:
    """A queued job that scores what `version` has not scored; goes on with a run that was cut short.

    Raises jobs.AlreadyRunning while another job scores this version.
    """
    with transaction.atomic():
        job = jobs.create_job(Job.Kind.SCORE, exclusive_key=exclusive_key(version), user=user)
        run = version.scoring_runs.filter(job__isnull=False).exclude(job__state=Job.State.DONE).first()
        if run is None:
            return ScoringRun.objects.create(version=version, job=job, activates=activates, created_by=user)  # type: ignore[misc]
        run.job, run.activates = job, activates
        run.save(update_fields=["job", "activates"])
        return run


def start_overdue() -> ScoringRun | None:
    """A queued run of the active version over tweets that came after its last one; None when there is none to start.

    Not while an import runs, which would be scored in many small runs, nor after a run that failed or was cancelled.
    """
    version = ModelVersion.objects.active()
    if version is None or Job.objects.active().filter(kind=Job.Kind.IMPORT).exists():
        return None
    last = version.scoring_runs.select_related("job").first()
    if last is None or (last.job is not None and last.job.state != Job.State.DONE):
        return None
    newest = Tweet.objects.order_by("-id").values_list("id", flat=True).first()
    if newest is None or newest <= scored_up_to(version):
        return None
    try:
        return start_run(version, user=None, activates=False)
    except jobs.AlreadyRunning:
        return None


def scored_up_to(version: ModelVersion) -> int:
    """Every tweet up to this id has been taken into one of the version's runs."""
    return version.scoring_runs.aggregate(last=Max("last_id"))["last"] or 0


def unfinished_job(version: ModelVersion) -> Job | None:
    """Of the version's newest run, while that is not done: it waits or runs, or it failed or was cancelled."""
    run = version.scoring_runs.select_related("job").first()
    return run.job if run and run.job and run.job.state != Job.State.DONE else None


def unscored(version: ModelVersion) -> int:
    """About how many tweets, by their ids, are newer than what the version's runs have finished with. Two queries."""
    done = version.scoring_runs.filter(Q(job=None) | Q(job__state=Job.State.DONE)).aggregate(
        last=Max("last_id")
    )
    newest = Tweet.objects.order_by("-id").values_list("id", flat=True).first()
    return max(0, newest - done["last"]) if newest and done["last"] else 0


def exclusive_key(version: ModelVersion) -> str:
    return f"score:{version.pk}"


# The job -------------------------------------------------------------------------------------------------


def work(job: Job, progress: Progress) -> None:
    """The whole run, in this process; helpers (help_run) may score chunks of it at the same time."""
    run = ScoringRun.objects.select_related("version").get(job=job)
    scorer = _open(run, progress.report)
    progress.report(stage="Planning")
    score_tables.create(scorer.tables)
    plan(run)
    _score_all(run, scorer, progress)
    publish(run, scorer, progress)


class _Scorer:
    """A version's model and tables, opened once in a process."""

    def __init__(self, version: ModelVersion) -> None:
        self.version = version
        self.predictor: Predictor = predictor_of(version)
        self.tables = ScoreTables(version.pk)
        if len(self.predictor.tags) != len(version.tag_ids):
            raise JobError(
                f"The model of version {version.number} has {len(self.predictor.tags)} tags, its record"
                f" {len(version.tag_ids)}. Train a new version."
            )
        # Pages of the latest chunk, and of the one before it while the latest is written.
        self.written: list[range] = []
        limits = self.predictor.thresholds["tags"]
        self.tag_thresholds = [limits.get(name) for name in self.predictor.tags]

    def probabilities(self, tweets: Tweets) -> npt.NDArray[np.float32]:
        """[n, 1 + T] between 0 and 1: DA first, then the tags. What is not a number counts as 0."""
        if not len(tweets):
            return np.empty((0, 1 + len(self.version.tag_ids)), dtype=np.float32)
        predicted = self.predictor.predict(tweets.text)
        return np.clip(np.nan_to_num(predicted), 0.0, 1.0).astype(np.float32, copy=False)

    @property
    def threshold(self) -> float:
        return threshold_of(self.version)

    @property
    def floor(self) -> float:
        """From where on scores are listed. Kept from the first publication, as the lists are."""
        return float(self.version.score_summary.get("floor", score_tables.floor_of(self.threshold)))


def threshold_of(version: ModelVersion) -> float:
    return DEFAULT_THRESHOLD if version.threshold is None else version.threshold


def _open(run: ScoringRun, report: Callable[..., None]) -> _Scorer:
    if run.version.state != ModelVersion.State.READY:
        raise JobError(f"Version {run.version.number} is not ready. Wait until its training has ended.")
    report(stage="Loading the model")
    return _Scorer(run.version)


def plan(run: ScoringRun) -> None:
    """Cut the ids after those of earlier runs into chunks. Does nothing the second time.

    Each chunk begins at the first tweet after the chunk before it, so that gaps between ids cost nothing. The last ones
    are small.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        locked = ScoringRun.objects.select_for_update().get(pk=run.pk)
        if locked.last_id is not None:
            return
        after_id = scored_up_to(run.version)
        last_id = max(after_id, last_settled_id())
        first_id = Tweet.objects.filter(id__gt=after_id, id__lte=last_id).aggregate(first=Min("id"))["first"]
        span = last_id - (first_id or last_id)
        width = min(CHUNK_TWEETS, max(SMALLEST_CHUNK, span // CHUNKS_WANTED))
        cursor.execute(
            """
            WITH RECURSIVE chunk (first_id, end_id) AS (
                SELECT %(first)s::bigint - 1, %(first)s::bigint - 1
                UNION ALL
                SELECT next.id, least(next.id - 1 + next.width, %(last)s)
                FROM chunk CROSS JOIN LATERAL (
                    SELECT min(id) AS id,
                           CASE WHEN min(id) <= %(last)s - 2 * %(width)s THEN %(width)s ELSE %(small)s END AS width
                    FROM labeling_tweet WHERE id > chunk.end_id AND id <= %(last)s
                ) next WHERE next.id IS NOT NULL
            )
            INSERT INTO labeling_scoringchunk (run_id, state, first_id, last_id, tweets, attempt, seconds)
            SELECT %(run)s, 'waiting', first_id, end_id, end_id - first_id + 1, 0, 0
            FROM chunk WHERE first_id >= %(first)s
            """,
            {
                "run": run.pk,
                "first": first_id,
                "last": last_id,
                "width": width,
                "small": max(SMALLEST_CHUNK, width // LAST_PARTS),
            },
        )
        ScoringRun.objects.filter(pk=run.pk).update(after_id=after_id, last_id=last_id)


def last_settled_id() -> int:
    """An id up to which no tweet can be added any more. Waits for the batches that imports are just writing.

    Ids are given out before they are committed, by several lanes: the highest in sight says nothing of those below.
    """
    while True:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{HORIZON_WAIT_SECONDS}s'")
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ADDING_LOCK])
                cursor.execute(
                    "SET LOCAL lock_timeout = DEFAULT; SELECT coalesce(max(id), 0) FROM labeling_tweet"
                )
                return int(cursor.fetchone()[0])
        except OperationalError as error:
            # Two lanes commit in order: one may wait for another that waits behind us. Let them pass.
            if getattr(error.__cause__, "pgcode", "") != score_tables.LOCK_NOT_AVAILABLE:
                raise


def claim_chunk(run: ScoringRun) -> ScoringChunk | None:
    """Take the next chunk that waits, or whose worker is gone: its session has ended, or it has been silent too long.

    None: nothing to take.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE labeling_scoringchunk
            SET state = 'claimed', attempt = attempt + 1, claimed_at = now(), backend_pid = pg_backend_pid()
            WHERE id = (
                SELECT id FROM labeling_scoringchunk c
                WHERE run_id = %s AND (
                    state = 'waiting' OR state = 'claimed' AND (
                        claimed_at < now() - make_interval(secs => %s)
                        OR NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.pid = c.backend_pid)
                    )
                )
                ORDER BY first_id LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING id
            """,
            [run.pk, CLAIM_STALE_AFTER.total_seconds()],
        )
        row = cursor.fetchone()
    return ScoringChunk.objects.get(pk=row[0]) if row else None


def score_chunk(chunk: ScoringChunk, scorer: _Scorer) -> None:
    """Read, predict, and write scores and counts together with the chunk's state, in one transaction.

    Raises ChunkLost, and writes nothing, when the chunk was claimed by somebody else meanwhile.
    """
    started = time.monotonic()
    tweets = score_tables.read_tweets(chunk.first_id, chunk.last_id)
    probabilities = scorer.probabilities(tweets)
    given = score_tables.given_tags(probabilities, scorer.tag_thresholds)
    counts = score_counts.count(
        tweets, probabilities[:, 0], given, tag_ids=scorer.version.tag_ids, threshold=scorer.threshold
    )
    with score_tables.bounded_transaction() as cursor:
        # Losing the last moments in a power cut is safe: state and scores of a chunk are lost together.
        cursor.execute(
            f"SET LOCAL synchronous_commit = off; SET LOCAL statement_timeout = '{WRITE_SECONDS}s'"
        )
        mine = ScoringChunk.objects.filter(
            pk=chunk.pk, attempt=chunk.attempt, state=ScoringChunk.State.CLAIMED
        )
        seconds = time.monotonic() - started
        if not mine.update(state=ScoringChunk.State.DONE, tweets=len(tweets), counts=counts, seconds=seconds):
            raise ChunkLost(str(chunk))
        before = score_tables.pages_of(scorer.tables)
        score_tables.copy_scores(
            scorer.tables,
            tweets,
            probabilities,
            tag_ids=scorer.version.tag_ids,
            given=given,
            floor=scorer.floor,
        )
        after = score_tables.pages_of(scorer.tables)
        scorer.written.append(range(max(0, before - 1), after))  # begun, perhaps, on the last page there was
    if len(scorer.written) > 1:  # the log on the disk has by now that the chunk before this one is committed
        score_tables.note_committed(scorer.tables, scorer.written.pop(0))


def _score_next(run: ScoringRun, scorer: _Scorer) -> bool:
    """Claim and score one chunk. False when there is none to claim."""
    chunk = claim_chunk(run)
    if chunk is None:
        return False
    try:
        score_chunk(chunk, scorer)
    except ChunkLost:
        logger.warning("%s was taken over by another worker", chunk)
    except BaseException:
        # Give it back at once: whoever goes on need not wait until the claim is stale.
        ScoringChunk.objects.filter(
            pk=chunk.pk, attempt=chunk.attempt, state=ScoringChunk.State.CLAIMED
        ).update(state=ScoringChunk.State.WAITING)
        raise
    return True


def _score_all(run: ScoringRun, scorer: _Scorer, progress: Progress) -> None:
    """Score chunks until none is left, waiting for those that helpers hold."""
    started, before = time.monotonic(), _tweets_done(run)
    total = run.chunks.aggregate(n=Sum("tweets"))["n"] or 0
    progress.report(stage="Scoring", done=before, total=total)
    while True:
        worked = _score_next(run, scorer)
        done = _tweets_done(run)
        rate = (done - before) / max(time.monotonic() - started, 0.001)
        progress.report(
            stage=f"Scoring ({rate:,.0f} tweets/s)", done=done, detail={"tweets_per_second": round(rate)}
        )
        if not worked:
            if not _unfinished(run).exists():
                progress.report(done=done, total=done)
                return
            time.sleep(IDLE_SECONDS)


def _tweets_done(run: ScoringRun) -> int:
    done = run.chunks.filter(state=ScoringChunk.State.DONE).aggregate(n=Sum("tweets"))["n"]
    return int(done or 0)


def _unfinished(run: ScoringRun) -> Any:
    return run.chunks.exclude(state=ScoringChunk.State.DONE)


# Helpers -------------------------------------------------------------------------------------------------


def help_run(run_id: int, *, seconds: float) -> Help:
    """Score chunks of a run that another process leads, for about `seconds`."""
    run = ScoringRun.objects.select_related("version", "job").filter(pk=run_id).first()
    if run is None or run.job is None or not run.job.is_active:
        return Help.DONE
    if run.last_id is None:
        return Help.WAIT  # its leader has not planned it yet
    if not _unfinished(run).exists():
        return Help.DONE
    scorer = _Scorer(run.version)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not Job.objects.active().filter(pk=run.job.pk).exists():
            return Help.DONE
        if not _score_next(run, scorer):
            return Help.WAIT if _unfinished(run).exists() else Help.DONE
    return Help.MORE


# Publication ---------------------------------------------------------------------------------------------


def publish(run: ScoringRun, scorer: _Scorer, progress: Progress) -> None:
    """Index, attach, count: one commit makes all scores visible. Every step is safe to repeat.

    What lists can do without for some seconds comes after it: the index of words, and the words that are marked.
    """
    if _unfinished(run).exists():
        raise JobError(
            "Some chunks are not scored yet. Start the scoring again: it goes on where it stopped."
        )
    progress.report(stage="Building indexes")
    score_indexes.build(scorer.tables)
    if score_tables.is_attached(scorer.tables):  # tweets were added to what has its indexes
        score_indexes.analyze_list(scorer.tables)
    progress.report(stage="Publishing")
    _publish(run, scorer, progress.job)
    if run.activates:
        from labeling.versions import NotReady, activate

        try:
            activate(scorer.version, user=run.created_by)
        except NotReady as error:
            raise JobError(str(error)) from error
        # Whoever takes the job over must not undo what people activate from now on.
        ScoringRun.objects.filter(pk=run.pk).update(activates=False)
    progress.report(stage="Indexing words")
    score_indexes.build_words(scorer.tables)
    progress.report(stage="Marking words")
    mark_words(scorer, limit=settings.FLAGGED_WORDS, report=progress.report)
    if not connection.in_atomic_block:
        progress.report(stage="Tidying")
        score_indexes.vacuum(scorer.tables)


def _publish(run: ScoringRun, scorer: _Scorer, mine: Job) -> None:
    """Attach the tables, and move the counts of the chunks into the version's summary. A second time moves none."""
    with score_tables.bounded_transaction():
        job = Job.objects.select_for_update().get(pk=mine.pk)
        if job.attempt != mine.attempt or job.state != Job.State.RUNNING:
            raise jobs.Superseded(f"Job {job.pk} was taken over or ended")
        if not score_tables.is_attached(scorer.tables):
            score_tables.attach(scorer.tables)
        # Before the counts are read: a recount may be under way, which takes them into its own.
        version = ModelVersion.objects.select_for_update().get(pk=scorer.version.pk)
        chunks = run.chunks.filter(counts__isnull=False)
        parts = list(chunks.values_list("counts", flat=True))
        chunks.update(counts=None)
        counts = score_counts.add(score_counts.counts_of(version.score_summary), *parts)
        _store_summary(version, counts, threshold=scorer.threshold, floor=scorer.floor)
        scorer.version.refresh_from_db()


def _store_summary(version: ModelVersion, counts: Counts, *, threshold: float, floor: float) -> None:
    version.score_summary = score_counts.summary_of(counts, threshold=threshold, floor=floor)
    version.scores_published_at = timezone.now()
    version.save(update_fields=["score_summary", "scores_published_at"])


def recount(version_id: int, *, gone: tuple[int, int] = (0, -1)) -> None:
    """Count a version's scores anew, after some were removed: three scans, some twenty seconds at 20 million.

    Counts that wait in chunks are part of it. Chunks that are being scored are committed before or after it, and a
    publication waits for its end. `gone`: the first and last id between which scores without a tweet are removed.
    """
    tables = ScoreTables(version_id)
    with transaction.atomic():
        if not score_tables.exist(tables):
            return
        score_tables.hold_writers(tables)  # as _publish() does: the tables, then the version
        version = ModelVersion.objects.select_for_update().get(pk=version_id)
        score_tables.remove_orphans(tables, *gone)
        summary = version.score_summary
        threshold = summary.get("threshold", threshold_of(version))
        counts = score_counts.scan(tables, threshold=threshold)
        score_indexes.analyze_list(tables)
        waiting = ScoringChunk.objects.filter(run__version=version, counts__isnull=False)
        first = waiting.first()
        waiting.update(counts=None)
        if version.scores_published_at is None:
            if first is not None:
                ScoringChunk.objects.filter(pk=first.pk).update(counts=counts)
        else:
            floor = summary.get("floor", score_tables.floor_of(threshold))
            version.score_summary = score_counts.summary_of(counts, threshold=threshold, floor=floor)
            version.save(update_fields=["score_summary"])


def mark_words(scorer: _Scorer, *, limit: int, report: Callable[..., None]) -> None:
    """Keep the words that drove the score of the `limit` highest risks, unless they are known already."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT t.id, t.text FROM (
                SELECT tweet_id, risk FROM {scorer.tables.listed}
                ORDER BY risk DESC, tweet_id DESC LIMIT %s
            ) s JOIN labeling_tweet t ON t.id = s.tweet_id
            WHERE NOT EXISTS (
                SELECT 1 FROM labeling_flaggedwords w WHERE w.version_id = %s AND w.tweet_id = t.id
            )
            """,
            [limit, scorer.version.pk],
        )
        tweets = cursor.fetchall()
    for start in range(0, len(tweets), WORDS_BATCH):
        batch = tweets[start : start + WORDS_BATCH]
        words = scorer.predictor.words([text for _, text in batch])
        FlaggedWords.objects.bulk_create(
            [
                FlaggedWords(
                    version=scorer.version,
                    tweet_id=tweet_id,
                    spans=[[int(first), int(end), round(float(weight), 4)] for first, end, weight in spans],
                )
                for (tweet_id, _), spans in zip(batch, words, strict=True)
            ],
            ignore_conflicts=True,
        )
        report()


# Dropping ------------------------------------------------------------------------------------------------


def drop_scores(version: ModelVersion) -> None:
    """Remove a version's scores, however many: three DROP TABLEs. Refuses for the active version.

    Gives way to readers: raises JobError where one of them holds the tables for too long.
    """
    try:
        with score_tables.dropping(ScoreTables(version.pk)):
            _require_droppable(ModelVersion.objects.select_for_update().get(pk=version.pk))
            ScoringRun.objects.filter(version=version).delete()
            FlaggedWords.objects.filter(version=version).delete()
            ModelVersion.objects.filter(pk=version.pk).update(score_summary={}, scores_published_at=None)
    except TimeoutError as error:
        raise JobError("Somebody is reading the scores, perhaps an export. Try again later.") from error
    version.refresh_from_db()


def _require_droppable(version: ModelVersion) -> None:
    if version.is_active:
        raise JobError(f"Version {version.number} is active. Activate another one first.")
    if Job.objects.active().filter(exclusive_key=exclusive_key(version)).exists():
        raise JobError(f"Version {version.number} is being scored. Cancel that job first.")
