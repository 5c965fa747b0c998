"""Model versions, and the examples of the snapshot that each was trained and judged on."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.files.storage import Storage, storages
from django.db import models
from django.db.models import Q

from labeling.models.annotations import Origin, Verdict


class Split(models.IntegerChoices):
    TRAIN = 0, "train"
    VALIDATION = 1, "validation"
    TEST = 2, "test"


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def ready(self) -> ModelVersionQuerySet:
        return self.filter(state=ModelVersion.State.READY)

    def active(self) -> ModelVersion | None:
        return self.filter(is_active=True).first()


LARGE = ("report", "score_summary", "config", "snapshot")  # fields that hold up to a megabyte


class LeanManager(models.Manager["ModelVersion"]):
    """Leaves the report out until it is asked for: with its curves it is up to a megabyte."""

    def get_queryset(self) -> models.QuerySet[ModelVersion]:
        return super().get_queryset().defer("report")


ModelVersionManager = LeanManager.from_queryset(ModelVersionQuerySet)


def model_storage() -> Storage:
    """STORAGES["models"]; asked for at run time, so that migrations do not name it."""
    return storages["models"]


class ModelVersion(models.Model):
    """One trained model. `number` is what people call it: version 3."""

    class State(models.TextChoices):
        TRAINING = "training", "Training"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    class Architecture(models.TextChoices):
        FAST = "fast", "Fast"
        ACCURATE = "accurate", "Accurate"
        CASCADE = "cascade", "Cascade"

    number = models.PositiveIntegerField(unique=True)
    job = models.OneToOneField("labeling.Job", models.PROTECT, null=True, blank=True, related_name="version")
    state = models.CharField(max_length=16, choices=State, default=State.TRAINING)
    architecture = models.CharField(max_length=16, choices=Architecture, default=Architecture.FAST)
    negatives = models.PositiveIntegerField(default=150_000)
    seed = models.PositiveIntegerField(default=1)
    note = models.CharField(max_length=200, blank=True, default="")
    config: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    # The tags it was trained on, by Tag.id, in the order of its outputs (the DA output comes before them).
    tag_ids = ArrayField(models.IntegerField(), default=list)
    snapshot: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict
    )  # counts by origin and split
    report: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict
    )  # ml.evaluate.Report
    # The report's key figures, for lists and the home page: see labeling.training.key_figures.
    figures: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    threshold = models.FloatField(null=True, blank=True)  # for DA
    tag_thresholds: models.JSONField[dict[str, float | None], dict[str, float | None]] = models.JSONField(
        default=dict
    )
    artefact = models.FileField(upload_to="models/", storage=model_storage, max_length=255, blank=True)
    sha256 = models.CharField(max_length=64, blank=True, default="")
    is_active = models.BooleanField(default=False)
    activated_at = models.DateTimeField(null=True, blank=True)
    # Stored when its scores are published: counts by tag and day, histogram of risk. See labeling.scoring.
    score_summary: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    scores_published_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    trained_at = models.DateTimeField(null=True, blank=True)

    objects = ModelVersionManager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_active"], condition=Q(is_active=True), name="one_active_version"
            ),
        ]

    def __str__(self) -> str:
        return f"Version {self.number}"

    @property
    def current_state(self) -> str:
        """Like `state`; but a version whose job was ended before it ran is not training any more."""
        if self.state == self.State.TRAINING and self.job is not None and not self.job.is_active:
            return self.State.CANCELLED if self.job.state == "cancelled" else self.State.FAILED
        return self.state


class ModelFilePiece(models.Model):
    """Some megabytes of a model file: see labeling.model_storage.DatabaseStorage."""

    name = models.CharField(max_length=255)
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "number"], name="model_file_piece_unique")]

    def __str__(self) -> str:
        return f"{self.name}, piece {self.number}"


class Example(models.Model):
    """One tweet of a version's snapshot. Validation and test rows carry what the model said of them."""

    version = models.ForeignKey(
        ModelVersion, models.CASCADE, related_name="examples", db_constraint=False, db_index=False
    )
    tweet = models.ForeignKey("labeling.Tweet", models.CASCADE, db_constraint=False, db_index=False)
    split = models.SmallIntegerField(choices=Split)
    verdict = models.SmallIntegerField(choices=Verdict, null=True)
    # NULL with a verdict: assumed from the tweet's source, judged by nobody.
    verdict_origin = models.SmallIntegerField(choices=Origin, null=True)
    tag_ids = ArrayField(models.IntegerField(), null=True)
    tags_origin = models.SmallIntegerField(choices=Origin, null=True)
    is_sampled_negative = models.BooleanField(
        default=False
    )  # an unlabelled general tweet, drawn as a negative
    matches_rule = models.BooleanField(default=False)
    # Calibrated probabilities, DA first, then tags in the order of version.tag_ids. NULL in the train split.
    probabilities = ArrayField(models.FloatField(), null=True)
    masked_probabilities = ArrayField(models.FloatField(), null=True)  # with the rule terms masked

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "tweet"], name="example_unique")]
        indexes = [
            models.Index(fields=["version", "split", "tweet"]),
            models.Index(fields=["tweet"]),
        ]

    def __str__(self) -> str:
        return f"Example {self.pk}"
