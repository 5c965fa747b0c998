"""Model versions: activating one and going back, the tweets behind a matrix cell, comparing two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from django.db.models import Count, F, FloatField, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone
from numpy.typing import NDArray

from labeling.flips import losses
from labeling.models import AuditEvent, Example, ModelVersion, Split, Verdict
from labeling.snapshots import PEOPLE

SAMPLES = ("test", "people", "no_rule", "masked")
DA_HEAD = "DA"
TAGS_HEAD = "tags"  # the tag-against-tag matrix


class NotReady(Exception):
    """The version cannot be activated; the message says why and what to do."""


def activate(version: ModelVersion, *, user: AbstractBaseUser | None) -> None:
    """Make it the version whose scores people see; one flip, also for going back. NotReady with a reason.

    Whoever can ask a person first shows what would be lost (flips.losses); it is kept with the event in any case.
    """
    lost = {row.name: row.lost for row in losses(version)}
    with transaction.atomic():
        # One lock for all activations: two at once must not leave two active versions, or none.
        versions = {v.pk: v for v in ModelVersion.objects.select_for_update().order_by("pk")}
        version = versions[version.pk]
        before = next((v for v in versions.values() if v.is_active), None)
        if version.state != ModelVersion.State.READY:
            raise NotReady(f"{version} is not ready: {version.get_state_display().lower()}.")
        if version.scores_published_at is None:
            raise NotReady(f"{version} has no published scores yet. Score the tweets with it first.")
        if before is not None and before.pk == version.pk:
            return
        ModelVersion.objects.filter(is_active=True).update(is_active=False)
        ModelVersion.objects.filter(pk=version.pk).update(is_active=True, activated_at=timezone.now())
        AuditEvent.objects.create(
            action=AuditEvent.Action.ACTIVATE,
            user=user,  # type: ignore[misc]
            detail={
                "version": version.number,
                "before": before.number if before else None,
                **({"lost": lost} if lost else {}),
            },
        )


@dataclass(frozen=True)
class Activation:
    """How the active version came to be active."""

    before: int | None  # number of the version whose place it took
    lost: dict[str, int]  # by output: tweets judged so by people that it no longer flags


def last_activation(version: ModelVersion) -> Activation | None:
    events = AuditEvent.objects.filter(action=AuditEvent.Action.ACTIVATE, detail__version=version.number)
    event = events.order_by("-id").first()
    return Activation(event.detail.get("before"), event.detail.get("lost", {})) if event else None


# Tweets behind a matrix cell -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix in the report.

    head DA or a tag's id: `truth` and `predicted` are 1 or 0.
    head "tags": they are the true and the predicted tag's id; None is "none of them".
    """

    sample: str
    head: str | int
    truth: int | None
    predicted: int | None


def held_out(version: ModelVersion, sample: str = "test") -> QuerySet[Example]:
    """The tweets of a sample: the same choice as in ml.evaluate, made by the database."""
    rows = Example.objects.filter(version=version, split=Split.TEST)
    if sample == "people":
        return rows.filter(verdict_origin__in=PEOPLE, is_sampled_negative=False)
    if sample == "no_rule":
        return rows.filter(matches_rule=False)
    return rows


def cell_tweets(version: ModelVersion, cell: Cell) -> QuerySet[Example]:
    """The held-out tweets that the report counts in this cell, most certain prediction first.

    Each carries `probability`, by which it is ordered (descending, then by tweet).
    """
    rows = held_out(version, cell.sample)
    if cell.head == TAGS_HEAD:
        rows = _tag_against_tag(rows, version, cell)
        head = cell.predicted
    else:
        head = None if cell.head == DA_HEAD else int(cell.head)
        rows = rows.filter(_truth(cell.head, bool(cell.truth)))
        rows = rows.filter(_predicted(version, cell.sample, head, bool(cell.predicted)))
    return rows.annotate(probability=_probability(version, cell.sample, head)).order_by(
        F("probability").desc(), F("tweet_id").desc()
    )


