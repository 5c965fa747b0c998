"""Judging tweets: annotations are appended and never changed; an undo is a row that retracts another.

Every function here writes, derives the labels and opens or updates review items in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, connection, transaction

from labeling import review
from labeling.labels import derive_labels
from labeling.models import Annotation, AuditEvent, ModelVersion, Origin, QueueItem, Verdict

BATCH = 50_000


def annotate(
    *,
    tweet_id: int,
    annotator: AbstractBaseUser | None,
    verdict: int | None,
    tag_ids: Iterable[int] | None,
    origin: Origin = Origin.ANALYST,
    note: str = "",
    queue_item: QueueItem | None = None,
    suggested_by: ModelVersion | int | None = None,
    seconds: float | None = None,
    audit_event: AuditEvent | None = None,
) -> Annotation:
    """Append one judgement. `tag_ids` is every tag the tweet deserves; None: tags not judged; []: none."""
    version_id = suggested_by.pk if isinstance(suggested_by, ModelVersion) else suggested_by
    with transaction.atomic(savepoint=False):
        annotation = Annotation.objects.create(
            tweet_id=tweet_id,
            annotator=annotator,  # type: ignore[misc]
            verdict=None if verdict is None else Verdict(verdict),
            tag_ids=normal(tag_ids),
            origin=origin,
            note=note,
            queue_item=queue_item,
            suggested_by_id=version_id,
            seconds=seconds,
            audit_event=audit_event,
        )
        derive_labels([tweet_id])
        review.consider(tweet_id)
    return annotation


def annotate_many(
    *,
    tweet_ids: Sequence[int],
    annotator: AbstractBaseUser | None,
    verdict: int | None = None,
    tag_ids: Iterable[int] | None = None,
    origin: Origin = Origin.ANALYST,
    audit_event: AuditEvent | None = None,
) -> int:
    """Append the same judgement to many tweets. The audit event can undo them together: retract_event()."""
    tags = normal(tag_ids)
    with transaction.atomic():
        for ids in batches(sorted(set(tweet_ids))):
            with connection.cursor() as cursor:
                cursor.execute(
                    """
                    INSERT INTO labeling_annotation
                        (tweet_id, origin, annotator_id, verdict, tag_ids, note, audit_event_id, created_at)
                    SELECT tweet_id, %s, %s, %s, %s::integer[], '', %s, now()
                    FROM unnest(%s::bigint[]) AS tweet_id
                    """,
                    [
                        int(origin),
                        annotator.pk if annotator else None,
                        None if verdict is None else int(Verdict(verdict)),
                        tags,
                        audit_event.pk if audit_event else None,
                        list(ids),
                    ],
                )
            derive_labels(ids)
            review.consider_many(ids)
    return len(set(tweet_ids))


def retract(annotation: Annotation, *, by: AbstractBaseUser | None) -> Annotation:
    """Append the row that takes an annotation back. Safe to call twice: the first retraction is returned."""
    if annotation.retracts_id is not None:
        raise ValueError("A retraction cannot be retracted: annotate the tweet again.")
    try:
        with transaction.atomic():
            retraction = Annotation.objects.create(
                tweet_id=annotation.tweet_id,
                origin=annotation.origin,
                annotator=by,  # type: ignore[misc]
                retracts=annotation,
            )
            derive_labels([annotation.tweet_id])
            review.consider(annotation.tweet_id)
            return retraction
    except IntegrityError:
        return Annotation.objects.get(retracts=annotation)


def retract_event(audit_event: AuditEvent, *, by: AbstractBaseUser | None) -> int:
    """Take back everything that a bulk action annotated; returns how many tweets. Safe to call twice."""
    retracted = 0
    with transaction.atomic():
        undo = AuditEvent(action=AuditEvent.Action.UNDO, user=by, detail={"undoes": audit_event.pk})  # type: ignore[misc]
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO labeling_annotation (tweet_id, origin, annotator_id, retracts_id, note, created_at)
                SELECT a.tweet_id, a.origin, %s, a.id, '', now()
                FROM labeling_annotation a
                WHERE a.audit_event_id = %s AND a.retracts_id IS NULL
                  AND NOT EXISTS (SELECT FROM labeling_annotation r WHERE r.retracts_id = a.id)
                ORDER BY a.tweet_id
                ON CONFLICT (retracts_id) DO NOTHING
                RETURNING tweet_id
                """,
                [by.pk if by else None, audit_event.pk],
            )
            tweet_ids = sorted({row[0] for row in cursor.fetchall()})
        for ids in batches(tweet_ids):
            derive_labels(ids)
            review.consider_many(ids)
        retracted = len(tweet_ids)
        if retracted:
            undo.tweets = retracted
            undo.save()
    return retracted


def normal(tag_ids: Iterable[int] | None) -> list[int] | None:
    """Sorted and without repeats, as Annotation.tag_ids holds them."""
    return None if tag_ids is None else sorted(set(tag_ids))


def batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]
