"""Likely label errors become review items: the worst first, each saying which judgement is in question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from numpy.typing import NDArray

from labeling import jobs
from labeling.jobs import JobError, Progress
from labeling.labels import hold_tweets
from labeling.models import Job, Origin, ReviewItem, Tag, Verdict
from ml import groups

if TYPE_CHECKING:
    from ml.label_errors import Suspect

ITEMS = 200  # opened by one search: what a reviewer looks through in about an hour
MOST = 60_000  # labels looked at: those by people, and a random part of the imported ones
LEAST = 100
QUESTIONS = 3  # named in one item's note
MEANING = "In brackets: how probable the label as it is would be, going by similar tweets."
FOLDS = 5

# Judged by people or an import. Rules vote only, and what a reviewer decided is not asked again.
_LABELLED = """
SELECT t.id, t.text, t.group_hash,
       CASE WHEN l.verdict_origin >= %(import)s THEN l.verdict END,
       CASE WHEN l.tags_origin >= %(import)s THEN l.tag_ids END,
       coalesce(l.verdict_origin, 0) = %(review)s OR coalesce(l.tags_origin, 0) = %(review)s
       OR EXISTS (SELECT FROM labeling_reviewitem r WHERE r.tweet_id = t.id AND (r.reason = %(wrong)s OR r.state = 'open'))
FROM (
    (SELECT * FROM labeling_label WHERE annotators > 0 LIMIT %(most)s)
    UNION ALL
    (SELECT * FROM labeling_label
     WHERE annotators = 0 AND (verdict_origin = %(import)s OR tags_origin = %(import)s)
     ORDER BY hashint8(tweet_id) LIMIT %(most)s)
) l JOIN labeling_tweet t ON t.id = l.tweet_id
LIMIT %(most)s
"""


@dataclass(frozen=True)
class Labelled:
    """Labels to look at. All lists have one length."""

    ids: list[int]
    texts: list[str]
    groups: NDArray[np.int64]  # of near copies
    verdicts: list[int | None]
    tag_ids: list[list[int] | None]
    is_settled: list[bool]  # learnt from, and not asked about


def request(*, user: AbstractBaseUser | None) -> Job:
    """A queued job. Raises jobs.AlreadyRunning."""
    return jobs.create_job(Job.Kind.WRONG_LABELS, exclusive_key="wrong_labels", user=user)


def work(job: Job, progress: Progress) -> None:
    """Safe to repeat: a tweet has at most one open item, and is asked about once."""
    progress.report(stage="Reading labels")
    labelled = _read()
    if len(labelled.ids) < LEAST:
        raise JobError(
            f"There are {len(labelled.ids):,} tweets that people or an import have judged; at least {LEAST} are needed"
            " to tell a wrong label from a rare one. Label more tweets first."
        )
    from ml import label_errors  # scikit-learn and cleanlab; not before there is something to look at

    tags = list(Tag.objects.in_use())
    targets = _targets(labelled, tags)
    probabilities = label_errors.out_of_sample(
        labelled.texts,
        targets,
        labelled.groups,
        folds=FOLDS,
        tick=lambda fold: progress.report(stage="Judging each part by the others", done=fold, total=FOLDS),
    )
    progress.report(stage="Weighing labels", done=0, total=0)
    found = label_errors.suspects(targets, probabilities)
    opened = _open(found, labelled, targets, tags)
    progress.report(
        stage=f"{len(labelled.ids):,} tweets looked at, {opened:,} sent to review",
        detail={"tweets": len(labelled.ids), "suspects": len(found), "opened": opened},
    )


def _read() -> Labelled:
    with connection.cursor() as cursor:
        cursor.execute(
            _LABELLED,
            {
                "import": Origin.IMPORT.value,
                "review": Origin.REVIEW.value,
                "wrong": ReviewItem.Reason.WRONG.value,
                "most": MOST,
            },
        )
        rows = cursor.fetchall()
    ids, texts, stored, verdicts, tag_ids, is_settled = (
        map(list, zip(*rows, strict=True)) if rows else [[]] * 6
    )
    return Labelled(ids, texts, groups.groups_of(stored, texts), verdicts, tag_ids, is_settled)


def _targets(labelled: Labelled, tags: Sequence[Tag]) -> NDArray[np.float32]:
    """float32 [n, 1 + tags]: DA, then the tags; NaN: not judged."""
    targets = np.full((len(labelled.ids), 1 + len(tags)), np.nan, np.float32)
    for row, (verdict, given) in enumerate(zip(labelled.verdicts, labelled.tag_ids, strict=True)):
        if verdict in (Verdict.DA, Verdict.NDA):
            targets[row, 0] = verdict == Verdict.DA
        if given is not None:
            targets[row, 1:] = [tag.pk in given for tag in tags]
    return targets


def _open(
    suspects: Sequence[Suspect], labelled: Labelled, targets: NDArray[np.float32], tags: Sequence[Tag]
) -> int:
    """Items of the ITEMS worst tweets, in that order, which is the order of the review queue."""
    questions: dict[int, list[str]] = {}
    for suspect in suspects:
        if labelled.is_settled[suspect.row]:
            continue
        if suspect.row not in questions and len(questions) == ITEMS:
            continue
        tag = tags[suspect.output - 1] if suspect.output else None
        is_given = bool(targets[suspect.row, suspect.output])
        questions.setdefault(suspect.row, []).append(
            _question(tag, is_given=is_given, quality=suspect.quality)
        )
    items = [
        ReviewItem(
            tweet_id=labelled.ids[row],
            reason=ReviewItem.Reason.WRONG,
            note=" ".join([*asked[:QUESTIONS], MEANING]),
        )
        for row, asked in questions.items()
    ]
    with transaction.atomic():
        there = hold_tweets([item.tweet_id for item in items])
        items = [item for item in items if item.tweet_id in there]
        ReviewItem.objects.bulk_create(items, ignore_conflicts=True)
    return len(items)


def _question(tag: Tag | None, *, is_given: bool, quality: float) -> str:
    if tag is not None:
        asked = f"Is “{tag.name}” {'right' if is_given else 'missing'}"
    else:
        asked = f"Is it {settings.VERDICT_DA if is_given else settings.VERDICT_NDA}"
    return f"{asked} ({100 * quality:.0f} %)?"