def _truth(head: str | int, positive: bool) -> Q:
    if head == DA_HEAD:
        return Q(verdict=Verdict.DA if positive else Verdict.NDA)
    has = Q(tag_ids__contains=[int(head)])
    return has if positive else Q(tag_ids__isnull=False) & ~has


def _column(sample: str) -> str:
    return "masked_probabilities" if sample == "masked" else "probabilities"


def _place(version: ModelVersion, tag_id: int | None) -> int:
    """Of a head among the probabilities, from 0: DA, then the tags."""
    return 0 if tag_id is None else 1 + version.tag_ids.index(tag_id)


def _probability(version: ModelVersion, sample: str, tag_id: int | None) -> RawSQL:
    # Postgres counts from 1. The column is one of two constants.
    return RawSQL(  # noqa: S611
        f"labeling_example.{_column(sample)}[%s]", [_place(version, tag_id) + 1], FloatField()
    )


def threshold_of(version: ModelVersion, tag_id: int | None) -> float | None:
    if tag_id is None:
        return version.threshold
    name = version.report["tags"][version.tag_ids.index(tag_id)]
    return version.tag_thresholds.get(name)


def _predicted(version: ModelVersion, sample: str, tag_id: int | None, positive: bool) -> Q:
    threshold = threshold_of(version, tag_id)
    if threshold is None:  # a head without a threshold predicts nothing
        return Q(pk__isnull=positive)
    at_least = Q(**{f"{_column(sample)}__{_place(version, tag_id)}__gte": threshold})
    return at_least if positive else ~at_least


def _tag_against_tag(rows: QuerySet[Example], version: ModelVersion, cell: Cell) -> QuerySet[Example]:
    """Row: the tweet has the true tag ("none": it has none of the version's). Column: predicted, likewise."""
    rows = rows.filter(tag_ids__isnull=False)
    if cell.truth is None:
        rows = rows.exclude(tag_ids__overlap=version.tag_ids)
    else:
        rows = rows.filter(tag_ids__contains=[cell.truth])
    if cell.predicted is not None:
        return rows.filter(_predicted(version, cell.sample, cell.predicted, True))
    for tag_id in version.tag_ids:
        rows = rows.filter(_predicted(version, cell.sample, tag_id, False))
    return rows


def count_flagged_negatives(version: ModelVersion) -> tuple[int, int]:
    """(flagged, all) of the held-out general tweets that were drawn at random as negatives."""
    drawn = held_out(version).filter(is_sampled_negative=True)
    return drawn.filter(_predicted(version, "test", None, True)).count(), drawn.count()


# Comparing -----------------------------------------------------------------------------------------------


@dataclass
class Figures:
    """Of one version, for one head, on the tweets that both versions held out."""

    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


@dataclass
class Comparison:
    head: str
    n: int
    positives: int
    before: Figures
    after: Figures

    def difference(self, name: str) -> float | None:
        a, b = getattr(self.before, name), getattr(self.after, name)
        return None if a is None or b is None else b - a


def compare(before: ModelVersion, after: ModelVersion) -> list[Comparison]:
    """DA and every tag that both know, on the test tweets that both held out; truth as the later one has it.

    Reads all of these tweets (some 20,000): about half a second.
    """
    truth, tags, p_before, p_after = _both_held_out(before, after)
    comparisons = []
    for head in [None, *(tag_id for tag_id in after.tag_ids if tag_id in before.tag_ids)]:
        if head is None:
            known = np.array([verdict in (Verdict.DA, Verdict.NDA) for verdict in truth], dtype=bool)
            positive = np.array([verdict == Verdict.DA for verdict in truth], dtype=bool)
        else:
            known = np.array([ids is not None for ids in tags], dtype=bool)
            positive = np.array([head in (ids or ()) for ids in tags], dtype=bool)
        name = DA_HEAD if head is None else after.report["tags"][after.tag_ids.index(head)]
        comparisons.append(
            Comparison(
                head=name,
                n=int(known.sum()),
                positives=int(positive[known].sum()),
                before=_measure(before, head, positive[known], p_before[known]),
                after=_measure(after, head, positive[known], p_after[known]),
            )
        )
    return comparisons


