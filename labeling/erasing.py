"""Erasing tweets everywhere: named ones, or all of an author's, with all that hangs on them; and for good.

1. Where an author is to be erased, keep the author's hash: imports leave the author's rows out from then on
2. delete the tweets in batches. Each is one short transaction, which also keeps their marks (labeling.erased)
3. wait for the jobs that may have read a tweet before it went, and delete what they have written of it since
4. take the rows out of the lists of rejected rows, which hold what people wrote, too

Nothing is done twice by a second attempt, so that it may be killed anywhere. What is not reached: docs/responsible-use.md.
"""

from __future__ import annotations

import csv
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from django.contrib.auth.models import AbstractBaseUser
from django.db import OperationalError, connection, transaction
from django.db.models import F, Q

from labeling import deleting, erased, jobs, near_copies, scoring
from labeling.identity import AuthorHasher, dedupe_keys
from labeling.imports.importing import author_key
from labeling.jobs import Cancelled, JobError, Progress
from labeling.models import (
    Annotation,
    AuditEvent,
    ErasedAuthor,
    ErasedTweet,
    Example,
    Import,
    Job,
    QueueItem,
    ReviewItem,
    Score,
    Source,
    Tweet,
)

BATCH = 5_000  # tweets of one transaction: well under a second
WAIT_SECONDS = 1
# Two who lock in different orders end in a deadlock, and the server then picks one of them after a second. This one
# lets go before that and tries again: the other is a person who waits for an answer.
LOCK_WAIT_MS = 500
LOCK_PATIENCE_SECONDS = 60
IN_THE_WAY = ("55P03", "40P01")  # lock not available, deadlock
ROWS = 10_000  # of a list of rejected rows, looked at together


# What would go -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loss:
    """What goes with a tweet."""

    tweets: int  # more than one: the same post also came from the other source
    annotations: int
    items: int  # of queues
    reviews: int
    versions: int  # that have scored it
    snapshots: int  # of trainings that it is in
    copies: int  # near copies, which stay; counted up to near_copies.COUNT_CAP


def loss_of(tweet: Tweet) -> Loss:
    ids = posts_of([tweet.pk])
    return Loss(
        tweets=len(ids),
        annotations=Annotation.objects.filter(tweet_id__in=ids).count(),
        items=QueueItem.objects.filter(tweet_id__in=ids).count(),
        reviews=ReviewItem.objects.filter(tweet_id__in=ids).count(),
        versions=Score.objects.filter(tweet_id__in=ids).values("version_id").distinct().count(),
        snapshots=Example.objects.filter(tweet_id__in=ids).values("version_id").distinct().count(),
        copies=near_copies.count_copies([tweet.pk]).get(tweet.pk, 0),
    )


def count_of(author: uuid.UUID) -> int:
    """All of the author's tweets. Reads the whole table: two or three seconds at 20 million, where it is in memory."""
    return Tweet.objects.filter(author_hash=author).count()


def author_of(name: str) -> uuid.UUID:
    """The hash of an author's name, as it stood in a file."""
    return uuid.UUID(bytes=AuthorHasher(author_key()).hash(name))


def posts_of(ids: Sequence[int]) -> list[int]:
    """The tweets, and those that are the same post from the other source; in order of id."""
    return sorted({tweet_id for tweet_id, *_ in _read(ids)})


def unread_files() -> int:
    """Uploads that are waiting, or that were imported half-way: they hold what people wrote, and are not looked through."""
    return Import.objects.exclude(file="").filter(deleted_at__isnull=True).count()


# Starting ------------------------------------------------------------------------------------------------


def start(
    *, tweet_ids: Sequence[int] = (), author: uuid.UUID | None = None, user: AbstractBaseUser | None
) -> Job:
    """A queued job. The caller rings the bell."""
    with transaction.atomic():
        job = jobs.create_job(Job.Kind.ERASE, user=user)
        job.detail = {"tweets": list(tweet_ids), "author": author.hex if author else ""}
        job.save(update_fields=["detail"])
    return job


# The job -------------------------------------------------------------------------------------------------


def work(job: Job, progress: Progress) -> None:
    """An erasure that stops half-way is on record too, with what it has erased."""
    author = uuid.UUID(job.detail["author"]) if job.detail.get("author") else None
    what = "author" if author else "tweets"
    rows = 0
    try:
        rows = _run(job, author, progress)
    except (Cancelled, JobError):
        if job.done:
            _record(job, what=what)
        job.detail = {}
        raise
    _record(job, what=what)
    job.detail = {"rejected_rows": rows}  # whom it was about is nobody's business any more
    progress.report(stage="Tweets erased", done=job.done)


