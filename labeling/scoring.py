"""Scoring runs: plan chunks, claim and score them in any number of processes, publish all at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone

from labeling import jobs, score_tables
from labeling.jobs import JobError, Progress
from labeling.models import FlaggedWords, Job, ModelVersion, ScoringChunk, ScoringRun
from labeling.predictors import Predictor, predictor_of
from labeling.score_tables import ScoreTables

logger = logging.getLogger(__name__)

CHUNK_TWEETS = 50_000  # about a second of the fast model, some seconds of the accurate one
SMALLEST_CHUNK = 5_000
CHUNKS_WANTED = 16  # in a small corpus too every worker gets some
PLAN_WIDTH = 2_000  # ids are counted in ranges of this width, then joined to chunks
CLAIM_STALE_AFTER = timedelta(seconds=60)  # a chunk claimed for longer has lost its worker
IDLE_SECONDS = 0.5
WORDS_BATCH = 256
HISTOGRAM_BINS = 50
HISTOGRAM_LOGIT = 7.0  # bins are equal in the logit of risk, from −7 (0.0009) to 7 (0.9991)
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
        run = version.scoring_runs.exclude(job__state=Job.State.DONE).first()
        if run is None:
            return ScoringRun.objects.create(version=version, job=job, activates=activates, created_by=user)  # type: ignore[misc]
        run.job, run.activates = job, activates
        run.save(update_fields=["job", "activates"])
        return run


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
        limits = self.predictor.thresholds["tags"]
        self.tag_thresholds = [limits.get(name) for name in self.predictor.tags]
        # Once attached, the unique index exists and tells what is scored; before, chunks tell.
        self.is_incremental = score_tables.is_attached(self.tables)

    @property
    def threshold(self) -> float:
        return threshold_of(self.version)

    @property
    def floor(self) -> float:
        """Where the indexes on risk begin. Kept from the first publication, as the indexes are."""
        stored = self.version.score_summary.get("floor") if self.is_incremental else None
        return float(stored if stored is not None else score_tables.floor_of(self.threshold))


def threshold_of(version: ModelVersion) -> float:
    return DEFAULT_THRESHOLD if version.threshold is None else version.threshold


def _open(run: ScoringRun, report: Callable[..., None]) -> _Scorer:
    if run.version.state != ModelVersion.State.READY:
        raise JobError(f"Version {run.version.number} is not ready. Wait until its training has ended.")
    report(stage="Loading the model")
    return _Scorer(run.version)


def plan(run: ScoringRun) -> None:
    """Cut the ids of all tweets that the version has not scored into chunks. Does nothing the second time.

    One grouped query: exact counts for the progress bar, and empty ranges of ids cost nothing.
    """
    if run.chunks.exists():
        return
    tables = ScoreTables(run.version_id)
    unscored = (
        f"WHERE NOT EXISTS (SELECT 1 FROM {tables.score} s WHERE s.tweet_id = t.id)"
        if score_tables.is_attached(tables)
        else ""
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id / {PLAN_WIDTH}, count(*) FROM labeling_tweet t {unscored} GROUP BY 1 ORDER BY 1"
        )
        counts = cursor.fetchall()
    total = sum(count for _, count in counts)
    size = min(CHUNK_TWEETS, max(SMALLEST_CHUNK, total // CHUNKS_WANTED))
    ScoringChunk.objects.bulk_create(_chunks(run, counts, size), batch_size=2_000)


def _chunks(run: ScoringRun, counts: Sequence[tuple[int, int]], size: int) -> list[ScoringChunk]:
    """Neighbouring ranges joined until they hold about `size` tweets."""
    chunks: list[ScoringChunk] = []
    for number, count in counts:
        last_id = (number + 1) * PLAN_WIDTH - 1
        if chunks and chunks[-1].tweets + count <= size:
            chunks[-1].last_id = last_id
            chunks[-1].tweets += count
        else:
            chunks.append(ScoringChunk(run=run, first_id=number * PLAN_WIDTH, last_id=last_id, tweets=count))
    return chunks


def claim_chunk(run: ScoringRun) -> ScoringChunk | None:
    """Take the next chunk that waits, or whose worker has been silent too long. None: nothing to take."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE labeling_scoringchunk SET state = 'claimed', attempt = attempt + 1, claimed_at = now()
            WHERE id = (
                SELECT id FROM labeling_scoringchunk
                WHERE run_id = %s
                  AND (state = 'waiting' OR (state = 'claimed' AND claimed_at < now() - make_interval(secs => %s)))
                ORDER BY first_id LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING id
            """,
            [run.pk, CLAIM_STALE_AFTER.total_seconds()],
        )
        row = cursor.fetchone()
    return ScoringChunk.objects.get(pk=row[0]) if row else None


def score_chunk(chunk: ScoringChunk, scorer: _Scorer) -> None:
    """Read, predict, and write the scores together with the chunk's state, in one transaction.

    Raises ChunkLost, and writes nothing, when the chunk was claimed by somebody else meanwhile.
    """
    started = time.monotonic()
    tweets = score_tables.read_tweets(
        chunk.first_id, chunk.last_id, unscored_in=scorer.tables if scorer.is_incremental else None
    )
    probabilities = scorer.predictor.predict(tweets["text"].combine_chunks()) if len(tweets) else None
    with transaction.atomic(), connection.cursor() as cursor:
        # Losing the last moments in a power cut is safe: state and scores of a chunk are lost together.
        cursor.execute("SET LOCAL synchronous_commit = off")
        mine = ScoringChunk.objects.filter(
            pk=chunk.pk, attempt=chunk.attempt, state=ScoringChunk.State.CLAIMED
        )
        seconds = time.monotonic() - started
        if not mine.update(state=ScoringChunk.State.DONE, tweets=len(tweets), seconds=seconds):
            raise ChunkLost(str(chunk))
        if probabilities is not None:
            score_tables.copy_scores(
                scorer.tables,
                tweets,
                probabilities,
                tag_ids=scorer.version.tag_ids,
                tag_thresholds=scorer.tag_thresholds,
            )


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
    if not run.chunks.exists():
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
    """Index, count, attach: one commit makes all scores visible. Every step is safe to repeat."""
    if _unfinished(run).exists():
        raise JobError(
            "Some chunks are not scored yet. Start the scoring again: it goes on where it stopped."
        )
    tables, version = scorer.tables, scorer.version
    progress.report(stage="Building indexes")
    score_tables.add_indexes(tables, floor=scorer.floor)
    score_tables.analyze(tables)
    progress.report(stage="Counting")
    summary = summarise(tables, threshold=scorer.threshold, floor=scorer.floor)
    progress.report(stage="Marking words")
    mark_words(scorer, limit=settings.FLAGGED_WORDS, report=progress.report)
    progress.report(stage="Publishing")
    with transaction.atomic():
        job = Job.objects.select_for_update().get(pk=progress.job.pk)
        if job.attempt != progress.job.attempt or job.state != Job.State.RUNNING:
            raise jobs.Superseded(f"Job {job.pk} was taken over or ended")
        if not score_tables.is_attached(tables):
            score_tables.attach(tables)
        version.score_summary, version.scores_published_at = summary, timezone.now()
        version.save(update_fields=["score_summary", "scores_published_at"])
    if run.activates:
        from labeling.versions import NotReady, activate

        try:
            activate(version, user=run.created_by)
        except NotReady as error:
            raise JobError(str(error)) from error


def summarise(tables: ScoreTables, *, threshold: float, floor: float) -> dict[str, Any]:
    """What the dashboard shows, counted once: a scan of all scores takes seconds at 20 million.

    {"n", "flagged", "threshold", "floor", "histogram": {"edges": 51 floats, "counts": 50 ints},
    "tags": [{"tag", "n", "flagged"}], "days": [[ISO date or None, n, flagged]], "sources": {source: [n, flagged]}}
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT GROUPING(bin, day, source), bin, day, source, count(*), count(*) FILTER (WHERE flagged)
            FROM (
                SELECT width_bucket(ln(r / (1 - r)), %s, %s, %s) AS bin,
                       (posted_at AT TIME ZONE %s)::date AS day, source, risk >= %s::real AS flagged
                FROM (SELECT *, least(greatest(risk::float8, 1e-7), 1 - 1e-7) AS r FROM {tables.score}) s
            ) s
            GROUP BY GROUPING SETS ((bin), (day), (source)) ORDER BY 1, day
            """,
            [-HISTOGRAM_LOGIT, HISTOGRAM_LOGIT, HISTOGRAM_BINS, settings.TIME_ZONE, threshold],
        )
        rows = cursor.fetchall()
        cursor.execute(
            f"SELECT tag_id, count(*), count(*) FILTER (WHERE risk >= %s::real) FROM {tables.tag}"
            " GROUP BY 1 ORDER BY 1",
            [threshold],
        )
        tags = [{"tag": tag, "n": n, "flagged": flagged} for tag, n, flagged in cursor.fetchall()]
    bins, days, sources = ([row for row in rows if row[0] == mask] for mask in (0b011, 0b101, 0b110))
    counts = [0] * HISTOGRAM_BINS
    for _, number, _, _, n, _ in bins:  # 0 and BINS + 1 lie outside the edges
        counts[min(max(number - 1, 0), HISTOGRAM_BINS - 1)] += n
    return {
        "n": sum(row[4] for row in sources),
        "flagged": sum(row[5] for row in sources),
        "threshold": threshold,
        "floor": floor,
        "histogram": {"edges": histogram_edges(), "counts": counts},
        "tags": tags,
        "days": [[day.isoformat() if day else None, n, flagged] for _, _, day, _, n, flagged in days],
        "sources": {str(source): [n, flagged] for _, _, _, source, n, flagged in sources},
    }


def histogram_edges() -> list[float]:
    """Edges of the histogram's bins, as probabilities: the first is 0, the last is 1."""
    step = 2 * HISTOGRAM_LOGIT / HISTOGRAM_BINS
    inner = [1 / (1 + 2.718281828459045 ** (HISTOGRAM_LOGIT - k * step)) for k in range(1, HISTOGRAM_BINS)]
    return [0.0, *inner, 1.0]


def mark_words(scorer: _Scorer, *, limit: int, report: Callable[..., None]) -> None:
    """Keep the words that drove the score of the `limit` highest risks, unless they are known already."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT t.id, t.text FROM (
                SELECT tweet_id, risk FROM {scorer.tables.score} WHERE risk >= %s::real
                ORDER BY risk DESC, tweet_id DESC LIMIT %s
            ) s JOIN labeling_tweet t ON t.id = s.tweet_id
            WHERE NOT EXISTS (
                SELECT 1 FROM labeling_flaggedwords w WHERE w.version_id = %s AND w.tweet_id = t.id
            )
            """,
            [scorer.floor, limit, scorer.version.pk],
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
    """Remove a version's scores, however many: two DROP TABLEs. Refuses for the active version."""
    with transaction.atomic():
        locked = ModelVersion.objects.select_for_update().get(pk=version.pk)
        if locked.is_active:
            raise JobError(f"Version {version.number} is active. Activate another one first.")
        if Job.objects.active().filter(exclusive_key=exclusive_key(version)).exists():
            raise JobError(f"Version {version.number} is being scored. Cancel that job first.")
        score_tables.drop(ScoreTables(version.pk))
        ScoringRun.objects.filter(version=version).delete()
        FlaggedWords.objects.filter(version=version).delete()
        ModelVersion.objects.filter(pk=version.pk).update(score_summary={}, scores_published_at=None)
    version.refresh_from_db()
