"""Jobs: anything that takes longer than a request. The row is the truth; the broker only rings a bell."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

STALE_AFTER = timedelta(seconds=30)  # a running job whose heartbeat is older has lost its worker
MISSED_BEAT = timedelta(seconds=8)  # the same, when the backend that beat last is gone from Postgres


class JobQuerySet(models.QuerySet["Job"]):
    def active(self) -> JobQuerySet:
        """Queued or running."""
        return self.filter(state__in=Job.ACTIVE)

    def abandoned(self) -> JobQuerySet:
        """Running, but its worker has not been heard of for STALE_AFTER; or for a beat, and its connection is gone."""
        now = timezone.now()
        gone = Q(heartbeat_at__lt=now - MISSED_BEAT) & ~Exists(
            Backend.objects.filter(pid=OuterRef("backend_pid"))
        )
        return self.filter(Q(heartbeat_at__lt=now - STALE_AFTER) | gone, state=Job.State.RUNNING)


class Backend(models.Model):
    """Postgres' sessions. Every role sees the pids of all."""

    pid = models.IntegerField(primary_key=True)

    class Meta:
        managed = False
        db_table = "pg_stat_activity"

    def __str__(self) -> str:
        return f"Backend {self.pid}"


class Job(models.Model):
    class Kind(models.TextChoices):
        IMPORT = "import", "Import"
        RULES = "rules", "Apply rules"
        TRAIN = "train", "Train"
        SCORE = "score", "Score"
        SEARCH = "search", "Build search"
        NEAR_COPIES = "near_copies", "Find near copies"
        EXPORT = "export", "Export"
        DELETE = "delete", "Delete an import"
        ERASE = "erase", "Erase tweets"
        WRONG_LABELS = "wrong_labels", "Look for wrong labels"

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    ACTIVE = (State.QUEUED, State.RUNNING)

    kind = models.CharField(max_length=16, choices=Kind)
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    # Two active jobs may not share a non-empty key: "train" refuses a second training.
    exclusive_key = models.CharField(max_length=64, blank=True, default="")
    stage = models.CharField(max_length=100, blank=True, default="")
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    detail: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True, default="")
    attempt = models.PositiveIntegerField(default=0)
    cancel_requested = models.BooleanField(default=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    backend_pid = models.IntegerField(null=True, blank=True)  # of the connection that beat last
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["state", "kind"]),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["exclusive_key"],
                condition=Q(state__in=["queued", "running"]) & ~Q(exclusive_key=""),
                name="one_active_job_per_key",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} job {self.pk}"

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE

    @property
    def needs_admin(self) -> bool:
        """Only admins begin it, and cancel it."""
        return self.kind in (self.Kind.DELETE, self.Kind.ERASE)

    @property
    def fraction(self) -> float | None:
        """Share of the work that is done, 0 to 1; None while the amount is unknown."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the rate so far; None while there is nothing to estimate from."""
        if not (self.is_active and self.started_at and self.done and self.total):
            return None
        spent = (timezone.now() - self.started_at).total_seconds()
        return max(0.0, spent * (self.total - self.done) / self.done)

    @property
    def seconds_taken(self) -> float | None:
        """From start to end, or to now; None before the start."""
        if not self.started_at:
            return None
        return ((self.finished_at or timezone.now()) - self.started_at).total_seconds()
