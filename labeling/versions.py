"""Model versions: activating one and going back, the tweets behind a matrix cell, comparing two."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils import timezone

from labeling.models import AuditEvent, ModelVersion


class NotReady(Exception):
    """The version cannot be activated; the message says why and what to do."""


def activate(version: ModelVersion, *, user: AbstractBaseUser | None) -> None:
    """Make it the version whose scores people see; one flip, also for going back. NotReady with a reason."""
    with transaction.atomic():
        # One lock for all activations: two at once must not leave two active versions, or none.
        versions = {v.pk: v for v in ModelVersion.objects.select_for_update().order_by("pk")}
        version = versions[version.pk]
        before = next((v for v in versions.values() if v.is_active), None)
        if version.state != ModelVersion.State.READY:
            raise NotReady(f"{version} is not ready: {version.get_state_display().lower()}.")
        if version.scores_published_at is None:
            raise NotReady(f"{version} has no published scores yet. Score the tweets with it first.")
        if before is not None and before.pk == version.pk:
            return
        ModelVersion.objects.filter(is_active=True).update(is_active=False)
        now = timezone.now()
        ModelVersion.objects.filter(pk=version.pk).update(is_active=True, activated_at=now)
        AuditEvent.objects.create(
            action=AuditEvent.Action.ACTIVATE,
            user=user,  # type: ignore[misc]
            detail={"version": version.number, "before": before.number if before else None},
        )