def _run(job: Job, author: uuid.UUID | None, progress: Progress) -> int:
    """How many rejected rows went."""
    progress.report(stage="Looking for the tweets")
    ids: list[int] = job.detail.get("tweets", [])
    keys: set[int] = set()
    if author:
        ErasedAuthor.objects.get_or_create(author_hash=author)
        _wait_for(_Running.now([Job.Kind.IMPORT]), progress)  # they began before they could know
        ids = ids + _ids_of(author)
    for start in range(0, len(ids), BATCH):
        job.done += _patiently(partial(_erase, ids[start : start + BATCH], job, keys))
        progress.report(stage="Erasing tweets", done=job.done)
    scoring.last_settled_id()  # a batch of an import had asked for marks before, and held the same post
    for same in _in_parts(sorted(keys), BATCH):
        ids = list(Tweet.objects.filter(dedupe_key__in=same).values_list("pk", flat=True))
        job.done += _patiently(partial(_erase, ids, job, set()))
    _wait_for(_Running.now(deleting.WRITERS), progress)
    progress.report(stage="Looking for what was written meanwhile")
    _sweep(job)
    progress.report(stage="Looking through rejected rows")
    return _clean_rejected(author, progress.report)


def _in_parts(values: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _ids_of(author: uuid.UUID) -> list[int]:
    """Reads the whole table, once for an erasure: an index would be paid for with every row that is imported."""
    return sorted(Tweet.objects.filter(author_hash=author).values_list("id", flat=True))


def _patiently(erase: Callable[[], int]) -> int:
    """Try until nobody else holds what is to go."""
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_MS}ms'")
                return erase()
        except OperationalError as error:
            if getattr(error.__cause__, "pgcode", "") not in IN_THE_WAY:
                raise
            if time.monotonic() > deadline:
                raise JobError(
                    "Somebody works on these tweets, or exports them. Erase them again later."
                ) from error
            time.sleep(LOCK_WAIT_MS / 1000)


def _erase(ids: Sequence[int], job: Job, keys: set[int]) -> int:
    """Some tweets, their marks and the job's count, in the transaction of _patiently(). How many tweets.

    Adds the dedupe keys by which they, and the same posts from the other source, can be found to `keys`.
    """
    rows = _read(ids)
    if not rows:
        return 0
    marks: dict[int, int | None] = {}
    for source in Source:
        own = dedupe_keys(source, [(name, text) for _, _, name, text in rows])
        keys.update(own.tolist())
        for mark, (tweet_id, of, _, _) in zip(erased.marks_of(own).tolist(), rows, strict=True):
            marks[mark] = tweet_id if of == source else marks.get(mark)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO labeling_erasedtweet AS e (mark, tweet_id, job_id)"
            " SELECT mark, tweet_id, %s FROM unnest(%s::bigint[], %s::bigint[]) AS n (mark, tweet_id) ORDER BY mark"
            " ON CONFLICT (mark) DO UPDATE SET job_id = excluded.job_id,"
            " tweet_id = coalesce(excluded.tweet_id, e.tweet_id)",
            [job.pk, list(marks), list(marks.values())],
        )
    count = deleting.delete_tweets([tweet_id for tweet_id, *_ in rows])
    Job.objects.filter(pk=job.pk).update(done=F("done") + count)
    return count


def _read(ids: Sequence[int]) -> list[tuple[int, int, str, str]]:
    """(id, source, external id, text) of the tweets and of the same posts from the other source."""
    columns = ("id", "source", "external_id", "text")
    rows = list(Tweet.objects.filter(pk__in=ids).values_list(*columns))
    names = [(name, text) for _, _, name, text in rows]
    keys = [key for source in Source for key in dedupe_keys(source, names).tolist()]
    same = Tweet.objects.filter(dedupe_key__in=keys).values_list(*columns)
    return sorted({*rows, *same})


