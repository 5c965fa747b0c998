"""A reviewer's decisions on review items: approve, correct or reject, one by one or in bulk.

A decision appends a review annotation, from which the label follows; nothing is overwritten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import TextChoices
from django.utils import timezone

from labeling.annotation import annotate, annotate_many
from labeling.models import Annotation, AuditEvent, Label, Origin, ReviewItem, Verdict

State = ReviewItem.State


class Decision(TextChoices):
    APPROVE = "approve", "Approve"  # the label as it stands, or one analyst's judgement, is right
    CORRECT = "correct", "Correct"  # the reviewer's own judgement replaces it
    REJECT = "reject", "Reject"  # nothing to settle: the label stays as it was


STATE_AFTER = {
    Decision.APPROVE: State.APPROVED,
    Decision.CORRECT: State.CORRECTED,
    Decision.REJECT: State.REJECTED,
}


class CannotDecide(Exception):
    """The message says why, and what the reviewer can do instead."""


@dataclass(frozen=True)
class Outcome:
    """Of a bulk decision: how many items were decided, and how many need a look of their own."""

    decided: int
    left: int


@transaction.atomic
def decide(
    item: ReviewItem,
    *,
    reviewer: User,
    decision: Decision,
    verdict: int | None = None,
    tag_ids: Iterable[int] | None = None,
    chosen: Annotation | None = None,
    note: str = "",
) -> ReviewItem:
    """Decide one item. `verdict` and `tag_ids` belong to a correction; `chosen` is the judgement to approve,
    the label as it stands without it. Raises CannotDecide; the item is then as before."""
    locked = ReviewItem.objects.select_for_update().filter(pk=item.pk).first()
    if locked is None:
        raise CannotDecide("The tweet was erased in the meantime, and its review with it.")
    if locked.state != State.OPEN:
        raise CannotDecide("A colleague has decided this item in the meantime. Nothing was changed.")
    judgement = None
    if decision == Decision.CORRECT:
        if verdict is None:
            raise CannotDecide("Choose a verdict for the correction.")
        judgement = (verdict, sorted(set(tag_ids)) if tag_ids is not None else None)
    elif decision == Decision.APPROVE:
        judgement = _approved(locked, chosen)
    _mark([locked.pk], decision, reviewer=reviewer)
    event = _audit(reviewer, decision, items=[locked.pk], tweets=1)
    if judgement is not None:
        annotation = annotate(
            tweet_id=locked.tweet_id,
            annotator=reviewer,
            verdict=judgement[0],
            tag_ids=judgement[1],
            origin=Origin.REVIEW,
            note=note,
            audit_event=event,
        )
        ReviewItem.objects.filter(pk=locked.pk).update(annotation=annotation)
    elif note:
        ReviewItem.objects.filter(pk=locked.pk).update(note=f"{locked.note}\n{note}".strip())
    locked.refresh_from_db()
    return locked


@transaction.atomic
def decide_many(item_ids: Sequence[int], *, reviewer: User, decision: Decision) -> Outcome:
    """Approve the labels as they stand, or reject. Items that cannot be approved unseen stay open."""
    if decision == Decision.CORRECT:
        raise CannotDecide("Items are corrected one by one.")
    items = list(
        ReviewItem.objects.select_for_update().filter(pk__in=item_ids, state=State.OPEN).order_by("tweet_id")
    )
    left = len(set(item_ids)) - len(items)
    groups: dict[tuple[int, tuple[int, ...] | None], list[int]] = defaultdict(list)
    if decision == Decision.APPROVE:
        labels = Label.objects.in_bulk([item.tweet_id for item in items])
        decidable = [item for item in items if _can_approve(labels.get(item.tweet_id))]
        left += len(items) - len(decidable)
        items = decidable
        for item in items:
            label = labels[item.tweet_id]
            assert label.verdict is not None
            tags = None if label.tag_ids is None else tuple(label.tag_ids)
            groups[label.verdict, tags].append(item.tweet_id)
    if not items:
        return Outcome(0, left)
    ids = [item.pk for item in items]
    _mark(ids, decision, reviewer=reviewer)
    event = _audit(reviewer, decision, items=ids, tweets=len(ids))
    for (verdict, tags), tweet_ids in groups.items():
        annotate_many(
            tweet_ids=tweet_ids,
            annotator=reviewer,
            verdict=verdict,
            tag_ids=tags,
            origin=Origin.REVIEW,
            audit_event=event,
        )
    if groups:
        _link(ids, event)
    return Outcome(len(ids), left)


def _approved(item: ReviewItem, chosen: Annotation | None) -> tuple[int, list[int] | None]:
    if chosen is not None:
        if chosen.tweet_id != item.tweet_id or chosen.verdict is None:
            raise CannotDecide("That judgement is not one of this tweet, or has no verdict.")
        return chosen.verdict, chosen.tag_ids
    label = Label.objects.filter(pk=item.tweet_id).first()
    if label is None or not _can_approve(label):
        raise CannotDecide(
            "There is no majority to approve: approve one of the judgements, or correct the label."
        )
    assert label.verdict is not None
    return label.verdict, label.tag_ids


def _can_approve(label: Label | None) -> bool:
    """A tie is shown as a disputed "unsure"; approving it would settle nothing."""
    return (
        label is not None
        and label.verdict is not None
        and not (label.is_disputed and label.verdict == Verdict.UNSURE)
    )


def _mark(item_ids: Sequence[int], decision: Decision, *, reviewer: User) -> None:
    """Before the annotation is written, so that it does not find an open item to settle."""
    ReviewItem.objects.filter(pk__in=item_ids).update(
        state=STATE_AFTER[decision], decided_by=reviewer, decided_at=timezone.now()
    )


def _audit(reviewer: User, decision: Decision, *, items: Sequence[int], tweets: int) -> AuditEvent:
    detail = {"decision": decision.value, "items": list(items[:1000])}
    return AuditEvent.objects.create(
        action=AuditEvent.Action.REVIEW, user=reviewer, detail=detail, tweets=tweets
    )


def _link(item_ids: Sequence[int], event: AuditEvent) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE labeling_reviewitem i SET annotation_id = a.id FROM labeling_annotation a
            WHERE a.audit_event_id = %s AND a.tweet_id = i.tweet_id AND i.id = ANY(%s)
            """,
            [event.pk, list(item_ids)],
        )
