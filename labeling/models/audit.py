"""Audit events: exports, bulk actions, activations, deletions, erasures. Who, when, on what, how many."""

from __future__ import annotations

from typing import Any

import pgtrigger
from django.conf import settings
from django.db import models


class AuditEvent(models.Model):
    class Action(models.TextChoices):
        EXPORT = "export", "Exported"
        BULK = "bulk", "Bulk action"
        UNDO = "undo", "Undone"
        REVIEW = "review", "Reviewed"
        ACTIVATE = "activate", "Activated a model version"
        DELETE = "delete", "Deleted"
        ERASE = "erase", "Erased"

    action = models.CharField(max_length=16, choices=Action)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True)
    detail: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict
    )  # the filter, the choice
    tweets = models.BigIntegerField(default=0)  # how many tweets it touched
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        triggers = [
            pgtrigger.Protect(name="audit_append_only", operation=pgtrigger.Update | pgtrigger.Delete)
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()} {self.pk}"