def _sweep(job: Job) -> None:
    """What jobs have written of tweets that they had read before: of this erasure's, and of any that was cut short."""
    ended = Q(job=job) | Q(job=None) | ~Q(job__state__in=Job.ACTIVE)
    pending = ErasedTweet.objects.filter(ended, tweet_id__isnull=False)
    ids = list(pending.values_list("tweet_id", flat=True))
    if not ids:
        return
    for start in range(0, len(ids), BATCH):
        part = [tweet_id for tweet_id in ids[start : start + BATCH] if tweet_id is not None]
        _patiently(partial(deleting.delete_tweets, part))
    for table in deleting.score_tables_of_all(published=False):  # without indexes: read once each
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table} WHERE tweet_id = ANY(%s)", [ids])  # noqa: S608 - a version's table
    ErasedTweet.objects.filter(tweet_id__in=ids).update(tweet_id=None)


def _record(job: Job, *, what: str) -> None:
    """Once, whatever the number of attempts."""
    if not AuditEvent.objects.filter(action=AuditEvent.Action.ERASE, detail__job=job.pk).exists():
        AuditEvent.objects.create(
            action=AuditEvent.Action.ERASE,
            user=job.created_by,
            detail={"what": what, "job": job.pk},
            tweets=job.done,
        )


# Who else is writing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Running:
    """Attempts of this moment, at jobs and at chunks of scoring runs: what begins later finds the tweets gone."""

    jobs: frozenset[tuple[int, int]]
    chunks: frozenset[tuple[int, int]]

    @classmethod
    def now(cls, kinds: Sequence[str]) -> _Running:
        running = Job.objects.filter(state=Job.State.RUNNING, kind__in=kinds)
        lost = Job.objects.abandoned().values("pk")
        return cls(
            frozenset(running.exclude(pk__in=lost).values_list("pk", "attempt")),
            frozenset(_chunks_in_hand()) if Job.Kind.SCORE in kinds else frozenset(),
        )


def _chunks_in_hand() -> list[tuple[int, int]]:
    """A worker that helps with a run writes its chunk also when the run's job has just been cancelled."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.id, c.attempt FROM labeling_scoringchunk c JOIN pg_stat_activity a ON a.pid = c.backend_pid"
            " WHERE c.state = 'claimed' AND a.backend_start <= c.claimed_at"
        )
        return [(chunk_id, attempt) for chunk_id, attempt in cursor.fetchall()]


def _wait_for(before: _Running, progress: Progress) -> None:
    """Until all of them have ended. Not for what has begun since, or a busy installation would wait for ever."""
    kinds = [kind for kind in Job.Kind if kind != Job.Kind.ERASE]
    while True:
        now = _Running.now(kinds)
        left = before.jobs & now.jobs
        if not left and not before.chunks & now.chunks:
            return
        job = Job.objects.filter(pk__in=[pk for pk, _ in left]).first()
        name = job.get_kind_display().lower() if job else "score"
        progress.report(stage=f"Waiting for a job to end: {name}")
        progress.write()  # shows a cancel
        time.sleep(WAIT_SECONDS)


# Rejected rows -------------------------------------------------------------------------------------------


def _clean_rejected(author: uuid.UUID | None, tick: Callable[[], None]) -> int:
    """Take the rows of erased tweets, and of the author, out of the lists of rejected rows. How many.

    Rows that could not be read, or were cut off, are looked at piece by piece. A list that is being written is left.
    """
    with connection.cursor() as cursor:
        marks = erased.known_marks(cursor)
    hasher = AuthorHasher(author_key())

    def is_author(cell: str) -> bool:
        return author is not None and hasher.hash(cell) == author.bytes

    rows = 0
    for row in Import.objects.exclude(rejected_file="").exclude(job__state__in=Job.ACTIVE):
        path = Path(row.rejected_file.path)
        if path.exists():
            rows += _clean(path, lambda contents: erased.are_erased(contents, marks, is_author), tick)
    return rows


def _clean(path: Path, are_erased: Callable[[list[str]], list[bool]], tick: Callable[[], None]) -> int:
    dropped = 0
    rest = path.with_name(f"{path.name}.partial")
    with (
        path.open(encoding="utf-8", newline="") as old,
        rest.open("w", encoding="utf-8", newline="") as new,
    ):
        lines, writer = csv.reader(old), csv.writer(new)
        writer.writerows(islice(lines, 1))
        for part in _parts(lines):
            tick()
            gone = are_erased([line[-1] if line else "" for line in part])
            writer.writerows(line for line, is_gone in zip(part, gone, strict=True) if not is_gone)
            dropped += sum(gone)
    if dropped:
        os.replace(rest, path)
    else:
        rest.unlink()
    return dropped


def _parts(lines: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    while part := list(islice(lines, ROWS)):
        yield part
