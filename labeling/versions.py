"""Model versions: activating one and going back, the tweets behind a matrix cell."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser
from django.core.cache import cache
from django.db import transaction
from django.db.models import Count, F, FloatField, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

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
    return rows.annotate(probability=probability_of(version, cell.sample, head)).order_by(
        F("probability").desc(), F("tweet_id").desc()
    )


def _truth(head: str | int, positive: bool) -> Q:
    if head == DA_HEAD:
        return Q(verdict=Verdict.DA if positive else Verdict.NDA)
    has = Q(tag_ids__contains=[int(head)])
    return has if positive else Q(tag_ids__isnull=False) & ~has


def _column(sample: str) -> str:
    return "masked_probabilities" if sample == "masked" else "probabilities"


def place_of(version: ModelVersion, tag_id: int | None) -> int:
    """Of a head among the probabilities, from 0: DA, then the tags."""
    return 0 if tag_id is None else 1 + version.tag_ids.index(tag_id)


def probability_of(version: ModelVersion, sample: str, tag_id: int | None) -> RawSQL:
    # Postgres counts from 1. The column is one of two constants.
    return RawSQL(  # noqa: S611
        f"labeling_example.{_column(sample)}[%s]", [place_of(version, tag_id) + 1], FloatField()
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
    at_least = Q(**{f"{_column(sample)}__{place_of(version, tag_id)}__gte": threshold})
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
    """(flagged, all) of the held-out general tweets that were drawn at random as negatives.

    Counted once an hour in each process: a version does not learn again, and at 30,000 held-out tweets it takes 40 ms.
    """

    def count() -> tuple[int, int]:
        drawn = held_out(version).filter(is_sampled_negative=True)
        counts = drawn.aggregate(
            flagged=Count("pk", filter=_predicted(version, "test", None, True)), drawn=Count("pk")
        )
        return counts["flagged"], counts["drawn"]

    key = f"flagged_negatives:{version.pk}:{version.threshold}"
    counted: tuple[int, int] | None = cache.get_or_set(key, count, 3_600)
    assert counted is not None
    return counted
