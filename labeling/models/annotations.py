"""Annotations (append-only judgements) and labels (what the project now holds true, derived from them)."""

from __future__ import annotations

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models


class Verdict(models.IntegerChoices):
    """Names for people come from the settings VERDICT_DA and VERDICT_NDA."""

    NDA = 0, "NDA"
    DA = 1, "DA"
    UNSURE = 2, "unsure"


class Origin(models.IntegerChoices):
    """Who judged. A larger number wins."""

    RULE = 1, "rule"
    IMPORT = 2, "import"
    ANALYST = 3, "analyst"
    REVIEW = 4, "review"


class Annotation(models.Model):
    """One judgement of one tweet. Never updated, never deleted: an undo is a row that retracts another."""

    tweet = models.ForeignKey(
        "labeling.Tweet", models.PROTECT, related_name="annotations", db_constraint=False, db_index=False
    )
    origin = models.SmallIntegerField(choices=Origin)
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, db_index=False
    )
    verdict = models.SmallIntegerField(choices=Verdict, null=True, blank=True)  # NULL: not judged
    # Every tag that the tweet deserves, by Tag.id, sorted. NULL: tags not judged. Empty: none of them.
    tag_ids = ArrayField(models.IntegerField(), null=True, blank=True)
    note = models.TextField(blank=True, default="")
    queue_item = models.ForeignKey(
        "labeling.QueueItem", models.DO_NOTHING, null=True, blank=True, db_constraint=False
    )
    # The model version whose suggestion was on the screen; NULL: labelled blind.
    suggested_by = models.ForeignKey(
        "labeling.ModelVersion", models.DO_NOTHING, null=True, blank=True, db_constraint=False
    )
    retracts = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="retracted_by"
    )
    # Annotations made by one bulk action share its AuditEvent, which can undo them together.
    audit_event = models.ForeignKey("labeling.AuditEvent", models.PROTECT, null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)  # from tweet shown to judgement
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["tweet", "origin", "id"]),
            models.Index(fields=["annotator", "created_at"]),
            # Listed by origin, newest first. Rules have made most, and the newest: those need none.
            models.Index(
                fields=["origin", "id"], condition=models.Q(origin__gt=1), name="annotation_not_rule"
            ),
        ]
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"Annotation {self.pk} of tweet {self.tweet_id}"


class Label(models.Model):
    """What the project holds true of one tweet; written only by labeling.labels.derive_labels().

    The table has a column more, `words` (tsvector, with an index): only word_search asks for it, in SQL.
    """

    tweet = models.OneToOneField(
        "labeling.Tweet", models.CASCADE, primary_key=True, related_name="label", db_constraint=False
    )
    verdict = models.SmallIntegerField(choices=Verdict, null=True)
    verdict_origin = models.SmallIntegerField(choices=Origin, null=True)
    tag_ids = ArrayField(models.IntegerField(), null=True)
    tags_origin = models.SmallIntegerField(choices=Origin, null=True)
    is_disputed = models.BooleanField(
        default=False
    )  # analysts disagree on the verdict or the tags, and no review settled it
    annotators = models.PositiveSmallIntegerField(default=0)  # people who judged it
    updated_at = models.DateTimeField()

    class Meta:
        indexes = [
            GinIndex(fields=["tag_ids"], name="label_tag_ids"),
            models.Index(fields=["verdict", "verdict_origin", "tweet"]),
            models.Index(fields=["updated_at"]),
            # What people judged is a small part of it, where rules vote on millions of tweets.
            models.Index(fields=["tweet"], condition=models.Q(annotators__gt=0), name="label_judged"),
            models.Index(fields=["tweet"], condition=models.Q(is_disputed=True), name="label_disputed"),
            # The newest of them may lie behind a whole import of labelled tweets.
            models.Index(
                fields=["tweet"],
                condition=models.Q(verdict_origin=Origin.RULE) | models.Q(tags_origin=Origin.RULE),
                name="label_by_rules",
            ),
        ]

    def __str__(self) -> str:
        return f"Label of tweet {self.tweet_id}"