_BOTH = """
FROM labeling_example b JOIN labeling_example a ON a.tweet_id = b.tweet_id
WHERE b.version_id = %(before)s AND a.version_id = %(after)s AND b.split = %(test)s AND a.split = %(test)s
"""

Probabilities = NDArray[np.float64]


def _both_held_out(
    before: ModelVersion, after: ModelVersion
) -> tuple[list[int | None], list[list[int] | None], Probabilities, Probabilities]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.verdict, a.tag_ids, array_send(b.probabilities), array_send(a.probabilities)" + _BOTH,
            {"before": before.pk, "after": after.pk, "test": Split.TEST},
        )
        rows = cursor.fetchall()
    return (
        [row[0] for row in rows],
        [row[1] for row in rows],
        _arrays([row[2] for row in rows], 1 + len(before.tag_ids)),
        _arrays([row[3] for row in rows], 1 + len(after.tag_ids)),
    )


def _arrays(sent: Sequence[memoryview], heads: int) -> Probabilities:
    """Postgres' binary form of float8[]: 20 bytes of header, then a 4-byte length and 8 bytes for each."""
    raw = np.frombuffer(b"".join(sent), dtype=np.uint8).reshape(len(sent), 20 + 12 * heads)
    values = np.ascontiguousarray(raw[:, 20:].reshape(len(sent), heads, 12)[:, :, 4:])
    return values.view(">f8").reshape(len(sent), heads).astype(np.float64)


def _measure(
    version: ModelVersion, tag_id: int | None, positive: NDArray[np.bool_], p: Probabilities
) -> Figures:
    threshold = threshold_of(version, tag_id)
    scores = p[:, _place(version, tag_id)]
    predicted = scores >= threshold if threshold is not None else np.zeros(len(scores), dtype=bool)
    tp, total = int((predicted & positive).sum()), int(positive.sum())
    precision = tp / int(predicted.sum()) if predicted.any() else None
    recall = tp / total if total else None
    f1 = 2 * tp / (int(predicted.sum()) + total) if total else None
    return Figures(precision, recall, f1, average_precision(positive, scores))


def average_precision(positive: NDArray[np.bool_], scores: Probabilities) -> float | None:
    """Σ (recall step × precision) down the ranking; equal scores are one step. None without positives."""
    if not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # the last of each run of equal scores
    precision = hits[last] / (last + 1)
    return float(np.sum(np.diff(hits[last] / hits[-1], prepend=0.0) * precision))


def flips(before: ModelVersion, after: ModelVersion) -> QuerySet[Example]:
    """Rows of `after` whose DA decision differs from that of `before`, with `p_before`; newest tweet first."""
    if before.threshold is None or after.threshold is None:
        return Example.objects.none()
    earlier = RawSQL(
        "(SELECT b.probabilities[1] FROM labeling_example b WHERE b.version_id = %s"
        " AND b.tweet_id = labeling_example.tweet_id AND b.split = %s)",
        [before.pk, Split.TEST],
        FloatField(),
    )
    rows = held_out(after).filter(verdict__in=(Verdict.DA, Verdict.NDA)).annotate(p_before=earlier)
    rows = rows.annotate(probability=_probability(after, "test", None))
    up = Q(p_before__lt=before.threshold, probability__gte=after.threshold)
    down = Q(p_before__gte=before.threshold, probability__lt=after.threshold)
    return rows.filter(up | down).order_by("-tweet_id")


def is_right(version: ModelVersion) -> Q:
    """Of annotated rows: the version's DA decision agrees with the verdict."""
    return Q(verdict=Verdict.DA, probability__gte=version.threshold) | Q(
        verdict=Verdict.NDA, probability__lt=version.threshold
    )


def count_flips(before: ModelVersion, after: ModelVersion) -> dict[str, int]:
    """Of the tweets that both held out, how many DA decisions differ, and which way: all, fixed, broken."""
    rows = flips(before, after)
    if before.threshold is None or after.threshold is None:
        return {"all": 0, "fixed": 0, "broken": 0}
    counts: dict[str, int] = rows.aggregate(all=Count("pk"), fixed=Count("pk", filter=is_right(after)))
    return {**counts, "broken": counts["all"] - counts["fixed"]}
