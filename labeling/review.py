"""Review: which tweets need a reviewer, sending tweets to review, and taking the question back.

The reviewer's decisions are in labeling.deciding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from labeling.labels import hold_tweets
from labeling.models import AuditEvent, ModelVersion, Origin, ReviewItem, Verdict

BATCH = 10_000

Reason = ReviewItem.Reason
ASKED_FOR = (Reason.SENT, Reason.WRONG)  # by a person, or by a search that a person started

# One row for each tweet: its label, what analysts said last, the newest word of a reviewer, an open item,
# when a reviewer last closed one, and the active version's probability. Cheap: all by index on the tweet.
FACTS = """
SELECT t.id, l.verdict, l.verdict_origin, coalesce(l.is_disputed, false),
       coalesce(a.unsure, false), a.newest, r.id, r.annotator_id, r.created_at,
       i.id, i.reason, i.created_at, d.decided_at, s.risk
FROM unnest(%(ids)s::bigint[]) AS t(id)
LEFT JOIN labeling_label l ON l.tweet_id = t.id
LEFT JOIN LATERAL (
    SELECT bool_or(w.verdict = %(unsure)s) AS unsure, max(w.created_at) AS newest
    FROM (
        SELECT DISTINCT ON (x.annotator_id) x.verdict, x.created_at FROM labeling_annotation x
        WHERE x.tweet_id = t.id AND x.origin = %(analyst)s AND x.retracts_id IS NULL
          AND NOT EXISTS (SELECT FROM labeling_annotation u WHERE u.retracts_id = x.id)
        ORDER BY x.annotator_id, x.id DESC
    ) w
) a ON true
LEFT JOIN LATERAL (
    SELECT x.id, x.annotator_id, x.created_at FROM labeling_annotation x
    WHERE x.tweet_id = t.id AND x.origin = %(review)s AND x.retracts_id IS NULL
      AND NOT EXISTS (SELECT FROM labeling_annotation u WHERE u.retracts_id = x.id)
    ORDER BY x.id DESC LIMIT 1
) r ON true
LEFT JOIN labeling_reviewitem i ON i.tweet_id = t.id AND i.state = 'open'
LEFT JOIN LATERAL (
    SELECT max(x.decided_at) AS decided_at FROM labeling_reviewitem x
    WHERE x.tweet_id = t.id AND x.state <> 'open' AND x.decided_by_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM labeling_annotation u WHERE u.retracts_id = x.annotation_id)
) d ON true
LEFT JOIN labeling_score s ON s.tweet_id = t.id AND s.version_id = %(version)s
"""


@dataclass(frozen=True)
class Facts:
    """What decides whether a tweet needs a reviewer; the columns of FACTS, in their order."""

    tweet_id: int
    verdict: int | None
    verdict_origin: int | None
    is_disputed: bool
    is_unsure: bool  # an analyst's latest word on it is "unsure"
    analysts_at: datetime | None
    review_id: int | None
    review_by: int | None
    review_at: datetime | None
    item_id: int | None
    item_reason: str | None
    item_at: datetime | None
    decided_at: datetime | None
    risk: float | None


def consider(tweet_id: int) -> None:
    """Open, update or close the review item of one tweet. Call it in the transaction of the annotation."""
    consider_many([tweet_id])


def consider_many(tweet_ids: Sequence[int]) -> None:
    """consider() for any number of tweets, in batches: two queries each, and one for each kind of change."""
    published = ModelVersion.objects.filter(scores_published_at__isnull=False)
    version = published.only("threshold").active()
    for start in range(0, len(tweet_ids), BATCH):
        facts = list(_facts(tweet_ids[start : start + BATCH], version))
        threshold = version.threshold if version else None
        _settle([f for f in facts if _is_settled(f)])
        _apply([(f, reason_for(f, threshold)) for f in facts if not _is_settled(f)])


def contradicts(verdict: int | None, risk: float | None, threshold: float | None) -> bool:
    """A person and the model are far apart: NDA against a risk in the upper half above the threshold,
    or DA against a tenth of the threshold. The margin keeps borderline scores out of the reviewers' queue."""
    if risk is None or threshold is None:
        return False
    if verdict == Verdict.NDA:
        return risk >= (1 + threshold) / 2
    return verdict == Verdict.DA and risk <= threshold / 10


