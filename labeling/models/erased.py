"""What was erased, as marks that say nothing without the installation's secret: so that it does not come back."""

from __future__ import annotations

from django.db import models


class ErasedTweet(models.Model):
    """One for each source that the post might come back as: see labeling.erased."""

    mark = models.BigIntegerField(unique=True)  # a keyed hash of the dedupe_key
    job = models.ForeignKey("labeling.Job", models.SET_NULL, null=True, blank=True, db_index=False)
    # The number that it had, until its job has looked for what others may have written of it meanwhile. Then NULL.
    tweet_id = models.BigIntegerField(null=True, blank=True)

    def __str__(self) -> str:
        return f"Erased tweet {self.pk}"


class ErasedAuthor(models.Model):
    author_hash = models.UUIDField(unique=True)  # as Tweet.author_hash: a keyed hash of the name
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Erased author {self.pk}"
