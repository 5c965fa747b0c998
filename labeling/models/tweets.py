"""Tweets and the imports that brought them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models import Q

from labeling.identity import dedupe_keys

# Postgres advisory lock. A transaction that adds tweets shares it, from before its first id to its commit; a
# scoring run takes it alone for a moment, to know up to which id there are no more tweets to come.
ADDING_LOCK = 7_241_003
MAX_ID = 2**63 - 1


class Source(models.IntegerChoices):
    SPECIFIC = 1, "specific"
    GENERAL = 2, "general"


class TweetQuerySet(models.QuerySet["Tweet"]):
    def with_external_id(self, name: str) -> TweetQuerySet:
        """Tweets of either source that came with this id. By the index of dedupe_key: external_id has none."""
        keys = [int(dedupe_keys(source, [(name, "")])[0]) for source in Source]
        return self.filter(dedupe_key__in=keys, external_id=name)


class Tweet(models.Model):
    source = models.SmallIntegerField(choices=Source)
    import_id = models.IntegerField()  # Import.id; no constraint, so that COPY stays fast
    # The id that it came with, as text, kept as given. Empty when the file had none.
    external_id = models.TextField(blank=True, default="")
    text = models.TextField()
    author_hash = models.UUIDField(null=True, blank=True)  # 128 bits of a keyed hash; NULL: unknown author
    posted_at = models.DateTimeField(null=True, blank=True)
    # 64-bit hash of source and external id (of source and text when there is no id): one tweet, one row.
    dedupe_key = models.BigIntegerField(unique=True)
    # 64-bit hash of the near-duplicate group, which decides train, validation or test, for ever. NULL: no near
    # copy is known, and the tweet is a group by itself, whose hash is ml.groups.text_key of its text.
    group_hash = models.BigIntegerField(null=True)
    # Which full-text index holds it: see labeling.search_index. 0: the one that is kept up with every insert.
    search_segment = models.SmallIntegerField(db_default=0)

    objects = TweetQuerySet.as_manager()

    class Meta:
        indexes = [
            # For small additions. Its pending list is read through by every search, so it stays short (in kB).
            GinIndex(
                SearchVector("text", config="tweet_text"),
                condition=Q(search_segment=0),
                fastupdate=True,
                gin_pending_list_limit=4096,
                name="tweet_search_0",
            ),
            # An import's rows lie together: ranges of pages are enough, and cost COPY next to nothing.
            BrinIndex(fields=["import_id"], name="tweet_import"),
            # Only members of a group of near copies have one; COPY, which brings none, does not touch it.
            models.Index(
                fields=["group_hash", "id"], condition=Q(group_hash__isnull=False), name="tweet_group"
            ),
            # A training reads all specific tweets: some 100,000 among 20 million.
            models.Index(fields=["id"], condition=Q(source=Source.SPECIFIC), name="tweet_specific"),
        ]

    def __str__(self) -> str:
        return f"Tweet {self.pk}"


class Import(models.Model):
    """One file, and how it was read."""

    job = models.OneToOneField(
        "labeling.Job", models.PROTECT, null=True, blank=True, related_name="import_row"
    )
    source = models.SmallIntegerField(choices=Source)
    file_name = models.CharField(max_length=255)  # as the user called it; shown, never opened
    file = models.FileField(upload_to="imports/", max_length=255, blank=True)  # under a random name
    # Column mapping and options: see labeling.imports.importing.Mapping.
    mapping: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    rows_read = models.BigIntegerField(default=0)
    imported = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    erased = models.BigIntegerField(default=0)  # left out: they, or their authors, were erased before
    undated = models.BigIntegerField(default=0)  # imported, but their date could not be read
    rejected_file = models.FileField(upload_to="rejected/", max_length=255, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    # The job that deletes its tweets, and when that was done. The row stays: it says what was here.
    deletion = models.OneToOneField(
        "labeling.Job", models.PROTECT, null=True, blank=True, related_name="deleted_import"
    )
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.file_name