def reason_for(facts: Facts, threshold: float | None) -> str | None:
    """Why a reviewer should look, the gravest reason first; None when nobody needs to."""
    if facts.decided_at and not (facts.analysts_at and facts.analysts_at > facts.decided_at):
        return None  # a reviewer has closed it, and no analyst has spoken since
    if facts.is_disputed:
        return Reason.DISAGREEMENT
    if facts.is_unsure and facts.verdict_origin != Origin.REVIEW:
        return Reason.UNSURE
    if facts.verdict_origin == Origin.ANALYST and contradicts(facts.verdict, facts.risk, threshold):
        return Reason.MODEL
    return None


@transaction.atomic
def send_to_review(
    tweet_ids: Sequence[int], *, by: User, note: str = "", audit_event: AuditEvent | None = None
) -> int:
    """Open an item for each tweet that has none open. Returns how many were opened."""
    before = ReviewItem.objects.open().filter(tweet_id__in=tweet_ids)
    waiting = set(before.values_list("tweet_id", flat=True))
    there = hold_tweets(tweet_ids)
    note = f"{by.get_username()}: {note}" if note else f"Sent by {by.get_username()}"
    items = [
        ReviewItem(tweet_id=tweet_id, reason=Reason.SENT, note=note, audit_event=audit_event)
        for tweet_id in dict.fromkeys(tweet_ids)
        if tweet_id not in waiting and tweet_id in there
    ]
    ReviewItem.objects.bulk_create(items, batch_size=BATCH, ignore_conflicts=True)
    return len(items)


@transaction.atomic
def withdraw_event(audit_event: AuditEvent) -> int:
    """Undo send_to_review(): close what that event opened and nobody has decided. Returns how many."""
    opened = ReviewItem.objects.open().filter(audit_event=audit_event)
    tweet_ids = list(opened.values_list("tweet_id", flat=True))
    _close(tweet_ids)
    consider_many(tweet_ids)
    return len(tweet_ids)


def _facts(tweet_ids: Sequence[int], version: ModelVersion | None) -> Iterator[Facts]:
    parameters: dict[str, list[int] | int] = {
        "ids": list(tweet_ids),
        "unsure": Verdict.UNSURE.value,
        "analyst": Origin.ANALYST.value,
        "review": Origin.REVIEW.value,
        "version": version.pk if version else 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(FACTS, parameters)
        yield from (Facts(*row) for row in cursor.fetchall())


def _is_settled(facts: Facts) -> bool:
    """A reviewer has judged the tweet since its item was opened, on whatever page."""
    return bool(facts.item_at and facts.review_at and facts.review_at >= facts.item_at)


def _settle(settled: list[Facts]) -> None:
    for facts in settled:
        ReviewItem.objects.open().filter(tweet_id=facts.tweet_id).update(
            state=ReviewItem.State.CORRECTED,
            decided_by=facts.review_by,
            decided_at=timezone.now(),
            annotation=facts.review_id,
        )


def _apply(reasons: list[tuple[Facts, str | None]]) -> None:
    """Open what is new, rename what has another reason now, close what is moot. What was asked for stays."""
    new = [
        ReviewItem(tweet_id=f.tweet_id, reason=reason) for f, reason in reasons if reason and not f.item_id
    ]
    if new:
        ReviewItem.objects.bulk_create(new, ignore_conflicts=True)
    own = [(f, reason) for f, reason in reasons if f.item_id and f.item_reason not in ASKED_FOR]
    for reason in (Reason.DISAGREEMENT, Reason.UNSURE, Reason.MODEL):
        renamed = [f.tweet_id for f, now in own if now == reason and f.item_reason != reason]
        if renamed:
            ReviewItem.objects.open().filter(tweet_id__in=renamed).update(reason=reason)
    _close([f.tweet_id for f, reason in own if reason is None])


def _close(tweet_ids: Sequence[int]) -> None:
    """The question is moot. No reviewer is named, so that it may be asked again."""
    if tweet_ids:
        ReviewItem.objects.open().filter(tweet_id__in=tweet_ids).update(
            state=ReviewItem.State.REJECTED, decided_at=timezone.now()
        )
