"""Queues: tweets waiting for a person, each with the way in which it was drawn."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from labeling.models.versions import LARGE


class QueueQuerySet(models.QuerySet["Queue"]):
    def with_version(self) -> QueueQuerySet:
        """Each with its model version, without the large parts of that: they take longer than all the rest."""
        return self.select_related("version").defer(*[f"version__{name}" for name in LARGE])


class Queue(models.Model):
    class Strategy(models.TextChoices):
        UNCERTAIN = "uncertain", "Most uncertain"
        RISK = "risk", "Highest risk"
        DIVERSE = "diverse", "Risky and varied"
        RARE_TAG = "rare_tag", "A tag too rare to learn"
        RANDOM = "random", "Random"
        REMAINDER = "remainder", "Check of a search"
        SELECTED = "selected", "Selected by hand"
        AUDIT = "audit", "Audit"  # drawn by labeling.audits, which also makes the queue

    name = models.CharField(max_length=80, unique=True)
    strategy = models.CharField(max_length=16, choices=Strategy)
    tag = models.ForeignKey("labeling.Tag", models.SET_NULL, null=True, blank=True)  # for RARE_TAG
    version = models.ForeignKey("labeling.ModelVersion", models.SET_NULL, null=True, blank=True)
    shows_suggestion = models.BooleanField(default=False)
    annotators_per_tweet = models.PositiveSmallIntegerField(default=1)
    is_open = models.BooleanField(default=True)
    # For REMAINDER, labeling.sampling.Remainder: what the sample was drawn from. NULL for the others.
    remainder: models.JSONField[Any, Any] = models.JSONField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = QueueQuerySet.as_manager()

    class Meta:
        ordering = ["-is_open", "-id"]

    def __str__(self) -> str:
        return self.name


class QueueItem(models.Model):
    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        CLAIMED = "claimed", "Claimed"
        DONE = "done", "Done"
        SKIPPED = "skipped", "Skipped"

    # Without indexes of their own: others begin with these columns, and each one is written at every claim.
    queue = models.ForeignKey(Queue, models.CASCADE, related_name="items", db_index=False)
    tweet = models.ForeignKey("labeling.Tweet", models.CASCADE, db_constraint=False, db_index=False)
    seat = models.PositiveSmallIntegerField(default=1)  # 1 … annotators_per_tweet
    position = models.IntegerField()  # order in which items are handed out
    stratum = models.CharField(max_length=40, blank=True, default="")
    inclusion_probability = models.FloatField(null=True, blank=True)  # NULL: chosen, not drawn
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, db_index=False
    )
    claimed_until = models.DateTimeField(null=True, blank=True)
    # When claimed_by submitted or skipped it; orders undo and counts the day. NULL while waiting or claimed.
    finished_at = models.DateTimeField(null=True, blank=True)

    is_renewed = False  # set by labeling.queues.claim_next: the user held it before, and may have judged it before an undo

    class Meta:
        indexes = [
            models.Index(
                fields=["queue", "position"], condition=Q(state__in=["waiting", "claimed"]), name="item_open"
            ),
            models.Index(fields=["queue", "state", "claimed_by"], name="item_counts"),
            models.Index(fields=["claimed_by", "finished_at"]),
            models.Index(fields=["tweet"]),
        ]
        constraints = [
            models.UniqueConstraint(fields=["queue", "tweet", "seat"], name="queue_item_unique"),
        ]

    def __str__(self) -> str:
        return f"Item {self.pk} of {self.queue_id}"


class Audit(models.Model):
    """How the tweets of an audit's queue were drawn: what an estimate from their labels needs to know."""

    queue = models.OneToOneField(Queue, models.CASCADE, related_name="audit")
    version = models.ForeignKey("labeling.ModelVersion", models.CASCADE)  # whose scores cut the strata
    first_id = models.BigIntegerField()  # the audit is of the general tweets with first_id <= id <= last_id …
    last_id = models.BigIntegerField()
    tweets = models.BigIntegerField()  # … which were so many
    # From the lowest scores to the highest: [{"low", "high", "tweets", "expected", "flagged", "drawn"}, …], where
    # low <= risk < high, `expected` is the mean risk, and `drawn` of the `tweets` were drawn.
    strata: models.JSONField[list[dict[str, Any]], list[dict[str, Any]]] = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"Audit {self.pk}"

    @property
    def is_of_flagged(self) -> bool:
        """Drawn among the flagged tweets alone: it tells nothing of what lies below the threshold."""
        return not any(stratum["drawn"] for stratum in self.strata if not stratum["flagged"])
