"""The full-text indexes of tweets: one row for each that a job builds."""

from __future__ import annotations

from django.db import models

from labeling.models.tweets import MAX_ID


class SearchIndex(models.Model):
    """An index over the tweets of some segments. Segment 0 has no row: it is indexed on insert."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        BUILDING = "building", "Building"
        READY = "ready", "Ready"

    first_segment = models.SmallIntegerField()
    last_segment = models.SmallIntegerField()  # inclusive
    import_row = models.ForeignKey("labeling.Import", models.SET_NULL, null=True, blank=True)
    tweets = models.BigIntegerField(default=0)  # known once the import has ended
    # Of its tweets, once it is ready: a search asks the newest index first, and knows when older ones cannot matter.
    first_id = models.BigIntegerField(default=0)
    last_id = models.BigIntegerField(default=MAX_ID)
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    built = models.FloatField(default=0)  # 0 to 1, while it is being built
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["first_segment"]
        constraints = [
            models.UniqueConstraint(fields=["first_segment", "last_segment"], name="search_index_unique")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The index in the database. A merged index has another name than its parts."""
        span = str(self.first_segment)
        return f"tweet_search_{span if self.first_segment == self.last_segment else f'{span}_{self.last_segment}'}"

    def contains(self, other: SearchIndex) -> bool:
        """It is being built to replace `other`."""
        return self.first_segment <= other.first_segment and other.last_segment <= self.last_segment
