"""Tags, and the rules that vote for them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower


class TagQuerySet(models.QuerySet["Tag"]):
    def in_use(self) -> TagQuerySet:
        """Offered to analysts and trained on, in the order of the label page."""
        return self.filter(is_archived=False).order_by("position", "id")


class Tag(models.Model):
    name = models.CharField(max_length=60)
    slug = models.SlugField(max_length=60, unique=True)
    colour = models.CharField(max_length=16, default="teal")  # a name from labeling.tags.COLOURS
    key = models.CharField(max_length=16, blank=True, default="")  # e.g. "1", "shift+1"; empty: by position
    guideline = models.TextField(blank=True, default="")  # when to give this tag; plain text
    position = models.PositiveIntegerField(default=0)
    is_archived = models.BooleanField(default=False)

    objects = TagQuerySet.as_manager()

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(Lower("name"), name="tag_name_unique")]

    def __str__(self) -> str:
        return self.name


class RuleQuerySet(models.QuerySet["Rule"]):
    def active(self) -> RuleQuerySet:
        return self.filter(is_active=True, tag__is_archived=False)


class Rule(models.Model):
    class Kind(models.TextChoices):
        TERM = "term", "Term"  # one word, whole word, any case; a leading # or @ is optional
        PHRASE = "phrase", "Phrase"  # words in a row, any white space between them
        REGEX = "regex", "Regular expression"  # RE2 syntax, any case

    tag = models.ForeignKey(Tag, models.CASCADE, related_name="rules", db_index=False)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.TERM)
    pattern = models.CharField(max_length=500)
    is_exclusion = models.BooleanField(default=False)  # votes against the tag
    is_active = models.BooleanField(default=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = RuleQuerySet.as_manager()

    class Meta:
        ordering = ["tag__position", "is_exclusion", "kind", "pattern"]
        constraints = [
            models.UniqueConstraint(fields=["tag", "kind", "pattern", "is_exclusion"], name="rule_unique")
        ]

    def __str__(self) -> str:
        return self.pattern
