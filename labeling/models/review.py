"""Review items: tweets that need a reviewer's decision."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class ReviewItemQuerySet(models.QuerySet["ReviewItem"]):
    def open(self) -> ReviewItemQuerySet:
        return self.filter(state=ReviewItem.State.OPEN)


class ReviewItem(models.Model):
    class Reason(models.TextChoices):
        DISAGREEMENT = "disagreement", "Analysts disagree"
        UNSURE = "unsure", "An analyst was unsure"
        MODEL = "model", "Contradicts the model"
        SENT = "sent", "Sent by a colleague"
        WRONG = "wrong", "The label may be wrong"

    class State(models.TextChoices):
        OPEN = "open", "Open"
        APPROVED = "approved", "Approved"
        CORRECTED = "corrected", "Corrected"
        REJECTED = "rejected", "Rejected"  # the question was moot: the label stays as it was

    tweet = models.ForeignKey("labeling.Tweet", models.CASCADE, db_constraint=False)
    reason = models.CharField(max_length=16, choices=Reason)
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    note = models.TextField(blank=True, default="")
    audit_event = models.ForeignKey("labeling.AuditEvent", models.PROTECT, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    annotation = models.ForeignKey(
        "labeling.Annotation", models.PROTECT, null=True, blank=True
    )  # the decision

    objects = ReviewItemQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tweet"], condition=Q(state="open"), name="one_open_review_per_tweet"
            ),
        ]
        indexes = [models.Index(fields=["state", "reason"])]

    def __str__(self) -> str:
        return f"Review {self.pk} of tweet {self.tweet_id}"
