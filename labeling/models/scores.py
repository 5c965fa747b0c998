"""Scoring runs, their chunks, and scores: one partition per model version (docs/decisions)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from labeling.models.tags import Tag
from labeling.models.tweets import Source, Tweet
from labeling.models.versions import ModelVersion


class ScoringRun(models.Model):
    """One pass of a version over the tweets that it has not scored, in chunks of ids."""

    job = models.OneToOneField(
        "labeling.Job", models.PROTECT, null=True, blank=True, related_name="scoring_run"
    )
    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="scoring_runs")
    activates = models.BooleanField(default=False)  # make the version active when its scores are published
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    # The run scores every tweet with after_id < id <= last_id: no other tweet gets such an id any more.
    # NULL: not planned yet.
    after_id = models.BigIntegerField(null=True, blank=True)
    last_id = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"Scoring run {self.pk}"


class ScoringChunk(models.Model):
    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        CLAIMED = "claimed", "Claimed"
        DONE = "done", "Done"

    run = models.ForeignKey(ScoringRun, models.CASCADE, related_name="chunks", db_index=False)
    first_id = models.BigIntegerField()  # inclusive
    last_id = models.BigIntegerField()  # inclusive
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    attempt = models.PositiveIntegerField(default=0)  # fences a worker that was thought dead
    claimed_at = models.DateTimeField(null=True, blank=True)
    backend_pid = models.IntegerField(
        null=True, blank=True
    )  # the claimer's backend in Postgres: gone, as it is
    tweets = models.IntegerField(default=0)  # in this chunk; about, until it is scored
    # What the version's summary does not count yet: labeling.score_counts. NULL before and after.
    counts: models.JSONField[Any, Any] = models.JSONField(null=True, blank=True)
    seconds = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "first_id"], name="chunk_unique")]
        indexes = [models.Index(fields=["run", "state", "first_id"])]

    def __str__(self) -> str:
        return f"Chunk {self.first_id}–{self.last_id}"


class Score(models.Model):
    """One version's probabilities for one tweet. A partitioned table: migration 0002 creates it."""

    pk = models.CompositePrimaryKey("version_id", "tweet_id")
    version = models.ForeignKey(ModelVersion, models.DO_NOTHING, db_constraint=False)
    tweet = models.ForeignKey(Tweet, models.DO_NOTHING, db_constraint=False, related_name="scores")
    risk = models.FloatField()  # P(DA), calibrated for the corpus; real in the database
    source = models.SmallIntegerField(choices=Source)
    # One byte per tag, in the order of version.tag_ids: round(255 · P(tag)).
    tag_bytes = models.BinaryField()

    class Meta:
        managed = False
        db_table = "labeling_score"

    def __str__(self) -> str:
        return f"Score of tweet {self.tweet_id}"


class ScoreTag(models.Model):
    """A tag that a version gives to a tweet: P(tag) at or above the tag's threshold. Partitioned like Score."""

    pk = models.CompositePrimaryKey("version_id", "tag_id", "tweet_id")
    version = models.ForeignKey(ModelVersion, models.DO_NOTHING, db_constraint=False)
    tag = models.ForeignKey(Tag, models.DO_NOTHING, db_constraint=False)
    tweet = models.ForeignKey(Tweet, models.DO_NOTHING, db_constraint=False)
    probability = models.FloatField()
    risk = models.FloatField()

    class Meta:
        managed = False
        db_table = "labeling_scoretag"

    def __str__(self) -> str:
        return f"Tag {self.tag_id} of tweet {self.tweet_id}"


class FlaggedWords(models.Model):
    """The words that drove the DA score of a flagged tweet, computed where TensorFlow is, at publication."""

    version = models.ForeignKey(ModelVersion, models.CASCADE, db_constraint=False, db_index=False)
    tweet = models.ForeignKey(Tweet, models.CASCADE, db_constraint=False)
    # [[start, end, weight], …]: character offsets into the text, weight −1 to 1, positive towards DA.
    spans: models.JSONField[list[list[float]], list[list[float]]] = models.JSONField(default=list)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "tweet"], name="flagged_words_unique")]

    def __str__(self) -> str:
        return f"Words of tweet {self.tweet_id}"
