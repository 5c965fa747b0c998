"""Deleting an import as a whole: its tweets, and all that hangs on them, in ranges of ids.

Each range is one short transaction, so a killed deletion simply goes on with what is left. The import's row stays:
it says what was here, and who took it away.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pgtrigger
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from labeling import jobs, score_tables, scoring
from labeling.jobs import Progress
from labeling.models import (
    Annotation,
    AuditEvent,
    Example,
    FlaggedWords,
    Import,
    Job,
    Label,
    ModelVersion,
    QueueItem,
    ReviewItem,
    SearchIndex,
    Tweet,
)
from labeling.score_tables import ScoreTables

RANGE = 10_000  # ids of one transaction: well under a second
COUNT_CAP = 10_000  # beyond it the page says "10,000+"
WAIT_SECONDS = 1
# What a tweet's deletion must not meet half-way: each of these would write of a tweet that is gone.
WRITERS = (
    Job.Kind.IMPORT,
    Job.Kind.RULES,
    Job.Kind.TRAIN,
    Job.Kind.SCORE,
    Job.Kind.NEAR_COPIES,
    Job.Kind.WRONG_LABELS,
)


class CannotDelete(Exception):
    """Says why."""


@dataclass(frozen=True)
class Loss:
    """What goes with an import. Counts up to COUNT_CAP."""

    tweets: int
    judged: int  # by people
    examples: int  # rows of training snapshots

    @property
    def judged_shown(self) -> str:
        return _capped(self.judged)

    @property
    def examples_shown(self) -> str:
        return _capped(self.examples)


def _capped(count: int) -> str:
    return f"{COUNT_CAP:,}+" if count > COUNT_CAP else f"{count:,}"


def loss_of(row: Import) -> Loss:
    judged = Label.objects.filter(annotators__gt=0, tweet__import_id=row.pk)
    examples = Example.objects.filter(tweet__import_id=row.pk)
    return Loss(row.imported, judged[: COUNT_CAP + 1].count(), examples[: COUNT_CAP + 1].count())


def why_not(row: Import) -> str:
    """Why an import cannot be deleted now; empty when it can."""
    if row.deleted_at:
        return "This import is deleted already."
    if row.job is None:
        return "This import was never started. Discard it instead."
    if row.job.is_active:
        return "This import is still running. Wait for its end, or cancel it first."
    if row.deletion is not None and row.deletion.is_active:
        return "This import is being deleted."
    return ""


def start(row: Import, *, user: AbstractBaseUser | None) -> Job:
    """Queue the job. Raises CannotDelete."""
    with transaction.atomic():
        locked = Import.objects.select_for_update().get(pk=row.pk)
        if problem := why_not(locked):
            raise CannotDelete(problem)
        locked.deletion = jobs.create_job(Job.Kind.DELETE, user=user, total=locked.imported)
        locked.save(update_fields=["deletion"])
    return locked.deletion


def work(job: Job, progress: Progress) -> None:
    """Safe to run again after a kill or a cancel: what is deleted is not found any more."""
    row = Import.objects.get(deletion=job)
    progress.report(stage="Looking for the tweets")
    done = job.done
    first, last = _span(row)
    for low in range(first, last + 1, RANGE):
        _wait_for_writers(progress)
        done += delete_range(row, low, min(low + RANGE - 1, last))
        progress.report(stage="Deleting tweets", done=done)
    _wait_for_writers(progress)
    progress.report(stage="Counting what is left")
    _sweep_unpublished()
    for version_id in ModelVersion.objects.values_list("pk", flat=True):
        scoring.recount(version_id, gone=(first, last))
    _finish(row, job)


def _span(row: Import) -> tuple[int, int]:
    """The first and the last id. Through the index of imports: along the ids it might read all other tweets first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(id + 0), max(id + 0) FROM labeling_tweet WHERE import_id = %s",
            [row.pk],
        )
        first, last = cursor.fetchone()
    return (first, last) if first is not None else (0, -1)


def _wait_for_writers(progress: Progress) -> None:
    """Not for a job whose worker is gone: the one that would take it over may be this one."""
    running = Job.objects.filter(state=Job.State.RUNNING, kind__in=WRITERS)
    while job := running.exclude(pk__in=Job.objects.abandoned().values("pk")).first():
        progress.report(stage=f"Waiting for a job to end: {job.get_kind_display().lower()}")
        progress.write()  # shows a cancel
        time.sleep(WAIT_SECONDS)


@transaction.atomic
def delete_range(row: Import, first: int, last: int) -> int:
    """Delete the import's tweets among these ids, with all that hangs on them. How many tweets."""
    found = Tweet.objects.filter(import_id=row.pk, id__range=(first, last))
    return delete_tweets(list(found.values_list("id", flat=True)))


def delete_tweets(ids: Sequence[int]) -> int:
    """Delete tweets with all that hangs on them, also where a tweet itself is gone already. How many tweets.

    Call it in a transaction. It locks what people work on in the order in which they do: an item, then its tweet.
    """
    if not ids:
        return 0
    for rows in (QueueItem.objects.filter(tweet_id__in=ids), Tweet.objects.filter(id__in=ids)):
        list(rows.select_for_update().order_by("id").values_list("id", flat=True))
    for table in score_tables_of_all(published=True):
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table} WHERE tweet_id = ANY(%s)", [list(ids)])  # noqa: S608 - a version's table
    for model in (FlaggedWords, Example, ReviewItem, Label):
        _delete(model._default_manager.filter(tweet_id__in=ids))
    with pgtrigger.ignore("labeling.Annotation:append_only"):  # the judgements of a tweet go with the tweet
        _delete(Annotation.objects.filter(tweet_id__in=ids))
    _delete(QueueItem.objects.filter(tweet_id__in=ids))
    return _delete(Tweet.objects.filter(id__in=ids))


def _delete(rows: QuerySet[Any]) -> int:
    """One statement: Django would fetch the rows, and again what refers to them."""
    return int(rows._raw_delete(rows.db))


def score_tables_of_all(*, published: bool) -> list[str]:
    """Of all versions. Tables that were not published yet may lack their indexes."""
    names: list[str] = []
    for tables in map(ScoreTables, ModelVersion.objects.values_list("pk", flat=True)):
        if score_tables.is_attached(tables) == published:
            names += tables.all
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL", [names]
        )
        return [name for (name,) in cursor.fetchall()]


def _sweep_unpublished() -> None:
    """Scores of a run that has stopped half-way, in one go: without an index, each range would read them all."""
    for table in score_tables_of_all(published=False):
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} s WHERE NOT EXISTS (SELECT FROM labeling_tweet t WHERE t.id = s.tweet_id)"  # noqa: S608
            )


def _finish(row: Import, job: Job) -> None:
    """The files go too: they hold what people wrote."""
    with transaction.atomic():
        SearchIndex.objects.filter(
            import_row=row
        ).delete()  # the next search job drops the indexes themselves
        Import.objects.filter(pk=row.pk).update(deleted_at=timezone.now(), file="", rejected_file="")
        AuditEvent.objects.create(
            action=AuditEvent.Action.DELETE,
            user=job.created_by,
            detail={"what": "import", "import": row.pk, "file": row.file_name},
            tweets=row.imported,
        )
    for file in (row.file, row.rejected_file):
        if file and file.name:
            file.storage.delete(file.name)
